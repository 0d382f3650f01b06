"""Static numbers: the sizes of shapes and the attributes of ops, which decisions may leave open.

A static number is a plain `int`, `float` or `Fraction`, or an interned `Expr`: a polynomial over
atoms in one normal form, so that `4*C` and `C*4` are the same object. Atoms are named symbols
(`N`), decisions (`Pick`, `Present`) and calls that no polynomial can say (`T // 4`, `round8(w)`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import product
from json import dumps
from typing import Any
from weakref import WeakValueDictionary

from .decisions import Decision, Setting, SomeOf

Number = int | float | Fraction


@dataclass(frozen=True, slots=True)
class Symbol:
    """A named size that is known only at run time, such as the batch size `N`."""

    name: str

    @property
    def text(self) -> str:
        """In the language's own syntax."""
        return self.name


@dataclass(frozen=True, slots=True)
class Pick:
    """The number that goes with the candidate that `decision` takes at `slot`."""

    decision: Decision
    slot: int
    options: tuple[Static, ...]

    def __hash__(self) -> int:
        # By the key alone: hashing all labels of a large decision again and again costs seconds.
        return hash((self.decision.key, self.slot))

    @property
    def text(self) -> str:
        """In the language's own syntax."""
        place = f"{dumps(self.decision.key)}, {self.slot}"
        return f"pick({place}; {', '.join(map(text_of, self.options))})"


@dataclass(frozen=True, slots=True)
class Present:
    """1 where the subset that `decision` takes holds the candidate `index`, else 0."""

    decision: SomeOf
    index: int

    def __hash__(self) -> int:
        return hash((self.decision.key, self.index))

    @property
    def text(self) -> str:
        """In the language's own syntax."""
        return f"present({dumps(self.decision.key)}, {self.index})"


@dataclass(frozen=True, slots=True)
class Call:
    """A function of static numbers that is not a polynomial; `FUNCTIONS` has them all."""

    name: str
    arguments: tuple[Static, ...]

    @property
    def text(self) -> str:
        """In the language's own syntax."""
        infix = {"floordiv": " // ", "mod": " % ", "div": " / ", "pow": " ** "}.get(self.name)
        inner = [text_of(a) for a in self.arguments]
        if infix is None:
            return f"{self.name}({', '.join(inner)})"
        wrapped = [f"({t})" if not t.replace("_", "").isalnum() else t for t in inner]
        return f"({infix.join(wrapped)})"


Atom = Symbol | Pick | Present | Call
Monomial = tuple[Atom, ...]


class Expr:
    """A polynomial over atoms, interned: equal ones are the same object."""

    __slots__ = ("__weakref__", "open", "terms", "text")

    terms: tuple[tuple[Monomial, Number], ...]
    text: str
    open: bool  # whether a decision is in it

    def __repr__(self) -> str:
        return self.text

    def __reduce__(self) -> tuple[Callable[..., Static], tuple[object, ...]]:
        return (_from_terms, (dict(self.terms),))

    def __add__(self, other: Static) -> Static:
        terms = dict(self.terms)
        for monomial, factor in _terms(other):
            terms[monomial] = terms.get(monomial, 0) + factor
        return _from_terms(terms)

    __radd__ = __add__

    def __neg__(self) -> Static:
        return self * -1

    def __sub__(self, other: Static) -> Static:
        return self + (-other)

    def __rsub__(self, other: Static) -> Static:
        return -self + other

    def __mul__(self, other: Static) -> Static:
        terms: dict[Monomial, Number] = {}
        if len(self.terms) * len(_terms(other)) > LONGEST_TEXT:
            raise OverflowError("the product has too many terms")
        for left, a in self.terms:
            for right, b in _terms(other):
                monomial = tuple(sorted(left + right, key=_text_of_atom))
                terms[monomial] = terms.get(monomial, 0) + a * b
        return _from_terms(terms)

    __rmul__ = __mul__

    def __floordiv__(self, other: Static) -> Static:
        return floordiv(self, other)

    def __rfloordiv__(self, other: Static) -> Static:
        return floordiv(other, self)

    def __mod__(self, other: Static) -> Static:
        return mod(self, other)

    def __rmod__(self, other: Static) -> Static:
        return mod(other, self)


Static = Number | Expr
Dim = int | Expr


def _text_of_atom(atom: Atom) -> str:
    return atom.text


