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
    """Columns of a weight: `size` of them from `start`. A whole weight has the size 0."""

    weight: int
    start: int
    size: int


class Pool(NamedTuple):
    """Weights of the height `out`, and their products with inputs.

    The small ones stand side by side, f[out, S]: `pieces`, so `wide`. Of what `columns` gathers
    from them the first are of `taps`: an input, and how many products with it follow each other;
    then comes what is multiplied by earlier results. `sizes` says how many columns each has.
    `apart` are products of large weights, each with its input.

    Products are rows of samples: first f[out, P, N] of the small ones, then f[Q, out, N].
    """

    out: int
    pieces: tuple[Read, ...]
    wide: tuple[int, ...]
    columns: Tensor
    sizes: tuple[int, ...]
    taps: tuple[tuple[int, int], ...]
    apart: tuple[tuple[Read, int], ...]

    @property
    def joint(self) -> int:
        """How many products of small weights there are."""
        return sum([count for _, count in self.taps])

    @property
    def products(self) -> int:
        """How many products there are."""
        return self.joint + len(self.apart)


def opened(
    pool: Pool, weights: Sequence[Tensor], columns: Sequence[Tensor]
) -> tuple[Tensor, Sequence[Tensor]]:
    """The products, f[rows, N], and what is multiplied by earlier results, f[out, G * C] each.

    columns: the inputs, f[C, N].
    """
    out, samples = pool.out, columns[0].shape[1]
    parts: Sequence[Tensor] = ()
    if pool.pieces:
        whole = torch.cat([part_of(weights, piece) for piece in pool.pieces], 1)
        parts = whole.index_select(1, pool.columns).split_with_sizes(pool.sizes, 1)
    joint = pool.joint * out
    rows = weights[0].new_empty(joint + len(pool.apart) * out, samples)
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
    whole = weights[read.weight]
    return whole.narrow(1, read.start, read.size) if read.size else whole


class Gradients:
    """The gradients of weights, put together from those of their parts."""

    def __init__(self, shapes: Sequence[torch.Size], taps: Sequence[Tensor]) -> None:
        self._shapes = shapes
        self._taps = taps
        self._written: set[tuple[int, int]] = set()
        self.found: list[Tensor | None] = [None] * len(shapes)

    def product(self, read: Read, left: Tensor, right: Tensor) -> None:
        """Add the product to the gradient of a part."""
        part = self._part(read, left)
        place = (read.weight, read.start)
        if place in self._written:
            part.addmm_(left, right)
        else:
            self._written.add(place)
            torch.mm(left, right, out=part)

    def closed(self, pool: Pool, rows: Tensor, inner: Sequence[Tensor]) -> None:
        """Add what follows from the gradients of `opened`'s results."""
        out, samples = pool.out, rows.shape[1]
        joint = pool.joint * out
        if pool.pieces:
            found: list[Tensor] = []
            if pool.taps:
                counts = [count for _, count in pool.taps]
                split = rows[:joint].view(out, -1, samples).split_with_sizes(counts, 1)
                for part, (tap, _) in zip(split, pool.taps, strict=True):
                    x = self._taps[tap]
                    found.append(torch.bmm(part, x.expand(out, -1, -1)).view(out, -1))
            read = torch.cat([*found, *inner], 1)
            whole = read.new_zeros(out, sum(pool.wide)).index_add_(1, pool.columns, read)
            for piece, g in zip(pool.pieces, whole.split_with_sizes(pool.wide, 1), strict=True):
                if piece.size:
                    self._part(piece, g).copy_(g)
                    self._written.add((piece.weight, piece.start))
                else:
                    self.found[piece.weight] = g
        if pool.apart:
            each = rows[joint:].view(-1, out, samples).unbind(0)
            for g, (read, tap) in zip(each, pool.apart, strict=True):
                self.product(read, g, self._taps[tap])

    def _part(self, read: Read, like: Tensor) -> Tensor:
        whole = self.found[read.weight]
        if whole is None:
            whole = self.found[read.weight] = like.new_empty(self._shapes[read.weight])
        return whole.narrow(1, read.start, read.size)
