"""How many genotypes a space has, exactly: decisions that nothing reaches do not multiply.

The sites of the space are visited from the outputs down. A state is the set of sites that are
needed further down, with the settings of tied decisions that matter again; states that agree are
merged, so the work grows with the number of different states, not of genotypes.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import comb

from ..ir.decisions import Decision, KOf, Setting, SomeOf
from ..ir.diagnostics import Diagnostic, FusegraphError
from ..ir.graph import Graph
from ..ir.levels import Levels
from ..ir.levels.listing import ListingTooLong
from ..ir.reach import skeleton
from ..ir.sites import WHOLE, Site, Skeleton, mask_of
from .explore import enumerate_genotypes
from .requirements import is_measured

MOST_WORK = 3_000_000
MOST_ENUMERATED = 20_000

_Known = tuple[tuple[str, Setting], ...]
_States = dict[tuple[int, _Known], int]


@dataclass(frozen=True, slots=True)
class Count:
    """`genotypes` is exact, or with `bound` an upper bound.

    It is a bound where a `require` rules some out of too many to try one by one, or where the
    networks would have to be run for it, or where levelled graphs are too many to be told apart;
    then there are `least` at the least.
    """

    genotypes: int
    bound: bool = False
    least: int = 0


def count(space: Graph) -> Count:
    """The number of genotypes. Raises FusegraphError (E504) where it cannot be counted exactly."""
    free = _Counter(skeleton(space), space.name).count()
    if not all(_is_exact(decision) for decision in space.decisions.values()):
        least = 0 if space.requires else _Counter(skeleton(space), space.name, least=True).count()
        return Count(free, bound=True, least=least)
    if not space.requires:
        return Count(free)
    if free > MOST_ENUMERATED or any(map(is_measured, space.requires)):
        return Count(free, bound=True)
    try:
        return Count(sum(1 for _ in enumerate_genotypes(space)))
    except ListingTooLong:
        return Count(free, bound=True)


def _is_exact(decision: Decision) -> bool:
    if not isinstance(decision, Levels):
        return True
    least, most = decision.bounds()
    return least == most


class _Counter:
    """The states while the sites of one space are visited from the outputs down."""

    def __init__(self, bones: Skeleton, name: str, *, least: bool = False) -> None:
        self.least = least
        self.sites = bones.sites
        self.name = name
        self.work = 0
        self.uses: dict[str, int] = {}
        self.last: dict[str, int] = {}
        for place, site in enumerate(bones.sites):
            if site.decision is not None:
                key = site.decision.key
                self.uses[key] = self.uses.get(key, 0) + 1
                self.last.setdefault(key, place)
        self.states: _States = {(mask_of(bones.roots), ()): 1}

    def count(self) -> int:
        """The number of ways from the outputs down to nothing."""
        for place in range(len(self.sites) - 1, -1, -1):
            site = self.sites[place]
            bit = 1 << place
            live: _States = {}
            following: _States = {}
            for (mask, known), ways in self.states.items():
                if mask & bit:
                    live[mask ^ bit, known] = ways
                else:
                    following[mask, known] = ways
            if live:
                for (mask, known), ways in self._after(site, live).items():
                    kept = tuple([k for k in known if self.last[k[0]] < place])
                    state = (mask, kept)
                    following[state] = following.get(state, 0) + ways
            self._spend(len(following))
            self.states = following
        return sum(self.states.values())

    def _after(self, site: Site, live: _States) -> _States:
        """The states behind a site that all of these need."""
        decision = site.decision
        if decision is None:
            return _joined(live, mask_of(site.branches[0]))
        if isinstance(decision, Levels):
            many = decision.bounds()[not self.least]
            behind = _joined(live, mask_of(site.branches[0]))
            return {state: ways * many for state, ways in behind.items()}
        if self.uses[decision.key] > 1:
            return self._tied(site, decision, live)
        if site.slot == WHOLE and isinstance(decision, (KOf, SomeOf)):
            return self._one_by_one(site, decision, live)
        after: _States = {}
        times: dict[int, int] = {}
        for index in range(len(decision.labels)):
            taken = mask_of(site.branches[index])
            times[taken] = times.get(taken, 0) + _settings_with(decision, site.slot, index)
        self._spend(len(times) * len(live))
        for (mask, known), ways in live.items():
            for taken, many in times.items():
                state = (mask | taken, known)
                after[state] = after.get(state, 0) + ways * many
        return after

    def _tied(self, site: Site, decision: Decision, live: _States) -> _States:
        """A decision that matters at several sites: its setting is a part of the state."""
        after: _States = {}
        fresh: _States = {}
        for (mask, known), ways in live.items():
            setting = dict(known).get(decision.key)
            if setting is None:
                fresh[mask, known] = ways
            else:
                state = (mask | mask_of(site.taken(setting)), known)
                after[state] = after.get(state, 0) + ways
        if fresh:
            self._spend(decision.count() * len(fresh))
            for setting in decision.settings():
                taken = mask_of(site.taken(setting))
                for (mask, known), ways in fresh.items():
                    state = (mask | taken, tuple(sorted([*known, (decision.key, setting)])))
                    after[state] = after.get(state, 0) + ways
        return after

    def _one_by_one(self, site: Site, decision: KOf | SomeOf, live: _States) -> _States:
        """Several of the candidates: each is taken or not, one after the other, and what agrees in
        what it needs and in how many are taken is merged.
        """
        most = decision.take if isinstance(decision, KOf) else 1
        counted: dict[tuple[int, _Known, int], int] = {(m, k, 0): w for (m, k), w in live.items()}
        for branch in site.branches:
            taken = mask_of(branch)
            further = dict(counted)
            for (mask, known, number), ways in counted.items():
                if isinstance(decision, KOf) and number == most:
                    continue
                state = (mask | taken, known, min(number + 1, most))
                further[state] = further.get(state, 0) + ways
            self._spend(len(further))
            counted = further
        after: _States = {}
        for (mask, known, number), ways in counted.items():
            many = _settings_of_size(decision, number)
            if many:
                after[mask, known] = after.get((mask, known), 0) + ways * many
        return after

    def _spend(self, work: int) -> None:
        self.work += work
        if self.work > MOST_WORK:
            raise FusegraphError(
                Diagnostic(
                    code="E504",
                    message=f"`{self.name}` is too entangled to be counted exactly",
                    notes=(
                        f"over {MOST_WORK:,} sets of reached decisions were met, "
                        f"{len(self.uses)} decisions take part",
                    ),
                    help="count a smaller instance with --set",
                )
            )


def _joined(live: _States, taken: int) -> _States:
    after: _States = {}
    for (mask, known), ways in live.items():
        state = (mask | taken, known)
        after[state] = after.get(state, 0) + ways
    return after


def _settings_with(decision: Decision, slot: int, index: int) -> int:
    """How many settings have this candidate at this slot."""
    if not isinstance(decision, KOf):
        return 1
    below, above = slot, decision.take - slot - 1
    before, behind = index, len(decision.labels) - index - 1
    if decision.repeats:
        return comb(before + below, below) * comb(behind + above, above)
    return comb(before, below) * comb(behind, above)


def _settings_of_size(decision: KOf | SomeOf, number: int) -> int:
    """How many settings take exactly these `number` candidates (for subsets: one or more)."""
    if isinstance(decision, SomeOf):
        return int(number > 0)
    if decision.repeats:
        return comb(decision.take - 1, number - 1) if number else 0
    return int(number == decision.take)
