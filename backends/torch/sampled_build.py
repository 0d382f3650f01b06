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

    What it reads, with the places: `taps`, what is in `pools`, by the height of weights, and large
    `weights`. Of these one stands once for each way in which layers share it out, so that the parts
    of its gradient never overlap.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._levels: list[Level] = []
        self._groups: dict[tuple[object, ...], _Group] = {}
        self._counts: dict[int, int] = {}
        # The row of each result among those of its width.
        self._rows: dict[Step, int] = {}
        self.taps: dict[Step, int] = {}
        self.pools: dict[int, Pooling] = {}
        self.weights: dict[tuple[nn.Module, tuple[int, ...]], int] = {}

    def level(
        self, key: Key, layers: Sequence[Step], activations: Sequence[Step], bare: set[Step]
    ) -> None:
        """Add a level. `bare` has the layers that are read without an activation."""
        out = key[1]
        pool = self.pools.get(out)
        if pool is None:
            pool = self.pools[out] = Pooling(out, len(self.pools))
        group = self._groups.get(key[1:])
        if group is None:
            group = self._groups[key[1:]] = _Group(len(self._groups), key)
        first = group.layers
        begin = self._counts.get(out, 0)
        index, spans = self._results(layers, activations, bare, begin)
        chosen = None
        if len(index) == len(layers) == len(set(index)):
            layers = [layers[at] for at in index]
        else:
            chosen = _index(index, self._device)
        for step in layers:
            self._layer(step, pool, group)
        group.layers += len(layers)
        end = self._counts[out] = begin + len(index)
        self._levels.append(Level(group.place, first, group.layers, chosen, spans, begin, end))

    def _layer(self, step: Step, pool: Pooling, group: _Group) -> None:
        column, module = step.column, step.module
        assert column is not None
        assert module is not None
        weight = -1
        begin = pool.bank.get(module)
        if begin is None:
            begin = pool.widened(module, sum(column.sizes))
            if begin is None:
                weight = self.weights.setdefault((module, column.sizes), len(self.weights))
        if group.bias:
            group.owners.append(pool.offsets.setdefault(module, len(pool.offsets)))
        whose = module if begin is not None else weight
        start = of_tap = of_result = 0
        for part, size in zip(column.parts, column.sizes, strict=True):
            if part.call is None:
                identity = (whose, start, part)
                number = pool.products.get(identity)
                if number is None:
                    tap = self.taps.setdefault(part, len(self.taps))
                    number = pool.products[identity] = len(pool.products)
                    place = Read(weight, start, size) if begin is None else begin + start
                    pool.multiply(number, tap, place, size)
                group.products[of_tap].append(number)
                of_tap += 1
            else:
                group.rows[of_result].append(self._rows[part])
                place = Read(weight, start, size) if begin is None else begin + start
                group.factors[of_result].append(pool.place(place))
                of_result += 1
            start += size

    def finished(self, wanted: Sequence[Step]) -> tuple[Program, list[tuple[Step, ...]]]:
        """The program that gives these results, and which each of the tensors holds that it gives:
        those of one width whose rows follow each other.
        """
        groups = [self._group(group) for group in self._groups.values()]
        pools = [pool.finished(self._device) for pool in self.pools.values()]
        steps: list[list[Step]] = []
        given: list[tuple[int, int, int]] = []
        for step in wanted:
            assert step.column is not None
            width, row = step.column.key[1], self._rows[step]
            if given and given[-1][0] == width and given[-1][2] == row:
                given[-1] = (width, given[-1][1], row + 1)
                steps[-1].append(step)
            else:
                given.append((width, row, row + 1))
                steps.append([step])
        program = Program(
            tuple(pools), tuple(groups), tuple(self._levels), self._counts, tuple(given)
        )
        return program, [tuple(each) for each in steps]

    def _group(self, group: _Group) -> Group:
        pool = self.pools[group.out]
        sums = [_index(pool.rows(own), self._device) for own in group.products]
        inner: list[Inner] = []
        for width, rows, factors in zip(group.widths, group.rows, group.factors, strict=True):
            part, apart = pool.factors(factors, width)
            inner.append(Inner(width, _index(rows, self._device), part, apart))
        owners = _index(group.owners, self._device) if group.bias else None
        return Group(pool.number, group.layers, tuple(sums), owners, tuple(inner))

    def _results(
        self, layers: Sequence[Step], activations: Sequence[Step], bare: set[Step], start: int
    ) -> tuple[list[int], tuple[Span, ...]]:
        """Which layer each result is of, and the activations of these; rows begin at `start`."""
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
                self._rows[step] = start + len(index)
                index.append(place[step.column.parts[0] if name else step])
        return index, tuple(spans)


