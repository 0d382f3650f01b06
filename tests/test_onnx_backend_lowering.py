"""Whole graphs in ONNX: names, metadata, named sizes, weights, depth, and what is refused."""

from __future__ import annotations

import json
import time
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import given as drawn
from hypothesis import settings
from hypothesis import strategies as st

from fusegraph import FusegraphError, __version__
from fusegraph.backends.onnx import Metadata, lower
from fusegraph.backends.onnx.samples import sample_axis
from fusegraph.ir.decisions import OneOf
from fusegraph.ir.dims import symbol
from fusegraph.ir.graph import Graph
from fusegraph.ir.node import Node, cell, choice, formal
from fusegraph.ir.types import tensor
from onnx_oracle import (
    evaluate,
    given,
    network,
    op,
    random_inputs,
    random_weights,
)

N, T = symbol("N"), symbol("T")


def _session(model: onnx.ModelProto) -> onnxruntime.InferenceSession:
    onnx.checker.check_model(model, full_check=True)
    return onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )


def _agrees(g: Graph, *sizes: dict[str, int]) -> onnx.ModelProto:
    weights = random_weights(g)
    model = lower(g, weights)
    session = _session(model)
    for bound in sizes:
        inputs = random_inputs(g, bound)
        expected = evaluate(g, weights, inputs, bound)
        found = session.run([o.name for o in session.get_outputs()], inputs)
        for want, have in zip(expected.values(), found, strict=True):
            np.testing.assert_allclose(np.asarray(have), want.numpy(), rtol=1e-5, atol=1e-5)
    return model


def _fusion() -> Graph:
    image, audio = given("image[1]", "N 1 8 8"), given("audio[1]", "N 12 T")
    seen = op("conv", image, out=4, kernel=3, key="h[1].conv")
    seen = op("relu", op("batch_norm", seen, key="h[1].norm"))
    heard = op("linear", op("mean", audio, axis=-1), out=4, key="h[2].linear")
    both = op("concat", op("mean", seen, axis=(2, 3)), heard)
    return network({"logits": op("linear", op("dropout", both, key="d"), out=3, key="logits")})


def _dims(value: Any) -> list[int | str]:
    return [d.dim_param or d.dim_value for d in value.type.tensor_type.shape.dim]


def test_inputs_outputs_nodes_and_weights_keep_their_names() -> None:
    model = _agrees(_fusion(), {"N": 1, "T": 3}, {"N": 5, "T": 7})
    g = model.graph
    assert [(i.name, _dims(i)) for i in g.input] == [
        ("image[1]", ["N", 1, 8, 8]),
        ("audio[1]", ["N", 12, "T"]),
    ]
    assert [(o.name, _dims(o)) for o in g.output] == [("logits", ["N", 3])]
    assert {"h[1].conv", "h[1].norm", "h[2].linear", "logits"} <= {n.name for n in g.node}
    names = {i.name for i in g.initializer}
    assert {"h.1.conv.weight", "h.1.norm.running_var", "logits.bias"} <= names
    assert not any("num_batches_tracked" in name for name in names)
    assert len({n.name for n in g.node}) == len(g.node)


def test_metadata_says_what_the_file_is() -> None:
    g = _fusion()
    metadata = Metadata(
        space="av",
        genotype="fuse 1\n",
        classes=("null", "eins", "zwei"),
        preprocessing={"image[1]": {"mean": 0.5}},
    )
    model = lower(g, random_weights(g), metadata)
    found = {p.key: p.value for p in model.metadata_props}
    assert (model.producer_name, model.producer_version) == ("fusegraph", __version__)
    assert found["fusegraph.digest"] == g.digest
    assert found["fusegraph.space"] == "av"
    assert found["fusegraph.genotype"] == "fuse 1\n"
    assert found["fusegraph.version"] == __version__
    assert found["fusegraph.batch"] == "N"
    assert json.loads(found["fusegraph.classes"]) == ["null", "eins", "zwei"]
    assert json.loads(found["fusegraph.preprocessing"]) == {"image[1]": {"mean": 0.5}}


