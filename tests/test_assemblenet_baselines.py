"""The hand-made networks of AssembleNet's Table 3 and section 4.4, as tables of their own."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from assemblenet_published import BASELINES
from assemblenet_tables import computed, multiply_adds, parameters, written
from fusegraph.compiler.cost import cost
from fusegraph.ir.dsl import load, loads
from fusegraph.ir.settling import bind
from repository import ROOT
from small_examples import load_small
from video_networks import doubled, onnx_difference, weighted

FOLDER = ROOT / "examples" / "assemblenet"


FIGURES = {
    "two_stream_late": (36_154_899, "141.052"),
    "two_stream_level_4": (38_596_117, "142.696"),
    "two_stream_fully": (38_596_129, "142.696"),
    "four_stream_fully": (33_036_615, "113.307"),
    "flow_to_rgb": (38_596_123, "142.696"),
}
"""Parameters, and billions of multiply-adds."""
NAMES = pytest.mark.parametrize("name", FIGURES)


@NAMES
def test_a_baseline_is_its_table(name: str) -> None:
    rows = BASELINES[name]
    assert load(FOLDER / f"{name}.fuse").graph.digest == loads(written(rows)).graph.digest


@NAMES
def test_a_baseline_has_the_counts_of_the_closed_formulas(name: str) -> None:
    rows, (count, macs) = BASELINES[name], FIGURES[name]
    total = cost(load(FOLDER / f"{name}.fuse").graph)
    found = int(str(bind(total.macs, {"N": 1})))
    assert total.parameters == parameters(rows) == count
    assert found == multiply_adds(rows)
    assert f"{found / 1e9:.3f}" == macs


@NAMES
def test_its_row_of_the_readme_is_right(name: str) -> None:
    count, macs = FIGURES[name]
    readme = (FOLDER / "README.md").read_text(encoding="utf-8")
    assert f"| `{name}.fuse` | {count:,} | {macs} G |" in readme


@NAMES
def test_other_sizes_are_those_of_the_table(name: str) -> None:
    rows = BASELINES[name]
    constants = {"frames": "5", "side": "90", "modules": "(3, 4, 23, 3)", "classes": "7"}
    modules = (0, 3, 4, 23, 3)
    total = cost(load(FOLDER / f"{name}.fuse", constants).graph)
    assert total.parameters == parameters(rows, 7, modules=modules)
    assert int(str(bind(total.macs, {"N": 1}))) == multiply_adds(rows, 90, 5, 7, modules=modules)


@NAMES
def test_a_baseline_computes_what_torch_says(name: str, tmp_path: Path) -> None:
    rows, modules = BASELINES[name], (0, 2, 3, 1, 2)
    small = rows[0].width // 4
    spatial = tuple(width // small for width in (0, 64, 128, 256, 512))
    narrow = tuple(replace(row, width=row.width // small) for row in rows)
    network = loads(written(narrow, 36, 3, 5, spatial, modules)).graph
    assert network.digest == load_small(FOLDER / f"{name}.fuse").graph.digest
    module = weighted(network)
    layers, batch, found = doubled(module)
    torch.testing.assert_close(found, computed(layers, batch, rows, modules))
    assert found.std(0).min() > 1e-3
    assert onnx_difference(module, tmp_path) < 1e-4
