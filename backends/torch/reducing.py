"""Lowerings of `ir/ops/reducing.py`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ...ir.dims import Expr as Open
from .layout import Call, Expr
from .lowering import TORCH_DTYPES, Held, Lowering, Make, Site
from .products import one_or_tuple, padding


def _eps(site: Site) -> tuple[tuple[str, Any], ...]:
    return () if site["eps"] == 1e-5 else (("eps", *site.known(site["eps"])),)


def _batch_norm(site: Site) -> Held:
    (channels,) = site.known(site.node.inputs[0].type.shape[1])
    momentum, gamma = site.known(site["momentum"], site["gamma"])
    options = (*_eps(site), *((("momentum", momentum),) if momentum != 0.1 else ()))
    make = Make(
        f"nn.BatchNorm{max(1, min(site.rank - 2, 3))}d",
        (channels,),
        (*options, *site.dtype),
        None if gamma == 1.0 else ("constant_", (("val", gamma),)),
    )
    x, me = site.x[0], site.me
    # Torch has classes for at most three spatial axes, and the statistics do not depend on them.
    call = Call(me, [x]) if site.rank <= 5 else f"{me}({x}.flatten(4)).reshape({x}.shape)"
    arguments = [x]
    for name in ("running_mean", "running_var", "weight", "bias", "training"):
        arguments.append(f"{me}.{name}")
    arguments += [repr(momentum), repr(site["eps"])]
    return Held(make, call, lambda: Call("F.batch_norm", arguments))


def _layer_norm(site: Site) -> Held:
    sizes = site.known(*site.node.inputs[0].type.shape[site["axis"] :])
    shape = sizes[0] if len(sizes) == 1 else sizes
    make = Make("nn.LayerNorm", (shape,), (*_eps(site), *site.dtype))
    x, me = site.x[0], site.me

    def borrow() -> Expr:
        weights = [f"{me}.weight", f"{me}.bias"]
        return Call("F.layer_norm", [x, repr(sizes), *weights, repr(site["eps"])])

    return Held(make, Call(me, [x]), borrow)


def _group_norm(site: Site) -> Held:
    groups, channels = site.known(site["groups"], site.node.inputs[0].type.shape[1])
    make = Make("nn.GroupNorm", (groups, channels), (*_eps(site), *site.dtype))
    x, me = site.x[0], site.me

    def borrow() -> Expr:
        weights = [f"{me}.weight", f"{me}.bias"]
        return Call("F.group_norm", [x, str(groups), *weights, repr(site["eps"])])

    return Held(make, Call(me, [x]), borrow)


def _softmax(name: str) -> Lowering:
    return lambda site: Call(f"torch.{name}", [site.x[0], str(site["axis"])])


def _pool(name: str, fill: str) -> Lowering:
    """`fill` is what F.pad puts beside the tensor where the pooling itself cannot."""

    def lower(site: Site) -> Expr:
        kernel, stride = site["kernel"], site["stride"]
        half = None
        if not any(isinstance(k, Open) for k in kernel):
            half = tuple([k // 2 for k in kernel])
        own, widths = padding(site, half)
        x = site.x[0]
        if own is None:
            x = str(Call("F.pad", [x, widths, *([f"value={fill}"] if fill else [])]))
        arguments: list[Expr] = [x, site.spatial(kernel)]
        if stride != kernel:
            arguments.append(site.spatial(stride))
        if own is not None and any(own):
            arguments.append(f"padding={one_or_tuple(own)}")
        return Call(f"F.{name}{site.rank - 2}d", arguments)

    return lower


def _adaptive(name: str) -> Lowering:
    return lambda site: Call(f"F.{name}{site.rank - 2}d", [site.x[0], site.spatial(site["size"])])


def _reduction(name: str) -> Lowering:
    def lower(site: Site) -> Expr:
        axes = site["axis"]
        arguments = [repr(axes[0] if len(axes) == 1 else axes)]
        if site["keep"]:
            arguments.append("keepdim=True")
        dtype = site.node.type.dtype
        if name == "sum" and dtype in ("i32", "bool"):  # torch widens sums of these to int64
            arguments.append(f"dtype={TORCH_DTYPES[dtype]}")
        return Call(f"{site.x[0]}.{name}", arguments)

    return lower


LOWERINGS: Mapping[str, Lowering] = {
    "batch_norm": _batch_norm,
    "layer_norm": _layer_norm,
    "group_norm": _group_norm,
    "softmax": _softmax("softmax"),
    "log_softmax": _softmax("log_softmax"),
    "max_pool": _pool("max_pool", 'float("-inf")'),
    "avg_pool": _pool("avg_pool", ""),
    "adaptive_max_pool": _adaptive("adaptive_max_pool"),
    "adaptive_avg_pool": _adaptive("adaptive_avg_pool"),
    "mean": _reduction("mean"),
    "amax": _reduction("amax"),
    "total": _reduction("sum"),
}
