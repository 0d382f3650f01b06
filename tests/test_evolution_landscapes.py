"""Guided evolution of levelled graphs: landscapes whose training tells which edges are good."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import pytest

from fusegraph.compiler.requirements import satisfied
from fusegraph.ir.dsl import loads
from fusegraph.ir.genotype import Genotype
from fusegraph.ir.graph import Graph
from fusegraph.ir.levels import Edge, LevelGraph, Levels
from fusegraph.searchers.driver import Outcome, run_search
from fusegraph.searchers.evolution.edges import edge_names
from fusegraph.searchers.protocol import (
    Evaluation,
    Finishing,
    Inherited,
    Proposal,
    Searcher,
    TrialResult,
)
from fusegraph.searchers.registry import make_searcher
from fusegraph.searchers.sharing import InheritedWeights
from fusegraph.searchers.store import TrialStore
from searcher_conformance import unit

STREAMS = """fuse 1
space streams {
  dim N
  input rgb: f32[N, 4]
  input flow: f32[N, 3]
  levels v {
    level 0 width 32 least 8 {
      ?source of { rgb: linear(rgb, out=width), flow: linear(flow, out=width) }
    }
    level 1 width 32 least 4 {
      ?act of {relu, tanh, sigmoid}(linear(concat(?from some of v[<1]), out=width))
    }
    level 2 width 32 least 4 {
      ?act of {relu, tanh, sigmoid}(linear(concat(?from some of v[<2]), out=width))
    }
    level 3 width 32 least 4 {
      ?act of {relu, tanh, sigmoid}(linear(concat(?from some of v[<3]), out=width))
    }
  }
  output logits = linear(concat(v[3][*]), out=3)
}
"""


@pytest.fixture(scope="module")
def space() -> Graph:
    return loads(STREAMS).graph


def graph_of(space: Graph, genotype: Genotype) -> tuple[Levels, LevelGraph]:
    levels = space.decisions["v"]
    assert isinstance(levels, Levels)
    return levels, levels.graph_of(genotype.settings["v"])


def worth(graph: LevelGraph, edge: Edge) -> float:
    """Of an edge, by what its two nodes are: the same wherever they stand in whatever graph."""
    first, second = [graph.nodes[place] for place in edge]
    return unit(first.level, first.attributes, second.level, second.attributes)


class Landscape:
    """Training finds out what each edge is worth; the fitness is their mean."""

    def __init__(self, space: Graph, interrupt_at: int = -1) -> None:
        self.space = space
        self.interrupt_at = interrupt_at
        self.proposals: list[Proposal] = []

    def evaluate(self, proposal: Proposal, inherited: Inherited) -> Evaluation:
        if proposal.trial == self.interrupt_at:
            raise KeyboardInterrupt
        self.proposals.append(proposal)
        levels, graph = graph_of(self.space, proposal.genotype)
        names = edge_names(levels, graph)
        several = {j for j, node in enumerate(graph.nodes) if len(node.inputs) > 1}
        learned = {n: worth(graph, e) for e, n in names.items() if e[1] in several}
        fitness = sum(worth(graph, edge) for edge in graph.edges) / len(graph.edges)
        return Evaluation(fitness, learned=learned)


def drive(searcher: Searcher, landscape: Landscape) -> float:
    """The mean of the three best (Fig. 4)."""
    while not searcher.done:
        results: list[TrialResult] = []
        for proposal in searcher.ask().proposals:
            found = landscape.evaluate(proposal, InheritedWeights())
            results.append(TrialResult(proposal.trial, found.score, learned=found.learned))
        searcher.tell(results)
    return sum(found.score for found in searcher.best(3)) / 3


def test_what_was_learned_guides_to_better_graphs_than_chance(space: Graph) -> None:
    def mean(name: Literal["evolution", "random"], options: Mapping[str, object]) -> float:
        ends = [
            drive(make_searcher(name, space, options, seed, budget=60), Landscape(space))
            for seed in range(5)
        ]
        return sum(ends) / len(ends)

    guided = mean("evolution", {})
    certain = mean("evolution", {"bound": "constant"})
    by_chance = mean("evolution", {"connections": "random"})
    drawn = mean("random", {})
    assert min(guided, certain) > by_chance + 0.02
    assert min(guided, certain) > drawn + 0.04


def test_children_depend_on_what_their_parents_learned(space: Graph) -> None:
    class Untaught(Landscape):
        def evaluate(self, proposal: Proposal, inherited: Inherited) -> Evaluation:
            return Evaluation(super().evaluate(proposal, inherited).score)

    taught, untaught = Landscape(space), Untaught(space)
    for landscape in (taught, untaught):
        drive(make_searcher("evolution", space, {"mutations": 0}, budget=22), landscape)
    ours, theirs = [
        [p.genotype.digest for p in landscape.proposals] for landscape in (taught, untaught)
    ]
    assert ours[:20] == theirs[:20]
    assert ours[20] != theirs[20]


OPTIONS = {"population": 5, "tournament": 3, "inheritance": "parent"}


def run(space: Graph, folder: Path, at: int = -1) -> tuple[Outcome, Landscape, Searcher]:
    searcher = make_searcher("evolution", space, OPTIONS, budget=15)
    landscape = Landscape(space, at)
    return run_search(space, searcher, landscape, TrialStore.open(folder)), landscape, searcher


def test_a_killed_search_is_resumed_with_what_was_learned(space: Graph, tmp_path: Path) -> None:
    whole, _, searcher = run(space, tmp_path / "whole")
    assert isinstance(searcher, Finishing)
    finished = [searcher.finished(found) for found in whole.best]
    for at in range(0, 15, 2):
        stopped, _, _ = run(space, tmp_path / str(at), at)
        assert (stopped.interrupted, stopped.trials) == (True, at)
        resumed, landscape, searcher = run(space, tmp_path / str(at))
        assert [p.trial for p in landscape.proposals] == list(range(at, 15))
        assert resumed.best == whole.best
        assert isinstance(searcher, Finishing)
        assert [searcher.finished(found) for found in resumed.best] == finished


def test_weak_edges_are_pruned_from_what_is_trained_to_completion(space: Graph) -> None:
    searcher = make_searcher("evolution", space, {"prune": 0.4}, budget=30)
    landscape = Landscape(space)
    drive(searcher, landscape)
    assert isinstance(searcher, Finishing)
    fewer = 0
    for found in searcher.best(30):
        _, before = graph_of(space, found.genotype)
        levels, after = graph_of(space, searcher.finished(found))
        assert levels.admits(levels.told(after))
        kept, had = [sorted(worth(g, edge) for edge in g.edges) for g in (after, before)]
        assert [value for value in kept if value > 0.4] == [value for value in had if value > 0.4]
        fewer += len(after.edges) < len(before.edges)
        assert len(after.nodes) == len(before.nodes)
    assert fewer > 20


def test_nothing_is_pruned_at_zero(space: Graph) -> None:
    searcher = make_searcher("evolution", space, {"prune": 0.0}, budget=21)
    drive(searcher, Landscape(space))
    assert isinstance(searcher, Finishing)
    assert all(searcher.finished(found) == found.genotype for found in searcher.best(21))


MIXED = STREAMS.replace("space streams", "space mixed").replace(
    "output logits = linear(concat(v[3][*]), out=3)",
    "h = ?last of {relu, tanh, sigmoid}(linear(concat(v[3][*]), out=?wide of {4, 8}))\n"
    "  output logits = linear(h, out=3)\n"
    "  require parameters in 2000..4000",
)


@pytest.mark.parametrize("crossover", [0.0, 1.0])
def test_other_decisions_evolve_with_the_graph_and_require_is_honoured(crossover: float) -> None:
    space = loads(MIXED).graph
    options = {"crossover": crossover, "mutations": 4, "inheritance": "parent"}
    searcher = make_searcher("evolution", space, options, budget=50)
    landscape = Landscape(space)
    drive(searcher, landscape)
    known = {p.trial: p.genotype for p in landscape.proposals}
    changed: set[str] = set()
    for proposal in landscape.proposals:
        assert satisfied(space, proposal.genotype.settings)
        assert all(space.decisions[key].admits(found) for key, found in proposal.genotype.items)
        if proposal.parent is not None:
            before = known[proposal.parent.trial].settings
            changed |= {key for key, found in proposal.genotype.items if found != before[key]}
    assert changed == {"v", "h.last", "h.wide"}
    assert len({genotype.digest for genotype in known.values()}) == 50
