"""A levelled graph on its way from parent to child, by one rewrite after another."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from random import Random

from ...compiler.connections import connections
from ...ir.graph import Graph
from ...ir.levels import Edge, LevelGraph, Levels
from ...ir.levels.rewrites import (
    Rewrite,
    change,
    changeable,
    cross,
    guided,
    merge,
    mergeable,
    rewire,
    split,
    splittable,
)
from .edges import labels_of
from .options import EvolutionOptions


@dataclass(frozen=True, slots=True)
class Lineage:
    """The graph as it stands; for each node those of `parent` that it continues; what was done."""

    levels: Levels
    parent: LevelGraph
    graph: LevelGraph
    origins: tuple[tuple[int, ...], ...]
    words: tuple[str, ...] = ()

    @classmethod
    def of(cls, levels: Levels, graph: LevelGraph) -> Lineage:
        """A graph to which nothing was done yet."""
        return cls(levels, graph, graph, tuple([(place,) for place in range(len(graph.nodes))]))

    def continued(self, edge: Edge) -> list[Edge]:
        """The edges of the parent that this one continues."""
        known = set(self.parent.edges)
        ends = [(i, j) for i in self.origins[edge[0]] for j in self.origins[edge[1]]]
        return [old for old in ends if old in known]

    def renamed(self, before: Graph, after: Graph) -> tuple[tuple[str, tuple[str, ...]], ...]:
        """What of the child's network continues what of the parent's: see `protocol.Parent`.

        A node continues its origins. So does the learned weight of an edge, wherever it stands
        among those of its node; a new edge learns its weight from its start.
        """
        new, old = labels_of(self.levels, self.graph), labels_of(self.levels, self.parent)
        nodes = [
            (label, tuple([old[place] for place in places]))
            for label, places in zip(new, self.origins, strict=True)
        ]
        now = connections(after, self.levels, self.graph)
        then = connections(before, self.levels, self.parent)
        edges = [
            (key, tuple([then[e] for e in self.continued(edge) if e in then]))
            for edge, key in now.items()
        ]
        return (*nodes, *edges)

    def crossed(self, other: LevelGraph, rng: Random) -> Lineage:
        """With the higher levels of another parent."""
        return self._after(cross(self.levels, self.graph, other, rng), told=False)

    def connected(
        self, weights: Mapping[Edge, float], options: EvolutionOptions, rng: Random
    ) -> Lineage:
        """With other edges, as `connections` has it. `weights` are of the parent's edges.

        An edge that the parent has not, or that learned nothing there, has no weight and is kept.
        """
        if options.connections == "none":
            return self
        if options.connections == "random":
            return self._after(rewire(self.levels, self.graph, rng))
        known: dict[Edge, float] = {}
        for edge in self.graph.edges:
            found = [weights[old] for old in self.continued(edge) if old in weights]
            if found:
                known[edge] = max(found)
        bound = options.threshold if options.bound == "constant" else None
        return self._after(guided(self.levels, self.graph, known, rng, bound))

    @property
    def able(self) -> list[str]:
        """Which of split, merge and change are possible."""
        found = {
            "split": splittable(self.levels, self.graph),
            "merge": mergeable(self.graph),
            "change": changeable(self.levels, self.graph),
        }
        return [kind for kind, places in found.items() if places]

    def mutated(self, kind: str, rng: Random) -> Lineage:
        """After a split, merge or change of a node, drawn among those for which it is possible."""
        levels, graph = self.levels, self.graph
        if kind == "split":
            return self._after(split(levels, graph, rng.choice(splittable(levels, graph))))
        if kind == "merge":
            return self._after(merge(levels, graph, *rng.choice(mergeable(graph)), rng))
        return self._after(change(levels, graph, rng.choice(changeable(levels, graph)), rng))

    def _after(self, rewrite: Rewrite, *, told: bool = True) -> Lineage:
        origins = [
            tuple(dict.fromkeys(old for place in places for old in self.origins[place]))
            for places in rewrite.origins
        ]
        words = (*self.words, rewrite.words) if told else self.words
        return replace(self, graph=rewrite.graph, origins=tuple(origins), words=words)
