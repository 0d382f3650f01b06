"""The kit of fused graphs: lowerings of the ops of `compiler/fusion/ops.py`, and of those of the
language for which there is a faster kernel.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...compiler.fusion.ops import DENSE
from ...ir.dims import Expr as Open
from ...ir.dims import Static, symbols_in
from ...ir.graph import Graph
from ...ir.ops.products import product
from ...ir.settling import bind
from . import kernels
from .dense import Dense, RepeatedNorm
from .layout import Call, Expr, Items
from .lowering import Held, Make, Site
from .masks import Drop, bytes_of
from .network import Kit
from .table import LOWERINGS


def _dense(site: Site) -> Held:
    inner = site.node.inputs[0].type.shape[1]
    names = ("out", "extras", "bias", "norm", "tails")
    args = (*site.known(inner), *[site[name] for name in names])
    return Held(Make("Dense", args), Call(site.me, site.x))


def _repeated_norm(site: Site) -> Held:
    channels, repeats = site.known(site.node.inputs[0].type.shape[1], site["repeats"])
    options = (("eps", site["eps"]), ("momentum", site["momentum"]), ("repeats", repeats))
    return Held(Make("RepeatedNorm", (channels,), options), Call(site.me, site.x))


def _blend(site: Site) -> Expr:
    gates, *x = site.x
    terms = tuple([tuple(term) for term in site["terms"]])
    (width,) = site.known(*site["shape"])
    return Call("_kernels.blend", [gates, Items(x), repr(terms), str(width)])


def _attend(site: Site) -> Expr:
    return Call("_kernels.attend", [*site.x, repr(site["scale"])])


def _affine(site: Site) -> Expr:
    return Call("_kernels.affine", site.x)


def _dropout(site: Site) -> Held:
    (p,) = site.known(site["p"])
    return Held(Make("Drop", (p,)), Call(site.me, site.x))


_NAMES: dict[str, Any] = {
    "Dense": Dense,
    "Drop": Drop,
    "RepeatedNorm": RepeatedNorm,
    "_kernels": kernels,  # no variable of generated code begins with an underscore
}


def drawn_in(graph: Graph, shapes: Sequence[Sequence[int]]) -> int:
    """How many random bytes the masks of one pass in training take, for inputs of these shapes."""
    sizes: dict[str, int] = {}
    for node, shape in zip(graph.inputs, shapes, strict=True):
        for size, have in zip(node.type.shape, shape, strict=True):
            if isinstance(size, Open) and str(size) in symbols_in(size):
                sizes[str(size)] = have
    counts: list[Static] = []
    for node in graph.order:
        if node.op.name == "dropout":
            counts.append(product(node.type.shape))
        elif node.op is DENSE:
            rows = node.type.shape[0]
            counts += [rows * (t.stop - t.start) for t in node["tails"] if t.p]
    return sum([bytes_of(int(str(bind(count, sizes)))) for count in counts])


FUSED = Kit(
    {
        **LOWERINGS,
        "affine": _affine,
        "attend": _attend,
        "blend": _blend,
        "dense": _dense,
        "dropout": _dropout,
        "repeat": lambda site: Call("_kernels.repeat", [site.x[0], site.size(site["times"])]),
        "repeated_norm": _repeated_norm,
    },
    _NAMES,
)
"""For graphs that the passes of fusion made."""
