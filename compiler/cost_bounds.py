"""What no genotype of a space can cost, and what is therefore required in vain."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from weakref import WeakKeyDictionary

from ..ir.diagnostics import FusegraphError
from ..ir.dims import Expr, Static, Symbol, symbols_in, told
from ..ir.graph import COUNTED, Graph
from ..ir.numbers import Number
from .expected_cost import expected_cost, expected_cost_apart
from .partial_costs import Bounds, PartialCosts, widened

_IN_VAIN: Mapping[str, Callable[[Bounds, Bounds], bool]] = {
    "==": lambda a, b: a[1] < b[0] or a[0] > b[1],
    "!=": lambda a, b: a[0] == a[1] == b[0] == b[1],
    "<": lambda a, b: a[0] >= b[1],
    "<=": lambda a, b: a[0] > b[1],
    ">": lambda a, b: a[1] <= b[0],
    ">=": lambda a, b: a[1] < b[0],
}

_models: WeakKeyDictionary[Graph, PartialCosts | None] = WeakKeyDictionary()
_remembered: WeakKeyDictionary[Graph, tuple[str, ...]] = WeakKeyDictionary()


def in_vain(left: Bounds | None, relation: str, right: Bounds | None) -> bool:
    """Whether no two values within these bounds are in this relation; None may be any value."""
    return left is not None and right is not None and _IN_VAIN[relation](left, right)


def unreachable(space: Graph) -> tuple[str, ...]:
    """For each `require` of a cost that the bounds rule out, what can be reached; remembered.

    Where there are none, it may still be that no genotype satisfies all of them.
    """
    found = _remembered.get(space)
    if found is None:
        found = _remembered[space] = tuple(_unreachable(space))
    return found


def _unreachable(space: Graph) -> list[str]:
    if not names_costs(space):
        return []
    costs = cost_bounds(space)
    notes: list[str] = []
    for requirement in space.requires:
        left, right = (interval(side, costs) for side in (requirement.left, requirement.right))
        if left and right and in_vain(left, requirement.relation, right):
            notes.append(
                f"`{requirement.told}`: every genotype has {_shown(left)} against {_shown(right)}"
            )
    return notes


def names_costs(space: Graph) -> bool:
    """Whether a `require` of the space speaks of what the graph alone tells of its cost."""
    sides = [side for r in space.requires for side in (r.left, r.right)]
    return any(symbols_in(side) & set(COUNTED) for side in sides)


def cost_bounds(space: Graph) -> dict[str, Bounds]:
    """The bounds of each cost that a `require` may name; every named size is 1.

    Of parameters alone where the expected cost of the space is not found exactly (E509), and empty
    where those are not either.
    """
    found = partial_costs(space)
    return {} if found is None else found.bounds({})


def partial_costs(space: Graph) -> PartialCosts | None:
    """The bounds of the space whatever is settled; remembered. None where it has none."""
    if space not in _models:
        _models[space] = _found(space)
    return _models[space]


def _found(space: Graph) -> PartialCosts | None:
    try:
        return PartialCosts(expected_cost(space))
    except FusegraphError:
        pass
    try:
        return PartialCosts(expected_cost_apart(space), ["parameters"])
    except FusegraphError:
        return None


def interval(side: Static, costs: Mapping[str, Bounds]) -> Bounds | None:
    """The bounds of a polynomial in costs, none of which is negative; None of anything else."""
    if not isinstance(side, Expr):
        return widened(side, side)
    least: Number = 0
    most: Number = 0
    for atoms, factor in side.terms:
        low = high = factor
        for atom in atoms:
            if not isinstance(atom, Symbol) or atom.name not in costs:
                return None
            low, high = low * costs[atom.name][0], high * costs[atom.name][1]
        least, most = least + min(low, high), most + max(low, high)
    return widened(least, most)


def _shown(bounds: Bounds) -> str:
    least, most = map(shown_number, bounds)
    return least if least == most else f"{least} to {most}"


def shown_number(value: Static) -> str:
    """A value for people: whole where it is, else to four digits."""
    found = int(value) if isinstance(value, float) and value.is_integer() else value
    return f"{found:.4g}" if isinstance(found, float) else told(found)
