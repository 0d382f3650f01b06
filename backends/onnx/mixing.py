"""Weighted sums and affine maps whose coefficients are values of the graph."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ...ir.node import Node
from .builder import Builder
from .elementwise import Lowering


def _mix(b: Builder, node: Node, x: Sequence[str]) -> str:
    gates, *tensors = x
    parts = [
        b.emit("Mul", b.emit("Gather", gates, b.ints(place), axis=0), tensor)
        for place, tensor in zip(node["index"], tensors, strict=True)
    ]
    return parts[0] if len(parts) == 1 else b.emit("Sum", *parts)


def _affine(b: Builder, node: Node, x: Sequence[str]) -> str:
    if node.type.rank == 2:
        return b.emit("Gemm", *x, transB=1)
    product = b.emit("MatMul", x[0], b.emit("Transpose", x[1], perm=[1, 0]))
    return b.emit("Add", product, x[2]) if len(x) > 2 else product


LOWERINGS: Mapping[str, Lowering] = {"mix": _mix, "affine": _affine}
