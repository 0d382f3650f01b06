"""Static numbers as Python: `4 * N`, `T // 2`, and where the named sizes in them are read."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from fractions import Fraction
from math import isfinite, lcm

from ...ir.diagnostics import Diagnostic, FusegraphError
from ...ir.dims import Call, Expr, Static, Symbol, symbols_in
from ...ir.node import Node

_INFIX = {"floordiv": "//", "mod": "%", "div": "/", "pow": "**"}
_WHOLE_RESULT = {"floor", "ceil", "round", "round8"}
_PLAIN_CALLS = {"abs": "abs", "min": "min", "max": "max", "round8": "round8"}


def python_of(value: Static, names: Mapping[str, str], whole: bool) -> str:
    """`value` as a Python expression over the variables `names`; an `int` where `whole`."""
    if isinstance(value, Expr):
        text = _expression(value, names, whole)
        if whole and not _is_whole(value):
            return f"int({text})"
        return text[1:-1] if _is_infix(value) else text
    if whole:
        return repr(int(value))
    number = float(value) if isinstance(value, Fraction) else value
    return repr(number) if isfinite(number) else f'float("{number}")'


def _is_infix(value: Expr) -> bool:
    """Whether the expression is one operation, which stands in parentheses."""
    ((monomial, factor), *more) = value.terms
    if more or factor != 1 or len(monomial) != 1:
        return False
    return isinstance(monomial[0], Call) and monomial[0].name in _INFIX


def _is_whole(value: Static) -> bool:
    """Whether the Python expression gives an `int` without being told to."""
    if not isinstance(value, Expr):
        return isinstance(value, int)
    for monomial, factor in value.terms:
        # Fractions of plain sizes are divided out with `//`, see `_expression`.
        plain = all(isinstance(atom, Symbol) for atom in monomial)
        if not (isinstance(factor, int) or (isinstance(factor, Fraction) and plain)):
            return False
        for atom in monomial:
            if isinstance(atom, Call) and atom.name not in _WHOLE_RESULT:
                if atom.name in ("sqrt", "div", "pow"):
                    return False
                if not all(map(_is_whole, atom.arguments)):
                    return False
    return True


def _expression(value: Expr, names: Mapping[str, str], whole: bool) -> str:
    below = lcm(*[f.denominator for _, f in value.terms if isinstance(f, Fraction)])
    text = ""
    for monomial, factor in value.terms:
        scaled = factor * below if below > 1 else factor
        if isinstance(scaled, Fraction):
            scaled = scaled.numerator
        sign = "-" if scaled < 0 else "+"
        factors = [_atom(atom, names) for atom in monomial]
        if abs(scaled) != 1 or not factors:
            factors.insert(0, repr(abs(scaled)))
        term = " * ".join(factors)
        text = f"{text} {sign} {term}" if text else (f"-{term}" if sign == "-" else term)
    if below == 1:
        return text
    return f"({text}) {'//' if whole and _is_whole(value) else '/'} {below}"


def _atom(atom: object, names: Mapping[str, str]) -> str:
    if isinstance(atom, Symbol):
        return names[atom.name]
    assert isinstance(atom, Call), "a settled graph has no open numbers"
    inner = [python_of(a, names, whole=False) for a in atom.arguments]
    if atom.name in _INFIX:
        left, right = [t if t.isidentifier() or t.isdigit() else f"({t})" for t in inner]
        return f"({left} {_INFIX[atom.name]} {right})"
    if atom.name in _PLAIN_CALLS:
        return f"{_PLAIN_CALLS[atom.name]}({', '.join(inner)})"
    if atom.name == "round":
        return f"math.floor({inner[0]} + 0.5)"
    return f"math.{atom.name}({', '.join(inner)})"


def reading_of(symbol: str, inputs: Iterable[tuple[Node, str]]) -> str:
    """Python that reads the named size from the inputs, given with their names there.

    Raises FusegraphError E715 where no input's shape gives it.
    """
    found = ""
    for node, name in inputs:
        for axis, size in enumerate(node.type.shape):
            if not isinstance(size, Expr) or symbols_in(size) != {symbol}:
                continue
            there = f"{name}.shape[{axis}]"
            terms = dict(size.terms)
            constant = terms.pop((), 0)
            ((monomial, factor), *more) = terms.items()
            if more or monomial != (Symbol(symbol),):
                continue
            if constant == 0 and factor == 1:
                return there
            if found or not isinstance(constant, int) or not isinstance(factor, int):
                continue
            if constant:
                there = f"{there} {'-' if constant > 0 else '+'} {abs(constant)}"
            if factor != 1:
                there = f"({there}) // {factor}" if constant else f"{there} // {factor}"
            found = there
    if found:
        return found
    raise FusegraphError(
        Diagnostic(
            code="E715",
            message=f"the size `{symbol}` is needed, and no input has an axis that tells it",
            help=f"give an input an axis of size `{symbol}`",
        )
    )
