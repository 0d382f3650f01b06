"""The weights that many small layers read, and what they make of inputs, by the height of weights.

A layer on a concatenation is the sum of layers on its parts. What one part of one weight makes of
one input is computed once, however many layers add it up.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor


class Read(NamedTuple):
    """Columns of a large weight: `size` of them from `start`."""

    weight: int
    start: int
    size: int


class Pool(NamedTuple):
    """Weights of the height `out`, and their products with inputs.

    The small ones stand side by side, f[out, S]: the `width` columns of the bank, and then small
    `parts` of large weights. Of what `columns` gathers from these the first are of `taps`: an
    input, and how many products with it follow each other; then comes what is multiplied by earlier
    results. `sizes` says how many columns each has. `apart` are products of large parts of weights,
    each with its input. There are `offsets` of so many weights.

    Products are rows of samples: first f[out, P, N] of the small ones, then f[Q, out, N].
    """

    out: int
    width: int
    offsets: int
    parts: tuple[Read, ...]
    columns: Tensor
    sizes: tuple[int, ...]
    taps: tuple[tuple[int, int], ...]
    apart: tuple[tuple[Read, int], ...]

    @property
    def joint(self) -> int:
        """How many products of small parts there are."""
        return sum([count for _, count in self.taps])

    @property
    def products(self) -> int:
        """How many products there are."""
        return self.joint + len(self.apart)


def opened(
    pool: Pool, bank: Tensor | None, weights: Sequence[Tensor], columns: Sequence[Tensor]
) -> tuple[Tensor, Sequence[Tensor]]:
    """The products, f[rows, N], and what is multiplied by earlier results, f[out, G * C] each.

    columns: the inputs, f[C, N].
    """
    out, samples = pool.out, columns[0].shape[1]
    side_by_side = [] if bank is None else [bank]
    side_by_side += [part_of(weights, read) for read in pool.parts]
    parts: Sequence[Tensor] = ()
    if side_by_side:
        whole = side_by_side[0] if len(side_by_side) == 1 else torch.cat(side_by_side, 1)
        parts = whole.index_select(1, pool.columns).split_with_sizes(pool.sizes, 1)
    joint = pool.joint * out
    rows = columns[0].new_empty(pool.products * out, samples)
    if pool.taps:
        found = [
            torch.bmm(part.view(out, count, -1), columns[tap].expand(out, -1, -1))
            for part, (tap, count) in zip(parts, pool.taps, strict=False)
        ]
        torch.cat(found, 1, out=rows[:joint].view(out, -1, samples))
    if pool.apart:
        each = rows[joint:].view(-1, out, samples).unbind(0)
        for row, (read, tap) in zip(each, pool.apart, strict=True):
            torch.mm(part_of(weights, read), columns[tap], out=row)
    return rows, parts[len(pool.taps) :]


def part_of(weights: Sequence[Tensor], read: Read) -> Tensor:
    """These columns of the weight."""
    return weights[read.weight].narrow(1, read.start, read.size)


class Gradients:
    """The gradients of large weights, put together from those of their parts."""

    def __init__(self, shapes: Sequence[torch.Size], taps: Sequence[Tensor]) -> None:
        self._taps = taps
        self._written: set[tuple[int, int]] = set()
        self.found = [taps[0].new_empty(shape) for shape in shapes]

    def product(self, read: Read, left: Tensor, right: Tensor) -> None:
        """Add the product to the gradient of a part."""
        part = part_of(self.found, read)
        if self._fresh(read):
            torch.mm(left, right, out=part)
        else:
            part.addmm_(left, right)

    def closed(self, pool: Pool, rows: Tensor, inner: Sequence[Tensor]) -> Tensor | None:
        """Add what follows from the gradients of `opened`'s results; that of the bank."""
        out, samples = pool.out, rows.shape[1]
        joint = pool.joint * out
        whole: Tensor | None = None
        if pool.sizes:
            found: list[Tensor] = []
            if pool.taps:
                counts = [count for _, count in pool.taps]
                split = rows[:joint].view(out, -1, samples).split_with_sizes(counts, 1)
                for part, (tap, _) in zip(split, pool.taps, strict=True):
                    x = self._taps[tap].expand(out, -1, -1)
                    found.append(torch.bmm(part, x).view(out, -1))
            read = torch.cat([*found, *inner], 1)
            width = pool.width + sum([part.size for part in pool.parts])
            whole = read.new_zeros(out, width).index_add_(1, pool.columns, read)
            start = pool.width
            for part in pool.parts:
                g = whole[:, start : start + part.size]
                if self._fresh(part):
                    part_of(self.found, part).copy_(g)
                else:
                    part_of(self.found, part).add_(g)
                start += part.size
        if pool.apart:
            each = rows[joint:].view(-1, out, samples).unbind(0)
            for g, (read, tap) in zip(each, pool.apart, strict=True):
                self.product(read, g, self._taps[tap])
        return None if whole is None or not pool.width else whole[:, : pool.width]

    def _fresh(self, read: Read) -> bool:
        """Whether nothing is in this part yet; from now on there is."""
        place = (read.weight, read.start)
        fresh = place not in self._written
        self._written.add(place)
        return fresh
