"""Data sets that train one network together: each its own head, and what the heads share.

A step is of one data set, drawn by size as in Algorithm 1 of "NAS just once" (supplement, section
B), with its own loss on its own head; gradients of several are not accumulated (section A).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Generator, Tensor, nn

from .batches import Batch, BatchSource
from .losses import Kind

Forward = Callable[[nn.Module, Mapping[str, Tensor]], Tensor]
"""How a module is called with the inputs of a batch; it answers the logits of one head."""


@dataclass(frozen=True, slots=True)
class Head:
    """A data set, and what of the network it trains. See `loop.fit` for the fields."""

    train: BatchSource
    valid: BatchSource
    forward: Forward
    kind: Kind = "single"
    positive_weight: Tensor | None = None
    output: str = "logits"


def drawn(sources: Sequence[BatchSource], generator: Generator) -> Iterator[tuple[int, Batch]]:
    """A pass over all sources: every batch once, with the number of its source.

    Each step draws a source with a probability in proportion to the batches that it has left. Of
    one source it is that source's own pass.
    """
    if len(sources) == 1:
        yield from ((0, batch) for batch in sources[0].epoch(generator))
        return
    numbers = [number for number, source in enumerate(sources) for _ in range(len(source))]
    passes = [source.epoch(generator) for source in sources]
    for place in torch.randperm(len(numbers), generator=generator).tolist():
        number = numbers[place]
        if (batch := next(passes[number], None)) is not None:
            yield number, batch
