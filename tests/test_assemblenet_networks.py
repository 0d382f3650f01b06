"""AssembleNets: Table 4 part by part, the closed formula, torch's own functions, other graphs."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from random import Random

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as f

from cli_calls import good
from fusegraph.backends.torch import lower
from fusegraph.compiler.cost import cost, cost_lines
from fusegraph.ir.diagnostics import FusegraphError
from fusegraph.ir.dims import Static
from fusegraph.ir.dsl import load, loads
from fusegraph.ir.graph import Graph
from fusegraph.ir.node import everything
from fusegraph.ir.settling import bind
from generators import some
from repository import ROOT
from small_examples import load_small, small_constants
from video_networks import Layers, doubled, onnx_difference, weighted

FILE = ROOT / "examples" / "assemblenet" / "table4.fuse"


@dataclass(frozen=True)
class Row:
    """A node as Table 4 writes it."""

    level: int
    inputs: tuple[int | str, ...]
    width: int
    rate: int


TABLE_4 = (
    Row(0, ("rgb",), 32, 4),
    Row(0, ("rgb",), 32, 4),
    Row(0, ("flow",), 32, 1),
    Row(0, ("flow",), 32, 1),
    Row(1, (2, 3), 64, 4),
    Row(1, (0,), 64, 2),
    Row(2, (1, 4, 5), 64, 1),
    Row(2, (4, 5), 64, 8),
    Row(2, (4, 5), 64, 2),
    Row(2, (0, 1, 4, 5), 64, 8),
    Row(3, (0, 1, 5, 6, 9), 128, 4),
    Row(3, (6, 7, 8), 128, 1),
    Row(3, (5, 6, 8, 9), 128, 4),
    Row(3, (4, 5, 6, 8, 9), 128, 8),
    Row(4, (10, 11, 12, 13), 512, 4),
)
"""The paper's table; the stride is 4 at level 0, 1 at level 1, and 2 above."""
SPATIAL = (0, 64, 128, 256, 512)
MODULES = (0, 3, 4, 6, 3)


def _parts(network: Graph) -> dict[str, Static]:
    found: Counter[str] = Counter()
    for line in cost_lines(network):
        if line.depth == 0:
            assert isinstance(line.cost.parameters, int)
            found[line.key] += line.cost.parameters
    return dict(found)


# ── published figures ────────────────────────────────────────────────────────────────────────────


def test_table_4_has_its_parameters_and_multiply_adds() -> None:
    total = cost(load(FILE).graph)
    assert total.parameters == 33_289_781
    assert round(float(str(bind(total.macs, {"N": 1}))) / 1e9, 3) == 120.808


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
    assert loads(_file(TABLE_4)).graph.digest == load(FILE).graph.digest


# ── any graph of such nodes ──────────────────────────────────────────────────────────────────────


def _file(
    rows: tuple[Row, ...],
    side: int = 224,
    frames: int = 16,
    classes: int = 339,
    spatial: tuple[int, ...] = SPATIAL,
    modules: tuple[int, ...] = MODULES,
) -> str:
    """A table as a network; the nodes of the last level go to the sink."""
    lines: list[str] = []
    for index, row in enumerate(rows):
        if row.level == 0:
            rate = f", rate={row.rate}" if row.inputs == ("rgb",) else ""
            made = f"{row.inputs[0]}_stem({row.inputs[0]}, width={row.width}{rate})"
        else:
            joined = ", ".join(f"v[{i}]" for i in row.inputs)
            stride = ", stride=2" if row.level > 1 else ""
            made = (
                f"block(join({joined}), width={row.width}, spatial={spatial[row.level]}, "
                f"modules={modules[row.level]}, rate={row.rate}{stride})"
            )
        lines.append(f"  v[{index}] = {made}")
    last = ", ".join(f"v[{i}]" for i, row in enumerate(rows) if row.level == rows[-1].level)
    body = "\n".join(lines)
    return f"""fuse 1
use "std/assemblenet": block, flow_stem, join, rgb_stem, sink
space assemblenet {{
  dim N
  input rgb: f32[N, 3, {frames}, {side}, {side}]
  input flow: f32[N, 2, {frames}, {side}, {side}]
{body}
  output logits = sink({last}, classes={classes})
}}
"""


def _out(row: Row) -> int:
    return row.width * (4 if row.level else 1)


