"""What the edges of a levelled graph are called where their learned weights are on record."""

from __future__ import annotations

from collections.abc import Mapping

from ...ir.levels import Edge, LevelGraph, Levels


def labels_of(levels: Levels, graph: LevelGraph) -> list[str]:
    """The key of each node in the network."""
    return [levels.label(graph, place) for place in range(len(graph.nodes))]


def edge_names(levels: Levels, graph: LevelGraph) -> dict[Edge, str]:
    """`v[1][2] <- v[0][1]` for the edge from the one to the other."""
    labels = labels_of(levels, graph)
    return {(i, j): f"{labels[j]} <- {labels[i]}" for i, j in graph.edges}


def weights_of(
    levels: Levels, graph: LevelGraph, learned: Mapping[str, float]
) -> dict[Edge, float]:
    """The learned weight of each edge that has one. An only input has none, and counts as 1."""
    names = edge_names(levels, graph)
    return {edge: learned[name] for edge, name in names.items() if name in learned}
