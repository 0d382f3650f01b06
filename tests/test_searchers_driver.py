"""The driver: what it records, what it reports, which failures it tolerates."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

import pytest
import torch

from fusegraph.ir.diagnostics import Diagnostic, FusegraphError
from fusegraph.ir.graph import Graph
from fusegraph.searchers.driver import Outcome, run_finals, run_search
from fusegraph.searchers.history import History
from fusegraph.searchers.protocol import (
    Evaluation,
    Evaluator,
    Event,
    Inherited,
    Proposal,
    Round,
    RoundStarted,
    Scored,
    SearchFinished,
    SearchInterrupted,
    SharedLayer,
    SurrogateFitted,
    TrialFailed,
    TrialFinished,
    TrialResult,
    TrialStarted,
)
from fusegraph.searchers.registry import make_searcher
from fusegraph.searchers.store import JOURNAL, TrialStore
from searcher_conformance import (
    FLAT,
    PROGRESSIVE,
    CheapEvaluator,
    CheapWaveEvaluator,
    space_of,
    table,
)

MFAS = {"candidates": 4, "iterations": 2, "surrogate_hidden": 6, "surrogate_epochs": 3}


class Raising:
    """An evaluator whose second candidate raises."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    def evaluate(self, proposal: Proposal, inherited: Inherited) -> Evaluation:
        if proposal.trial == 1:
            raise self.error
        return Evaluation(0.5)


def search(
    folder: Path,
    evaluator: Evaluator,
    events: list[Event] | None = None,
    name: Literal["random", "mfas"] = "random",
) -> Outcome:
    space = space_of(PROGRESSIVE)
    options = MFAS if name == "mfas" else {"trials": 5, "batch": 2}
    searcher = make_searcher(name, space, options, seed=0)
    note = (lambda _: None) if events is None else events.append
    return run_search(space, searcher, evaluator, TrialStore.open(folder), note)


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (FusegraphError(Diagnostic("E701", "the loss is NaN")), "E701: the loss is NaN"),
        (FusegraphError(Diagnostic("E301", "no such shape")), "E301: no such shape"),
        (MemoryError(), "out of memory: MemoryError"),
        (RuntimeError("CUDA out of memory. Tried\nto allocate"), "out of memory: CUDA out of"),
        (torch.OutOfMemoryError("HIP out of memory"), "out of memory: HIP out of memory"),
        (
            RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried"),
            "out of memory: [enforce fail] DefaultCPUAllocator",
        ),
    ],
)
def test_a_candidate_that_fails_is_recorded_and_the_search_goes_on(
    tmp_path: Path, error: Exception, reason: str
) -> None:
    outcome = search(tmp_path, Raising(error))
    records = TrialStore.open(tmp_path).trials()
    assert [r.state for r in records.values()].count("complete") == 4
    assert records[1].state == "failed"
    assert records[1].reason.startswith(reason)
    assert (outcome.trials, outcome.failed) == (5, 1)


@pytest.mark.parametrize("score", [float("nan"), float("inf")])
def test_a_score_that_is_no_number_is_a_failure(tmp_path: Path, score: float) -> None:
    class Diverging:
        def evaluate(self, proposal: Proposal, inherited: Inherited) -> Evaluation:
            return Evaluation(score if proposal.trial == 0 else 0.1)

    assert search(tmp_path, Diverging()).failed == 1
    assert f"its score is {score}" in TrialStore.open(tmp_path).trials()[0].reason


@pytest.mark.parametrize(
    "error",
    [
        TypeError("a programming error"),
        RuntimeError("mat1 and mat2 shapes cannot be multiplied"),
        FusegraphError(Diagnostic("E610", "the features are not there")),
    ],
)
def test_an_error_that_is_not_the_candidates_ends_the_search(
    tmp_path: Path, error: Exception
) -> None:
    with pytest.raises(type(error)):
        search(tmp_path, Raising(error))
    assert [r.state for r in TrialStore.open(tmp_path).trials().values()] == ["complete", "claimed"]
    assert not search(tmp_path, CheapEvaluator()).interrupted  # it can be resumed when mended


