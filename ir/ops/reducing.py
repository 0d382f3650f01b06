"""Ops that look at many elements at once: norms, softmax, pooling, reductions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, cast

from ..dims import Dim, Expr, Static, symbols_in, text_of
from ..types import Type, tensor
from .base import (
    Attr,
    Attrs,
    Misfit,
    Op,
    Weight,
    front_axis,
    require,
    require_positive,
    require_rank,
)
from .products import spread, spread_pads, window
from .roles import Assigned, Given, Stretch, along


def _same_type(types: Sequence[Type], attrs: Attrs) -> Type:
    return types[0]


# ── norms ────────────────────────────────────────────────────────────────────────────────────────


def _batch_norm(types: Sequence[Type], attrs: Attrs) -> Type:
    require_rank(types[0], 2)
    return types[0]


def _batch_norm_weights(types: Sequence[Type], attrs: Attrs) -> tuple[Weight, ...]:
    shape = (types[0].shape[1],)
    return (
        Weight("weight", shape, "ones" if attrs["gamma"] == 1.0 else f"fill({attrs['gamma']})"),
        Weight("bias", shape, "zeros"),
        Weight("running_mean", shape, "zeros", buffer=True),
        Weight("running_var", shape, "ones", buffer=True),
        Weight("num_batches_tracked", (), "zeros", buffer=True),
    )


def _layer_norm(types: Sequence[Type], attrs: Attrs) -> Type:
    if attrs["axis"] == 0:
        raise Misfit("the batch axis is not normalised over", code="E304", inputs=(0,))
    return types[0]


def _layer_norm_weights(types: Sequence[Type], attrs: Attrs) -> tuple[Weight, ...]:
    shape = types[0].shape[attrs["axis"] :]
    return (Weight("weight", shape, "ones"), Weight("bias", shape, "zeros"))


def _group_norm(types: Sequence[Type], attrs: Attrs) -> Type:
    require_rank(types[0], 2)
    require(
        lambda c, g: not isinstance(g, Expr) and g >= 1 and c % g == 0,
        types[0].shape[1],
        attrs["groups"],
        message=lambda c, g: f"groups={text_of(g)} must divide the {text_of(c)} channels",
        inputs=(0,),
    )
    return types[0]


def _group_norm_weights(types: Sequence[Type], attrs: Attrs) -> tuple[Weight, ...]:
    shape = (types[0].shape[1],)
    return (Weight("weight", shape, "ones"), Weight("bias", shape, "zeros"))


def _layer_norm_roles(given: Given) -> Assigned:
    [axes] = given.inputs
    return Assigned(axes, (axes[given.attrs["axis"] :],) * 2)


# ── pooling ──────────────────────────────────────────────────────────────────────────────────────


def _pool_complete(types: Sequence[Type], attrs: Attrs) -> Attrs:
    require_rank(types[0], 3)
    rank = types[0].rank - 2
    stride = attrs["kernel"] if attrs["stride"] is None else attrs["stride"]
    return {
        **attrs,
        "kernel": spread(attrs["kernel"], rank, "kernel"),
        "stride": spread(stride, rank, "stride"),
        "pad": spread_pads(attrs["pad"], rank),
    }


def _pool(types: Sequence[Type], attrs: Attrs) -> Type:
    batch, channels, *sizes = types[0].shape
    if len(sizes) > 3:
        raise Misfit(
            f"pooling takes 1 to 3 spatial axes, and {types[0].pretty} has {len(sizes)}",
            code="E303",
            inputs=(0,),
        )
    out: list[Dim] = [batch, channels]
    for size, kernel, stride, pads in zip(
        sizes, attrs["kernel"], attrs["stride"], attrs["pad"], strict=True
    ):
        require_positive(kernel, "`kernel`")
        require_positive(stride, "`stride`")
        new: Any = window(size, kernel, stride, pads)
        require_positive(new, "a spatial size after the pooling")
        out.append(new)
    return tensor(types[0].dtype, tuple(out))


def _adaptive_complete(types: Sequence[Type], attrs: Attrs) -> Attrs:
    require_rank(types[0], 3)
    return {"size": spread(attrs["size"], types[0].rank - 2, "size")}


def _adaptive(types: Sequence[Type], attrs: Attrs) -> Type:
    batch, channels, *sizes = types[0].shape
    if len(sizes) > 3 or any(symbols_in(size) for size in sizes):
        raise Misfit(
            f"adaptive pooling takes 1 to 3 spatial axes of known size, not {types[0].pretty}",
            code="E303",
            inputs=(0,),
        )
    for size in attrs["size"]:
        require_positive(size, "`size`")
    return tensor(types[0].dtype, (batch, channels, *attrs["size"]))


# ── reductions ───────────────────────────────────────────────────────────────────────────────────


def _reduce_complete(types: Sequence[Type], attrs: Attrs) -> Attrs:
    rank = types[0].rank
    given = attrs["axis"]
    axes = cast("tuple[Any, ...]", given) if isinstance(given, tuple) else (given,)
    front: list[int] = []
    for axis in axes:
        if not isinstance(axis, int) or not -rank <= axis < rank:
            raise Misfit(f"there is no axis {axis} in {types[0].pretty}", code="E304", inputs=(0,))
        front.append(axis % rank)
    if len(set(front)) < len(front) or not front:
        raise Misfit("`axis` must name each axis once", code="E304", inputs=(0,))
    return {**attrs, "axis": tuple(sorted(front))}


def _reduce(types: Sequence[Type], attrs: Attrs) -> Type:
    keep = attrs["keep"]
    shape: list[Static] = []
    for axis, size in enumerate(types[0].shape):
        if axis not in attrs["axis"]:
            shape.append(size)
        elif keep:
            shape.append(1)
    return tensor(types[0].dtype, tuple(shape))  # pyright: ignore[reportArgumentType]


def _reduce_roles(given: Given) -> Assigned:
    gone, keep = given.attrs["axis"], given.attrs["keep"]
    left = [
        Stretch(1) if place in gone else axis
        for place, axis in enumerate(given.inputs[0])
        if keep or place not in gone
    ]
    return Assigned(tuple(left))


def _reduction(name: str, doc: str) -> Op:
    attrs = (
        Attr("axis", "ints", "the axis or axes that are reduced"),
        Attr("keep", "bool", "whether they stay, with size 1", False),
    )
    takes: Literal["floats", "numbers"] = "floats" if name == "mean" else "numbers"
    return Op(
        name,
        doc,
        ("x",),
        _reduce,
        attrs,
        takes=takes,
        complete=_reduce_complete,
        roles=_reduce_roles,
    )


_POOL = (
    Attr("kernel", "ints", "the window, per spatial axis"),
    Attr("stride", "ints", "the step of the window; the kernel where not given", None),
    Attr("pad", "pads", "padding before and after, per spatial axis", 0),
)
_EPS = Attr("eps", "number", "added to the variance", 1e-5)

OPS = (
    Op(
        "batch_norm",
        "Each channel (axis 1) to mean 0 and variance 1 over the batch and all positions, then "
        "scaled and shifted; running statistics at inference.",
        ("x",),
        _batch_norm,
        (
            _EPS,
            Attr("momentum", "number", "the share of the new batch in the running statistics", 0.1),
            Attr("gamma", "number", "where the scale starts", 1.0),
        ),
        _batch_norm_weights,
        roles=along(1),
    ),
    Op(
        "layer_norm",
        "Each sample to mean 0 and variance 1 over all axes from `axis` on, then scaled and "
        "shifted per element. In BM-NAS over (C, L), in a transformer axis=-1.",
        ("x",),
        _layer_norm,
        (Attr("axis", "int", "the first axis that is normalised over", 1), _EPS),
        _layer_norm_weights,
        complete=front_axis,
        roles=_layer_norm_roles,
    ),
    Op(
        "group_norm",
        "Each group of channels to mean 0 and variance 1, then scaled and shifted per channel.",
        ("x",),
        _group_norm,
        (Attr("groups", "int", "how many groups the channels form"), _EPS),
        _group_norm_weights,
        roles=along(1),
    ),
    Op(
        "softmax",
        "exp(x) / sum(exp(x)) along `axis`.",
        ("x",),
        _same_type,
        (Attr("axis", "int", "the axis that sums to one", -1),),
        complete=front_axis,
    ),
    Op(
        "log_softmax",
        "The logarithm of softmax along `axis`.",
        ("x",),
        _same_type,
        (Attr("axis", "int", "the axis", -1),),
        complete=front_axis,
    ),
    Op(
        "max_pool",
        "The maximum in a sliding window; padding never wins. x: [N, C, *S].",
        ("x",),
        _pool,
        _POOL,
        complete=_pool_complete,
    ),
    Op(
        "avg_pool",
        "The mean in a sliding window, padding counted as zeros. x: [N, C, *S].",
        ("x",),
        _pool,
        _POOL,
        complete=_pool_complete,
    ),
    Op(
        "adaptive_max_pool",
        "The maximum in windows that bring each spatial axis to `size`; window i of axis S is "
        "floor(i*S/size) up to ceil((i+1)*S/size). x: [N, C, *S].",
        ("x",),
        _adaptive,
        (Attr("size", "ints", "the new size, per spatial axis"),),
        complete=_adaptive_complete,
    ),
    Op(
        "adaptive_avg_pool",
        "The mean in windows that bring each spatial axis to `size`, as in adaptive_max_pool.",
        ("x",),
        _adaptive,
        (Attr("size", "ints", "the new size, per spatial axis"),),
        complete=_adaptive_complete,
    ),
    _reduction("mean", "The mean over `axis`."),
    _reduction("amax", "The maximum over `axis`."),
    _reduction("total", "The sum over `axis`."),
)
