"""A levelled graph while it is being rewritten: nodes in any order, edges apart from them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from random import Random

from .arranging import arranged
from .attributes import Settings
from .decision import Levels
from .graph import Edge, LevelGraph, LevelNode


@dataclass(frozen=True, slots=True)
class Rewrite:
    """A graph made from another one, in its one order.

    `origins` has for each of its nodes the nodes of the other that it continues: one, both halves
    of what was merged, or none where it is new. `words` say what was done, for people.
    """

    graph: LevelGraph
    origins: tuple[tuple[int, ...], ...]
    words: str


@dataclass(slots=True)
class Draft:
    """Nodes by place, with the nodes that each continues, and edges between places."""

    level: list[int] = field(default_factory=list[int])
    width: list[int] = field(default_factory=list[int])
    settings: list[Settings] = field(default_factory=list[Settings])
    origins: list[tuple[int, ...]] = field(default_factory=list["tuple[int, ...]"])
    edges: set[Edge] = field(default_factory=set[Edge])

    @classmethod
    def of(cls, graph: LevelGraph) -> Draft:
        """A draft that begins as this graph."""
        nodes = graph.nodes
        return cls(
            [node.level for node in nodes],
            [node.width for node in nodes],
            [node.attributes for node in nodes],
            [(place,) for place in range(len(nodes))],
            set(graph.edges),
        )

    def add(self, level: int, width: int, settings: Settings, origins: tuple[int, ...]) -> int:
        """The place of one more node."""
        self.level.append(level)
        self.width.append(width)
        self.settings.append(settings)
        self.origins.append(origins)
        return len(self.level) - 1

    def split(self, place: int) -> None:
        """Halve the width of a node."""
        self.width[place] //= 2

    def remove(self, place: int) -> None:
        """Take a node out, with its edges."""

        def moved(i: int) -> int:
            return i - (i > place)

        for items in (self.level, self.width, self.settings, self.origins):
            del items[place]
        self.edges = {(moved(i), moved(j)) for i, j in self.edges if place not in (i, j)}

    def possible(self, levels: Levels) -> list[Edge]:
        """All edges that there could be."""
        takes = {level.number: level.takes for level in levels.levels}
        return [
            (i, j)
            for j, to in enumerate(self.level)
            for i, start in enumerate(self.level)
            if start in takes[to]
        ]

    def finished(self, words: str) -> Rewrite:
        """The graph in its one order."""
        inputs: list[list[int]] = [[] for _ in self.level]
        for i, j in self.edges:
            inputs[j].append(i)
        nodes = [
            LevelNode(level, width, tuple(sorted(into)), settings)
            for level, width, into, settings in zip(
                self.level, self.width, inputs, self.settings, strict=True
            )
        ]
        graph, order = arranged(nodes)
        return Rewrite(graph, tuple([self.origins[old] for old in order]), words)


def mended(
    levels: Levels,
    draft: Draft,
    edges: Iterable[Edge],
    rng: Random,
    strength: Mapping[Edge, float] | None = None,
) -> None:
    """Give the draft these edges, and to each node that is left without one in or out that it needs
    one more: the strongest where `strength` tells, otherwise a random one.
    """
    draft.edges = set(edges)
    outward: dict[int, list[Edge]] = {}
    inward: dict[int, list[Edge]] = {}
    for edge in draft.possible(levels):
        outward.setdefault(edge[0], []).append(edge)
        inward.setdefault(edge[1], []).append(edge)

    def one_of(among: list[Edge]) -> Edge:
        known = [(strength[e], e) for e in among if e in strength] if strength else []
        if known:
            return max(known)[1]
        return among[rng.randrange(len(among))]

    fed = {j for _, j in draft.edges}
    taken = {i for i, _ in draft.edges}
    for place, number in enumerate(draft.level):
        level = levels.level(number)
        if level.takes and place not in fed:
            edge = one_of(inward[place])
            draft.edges.add(edge)
            taken.add(edge[0])
    for place, number in enumerate(draft.level):
        if not levels.level(number).read and place not in taken:
            draft.edges.add(one_of(outward[place]))
