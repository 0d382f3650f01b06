"""A part of a whole weight: the entries that one network has of it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from ...compiler.elastic import Entries


class Cut:
    """Entries along each axis of a tensor.

    Where they are next to each other, as they mostly are, what is cut is a view.
    """

    __slots__ = ("_flat", "_gaps", "_ranges", "_shape", "entries", "view", "whole")

    def __init__(self, entries: Sequence[Entries], shape: Sequence[int]) -> None:
        self.entries = tuple(entries)
        runs = [_run(each) for each in entries]
        self._ranges = tuple([run or slice(None) for run in runs])
        self._gaps = [
            (axis, torch.from_numpy(each))
            for axis, (each, run) in enumerate(zip(entries, runs, strict=True))
            if run is None
        ]
        self._shape = tuple(shape)
        self._flat: Tensor | None = None
        self.view = not self._gaps
        """Whether what is cut is a view of the tensor."""
        self.whole = self.view and all(
            len(each) == size for each, size in zip(entries, shape, strict=True)
        )
        """Whether nothing is left out."""

    def of(self, weight: Tensor) -> Tensor:
        """The part of the tensor; with gradients, where it has them."""
        if self.whole:
            return weight
        part = weight[self._ranges]
        for place, (axis, entries) in enumerate(self._gaps):
            if entries.device != weight.device:
                entries = entries.to(weight.device)
                self._gaps[place] = (axis, entries)
            part = part.index_select(axis, entries)
        return part

    def put(self, weight: Tensor, values: Tensor) -> None:
        """Write the part back into the tensor, which lies in one piece."""
        if self.view:
            weight[self._ranges].copy_(values)
            return
        if self._flat is None or self._flat.device != weight.device:
            flat = np.ravel_multi_index(np.ix_(*self.entries), self._shape)
            self._flat = torch.from_numpy(flat.reshape(-1)).to(weight.device)
        weight.view(-1).index_copy_(0, self._flat, values.reshape(-1))

    def with_also(self, other: Cut, shape: Sequence[int]) -> Cut:
        """Along each axis what is in either."""
        pairs = zip(self.entries, other.entries, strict=True)
        return Cut([np.union1d(a, b) for a, b in pairs], shape)


def _run(entries: Entries) -> slice | None:
    """The entries as a slice; None where there are gaps."""
    if not len(entries):
        return slice(0, 0)
    first, last = int(entries[0]), int(entries[-1])
    return slice(first, last + 1) if np.array_equal(entries, np.arange(first, last + 1)) else None


class Slices(nn.Module):
    """What one network has of the weights of a key, in place of the module that holds them.

    It is no part of the tree of modules, and owns nothing. Batch norms that learn statistics are
    run by `sampled_norms`, so that this one never trains.
    """

    def __init__(self, holder: nn.Module, cuts: dict[str, Cut]) -> None:
        super().__init__()
        self.training = False
        self._holder = [holder]  # in a list, as it is no submodule
        self.cuts = cuts

    @property
    def holder(self) -> nn.Module:
        """The module with the whole weights."""
        return self._holder[0]

    def cut(self, name: str) -> Tensor:
        """The part of a weight of this name."""
        found = getattr(self.holder, name)
        assert isinstance(found, Tensor)
        return self.cuts[name].of(found)

    @property
    def weight(self) -> Tensor:
        """As torch's modules call it."""
        return self.cut("weight")

    @property
    def bias(self) -> Tensor:
        """As torch's modules call it."""
        return self.cut("bias")

    @property
    def running_mean(self) -> Tensor:
        """As torch's modules call it."""
        return self.cut("running_mean")

    @property
    def running_var(self) -> Tensor:
        """As torch's modules call it."""
        return self.cut("running_var")

    @property
    def num_batches_tracked(self) -> Tensor:
        """As torch's modules call it."""
        return self.cut("num_batches_tracked")

    def put(self, name: str, values: Tensor) -> None:
        """Write new values of a part, where it is no view that has them already."""
        if not self.cuts[name].view:
            found = getattr(self.holder, name)
            assert isinstance(found, Tensor)
            self.cuts[name].put(found, values)

    @property
    def state(self) -> dict[str, Tensor]:
        """All parts by name."""
        return {name: self.cut(name) for name in self.cuts}
