"""Sizes that are known only at run time, computed inside the graph.

A named size is read from the shape of an input that has it as an axis; an expression of named
sizes is read likewise where a value at hand has it as an axis, and computed else: whole numbers
as int64, all others as double, each a vector of one element.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from functools import reduce
from math import lcm

import numpy as np
from onnx import TensorProto

from ...ir.dims import Atom, Call, Expr, Static, Symbol, symbol
from ...ir.node import Node
from .builder import NUMPY, Builder
from .problems import problem

Number = tuple[str, bool]
"""The name of a vector of one element, and whether it is int64 (else it is double)."""


def vector(b: Builder, sizes: Sequence[Static], near: Node) -> str:
    """The sizes as an int64 vector. `near` is the node being lowered, whose inputs are at hand."""
    if not any(isinstance(size, Expr) for size in sizes):
        return b.ints(*[int(size) for size in sizes])  # pyright: ignore[reportArgumentType]
    parts = [size_vector(b, size, near) for size in sizes]
    return parts[0] if len(parts) == 1 else b.emit("Concat", *parts, axis=0)


def size_vector(b: Builder, size: Static, near: Node) -> str:
    """One size as an int64 vector of one element."""
    if not isinstance(size, Expr):
        return b.ints(int(size))
    name, whole = _number(b, size, near)
    return name if whole else _whole(b, b.emit("Round", name))[0]


def scalar(b: Builder, value: Static, near: Node) -> str:
    """A number without axes, of the dtype of `near`, to be combined with tensors of any rank."""
    dtype = near.type.dtype
    if not isinstance(value, Expr):
        return b.constant(float(value), NUMPY[dtype])
    name, _ = _number(b, value, near)
    element = {"f32": TensorProto.FLOAT, "f16": TensorProto.FLOAT16}.get(dtype, TensorProto.DOUBLE)
    return b.emit("Squeeze", b.emit("Cast", name, to=element))


def reshape(
    b: Builder, value: str, old: Sequence[Static], new: Sequence[Static], near: Node
) -> str:
    """`value`, of shape `old`, with the shape `new`.

    An axis that stays where it is is copied (0) and one more may be left to be inferred (-1);
    only where two or more are known neither way are they computed.
    """
    copied = [
        0 if isinstance(size, Expr) and at < len(old) and old[at] is size else size
        for at, size in enumerate(new)
    ]
    unknown = [at for at, size in enumerate(copied) if isinstance(size, Expr)]
    if len(unknown) == 1:
        copied[unknown[0]] = -1
    return b.emit("Reshape", value, vector(b, copied, near))


# ── reading ──────────────────────────────────────────────────────────────────────────────────────


def declare_inputs(b: Builder, inputs: Sequence[Node]) -> None:
    """Remember at which axis of which input each size can be read."""
    for node in inputs:
        for axis, size in enumerate(node.type.shape):
            if isinstance(size, Expr):
                b.sizes.setdefault(size, (b.values[node], axis))


def _read(b: Builder, value: str, axis: int) -> Number:
    return b.emit("Shape", value, start=axis, end=axis + 1), True


def _read_near(b: Builder, size: Expr, near: Node) -> Number | None:
    for node in near.inputs:
        for axis, other in enumerate(node.type.shape):
            if other is size:
                return _read(b, b.values[node], axis)
    return None


def _solved(b: Builder, name: str, near: Node) -> Number:
    """The named size where inputs only have `a*S + b` as an axis."""
    for size, place in b.sizes.items():
        factors = dict(size.terms)
        offset, factor = factors.pop((), 0), factors.pop((Symbol(name),), 0)
        if not factors and isinstance(offset, int) and isinstance(factor, int) and factor:
            value, _ = _read(b, *place)
            value = b.emit("Sub", value, b.ints(offset)) if offset else value
            return (b.emit("Div", value, b.ints(factor)) if factor != 1 else value), True
    raise problem(
        "E721",
        f"the size `{name}` cannot be read from the shape of any input",
        near.key,
        help=f"give an input an axis of size `{name}`, or write a number in its place",
    )


# ── computing ────────────────────────────────────────────────────────────────────────────────────


def _number(b: Builder, value: Static, near: Node) -> Number:
    if not isinstance(value, Expr):
        whole = isinstance(value, int)
        return b.constant([value if whole else float(value)], np.int64 if whole else float), whole
    found = b.computed.get(value)
    if found is not None:
        return found
    place = b.sizes.get(value)
    if place is None and (read := _read_near(b, value, near)) is not None:
        return read  # not remembered: later nodes should not hang on a value far away
    found = b.computed[value] = _polynomial(b, value, near) if place is None else _read(b, *place)
    return found


def _polynomial(b: Builder, value: Expr, near: Node) -> Number:
    """The sum of the terms, fractions over their common denominator."""
    below = lcm(*[f.denominator for _, f in value.terms if isinstance(f, Fraction)])
    terms: list[Number] = []
    for monomial, factor in value.terms:
        above = factor * below
        above = int(above) if isinstance(above, Fraction) else above
        parts = [_atom(b, atom, near) for atom in monomial]
        if above != 1 or not parts:
            parts.append(_number(b, above, near))
        terms.append(reduce(lambda x, y: _arithmetic(b, "Mul", x, y), parts))
    total = reduce(lambda x, y: _arithmetic(b, "Add", x, y), terms)
    return total if below == 1 else _quotient(b, [total, _number(b, below, near)])


def _atom(b: Builder, atom: Atom, near: Node) -> Number:
    if isinstance(atom, Symbol):
        itself = symbol(atom.name)
        if itself in b.sizes or itself in b.computed:
            return _number(b, itself, near)
        found = b.computed[itself] = _solved(b, atom.name, near)
        return found
    if not isinstance(atom, Call):
        raise TypeError(f"a settled graph has no decision in its sizes: {atom.text}")
    return _CALLS[atom.name](b, [_number(b, argument, near) for argument in atom.arguments])


def _real(b: Builder, number: Number) -> str:
    name, whole = number
    return b.emit("Cast", name, to=TensorProto.DOUBLE) if whole else name


def _whole(b: Builder, name: str) -> Number:
    return b.emit("Cast", name, to=TensorProto.INT64), True


def _arithmetic(b: Builder, op: str, x: Number, y: Number) -> Number:
    if x[1] and y[1]:
        return b.emit(op, x[0], y[0]), True
    return b.emit(op, _real(b, x), _real(b, y)), False


def _quotient(b: Builder, of: Sequence[Number]) -> Number:
    return b.emit("Div", _real(b, of[0]), _real(b, of[1])), False


def _floordiv(b: Builder, of: Sequence[Number]) -> Number:
    """Rounded down as in Python, where ONNX's Div of whole numbers rounds towards zero."""
    if not (of[0][1] and of[1][1]):
        return _whole(b, b.emit("Floor", _quotient(b, of)[0]))
    rest = b.emit("Mod", of[0][0], of[1][0])
    return b.emit("Div", b.emit("Sub", of[0][0], rest), of[1][0]), True


