"""Auto-TSNet's space: its sizes, what it counts and costs, and its networks against torch's own."""

from __future__ import annotations

import re
from collections.abc import Callable
from math import prod
from pathlib import Path
from random import Random

import pytest
import torch
from torch import Tensor
from torch.nn import functional as f

from fusegraph.compiler.cost import cost
from fusegraph.compiler.count import count
from fusegraph.compiler.explore import complete, cross, enumerate_genotypes, mutate, sample
from fusegraph.compiler.specialise import specialise
from fusegraph.ir.decisions import Decision, Setting
from fusegraph.ir.diagnostics import FusegraphError
from fusegraph.ir.dsl import load, load_genotype, loads
from fusegraph.ir.genotype import Genotype
from fusegraph.ir.graph import Graph
from fusegraph.ir.settling import bind
from repository import ROOT
from small_examples import load_small, small_constants, small_network
from video_networks import Layers, doubled, onnx_difference, weighted

FOLDER = ROOT / "examples" / "two_stream"
SPACE = FOLDER / "space.fuse"
README = (FOLDER / "README.md").read_text("utf-8")
GENOTYPES = sorted(FOLDER.glob("apart_*.fuse")) + sorted(FOLDER.glob("lateral_*.fuse"))
OPS = ("skip", "strided_conv", "strided_sample", "time_to_channel")


def _space(**constants: object) -> Graph:
    return load(SPACE, {name: str(value) for name, value in constants.items()}).graph


def _macs(network: Graph) -> int:
    return int(str(bind(cost(network).macs, {"N": 1})))


def _parameters(network: Graph) -> int:
    return int(str(cost(network).parameters))


def _settled(space: Graph, genotype: Genotype) -> Graph:
    return specialise(space, genotype.settings)


