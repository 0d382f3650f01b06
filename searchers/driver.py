"""The driver: runs a searcher against an evaluator, and records everything in a store.

A run can end at any instant (Ctrl-C, `kill -9`, a power cut) and be resumed to the result of an
uninterrupted one: a new searcher is fed the recorded trials, in order, and the bank of shared
weights is filled with what they ended with; then the search goes on (promise P8).
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass

from ..ir.diagnostics import FusegraphError
from ..ir.graph import Graph
from .errors import search_error
from .genotypes import genotype_text
from .protocol import (
    Evaluation,
    Evaluator,
    Inherited,
    OnEvent,
    Proposal,
    RoundStarted,
    Scored,
    Searcher,
    SearchFinished,
    SearchInterrupted,
    TrialFailed,
    TrialFinished,
    TrialResult,
    TrialStarted,
)
from .randomness import derive
from .sharing import InheritedWeights, WeightBank
from .store import Stage, TrialRecord, TrialStore

CANDIDATES_FAULT = ("E3", "E5", "E7")
"""Errors that are about one network (its shapes, its limits, its training) and fail that one alone.

Others, such as features that are missing, would meet every candidate and end the search.
"""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a search ended: `best` holds every different genotype, best first."""

    best: tuple[Scored, ...]
    trials: int
    failed: int
    interrupted: bool
    ending: str


def ignore_events(event: object) -> None:
    """For those who don't watch."""


def run_search(
    space: Graph,
    searcher: Searcher,
    evaluator: Evaluator,
    store: TrialStore,
    on_event: OnEvent = ignore_events,
) -> Outcome:
    """Run a search to its end, from wherever the store says that it stands.

    Ctrl-C (KeyboardInterrupt) ends it cleanly: the outcome says so and the run can be resumed.
    Raises FusegraphError E805 where the store belongs to another search, E807 where another process
    is at work on it, E811 where the recorded trials are not those that the searcher asks for.
    """
    return _Run(space, searcher, evaluator, store, on_event).to_its_end()


def run_finals(
    space: Graph,
    candidates: Sequence[Scored],
    evaluator: Evaluator,
    store: TrialStore,
    on_event: OnEvent = ignore_events,
    *,
    seed: int = 0,
) -> list[Scored]:
    """Train the best of a search to completion, from random weights; best first.

    MFAS, section 3.2, "Final architecture": the best five are trained, at a larger width, and the
    best by validation is picked. `evaluator` does the training; candidate i is trial i of the
    stage "final". Resumes as a search does. KeyboardInterrupt is passed on, after it was recorded.
    """
    recorded = store.trials("final")
    found: list[Scored] = []
    for rank, candidate in enumerate(candidates):
        proposal = Proposal(rank, 0, candidate.genotype, derive(seed, "final", rank))
        record = recorded.get(rank)
        if record is not None and record.state != "claimed":
            _check_digest(record, proposal)
            result = _replayed(record, proposal, on_event)
        else:
            result, _ = _evaluate(
                space, proposal, InheritedWeights(), "final", evaluator, store, on_event
            )
        if result.score is not None:
            found.append(Scored(candidate.genotype, result.score, rank))
    return sorted(found, key=lambda scored: (-scored.score, scored.trial))


class _Run:
    """The state of one call of `run_search`."""

    def __init__(
        self,
        space: Graph,
        searcher: Searcher,
        evaluator: Evaluator,
        store: TrialStore,
        on_event: OnEvent,
    ) -> None:
        self.space = space
        self.searcher = searcher
        self.evaluator = evaluator
        self.store = store
        self.on_event = on_event
        self.bank = WeightBank()
        self.trials = 0
        self.failed = 0

    def to_its_end(self) -> Outcome:
        started = time.perf_counter()
        interrupted = False
        try:
            self.store.bind(self.searcher.identity)
            recorded = self.store.trials("search")
            while not self.searcher.done:
                self._round(recorded)
        except KeyboardInterrupt:
            interrupted = True
            self.on_event(SearchInterrupted(self.trials))
        best = tuple(self.searcher.best(max(self.trials, 1)))
        ending = "interrupted" if interrupted else self.searcher.ending
        if not interrupted:
            seconds = time.perf_counter() - started
            self.on_event(SearchFinished(self.trials, self.failed, best, ending, seconds))
        return Outcome(best, self.trials, self.failed, interrupted, ending)

    def _round(self, recorded: dict[int, TrialRecord]) -> None:
        asked = self.searcher.ask()
        self.on_event(
            RoundStarted(asked.number, len(asked.proposals), self.searcher.planned, asked.note)
        )
        results = [self._trial(proposal, recorded) for proposal in asked.proposals]
        for event in self.searcher.tell(results):
            self.on_event(event)

    def _trial(self, proposal: Proposal, recorded: dict[int, TrialRecord]) -> TrialResult:
        record = recorded.get(proposal.trial)
        if record is not None and record.state != "claimed":
            _check_digest(record, proposal)
            if proposal.shares and record.state == "complete":
                self.bank.record(proposal, self.store.weights(record))
            result = _replayed(record, proposal, self.on_event)
        else:
            result, evaluation = _evaluate(
                self.space,
                proposal,
                self.bank.view(proposal),
                "search",
                self.evaluator,
                self.store,
                self.on_event,
            )
            if evaluation is not None:
                self.bank.record(proposal, evaluation.weights)
        self.trials += 1
        self.failed += result.score is None
        return result


