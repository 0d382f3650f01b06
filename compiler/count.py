"""How many genotypes a space has, exactly: decisions that nothing reaches do not multiply.

The sites of the space are visited from the outputs down. A state is the set of sites that are
needed further down, with the settings of tied decisions that matter again; states that agree are
merged, so the work grows with the number of different states, not of genotypes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from ..ir.decisions import Decision, Setting
from ..ir.diagnostics import Diagnostic, FusegraphError
from ..ir.graph import Graph
from ..ir.reach import Site, Skeleton, skeleton
from .explore import enumerate_genotypes

MOST_STATES = 200_000
MOST_ENUMERATED = 200_000

_State = tuple[int, tuple[tuple[str, Setting], ...]]


@dataclass(frozen=True, slots=True)
class Count:
    """`genotypes` is exact, or with `bound` an upper bound.

    It is a bound where a `require` rules some out of too many to try one by one.
    """

    genotypes: int
    bound: bool = False


def count(space: Graph) -> Count:
    """The number of genotypes. Raises FusegraphError (E504) where it cannot be counted exactly."""
    free = _count_free(skeleton(space), space.name)
    if not space.requires:
        return Count(free)
    if free > MOST_ENUMERATED:
        return Count(free, bound=True)
    return Count(sum(1 for _ in enumerate_genotypes(space)))


def _mask(places: tuple[int, ...]) -> int:
    mask = 0
    for place in places:
        mask |= 1 << place
    return mask


def _last_uses(bones: Skeleton) -> tuple[dict[str, int], dict[str, int]]:
    """For each decision the lowest site that uses it, and how many sites do."""
    last: dict[str, int] = {}
    uses: dict[str, int] = {}
    for place, site in enumerate(bones.sites):
        decisions = site.numbers if site.selects is None else (site.selects,)
        for decision in decisions:
            last.setdefault(decision.key, place)
            uses[decision.key] = uses.get(decision.key, 0) + 1
    return last, uses


def _count_free(bones: Skeleton, name: str) -> int:
    last, uses = _last_uses(bones)
    selecting = {s.selects.key for s in bones.sites if s.selects is not None}
    start = 1
    decided: list[tuple[str, Setting]] = []
    for decision in bones.always:
        start *= decision.count()
        if decision.key in uses:
            decided.append((decision.key, ()))
    states: dict[_State, int] = {(_mask(bones.roots), tuple(decided)): start}
    for place in range(len(bones.sites) - 1, -1, -1):
        site = bones.sites[place]
        following: dict[_State, int] = {}
        for (mask, known), ways in states.items():
            if not mask >> place & 1:
                outcomes: Iterator[tuple[int, tuple[tuple[str, Setting], ...], int]] = iter(
                    [(mask, known, 1)]
                )
            elif site.selects is None:
                outcomes = iter([_numbers(site, mask ^ 1 << place, known, uses)])
            else:
                outcomes = _selections(site, site.selects, mask ^ 1 << place, known, uses)
            for new_mask, new_known, times in outcomes:
                kept = tuple([k for k in new_known if last[k[0]] < place])
                state = (new_mask, kept)
                following[state] = following.get(state, 0) + ways * times
        if len(following) > MOST_STATES:
            raise FusegraphError(
                Diagnostic(
                    code="E504",
                    message=f"`{name}` is too entangled to be counted exactly",
                    notes=(
                        f"over {MOST_STATES} different sets of reached decisions were met, "
                        f"{len(selecting)} decisions choose what is reached",
                    ),
                    help="count a smaller instance with --set",
                )
            )
        states = following
    return sum(states.values())


def _numbers(
    site: Site, mask: int, known: tuple[tuple[str, Setting], ...], uses: dict[str, int]
) -> tuple[int, tuple[tuple[str, Setting], ...], int]:
    times = 1
    names = {key for key, _ in known}
    for decision in site.numbers:
        if decision.key not in names:
            times *= decision.count()
            if uses[decision.key] > 1:
                known = tuple(sorted([*known, (decision.key, ())]))
    return mask | _mask(site.needs), known, times


def _selections(
    site: Site,
    decision: Decision,
    mask: int,
    known: tuple[tuple[str, Setting], ...],
    uses: dict[str, int],
) -> Iterator[tuple[int, tuple[tuple[str, Setting], ...], int]]:
    """Every way on: the sites then needed, what is then known, and how many settings lead there."""
    settled = dict(known).get(decision.key)
    if settled is not None:
        yield mask | _taken(site, settled), known, 1
    elif uses[decision.key] > 1:
        for setting in decision.settings():
            yield mask | _taken(site, setting), tuple(sorted([*known, (decision.key, setting)])), 1
    else:
        groups: dict[int, int] = {}
        for setting in decision.settings():
            taken = _taken(site, setting)
            groups[taken] = groups.get(taken, 0) + 1
        for taken, times in groups.items():
            yield mask | taken, known, times


def _taken(site: Site, setting: Setting) -> int:
    if site.slot >= 0:
        return _mask(site.branches[setting[site.slot]])
    mask = 0
    for index in setting:
        mask |= _mask(site.branches[index])
    return mask
