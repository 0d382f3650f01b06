"""The driver: runs a searcher against an evaluator, and records everything in a store.

A run can end at any instant (Ctrl-C, `kill -9`, a power cut) and be resumed to the result of an
uninterrupted one: a new searcher is fed the recorded trials, in order, and the bank of shared
weights is filled with what they ended with; then the search goes on (promise P8).

An evaluator that can trains the proposals of a round in waves (see `waves`). What networks end with
differs, by rounding and by what dropout draws, between a program of fifteen and one of seven: hence
a wave of which only a part is on record is evaluated again as a whole, and what is missing is
recorded.
"""

from __future__ import annotations

import time
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from ..ir.graph import Graph
from .protocol import (
    Array,
    Evaluator,
    Event,
    Inherited,
    OnEvent,
    Proposal,
    Round,
    RoundStarted,
    Scored,
    Searcher,
    SearchFinished,
    SearchInterrupted,
    TrialFailed,
    TrialFinished,
    TrialResult,
    WaveEvaluator,
)
from .randomness import derive
from .recording import Recorder, reason_of_failure
from .sharing import InheritedWeights, ParentWeights, WeightBank, shared_modules
from .store import TrialStore
from .waves import at_most, earliest_waves


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
    recorder = Recorder("final", space, evaluator, store, on_event)
    found: list[Scored] = []
    for rank, candidate in enumerate(candidates):
        proposal = Proposal(rank, 0, candidate.genotype, derive(seed, "final", rank))
        [(result, _)] = recorder.wave([proposal], [InheritedWeights()])
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
            recorder = Recorder("search", self.space, self.evaluator, self.store, self._told)
            while not self.searcher.done:
                self._round(recorder)
        except KeyboardInterrupt:
            interrupted = True
            self.on_event(SearchInterrupted(self.trials))
        best = tuple(self.searcher.best(max(self.trials, 1)))
        ending = "interrupted" if interrupted else self.searcher.ending
        if not interrupted:
            seconds = time.perf_counter() - started
            self.on_event(SearchFinished(self.trials, self.failed, best, ending, seconds))
        return Outcome(best, self.trials, self.failed, interrupted, ending)

    def _told(self, event: Event) -> None:
        """Counts trials as they are told of: an interrupted wave may be on record in part."""
        self.trials += isinstance(event, TrialFinished | TrialFailed)
        self.failed += isinstance(event, TrialFailed)
        self.on_event(event)

    def _round(self, recorder: Recorder) -> None:
        asked = self.searcher.ask()
        self.on_event(
            RoundStarted(asked.number, len(asked.proposals), self.searcher.planned, asked.note)
        )
        results: dict[int, TrialResult] = {}
        trained: list[tuple[Proposal, Mapping[str, Array]]] = []
        for wave in self._waves(asked):
            found = recorder.wave(wave, [self._inherited(proposal) for proposal in wave])
            results |= {result.trial: result for result, _ in found}
            trained += zip(wave, [weights for _, weights in found], strict=True)
            if not asked.synchronous:
                self._share(trained)
        self._share(trained)
        for event in self.searcher.tell([results[p.trial] for p in asked.proposals]):
            self.on_event(event)

    def _inherited(self, proposal: Proposal) -> Inherited:
        """What the proposal starts from. A parent's weights are read when they are asked for."""
        parent = proposal.parent
        if parent is None:
            return self.bank.view(proposal)
        read = partial(self.store.weights_of, "search", parent.trial)
        return ParentWeights(read, parent.renamed)

    def _share(self, trained: list[tuple[Proposal, Mapping[str, Array]]]) -> None:
        """Let others inherit what these ended with."""
        for proposal, weights in trained:
            self.bank.record(proposal, weights)
        trained.clear()

    def _waves(self, asked: Round) -> list[list[Proposal]]:
        proposals, evaluator = asked.proposals, self.evaluator
        size = evaluator.together if isinstance(evaluator, WaveEvaluator) else 1
        numbers: list[list[int]] = [list(range(len(proposals)))]
        if size > 1 and not asked.synchronous:
            numbers = earliest_waves([self._modules(proposal) for proposal in proposals])
        return [[proposals[n] for n in wave] for wave in at_most(size, numbers)]

    def _modules(self, proposal: Proposal) -> frozenset[Hashable]:
        """What the proposal shares with others; nothing where it will fail as it has no network."""
        if not proposal.shares or not isinstance(self.evaluator, WaveEvaluator):
            return frozenset()
        try:
            shapes = self.evaluator.weight_shapes(proposal)
        except Exception as error:
            if not reason_of_failure(error):
                raise
            return frozenset()
        return shared_modules(shapes, proposal.shares)