def test_events_tell_the_whole_search(tmp_path: Path) -> None:
    events: list[Event] = []
    outcome = search(tmp_path, CheapEvaluator(failing=0.3), events, "mfas")
    assert isinstance(events[0], RoundStarted)
    assert events[0].planned == 4 + 4 * 4
    finished = [e for e in events if isinstance(e, TrialFinished)]
    failed = [e for e in events if isinstance(e, TrialFailed)]
    started = [e for e in events if isinstance(e, TrialStarted)]
    assert len(started) == len(finished) + len(failed) == outcome.trials
    assert len(failed) == outcome.failed > 0
    assert all(e.reason == "E701: the loss is NaN" for e in failed)
    assert [e.round for e in events if isinstance(e, SurrogateFitted)] == [0, 1, 2, 3]
    last = events[-1]
    assert isinstance(last, SearchFinished)
    assert (last.best, last.ending) == (outcome.best, "all steps are done")


def test_replayed_trials_are_reported_as_such(tmp_path: Path) -> None:
    search(tmp_path, CheapEvaluator(interrupt_at=3))
    events: list[Event] = []
    search(tmp_path, CheapEvaluator(), events)
    replayed = [e.replayed for e in events if isinstance(e, TrialFinished | TrialFailed)]
    assert replayed == [True, True, True, False, False]


def test_ctrl_c_is_reported_and_not_raised(tmp_path: Path) -> None:
    events: list[Event] = []
    outcome = search(tmp_path, CheapEvaluator(interrupt_at=2), events)
    assert outcome.interrupted
    assert events[-1] == SearchInterrupted(2)


def test_the_genotypes_text_is_on_record(tmp_path: Path) -> None:
    search(tmp_path, CheapEvaluator())
    text = TrialStore.open(tmp_path).trials()[0].genotype.splitlines()
    assert text[0] in {"h[1].pose = x[1]", "h[1].pose = x[2]"}
    assert text[-1].startswith("logits.layers = h[")


def test_another_search_is_not_resumed_in_its_place(tmp_path: Path) -> None:
    search(tmp_path, CheapEvaluator())
    with pytest.raises(FusegraphError) as error:
        search(tmp_path, CheapEvaluator(), name="mfas")
    assert error.value.diagnostics[0].code == "E805"


def test_a_record_that_the_search_would_not_have_made_is_noticed(tmp_path: Path) -> None:
    search(tmp_path, CheapEvaluator())
    journal = tmp_path / JOURNAL
    digest = TrialStore.open(tmp_path).trials()[2].digest
    journal.write_bytes(journal.read_bytes().replace(digest.encode(), b"0123456789ab"))
    with pytest.raises(FusegraphError, match="0123456789ab") as error:
        search(tmp_path, CheapEvaluator())
    assert error.value.diagnostics[0].code == "E811"


# ── waves ────────────────────────────────────────────────────────────────────────────────────────


def test_the_seconds_of_a_wave_are_shared_out(tmp_path: Path) -> None:
    class Slow(CheapWaveEvaluator):
        def evaluate_together(
            self, proposals: Sequence[Proposal], inherited: Sequence[Inherited]
        ) -> list[Evaluation | Exception]:
            time.sleep(0.2)
            return super().evaluate_together(proposals, inherited)

    search(tmp_path, Slow())
    seconds = [record.seconds for record in TrialStore.open(tmp_path).trials().values()]
    assert seconds[0] == seconds[1] == pytest.approx(0.1, abs=0.05)
    assert seconds[4] < 0.1  # the last round has one candidate, which is evaluated alone


def test_the_candidates_of_a_wave_start_together_and_finish_in_order(tmp_path: Path) -> None:
    events: list[Event] = []
    search(tmp_path, CheapWaveEvaluator(), events)
    told = [
        (type(e).__name__, e.proposal.trial)
        for e in events
        if isinstance(e, TrialStarted | TrialFinished)
    ]
    assert told[:4] == [
        ("TrialStarted", 0),
        ("TrialStarted", 1),
        ("TrialFinished", 0),
        ("TrialFinished", 1),
    ]


