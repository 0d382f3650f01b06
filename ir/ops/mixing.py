"""Ops whose coefficients are operands: weighted sums, and affine maps by weights from elsewhere.

Relaxation writes `mix`, with gates that are learned; horizontal fusion writes `affine`, with
weights that several layers of the space share out among themselves.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from ..dims import Static, text_of
from ..types import Type, tensor
from .base import Attr, Attrs, Misfit, Op, require_equal, require_rank
from .products import product
from .roles import Assigned, Given, same


def _mix_complete(types: Sequence[Type], attrs: Attrs) -> Attrs:
    count = len(types) - 1
    given = attrs["index"]
    if given is None:
        return {**attrs, "index": tuple(range(count))}
    index = cast("tuple[int, ...]", given) if isinstance(given, tuple) else (given,)
    if len(index) != count:
        raise Misfit(
            f"`index` has {len(index)} entries for {count} tensors", code="E304", inputs=(0,)
        )
    return {**attrs, "index": index}


def _mix(types: Sequence[Type], attrs: Attrs) -> Type:
    gates, *rest = types
    if gates.rank != 1:
        raise Misfit(
            f"the gates are one axis of numbers, not {gates.pretty}", code="E303", inputs=(0,)
        )
    most = gates.shape[0]
    for entry in attrs["index"]:
        if not isinstance(entry, int) or entry < 0 or (isinstance(most, int) and entry >= most):
            raise Misfit(f"there is no gate {entry} in {gates.pretty}", code="E304", inputs=(0,))
    first = rest[0]
    for place, other in enumerate(rest, 1):
        if other.dtype != gates.dtype or other.rank != first.rank:
            raise Misfit(
                f"{first.pretty} and {other.pretty} cannot be mixed by {gates.pretty}",
                code="E303",
                inputs=(1, place),
            )
        for axis, (a, b) in enumerate(zip(first.shape, other.shape, strict=True)):
            require_equal(
                a,
                b,
                lambda a, b, axis=axis: (
                    f"axis {axis} is {text_of(a)} in one tensor and {text_of(b)} in another"
                ),
                (1, place),
            )
    return first


def _mix_macs(types: Sequence[Type], attrs: Attrs, out: Type) -> Static:
    return product(out.shape) * (len(types) - 1)


def _affine(types: Sequence[Type], attrs: Attrs) -> Type:
    x, weight, *bias = types
    require_rank(x, 2)
    if len(bias) > 1 or weight.rank != 2 or any(b.rank != 1 for b in bias):
        raise Misfit(
            "an affine map takes a matrix [out, in] and at most one offset [out]",
            code="E303",
            inputs=(1,),
        )
    require_equal(
        x.shape[-1],
        weight.shape[1],
        lambda a, b: f"the last axis is {text_of(a)}, and the matrix takes {text_of(b)}",
        (0, 1),
    )
    for other in bias:
        require_equal(
            weight.shape[0],
            other.shape[0],
            lambda a, b: f"the matrix gives {text_of(a)} numbers, and the offset has {text_of(b)}",
            (1, 2),
        )
    return tensor(x.dtype, (*x.shape[:-1], weight.shape[0]))


def _affine_macs(types: Sequence[Type], attrs: Attrs, out: Type) -> Static:
    return product(out.shape) * types[0].shape[-1]


def _affine_roles(given: Given) -> Assigned:
    x, weight, *bias = given.inputs
    same(x[-1], weight[1])
    for axes in bias:
        same(weight[0], axes[0])
    return Assigned((*x[:-1], weight[0]))


OPS = (
    Op(
        "mix",
        "The sum of tensors, each times its gate: gates[index[0]]*x0 + gates[index[1]]*x1 + …. "
        "gates: [K], x: all of one shape. What a decision becomes when it is relaxed.",
        ("gates", "*x"),
        _mix,
        (Attr("index", "ints", "which gate each tensor has; in order where not given", None),),
        macs=_mix_macs,
        complete=_mix_complete,
    ),
    Op(
        "affine",
        "y = x Wᵀ + b on the last axis, with W and b computed elsewhere, where `linear` owns them. "
        ""
        "x: [..., in], weights: W [out, in], and b [out] where there is one -> [..., out].",
        ("x", "*weights"),
        _affine,
        macs=_affine_macs,
        roles=_affine_roles,
    ),
)
