"""Places across the flow: least squares by pooling adjacent violators, then straight lines."""

from __future__ import annotations

from collections.abc import Sequence
from math import inf

from .levels import Vertices

_PLACING_SWEEPS = 12
_STRAIGHTENED = 14.0


def placed(work: Vertices, orders: list[list[int]]) -> list[float]:
    """The middle of each vertex across the flow, from 0 on; orders and gaps are kept."""
    across = [0.0] * len(work.layer)
    offsets = [_offsets(work, order) for order in orders]
    for order, offset in zip(orders, offsets, strict=True):
        work.order_of.update({vertex: place for place, vertex in enumerate(order)})
        _pool(order, offset, [0.0] * len(order), across, [1.0] * len(order))
    above = [[(v, *_line(work, v, vertex, 1.0)) for v in up] for vertex, up in enumerate(work.up)]
    below = [
        [(v, *_line(work, vertex, v, -1.0)) for v in down] for vertex, down in enumerate(work.down)
    ]
    both = [up + down for up, down in zip(above, below, strict=True)]
    levels = list(zip(orders, offsets, strict=True))
    for sweep in range(_PLACING_SWEEPS):
        downwards = sweep % 2 == 0
        first, second = (above, below) if downwards else (below, above)
        if sweep >= _PLACING_SWEEPS - 4:
            first = both
        for order, offset in levels if downwards else reversed(levels):
            wanted: list[float] = []
            weights: list[float] = []
            for vertex in order:
                total = towards = 0.0
                for other, pull, shift in first[vertex] or second[vertex]:
                    total += pull
                    towards += pull * (across[other] + shift)
                wanted.append(towards / total if total else across[vertex])
                weights.append(max(total, 0.1))
            _pool(order, offset, wanted, across, weights)
    for chain in work.trunk:
        _straighten(work, orders, across, [v for _, v in sorted(chain.items()) if v >= work.count])
    for chain in _nearly_straight(work, across):
        _straighten(work, orders, across, chain)
    least = min(across[v] - work.breadth[v] / 2 for v in range(len(across)))
    return [value - least for value in across]


def _nearly_straight(work: Vertices, across: list[float]) -> list[list[int]]:
    """Chains of vertices, each the nearest to the other, whose lines bend by a few pixels."""
    best_up: list[int] = [-1] * len(across)
    best_down: list[int] = [-1] * len(across)

    def bend(above: int, below: int) -> float:
        return abs(across[above] + work.shift.get((above, below), 0.0) - across[below])

    for vertex in range(len(across)):
        near = [v for v in work.up[vertex] if not work.shift.get((v, vertex))]
        best_up[vertex] = min(near, key=lambda v: (bend(v, vertex), v), default=-1)
        near = [v for v in work.down[vertex] if not work.shift.get((vertex, v))]
        best_down[vertex] = min(near, key=lambda v: (bend(vertex, v), v), default=-1)
    chains: list[list[int]] = []
    for root in range(len(across)):
        before = best_up[root]
        if before >= 0 and best_down[before] == root and bend(before, root) < _STRAIGHTENED:
            continue
        chain = [root]
        while (after := best_down[chain[-1]]) >= 0 and best_up[after] == chain[-1]:
            if bend(chain[-1], after) >= _STRAIGHTENED:
                break
            chain.append(after)
        if len(chain) > 1:
            chains.append(chain)
    return chains


def _straighten(
    work: Vertices, orders: list[list[int]], across: list[float], chain: Sequence[int]
) -> None:
    """Lead a chain in as few straight stretches as the room between its neighbours allows."""
    run: list[int] = []
    low, high = -inf, inf
    for vertex in chain:
        order, place = orders[work.layer[vertex]], work.order_of[vertex]
        least, most = -inf, inf
        if place:
            before = order[place - 1]
            least = across[before] + work.gap(before, vertex)
        if place + 1 < len(order):
            after = order[place + 1]
            most = across[after] - work.gap(vertex, after)
        if run and max(low, least) > min(high, most):
            _level(across, run, low, high)
            run, low, high = [], -inf, inf
        run.append(vertex)
        low, high = max(low, least), min(high, most)
    if run:
        _level(across, run, low, high)


def _level(across: list[float], run: list[int], low: float, high: float) -> None:
    mean = sum(across[v] for v in run) / len(run)
    for vertex in run:
        across[vertex] = min(max(mean, low), high)


def _line(work: Vertices, above: int, below: int, sign: float) -> tuple[float, float]:
    """How much a line wants to be straight, and by how much its ends differ when it is.

    Long lines want it more than short ones (Gansner et al. 1993).
    """
    trunks = (above >= work.count) + (below >= work.count)
    return (work.pull[above], 2.0, 8.0)[trunks], sign * work.shift.get((above, below), 0.0)


def _offsets(work: Vertices, order: Sequence[int]) -> list[float]:
    """The least place of each vertex of a layer, the first one's being zero."""
    offsets = [0.0] * len(order)
    for at in range(1, len(order)):
        offsets[at] = offsets[at - 1] + work.gap(order[at - 1], order[at])
    return offsets


def _pool(
    order: Sequence[int],
    offsets: Sequence[float],
    wanted: Sequence[float],
    across: list[float],
    weights: Sequence[float],
) -> None:
    """Set the places nearest to the wanted ones that keep the order and the gaps."""
    sums: list[float] = []  # of each block: weighted wanted places, weights, members
    totals: list[float] = []
    members: list[int] = []
    for offset, want, weight in zip(offsets, wanted, weights, strict=True):
        pooled, total, count = weight * (want - offset), weight, 1
        while sums and sums[-1] * total >= pooled * totals[-1]:
            pooled += sums.pop()
            total += totals.pop()
            count += members.pop()
        sums.append(pooled)
        totals.append(total)
        members.append(count)
    at = 0
    for pooled, total, count in zip(sums, totals, members, strict=True):
        middle = pooled / total
        for _ in range(count):
            across[order[at]] = middle + offsets[at]
            at += 1