def test_a_candidate_that_fails_in_a_wave_fails_alone(tmp_path: Path) -> None:
    class Failing(CheapWaveEvaluator):
        def evaluate(self, proposal: Proposal, inherited: Inherited) -> Evaluation:
            if proposal.trial == 1:
                raise FusegraphError(Diagnostic("E701", "the loss is NaN"))
            return Evaluation(float("nan") if proposal.trial == 2 else 0.5)

    assert search(tmp_path, Failing()).failed == 2
    records = TrialStore.open(tmp_path).trials()
    assert [r.state for r in records.values()] == [
        "complete",
        "failed",
        "failed",
        "complete",
        "complete",
    ]
    assert records[1].reason == "E701: the loss is NaN"
    assert records[2].reason == "diverged: its score is nan"


def test_an_error_that_is_not_the_candidates_ends_a_search_in_waves(tmp_path: Path) -> None:
    class Faulty(CheapWaveEvaluator):
        def evaluate_together(
            self, proposals: Sequence[Proposal], inherited: Sequence[Inherited]
        ) -> list[Evaluation | Exception]:
            found = super().evaluate_together(proposals, inherited)
            return [found[0], TypeError("a programming error")]

    with pytest.raises(TypeError, match="a programming error"):
        search(tmp_path, Faulty())
    records = TrialStore.open(tmp_path).trials()
    assert [r.state for r in records.values()] == ["complete", "claimed"]


def test_a_wave_that_is_on_record_in_part_is_evaluated_whole_and_the_rest_recorded(
    tmp_path: Path,
) -> None:
    def stop_at_the_second(event: Event) -> None:
        if isinstance(event, TrialFinished) and event.proposal.trial == 1:
            raise KeyboardInterrupt

    space = space_of(PROGRESSIVE)
    options = {"trials": 5, "batch": 5}
    searcher = make_searcher("random", space, options, seed=0)
    store = TrialStore.open(tmp_path)
    stopped = run_search(space, searcher, CheapWaveEvaluator(), store, stop_at_the_second)
    assert stopped.interrupted
    known = table(store)[:2]
    assert [state for _, _, state, *_ in table(store)] == ["complete"] * 2 + ["claimed"] * 3
    again, events = CheapWaveEvaluator(), list[Event]()
    searcher = make_searcher("random", space, options, seed=0)
    run_search(space, searcher, again, TrialStore.open(tmp_path), events.append)
    assert again.waves == [[0, 1, 2, 3, 4]]
    assert table(TrialStore.open(tmp_path))[:2] == known
    finished = [e for e in events if isinstance(e, TrialFinished)]
    assert [e.proposal.trial for e in finished if e.replayed] == [0, 1]
    assert [e.proposal.trial for e in finished if not e.replayed] == [2, 3, 4]


def test_a_candidate_without_a_network_shares_nothing_and_fails(tmp_path: Path) -> None:
    class Unbuilt(CheapWaveEvaluator):
        def weight_shapes(self, proposal: Proposal) -> dict[str, tuple[int, int]]:
            if proposal.trial == 1:
                raise FusegraphError(Diagnostic("E713", "two shapes of one key"))
            return super().weight_shapes(proposal)

    search(tmp_path, Unbuilt(), name="mfas")
    records = TrialStore.open(tmp_path).trials()
    assert [n for n, record in records.items() if record.state == "failed"] == [1]


class OneRound:
    """A searcher of one round, whose candidates all share one layer."""

    def __init__(self, space: Graph, *, synchronous: bool) -> None:
        self._asked = make_searcher("random", space, {"trials": 4, "batch": 4}, 0).ask()
        self._synchronous = synchronous
        self.told: list[TrialResult] = []
        self.planned = 4
        self.ending = ""
        self.identity = {"searcher": "one round"}

    @property
    def done(self) -> bool:
        return bool(self.told)

    def ask(self) -> Round:
        proposals = [replace(p, shares=(SharedLayer("h[1]"),)) for p in self._asked.proposals]
        return Round(0, tuple(proposals), synchronous=self._synchronous)

    def tell(self, results: Sequence[TrialResult]) -> tuple[Event, ...]:
        self.told += results
        return ()

    def best(self, count: int) -> list[Scored]:
        return []


