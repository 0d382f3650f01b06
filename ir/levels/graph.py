"""A levelled graph: nodes with a width, on levels, each fed by nodes of lower levels."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from ..decisions import Setting

Edge = tuple[int, int]
"""From a node to a node of a higher level, both by their place in the graph."""


@dataclass(frozen=True, slots=True)
class LevelNode:
    """A node: the number of its level, its share of the level's width, the places of the nodes
    that feed it, ascending, and the settings of its own decisions that are reached, by name.
    """

    level: int
    width: int
    inputs: tuple[int, ...] = ()
    attributes: tuple[tuple[str, Setting], ...] = ()


@dataclass(frozen=True, slots=True)
class LevelGraph:
    """Nodes in ascending order of their levels."""

    nodes: tuple[LevelNode, ...]

    @property
    def shape(self) -> LevelGraph:
        """The graph without the settings of its nodes' own decisions."""
        return LevelGraph(tuple([LevelNode(n.level, n.width, n.inputs) for n in self.nodes]))

    @property
    def labels(self) -> tuple[str, ...]:
        """`[2][1]` for each node: its level and its number within it, from 1 on."""
        return tuple([f"[{node.level}][{number}]" for number, node in self.numbered()])

    @property
    def edges(self) -> tuple[Edge, ...]:
        """All edges, by the node that they lead to."""
        return tuple([(i, j) for j, node in enumerate(self.nodes) for i in node.inputs])

    def on(self, level: int) -> list[int]:
        """The places of the nodes on this level."""
        return [place for place, node in enumerate(self.nodes) if node.level == level]

    def numbered(self) -> Iterator[tuple[int, LevelNode]]:
        """Each node with its number within its level, from 1 on."""
        counts: dict[int, int] = {}
        for node in self.nodes:
            counts[node.level] = counts.get(node.level, 0) + 1
            yield counts[node.level], node

    @property
    def depth(self) -> int:
        """The number of nodes on the longest path."""
        longest: list[int] = []
        for node in self.nodes:
            longest.append(1 + max([longest[i] for i in node.inputs], default=0))
        return max(longest, default=0)
