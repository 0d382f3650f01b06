"""Every graph of a `levels` decision, for those with few of them."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain, combinations, product

from .arranging import arranged
from .decision import Level, Levels
from .graph import LevelGraph, LevelNode


def listed(levels: Levels) -> Iterator[LevelGraph]:
    """Each graph once, those of few nodes first."""
    shapes = list(product(*[sharings(level) for level in levels.levels]))
    for shape in sorted(shapes, key=lambda widths: sum(map(len, widths))):
        seen: set[LevelGraph] = set()
        for nodes in _wired(levels, shape):
            graph, _ = arranged(nodes)
            if graph not in seen:
                seen.add(graph)
                yield graph


def sharings(level: Level) -> list[tuple[int, ...]]:
    """The ways to share a width out, each with the widest nodes first."""
    found: list[tuple[int, ...]] = []

    def go(left: int, most: int, widths: tuple[int, ...]) -> None:
        if left == 0:
            found.append(widths)
        for share in level.shares:
            if share <= most and share <= left:
                go(left - share, share, (*widths, share))

    go(level.width, level.width, ())
    return found


def _wired(levels: Levels, shape: tuple[tuple[int, ...], ...]) -> Iterator[list[LevelNode]]:
    """These nodes with all attributes and all edges, in every numbering."""
    places: dict[int, list[int]] = {}
    heads: list[tuple[Level, int]] = []
    for level, widths in zip(levels.levels, shape, strict=True):
        for width in widths:
            places.setdefault(level.number, []).append(len(heads))
            heads.append((level, width))
    choices = [
        [
            LevelNode(level.number, width, inputs, tuple(settings.items()))
            for settings in level.attributes.skeleton.enumerate()
            for inputs in _inputs([i for number in level.takes for i in places[number]])
        ]
        for level, width in heads
    ]
    for nodes in product(*choices):
        if next(levels.flaws(nodes), None) is None:
            yield list(nodes)


def _inputs(able: list[int]) -> Iterator[tuple[int, ...]]:
    if not able:
        return iter([()])
    return chain.from_iterable(combinations(able, size) for size in range(1, len(able) + 1))
