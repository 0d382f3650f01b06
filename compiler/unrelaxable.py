"""What cannot be relaxed, and what to do about it: E506 and E507."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import prod

from ..ir.decisions import Decision
from ..ir.diagnostics import Diagnostic, FusegraphError
from ..ir.graph import Graph
from ..ir.levels import Levels
from ..ir.node import Node
from ..ir.types import Type

MOST_VARIANTS = 64
"""How many layers one op with open numbers may stand for."""


def require_one_type(decision: Decision, candidates: Sequence[Node]) -> None:
    """Raise E506 unless all candidates have one type, which is settled."""
    types: dict[Type, list[str]] = {}
    for label, candidate in zip(decision.labels, candidates, strict=True):
        types.setdefault(candidate.type, []).append(label)
    if len(types) == 1:
        return
    notes = [f"{type.pretty}: {', '.join(labels)}" for type, labels in types.items()]
    vectors = all(type.rank == 2 for type in types)
    mend = (
        "`linear(x, out=W)`, or `align_vector`" if vectors else "`align(x, channels=C, length=L)`"
    )
    raise FusegraphError(
        Diagnostic(
            code="E506",
            message=f"`{decision.key}` cannot be relaxed: its candidates differ in size, "
            "and a weighted sum needs one",
            place=decision.key,
            notes=tuple(notes[:8] + ([f"and {len(notes) - 8} more"] if len(notes) > 8 else [])),
            help=f"bring each candidate to one size first, for example by {mend} of `std/bm_nas`",
        )
    )


def together(problems: Sequence[Diagnostic]) -> list[Diagnostic]:
    """One E506 for all decisions: the first is spelt out, the others are named."""
    sizes = [problem for problem in problems if problem.code == "E506"]
    if len(sizes) < 2:
        return list(problems)
    first, *rest = sizes
    shown = ", ".join([f"`{problem.place}`" for problem in rest[:8]])
    more = f" and {len(rest) - 8} more" if len(rest) > 8 else ""
    note = f"the same holds for {shown}{more}"
    others = [problem for problem in problems if problem.code != "E506"]
    return [replace(first, notes=(*first.notes, note)), *others]


def require_no_levels(space: Graph) -> None:
    """Raise E506 for an open levelled graph: it has no list of candidates to be summed up."""
    for decision in space.decisions.values():
        if isinstance(decision, Levels):
            raise FusegraphError(
                Diagnostic(
                    code="E506",
                    message=f"`{decision.key}` cannot be relaxed: `levels` leaves open how many "
                    "nodes there are and how wide, and a weighted sum needs values that are there",
                    place=decision.key,
                    help="search this space by samples, as `evolution` and `random` do, or write "
                    "its nodes out and leave open which values each takes",
                )
            )


def not_summed(node: Node, where: str) -> Diagnostic:
    """E507: the value `node`, which may be absent, goes into something other than a sum."""
    return Diagnostic(
        code="E507",
        message=f"`{node.decision.key}` cannot be relaxed: a subset has weights only in a sum, "
        f"and it goes into {where}",
        place=node.decision.key,
        help="take the subset into a `sum`, or search this space by samples",
    )


def too_many(node: Node, decisions: Sequence[Decision]) -> Diagnostic:
    """E507: the numbers in the op's attributes stand for too many layers, or for a subset."""
    names = ", ".join([f"`{d.key}`" for d in decisions])
    return Diagnostic(
        code="E507",
        message=f"{names} cannot be relaxed: in `{node.op.name}` they stand for "
        f"{prod(d.count() for d in decisions)} different layers",
        place=node.key or decisions[0].key,
        notes=(f"at most {MOST_VARIANTS} layers are tried at one place, and no sizes of subsets",),
        help="open fewer numbers in one op, or search this space by samples",
    )
