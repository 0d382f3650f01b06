"""The few modules that torch has not; files written by `emit` carry copies of those they use."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F  # noqa: N812  (its name all over the field)
from torch import Tensor, nn


class Scope(nn.Module):
    """A named place in the tree of modules: `self.h[1].linear` is `h.1.linear` in the weights."""

    def __getitem__(self, index: int) -> nn.Module:
        return getattr(self, str(index))

    def __setitem__(self, index: int, module: nn.Module) -> None:
        self.add_module(str(index), module)


class Pointwise(nn.Linear):
    """A linear layer over the channels, the same at every position: a 1x1 convolution.

    On a CPU the convolution takes half the time of a product of transposed tensors. On a GPU
    torch rounds the inputs of convolutions to TF32 unless told not to, and of products it does not.
    """

    def forward(self, input: Tensor) -> Tensor:
        """input: [N, in, *S] -> [N, out, *S]."""
        if input.is_cuda:
            return super().forward(input.movedim(1, -1)).movedim(-1, 1)
        mapped = F.conv1d(input.flatten(2), self.weight[:, :, None], self.bias)
        return mapped.reshape(mapped.shape[:2] + input.shape[2:])


class Learned(nn.Module):
    """A learned tensor that depends on no input."""

    def __init__(self, *shape: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(shape))

    def forward(self) -> Tensor:
        """The tensor itself, of the shape it was made with."""
        return self.weight


class DropPath(nn.Module):
    """The whole of a sample is zero with probability p while training, and scaled otherwise."""

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = p

    def forward(self, x: Tensor) -> Tensor:
        """x: [N, ...] -> [N, ...]."""
        if not self.training or self.p == 0.0:
            return x
        kept = x.new_empty((x.shape[0],) + (1,) * (x.ndim - 1)).bernoulli_(1.0 - self.p)
        return x * kept / (1.0 - self.p)


def round8(value: float) -> int:
    """Rounded to a multiple of 8, but never by more than a tenth downwards."""
    rounded = max(8, int(value + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * value else rounded


def mix(gates: Tensor, x: Sequence[Tensor], index: Sequence[int] | None = None) -> Tensor:
    """The sum of tensors of one shape, each times its gate. gates: [K]."""
    parts = gates.unbind()
    chosen = parts if index is None else [parts[place] for place in index]
    total = chosen[0] * x[0]
    for gate, tensor in zip(chosen[1:], x[1:], strict=True):
        total = torch.addcmul(total, gate, tensor)
    return total