@pytest.mark.parametrize("together", [1, 3, 100])
@pytest.mark.parametrize("synchronous", [True, False])
def test_in_a_synchronous_round_candidates_inherit_nothing_from_one_another(
    synchronous: bool, together: int, tmp_path: Path
) -> None:
    inheriting: list[int] = []

    class Watching(CheapWaveEvaluator):
        def evaluate(self, proposal: Proposal, inherited: Inherited) -> Evaluation:
            shapes = self.weight_shapes(proposal)
            inheriting.extend([proposal.trial] * bool(inherited.matching(shapes)))
            return super().evaluate(proposal, inherited)

        def weight_shapes(self, proposal: Proposal) -> dict[str, tuple[int, int]]:
            return {"h.1.linear.weight": (2, 2)}

    space = space_of(PROGRESSIVE)
    searcher = OneRound(space, synchronous=synchronous)
    evaluator = Watching(together=together)
    run_search(space, searcher, evaluator, TrialStore.open(tmp_path))
    assert inheriting == ([] if synchronous else [1, 2, 3])
    pieces = {1: [], 3: [[0, 1, 2]], 100: [[0, 1, 2, 3]]}
    assert evaluator.waves == (pieces[together] if synchronous else [])
    assert [result.trial for result in searcher.told] == [0, 1, 2, 3]


# ── the final training ───────────────────────────────────────────────────────────────────────────


class Final:
    """Scores finalists by their rank, the last one best."""

    def __init__(self, interrupt_at: int = -1) -> None:
        self.interrupt_at = interrupt_at
        self.trained: list[int] = []

    def evaluate(self, proposal: Proposal, inherited: Inherited) -> Evaluation:
        if proposal.trial == self.interrupt_at:
            raise KeyboardInterrupt
        assert inherited.matching({"h.1.linear.weight": (2, 2)}) == {}
        self.trained.append(proposal.trial)
        if proposal.trial == 1:
            raise FusegraphError(Diagnostic("E701", "the loss is NaN"))
        return Evaluation(0.1 * proposal.trial)


def test_the_best_are_trained_to_completion_and_ranked_anew(tmp_path: Path) -> None:
    best = search(tmp_path, CheapEvaluator(), name="mfas").best[:4]
    store = TrialStore.open(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        run_finals(space_of(PROGRESSIVE), best, Final(interrupt_at=2), store)
    evaluator = Final()
    ranked = run_finals(space_of(PROGRESSIVE), best, evaluator, TrialStore.open(tmp_path))
    assert evaluator.trained == [2, 3]  # 0 and 1 are on record
    assert [scored.trial for scored in ranked] == [3, 2, 0]
    assert ranked[0].genotype == best[3].genotype
    assert len(TrialStore.open(tmp_path).trials("final")) == 4


# ── best of the history ──────────────────────────────────────────────────────────────────────────


def test_of_equal_scores_the_earlier_trial_is_better() -> None:
    space = space_of(FLAT)
    searcher = make_searcher("random", space, {"trials": 2, "batch": 2}, 0)
    first, second = searcher.ask().proposals
    history = History()
    for proposals in ((second,), (first,), (first,)):
        history.proposed(proposals)
        history.pair([TrialResult(proposals[0].trial, 0.5)])
    assert [scored.trial for scored in history.best(2)] == [first.trial, second.trial]


# ── kill -9 ──────────────────────────────────────────────────────────────────────────────────────

KILLED = """
import sys
from pathlib import Path
sys.path.insert(0, {tests!r})
from test_searchers_driver import CheapEvaluator, search

class Slow(CheapEvaluator):
    def evaluate(self, proposal, inherited):
        print(proposal.trial, flush=True)
        return super().evaluate(proposal, inherited)

search(Path({folder!r}), Slow(), name="mfas")
print("done", flush=True)
"""


def test_a_search_that_was_killed_again_and_again_ends_as_one_that_was_not(tmp_path: Path) -> None:
    expected = search(tmp_path / "whole", CheapEvaluator(), name="mfas")
    script = textwrap.dedent(KILLED).format(
        tests=str(Path(__file__).parent), folder=str(tmp_path / "killed")
    )
    for kill_at in (2, 3, 9):
        worker = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
        assert worker.stdout is not None
        for _ in range(kill_at):
            assert worker.stdout.readline().strip() != "done"
        os.kill(worker.pid, signal.SIGKILL)
        worker.wait()
        worker.stdout.close()
    outcome = search(tmp_path / "killed", CheapEvaluator(), name="mfas")
    assert outcome.best == expected.best
    assert table(TrialStore.open(tmp_path / "killed")) == table(TrialStore.open(tmp_path / "whole"))
