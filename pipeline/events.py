"""What a run tells while it goes on, and the log of it."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, is_dataclass
from io import TextIOWrapper
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

from ..searchers.protocol import (
    Event,
    Proposal,
    Scored,
)
from ..training.events import BatchEnded, TrainingEvent

Stage = Literal["search", "final", "kept", "train", "refit", "test", "export"]


@dataclass(frozen=True, slots=True)
class StageStarted:
    """A part of the run begins; `trials` is how many trainings it has at most, or epochs.

    `trial` is what one of them is to people, `metric` what their scores are, where it is named.
    """

    stage: Stage
    trials: int = 0
    note: str = ""
    trial: str = "network"
    metric: str = ""


@dataclass(frozen=True, slots=True)
class LatencyMeasured:
    """The network of this digest was run: the median and the quartiles, in milliseconds."""

    digest: str
    median: float
    lower: float
    upper: float


RunEvent = Event | TrainingEvent | StageStarted | LatencyMeasured
OnRunEvent = Callable[[RunEvent], None]


def ignore(event: RunEvent) -> None:
    """For those who don't watch."""


class EventLog:
    """Appends events to a file, one JSON object a line; used as a context manager.

    A process that is killed may leave half a line at the end; whoever reads skips it, and the next
    process begins a new one.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        self._stream: TextIOWrapper | None = None

    def __enter__(self) -> EventLog:
        self._file.parent.mkdir(parents=True, exist_ok=True)
        self._stream = self._file.open("a+", encoding="utf-8")
        self._stream.seek(0, 2)
        if self._stream.tell() and not self._file.read_bytes().endswith(b"\n"):
            self._stream.write("\n")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._stream is not None:
            self._stream.close()

    def __call__(self, event: RunEvent) -> None:
        """Append one event; single batches are not worth a line, replayed trials have theirs."""
        if isinstance(event, BatchEnded) or getattr(event, "replayed", False):
            return
        assert self._stream is not None
        line = {"at": round(time.time(), 3), "event": type(event).__name__, **_plain(event)}
        self._stream.write(json.dumps(line, ensure_ascii=False) + "\n")
        self._stream.flush()


def read_events(file: Path) -> list[dict[str, Any]]:
    """The events on record; lines that were not written to their end are left out."""
    found: list[dict[str, Any]] = []
    try:
        lines = file.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []
    for line in lines:
        try:
            event: object = json.loads(line)
        except ValueError:
            continue
        if isinstance(event, dict):
            found.append(event)
    return found


def _plain(event: Any) -> dict[str, Any]:
    return {name: _value(getattr(event, name)) for name in event.__slots__}


def _value(value: Any) -> Any:
    if isinstance(value, Proposal):
        return {"trial": value.trial, "round": value.round, "digest": value.genotype.digest}
    if isinstance(value, Scored):
        return {"trial": value.trial, "digest": value.genotype.digest, "score": value.score}
    if isinstance(value, tuple):
        return [_value(item) for item in value]
    if isinstance(value, Mapping):
        return dict(value)
    return asdict(value) if is_dataclass(value) and not isinstance(value, type) else value
