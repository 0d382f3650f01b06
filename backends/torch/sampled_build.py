"""The program of many small layers: which parts of weights, products and results go where."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from .sampled_banks import Pool, Read
from .sampled_kernels import Group, Inner, Level, Program, Span
from .sampled_steps import Key, Step

SMALL = 4096
"""Numbers of a weight, or a part of one, below which one more call costs more than some copies."""


class Build:
    """A program as it grows, for tensors on this device.

    `taps` and `weights` are those that it reads, with their places. A large weight stands once for
    each way in which layers share it out, so that the parts of its gradient never overlap.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._levels: list[Level] = []
        self._pools: dict[int, _Pool] = {}
        self._groups: dict[tuple[object, ...], _Group] = {}
        self._counts: dict[int, int] = {}
        # Where each result is: its width, and its row of these.
        self._rows: dict[Step, tuple[int, int]] = {}
        self.taps: dict[Step, int] = {}
        self.weights: dict[tuple[nn.Module, tuple[int, ...]], int] = {}

    def level(
        self, key: Key, layers: Sequence[Step], activations: Sequence[Step], bare: set[Step]
    ) -> None:
        """Add a level. `bare` has the layers that are read without an activation."""
        out = key[1]
        pool = self._pools.get(out)
        if pool is None:
            pool = self._pools[out] = _Pool(out, len(self._pools))
        group = self._groups.get(key[1:])
        if group is None:
            group = self._groups[key[1:]] = _Group(len(self._groups), key)
        first = len(group.weights)
        begin = self._counts.get(out, 0)
        index, spans = self._results(layers, activations, bare, (out, begin))
        chosen = None
        if len(index) == len(layers) == len(set(index)):
            layers = [layers[at] for at in index]
        else:
            chosen = self._index(index)
        for step in layers:
            column, module = step.column, step.module
            assert column is not None
            assert module is not None
            width = sum(column.sizes)
            small = out * width <= SMALL
            identity = (module, () if small else column.sizes)
            weight = self.weights.setdefault(identity, len(self.weights))
            group.weights.append(weight)
            if small:
                pool.whole(weight, width)
            start = of_tap = of_result = 0
            for part, size in zip(column.parts, column.sizes, strict=True):
                if part.call is None:
                    tap = self.taps.setdefault(part, len(self.taps))
                    group.products[of_tap].append(pool.product(weight, start, size, tap))
                    of_tap += 1
                else:
                    group.rows[of_result].append(self._rows[part][1])
                    group.reads[of_result].append(Read(weight, start, size))
                    of_result += 1
                start += size
        end = self._counts[out] = begin + len(index)
        last = len(group.weights)
        self._levels.append(Level(group.place, first, last, chosen, spans, begin, end))

    def finished(self, wanted: Sequence[Step]) -> tuple[Program, list[tuple[Step, ...]]]:
        """The program that gives these results, and which each of the tensors holds that it gives:
        those of one width whose rows follow each other.
        """
        groups = [self._group(group) for group in self._groups.values()]
        pools = [pool.finished(self._device) for pool in self._pools.values()]
        steps: list[tuple[Step, ...]] = []
        given: list[tuple[int, int, int]] = []
        for step in wanted:
            width, row = self._rows[step]
            if given and given[-1][0] == width and given[-1][2] == row:
                given[-1] = (width, given[-1][1], row + 1)
                steps[-1] = (*steps[-1], step)
            else:
                given.append((width, row, row + 1))
                steps.append((step,))
        levels = tuple(self._levels)
        return Program(tuple(pools), tuple(groups), levels, self._counts, tuple(given)), steps

    def _group(self, group: _Group) -> Group:
        _, out, widths, bias, _ = group.key
        pool = self._pools[out]
        sums = [self._index(pool.rows(own)) for own in group.products]
        inner = [
            Inner(width, self._index(rows), *pool.inner(reads))
            for width, rows, reads in zip(widths, group.rows, group.reads, strict=True)
        ]
        places: dict[int, int] = {}
        owners = [places.setdefault(w, len(places)) for w in group.weights] if bias else []
        return Group(
            pool.place,
            len(group.weights),
            tuple(sums),
            tuple(places),
            self._index(owners),
            tuple(inner),
        )

    def _results(
        self,
        layers: Sequence[Step],
        activations: Sequence[Step],
        bare: set[Step],
        begin: tuple[int, int],
    ) -> tuple[list[int], tuple[Span, ...]]:
        """Which layer each result is of, and the activations of these."""
        width, start = begin
        place = {step: at for at, step in enumerate(layers)}
        by_kind: dict[tuple[str, float], list[Step]] = {}
        for step in activations:
            assert step.column is not None
            by_kind.setdefault((step.column.name, step.column.slope), []).append(step)
        alone = [step for step in layers if step in bare]
        if alone:
            by_kind["", 0.0] = alone
        index: list[int] = []
        spans: list[Span] = []
        for (name, slope), steps in by_kind.items():
            spans.append((name, slope, len(index), len(index) + len(steps)))
            for step in steps:
                assert step.column is not None
                self._rows[step] = (width, start + len(index))
                index.append(place[step.column.parts[0] if name else step])
        return index, tuple(spans)

    def _index(self, places: Sequence[int] | np.ndarray) -> Tensor:
        # An index has to lie where what it indexes does: a GPU's kernels take no other.
        return torch.from_numpy(np.asarray(places, dtype=np.int64)).to(self._device)