def test_outputs_may_be_inputs_weights_and_each_other() -> None:
    x = given("x", "N 3")
    doubled = op("scale", x, by=2)
    table = op("parameter", shape=(2, 3), key="table")
    outputs: dict[str, Node] = {"a": doubled, "b": doubled, "c": x, "d": table}
    _agrees(network(outputs), {"N": 1}, {"N": 4})


def test_tied_weights_are_stored_once() -> None:
    x, y = given("x", "N 3"), given("y", "N 3")
    layers = [op("linear", i, out=2, key="shared") for i in (x, y)]
    model = _agrees(network({"a": layers[0], "b": layers[1]}), {"N": 2})
    assert [i.name for i in model.graph.initializer].count("shared.weight") == 1


def test_composites_are_expanded() -> None:
    operand = formal("a", tensor("f32", (N, 4)))
    body = op("relu", op("linear", operand, out=2, key="c[1].linear"))
    x = given("x", "N 4")
    whole = network(cell("block", [operand], body, [x], key="c[1]"))
    flat = network(op("relu", op("linear", x, out=2, key="c[1].linear")))
    weights = random_weights(flat)
    assert lower(whole, weights).graph == lower(flat, weights).graph


def test_a_size_is_read_from_an_axis_that_is_an_expression_of_it() -> None:
    x = given("x", (N, 2 * T + 1))
    _agrees(network(op("scale", x, by=T)), {"N": 1, "T": 3}, {"N": 2, "T": 5})


def test_sizes_of_values_at_hand_are_read_and_not_computed() -> None:
    x = op("conv", given("x", "N 4 T S"), out=6, kernel=3, stride=2, pad=1, key="c")
    height, width = x.type.shape[2:]
    rows = op("reshape", op("transpose", x, axes=(2, 3, 0, 1)), shape=(N, height, width, 6))
    model = _agrees(network(rows), {"N": 2, "T": 7, "S": 4}, {"N": 1, "T": 4, "S": 9})
    assert "Mod" not in {n.op_type for n in model.graph.node}


def test_numbers_have_no_axes() -> None:
    x = given("x", "N 3")
    model = lower(network(op("scale", op("total", x, axis=(0, 1)), by=0.5)), {})
    (constant,) = [i for i in model.graph.initializer if i.data_type == onnx.TensorProto.FLOAT]
    assert list(constant.dims) == []
    (found,) = _session(model).run(None, {"x": np.ones((2, 3), np.float32)})
    assert np.asarray(found).shape == ()


def _chain(length: int) -> Graph:
    node = given("x", "N 4")
    for i in range(length // 2):
        node = op("relu", op("linear", node, out=4, key=f"h[{i}]"))
    return network(node, f"chain{length}")


def test_a_deep_graph_is_lowered_in_linear_time() -> None:
    def seconds(length: int) -> float:
        g = _chain(length)
        weights, _ = random_weights(g), g.digest
        began = time.process_time()
        model = lower(g, weights)
        assert len(model.graph.node) == length
        return time.process_time() - began

    seconds(100)
    short, long = seconds(1_000), seconds(10_000)
    assert long < 40 * short + 1


# ── batches ──────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("output", "batch"),
    [
        (lambda x: op("softmax", x, axis=1), "N"),
        (lambda x: op("reshape", x, shape=(N, 2, 2, T)), "N"),
        (lambda x: op("scale", x, by=T), "N"),
        (lambda x: op("sum", x, op("parameter", shape=(1, 4, 1), key="p")), "N"),
        (lambda x: op("softmax", x, axis=0), ""),
        (lambda x: op("scale", x, by=N), ""),
        (lambda x: op("sum", x, op("amax", x, axis=0, keep=True)), ""),
        (lambda x: op("matmul", op("flatten", x), op("transpose", op("flatten", x))), ""),
        (lambda x: op("reshape", op("reshape", x, shape=(N * T, 4)), shape=(N, 4, T)), ""),
        (lambda x: op("transpose", x, axes=(1, 0, 2)), ""),
    ],
)
def test_a_batch_may_be_split_where_samples_do_not_meet(output: Any, batch: str) -> None:
    assert sample_axis(network(output(given("x", "N 4 T")))) == batch


# ── what is refused ──────────────────────────────────────────────────────────────────────────────


def _refused(g: Graph, weights: dict[str, np.ndarray] | None = None) -> tuple[str, str]:
    with pytest.raises(FusegraphError) as caught:
        lower(g, random_weights(g) if weights is None else weights)
    (found,) = caught.value.diagnostics
    return found.code, found.message


