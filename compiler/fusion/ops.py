"""The ops of fused graphs: what passes write and the fused lowering of a backend reads.

They are not of the language: no file can call them. Each is a formula over the language's own ops.
A tensor in *rows* is a matrix [R, C] that has a row for each sample and position.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from ...ir.dims import Static
from ...ir.node import Node, intern
from ...ir.ops import Attr, Attrs, Op, Weight
from ...ir.types import Type, tensor


class Block(NamedTuple):
    """A part of a matrix: rows from `top` up to `bottom`, columns from `left` up to `right`."""

    top: int
    bottom: int
    left: int
    right: int


class Norm(NamedTuple):
    """A batch norm over rows, each of which stands for `repeats` equal ones."""

    eps: float
    momentum: float
    repeats: Static


class Tail(NamedTuple):
    """What follows on columns from `start` up to `stop`; `p` is the probability of a dropout.

    `kind`: `copy` keeps them, `relu` and `sigmoid` are themselves, `glu` is a * sigmoid(b) for the
    columns a and as many columns b from `gate` on.
    """

    kind: str
    start: int
    stop: int
    gate: int
    p: float


class Term(NamedTuple):
    """`coefficient * x[operand]`, of whose columns the first is `column`.

    The coefficient is the sum of `factor * gates[gate]` over `parts`, in which the gate -1 is 1.
    """

    operand: int
    column: int
    parts: tuple[tuple[int, float], ...]


def _repeat(types: Sequence[Type], attrs: Attrs) -> Type:
    rows, *rest = types[0].shape
    return tensor(types[0].dtype, (rows * attrs["times"], *rest))


def _dense_width(attrs: Attrs) -> int:
    tails: tuple[Tail, ...] = attrs["tails"]
    return sum(t.stop - t.start for t in tails) if tails else attrs["out"]


def _dense(types: Sequence[Type], attrs: Attrs) -> Type:
    return tensor(types[0].dtype, (types[0].shape[0], _dense_width(attrs)))


def _dense_weights(types: Sequence[Type], attrs: Attrs) -> tuple[Weight, ...]:
    out, (start, stop) = attrs["out"], attrs["bias"]
    found = [Weight("weight", (out, types[0].shape[1]), "packed")]
    for place, block in enumerate(attrs["extras"]):
        shape = (block.bottom - block.top, block.right - block.left)
        found.append(Weight(f"extra_{place}", shape, "packed"))
    if stop > start:
        found.append(Weight("bias", (stop - start,), "packed"))
    if attrs["norm"] is not None:
        found += [
            Weight("norm_weight", (out,), "packed"),
            Weight("norm_bias", (out,), "packed"),
            Weight("running_mean", (out,), "packed", buffer=True),
            Weight("running_var", (out,), "packed", buffer=True),
            Weight("num_batches_tracked", (), "packed", buffer=True),
        ]
    return tuple(found)


def _blend(types: Sequence[Type], attrs: Attrs) -> Type:
    rows = types[1].shape[0]
    return tensor(types[1].dtype, (rows, *attrs["shape"]))


def _attend(types: Sequence[Type], attrs: Attrs) -> Type:
    query, _, value = types
    return tensor(query.dtype, (*query.shape[:-1], value.shape[-1]))


def _norm_weights(types: Sequence[Type], attrs: Attrs) -> tuple[Weight, ...]:
    shape = (types[0].shape[1],)
    return (
        Weight("weight", shape, "ones"),
        Weight("bias", shape, "zeros"),
        Weight("running_mean", shape, "zeros", buffer=True),
        Weight("running_var", shape, "ones", buffer=True),
        Weight("num_batches_tracked", (), "zeros", buffer=True),
    )


def _same_type(types: Sequence[Type], attrs: Attrs) -> Type:
    return types[0]


REPEAT = Op(
    "repeat",
    "Each row `times` times, one after the other. x: [R, C] -> [R*times, C].",
    ("x",),
    _repeat,
    (Attr("times", "int", "how often"),),
)
REPEATED_NORM = Op(
    "repeated_norm",
    "`batch_norm` of rows each of which stands for `repeats` equal ones: mean and variance are the "
    "same, and the running variance is that of R*repeats numbers. x: [R, C].",
    ("x",),
    _same_type,
    (
        Attr("eps", "number", "added to the variance"),
        Attr("momentum", "number", "the share of the new batch in the running statistics"),
        Attr("gamma", "number", "where the scale starts"),
        Attr("repeats", "int", "how many rows each row stands for"),
    ),
    _norm_weights,
)
DENSE = Op(
    "dense",
    "Linear layers that read one input, stacked, with what follows each: h = W x + b, normalised "
    "per column where there is a `norm`, and then `tails`, side by side. W is the weight plus the "
    "`extras`, each added to a block of it; b has numbers from `bias[0]` up to `bias[1]`, else "
    "zeros. x: [R, in] -> [R, widths of the tails].",
    ("x",),
    _dense,
    (
        Attr("out", "int", "the columns of h"),
        Attr("extras", "text", "blocks, see Block"),
        Attr("bias", "ints", "which columns have an offset"),
        Attr("norm", "text", "see Norm"),
        Attr("tails", "text", "see Tail; none: h itself"),
    ),
    _dense_weights,
)
BLEND = Op(
    "blend",
    "The sum of `terms`, see Term. gates: [K], x: [R, Ci, …] -> [R, *shape].",
    ("gates", "*x"),
    _blend,
    (Attr("terms", "text", "see Term"), Attr("shape", "ints", "of the result, without its rows")),
)
ATTEND = Op(
    "attend",
    "softmax(scale * x yᵀ) v, the softmax over the rows of y. x: [N, A, C], y: [N, B, C], "
    "v: [N, B, D] -> [N, A, D].",
    ("x", "y", "v"),
    _attend,
    (Attr("scale", "number", "by which the products are multiplied"),),
)

FUSED: Mapping[str, Op] = {op.name: op for op in (REPEAT, REPEATED_NORM, DENSE, BLEND, ATTEND)}
"""The ops of this file by name."""


def made(op: Op, inputs: Sequence[Node], *attrs: Any, key: str = "") -> Node:
    """The node of one of these ops, of whose attributes these are the values in order."""
    return intern(op, tuple(inputs), attrs, key)
