"""Expressions to values: static numbers, ops, tensors (nodes), families of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

from ..decisions import Setting
from ..diagnostics import Edit, Label
from ..dims import (
    Call,
    Expr,
    Static,
    assignments,
    atoms,
    bounded,
    call,
    divide,
    floordiv,
    mod,
    pretty,
    settle,
)
from ..graph import Node, build
from ..ops import PRIMITIVES, Misfit
from . import syntax as s
from .context import Elaboration, Problem, Silent, problem, unknown
from .misfits import in_written_order, misfit_problem
from .values import POISON, CellDef, Family, Many, OpChoice, OpRef, Scope

SCALAR_FUNCTIONS = {"sqrt": 1, "ceil": 1, "floor": 1, "round": 1, "round8": 1, "abs": 1, "min": 0, "max": 0}  # fmt: skip
"""Functions of static numbers, with how many they take; 0 for any number."""
CONSTANTS = {"true": True, "false": False}
LONGEST_NUMBER = 80
"""Characters of a literal."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where an expression stands: the key that its statement gives, and whether it is the whole."""

    target: str
    top: bool
    label: str = ""

    @property
    def inner(self) -> Place:
        return replace(self, top=False, label="")

    def key(self, name: str) -> str:
        """The key of an op `name` here, before it is made unique."""
        if self.label:
            return f"{self.target}.{self.label}" if self.target else self.label
        if self.top or not self.target:
            return self.target or name
        return f"{self.target}.{name}"


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


def is_static(value: Any) -> bool:
    return isinstance(value, (int, float, Fraction, Expr)) and not isinstance(value, bool)


def evaluate(world: Elaboration, tree: s.Expression, scope: Scope, place: Place) -> Any:
    """The value of an expression. Raises Problem, or Silent where an earlier error is to blame."""
    match tree:
        case s.Number(text=text):
            return number(text, tree)
        case s.String(value=value):
            return value
        case s.Group(value=value):
            return evaluate(world, value, scope, place)
        case s.Name():
            return _name(tree, scope)
        case s.Tuple(items=items):
            return tuple([item for _, item in spread(world, items, scope, place.inner)])
        case s.Index():
            return _index(world, tree, scope)
        case s.Negative(value=value):
            return _negative(world, evaluate(world, value, scope, place.inner), tree)
        case s.Binary():
            return _binary(world, tree, scope, place)
        case s.Call():
            from .calls import evaluate_call

            return evaluate_call(world, tree, scope, place)
        case s.Decide():
            from .deciding import decide

            return decide(world, tree, scope, place)


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


def spread(
    world: Elaboration, trees: tuple[s.Expression, ...], scope: Scope, place: Place
) -> list[tuple[str, Any]]:
    """The values of a list of expressions with their labels; families and `x[*]` spread out."""
    values: list[tuple[str, Any]] = []
    for tree in trees:
        value = evaluate(world, tree, scope, place)
        if isinstance(value, Many):
            values += value.items
        elif isinstance(value, Family):
            raise needs_index(value, tree)
        else:
            values.append((label_of(tree, scope), value))
    return values


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


def label_of(tree: s.Expression, scope: Scope) -> str:
    """What a genotype calls this candidate: as written, with indices evaluated."""
    if isinstance(tree, s.Index) and not isinstance(tree.selector, (s.All, s.Below, s.Interval)):
        try:
            index = evaluate(Elaboration(), tree.selector, scope, Place("", False))
        except (Problem, Silent):
            return s.unparse(tree)
        if isinstance(index, int):
            return f"{label_of(tree.base, scope)}[{index}]"
    return s.unparse(tree)


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
        help="indices and bounds of loops cannot be open",
    )


# ── names and indices ────────────────────────────────────────────────────────────────────────────


def _name(tree: s.Name, scope: Scope) -> Any:
    value = scope.find(tree.id)
    if value is POISON:
        raise Silent
    if value is not None:
        return OpRef(value) if isinstance(value, CellDef) else value
    if tree.id in CONSTANTS:
        return CONSTANTS[tree.id]
    if tree.id in PRIMITIVES:
        return OpRef(PRIMITIVES[tree.id])
    known = scope.names() | PRIMITIVES.keys() | SCALAR_FUNCTIONS.keys()
    below = scope.below(tree.id)
    if below is not None and below < tree.span:
        raise problem(
            "E201",
            f"`{tree.id}` is known only inside its loop",
            tree,
            "not known here",
            causes=(Label(below, "defined here"),),
            help=f"give it an index, such as `{tree.id}[i] = …`, and write `{tree.id}[*]`",
        )
    if below is not None:
        raise problem(
            "E201",
            f"`{tree.id}` is used before it is defined",
            tree,
            "not defined yet",
            causes=(Label(below, "defined here"),),
            help="move the definition above its use",
        )
    raise unknown(
        "E201",
        f"there is no name `{tree.id}` here",
        tree,
        known,
        "define it above, or import it with `use`",
    )


