"""The kit of fused graphs: lowerings of the ops of `compiler/fusion/ops.py`, and of those of the
language for which there is a faster kernel.
"""

from __future__ import annotations

from typing import Any

from . import kernels
from .dense import Dense, RepeatedNorm
from .layout import Call, Expr, Items
from .lowering import Held, Make, Site
from .masks import Drop
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
