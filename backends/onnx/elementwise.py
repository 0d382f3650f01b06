"""Activations and arithmetic, one ONNX operator each or a few."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import reduce
from math import sqrt

from ...ir.node import Node
from .builder import NUMPY, Builder, fixed_number
from .sizes import scalar

Lowering = Callable[[Builder, Node, Sequence[str]], str]
"""Writes what computes the node from these values, and gives the name of the result."""


def _one(op: str) -> Lowering:
    return lambda b, node, x: b.emit(op, x[0])


def _leaky_relu(b: Builder, node: Node, x: Sequence[str]) -> str:
    return b.emit("LeakyRelu", x[0], alpha=fixed_number(node["slope"], node, "`slope`"))


def _gelu(b: Builder, node: Node, x: Sequence[str]) -> str:
    """x/2 * (1 + erf(x / √2)): before opset 20 there is no operator for it, runtimes fuse this."""
    dtype = NUMPY[node.type.dtype]
    erf = b.emit("Erf", b.emit("Div", x[0], b.constant(sqrt(2.0), dtype)))
    twice = b.emit("Mul", x[0], b.emit("Add", erf, b.constant(1.0, dtype)))
    return b.emit("Mul", twice, b.constant(0.5, dtype))


def _silu(b: Builder, node: Node, x: Sequence[str]) -> str:
    return b.emit("Mul", x[0], b.emit("Sigmoid", x[0]))


def _scale(b: Builder, node: Node, x: Sequence[str]) -> str:
    return b.emit("Mul", x[0], scalar(b, node["by"], node))


def _shift(b: Builder, node: Node, x: Sequence[str]) -> str:
    return b.emit("Add", x[0], scalar(b, node["by"], node))


def _identity(b: Builder, node: Node, x: Sequence[str]) -> str:
    """At inference nothing is dropped."""
    return x[0]


def _variadic(op: str) -> Lowering:
    return lambda b, node, x: x[0] if len(x) == 1 else b.emit(op, *x)


def _sum(b: Builder, node: Node, x: Sequence[str]) -> str:
    if node.type.dtype in ("f32", "f64", "f16") and len(x) != 2:
        return _variadic("Sum")(b, node, x)
    return reduce(lambda a, c: b.emit("Add", a, c), x)


def _mul(b: Builder, node: Node, x: Sequence[str]) -> str:
    return reduce(lambda a, c: b.emit("Mul", a, c), x)


def _two(op: str) -> Lowering:
    return lambda b, node, x: b.emit(op, x[0], x[1])


LOWERINGS: Mapping[str, Lowering] = {
    "relu": _one("Relu"),
    "sigmoid": _one("Sigmoid"),
    "tanh": _one("Tanh"),
    "leaky_relu": _leaky_relu,
    "gelu": _gelu,
    "silu": _silu,
    "softplus": _one("Softplus"),
    "exp": _one("Exp"),
    "log": _one("Log"),
    "sqrt": _one("Sqrt"),
    "abs": _one("Abs"),
    "scale": _scale,
    "shift": _shift,
    "dropout": _identity,
    "drop_path": _identity,
    "sum": _sum,
    "mul": _mul,
    "maximum": _variadic("Max"),
    "sub": _two("Sub"),
    "div": _two("Div"),
}
