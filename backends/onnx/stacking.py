"""Ops on stacks of layers, a row for each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from string import ascii_lowercase

import numpy as np

from ...ir.node import Node
from ...ir.ops.stacking import bank_blocks
from .builder import NUMPY, Builder, fixed, fixed_number
from .elementwise import Lowering


def _stack(b: Builder, node: Node, x: Sequence[str]) -> str:
    return b.emit("Concat", *[b.emit("Unsqueeze", part, b.ints(0)) for part in x], axis=0)


def _gather(b: Builder, node: Node, x: Sequence[str]) -> str:
    rows = x[0] if len(x) == 1 else b.emit("Concat", *x, axis=0)
    return b.emit("Gather", rows, b.ints(*node["index"]), axis=0)


def _offset(b: Builder, node: Node, axis: int) -> str:
    """The offsets [G, out] with an axis of size 1 for each other axis of the result."""
    around = [at for at in range(1, node.type.rank) if at != axis]
    return b.emit("Unsqueeze", b.weight(node, "bias"), b.ints(*around))


def _stacked_linear(b: Builder, node: Node, x: Sequence[str]) -> str:
    axis, rank = node["axis"], node.type.rank
    letters = ascii_lowercase[:rank]  # a is the stack, y what comes in, z what goes out
    taken, given = [letters[:axis] + new + letters[axis + 1 :] for new in "yz"]
    weight = b.weight(node, "weight")
    total = b.emit("Einsum", weight, x[0], equation=f"azy,{taken}->{given}")
    if node["bias"]:
        total = b.emit("Add", total, _offset(b, node, axis))
    return b.emit("Add", total, x[1]) if len(x) > 1 else total


def _stacked_layer_norm(b: Builder, node: Node, x: Sequence[str]) -> str:
    axis: int = node["axis"]
    sizes = [fixed(size, node, "a normalised size") for size in node.type.shape[axis:]]
    ones = b.constant(np.ones(sizes), NUMPY[node.type.dtype])
    epsilon = fixed_number(node["eps"], node, "`eps`")
    normed = b.emit("LayerNormalization", x[0], ones, axis=axis, epsilon=epsilon)
    around = list(range(1, axis))
    scale, offset = [
        b.emit("Unsqueeze", b.weight(node, name), b.ints(*around)) for name in ("weight", "bias")
    ]
    return b.emit("Add", b.emit("Mul", normed, scale), offset)


def _linear_bank(b: Builder, node: Node, x: Sequence[str]) -> str:
    axis, out, per = node["axis"], fixed(node["out"], node, "`out`"), node["per"]
    reads: tuple[int, ...] = node["reads"]
    letters = ascii_lowercase[: node.type.rank - 1]
    taken, rest = letters[:axis] + "y" + letters[axis + 1 :], letters[:axis] + letters[axis + 1 :]
    parts: list[str] = []
    for place, (name, block) in enumerate(zip(x, bank_blocks(len(x), reads), strict=True)):
        width = fixed(node.inputs[place].type.shape[axis], node, "the width of an input")
        shape = b.ints(len(block), out, width)
        weight = b.emit("Reshape", b.weight(node, f"weight.{place}"), shape)
        parts.append(b.emit("Einsum", weight, name, equation=f"xzy,{taken}->xz{rest}"))
    rows = parts[0] if len(parts) == 1 else b.emit("Concat", *parts, axis=0)
    order = [read for block in bank_blocks(len(x), reads) for read in block]
    terms = [
        b.emit("Gather", rows, b.ints(*[order.index(j) for j in range(a, len(reads), per)]), axis=0)
        for a in range(per)
    ]
    total = terms[0] if per == 1 else b.emit("Sum", *terms)
    return b.emit("Add", total, _offset(b, node, 1)) if node["bias"] else total


LOWERINGS: Mapping[str, Lowering] = {
    "stack": _stack,
    "gather": _gather,
    "stacked_linear": _stacked_linear,
    "stacked_layer_norm": _stacked_layer_norm,
    "linear_bank": _linear_bank,
}
