"""Many small layers at once, forward and back in one step of autograd.

Values are stacks f[G, C, N]: G results of one width, each with its samples in columns, as a product
of a matrix by columns is the fastest of all on a CPU.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from .sampled_banks import Gradients, Pool, Read, opened, part_of

_aten = torch.ops.aten


class Inner(NamedTuple):
    """What a group's layers multiply by earlier results of this width, which are at these rows of
    all of that width: a part of the pool, or where they are large the parts `apart` of weights.
    """

    width: int
    rows: Tensor
    part: int
    apart: tuple[Read, ...]


class Group(NamedTuple):
    """Layers that read as many inputs, and earlier results of the same widths.

    Each adds up products of the pool at the place `pool`: `sums` are their rows, by place. Its
    offset is that of the pool's which `owners` says; None where they have none.
    """

    pool: int
    layers: int
    sums: tuple[Tensor, ...]
    owners: Tensor | None
    inner: tuple[Inner, ...]


Span = tuple[str, float, int, int]
"""An activation with its slope, or "" for none, and the rows of a level's results it is for."""


class Level(NamedTuple):
    """The layers of a group from `first` to `last`, of which none reads another.

    The results of the level are the layers `chosen` (all in order where None), through `spans`;
    their rows among all of their width are those from `start` to `stop`.
    """

    group: int
    first: int
    last: int
    chosen: Tensor | None
    spans: tuple[Span, ...]
    start: int
    stop: int


class Program(NamedTuple):
    """Levels, each after those that it reads; how many results of each width there are; which are
    given, by width from row to row.
    """

    pools: tuple[Pool, ...]
    groups: tuple[Group, ...]
    levels: tuple[Level, ...]
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
    """The whole program. Gradients reach the weights alone, and are not to be derived again."""

    @staticmethod
    def forward(
        ctx: Any, program: Program, taps: Sequence[Tensor], *tensors: Tensor | None
    ) -> tuple[Tensor, ...]:
        banks, offsets, weights = _sorted(program, tensors)
        columns = [tap.t().contiguous() for tap in taps]
        like, samples = columns[0], columns[0].shape[1]
        stores = {c: like.new_empty(rows, c, samples) for c, rows in program.counts.items()}
        pools = [
            opened(pool, bank, weights, columns)
            for pool, bank in zip(program.pools, banks, strict=True)
        ]
        totals: list[Tensor | None] = []
        factors: list[list[Tensor | None]] = []
        for group in program.groups:
            out, (products, parts) = program.pools[group.pool].out, pools[group.pool]
            totals.append(_added(group, out, products, offsets[group.pool]))
            factors.append([_stacked(inner, out, parts) for inner in group.inner])
        for level in program.levels:
            group = program.groups[level.group]
            own = slice(level.first, level.last)
            total = totals[level.group]
            if total is not None:
                total = total[own]
            for inner, w in zip(group.inner, factors[level.group], strict=True):
                x = stores[inner.width].index_select(0, inner.rows[own])
                if w is not None:
                    w = w[own]
                    total = torch.bmm(w, x) if total is None else torch.baddbmm(total, w, x)
                else:
                    found = [
                        part_of(weights, r) @ y for r, y in zip(inner.apart[own], x, strict=True)
                    ]
                    total = torch.stack(found) if total is None else torch.stack(found).add_(total)
            assert total is not None
            store = stores[program.pools[group.pool].out][level.start : level.stop]
            if level.chosen is None:
                store.copy_(total)
            else:
                torch.index_select(total, 0, level.chosen, out=store)
            for name, slope, start, stop in level.spans:
                if name:
                    IN_PLACE[name](store[start:stop], slope)
        ctx.program, ctx.stores, ctx.factors, ctx.taps = program, stores, factors, taps
        ctx.save_for_backward(*weights)
        ctx.set_materialize_grads(False)
        return tuple(
            [stores[width][start:stop].transpose(1, 2) for width, start, stop in program.given]
        )

    @staticmethod
    @once_differentiable
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any, *grads: Tensor | None
    ) -> tuple[Any, ...]:
        program: Program = ctx.program
        stores: dict[int, Tensor] = ctx.stores
        weights: Sequence[Tensor] = ctx.saved_tensors
        back = {width: torch.zeros_like(store) for width, store in stores.items()}
        for (width, start, stop), g in zip(program.given, grads, strict=True):
            if g is not None:
                back[width][start:stop] = g.transpose(1, 2)
        found: list[list[Tensor]] = [[] for _ in program.groups]
        for level in reversed(program.levels):
            group = program.groups[level.group]
            out = program.pools[group.pool].out
            g = back[out][level.start : level.stop]
            y = stores[out][level.start : level.stop]
            for name, slope, start, stop in level.spans:
                if name:
                    part = g[start:stop]
                    _BACK[name](part, y[start:stop], slope, part)
            if level.chosen is not None:
                whole = g.new_zeros(level.last - level.first, *g.shape[1:])
                g = whole.index_add_(0, level.chosen, g)
            found[level.group].append(g)
            own = slice(level.first, level.last)
            for inner, w in zip(group.inner, ctx.factors[level.group], strict=True):
                if w is not None:
                    below = torch.bmm(w[own].transpose(1, 2), g)
                else:
                    reads = inner.apart[own]
                    each = [part_of(weights, r).t() @ y for r, y in zip(reads, g, strict=True)]
                    below = torch.stack(each)
                back[inner.width].index_add_(0, inner.rows[own], below)
        totals = [own[0] if len(own) == 1 else torch.cat(own[::-1]) for own in found]
        gradients = Gradients([weight.shape for weight in weights], ctx.taps)
        banks: list[Tensor | None] = []
        offsets: list[Tensor | None] = []
        for place, pool in enumerate(program.pools):
            rows = back[pool.out].new_zeros(pool.products * pool.out, ctx.taps[0].shape[0])
            inners: dict[int, Tensor] = {}
            bias: Tensor | None = None
            for group, g in zip(program.groups, totals, strict=True):
                if group.pool != place:
                    continue
                for chosen in group.sums:
                    rows.index_add_(0, chosen, g.flatten(0, 1))
                for inner in group.inner:
                    x = stores[inner.width].index_select(0, inner.rows)
                    if inner.apart:
                        for read, left, right in zip(inner.apart, g, x, strict=True):
                            gradients.product(read, left, right.t())
                    else:
                        part = torch.bmm(g, x.transpose(1, 2)).transpose(0, 1)
                        inners[inner.part] = part.reshape(pool.out, -1)
                if group.owners is not None:
                    if bias is None:
                        bias = g.new_zeros(pool.offsets, pool.out)
                    bias.index_add_(0, group.owners, g.sum(2))
            banks.append(gradients.closed(pool, rows, [inners[at] for at in range(len(inners))]))
            offsets.append(bias)
        return (None, None, *banks, *offsets, *gradients.found)