def _formula(
    rows: tuple[Row, ...],
    classes: int = 339,
    spatial: tuple[int, ...] = SPATIAL,
    modules: tuple[int, ...] = MODULES,
) -> int:
    """The parameters of a table whose nodes all reach the sink."""
    total = 0
    for row in rows:
        c, d = row.width, spatial[row.level]
        if row.inputs in (("rgb",), ("flow",)):
            total += 49 * 3 * c + 2 * c + 5 * c * c + 2 * c if "rgb" in row.inputs else 100 * c
            continue
        come = [_out(rows[int(i)]) for i in row.inputs]
        widest = max(come)
        total += len(come) if len(come) > 1 else 0
        total += sum(narrow * widest for narrow in set(come) - {widest})
        for module in range(modules[row.level]):
            own = 9 * c * d + 4 * d * c + 2 * c + 2 * d + 8 * c
            total += own + (widest if module == 0 else 4 * c) * c * (3 if module % 2 else 1)
        total += widest * 4 * c + 8 * c
    return total + _out(rows[-1]) * classes + classes


def test_the_closed_formula_gives_table_4() -> None:
    assert _formula(TABLE_4) == 33_289_781


def _drawn(rng: Random, levels: int = 4, widest: int = 3) -> tuple[Row, ...]:
    """A random graph; what no later node takes is given to one of the next level."""
    rows: list[Row] = []
    before = range(0)
    for level in range(levels + 1):
        first = len(rows)
        for _ in range(rng.randint(2, 4) if level == 0 else rng.randint(1, 3)):
            inputs: tuple[int | str, ...] = (rng.choice(("rgb", "flow")),)
            if level:
                inputs = tuple(sorted(rng.sample(range(first), rng.randint(1, min(4, first)))))
            width = 2 ** rng.randint(1, widest) if level < levels else 2**widest
            rows.append(Row(level, inputs, width, rng.choice((1, 2, 4, 8))))
        taken = {i for row in rows[first:] for i in row.inputs}
        for orphan in [i for i in before if i not in taken]:
            row = rows[first]
            rows[first] = Row(level, tuple(sorted({*row.inputs, orphan}, key=int)), row.width, 1)
        before = range(first, len(rows))
    return tuple(rows)


@some(15)
@given(st.integers(0, 2**20))
def test_every_graph_has_the_parameters_of_the_closed_formula(seed: int) -> None:
    rng = Random(seed)
    rows = _drawn(rng)
    spatial = (0, *[rng.randint(1, 9) for _ in range(4)])
    modules = (0, *[rng.randint(1, 4) for _ in range(4)])
    network = loads(_file(rows, 64, 2, 7, spatial, modules)).graph
    assert cost(network).parameters == _formula(rows, 7, spatial, modules)
    assert network.digest == loads(_file(rows, 64, 2, 7, spatial, modules)).graph.digest


# ── what they compute ────────────────────────────────────────────────────────────────────────────


