"""Genotypes that satisfy `require`, found by bounds where hardly any draw does.

Decisions are settled one after the other, and a setting is taken only while the bounds of what
genotypes with it cost leave every `require` possible; where none does, the one before is settled
otherwise. So all of them are found, in the end, and none is tried whose beginning is in vain.

The order: that on which most others depend first, since bounds are loose while it is open; of equal
ones any, by lot.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from heapq import heappop, heappush
from random import Random
from weakref import WeakKeyDictionary

from ..ir.decisions import Decision, Setting
from ..ir.dims import decisions_in
from ..ir.graph import Graph, Requirement
from ..ir.levels import Levels
from ..ir.reach import skeleton
from ..ir.settling import settle
from .cost_bounds import in_vain, interval, names_costs, partial_costs, shown_number
from .expected_cost import MOST_SETTINGS
from .partial_costs import Bounds
from .requirements import is_measured

Settings = dict[str, Setting]
InOrder = Callable[[Decision], Sequence[Setting]]
"""The settings of a decision, those first that are to be tried first."""

MOST_TRIED = 20_000
"""Settings whose bounds are looked at before a search is given up, in seconds."""
MOST_LOOKED_AT = 5_000
"""Settings among which the nearest genotype is looked for."""
SAMPLED = 2_000
"""Draws that tell whether draws ever satisfy the `require` of a space."""


class GivenUp(Exception):
    """A search met MOST_TRIED settings, and there may be more genotypes."""


class Satisfying:
    """The search of one space. What takes a run of the network is not looked at, nor are costs
    without bounds: who takes what is found checks it.
    """

    def __init__(self, space: Graph) -> None:
        # The graph itself is not kept: whoever remembers these by graph must not hold it.
        self._decisions = dict(space.decisions)
        self._skeleton = skeleton(space)
        self._requires = [r for r in space.requires if not is_measured(r)]
        self._costs = partial_costs(space) if names_costs(space) else None
        self._shared = {} if self._costs is None else dict(self._costs.shared)
        for requirement in self._requires:
            for key in decisions_in(requirement.left) | decisions_in(requirement.right):
                self._shared[key] = self._shared.get(key, 0) + 1
        self._scales = [self._scale(r) for r in self._requires]
        self._tried = 0
        self._rare: bool | None = None

    @property
    def rare(self) -> bool:
        """Whether of SAMPLED draws none may satisfy what is required: a fact of the space."""
        if self._rare is None:
            rng = Random(0)
            draws = (
                self._skeleton.walk(lambda decision: decision.sample(rng)) for _ in range(SAMPLED)
            )
            self._rare = not any(map(self.possible, draws))
        return self._rare

    def possible(self, settled: Mapping[str, Setting]) -> bool:
        """Whether the bounds leave a genotype with these settings, as far as they tell."""
        costs = self._bounds(settled)
        return not any(in_vain(*self._sides(r, settled, costs)) for r in self._requires)

    def told(self, settings: Mapping[str, Setting]) -> bool | None:
        """Whether a genotype satisfies what takes no run of its network to tell; None where its
        network has to be counted for that.
        """
        costs = self._bounds(settings)
        sides = [self._sides(r, settings, costs) for r in self._requires]
        if any(in_vain(*side) for side in sides):
            return False
        exact = all(
            side is not None and side[0] == side[1]
            for left, _, right in sides
            for side in (left, right)
        )
        return True if exact else None

    @property
    def order(self) -> Sequence[str]:
        """The keys of all decisions, those on which most others depend first."""
        return sorted(self._decisions, key=lambda key: -self._shared.get(key, 0))

    def each(self, rng: Random, in_order: InOrder | None = None) -> Iterator[Settings]:
        """All that may satisfy what is required, each once, in an order by lot.

        The first ones are not drawn uniformly: each decision in turn takes any setting that the
        bounds leave; `in_order` says which it tries, and which first. Raises GivenUp.
        """
        self._tried = 0

        def by_lot(decision: Decision) -> Sequence[Setting]:
            settings = list(decision.settings())
            rng.shuffle(settings)
            return settings

        in_order = in_order or by_lot
        pending = [iter([Settings()] if self.possible({}) else [])]
        while pending:
            settled = next(pending[-1], None)
            if settled is None:
                pending.pop()
                continue
            decision = self._following(settled, rng)
            if decision is None:
                order = self._skeleton.order
                yield {key: settled[key] for key in sorted(settled, key=order.__getitem__)}
            else:
                pending.append(self._settled(settled, decision, in_order(decision)))

    def nearest(self) -> tuple[str, ...]:
        """What the genotype has that comes nearest to satisfying all that is required, a note for
        each `require` that it violates; empty where it violates none.

        Misses are relative to what costs there are, and their sum counts. Where not all that may
        come nearer could be tried it is the nearest that was found, and the notes say so.
        """
        self._tried = 0
        rng = Random(0)
        best, least = self._dive(rng)
        queue: list[tuple[float, int, int, Settings]] = [(self._distance({}), 0, 0, {})]
        while queue and least:
            distance, _, _, settled = heappop(queue)
            if distance >= least:
                break
            decision = self._following(settled, rng)
            if decision is None:
                best, least = settled, distance
                break
            for setting in decision.settings():
                if self._tried > MOST_LOOKED_AT:
                    return self._notes(best, "was found")
                new = {**settled, decision.key: setting}
                if (at_least := self._distance(new)) < least:
                    heappush(queue, (at_least, -len(new), self._tried, new))
        return self._notes(best, "can be reached")

    def _dive(self, rng: Random) -> tuple[Settings, float]:
        """A genotype, each decision in turn settled so that it may still come nearest."""
        settled: Settings = {}
        least = 0.0
        while (decision := self._following(settled, rng)) is not None:
            ways = [{**settled, decision.key: setting} for setting in decision.settings()]
            distances = [self._distance(way) for way in ways]
            least = min(distances)
            settled = ways[distances.index(least)]
        return settled, least

    def _settled(
        self, settled: Settings, decision: Decision, settings: Sequence[Setting]
    ) -> Iterator[Settings]:
        for setting in settings:
            self._tried += 1
            if self._tried > MOST_TRIED:
                raise GivenUp
            new = {**settled, decision.key: setting}
            if self.possible(new):
                yield new

    def _following(self, settled: Settings, rng: Random) -> Decision | None:
        """A decision that is reached and open; None where all that is reached is settled."""
        sites = self._skeleton.sites
        seen = bytearray(len(sites))
        stack = list(self._skeleton.roots)
        found: dict[str, Decision] = {}
        while stack:
            place = stack.pop()
            if seen[place]:
                continue
            seen[place] = 1
            site = sites[place]
            if site.decision is None:
                stack += site.branches[0]
            elif site.decision.key in settled:
                stack += site.taken(settled[site.decision.key])
            else:
                found[site.decision.key] = site.decision
        if not found:
            return None
        most = max([self._shared.get(key, 0) for key in found])
        keys = sorted([key for key in found if self._shared.get(key, 0) == most])
        return found[keys[rng.randrange(len(keys))]]

    # ── one `require` ────────────────────────────────────────────────────────────────────────────

    def _bounds(self, settled: Mapping[str, Setting]) -> Mapping[str, Bounds]:
        return {} if self._costs is None else self._costs.bounds(settled)

    @staticmethod
    def _sides(
        requirement: Requirement, settled: Mapping[str, Setting], costs: Mapping[str, Bounds]
    ) -> tuple[Bounds | None, str, Bounds | None]:
        left, right = (
            interval(settle(side, settled), costs) for side in (requirement.left, requirement.right)
        )
        return left, requirement.relation, right

    def _scale(self, requirement: Requirement) -> float:
        left, _, right = self._sides(requirement, {}, self._bounds({}))
        return max([1.0, *[float(abs(end)) for side in (left, right) if side for end in side]])

    def _distance(self, settled: Mapping[str, Setting]) -> float:
        """At least the sum by which any genotype with these settings misses what is required."""
        self._tried += 1
        costs = self._bounds(settled)
        total = 0.0
        for requirement, scale in zip(self._requires, self._scales, strict=True):
            left, relation, right = self._sides(requirement, settled, costs)
            if left and right and in_vain(left, relation, right):
                gap = float(max(left[0] - right[1], right[0] - left[1]))
                total += max(gap, _LEAST) / scale
        return total

    def _notes(self, settings: Mapping[str, Setting], how: str) -> tuple[str, ...]:
        costs = self._bounds(settings)
        notes: list[str] = []
        for requirement in self._requires:
            left, relation, right = self._sides(requirement, settings, costs)
            if left and right and in_vain(left, relation, right):
                notes.append(
                    f"`{requirement.told}`: the nearest that {how} is "
                    f"{shown_number(left[0])} against {shown_number(right[0])}"
                )
        return tuple(notes)


_LEAST = 1e-9
"""By so much at least is missed what is missed at all, as `<` of equal values is."""

_searches: WeakKeyDictionary[Graph, Satisfying | None] = WeakKeyDictionary()


def satisfying(space: Graph) -> Satisfying | None:
    """The search of the space; remembered. None where settings of a decision are not listed."""
    if space not in _searches:
        listed = all(
            not isinstance(d, Levels) and d.count() <= MOST_SETTINGS
            for d in space.decisions.values()
        )
        _searches[space] = Satisfying(space) if listed else None
    return _searches[space]


def known_search(space: Graph) -> Satisfying | None:
    """The search of the space where it was asked for before."""
    return _searches.get(space)
