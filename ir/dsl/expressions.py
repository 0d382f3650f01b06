"""Expressions to values: static numbers, ops, tensors (nodes), families of them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

from ..diagnostics import Label
from ..ops import PRIMITIVES
from . import syntax as s
from .arithmetic import SCALAR_FUNCTIONS, combined, negated, number
from .context import Elaboration, Problem, Silent, problem, unknown
from .kinds import kind_of, needs_index, whole_of
from .values import (
    POISON,
    CellDef,
    Family,
    LevelFamily,
    LevelMembers,
    Many,
    OpRef,
    Scope,
)

CONSTANTS = {"true": True, "false": False}


@dataclass(frozen=True, slots=True)
class Place:
    """Where an expression stands: the key that its statement gives, and whether it is the whole."""

    target: str
    top: bool
    label: str = ""

    @property
    def inner(self) -> Place:
        """The place of a part of the expression."""
        return replace(self, top=False, label="")

    def key(self, name: str) -> str:
        """The key of an op `name` here, before it is made unique."""
        if self.label:
            return f"{self.target}.{self.label}" if self.target else self.label
        if self.top or not self.target:
            return self.target or name
        return f"{self.target}.{name}"


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
            return negated(evaluate(world, value, scope, place.inner), tree)
        case s.Binary():
            left = evaluate(world, tree.left, scope, place.inner)
            right = evaluate(world, tree.right, scope, place.inner)
            return combined(world, tree, left, right)
        case s.Call():
            from .calls import evaluate_call

            return evaluate_call(world, tree, scope, place)
        case s.Decide():
            from .deciding import decide

            return decide(world, tree, scope, place)
        case s.Bare():
            raise problem(
                "E101",
                f"`{s.unparse(tree)}` has no candidates",
                tree,
                "only a genotype's labels leave them out",
                help=f"write `{s.unparse(tree)} of {{a, b}}`",
            )


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


def label_of(tree: s.Expression, scope: Scope) -> str:
    """What a genotype calls this candidate: as written, with indices evaluated."""
    if isinstance(tree, s.Index) and not isinstance(tree.selector, (s.All, s.Below, s.Interval)):
        try:
            index = evaluate(Elaboration(), tree.selector, scope, Place("", False))
        except (Problem, Silent):
            return s.label_of(tree)
        if isinstance(index, int):
            return f"{label_of(tree.base, scope)}[{index}]"
    return s.label_of(tree)


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
    if not isinstance(base, (LevelFamily, LevelMembers)):
        return _selected(world, tree, base, scope)
    from .levels import check_selector, note_read

    check_selector(base, tree)
    found = _selected(world, tree, base, scope)
    if isinstance(found, Many):
        note_read(world, found, tree)
    return found


def _selected(world: Elaboration, tree: s.Index, base: Any, scope: Scope) -> Any:
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


def _item_label(item: Any) -> str:
    """What a genotype calls an item of a tuple: a number as a file would write it."""
    if not isinstance(item, Fraction):
        return str(item)
    decimal = repr(float(item))
    return decimal if Fraction(decimal) == item else f"{item.numerator} / {item.denominator}"


def _item(world: Elaboration, tree: s.Index, items: tuple[Any, ...], scope: Scope) -> Any:
    selector = tree.selector
    if isinstance(selector, s.All):
        return Many(tuple([(_item_label(item), item) for item in items]))
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
