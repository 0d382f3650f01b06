"""Every primitive against an independent computation in numpy, in double precision."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from fusegraph.backends.torch import lower
from fusegraph.backends.torch.table import LOWERINGS
from fusegraph.ir.node import input_node
from fusegraph.ir.ops import PRIMITIVES
from fusegraph.ir.types import Type, tensor
from torch_backend_networks import N, T, batch_for, f32, net, op, shape_of

Array = NDArray[Any]
Weights = Mapping[str, Array]
Reference = Callable[..., Any]


@dataclass(frozen=True)
class Case:
    """An op with attributes and input types; `expected(*inputs, **weights)` in numpy."""

    name: str
    types: Sequence[Type]
    expected: Reference
    attrs: Mapping[str, Any] = field(default_factory=dict[str, Any])

    @property
    def label(self) -> str:
        shapes = " ".join(t.text for t in self.types)
        return f"{self.name}-{shapes}-{','.join(f'{k}={v}' for k, v in self.attrs.items())}"


def _case(name: str, types: Type | Sequence[Type], expected: Reference, **attrs: Any) -> Case:
    return Case(name, [types] if isinstance(types, Type) else types, expected, attrs)


# ── references ───────────────────────────────────────────────────────────────────────────────────


def _linear(axis: int) -> Reference:
    def expected(x: Array, weight: Array, bias: Array | None = None) -> Array:
        y = np.tensordot(x, weight, axes=(axis, 1))
        return np.moveaxis(y if bias is None else y + bias, -1, axis)

    return expected


def _windows(
    x: Array,
    kernel: Sequence[int],
    stride: Sequence[int],
    pads: Sequence[tuple[int, int]],
    dilation: Sequence[int],
    fill: float,
) -> tuple[list[tuple[int, ...]], Callable[[tuple[int, ...]], Array], tuple[int, ...]]:
    """The places of a sliding window, and the content of the window at a place: [N, C, *kernel]."""
    x = np.pad(x, [(0, 0), (0, 0), *pads], constant_values=fill)
    out = tuple(
        (s - d * (k - 1) - 1) // t + 1
        for s, k, t, d in zip(x.shape[2:], kernel, stride, dilation, strict=True)
    )

    def at(place: tuple[int, ...]) -> Array:
        spans = [
            slice(p * t, p * t + d * (k - 1) + 1, d)
            for p, k, t, d in zip(place, kernel, stride, dilation, strict=True)
        ]
        return x[(slice(None), slice(None), *spans)]

    return list(product(*map(range, out))), at, out


def _conv(
    kernel: Sequence[int],
    stride: Sequence[int] | None = None,
    pads: Sequence[tuple[int, int]] | None = None,
    dilation: Sequence[int] | None = None,
    groups: int = 1,
) -> Reference:
    rank = len(kernel)

    def expected(x: Array, weight: Array, bias: Array | None = None) -> Array:
        places, at, out = _windows(
            x, kernel, stride or (1,) * rank, pads or ((0, 0),) * rank, dilation or (1,) * rank, 0.0
        )
        y = np.zeros((x.shape[0], weight.shape[0], *out))
        inner, outer = weight.shape[1], weight.shape[0] // groups
        for place in places:
            content = at(place)
            for g in range(groups):
                part = content[:, g * inner : (g + 1) * inner].reshape(x.shape[0], -1)
                rows = weight[g * outer : (g + 1) * outer].reshape(outer, -1)
                y[(slice(None), slice(g * outer, (g + 1) * outer), *place)] = part @ rows.T
        return y if bias is None else y + bias.reshape(1, -1, *(1,) * rank)

    return expected


def _pool(
    reduce: Callable[..., Array],
    fill: float,
    kernel: Sequence[int],
    stride: Sequence[int],
    pads: Sequence[tuple[int, int]] | None = None,
) -> Reference:
    rank = len(kernel)

    def expected(x: Array) -> Array:
        places, at, out = _windows(x, kernel, stride, pads or ((0, 0),) * rank, (1,) * rank, fill)
        y = np.zeros((*x.shape[:2], *out))
        for place in places:
            y[(slice(None), slice(None), *place)] = reduce(
                at(place), axis=tuple(range(2, 2 + rank))
            )
        return y

    return expected


def _adaptive(reduce: Callable[..., Array], size: Sequence[int]) -> Reference:
    def expected(x: Array) -> Array:
        y = np.zeros((*x.shape[:2], *size))
        for place in product(*map(range, size)):
            spans = [
                slice(i * s // o, math.ceil((i + 1) * s / o))
                for i, s, o in zip(place, x.shape[2:], size, strict=True)
            ]
            y[(slice(None), slice(None), *place)] = reduce(
                x[(slice(None), slice(None), *spans)], axis=tuple(range(2, x.ndim))
            )
        return y

    return expected


def _normed(x: Array, axes: tuple[int, ...], eps: float) -> Array:
    return (x - x.mean(axes, keepdims=True)) / np.sqrt(x.var(axes, keepdims=True) + eps)


def _per_channel(values: Array, rank: int) -> Array:
    return values.reshape(1, -1, *(1,) * (rank - 2))


def _batch_norm(eps: float = 1e-5) -> Reference:
    """At inference, with the running statistics."""

    def expected(
        x: Array,
        weight: Array,
        bias: Array,
        running_mean: Array,
        running_var: Array,
        num_batches_tracked: Array,
    ) -> Array:
        wide = [_per_channel(v, x.ndim) for v in (weight, bias, running_mean, running_var)]
        return (x - wide[2]) / np.sqrt(wide[3] + eps) * wide[0] + wide[1]

    return expected


def _layer_norm(axis: int, eps: float = 1e-5) -> Reference:
    return lambda x, weight, bias: _normed(x, tuple(range(axis, x.ndim)), eps) * weight + bias


def _group_norm(groups: int, eps: float = 1e-5) -> Reference:
    def expected(x: Array, weight: Array, bias: Array) -> Array:
        parts = _normed(x.reshape(x.shape[0], groups, -1), (2,), eps).reshape(x.shape)
        return parts * _per_channel(weight, x.ndim) + _per_channel(bias, x.ndim)

    return expected


def _softmax(axis: int) -> Reference:
    return lambda x: np.exp(x) / np.exp(x).sum(axis, keepdims=True)


def _gelu(x: Array) -> Array:
    return x * 0.5 * (1 + np.vectorize(math.erf)(x / math.sqrt(2)))


def _sigmoid(x: Array) -> Array:
    return 1 / (1 + np.exp(-x))


_X = f32(N, 4, 6)
_MAP = f32(N, 4, 7, 5)
_CLIP = f32(N, 4, 6, 5, 4)
_ONE = f32(N, 1, 6)


_STACK = f32(2, N, 4)


def _gathered(index: tuple[int, ...]) -> Reference:
    return lambda *x: np.concatenate(x)[list(index)]


def _stacked_linear(axis: int) -> Reference:
    def expected(x: Array, *add: Array, weight: Array, bias: Array | None = None) -> Array:
        rows = [
            np.moveaxis(np.tensordot(row, w, axes=(axis - 1, 1)), -1, axis - 1)
            for row, w in zip(x, weight, strict=True)
        ]
        total = sum(add, np.stack(rows))
        return total if bias is None else total + np.expand_dims(bias, _others(x.ndim, axis))

    return expected


def _others(rank: int, axis: int) -> tuple[int, ...]:
    return tuple(at for at in range(1, rank) if at != axis)


def _stacked_layer_norm(axis: int, eps: float = 1e-5) -> Reference:
    def expected(x: Array, weight: Array, bias: Array) -> Array:
        rows = zip(x, weight, bias, strict=True)
        return np.stack(
            [_normed(r, tuple(range(axis - 1, r.ndim)), eps) * w + b for r, w, b in rows]
        )

    return expected


def _bank(out: int, reads: tuple[int, ...], per: int) -> Reference:
    """Layer by layer, with the block of each input's weight that is next."""

    def expected(*x: Array, bias: Array | None = None, **weights: Array) -> Array:
        used = [0] * len(x)
        layers: list[Array] = []
        for start in range(0, len(reads), per):
            total = np.zeros((x[0].shape[0], out, *x[0].shape[2:]))
            for read in reads[start : start + per]:
                block = weights[f"weight.{read}"][used[read] : used[read] + out]
                used[read] += out
                total += np.moveaxis(np.tensordot(x[read], block, axes=(1, 1)), -1, 1)
            layers.append(np.moveaxis(total, 1, 0))
        y = np.stack(layers)
        return y if bias is None else y + np.expand_dims(bias, _others(y.ndim, 1))

    return expected


