"""Mutations of levelled graphs as rewrites (Ryoo et al. 2020, section 3.2 and appendix A.1).

Each takes a valid graph and gives a valid one: widths stay shared out, and a node that is left
without an edge that it needs gets one back, the strongest of those that it lost where weights tell,
otherwise a random one. Where the paper is silent, the docstrings say what is done.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from random import Random

from ..decisions import OpenNumber
from .decision import Level, Levels
from .drafts import Draft, Rewrite, mended
from .graph import Edge, LevelGraph, LevelNode

__all__ = [
    "Rewrite",
    "change",
    "changeable",
    "cross",
    "guided",
    "merge",
    "mergeable",
    "mutated",
    "prune",
    "rewire",
    "split",
    "splittable",
    "steps",
]

REWIRED = 1 / 3
"""The share of edges that a random rewiring replaces (section 4.3)."""


# ── nodes ────────────────────────────────────────────────────────────────────────────────────────


def splittable(levels: Levels, graph: LevelGraph) -> list[int]:
    """The nodes whose halves are not below the least share of their level."""
    least = {level.number: level.shares[-1] for level in levels.levels}
    return [i for i, node in enumerate(graph.nodes) if node.width != least[node.level]]


def split(levels: Levels, graph: LevelGraph, node: int) -> Rewrite:
    """Two nodes of half the width with the inputs, outputs and attributes of the one."""
    draft = Draft.of(graph)
    draft.split(node)
    half = draft.add(draft.level[node], draft.width[node], draft.settings[node], (node,))
    draft.edges |= {(i, half) for i, j in graph.edges if j == node}
    draft.edges |= {(half, j) for i, j in graph.edges if i == node}
    return draft.finished(f"split {levels.label(graph, node)}")


def mergeable(graph: LevelGraph) -> list[tuple[int, int]]:
    """The pairs of nodes of one level and one width."""
    nodes = graph.nodes
    return [
        (i, j)
        for i in range(len(nodes))
        for j in range(i + 1, len(nodes))
        if nodes[i].level == nodes[j].level and nodes[i].width == nodes[j].width
    ]


def merge(levels: Levels, graph: LevelGraph, first: int, second: int, rng: Random) -> Rewrite:
    """One node of twice the width: the inverse of a split.

    The paper does not say what becomes of edges and rates that differ: the node takes what either
    took, feeds what either fed, and has the attributes of one of the two, drawn at random.
    """
    draft = Draft.of(graph)
    draft.width[first] *= 2
    draft.origins[first] = (first, second)
    draft.settings[first] = draft.settings[(first, second)[rng.randrange(2)]]
    draft.edges |= {(i, first) for i, j in graph.edges if j == second}
    draft.edges |= {(first, j) for i, j in graph.edges if i == second}
    draft.remove(second)
    words = f"merged {levels.label(graph, first)} and {levels.label(graph, second)}"
    return draft.finished(words)


def changeable(levels: Levels, graph: LevelGraph) -> list[int]:
    """The nodes that have a decision of their own to change."""
    return [i for i, node in enumerate(graph.nodes) if _can_change(levels.level(node.level), node)]


def _can_change(level: Level, node: LevelNode) -> bool:
    return level.attributes.can_change(node.attributes, numbers=_numbers_only(level))


def _numbers_only(level: Level) -> bool:
    decisions = level.attributes.decisions
    return not level.takes and any(isinstance(d, OpenNumber) for d in decisions)


def change(levels: Levels, graph: LevelGraph, node: int, rng: Random) -> Rewrite:
    """Another setting for one of the node's decisions, in the paper its temporal resolution.

    Of a stem only an open number is changed, where stems have any: its source stays what it is.
    """
    draft = Draft.of(graph)
    level = levels.level(graph.nodes[node].level)
    numbers = _numbers_only(level)
    draft.settings[node] = level.attributes.changed(draft.settings[node], rng, numbers=numbers)
    return draft.finished(f"changed {levels.label(graph, node)}")


# ── edges ────────────────────────────────────────────────────────────────────────────────────────


def rewire(levels: Levels, graph: LevelGraph, rng: Random, share: float = REWIRED) -> Rewrite:
    """Each edge goes with probability `share`, and as many new ones come, on the average.

    The paper's standard evolution, which modifies as many edges as the guided one.
    """
    kept = [edge for edge in graph.edges if rng.random() >= share]
    return _rewired(levels, graph, kept, rng, None)


def guided(
    levels: Levels,
    graph: LevelGraph,
    weights: Mapping[Edge, float],
    rng: Random,
    threshold: float | None = None,
) -> Rewrite:
    """Rewiring guided by learned connections, equation 2.

    An edge stays where its weight, the sigmoid of what was learned, is over B: `threshold`, or a
    number drawn uniformly from 0 to 1 for each edge (the paper does not say whether for each edge
    or once). An edge without a weight, into a node that takes no other, always stays. Each absent
    possible edge comes with probability |E_p - E_c1| / |E* - E_p|; none does where E_p is E*.
    """
    kept: list[Edge] = []
    for edge in graph.edges:
        limit = rng.random() if threshold is None else threshold
        if weights.get(edge, 1.0) > limit:
            kept.append(edge)
    return _rewired(levels, graph, kept, rng, weights)


def _rewired(
    levels: Levels,
    graph: LevelGraph,
    kept: list[Edge],
    rng: Random,
    weights: Mapping[Edge, float] | None,
) -> Rewrite:
    parent = set(graph.edges)
    absent = [edge for edge in levels.possible_edges(graph) if edge not in parent]
    lost = len(parent) - len(kept)
    chance = lost / len(absent) if absent else 0.0
    added = [edge for edge in absent if rng.random() < chance]
    draft = Draft.of(graph)
    mended(levels, draft, [*kept, *added], rng, weights)
    same = len(parent & draft.edges)
    new = len(draft.edges - parent)
    return draft.finished(f"kept {same} of {len(parent)} edges, added {new}")


def prune(
    levels: Levels, graph: LevelGraph, weights: Mapping[Edge, float], threshold: float
) -> Rewrite:
    """Without the edges whose weight is not over `threshold` (section 4.1, the final network).

    The strongest edge into a node stays, and the strongest out of a node that nothing reads.
    """
    kept = [edge for edge in graph.edges if weights.get(edge, 1.0) > threshold]
    draft = Draft.of(graph)
    strength = {edge: weights.get(edge, 1.0) for edge in graph.edges}
    mended(levels, draft, kept, Random(0), strength)
    return draft.finished(
        f"pruned {len(graph.edges) - len(draft.edges)} of {len(graph.edges)} edges"
    )


# ── any of them ──────────────────────────────────────────────────────────────────────────────────


def mutated(levels: Levels, graph: LevelGraph, rng: Random) -> Rewrite:
    """A split, merge, change or random rewiring, drawn uniformly among those that are possible."""
    splits, merges = splittable(levels, graph), mergeable(graph)
    changes = changeable(levels, graph)
    able = [name for name, found in (("s", splits), ("m", merges), ("c", changes)) if found]
    if len(levels.possible_edges(graph)) > 1:
        able.append("r")
    if not able:
        return Draft.of(graph).finished("left as it is")
    kind = able[rng.randrange(len(able))]
    if kind == "s":
        return split(levels, graph, splits[rng.randrange(len(splits))])
    if kind == "m":
        return merge(levels, graph, *merges[rng.randrange(len(merges))], rng)
    if kind == "c":
        return change(levels, graph, changes[rng.randrange(len(changes))], rng)
    return rewire(levels, graph, rng)


def cross(levels: Levels, first: LevelGraph, second: LevelGraph, rng: Random) -> Rewrite:
    """The levels below a random one of the first parent, the others of the second.

    The n-th node of a level that the second parent took stands for the n-th of that level in the
    child, counted round and round. Origins are those in the first parent.
    """
    cut = levels.levels[rng.randrange(1, len(levels.levels))].number if levels.slots > 1 else 0
    draft = Draft()
    lower: dict[int, list[int]] = {}
    for place, node in enumerate(first.nodes):
        if node.level < cut:
            lower.setdefault(node.level, []).append(
                draft.add(node.level, node.width, node.attributes, (place,))
            )
    edges = {(i, j) for i, j in first.edges if first.nodes[j].level < cut}
    stands: dict[int, int] = {}
    numbers = [number for number, _ in second.numbered()]
    for place, node in enumerate(second.nodes):
        if node.level < cut:
            there = lower[node.level]
            stands[place] = there[(numbers[place] - 1) % len(there)]
        else:
            stands[place] = draft.add(node.level, node.width, node.attributes, ())
    edges |= {(stands[i], stands[j]) for i, j in second.edges if second.nodes[j].level >= cut}
    mended(levels, draft, edges, rng)
    return draft.finished(f"crossed over below level {cut}")


def steps(levels: Levels, graph: LevelGraph) -> Iterator[Rewrite]:
    """Every split, merge (with either node's attributes), change and single edge more or less."""
    for node in splittable(levels, graph):
        yield split(levels, graph, node)
    for first, second in mergeable(graph):
        for seed in range(4):
            yield merge(levels, graph, first, second, Random(seed))
    for place, node in enumerate(graph.nodes):
        attributes = levels.level(node.level).attributes
        for settings in attributes.skeleton.enumerate():
            draft = Draft.of(graph)
            draft.settings[place] = tuple(settings.items())
            yield draft.finished(f"changed {levels.label(graph, place)}")
    for edge in levels.possible_edges(graph):
        draft = Draft.of(graph)
        draft.edges ^= {edge}
        rewrite = draft.finished("one edge more or less")
        if not list(levels.flaws(rewrite.graph.nodes)):
            yield rewrite