class _Group:
    """A group as it grows: by place the products that its layers add up, the rows of results that
    they multiply, and by what: a column of the pool, or a large part of a weight.
    """

    def __init__(self, place: int, key: Key) -> None:
        _, self.out, self.widths, self.bias, taps = key
        self.place = place
        self.layers = 0
        self.owners: list[int] = []
        self.products: list[list[int]] = [[] for _ in range(taps)]
        self.rows: list[list[int]] = [[] for _ in self.widths]
        self.factors: list[list[int | Read]] = [[] for _ in self.widths]


class Pooling:
    """A pool as it grows. `bank` has the modules whose weights stand in its bank, each with its
    first column there, and `offsets` those whose offsets it holds, with their rows.

    The small parts of large weights stand behind the bank, whose width is not known before the end:
    the n-th of their columns is called -1-n so far.
    """

    def __init__(self, out: int, number: int) -> None:
        self.number = number
        self.bank: dict[nn.Module, int] = {}
        self.offsets: dict[nn.Module, int] = {}
        self.products: dict[tuple[nn.Module | int, int, Step], int] = {}
        self._out = out
        self._width = 0
        self._parts: dict[Read, int] = {}
        self._behind = 0
        # By tap how wide it is, and the products of small parts: their numbers and columns.
        self._joint: dict[int, tuple[int, list[int], list[int]]] = {}
        self._apart: dict[int, tuple[Read, int]] = {}
        self._blocks: list[tuple[int, list[int]]] = []
        self._rows: np.ndarray | None = None

    def widened(self, module: nn.Module, width: int) -> int | None:
        """The first column of a weight that is added to the bank; None where it is too large."""
        if self._out * width > SMALL:
            return None
        first = self.bank[module] = self._width
        self._width += width
        return first

    def place(self, place: int | Read) -> int | Read:
        """Where a part of a weight is; that of a large weight gets a column too if it is small."""
        if isinstance(place, int) or self._out * place.size > SMALL:
            return place
        found = self._parts.get(place)
        if found is None:
            found = self._parts[place] = -1 - self._behind
            self._behind += place.size
        return found

    def multiply(self, number: int, tap: int, place: int | Read, size: int) -> None:
        """Add the product of this number: of a part of a weight, so wide, with a tap."""
        place = self.place(place)
        if isinstance(place, Read):
            self._apart[number] = (place, tap)
        else:
            _, numbers, columns = self._joint.setdefault(tap, (size, [], []))
            numbers.append(number)
            columns.append(place)

    def factors(self, places: list[int | Read], width: int) -> tuple[int, tuple[Read, ...]]:
        """What earlier results of a width are multiplied by, as `Inner` has it."""
        columns = [place for place in places if isinstance(place, int)]
        if len(columns) < len(places):
            return -1, tuple([place for place in places if isinstance(place, Read)])
        self._blocks.append((width, columns))
        return len(self._blocks) - 1, ()

    def rows(self, products: Sequence[int]) -> np.ndarray:
        """The rows of these products one after the other, when all are known."""
        if self._rows is None:
            joint = [number for _, numbers, _ in self._joint.values() for number in numbers]
            height = np.arange(self._out)
            self._rows = np.empty((len(self.products), self._out), np.int64)
            self._rows[joint] = np.arange(len(joint))[:, None] + len(joint) * height
            apart = np.arange(len(joint), len(self.products))[:, None]
            self._rows[[*self._apart]] = apart * self._out + height
        return self._rows[products].ravel()

    def finished(self, device: torch.device) -> Pool:
        """The pool with what is in it now."""
        blocks = [(size, columns) for size, _, columns in self._joint.values()]
        blocks += self._blocks
        first = np.array([column for _, columns in blocks for column in columns], np.int64)
        first = np.where(first < 0, self._width - 1 - first, first)
        sizes = np.array([size for size, _ in blocks], np.int64)
        counts = np.array([len(columns) for _, columns in blocks], np.int64)
        each = np.repeat(sizes, counts)
        ends = np.cumsum(each)
        index = np.arange(each.sum()) + np.repeat(first - ends + each, each)
        return Pool(
            self._out,
            self._width,
            len(self.offsets),
            tuple(self._parts),
            _index(index, device),
            tuple((sizes * counts).tolist()),
            tuple([(tap, len(numbers)) for tap, (_, numbers, _) in self._joint.items()]),
            tuple(self._apart.values()),
        )


def _index(places: Sequence[int] | np.ndarray, device: torch.device) -> Tensor:
    # An index has to lie where what it indexes does: a GPU's kernels take no other.
    return torch.from_numpy(np.asarray(places, dtype=np.int64)).to(device)
