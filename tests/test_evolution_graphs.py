"""Evolution of levelled graphs: what a child inherits from its parent, and by what name."""

from __future__ import annotations

from collections.abc import Mapping
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fusegraph.ir.decisions import OneOf, OpenNumber
from fusegraph.ir.levels import Level, LevelGraph, Levels
from fusegraph.ir.levels.attributes import Attributes
from fusegraph.ir.sites import ALWAYS, Site
from fusegraph.searchers.evolution.children import in_words
from fusegraph.searchers.evolution.edges import edge_names, weights_of
from fusegraph.searchers.evolution.lineage import Lineage
from fusegraph.searchers.evolution.options import EvolutionOptions

SOURCE = OneOf("source", ("rgb", "flow"))
RATE = OpenNumber("rate", ("1", "2", "4", "8"))


def attributes(*decisions: OneOf) -> Attributes:
    sites = tuple([Site(decision, ALWAYS, ((),)) for decision in decisions])
    return Attributes(decisions, sites, tuple(range(len(sites))))


LEVELS = Levels.of(
    "v",
    [
        Level(0, 128, 8, (), "from", False, attributes(SOURCE, RATE)),
        Level(1, 128, 8, (0,), "from", False, attributes(RATE)),
        Level(2, 256, 8, (0, 1), "from", False, attributes(RATE)),
        Level(3, 256, 8, (0, 1, 2), "from", True, attributes(RATE)),
    ],
)


def graph_of(seed: int) -> LevelGraph:
    return LEVELS.graph_of(LEVELS.sample(Random(seed)))


def random_weights(graph: LevelGraph, rng: Random) -> dict[tuple[int, int], float]:
    several = {j for j, node in enumerate(graph.nodes) if len(node.inputs) > 1}
    return {edge: rng.random() for edge in graph.edges if edge[1] in several}


def descended(seed: int, options: EvolutionOptions, *, crossed: bool = False) -> Lineage:
    """A line of some rewrites, each taken at random."""
    rng = Random(seed)
    graph = graph_of(seed)
    line = Lineage.of(LEVELS, graph)
    if crossed:
        line = line.crossed(graph_of(seed + 1), rng)
    line = line.connected(random_weights(graph, rng), options, rng)
    for _ in range(rng.randint(0, 4)):
        line = line.mutated(rng.choice(line.able), rng)
    return line


@pytest.mark.parametrize("connections", ["guided", "random", "none"])
@given(seed=st.integers(0, 10_000), crossed=st.booleans())
def test_children_are_valid_and_know_their_origins(
    connections: str, seed: int, crossed: bool
) -> None:
    options = EvolutionOptions(connections=connections)  # pyright: ignore[reportArgumentType]
    line = descended(seed, options, crossed=crossed)
    assert LEVELS.admits(LEVELS.told(line.graph))
    assert len(line.origins) == len(line.graph.nodes)
    for node, origins in zip(line.graph.nodes, line.origins, strict=True):
        assert crossed or origins
        assert all(line.parent.nodes[old].level == node.level for old in origins)


def test_halves_continue_what_was_split_and_a_merged_node_continues_both() -> None:
    rng = Random(3)
    line = Lineage.of(LEVELS, graph_of(3)).mutated("split", rng)
    twice = [old for old in range(len(line.parent.nodes)) if line.origins.count((old,)) == 2]
    assert len(twice) == 1
    merged = Lineage.of(LEVELS, graph_of(3)).mutated("merge", rng)
    assert sorted(map(len, merged.origins)) == [1] * (len(merged.graph.nodes) - 1) + [2]
    whole = Lineage.of(LEVELS, graph_of(5))
    for _ in range(40):
        whole = whole.mutated(rng.choice(whole.able), rng)
    flat = [old for origins in whole.origins for old in origins]
    assert set(flat) == set(range(len(whole.parent.nodes)))


def test_guided_by_a_constant_keeps_the_edges_above_it() -> None:
    options = EvolutionOptions(bound="constant", threshold=0.5)
    changed = 0
    for seed in range(30):
        graph, rng = graph_of(seed), Random(seed)
        weights = random_weights(graph, rng)
        line = Lineage.of(LEVELS, graph).connected(weights, options, rng)
        now = {
            (i, j)
            for place, (j,) in enumerate(line.origins)
            for i in [line.origins[into][0] for into in line.graph.nodes[place].inputs]
        }
        strong = {edge for edge in graph.edges if weights.get(edge, 1.0) > 0.5}
        assert strong <= now
        changed += now != set(graph.edges)
    assert changed > 20


def test_what_nothing_was_learned_about_is_kept() -> None:
    graph = graph_of(1)
    line = Lineage.of(LEVELS, graph).connected({}, EvolutionOptions(), Random(0))
    assert line.graph == graph
    assert line.words == (f"kept {len(graph.edges)} of {len(graph.edges)} edges, added 0",)


def test_what_was_done_twice_is_told_once() -> None:
    assert in_words(["a", "b", "a"]) == "a (2 times), b"
    assert in_words([]) == "nothing changed"


def test_weights_are_on_record_by_the_keys_of_their_nodes() -> None:
    graph = graph_of(1)
    names = edge_names(LEVELS, graph)
    assert len(set(names.values())) == len(graph.edges)
    edge = graph.edges[-1]
    name = names[edge]
    target, _, source = name.partition(" <- ")
    assert (target, source) == (LEVELS.label(graph, edge[1]), LEVELS.label(graph, edge[0]))
    learned: Mapping[str, float] = {name: 0.25, "v[9][9] <- v[0][1]": 0.5}
    assert weights_of(LEVELS, graph, learned) == {edge: 0.25}
