"""Writes a feature folder batch by batch, in bounded memory, and all or nothing."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..ir.diagnostics import Diagnostic, FusegraphError
from .feature_checks import labels_out_of_range, not_finite, rows_not_finite
from .features import LABEL_TYPE, array_file
from .manifest import (
    FORMAT,
    MANIFEST,
    SPLIT_NAME,
    LabelKind,
    Manifest,
    Statistics,
    Tap,
    is_tap_name,
)

Array = NDArray[Any]
_TINY = 1e-6  # a channel that never changes is centred and not blown up


class _GrowingArray:
    """An `.npy` file that takes batches; its header is written again at the end.

    numpy pads a header so that its first axis can grow to 21 digits in place.
    """

    def __init__(self, file: Path, shape: tuple[int, ...], dtype: str) -> None:
        file.parent.mkdir(parents=True, exist_ok=True)
        self.shape = shape
        self.dtype = np.dtype(dtype)
        self.samples = 0
        self._stream: BinaryIO = file.open("wb")
        self._data_at = self._write_header()

    def _write_header(self) -> int:
        self._stream.seek(0)
        header = {
            "descr": np.lib.format.dtype_to_descr(self.dtype),
            "fortran_order": False,
            "shape": (self.samples, *self.shape),
        }
        np.lib.format.write_array_header_1_0(self._stream, header)
        return self._stream.tell()

    def add(self, batch: Array) -> None:
        self._stream.write(np.ascontiguousarray(batch, dtype=self.dtype).data)
        self.samples += len(batch)

    def close(self) -> None:
        if self._write_header() != self._data_at:
            raise RuntimeError("numpy's header grew into the data")
        self._stream.flush()
        os.fsync(self._stream.fileno())
        self._stream.close()

    def abandon(self) -> None:
        self._stream.close()


class _Moments:
    """Mean and deviation per channel over all batches (Chan et al. 1979), in float64."""

    def __init__(self, channels: int) -> None:
        self._count = 0
        self._mean = np.zeros(channels)
        self._squares = np.zeros(channels)

    def add(self, batch: Array) -> None:
        rows = np.moveaxis(batch.astype(np.float64), 1, -1) if batch.ndim > 1 else batch
        rows = np.asarray(rows, dtype=np.float64).reshape(-1, len(self._mean))
        mean, count = rows.mean(axis=0), len(rows)
        difference, total = mean - self._mean, self._count + count
        self._squares += ((rows - mean) ** 2).sum(axis=0)
        self._squares += difference**2 * (self._count * count / total)
        self._mean += difference * (count / total)
        self._count = total

    def result(self) -> Statistics:
        deviation = np.sqrt(self._squares / max(1, self._count))
        deviation = np.where(deviation < _TINY, 1.0, deviation)
        return Statistics(mean=tuple(self._mean.tolist()), deviation=tuple(deviation.tolist()))


class FeatureWriter:
    """A feature folder being written.

    Used as a context manager: the folder appears, complete, when the block ends well, and nothing
    is left of it when the block ends with an error.

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
    ) -> None:
        """Nothing is written yet.

        Args:
            folder: where the folder will be; its parent is made if need be.
            labels: what is predicted.
            source: a note on where the features come from.
            statistics_split: the split whose means and deviations standardise all of them.
            replace: whether an older folder of this name is replaced, once the new one is
                complete.

        Raises:
            FusegraphError: E620 where the folder is there already.
        """
        self._folder = Path(folder)
        self._part = self._folder.with_name(f".{self._folder.name}.{os.getpid()}.part")
        self._labels = labels
        self._source = source
        self._statistics_split = statistics_split
        self._replace = replace
        self._taps: dict[str, Tap] = {}
        self._arrays: dict[str, dict[str, _GrowingArray]] = {}
        self._moments: dict[str, _Moments] = {}
        self.manifest: Manifest | None = None
        if self._folder.exists() and not replace:
            self._refuse("the folder is there already", "remove it, or allow it to be replaced")

    def __enter__(self) -> FeatureWriter:
        self._part.mkdir(parents=True)
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
        finally:
            for arrays in self._arrays.values():
                for array in arrays.values():
                    array.abandon()
            shutil.rmtree(self._part, ignore_errors=True)

    def add(self, split: str, taps: Mapping[str, ArrayLike], labels: ArrayLike) -> None:
        """Appends a batch: each tap (samples, *shape), labels (samples,) or (samples, classes).

        Raises:
            FusegraphError: E620 where a batch has other taps, shapes or sample counts than those
                before it, E617 for labels out of range, E618 for values that are not finite.
        """
        batch = {name: np.asarray(value) for name, value in taps.items()}
        answer = np.asarray(labels)
        self._check_batch(split, batch, answer)
        if split not in self._arrays:
            arrays = {
                name: _GrowingArray(array_file(self._part, split, name), tap.shape, tap.dtype)
                for name, tap in self._taps.items()
            }
            arrays["labels"] = _GrowingArray(
                array_file(self._part, split, "labels"),
                answer.shape[1:],
                LABEL_TYPE[self._labels.kind],
            )
            self._arrays[split] = arrays
        for name, value in batch.items():
            self._arrays[split][name].add(value)
            if split == self._statistics_split:
                self._moments[name].add(value)
        self._arrays[split]["labels"].add(answer)

    def _check_batch(self, split: str, batch: dict[str, Array], labels: Array) -> None:
        if not self._taps:
            self._first_batch(batch)
        if not is_tap_name(split) or "[" in split:
            self._refuse(f"a split cannot be called {split!r}", f"use a name like {SPLIT_NAME}")
        if set(batch) != set(self._taps):
            self._refuse(
                f"expected the taps {sorted(self._taps)} as in the first batch, "
                f"found {sorted(batch)}",
                "give the same taps in every batch",
            )
        wanted = () if self._labels.kind == "single" else (self._labels.classes,)
        if labels.ndim == 0 or labels.shape[1:] != wanted or labels.dtype.kind not in "iub":
            self._refuse(
                f"expected integer labels of shape {['samples', *wanted]}, "
                f"found {labels.dtype} of shape {list(labels.shape)}",
                f"the folder's labels are {self._labels.kind}-label",
            )
        place = f"{self._folder}: {split}"
        start = self._arrays[split]["labels"].samples if split in self._arrays else 0
        for name, value in batch.items():
            tap = self._taps[name]
            if value.shape[1:] != tap.shape or len(value) != len(labels):
                self._refuse(
                    f"tap `{name}`: expected {len(labels)} samples of shape {list(tap.shape)}, "
                    f"found {list(value.shape)}",
                    "every sample needs every tap, in one shape",
                )
            bad = rows_not_finite(value)
            if bad:
                rows = [start + row for row in bad]
                raise FusegraphError(not_finite(f"{place}/{name}", rows, start + len(value)))
        wrong = labels_out_of_range(f"{place}/labels", labels, self._labels)
        if wrong is not None:
            raise FusegraphError(wrong)

    def _first_batch(self, batch: dict[str, Array]) -> None:
        for name, value in batch.items():
            if not is_tap_name(name):
                self._refuse(
                    f"a tap cannot be called {name!r}", "use an input's name such as `image[1]`"
                )
            if value.dtype.name not in ("float16", "float32") or value.ndim == 0:
                self._refuse(
                    f"tap `{name}`: expected float32 or float16 with samples as the first axis, "
                    f"found {value.dtype} of shape {list(value.shape)}",
                    "convert it before it is added",
                )
            self._taps[name] = Tap(
                shape=value.shape[1:],
                dtype="float16" if value.dtype == np.float16 else "float32",
            )
            channels = value.shape[1] if value.ndim > 1 else 1
            self._moments[name] = _Moments(channels)

    def _finish(self) -> None:
        if not self._arrays:
            self._refuse("no batch was added", "check that the data is not empty")
        splits = {split: arrays["labels"].samples for split, arrays in self._arrays.items()}
        for arrays in self._arrays.values():
            for array in arrays.values():
                array.close()
        known = self._statistics_split in splits
        self.manifest = Manifest(
            format=cast("Any", FORMAT),
            source=self._source,
            splits=splits,
            taps=self._taps,
            labels=self._labels,
            standardisation={n: m.result() for n, m in self._moments.items()} if known else {},
        )
        text = self.manifest.model_dump_json(indent=1) + "\n"
        (self._part / MANIFEST).write_text(text, encoding="utf-8")
        old = self._folder.with_name(f".{self._folder.name}.{os.getpid()}.old")
        if self._folder.exists():
            if not self._replace:
                self._refuse("the folder appeared meanwhile", "remove it and write again")
            self._folder.rename(old)
        self._part.rename(self._folder)
        shutil.rmtree(old, ignore_errors=True)

    def _refuse(self, message: str, advice: str) -> None:
        raise FusegraphError(
            Diagnostic(
                code="E620",
                message=f"the feature folder cannot be written: {message}",
                place=str(self._folder),
                help=advice,
            )
        )
