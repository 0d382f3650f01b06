"""Ops that give a graph its structure: inputs, formals, open choices, whole composites."""

from __future__ import annotations

from collections.abc import Sequence

from ..dims import Dim, pick
from ..types import Type, tensor
from .base import Attr, Attrs, Misfit, Op
from .roles import Assigned, Either, Given, Roles, same


def _declared(types: Sequence[Type], attrs: Attrs) -> Type:
    return attrs["type"]


def _choice(types: Sequence[Type], attrs: Attrs) -> Type:
    """One type for all candidates; a size that differs among them is open."""
    first = types[0]
    if all(other is first for other in types):
        return first
    for place, other in enumerate(types):
        if other.dtype != first.dtype or other.rank != first.rank:
            raise Misfit(
                f"the candidates are not of one kind: {first.pretty} and {other.pretty}",
                code="E305",
                inputs=(0, place),
                help="bring them to one dtype and one number of axes first, for example by pooling",
            )
    decision, slot = attrs["decision"], attrs["slot"]
    shape: list[Dim] = []
    for sizes in zip(*[t.shape for t in types], strict=True):
        size = pick(decision, slot, sizes)
        assert not isinstance(size, float)
        shape.append(size)  # pyright: ignore[reportArgumentType]
    return tensor(first.dtype, tuple(shape))


def _choice_roles(given: Given) -> Assigned:
    decision, slot = given.attrs["decision"], given.attrs["slot"]
    out: list[Roles] = []
    for size, options in zip(given.type.shape, zip(*given.inputs, strict=True), strict=True):
        agree = [same(options[0], other) for other in options[1:]]
        out.append(options[0] if all(agree) else Either(size, decision, slot, options))
    return Assigned(tuple(out))


def _maybe(types: Sequence[Type], attrs: Attrs) -> Type:
    return tensor(types[0].dtype, types[0].shape, (attrs["decision"], attrs["index"]))


def _body_type(types: Sequence[Type], attrs: Attrs) -> Type:
    return attrs["body"].type


_NAME = Attr("name", "text", "its name")
_TYPE = Attr("type", "text", "its declared type")
_DECISION = Attr("decision", "text", "the decision")

INPUT = Op("input", "A named input.", (), _declared, (_NAME, _TYPE), structural=True)
FORMAL = Op(
    "formal", "An operand of the composite in whose body it stands.", (), _declared, (_NAME, _TYPE),
    structural=True,
)  # fmt: skip
CHOICE = Op(
    "choice",
    "The candidate that `decision` takes at `slot`.",
    ("*x",),
    _choice,
    (_DECISION, Attr("slot", "int", "which of the k values")),
    structural=True,
    roles=_choice_roles,
)
MAYBE = Op(
    "maybe",
    "Its input, where the subset that `decision` takes holds `index`; else nothing at all.",
    ("x",),
    _maybe,
    (_DECISION, Attr("index", "int", "the candidate")),
    structural=True,
)
CELL = Op(
    "cell",
    "A composite, whole: `body` computes it from `formals`, which stand for the inputs.",
    ("*x",),
    _body_type,
    (
        _NAME,
        Attr("formals", "text", "the operands, as they stand in the body"),
        Attr("body", "text", "the result, a node"),
        Attr("bound", "text", "the attributes it was made with, for people"),
    ),
    structural=True,
)

LEVELS = Op(
    "levels",
    "An output of a program whose `levels` are open: which graph it is, its setting says.",
    ("*x",),
    _declared,
    (
        _DECISION,
        Attr("program", "text", "the program, whole, as `dsl.bundles` writes it"),
        Attr("output", "text", "which of its outputs"),
        Attr("outer", "text", "the decisions that are none of a node's own"),
        _TYPE,
    ),
    structural=True,
)

OPS = (INPUT, FORMAL, CHOICE, MAYBE, CELL, LEVELS)
