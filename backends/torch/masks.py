"""Dropout: masks in bulk, eight random bits an element."""

from __future__ import annotations

from math import floor
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn


class Masks:
    """Draws masks of zeros and ones.

    One number of torch's generator seeds a fast generator for a whole pass through the network, so
    that `torch.manual_seed` settles all masks. An element is kept when its eight bits are not below
    256 p; where that is no whole number it is rounded up or down at random for each mask, so that
    an element is dropped with the probability p exactly.

    `fill` draws the bytes of a pass at once. Where it was not called, each mask draws its own.
    """

    def __init__(self, random: Tensor | None = None) -> None:
        self._filled = torch.empty(0, dtype=torch.uint8) if random is None else random
        self._at = 0

    def fill(self, count: int) -> None:
        """Draw `count` bytes for the masks of the next pass."""
        self._filled = _drawn(count) if count else self._filled[:0]
        self._at = 0

    def next_bytes(self, *elements: int) -> Tensor:
        """The bytes of masks of so many elements each."""
        start = self._at
        self._at = start + sum([bytes_of(count) for count in elements])
        return self._filled[start : self._at]

    def draw(self, like: Tensor, p: float) -> Tensor:
        """1 with the probability 1 - p, else 0; shape, dtype and device of `like`."""
        if like.device.type != "cpu":
            return torch.empty(like.shape, dtype=like.dtype, device=like.device).bernoulli_(1.0 - p)
        count = like.numel()
        if self._at + bytes_of(count) > self._filled.numel():
            self.fill(bytes_of(count))
        return mask_of(self.next_bytes(count), like.new_empty(like.shape), p)


def _drawn(count: int) -> Tensor:
    source = np.random.SFC64(int(torch.randint(2**63 - 1, ()).item()))
    raw: Any = source.random_raw(count // 8)
    return torch.from_numpy(raw.view(np.uint8))


def bytes_of(elements: int) -> int:
    """How many random bytes a mask takes: one for each element, and eight for its rounding."""
    return (elements + 15) // 8 * 8


def mask_of(random: Tensor, mask: Tensor, p: float) -> Tensor:
    """`mask`, filled with zeros and ones from these random bytes, see `Masks`."""
    threshold = 256 * p
    low = floor(threshold)
    if low != threshold and int(random[-1]) + int(random[-2]) / 256 < 256 * (threshold - low):
        low += 1
    mask.copy_(random[: mask.numel()].view(mask.shape))
    return mask.ge_(float(low))


class Drawing(nn.Module):
    """A module that draws masks; those of one network may share a source."""

    def __init__(self) -> None:
        super().__init__()
        self.masks = Masks()


class Drop(Drawing):
    """Dropout by masks in bulk."""

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = p

    def forward(self, x: Tensor) -> Tensor:
        """The same shape; zeros with the probability p while training, the rest scaled up."""
        if not self.training or self.p == 0.0:
            return x
        return x * self.masks.draw(x, self.p).mul_(1.0 / (1.0 - self.p))
