"""Arithmetic: exact on static numbers, elementwise on tensors."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from typing import Any

from ..decisions import Setting
from ..dims import Call, Expr, Static, atoms, call, divide, floordiv, mod
from ..node import Node, build
from ..numbers import bounded
from ..ops import PRIMITIVES, Misfit
from ..settling import assignments, settle
from . import syntax as s
from .context import Elaboration, problem
from .kinds import is_static, kind_of, static_of
from .misfits import misfit_problem, whole

SCALAR_FUNCTIONS = {
    "sqrt": 1,
    "ceil": 1,
    "floor": 1,
    "round": 1,
    "round8": 1,
    "abs": 1,
    "min": 0,
    "max": 0,
}
"""Functions of static numbers, with how many they take; 0 for any number."""
LONGEST_NUMBER = 80
"""Characters of a literal."""


def number(text: str, tree: s.Tree) -> Static:
    """A literal: whole, or an exact fraction, so that `2.25 * 96` is whole again."""
    exponent = text.lower().partition("e")[2]
    if len(text) > LONGEST_NUMBER or (exponent and abs(int(exponent)) > LONGEST_NUMBER):
        raise problem(
            "E501", "this number is too large or too exact", tree,
            help=f"numbers have at most {LONGEST_NUMBER} digits",
        )  # fmt: skip
    if text.isdigit():
        return int(text)
    exact = Fraction(text)
    return exact.numerator if exact.denominator == 1 else exact


_STATIC: dict[str, Callable[[Any, Any], Static]] = {
    "+": lambda a, b: a + b,
    "-": lambda a, b: a - b,
    "*": lambda a, b: a * b,
    "/": divide,
    "//": floordiv,
    "%": mod,
    "**": lambda a, b: call("pow", a, b),
}
_TENSOR = {"+": "sum", "-": "sub", "*": "mul", "/": "div"}


def computed(world: Elaboration, compute: Callable[[], Static], tree: s.Expression) -> Static:
    """What `compute` gives, which must have a value under every setting of the decisions in it.

    Raises Problem: E210 where there is no value, E501 where it is too large, E505 where too many
    decisions meet to tell.
    """
    settings: dict[str, Setting] = {}
    try:
        value = compute()
        if not isinstance(value, Expr):
            return bounded(value)
        if value.open and _may_be_undefined(value):
            joint = assignments([value])
            if joint is None:
                raise problem(
                    "E505",
                    f"too many decisions meet in `{s.unparse(tree)}` to check that it has a value",
                    tree,
                    help="open fewer of these numbers",
                )
            for settings in joint:
                settle(value, settings)
        return value
    except OverflowError as error:
        raise problem(
            "E501",
            f"`{s.unparse(tree)}` is too large: {error}",
            tree,
            help="keep numbers below 2 ** 256, and expressions short",
        ) from None
    except (ArithmeticError, ValueError):
        where = [f"{key} = {world.decisions[key].format(at)}" for key, at in settings.items()]
        raise problem(
            "E210",
            f"`{s.unparse(tree)}` has no value" + (f" where {', '.join(where)}" if where else ""),
            tree,
            help="divide by something else than zero, and take no root of a negative number",
        ) from None


def _may_be_undefined(value: Expr) -> bool:
    partial = ("div", "floordiv", "mod", "pow", "sqrt")
    return any(isinstance(atom, Call) and atom.name in partial for atom in atoms(value))


def negated(value: Any, tree: s.Negative) -> Any:
    """`-value`, of a tensor or of a number."""
    if isinstance(value, Node):
        return build(PRIMITIVES["scale"], [value], {"by": -1})
    return -static_of(value, tree.value)


def combined(world: Elaboration, tree: s.Binary, left: Any, right: Any) -> Any:
    """`left operator right`, of tensors, numbers, or both."""
    if not isinstance(left, Node) and not isinstance(right, Node):
        a, b = static_of(left, tree.left), static_of(right, tree.right)
        return computed(world, lambda: _STATIC[tree.operator](a, b), tree)
    try:
        return _tensor_arithmetic(tree, left, right)
    except Misfit as misfit:
        inputs = [value for value in (left, right) if isinstance(value, Node)]
        if len(inputs) == 2 and tree.operator in _TENSOR:
            misfit = whole(PRIMITIVES[_TENSOR[tree.operator]], inputs, {}, misfit)
        raise misfit_problem(world, misfit, tree.operator, tree.span, inputs) from None


def _tensor_arithmetic(tree: s.Binary, left: Any, right: Any) -> Node:
    operator = tree.operator
    if isinstance(left, Node) and isinstance(right, Node) and operator in _TENSOR:
        return build(PRIMITIVES[_TENSOR[operator]], [left, right])
    if isinstance(left, Node) and is_static(right):
        if operator in "*/":
            return build(
                PRIMITIVES["scale"], [left], {"by": right if operator == "*" else divide(1, right)}
            )
        if operator in "+-":
            return build(PRIMITIVES["shift"], [left], {"by": right if operator == "+" else -right})
    if isinstance(right, Node) and is_static(left):
        if operator == "*":
            return build(PRIMITIVES["scale"], [right], {"by": left})
        if operator == "+":
            return build(PRIMITIVES["shift"], [right], {"by": left})
        if operator == "-":
            negative = build(PRIMITIVES["scale"], [right], {"by": -1})
            return build(PRIMITIVES["shift"], [negative], {"by": left})
    raise problem(
        "E210",
        f"`{operator}` does not take {kind_of(left)} and {kind_of(right)}",
        tree,
        help="tensors take `+ - * /` with each other, and with numbers on the right",
    )