def test_a_space_is_refused() -> None:
    x = given("x", "N 4")
    taken = choice(OneOf("op", ("a", "b")), 0, [op("relu", x), op("tanh", x)])
    assert _refused(network(taken), {}) == (
        "E720",
        "`op` is still open, and only a network can be exported",
    )


def test_an_output_with_the_name_of_an_input_is_refused() -> None:
    code, message = _refused(network({"x": op("relu", given("x", "N 4"))}), {})
    assert (code, message) == ("E720", "`x` is the name of an input and of an output")


def test_a_window_of_named_size_is_refused() -> None:
    code, message = _refused(network(op("max_pool", given("x", "N 4 T"), kernel=T)), {})
    assert code == "E721"
    assert message == "`kernel` of `max_pool` is `T`, and ONNX needs a number there"


def test_a_size_of_no_input_is_refused() -> None:
    code, message = _refused(network(op("expand", given("x", "N 1"), size=T)), {})
    assert (code, message) == ("E721", "the size `T` cannot be read from the shape of any input")


def test_weights_of_another_network_are_refused() -> None:
    g = network(op("linear", given("x", "N 4"), out=3, key="h[1]"))
    weights = random_weights(g)
    less = {"h.1.bias": weights["h.1.bias"]}
    wider = {**weights, "h.1.weight": np.zeros((3, 5), np.float32)}
    more = {**weights, "h.2.weight": np.zeros((3, 5), np.float32)}
    missing = "there is no weight `h.1.weight`, expected with shape [3, 4]"
    assert _refused(g, less) == ("E722", missing)
    shape = "the weight `h.1.weight` has shape [3, 5], expected [3, 4]"
    assert _refused(g, wider) == ("E722", shape)
    assert _refused(g, more) == ("E722", "the network has no weight `h.2.weight`")


# ── any graph ────────────────────────────────────────────────────────────────────────────────────

_steps = st.lists(st.tuples(st.integers(0, 10), st.integers(0, 99), st.integers(0, 99)), max_size=8)


def _grown(steps: list[tuple[int, int, int]]) -> Graph:
    """A graph over f32[N, C, T]: each step applies one op to earlier values."""
    values = [given("x", "N 4 T"), given("y", "N 4 T")]
    for at, (kind, left, right) in enumerate(steps):
        x, y = values[left % len(values)], values[right % len(values)]
        values.append(_applied(kind, x, y, f"h[{at}]"))
    return network({"out": values[-1], "first": values[2 % len(values)]})


def _applied(kind: int, x: Node, y: Node, key: str) -> Node:
    match kind:
        case 0:
            return op("linear", x, out=4, axis=1, key=key)
        case 1:
            return op("conv", x, out=4, kernel=3, pad=1, groups=2, key=key)
        case 2:
            return op("batch_norm", x, key=key)
        case 3:
            scores = op("softmax", op("matmul", op("transpose", x), y))
            return op("transpose", op("matmul", scores, op("transpose", y)))
        case 4:
            return op("mul", x, op("sigmoid", y))
        case 5:
            both = op("reshape", op("concat", x, y), shape=(N, 2, 4, T))
            return op("amax", both, axis=1)
        case 6:
            return op("slice", op("concat", x, y, axis=2), axis=2, start=T // 2, stop=T // 2 + T)
        case 7:
            merged = op("reshape", op("transpose", x), shape=(N * T, 4))
            rows = op("linear", merged, out=4, key=key)
            return op("transpose", op("reshape", rows, shape=(N, T, 4)))
        case 8:
            return op("max_pool", op("group_norm", x, groups=2, key=key), kernel=3, stride=1, pad=1)
        case 9:
            return op("sum", x, y, op("parameter", shape=(1, 4, 1), key=key))
        case _:
            return op("sub", op("gelu", x), op("mean", y, axis=2, keep=True))


@settings(max_examples=40, deadline=None)
@drawn(_steps)
def test_any_network_computes_what_torch_computes(steps: list[tuple[int, int, int]]) -> None:
    _agrees(_grown(steps), {"N": 1, "T": 4}, {"N": 3, "T": 5})
