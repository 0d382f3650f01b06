"""The small layers of K networks, level by level: all linear layers of a level are one product.

What takes part: linear layers of f[N, C] on inputs of the network, on each other and each other's
activations, and on concatenations of these, as in MFAS. A layer on a concatenation is the sum of
layers on its parts. Parts that are inputs are multiplied first, for all levels, and never copied.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from ...ir.node import Kernel, Node
from .sampled_kernels import IN_PLACE, SMALL, Family, Level, Member, Program, Span, run
from .sampled_steps import Column, Key, Step


class Recogniser:
    """Tells what a node is as a column; what follows from its op and types alone is remembered."""

    def __init__(self) -> None:
        self._layers: dict[tuple[Kernel, Kernel], tuple[int, bool, tuple[int, ...]] | None] = {}

    def __call__(self, node: Node, inputs: tuple[Step, ...]) -> Column | None:
        """None where it is none."""
        if node.type.rank != 2 or not inputs:
            return None
        name = node.op.name
        below = inputs[0].column
        if name == "linear":
            return self._layer(node, inputs[0])
        if name in IN_PLACE and below is not None and not below.name:
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
    if node["axis"] != 1:
        return None
    joined = operand.op.name == "concat" and operand["axis"] == 1
    sizes = [part.type.shape[1] for part in (operand.inputs if joined else (operand,))]
    known = tuple([size for size in sizes if isinstance(size, int)])
    return (node["out"], node["bias"], known) if len(known) == len(sizes) else None


def computed(
    steps: Sequence[Step], wanted: Sequence[Step], taps: Mapping[Step, Tensor]
) -> tuple[Tensor, ...]:
    """The values of the columns that are `wanted`, f[N, C] each.

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
    # An index has to lie where what it indexes does: a GPU's kernels take no other.
    build = _Build(next(iter(taps.values())).device)
    for key in sorted(layers):
        build.level(key, layers[key], activations.get(key, []), bare)
    program = build.finished(wanted)
    values = [taps[step] for step in build.taps]
    weights = [_of(module, "weight") for module in build.modules]
    biases = [_of(module, "bias") for module in build.modules]
    return run(program, values, weights, biases)


def _of(module: nn.Module, name: str) -> Tensor | None:
    """A weight; None where the module has none of this name."""
    return module._parameters.get(name)  # pyright: ignore[reportPrivateUsage]  (`getattr` is slow)


class _Build:
    """A program as it grows. `rows` says where each result is: its width, and its row of these."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._levels: list[Level] = []
        self._small: dict[int, dict[int, list[tuple[int, int, int]]]] = {}
        self._counts: dict[int, int] = {}
        self._rows: dict[Step, tuple[int, int]] = {}
        self.taps: dict[Step, int] = {}
        self.modules: dict[nn.Module, int] = {}

    def level(
        self, key: Key, layers: Sequence[Step], activations: Sequence[Step], bare: set[Step]
    ) -> None:
        """Add a level. `bare` has the layers that are read without an activation."""
        _, out, inner, bias, taps = key
        members: list[Member] = []
        operands: list[list[int]] = [[] for _ in inner]
        largest = 0
        for step in layers:
            column, module = step.column, step.module
            assert column is not None
            assert module is not None
            places: list[int] = []
            earlier = 0
            for part in column.parts:
                if part.call is None:
                    places.append(self.taps.setdefault(part, len(self.taps)))
                else:
                    operands[earlier].append(self._rows[part][1])
                    earlier += 1
                    places.append(-earlier)
            weight = self.modules.setdefault(module, len(self.modules))
            members.append(Member(weight, column.sizes, tuple(places)))
            largest = max(largest, out * sum(column.sizes))
        if taps and largest <= SMALL:
            self._into_family(out, members)
        start = self._counts.get(out, 0)
        index, spans = self._results(layers, activations, bare, (out, start))
        stop = self._counts[out] = start + len(index)
        whole = index == list(range(len(layers)))
        one = taps == 0 and len(inner) == 1 and len({m.weight for m in members}) == 1
        rows = tuple([self._index(places) for places in operands])
        chosen = None if whole else self._index(index)
        self._levels.append(
            Level(
                tuple(members), out, bias, taps, inner, rows, chosen, spans, start, stop, one, (),
            )
        )  # fmt: skip

    def _into_family(self, out: int, members: Sequence[Member]) -> None:
        family = self._small.setdefault(out, {})
        level = len(self._levels)
        for at, member in enumerate(members):
            for part, tap in enumerate(member.places):
                if tap >= 0:
                    family.setdefault(tap, []).append((level, at, part))

    def finished(self, wanted: Sequence[Step]) -> Program:
        """The program that gives these results."""
        families = tuple([self._family(out, taps) for out, taps in self._small.items()])
        given: list[tuple[int, int, int]] = []
        for width, row in [self._rows[step] for step in wanted]:
            if given and given[-1][0] == width and given[-1][2] == row:
                given[-1] = (width, given[-1][1], row + 1)
            else:
                given.append((width, row, row + 1))
        return Program(tuple(self._levels), families, self._counts, tuple(given))

    def _family(self, out: int, taps: Mapping[int, Sequence[tuple[int, int, int]]]) -> Family:
        """The family of these parts; its levels learn which products they add up."""
        numbers: dict[tuple[int, int, int], int] = {}
        for own in taps.values():
            for part in own:
                numbers[part] = len(numbers)
        places = sorted({level for level, _, _ in numbers})
        before: dict[int, int] = {}
        count = 0
        products: dict[int, tuple[tuple[int, ...], ...]] = {}
        for place in places:
            level = self._levels[place]
            before[place] = count
            count += len(level.members)
            products[place] = tuple(
                [
                    tuple(
                        [p if p < 0 else numbers[place, at, n] for n, p in enumerate(member.places)]
                    )
                    for at, member in enumerate(level.members)
                ]
            )
            added = [[p for p in own if p >= 0] for own in products[place]]
            sums = tuple([self._index(nth) for nth in zip(*added, strict=True)])
            self._levels[place] = level._replace(sums=sums)
        owners = self._index([before[level] + at for level, at, _ in numbers])
        shared = tuple([(tap, tuple(own)) for tap, own in taps.items()])
        return Family(out, shared, tuple(places), owners, products)

    def _index(self, places: Sequence[int]) -> Tensor:
        return torch.tensor(places, device=self._device)

    def _results(
        self,
        layers: Sequence[Step],
        activations: Sequence[Step],
        bare: set[Step],
        begin: tuple[int, int],
    ) -> tuple[list[int], tuple[Span, ...]]:
        """Which layer each result is of, and the activations of these."""
        width, start = begin
        place = {step: at for at, step in enumerate(layers)}
        by_kind: dict[tuple[str, float], list[Step]] = {}
        for step in activations:
            assert step.column is not None
            by_kind.setdefault((step.column.name, step.column.slope), []).append(step)
        alone = [step for step in layers if step in bare]
        if alone:
            by_kind["", 0.0] = alone
        index: list[int] = []
        spans: list[Span] = []
        for (name, slope), steps in by_kind.items():
            spans.append((name, slope, len(index), len(index) + len(steps)))
            for step in steps:
                assert step.column is not None
                self._rows[step] = (width, start + len(index))
                index.append(place[step.column.parts[0] if name else step])
        return index, tuple(spans)