def text_of(value: Static) -> str:
    """A static number in the language's own syntax."""
    if isinstance(value, Expr):
        return value.text
    if isinstance(value, Fraction):
        return f"({value.numerator}/{value.denominator})"
    return repr(value)


_interned: WeakValueDictionary[tuple[tuple[Monomial, Number], ...], Expr] = WeakValueDictionary()


def _terms(value: Static) -> tuple[tuple[Monomial, Number], ...]:
    return value.terms if isinstance(value, Expr) else (((), value),)


def _plain(value: Number) -> Number:
    """Whole fractions as integers, so that each number has one form."""
    if isinstance(value, Fraction) and value.denominator == 1:
        return value.numerator
    return value


def _term_text(monomial: Monomial, factor: Number) -> str:
    atoms = "*".join(atom.text for atom in monomial)
    if not atoms:
        return text_of(factor)
    return atoms if factor == 1 else f"{text_of(factor)}*{atoms}"


LONGEST_TEXT = 100_000
"""Characters that an expression may have when written out; beyond it OverflowError is raised."""


def _from_terms(terms: Mapping[Monomial, Number]) -> Static:
    kept = {monomial: _plain(factor) for monomial, factor in terms.items() if factor != 0}
    if not kept:
        return 0
    if len(kept) == 1 and () in kept:
        return kept[()]
    ordered = sorted(kept.items(), key=lambda term: (-len(term[0]), [a.text for a in term[0]]))
    identity = tuple(ordered)
    found = _interned.get(identity)
    if found is None:
        text = " + ".join(_term_text(*term) for term in ordered).replace("+ -", "- ")
        if len(text) > LONGEST_TEXT:
            raise OverflowError("the expression is too long")
        found = Expr()
        found.terms = identity
        found.text = text
        found.open = any(isinstance(atom, (Pick, Present)) for atom in atoms(found))
        _interned[identity] = found
    return found


def total(values: Sequence[Static]) -> Static:
    """The sum, in time linear in all terms."""
    terms: dict[Monomial, Number] = {}
    for value in values:
        for monomial, factor in _terms(value):
            terms[monomial] = terms.get(monomial, 0) + factor
    return _from_terms(terms)


def _atom(atom: Atom) -> Expr:
    result = _from_terms({(atom,): 1})
    assert isinstance(result, Expr)
    return result


def symbol(name: str) -> Expr:
    """The named size `name`."""
    return _atom(Symbol(name))


def pick(decision: Decision, slot: int, options: Sequence[Static]) -> Static:
    """The option that `decision` takes at `slot`; no expression where all options are equal."""
    if all(option == options[0] for option in options):
        return options[0]
    if sum(len(option.text) for option in options if isinstance(option, Expr)) > LONGEST_TEXT:
        raise OverflowError("the options are too long")
    return _atom(Pick(decision, slot, tuple(options)))


def present(decision: SomeOf, index: int) -> Expr:
    """1 where `decision` takes the candidate `index`, else 0."""
    return _atom(Present(decision, index))


# ── functions ────────────────────────────────────────────────────────────────────────────────────


def _whole(value: Number) -> Number:
    return int(value) if value == int(value) else value


def _exact_quotient(value: Expr, divisor: Static) -> Static | None:
    """`value / divisor` where it is a polynomial with whole factors, else None."""
    ((monomial, factor), *more) = _terms(divisor)
    if more or not isinstance(factor, int) or factor == 0:
        return None
    result: dict[Monomial, Number] = {}
    for atoms, times in value.terms:
        if not isinstance(times, int) or times % factor:
            return None
        left = list(atoms)
        for atom in monomial:
            if atom not in left:
                return None
            left.remove(atom)
        result[tuple(left)] = times // factor
    return _from_terms(result)


