"""The expected cost of a space whose decisions are drawn: exact, and differentiable.

Each decision is drawn from a law of its own; what is not reached costs nothing, what is computed
once costs once. The expectation is then a polynomial in the probabilities. It is found once, by a
walk like that of `count` from the outputs down, over the sets of what is still needed;
`polynomial.py` has its value.

The costs are those of `cost(specialise(space, genotype))`, before `simplify`, of one sample.
`require` rules nothing out: the law is that of the draws, not of what is kept of them.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from itertools import product
from math import prod

from ..ir.cells import expand
from ..ir.decisions import Decision, KOf, OneOf, Setting, SomeOf
from ..ir.diagnostics import Diagnostic, FusegraphError
from ..ir.dims import Expr, Static
from ..ir.graph import Graph
from ..ir.node import Node
from ..ir.settling import settle
from ..ir.sites import mask_of
from .coinciding import Coinciding
from .cost_sites import MEASURES, CostSites, Group, Site, cost_sites, open_in, values_of
from .polynomial import ExpectedCost, Factor, Part, Sources

MOST_SETTINGS = 5_000
"""Of one decision."""
MOST_WORK = 300_000
"""Terms of the polynomial, and settings that are tried to find it."""

_Known = tuple[tuple[str, int], ...]
_State = tuple[int, int, _Known]
"""What is still needed, which members of groups were met, settings that matter again."""


def expected_cost(space: Graph, sizes: Mapping[str, int] | None = None) -> ExpectedCost:
    """The expected cost of a space; named sizes without a number are 1.

    Raises FusegraphError E509 where the space is too entangled, or has a decision of another kind.
    """
    return _found(space, sizes or {}, tied_only=False)


def expected_cost_apart(space: Graph, sizes: Mapping[str, int] | None = None) -> ExpectedCost:
    """At least the expected cost: what two places may compute alike is paid in both.

    Exact for parameters, and of spaces where no two places do; feasible for many more spaces.
    Raises as `expected_cost`.
    """
    return _found(space, sizes or {}, tied_only=True)


def _found(space: Graph, sizes: Mapping[str, int], *, tied_only: bool) -> ExpectedCost:
    flat = expand(space)
    decisions = flat.decisions
    for decision in decisions.values():
        if not isinstance(decision, (OneOf, KOf, SomeOf)):
            raise _too_hard(space, f"`{decision.key}` is a decision over a whole levelled graph")
    together = Coinciding(flat.order, tied_only=tied_only)
    return _Walk(space, cost_sites(flat, sizes, together), decisions).polynomial()


class _Walk:
    """The states while the sites of one space are visited, users first."""

    def __init__(self, space: Graph, found: CostSites, decisions: Mapping[str, Decision]) -> None:
        self.space = space
        self.sites, self.roots, self.together = found.sites, found.roots, found.coinciding
        self.decisions = decisions
        self.settings = {key: list(d.settings()) for key, d in decisions.items() if _few(d)}
        self.work = 0
        self.steps: list[Sources] = []
        self.paid: dict[tuple[int, int, int, _Known], list[int]] = {}
        self.groups: dict[int, list[Group]] = {}
        self.last: dict[str, int] = {}
        self.met: dict[int, int] = {}
        for place, site in enumerate(found.sites):
            keys = {key for keys in site.costs for key in keys}
            for key in keys if site.decision is None else {site.decision.key}:
                self.last[key] = place
        for group in found.groups:
            at = max(place for _, place, _ in group.members)
            self.groups.setdefault(at, []).append(group)
            for key in frozenset[str]().union(*group.decisions.values()):
                self.last[key] = max(at, self.last.get(key, 0))
            for _, place, _ in group.members:
                self.met[place] = max(at, self.met.get(place, 0))

    def polynomial(self) -> ExpectedCost:
        """Visit every site, and take down what is paid."""
        states: dict[_State, int] = {(mask_of(self.roots), 0, ()): 0}
        for place, site in enumerate(self.sites):
            following: dict[_State, list[tuple[int, Factor | None]]] = {}
            for (mask, met, known), node in states.items():
                if not mask >> place & 1:
                    following.setdefault((mask, met, known), []).append((node, None))
                    continue
                mask ^= 1 << place
                met |= (1 << place) if place in self.met else 0
                if site.decision is None:
                    about = {key for keys in site.costs for key in keys}
                    self._pay(place, -1, 0, _only(known, about), node)
                    state = (mask | mask_of(site.needs[0]), met, known)
                    following.setdefault(state, []).append((node, None))
                    continue
                for needs, kept, factor in self._branches(site, site.decision, known, place):
                    following.setdefault((mask | needs, met, kept), []).append((node, factor))
            self._spend(sum(map(len, following.values())))
            states = {state: self._state(sources) for state, sources in following.items()}
            for number, group in enumerate(self.groups.get(place, ())):
                about = frozenset[str]().union(*group.decisions.values())
                among = mask_of([place for _, place, _ in group.members])
                for (_, met, known), node in states.items():
                    if met & among:
                        self._pay(place, number, met & among, _only(known, about), node)
            states = self._forgotten(states, place)
        for place, number, met, known in self.paid:
            # All of it before any: what is too much is told at once.
            for keys in self._keys_of(place, number, met):
                free = [key for key in keys if key not in dict(known)]
                self._spend(prod([len(self._settings_of(key)) for key in free]))
        terms = [
            (tuple(nodes), self._parts(place, number, met, dict(known)))
            for (place, number, met, known), nodes in self.paid.items()
        ]
        return ExpectedCost(self.decisions, tuple(self.steps), tuple([t for t in terms if t[1]]))

    def _pay(self, place: int, group: int, met: int, known: _Known, node: int) -> None:
        self.paid.setdefault((place, group, met, known), []).append(node)

    def _state(self, sources: list[tuple[int, Factor | None]]) -> int:
        """The place of the probability of a state."""
        if len(sources) == 1 and sources[0][1] is None:
            return sources[0][0]
        self.steps.append(tuple(sources))
        return len(self.steps)

    def _branches(
        self, site: Site, decision: Decision, known: _Known, place: int
    ) -> list[tuple[int, _Known, Factor | None]]:
        """What is needed next, what is known then, and how probable that is."""
        key, settings = decision.key, self._settings_of(decision.key)
        given = dict(known).get(key)
        if given is not None:
            return [(mask_of(site.taken(settings[given])), known, None)]
        if self.last[key] > place:
            return [
                (mask_of(site.taken(s)), tuple(sorted([*known, (key, number)])), (key, (number,)))
                for number, s in enumerate(settings)
            ]
        alike: dict[int, list[int]] = {}
        for number, setting in enumerate(settings):
            alike.setdefault(mask_of(site.taken(setting)), []).append(number)
        return [(needs, known, (key, tuple(numbers))) for needs, numbers in alike.items()]

    def _forgotten(self, states: dict[_State, int], place: int) -> dict[_State, int]:
        """The states without what does not matter behind this place; those that agree are one."""
        gone = {key for key, last in self.last.items() if last == place}
        left = ~mask_of([other for other, last in self.met.items() if last == place])
        if not gone and left == -1:
            return states
        merged: dict[_State, list[tuple[int, Factor | None]]] = {}
        for (mask, met, known), node in states.items():
            state = (mask, met & left, tuple([k for k in known if k[0] not in gone]))
            merged.setdefault(state, []).append((node, None))
        return {state: self._state(sources) for state, sources in merged.items()}

    # ── what is paid ─────────────────────────────────────────────────────────────────────────────

    def _keys_of(self, place: int, number: int, met: int) -> list[Sequence[str]]:
        """The decisions whose settings are tried together for what is paid there."""
        if number < 0:
            return list(self.sites[place].costs)
        group = self.groups[place][number]
        there = [(node, cost) for node, at, cost in group.members if met >> at & 1]
        if len(there) == 1:  # with whom it coincides does not matter
            return [sorted(open_in(there[0][1]))]
        return [sorted(frozenset[str]().union(*[group.decisions[node] for node, _ in there]))]

    def _parts(
        self, place: int, number: int, met: int, known: Mapping[str, int]
    ) -> tuple[Part, ...]:
        """What is paid, apart by the settings of decisions that are not known there."""
        if number >= 0:
            (keys,) = self._keys_of(place, number, met)
            return self._parts_of_group(self.groups[place][number], keys, met, known)
        found: list[Part] = []
        for keys, costs in self.sites[place].costs.items():

            def paid(
                settings: Mapping[str, Setting], costs: Sequence[Static] = costs
            ) -> tuple[float, ...]:
                return tuple([_number(settle(cost, settings)) for cost in costs])

            found += self._apart(keys, known, paid)
        return tuple(found)

    def _parts_of_group(
        self, group: Group, keys: Sequence[str], met: int, known: Mapping[str, int]
    ) -> tuple[Part, ...]:
        there = [(node, cost) for node, place, cost in group.members if met >> place & 1]

        def paid(settings: Mapping[str, Setting]) -> tuple[float, ...]:
            totals = [0.0] * len(MEASURES)
            identities: set[Hashable] = set()
            counted: set[str] = set()
            remembered: dict[Node, Hashable] = {}
            for node, cost in there:
                values = [_number(settle(value, settings)) for value in values_of(cost)]
                if node.key in counted:
                    values[0] = 0.0
                counted.add(node.key)
                if len(there) > 1:
                    identity = self.together.identity(node, settings, remembered)
                    if identity in identities:
                        continue
                    identities.add(identity)
                totals = [t + v for t, v in zip(totals, values, strict=True)]
            return tuple(totals)

        return tuple(self._apart(keys, known, paid))

    def _apart(
        self,
        keys: Sequence[str],
        known: Mapping[str, int],
        paid: Callable[[Mapping[str, Setting]], tuple[float, ...]],
    ) -> list[Part]:
        """What is paid under each joint setting of these decisions; settings that agree together
        where one decision is left.
        """
        given = {key: self._settings_of(key)[known[key]] for key in keys if key in known}
        free = [key for key in keys if key not in known]
        options = [self._settings_of(key) for key in free]
        found: dict[tuple[float, ...], list[tuple[int, ...]]] = {}
        for numbers in product(*[range(len(settings)) for settings in options]):
            chosen = {k: s[n] for k, s, n in zip(free, options, numbers, strict=True)}
            found.setdefault(paid({**given, **chosen}), []).append(numbers)
        parts: list[Part] = []
        for costs, numbers in found.items():
            if not any(costs):
                continue
            if len(free) == 1:
                parts.append((((free[0], tuple([n for (n,) in numbers])),), costs))
                continue
            parts += [
                (tuple([(key, (n,)) for key, n in zip(free, each, strict=True)]), costs)
                for each in numbers
            ]
        return parts

    def _settings_of(self, key: str) -> list[Setting]:
        settings = self.settings.get(key)
        if settings is None:
            raise _too_hard(self.space, f"`{key}` has {self.decisions[key].count():,} settings")
        return settings

    def _spend(self, work: int) -> None:
        self.work += work
        if self.work > MOST_WORK:
            raise _too_hard(
                self.space, f"over {MOST_WORK:,} combinations of settings would be told apart"
            )


def _few(decision: Decision) -> bool:
    return decision.count() <= MOST_SETTINGS


def _only(known: _Known, keys: Iterable[str]) -> _Known:
    return tuple([entry for entry in known if entry[0] in keys])


def _number(value: Static) -> float:
    assert not isinstance(value, Expr), "all decisions are settled, and all sizes have numbers"
    return float(value)


def _too_hard(space: Graph, why: str) -> FusegraphError:
    return FusegraphError(
        Diagnostic(
            code="E509",
            message=f"the expected cost of `{space.name}` cannot be found exactly",
            notes=(why,),
            help="take `expected_cost_apart`, which pays twice what two places compute alike, a "
            "smaller instance with --set, or the mean over genotypes that are drawn",
        )
    )