# ── the table ────────────────────────────────────────────────────────────────────────────────────

CASES = [
    _case("linear", f32(N, 4), _linear(1), out=3),
    _case("linear", _X, _linear(2), out=3, bias=False),
    _case("linear", _X, _linear(1), out=3, axis=1),
    _case("linear", _CLIP, _linear(1), out=3, axis=1, bias=False),
    _case("linear", _MAP, _linear(2), out=2, axis=-2),
    _case("linear", f32(N, T, 4), _linear(2), out=3),
    _case("linear", f32(5, N), _linear(0), out=3, axis=0),
    _case("conv", _X, _conv((3,)), out=5, kernel=3),
    _case("conv", _X, _conv((3,), pads=((2, 0),)), out=5, kernel=3, pad=((2, 0),)),
    _case("conv", _X, _conv((2,), (2,), dilation=(3,)), out=5, kernel=2, stride=2, dilation=3),
    _case("conv", _MAP, _conv((3, 3), pads=((1, 1),) * 2), out=6, kernel=3, pad=1),
    _case(
        "conv",
        _MAP,
        _conv((3, 1), (2, 1), ((1, 1), (0, 0)), groups=2),
        out=6,
        kernel=(3, 1),
        stride=(2, 1),
        pad=(1, 0),
        groups=2,
        bias=False,
    ),
    _case(
        "conv",
        _MAP,
        _conv((2, 2), pads=((0, 1), (1, 0)), groups=4),
        out=4,
        kernel=2,
        pad=((0, 1), (1, 0)),
        groups=4,
    ),
    _case(
        "conv",
        _MAP,
        lambda x, weight, bias: _conv((1, 1))(x[:, :, 1:-1], weight, bias),
        out=3,
        kernel=1,
        pad=(-1, 0),
    ),
    _case(
        "conv",
        _CLIP,
        _conv((3, 2, 1), (2, 1, 1), ((2, 2), (0, 1), (0, 0)), (2, 1, 1)),
        out=3,
        kernel=(3, 2, 1),
        stride=(2, 1, 1),
        dilation=(2, 1, 1),
        pad=((2, 2), (0, 1), 0),
    ),
    _case("conv", f32(N, 4, T), _conv((3,), (3,)), out=2, kernel=3, stride=T // 2),
    _case("matmul", [f32(N, 4, 6), f32(N, 6, 2)], np.matmul),
    _case("matmul", [f32(N, 2, T, 4), f32(N, 2, 4, T)], np.matmul),
    _case("matmul", [f32(3, 4), f32(4, N)], np.matmul),
    _case("mix", [f32(2), _X, _X], lambda g, x, y: g[0] * x + g[1] * y),
    _case("mix", [f32(3), _X, _X], lambda g, x, y: g[2] * x + g[1] * y, index=(2, 1)),
    _case("mix", [f32(3), f32(N, T)], lambda g, x: g[1] * x, index=1),
    _case("affine", [f32(N, 4), f32(3, 4)], lambda x, w: x @ w.T),
    _case("affine", [f32(N, 4), f32(3, 4), f32(3)], lambda x, w, b: x @ w.T + b),
    _case("affine", [f32(N, T, 4), f32(3, 4), f32(3)], lambda x, w, b: x @ w.T + b),
    _case("embedding", tensor("i64", (N, 2)), lambda x, weight: weight[x], rows=5, out=3),
    _case("embedding", tensor("i32", (N,)), lambda x, weight: weight[x], rows=7, out=1),
    *[
        _case("parameter", [], lambda weight: weight, shape=(1, 4, 6), init=init, std=0.3)
        for init in ("zeros", "ones", "normal", "truncated_normal", "uniform")
    ],
    _case("zeros", [], lambda: np.zeros((2, 3)), shape=(2, 3)),
    _case("relu", _X, lambda x: np.maximum(x, 0)),
    _case("sigmoid", _X, _sigmoid),
    _case("tanh", _X, np.tanh),
    _case("leaky_relu", _X, lambda x: np.where(x > 0, x, 0.01 * x)),
    _case("leaky_relu", _X, lambda x: np.where(x > 0, x, 0.3 * x), slope=0.3),
    _case("gelu", _X, _gelu),
    _case("silu", _X, lambda x: x * _sigmoid(x)),
    _case("softplus", _X, lambda x: np.log1p(np.exp(x))),
    _case("exp", _X, np.exp),
    _case("log", _X, np.log),
    _case("sqrt", _X, np.sqrt),
    _case("abs", _X, np.abs),
    _case("scale", _X, lambda x: x * -2.5, by=-2.5),
    _case("scale", f32(N, T), lambda x: x / 6, by=T * 0.25 - 8 / 6),
    _case("shift", _X, lambda x: x + 0.5, by=0.5),
    _case("shift", _X, lambda x: x - 2, by=-2),
    _case("shift", f32(N, T), lambda x: x + 7, by=T + 1),
    _case("dropout", _X, lambda x: x),
    _case("dropout", _X, lambda x: x, p=0.0),
    _case("drop_path", _X, lambda x: x, p=0.9),
    _case("sum", _X, lambda x: x),
    _case("sum", [_X, _ONE, _X], lambda a, b, c: a + b + c),
    _case("sum", [_X] * 12, lambda *x: sum(x[1:], x[0])),
    _case("mul", [_X, _ONE], lambda a, b: a * b),
    _case("mul", [f32(N, 2)] * 11, lambda *x: math.prod(x[1:], start=x[0])),
    _case("maximum", [_X], lambda x: x),
    _case("maximum", [_X, _ONE], np.maximum),
    _case("maximum", [_X, _ONE, _X], lambda a, b, c: np.maximum(np.maximum(a, b), c)),
    _case("sub", [_X, _ONE], lambda a, b: a - b),
    _case("div", [_ONE, _X], lambda a, b: a / b),
    _case("concat", [_X, f32(N, 2, 6), _X], lambda *x: np.concatenate(x, 1)),
    _case("concat", [_X, f32(N, 4, T)], lambda *x: np.concatenate(x, 2), axis=-1),
    _case("concat", [_X], lambda x: x),
    _case("reshape", _X, lambda x: x.reshape(3, 2, 12), shape=(N, 2, 12)),
    _case("reshape", f32(N, T, 4), lambda x: x.reshape(18, 4), shape=(N * T, 4)),
    _case("reshape", f32(N, 4 * T), lambda x: x.reshape(3, 2, 12), shape=(N, 2, 2 * T)),
    _case("flatten", _CLIP, lambda x: x.reshape(3, -1)),
    _case("flatten", _CLIP, lambda x: x.reshape(3, 4, 6, -1), axis=-2),
    _case("transpose", _X, lambda x: x.transpose(0, 2, 1)),
    _case("transpose", _MAP, lambda x: x.transpose(3, 0, 2, 1), axes=(3, 0, 2, 1)),
    _case("transpose", _MAP, lambda x: x.transpose(0, 3, 2, 1), axes=(0, -1, 2, 1)),
    _case("transpose", _X, lambda x: x, axes=(0, 1, 2)),
    _case("slice", _X, lambda x: x[:, 1:3], axis=1, start=1, stop=3),
    _case("slice", _X, lambda x: x[:, :, 1::2], axis=2, start=1, step=2),
    _case("slice", _X, lambda x: x[:, :, -2:], axis=-1, start=-2),
    _case("slice", _X, lambda x: x[:, :, :-1], axis=-1, stop=-1),
    _case("slice", f32(N, T, 2), lambda x: x[:, 3:], axis=1, start=T // 2),
    _case("slice", f32(N, T, 2), lambda x: x[:, 1:5:2], axis=1, start=1, stop=-1, step=2),
    _case("pad", _X, lambda x: np.pad(x, ((0, 0), (0, 0), (1, 2))), pad=((1, 2),)),
    _case("pad", _MAP, lambda x: np.pad(x, ((0, 0), (0, 0), (0, 1), (3, 2))), pad=((0, 1), (3, 2))),
    _case("expand", _ONE, lambda x: np.repeat(x, 5, 1), size=5),
    _case("expand", [f32(N, T, 1)], lambda x: np.repeat(x, 6, 2), axis=2, size=T),
    _case("batch_norm", f32(N, 4), _batch_norm()),
    _case("batch_norm", _X, _batch_norm(0.1), eps=0.1),
    _case("batch_norm", _MAP, _batch_norm(), gamma=0.5),
    _case("batch_norm", _CLIP, _batch_norm(), momentum=0.3),
    _case("batch_norm", f32(N, 4, 2, 3, 2, 3), _batch_norm()),
    _case("layer_norm", _X, _layer_norm(1)),
    _case("layer_norm", _CLIP, _layer_norm(3), axis=-2),
    _case("layer_norm", f32(N, T, 4), _layer_norm(2, 0.1), axis=-1, eps=0.1),
    _case("group_norm", _MAP, _group_norm(2), groups=2),
    _case("group_norm", f32(N, 4), _group_norm(1, 0.2), groups=1, eps=0.2),
    _case("softmax", _X, _softmax(2)),
    _case("softmax", _X, _softmax(1), axis=1),
    _case("log_softmax", _X, lambda x: np.log(_softmax(2)(x))),
    _case("max_pool", _X, _pool(np.max, -np.inf, (2,), (2,)), kernel=2),
    _case(
        "max_pool",
        _MAP,
        _pool(np.max, -np.inf, (3, 3), (2, 2), ((1, 1),) * 2),
        kernel=3,
        stride=2,
        pad=1,
    ),
    _case(
        "max_pool",
        _MAP,
        _pool(np.max, -np.inf, (2, 2), (1, 1), ((0, 1), (1, 0))),
        kernel=2,
        stride=1,
        pad=((0, 1), (1, 0)),
    ),
    _case(
        "max_pool",
        _MAP,
        _pool(np.max, -np.inf, (5, 1), (1, 1), ((4, 4), (0, 0))),
        kernel=(5, 1),
        stride=1,
        pad=(4, 0),
    ),
    _case(
        "max_pool",
        _CLIP,
        _pool(np.max, -np.inf, (3, 1, 2), (1, 1, 2), ((1, 1), (0, 0), (1, 1))),
        kernel=(3, 1, 2),
        stride=(1, 1, 2),
        pad=(1, 0, 1),
    ),
    _case("avg_pool", _X, _pool(np.mean, 0.0, (3,), (3,)), kernel=3),
    _case(
        "avg_pool",
        _MAP,
        _pool(np.mean, 0.0, (3, 3), (2, 2), ((1, 1),) * 2),
        kernel=3,
        stride=2,
        pad=1,
    ),
    _case(
        "avg_pool",
        _MAP,
        _pool(np.mean, 0.0, (2, 3), (2, 1), ((0, 1), (1, 0))),
        kernel=(2, 3),
        stride=(2, 1),
        pad=((0, 1), (1, 0)),
    ),
    _case("avg_pool", _CLIP, _pool(np.mean, 0.0, (2, 2, 2), (1, 1, 1)), kernel=2, stride=1),
    _case("avg_pool", f32(N, 2, T), _pool(np.mean, 0.0, (3,), (3,)), kernel=T // 2),
    *[
        _case(f"adaptive_{name}_pool", type, _adaptive(reduce, size), size=size)
        for name, reduce in (("max", np.max), ("avg", np.mean))
        for type, size in (
            (_X, (4,)),
            (_X, (9,)),
            (_MAP, (3, 3)),
            (_MAP, (2, 5)),
            (_CLIP, (2, 2, 2)),
        )
    ],
    *[
        case
        for name, reduce in (("mean", np.mean), ("amax", np.max), ("total", np.sum))
        for case in (
            _case(name, _X, lambda x, r=reduce: r(x, axis=2), axis=-1),
            _case(name, _CLIP, lambda x, r=reduce: r(x, axis=(2, 3, 4)), axis=(2, 3, 4)),
            _case(
                name,
                _X,
                lambda x, r=reduce: r(x, axis=(0, 2), keepdims=True),
                axis=(2, 0),
                keep=True,
            ),
        )
    ],
    _case("total", tensor("i32", (N, 2)), lambda x: x.sum(1).astype(np.int32), axis=1),
    _case("stack", [_X, _X, _X], lambda *x: np.stack(x)),
    _case("gather", [_STACK, f32(4, N, 4)], _gathered((5, 0, 5, 2)), index=(5, 0, 5, 2)),
    _case("gather", _STACK, lambda x: x[:1], index=0),
    _case("stacked_linear", f32(2, 4, N), _stacked_linear(1), out=3, axis=1),
    _case("stacked_linear", [f32(2, N, 4), f32(2, N, 3)], _stacked_linear(2), out=3),
    _case("stacked_linear", f32(2, N, 4, T), _stacked_linear(2), out=3, axis=2, bias=False),
    _case(
        "stacked_linear",
        [f32(2, 4, N), f32(2, 3, N)],
        _stacked_linear(1),
        out=3,
        axis=1,
        bias=False,
    ),
    _case("stacked_layer_norm", f32(2, N, 4), _stacked_layer_norm(2)),
    _case("stacked_layer_norm", f32(2, N, 4, 5), _stacked_layer_norm(3, 0.1), axis=3, eps=0.1),
    _case("linear_bank", [f32(N, 4), f32(N, 2)], _bank(3, (1, 0, 1), 1), out=3, reads=(1, 0, 1)),
    _case("linear_bank", f32(N, 4), _bank(2, (0, 0), 1), out=2, reads=(0, 0), bias=False),
    _case(
        "linear_bank",
        [f32(N, 4, T), f32(N, 2, T), f32(N, 3, T)],
        _bank(5, (0, 1, 2, 1, 0, 0), 2),
        out=5,
        reads=(0, 1, 2, 1, 0, 0),
        per=2,
        axis=1,
    ),
]


def test_every_primitive_has_a_lowering() -> None:
    assert set(LOWERINGS) == set(PRIMITIVES)


def test_every_primitive_has_a_case() -> None:
    assert {case.name for case in CASES} == set(PRIMITIVES)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.label)
def test_lowered_op_equals_its_definition(case: Case) -> None:
    inputs = [input_node(f"x[{place}]", type) for place, type in enumerate(case.types)]
    owns = PRIMITIVES[case.name].keyed
    node = op(case.name, *inputs, key="layer" if owns else "", **case.attrs)
    network = lower(net(node), seed=1).double().eval()
    with torch.no_grad():
        for weight in (*network.parameters(), *network.buffers()):
            if weight.is_floating_point():  # not the values it starts with, which may be 0 or 1
                weight.uniform_(0.5, 1.5)
        if case.name == "log" or case.name == "sqrt":
            batch = {k: v.abs() + 0.1 for k, v in batch_for(network.graph, double=True).items()}
        else:
            batch = batch_for(network.graph, double=True)
        found = network.run(batch)
    assert isinstance(found, torch.Tensor)
    weights = {k.removeprefix("layer."): v.numpy() for k, v in network.state_dict().items()}
    expected = case.expected(*[batch[i["name"]].numpy() for i in inputs], **weights)
    assert tuple(found.shape) == shape_of(node.type)
    np.testing.assert_allclose(found.detach().numpy(), expected, rtol=1e-9, atol=1e-9)
    assert found.is_floating_point() == node.type.dtype.startswith("f")
    if not found.is_floating_point():
        assert str(found.dtype) == {"i64": "torch.int64", "i32": "torch.int32"}[node.type.dtype]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.label)
def test_module_owns_the_weights_that_the_ir_counts(case: Case) -> None:
    inputs = [input_node(f"x[{place}]", type) for place, type in enumerate(case.types)]
    owns = PRIMITIVES[case.name].keyed
    node = op(case.name, *inputs, key="layer" if owns else "", **case.attrs)
    network = lower(net(node))
    names = dict(network.named_parameters())
    assert {w.name: w.shape for w in node.weights} == {
        name.removeprefix("layer."): tuple(value.shape)
        for name, value in network.state_dict().items()
    }
    assert {f"layer.{w.name}" for w in node.weights if not w.buffer} == set(names)
