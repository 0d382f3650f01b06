"""Static numbers under settings of decisions and under sizes: closed, listed, shown."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from fractions import Fraction
from itertools import product

from .decisions import Decision, Setting
from .dims import (
    Atom,
    Call,
    Expr,
    Pick,
    Present,
    Static,
    Symbol,
    call,
    decisions_in,
    expression,
    pick,
    text_of,
)


def substitute(value: Static, replace: Callable[[Atom], Static | None]) -> Static:
    """`value` with each atom for which `replace` returns something replaced by that."""
    if not isinstance(value, Expr):
        return value
    total: Static = 0
    for monomial, factor in value.terms:
        term: Static = factor
        for atom in monomial:
            new = replace(atom)
            if new is None:
                new = _rebuilt(atom, replace)
            term = new * term
        total = total + term
    return total


def _rebuilt(atom: Atom, replace: Callable[[Atom], Static | None]) -> Static:
    if isinstance(atom, Call):
        return call(atom.name, *[substitute(a, replace) for a in atom.arguments])
    if isinstance(atom, Pick):
        options = [substitute(option, replace) for option in atom.options]
        return pick(atom.decision, atom.slot, options)
    return expression(atom)


def settle(value: Static, settings: Mapping[str, Setting]) -> Static:
    """`value` under the settings of decisions; decisions without a setting stay open."""

    def replace(atom: Atom) -> Static | None:
        if isinstance(atom, Pick) and atom.decision.key in settings:
            return settle(atom.options[settings[atom.decision.key][atom.slot]], settings)
        if isinstance(atom, Present) and atom.decision.key in settings:
            return int(atom.index in settings[atom.decision.key])
        return None

    return substitute(value, replace)


def bind(value: Static, sizes: Mapping[str, Static]) -> Static:
    """`value` with named sizes replaced."""
    return substitute(value, lambda a: sizes.get(a.name) if isinstance(a, Symbol) else None)


def assignments(values: Sequence[Static], limit: int = 4096) -> Iterator[dict[str, Setting]] | None:
    """Every joint setting of the decisions in `values`; None where there are over `limit`."""
    found: dict[str, Decision] = {}
    for value in values:
        found.update(decisions_in(value))
    if math.prod([decision.count() for decision in found.values()]) > limit:
        return None
    keys = list(found)
    return (
        dict(zip(keys, settings, strict=True))
        for settings in product(*[list(found[key].settings()) for key in keys])
    )


def pretty(value: Static) -> str:
    """A static number for people: what an open one may be, in place of how it is decided."""
    if isinstance(value, Expr) and decisions_in(value):
        joint = assignments([value])
        if joint is None:
            return "open"
        sizes = dict.fromkeys(text_of(settle(value, settings)) for settings in joint)
        shown = list(sizes)[:8] + (["…"] if len(sizes) > 8 else [])
        return "|".join(shown)
    return f"{float(value):g}" if isinstance(value, Fraction) else text_of(value)