def _index(world: Elaboration, tree: s.Index, scope: Scope) -> Any:
    base = evaluate(world, tree.base, scope, Place("", False))
    selector = tree.selector
    if isinstance(base, tuple):
        return _item(world, tree, base, scope)  # pyright: ignore[reportUnknownArgumentType]
    if not isinstance(base, Family):
        raise problem(
            "E206",
            f"`{s.unparse(tree.base)}` has no members: it is {kind_of(base)}",
            tree,
            help="leave the index out",
        )
    if isinstance(selector, s.All):
        return _many(base, None)
    if isinstance(selector, s.Below):
        limit = whole_of(evaluate(world, selector.limit, scope, Place("", False)), selector)
        return _many(base, range(-(10**9), limit))
    if isinstance(selector, s.Interval):
        first, last = bounds(world, selector, scope)
        for index in range(first, last + 1):
            _member(base, index, tree)
        return _many(base, range(first, last + 1))
    index = whole_of(evaluate(world, selector, scope, Place("", False)), selector)
    return _member(base, index, tree)


def bounds(world: Elaboration, tree: s.Interval, scope: Scope) -> tuple[int, int]:
    """The ends of `a..b` as known whole numbers."""
    first = whole_of(evaluate(world, tree.first, scope, Place("", False)), tree.first)
    last = whole_of(evaluate(world, tree.last, scope, Place("", False)), tree.last)
    return first, last


def _many(family: Family, keep: range | None) -> Many:
    items = tuple(family.items(keep))
    if any(value is POISON for _, value in items):
        raise Silent
    return Many(items)


def _member(family: Family, index: int, tree: s.Tree) -> Any:
    value = family.members.get(index)
    if value is POISON:
        raise Silent
    if value is None:
        have = sorted(family.members)
        shown = f"{have[0]}..{have[-1]}" if have else "none yet"
        raise problem(
            "E206",
            f"`{family.label}[{index}]` is not defined",
            tree,
            f"`{family.label}` has the members {shown}" if have else "no member is defined yet",
            help="define it above, or use an index that is there",
        )
    return value


def _item(world: Elaboration, tree: s.Index, items: tuple[Any, ...], scope: Scope) -> Any:
    selector = tree.selector
    if isinstance(selector, s.All):
        return Many(tuple([(str(item), item) for item in items]))
    if isinstance(selector, (s.Below, s.Interval)):
        raise problem("E206", "a tuple takes one index or `*`", tree, help="write one index")
    index = whole_of(evaluate(world, selector, scope, Place("", False)), selector)
    if not 1 <= index <= len(items):
        raise problem(
            "E206",
            f"there is no item {index} in a tuple of {len(items)}",
            tree,
            help=f"indices run from 1 to {len(items)}",
        )
    return items[index - 1]


# ── arithmetic ───────────────────────────────────────────────────────────────────────────────────


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


def _negative(world: Elaboration, value: Any, tree: s.Negative) -> Any:
    if isinstance(value, Node):
        return build(PRIMITIVES["scale"], [value], {"by": -1})
    return -static_of(value, tree.value)


def _binary(world: Elaboration, tree: s.Binary, scope: Scope, place: Place) -> Any:
    left = evaluate(world, tree.left, scope, place.inner)
    right = evaluate(world, tree.right, scope, place.inner)
    if not isinstance(left, Node) and not isinstance(right, Node):
        a, b = static_of(left, tree.left), static_of(right, tree.right)
        return computed(world, lambda: _STATIC[tree.operator](a, b), tree)
    try:
        return _tensor_arithmetic(tree, left, right)
    except Misfit as misfit:
        inputs = [value for value in (left, right) if isinstance(value, Node)]
        if len(inputs) == 2 and tree.operator in _TENSOR:
            misfit = in_written_order(PRIMITIVES[_TENSOR[tree.operator]], inputs, misfit)
        raise misfit_problem(world, misfit, tree.operator, tree.span, inputs) from None


def _tensor_arithmetic(tree: s.Binary, left: Any, right: Any) -> Node:
    operator = tree.operator
    if isinstance(left, Node) and isinstance(right, Node) and operator in _TENSOR:
        return build(PRIMITIVES[_TENSOR[operator]], [left, right])
    if isinstance(left, Node) and is_static(right):
        if operator in "*/":
            return build(PRIMITIVES["scale"], [left], {"by": right if operator == "*" else divide(1, right)})
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
