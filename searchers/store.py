"""The store of trials: survives `kill -9`, and can be read while the search runs.

A thin front of ours before Optuna's storage, so that the backend can change. By default it is a
folder with a journal file, to which every change is appended and synced (those of a wave at once);
or a database by URL.

What holds at every instant, so that a process may die at any of them:

S1. A trial is claimed before it is evaluated, with a lease that names the process.
S2. Weights are on the disk, whole, before the trial is complete; a trial is complete or failed by
    one record. So a trial is either finished with all that belongs to it, or it is an orphan.
S3. An orphan is a claimed trial whose process is gone. Claiming it again evaluates it anew, under
    the same number, and nothing is there twice.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from ..ir.support.differences import differences
from ..ir.support.files import write_whole
from .errors import search_error
from .lease import Lease

if TYPE_CHECKING:
    from optuna.storages import BaseStorage
    from optuna.trial import FrozenTrial

    from .protocol import Array

JOURNAL = "trials.journal"
WEIGHTS = "weights"
STUDY = "fusegraph"

State = Literal["claimed", "complete", "failed"]
Stage = Literal["search", "final"]


@dataclass(frozen=True, slots=True)
class TrialRecord:
    """A trial as stored. Times are ISO 8601 in UTC; `genotype` is its text, for people."""

    stage: Stage
    trial: int
    digest: str
    genotype: str
    state: State
    score: float | None
    reason: str
    metrics: Mapping[str, float]
    learned: Mapping[str, float]
    seconds: float
    started: str
    finished: str
    has_weights: bool
    lease: Lease


class TrialStore:
    """The trials of one run. Make it by `TrialStore.open`."""

    def __init__(
        self, storage: BaseStorage, study: int, place: str, weights: Path, repaired: str
    ) -> None:
        self._storage = storage
        self._study = study
        self._place = place
        self._weights = weights
        self.repaired = repaired
        """What had to be repaired on opening, for people; empty if nothing."""

    @classmethod
    def open(cls, folder: Path, *, url: str | None = None, read_only: bool = False) -> TrialStore:
        """The store in a folder, made if it is not there; its trials in the database at `url`.

        `read_only` repairs nothing, and is for watching a search that runs. Raises FusegraphError
        E806 where there is nothing to read, E808 where what is there is not a store.
        """
        journal, repaired = folder / JOURNAL, ""
        if read_only:
            storage = _database(url) if url else _journal(journal) if journal.exists() else None
            study = None if storage is None else _study_in(storage)
            if storage is None or study is None:
                raise search_error(
                    "E806",
                    "there is no store of trials here",
                    place=url or str(folder),
                    help=f"give the folder of a search, which holds {JOURNAL}, or its database",
                )
            return cls(storage, study, url or str(journal), folder / WEIGHTS, "")
        # A database that cannot be opened leaves no folder behind.
        database = None if url is None else _database(url)
        folder.mkdir(parents=True, exist_ok=True)
        if database is None:
            dropped = _journal_repaired(journal)
            if dropped:
                repaired = (
                    f"{journal}: the last line was torn ({dropped} bytes) and was dropped; the "
                    "trial that it spoke of runs again"
                )
        storage = database if database is not None else _journal(journal)
        study = _study_in(storage)
        if study is None:
            study = _new_study(storage)
        return cls(storage, study, url or str(journal), folder / WEIGHTS, repaired)

    # ── the run ──────────────────────────────────────────────────────────────────────────────────

    @property
    def identity(self) -> dict[str, Any]:
        """What the search that fills this store is a function of; empty before the first one."""
        return dict(self._storage.get_study_user_attrs(self._study).get("identity", {}))

    def bind(self, identity: Mapping[str, Any]) -> None:
        """Say which search the store belongs to, or check that it is the same one as before.

        Raises FusegraphError E805 where it is another one.
        """
        known = self.identity
        given = json.loads(json.dumps(dict(identity)))
        if not known:
            self._storage.set_study_user_attr(self._study, "identity", given)
            return
        if known != given:
            changed = tuple(differences(known, given))
            raise search_error(
                "E805",
                "the store belongs to another search",
                place=self._place,
                notes=changed,
                help="resume with the same space, options and seed, or start in another folder",
            )

    # ── trials ───────────────────────────────────────────────────────────────────────────────────

    def trials(self, stage: Stage = "search") -> dict[int, TrialRecord]:
        """All trials of a stage by their numbers, in order."""
        found: dict[int, TrialRecord] = {}
        for frozen in self._stored(stage):
            record = _record(frozen)
            found.setdefault(record.trial, record)
        return dict(sorted(found.items()))

    def claim(self, stage: Stage, trial: int, digest: str, genotype: str) -> None:
        """Take a trial in order to evaluate it: a new one, or an orphan (S1, S3).

        Raises FusegraphError E807 where a living process has it, or it is finished.
        """
        lease = Lease.mine()
        attributes = {
            "stage": stage,
            "trial": trial,
            "digest": digest,
            "genotype": genotype,
            "lease": lease.as_json(),
            "started": _now(),
        }
        known = self._find(stage, trial)
        if known is None:
            mine = self._storage.create_new_trial(self._study, _running(attributes))
            known = self._find(stage, trial)
            if known is not None and known[0] != mine:
                # Two processes claimed it in the same moment: the lower number wins.
                self._storage.set_trial_user_attr(mine, "duplicate", True)
                self._storage.set_trial_state_values(mine, _state("FAIL"))
                raise self._taken(known[1])
            return
        identifier, record = known
        if record.state != "claimed" or record.lease.held_by_another():
            raise self._taken(record)
        for name in ("lease", "started", "digest", "genotype"):
            self._storage.set_trial_user_attr(identifier, name, attributes[name])

    def complete(
        self,
        stage: Stage,
        trial: int,
        score: float,
        *,
        seconds: float,
        metrics: Mapping[str, float] | None = None,
        weights: Mapping[str, Array] | None = None,
        learned: Mapping[str, float] | None = None,
    ) -> None:
        """Record the score of a claimed trial, and before that its weights (S2)."""
        identifier = self._claimed(stage, trial)
        if weights:
            write_weights(self.weights_path(stage, trial), weights)
        result = {
            "metrics": {name: float(value) for name, value in (metrics or {}).items()},
            "learned": {name: float(value) for name, value in (learned or {}).items()},
            "seconds": seconds,
            "finished": _now(),
            "weights": bool(weights),
        }
        self._storage.set_trial_user_attr(identifier, "result", result)
        self._storage.set_trial_state_values(identifier, _state("COMPLETE"), [float(score)])

    def fail(self, stage: Stage, trial: int, reason: str, *, seconds: float) -> None:
        """Record why a claimed trial has no score."""
        identifier = self._claimed(stage, trial)
        result = {"reason": reason, "seconds": seconds, "finished": _now()}
        self._storage.set_trial_user_attr(identifier, "result", result)
        self._storage.set_trial_state_values(identifier, _state("FAIL"))

    def weights_path(self, stage: Stage, trial: int) -> Path:
        """Where the weights of a trial are, or will be."""
        name = f"{trial}.safetensors" if stage == "search" else f"{stage}-{trial}.safetensors"
        return self._weights / name

    def weights(self, record: TrialRecord) -> dict[str, Array]:
        """The weights that a complete trial ended with; none where it left none.

        Raises FusegraphError E809 where the file is gone or damaged.
        """
        if not record.has_weights:
            return {}
        return read_weights(self.weights_path(record.stage, record.trial))

    def weights_of(self, stage: Stage, trial: int) -> dict[str, Array]:
        """The weights of the trial of this number; none where it is not there, or left none.

        Raises FusegraphError E809 where the file is gone or damaged.
        """
        known = self._find(stage, trial)
        return {} if known is None else self.weights(known[1])

    @contextmanager
    def gathered(self) -> Iterator[None]:
        """Take the records within to the disk at once, at the end: a wave's, which is faster.

        They survive `kill -9` as always, and after a power cut the last of them may be gone.
        """
        from .journal import TrialJournal

        storage = self._storage
        with storage.journal.gathered() if isinstance(storage, TrialJournal) else nullcontext():
            yield

    # ── beneath ──────────────────────────────────────────────────────────────────────────────────

    def _stored(self, stage: Stage) -> Iterator[FrozenTrial]:
        for frozen in self._storage.get_all_trials(self._study, deepcopy=False):
            attributes = frozen.user_attrs
            if attributes.get("stage") == stage and not attributes.get("duplicate"):
                yield frozen

    def _find(self, stage: Stage, trial: int) -> tuple[int, TrialRecord] | None:
        for frozen in self._stored(stage):
            if frozen.user_attrs["trial"] == trial:
                return frozen._trial_id, _record(frozen)  # pyright: ignore[reportPrivateUsage]
        return None

    def _claimed(self, stage: Stage, trial: int) -> int:
        known = self._find(stage, trial)
        if known is None or known[1].state != "claimed":
            raise ValueError(f"trial {trial} ({stage}) must be claimed before it is finished")
        if known[1].lease.held_by_another():
            raise self._taken(known[1])
        return known[0]

    def _taken(self, record: TrialRecord) -> Exception:
        return search_error(
            "E807",
            f"trial {record.trial} ({record.stage}) is taken by {record.lease.describe()}",
            place=self._place,
            notes=(f"it is {record.state} since {record.finished or record.started}",),
            help="wait until the other search ends, or end it, and resume",
        )


@dataclass(frozen=True, slots=True)
class _Result:
    metrics: Mapping[str, float] = field(default_factory=dict[str, float])
    learned: Mapping[str, float] = field(default_factory=dict[str, float])
    seconds: float = 0.0
    finished: str = ""
    weights: bool = False
    reason: str = ""


def _record(frozen: FrozenTrial) -> TrialRecord:
    attributes = frozen.user_attrs
    finished = frozen.state.is_finished()
    # A process may have died between the result and the state that makes it count.
    result = _Result(**attributes["result"]) if finished and "result" in attributes else _Result()
    return TrialRecord(
        stage=attributes["stage"],
        trial=attributes["trial"],
        digest=attributes["digest"],
        genotype=attributes["genotype"],
        state=_STATES[frozen.state.name],
        score=frozen.values[0] if frozen.values else None,
        reason=result.reason,
        metrics=result.metrics,
        learned=result.learned,
        seconds=result.seconds,
        started=attributes["started"],
        finished=result.finished,
        has_weights=result.weights,
        lease=Lease.parse(attributes["lease"]),
    )


_STATES: Mapping[str, State] = {"RUNNING": "claimed", "COMPLETE": "complete", "FAIL": "failed"}


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")


# ── weights ──────────────────────────────────────────────────────────────────────────────────────


def write_weights(path: Path, weights: Mapping[str, Array]) -> None:
    """Write a safetensors file so that it is there whole or not at all."""
    import numpy as np
    from safetensors.numpy import save

    path.parent.mkdir(parents=True, exist_ok=True)
    data = save({name: np.ascontiguousarray(array) for name, array in weights.items()})
    write_whole(path, data)


def read_weights(path: Path) -> dict[str, Array]:
    """The arrays of a safetensors file. Raises FusegraphError E809 where it can't be read."""
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise search_error(
            "E809",
            "the weights of a trial that later ones build on cannot be read",
            place=str(path),
            notes=(str(error),),
            help="put the file back, or start the search anew in another folder",
        ) from error


