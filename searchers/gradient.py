"""The driver of gradient-based searchers: begins or resumes a search, and records its epochs.

What holds when the process dies at any instant:

G1. An epoch is in the searcher's state file, whole, before it is in the store as a trial. So what
    the store has, the state has; what the state has and the store has not, is recorded on resuming.
G2. An epoch that is in neither is done again, to the same result.
G3. Where the state file is lost the search begins anew, and its epochs must be those on record.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path

from ..ir.genotype import Genotype
from ..tasks.sources import TaskData
from ..training.settings import TrainSettings
from .driver import Outcome, ignore_events
from .errors import search_error
from .protocol import (
    Epoch,
    GradientSearcher,
    OnEvent,
    Proposal,
    SearchFinished,
    SearchInterrupted,
    TrialFailed,
    TrialFinished,
)
from .store import TrialRecord, TrialStore

Figures = Callable[[Genotype], Mapping[str, float]]
"""What is recorded of a genotype besides its score, such as its parameters."""


def no_figures(genotype: Genotype) -> Mapping[str, float]:
    """For those who want none."""
    return {}


def run_gradient_search(
    searcher: GradientSearcher,
    data: TaskData,
    settings: TrainSettings,
    store: TrialStore,
    state: Path | None,
    on_event: OnEvent = ignore_events,
    *,
    figures: Figures = no_figures,
) -> Outcome:
    """Run a search over a supernet to its end, from wherever state and store say that it stands.

    Epoch i is trial i - 1 of the stage "search"; one whose genotype fails a `require` is recorded
    as failed. Ctrl-C (KeyboardInterrupt) ends it cleanly: the outcome says so, and it can be
    resumed from the last whole epoch. Raises FusegraphError E805 where the store belongs to another
    search, E807 where another process is at work on it, E811 where other trials are on record, and
    whatever the searcher raises.
    """
    run = _Recorder(store, on_event, figures)
    started = time.perf_counter()
    interrupted = False
    try:
        store.bind(searcher.identity)
        run.recorded = store.trials("search")
        for epoch in searcher.begin(data, settings, state):
            run.record(epoch)
        while not searcher.done:
            run.claim()
            run.record(searcher.epoch())
    except KeyboardInterrupt:
        interrupted = True
        on_event(SearchInterrupted(run.trials))
    best = tuple(searcher.best(max(run.trials, 1)))
    ending = "interrupted" if interrupted else searcher.ending
    if not interrupted:
        seconds = time.perf_counter() - started
        on_event(SearchFinished(run.trials, run.failed, best, ending, seconds))
    return Outcome(best, run.trials, run.failed, interrupted, ending)


class _Recorder:
    """Epochs become trials, or are compared with those on record."""

    def __init__(self, store: TrialStore, on_event: OnEvent, figures: Figures) -> None:
        self._store = store
        self._on_event = on_event
        self._figures = figures
        self.recorded: Mapping[int, TrialRecord] = {}
        self.trials = 0
        self.failed = 0

    def claim(self) -> None:
        """Take the next trial, whose genotype nobody knows yet."""
        known = self.recorded.get(self.trials)
        if known is None or known.state == "claimed":
            self._store.claim("search", self.trials, "", "")

    def record(self, epoch: Epoch) -> None:
        event, trial = epoch.event, self.trials
        proposal = Proposal(trial, trial, epoch.genotype, 0)
        known = self.recorded.get(trial)
        replayed = known is not None and known.state != "claimed"
        if known is not None and replayed:
            _check_same(known, epoch)
            metrics = known.metrics
        else:
            losses = {"train_loss": event.train_loss, "valid_loss": event.valid_loss}
            if event.arch_loss is not None:
                losses["arch_loss"] = event.arch_loss
            metrics = {**self._figures(epoch.genotype), **losses}
            self._write(epoch, metrics)
        self._on_event(event)
        self.trials += 1
        if event.violated:
            self.failed += 1
            reason = _reason(epoch)
            self._on_event(TrialFailed(proposal, "search", reason, event.seconds, replayed))
        else:
            score = event.valid_score
            self._on_event(
                TrialFinished(proposal, "search", score, metrics, event.seconds, replayed)
            )

    def _write(self, epoch: Epoch, metrics: Mapping[str, float]) -> None:
        event, trial = epoch.event, self.trials
        self._store.claim("search", trial, event.digest, event.genotype)
        if event.violated:
            self._store.fail("search", trial, _reason(epoch), seconds=event.seconds)
        else:
            self._store.complete(
                "search", trial, event.valid_score, seconds=event.seconds, metrics=metrics
            )


def _reason(epoch: Epoch) -> str:
    failed = " and ".join(f"`{text}`" for text in epoch.event.violated)
    return f"the genotype of epoch {epoch.event.epoch} fails {failed}, which the space requires"


def _check_same(record: TrialRecord, epoch: Epoch) -> None:
    score = None if epoch.event.violated else epoch.event.valid_score
    if (record.digest, record.score) == (epoch.genotype.digest, score):
        return
    raise search_error(
        "E811",
        f"trial {record.trial} (search) is on record with the genotype {record.digest} and the "
        f"score {record.score}, and the search comes to {epoch.genotype.digest} and {score}",
        place=f"trial {record.trial}",
        notes=("the store was changed by hand, or by another version of fusegraph or torch",),
        help="resume with the versions that began the search, or start in another folder",
    )
