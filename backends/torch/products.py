"""Lowerings of `ir/ops/products.py`."""

from __future__ import annotations

from collections.abc import Mapping
from math import sqrt
from typing import Any

from ...ir.dims import Expr as Open
from .layout import Call, Expr, Infix, Items
from .lowering import Held, Lowering, Make, Site


def _options(**given: tuple[Any, Any]) -> tuple[tuple[str, Any], ...]:
    """The options whose value, given first, is not torch's default, given second."""
    return tuple([(name, value) for name, (value, usual) in given.items() if value != usual])


def _linear(site: Site) -> Held:
    axis, rank, me = site["axis"], site.rank, site.me
    width = site.node.inputs[0].type.shape[axis]
    sizes = site.known(width, site["out"])
    pointwise = axis == 1 and rank > 2
    head = "Pointwise" if pointwise else "nn.Linear"
    make = Make(head, sizes, (*_options(bias=(site["bias"], True)), *site.dtype))

    def along(head: str, *rest: str) -> Expr:
        if axis == rank - 1:
            return Call(head, [site.x[0], *rest])
        inner = Call(head, [f"{site.x[0]}.transpose({axis}, {rank - 1})", *rest])
        return f"{inner}.transpose({axis}, {rank - 1})"

    weights = [f"{me}.weight", *([f"{me}.bias"] if site["bias"] else [])]
    own = Call(me, [site.x[0]]) if pointwise else along(me)
    return Held(make, own, lambda: along("F.linear", *weights))


def padding(site: Site, most: tuple[int, ...] | None = None) -> tuple[tuple[Any, ...] | None, Expr]:
    """What the op itself can pad, or None and the widths that `F.pad` takes, last axis first.

    Torch's own padding is the same before and after, not negative, and not above `most`.
    """
    pads = site["pad"]
    if all(before is after or before == after for before, after in pads):
        own = tuple([before for before, _ in pads])
        known = all(isinstance(p, int) and p >= 0 for p in own)
        if known and (most is None or all(p <= m for p, m in zip(own, most, strict=True))):
            return own, ""
    return None, Items([site.size(p) for pair in reversed(pads) for p in pair])


def one_or_tuple(values: tuple[Any, ...]) -> Any:
    """One number where all are equal, as torch takes it."""
    return values[0] if len(set(values)) == 1 else values


def _conv(site: Site) -> Held:
    dims, me = site.rank - 2, site.me
    channels, out = site.known(site.node.inputs[0].type.shape[1], site["out"])
    (groups,) = site.known(site["groups"])
    kernel = site.known(*site["kernel"])
    own, widths = padding(site)
    x = site.x[0] if own is not None else str(Call("F.pad", [site.x[0], widths]))
    pads = own or (0,) * dims
    stride, dilation = site["stride"], site["dilation"]
    fixed = not any(isinstance(entry, Open) for entry in (*stride, *dilation))
    options = _options(
        stride=(one_or_tuple(stride) if fixed else 1, 1),
        padding=(one_or_tuple(pads), 0),
        dilation=(one_or_tuple(dilation) if fixed else 1, 1),
        groups=(groups, 1),
        bias=(site["bias"], True),
    )
    make = Make(f"nn.Conv{dims}d", (channels, out, one_or_tuple(kernel)), (*options, *site.dtype))

    def borrow() -> Expr:
        arguments: list[Expr] = [x, f"{me}.weight"]
        if site["bias"]:
            arguments.append(f"{me}.bias")
        for name, values, usual in (
            ("stride", stride, 1),
            ("padding", pads, 0),
            ("dilation", dilation, 1),
            ("groups", (groups,), 1),
        ):
            if any(value != usual for value in values):
                arguments.append(f"{name}={site.spatial(values)}")
        return Call(f"F.conv{dims}d", arguments)

    return Held(make, Call(me, [x]) if fixed else borrow(), borrow)


def _matmul(site: Site) -> Expr:
    return Infix("@", site.x)


def _embedding(site: Site) -> Held:
    make = Make("nn.Embedding", site.known(site["rows"], site["out"]))
    borrow = Call("F.embedding", [site.x[0], f"{site.me}.weight"])
    return Held(make, Call(site.me, [site.x[0]]), lambda: borrow)


def parameter_start(init: str, std: float) -> tuple[str, tuple[tuple[str, float], ...]] | None:
    """How a parameter starts. `std` is the standard deviation of the untruncated distribution."""
    match init:
        case "ones":
            return ("ones_", ())
        case "normal":
            return ("normal_", (("std", std),))
        case "truncated_normal":  # cut at two standard deviations
            return ("trunc_normal_", (("std", std), ("a", -2 * std), ("b", 2 * std)))
        case "uniform":  # U(-b, b) has the standard deviation b / sqrt(3)
            bound = std * sqrt(3)
            return ("uniform_", (("a", -bound), ("b", bound)))
        case _:
            return None


def _parameter(site: Site) -> Held:
    (std,) = site.known(site["std"])
    make = Make("Learned", site.known(*site["shape"]), start=parameter_start(site["init"], std))
    return Held(make, Call(site.me, []), lambda: f"{site.me}.weight")


def _zeros(site: Site) -> Expr:
    shape = site.tuple(site["shape"])
    like = site.sizes.floats
    return Call(f"{like}.new_zeros", [shape]) if like else Call("torch.zeros", [shape])


LOWERINGS: Mapping[str, Lowering] = {
    "linear": _linear,
    "conv": _conv,
    "matmul": _matmul,
    "embedding": _embedding,
    "parameter": _parameter,
    "zeros": _zeros,
}
