"""Evolution on a real task: from the task file to the page of the run."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import pytest

from fusegraph.compiler.connections import connections
from fusegraph.compiler.explore import sample
from fusegraph.compiler.pipeline import network
from fusegraph.ir.diagnostics import FusegraphError
from fusegraph.ir.dsl import load, load_genotype
from fusegraph.ir.graph import Graph
from fusegraph.ir.levels import Levels
from fusegraph.pipeline.evaluate import evaluator_of
from fusegraph.pipeline.events import read_events
from fusegraph.pipeline.search import SearchResult, search_task, with_search
from fusegraph.pipeline.searcher import searcher_of
from fusegraph.pipeline.sources import carry_over
from fusegraph.pipeline.summary import summarise
from fusegraph.pipeline.tasks import Prepared, prepare
from fusegraph.searchers.driver import Outcome, run_search
from fusegraph.searchers.evolution.edges import edge_names, labels_of
from fusegraph.searchers.protocol import (
    Event,
    Finishing,
    Proposal,
    Searcher,
    TrialStarted,
    owns_a_loop,
)
from fusegraph.searchers.sharing import InheritedWeights, ParentWeights
from fusegraph.searchers.store import TrialStore
from fusegraph.tasks.task_file import Task, load_task
from small_task import write_task

OPTIONS: dict[str, Any] = {"population": 6, "tournament": 3}


@pytest.fixture(scope="module")
def task(tmp_path_factory: pytest.TempPathFactory) -> Task:
    file = write_task(tmp_path_factory.mktemp("task"))
    text = file.read_text().replace(
        "epochs = 1, batch = 40", 'epochs = 1, batch = 40, metric = "top_1_and_k", top_k = 2'
    )
    file.write_text(text)
    return load_task(file)


def searched(task: Task, folder: Path, **options: Any) -> SearchResult:
    wanted = with_search(task, searcher="evolution", budget=14, options=OPTIONS | options)
    return search_task(wanted, folder, finals=2)


@pytest.fixture(scope="module")
def run(task: Task, tmp_path_factory: pytest.TempPathFactory) -> SearchResult:
    return searched(task, tmp_path_factory.mktemp("runs") / "run")


def test_candidates_are_scored_by_top_1_and_top_k(run: SearchResult) -> None:
    scores = [found.score for found in run.outcome.best]
    assert run.outcome.trials == 14
    assert 1.0 < max(scores) <= 2.0
    assert len(run.finals) == 2


def test_rounds_tell_whose_child_is_trained_and_how_it_came_about(run: SearchResult) -> None:
    notes = [
        event["note"]
        for event in read_events(run.folder.events)
        if event["event"] == "RoundStarted"
    ]
    assert notes[0] == "drawn at random"
    assert len(notes) == 9
    assert all(": changed " in note for note in notes[1:])


def test_the_page_has_the_curve_of_the_three_best_of_the_pool(run: SearchResult) -> None:
    section = summarise(run.folder).search
    assert section is not None
    [chart] = section.charts
    assert (chart.title, chart.y) == ("Scores in the pool", "top_1_and_k")
    best, three, worst = chart.series
    assert list(three.x) == [float(number) for number in range(1, 10)]  # as in the table
    for high, middle, low in zip(best.y, three.y, worst.y, strict=True):
        assert low <= middle <= high
    assert max(best.y) == run.outcome.best[0].score


def test_children_that_inherit_end_elsewhere(task: Task, run: SearchResult, tmp_path: Path) -> None:
    inheriting = searched(task, tmp_path / "run", inheritance="parent")
    ours, theirs = TrialStore.open(inheriting.folder.path), TrialStore.open(run.folder.path)
    same = [
        (ours.weights(one)["logits.weight"] == theirs.weights(two)["logits.weight"]).all()
        for one, two in zip(ours.trials().values(), theirs.trials().values(), strict=True)
        if one.digest == two.digest
    ]
    assert same[:6] == [True] * 6
    assert len(same) > 6
    assert not any(same[6:])


def test_a_tournament_above_the_population_is_told_at_its_key(task: Task) -> None:
    wanted = with_search(task, searcher="evolution", options={"population": 3})
    prepared = prepare(wanted)
    with pytest.raises(FusegraphError) as error:
        searcher_of(wanted, prepared.searched, prepared.trained)
    [found] = error.value.diagnostics
    assert found.code == "E802"
    assert found.message.endswith(
        "`tournament` of the searcher `evolution` is at most `population`, which is 3, not 5"
    )


# ── levelled graphs ──────────────────────────────────────────────────────────────────────────────

STREAMS = """fuse 1

