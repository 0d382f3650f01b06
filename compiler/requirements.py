"""`require`: whether a network satisfies what its space asks, and how near the others come."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ..ir.decisions import Setting
from ..ir.dims import Static, symbols_in, text_of
from ..ir.graph import MEASURES, Graph, Requirement
from ..ir.settling import bind, settle
from .cost import cost
from .specialise import specialise

_RELATIONS: Mapping[str, Callable[[Any, Any], bool]] = {
    "==": lambda a, b: a == b,
    "!=": lambda a, b: a != b,
    "<": lambda a, b: a < b,
    "<=": lambda a, b: a <= b,
    ">": lambda a, b: a > b,
    ">=": lambda a, b: a >= b,
}


def satisfied(space: Graph, settings: Mapping[str, Setting]) -> bool:
    """Whether the network of these settings satisfies every `require` of the space."""
    if not space.requires:
        return True
    measures = _measures(space, settings)
    return all(_holds(r, settings, measures) for r in space.requires)


def violations(network: Graph) -> list[tuple[Requirement, Static, Static]]:
    """The requirements that a network fails, each with the values of its two sides."""
    measures = _measures(network, {})
    return [
        (r, bind(r.left, measures), bind(r.right, measures))
        for r in network.requires
        if not _holds(r, {}, measures)
    ]


def _measures(space: Graph, settings: Mapping[str, Setting]) -> dict[str, Static]:
    named = {n for r in space.requires for side in (r.left, r.right) for n in symbols_in(side)}
    if not named & set(MEASURES):
        return {}
    network = specialise(space, settings) if not space.settled else space
    total = cost(network)
    measured = (total.parameters, total.activation_bytes, total.macs)
    sample = dict.fromkeys({name for value in measured for name in symbols_in(value)}, 1)
    return {
        "parameters": bind(total.parameters, sample),
        "macs": bind(total.macs, sample),
        "flops": 2 * bind(total.macs, sample),
        "activation_bytes": bind(total.activation_bytes, sample),
    }


def _holds(
    requirement: Requirement, settings: Mapping[str, Setting], measures: Mapping[str, Static]
) -> bool:
    left = bind(settle(requirement.left, settings), measures)
    right = bind(settle(requirement.right, settings), measures)
    return _RELATIONS[requirement.relation](left, right)


def nearest_miss(space: Graph, seen: Sequence[Mapping[str, Setting]]) -> list[str]:
    """For each requirement, the value among these settings that comes nearest to it."""
    notes: list[str] = []
    for requirement in space.requires:
        best: tuple[float, Static, Static] | None = None
        for settings in seen[:500]:
            measures = _measures(space, settings)
            left: Any = bind(settle(requirement.left, settings), measures)
            right: Any = bind(settle(requirement.right, settings), measures)
            if _RELATIONS[requirement.relation](left, right):
                best = None
                break
            if best is None or abs(left - right) < best[0]:
                best = (abs(left - right), left, right)
        if best is not None:
            notes.append(
                f"`{requirement.text}`: the nearest that was reached is {text_of(best[1])} "
                f"against {text_of(best[2])}"
            )
    return notes
