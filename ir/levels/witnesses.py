"""A few graphs that show whether all graphs of a `levels` decision can be made."""

from __future__ import annotations

from collections.abc import Iterator

from .decision import Levels
from .graph import LevelGraph, LevelNode


def witnesses(levels: Levels) -> Iterator[LevelGraph]:
    """A path with one node a level; then a node of each share, the least one twice, that takes all
    that it can. Widths need not add up, and decisions of nodes are left open.
    """
    path: list[LevelNode] = []
    for level in levels.levels:
        below = [i for i, node in enumerate(path) if node.level in level.takes]
        path.append(LevelNode(level.number, level.width, tuple(below[-1:])))
    yield LevelGraph(tuple(path))
    full: list[LevelNode] = []
    for level in levels.levels:
        inputs = tuple([i for i, node in enumerate(full) if node.level in level.takes])
        for share in (*level.shares, level.shares[-1]):
            full.append(LevelNode(level.number, share, inputs))
    yield LevelGraph(tuple(full))
