"""The syntax tree: what a `.fuse` file says, with its spans, before it means anything."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from typing import Any

from ..diagnostics import Span

NOWHERE = Span("", 1, 1, 1, 1)
"""The place of what no file has."""


@dataclass(frozen=True, slots=True)
class Tree:
    """What every part has: its place in the file."""

    span: Span

    def parts(self) -> Iterator[Tree]:
        """The trees directly below this one."""
        for item in fields(self):
            value = getattr(self, item.name)
            values: tuple[Any, ...] = value if isinstance(value, tuple) else (value,)  # pyright: ignore[reportUnknownVariableType]
            for part in values:
                if isinstance(part, Tree):
                    yield part


# ── expressions ──────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Number(Tree):
    """A literal, as written."""

    text: str


@dataclass(frozen=True, slots=True)
class String(Tree):
    """A text in quotes, without them."""

    value: str


@dataclass(frozen=True, slots=True)
class Name(Tree):
    """A name, wherever it stands."""

    id: str


@dataclass(frozen=True, slots=True)
class All(Tree):
    """`[*]`: every member."""


@dataclass(frozen=True, slots=True)
class Below(Tree):
    """`[<n]`: every member with an index below n."""

    limit: Expression


@dataclass(frozen=True, slots=True)
class Interval(Tree):
    """`first..last`, both included: members of a family, or numbers among candidates."""

    first: Expression
    last: Expression


@dataclass(frozen=True, slots=True)
class Index(Tree):
    """`base[selector]`."""

    base: Expression
    selector: Expression | All | Below | Interval


@dataclass(frozen=True, slots=True)
class Keyword(Tree):
    """`name=value` in a call, or a setting of a genotype."""

    name: Name
    value: Expression


@dataclass(frozen=True, slots=True)
class Call(Tree):
    """`function(arguments, keywords)`."""

    function: Expression
    arguments: tuple[Expression, ...]
    keywords: tuple[Keyword, ...]


@dataclass(frozen=True, slots=True)
class Binary(Tree):
    """`left operator right`."""

    operator: str
    left: Expression
    right: Expression


@dataclass(frozen=True, slots=True)
class Negative(Tree):
    """`-value`."""

    value: Expression


@dataclass(frozen=True, slots=True)
class Group(Tree):
    """An expression in parentheses."""

    value: Expression


@dataclass(frozen=True, slots=True)
class Tuple(Tree):
    """`(a, b)`."""

    items: tuple[Expression, ...]


@dataclass(frozen=True, slots=True)
class Labelled(Tree):
    """`label: value` among candidates: what a genotype calls the value."""

    name: Name
    value: Expression


@dataclass(frozen=True, slots=True)
class Candidates(Tree):
    """`{a, b, x[*], 1..4, label: c}`."""

    items: tuple[Expression | Interval | Labelled, ...]


@dataclass(frozen=True, slots=True)
class Decide(Tree):
    """`?name of …`; `take` is None for one, "some" for a subset, an expression for k."""

    name: Name
    take: Expression | str | None
    source: Expression | Candidates
    repeats: bool


@dataclass(frozen=True, slots=True)
class Bare(Tree):
    """`?name` in a genotype's label, which stands for a decision inside that candidate."""

    name: Name


Expression = (
    Number | String | Name | Index | Call | Binary | Negative | Group | Tuple | Decide | Bare
)  # fmt: skip

# ── statements and items ─────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class TypeTree(Tree):
    """`f32[N, C]`."""

    dtype: Name
    sizes: tuple[Expression, ...]


@dataclass(frozen=True, slots=True)
class Target(Tree):
    """What an assignment or an input defines: `h`, `h[i]`."""

    name: Name
    indices: tuple[Expression, ...]


@dataclass(frozen=True, slots=True)
class Dim(Tree):
    """`dim N, T`."""

    names: tuple[Name, ...]


@dataclass(frozen=True, slots=True)
class Let(Tree):
    """`let name = value`."""

    name: Name
    value: Expression


@dataclass(frozen=True, slots=True)
class Share(Tree):
    """`share name = op(…)`."""

    name: Name
    value: Expression


@dataclass(frozen=True, slots=True)
class Input(Tree):
    """`input target: type`."""

    target: Target
    type: TypeTree


@dataclass(frozen=True, slots=True)
class Output(Tree):
    """`output name = value`."""

    name: Name
    value: Expression


@dataclass(frozen=True, slots=True)
class For(Tree):
    """`for name in values { … }`."""

    name: Name
    values: Interval | Candidates
    body: tuple[Statement, ...]


@dataclass(frozen=True, slots=True)
class LevelTree(Tree):
    """`level number width width least least { template }` in an open levelled graph."""

    number: Expression
    width: Expression
    least: Expression | None
    template: Expression


@dataclass(frozen=True, slots=True)
class LevelsTree(Tree):
    """`levels name { … }`."""

    name: Name
    levels: tuple[LevelTree, ...]


@dataclass(frozen=True, slots=True)
class Return(Tree):
    """`return value`."""

    value: Expression


@dataclass(frozen=True, slots=True)
class Require(Tree):
    """`require left relation right`, or `require left in right .. last`."""

    left: Expression
    relation: str
    right: Expression
    last: Expression | None


@dataclass(frozen=True, slots=True)
class Assign(Tree):
    """`target = value`."""

    target: Target
    value: Expression


