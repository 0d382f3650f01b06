"""The pipeline beneath the command line: evaluation, carrying over, scores, run folders."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from fusegraph.ir.diagnostics import FusegraphError
from fusegraph.ir.dsl import load
from fusegraph.pipeline import evaluate as evaluate_module
from fusegraph.pipeline.evaluate import TaskEvaluator, evaluator_of
from fusegraph.pipeline.events import EventLog, StageStarted, read_events
from fusegraph.pipeline.files import write_file
from fusegraph.pipeline.run_folder import begin_run, open_run
from fusegraph.pipeline.scores import confusion, scores
from fusegraph.pipeline.search import search_task, with_search
from fusegraph.pipeline.sources import carry_over, open_source
from fusegraph.pipeline.summary import summarise
from fusegraph.pipeline.tasks import prepare
from fusegraph.pipeline.train import train_task
from fusegraph.searchers.protocol import Array, Proposal, SharedLayer, TrialFailed
from fusegraph.searchers.sharing import InheritedWeights, WeightBank
from fusegraph.tasks.task_file import Task, load_task
from fusegraph.training import metrics
from small_task import write_task


@pytest.fixture(scope="module")
def task(tmp_path_factory: pytest.TempPathFactory) -> Task:
    return load_task(write_task(tmp_path_factory.mktemp("task")))


@pytest.fixture(scope="module")
def one_by_one(tmp_path_factory: pytest.TempPathFactory) -> Task:
    file = write_task(tmp_path_factory.mktemp("one_by_one"))
    file.write_text(file.read_text().replace("[search]\n", "[search]\nside_by_side = 1\n"))
    return load_task(file)


def evaluator_and_proposal(task: Task, *shares: SharedLayer) -> tuple[TaskEvaluator, Proposal]:
    prepared = prepare(task)
    source = open_source(task.file.parent / "genotype.fuse", {"W": "8"})
    assert source.genotype is not None
    settings = task.settings.search.train
    evaluator = TaskEvaluator(prepared.searched, prepared.data, settings)
    return evaluator, Proposal(0, 0, source.genotype, 5, shares)


# ── evaluating ───────────────────────────────────────────────────────────────────────────────────


def test_an_evaluation_is_a_pure_function_of_its_proposal(task: Task) -> None:
    evaluator, proposal = evaluator_and_proposal(task)
    first = evaluator.evaluate(proposal, InheritedWeights())
    torch.manual_seed(99)
    second = evaluator.evaluate(proposal, InheritedWeights())
    assert first.score == second.score
    assert first.metrics == second.metrics
    for name, value in first.weights.items():
        np.testing.assert_array_equal(value, second.weights[name])


def test_the_trained_weights_go_to_the_bank_and_the_next_one_starts_from_them(task: Task) -> None:
    layer = SharedLayer("h[1]")
    evaluator, proposal = evaluator_and_proposal(task, layer)
    bank = WeightBank()
    bank.record(proposal, evaluator.evaluate(proposal, InheritedWeights()).weights)
    asked: list[Mapping[str, Array]] = []

    class Watched:
        def matching(self, shapes: Mapping[str, Any]) -> dict[str, Array]:
            asked.append(bank.view(proposal).matching(shapes))
            return dict(asked[-1])

    again = evaluator.evaluate(proposal, Watched())
    assert set(asked[0]) == {"h.1.linear.weight", "h.1.linear.bias"}
    alone = evaluator.evaluate(proposal, InheritedWeights())
    assert not np.array_equal(
        again.weights["h.1.linear.weight"], alone.weights["h.1.linear.weight"]
    )


def test_the_candidates_of_a_search_see_the_data_in_one_order_that_depends_on_its_seed(
    task: Task, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, proposal = evaluator_and_proposal(task)
    real, seeds = evaluate_module.fit, list[int]()

    def watched(*given: Any, **named: Any) -> Any:
        seeds.append(named["order_seed"])
        return real(*given, **named)

    monkeypatch.setattr(evaluate_module, "fit", watched)
    for seed in (1, 2):
        evaluator = evaluator_of(prepare(with_search(task, seed=seed)))
        for trial in (0, 1):
            evaluator.evaluate(replace(proposal, trial=trial, seed=trial), InheritedWeights())
    assert seeds[0] == seeds[1] != seeds[2] == seeds[3]


def test_an_evaluation_tells_the_size_of_the_network(task: Task) -> None:
    evaluator, proposal = evaluator_and_proposal(task)
    found = evaluator.evaluate(proposal, InheritedWeights())
    assert found.metrics["parameters"] == sum(value.size for value in found.weights.values())


def test_a_candidate_that_runs_out_of_memory_is_recorded_and_the_search_goes_on(
    one_by_one: Task, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, calls = evaluate_module.train_module, []

    def sometimes(*given: Any, **named: Any) -> Any:
        calls.append(named["name"])
        if named["name"] == "search-1":
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")
        return real(*given, **named)

    monkeypatch.setattr(evaluate_module, "train_module", sometimes)
    failed: list[TrialFailed] = []
    small = with_search(one_by_one, searcher="random", budget=3)
    found = search_task(
        small,
        tmp_path / "run",
        finals=1,
        on_event=lambda event: failed.append(event) if isinstance(event, TrialFailed) else None,
    )
    assert (found.outcome.trials, found.outcome.failed) == (3, 1)
    assert [event.reason for event in failed] == [
        "out of memory: CUDA out of memory. Tried to allocate 2 GiB"
    ]
    section = summarise(found.folder).search
    assert section is not None
    assert [trial.failure != "" for trial in section.trials] == [False, True, False]


@pytest.mark.parametrize("together", [1, 64])
def test_batch_norm_over_one_sample_fails_that_network_and_not_the_search(
    together: int, tmp_path: Path
) -> None:
    file = write_task(tmp_path)
    space = tmp_path / "space.fuse"
    space.write_text(space.read_text().replace("sigmoid}", "batch_norm}"))
    text = file.read_text().replace("batch = 40", "batch = 1").replace("epochs = 3", "epochs = 1")
    text = text.replace("[search]\n", f"[search]\nside_by_side = {together}\n")
    file.write_text(text)
    small = with_search(load_task(file), searcher="random", budget=6)
    failed: list[TrialFailed] = []
    found = search_task(
        small,
        tmp_path / "run",
        finals=1,
        on_event=lambda event: failed.append(event) if isinstance(event, TrialFailed) else None,
    )
    assert 0 < found.outcome.failed < 6
    assert all("E708" in event.reason and "more than 1 value" in event.reason for event in failed)


@pytest.mark.parametrize("part", ["train_module", "fit_side_by_side"])
def test_an_error_of_the_program_ends_the_search_and_is_no_failed_candidate(
    task: Task, one_by_one: Task, part: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any, **__: Any) -> Any:
        raise TypeError("a fault of ours")

    monkeypatch.setattr(evaluate_module, part, broken)
    task = one_by_one if part == "train_module" else task
    with pytest.raises(TypeError, match="a fault of ours"):
        search_task(with_search(task, searcher="random", budget=2), tmp_path / "run")


# ── genotypes at other constants ─────────────────────────────────────────────────────────────────


def test_a_genotype_is_carried_over_by_labels(task: Task) -> None:
    narrow, wide = load(task.space, {"W": "8"}), load(task.space, {"W": "12"})
    source = open_source(task.file.parent / "genotype.fuse", {"W": "8"})
    assert source.genotype is not None
    carried = carry_over(source.genotype, narrow, wide)
    assert carried.space == wide.graph.digest != narrow.graph.digest
    assert dict(carried.items) == dict(source.genotype.items)
    assert carry_over(carried, wide, narrow).digest == source.genotype.digest


def test_a_genotype_of_a_space_with_more_decisions_open_is_not_carried_over(
    task: Task, tmp_path: Path
) -> None:
    closed = tmp_path / "space.fuse"
    closed.write_text(task.space.read_text().replace("?act of {relu, sigmoid}", "relu", 1))
    (tmp_path / "g.fuse").write_text(
        'fuse 1\ngenotype of "space.fuse"\nh[1] { x = x[1], y = y[2] }\nlogits { depth = h[1] }\n'
    )
    source = open_source(tmp_path / "g.fuse")
    assert source.genotype is not None
    with pytest.raises(FusegraphError, match=r"E410.*carry over"):
        carry_over(source.genotype, source.program, load(task.space))


# ── scores ───────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("kind", ["single", "multi"])
@pytest.mark.parametrize("seed", range(5))
def test_scores_are_those_of_the_training(kind: Any, seed: int) -> None:
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(40, 7)).astype(np.float32)
    labels = rng.integers(0, 7, size=40) if kind == "single" else rng.integers(0, 2, size=(40, 7))
    found = scores(logits, labels, kind)
    given = torch.from_numpy(logits), torch.from_numpy(labels)
    assert found["accuracy"] == pytest.approx(metrics.accuracy(*given, kind))
    for average in ("weighted", "macro"):
        wanted = metrics.f1(*given, kind, average)
        assert found[f"{average}_f1"] == pytest.approx(wanted, abs=1e-6)
    if kind == "single":
        assert found["top_5"] == pytest.approx(metrics.top_k_accuracy(*given, 5))
        matrix = confusion(logits, labels)
        assert matrix.trace() / 40 == pytest.approx(found["accuracy"])
        np.testing.assert_array_equal(matrix.sum(axis=1), np.bincount(labels, minlength=7))


# ── folders, files, events ───────────────────────────────────────────────────────────────────────


def test_a_run_folder_has_copies_of_all_files_of_the_space(tmp_path: Path) -> None:
    home = tmp_path / "home"
    (home / "cells").mkdir(parents=True)
    (home / "cells" / "own.fuse").write_text(
        "fuse 1\ncell twice(x: f32[N, C]) -> f32[N, C] {\n  return x + x\n}\n"
    )
    (home / "space.fuse").write_text(
        'fuse 1\nuse "cells/own": twice\nspace s {\n  dim N\n  input a: f32[N, 4]\n'
        "  output logits = linear(twice(a), out=?w of {2, 3})\n}\n"
    )
    (home / "task.toml").write_text("")
    program = load(home / "space.fuse")
    folder, there = begin_run(
        tmp_path / "run", {"kind": "test"}, program, home / "task.toml", resume=False
    )
    assert not there
    assert load(folder.space).graph is program.graph
    assert open_run(folder.path) == folder


def test_a_folder_whose_making_was_cut_short_is_begun_again(tmp_path: Path, task: Task) -> None:
    folder = tmp_path / "run"
    (folder / "space").mkdir(parents=True)
    (folder / "space" / "space.fuse").write_text("half a fi")
    program = load(task.space)
    found, there = begin_run(folder, {"kind": "test"}, program, task.file, resume=True)
    assert not there
    assert load(found.space).graph is program.graph


def test_a_damaged_run_folder_is_told_of(tmp_path: Path, task: Task) -> None:
    folder, _ = begin_run(tmp_path, {"kind": "t"}, load(task.space), task.file, resume=False)
    folder.identity.write_text("{half")
    with pytest.raises(FusegraphError, match="E632"):
        begin_run(tmp_path, {"kind": "t"}, load(task.space), task.file, resume=True)


def test_a_log_with_a_torn_line_goes_on_and_is_read(tmp_path: Path) -> None:
    file = tmp_path / "events.jsonl"
    for _ in range(2):
        with EventLog(file) as log:
            log(StageStarted("search", 3))
        with file.open("a") as stream:
            stream.write('{"event": "Torn')
    assert [event["event"] for event in read_events(file)] == ["StageStarted", "StageStarted"]
    assert json.loads(file.read_text().splitlines()[0])["trials"] == 3


@pytest.mark.parametrize("name", [".", "..", "/", "there"])
def test_a_folder_is_not_written_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "there").mkdir()
    with pytest.raises(FusegraphError, match=r"E633.*a folder"):
        write_file(name, "text")
    assert [path.name for path in tmp_path.rglob("*")] == ["there"]


def test_a_file_that_cannot_be_written_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("")
    with pytest.raises(FusegraphError, match="E633"):
        write_file(tmp_path / "taken" / "below.txt", "text")
    (tmp_path / "folder").mkdir()
    with pytest.raises(FusegraphError, match="E633"):
        write_file(tmp_path / "folder", "text")
    assert sorted(file.name for file in tmp_path.iterdir()) == ["folder", "taken"]


def test_a_network_that_imports_a_cell_of_its_own_is_trained_and_found_again(
    tmp_path: Path,
) -> None:
    """Its file in the run names the copy of the space, imports and constants as they were."""
    write_task(tmp_path)
    (tmp_path / "parts.fuse").write_text(
        "fuse 1\ncell joined(x, y) { return relu(linear(concat(x, y), out=8)) }\n"
        "space alone { dim N input x: f32[N, 2] output y = relu(x) }\n"
    )
    (tmp_path / "space.fuse").write_text(
        'fuse 1\nuse "parts": joined\nspace network {\n  dim N\n  let W = 8\n'
        "  input x[1]: f32[N, 6]\n  input y[1]: f32[N, 5]\n"
        "  output logits = linear(relu(linear(joined(x[1], y[1]), out=W)), out=3)\n}\n"
    )
    folder, results = train_task(load_task(tmp_path / "task.toml"), tmp_path / "run")
    assert open_source(folder.best).network.digest
    assert results["parameters"] == 12 * 8 + 9 * 12 + 13 * 3
