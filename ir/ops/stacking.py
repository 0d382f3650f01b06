"""Ops on stacks: many layers of one shape as one, one behind the other along a new first axis.

No file needs to be written with them. Horizontal fusion (`compiler/fusion`) writes them, for
networks that are trained side by side and for the candidates of a supernet.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from ..dims import Dim, Static, text_of
from ..types import Type, tensor
from .base import (
    Attr,
    Attrs,
    Misfit,
    Op,
    Weight,
    axis_of,
    front_axis,
    require_equal,
    require_positive,
    require_rank,
)
from .products import product


def _alike(types: Sequence[Type], but: int | None = None) -> None:
    """Raise Misfit unless all shapes are equal, but for one axis."""
    first = types[0]
    for place, other in enumerate(types[1:], 1):
        if other is first:
            continue
        if other.dtype != first.dtype or other.rank != first.rank:
            raise Misfit(
                f"{first.pretty} and {other.pretty} cannot be stacked: "
                "the dtypes and the numbers of axes must be equal",
                code="E303",
                inputs=(0, place),
            )
        for at, (a, b) in enumerate(zip(first.shape, other.shape, strict=True)):
            if at != but:
                require_equal(
                    a,
                    b,
                    lambda a, b, at=at: (
                        f"axis {at} is {text_of(a)} in one input and {text_of(b)} in another"
                    ),
                    (0, place),
                )


def _whole(value: object, name: str) -> tuple[int, ...]:
    """Whole numbers from 0 on, each known. Raises Misfit."""
    entries = cast("tuple[object, ...]", value) if isinstance(value, tuple) else (value,)
    if not entries or not all(isinstance(entry, int) and entry >= 0 for entry in entries):
        raise Misfit(f"`{name}` takes known whole numbers from 0 on", code="E304", inputs=(0,))
    return cast("tuple[int, ...]", entries)


# ── stack and gather ─────────────────────────────────────────────────────────────────────────────


def _stack(types: Sequence[Type], attrs: Attrs) -> Type:
    _alike(types)
    return tensor(types[0].dtype, (len(types), *types[0].shape))


def _gather_complete(types: Sequence[Type], attrs: Attrs) -> Attrs:
    return {"index": _whole(attrs["index"], "index")}


def _gather(types: Sequence[Type], attrs: Attrs) -> Type:
    _alike(types, but=0)
    rows: Static = 0
    for type in types:
        require_rank(type, 1)
        rows = type.shape[0] + rows
    index: tuple[int, ...] = attrs["index"]
    if isinstance(rows, int) and max(index) >= rows:
        raise Misfit(f"there is no row {max(index)} among {rows}", code="E304", inputs=(0,))
    return tensor(types[0].dtype, (len(index), *types[0].shape[1:]))


# ── layers ───────────────────────────────────────────────────────────────────────────────────────


def _known_stack(type: Type) -> int:
    """How many are stacked. Raises Misfit where that is not a known number."""
    count = type.shape[0]
    if not isinstance(count, int):
        raise Misfit(
            f"the first axis of a stack is a known number, not {text_of(count)}",
            code="E303",
            inputs=(0,),
        )
    return count


def _inner_axis(types: Sequence[Type], attrs: Attrs) -> Attrs:
    axis = axis_of(attrs, types[0].rank)
    if axis == 0:
        raise Misfit("axis 0 is that of the stack", code="E304", inputs=(0,))
    return {**attrs, "axis": axis}


def _stacked_linear(types: Sequence[Type], attrs: Attrs) -> Type:
    x, *rest = types
    require_rank(x, 3)
    require_positive(attrs["out"], "`out`")
    _known_stack(x)
    if len(rest) > 1:
        raise Misfit("at most one tensor is added", code="E205", inputs=(1,))
    shape = list(x.shape)
    shape[attrs["axis"]] = attrs["out"]
    result = tensor(x.dtype, tuple(shape))
    _alike([result, *rest])
    return result


def _stacked_linear_weights(types: Sequence[Type], attrs: Attrs) -> tuple[Weight, ...]:
    axis: int = attrs["axis"]
    count, width = types[0].shape[0], types[0].shape[axis]
    weight = Weight("weight", (count, attrs["out"], width), "kaiming_uniform")
    if not attrs["bias"]:
        return (weight,)
    return (weight, Weight("bias", (count, attrs["out"]), "fan_in_uniform"))


def _stacked_linear_macs(types: Sequence[Type], attrs: Attrs, out: Type) -> Static:
    axis: int = attrs["axis"]
    return product(out.shape) * types[0].shape[axis]


def _stacked_layer_norm(types: Sequence[Type], attrs: Attrs) -> Type:
    require_rank(types[0], 3)
    _known_stack(types[0])
    if attrs["axis"] == 1:
        raise Misfit("the batch axis is not normalised over", code="E304", inputs=(0,))
    return types[0]


def _stacked_layer_norm_weights(types: Sequence[Type], attrs: Attrs) -> tuple[Weight, ...]:
    axis: int = attrs["axis"]
    shape = (types[0].shape[0], *types[0].shape[axis:])
    return (Weight("weight", shape, "ones"), Weight("bias", shape, "zeros"))


def _bank_complete(types: Sequence[Type], attrs: Attrs) -> Attrs:
    require_rank(types[0], 2)
    return {
        **attrs,
        "axis": axis_of(attrs, types[0].rank),
        "reads": _whole(attrs["reads"], "reads"),
    }


def bank_blocks(count: int, reads: Sequence[int]) -> list[list[int]]:
    """By input, the places in `reads` that name it: the blocks of its weight, top to bottom."""
    blocks: list[list[int]] = [[] for _ in range(count)]
    for place, read in enumerate(reads):
        blocks[read].append(place)
    return blocks


def _linear_bank(types: Sequence[Type], attrs: Attrs) -> Type:
    axis, per = attrs["axis"], attrs["per"]
    reads: tuple[int, ...] = attrs["reads"]
    _alike(types, but=axis)
    require_positive(attrs["out"], "`out`")
    if not isinstance(per, int) or per < 1 or len(reads) % per:
        raise Misfit(
            f"`reads` has {len(reads)} entries, which is not a multiple of `per`", code="E304"
        )
    if set(reads) != set(range(len(types))):
        raise Misfit("`reads` must name each input, by its place from 0 on", code="E304")
    around: list[Dim] = [size for at, size in enumerate(types[0].shape) if at != axis]
    return tensor(types[0].dtype, (len(reads) // per, attrs["out"], *around))


def _linear_bank_weights(types: Sequence[Type], attrs: Attrs) -> tuple[Weight, ...]:
    axis: int = attrs["axis"]
    out: int = attrs["out"]
    reads: tuple[int, ...] = attrs["reads"]
    weights = [
        Weight(f"weight.{place}", (len(block) * out, type.shape[axis]), "kaiming_uniform")
        for place, (type, block) in enumerate(
            zip(types, bank_blocks(len(types), reads), strict=True)
        )
    ]
    if attrs["bias"]:
        weights.append(Weight("bias", (len(reads) // attrs["per"], out), "fan_in_uniform"))
    return tuple(weights)


def _linear_bank_macs(types: Sequence[Type], attrs: Attrs, out: Type) -> Static:
    axis: int = attrs["axis"]
    one = product(out.shape[1:])
    total: Static = 0
    for type, block in zip(types, bank_blocks(len(types), attrs["reads"]), strict=True):
        total = one * type.shape[axis] * len(block) + total
    return total


_OUT = Attr("out", "int", "the size of `axis` in the result")
_BIAS = Attr("bias", "bool", "whether learned offsets are added", True)

OPS = (
    Op(
        "stack",
        "The inputs, all of one shape, along a new first axis. x: G of [...] -> [G, ...].",
        ("*x",),
        _stack,
        takes="anything",
    ),
    Op(
        "gather",
        "Rows of stacks: `index` counts through the rows of the inputs, one after the other. "
        "x: [G1, ...], [G2, ...], … -> [entries of index, ...].",
        ("*x",),
        _gather,
        (Attr("index", "ints", "which rows, in this order"),),
        complete=_gather_complete,
        takes="anything",
    ),
    Op(
        "stacked_linear",
        "G linear layers, one for each row of a stack: y[g] = W[g] x[g] + b[g] + add[g] along "
        "`axis`. x: [G, ..., in, ...], and behind it, where wanted, add: [G, ..., out, ...].",
        ("*x",),
        _stacked_linear,
        (_OUT, _BIAS, Attr("axis", "int", "the axis that is mapped, that of the stack too", -1)),
        _stacked_linear_weights,
        _stacked_linear_macs,
        _inner_axis,
    ),
    Op(
        "stacked_layer_norm",
        "G layer norms, one for each row of a stack, over all axes from `axis` on. "
        "x: [G, N, ...] -> [G, N, ...].",
        ("x",),
        _stacked_layer_norm,
        (
            Attr("axis", "int", "the first axis that is normalised over", 2),
            Attr("eps", "number", "added to the variance", 1e-5),
        ),
        _stacked_layer_norm_weights,
        complete=front_axis,
    ),
    Op(
        "linear_bank",
        "J linear layers over concatenations of shared inputs, with one product for each input: "
        "y[j] = sum over a of W[j, a] x[reads[j * per + a]] + b[j] along `axis`, which comes first "
        "in the result. weight.t has the blocks of all that read x[t]. "
        "x: T of [..., in_t, ...] -> [J, out, ...].",
        ("*x",),
        _linear_bank,
        (
            _OUT,
            Attr("reads", "ints", "the inputs that each layer reads, layer by layer"),
            Attr("per", "int", "how many inputs a layer reads", 1),
            _BIAS,
            Attr("axis", "int", "the axis that is mapped", -1),
        ),
        _linear_bank_weights,
        _linear_bank_macs,
        _bank_complete,
    ),
)