def floordiv(a: Static, b: Static) -> Static:
    """`a // b`, exact where `b` divides `a` as a polynomial."""
    if isinstance(a, Expr) and (exact := _exact_quotient(a, b)) is not None:
        return exact
    if isinstance(a, Expr) or isinstance(b, Expr):
        return _atom(Call("floordiv", (a, b)))
    return _whole(a // b)


def mod(a: Static, b: Static) -> Static:
    """`a % b`, zero where `b` divides `a` as a polynomial."""
    if isinstance(a, Expr) and _exact_quotient(a, b) is not None:
        return 0
    if isinstance(a, Expr) or isinstance(b, Expr):
        return _atom(Call("mod", (a, b)))
    return _whole(a % b)


def divide(a: Static, b: Static) -> Static:
    """`a / b`, an exact fraction of whole numbers."""
    if not isinstance(a, Expr) and not isinstance(b, Expr):
        if isinstance(a, float) or isinstance(b, float):
            return a / b
        return _plain(Fraction(a) / Fraction(b))
    if not isinstance(b, Expr):
        return a * _plain(1 / Fraction(b)) if not isinstance(b, float) else a * (1 / b)
    if isinstance(a, Expr) and (exact := _exact_quotient(a, b)) is not None:
        return exact
    return _atom(Call("div", (a, b)))


def _round8(value: Number) -> int:
    """Rounded to a multiple of 8, but never by more than a tenth downwards (X3D, MobileNet)."""
    rounded = max(8, int(value + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * value else rounded


LARGEST_BITS = 256
"""Bits of a static number; beyond them OverflowError is raised."""


def bounded(value: Number) -> Number:
    """The number itself. Raises OverflowError where it is too large to mean anything."""
    if isinstance(value, float):
        if not math.isfinite(value):
            raise OverflowError("the number is too large")
    elif max(value.numerator.bit_length(), value.denominator.bit_length()) > LARGEST_BITS:
        raise OverflowError("the number is too large")
    return value


def _sqrt(value: Number) -> Number:
    """Exact for squares of whole numbers."""
    if isinstance(value, int) and value >= 0 and math.isqrt(value) ** 2 == value:
        return math.isqrt(value)
    return math.sqrt(value)


def _power(base: Number, exponent: Number) -> Number:
    if not isinstance(base, float) and exponent == int(exponent):
        digits = max(base.numerator.bit_length(), base.denominator.bit_length()) - 1
        if digits * abs(exponent) > LARGEST_BITS:
            raise OverflowError("the power is too large")
    power: Any = base**exponent
    if isinstance(power, complex):
        raise ValueError("a power of a negative number with a broken exponent")
    return power


def _floor_quotient(a: Number, b: Number) -> Number:
    return _whole(a // b)


def _remainder(a: Number, b: Number) -> Number:
    return _whole(a % b)


def _quotient(a: Number, b: Number) -> Number:
    if isinstance(a, float) or isinstance(b, float):
        return a / b
    return _plain(Fraction(a) / Fraction(b))


def _round(value: Number) -> Number:
    """Halves rounded up, as people do and Python does not."""
    return math.floor(value + Fraction(1, 2))


def _absolute(value: Number) -> Number:
    return abs(value)


FUNCTIONS: Mapping[str, Callable[..., Number]] = {
    "sqrt": _sqrt,
    "ceil": math.ceil,
    "floor": math.floor,
    "round": _round,
    "round8": _round8,
    "abs": _absolute,
    "min": min,
    "max": max,
    "pow": _power,
    "floordiv": _floor_quotient,
    "mod": _remainder,
    "div": _quotient,
}
"""The functions of static numbers. They raise ValueError or ArithmeticError without a value."""


def call(name: str, *arguments: Static) -> Static:
    """`FUNCTIONS[name]` of static numbers, kept as an expression where one of them is open."""
    if name == "floordiv":
        return floordiv(*arguments)
    if name == "mod":
        return mod(*arguments)
    if name == "div":
        return divide(*arguments)
    if any(isinstance(a, Expr) for a in arguments):
        return _atom(Call(name, arguments))
    return FUNCTIONS[name](*arguments)


# ── substitution and inspection ──────────────────────────────────────────────────────────────────


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
    return _atom(atom)


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


def atoms(value: Static) -> Iterator[Atom]:
    """Every atom in `value`, those inside calls and options too."""
    if not isinstance(value, Expr):
        return
    for monomial, _ in value.terms:
        for atom in monomial:
            yield atom
            inner = atom.arguments if isinstance(atom, Call) else ()
            inner = atom.options if isinstance(atom, Pick) else inner
            for part in inner:
                yield from atoms(part)


def decisions_in(value: Static) -> dict[str, Decision]:
    """The decisions on which `value` depends, by key."""
    return {
        atom.decision.key: atom.decision
        for atom in atoms(value)
        if isinstance(atom, (Pick, Present))
    }


def symbols_in(value: Static) -> set[str]:
    """The named sizes on which `value` depends."""
    return {atom.name for atom in atoms(value) if isinstance(atom, Symbol)}


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
