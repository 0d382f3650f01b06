"""The searcher that a task names, made for its space, and whether what it finds can be trained."""

from __future__ import annotations

import re
from random import Random

from ..ir.decisions import Decision, Setting
from ..ir.diagnostics import Diagnostic, FusegraphError
from ..ir.dsl import Program
from ..ir.genotype import Genotype
from ..ir.levels import Levels
from ..ir.reach import walk
from ..searchers.protocol import GradientSearcher, Searcher, owns_a_loop
from ..searchers.registry import make_searcher
from ..tasks.placing import at_key
from ..tasks.task_file import Task
from .problems import problem
from .sources import carry_over

_DRAWN = 8
"""Genotypes that are carried over for a try."""


def searcher_of(task: Task, searched: Program, trained: Program) -> Searcher | GradientSearcher:
    """The searcher that the task names, for its space and within its budget.

    Raises FusegraphError: E410 where what is found could not be trained, E801-E804, E810 where MFAS
    is to score by what may be above 1 or below 0, E812 for a budget that is too small for the
    searcher, E813 where nothing is open; at the key of the task file that is wrong. And E505, E506,
    E507, E814 where a space is none for a searcher by gradients.
    """
    try:
        _expect_to_carry_over(task, searched, trained)
        return _searcher_of(task, searched)
    except FusegraphError as error:
        codes = ("E410", "E801", "E802", "E810", "E812", "E813", "E818")
        raise at_key(error, task, _key_of, *codes) from None


def _key_of(found: Diagnostic) -> str:
    """The key of the task file that an error about the search is caused by."""
    if found.code == "E802":
        option = re.search(r"option `([^`]+)`", found.message)
        return f"search.options.{option[1]}" if option else "search.options"
    keys = {
        "E410": "search.set",
        "E810": "search.train.metric",
        "E812": "search.budget",
        "E813": "task.space",
        "E818": "search.price",
    }
    return keys.get(found.code, "search.searcher")


def _searcher_of(task: Task, searched: Program) -> Searcher | GradientSearcher:
    section = task.settings.search
    if section.searcher == "mfas" and section.train.metric in ("loss", "top_1_and_k"):
        raise problem(
            "E810",
            f"MFAS's surrogate predicts scores between 0 and 1, and `{section.train.metric}` is no "
            "such score",
            task.file,
            help="score candidates by an accuracy or an F1 measure, or take the searcher `random`",
        )
    searcher = make_searcher(
        section.searcher, searched.graph, section.options, section.seed, budget=section.budget
    )
    if section.price is not None and owns_a_loop(searcher):
        raise problem(
            "E818",
            f"`{section.searcher}` learns by gradients, and has no scores of networks that a price "
            "could be taken from",
            task.file,
            help="take `price` away, or search by a searcher that trains networks, such as "
            "`random` or `mfas`; `parsec` has a price of its own among its options",
        )
    return searcher


def _expect_to_carry_over(task: Task, searched: Program, trained: Program) -> None:
    """Genotypes that are found carry over to the space that is trained; otherwise E410.

    The search would run to its end before that is noticed.
    """
    lost = _lost(searched, trained)
    if lost is None:
        return
    names = [
        name
        for name in task.settings.search.set
        if searched.constants.get(name) != trained.constants.get(name)
    ]
    moved = ", ".join(f"`{name}`" for name in names) or "what differs"
    raise problem(
        "E410",
        f"genotypes of `{searched.graph.name}` as it is searched do not carry over to it as it is "
        "trained",
        task.file,
        notes=(lost,),
        help=f"put {moved} in `[task] set`: `[search] set` is for sizes alone, as a width",
    )


def _lost(searched: Program, trained: Program) -> str | None:
    """Why genotypes of the one space are none of the other; None where they are."""
    if searched.graph is trained.graph:
        return None
    for key, decision in searched.graph.decisions.items():
        other = trained.graph.decisions.get(key)
        if other is None:
            return f"`{key}` is open while searching, and not when trained"
        if isinstance(decision, Levels) and isinstance(other, Levels):
            continue  # Its labels are its levels, with their widths; its graphs are tried below.
        if missing := [label for label in decision.labels if label not in other.labels]:
            return f"`{key}` offers `{missing[0]}` while searching, and not when trained"

    # What is open only when trained may be out of reach of every genotype that can be found, as
    # deeper layers are. So some genotypes are tried.
    rng = Random(0)

    def drawn(decision: Decision) -> Setting:
        return decision.sample(rng)

    try:
        for _ in range(_DRAWN):
            settings = walk(searched.graph, drawn)
            carry_over(Genotype.of(searched.graph.digest, settings), searched, trained)
    except FusegraphError as error:
        return ", ".join(error.diagnostics[0].notes)
    return None
