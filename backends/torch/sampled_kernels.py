"""Many small layers at once, forward and back in one step of autograd.

Values are stacks f[G, C, N]: G results of one width, each with its samples in columns, as a product
of a matrix by columns is the fastest of all on a CPU.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import islice
from typing import Any, NamedTuple

import torch
from torch import Tensor

_aten = torch.ops.aten

SMALL = 16_384
"""Numbers of a weight below which one more call costs more than a copy of it."""


class Member(NamedTuple):
    """A linear layer: its weight, how wide its parts are, and what each goes with.

    A part goes with a tap, `taps[i]`, or is the j-th of those that go with earlier results: -1-j.
    """

    weight: int
    sizes: tuple[int, ...]
    places: tuple[int, ...]


Span = tuple[str, float, int, int]
"""An activation with its slope, or "" for none, and the rows of a level's results it is for."""


class Level(NamedTuple):
    """Layers of one width that read as many taps and earlier results of the same widths.

    `widths` and `rows` are of the earlier results, by place: the rows of all results of that width.
    The results of the level are the layers `chosen` (all in order where None), through `spans`;
    their rows begin at `start`. `shared`: all layers have one weight, and one part. `sums`: by
    place the products of a `Family` that are added up, where the level is one's.
    """

    members: tuple[Member, ...]
    out: int
    bias: bool
    taps: int
    widths: tuple[int, ...]
    rows: tuple[Tensor, ...]
    chosen: Tensor | None
    spans: tuple[Span, ...]
    start: int
    stop: int
    shared: bool
    sums: tuple[Tensor, ...]


class Family(NamedTuple):
    """Parts of small layers that read taps: those of one tap are one product.

    `taps`: each with its parts, as level, member and part; `levels`: which have such layers, and
    `owners`: of each product, its layer, these levels' layers counted on. `products`: by level and
    member, the product of each part, or -1-j.
    """

    out: int
    taps: tuple[tuple[int, tuple[tuple[int, int, int], ...]], ...]
    levels: tuple[int, ...]
    owners: Tensor
    products: dict[int, tuple[tuple[int, ...], ...]]


class Program(NamedTuple):
    """Levels, each after those that it reads; families; how many results of each width there are;
    which are given, by width from row to row.
    """

    levels: tuple[Level, ...]
    families: tuple[Family, ...]
    counts: dict[int, int]
    given: tuple[tuple[int, int, int], ...]


def _leaky_relu(x: Tensor, slope: float) -> Tensor:
    return torch.nn.functional.leaky_relu_(x, slope)


IN_PLACE: dict[str, Callable[[Tensor, float], Tensor]] = {
    "relu": lambda x, _: x.relu_(),
    "sigmoid": lambda x, _: x.sigmoid_(),
    "tanh": lambda x, _: x.tanh_(),
    "leaky_relu": _leaky_relu,
}
"""Activations whose gradient follows from their result."""

_BACK: dict[str, Callable[[Tensor, Tensor, float, Tensor], Tensor]] = {
    "relu": lambda g, y, _, out: _aten.threshold_backward.grad_input(g, y, 0, grad_input=out),
    "sigmoid": lambda g, y, _, out: _aten.sigmoid_backward.grad_input(g, y, grad_input=out),
    "tanh": lambda g, y, _, out: _aten.tanh_backward.grad_input(g, y, grad_input=out),
    "leaky_relu": lambda g, y, slope, out: _aten.leaky_relu_backward.grad_input(
        g, y, slope, True, grad_input=out
    ),
}


