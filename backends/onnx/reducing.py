"""Norms, softmax, pooling in windows of any kind, and reductions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ...ir.dims import Expr
from ...ir.node import Node
from .builder import NUMPY, Builder, fixed, fixed_all, fixed_number, fixed_pads
from .elementwise import Lowering
from .sizes import reshape

# ── norms and softmax ────────────────────────────────────────────────────────────────────────────


def _eps(node: Node) -> float:
    return fixed_number(node["eps"], node, "`eps`")


def _batch_norm(b: Builder, node: Node, x: Sequence[str]) -> str:
    weights = [b.weight(node, w) for w in ("weight", "bias", "running_mean", "running_var")]
    return b.emit("BatchNormalization", x[0], *weights, epsilon=_eps(node))


def _layer_norm(b: Builder, node: Node, x: Sequence[str]) -> str:
    weights = [b.weight(node, "weight"), b.weight(node, "bias")]
    return b.emit("LayerNormalization", x[0], *weights, axis=node["axis"], epsilon=_eps(node))


def _group_norm(b: Builder, node: Node, x: Sequence[str]) -> str:
    """Each group as one channel of an InstanceNormalization, then scale and shift per channel.

    Before opset 21 GroupNormalization scales per group, which is another function.
    """
    shape, groups = node.type.shape, fixed(node["groups"], node, "`groups`")
    dtype = NUMPY[node.type.dtype]
    one, zero = b.constant(np.ones(groups), dtype), b.constant(np.zeros(groups), dtype)
    grouped = b.emit("Reshape", x[0], b.ints(0, groups, -1))
    normal = b.emit("InstanceNormalization", grouped, one, zero, epsilon=_eps(node))
    if sum(isinstance(size, Expr) for size in shape[1:]) > 1:
        normal = b.emit("Reshape", normal, b.emit("Shape", x[0]))
    else:
        normal = reshape(b, normal, shape[:1], shape, node)
    scale, offset = b.weight(node, "weight"), b.weight(node, "bias")
    if len(shape) > 2:
        axes = b.ints(*range(1, len(shape) - 1))
        scale, offset = b.emit("Unsqueeze", scale, axes), b.emit("Unsqueeze", offset, axes)
    return b.emit("Add", b.emit("Mul", normal, scale), offset)


def _softmax(b: Builder, node: Node, x: Sequence[str]) -> str:
    return b.emit("Softmax", x[0], axis=node["axis"])


def _log_softmax(b: Builder, node: Node, x: Sequence[str]) -> str:
    return b.emit("LogSoftmax", x[0], axis=node["axis"])


# ── windows that slide ───────────────────────────────────────────────────────────────────────────


def _padded(b: Builder, node: Node, x: str, fill: float) -> tuple[str, list[int] | None]:
    """`x` and the pads that are left to the pool, which takes none as wide as its window."""
    pads, kernel = fixed_pads(node), fixed_all(node, "kernel")
    if not any(pads):
        return x, None
    if all(pad < size for pad, size in zip(pads, kernel * 2, strict=True)):
        return x, pads
    half = len(kernel)
    every = b.ints(0, 0, *pads[:half], 0, 0, *pads[half:])
    # Negated and back: onnxruntime 1.31 merges a Pad before a pool into it, and then refuses it.
    least = b.constant(-fill, NUMPY[node.type.dtype])
    return b.emit("Neg", b.emit("Pad", b.emit("Neg", x), every, least)), None


def _max_pool(b: Builder, node: Node, x: Sequence[str]) -> str:
    value, pads = _padded(b, node, x[0], -np.inf)
    kernel, stride = fixed_all(node, "kernel"), fixed_all(node, "stride")
    return b.emit("MaxPool", value, kernel_shape=kernel, strides=stride, pads=pads)


def _avg_pool(b: Builder, node: Node, x: Sequence[str]) -> str:
    value, pads = _padded(b, node, x[0], 0.0)
    kernel, stride = fixed_all(node, "kernel"), fixed_all(node, "stride")
    return b.emit(
        "AveragePool",
        value,
        kernel_shape=kernel,
        strides=stride,
        pads=pads,
        count_include_pad=1 if pads else None,
    )


# ── windows that adapt ───────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Windows:
    """The windows that bring an axis of `old` elements to `new`: from floor(i*old/new) up to
    ceil((i+1)*old/new). They overlap where `new` does not divide `old`.
    """

    old: int
    new: int

    @property
    def starts(self) -> list[int]:
        """The first element of each window."""
        return [i * self.old // self.new for i in range(self.new)]

    @property
    def lengths(self) -> list[int]:
        """How many elements each window has."""
        return [-(-(i + 1) * self.old // self.new) - s for i, s in enumerate(self.starts)]

    @property
    def sliding(self) -> tuple[int, int] | None:
        """Kernel and stride where the windows are those of a plain pool, else None."""
        steps = {b - a for a, b in zip(self.starts, self.starts[1:], strict=False)} or {1}
        if len(set(self.lengths)) > 1 or len(steps) > 1 or 0 in steps:
            return None
        return self.lengths[0], steps.pop()

    @property
    def members(self) -> list[list[int]]:
        """The elements of each window, the last one repeated where others have one more."""
        widest = max(self.lengths)
        return [
            [start + min(offset, length - 1) for offset in range(widest)]
            for start, length in zip(self.starts, self.lengths, strict=True)
        ]

    @property
    def shares(self) -> list[list[float]]:
        """What each of `members` adds to the mean of its window."""
        return [
            [1 / length / row.count(element) for element in row]
            for row, length in zip(self.members, self.lengths, strict=True)
        ]


def _adaptive(pool: str, reduce: str) -> Lowering:
    """One plain pool where the windows of every axis are regular, else axis by axis: windows are
    gathered along a new axis, and that axis is reduced.
    """

    def lowering(b: Builder, node: Node, x: Sequence[str]) -> str:
        sizes = zip(node.inputs[0].type.shape[2:], fixed_all(node, "size"), strict=True)
        windows = [Windows(fixed(old, node, "an axis"), new) for old, new in sizes]
        sliding = [w.sliding for w in windows]
        regular = [(1, 1) if s is None else s for s in sliding]
        value = x[0]
        if any(kernel > 1 or stride > 1 for kernel, stride in regular):
            kernels, strides = zip(*regular, strict=True)
            value = b.emit(pool, value, kernel_shape=list(kernels), strides=list(strides))
        for axis, w in enumerate(windows, 2):
            if w.sliding is None:
                value = b.emit("Gather", value, b.constant(w.members, np.int64), axis=axis)
                if reduce == "ReduceSum":
                    tail = (1,) * (node.type.rank - axis - 1)
                    shares = np.asarray(w.shares).reshape(w.new, -1, *tail)
                    value = b.emit("Mul", value, b.constant(shares, NUMPY[node.type.dtype]))
                value = b.emit(reduce, value, b.ints(axis + 1), keepdims=0)
        return value

    return lowering


# ── reductions ───────────────────────────────────────────────────────────────────────────────────


def _reduction(op: str) -> Lowering:
    return lambda b, node, x: b.emit(op, x[0], b.ints(*node["axis"]), keepdims=int(node["keep"]))


LOWERINGS: Mapping[str, Lowering] = {
    "batch_norm": _batch_norm,
    "layer_norm": _layer_norm,
    "group_norm": _group_norm,
    "softmax": _softmax,
    "log_softmax": _log_softmax,
    "max_pool": _max_pool,
    "avg_pool": _avg_pool,
    "adaptive_max_pool": _adaptive("MaxPool", "ReduceMax"),
    "adaptive_avg_pool": _adaptive("AveragePool", "ReduceSum"),
    "mean": _reduction("ReduceMean"),
    "amax": _reduction("ReduceMax"),
    "total": _reduction("ReduceSum"),
}
