"""AssembleNets compute what torch's own functions say, and onnxruntime the same."""

from __future__ import annotations

from itertools import product
from pathlib import Path
from random import Random

import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st

from assemblenet_published import TABLE_4
from assemblenet_tables import Row, computed, drawn, joined, same_pool, written
from fusegraph.backends.torch import Network, lower
from fusegraph.ir.diagnostics import FusegraphError
from fusegraph.ir.dsl import loads
from fusegraph.ir.graph import Graph
from fusegraph.ir.node import everything
from generators import some
from repository import ROOT
from small_examples import load_small, small_constants
from video_networks import doubled, onnx_difference, weighted

FILE = ROOT / "examples" / "assemblenet" / "table4.fuse"
RELATIVE = 1e-4


def _joining(side: int, target: int) -> Graph:
    """Two inputs of which the second has sides of `target`."""
    return loads(f"""fuse 1
use "std/assemblenet": join
space s {{
  dim N
  input a: f32[N, 2, 3, {side}, {side}]
  input b: f32[N, 2, 3, {target}, {target}]
  output y = join(a, b)
}}
""").graph


def _onnx_close(module: Network, folder: Path) -> None:
    assert onnx_difference(module, folder) < RELATIVE


def test_table_4_computes_what_torch_says(tmp_path: Path) -> None:
    module = weighted(load_small(FILE).graph)
    layers, batch, found = doubled(module)
    assert small_constants(FILE)["modules"] == "(2, 3, 1, 2)"
    torch.testing.assert_close(found, computed(layers, batch, TABLE_4, (0, 2, 3, 1, 2)))
    assert found.std(0).min() > 1e-3
    _onnx_close(module, tmp_path)


@pytest.mark.parametrize("seed", range(12))
def test_random_graphs_compute_what_torch_says(seed: int, tmp_path: Path) -> None:
    rng = Random(seed)
    rows, modules = drawn(rng), (0, 2, 1, 2, 1)
    side, frames = rng.choice((32, 36, 40, 49, 60)), rng.choice((1, 2, 3, 4, 5))
    text = written(rows, side, frames, 5, (0, 2, 3, 4, 5), modules)
    module = weighted(loads(text).graph, seed)
    layers, batch, found = doubled(module)
    torch.testing.assert_close(found, computed(layers, batch, rows, modules))
    assert found.std(0).min() > 1e-4
    _onnx_close(module, tmp_path)


@pytest.mark.parametrize(("frames", "rate"), [*product((1, 2, 5, 17), (1, 2, 4, 8))])
def test_time_is_filtered_at_every_rate_whatever_the_length(
    frames: int, rate: int, tmp_path: Path
) -> None:
    rows = (Row(0, ("rgb",), 4, rate), Row(0, ("flow",), 4, 1), Row(1, (0, 1), 2, rate))
    module = weighted(loads(written(rows, 10, frames, 3, (0, 3), (0, 2))).graph, rate)
    layers, batch, found = doubled(module)
    torch.testing.assert_close(found, computed(layers, batch, rows, (0, 2)))
    _onnx_close(module, tmp_path)


def test_edges_start_near_one_half_and_modules_as_their_shortcuts() -> None:
    state = lower(load_small(FILE).graph, seed=0).state_dict()
    edges = torch.stack([v.flatten() for name, v in state.items() if ".edge." in name])
    assert edges.abs().max() <= 0.02 + 1e-6
    assert edges.std() > 0.002
    last = [v for name, v in state.items() if name.endswith(".batch_norm.weight") and ".m." in name]
    assert sum(not v.any() for v in last) == 2 * 2 + 4 * 3 + 4 * 1 + 1 * 2


def test_batch_norms_keep_the_momentum_of_the_release() -> None:
    module = lower(load_small(FILE).graph)
    norms = [m for m in module.modules() if hasattr(m, "running_mean")]
    assert len(norms) == 2 * 2 + 2 + 2 * 7 + 4 * 10 + 4 * 4 + 7
    assert {(m.momentum, m.eps) for m in norms} == {(0.01, 1e-5)}


# ── the join ─────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("side", "target", "window"),
    [(56, 28, 2), (56, 7, 8), (9, 5, 2), (9, 3, 3), (7, 4, 2), (5, 1, 5), (10, 3, 4)],
)
def test_larger_inputs_are_pooled_to_the_least_sides(side: int, target: int, window: int) -> None:
    network = _joining(side, target)
    assert network.outputs[0][1].type.pretty == f"f32[N, 2, 3, {target}, {target}]"
    (pool,) = [node for node in everything(network.roots) if node.op.name == "max_pool"]
    assert pool["kernel"] == (1, window, window)
    layers, batch, found = doubled(weighted(network))
    torch.testing.assert_close(found, joined(layers, "y", [batch["a"], batch["b"]]))


@some(40)
@given(st.integers(2, 40), st.integers(1, 39))
def test_pooling_is_the_release_s_wherever_that_gives_the_least_sides(
    side: int, target: int
) -> None:
    assume(target < side)
    window = (side + 1) // target
    assume(-(-side // window) == target)
    layers, batch, found = doubled(weighted(_joining(side, target)))
    gates = [layers.weights[f"y.edge.{i}.parameter.weight"].sigmoid() for i in (1, 2)]
    expected = gates[0] * same_pool(batch["a"], target) + gates[1] * batch["b"]
    torch.testing.assert_close(found, expected)


def test_sides_halved_by_strides_can_always_be_joined() -> None:
    for first, level in product(range(2, 26), range(1, 4)):
        target = -(-first // 2**level)
        assert _joining(first, target).outputs[0][1].type.shape[-1] == target


def test_sides_that_no_window_brings_together_cannot_be_joined() -> None:
    with pytest.raises(FusegraphError, match=r"ceil\(H / down\) == height"):
        _joining(10, 6)


def test_inputs_whose_time_differs_cannot_be_joined() -> None:
    text = written(TABLE_4, 64, 8).replace("f32[N, 2, 8,", "f32[N, 2, 4,")
    with pytest.raises(FusegraphError, match="axis 2"):
        loads(text)


# ── the sink ─────────────────────────────────────────────────────────────────────────────────────


def test_the_sink_tells_nodes_of_unequal_widths_apart() -> None:
    stems = (Row(0, ("rgb",), 2, 1), Row(0, ("flow",), 2, 1))
    last = tuple(Row(1, (0, 1), width, 1) for width in (4, 2, 2))
    rows = (*stems, *last)
    module = weighted(loads(written(rows, 12, 2, 3, (0, 3), (0, 1))).graph)
    layers, batch, found = doubled(module)
    assert layers.weights["logits.linear.weight"].shape == (3, 8 + 16)
    torch.testing.assert_close(found, computed(layers, batch, rows, (0, 1)))
