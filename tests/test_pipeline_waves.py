"""Candidates trained side by side: as one by one, within memory, and resumed in the middle."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from fusegraph.compiler.explore import enumerate_genotypes
from fusegraph.pipeline.evaluate import TaskEvaluator, evaluator_of
from fusegraph.pipeline.search import search_task
from fusegraph.pipeline.tasks import prepare
from fusegraph.searchers.protocol import Evaluation, Proposal, SharedLayer, TrialFinished
from fusegraph.searchers.sharing import InheritedWeights, WeightBank
from fusegraph.searchers.store import TrialStore
from fusegraph.tasks.task_file import Task, load_task
from fusegraph.training import side_by_side
from searcher_conformance import table
from small_task import write_task

OPTIONS = "options = { candidates = 6, iterations = 2, surrogate_hidden = 6, surrogate_epochs = 3 }"
LAYERS = (SharedLayer("h[1]"), SharedLayer("h[2]"))


def task_in(folder: Path, together: int) -> Task:
    file = write_task(folder)
    text = file.read_text().replace("[search]\n", f"[search]\nside_by_side = {together}\n")
    text = text.replace("options = { candidates = 2, iterations = 1 }", OPTIONS)
    file.write_text(text)
    return load_task(file)


@pytest.fixture(scope="module")
def task(tmp_path_factory: pytest.TempPathFactory) -> Task:
    return task_in(tmp_path_factory.mktemp("task"), 64)


def evaluator_and_proposals(task: Task, count: int = 5) -> tuple[TaskEvaluator, list[Proposal]]:
    prepared = prepare(task)
    genotypes = list(enumerate_genotypes(prepared.searched.graph))
    step = len(genotypes) // count
    proposals = [
        Proposal(n, 0, genotypes[n * step], 2**40 + n, LAYERS[: 1 + n % 2]) for n in range(count)
    ]
    return evaluator_of(prepared), proposals


def assert_alike(found: Evaluation | Exception, alone: Evaluation) -> None:
    assert isinstance(found, Evaluation)
    assert found.score == pytest.approx(alone.score, abs=1e-6)
    assert found.metrics == pytest.approx(alone.metrics, rel=1e-4)
    assert set(found.weights) == set(alone.weights)
    for name, value in alone.weights.items():
        np.testing.assert_allclose(found.weights[name], value, atol=1e-5)


def test_side_by_side_each_candidate_is_trained_as_alone(task: Task) -> None:
    evaluator, proposals = evaluator_and_proposals(task)
    bank = WeightBank()
    for proposal in proposals:
        bank.record(proposal, evaluator.evaluate(proposal, InheritedWeights()).weights)
    views = [bank.view(proposal) for proposal in proposals]
    alone = [evaluator.evaluate(p, v) for p, v in zip(proposals, views, strict=True)]
    together = evaluator.evaluate_together(proposals, views)
    for found, expected in zip(together, alone, strict=True):
        assert_alike(found, expected)
    # That they inherited at all:
    fresh = evaluator.evaluate_together(proposals, [InheritedWeights()] * len(proposals))
    assert isinstance(fresh[0], Evaluation)
    assert not np.allclose(
        fresh[0].weights["h.1.linear.weight"], alone[0].weights["h.1.linear.weight"], atol=1e-5
    )


def test_the_shapes_that_are_told_are_those_of_the_weights(task: Task) -> None:
    evaluator, proposals = evaluator_and_proposals(task)
    for proposal in proposals:
        found = evaluator.evaluate(proposal, InheritedWeights())
        told = evaluator.weight_shapes(proposal)
        assert {name: value.shape for name, value in found.weights.items()} == told


def test_a_program_that_does_not_fit_into_memory_is_halved(
    task: Task, monkeypatch: pytest.MonkeyPatch
) -> None:
    joint, fit, sizes, alone = side_by_side.Joint, side_by_side.fit, list[int](), list[int]()

    def limited(networks: Sequence[Any], *given: Any) -> Any:
        sizes.append(len(networks))
        if len(networks) > 2 or len(sizes) > 3:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")
        return joint(networks, *given)

    def too_large_with_seed_three(*given: Any, **named: Any) -> Any:
        alone.append(given[3].seed)
        if given[3].seed == 3:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")
        return fit(*given, **named)

    monkeypatch.setattr(side_by_side, "Joint", limited)
    monkeypatch.setattr(side_by_side, "fit", too_large_with_seed_three)
    evaluator, proposals = evaluator_and_proposals(task)
    proposals = [replace(proposal, seed=place) for place, proposal in enumerate(proposals)]
    views = [InheritedWeights()] * len(proposals)
    found = evaluator.evaluate_together(proposals, views)
    assert (sizes, alone) == ([5, 2, 3, 2], [2, 3, 4])
    assert isinstance(found[3], torch.OutOfMemoryError)
    assert found[3].__traceback__ is None  # it would keep what filled the memory
    for place in (0, 1, 2, 4):
        assert_alike(found[place], evaluator.evaluate(proposals[place], views[place]))


def scores_of(folder: Path) -> dict[int, float | None]:
    return {trial: record.score for trial, record in TrialStore.open(folder).trials().items()}


def test_a_search_in_waves_is_that_of_one_by_one_to_rounding(tmp_path: Path) -> None:
    (tmp_path / "tasks").mkdir()
    runs: dict[int, Path] = {}
    for together in (1, 4, 64):
        runs[together] = tmp_path / f"run-{together}"
        folder = tmp_path / "tasks" / str(together)
        folder.mkdir()
        search_task(task_in(folder, together), runs[together], finals=1)
    whole = TrialStore.open(runs[1]).trials()
    for together in (4, 64):
        found = TrialStore.open(runs[together]).trials()
        assert [r.digest for r in found.values()] == [r.digest for r in whole.values()]
        assert scores_of(runs[together]) == pytest.approx(scores_of(runs[1]), abs=1e-6)


class Stop(Exception):
    """Ends a search as suddenly as a power cut."""


@pytest.mark.parametrize("error", [KeyboardInterrupt, Stop])
def test_a_search_that_ends_in_the_middle_of_a_wave_is_resumed_to_the_same_end(
    task: Task, error: type[BaseException], tmp_path: Path
) -> None:
    whole = search_task(task, tmp_path / "whole", finals=1)
    unfinished: list[int] = []
    for stop_at in (2, 6, 13):
        folder = tmp_path / f"{error.__name__}-{stop_at}"
        seen: list[int] = []

        def stop(event: object, seen: list[int] = seen, stop_at: int = stop_at) -> None:
            if isinstance(event, TrialFinished):
                seen.append(event.proposal.trial)
                if len(seen) == stop_at:
                    raise error

        with pytest.raises(error):
            search_task(task, folder, finals=1, on_event=stop)
        left = TrialStore.open(folder)
        states = [record.state for record in left.trials().values()]
        assert states.count("complete") == stop_at
        unfinished.append(states.count("claimed"))
        resumed = search_task(task, folder, finals=1, resume=True)
        assert table(TrialStore.open(folder)) == table(TrialStore.open(tmp_path / "whole"))
        for number, record in TrialStore.open(folder).trials().items():
            expected = TrialStore.open(tmp_path / "whole")
            theirs = expected.weights(expected.trials()[number])
            for name, value in TrialStore.open(folder).weights(record).items():
                np.testing.assert_array_equal(value, theirs[name])
        assert resumed.finals == whole.finals
    assert min(unfinished) == 0 < max(unfinished)  # at the end of a wave, and within one
