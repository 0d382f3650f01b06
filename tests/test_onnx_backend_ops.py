"""Every primitive in ONNX equals torch's own function, at batch 1 and larger, on named sizes too.

Two independent runtimes compute each case: onnxruntime and `onnx.reference`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx.reference import ReferenceEvaluator

from fusegraph.backends.onnx.lowering import LOWERINGS, lower
from fusegraph.ir.dims import call, symbol
from fusegraph.ir.graph import Graph
from fusegraph.ir.node import Node
from fusegraph.ir.ops import PRIMITIVES
from onnx_oracle import evaluate, given, network, op, random_inputs, random_weights

N, T, S = symbol("N"), symbol("T"), symbol("S")

Case = tuple[str, Node]


def _x(shape: Any, dtype: str = "f32", name: str = "x[1]") -> Node:
    return given(name, shape, dtype)


def _one(name: str, shape: Any, **attrs: Any) -> Case:
    key = f"h[1].{name}" if PRIMITIVES[name].keyed else ""
    return f"{name} {shape} {attrs}", op(name, _x(shape), key=key, **attrs)


def _two(name: str, left: Any, right: Any, **attrs: Any) -> Case:
    return f"{name} {left} {right}", op(name, _x(left), _x(right, name="y"), **attrs)


def _positive(name: str) -> Case:
    return f"{name} of positive numbers", op(name, op("exp", _x("N T")))


def _linears() -> list[Case]:
    shapes = ["N 6", "N T 6", "N 6 T", "N 6 3 T", "N 6 2 2 T", "N 2 6 T 2", "N T 6 2", "6 N"]
    axes = [1, 2, 1, 1, 1, 2, 2, 0]
    return [
        _one("linear", shape, out=4, axis=axis, bias=bias)
        for shape, axis in zip(shapes, axes, strict=True)
        for bias in (True, False)
    ]


def _convolutions() -> list[Case]:
    return [
        _one("conv", "N 4 T", out=6, kernel=3),
        _one("conv", "N 4 T", out=6, kernel=3, stride=2, pad=((2, 1),), bias=False),
        _one("conv", "N 4 9 T", out=6, kernel=(3, 2), pad=((0, 2), (3, 1)), groups=2),
        _one("conv", "N 4 9 11", out=8, kernel=3, dilation=(2, 3), stride=(2, 1), groups=4),
        _one("conv", "N 4 5 6 T", out=2, kernel=(1, 3, 2), stride=(1, 2, 2), pad=(0, 1, 1)),
    ]


def _pools() -> list[Case]:
    cases: list[Case] = []
    for name in ("max_pool", "avg_pool"):
        cases += [
            _one(name, "N 4 T", kernel=3),
            _one(name, "N 4 T", kernel=3, stride=2, pad=1),
            _one(name, "N 4 7 T", kernel=(3, 2), stride=2, pad=((0, 2), (1, 0))),
            _one(name, "N 4 7 T", kernel=2, stride=1, pad=((2, 0), (0, 3))),
            _one(name, "N 2 5 6 7", kernel=(2, 3, 1), stride=(1, 2, 3), pad=(1, 1, 0)),
        ]
    for name in ("adaptive_max_pool", "adaptive_avg_pool"):
        cases += [
            _one(name, "N 4 12", size=3),
            _one(name, "N 4 12", size=1),
            _one(name, "N 4 12", size=12),
            _one(name, "N 4 11", size=4),
            _one(name, "N 4 3", size=7),
            _one(name, "N 4 7 12", size=(3, 5)),
            _one(name, "N 4 8 9", size=(2, 4)),
            _one(name, "N 2 5 6 7", size=(5, 4, 2)),
            _one(name, "N T 7 5", size=(3, 3)),
        ]
    return cases


def _norms() -> list[Case]:
    return [
        _one("batch_norm", "N 4"),
        _one("batch_norm", "N 4 T", eps=1e-3),
        _one("batch_norm", "N 4 5 T S"),
        _one("layer_norm", "N 4 5"),
        _one("layer_norm", "N T 6", axis=-1, eps=1e-6),
        _one("group_norm", "N 6", groups=3),
        _one("group_norm", "N 6 T", groups=2),
        _one("group_norm", "N 6 4 5", groups=3),
        _one("group_norm", "N 6 T S", groups=1),
        *[
            _one(name, "N 4 T", axis=axis)
            for name in ("softmax", "log_softmax")
            for axis in (-1, 1, 0)
        ],
    ]


def _reductions() -> list[Case]:
    return [
        _one(name, "N 4 T", axis=axis, keep=keep)
        for name in ("mean", "amax", "total")
        for axis, keep in ((1, False), ((1, 2), True), (-1, True), ((0, 1, 2), False))
    ]


def _shapes() -> list[Case]:
    x, t = _x((N, 12, T)), _x((N, T, 8))
    return [
        _two("concat", "N 3 T", "N 5 T"),
        _two("concat", "N 3 T", "N 3 S", axis=-1),
        ("concat of one", op("concat", x)),
        ("concat along the batch", op("concat", x, x, axis=0)),
        ("reshape splits an axis", op("reshape", x, shape=(N, 3, 4, T))),
        ("reshape merges named axes", op("reshape", x, shape=(12, N * T))),
        ("reshape moves the batch", op("reshape", x, shape=(T, N, 12))),
        ("reshape merges and splits", op("reshape", t, shape=(N * T, 2, 4))),
        ("reshape and back", op("reshape", op("reshape", t, shape=(N * T, 8)), shape=(N, T, 8))),
        ("reshape of numbers", op("reshape", _x("2 6"), shape=(3, 4))),
        ("flatten", op("flatten", x)),
        ("flatten from the third axis", op("flatten", _x((N, T, S, 3)), axis=2)),
        ("flatten all", op("flatten", x, axis=0)),
        ("transpose", op("transpose", x)),
        ("transpose by axes", op("transpose", _x("N 2 3 T"), axes=(0, 3, 1, 2))),
        ("slice", op("slice", x, axis=1, start=2, stop=9, step=3)),
        ("slice from the back", op("slice", x, axis=1, start=-5, stop=-1)),
        ("slice a named axis", op("slice", x, axis=2, start=1)),
        ("slice a named axis from the back", op("slice", x, axis=2, start=-3)),
        ("slice before the back", op("slice", x, axis=2, stop=-2, step=2)),
        ("slice half", op("slice", x, axis=2, stop=T // 2)),
        ("pad", op("pad", _x("N 3 5 T"), pad=((1, 0), (2, 3)))),
        ("pad by a size", op("pad", x, pad=((0, T),))),
        ("expand", op("expand", _x("N 1 T"), size=4)),
        ("expand to a named size", op("expand", _x("1 T"), axis=0, size=T)),
    ]


def _computed_sizes() -> list[Case]:
    """Every function of sizes, as the factor of a multiplication."""
    third = call("div", T, 3)
    values = {
        "sqrt": call("sqrt", T),
        "inverse root": call("div", 1, call("sqrt", T)),
        "ceil": call("ceil", third),
        "floor": call("floor", third),
        "round": call("round", call("div", T, 4)),
        "round8": call("round8", T * 5 + 1),
        "round8 of a fraction": call("round8", call("div", T * 7, 3)),
        "abs": call("abs", 3 - T),
        "min": call("min", T, 10, call("div", T, 2)),
        "max": call("max", T, 10),
        "pow": call("pow", T, 2),
        "floordiv": (3 - T) // 4,
        "mod": (3 - T) % 5,
        "floordiv of fractions": call("floordiv", T * 0.5, 0.75),
        "mod of fractions": call("mod", T * 0.5, 0.75),
        "div": call("div", T + 1, N + 1),
        "polynomial": 2 * T * N + call("div", T, 3) + call("div", N, 2) - 1,
        "floats": T * 0.25 + 1.5,
    }
    return [(f"scale by {k}", op("scale", _x("N T"), by=v)) for k, v in values.items()]


_PLAIN = "relu sigmoid tanh leaky_relu gelu silu softplus exp abs dropout drop_path"

CASES: list[Case] = [
    *_linears(),
    *_convolutions(),
    _two("matmul", "N T", "T 3"),
    _two("matmul", "N 4 T", "N T S"),
    _two("matmul", "N 2 4 T", "N 2 T 3"),
    ("mix", op("mix", _x("2", name="g"), _x("N 3 T"), _x("N 3 T", name="y"))),
    ("mix by place", op("mix", _x("3", name="g"), _x("N T"), _x("N T", name="y"), index=(2, 1))),
    ("mix of one", op("mix", _x("3", name="g"), _x("N T"), index=1)),
    *[
        (
            f"affine {x} {bias}",
            op("affine", _x(x), _x("5 3", name="w"), *[_x("5", name="b")][:bias]),
        )
        for x in ("N 3", "N T 3")
        for bias in (0, 1)
    ],
    ("embedding", op("embedding", _x("N T", "i64"), rows=5, out=3, key="table")),
    ("parameter", op("parameter", shape=(2, 3), key="gates")),
    ("parameter added", op("sum", _x("N 3"), op("parameter", shape=(1, 3), key="gates"))),
    ("zeros", op("concat", _x("N 3 T"), op("zeros", shape=(N, 2, T)))),
    ("zeros of numbers", op("sum", _x("N 3"), op("zeros", shape=(1, 3)))),
    *[_one(name, "N 3 T") for name in _PLAIN.split()],
    _positive("log"),
    _positive("sqrt"),
    _one("leaky_relu", "N T", slope=0.3),
    _one("scale", "N T", by=-1.5),
    ("scale without axes", op("scale", op("mean", _x("N T"), axis=(0, 1)), by=2)),
    _one("shift", "N T", by=0.25),
    *[
        (f"{name} of {count}", op(name, *[_x("N 3 T", name=f"x[{i}]") for i in range(count)]))
        for name in ("sum", "mul", "maximum")
        for count in (1, 2, 3)
    ],
    *[_two(name, "N 3 T", "1 3 1") for name in ("sum", "mul", "maximum", "sub")],
    ("div", op("div", _x("N T"), op("exp", _x("N 1", name="y")))),
    ("linear in f64", op("linear", _x("N 3 T", "f64"), out=2, axis=1, bias=False, key="k")),
    ("f64", op("softmax", op("scale", _x("N T", "f64"), by=3))),
    *_norms(),
    *_pools(),
    *_reductions(),
    *_shapes(),
    *_computed_sizes(),
    ("stack", op("stack", _x("N T"), _x("N T", name="y"))),
    ("gather", op("gather", _x("2 N T"), _x("3 N T", name="y"), index=(4, 0, 4))),
    ("gather of one", op("gather", _x("2 N"), index=1)),
    _one("stacked_linear", "2 5 N", out=3, axis=1),
    _one("stacked_linear", "2 N 5 T", out=3, axis=2, bias=False),
    (
        "stacked_linear with more",
        op("stacked_linear", _x("2 N 5"), _x("2 N 3", name="y"), out=3, key="k"),
    ),
    _one("stacked_layer_norm", "2 N 5"),
    _one("stacked_layer_norm", "2 N T 5", axis=-1, eps=0.1),
    (
        "linear_bank",
        op(
            "linear_bank", _x("N 4"), _x("N 3", name="y"), out=2, reads=(0, 1, 1, 0), per=2, key="k"
        ),
    ),
    (
        "linear_bank of channels",
        op(
            "linear_bank",
            _x("N 4 T"),
            _x("N 3 T", name="y"),
            out=2,
            reads=(1, 0, 1),
            axis=1,
            bias=False,
            key="k",
        ),
    ),
]


def test_the_table_has_every_primitive() -> None:
    assert set(LOWERINGS) == set(PRIMITIVES)
    covered = {node.op.name for _, root in CASES for node in network(root).order}
    assert covered >= set(PRIMITIVES)


def _check(g: Graph, rtol: float = 1e-5) -> None:
    weights = random_weights(g)
    model = lower(g, weights)
    onnx.checker.check_model(model, full_check=True)
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    reference = ReferenceEvaluator(model)
    for sizes in ({"N": 1, "T": 12, "S": 5}, {"N": 3, "T": 8, "S": 1}):
        inputs = random_inputs(g, sizes)
        expected = evaluate(g, weights, inputs, sizes)
        for found in (session.run(None, inputs), reference.run(None, inputs)):
            for (name, tensor), array in zip(expected.items(), found, strict=True):
                want = tensor.numpy()
                assert array.shape == want.shape, name
                assert array.dtype == want.dtype, name
                np.testing.assert_allclose(array, want, rtol=rtol, atol=1e-5)


@pytest.mark.parametrize("case", CASES, ids=[name for name, _ in CASES])
def test_a_primitive_computes_what_torch_computes(case: Case) -> None:
    _check(network(case[1]))