def _same_pool(x: Tensor, target: int) -> Tensor:
    """The maximum with "same" padding: ceil(size / stride) windows, what is missing at the end."""
    window = -(-x.shape[-1] // target)
    missing = target * window - x.shape[-1]
    pads = (missing // 2, missing - missing // 2)
    return f.max_pool3d(f.pad(x, pads * 2, value=-torch.inf), (1, window, window))


def _join(w: Layers, at: str, given: list[Tensor]) -> Tensor:
    if len(given) == 1:
        return given[0]
    least = min(x.shape[-1] for x in given)
    widest = max(x.shape[1] for x in given)
    result = torch.zeros(())
    for place, x in enumerate(given, 1):
        x = _same_pool(x, least) if x.shape[-1] > least else x
        x = x * w.weights[f"{at}.edge.{place}.parameter.weight"].sigmoid()
        result = result + (x if x.shape[1] == widest else w.conv(f"{at}.wide.{x.shape[1]}", x))
    return result


def _stem(w: Layers, at: str, x: Tensor, row: Row) -> Tensor:
    x = w.conv(f"{at}.frames{'.conv' if row.inputs == ('rgb',) else ''}", x, (1, 2, 2), (0, 3, 3))
    if row.inputs == ("flow",):
        return f.max_pool3d(w.norm(f"{at}.batch_norm", x).relu(), (1, 2, 2))
    x = w.norm(f"{at}.frames.batch_norm", x).relu()
    x = w.conv(f"{at}.moving", x, pad=(2 * row.rate, 0, 0), dilation=(row.rate, 1, 1))
    x = f.pad(w.norm(f"{at}.batch_norm", x).relu(), (0, 1, 0, 1), value=-torch.inf)
    return f.max_pool3d(x, (1, 3, 3), (1, 2, 2))


def _block(w: Layers, at: str, x: Tensor, row: Row, modules: int) -> Tensor:
    for place in range(modules):
        key = f"{at}.m.{place + 1}"
        reach = (place % 2) * row.rate
        side = 2 if place == 0 and row.level > 1 else 1
        h = w.conv(f"{key}.moving", x, pad=(reach, 0, 0), dilation=(max(1, reach), 1, 1))
        h = w.norm(f"{key}.filtered.batch_norm", h).relu()
        h = w.conv(f"{key}.filtered", h, (1, side, side), (0, 1, 1))
        h = w.conv(f"{key}.wide", w.norm(f"{key}.wide.batch_norm", h).relu())
        h = w.norm(f"{key}.batch_norm", h)
        if place == 0:
            x = w.conv(f"{key}.project.conv", x, (1, side, side))
            x = w.norm(f"{key}.project.batch_norm", x)
        x = (x + h).relu()
    return x


def _assemblenet(
    w: Layers, batch: dict[str, Tensor], rows: tuple[Row, ...], modules: tuple[int, ...]
) -> Tensor:
    outs: list[Tensor] = []
    for index, row in enumerate(rows):
        at = f"v.{index}"
        if row.level == 0:
            found = _stem(w, at, batch[str(row.inputs[0])], row) if at in _keys(w) else None
        else:
            given = [outs[int(i)] for i in row.inputs]
            found = _block(w, at, _join(w, f"{at}.join", given), row, modules[row.level])
        outs.append(found if found is not None else torch.zeros(()))
    last = [out for out, row in zip(outs, rows, strict=True) if row.level == rows[-1].level]
    vector = torch.stack([out.flatten(3).mean(3).mean(2) for out in last]).mean(0)
    return w.linear("logits.linear", vector)


def _keys(w: Layers) -> set[str]:
    return {".".join(name.split(".")[:2]) for name in w.weights}


def test_table_4_computes_what_torch_says(tmp_path: Path) -> None:
    module = weighted(load_small(FILE).graph)
    layers, batch, found = doubled(module)
    assert small_constants(FILE)["modules"] == "(2, 3, 1, 2)"
    expected = _assemblenet(layers, batch, TABLE_4, (0, 2, 3, 1, 2))
    torch.testing.assert_close(found, expected)
    assert found.std(0).min() > 1e-3
    assert onnx_difference(module, tmp_path) < 1e-4


@pytest.mark.parametrize("seed", range(6))
def test_random_graphs_compute_what_torch_says(seed: int, tmp_path: Path) -> None:
    rng = Random(seed)
    rows, modules = _drawn(rng), (0, 2, 1, 2, 1)
    side = rng.choice((32, 36, 40, 49, 60))
    module = weighted(loads(_file(rows, side, 4, 5, (0, 2, 3, 4, 5), modules)).graph, seed)
    layers, batch, found = doubled(module)
    torch.testing.assert_close(found, _assemblenet(layers, batch, rows, modules))
    assert onnx_difference(module, tmp_path) < 1e-4


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


@pytest.mark.parametrize(
    ("side", "target", "window"),
    [(56, 28, 2), (56, 7, 8), (9, 5, 2), (9, 3, 3), (7, 4, 2), (5, 1, 5), (10, 3, 4)],
)
def test_larger_inputs_are_pooled_to_the_least_sides(side: int, target: int, window: int) -> None:
    network = loads(f"""fuse 1
use "std/assemblenet": join
space s {{
  dim N
  input a: f32[N, 2, 3, {side}, {side}]
  input b: f32[N, 2, 3, {target}, {target}]
  output y = join(a, b)
}}
""").graph
    assert network.outputs[0][1].type.pretty == f"f32[N, 2, 3, {target}, {target}]"
    (pool,) = [node for node in everything(network.roots) if node.op.name == "max_pool"]
    assert pool["kernel"] == (1, window, window)
    if (side + 1) // target * target >= side and target > 1:
        assert window == (side + 1) // target  # the release's windows
    layers, batch, found = doubled(weighted(network))
    torch.testing.assert_close(found, _join(layers, "y", [batch["a"], batch["b"]]))


def test_inputs_whose_time_differs_cannot_be_joined() -> None:
    text = _file(TABLE_4, 64, 8).replace("f32[N, 2, 8,", "f32[N, 2, 4,")
    with pytest.raises(FusegraphError, match="axis 2"):
        loads(text)


# ── the command line ─────────────────────────────────────────────────────────────────────────────


def test_the_file_can_be_checked_costed_drawn_and_emitted_at_full_size(tmp_path: Path) -> None:
    assert "network" in good("check", FILE)
    assert "33289781" in good("cost", FILE)
    good("show", FILE, "-o", tmp_path / "net.svg")
    good("fmt", FILE, "--check")
    good("emit", FILE, "-o", tmp_path / "net.py")
    assert (tmp_path / "net.py").is_file()
