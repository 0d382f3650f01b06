"""The order of boxes and trunks in each layer: barycentres, then swaps of neighbours."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from .levels import Vertices

_SWEEPS = 10
_SWAPPING_LIMIT = 400


def ordered(work: Vertices) -> list[list[int]]:
    """The vertices of each layer in the order with the fewest crossings that was found."""
    orders = _first_order(work)
    best, fewest = [list(order) for order in orders], _crossings(work, orders)
    for sweep in range(_SWEEPS):
        if fewest == 0:
            break
        downwards = sweep % 2 == 0
        levels = range(1, len(orders)) if downwards else range(len(orders) - 2, -1, -1)
        for level in levels:
            near = work.up if downwards else work.down
            fixed = orders[level - 1 if downwards else level + 1]
            place = {vertex: at for at, vertex in enumerate(fixed)}
            _sort_by_barycentre(orders[level], near, place)
        if len(work.layer) <= _SWAPPING_LIMIT:
            _swap_neighbours(work, orders)
        crossings = _crossings(work, orders)
        if crossings < fewest:
            best, fewest = [list(order) for order in orders], crossings
    return best


def _first_order(work: Vertices) -> list[list[int]]:
    """Layers filled depth first from the inputs on: what belongs together starts together."""
    orders: list[list[int]] = [[] for _ in work.layers]
    seen = [False] * len(work.layer)
    for root in [v for order in work.layers for v in order if not work.up[v]]:
        stack = [root]
        while stack:
            vertex = stack.pop()
            if not seen[vertex]:
                seen[vertex] = True
                orders[work.layer[vertex]].append(vertex)
                stack.extend(reversed(work.down[vertex]))
    return orders


def _sort_by_barycentre(
    order: list[int], near: Sequence[Sequence[int]], place: dict[int, int]
) -> None:
    """Sort a layer; vertices without neighbours in the fixed layer keep their places."""
    centre = {
        vertex: sum(place[v] for v in near[vertex]) / len(near[vertex])
        for vertex in order
        if near[vertex]
    }
    moving = iter(sorted([v for v in order if v in centre], key=lambda v: centre[v]))
    order[:] = [next(moving) if vertex in centre else vertex for vertex in order]


def _crossings(work: Vertices, orders: Sequence[Sequence[int]]) -> int:
    """The number of crossing lines, counted by inversions in a Fenwick tree."""
    total = 0
    for upper, lower in pairwise(orders):
        place = {vertex: at for at, vertex in enumerate(lower)}
        tree = [0] * (len(lower) + 1)
        inserted = 0
        for vertex in upper:
            ends = [place[v] for v in work.down[vertex]]
            for end in ends:
                at, before = end + 1, 0
                while at:
                    before += tree[at]
                    at -= at & -at
                total += inserted - before
            for end in ends:
                at = end + 1
                while at < len(tree):
                    tree[at] += 1
                    at += at & -at
            inserted += len(ends)
    return total


def _swap_neighbours(work: Vertices, orders: list[list[int]]) -> None:
    """Swap neighbours in each layer where that leaves fewer crossings."""
    for level, order in enumerate(orders):
        above = {v: at for at, v in enumerate(orders[level - 1])} if level else {}
        below = {v: at for at, v in enumerate(orders[level + 1])} if level + 1 < len(orders) else {}
        for at in range(len(order) - 1):
            first, second = order[at], order[at + 1]
            now = swapped = 0
            for near, place in ((work.up, above), (work.down, below)):
                for a in near[first]:
                    for b in near[second]:
                        now += place[a] > place[b]
                        swapped += place[b] > place[a]
            if swapped < now:
                order[at], order[at + 1] = second, first