cell identity(x) { return x }
cell weigh(x: f32[N, C]) -> f32[N, C] {
  return x * sigmoid(parameter(shape=(1, 1), init="truncated_normal", std=0.01))
}
cell gather(x[*]; width: int) {
  for i in 1..count(x[*]) {
    e[i] = linear((identity, weigh)[min(2, count(x[*]))](x[i]), out=width)
  }
  return sum(e[*])
}

space streams {
  dim N
  let W = 16
  let least = 4
  input x[1]: f32[N, 6]
  input y[1]: f32[N, 5]
  levels v {
    level 0 width W least least {
      ?source of { x: relu(linear(x[1], out=width)), y: relu(linear(y[1], out=width)) }
    }
    level 1 width W least least { relu(gather(?from some of v[<1], width=width)) }
    level 2 width W least least { relu(gather(?from some of v[<2], width=width)) }
  }
  output logits = linear(concat(v[2][*]), out=3)
}
"""


@pytest.fixture(scope="module")
def streams(tmp_path_factory: pytest.TempPathFactory) -> Task:
    file = write_task(tmp_path_factory.mktemp("streams"))
    (file.parent / "space.fuse").write_text(STREAMS)
    text = file.read_text().replace("set = { W = 12 }\n", "").replace("set = { W = 8 }\n", "")
    text = text.replace("epochs = 1, batch = 40", "epochs = 4, batch = 40, learning_rate = 0.1")
    file.write_text(text)
    return load_task(file)


@dataclass(frozen=True)
class Searched:
    """A search of the streams, without what comes after it."""

    prepared: Prepared
    searcher: Searcher
    outcome: Outcome
    store: TrialStore
    proposals: tuple[Proposal, ...]


@pytest.fixture(scope="module")
def graphs(streams: Task, tmp_path_factory: pytest.TempPathFactory) -> Searched:
    options = OPTIONS | {"inheritance": "parent", "prune": 0.5}
    wanted = with_search(streams, searcher="evolution", budget=16, options=options)
    prepared = prepare(wanted)
    searcher = searcher_of(wanted, prepared.searched, prepared.trained)
    assert not owns_a_loop(searcher)
    store = TrialStore.open(tmp_path_factory.mktemp("run"))
    proposals: list[Proposal] = []

    def watch(event: Event) -> None:
        if isinstance(event, TrialStarted):
            proposals.append(event.proposal)

    evaluator = evaluator_of(prepared)
    outcome = run_search(prepared.searched.graph, searcher, evaluator, store, watch)
    return Searched(prepared, searcher, outcome, store, tuple(proposals))


def test_a_graph_carries_over_to_other_widths(streams: Task) -> None:
    file = streams.file.parent / "space.fuse"
    narrow, wide = [
        load(file, {"W": w, "least": least}) for w, least in (("16", "4"), ("64", "16"))
    ]
    for seed in range(20):
        genotype = sample(narrow.graph, Random(seed))
        carried = carry_over(genotype, narrow, wide)
        before, after = [
            decision.graph_of(found.settings["v"])
            for decision, found in (
                (levels_in(narrow.graph), genotype),
                (levels_in(wide.graph), carried),
            )
        ]
        assert carry_over(carried, wide, narrow) == genotype
        assert [4 * node.width for node in before.nodes] == [node.width for node in after.nodes]
        assert before.edges == after.edges


def test_a_graph_with_shares_that_are_too_small_does_not_carry_over(streams: Task) -> None:
    file = streams.file.parent / "space.fuse"
    fine, coarse = load(file), load(file, {"least": "16"})
    split = next(
        genotype
        for genotype in (sample(fine.graph, Random(seed)) for seed in range(50))
        if "+" in fine.graph.decisions["v"].format(genotype.settings["v"])
    )
    with pytest.raises(FusegraphError) as error:
        carry_over(split, fine, coarse)
    [found] = error.value.diagnostics
    assert found.code == "E410"
    assert found.notes == (
        "a node of level 0 of `v` has 1/4 of the level's width, and 1/4 of 16 is 4: nodes there "
        "are 16 wide",
    )


def levels_in(space: Graph) -> Levels:
    levels = space.decisions["v"]
    assert isinstance(levels, Levels)
    return levels


def test_learned_connections_are_on_record_for_each_weighed_edge(graphs: Searched) -> None:
    levels, records = levels_in(graphs.prepared.searched.graph), graphs.store.trials()
    for proposal in graphs.proposals:
        graph = levels.graph_of(proposal.genotype.settings["v"])
        several = {
            name
            for (_, j), name in edge_names(levels, graph).items()
            if len(graph.nodes[j].inputs) > 1
        }
        learned = records[proposal.trial].learned
        assert set(learned) == several
        assert all(0.0 < value < 1.0 for value in learned.values())
    weights = [value for record in records.values() for value in record.learned.values()]
    assert max(weights) - min(weights) > 0.1


def test_a_learned_connection_is_the_sigmoid_of_the_trained_parameter(graphs: Searched) -> None:
    """Of a node with two inputs its first edge, found in the network by hand."""
    levels, records = levels_in(graphs.prepared.searched.graph), graphs.store.trials()
    checked = 0
    for proposal in graphs.proposals:
        graph, record = levels.graph_of(proposal.genotype.settings["v"]), records[proposal.trial]
        weights = graphs.store.weights(record)
        names = edge_names(levels, graph)
        for j, node in enumerate(graph.nodes):
            for slot, i in enumerate(node.inputs, start=1):
                if len(node.inputs) > 1:
                    path = levels.label(graph, j).replace("[", ".").replace("]", "")
                    value = weights[f"{path}.gather.e.{slot}.weigh.parameter.weight"].item()
                    expected = 1 / (1 + math.exp(-value))
                    assert record.learned[names[i, j]] == pytest.approx(expected, rel=1e-6)
                    checked += 1
    assert checked > 20


def test_children_start_from_what_they_continue(graphs: Searched) -> None:
    evaluator, records = evaluator_of(graphs.prepared), graphs.store.trials()
    inherited = 0
    for proposal in graphs.proposals[6:]:
        parent = proposal.parent
        assert parent is not None
        theirs = graphs.store.weights(records[parent.trial])
        shapes = evaluator.weight_shapes(proposal)
        found = ParentWeights(lambda theirs=theirs: theirs, parent.renamed).matching(shapes)
        known = {tuple(array.flat) for array in theirs.values()}
        assert all(tuple(array.flat) in known for array in found.values())
        assert all(array.shape == shapes[name] for name, array in found.items())
        inherited += len(found) / len(shapes) > 0.4
    assert inherited > 5


def test_nodes_and_learned_edges_continue_the_same_ones(graphs: Searched) -> None:
    space = graphs.prepared.searched.graph
    levels = levels_in(space)
    known = {proposal.trial: proposal.genotype for proposal in graphs.proposals}
    edges = moved = 0
    for proposal in graphs.proposals[6:]:
        assert proposal.parent is not None
        genotypes = (proposal.genotype, known[proposal.parent.trial])
        now, then = [levels.graph_of(genotype.settings["v"]) for genotype in genotypes]
        new, old = [labels_of(levels, graph) for graph in (now, then)]
        weights = [
            {key: edge for edge, key in connections(network(space, g), levels, graph).items()}
            for g, graph in zip(genotypes, (now, then), strict=True)
        ]
        renamed = dict(proposal.parent.renamed)
        assert set(renamed) == {*new, *weights[0]}
        moved += any(key not in renamed[key] for key in new)
        for key, (i, j) in weights[0].items():
            for other in renamed[key]:
                first, second = weights[1][other]
                assert old[first] in renamed[new[i]]
                assert old[second] in renamed[new[j]]
                edges += 1
    assert edges > 20
    assert moved > 3


def test_finished_candidates_train_without_their_weak_edges(graphs: Searched) -> None:
    assert isinstance(graphs.searcher, Finishing)
    levels, records = levels_in(graphs.prepared.searched.graph), graphs.store.trials()
    evaluator = evaluator_of(graphs.prepared)
    found = next(
        scored
        for scored in graphs.outcome.best
        if min(records[scored.trial].learned.values(), default=1.0) < 0.5
    )
    genotype = graphs.searcher.finished(found)
    before, after = [
        levels.graph_of(genotype.settings["v"]) for genotype in (found.genotype, genotype)
    ]
    assert len(after.edges) < len(before.edges)
    assert evaluator.evaluate(Proposal(0, 0, genotype, 0), InheritedWeights()).score > 0


def test_a_search_of_graphs_ends_with_a_pruned_trained_and_exported_network(
    streams: Task, tmp_path: Path
) -> None:
    narrow = streams.file.parent / "narrow.toml"
    narrow.write_text(streams.file.read_text().replace("[search]\n", "[search]\nset = { W = 8 }\n"))
    run = searched(load_task(narrow), tmp_path / "run", prune=0.99)
    wide, found = load_genotype(run.folder.genotypes / "best.fuse")
    levels = levels_in(wide.graph)
    trained = levels.graph_of(found.settings["v"])
    assert sum(node.width for node in trained.nodes) == 3 * 16
    before = [len(levels.graph_of(f.genotype.settings["v"]).edges) for f in run.outcome.best[:2]]
    after = {f.trial: len(levels.graph_of(f.genotype.settings["v"]).edges) for f in run.finals}
    assert all(after[rank] <= edges for rank, edges in enumerate(before))
    assert sum(after.values()) < sum(before)
    assert len(trained.edges) == after[run.finals[0].trial]
    assert (run.folder.path / "report.html").is_file()
    assert (run.folder.path / "model.onnx").is_file()
