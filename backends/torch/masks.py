"""Dropout: masks in bulk, eight random bits an element."""

from __future__ import annotations

from collections.abc import Sequence
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
    """

    def __init__(self) -> None:
        self._bits: np.random.SFC64 | None = None

    def start(self) -> None:
        """A new pass: seed anew when a mask is drawn."""
        self._bits = None

    def draw(self, shape: Sequence[int], p: float, like: Tensor) -> Tensor:
        """1 with the probability 1 - p, else 0; dtype and device of `like`."""
        if like.device.type != "cpu" or torch.compiler.is_compiling():
            return torch.empty(shape, dtype=like.dtype, device=like.device).bernoulli_(1.0 - p)
        if self._bits is None:
            seed = int(torch.randint(2**63 - 1, ()).item())
            self._bits = np.random.SFC64(seed)
        count = 1
        for size in shape:
            count *= size
        raw: Any = self._bits.random_raw(count // 8 + 2)
        threshold = 256 * p
        low = floor(threshold)
        if (int(raw[-1]) >> 11) * 2.0**-53 < threshold - low:
            low += 1
        mask = like.new_empty(shape)
        mask.copy_(torch.from_numpy(raw.view(np.uint8)[:count]).view(*shape))
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
        mask = self.masks.draw(x.shape, self.p, x).mul_(1.0 / (1.0 - self.p))
        return x * mask
