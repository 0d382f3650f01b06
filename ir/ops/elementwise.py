"""Ops that act on each element: activations, arithmetic with broadcasting, dropout."""

from __future__ import annotations

from collections.abc import Sequence

from ..dims import Dim, Expr, text_of
from ..types import Type, tensor
from .base import Attr, Attrs, Misfit, Op, require


def _same_type(types: Sequence[Type], attrs: Attrs) -> Type:
    return types[0]


def _unary(name: str, doc: str, *attrs: Attr) -> Op:
    return Op(name, doc, ("x",), _same_type, attrs)


def _common(types: Sequence[Type], attrs: Attrs) -> Type:
    """The broadcast type: equal ranks, and sizes that are equal or 1."""
    first = types[0]
    shape: list[Dim] = list(first.shape)
    for place, other in enumerate(types[1:], 1):
        if other is first:
            continue
        if other.dtype != first.dtype or other.rank != first.rank:
            raise Misfit(
                f"{first.pretty} and {other.pretty} do not go together: "
                "the dtypes and the numbers of axes must be equal",
                code="E303",
                inputs=(0, place),
            )
        for axis, (have, size) in enumerate(zip(shape, other.shape, strict=True)):
            if have is size or have == size:
                continue
            if isinstance(have, int) and have == 1:
                shape[axis] = size
            elif not (isinstance(size, int) and size == 1):
                require(
                    lambda a, b: a is b or a == b,
                    have,
                    size,
                    message=lambda a, b, axis=axis: (
                        f"axis {axis} is {text_of(a)} in one input and {text_of(b)} in another"
                    ),
                    inputs=(0, place),
                )
    return tensor(first.dtype, tuple(shape))


def _nary(name: str, doc: str) -> Op:
    return Op(name, doc, ("*x",), _common, takes="numbers", commutative=True)


def _dropout_checked(types: Sequence[Type], attrs: Attrs) -> Type:
    require(
        lambda p: not isinstance(p, Expr) and 0 <= p < 1,
        attrs["p"],
        message=lambda p: f"`p` is a probability from 0 up to 1, not {text_of(p)}",
        code="E304",
    )
    return types[0]


_PROBABILITY = Attr("p", "number", "the probability that an element is dropped", 0.5)

OPS = (
    _unary("relu", "max(x, 0)."),
    _unary("sigmoid", "1 / (1 + exp(-x))."),
    _unary("tanh", "tanh(x)."),
    _unary(
        "leaky_relu",
        "x where x > 0, else slope * x.",
        Attr("slope", "number", "the slope below zero", 0.01),
    ),
    _unary("gelu", "x * Phi(x) with the exact normal distribution function Phi."),
    _unary("silu", "x * sigmoid(x), also called swish."),
    _unary("softplus", "log(1 + exp(x))."),
    _unary("exp", "exp(x)."),
    _unary("log", "The natural logarithm of x."),
    _unary("sqrt", "The square root of x."),
    _unary("abs", "|x|."),
    _unary(
        "scale", "by * x. `x * 2` and `x / sqrt(C)` are written so.", Attr("by", "number", "factor")
    ),
    _unary("shift", "x + by. `x + 1` is written so.", Attr("by", "number", "what is added")),
    Op(
        "dropout",
        "Each element is zero with probability p while training and scaled by 1/(1-p) otherwise.",
        ("x",),
        _dropout_checked,
        (_PROBABILITY,),
        random=True,
    ),
    Op(
        "drop_path",
        "A whole sample (axis 0) is zero with probability p while training: stochastic depth.",
        ("x",),
        _dropout_checked,
        (_PROBABILITY,),
        random=True,
    ),
    _nary("sum", "x1 + x2 + …, with broadcasting of axes of size 1. `x + y` is written so."),
    _nary("mul", "x1 * x2 * …, with broadcasting of axes of size 1. `x * y` is written so."),
    _nary("maximum", "The elementwise maximum, with broadcasting of axes of size 1."),
    Op("sub", "x - y, with broadcasting of axes of size 1.", ("x", "y"), _common, takes="numbers"),
    Op("div", "x / y, with broadcasting of axes of size 1.", ("x", "y"), _common),
)
