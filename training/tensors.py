"""A split held in memory: on its device once, permuted once an epoch, sliced as views."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Generator, Tensor

from ..ir.diagnostics import Diagnostic, FusegraphError
from .batches import Batch


@dataclass(frozen=True, slots=True)
class TensorBatches:
    """A `BatchSource` over whole tensors; the last batch of an epoch may be shorter.

    A last sample that would be a batch by itself joins the batch before: batch norm knows no
    variance of one sample.
    """

    inputs: Mapping[str, Tensor]
    labels: Tensor
    batch: int

    @property
    def samples(self) -> int:
        """How many samples the split has."""
        return len(self.labels)

    def __len__(self) -> int:
        """The number of batches in an epoch."""
        return len(self._starts)

    @property
    def _starts(self) -> range:
        alone = self.samples % self.batch == 1 and 1 < self.batch < self.samples
        return range(0, self.samples - 1 if alone else self.samples, self.batch)

    def epoch(self, generator: Generator | None) -> Iterator[Batch]:
        """One pass; one gather an epoch and not one a batch."""
        inputs, labels = self.inputs, self.labels
        if generator is not None:
            # Drawn on the CPU, so that the order is the same on every device.
            order = torch.randperm(self.samples, generator=generator).to(labels.device)
            inputs = {name: value.index_select(0, order) for name, value in inputs.items()}
            labels = labels.index_select(0, order)
        starts = self._starts
        sizes = [self.batch] * (len(starts) - 1) + [self.samples - starts[-1]]
        parts = {name: value.split_with_sizes(sizes) for name, value in inputs.items()}
        for place, answers in enumerate(labels.split_with_sizes(sizes)):
            yield Batch({name: part[place] for name, part in parts.items()}, answers)


def tensor_batches(
    arrays: Mapping[str, NDArray[Any] | Tensor],
    labels: NDArray[Any] | Tensor,
    *,
    batch: int,
    device: str | torch.device = "cpu",
) -> TensorBatches:
    """Copies a split to its device. Give only the inputs that a network reads.

    Floating-point features become float32, labels int64.

    Raises:
        FusegraphError: E704 where an input has another number of samples than the labels, or
            there are no samples at all.
    """
    moved = {
        name: _tensor(value, floating=torch.float32).to(device) for name, value in arrays.items()
    }
    answers = _tensor(labels, floating=None).to(device=device, dtype=torch.int64)
    for name, value in moved.items():
        if len(value) != len(answers):
            raise FusegraphError(
                Diagnostic(
                    code="E704",
                    message=f"input `{name}` has {len(value)} samples: expected "
                    f"{len(answers)}, one for each label",
                    place=name,
                    help="inputs and labels of a split must come from the same samples",
                )
            )
    if not len(answers):
        raise FusegraphError(
            Diagnostic(
                code="E704",
                message="there are no samples to train on: expected one or more, found 0",
                help="look at how the split was made",
            )
        )
    return TensorBatches(moved, answers, batch)


def _tensor(value: NDArray[Any] | Tensor, floating: torch.dtype | None) -> Tensor:
    # A memory map is read-only: torch would warn, and a write would crash. So it is copied.
    tensor = value if isinstance(value, Tensor) else torch.from_numpy(np.array(value))
    return tensor.to(floating) if floating and tensor.is_floating_point() else tensor
