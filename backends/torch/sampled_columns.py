"""The small layers of K networks, level by level: all layers of a level are computed at once.

What takes part: linear layers of f[N, C] on inputs of the network, on each other and each other's
activations, and on concatenations of these, as in MFAS. A layer on a concatenation is the sum of
layers on its parts. Parts that are inputs are multiplied first, for all levels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from ...ir.node import Kernel, Node
from .sampled_build import Build
from .sampled_kernels import IN_PLACE, run
from .sampled_steps import Column, Key, Step


class Recogniser:
    """Tells what a node is as a column; what follows from its op and types alone is remembered."""

    def __init__(self) -> None:
        self._layers: dict[tuple[Kernel, Kernel], tuple[int, bool, tuple[int, ...]] | None] = {}

    def __call__(self, node: Node, inputs: tuple[Step, ...]) -> Column | None:
        """None where it is none."""
        name = node.op.name
        if name == "linear":
            return self._layer(node, inputs[0])
        if name in IN_PLACE:
            below = inputs[0].column
            if below is not None and not below.name:
                slope = node["slope"] if name == "leaky_relu" else 0.0
                if isinstance(slope, float) and slope >= 0:
                    return Column(below.key, inputs, (), name, slope)
        return None

    def _layer(self, node: Node, operand: Step) -> Column | None:
        kinds = (node.kernel, operand.node.kernel)
        if kinds not in self._layers:
            self._layers[kinds] = _layer_of(node)
        found = self._layers[kinds]
        if found is None:
            return None
        out, bias, sizes = found
        parts = operand.inputs if len(sizes) == len(operand.inputs) > 1 else (operand,)
        inner: list[int] = []
        level = 0
        for part, size in zip(parts, sizes, strict=True):
            below = part.column
            if below is not None:
                inner.append(size)
                level = max(level, below.key[0] + 1)
            elif part.call is not None:
                return None
        return Column((level, out, tuple(inner), bias, len(parts) - len(inner)), parts, sizes)


def _layer_of(node: Node) -> tuple[int, bool, tuple[int, ...]] | None:
    """The width of a linear layer, whether it has a bias, and how wide the parts are it reads."""
    (operand,) = node.inputs
    if node["axis"] != 1 or node.type.rank != 2:
        return None
    joined = operand.op.name == "concat" and operand["axis"] == 1
    sizes = [part.type.shape[1] for part in (operand.inputs if joined else (operand,))]
    known = tuple([size for size in sizes if isinstance(size, int)])
    return (node["out"], node["bias"], known) if len(known) == len(sizes) else None


def computed(
    steps: Sequence[Step], wanted: Sequence[Step], taps: Mapping[Step, Tensor]
) -> list[tuple[tuple[Step, ...], Tensor]]:
    """The values of the columns that are `wanted`, those of one width together: f[G, N, C].

    `steps` are all columns of a run, `taps` the values of its inputs.
    """
    layers: dict[Key, list[Step]] = {}
    activations: dict[Key, list[Step]] = {}
    bare = set(wanted)
    for step in steps:
        column = step.column
        assert column is not None
        if column.name:
            activations.setdefault(column.key, []).append(step)
        else:
            layers.setdefault(column.key, []).append(step)
            bare.update(column.parts)
    build = Build(next(iter(taps.values())).device)
    for key in sorted(layers):
        build.level(key, layers[key], activations.get(key, ()), bare)
    program, given = build.finished(wanted)
    pools = build.pools.values()
    found = run(
        program,
        [taps[step] for step in build.taps],
        # Autograd itself shares out the gradients of these.
        [torch.cat([_of(m, "weight") for m in p.bank], 1) if p.bank else None for p in pools],
        [torch.stack([_of(m, "bias") for m in p.offsets]) if p.offsets else None for p in pools],
        [_of(module, "weight") for module, _ in build.weights],
    )
    return list(zip(given, found, strict=True))


def _of(module: nn.Module, name: str) -> Tensor:
    found = module._parameters[name]  # pyright: ignore[reportPrivateUsage]  (`getattr` is slow)
    assert found is not None
    return found
