"""What holds after each pass of fusion, on generated supernets and on BM-NAS's."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import assume, given

from fusegraph.compiler.fusion.attention import attention
from fusegraph.compiler.fusion.blends import blends
from fusegraph.compiler.fusion.commute import commute
from fusegraph.compiler.fusion.fold import fold
from fusegraph.compiler.fusion.gates import gates
from fusegraph.compiler.fusion.ops import ATTEND, BLEND, DENSE, REPEAT
from fusegraph.compiler.fusion.prefix import split_prefix
from fusegraph.compiler.fusion.rows import ELEMENTWISE, rows
from fusegraph.compiler.fusion.siblings import norms, stack, tails
from fusegraph.compiler.fusion.stages import owners
from fusegraph.compiler.fusion.supernets import fused
from fusegraph.compiler.relax import relax
from fusegraph.ir.diagnostics import FusegraphError
from fusegraph.ir.dsl import Program, load, loads
from fusegraph.ir.graph import Graph
from fusegraph.ir.ops import INPUT
from generators import programs, some

EXAMPLES = Path(__file__).parents[1] / "examples" / "bm_nas"


def _check(network: Graph) -> None:
    once = {key for key, nodes in owners(network).items() if len(nodes) == 1}
    gated, _ = gates(network, "gates")
    assert len({node.inputs[0] for node in gated.order if node.op.name == "mix"}) <= 1
    rowed, _ = rows(gated)
    for node in rowed.order:
        if node.op.name == "batch_norm" or (node.op.name == "linear" and node["axis"] == 1):
            assert node.type.rank == 2
    commuted = commute(rowed)
    for node in commuted.order:
        if node.op.name in ELEMENTWISE or node.op.name in ("linear", "batch_norm"):
            assert node.inputs[0].op is not REPEAT
    folded, _ = fold(commuted)
    for node in folded.order:
        of_rows = node.op.name == "linear" and node.type.rank == 2 and node["axis"] == 1
        assert not (of_rows and node.key in once)
        if node.op is DENSE and node.inputs[0].op.name == "concat":
            parts = node.inputs[0].inputs
            assert node.inputs[0]["axis"] != 1 or len(set(parts)) == len(parts)
    normed, _ = norms(folded)
    stacked, _ = stack(normed)
    layers = [node for node in stacked.order if node.op is DENSE]
    assert len({(node.inputs[0], node["norm"]) for node in layers}) == len(layers)
    tailed = tails(stacked)
    for node in tailed.order:
        if node.op.name == "relu":
            assert node.inputs[0].op is not DENSE or node.inputs[0]["tails"]
    blended = blends(attention(tailed))
    assert not any(n.op.name == "mix" and n.type.rank == 2 for n in blended.order)
    _check_prefix(network)
    _check_prefix(blended)


def _check_prefix(network: Graph) -> None:
    prefix, rest = split_prefix(network)
    for node in prefix.order:
        assert node.op.weights is None
        assert not node.op.random
    assert [name for name, _ in prefix.outputs if name in {i["name"] for i in rest.inputs}]
    assert {i["name"] for i in rest.inputs} <= {name for name, _ in prefix.outputs}
    assert [name for name, _ in rest.outputs] == [name for name, _ in network.outputs]


@pytest.mark.parametrize("op", ["softmax", "log_softmax"])
def test_what_looks_across_samples_is_not_in_the_prefix(op: str) -> None:
    text = f"fuse 1\nspace s {{ dim N\ninput f: f32[N, 4]\noutput y = {op}(relu(f), axis=0)\n}}\n"
    prefix, rest = split_prefix(loads(text).graph)
    assert op not in [node.op.name for node in prefix.order]
    assert op in [node.op.name for node in rest.order]
    prefix, rest = split_prefix(loads(text.replace("axis=0", "axis=1")).graph)
    assert op in [node.op.name for node in prefix.order]


@some(100)
@given(programs())
def test_each_pass_keeps_its_postcondition(program: Program) -> None:
    try:
        supernet = relax(program.graph)
    except FusegraphError:
        assume(False)
    else:
        if any(node.op is INPUT for node in supernet.graph.order):
            _check(supernet.graph)


@pytest.mark.parametrize("name", ["ntu", "ego_gesture_release", "mm_imdb_release"])
def test_each_pass_keeps_its_postcondition_on_bm_nas(name: str) -> None:
    _check(relax(load(EXAMPLES / f"{name}.fuse").graph).graph)


def test_what_is_left_of_the_release_on_ntu() -> None:
    graph = fused(relax(load(EXAMPLES / "ntu_release.fuse").graph)).graph
    count = {op: sum(node.op is op for node in graph.order) for op in (DENSE, ATTEND, BLEND)}
    # 8 aligns, one layer for both candidates of each of 4 steps, 2 outputs; 4 attentions;
    # a sum into each of 2 cells and 4 steps, and one over the ops of each step
    assert count == {DENSE: 14, ATTEND: 4, BLEND: 10}
    left = {node.op.name for node in graph.order}
    assert not left & {"linear", "batch_norm", "matmul", "sigmoid", "mix", "expand", "mul"}
    assert not any(name.endswith("pool") for name in left)
