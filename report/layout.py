"""Places for boxes and lines: a layered layout in the manner of Sugiyama, Tagawa and Toda (1981).

1. Each box gets a layer by its longest path; boxes then move towards their users where that makes
   lines shorter. Inputs stay in the first layer, outputs go to the last.
2. All lines of one value share a *trunk*, one point per layer that it crosses, as a wire does.
3. Layers are ordered by barycentres and by swapping neighbours, the fewest crossings kept.
4. Places along a layer are the least squares nearest to their neighbours' that keep all apart,
   found exactly by pooling adjacent violators (Ayer et al. 1955) in sweeps.

Same input, same output; time is linear in boxes and line points, up to sorting.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from .coordinates import placed
from .levels import Item, Net, Point, Target, Vertices, layers_of
from .ordering import ordered

_LEAST_GAP = 46.0
_WIDEST_GAP = 120.0
_PORT_GAP = 9.0


@dataclass(frozen=True, slots=True)
class Path:
    """A stretch of a net: straight from `start` to `left`, curved to `right`, straight to `end`."""

    start: Point
    left: Point
    right: Point
    end: Point
    arrow: int  # the place of the target in the net where the stretch ends at it, else -1


@dataclass(frozen=True, slots=True)
class Layout:
    """Corners of the boxes, stretches of each net, and the size of it all, along and across."""

    corners: tuple[Point, ...]
    paths: tuple[tuple[Path, ...], ...]
    length: float
    breadth: float


def layered(items: Sequence[Item], nets: Sequence[Net]) -> Layout:
    """Place `items` in layers along the flow of `nets`, which must hold no cycle."""
    if not items:
        return Layout((), (), 0.0, 0.0)
    layer = layers_of(items, nets)
    work = Vertices(items, nets, layer)
    orders = ordered(work)
    across = placed(work, orders)
    return _drawn(items, nets, work, across)


def _drawn(
    items: Sequence[Item], nets: Sequence[Net], work: Vertices, across: list[float]
) -> Layout:
    begins, ends, length = _columns(items, nets, work, across)
    corners: list[Point] = []
    for index, item in enumerate(items):
        level = work.layer[index]
        middle = (begins[level] + ends[level]) / 2
        if item.first or item.last:
            middle = begins[level] + item.length / 2
        corners.append((middle - item.length / 2, across[index] - item.breadth / 2))
    entries = _entries(items, nets, work, across)
    paths: list[tuple[Path, ...]] = []
    for index, net in enumerate(nets):
        at = work.trunk[index]
        source = net.source
        leave = across[source] + items[source].leave
        if net.ports > 1:
            spread = min(_PORT_GAP * 2, (items[source].breadth - 12) / (net.ports - 1))
            leave += (net.port - (net.ports - 1) / 2) * spread
        out = (corners[source][0] + items[source].length, leave)
        stretches: list[Path] = []

        def beginning(level: int, out: Point = out, at: dict[int, int] = at) -> tuple[Point, Point]:
            """Where a stretch that leaves this layer starts, and where its curve does."""
            if at[level] < len(items):
                return out, (ends[level], out[1])
            y = across[at[level]]
            return (begins[level], y), (ends[level], y)

        for level, vertex in sorted(at.items()):
            if vertex >= len(items):
                start, left = beginning(level - 1)
                end = (begins[level], across[vertex])
                stretches.append(Path(start, left, end, end, -1))
        for place, target in enumerate(net.targets):
            level = work.layer[target.item]
            start, left = beginning(level - 1)
            y = entries[(index, place)]
            end = (corners[target.item][0], y)
            stretches.append(Path(start, left, (begins[level], y), end, place))
        paths.append(tuple(stretches))
    breadth = max(across[v] + work.breadth[v] / 2 for v in range(len(across)))
    return Layout(tuple(corners), tuple(paths), length, breadth)


def _columns(
    items: Sequence[Item], nets: Sequence[Net], work: Vertices, across: list[float]
) -> tuple[list[float], list[float], float]:
    """Where each layer begins and ends along the flow; steep lines and labels widen the gaps."""
    levels = len(work.layers)
    longest = [0.0] * levels
    for index, item in enumerate(items):
        longest[work.layer[index]] = max(longest[work.layer[index]], item.length)
    steepest, labels = [0.0] * levels, [0.0] * levels
    for vertex, users in enumerate(work.down):
        level = work.layer[vertex]
        for user in users:
            steepest[level] = max(steepest[level], abs(across[user] - across[vertex]))
    for net in nets:
        level = work.layer[net.source]
        labels[level] = max(labels[level], net.label)
    begins, ends, at = [], [], 0.0
    for level in range(levels):
        begins.append(at)
        ends.append(at + longest[level])
        gap = min(_WIDEST_GAP, max(_LEAST_GAP, 34 + 0.16 * steepest[level]))
        at += longest[level] + max(gap, labels[level] + 30 if labels[level] else 0.0)
    return begins, ends, ends[-1]


def _entries(
    items: Sequence[Item], nets: Sequence[Net], work: Vertices, across: list[float]
) -> dict[tuple[int, int], float]:
    """Where across each line meets its target: spread over the side, in the order they come."""
    arriving: dict[int, list[tuple[float, int, int]]] = {}
    entries: dict[tuple[int, int], float] = {}
    for index, net in enumerate(nets):
        for place, target in enumerate(net.targets):
            item = items[target.item]
            if 0 <= target.entry < len(item.entries):
                entries[(index, place)] = across[target.item] + item.entries[target.entry]
            else:
                before = work.trunk[index][work.layer[target.item] - 1]
                arriving.setdefault(target.item, []).append((across[before], index, place))
    for item, lines in arriving.items():
        lines.sort()
        spread = 0.0
        if len(lines) > 1:
            spread = min(_PORT_GAP * 1.3, (items[item].breadth - 14) / (len(lines) - 1))
        for at, (_, index, place) in enumerate(lines):
            entries[(index, place)] = across[item] + (at - (len(lines) - 1) / 2) * max(spread, 0.0)
    return entries


__all__ = ["Item", "Layout", "Net", "Path", "Point", "Target", "layered"]
