"""Ops that move elements: concat, reshape, flatten, transpose, slice, pad, expand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ...ir.dims import Expr, Static
from ...ir.node import Node
from .builder import NUMPY, Builder
from .elementwise import Lowering
from .sizes import reshape, size_vector, vector

_END = 2**63 - 1
"""As the end of a slice: however long the axis is."""


def _concat(b: Builder, node: Node, x: Sequence[str]) -> str:
    return x[0] if len(x) == 1 else b.emit("Concat", *x, axis=node["axis"])


def _reshape(b: Builder, node: Node, x: Sequence[str]) -> str:
    return reshape(b, x[0], node.inputs[0].type.shape, node.type.shape, node)


def _flatten(b: Builder, node: Node, x: Sequence[str]) -> str:
    """Every axis before `axis` is copied, what is left is inferred, whatever the sizes are."""
    return b.emit("Reshape", x[0], b.ints(*[0] * node["axis"], -1))


def _transpose(b: Builder, node: Node, x: Sequence[str]) -> str:
    return b.emit("Transpose", x[0], perm=list(node["axes"]))


def _slice(b: Builder, node: Node, x: Sequence[str]) -> str:
    size: Static = node.inputs[0].type.shape[node["axis"]]
    start = _bound(b, node["start"], size, node, 0)
    stop = _bound(b, node["stop"], size, node, _END)
    step = size_vector(b, node["step"], node)
    return b.emit("Slice", x[0], start, stop, b.ints(node["axis"]), step)


def _bound(b: Builder, value: Static, size: Static, node: Node, at_end: int) -> str:
    """An end of a slice: as a number where it can be, counted from the back if need be."""
    if isinstance(value, Expr):
        behind = value - size
        if not isinstance(behind, Expr):
            return b.ints(int(behind) if behind < 0 else at_end)
    return size_vector(b, value, node)


def _pad(b: Builder, node: Node, x: Sequence[str]) -> str:
    before, after = zip(*node["pad"], strict=True)
    pads = vector(b, (0, 0, *before, 0, 0, *after), node)
    return b.emit("Pad", x[0], pads, b.constant(0, NUMPY[node.type.dtype]))


def _expand(b: Builder, node: Node, x: Sequence[str]) -> str:
    """All other axes are asked to be at least 1, which they are."""
    sizes: list[Static] = [1] * node.type.rank
    sizes[node["axis"]] = node["size"]
    return b.emit("Expand", x[0], vector(b, sizes, node))


LOWERINGS: Mapping[str, Lowering] = {
    "concat": _concat,
    "reshape": _reshape,
    "flatten": _flatten,
    "transpose": _transpose,
    "slice": _slice,
    "pad": _pad,
    "expand": _expand,
}
