"""What a data set gives: splits of samples that are read one by one, and batches of them."""

from __future__ import annotations

import hashlib
from bisect import bisect_left
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Generator

from ...ir.diagnostics import FusegraphError
from ...training.batches import Batch
from ..manifest import LabelKind
from ..problems import nearest
from ..unfinished import Mark
from .errors import not_found

Array = NDArray[Any]


@dataclass(frozen=True, slots=True)
class Example:
    """One sample: its inputs without the axis of the samples, and its label."""

    inputs: Mapping[str, Array]
    label: int | Array
    """A class, or 0/1 of shape (classes,)."""


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A sample that was passed over while reading, and why."""

    sample: str
    reason: str


class SplitReader(Protocol):
    """The samples of one split, in a fixed order; may be read by several threads."""

    def __len__(self) -> int:
        """How many samples are listed."""
        ...

    def read(self, index: int) -> Example | LeftOut:
        """One sample, or why there is none.

        Raises:
            FusegraphError: E643, E644 or E645 for a file that is broken or missing.
        """
        ...

    def name(self, index: int) -> str:
        """The sample's name in the data set."""
        ...


@dataclass(slots=True)
class DatasetBatches:
    """A split as batches, read from its files as they are needed: a `BatchSource`.

    Threads read ahead, never more than three samples each; order and values do not depend on how
    many there are. As in `TensorBatches`, a last sample that would be a batch by itself joins the
    batch before.
    """

    split: str
    reader: SplitReader
    batch: int
    threads: int = 2
    skip_broken: bool = False
    """Whether a sample whose file is broken is left out instead of ending the pass."""
    left_out: list[LeftOut] = field(default_factory=list)
    """What the latest pass has passed over."""
    _mark: Mark = field(default_factory=Mark, init=False)

    @property
    def _alone(self) -> int:
        return 1 if self.batch > 1 else 0

    def __len__(self) -> int:
        """The number of batches, if no sample is left out."""
        listed = len(self.reader)
        joined = listed > self.batch > 1 and listed % self.batch == 1
        return -(-listed // self.batch) - (1 if joined else 0)

    def __iter__(self) -> Iterator[Batch]:
        """One pass in the order of the data set."""
        return self.epoch(None)

    def epoch(self, generator: Generator | None) -> Iterator[Batch]:
        """One pass: in the generator's random order, or in the data set's where it is None.

        Raises:
            FusegraphError: E642 where every sample was left out; what `SplitReader.read` raises.
        """
        listed = len(self.reader)
        order: Sequence[int] = range(listed)
        if generator is not None:
            order = torch.randperm(listed, generator=generator).tolist()
        return self._pass(order, Mark())

    def identity(self) -> Mapping[str, Any]:
        """What the batches are a function of, as far as it is known here."""
        listed = len(self.reader)
        names = hashlib.sha256()
        for index in range(listed):
            names.update(f"{self.reader.name(index)}\n".encode())
        return {"batch": self.batch, "samples": listed, "names": names.hexdigest()[:12]}

    def mark(self) -> Mark:
        """Where the latest pass stands, after the batch that it gave last."""
        return self._mark

    def after(self, mark: Mark) -> Iterator[Batch]:
        """The rest of a pass in the data set's order; what is before the mark is not read."""
        return self._pass(range(len(self.reader)), mark)

    def _pass(self, order: Sequence[int], mark: Mark) -> Iterator[Batch]:
        self._mark = mark
        self.left_out[:] = [LeftOut(sample, reason) for sample, reason in mark.left_out]
        return self._batches(order, mark)

    def _batches(self, order: Sequence[int], mark: Mark) -> Iterator[Batch]:
        listed = len(order)
        kept: list[Example] = []
        places: list[int] = []
        passed: list[int] = []
        for place, found in enumerate(self._read_ahead(order[mark.sample :]), mark.sample):
            if isinstance(found, LeftOut):
                self.left_out.append(found)
                passed.append(place)
                continue
            kept.append(found)
            places.append(place)
            if len(kept) > self.batch + self._alone:
                next_place = places[self.batch]
                self._note(next_place, len(mark.left_out) + bisect_left(passed, next_place))
                yield _batch(kept[: self.batch])
                kept, places = kept[self.batch :], places[self.batch :]
        none_yet = self._mark.sample == 0
        self._note(listed, len(self.left_out))
        if kept:
            yield _batch(kept)
        elif none_yet:
            reasons = "; ".join(f"{out.sample}: {out.reason}" for out in self.left_out[:3])
            raise not_found(
                self.split,
                f"split `{self.split}` has no sample left: all {listed} were left out ({reasons})",
                "look at the files that are named",
            )

    def _note(self, place: int, left_out: int) -> None:
        known = tuple((out.sample, out.reason) for out in self.left_out[:left_out])
        self._mark = Mark.model_construct(sample=place, left_out=known)

    def _read_ahead(self, order: Sequence[int]) -> Iterator[Example | LeftOut]:
        pool = ThreadPoolExecutor(self.threads, thread_name_prefix="fusegraph-read")
        waiting: deque[Future[Example | LeftOut]] = deque()
        try:
            for index in order:
                waiting.append(pool.submit(self._read, index))
                if len(waiting) >= 3 * self.threads:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            pool.shutdown(cancel_futures=True)

    def _read(self, index: int) -> Example | LeftOut:
        try:
            return self.reader.read(index)
        except FusegraphError as error:
            if not self.skip_broken:
                raise
            first = error.diagnostics[0]
            return LeftOut(self.reader.name(index), f"{first.message} ({first.where})")


def _batch(examples: Sequence[Example]) -> Batch:
    names = examples[0].inputs
    inputs = {name: np.stack([example.inputs[name] for example in examples]) for name in names}
    labels = np.stack([np.asarray(example.label, dtype=np.int64) for example in examples])
    return Batch(
        {name: torch.from_numpy(value) for name, value in inputs.items()}, torch.from_numpy(labels)
    )


@dataclass(frozen=True, slots=True)
class Dataset:
    """An opened data set: what is predicted, its splits, and what listing it has shown."""

    name: str
    labels: LabelKind
    splits: Mapping[str, SplitReader]
    notes: tuple[str, ...] = ()
    """What was left out already while its files were listed, for people."""

    def batches(
        self, split: str, *, batch: int, threads: int = 2, skip_broken: bool = False
    ) -> DatasetBatches:
        """A split as a stream of batches.

        Raises:
            FusegraphError: E642 where there is no such split, or nothing in it.
        """
        reader = self.splits.get(split)
        if reader is None:
            raise not_found(
                self.name,
                f"data set `{self.name}` has no split `{split}`",
                nearest(split, self.splits),
            )
        if not len(reader):
            found = "; ".join(self.notes)
            raise not_found(
                self.name,
                f"split `{split}` of `{self.name}` is empty: expected samples, found none"
                + (f" ({found})" if found else ""),
                "look at `--root`, and at the options that choose samples",
            )
        return DatasetBatches(split, reader, batch, threads, skip_broken)
