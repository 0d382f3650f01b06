"""Static numbers: the sizes of shapes and the attributes of ops, which decisions may leave open.

A static number is a plain `int`, `float` or `Fraction`, or an interned `Expr`: a polynomial over
atoms in one normal form, so that `4*C` and `C*4` are the same object. Atoms are named symbols
(`N`), decisions (`Pick`, `Present`) and calls that no polynomial can say (`T // 4`, `round8(w)`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from json import dumps
from weakref import WeakValueDictionary

from .decisions import Decision, SomeOf
from .numbers import FUNCTIONS, Number, plain


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


_FRACTION = re.compile(r"\((-?)(\d+)/(\d+)\)")
_MOST_DECIMALS = 12


def told(value: Static) -> str:
    """`text_of` for people: fractions are decimals where these end, 0.01 in place of (1/100)."""
    return _FRACTION.sub(_decimal, text_of(value)).replace("+ -", "- ")


def _decimal(fraction: re.Match[str]) -> str:
    top, bottom = int(fraction[2]), int(fraction[3])
    for places in range(1, _MOST_DECIMALS + 1):
        whole, rest = divmod(top * 10**places, bottom)
        if not rest:
            digits = f"{whole:0{places + 1}d}"
            return f"{fraction[1]}{digits[:-places]}.{digits[-places:]}"
    return fraction[0]


_interned: WeakValueDictionary[tuple[tuple[Monomial, Number], ...], Expr] = WeakValueDictionary()


def _terms(value: Static) -> tuple[tuple[Monomial, Number], ...]:
    return value.terms if isinstance(value, Expr) else (((), value),)


def _term_text(monomial: Monomial, factor: Number) -> str:
    atoms = "*".join(atom.text for atom in monomial)
    if not atoms:
        return text_of(factor)
    return atoms if factor == 1 else f"{text_of(factor)}*{atoms}"


LONGEST_TEXT = 100_000
"""Characters that an expression may have when written out; beyond it OverflowError is raised."""


def _from_terms(terms: Mapping[Monomial, Number]) -> Static:
    kept = {monomial: plain(factor) for monomial, factor in terms.items() if factor != 0}
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


def expression(atom: Atom) -> Expr:
    """The expression that is this atom alone."""
    result = _from_terms({(atom,): 1})
    assert isinstance(result, Expr)
    return result


def symbol(name: str) -> Expr:
    """The named size `name`."""
    return expression(Symbol(name))


def pick(decision: Decision, slot: int, options: Sequence[Static]) -> Static:
    """The option that `decision` takes at `slot`; no expression where all options are equal."""
    if all(option == options[0] for option in options):
        return options[0]
    if sum(len(option.text) for option in options if isinstance(option, Expr)) > LONGEST_TEXT:
        raise OverflowError("the options are too long")
    return expression(Pick(decision, slot, tuple(options)))


def present(decision: SomeOf, index: int) -> Expr:
    """1 where `decision` takes the candidate `index`, else 0."""
    return expression(Present(decision, index))


# ── functions ────────────────────────────────────────────────────────────────────────────────────


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
    """`a // b`, exact where `b` divides `a` as a polynomial; `(4*T + 3) // 4` is `T`."""
    if isinstance(a, Expr) and (exact := _exact_quotient(a, b)) is not None:
        return exact
    if isinstance(a, Expr) and isinstance(b, int) and (whole := _whole_part(a, b)):
        return _from_terms(whole) + floordiv(a - _from_terms(whole) * b, b)
    if isinstance(a, Expr) or isinstance(b, Expr):
        return expression(Call("floordiv", (a, b)))
    return FUNCTIONS["floordiv"](a, b)


def _whole_part(value: Expr, divisor: int) -> dict[Monomial, Number]:
    """What `divisor` divides of the terms in named sizes, which are whole: these leave the floor.

    So a convolution with stride 4 over `4*T` frames has `T` of them, whatever its kernel pads.
    """
    return {
        monomial: factor // divisor
        for monomial, factor in value.terms
        if monomial and all(isinstance(atom, Symbol) for atom in monomial)
        if divisor != 0 and isinstance(factor, int) and factor % divisor == 0
    }


def mod(a: Static, b: Static) -> Static:
    """`a % b`, zero where `b` divides `a` as a polynomial."""
    if isinstance(a, Expr) and _exact_quotient(a, b) is not None:
        return 0
    if isinstance(a, Expr) or isinstance(b, Expr):
        return expression(Call("mod", (a, b)))
    return FUNCTIONS["mod"](a, b)


def divide(a: Static, b: Static) -> Static:
    """`a / b`, an exact fraction of whole numbers."""
    if not isinstance(b, Expr):
        quotient = FUNCTIONS["div"]
        return a * quotient(1, b) if isinstance(a, Expr) else quotient(a, b)
    if isinstance(a, Expr) and (exact := _exact_quotient(a, b)) is not None:
        return exact
    return expression(Call("div", (a, b)))


def call(name: str, *arguments: Static) -> Static:
    """`FUNCTIONS[name]` of static numbers, kept as an expression where one of them is open."""
    if name == "floordiv":
        return floordiv(*arguments)
    if name == "mod":
        return mod(*arguments)
    if name == "div":
        return divide(*arguments)
    if name in ("min", "max") and len(arguments) == 1:
        return arguments[0]
    if any(isinstance(a, Expr) for a in arguments):
        return expression(Call(name, arguments))
    return FUNCTIONS[name](*arguments)


# ── inspection ───────────────────────────────────────────────────────────────────────────────────


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
