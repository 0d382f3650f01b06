"""Lowerings of `ir/ops/mixing.py`."""

from __future__ import annotations

from collections.abc import Mapping

from .layout import Call, Expr, Items
from .lowering import Lowering, Site


def _mix(site: Site) -> Expr:
    arguments: list[Expr] = [site.x[0], Items(site.x[1:])]
    index: tuple[int, ...] = site["index"]
    if index != tuple(range(site.known(site.node.inputs[0].type.shape[0])[0])):
        arguments.append(repr(index))
    return Call("mix", arguments)


LOWERINGS: Mapping[str, Lowering] = {
    "mix": _mix,
    "affine": lambda site: Call("F.linear", site.x),
}
