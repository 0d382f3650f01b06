"""What no genotype of a space can cost, and what is therefore required in vain.

A genotype is one path through the states of the expected cost. So the cheapest path bounds all
costs from below, and the dearest from above. The bounds need not be reached: what the nodes at two
places cost may depend on one decision, and each path settles it at each place as it is cheapest.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import product
from math import prod
from weakref import WeakKeyDictionary

from ..ir.decisions import Decision
from ..ir.diagnostics import FusegraphError
from ..ir.dims import Expr, Static, Symbol, symbols_in
from ..ir.graph import COUNTED, Graph
from .cost_sites import MEASURES
from .expected_cost import expected_cost
from .polynomial import ExpectedCost, Part

Bounds = tuple[float, float]
"""No genotype has less than the first, none more than the second."""

_ROUNDING = 1e-9
"""By that share bounds are wider than what was added up in float64."""

_IN_VAIN: Mapping[str, Callable[[Bounds, Bounds], bool]] = {
    "==": lambda a, b: a[1] < b[0] or a[0] > b[1],
    "!=": lambda a, b: a[0] == a[1] == b[0] == b[1],
    "<": lambda a, b: a[0] >= b[1],
    "<=": lambda a, b: a[0] > b[1],
    ">": lambda a, b: a[1] <= b[0],
    ">=": lambda a, b: a[1] < b[0],
}

_remembered: WeakKeyDictionary[Graph, tuple[str, ...]] = WeakKeyDictionary()


def unreachable(space: Graph) -> tuple[str, ...]:
    """For each `require` of a cost that the bounds rule out, what can be reached; remembered.

    Where there are none, it may still be that no genotype satisfies all of them.
    """
    found = _remembered.get(space)
    if found is None:
        found = _remembered[space] = tuple(_unreachable(space))
    return found


def _unreachable(space: Graph) -> list[str]:
    sides = [side for r in space.requires for side in (r.left, r.right)]
    if not any(symbols_in(side) & set(COUNTED) for side in sides):
        return []
    costs = cost_bounds(space)
    notes: list[str] = []
    for requirement in space.requires:
        left, right = (_interval(side, costs) for side in (requirement.left, requirement.right))
        if left and right and _IN_VAIN[requirement.relation](left, right):
            notes.append(
                f"`{requirement.told}`: every genotype has {_shown(left)} against {_shown(right)}"
            )
    return notes


def cost_bounds(space: Graph) -> dict[str, Bounds]:
    """The bounds of each cost that a `require` may name; every named size is 1.

    Empty where the expected cost of the space is not found exactly (E509).
    """
    try:
        found = expected_cost(space)
    except FusegraphError:
        return {}
    costs = {name: bounds_of(found, place) for place, name in enumerate(MEASURES)}
    least, most = costs["macs"]
    return {**costs, "flops": (2 * least, 2 * most)}


def bounds_of(found: ExpectedCost, measure: int) -> Bounds:
    """The cheapest path and the dearest, by the measure at this place of MEASURES."""
    least = [0.0] * (len(found.steps) + 1)
    most = [0.0] * (len(found.steps) + 1)
    for states, parts in found.terms:
        low, high = _paid(found.decisions, parts, measure)
        for state in states:
            least[state] += low
            most[state] += high
    for state, sources in enumerate(found.steps, 1):
        least[state] += min([least[source] for source, _ in sources])
        most[state] += max([most[source] for source, _ in sources])
    return least[-1] * (1 - _ROUNDING), most[-1] * (1 + _ROUNDING)  # the last state is the end


def _paid(decisions: Mapping[str, Decision], parts: Sequence[Part], measure: int) -> Bounds:
    """What a term has at the least and the most, by the settings of the decisions it speaks of."""
    joint: dict[tuple[str, ...], dict[tuple[int, ...], float]] = {}
    for factors, costs in parts:
        sums = joint.setdefault(tuple([key for key, _ in factors]), {})
        for settings in product(*[places for _, places in factors]):
            sums[settings] = sums.get(settings, 0.0) + costs[measure]
    least = most = 0.0
    for keys, sums in joint.items():
        free = prod([decisions[key].count() for key in keys]) > len(sums)  # others pay nothing
        least += 0.0 if free else min(sums.values())
        most += max(sums.values())
    return least, most


def _interval(side: Static, costs: Mapping[str, Bounds]) -> Bounds | None:
    """Those of a polynomial in costs, none of which is negative; None of anything else."""
    if not isinstance(side, Expr):
        return float(side), float(side)
    least = most = 0.0
    for atoms, factor in side.terms:
        low = high = float(factor)
        for atom in atoms:
            if not isinstance(atom, Symbol) or atom.name not in costs:
                return None
            low, high = low * costs[atom.name][0], high * costs[atom.name][1]
        least, most = least + min(low, high), most + max(low, high)
    return least, most


def _shown(bounds: Bounds) -> str:
    least, most = (f"{value:.4g}" for value in bounds)
    return least if least == most else f"{least} to {most}"
