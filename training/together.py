"""Two splits as one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Generator

from .batches import Batch, BatchSource
from .tensors import TensorBatches


@dataclass(frozen=True, slots=True)
class ChainedBatches:
    """Sources one after the other, each in an order of its own."""

    sources: tuple[BatchSource, ...]

    def __len__(self) -> int:
        """The number of batches in an epoch."""
        return sum(map(len, self.sources))

    def epoch(self, generator: Generator | None) -> Iterator[Batch]:
        """One pass over all of them."""
        for source in self.sources:
            yield from source.epoch(generator)


def together(first: BatchSource, second: BatchSource) -> BatchSource:
    """Two splits as one: mixed where both are in memory, else one after the other."""
    if not (isinstance(first, TensorBatches) and isinstance(second, TensorBatches)):
        return ChainedBatches((first, second))
    inputs = {name: torch.cat([v, second.inputs[name]]) for name, v in first.inputs.items()}
    return TensorBatches(inputs, torch.cat([first.labels, second.labels]), first.batch)
