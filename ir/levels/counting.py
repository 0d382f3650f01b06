"""How many levelled graphs there are up to the numbering of nodes, by Burnside's lemma.

Graphs that differ only in the numbering of nodes are the orbits of the permutations of the nodes
of one level and one width, so their number is the mean, over these permutations, of the graphs
that a permutation leaves as they are. In such a graph an edge comes with all its images: between a
cycle of length a and one of length b there are gcd(a, b) orbits of edges, each there or not; and
the nodes of a cycle have one setting of their decisions. So only the lengths of cycles matter.

Levels are gone through upwards. The state is how many cycles of each length feed the levels above.
That each node feeds another is counted by inclusion and exclusion: a cycle that is made to feed
nothing counts with the sign -1.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from fractions import Fraction
from functools import cache
from itertools import product
from math import comb, factorial, gcd, prod

from .decision import Level, Levels
from .listing import sharings

MOST_WORK = 100_000
"""Steps of the sum before bounds are given in place of the exact number."""

_Lengths = tuple[tuple[int, int], ...]
"""Lengths of cycles, ascending, each with how many there are."""
_State = tuple[tuple[int, _Lengths], ...]
"""For each lower level that is still taken, its number and its cycles that feed others."""


def counted(levels: Levels) -> tuple[int, int]:
    """Bounds of the number of graphs, the same number twice where it is exact.

    Where the exact sum is too long, the lower bound is its term for the identity, the number of
    numbered graphs over that of numberings, and the upper bound the number of numbered graphs.
    """
    if any(level.attributes.kinds() is None for level in levels.levels):
        exact = None
    else:
        exact = _total(levels, all_cycles=True, over=True)
    if exact is not None:
        return int(exact), int(exact)
    least = _total(levels, all_cycles=False, over=True)
    most = _total(levels, all_cycles=False, over=False)
    if least is None or most is None:
        return 1, _product(levels)
    return -(-least.numerator // least.denominator), int(most)


def _product(levels: Levels) -> int:
    """A coarse upper bound: every width in the least shares, every edge there or not."""
    nodes = [level.width // level.shares[-1] for level in levels.levels]
    total = 1
    for place, level in enumerate(levels.levels):
        below = sum(n for n, other in zip(nodes, levels.levels, strict=True)
                    if other.number in level.takes)  # fmt: skip
        total *= len(sharings(level)) * (_kinds(level) * 2**below) ** nodes[place]
    return total


def _kinds(level: Level) -> int:
    return level.attributes.kinds() or prod(d.count() for d in level.attributes.decisions)


def _total(levels: Levels, *, all_cycles: bool, over: bool) -> Fraction | None:
    """The sum over permutations; with `all_cycles` off over the identity alone, and with `over`
    divided by the number of permutations. None where it is too long.
    """
    states: dict[_State, Fraction] = {(): Fraction(1)}
    work = 0
    for place, level in enumerate(levels.levels):
        later = {number for above in levels.levels[place + 1 :] for number in above.takes}
        if all_cycles and _cycle_types(level) > MOST_WORK:
            return None
        terms = list(_terms(level, all_cycles=all_cycles, over=over))
        following: dict[_State, Fraction] = {}
        for state, ways in states.items():
            feeding = [cycles for number, cycles in state if number in level.takes]
            kept = tuple([(n, cycles) for n, cycles in state if n in later])
            for lengths, weight in terms:
                here = weight * _wirings(level, lengths, feeding)
                if not here:
                    continue
                for active, sign in _active(level, lengths):
                    work += 1
                    if work > MOST_WORK:
                        return None
                    grown = (*kept, (level.number, active)) if level.number in later else kept
                    merged = _merged(grown, levels, place)
                    following[merged] = following.get(merged, Fraction(0)) + ways * here * sign
        states = following
    return sum(states.values(), Fraction(0))


def _wirings(level: Level, lengths: _Lengths, feeding: Sequence[_Lengths]) -> int:
    """The ways to feed these cycles, each at least once, and to settle their decisions."""
    found = 1
    for length, many in lengths:
        orbits = sum(n * gcd(length, other) for cycles in feeding for other, n in cycles)
        ways = 2**orbits - 1 if level.takes else 1
        found *= (ways * _kinds(level)) ** many
    return found


def _active(level: Level, lengths: _Lengths) -> Iterator[tuple[_Lengths, int]]:
    """Which cycles feed others, with the number of ways and the sign of those that may not."""
    if level.read:
        yield lengths, 1
        return
    for taken in product(*[range(many + 1) for _, many in lengths]):
        sign = 1
        for (_, many), active in zip(lengths, taken, strict=True):
            sign *= comb(many, active) * (-1) ** (many - active)
        cycles = [(length, n) for (length, _), n in zip(lengths, taken, strict=True) if n]
        yield tuple(cycles), sign


def _merged(state: _State, levels: Levels, place: int) -> _State:
    """The state with the cycles of levels together that the same levels above take."""
    takers: dict[tuple[int, ...], tuple[int, dict[int, int]]] = {}
    for number, cycles in state:
        who = tuple([a.number for a in levels.levels[place + 1 :] if number in a.takes])
        _, together = takers.setdefault(who, (number, {}))
        for length, many in cycles:
            together[length] = together.get(length, 0) + many
    return tuple([(first, tuple(sorted(found.items()))) for first, found in takers.values()])


def _terms(level: Level, *, all_cycles: bool, over: bool) -> Iterator[tuple[_Lengths, Fraction]]:
    """The cycle lengths of the permutations of a level's nodes, with their share of all.

    Over all ways to share the width out; nodes of one width are permuted among themselves.
    """
    totals: dict[_Lengths, Fraction] = {}
    for widths in sharings(level):
        groups = [widths.count(width) for width in dict.fromkeys(widths)]
        if not all_cycles:
            weight = Fraction(1, prod(map(factorial, groups)) if over else 1)
            key: _Lengths = ((1, len(widths)),)
            totals[key] = totals.get(key, Fraction(0)) + weight
            continue
        for types in product(*[_partitions(size) for size in groups]):
            together: dict[int, int] = {}
            weight = Fraction(1)
            for cycles in types:
                for length, many in cycles:
                    together[length] = together.get(length, 0) + many
                    weight /= factorial(many) * length**many
            key = tuple(sorted(together.items()))
            totals[key] = totals.get(key, Fraction(0)) + weight
    yield from totals.items()


def _cycle_types(level: Level) -> int:
    """How many combinations of cycle types `_terms` goes through."""
    most = level.width // level.shares[-1]
    partitions = [1] + [0] * most
    for part in range(1, most + 1):
        for size in range(part, most + 1):
            partitions[size] += partitions[size - part]
    return sum(
        prod(partitions[widths.count(width)] for width in dict.fromkeys(widths))
        for widths in sharings(level)
    )


@cache
def _partitions(size: int, most: int | None = None) -> tuple[_Lengths, ...]:
    """The cycle types of the permutations of `size` nodes."""
    most = size if most is None else most
    if size == 0:
        return ((),)
    if most == 0:
        return ()
    found: list[_Lengths] = []
    for many in range(size // most + 1):
        for rest in _partitions(size - many * most, most - 1):
            found.append((*rest, (most, many)) if many else rest)
    return tuple(found)