class _Group:
    """A group as it grows: the weight of each layer; by place the products that it adds up, and the
    rows and parts of weights that it multiplies.
    """

    def __init__(self, place: int, key: Key) -> None:
        self.place = place
        self.key = key
        self.weights: list[int] = []
        self.products: list[list[int]] = [[] for _ in range(key[4])]
        self.rows: list[list[int]] = [[] for _ in key[2]]
        self.reads: list[list[Read]] = [[] for _ in key[2]]


class _Pool:
    """A pool as it grows.

    `_pieces` has the first column of each piece of a weight, all of a small one being that at -1.
    """

    def __init__(self, out: int, place: int) -> None:
        self.place = place
        self._out = out
        self._pieces: dict[tuple[int, int], int] = {}
        self._widths: list[int] = []
        self._width = 0
        self._products: dict[tuple[int, int, int], int] = {}
        # By tap, the products with small weights: their numbers and first columns.
        self._joint: dict[int, tuple[list[int], list[int], int]] = {}
        self._apart: dict[int, tuple[Read, int]] = {}
        self._inner: list[tuple[list[int], int]] = []
        self._places: np.ndarray | None = None

    def whole(self, weight: int, width: int) -> None:
        """Let this weight of so many columns stand in the pool."""
        self._piece(weight, -1, width)

    def product(self, weight: int, start: int, size: int, tap: int) -> int:
        """The number of the product of a part of a weight with a tap."""
        identity = (weight, start, tap)
        number = self._products.get(identity)
        if number is None:
            number = self._products[identity] = len(self._products)
            column = self._column(weight, start, size)
            if column is None:
                self._apart[number] = (Read(weight, start, size), tap)
            else:
                numbers, columns, _ = self._joint.setdefault(tap, ([], [], size))
                numbers.append(number)
                columns.append(column)
        return number

    def inner(self, reads: Sequence[Read]) -> tuple[int, tuple[Read, ...]]:
        """Parts of one size that go with earlier results; see `Inner`."""
        columns = [self._column(*read) for read in reads]
        known = [column for column in columns if column is not None]
        if len(known) < len(columns):
            return -1, tuple(reads)
        self._inner.append((known, reads[0].size))
        return len(self._inner) - 1, ()

    def _column(self, weight: int, start: int, size: int) -> int | None:
        """The column of the pool at which a part begins; None where it is too large for it."""
        whole = self._pieces.get((weight, -1))
        if whole is not None:
            return whole + start
        return self._piece(weight, start, size) if self._out * size <= SMALL else None

    def _piece(self, weight: int, start: int, size: int) -> int:
        found = self._pieces.get((weight, start))
        if found is None:
            found = self._pieces[weight, start] = self._width
            self._widths.append(size)
            self._width += size
        return found

    def rows(self, products: Sequence[int]) -> np.ndarray:
        """The rows of these products, when all are known."""
        if self._places is None:
            joint = [number for numbers, _, _ in self._joint.values() for number in numbers]
            height = np.arange(self._out)
            self._places = np.empty((len(self._products), self._out), np.int64)
            self._places[joint] = np.arange(len(joint))[:, None] + len(joint) * height
            apart = np.arange(len(joint), len(self._products))[:, None]
            self._places[list(self._apart)] = apart * self._out + height
        return self._places[products].ravel()

    def finished(self, device: torch.device) -> Pool:
        """The pool with what is in it now."""
        blocks = [(columns, size) for _, columns, size in self._joint.values()] + self._inner
        columns = [(np.array(own)[:, None] + np.arange(size)).ravel() for own, size in blocks]
        index = np.concatenate(columns) if columns else np.empty(0, np.int64)
        return Pool(
            self._out,
            tuple(
                [
                    Read(weight, max(start, 0), width if start >= 0 else 0)
                    for (weight, start), width in zip(self._pieces, self._widths, strict=True)
                ]
            ),
            tuple(self._widths),
            torch.from_numpy(index).to(device),
            tuple([len(own) * size for own, size in blocks]),
            tuple([(tap, len(numbers)) for tap, (numbers, _, _) in self._joint.items()]),
            tuple(self._apart.values()),
        )