def _evaluate(
    space: Graph,
    proposal: Proposal,
    inherited: Inherited,
    stage: Stage,
    evaluator: Evaluator,
    store: TrialStore,
    on_event: OnEvent,
) -> tuple[TrialResult, Evaluation | None]:
    """Claim, train and record one proposal."""
    text = genotype_text(space, proposal.genotype)
    store.claim(stage, proposal.trial, proposal.genotype.digest, text)
    on_event(TrialStarted(proposal, stage))
    started = time.perf_counter()
    evaluation, reason = None, ""
    try:
        evaluation = evaluator.evaluate(proposal, inherited)
        if not math.isfinite(evaluation.score):
            evaluation, reason = None, f"diverged: its score is {evaluation.score}"
    except Exception as error:
        reason = reason_of_failure(error)
        if not reason:
            raise
    seconds = time.perf_counter() - started
    if evaluation is None:
        store.fail(stage, proposal.trial, reason, seconds=seconds)
        on_event(TrialFailed(proposal, stage, reason, seconds, replayed=False))
        return TrialResult(proposal.trial, None, reason), None
    store.complete(
        stage,
        proposal.trial,
        evaluation.score,
        seconds=seconds,
        metrics=evaluation.metrics,
        weights=evaluation.weights,
    )
    on_event(
        TrialFinished(
            proposal, stage, evaluation.score, evaluation.metrics, seconds, replayed=False
        )
    )
    result = TrialResult(proposal.trial, evaluation.score, metrics=evaluation.metrics)
    return result, evaluation


def _replayed(record: TrialRecord, proposal: Proposal, on_event: OnEvent) -> TrialResult:
    """The result that is on record."""
    if record.score is None:
        on_event(TrialFailed(proposal, record.stage, record.reason, record.seconds, replayed=True))
        return TrialResult(proposal.trial, None, record.reason)
    on_event(
        TrialFinished(
            proposal, record.stage, record.score, record.metrics, record.seconds, replayed=True
        )
    )
    return TrialResult(proposal.trial, record.score, metrics=record.metrics)


def _check_digest(record: TrialRecord, proposal: Proposal) -> None:
    if record.digest != proposal.genotype.digest:
        raise search_error(
            "E811",
            f"trial {record.trial} ({record.stage}) is on record with the genotype "
            f"{record.digest}, and the search asks for {proposal.genotype.digest}",
            place=f"trial {record.trial}",
            notes=("the store was changed by hand, or by another version of fusegraph or torch",),
            help="resume with the versions that began the search, or start in another folder",
        )


def reason_of_failure(error: Exception) -> str:
    """Why a candidate failed; empty where the error is not the candidate's but the program's.

    Candidates fail by an error about their network (E3xx shapes, E5xx limits, E7xx training, such
    as divergence), and by running out of memory. All else ends the search and is not swallowed.
    """
    if isinstance(error, FusegraphError):
        codes = {diagnostic.code for diagnostic in error.diagnostics}
        if all(code.startswith(CANDIDATES_FAULT) for code in codes):
            return "; ".join(f"{d.code}: {d.message}" for d in error.diagnostics)
        return ""
    words = str(error).lower()
    if isinstance(error, MemoryError) or (
        isinstance(error, RuntimeError)
        and ("out of memory" in words or "can't allocate memory" in words)
    ):
        return f"out of memory: {str(error).splitlines()[0] if str(error) else 'MemoryError'}"
    return ""
