"""Ops whose cost is counted in multiply-adds: linear, convolution, matmul; and learned tables."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

from ..dims import Dim, Static, text_of
from ..folding import folded
from ..types import Type, tensor
from .base import (
    Attr,
    Attrs,
    Misfit,
    Op,
    Weight,
    front_axis,
    require,
    require_equal,
    require_positive,
    require_rank,
)
from .roles import (
    Assigned,
    Axes,
    Centred,
    Crossed,
    Given,
    Roles,
    Stretch,
    crossed,
    equal,
    follow,
    same,
    stretches,
)


def product(sizes: Sequence[Static]) -> Static:
    """The product of sizes, some of which may be open or named."""
    total: Static = 1
    for size in sizes:
        total = size * total
    return total


# ── linear ───────────────────────────────────────────────────────────────────────────────────────


def _linear(types: Sequence[Type], attrs: Attrs) -> Type:
    require_rank(types[0], 2)
    require_positive(attrs["out"], "`out`")
    shape = list(types[0].shape)
    shape[attrs["axis"]] = attrs["out"]
    return tensor(types[0].dtype, tuple(shape))


def _linear_weights(types: Sequence[Type], attrs: Attrs) -> tuple[Weight, ...]:
    axis: int = attrs["axis"]
    width = types[0].shape[axis]
    weight = Weight("weight", (attrs["out"], width), "kaiming_uniform")
    return (
        (weight, Weight("bias", (attrs["out"],), "fan_in_uniform")) if attrs["bias"] else (weight,)
    )


def _linear_macs(types: Sequence[Type], attrs: Attrs, out: Type) -> Static:
    axis: int = attrs["axis"]
    return product(out.shape) * types[0].shape[axis]


def _with_bias(given: Given, weight: Axes) -> tuple[Axes, ...]:
    return (weight, weight[:1])[: len(given.weights)]


def _linear_roles(given: Given) -> Assigned:
    axis: int = given.attrs["axis"]
    axes = given.inputs[0]
    rows = Stretch(given.type.shape[axis])
    weights = _with_bias(given, (rows, axes[axis]))
    return Assigned((*axes[:axis], rows, *axes[axis + 1 :]), weights)


# ── convolution ──────────────────────────────────────────────────────────────────────────────────


def spread(value: Any, rank: int, name: str) -> tuple[Any, ...]:
    """One entry per spatial axis: `3` becomes `(3, 3)` in two dimensions."""
    if not isinstance(value, tuple):
        return (value,) * rank
    if len(value) != rank:  # pyright: ignore[reportUnknownArgumentType]
        raise Misfit(
            f"`{name}` has {len(value)} entries for {rank} spatial axes",  # pyright: ignore[reportUnknownArgumentType]
            code="E304",
            inputs=(0,),
        )
    return value  # pyright: ignore[reportUnknownVariableType]


def spread_pads(value: Any, rank: int) -> tuple[tuple[Any, Any], ...]:
    """One (before, after) pair per spatial axis: `1` becomes `((1, 1), (1, 1))`."""
    pads: list[tuple[Any, Any]] = []
    for entry in spread(value, rank, "pad"):
        pair = cast("tuple[Any, ...]", entry) if isinstance(entry, tuple) else (entry, entry)
        if len(pair) != 2:
            raise Misfit("a pad is a number or a pair (before, after)", code="E304")
        pads.append((pair[0], pair[1]))
    return tuple(pads)


def window(
    size: Static, kernel: Static, stride: Static, pads: tuple[Static, Static], dilation: Static = 1
) -> Static:
    """The size of an axis after a sliding window: floor((size + pads - reach) / stride) + 1."""
    reach = (kernel - 1) * dilation + 1
    return (size + pads[0] + pads[1] - reach) // stride + 1


def _conv_complete(types: Sequence[Type], attrs: Attrs) -> Attrs:
    require_rank(types[0], 3)
    rank = types[0].rank - 2
    return {
        **attrs,
        "kernel": spread(attrs["kernel"], rank, "kernel"),
        "stride": spread(attrs["stride"], rank, "stride"),
        "dilation": spread(attrs["dilation"], rank, "dilation"),
        "pad": spread_pads(attrs["pad"], rank),
    }


def _conv(types: Sequence[Type], attrs: Attrs) -> Type:
    batch, channels, *sizes = types[0].shape
    if len(sizes) > 3:
        raise Misfit(
            f"a convolution takes 1 to 3 spatial axes, and {types[0].pretty} has {len(sizes)}",
            code="E303",
            inputs=(0,),
        )
    for name in ("out", "groups"):
        require_positive(attrs[name], f"`{name}`")
    for name in ("kernel", "stride", "dilation"):
        for entry in attrs[name]:
            require_positive(entry, f"`{name}`")
    require(
        lambda c, o, g: c % g == 0 and o % g == 0,
        channels,
        attrs["out"],
        attrs["groups"],
        message=lambda c, o, g: (
            f"groups={text_of(g)} must divide the {text_of(c)} channels that come in "
            f"and the {text_of(o)} that go out"
        ),
        inputs=(0,),
    )
    out: list[Dim] = [batch, attrs["out"]]
    for size, kernel, stride, pads, dilation in zip(
        sizes, attrs["kernel"], attrs["stride"], attrs["pad"], attrs["dilation"], strict=True
    ):
        new: Any = window(size, kernel, stride, pads, dilation)
        require_positive(new, "a spatial size after the convolution")
        out.append(new)
    return tensor(types[0].dtype, tuple(out))


def _conv_weights(types: Sequence[Type], attrs: Attrs) -> tuple[Weight, ...]:
    inner: Any = types[0].shape[1] // attrs["groups"]
    weight = Weight("weight", (attrs["out"], inner, *attrs["kernel"]), "kaiming_uniform")
    return (
        (weight, Weight("bias", (attrs["out"],), "fan_in_uniform")) if attrs["bias"] else (weight,)
    )


def _conv_macs(types: Sequence[Type], attrs: Attrs, out: Type) -> Static:
    inner: Static = types[0].shape[1] // attrs["groups"]
    return product(out.shape) * product(attrs["kernel"]) * inner


def _conv_roles(given: Given) -> Assigned:
    """Of each group the first channels; those of a depthwise convolution are its input's."""
    [axes], groups, out = given.inputs, given.attrs["groups"], given.type.shape[1]
    inner = given.weights[0].shape[1]
    read: Roles = axes[1]
    rows: Roles = Stretch(out)
    if not equal(groups, 1):
        group = read
        if equal(inner, 1):
            read = Stretch(1)
        else:
            group, read = stretches((groups, inner))
            same(axes[1], Crossed(axes[1].size, (group, read)))
        rows = crossed(out, (group, Stretch(folded(out // groups))))
    kernel = [Centred(size) for size in given.attrs["kernel"]]
    spatial = follow(given).out[2:]
    return Assigned((axes[0], rows, *spatial), _with_bias(given, (rows, read, *kernel)))


# ── matmul ───────────────────────────────────────────────────────────────────────────────────────


def _matmul(types: Sequence[Type], attrs: Attrs) -> Type:
    x, y = types
    require_rank(x, 2)
    require_rank(y, 2, 1)
    if x.rank != y.rank or x.dtype != y.dtype:
        raise Misfit(
            f"{x.pretty} and {y.pretty} must have one dtype and as many axes as each other",
            code="E303",
            inputs=(0, 1),
        )
    for axis, (a, b) in enumerate(zip(x.shape[:-2], y.shape[:-2], strict=True)):
        require_equal(
            a,
            b,
            lambda a, b, axis=axis: (
                f"axis {axis} is {text_of(a)} in the first and {text_of(b)} in the second input"
            ),
            (0, 1),
        )
    require_equal(
        x.shape[-1],
        y.shape[-2],
        lambda a, b: f"the inner sizes differ: {text_of(a)} columns against {text_of(b)} rows",
        (0, 1),
    )
    return tensor(x.dtype, (*x.shape[:-1], y.shape[-1]))


def _matmul_macs(types: Sequence[Type], attrs: Attrs, out: Type) -> Static:
    return product(out.shape) * types[0].shape[-1]


def _matmul_roles(given: Given) -> Assigned:
    x, y = given.inputs
    for a, b in zip((*x[:-2], x[-1]), (*y[:-2], y[-2]), strict=True):
        same(a, b)
    return Assigned((*x[:-1], y[-1]))


# ── learned and constant tensors ─────────────────────────────────────────────────────────────────


def _embedding(types: Sequence[Type], attrs: Attrs) -> Type:
    if types[0].dtype not in ("i64", "i32"):
        raise Misfit(
            f"an embedding looks up whole numbers, not {types[0].pretty}", code="E303", inputs=(0,)
        )
    require_positive(attrs["rows"], "`rows`")
    require_positive(attrs["out"], "`out`")
    return tensor("f32", (*types[0].shape, attrs["out"]))


def _embedding_weights(types: Sequence[Type], attrs: Attrs) -> tuple[Weight, ...]:
    return (Weight("weight", (attrs["rows"], attrs["out"]), "normal(1)"),)


def _embedding_roles(given: Given) -> Assigned:
    rows, out = stretches((given.attrs["rows"], given.type.shape[-1]))
    return Assigned((*given.inputs[0], out), ((rows, out),))


def _filled(types: Sequence[Type], attrs: Attrs) -> Type:
    for size in attrs["shape"]:
        require_positive(size, "a size in `shape`", ())
    return tensor("f32", attrs["shape"])


INITS = ("zeros", "ones", "normal", "truncated_normal", "uniform")


def _parameter(types: Sequence[Type], attrs: Attrs) -> Type:
    if attrs["init"] not in INITS:
        raise Misfit(f'`init` is one of {", ".join(INITS)}, not "{attrs["init"]}"', code="E304")
    return _filled(types, attrs)


def _parameter_weights(types: Sequence[Type], attrs: Attrs) -> tuple[Weight, ...]:
    return (Weight("weight", attrs["shape"], f"{attrs['init']}({attrs['std']})"),)


def _parameter_roles(given: Given) -> Assigned:
    axes = stretches(given.type.shape)
    return Assigned(axes, (axes,))


_BIAS = Attr("bias", "bool", "whether a learned offset is added", True)
_SHAPE = Attr("shape", "shape", "the sizes, the batch's too")

OPS = (
    Op(
        "linear",
        "y = W x + b along `axis`, the same W at every other position: a fully connected layer, "
        "or a 1x1 convolution where axis=1. On [N, C, L] it maps L unless axis=1 is given. "
        "x: [..., in, ...] -> [..., out, ...].",
        ("x",),
        _linear,
        (
            Attr("out", "int", "the size of `axis` in the result"),
            _BIAS,
            Attr("axis", "int", "the axis that is mapped", -1),
        ),
        _linear_weights,
        _linear_macs,
        front_axis,
        roles=_linear_roles,
    ),
    Op(
        "conv",
        "Convolution over 1 to 3 spatial axes. x: [N, C, *S] -> [N, out, *S'] with "
        "S' = floor((S + pads - dilation*(kernel-1) - 1) / stride) + 1.",
        ("x",),
        _conv,
        (
            Attr("out", "int", "the number of channels in the result"),
            Attr("kernel", "ints", "the window, per spatial axis"),
            Attr("stride", "ints", "the step of the window, per spatial axis", 1),
            Attr("pad", "pads", "zeros before and after, per spatial axis", 0),
            Attr("dilation", "ints", "the spacing of the window, per spatial axis", 1),
            Attr("groups", "int", "channels are split into that many groups", 1),
            _BIAS,
        ),
        _conv_weights,
        _conv_macs,
        _conv_complete,
        roles=_conv_roles,
    ),
    Op(
        "matmul",
        "The matrix product of the last two axes. x: [..., A, B], y: [..., B, C] -> [..., A, C].",
        ("x", "y"),
        _matmul,
        macs=_matmul_macs,
        roles=_matmul_roles,
    ),
    Op(
        "embedding",
        "A learned row for each whole number in x. x: i64[...] -> f32[..., out].",
        ("x",),
        _embedding,
        (Attr("rows", "int", "how many rows there are"), Attr("out", "int", "the width of a row")),
        _embedding_weights,
        takes="numbers",
        roles=_embedding_roles,
    ),
    Op(
        "parameter",
        "A learned tensor that depends on no input, for example gates or position tables.",
        (),
        _parameter,
        (
            _SHAPE,
            Attr("init", "text", f"one of {', '.join(INITS)}", "zeros"),
            Attr("std", "number", "the spread of a random start", 0.02),
        ),
        _parameter_weights,
        roles=_parameter_roles,
    ),
    Op(
        "zeros", "A tensor of zeros; nothing that it stands for is reached.", (), _filled, (_SHAPE,)
    ),
)
