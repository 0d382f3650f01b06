"""What is known of an operator, save the code of the backends."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any, Literal, overload

from ..decisions import Setting
from ..dims import Dim, Expr, Static, text_of
from ..settling import assignments, pretty, settle
from ..types import Type
from .roles import Rule, follow

Attrs = Mapping[str, Any]

Kind = Literal["int", "number", "bool", "text", "ints", "pads", "shape"]


class Misfit(Exception):
    """Inputs or attributes that an op cannot take. Who catches it adds the source spans.

    `inputs` are the places of the inputs to blame; where open decisions meet here, `failed` and
    `passed` are the joint settings under which the op does not and does fit.
    """

    def __init__(
        self,
        message: str,
        *,
        code: str = "E301",
        inputs: tuple[int, ...] = (),
        failed: Sequence[Mapping[str, Setting]] = (),
        passed: Sequence[Mapping[str, Setting]] = (),
        help: str = "",
    ) -> None:
        super().__init__(message)
        self.message = message
        self.code = code
        self.inputs = inputs
        self.failed = tuple(failed)
        self.passed = tuple(passed)
        self.help = help

    @property
    def witness(self) -> Mapping[str, Setting]:
        """One setting under which the op does not fit; empty where it never fits."""
        return self.failed[0] if self.failed else {}

    @property
    def failing(self) -> int:
        """How many joint settings it does not fit under."""
        return len(self.failed)

    @property
    def total(self) -> int:
        """How many joint settings were tried."""
        return len(self.failed) + len(self.passed)


REQUIRED = object()


@dataclass(frozen=True, slots=True)
class Attr:
    """An attribute of an op: its name, what values it takes, its default, and its meaning."""

    name: str
    kind: Kind
    doc: str
    default: Any = REQUIRED

    @property
    def required(self) -> bool:
        """Whether there is no default."""
        return self.default is REQUIRED

    def accept(self, value: Any) -> Any:
        """`value` in its one form. Raises Misfit where it is of another kind."""
        if value is None and self.default is None:
            return None
        accepted = _ACCEPT[self.kind](value)
        if accepted is None:
            raise Misfit(
                f"`{self.name}` takes {_KINDS[self.kind]}, not `{_shown(value)}`", code="E304"
            )
        return accepted


def _shown(value: Any) -> str:
    if isinstance(value, tuple):
        return f"({', '.join(_shown(v) for v in value)})"  # pyright: ignore[reportUnknownVariableType]
    if isinstance(value, (int, float, Fraction, Expr)) and not isinstance(value, bool):
        return pretty(value)
    return f'"{value}"' if isinstance(value, str) else str(value).lower()


_KINDS: Mapping[Kind, str] = {
    "int": "a whole number",
    "number": "a number",
    "bool": "true or false",
    "text": "a word in quotes",
    "ints": "a whole number or a tuple of whole numbers",
    "pads": "a whole number, or a tuple of whole numbers or of pairs (before, after)",
    "shape": "a tuple of sizes",
}


def _int(value: Any) -> Any:
    if isinstance(value, Expr):
        joint = assignments([value]) if value.open else None
        settled = [settle(value, settings) for settings in joint or ()]
        whole = all(isinstance(v, Expr) or v == int(v) for v in settled)
        return value if whole else None
    if isinstance(value, bool) or not isinstance(value, (int, float, Fraction)):
        return None
    return int(value) if value == int(value) else None


def _number(value: Any) -> Any:
    if isinstance(value, bool):
        return None
    if isinstance(value, Expr):
        return value
    return float(value) if isinstance(value, (int, float, Fraction)) else None


def _sequence(value: Any, accept: Callable[[Any], Any]) -> Any:
    if not isinstance(value, tuple):
        return accept(value)
    items = tuple([accept(item) for item in value])  # pyright: ignore[reportUnknownVariableType]
    return None if None in items else items


_ACCEPT: Mapping[Kind, Callable[[Any], Any]] = {
    "int": _int,
    "number": _number,
    "bool": lambda v: v if isinstance(v, bool) else None,
    "text": lambda v: v if isinstance(v, str) else None,
    "ints": lambda v: _sequence(v, _int),
    "pads": lambda v: _sequence(v, lambda pad: _sequence(pad, _int)),
    "shape": lambda v: _sequence(v, _int) if isinstance(v, tuple) else None,
}


@dataclass(frozen=True, slots=True)
class Weight:
    """A tensor that a node owns. `buffer` marks running statistics, which no one counts."""

    name: str
    shape: tuple[Dim, ...]
    init: str
    buffer: bool = False


def _same(types: Sequence[Type], attrs: Attrs) -> Attrs:
    return attrs


@dataclass(frozen=True, eq=False, slots=True)
class Op:
    """One registry entry: type inference, weights, cost, and how it behaves in the graph.

    `inputs` names the operands; the last one is `*name` where any number may follow. `complete`
    brings the attributes into their one form for these input types (axes counted from the front,
    one number per spatial axis). `takes` says which dtypes the inputs may have; `numbers` are
    floats and whole numbers. `roles` says how weights are cut where sizes are open, see `roles.py`.
    """

    name: str
    doc: str
    inputs: tuple[str, ...]
    infer: Callable[[Sequence[Type], Attrs], Type]
    attrs: tuple[Attr, ...] = ()
    weights: Callable[[Sequence[Type], Attrs], tuple[Weight, ...]] | None = None
    macs: Callable[[Sequence[Type], Attrs, Type], Static] | None = None
    complete: Callable[[Sequence[Type], Attrs], Attrs] = _same
    takes: Literal["floats", "numbers", "anything"] = "floats"
    commutative: bool = False
    random: bool = False
    structural: bool = False
    roles: Rule = follow
    names: tuple[str, ...] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "names", tuple(attr.name for attr in self.attrs))

    def __repr__(self) -> str:
        return f"<op {self.name}>"

    def __reduce__(self) -> tuple[Callable[[str], Op], tuple[str]]:
        from . import op_named

        return (op_named, (self.name,))

    @property
    def variadic(self) -> bool:
        """Whether any number of inputs may follow the named ones."""
        return bool(self.inputs) and self.inputs[-1].startswith("*")

    @property
    def keyed(self) -> bool:
        """Whether two equal nodes of it must stay two: it owns weights, or it draws numbers."""
        return self.weights is not None or self.random

    @property
    def signature(self) -> str:
        """As in the reference: `linear(x; out, bias=true, axis=-1)`."""
        attrs = [a.name if a.required else f"{a.name}={_shown(a.default)}" for a in self.attrs]
        return f"{self.name}({', '.join(self.inputs)}{'; ' if attrs else ''}{', '.join(attrs)})"


# ── checks that hold under every setting ─────────────────────────────────────────────────────────


@overload
def require(
    holds: Callable[[Any], bool],
    a: Static,
    /,
    *,
    message: Callable[[Any], str],
    inputs: tuple[int, ...] = (),
    code: str = "E301",
    help: str = "",
) -> None: ...
@overload
def require(
    holds: Callable[[Any, Any], bool],
    a: Static,
    b: Static,
    /,
    *,
    message: Callable[[Any, Any], str],
    inputs: tuple[int, ...] = (),
    code: str = "E301",
    help: str = "",
) -> None: ...
@overload
def require(
    holds: Callable[[Any, Any, Any], bool],
    a: Static,
    b: Static,
    c: Static,
    /,
    *,
    message: Callable[[Any, Any, Any], str],
    inputs: tuple[int, ...] = (),
    code: str = "E301",
    help: str = "",
) -> None: ...
def require(
    holds: Callable[..., bool],
    /,
    *values: Static,
    message: Callable[..., str],
    inputs: tuple[int, ...] = (),
    code: str = "E301",
    help: str = "",
) -> None:
    """Raise Misfit unless `holds(*values)` under every joint setting of their decisions."""
    if not any(isinstance(value, Expr) and value.open for value in values):
        if not holds(*values):
            raise Misfit(message(*values), inputs=inputs, code=code, help=help)
        return
    joint = assignments(values)
    if joint is None:
        raise Misfit(
            "too many combinations of open sizes meet here to check them all",
            inputs=inputs,
            code="E505",
            help="bring the candidates to one size first",
        )
    failed: list[Mapping[str, Setting]] = []
    passed: list[Mapping[str, Setting]] = []
    shown: tuple[Static, ...] = values
    for settings in joint:
        settled = tuple([settle(value, settings) for value in values])
        if holds(*settled):
            passed.append(settings)
        else:
            shown = shown if failed else settled
            failed.append(settings)
    if failed:
        raise Misfit(
            message(*shown), inputs=inputs, code="E302", failed=failed, passed=passed, help=help
        )


def require_equal(
    a: Static, b: Static, message: Callable[[Static, Static], str], inputs: tuple[int, ...] = ()
) -> None:
    """Raise Misfit unless the two sizes are equal under every setting."""
    if a is b or (type(a) is int and a == b):
        return
    require(lambda x, y: x is y or x == y, a, b, message=message, inputs=inputs)


def require_positive(size: Static, what: str, inputs: tuple[int, ...] = (0,)) -> None:
    """Raise Misfit unless the size is 1 or more under every setting; symbols count as large."""
    require(
        lambda d: isinstance(d, Expr) or (d == int(d) and d >= 1),
        size,
        message=lambda d: f"{what} would be {text_of(d)}",
        inputs=inputs,
    )


def axis_of(attrs: Attrs, rank: int, name: str = "axis") -> int:
    """The axis counted from the front. Raises Misfit where there is no such axis."""
    axis = attrs[name]
    if not isinstance(axis, int) or not -rank <= axis < rank:
        raise Misfit(
            f"there is no axis {_shown(axis)} in a tensor with {rank} axes",
            code="E304",
            inputs=(0,),
        )
    return axis % rank


def front_axis(types: Sequence[Type], attrs: Attrs) -> Attrs:
    """`complete` for ops with one `axis`."""
    return {**attrs, "axis": axis_of(attrs, types[0].rank)}


def require_rank(type: Type, least: int, place: int = 0) -> None:
    """Raise Misfit unless the tensor has this many axes at least."""
    if type.rank < least:
        raise Misfit(
            f"at least {least} axes are needed, and {type.pretty} has {type.rank}",
            code="E303",
            inputs=(place,),
        )