# ── Optuna ───────────────────────────────────────────────────────────────────────────────────────


def _journal_repaired(path: Path) -> int:
    from .journal import repair

    return repair(path)


def _journal(path: Path) -> BaseStorage:
    from .journal import TrialJournal

    try:
        return TrialJournal(path)
    except (ValueError, KeyError, TypeError) as error:
        raise search_error(
            "E808",
            "this is not a journal of trials, or it is damaged before its last line",
            place=str(path),
            notes=(str(error),),
            help="restore the file, or start the search anew in another folder",
        ) from error


def _database(url: str) -> BaseStorage:
    from optuna.storages import RDBStorage

    try:
        return RDBStorage(url)
    except Exception as error:
        raise search_error(
            "E808",
            "the database of trials cannot be opened",
            place=url,
            notes=(str(error).splitlines()[0],),
            help="give a URL such as sqlite:///trials.db or postgresql://user@host/name",
        ) from error


def _study_in(storage: BaseStorage) -> int | None:
    for study in storage.get_all_studies():
        if study.study_name == STUDY:
            return study._study_id  # pyright: ignore[reportPrivateUsage]
    return None


def _new_study(storage: BaseStorage) -> int:
    from optuna import logging
    from optuna.exceptions import DuplicatedStudyError
    from optuna.study import StudyDirection

    verbosity = logging.get_verbosity()
    logging.set_verbosity(logging.WARNING)
    try:
        return storage.create_new_study([StudyDirection.MAXIMIZE], STUDY)
    except DuplicatedStudyError:  # another process made it in the same moment
        return storage.get_study_id_from_name(STUDY)
    finally:
        logging.set_verbosity(verbosity)


def _running(attributes: Mapping[str, Any]) -> FrozenTrial:
    """A claimed trial, made whole by one record."""
    from optuna.trial import create_trial

    return create_trial(state=_state("RUNNING"), user_attrs=dict(attributes))


def _state(name: str) -> Any:
    from optuna.trial import TrialState

    return TrialState[name]
