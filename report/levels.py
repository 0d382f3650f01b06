"""Boxes and nets to lay out, the layer of each box, and the trunks of nets between layers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

_TRUNK_GAP = 12.0
_BOX_GAP = 20.0

Point = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Item:
    """A box to place: its length along the flow, its breadth across.

    `entries` are the places across (from its middle) of inputs that have a place of their own,
    `leave` that of its outputs. `pull` says how much its lines want to be straight. `layer` is
    where it has to be, which all boxes of a picture say, or none.
    """

    length: float
    breadth: float
    first: bool = False
    last: bool = False
    entries: tuple[float, ...] = ()
    leave: float = 0.0
    pull: float = 1.0
    layer: int = -1


@dataclass(frozen=True, slots=True)
class Target:
    """An end of a net: a box, and which of its `entries` (-1: anywhere on its side)."""

    item: int
    entry: int = -1


@dataclass(frozen=True, slots=True)
class Net:
    """A value on its way from `source` to all its targets. `port` of `ports` values it gives."""

    source: int
    targets: tuple[Target, ...]
    port: int = 0
    ports: int = 1
    label: float = 0.0


def _topological(
    n: int, below: Sequence[Sequence[int]], above: Sequence[Sequence[int]]
) -> list[int]:
    waiting = [len(b) for b in below]
    order = [item for item in range(n) if not waiting[item]]
    for item in order:
        for user in above[item]:
            waiting[user] -= 1
            if not waiting[user]:
                order.append(user)
    if len(order) < n:
        raise ValueError("a layered layout needs a graph without cycles")
    return order


def layers_of(items: Sequence[Item], nets: Sequence[Net]) -> list[int]:
    """The layer of each box, every net going from lower to higher. Raises ValueError on a cycle."""
    if all(item.layer >= 0 for item in items):
        return _without_gaps([item.layer for item in items])
    n = len(items)
    below: list[list[int]] = [[] for _ in items]
    above: list[list[int]] = [[] for _ in items]
    incoming: list[list[Net]] = [[] for _ in items]
    outgoing: list[int] = [0] * n
    for net in nets:
        outgoing[net.source] += 1
        for target in dict.fromkeys(t.item for t in net.targets):
            below[target].append(net.source)
            above[net.source].append(target)
            incoming[target].append(net)
    order = _topological(n, below, above)
    layer = [0] * n
    for item in order:
        layer[item] = max([layer[b] + 1 for b in below[item]], default=0)
    # The first layer is for inputs alone where there are any.
    if any(item.first for item in items) and not all(item.first for item in items):
        for index in order:
            least = 0 if items[index].first else 1
            layer[index] = max([layer[b] + 1 for b in below[index]] + [least])
    top = max(layer)
    if any(item.last for item in items):
        inner = max([layer[i] for i in range(n) if not items[i].last], default=-1)
        top = max(top, inner + 1)
    for index in reversed(order):
        if items[index].last:
            layer[index] = top
        elif not items[index].first and above[index]:
            latest = min(layer[user] for user in above[index]) - 1
            # A step later shortens what goes out and lengthens what comes in and ends here.
            longer = sum(
                1
                for net in incoming[index]
                if max(layer[t.item] for t in net.targets) <= latest
                and all(t.item == index or layer[t.item] <= layer[index] for t in net.targets)
            )
            if longer <= outgoing[index]:
                layer[index] = max(layer[index], latest)
    return _without_gaps(layer)


def _without_gaps(layer: list[int]) -> list[int]:
    used = {value: place for place, value in enumerate(sorted(set(layer)))}
    return [used[value] for value in layer]


class Vertices:
    """Boxes and the points of trunks, with the lines between neighbouring layers."""

    def __init__(self, items: Sequence[Item], nets: Sequence[Net], layer: list[int]) -> None:
        self.count = len(items)
        self.layer = list(layer)
        self.breadth = [item.breadth for item in items]
        self.pull = [item.pull for item in items]
        self.shift: dict[tuple[int, int], float] = {}  # lines that are not from middle to middle
        self.up: list[list[int]] = [[] for _ in items]
        self.down: list[list[int]] = [[] for _ in items]
        self.trunk: list[dict[int, int]] = []  # per net: the vertex at each layer
        for net in nets:
            at = {layer[net.source]: net.source}
            leave = {net.source: items[net.source].leave}
            deepest = max([layer[t.item] for t in net.targets], default=layer[net.source])
            for level in range(layer[net.source] + 1, deepest):
                vertex = len(self.layer)
                self.layer.append(level)
                self.breadth.append(0.0)
                self.pull.append(1.0)
                self.up.append([])
                self.down.append([])
                self._join(at[level - 1], vertex, leave.get(at[level - 1], 0.0))
                at[level] = vertex
            for item, entry in {t.item: t.entry for t in net.targets}.items():
                before, places = at[layer[item] - 1], items[item].entries
                enter = places[entry] if 0 <= entry < len(places) else 0.0
                self._join(before, item, leave.get(before, 0.0) - enter)
            self.trunk.append(at)
        self.order_of: dict[int, int] = {}  # the place of each vertex in its layer, once known
        self.layers: list[list[int]] = [[] for _ in range(max(self.layer) + 1)]
        for vertex, level in enumerate(self.layer):
            self.layers[level].append(vertex)

    def _join(self, above: int, below: int, shift: float) -> None:
        """A line, straight where `below` is placed `shift` further than `above`."""
        self.down[above].append(below)
        self.up[below].append(above)
        if shift:
            self.shift[(above, below)] = shift

    def gap(self, first: int, second: int) -> float:
        """How far apart the middles of two neighbours in a layer have to be."""
        trunks = (first >= self.count) + (second >= self.count)
        space = _BOX_GAP if trunks == 0 else _TRUNK_GAP
        return (self.breadth[first] + self.breadth[second]) / 2 + space
