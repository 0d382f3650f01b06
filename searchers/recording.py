"""Evaluates the trials of a stage, and records them; replays those that are on record."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence

from ..ir.diagnostics import FusegraphError
from ..ir.graph import Graph
from ..ir.support.memory import out_of_memory
from .errors import search_error
from .genotypes import genotype_text
from .protocol import (
    Array,
    Evaluation,
    Evaluator,
    Inherited,
    OnEvent,
    Proposal,
    TrialFailed,
    TrialFinished,
    TrialResult,
    TrialStarted,
    WaveEvaluator,
)
from .store import Stage, TrialRecord, TrialStore

CANDIDATES_FAULT = ("E3", "E5", "E7")
"""Errors that are about one network (its shapes, its limits, its training) and fail that one alone.

Others, such as features that are missing, would meet every candidate and end the search.
"""


class Recorder:
    """The trials of a stage: evaluated and recorded, or replayed where they are on record."""

    def __init__(
        self,
        stage: Stage,
        space: Graph,
        evaluator: Evaluator,
        store: TrialStore,
        on_event: OnEvent,
    ) -> None:
        self._stage: Stage = stage
        self._space = space
        self._evaluator = evaluator
        self._store = store
        self._on_event = on_event
        self._recorded = store.trials(stage)

    def wave(
        self, proposals: Sequence[Proposal], inherited: Sequence[Inherited]
    ) -> list[tuple[TrialResult, Mapping[str, Array]]]:
        """The result of each proposal, and the weights that it leaves to others, if any.

        Where only a part is on record the whole wave is evaluated, in the company in which it
        would have been, and what is missing is recorded. Raises FusegraphError E811 where other
        trials are on record.
        """
        found: dict[int, tuple[TrialResult, Mapping[str, Array]]] = {}
        for proposal in proposals:
            record = self._recorded.get(proposal.trial)
            if record is not None and record.state != "claimed":
                found[proposal.trial] = self._replayed(record, proposal)
        missing = [proposal for proposal in proposals if proposal.trial not in found]
        if missing:
            with self._store.gathered():
                for proposal in missing:
                    text = genotype_text(self._space, proposal.genotype)
                    self._store.claim(self._stage, proposal.trial, proposal.genotype.digest, text)
                    self._on_event(TrialStarted(proposal, self._stage))
            started = time.perf_counter()
            outcomes = _outcomes(self._evaluator, proposals, inherited)
            seconds = (time.perf_counter() - started) / len(proposals)
            with self._store.gathered():
                for proposal, outcome in zip(proposals, outcomes, strict=True):
                    if proposal.trial not in found:
                        found[proposal.trial] = self._recorded_now(proposal, outcome, seconds)
        return [found[proposal.trial] for proposal in proposals]

    def _recorded_now(
        self, proposal: Proposal, outcome: Evaluation | Exception, seconds: float
    ) -> tuple[TrialResult, Mapping[str, Array]]:
        stage, trial = self._stage, proposal.trial
        reason = _reason_of(outcome)
        if isinstance(outcome, Exception) or reason:
            self._store.fail(stage, trial, reason, seconds=seconds)
            self._on_event(TrialFailed(proposal, stage, reason, seconds, replayed=False))
            return TrialResult(trial, None, reason), {}
        score, metrics, learned = outcome.score, outcome.metrics, outcome.learned
        self._store.complete(
            stage,
            trial,
            score,
            seconds=seconds,
            metrics=metrics,
            weights=outcome.weights,
            learned=learned,
        )
        self._on_event(TrialFinished(proposal, stage, score, metrics, seconds, replayed=False))
        return TrialResult(trial, score, metrics=metrics, learned=learned), outcome.weights

    def _replayed(
        self, record: TrialRecord, proposal: Proposal
    ) -> tuple[TrialResult, Mapping[str, Array]]:
        """What is on record."""
        _check_digest(record, proposal)
        stage, seconds, score = record.stage, record.seconds, record.score
        if score is None:
            self._on_event(TrialFailed(proposal, stage, record.reason, seconds, replayed=True))
            return TrialResult(proposal.trial, None, record.reason), {}
        weights = self._store.weights(record) if proposal.shares else {}
        self._on_event(
            TrialFinished(proposal, stage, score, record.metrics, seconds, replayed=True)
        )
        result = TrialResult(proposal.trial, score, metrics=record.metrics, learned=record.learned)
        return result, weights


def _outcomes(
    evaluator: Evaluator, proposals: Sequence[Proposal], inherited: Sequence[Inherited]
) -> Sequence[Evaluation | Exception]:
    """What the evaluator finds for each proposal of a wave."""
    if len(proposals) > 1:
        if not isinstance(evaluator, WaveEvaluator):
            raise ValueError("waves of several proposals are for evaluators that take them")
        return evaluator.evaluate_together(proposals, inherited)
    try:
        return [evaluator.evaluate(proposals[0], inherited[0])]
    except Exception as error:
        return [error]


def _reason_of(outcome: Evaluation | Exception) -> str:
    """Why a candidate failed; empty where it did not. Raises what is not the candidate's fault."""
    if isinstance(outcome, Evaluation):
        return "" if math.isfinite(outcome.score) else f"diverged: its score is {outcome.score}"
    reason = reason_of_failure(outcome)
    if not reason:
        raise outcome
    return reason


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
    if out_of_memory(error):
        return f"out of memory: {str(error).splitlines()[0] if str(error) else 'MemoryError'}"
    return ""
