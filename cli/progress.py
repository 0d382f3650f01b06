"""How far a run is: bars on a terminal, plain lines elsewhere; all on stderr."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import TYPE_CHECKING, Any

from .output import plural

if TYPE_CHECKING:
    from ..pipeline.events import RunEvent

SECONDS_BETWEEN_LINES = 10.0
"""Of single trials, where nothing else is said."""

TITLES = {
    "search": "searching",
    "final": "training the best to completion",
    "kept": "measuring the best with the weights of the search",
    "train": "training",
    "refit": "training on the training and validation splits",
    "test": "measuring on the test split",
    "export": "exporting",
}


class Watcher:
    """Takes the events of a run and tells a person; used as a context manager."""

    def __init__(self, *, quiet: bool = False) -> None:
        self._quiet = quiet
        self._bars: Any = None
        self._task: Any = None
        self._stage = ""
        self._trial = ""
        self._metric = ""
        self._total = 0
        self._done = 0
        self._replayed = 0
        self._best: float | None = None
        self._about = ""
        self._measured = 0
        self._said = time.monotonic()

    def __enter__(self) -> Watcher:
        if not self._quiet and sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import (
                BarColumn,
                MofNCompleteColumn,
                Progress,
                TextColumn,
                TimeElapsedColumn,
                TimeRemainingColumn,
            )

            self._bars = Progress(
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TimeElapsedColumn(),
                TimeRemainingColumn(),
                TextColumn("{task.fields[note]}"),
                console=Console(stderr=True),
            )
            self._bars.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._bars is not None:
            self._bars.stop()

    def __call__(self, event: RunEvent) -> None:
        """Tell of an event; those that nobody waits for are passed over."""
        if self._quiet:
            return
        tell = getattr(self, f"_{type(event).__name__}", None)
        if tell is not None:
            tell(event)

    # ── one method an event ──────────────────────────────────────────────────────────────────────

    def _StageStarted(self, event: Any) -> None:  # noqa: N802 - named after the event
        self._stage, self._total, self._done = event.stage, event.trials, 0
        self._trial, self._metric = event.trial, event.metric
        self._replayed, self._best, self._about = 0, None, ""
        note = f" ({event.note})" if event.note else ""
        if event.trials:
            many = plural(event.trials, event.trial)
            note += f", {many} at most" if event.trials > 1 else ""
            if self._bars is not None:
                self._task = self._bars.add_task(TITLES[event.stage], total=event.trials, note="")
        self._line(f"{TITLES[event.stage]}{note}", always=self._bars is None)

    def _RoundStarted(self, event: Any) -> None:  # noqa: N802
        if self._bars is not None and self._task is not None:
            self._total = event.planned
            self._bars.update(self._task, total=event.planned)
        best = "" if self._best is None else f"; best so far {self._best:.4f}"
        about = f": {event.note}" if event.note else ""
        told = f"round {event.round + 1}, {plural(event.trials, 'network')}{about}{best}"
        self._line(told, always=self._bars is None)

    def _TrialFinished(self, event: Any) -> None:  # noqa: N802
        self._best = event.score if self._best is None else max(self._best, event.score)
        self._advance(event)
        score = f"{self._metric} {event.score:.4f}".lstrip()
        told = f"{self._done} of {self._total}: {score} in {event.seconds:.1f} s"
        if not event.replayed:
            late = time.monotonic() - self._said > SECONDS_BETWEEN_LINES
            self._line(
                told, always=self._bars is None and (late or self._stage in ("final", "kept"))
            )

    def _TrialFailed(self, event: Any) -> None:  # noqa: N802
        self._advance(event)
        if not event.replayed:
            self._line(f"trial {event.proposal.trial} failed: {event.reason}", always=True)

    def _ArchitectureEpoch(self, event: Any) -> None:  # noqa: N802
        settling = "the weights alone" if event.arch_loss is None else f"{event.arch_loss:.3f}"
        if event.step:
            place = f"step {event.step} of {event.steps} of the selection"
            self._about = f"mean validation loss {settling}, "
        else:
            place = f"epoch {event.epoch} of {event.epochs - event.steps}"
            openness = sum(event.entropies.values()) / len(event.entropies)
            self._about = f"losses {event.train_loss:.3f} and {settling}, open {openness:.2f}, "
        told = f"{place}: {self._about}score {event.valid_score:.4f}"
        if event.violated:
            told += f"; its genotype fails {' and '.join(event.violated)}"
        self._line(told, always=self._bars is None and not event.restored)

    def _LatencyMeasured(self, event: Any) -> None:  # noqa: N802
        self._measured += 1
        told = f"{plural(self._measured, 'latency', 'latencies')} measured, {event.median:.3g} ms"
        if self._bars is not None and self._task is not None:
            self._bars.update(self._task, note=told)
        late = time.monotonic() - self._said > SECONDS_BETWEEN_LINES
        self._line(told, always=self._bars is None and late)

    def _EpochEnded(self, event: Any) -> None:  # noqa: N802
        note = f"epoch {event.epoch} of {event.epochs}, {event.score:.4f}"
        if self._bars is not None and self._task is not None:
            if self._stage in ("train", "refit"):
                self._bars.update(self._task, total=event.epochs, completed=event.epoch, note=note)
            else:
                self._bars.update(self._task, note=note)
        elif self._stage in ("train", "refit"):
            self._line(f"{note} on the validation split", always=True)

    def _SearchFinished(self, event: Any) -> None:  # noqa: N802
        if self._replayed:
            self._line(f"{plural(self._replayed, self._trial)} from before", always=True)

    # ── beneath ──────────────────────────────────────────────────────────────────────────────────

    def _advance(self, event: Any) -> None:
        self._done += 1
        self._replayed += bool(event.replayed)
        if self._bars is not None and self._task is not None:
            note = self._about + ("" if self._best is None else f"best {self._best:.4f}")
            self._bars.update(self._task, completed=self._done, note=note)

    def _line(self, text: str, *, always: bool) -> None:
        if not always:
            return
        self._said = time.monotonic()
        if self._bars is not None:
            from rich.text import Text

            self._bars.console.print(Text(text))
        else:
            print(text, file=sys.stderr, flush=True)


class Counting:
    """A bar on a terminal's stderr for what is done one after the other; a context manager."""

    def __init__(self, title: str) -> None:
        self._title = title
        self._bar: Any = None
        self._task: Any = None

    def __enter__(self) -> Counting:
        if sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import Progress

            self._bar = Progress(console=Console(stderr=True), transient=True)
            self._bar.start()
            self._task = self._bar.add_task(self._title, total=None)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def advance(self, total: int) -> None:
        """One more of so many is done."""
        if self._bar is not None:
            self._bar.update(self._task, total=total, advance=1)