def _mod(b: Builder, of: Sequence[Number]) -> Number:
    if of[0][1] and of[1][1]:
        return b.emit("Mod", of[0][0], of[1][0]), True
    return _arithmetic(b, "Sub", of[0], _arithmetic(b, "Mul", _floordiv(b, of), of[1]))


def _rounded(op: str) -> Callable[[Builder, Sequence[Number]], Number]:
    return lambda b, of: of[0] if of[0][1] else _whole(b, b.emit(op, of[0][0]))


def _round(b: Builder, of: Sequence[Number]) -> Number:
    """Halves upwards, where ONNX's Round takes them to the even number."""
    half = b.constant([0.5], float)
    return of[0] if of[0][1] else _whole(b, b.emit("Floor", b.emit("Add", of[0][0], half)))


def _round8(b: Builder, of: Sequence[Number]) -> Number:
    value, eight = _real(b, of[0]), b.constant([8.0], float)
    eighths = b.emit("Div", b.emit("Add", value, b.constant([4.0], float)), eight)
    near = b.emit("Max", b.emit("Mul", b.emit("Floor", eighths), eight), eight)
    low = b.emit("Less", near, b.emit("Mul", value, b.constant([0.9], float)))
    return _whole(b, b.emit("Where", low, b.emit("Add", near, eight), near))


def _extreme(op: str) -> Callable[[Builder, Sequence[Number]], Number]:
    return lambda b, of: reduce(lambda x, y: _arithmetic(b, op, x, y), of)


_CALLS: Mapping[str, Callable[[Builder, Sequence[Number]], Number]] = {
    "sqrt": lambda b, of: (b.emit("Sqrt", _real(b, of[0])), False),
    "ceil": _rounded("Ceil"),
    "floor": _rounded("Floor"),
    "round": _round,
    "round8": _round8,
    "abs": lambda b, of: (b.emit("Abs", of[0][0]), of[0][1]),
    "min": _extreme("Min"),
    "max": _extreme("Max"),
    "pow": lambda b, of: (b.emit("Pow", _real(b, of[0]), _real(b, of[1])), False),
    "floordiv": _floordiv,
    "mod": _mod,
    "div": _quotient,
}
"""Every function of `numbers.FUNCTIONS`, in the graph."""
