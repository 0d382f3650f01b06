"""The decisions of its own that each node of a level has, and which of them are reached."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import islice
from random import Random

from ..decisions import Decision, OpenNumber, Setting
from ..sites import Site, Skeleton

MOST_KINDS = 10_000
"""Joint settings of one node's decisions that are counted one by one."""

Settings = tuple[tuple[str, Setting], ...]


@dataclass(frozen=True, slots=True)
class Attributes:
    """Decisions whose keys are names within a node, with the sites where they matter."""

    decisions: tuple[Decision, ...] = ()
    sites: tuple[Site, ...] = ()
    roots: tuple[int, ...] = ()
    _admitted: dict[Settings, bool] = field(
        default_factory=dict[Settings, bool], repr=False, compare=False
    )

    @property
    def skeleton(self) -> Skeleton:
        """The sites as what can be walked."""
        order = {decision.key: place for place, decision in enumerate(self.decisions)}
        return Skeleton(self.sites, self.roots, order)

    def named(self, name: str) -> Decision:
        """The decision of this name. Raises KeyError."""
        for decision in self.decisions:
            if decision.key == name:
                return decision
        raise KeyError(name)

    def sample(self, rng: Random) -> Settings:
        """Settings of the decisions that are reached, each drawn uniformly."""
        return tuple(self.skeleton.walk(lambda decision: decision.sample(rng)).items())

    def completed(self, known: Mapping[str, Setting], rng: Random) -> Settings:
        """These settings where they are reached, and what else is reached drawn uniformly."""

        def choose(decision: Decision) -> Setting:
            given = known.get(decision.key)
            return decision.sample(rng) if given is None else given

        return tuple(self.skeleton.walk(choose).items())

    def admits(self, settings: Settings) -> bool:
        """Whether these are settings of exactly the decisions that are reached, in their order."""
        found = self._admitted.get(settings)
        if found is None:
            if len(self._admitted) >= MOST_KINDS:
                self._admitted.clear()
            found = self._admitted[settings] = self._reaches(settings)
        return found

    def _reaches(self, settings: Settings) -> bool:
        given = dict(settings)
        first = {decision.key: next(decision.settings()) for decision in self.decisions}
        if not all(key in first and self.named(key).admits(given[key]) for key in given):
            return False
        reached = self.skeleton.walk(lambda decision: given.get(decision.key, first[decision.key]))
        return tuple(reached.items()) == settings

    def changed(self, settings: Settings, rng: Random, *, numbers: bool = False) -> Settings:
        """One setting drawn anew, with `numbers` of an open number; the same if none can be."""
        among = self._able(settings, numbers)
        if not among:
            return settings
        known = dict(settings)
        decision = among[rng.randrange(len(among))]
        known[decision.key] = decision.mutate(known[decision.key], rng)
        return self.completed(known, rng)

    def can_change(self, settings: Settings, *, numbers: bool = False) -> bool:
        """Whether `changed` gives other settings."""
        return bool(self._able(settings, numbers))

    def _able(self, settings: Settings, numbers: bool) -> list[Decision]:
        """Of the decisions that are reached those that can be changed."""
        names = {name for name, _ in settings}
        return [
            d
            for d in self.decisions
            if d.key in names and len(d.labels) > 1 and (isinstance(d, OpenNumber) or not numbers)
        ]

    def kinds(self) -> int | None:
        """The number of joint settings; None where they are more than are counted."""
        return _kinds(self)


@lru_cache(maxsize=1_000)
def _kinds(attributes: Attributes) -> int | None:
    number = sum(1 for _ in islice(attributes.skeleton.enumerate(), MOST_KINDS + 1))
    return number if number <= MOST_KINDS else None
