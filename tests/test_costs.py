"""Cost from the graph alone: the papers' parameter counts, named sizes, ties, lines that add up."""

from __future__ import annotations

from fractions import Fraction

import pytest

from fusegraph.compiler.cost import Cost, Line, cost, cost_lines
from fusegraph.compiler.pipeline import network
from fusegraph.ir.dims import Static, symbol, text_of
from fusegraph.ir.dsl import load_genotype, loads
from fusegraph.ir.graph import Graph, Requirement
from repository import ROOT

MFAS = ROOT / "examples" / "mfas"


def _graph(body: str, head: str = "") -> Graph:
    return loads(f"fuse 1\n{head}\nspace s {{\n  dim N, T\n{body}\n}}").graph


def _linears(file: str) -> dict[str, int]:
    """The parameters of each linear layer of a published network, by key."""
    program, genotype = load_genotype(MFAS / file)
    lines = cost_lines(network(program.graph, genotype))
    return {line.key: int(str(line.cost.parameters)) for line in lines if line.op == "linear"}


@pytest.mark.parametrize(
    ("file", "layers"),
    [
        # Perez-Rua et al. 2019, Table 5, networks 0 and 2, at W = 256: fusion layers only.
        ("ntu_table5_0.fuse", (786_688, 262_400, 721_152, 459_008)),
        ("ntu_table5_2.fuse", (327_936, 721_152, 360_704, 327_936)),
    ],
)
def test_the_published_networks_have_the_published_parameters(
    file: str, layers: tuple[int, ...]
) -> None:
    found = _linears(file)
    *fusion, classifier = found.values()
    assert tuple(fusion) == layers
    assert sum(fusion) == {786_688: 2_229_248, 327_936: 1_737_728}[layers[0]]
    assert classifier == 15_420  # 60 classes of 256 weights and a bias
    program, genotype = load_genotype(MFAS / file)
    assert cost(network(program.graph, genotype)).parameters == sum(layers) + 15_420


def test_a_convolution_costs_what_its_formula_says() -> None:
    found = cost(
        _graph("""
  input x: f32[N, 6, 10, 12]
  output y = conv(x, out=8, kernel=(3, 5), stride=(2, 1), pad=((1, 0), (2, 2)), groups=2)""")
    )
    assert found.parameters == 8 * 3 * 3 * 5 + 8
    assert found.macs == symbol("N") * (8 * 5 * 12 * 3 * 3 * 5)
    assert found.flops == 2 * found.macs
    assert found.activation_bytes == symbol("N") * (4 * 8 * 5 * 12)


def test_named_sizes_stay_named() -> None:
    found = cost(
        _graph("""
  input x: f32[N, 4, T]
  output y = matmul(transpose(x), linear(x, out=4, axis=1))""")
    )
    assert found.parameters == 20
    assert text_of(found.macs) == "4*N*T*T + 16*N*T"


def test_tied_weights_are_counted_once_and_their_work_each_time() -> None:
    found = cost(
        _graph("""
  input x: f32[N, 4]
  input y: f32[N, 4]
  share layer = linear(out=3)
  output z = layer(x) + layer(y)""")
    )
    assert found.parameters == 15
    assert found.macs == symbol("N") * 24


def test_running_statistics_are_no_parameters() -> None:
    body = "  input x: f32[N, 4]\n  output y = batch_norm(x)"
    assert cost(_graph(body)).parameters == 8


def test_lines_add_up_and_a_composite_costs_what_is_in_it() -> None:
    graph = _graph(
        """
  input x: f32[N, 4, 3]
  a = attention(x, linear_glu(x, x))
  output y = linear(flatten(concat_fc(a, x)), out=2)""",
        'use "std/bm_nas": attention, linear_glu, concat_fc',
    )
    lines = cost_lines(graph)
    whole = cost(graph)
    for depths in ([line for line in lines if line.depth == 0], _leaves(lines)):
        assert sum([line.cost.parameters for line in depths]) == whole.parameters
        assert sum([line.cost.macs for line in depths]) == whole.macs
        assert sum([line.cost.activation_bytes for line in depths]) == whole.activation_bytes
    assert [line.op for line in lines if line.whole] == ["linear_glu", "attention", "concat_fc"]


def test_what_two_composites_compute_alike_is_computed_once() -> None:
    text = """
  cell scaled(x: f32[N, C, L]; by: number) {
    return layer_norm(matmul(transpose(x), x) * by)
  }
  input x: f32[N, 4, 3]
  a = scaled(x, by=2)
  b = scaled(x, by=3)
  output y = concat(a, b)"""
    graph = _graph(text)
    n = symbol("N")
    assert cost(graph) == Cost(2 * 3 * 3 * 2, n * 3 * 3 * 4, n * 4 * (12 + 9 + 4 * 9 + 18))
    lines = cost_lines(graph)
    assert [(x.op, x.cost.macs) for x in lines if x.whole] == [("scaled", n * 36), ("scaled", 0)]
    assert sum([x.cost.macs for x in _leaves(lines)]) == n * 36


def _leaves(lines: list[Line]) -> list[Line]:
    return [line for line in lines if not line.whole]


def test_what_a_network_does_not_reach_costs_nothing() -> None:
    body = "  input x: f32[N, 4]\n  dead = linear(x, out=1000)\n  output y = relu(x)"
    assert cost(_graph(body)) == Cost(0, 0, symbol("N") * 16)


@pytest.mark.parametrize(
    ("limit", "text", "told"),
    [
        (Fraction(1, 100), "latency <= (1/100)", "latency <= 0.01"),
        (Fraction(-5, 2) * symbol("N"), "latency <= (-5/2)*N", "latency <= -2.5*N"),
        (Fraction(1, 3), "latency <= (1/3)", "latency <= (1/3)"),
    ],
)
def test_fractions_are_told_as_decimals_where_these_end(
    limit: Static, text: str, told: str
) -> None:
    found = Requirement(symbol("latency"), "<=", limit)
    assert (found.text, found.told) == (text, told)
