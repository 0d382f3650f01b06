"""What genotypes cost at the least and at the most when some of their decisions are settled.

A genotype is one path through the states of the expected cost. So the cheapest path that the
settled decisions leave bounds all costs from below, and the dearest from above. The bounds need not
be reached: what the nodes at two places cost may depend on one decision, and each path settles it
at each place as it is cheapest. Where all that is reached is settled, both are the cost itself.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from itertools import product
from math import inf, prod

from ..ir.decisions import Setting
from ..ir.numbers import Number
from .cost_sites import MEASURES
from .polynomial import ExpectedCost, Part

Bounds = tuple[Number, Number]
"""No genotype has less than the first, none more than the second; floats are rounded."""
Settled = Mapping[str, Setting]

_ROUNDING = 1e-9
"""By that share bounds are wider than what was computed in float64."""
_WHOLE = 2.0**53
"""Below it float64 adds up whole numbers without rounding."""

_Places = tuple[int, ...]


class _Table:
    """What is paid together, by the places of the settings of `keys`; nothing for all others."""

    def __init__(self, keys: _Places) -> None:
        self.keys = keys
        self.sums: dict[_Places, tuple[float, ...]] = {}
        self.known: dict[_Places, tuple[tuple[float, ...], tuple[float, ...]]] = {}

    def add(self, at: _Places, costs: Sequence[float]) -> None:
        before = self.sums.get(at, (0.0,) * len(costs))
        self.sums[at] = tuple([b + c for b, c in zip(before, costs, strict=True)])

    def bounds(
        self, given: Sequence[int], counts: Sequence[int]
    ) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """The least and the most of each measure; `given` has -1 for what is open."""
        at = tuple([given[key] for key in self.keys])
        found = self.known.get(at)
        if found is None:
            fits = [
                costs
                for places, costs in self.sums.items()
                if all(g in (-1, p) for g, p in zip(at, places, strict=True))
            ]
            left = prod([counts[k] for k, g in zip(self.keys, at, strict=True) if g < 0])
            if len(fits) < left:  # others pay nothing
                fits.append((0.0,) * len(next(iter(self.sums.values()))))
            columns = list(zip(*fits, strict=True))
            found = self.known[at] = (tuple(map(min, columns)), tuple(map(max, columns)))
        return found


class PartialCosts:
    """The bounds of the costs of one space, by the names that a `require` has for them.

    `names` are those of MEASURES for which the polynomial is exact.
    """

    def __init__(self, found: ExpectedCost, names: Collection[str] = MEASURES) -> None:
        self.names = tuple([name for name in MEASURES if name in names])
        columns = [MEASURES.index(name) for name in self.names]
        numbers = {key: number for number, key in enumerate(found.decisions)}
        self._counts = [decision.count() for decision in found.decisions.values()]
        named = {key for step in found.steps for _, factor in step if factor for key in factor[:1]}
        named |= {key for _, parts in found.terms for factors, _ in parts for key, _ in factors}
        self._places = {
            key: (number, {s: place for place, s in enumerate(found.decisions[key].settings())})
            for key, number in numbers.items()
            if key in named
        }
        self._steps = [
            [(s, None if f is None else (numbers[f[0]], frozenset(f[1]))) for s, f in step]
            for step in found.steps
        ]
        self._terms = [
            (states, self._tables(parts, numbers, columns)) for states, parts in found.terms
        ]
        self._exact = all(
            cost.is_integer()
            for _, tables in self._terms
            for table in tables
            for costs in table.sums.values()
            for cost in costs
        )
        self.shared = self._shared(found)
        """Decisions on which it depends what others cost, or whether they are reached, with how
        many those are at the least.
        """

    def _tables(
        self, parts: Sequence[Part], numbers: Mapping[str, int], columns: Sequence[int]
    ) -> list[_Table]:
        found: dict[_Places, _Table] = {}
        for factors, costs in parts:
            keys = tuple([numbers[key] for key, _ in factors])
            if keys not in found:
                found[keys] = _Table(keys)
            for at in product(*[places for _, places in factors]):
                found[keys].add(at, [costs[column] for column in columns])
        return list(found.values())

    @staticmethod
    def _shared(found: ExpectedCost) -> dict[str, int]:
        beside: dict[str, set[str]] = {}
        for _, parts in found.terms:
            for factors, _ in parts:
                keys = {key for key, _ in factors}
                for key in keys:
                    beside.setdefault(key, set()).update(keys - {key})
        shared = {factor[0]: 1 for step in found.steps for _, factor in step if factor}
        return shared | {key: len(others) for key, others in beside.items() if len(others) > 1}

    def bounds(self, settled: Settled) -> dict[str, Bounds]:
        """Those of each measure over all genotypes with these settings; every named size is 1.

        Where no genotype has them, the first is infinite.
        """
        given = [-1] * len(self._counts)
        for key, setting in settled.items():
            if key in self._places:
                number, places = self._places[key]
                given[number] = places[setting]
        width = len(self.names)
        least = [[0.0] * width for _ in range(len(self._steps) + 1)]
        most = [[0.0] * width for _ in range(len(self._steps) + 1)]
        for states, tables in self._terms:
            pairs = [table.bounds(given, self._counts) for table in tables]
            low = [sum(column) for column in zip(*[pair[0] for pair in pairs], strict=True)]
            high = [sum(column) for column in zip(*[pair[1] for pair in pairs], strict=True)]
            for state in states:
                least[state] = [a + b for a, b in zip(least[state], low, strict=True)]
                most[state] = [a + b for a, b in zip(most[state], high, strict=True)]
        for state, sources in enumerate(self._steps, 1):
            ways = [s for s, f in sources if f is None or given[f[0]] < 0 or given[f[0]] in f[1]]
            for column in range(width):
                least[state][column] += min([least[way][column] for way in ways], default=inf)
                most[state][column] += max([most[way][column] for way in ways], default=-inf)
        found = dict(zip(self.names, map(self._widened, least[-1], most[-1]), strict=True))
        if "macs" in found:
            found["flops"] = (2 * found["macs"][0], 2 * found["macs"][1])
        return found

    def _widened(self, least: float, most: float) -> Bounds:
        if self._exact and abs(most) < _WHOLE:
            return int(least), int(most)
        return widened(least, most)


def widened(least: Number, most: Number) -> Bounds:
    """These bounds where they are exact; those in float64, which may be rounded, a bit wider."""
    if not isinstance(least, float) and not isinstance(most, float):
        return least, most
    return least - abs(least) * _ROUNDING, most + abs(most) * _ROUNDING
