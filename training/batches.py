"""What a training loop reads: batches of named tensors with labels, as often as it asks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple, Protocol

from torch import Generator, Tensor


class Batch(NamedTuple):
    """Inputs by name, samples first; labels int64 (samples,) or 0/1 (samples, classes)."""

    inputs: Mapping[str, Tensor]
    labels: Tensor


class BatchSource(Protocol):
    """A split: knows how many batches it has and gives them once an epoch."""

    def __len__(self) -> int:
        """The number of batches in an epoch."""
        ...

    def epoch(self, generator: Generator | None) -> Iterator[Batch]:
        """One pass: in the generator's random order, or in the data's own where it is None."""
        ...
