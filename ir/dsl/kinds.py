"""What kind of thing a value is, and values as the thing that is needed."""

from __future__ import annotations

from fractions import Fraction
from typing import Any, TypeGuard

from ..diagnostics import Edit
from ..dims import Expr, Static
from ..node import Node
from ..settling import pretty
from . import syntax as s
from .context import Problem, problem
from .values import Family, Many, OpChoice, OpRef


def kind_of(value: Any) -> str:
    """What a value is, for messages."""
    if isinstance(value, bool):
        return "true or false"
    if isinstance(value, (int, float, Fraction, Expr)):
        return f"the number {pretty(value)}"
    if isinstance(value, Node):
        return f"a tensor {value.type.pretty}"
    if isinstance(value, (OpRef, OpChoice)):
        return "an op that waits for its inputs"
    if isinstance(value, Family):
        return f"the family `{value.label}`"
    if isinstance(value, Many):
        return "several values"
    return "a tuple" if isinstance(value, tuple) else "a text"


def is_static(value: Any) -> TypeGuard[Static]:
    """Whether it is a static number, which truth is not."""
    return isinstance(value, (int, float, Fraction, Expr)) and not isinstance(value, bool)


def needs_index(family: Family, tree: s.Tree) -> Problem:
    """`h` where `h[1]` or `h[*]` was meant (E206)."""
    whole = f"{s.unparse(tree)}[*]"
    return problem(
        "E206",
        f"`{family.label}` is a family and needs an index",
        tree,
        "one member, or all of them?",
        help=f"write `{whole}` for all of them",
        edit=Edit(tree.span, whole),
    )


def tensor_of(value: Any, tree: s.Tree) -> Node:
    """The value as a tensor. Raises Problem (E210) where it is something else."""
    if isinstance(value, Node):
        return value
    if isinstance(value, Family):
        raise needs_index(value, tree)
    help = "write a name that stands for a tensor"
    if isinstance(value, Many):
        help = "join them first, for example with `concat` or `sum`"
    elif isinstance(value, (OpRef, OpChoice)):
        help = "give the op its inputs in parentheses"
    elif is_static(value):
        help = "numbers are given by name, as attributes: `axis=1`"
    raise problem("E210", f"a tensor is needed here, not {kind_of(value)}", tree, help=help)


def static_of(value: Any, tree: s.Tree) -> Static:
    """The value as a static number. Raises Problem (E210) where it is something else."""
    if is_static(value):
        return value
    raise problem(
        "E210",
        f"a number is needed here, not {kind_of(value)}",
        tree,
        help="sizes come from constants, `dim`, `let` and attributes",
    )


def whole_of(value: Any, tree: s.Tree) -> int:
    """The value as a known whole number, for indices and loops."""
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    what = f"not {kind_of(value)}"
    if isinstance(value, Expr):
        what = f"and this is open: {pretty(value)}" if value.open else f"and `{value}` is a name"
    raise problem(
        "E210",
        f"a known whole number is needed here, {what}",
        tree,
        help="give a whole number: what is fixed when the file is read cannot be open"
        if isinstance(value, Expr)
        else "write a whole number",
    )
