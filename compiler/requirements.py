"""`require`: whether a network satisfies what its space asks, and how near the others come.

What the graph tells is asked first: a latency is measured only of networks that fulfil the rest.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ..ir.decisions import Setting
from ..ir.dims import Static, symbols_in, told
from ..ir.graph import COUNTED, MEASURED, Graph, Requirement
from ..ir.settling import bind, settle
from .measures import counted, latency
from .pipeline import NETWORK, run
from .specialise import Unmakeable, specialise

_RELATIONS: Mapping[str, Callable[[Any, Any], bool]] = {
    "==": lambda a, b: a == b,
    "!=": lambda a, b: a != b,
    "<": lambda a, b: a < b,
    "<=": lambda a, b: a <= b,
    ">": lambda a, b: a > b,
    ">=": lambda a, b: a >= b,
}


def satisfied(space: Graph, settings: Mapping[str, Setting]) -> bool:
    """Whether the network of these settings satisfies every `require` of the space.

    Raises FusegraphError E508 where a latency is required and nothing measures it.
    """
    return satisfied_unmeasured(space, settings) and satisfied_measured(space, settings)


def satisfied_unmeasured(space: Graph, settings: Mapping[str, Setting]) -> bool:
    """Whether each `require` holds that can be told without running the network."""
    return _all_hold([r for r in space.requires if not is_measured(r)], space, settings)


def satisfied_measured(space: Graph, settings: Mapping[str, Setting]) -> bool:
    """Whether each `require` holds for which the network has to be run."""
    return _all_hold([r for r in space.requires if is_measured(r)], space, settings)


def is_measured(requirement: Requirement) -> bool:
    """Whether it speaks of what only a run of the network tells."""
    return not _names([requirement]).isdisjoint(MEASURED)


def violations(network: Graph) -> list[tuple[Requirement, Static, Static]]:
    """The requirements that a network fails, each with the values of its two sides."""
    return _violated(network, network.requires)


def unmeasured_violations(network: Graph) -> list[tuple[Requirement, Static, Static]]:
    """`violations` of what can be told without running the network."""
    return _violated(network, [r for r in network.requires if not is_measured(r)])


def _violated(
    network: Graph, requires: Sequence[Requirement]
) -> list[tuple[Requirement, Static, Static]]:
    measures = _measures(requires, network, {})
    return [
        (r, bind(r.left, measures), bind(r.right, measures))
        for r in requires
        if not _holds(r, {}, measures)
    ]


def _all_hold(
    requires: Sequence[Requirement], space: Graph, settings: Mapping[str, Setting]
) -> bool:
    if not requires:
        return True
    try:
        measures = _measures(requires, space, settings)
    except Unmakeable:
        return False
    return all(_holds(r, settings, measures) for r in requires)


def _names(requires: Sequence[Requirement]) -> set[str]:
    return {n for r in requires for side in (r.left, r.right) for n in symbols_in(side)}


def _measures(
    requires: Sequence[Requirement], space: Graph, settings: Mapping[str, Setting]
) -> dict[str, Static]:
    """The measures that these requirements name."""
    named = _names(requires)
    if named.isdisjoint(COUNTED) and named.isdisjoint(MEASURED):
        return {}
    network = specialise(space, settings) if not space.settled else space
    found: dict[str, Static] = {}
    if not named.isdisjoint(COUNTED):
        found.update(counted(network))
    if not named.isdisjoint(MEASURED):
        found["latency"] = latency(run(NETWORK, network))
    return found


def _holds(
    requirement: Requirement, settings: Mapping[str, Setting], measures: Mapping[str, Static]
) -> bool:
    left = bind(settle(requirement.left, settings), measures)
    right = bind(settle(requirement.right, settings), measures)
    return _RELATIONS[requirement.relation](left, right)


def nearest_miss(
    space: Graph,
    seen: Sequence[Mapping[str, Setting]],
    run: Sequence[Mapping[str, Setting]] = (),
) -> list[str]:
    """For each requirement, the value among these settings that comes nearest to it.

    What takes a run of the network is looked at for the settings in `run` alone.
    """
    notes: list[str] = []
    for requirement in space.requires:
        best: tuple[float, Static, Static] | None = None
        for settings in (run if is_measured(requirement) else seen)[:500]:
            try:
                measures = _measures([requirement], space, settings)
            except Unmakeable:
                continue
            left: Any = bind(settle(requirement.left, settings), measures)
            right: Any = bind(settle(requirement.right, settings), measures)
            if _RELATIONS[requirement.relation](left, right):
                best = None
                break
            if best is None or abs(left - right) < best[0]:
                best = (abs(left - right), left, right)
        if best is not None:
            notes.append(
                f"`{requirement.told}`: the nearest that was reached is {_shown(best[1])} "
                f"against {_shown(best[2])}"
            )
    return notes


def _shown(value: Static) -> str:
    return f"{value:.4g}" if isinstance(value, float) else told(value)
