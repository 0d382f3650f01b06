"""Every graph of a `levels` decision, for those with few of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice

from .arranging import arranged
from .decision import Level, Levels
from .graph import LevelGraph, LevelNode

MOST_TRIED = 10_000
"""Numbered graphs that are looked at, in seconds."""

_Widths = tuple[int, ...]


class ListingTooLong(Exception):
    """A list of graphs was given up before its end: there are too many numbered ones."""


def listed(levels: Levels, most: int | None = None) -> Iterator[LevelGraph]:
    """Each graph once, those of few nodes first. Raises ListingTooLong after `most` numbered ones,
    MOST_TRIED where it is None.
    """
    most = MOST_TRIED if most is None else most
    ways = [sharings(level) for level in levels.levels]
    tried = 0
    for total in range(len(ways), sum(max(map(len, found)) for found in ways) + 1):
        for shape in _shapes(ways, total):
            seen: set[LevelGraph] = set()
            for nodes in _wired(levels, shape):
                tried += 1
                if tried > most:
                    raise ListingTooLong
                if next(levels.flaws(nodes), None) is not None:
                    continue
                graph, _ = arranged(nodes)
                if graph not in seen:
                    seen.add(graph)
                    yield graph


def sharings(level: Level) -> list[_Widths]:
    """The ways to share a width out, each with the widest nodes first."""
    found: list[_Widths] = []

    def go(left: int, most: int, widths: _Widths) -> None:
        if left == 0:
            found.append(widths)
        for share in level.shares:
            if share <= most and share <= left:
                go(left - share, share, (*widths, share))

    go(level.width, level.width, ())
    return found


def _shapes(ways: Sequence[Sequence[_Widths]], total: int) -> Iterator[tuple[_Widths, ...]]:
    """A way for each level, with so many nodes in all."""
    if not ways:
        yield ()
        return
    above = [[len(widths) for widths in found] for found in ways[1:]]
    least, most = sum(map(min, above)), sum(map(max, above))
    for widths in ways[0]:
        if least <= total - len(widths) <= most:
            for rest in _shapes(ways[1:], total - len(widths)):
                yield (widths, *rest)


def _wired(levels: Levels, shape: Sequence[_Widths]) -> Iterator[list[LevelNode]]:
    """These nodes with all attributes and all edges.

    Nodes of one level and one width stand in ascending order of what they are, which some numbering
    of each graph has.
    """
    heads = [
        (level, width)
        for level, widths in zip(levels.levels, shape, strict=True)
        for width in widths
    ]
    kinds = {
        level.number: [
            tuple(settings.items())
            for settings in islice(level.attributes.skeleton.enumerate(), MOST_TRIED)
        ]
        for level in levels.levels
    }
    able = [
        [i for i, (other, _) in enumerate(heads) if other.number in level.takes]
        for level, _ in heads
    ]

    def go(nodes: list[LevelNode], before: int) -> Iterator[list[LevelNode]]:
        at = len(nodes)
        if at == len(heads):
            yield nodes
            return
        level, width = heads[at]
        sets = 2 ** len(able[at])
        first = before if at and heads[at - 1] == heads[at] else 0
        for number in range(first, sets * len(kinds[level.number])):
            kind, taken = divmod(number, sets)
            if taken or not level.takes:
                inputs = tuple([i for bit, i in enumerate(able[at]) if taken >> bit & 1])
                node = LevelNode(level.number, width, inputs, kinds[level.number][kind])
                yield from go([*nodes, node], number)

    return go([], 0)
