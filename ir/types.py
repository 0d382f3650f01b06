"""The type of a value: its dtype and its shape, inferred when a node is built."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast
from weakref import WeakValueDictionary

from .decisions import SomeOf
from .dims import Dim, Expr, text_of
from .folding import folded
from .settling import pretty

DTYPES = {"f32": 4, "f64": 8, "f16": 2, "i64": 8, "i32": 4, "bool": 1}
"""The dtypes of the language, with the bytes of one element."""


class Type:
    """A dtype and a shape; interned, so that equal types are the same object.

    `maybe` says that the value may be absent: it is there when that subset holds that index. Only
    ops that take any number of inputs take such a value.
    """

    __slots__ = ("__weakref__", "dtype", "maybe", "shape")

    dtype: str
    shape: tuple[Dim, ...]
    maybe: tuple[SomeOf, int] | None

    @property
    def rank(self) -> int:
        """The number of axes."""
        return len(self.shape)

    @property
    def text(self) -> str:
        """In the language's own syntax: `f32[N, 4*C]`."""
        return f"{self.dtype}[{', '.join(map(text_of, self.shape))}]"

    @property
    def pretty(self) -> str:
        """For people: open sizes show what they may be, `f32[N, 64|128]`."""
        return f"{self.dtype}[{', '.join(map(pretty, self.shape))}]"

    def __repr__(self) -> str:
        return self.pretty

    def __reduce__(self) -> tuple[Callable[..., Type], tuple[object, ...]]:
        return (tensor, (self.dtype, self.shape, self.maybe))


_interned: WeakValueDictionary[tuple[str, tuple[Dim, ...], tuple[SomeOf, int] | None], Type] = (
    WeakValueDictionary()
)


def tensor(dtype: str, shape: tuple[Dim, ...], maybe: tuple[SomeOf, int] | None = None) -> Type:
    """The type of tensors of this dtype and shape; sizes that no setting changes are folded."""
    if any(isinstance(size, Expr) and size.open for size in shape):
        shape = cast("tuple[Dim, ...]", tuple(map(folded, shape)))
    identity = (dtype, shape, maybe)
    found = _interned.get(identity)
    if found is None:
        found = Type()
        found.dtype, found.shape, found.maybe = identity
        _interned[identity] = found
    return found
