"""The kinds of decision that a space may leave open, each a class of frozen data.

A *setting* of a decision is the tuple of the indices of the candidates that it takes: one index
for `?x of {…}` and for open numbers, `take` ascending indices for `?x 2 of {…}`, a non-empty
ascending tuple for `?x some of {…}`. Every kind counts, enumerates, samples, mutates, crosses
over, encodes, prints and parses its settings; nothing else in the project looks inside one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations, combinations_with_replacement, pairwise
from math import comb
from random import Random
from typing import ClassVar

Setting = tuple[int, ...]


class UnknownLabel(ValueError):
    """A genotype names a candidate that the decision does not offer."""


@dataclass(frozen=True, slots=True)
class Decision:
    """What is common to all kinds: a key that is unique in the space, and labelled candidates."""

    key: str
    labels: tuple[str, ...]

    keyword: ClassVar[str] = ""

    @property
    def slots(self) -> int:
        """How many values a setting stands for: 1, k, or one per candidate for subsets."""
        return 1

    def count(self) -> int:
        """The number of settings."""
        raise NotImplementedError

    def settings(self) -> Iterator[Setting]:
        """All settings, in ascending order."""
        raise NotImplementedError

    def sample(self, rng: Random) -> Setting:
        """A setting drawn uniformly."""
        raise NotImplementedError

    def admits(self, setting: Setting) -> bool:
        """Whether this is a setting of the decision."""
        raise NotImplementedError

    def neighbours(self, setting: Setting) -> Iterator[Setting]:
        """The settings one step away: all the others where one candidate is taken."""
        raise NotImplementedError

    def mutate(self, setting: Setting, rng: Random) -> Setting:
        """Another setting, drawn uniformly from the neighbours; the same one if it is the only."""
        near = list(self.neighbours(setting))
        return near[rng.randrange(len(near))] if near else setting

    def cross(self, first: Setting, second: Setting, rng: Random) -> Setting:
        """The setting of one of the two parents."""
        return first if rng.random() < 0.5 else second

    def encode(self, setting: Setting) -> tuple[float, ...]:
        """One-hot (or many-hot) over the candidates, for surrogates."""
        taken = [0.0] * len(self.labels)
        for index in setting:
            taken[index] += 1.0
        return tuple(taken)

    def format(self, setting: Setting) -> str:
        """The setting in the words of a genotype file: `relu`, `{video[3], video[4]}`."""
        return "{" + ", ".join(self.labels[index] for index in setting) + "}"

    def parse(self, labels: Sequence[str]) -> Setting:
        """The setting that these labels name. Raises UnknownLabel."""
        found: list[int] = []
        for label in labels:
            if label not in self.labels:
                raise UnknownLabel(label)
            found.append(self.labels.index(label))
        return tuple(sorted(found))


@dataclass(frozen=True, slots=True)
class OneOf(Decision):
    """`?x of {a, b, c}`: one of several values or ops."""

    keyword: ClassVar[str] = "one of"

    def count(self) -> int:
        """One setting for each candidate."""
        return len(self.labels)

    def settings(self) -> Iterator[Setting]:
        """The candidates in order."""
        return ((index,) for index in range(len(self.labels)))

    def sample(self, rng: Random) -> Setting:
        """A candidate drawn uniformly."""
        return (rng.randrange(len(self.labels)),)

    def admits(self, setting: Setting) -> bool:
        """Whether it is one index that there is."""
        return len(setting) == 1 and 0 <= setting[0] < len(self.labels)

    def neighbours(self, setting: Setting) -> Iterator[Setting]:
        """Every other candidate."""
        return (other for other in self.settings() if other != setting)

    def mutate(self, setting: Setting, rng: Random) -> Setting:
        """Another candidate drawn uniformly; the same one if it is the only."""
        if len(self.labels) == 1:
            return setting
        other = rng.randrange(len(self.labels) - 1)
        return (other + (other >= setting[0]),)

    def format(self, setting: Setting) -> str:
        """The label alone, without braces."""
        return self.labels[setting[0]]


@dataclass(frozen=True, slots=True)
class OpenNumber(OneOf):
    """`let w = ?w of {64, 96, 128}`: an open number, which may be used in many places."""

    keyword: ClassVar[str] = "number of"


@dataclass(frozen=True, slots=True)
class KOf(Decision):
    """`?x 2 of {…}`: `take` of the candidates, all different unless `repeats`."""

    take: int
    repeats: bool = False

    keyword: ClassVar[str] = "of"

    @property
    def slots(self) -> int:
        """`take` of them."""
        return self.take

    def count(self) -> int:
        """Subsets of `take` candidates, or multisets with `repeats`."""
        extra = self.take - 1 if self.repeats else 0
        return comb(len(self.labels) + extra, self.take)

    def settings(self) -> Iterator[Setting]:
        """All of them in lexicographic order."""
        choose = combinations_with_replacement if self.repeats else combinations
        return choose(range(len(self.labels)), self.take)

    def sample(self, rng: Random) -> Setting:
        """A subset (a multiset with `repeats`) drawn uniformly."""
        if not self.repeats:
            return tuple(sorted(rng.sample(range(len(self.labels)), self.take)))
        # Multisets of k from n are the k-subsets of n + k - 1 ("stars and bars").
        drawn = sorted(rng.sample(range(len(self.labels) + self.take - 1), self.take))
        return tuple(value - place for place, value in enumerate(drawn))

    def admits(self, setting: Setting) -> bool:
        """Whether these are `take` ascending indices that there are."""
        ascending = all(a <= b if self.repeats else a < b for a, b in pairwise(setting))
        inside = all(0 <= index < len(self.labels) for index in setting)
        return len(setting) == self.take and ascending and inside

    def neighbours(self, setting: Setting) -> Iterator[Setting]:
        """One candidate exchanged for another."""
        seen: set[Setting] = {setting}
        for place in range(self.take):
            rest = setting[:place] + setting[place + 1 :]
            for index in range(len(self.labels)):
                other = tuple(sorted((*rest, index)))
                if other not in seen and (self.repeats or index not in rest):
                    seen.add(other)
                    yield other

    def cross(self, first: Setting, second: Setting, rng: Random) -> Setting:
        """What both parents take, and the rest drawn from what one of them takes."""
        counts = Counter(first), Counter(second)
        both = list((counts[0] & counts[1]).elements())
        either = sorted(((counts[0] | counts[1]) - Counter(both)).elements())
        return tuple(sorted([*both, *rng.sample(either, self.take - len(both))]))


@dataclass(frozen=True, slots=True)
class SomeOf(Decision):
    """`?x some of {…}`: a non-empty subset of the candidates."""

    keyword: ClassVar[str] = "some of"

    @property
    def slots(self) -> int:
        """One for each candidate."""
        return len(self.labels)

    def count(self) -> int:
        """All subsets but the empty one."""
        return 2 ** len(self.labels) - 1

    def settings(self) -> Iterator[Setting]:
        """Small subsets first."""
        indices = range(len(self.labels))
        return (s for size in range(1, len(self.labels) + 1) for s in combinations(indices, size))

    def sample(self, rng: Random) -> Setting:
        """A non-empty subset drawn uniformly."""
        mask = rng.randrange(1, 2 ** len(self.labels))
        return tuple(index for index in range(len(self.labels)) if mask >> index & 1)

    def admits(self, setting: Setting) -> bool:
        """Whether these are ascending indices that there are, one at least."""
        ascending = all(a < b for a, b in pairwise(setting))
        inside = all(0 <= index < len(self.labels) for index in setting)
        return bool(setting) and ascending and inside

    def neighbours(self, setting: Setting) -> Iterator[Setting]:
        """One candidate added or left out."""
        for index in range(len(self.labels)):
            other = tuple(sorted({*setting} ^ {index}))
            if other:
                yield other

    def cross(self, first: Setting, second: Setting, rng: Random) -> Setting:
        """What both take, and each of what one of them takes with probability 1/2."""
        both = [i for i in sorted({*first, *second}) if i in first and i in second]
        either = [i for i in sorted({*first} ^ {*second}) if rng.random() < 0.5]
        return tuple(sorted(both + either)) or (first if rng.random() < 0.5 else second)
