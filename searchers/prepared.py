"""The data of a search, as its networks read it: what needs no weights is computed beforehand.

Pooling of a backbone's maps is the same in each epoch. Of a split in memory it is computed once and
kept, of other sources batch by batch.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Generator, Tensor

from ..backends.torch.network import Network
from ..ir.ops import INPUT
from ..training.batches import Batch, BatchSource
from ..training.tensors import TensorBatches

CHUNK = 256
"""Samples that are prepared at once; more would only hold larger maps in between."""


class Preparing(Protocol):
    """What computes of each sample what needs no weights: `SupernetModule`, or a `Prefix`."""

    @property
    def prefix(self) -> Network:
        """The network that does."""
        ...

    def prepare(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Named tensors, a row for each sample. Raises FusegraphError E711, E712."""
        ...


@dataclass(frozen=True, slots=True)
class Prefix:
    """A prefix by itself, see `compiler.fusion.prefix`."""

    prefix: Network

    def prepare(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Its outputs by name."""
        with torch.no_grad():
            found = self.prefix.run(batch)
        names = [name for name, _ in self.prefix.graph.outputs]
        values = found if isinstance(found, dict) else {names[0]: found}
        return {name: value.contiguous() for name, value in values.items()}


@dataclass(frozen=True, slots=True)
class PreparedBatches:
    """A source whose batches are prepared when they are read."""

    module: Preparing
    source: BatchSource

    def __len__(self) -> int:
        """The number of batches in an epoch."""
        return len(self.source)

    def epoch(self, generator: Generator | None) -> Iterator[Batch]:
        """One pass, in the order of the source."""
        for batch in self.source.epoch(generator):
            yield Batch(self.module.prepare(batch.inputs), batch.labels)


def prepared(module: Preparing, source: BatchSource) -> BatchSource:
    """The batches of a source, as the networks behind the prefix read them.

    Raises FusegraphError E711, E712 where they do not fit the space's inputs.
    """
    if not isinstance(source, TensorBatches):
        return PreparedBatches(module, source)
    plain = all(node.op is INPUT for node in module.prefix.graph.order)
    chunk = source.samples if plain else CHUNK
    parts = [
        module.prepare({name: value[i : i + chunk] for name, value in source.inputs.items()})
        for i in range(0, source.samples, chunk)
    ]
    if len(parts) == 1:
        return TensorBatches(parts[0], source.labels, source.batch)
    whole = {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
    return TensorBatches(whole, source.labels, source.batch)