class _Run(torch.autograd.Function):
    """The whole program. Gradients reach the weights alone."""

    @staticmethod
    def forward(
        ctx: Any, program: Program, taps: Sequence[Tensor], *weights: Tensor
    ) -> tuple[Tensor, ...]:
        columns = [tap.t().contiguous() for tap in taps]
        like = weights[0]
        samples = columns[0].shape[1]
        half = len(weights) // 2
        stores = {c: like.new_empty(rows, c, samples) for c, rows in program.counts.items()}
        parts = [_parts(level, weights) for level in program.levels]
        products: dict[int, Tensor] = {}
        for family in program.families:
            products.update(dict.fromkeys(family.levels, _products(family, parts, columns)))
        kept: list[list[Tensor]] = []
        for place, level in enumerate(program.levels):
            total: Tensor | None = None
            if level.bias:
                if level.shared:
                    total = weights[half + level.members[0].weight][None, :, None]
                else:
                    total = torch.stack([weights[half + m.weight] for m in level.members])
                    total = total[:, :, None]
            if level.sums:
                whole = products[place]
                for places in level.sums:
                    part = whole.index_select(0, places)
                    total = part if total is None else part.add_(total)
            elif level.taps:
                shape = (len(level.members), level.out, samples)
                fresh = like.new_zeros(shape) if total is None else like.new_empty(shape)
                total = fresh if total is None else fresh.copy_(total)
                for row, member, own in zip(
                    total.unbind(0), level.members, parts[place], strict=True
                ):
                    for part, tap in zip(own, member.places, strict=True):
                        if tap >= 0:
                            row.addmm_(part, columns[tap])
            saved: list[Tensor] = []
            for earlier, (width, rows) in enumerate(zip(level.widths, level.rows, strict=True)):
                x = stores[width].index_select(0, rows)
                w = _stacked(level, parts[place], earlier)
                saved += [x, w]
                total = torch.bmm(w, x) if total is None else torch.baddbmm(total, w, x)
            assert total is not None
            kept.append(saved)
            store = stores[level.out][level.start : level.stop]
            if level.chosen is None:
                store.copy_(total)
            else:
                torch.index_select(total, 0, level.chosen, out=store)
            for name, slope, start, stop in level.spans:
                if name:
                    IN_PLACE[name](store[start:stop], slope)
        ctx.program, ctx.stores, ctx.kept = program, stores, kept
        ctx.taps = taps
        ctx.shapes = [weight.shape for weight in weights[:half]]
        ctx.set_materialize_grads(False)
        return tuple(
            [
                row
                for width, start, stop in program.given
                for row in stores[width][start:stop].transpose(1, 2).contiguous().unbind(0)
            ]
        )

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Any, ...]:
        program: Program = ctx.program
        stores: dict[int, Tensor] = ctx.stores
        back = {width: torch.zeros_like(store) for width, store in stores.items()}
        given = iter(grads)
        for width, start, stop in program.given:
            own = list(islice(given, stop - start))
            there = [g for g in own if g is not None]
            if len(there) == len(own):
                torch.stack(there, out=back[width][start:stop].transpose(1, 2))
            else:
                for row, g in enumerate(own, start):
                    if g is not None:
                        back[width][row] = g.t()
        found = _Gradients(ctx.shapes, ctx.taps)
        for place in range(len(program.levels) - 1, -1, -1):
            level, saved = program.levels[place], ctx.kept[place]
            g = back[level.out][level.start : level.stop]
            y = stores[level.out][level.start : level.stop]
            for name, slope, start, stop in level.spans:
                if name:
                    part = g[start:stop]
                    _BACK[name](part, y[start:stop], slope, part)
            if level.chosen is not None:
                whole = g.new_zeros((len(level.members), *g.shape[1:]))
                g = whole.index_add_(0, level.chosen, g)
            inner: list[Tensor] = []
            for earlier, (width, rows) in enumerate(zip(level.widths, level.rows, strict=True)):
                x, w = saved[2 * earlier : 2 * earlier + 2]
                inner.append(torch.bmm(g, x.transpose(1, 2)))
                back[width].index_add_(0, rows, torch.bmm(w.transpose(1, 2), g))
            found.add(place, level, g, inner)
        return (None, None, *found.finished(program))


def _parts(level: Level, weights: Sequence[Tensor]) -> list[Sequence[Tensor]]:
    """The parts of each layer's weight."""
    if level.shared:
        return [(weights[level.members[0].weight],)]
    return [
        weights[weight].split_with_sizes(sizes, 1) if len(sizes) > 1 else (weights[weight],)
        for weight, sizes, _ in level.members
    ]


def _stacked(level: Level, parts: Sequence[Sequence[Tensor]], earlier: int) -> Tensor:
    """The parts that go with one earlier result, f[G, out, C]."""
    if level.shared:
        return parts[0][0].expand(len(level.members), -1, -1)
    at = -1 - earlier
    return torch.stack(
        [own[m.places.index(at)] for own, m in zip(parts, level.members, strict=True)]
    )


