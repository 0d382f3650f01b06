"""Lowerings of `ir/ops/elementwise.py`."""

from __future__ import annotations

from collections.abc import Mapping

from ...ir.dims import Expr as Open
from ...ir.dims import Static
from .layout import Call, Expr, Infix, Items
from .lowering import Held, Lowering, Make, Site

# Longer sums are folded: Python nests `a + b + …` once for each term.
_MOST_TERMS = 8


def _function(name: str) -> Lowering:
    return lambda site: Call(name, [site.x[0]])


def _leaky_relu(site: Site) -> Expr:
    return Call("F.leaky_relu", [site.x[0], site.number(site["slope"])])


def _factor(site: Site, value: Static) -> str:
    """The number; whole for whole tensors, in parentheses where it is more than one word."""
    if isinstance(value, Open):
        return f"({site.number(value)})"
    whole = site.node.type.dtype in ("i64", "i32") and value == int(value)
    return site.size(value) if whole else site.number(value)


def _scale(site: Site) -> Expr:
    return Infix("*", [site.x[0], _factor(site, site["by"])])


def _shift(site: Site) -> Expr:
    by = site["by"]
    if not isinstance(by, Open) and by < 0:
        return Infix("-", [site.x[0], _factor(site, -by)])
    return Infix("+", [site.x[0], _factor(site, by)])


def _dropout(site: Site) -> Expr | Held:
    p = site["p"]
    if isinstance(p, Open) or not site.node.key:
        return Call("F.dropout", [site.x[0], site.number(p), "self.training"])
    return Held(Make("nn.Dropout", (p,)), Call(site.me, [site.x[0]]))


def _drop_path(site: Site) -> Held:
    return Held(Make("DropPath", site.known(site["p"])), Call(site.me, [site.x[0]]))


def _folded(operator: str, function: str) -> Lowering:
    def lower(site: Site) -> Expr:
        if len(site.x) == 1:
            return site.x[0]
        if len(site.x) <= _MOST_TERMS:
            return Infix(operator, site.x)
        return Call("functools.reduce", [function, Items(site.x)])

    return lower


def _maximum(site: Site) -> Expr:
    if len(site.x) == 1:
        return site.x[0]
    if len(site.x) == 2:
        return Call("torch.maximum", site.x)
    return Call("functools.reduce", ["torch.maximum", Items(site.x)])


LOWERINGS: Mapping[str, Lowering] = {
    "relu": _function("F.relu"),
    "sigmoid": _function("torch.sigmoid"),
    "tanh": _function("torch.tanh"),
    "leaky_relu": _leaky_relu,
    "gelu": _function("F.gelu"),
    "silu": _function("F.silu"),
    "softplus": _function("F.softplus"),
    "exp": _function("torch.exp"),
    "log": _function("torch.log"),
    "sqrt": _function("torch.sqrt"),
    "abs": _function("torch.abs"),
    "scale": _scale,
    "shift": _shift,
    "dropout": _dropout,
    "drop_path": _drop_path,
    "sum": _folded("+", "torch.add"),
    "mul": _folded("*", "torch.mul"),
    "maximum": _maximum,
    "sub": lambda site: Infix("-", site.x),
    "div": lambda site: Infix("/", site.x),
}
