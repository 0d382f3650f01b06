"""Levelled graphs: how fast they mutate, and become networks. `python benchmarks/bench_levels.py`.

On AssembleNet's space at full size, graphs of 15 nodes on the average, one thread. The baseline of
a mutation is the same one (an edge added or removed) on a networkx graph that is copied, checked to
be acyclic, and hashed by colour refinement, which tells fewer graphs apart than a digest does.
"""

from __future__ import annotations

import time
from pathlib import Path
from random import Random

import networkx as nx
from bench_ir import seconds

from fusegraph.compiler.cost import cost
from fusegraph.compiler.pipeline import network
from fusegraph.ir.dsl import load
from fusegraph.ir.genotype import Genotype
from fusegraph.ir.levels import LevelGraph, Levels
from fusegraph.ir.levels.rewrites import guided, mutated

SPACE = Path(__file__).parent.parent / "examples" / "assemblenet" / "space.fuse"
GRAPHS = 10_000


def plain(graph: LevelGraph) -> nx.DiGraph[int]:
    """The graph as networkx has it."""
    made: nx.DiGraph[int] = nx.DiGraph()
    for place, node in enumerate(graph.nodes):
        made.add_node(place, kind=f"{node.level} {node.width} {node.attributes}")
    made.add_edges_from(graph.edges)
    return made


def main() -> None:
    """Print the figures."""
    start = time.perf_counter()
    space = load(SPACE).graph
    print(f"load the space, with its witnesses: {1000 * (time.perf_counter() - start):.0f} ms")
    levels = space.decisions["v"]
    assert isinstance(levels, Levels)
    start = time.perf_counter()
    print(f"count it exactly: {levels.count():.3e} graphs, {time.perf_counter() - start:.2f} s")

    rng = Random(0)
    first = levels.graph_of(levels.sample(rng))
    while len(first.nodes) != 15:
        first = levels.graph_of(levels.sample(rng))
    graph = first
    flawed = nodes = 0
    start = time.perf_counter()
    for _ in range(GRAPHS):
        graph = mutated(levels, graph, rng).graph
        nodes += len(graph.nodes)
        flawed += bool(list(levels.flaws(graph.nodes)))
        _ = Genotype.of(space.digest, [("v", levels.told(graph))]).digest
        if not 12 <= len(graph.nodes) <= 18:
            graph = first
    each = (time.perf_counter() - start) / GRAPHS
    print(f"{GRAPHS} random mutations, {flawed} invalid, {nodes / GRAPHS:.1f} nodes on the average")

    whole = plain(first)
    edges = levels.possible_edges(first)

    def by_networkx() -> None:
        copy = whole.copy()
        edge = edges[rng.randrange(len(edges))]
        if copy.has_edge(*edge):
            copy.remove_edge(*edge)
        else:
            copy.add_edge(*edge)
        assert nx.is_directed_acyclic_graph(copy)
        _ = nx.weisfeiler_lehman_graph_hash(copy, node_attr="kind")

    weights = {edge: rng.random() for edge in first.edges}

    def by_guidance() -> None:
        child = guided(levels, first, weights, rng).graph
        _ = Genotype.of(space.digest, [("v", levels.told(child))]).digest

    baseline = seconds(by_networkx, times=200)
    print(f"  networkx, edge + acyclic + colour hash (baseline)  {1e6 * baseline:7.0f} us")
    for name, taken in (
        ("random mutation + validity + digest", each),
        ("guided mutation + digest", seconds(by_guidance, times=500)),
    ):
        ratio = f"{1 / taken:,.0f} a second, {baseline / taken:.1f} times the baseline's speed"
        print(f"  {name:50} {1e6 * taken:7.0f} us: {ratio}")

    genotypes = [Genotype.of(space.digest, [("v", levels.sample(rng))]) for _ in range(6)]
    turns = iter(genotypes)
    made = seconds(lambda: network(space, next(turns)), runs=5)
    again = seconds(lambda: network(space, genotypes[0]), runs=5)
    print(f"a genotype to its network: {1000 * made:.0f} ms, {1000 * again:.0f} ms the second time")
    found = network(space, genotypes[0])
    costed = 1000 * seconds(lambda: cost(found))
    print(f"cost of a network of {len(found.order)} composites: {costed:.0f} ms")


if __name__ == "__main__":
    main()
