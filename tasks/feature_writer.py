"""Writes a feature folder batch by batch, in bounded memory; it appears when it is whole."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..ir.support.files import write_whole
from .batch_checks import cannot_write, check_batch, label_shape, taps_of
from .features import LABEL_TYPE, array_file
from .growing_array import GrowingArray
from .manifest import (
    FORMAT,
    MANIFEST,
    LabelKind,
    Manifest,
    Tap,
)
from .moments import Moments
from .unfinished import (
    FEATURES,
    OLDER,
    KeptMoments,
    Mark,
    Progress,
    SplitProgress,
    check_same,
    clear,
    damaged,
    is_unfinished,
    part_of,
    read_progress,
    refuse_leftover,
    take_lock,
    take_up,
    throw_away,
    write_progress,
)

Array = NDArray[Any]
SECONDS_BETWEEN_SYNCS = 20.0
"""A power cut or `kill -9` costs at most this much work, and one batch."""


@dataclass(frozen=True, slots=True)
class _Whole:
    """What is whole after a batch; an interruption within the next one falls back to it."""

    splits: Mapping[str, SplitProgress]
    moments: Mapping[str, Moments]


class FeatureWriter:
    """A feature folder being written.

    Used as a context manager: the folder appears, complete, when the block ends well. When it ends
    with an error nothing is left of it, unless the writer was given an `identity`: then what is
    whole is kept beside the folder, and another writer may `resume` it.

    ```python
    with FeatureWriter("features", LabelKind(kind="single", classes=10)) as writer:
        writer.add("train", {"image[1]": first, "audio[1]": second}, labels)
    ```
    """

    def __init__(
        self,
        folder: str | Path,
        labels: LabelKind,
        *,
        source: str = "",
        statistics_split: str = "train",
        replace: bool = False,
        identity: Mapping[str, Any] | None = None,
        resume: bool = False,
    ) -> None:
        """Nothing is written yet.

        Args:
            folder: where the folder will be; its parent is made if need be.
            labels: what is predicted.
            source: a note on where the features come from.
            statistics_split: the split whose means and deviations standardise all of them.
            replace: whether an older folder of this name is replaced, once the new one is
                complete; what an interrupted writer left is thrown away at once.
            identity: what the features are a function of, as JSON has it.
            resume: whether to go on with what an interrupted writer of this identity left, if
                there is anything.

        Raises:
            FusegraphError: E620 where the folder is there already.
        """
        self._folder = Path(folder)
        self._identity: dict[str, Any] | None = None
        self._part = self._folder.with_name(f".{self._folder.name}.{os.getpid()}.part")
        if identity is not None:
            of_writer = {
                "labels": labels.model_dump(),
                "source": source,
                "statistics_split": statistics_split,
            }
            # As the file will hold it: tuples are lists there.
            self._identity = json.loads(json.dumps({**identity, **of_writer}))
            self._part = part_of(self._folder)
        self._labels = labels
        self._source = source
        self._statistics_split = statistics_split
        self._replace = replace
        self._resume = resume
        self._taps: dict[str, Tap] = {}
        self._arrays: dict[str, dict[str, GrowingArray]] = {}
        self._moments: dict[str, Moments] = {}
        self._whole = _Whole({}, {})
        self._synced_at = float("-inf")
        self._lock: int | None = None
        self.manifest: Manifest | None = None
        if not (resume and is_unfinished(self._folder)):
            self._refuse_older()

    def __enter__(self) -> FeatureWriter:
        """Begins, or goes on.

        Raises:
            FusegraphError: E620 where another process writes this folder; E623 where an
                interrupted one left something and neither `resume` nor `replace` was asked for;
                E624 where that was of another identity, E625 where it is damaged.
        """
        self._part.mkdir(parents=True, exist_ok=True)
        if self._identity is None:
            return self
        self._lock = take_lock(self._part)
        if self._lock is None:
            self._refuse("another process writes it just now", "wait for it, or end it")
        try:
            if not is_unfinished(self._folder):
                clear(self._folder)
            elif self._resume:
                self._go_on(read_progress(self._folder), self._identity)
            elif self._replace:
                clear(self._folder)
            else:
                raise refuse_leftover(self._folder)
        except BaseException:
            self._release()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            if kind is None:
                self._finish()
            elif self._whole.splits:
                # The error that ended the block is the one to tell; an older sync stands.
                with suppress(OSError):
                    self._sync()
        finally:
            self._release()
            if self.manifest is not None or self._identity is None or not self._whole.splits:
                shutil.rmtree(self._part, ignore_errors=True)

    def _release(self) -> None:
        for array in self._all_arrays():
            array.abandon()
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def _all_arrays(self) -> Iterator[GrowingArray]:
        for arrays in self._arrays.values():
            yield from arrays.values()

    def kept(self, split: str) -> SplitProgress | None:
        """What is whole of a split, where anything is."""
        return self._whole.splits.get(split)

    def kept_labels(self, split: str) -> Array:
        """The labels of what is whole of a split, (samples,) or (samples, classes)."""
        return self._arrays[split]["labels"].kept()

    def add(
        self,
        split: str,
        taps: Mapping[str, ArrayLike],
        labels: ArrayLike,
        mark: Mark | None = None,
    ) -> None:
        """Appends a batch: each tap (samples, *shape), labels (samples,) or (samples, classes).

        `mark` says where its source stands after it, for who resumes.

        Raises:
            FusegraphError: E620 where a batch has other taps, shapes or sample counts than those
                before it, E617 for labels out of range, E618 for values that are not finite.
        """
        batch = {name: np.asarray(value) for name, value in taps.items()}
        answer = np.asarray(labels)
        if not self._taps:
            self._taps = taps_of(self._folder, batch)
            self._moments = {
                name: Moments.none(tap.shape[0] if tap.shape else 1)
                for name, tap in self._taps.items()
            }
        start = self._arrays[split]["labels"].samples if split in self._arrays else 0
        check_batch(self._folder, self._taps, self._labels, split, start, batch, answer)
        if split not in self._arrays:
            arrays = {
                name: GrowingArray(self._file(split, name), tap.shape, tap.dtype)
                for name, tap in self._taps.items()
            }
            kind = LABEL_TYPE[self._labels.kind]
            file = self._file(split, "labels")
            arrays["labels"] = GrowingArray(file, answer.shape[1:], kind)
            self._arrays[split] = arrays
        for name, value in batch.items():
            self._arrays[split][name].add(value)
            if split == self._statistics_split:
                self._moments[name] = self._moments[name].and_of(value)
        self._arrays[split]["labels"].add(answer)
        if self._identity is not None:
            self._note(split, mark, batches=1)

    def end_split(self, split: str, mark: Mark | None = None) -> None:
        """No more batches of this split will come; who resumes need not look for any."""
        if split in self._arrays and self._identity is not None:
            self._note(split, mark, done=True)

    def _file(self, split: str, name: str) -> Path:
        return array_file(self._part / FEATURES, split, name)

    def _note(self, split: str, mark: Mark | None, *, batches: int = 0, done: bool = False) -> None:
        arrays, before = self._arrays[split], self._whole.splits.get(split)
        progress = SplitProgress.model_construct(
            batches=batches + (before.batches if before else 0),
            samples=arrays["labels"].samples,
            done=done,
            mark=mark,
            checksums={name: array.checksum for name, array in arrays.items()},
        )
        self._whole = _Whole({**self._whole.splits, split: progress}, dict(self._moments))
        if time.monotonic() - self._synced_at >= SECONDS_BETWEEN_SYNCS:
            self._sync()

    def _sync(self) -> None:
        """What is whole outlives a power cut from here on."""
        if self._identity is None:
            return
        whole = self._whole
        for array in self._all_arrays():
            array.sync()
        moments = {
            tap: KeptMoments(
                count=found.count, mean=tuple(found.mean), squares=tuple(found.squares)
            )
            for tap, found in whole.moments.items()
        }
        progress = Progress(
            format=1,
            identity=self._identity,
            replace=self._replace,
            taps=self._taps,
            splits=dict(whole.splits),
            moments=moments,
        )
        write_progress(self._part, progress)
        self._synced_at = time.monotonic()

    def _go_on(self, progress: Progress, identity: Mapping[str, Any]) -> None:
        check_same(self._folder, progress, identity)
        self._replace = self._replace or progress.replace
        self._refuse_older()
        self._taps = dict(progress.taps)
        moments = {
            tap: Moments(found.count, np.array(found.mean), np.array(found.squares))
            for tap, found in progress.moments.items()
        }
        if set(moments) != set(self._taps):
            raise damaged(self._part, "moments: other taps than in `taps`")
        (self._part / FEATURES / MANIFEST).unlink(missing_ok=True)
        for entry in (self._part / FEATURES).iterdir():
            if entry.name not in progress.splits:
                throw_away(entry)
        kinds = {name: (tap.shape, str(tap.dtype)) for name, tap in self._taps.items()}
        kinds["labels"] = (label_shape(self._labels), LABEL_TYPE[self._labels.kind])
        for split, found in progress.splits.items():
            arrays = self._arrays.setdefault(split, {})
            for name, (shape, dtype) in kinds.items():
                file = self._file(split, name)
                arrays[name] = take_up(file, shape, dtype, found, self._labels)
        self._moments = moments
        self._whole = _Whole(dict(progress.splits), dict(moments))

    def _finish(self) -> None:
        if not self._arrays:
            self._refuse("no batch was added", "check that the data is not empty")
        splits = {split: arrays["labels"].samples for split, arrays in self._arrays.items()}
        for array in self._all_arrays():
            array.close()
        known = self._statistics_split in splits
        manifest = Manifest(
            format=cast("Any", FORMAT),
            source=self._source,
            splits=splits,
            taps=self._taps,
            labels=self._labels,
            standardisation={n: m.statistics() for n, m in self._moments.items()} if known else {},
        )
        text = manifest.model_dump_json(indent=1) + "\n"
        if self._identity is not None:
            self._sync()
        write_whole(self._part / FEATURES / MANIFEST, text.encode())
        self._refuse_older()
        if self._folder.exists():
            shutil.rmtree(self._part / OLDER, ignore_errors=True)
            self._folder.rename(self._part / OLDER)
        (self._part / FEATURES).rename(self._folder)
        self.manifest = manifest

    def _refuse_older(self) -> None:
        if self._folder.exists() and not self._replace:
            advice = "remove it, or allow it to be replaced"
            whole = ", and there is nothing to resume" if self._resume else ""
            self._refuse(f"the folder is there already{whole}", advice)

    def _refuse(self, message: str, advice: str) -> None:
        raise cannot_write(self._folder, message, advice)
