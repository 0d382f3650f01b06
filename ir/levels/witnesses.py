"""A few graphs that show whether those of a `levels` decision can be made."""

from __future__ import annotations

from collections.abc import Iterator

from .decision import Levels
from .graph import LevelGraph, LevelNode


def witnesses(levels: Levels) -> Iterator[LevelGraph]:
    """Paths with one node a level, the widest and the least; two halves on each level that take
    both halves below; a node of each share, the least one twice, that takes all that it can.

    Widths need not add up, and decisions of nodes are left open. What a node takes may come in
    sums of widths that none of these has: a template that depends on more than they show may fail
    for some graph all the same, and then says so when that graph is made.
    """
    yield _chained(levels, share=0, nodes=1)
    yield _chained(levels, share=-1, nodes=1)
    yield _chained(levels, share=1, nodes=2)
    full: list[LevelNode] = []
    for level in levels.levels:
        inputs = tuple([i for i, node in enumerate(full) if node.level in level.takes])
        for share in (*level.shares, level.shares[-1]):
            full.append(LevelNode(level.number, share, inputs))
    yield LevelGraph(tuple(full))


def _chained(levels: Levels, share: int, nodes: int) -> LevelGraph:
    """So many nodes a level, each of that share, which take those of the level below."""
    found: list[LevelNode] = []
    for level in levels.levels:
        below = [i for i, node in enumerate(found) if node.level in level.takes][-nodes:]
        width = level.shares[min(share, len(level.shares) - 1)]
        found += [LevelNode(level.number, width, tuple(below))] * nodes
    return LevelGraph(tuple(found))