def _products(
    family: Family, parts: Sequence[Sequence[Sequence[Tensor]]], columns: Sequence[Tensor]
) -> Tensor:
    """The products of a family, f[P, out, N]."""
    first = columns[0]
    found = first.new_empty(family.owners.shape[0], family.out, first.shape[1])
    start = 0
    for tap, own in family.taps:
        stop = start + len(own)
        stacked = torch.cat([parts[level][member][part] for level, member, part in own])
        torch.mm(stacked, columns[tap], out=found[start:stop].flatten(0, 1))
        start = stop
    return found


class _Gradients:
    """The gradients of weights and offsets, put together from those of their parts."""

    def __init__(self, shapes: Sequence[torch.Size], taps: Sequence[Tensor]) -> None:
        self._shapes = shapes
        self._taps = taps
        self._weights: list[Tensor | None] = [None] * len(shapes)
        self._offsets: list[Tensor | None] = [None] * len(shapes)
        self._inner: dict[int, Sequence[Tensor]] = {}
        self._layers: dict[int, Tensor] = {}

    def add(self, place: int, level: Level, g: Tensor, inner: Sequence[Tensor]) -> None:
        """The gradients of the layers of a level, f[G, out, N], and of their parts that go with
        earlier results.
        """
        if level.bias:
            offsets = g.sum(2)
            if level.shared:
                self._offset(level.members[0].weight, offsets.sum(0))
            else:
                for member, offset in zip(level.members, offsets.unbind(0), strict=True):
                    self._offset(member.weight, offset)
        if level.shared:
            self._weight(level.members[0].weight, inner[0].sum(0))
        elif level.sums:
            self._layers[place], self._inner[place] = g, inner
        elif level.taps:
            self._large(level, g, inner)
        else:
            self._joined(level, [m.places for m in level.members], (), inner)

    def finished(self, program: Program) -> list[Tensor | None]:
        """All of them, weights first."""
        for family in program.families:
            whole = torch.cat([self._layers[place] for place in family.levels])
            rows = whole.index_select(0, family.owners)
            parts: list[Tensor] = []
            start = 0
            for tap, own in family.taps:
                stop = start + len(own)
                x = self._taps[tap]
                found = rows[start:stop].flatten(0, 1) @ x
                parts += found.view(len(own), family.out, x.shape[1]).unbind(0)
                start = stop
            for place in family.levels:
                level, inner = program.levels[place], self._inner[place]
                self._joined(level, family.products[place], parts, inner)
        return [*self._weights, *self._offsets]

    def _joined(
        self,
        level: Level,
        sources: Sequence[tuple[int, ...]],
        parts: Sequence[Tensor],
        inner: Sequence[Tensor],
    ) -> None:
        stacks = [stack.unbind(0) for stack in inner]
        for at, (member, own) in enumerate(zip(level.members, sources, strict=True)):
            whole = [parts[p] if p >= 0 else stacks[-1 - p][at] for p in own]
            self._weight(member.weight, whole[0] if len(whole) == 1 else torch.cat(whole, 1))

    def _large(self, level: Level, g: Tensor, inner: Sequence[Tensor]) -> None:
        stacks = [stack.unbind(0) for stack in inner]
        for at, (row, member) in enumerate(zip(g.unbind(0), level.members, strict=True)):
            whole = g.new_empty(self._shapes[member.weight])
            parts = whole.split_with_sizes(member.sizes, 1)
            for part, tap in zip(parts, member.places, strict=True):
                if tap >= 0:
                    torch.mm(row, self._taps[tap], out=part)
                else:
                    part.copy_(stacks[-1 - tap][at])
            self._weight(member.weight, whole)

    def _weight(self, place: int, g: Tensor) -> None:
        before = self._weights[place]
        self._weights[place] = g if before is None else before + g

    def _offset(self, place: int, g: Tensor) -> None:
        before = self._offsets[place]
        self._offsets[place] = g if before is None else before + g


def run(
    program: Program,
    taps: Sequence[Tensor],
    weights: Sequence[Tensor | None],
    biases: Sequence[Tensor | None],
) -> tuple[Tensor, ...]:
    """The results that are given, f[N, C] each. taps: f[N, C], weights: f[out, in], biases: f[out],
    or None where there is none.

    Gradients reach weights and biases alone.
    """
    return _Run.apply(program, taps, *weights, *biases)
