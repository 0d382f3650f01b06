"""Evolution on a real task: from the task file to the page of the run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from fusegraph.ir.diagnostics import FusegraphError
from fusegraph.pipeline.events import read_events
from fusegraph.pipeline.search import SearchResult, search_task, with_search
from fusegraph.pipeline.searcher import searcher_of
from fusegraph.pipeline.summary import summarise
from fusegraph.pipeline.tasks import prepare
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
    assert list(three.x) == [float(number) for number in range(9)]
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
    assert found.message.endswith("`tournament` (5) is at most `population` (3)")
