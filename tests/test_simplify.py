"""What simplify takes out and what it must leave, case by case (the letters are its own)."""

from __future__ import annotations

import pytest

from fusegraph.compiler.simplify import simplify
from fusegraph.ir.dsl import loads
from fusegraph.ir.graph import Graph
from fusegraph.ir.node import everything

HEAD = """fuse 1
use "std/bm_nas": zero, attention, linear_glu, concat_fc
cell same(x) { return x }
space s {
  dim N
  input x: f32[N, 4, 3]
  input y: f32[N, 4, 3]
  input column: f32[N, 4, 1]
  o = zeros(shape=(N, 4, 3))
"""


def _graph(expression: str) -> Graph:
    return loads(f"{HEAD}  output out = {expression}\n}}").graph


SAME = [
    # Z1: zeros in, zeros out
    ("relu(o)", "o"),
    ("o * x", "o"),
    ("o * 3", "o"),
    ("matmul(x, zeros(shape=(N, 3, 3)))", "o"),
    ("linear(o, out=4, axis=1, bias=false)", "o"),
    ("conv(o, out=4, kernel=3, pad=1, bias=false)", "o"),
    ("concat(zero(x, y), o, axis=2)", "zeros(shape=(N, 4, 6))"),
    ("mean(o, axis=2)", "zeros(shape=(N, 4))"),
    ("amax(transpose(o), axis=1)", "zeros(shape=(N, 4))"),
    ("dropout(o)", "o"),
    ("zero(x, y)", "o"),
    ("linear_glu(x, zero(x, y)) * o", "o"),
    # Z2: zeros add nothing
    ("x + o", "x"),
    ("sum(x, o, y)", "x + y"),
    ("x - o", "x"),
    ("sum(x, zeros(shape=(N, 1, 1)))", "x"),
    ("sum(o, zeros(shape=(N, 4, 3)))", "o"),
    # I1: what gives its only input back
    ("sum(x)", "x"),
    ("mul(x)", "x"),
    ("maximum(x)", "x"),
    ("concat(x)", "x"),
    ("x * 1", "x"),
    ("x + 0", "x"),
    ("reshape(x, shape=(N, 4, 3))", "x"),
    ("slice(x, axis=1)", "x"),
    ("pad(x, pad=0)", "x"),
    ("transpose(x, axes=(0, 1, 2))", "x"),
    ("expand(column, axis=2, size=1)", "column"),
    ("dropout(x, p=0)", "x"),
    ("drop_path(x, p=0)", "x"),
    # T1: two transposes are one
    ("transpose(transpose(x))", "x"),
    ("transpose(transpose(x, axes=(2, 0, 1)), axes=(2, 1, 0))", "transpose(x, axes=(1, 0, 2))"),
    # several at once, and composites that come to nothing
    ("same(relu(same(x + zero(x, y))))", "relu(x)"),
    ("transpose(transpose(x) * 1)", "x"),
]


@pytest.mark.parametrize(("before", "after"), SAME)
def test_what_computes_nothing_is_taken_out(before: str, after: str) -> None:
    assert simplify(_graph(before)) is simplify(_graph(after))
    assert simplify(_graph(before)).outputs == _graph(after).outputs


STAYS = [
    "sigmoid(o)",  # 1/2
    "softplus(o)",
    "softmax(o)",
    "linear(o, out=4, axis=1)",  # its bias
    "layer_norm(o)",
    "batch_norm(o)",
    "o - x",
    "maximum(o, x)",
    "concat(o, x)",
    "sum(column, o)",  # the zeros give the sum its size
    "sub(column, o)",
    "dropout(x, p=0.5)",
    "slice(x, axis=2, step=2)",
    "transpose(x)",
    "expand(column, axis=2, size=3)",
    "avg_pool(x, kernel=1)",
    "attention(x, y)",
]


@pytest.mark.parametrize("expression", STAYS)
def test_what_computes_something_stays(expression: str) -> None:
    graph = _graph(expression)
    assert simplify(graph) is graph


def test_an_operand_that_comes_to_nothing_takes_its_input_away() -> None:
    text = """fuse 1
cell gate(x: f32[N, C], y: f32[N, C]) -> f32[N, C] { return x + y * zeros(shape=(N, C)) }
space s {
  dim N
  input x: f32[N, 4]
  input y: f32[N, 4]
  output out = tanh(gate(x, linear(y, out=4)))
}"""
    graph = simplify(loads(text).graph)
    assert [node["name"] for node in graph.inputs] == ["x"]
    assert not any(node.weights for node in everything(graph.roots))


def test_a_space_keeps_its_decisions() -> None:
    text = """fuse 1
space s {
  dim N
  input x: f32[N, 4]
  output out = ?op of {relu, tanh}(sum(?from of {x, transpose(transpose(x))}) * 1)
}"""
    space = loads(text).graph
    simple = simplify(space)
    assert simple is not space
    assert simple.decisions == space.decisions
