"""Lowerings of `ir/ops/shaping.py`."""

from __future__ import annotations

from collections.abc import Mapping

from .layout import Call, Expr, Items
from .lowering import Lowering, Site


def _concat(site: Site) -> Expr:
    return Call("torch.cat", [Items(site.x), str(site["axis"])])


def _reshape(site: Site) -> Expr:
    return Call(f"{site.x[0]}.reshape", [site.size(size) for size in site["shape"]])


def _flatten(site: Site) -> Expr:
    return Call(f"{site.x[0]}.flatten", [str(site["axis"])])


def _transpose(site: Site) -> Expr:
    axes = site["axes"]
    moved = [axis for axis, old in enumerate(axes) if axis != old]
    if len(moved) == 2:
        return Call(f"{site.x[0]}.transpose", list(map(str, moved)))
    return Call(f"{site.x[0]}.permute", list(map(str, axes)))


def _slice(site: Site) -> Expr:
    axis = site["axis"]
    size = site.node.inputs[0].type.shape[axis]
    start = "" if site["start"] == 0 else site.size(site["start"])
    stop = "" if site["stop"] is size or site["stop"] == size else site.size(site["stop"])
    step = "" if site["step"] == 1 else site.size(site["step"])
    parts = [start, stop, step] if step else [start, stop]
    window = ":".join(parts)
    if not all(part.isidentifier() or part.isdigit() for part in parts if part):
        # The formatter's rule: a colon beside anything but names and numbers stands free.
        window = f"{start} :" if start else ":"
        window += f" {stop}" if stop else ""
        window += f"{' :' if stop else ':'} {step}" if step else ""
    return f"{site.x[0]}[{':, ' * axis}{window}]"


def _pad(site: Site) -> Expr:
    widths = Items([site.size(w) for pair in reversed(site["pad"]) for w in pair])
    return Call("F.pad", [site.x[0], widths])


def _expand(site: Site) -> Expr:
    sizes = ["-1"] * site.rank
    sizes[site["axis"]] = site.size(site["size"])
    return Call(f"{site.x[0]}.expand", sizes)


LOWERINGS: Mapping[str, Lowering] = {
    "concat": _concat,
    "reshape": _reshape,
    "flatten": _flatten,
    "transpose": _transpose,
    "slice": _slice,
    "pad": _pad,
    "expand": _expand,
}
