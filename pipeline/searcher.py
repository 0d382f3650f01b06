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
from ..searchers.protocol import GradientSearcher, Inheriting, Searcher, owns_a_loop
from ..searchers.registry import SEARCHERS, make_searcher
from ..tasks.placing import at_key
from ..tasks.task_file import Task
from .problems import problem
from .sources import carry_over

TRAIN_JOINTLY = tuple([name for name, searcher in SEARCHERS.items() if searcher.joint])
"""The searchers that train several data sets at once."""
LET_INHERIT = tuple([name for name, searcher in SEARCHERS.items() if searcher.lends])
"""The searchers whose networks share weights that each can go on with by itself."""

_DRAWN = 8
"""Genotypes that are carried over for a try."""


def searcher_of(task: Task, searched: Program, trained: Program) -> Searcher | GradientSearcher:
    """The searcher that the task names, for its space and within its budget.

    Raises FusegraphError: E410 where what is found could not be trained, E503 where the searcher
    sees that no network satisfies `require`, E801-E804, E810 where MFAS is to score by what may be
    above 1 or below 0, E812 for a budget that is too small for the searcher, E813 where nothing is
    open, E814 where the searcher cannot draw; at the key of the task file that is wrong. And E505,
    E506, E507 where a space is none for a searcher by gradients. E819 where it trains one data set
    and the task has several, E820 where the found networks cannot inherit from the search.
    """
    _expect_to_train_jointly(task)
    try:
        _expect_to_carry_over(task, searched, trained)
        searcher = _searcher_of(task, searched)
        _expect_to_begin_with_an_output(task, searched)
        _expect_to_inherit(task, searcher, searched, trained)
        return searcher
    except FusegraphError as error:
        codes = ("E410", "E503", "E801", "E802", "E810", "E812", "E813", "E814", "E818", "E820")
        raise at_key(error, task, lambda found: _key_of(found, task), *codes) from None


def _key_of(found: Diagnostic, task: Task) -> str:
    """The key of the task file that an error about the search is caused by."""
    if found.code == "E802":
        option = re.search(r"option `([^`]+)`", found.message)
        return f"search.options.{option[1]}" if option else "search.options"
    settings = task.settings
    if found.code == "E503":  # what is required may be a parameter, which the task sets
        where = {"search.set": settings.search.set, "task.set": settings.task.set}
        return next((key for key, given in where.items() if given), "task.space")
    keys = {
        "E410": "search.set",
        "E810": "search.train.metric",
        "E812": "search.budget",
        "E813": "task.space",
        "E818": "search.price",
        "E820": "train.inherit",
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
    if section.price is not None and section.searcher in TRAIN_JOINTLY:
        raise problem(
            "E818",
            f"`{section.searcher}` selects a network with the weights that all share, and takes no "
            "price from its score",
            task.file,
            help="take `price` away, and put a limit into the space: "
            f"`require {section.price.measure} <= ...`",
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


def _expect_to_train_jointly(task: Task) -> None:
    """E819, at the first further data set, where the searcher trains one.

    Looked at before the searcher is made: what else it wants of the space is then beside the point.
    """
    joint, name = task.settings.joint, task.settings.search.searcher
    if not joint or name in TRAIN_JOINTLY or name not in SEARCHERS:
        return
    error = problem(
        "E819",
        f"`{name}` trains networks on one data set, and the task has {1 + len(joint)}",
        task.file,
        help=f"search by {_or(TRAIN_JOINTLY)}, or take away all `[joint.NAME]`",
    )
    raise at_key(error, task, f"joint.{next(iter(joint))}")


def _expect_to_begin_with_an_output(task: Task, searched: Program) -> None:
    """E802 where `first`, whose data set trains alone at first, is no output that is trained."""
    from ..searchers.once.heads import expect_trained
    from ..tasks.joint import MAIN

    section = task.settings.search
    first = section.options.get("first") if section.searcher in TRAIN_JOINTLY else None
    if first:
        outputs = [name for name, _ in searched.graph.outputs]
        trained = outputs if len(outputs) == 1 else [MAIN, *task.settings.joint]
        expect_trained(section.searcher, first, trained)


def _expect_to_inherit(
    task: Task, searcher: Searcher | GradientSearcher, searched: Program, trained: Program
) -> None:
    """E820 where what is found has no weights that it could start from or keep."""
    if task.settings.train.inherit == "no":
        return
    name = task.settings.search.searcher
    if not isinstance(searcher, Inheriting):
        raise problem(
            "E820",
            f"`{name}` shares no weights that the networks it finds could inherit",
            task.file,
            help=f'search by {_or(LET_INHERIT)}, or set `inherit = "no"`',
        )
    if searched.graph is not trained.graph:
        names = ", ".join(f"`{name}`" for name in task.settings.search.set)
        raise problem(
            "E820",
            f"`{trained.graph.name}` is searched with other constants than it is trained with, so "
            "the weights of the search do not fit",
            task.file,
            help=f'put {names} in `[task] set`, or set `inherit = "no"`',
        )


def _or(names: tuple[str, ...]) -> str:
    quoted = [f"`{name}`" for name in names]
    return " or ".join([", ".join(quoted[:-1]), quoted[-1]]) if len(quoted) > 1 else quoted[0]


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