def _sorted(
    program: Program, tensors: Sequence[Any]
) -> tuple[Sequence[Tensor | None], Sequence[Tensor | None], Sequence[Tensor]]:
    """The banks and the offsets of pools, and large weights."""
    count = len(program.pools)
    return tensors[:count], tensors[count : 2 * count], tensors[2 * count :]


def _added(group: Group, out: int, rows: Tensor, offsets: Tensor | None) -> Tensor | None:
    """The sums of the layers of a group, f[G, out, N]; f[G, out, 1] of offsets alone."""
    total: Tensor | None = None
    for chosen in group.sums:
        part = rows.index_select(0, chosen)
        total = part if total is None else total.add_(part)
    if total is not None:
        total = total.view(group.layers, out, -1)
    if group.owners is not None:
        assert offsets is not None
        own = offsets.index_select(0, group.owners)[:, :, None]
        total = own if total is None else total.add_(own)
    return total


def _stacked(inner: Inner, out: int, parts: Sequence[Tensor]) -> Tensor | None:
    """What is multiplied by earlier results, f[G, out, C]; None where that is large."""
    if inner.apart:
        return None
    return parts[inner.part].view(out, -1, inner.width).transpose(0, 1).contiguous()


def run(
    program: Program,
    taps: Sequence[Tensor],
    banks: Sequence[Tensor | None],
    offsets: Sequence[Tensor | None],
    weights: Sequence[Tensor],
) -> tuple[Tensor, ...]:
    """The results that are given, from row to row f[G, N, C]. taps: f[N, C].

    By pool, the bank f[out, S] and the offsets f[biases, out], or None where there are none; then
    large weights, f[out, in]. Gradients reach these alone.
    """
    return _Run.apply(program, taps, *banks, *offsets, *weights)