# ── how large it is ──────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("size", [1, 2, 3])
def test_the_space_has_the_genotypes_of_the_closed_formula(size: int) -> None:
    blocks = ((3, 5, 11, 7), (3, 5, 11, 7), (5, 10, 25, 15))[size - 1]
    depths = [most - -(-most // 3) + 1 for most in blocks]
    stages = prod(depth**2 * (3 * 3 * 3 * 2) * (4 * 3 * 3 * 2) * len(OPS) for depth in depths)
    assert count(_space(size=size)).genotypes == stages * 2**3
    assert count(_space(size=size, attended=5)).genotypes == stages


def test_an_exact_count_is_that_of_trying_all() -> None:
    text = SPACE.read_text("utf-8")
    for name, keep in (("expansion", "1.5"), ("time", "3"), ("side", "3")):
        text = re.sub(rf"\?{name} of {{[^}}]*}}", keep, text)
    text = re.sub(r"\?width of {(\w+)[^}]*}", r"\1", text.replace("{3 * third", "{third"))
    text = re.sub(r"\?fuse of {skip, strided_conv, [^}]*}", "?fuse of {skip, strided_conv}", text)
    small = {**small_constants(SPACE), "depth": "0.2", "attended": "4"}
    free = loads(text, small).graph
    found = list(enumerate_genotypes(free))
    assert count(free).genotypes == len(found) == len(set(found)) == 2**4 * 2
    costs = sorted(_macs(_settled(free, genotype)) for genotype in found)
    least, most = costs[len(costs) // 4], costs[len(costs) // 2]
    bounds = {"least": str(least / 1e9), "most": str(most / 1e9)}
    bounded = loads(text, {**small, **bounds}).graph
    assert count(bounded).genotypes == sum(least <= macs <= most for macs in costs)


def _first(_: Decision) -> Setting:
    return (0,)


def _last(decision: Decision) -> Setting:
    return (len(decision.labels) - 1,)


@pytest.mark.parametrize("size", [1, 2, 3])
def test_the_readme_tells_the_smallest_and_the_largest_network(size: int) -> None:
    space = _space(size=size)
    row = re.search(rf"^\| {'SML'[size - 1]} \|.*$", README, re.MULTILINE)
    assert row is not None
    for pick in (_first, _last):
        network = _settled(space, complete(space, {}, pick))
        assert f"| {cost(network).parameters:,}, {_macs(network) / 1e9:.4f} G |" in row[0]


@pytest.mark.parametrize("pick", [_first, _last])
def test_no_single_change_leads_beyond_the_smallest_and_the_largest_network(
    pick: Callable[[Decision], Setting],
) -> None:
    space = load(SPACE, {**small_constants(SPACE), "alpha": "4"}).graph
    genotype = complete(space, {}, pick)
    network = _settled(space, genotype)
    sign = 1 if pick is _last else -1
    for key in [key for key, _ in genotype.items if key.startswith(("sparse[3]", "fused[3]"))]:
        for other in space.decisions[key].settings():
            changed = _settled(space, complete(space, {**genotype.settings, key: other}, pick))
            assert sign * (_macs(changed) - _macs(network)) <= 0, (key, other)
            assert sign * (_parameters(changed) - _parameters(network)) <= 0, (key, other)


# ── sizes and rates ──────────────────────────────────────────────────────────────────────────────


def test_s_and_m_differ_in_the_crop_alone_and_l_is_deeper() -> None:
    networks = [_full(f"lateral_{size}") for size in "sml"]
    costs = [_parameters(network) for network in networks]
    assert costs[0] == costs[1] < costs[2]
    sides = [network.inputs[0].type.shape[-1] for network in networks]
    assert sides == [160, 224, 312]


def _full(name: str) -> Graph:
    """The network of a genotype's file at full size."""
    program, genotype = load_genotype(FOLDER / f"{name}.fuse")
    return _settled(program.graph, genotype)


@pytest.mark.parametrize("path", GENOTYPES, ids=lambda path: path.stem)
def test_the_readme_tells_what_each_genotype_costs(path: Path) -> None:
    network = _full(path.stem)
    row = re.search(rf"^\| `{path.name}`.*$", README, re.MULTILINE)
    assert row is not None
    assert f"{cost(network).parameters:,} | {_macs(network) / 1e9:.4f} G" in row[0]


def test_frames_that_are_not_alpha_times_as_many_are_an_error() -> None:
    with pytest.raises(FusegraphError, match=r"`dense_frames == alpha \* sparse_frames`"):
        _space(dense_frames=18)


# ── the price ────────────────────────────────────────────────────────────────────────────────────


def test_a_range_of_multiply_adds_is_kept_by_samples_mutants_and_children() -> None:
    bounds = {"least": "0.0007", "most": "0.0009"}
    space = load(SPACE, {**small_constants(SPACE), **bounds}).graph
    rng = Random(5)
    parents = [sample(space, rng) for _ in range(2)]
    mutants = [mutate(space, parent, rng) for parent in parents]
    children = [cross(space, parents[0], parents[1], rng) for _ in range(2)]
    assert mutants != parents
    for genotype in (*parents, *mutants, *children):
        assert 0.7e6 <= _macs(_settled(space, genotype)) <= 0.9e6
    free = load_small(SPACE).graph
    assert any(_macs(_settled(free, sample(free, rng))) > 0.9e6 for _ in range(8))


# ── what its networks compute ────────────────────────────────────────────────────────────────────


def test_results_of_the_fusion_ops_have_the_sparse_streams_type() -> None:
    space = load_small(SPACE).graph
    for place in range(len(OPS)):
        settings = {f"fused[{i}].fuse": (place,) for i in range(1, 5)}
        network = _settled(space, complete(space, settings, _last))
        names = {node["name"] for node in network.inputs}
        assert names == {"sparse_clip", "dense_clip"}
        assert network.outputs[0][1].type.pretty == "f32[N, 5]"


@pytest.mark.parametrize("seed", range(4))
def test_random_networks_agree_with_onnxruntime(seed: int, tmp_path: Path) -> None:
    space = load_small(SPACE).graph
    network = _settled(space, sample(space, Random(seed)))
    assert onnx_difference(weighted(network, seed), tmp_path) < 1e-4


@pytest.mark.parametrize("path", GENOTYPES, ids=lambda path: path.stem)
def test_the_genotypes_run_and_cost_what_the_graph_says(path: Path) -> None:
    network = small_network(path)
    module = weighted(network)
    assert sum(p.numel() for p in module.parameters()) == cost(network).parameters
    _, _, found = doubled(module)
    assert found.isfinite().all()
    assert found.std(0).min() > 1e-4


def _parts(body: str) -> Graph:
    return loads(
        'fuse 1\nuse "std/two_stream": head, non_local, stage\n'
        "space parts {\n  dim N\n  input x: f32[N, 4, 3, 7, 5]\n"
        f"  input y: f32[N, 6, 2, 7, 5]\n  output out = {body}\n}}\n"
    ).graph


def test_non_local_attention_is_the_papers_with_pooled_keys(tmp_path: Path) -> None:
    module = weighted(_parts("non_local(x)"))
    w, batch, found = doubled(module)
    x = batch["x"]
    pooled = f.adaptive_max_pool3d(x, (3, 4, 3))
    query = w.conv("out.query.conv", x).flatten(2)
    key, value = (
        w.conv("out.key.conv", pooled).flatten(2),
        w.conv("out.value.conv", pooled).flatten(2),
    )
    scores = torch.einsum("ncq,nck->nqk", query, key) / 2**0.5
    read = torch.einsum("nqk,nck->ncq", scores.softmax(-1), value).reshape(-1, 2, 3, 7, 5)
    torch.testing.assert_close(found, x + w.norm("out.batch_norm", w.conv("out.conv", read)))
    assert onnx_difference(module, tmp_path) < 1e-4


def test_the_head_concatenates_both_streams() -> None:
    module = weighted(_parts("head(x, y, expansion=2.25, hidden=7, classes=3, drop=0.5)"))
    w, batch, found = doubled(module)
    means: list[Tensor] = []
    for name, stream in (("few", "x"), ("many", "y")):
        wide = w.norm(f"out.{name}.batch_norm", w.conv(f"out.{name}.conv", batch[stream])).relu()
        means.append(wide.flatten(2).mean(2))
    hidden = w.linear("out.linear", torch.cat(means, 1)).relu()
    torch.testing.assert_close(found, w.linear("out.linear_2", hidden))


def _block(w: Layers, at: str, x: Tensor, time: int, stride: int, gated: bool) -> Tensor:
    h = w.norm(f"{at}.wide.batch_norm", w.conv(f"{at}.wide.conv", x)).relu()
    steps = (1, stride, stride)
    h = w.conv(f"{at}.filtered", h, steps, (time // 2, 2, 2), groups=h.shape[1])
    h = w.norm(f"{at}.gated.batch_norm", h)
    if gated:
        gate = f"{at}.gated.squeeze_excite"
        squeezed = w.conv(f"{gate}.squeezed.conv", f.adaptive_avg_pool3d(h, 1)).relu()
        h = h * w.conv(f"{gate}.conv", squeezed).sigmoid()
    h = w.norm(f"{at}.narrow", w.conv(f"{at}.narrow.conv", f.silu(h)))
    if stride > 1:
        x = w.norm(f"{at}.project.batch_norm", w.conv(f"{at}.project.conv", x, steps))
    return (x + h).relu()


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_a_stage_is_as_many_blocks_as_its_depth_says(depth: int) -> None:
    space = _parts("stage(x, width=6, expansion=1.5, time=5, side=5, fewest=1, most=3)")
    w, batch, found = doubled(weighted(specialise(space, {"out.depth": (depth - 1,)})))
    x = batch["x"]
    for i in range(1, depth + 1):
        x = _block(w, f"out.h.{i}", x, 5, 2 if i == 1 else 1, bool(i % 2))
    torch.testing.assert_close(found, x)
