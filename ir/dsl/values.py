"""What names stand for while a file is elaborated, and the scopes that hold them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from ..decisions import Decision
from ..diagnostics import Span
from ..ops import Op
from . import syntax as s


@dataclass(frozen=True, slots=True, eq=False)
class CellDef:
    """A composite as it is written, with the scope in which it is."""

    tree: s.CellTree
    scope: Scope

    @property
    def name(self) -> str:
        """As it is called."""
        return self.tree.name.id


@dataclass(frozen=True, slots=True)
class OpRef:
    """An op or a composite that waits for its inputs; `attrs` are given already.

    `share` is the key that all its applications share; None where each has its own.
    """

    callee: Op | CellDef
    attrs: tuple[tuple[str, Any], ...] = ()
    share: str | None = None

    @property
    def name(self) -> str:
        """As it is called."""
        return self.callee.name

    @property
    def takes_inputs(self) -> bool:
        """Whether it waits for inputs; `parameter` and `zeros` have none."""
        if isinstance(self.callee, CellDef):
            return bool(self.callee.tree.operands)
        return bool(self.callee.inputs)


@dataclass(frozen=True, slots=True)
class OpChoice:
    """An open choice among ops, which waits for the inputs of all of them."""

    decision: Decision
    candidates: tuple[OpRef, ...]


@dataclass(slots=True, eq=False)
class Family:
    """Names with an index: `h[1]`, `h[2]`, …; with two indices a family of families."""

    label: str
    members: dict[int, Any] = field(default_factory=dict[int, Any])

    def items(self, keep: range | None = None) -> Iterator[tuple[str, Any]]:
        """The members in ascending order of index, with their labels."""
        for index in sorted(self.members):
            if keep is None or index in keep:
                value = self.members[index]
                if isinstance(value, Family):
                    yield from value.items()
                else:
                    yield f"{self.label}[{index}]", value


class LevelFamily(Family):
    """`v` of `levels v`: its members are the levels."""


class LevelMembers(Family):
    """`v[1]`: its members are the nodes of a level."""


@dataclass(frozen=True, slots=True)
class Many:
    """Several values in one place: `x[*]`, or what a decision takes k of."""

    items: tuple[tuple[str, Any], ...]


class Poison:
    """What a name stands for after an error in its definition: using it is no second error."""


POISON = Poison()


@dataclass(slots=True, eq=False)
class Scope:
    """Names and what they stand for.

    `prefix` is the key of the instance that it belongs to, `suffix` the indices of the loops
    around: `[2][1]`. `later` holds the places of all definitions in the body, loops included.
    """

    kind: str
    file: str
    parent: Scope | None = None
    prefix: str = ""
    suffix: str = ""
    values: dict[str, Any] = field(default_factory=dict[str, Any])
    spans: dict[str, Span] = field(default_factory=dict[str, Span])
    later: dict[str, Span] = field(default_factory=dict[str, Span])

    def find(self, name: str) -> Any:
        """What the name stands for here or further out; None where it is not defined."""
        scope: Scope | None = self
        while scope is not None:
            if name in scope.values:
                return scope.values[name]
            scope = scope.parent
        return None

    def span_of(self, name: str) -> Span | None:
        """Where the name is defined, here or further out."""
        scope: Scope | None = self
        while scope is not None:
            if name in scope.spans:
                return scope.spans[name]
            scope = scope.parent
        return None

    def below(self, name: str) -> Span | None:
        """Where the name is defined in a body around, although it is not known here."""
        scope: Scope | None = self
        while scope is not None:
            if name in scope.later:
                return scope.later[name]
            scope = scope.parent
        return None

    def names(self) -> set[str]:
        """All names that are known here."""
        found: set[str] = set()
        scope: Scope | None = self
        while scope is not None:
            found |= scope.values.keys()
            scope = scope.parent
        return found

    @property
    def home(self) -> Scope:
        """The space, cell or file around the loops: where families live."""
        scope = self
        while scope.kind == "for":
            assert scope.parent is not None
            scope = scope.parent
        return scope

    def path(self, name: str) -> str:
        """The key of what is called `name` here."""
        return f"{self.prefix}.{name}" if self.prefix else name
