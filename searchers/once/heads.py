"""The data sets of a search, each with the output of the space that it trains."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import count, islice

import torch
from torch import Generator, Tensor

from ...ir.graph import Graph
from ...ir.support.names import nearest
from ...tasks.joint import inputs_for, joint_of
from ...tasks.sources import TaskData
from ...training.batches import Batch, BatchSource
from ...training.losses import Kind, Loss
from ...training.metrics import Score, score_function
from ...training.settings import TrainSettings
from ...training.steps import check_labels, epoch_seed, loss_of
from ..errors import search_error


@dataclass(slots=True)
class Head:
    """A data set and the output that it trains. `loss` is of the weights, and `plain_loss`, without
    label smoothing, is what is told and what alpha learns from.
    """

    output: str
    train: BatchSource
    valid: BatchSource
    kind: Kind
    loss: Loss
    plain_loss: Loss
    score: Score | None
    _checked: bool = field(default=False, init=False)

    def fits(self, logits: Tensor, labels: Tensor) -> None:
        """Raises FusegraphError E706 where they do not. Looked at once."""
        if not self._checked:
            check_labels(self.kind, logits, labels, self.output)
            self._checked = True


@dataclass(frozen=True, slots=True)
class FirstBatches:
    """The first batches of a source, in its own order."""

    source: BatchSource
    most: int

    def __len__(self) -> int:
        """How many batches there are."""
        return min(self.most, len(self.source))

    def epoch(self, generator: Generator | None) -> Iterator[Batch]:
        """One pass."""
        return islice(self.source.epoch(generator), self.most)


def heads_of(
    space: Graph, data: TaskData, settings: TrainSettings, device: torch.device
) -> list[Head]:
    """One for each data set, the main one first."""
    outputs = [name for name, _ in space.outputs]
    found: list[Head] = []
    for name, one in joint_of(data).items():
        output = outputs[0] if len(outputs) == 1 else name
        train, valid = [
            one.source(split, inputs_for(space, output), batch=settings.batch, device=device)
            for split in ("train", "valid")
        ]
        weight = one.positive_weight() if settings.balance else None
        weight = None if weight is None else weight.to(device)
        metric = settings.metric
        found.append(
            Head(
                output,
                train,
                valid,
                one.kind,
                loss_of(one.kind, weight, settings.label_smoothing),
                loss_of(one.kind, weight, 0.0),
                None
                if metric == "loss"
                else score_function(metric, one.kind, top_k=settings.top_k),
            )
        )
    return found


def head_named(searcher: str, heads: Sequence[Head], output: str) -> Head:
    """The one of this output. Raises FusegraphError E802 where there is none."""
    expect_trained(searcher, output, [head.output for head in heads])
    return next(head for head in heads if head.output == output)


def expect_trained(searcher: str, first: str, outputs: Sequence[str]) -> None:
    """Raises FusegraphError E802 where `first` is none of the outputs that data sets train."""
    if first in outputs:
        return
    near = nearest(first, outputs)
    raise search_error(
        "E802",
        f"the option `first` of the searcher `{searcher}` is `{first}`, which no data set trains",
        place=f"searcher {searcher}",
        notes=(f"data sets train {', '.join(outputs)}",),
        help=f"did you mean `{near}`?" if near else "write one of these outputs, or leave it out",
    )


def endless(source: BatchSource, seed: int) -> Iterator[Batch]:
    """Its batches pass after pass, each in an order of its own."""
    for number in count(1):
        yield from source.epoch(torch.Generator().manual_seed(epoch_seed(seed, number)))
