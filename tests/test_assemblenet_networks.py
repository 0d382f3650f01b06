"""AssembleNets: Table 4 part by part, the release's graphs, any graph against closed formulas."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assemblenet_published import TABLE_4, released
from assemblenet_tables import (
    MODULES,
    Row,
    Rows,
    classified,
    drawn,
    multiply_adds,
    parameters,
    written,
)
from cli_calls import good
from fusegraph.compiler.cost import cost, cost_lines
from fusegraph.ir.dims import Static
from fusegraph.ir.dsl import load, loads
from fusegraph.ir.graph import Graph
from fusegraph.ir.settling import bind
from generators import some
from repository import ROOT

FOLDER = ROOT / "examples" / "assemblenet"
FILE = FOLDER / "table4.fuse"


def _parts(network: Graph) -> dict[str, Static]:
    found: Counter[str] = Counter()
    for line in cost_lines(network):
        if line.depth == 0:
            assert isinstance(line.cost.parameters, int)
            found[line.key] += line.cost.parameters
    return dict(found)


def _counts(network: Graph) -> tuple[Static, int]:
    """Parameters, and multiply-adds of one sample."""
    total = cost(network)
    return total.parameters, int(str(bind(total.macs, {"N": 1})))


# ── Table 4 ──────────────────────────────────────────────────────────────────────────────────────


def test_table_4_has_its_parameters_and_multiply_adds() -> None:
    found, macs = _counts(load(FILE).graph)
    assert found == 33_289_781
    assert round(macs / 1e9, 3) == 120.808


def test_table_4_has_the_parameters_of_its_parts() -> None:
    network = load(FILE).graph
    parts = _parts(network)
    assert [parts[f"v[{i}]"] for i in range(4)] == [9_952, 9_952, 3_200, 3_200]
    blocks = {1: 238_336, 2: 626_688, 3: 3_452_416, 4: 15_751_168}
    for index, row in enumerate(TABLE_4):
        if row.level:
            assert parts[f"v[{index}]"] == blocks[row.level]
    lines = {line.key: line.cost.parameters for line in cost_lines(network) if line.op == "conv"}
    assert {key: n for key, n in lines.items() if ".join." in key} == {
        f"v[{i}].join.wide[32]": 8_192 for i in (6, 9, 10)
    }
    assert parts["logits"] == 2049 * 339
    assert cost(network).parameters - 2049 * 339 == 32_595_170


def test_table_4_weighs_34_of_its_35_edges() -> None:
    assert sum(len(row.inputs) for row in TABLE_4 if row.level) == 35
    lines = cost_lines(load(FILE).graph)
    edges = [line.key for line in lines if line.op == "parameter"]
    assert len(edges) == len(set(edges)) == 34
    assert not any(key.startswith("v[5].") for key in edges)


@pytest.mark.parametrize("classes", [157, 400])
def test_the_sink_has_2049_parameters_a_class(classes: int) -> None:
    network = load(FILE, {"classes": str(classes)}).graph
    assert cost(network).parameters == 32_595_170 + 2049 * classes


def test_table_4_is_the_table() -> None:
    assert loads(written(TABLE_4)).graph.digest == load(FILE).graph.digest


@pytest.mark.parametrize(
    ("frames", "side", "modules"),
    [
        (16, 224, (3, 4, 23, 3)),
        (64, 256, (3, 4, 6, 3)),
        (1, 32, (1, 1, 1, 1)),
        (5, 225, (2, 3, 1, 2)),
        (36, 160, (2, 4, 4, 2)),
        (2, 7, (3, 4, 6, 3)),
    ],
)
def test_its_constants_give_other_sizes(
    frames: int, side: int, modules: tuple[int, int, int, int]
) -> None:
    constants = {"frames": str(frames), "side": str(side), "modules": str(modules)}
    network = load(FILE, constants).graph
    levels = (0, *modules)
    assert _counts(network) == (
        parameters(TABLE_4, modules=levels),
        multiply_adds(TABLE_4, side, frames, modules=levels),
    )
    assert network.digest == loads(written(TABLE_4, side, frames, modules=levels)).graph.digest


def test_the_file_can_be_checked_costed_drawn_and_emitted_at_full_size(tmp_path: Path) -> None:
    assert "network" in good("check", FILE)
    assert "33289781" in good("cost", FILE)
    good("show", FILE, "-o", tmp_path / "net.svg")
    good("fmt", FILE, "--check")
    good("emit", FILE, "-o", tmp_path / "net.py")
    assert (tmp_path / "net.py").is_file()


# ── the graphs of the release ────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("constants", "rows", "modules"),
    [
        ({}, released(256, 512), MODULES),
        (
            {"widths": "(32, 64, 192, 256)", "modules": "(3, 4, 23, 3)"},
            released(192, 256),
            (0, 3, 4, 23, 3),
        ),
    ],
)
def test_the_release_is_its_table(
    constants: dict[str, str], rows: Rows, modules: tuple[int, ...]
) -> None:
    network = load(FOLDER / "release.fuse", constants).graph
    assert network.digest == loads(written(rows, modules=modules)).graph.digest
    assert _counts(network) == (
        parameters(rows, modules=modules),
        multiply_adds(rows, modules=modules),
    )


# ── any graph of such nodes ──────────────────────────────────────────────────────────────────────


def test_the_closed_formulas_give_table_4() -> None:
    assert parameters(TABLE_4) == 33_289_781
    assert round(multiply_adds(TABLE_4) / 1e9, 3) == 120.808


def _relabelled(rows: Rows, rng: Random) -> Rows:
    """The same graph: the nodes of a level and the inputs of a node in another order."""
    order = sorted(range(len(rows)), key=lambda i: (rows[i].level, rng.random()))
    new = {old: place for place, old in enumerate(order)}

    def moved(row: Row) -> Row:
        inputs = tuple(i if isinstance(i, str) else new[i] for i in row.inputs)
        return replace(row, inputs=tuple(rng.sample(inputs, len(inputs))))

    return tuple(moved(rows[i]) for i in order)


@some(10)
@given(st.integers(0, 2**20))
def test_every_graph_has_the_counts_of_the_formulas_and_one_digest(seed: int) -> None:
    rng = Random(seed)
    rows = drawn(rng)
    side, frames = rng.randint(7, 90), rng.randint(1, 5)
    spatial = (0, *[rng.randint(1, 9) for _ in range(4)])
    modules = (0, *[rng.randint(1, 4) for _ in range(4)])
    network = loads(written(rows, side, frames, 7, spatial, modules)).graph
    assert _counts(network) == (
        parameters(rows, 7, spatial, modules),
        multiply_adds(rows, side, frames, 7, spatial, modules),
    )
    same = loads(written(_relabelled(rows, rng), side, frames, 7, spatial, modules)).graph
    assert same.digest == network.digest


@pytest.mark.parametrize(
    ("widths", "vector"),
    [((512,), 2048), ((256, 256), 1024), ((256, 128, 128), 1536), ((64, 256, 128, 64), 1792)],
)
def test_means_of_nodes_of_one_width_are_classified(widths: tuple[int, ...], vector: int) -> None:
    rows = (*TABLE_4[:-1], *[Row(4, (10, 11, 12, 13), width, 4) for width in widths])
    parts = _parts(loads(written(rows)).graph)
    assert classified(rows) == vector
    assert parts["logits"] == (vector + 1) * 339
