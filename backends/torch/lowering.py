"""What one op becomes in torch: an expression, and where it has weights a module for them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ...ir.diagnostics import Diagnostic, FusegraphError
from ...ir.dims import Expr as Open
from ...ir.dims import Static, symbols_in, text_of
from ...ir.node import Node
from .layout import Call, Expr, Items
from .sizes import python_of

TORCH_DTYPES = {
    "f32": "torch.float32",
    "f64": "torch.float64",
    "f16": "torch.float16",
    "i64": "torch.int64",
    "i32": "torch.int32",
    "bool": "torch.bool",
}
"""The dtypes of the language as torch calls them."""


class Verbatim(str):
    """An argument that is Python already, such as `torch.float64`."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Make:
    """How a module is made: `nn.Linear(256, 16, bias=False)`.

    `start` fills its `weight` with a function of `torch.nn.init`: name and arguments.
    """

    head: str
    args: tuple[Any, ...]
    options: tuple[tuple[str, Any], ...] = ()
    start: tuple[str, tuple[tuple[str, float], ...]] | None = None

    @property
    def text(self) -> Call:
        """The construction in Python."""
        options = [f"{name}={literal(value)}" for name, value in self.options]
        return Call(self.head, [*map(literal, self.args), *options])


def literal(value: Any) -> str:
    """A number, a bool, a tuple of these, or verbatim Python."""
    if isinstance(value, Verbatim):
        return value
    return python_of(value, {}, whole=False) if isinstance(value, float) else repr(value)


@dataclass(frozen=True, slots=True)
class Held:
    """An op whose module is at its key.

    `call` uses that module as its own. `borrow` computes the same from the weights that the
    module of *another* op of that key holds; None where the op owns no weights.
    """

    make: Make
    call: Expr
    borrow: Callable[[], Expr] | None = None


class Site:
    """Where an op is lowered: its node, the names of its operands, and the names of sizes."""

    __slots__ = ("me", "node", "sizes", "x")

    def __init__(self, node: Node, x: Sequence[str], me: str, sizes: SizeNames) -> None:
        self.node = node
        self.x = x
        self.me = me
        """The expression of the module at the node's key."""
        self.sizes = sizes

    def __getitem__(self, name: str) -> Any:
        return self.node[name]

    @property
    def rank(self) -> int:
        """The number of axes of the first input."""
        return self.node.inputs[0].type.rank

    def size(self, value: Static) -> str:
        """A whole number as Python."""
        return repr(value) if type(value) is int else self.sizes.python_of(value, whole=True)

    def number(self, value: Static) -> str:
        """A number as Python."""
        return self.sizes.python_of(value, whole=False)

    def tuple(self, values: Sequence[Static]) -> Items:
        """Whole numbers as a tuple in Python."""
        return Items([self.size(value) for value in values])

    def spatial(self, values: Sequence[Static]) -> Expr:
        """One number where it is the same for all spatial axes, else a tuple."""
        if all(value is values[0] or value == values[0] for value in values):
            return self.size(values[0])
        return self.tuple(values)

    def known(self, *sizes: Static) -> tuple[Any, ...]:
        """The sizes of weights. Raises FusegraphError E714 where one is named, such as `N`."""
        for size in sizes:
            if isinstance(size, Open):
                raise FusegraphError(
                    Diagnostic(
                        code="E714",
                        message=f"`{self.node.op.name}` has weights of the size `{text_of(size)}`, "
                        "which is known only at run time",
                        place=self.node.key,
                        notes=(f"its input is {self.node.inputs[0].type.pretty}",)
                        if self.node.inputs
                        else (),
                        help="choose an axis of known size, or declare the size as a number",
                    )
                )
        return sizes

    @property
    def dtype(self) -> tuple[tuple[str, Any], ...]:
        """The option of a module whose weights are not float32."""
        dtype = self.node.inputs[0].type.dtype
        return () if dtype == "f32" else (("dtype", Verbatim(TORCH_DTYPES[dtype])),)


class SizeNames:
    """The variables that hold named sizes, and which of these are read at all.

    `floats` is a tensor whose dtype and device new tensors take; empty where there is none.
    """

    def __init__(self, names: Mapping[str, str], floats: str) -> None:
        self._names = names
        self.floats = floats
        self.read: dict[str, str] = {}

    def python_of(self, value: Static, whole: bool) -> str:
        """`value` as Python."""
        for symbol in sorted(symbols_in(value)):
            self.read[symbol] = self._names.get(symbol, symbol)
        return python_of(value, self.read, whole)


Lowering = Callable[[Site], "Expr | Held"]


def path_expression(path: tuple[str, ...], owners: set[tuple[str, ...]]) -> str:
    """`self.h[1].linear` for the path `h.1.linear`.

    `owners` are the paths of layers, which cannot be indexed as scopes can.
    """
    text = "self"
    for depth, name in enumerate(path):
        if not name.isdigit():
            text = f"{text}.{name}"
        elif path[:depth] in owners:
            text = f'getattr({text}, "{name}")'
        else:
            text = f"{text}[{name}]"
    return text
