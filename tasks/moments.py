"""Mean and deviation per channel, over batches that come one by one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .manifest import Statistics

Array = NDArray[Any]
_TINY = 1e-6  # a channel that never changes is centred and not blown up


@dataclass(frozen=True, slots=True)
class Moments:
    """Over all samples and positions so far (Chan et al. 1979), in float64."""

    count: int
    mean: Array
    """(channels,)"""
    squares: Array
    """(channels,): the sum of squared differences from the mean."""

    @staticmethod
    def none(channels: int) -> Moments:
        """Before the first batch."""
        return Moments(0, np.zeros(channels), np.zeros(channels))

    def and_of(self, batch: Array) -> Moments:
        """With a batch more: (samples, channels, *positions), or (samples,) as one channel."""
        rows = np.moveaxis(batch.astype(np.float64), 1, -1) if batch.ndim > 1 else batch
        rows = np.asarray(rows, dtype=np.float64).reshape(-1, len(self.mean))
        if not len(rows):
            return self
        mean, count = rows.mean(axis=0), len(rows)
        difference, total = mean - self.mean, self.count + count
        squares = self.squares + ((rows - mean) ** 2).sum(axis=0)
        squares = squares + difference**2 * (self.count * count / total)
        return Moments(total, self.mean + difference * (count / total), squares)

    def statistics(self) -> Statistics:
        """As the manifest has them."""
        deviation = np.sqrt(self.squares / max(1, self.count))
        deviation = np.where(deviation < _TINY, 1.0, deviation)
        return Statistics(mean=tuple(self.mean.tolist()), deviation=tuple(deviation.tolist()))
