"""Ops that move elements and compute nothing: concat, reshape, flatten, transpose, slice, pad."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

from ..dims import Dim, Expr, Static, present, text_of, total
from ..types import Type, tensor
from .base import (
    Attr,
    Attrs,
    Misfit,
    Op,
    axis_of,
    front_axis,
    require,
    require_equal,
    require_positive,
    require_rank,
)
from .products import product, spread_pads
from .roles import Assigned, Given, Roles, follow, joined, part_of, regrouped, same


def _concat(types: Sequence[Type], attrs: Attrs) -> Type:
    first = types[0]
    axis: int = attrs["axis"]
    sizes: list[Static] = []
    for place, other in enumerate(types):
        if other.dtype != first.dtype or other.rank != first.rank:
            raise Misfit(
                f"{first.pretty} and {other.pretty} cannot be concatenated: "
                "the dtypes and the numbers of axes must be equal",
                code="E303",
                inputs=(0, place),
            )
        for at, (a, b) in enumerate(zip(first.shape, other.shape, strict=True)):
            if at != axis:
                require_equal(
                    a,
                    b,
                    lambda a, b, at=at: (
                        f"axis {at} is {text_of(a)} in one input and {text_of(b)} in another"
                    ),
                    (0, place),
                )
        there = 1 if other.maybe is None else present(*other.maybe)
        sizes.append(there * other.shape[axis])
    shape: list[Any] = list(first.shape)
    shape[axis] = total(sizes)
    return tensor(first.dtype, tuple(shape))


def _concat_roles(given: Given) -> Assigned:
    out: list[Roles] = [*given.inputs[0]]
    for place, size in enumerate(given.type.shape):
        meeting: list[Roles] = [axes[place] for axes in given.inputs]
        if place == given.attrs["axis"]:
            out[place] = joined(size, meeting, given.types)
            continue
        for other in meeting[1:]:
            same(meeting[0], other)
    return Assigned(tuple(out))


def _reshape(types: Sequence[Type], attrs: Attrs) -> Type:
    for size in attrs["shape"]:
        require_positive(size, "a size in `shape`")
    require_equal(
        product(types[0].shape),
        product(attrs["shape"]),
        lambda a, b: f"{text_of(a)} elements cannot become {text_of(b)}",
        (0,),
    )
    return tensor(types[0].dtype, attrs["shape"])


def _flatten(types: Sequence[Type], attrs: Attrs) -> Type:
    sizes = types[0].shape
    flat: Any = product(sizes[attrs["axis"] :])
    return tensor(types[0].dtype, (*sizes[: attrs["axis"]], flat))


def _transpose_complete(types: Sequence[Type], attrs: Attrs) -> Attrs:
    rank = types[0].rank
    require_rank(types[0], 2)
    written: Any = attrs["axes"]
    if written is None:
        return {"axes": (*range(rank - 2), rank - 1, rank - 2)}
    given = cast("tuple[Any, ...]", written) if isinstance(written, tuple) else (written,)
    axes = tuple([a + rank if a < 0 else a for a in given if isinstance(a, int)])
    if sorted(axes) != list(range(rank)) or len(given) != rank:
        raise Misfit(
            f"`axes` must name each of the {rank} axes of {types[0].pretty} once",
            code="E304",
            inputs=(0,),
        )
    return {"axes": axes}


def _transpose(types: Sequence[Type], attrs: Attrs) -> Type:
    axes: tuple[int, ...] = attrs["axes"]
    return tensor(types[0].dtype, tuple([types[0].shape[a] for a in axes]))


def _transpose_roles(given: Given) -> Assigned:
    axes: tuple[int, ...] = given.attrs["axes"]
    return Assigned(tuple([given.inputs[0][axis] for axis in axes]))


def _slice_complete(types: Sequence[Type], attrs: Attrs) -> Attrs:
    axis = axis_of(attrs, types[0].rank)
    start, stop = attrs["start"], attrs["stop"]
    size = types[0].shape[axis]
    if stop is None:
        stop = size
    elif not isinstance(stop, Expr) and stop < 0:
        stop = size + stop
    if not isinstance(start, Expr) and start < 0:
        start = size + start
    return {**attrs, "axis": axis, "start": start, "stop": stop}


def _slice(types: Sequence[Type], attrs: Attrs) -> Type:
    axis: int = attrs["axis"]
    start, stop, step = attrs["start"], attrs["stop"], attrs["step"]
    require_positive(step, "`step`")
    size = types[0].shape[axis]
    if stop is not size:
        require(
            lambda a, b, c: isinstance(b, Expr) or isinstance(c, Expr) or 0 <= a < b <= c,
            start,
            stop,
            size,
            message=lambda a, b, c: (
                f"the slice {text_of(a)}..{text_of(b)} is not inside an axis of {text_of(c)}"
            ),
            inputs=(0,),
        )
    new: Any = (stop - start + step - 1) // step
    require_positive(new, "the size after the slice")
    shape: list[Dim] = list(types[0].shape)
    shape[axis] = new
    return tensor(types[0].dtype, tuple(shape))


def _slice_roles(given: Given) -> Assigned:
    axis: int = given.attrs["axis"]
    out: list[Roles] = [*follow(given).out]
    size = given.types[0].shape[axis]
    if given.attrs["step"] == 1 and isinstance(size, Expr) and size.open:
        out[axis] = (
            part_of(given.inputs[0][axis], given.attrs["start"], given.attrs["stop"]) or out[axis]
        )
    return Assigned(tuple(out))


def _pad_complete(types: Sequence[Type], attrs: Attrs) -> Attrs:
    return {"pad": spread_pads(attrs["pad"], types[0].rank - 2)}


def _pad(types: Sequence[Type], attrs: Attrs) -> Type:
    batch, channels, *sizes = types[0].shape
    new: list[Any] = [
        size + before + after for size, (before, after) in zip(sizes, attrs["pad"], strict=True)
    ]
    for size in new:
        require_positive(size, "a padded size")
    return tensor(types[0].dtype, (batch, channels, *new))


def _expand(types: Sequence[Type], attrs: Attrs) -> Type:
    axis: int = attrs["axis"]
    size = types[0].shape[axis]
    require_equal(
        size, 1, lambda a, b: f"only an axis of size 1 can be expanded, not {text_of(a)}", (0,)
    )
    shape: list[Dim] = list(types[0].shape)
    shape[axis] = attrs["size"]
    return tensor(types[0].dtype, tuple(shape))


_AXIS = Attr("axis", "int", "the axis", 1)

OPS = (
    Op(
        "concat",
        "The inputs one after the other along `axis`. Other sizes must be equal.",
        ("*x",),
        _concat,
        (_AXIS,),
        complete=front_axis,
        takes="anything",
        roles=_concat_roles,
    ),
    Op(
        "reshape",
        "The same elements in the same order under another shape.",
        ("x",),
        _reshape,
        (Attr("shape", "shape", "the new sizes, the batch's too"),),
        takes="anything",
        roles=regrouped,
    ),
    Op(
        "flatten",
        "All axes from `axis` on as one. x: [N, A, B] -> [N, A*B].",
        ("x",),
        _flatten,
        (Attr("axis", "int", "the first axis that is merged", 1),),
        complete=front_axis,
        takes="anything",
        roles=regrouped,
    ),
    Op(
        "transpose",
        "The axes in another order; the last two swapped where none is given.",
        ("x",),
        _transpose,
        (Attr("axes", "ints", "the old axis at each new place", None),),
        complete=_transpose_complete,
        takes="anything",
        roles=_transpose_roles,
    ),
    Op(
        "slice",
        "Every `step`-th element of `axis` from `start` up to `stop`.",
        ("x",),
        _slice,
        (
            Attr("axis", "int", "the axis"),
            Attr("start", "int", "the first element, from 0", 0),
            Attr(
                "stop", "int", "the first element that is left out; the end where not given", None
            ),
            Attr("step", "int", "every which element", 1),
        ),
        complete=_slice_complete,
        takes="anything",
        roles=_slice_roles,
    ),
    Op(
        "pad",
        "Zeros before and after each spatial axis. x: [N, C, *S].",
        ("x",),
        _pad,
        (Attr("pad", "pads", "zeros before and after, per spatial axis"),),
        complete=_pad_complete,
    ),
    Op(
        "expand",
        "An axis of size 1 repeated `size` times.",
        ("x",),
        _expand,
        (_AXIS, Attr("size", "int", "the new size")),
        complete=front_axis,
        takes="anything",
    ),
)
