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
    for order in orders:
        work.order_of.update({vertex: place for place, vertex in enumerate(order)})
        _pool(work, order, dict.fromkeys(order, 0.0), across, dict.fromkeys(order, 1.0))
    for sweep in range(_PLACING_SWEEPS):
        downwards = sweep % 2 == 0
        both = sweep >= _PLACING_SWEEPS - 4
        for order in orders if downwards else reversed(orders):
            wanted: dict[int, float] = {}
            weights: dict[int, float] = {}
            for vertex in order:
                up, down = work.up[vertex], work.down[vertex]
                if not both and (up if downwards else down):
                    up, down = (up, []) if downwards else ([], down)
                pulls = [
                    (_pull(work, v, vertex), across[v] + work.shift.get((v, vertex), 0.0))
                    for v in up
                ]
                pulls += [
                    (_pull(work, vertex, v), across[v] - work.shift.get((vertex, v), 0.0))
                    for v in down
                ]
                total = sum([pull for pull, _ in pulls])
                wanted[vertex] = sum([p * y for p, y in pulls]) / total if total else across[vertex]
                weights[vertex] = max(total, 0.1)
            _pool(work, order, wanted, across, weights)
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


def _pull(work: Vertices, above: int, below: int) -> float:
    """Long lines want to be straight more than short ones (Gansner et al. 1993)."""
    trunks = (above >= work.count) + (below >= work.count)
    return (work.pull[above], 2.0, 8.0)[trunks]


def _pool(
    work: Vertices,
    order: Sequence[int],
    wanted: dict[int, float],
    across: list[float],
    weights: dict[int, float],
) -> None:
    """Set the places nearest to the wanted ones that keep the order and the gaps."""
    offset = 0.0
    offsets: list[float] = []
    blocks: list[list[float]] = []  # each [sum of weighted wanted places, weights, members]
    for at, vertex in enumerate(order):
        if at:
            offset += work.gap(order[at - 1], vertex)
        offsets.append(offset)
        weight = weights[vertex]
        blocks.append([weight * (wanted[vertex] - offset), weight, 1.0])
        while len(blocks) > 1 and blocks[-2][0] / blocks[-2][1] >= blocks[-1][0] / blocks[-1][1]:
            last = blocks.pop()
            for part in range(3):
                blocks[-1][part] += last[part]
    at = 0
    for total, weight, members in blocks:
        for _ in range(int(members)):
            across[order[at]] = total / weight + offsets[at]
            at += 1