@dataclass(frozen=True, slots=True)
class Operand(Tree):
    """`x: f32[N, C]` or `x[*]` in the head of a cell."""

    name: Name
    variadic: bool
    type: TypeTree | None


@dataclass(frozen=True, slots=True)
class Attribute(Tree):
    """`name: kind = default` in the head of a cell."""

    name: Name
    kind: Name
    default: Expression | None


@dataclass(frozen=True, slots=True)
class CellTree(Tree):
    """`cell name(operands; attributes) -> result { … }`."""

    name: Name
    operands: tuple[Operand, ...]
    attributes: tuple[Attribute, ...]
    result: TypeTree | None
    body: tuple[Statement, ...]


@dataclass(frozen=True, slots=True)
class Use(Tree):
    """`use "path": names`."""

    path: String
    names: tuple[Name, ...]


@dataclass(frozen=True, slots=True)
class SpaceTree(Tree):
    """`space name { … }`."""

    name: Name
    body: tuple[Statement, ...]


Statement = (
    Dim | Let | Share | Input | Output | For | CellTree | LevelsTree | Return | Require | Assign
)

# ── genotypes ────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Path(Tree):
    """`c[1].s[2]`: the key of a scope or of a decision."""

    text: str


@dataclass(frozen=True, slots=True)
class Labels(Tree):
    """`{a, b}` after a decision of a genotype."""

    items: tuple[Expression, ...]


@dataclass(frozen=True, slots=True)
class Entry(Tree):
    """`path = value` in a genotype."""

    path: Path
    value: Expression | Labels


@dataclass(frozen=True, slots=True)
class ScopeTree(Tree):
    """`path { … }` in a genotype."""

    path: Path
    entries: tuple[Entry | ScopeTree, ...]


@dataclass(frozen=True, slots=True)
class GenotypeTree(Tree):
    """`genotype of "space" with settings @ "pin"` and its entries."""

    space: String
    settings: tuple[Keyword, ...]
    pin: String | None
    entries: tuple[Entry | ScopeTree, ...]


Item = Use | SpaceTree | CellTree | GenotypeTree


@dataclass(frozen=True, slots=True)
class File(Tree):
    """A whole file."""

    version: Number
    items: tuple[Item, ...]


def unparse(tree: Tree) -> str:
    """An expression on one line in the one layout; labels of candidates are made so."""
    match tree:
        case Number(text=text):
            return text
        case String(value=value):
            return f'"{value}"'
        case Name(id=name):
            return name
        case All():
            return "*"
        case Below(limit=limit):
            return f"<{unparse(limit)}"
        case Interval(first=first, last=last):
            return f"{unparse(first)}..{unparse(last)}"
        case Index(base=base, selector=selector):
            return f"{unparse(base)}[{unparse(selector)}]"
        case Keyword(name=name, value=value):
            return f"{name.id}={unparse(value)}"
        case Call(function=function, arguments=arguments, keywords=keywords):
            inner = ", ".join(map(unparse, (*arguments, *keywords)))
            return f"{unparse(function)}({inner})"
        case Binary(operator=operator, left=left, right=right):
            return f"{unparse(left)} {operator} {unparse(right)}"
        case Negative(value=value):
            return f"-{unparse(value)}"
        case Group(value=value):
            return f"({unparse(value)})"
        case Tuple(items=items):
            return f"({', '.join(map(unparse, items))}{',' if len(items) == 1 else ''})"
        case Candidates(items=items) | Labels(items=items):
            return "{" + ", ".join(map(unparse, items)) + "}"
        case Decide(name=name, take=take, source=source, repeats=repeats):
            many = "" if take is None else f" {take if isinstance(take, str) else unparse(take)}"
            tail = " repeats" if repeats else ""
            return f"?{name.id}{many} of {unparse(source)}{tail}"
        case Labelled(name=name, value=value):
            return f"{name.id}: {unparse(value)}"
        case Bare(name=name):
            return f"?{name.id}"
        case TypeTree(dtype=dtype, sizes=sizes):
            return f"{dtype.id}[{', '.join(map(unparse, sizes))}]"
        case Target(name=name, indices=indices):
            return name.id + "".join(f"[{unparse(i)}]" for i in indices)
        case Path(text=text):
            return text
        case _:
            raise TypeError(f"{type(tree).__name__} is not written on one line")


def label_of(tree: Expression) -> str:
    """What a genotype calls a candidate: as written, decisions inside brackets by their names.

    So `relu(linear(x, out=?w of {3, 4}))` is `relu(linear(x, out=?w))`; outside of brackets, where
    it would run into the next entry, a decision stays whole.
    """
    return unparse(_named(tree, bracketed=False))


def _named(tree: Any, bracketed: bool) -> Any:
    match tree:
        case Decide(span=span, name=name) if bracketed:
            return Bare(span, name)
        case Call(function=function, arguments=arguments, keywords=keywords):
            return replace(
                tree,
                function=_named(function, True),
                arguments=tuple([_named(a, True) for a in arguments]),
                keywords=tuple([_named(k, True) for k in keywords]),
            )
        case Keyword(value=value) | Group(value=value):
            return replace(tree, value=_named(value, True))
        case Tuple(items=items):
            return replace(tree, items=tuple([_named(item, True) for item in items]))
        case Negative(value=value):
            return replace(tree, value=_named(value, bracketed))
        case Binary(left=left, right=right):
            return replace(tree, left=_named(left, bracketed), right=_named(right, bracketed))
        case _:
            return tree
