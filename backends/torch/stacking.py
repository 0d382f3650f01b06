"""Lowerings of `ir/ops/stacking.py`."""

from __future__ import annotations

from collections.abc import Mapping

from .layout import Call, Expr, Items
from .lowering import Held, Lowering, Make, Site


def _stack(site: Site) -> Expr:
    return Call("torch.stack", [Items(site.x)])


def _gather(site: Site) -> Expr:
    return Call("gather", [Items(site.x), Items([str(row) for row in site["index"]])])


def _stacked_linear(site: Site) -> Held:
    axis, me = site["axis"], site.me
    count, width, out = site.known(
        site.node.inputs[0].type.shape[0], site.node.inputs[0].type.shape[axis], site["out"]
    )
    options = (
        *((("bias", False),) if not site["bias"] else ()),
        *((("axis", axis),) if axis != 2 else ()),
    )
    make = Make("StackedLinear", (count, width, out), (*options, *site.dtype))
    weights = [f"{me}.weight", f"{me}.bias" if site["bias"] else "None", str(axis)]
    borrow = Call("stacked_linear", [site.x[0], *weights, *site.x[1:]])
    return Held(make, Call(me, site.x), lambda: borrow)


def _stacked_layer_norm(site: Site) -> Held:
    shape = site.node.inputs[0].type.shape
    sizes = site.known(shape[0], *shape[site["axis"] :])
    eps = () if site["eps"] == 1e-5 else (("eps", *site.known(site["eps"])),)
    make = Make("StackedLayerNorm", (sizes,), (*eps, *site.dtype))
    weights = [f"{site.me}.weight", f"{site.me}.bias", repr(site["eps"])]
    borrow = Call("stacked_layer_norm", [site.x[0], *weights])
    return Held(make, Call(site.me, [site.x[0]]), lambda: borrow)


def _linear_bank(site: Site) -> Held:
    axis, me, reads, per = site["axis"], site.me, site["reads"], site["per"]
    widths = site.known(*[node.type.shape[axis] for node in site.node.inputs])
    (out,) = site.known(site["out"])
    options = (
        *((("bias", False),) if not site["bias"] else ()),
        *((("axis", axis),) if axis != 1 else ()),
    )
    make = Make("LinearBank", (widths, out, reads, per), (*options, *site.dtype))
    plan = f"bank_plan({len(widths)}, {reads}, {per})"
    weights = [f"list({me}.weight)", f"{me}.bias", plan, str(axis)]
    borrow = Call("linear_bank", [Items(site.x), *weights])
    return Held(make, Call(me, site.x), lambda: borrow)


LOWERINGS: Mapping[str, Lowering] = {
    "stack": _stack,
    "gather": _gather,
    "stacked_linear": _stacked_linear,
    "stacked_layer_norm": _stacked_layer_norm,
    "linear_bank": _linear_bank,
}
