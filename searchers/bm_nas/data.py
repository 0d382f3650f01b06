"""The data of a search, as its supernet reads it: what needs no weights is computed beforehand.

Pooling of a backbone's maps is the same in each epoch. Of a split in memory it is computed once and
kept, of other sources batch by batch.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Generator

from ...backends.torch.supernet import SupernetModule
from ...ir.ops import INPUT
from ...training.batches import Batch, BatchSource
from ...training.tensors import TensorBatches

CHUNK = 256
"""Samples that are prepared at once; more would only hold larger maps in between."""


@dataclass(frozen=True, slots=True)
class PreparedBatches:
    """A source whose batches are prepared when they are read."""

    module: SupernetModule
    source: BatchSource

    def __len__(self) -> int:
        """The number of batches in an epoch."""
        return len(self.source)

    def epoch(self, generator: Generator | None) -> Iterator[Batch]:
        """One pass, in the order of the source."""
        for batch in self.source.epoch(generator):
            yield Batch(self.module.prepare(batch.inputs), batch.labels)


def prepared(module: SupernetModule, source: BatchSource) -> BatchSource:
    """The batches of a source, as `SupernetModule.run_prepared` takes them.

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
