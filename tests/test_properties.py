"""The promises P1, P2, P4 and P7 of the design, over generated spaces and the examples."""

from __future__ import annotations

import pickle
import re
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.flop_counter import FlopCounterMode

from fusegraph.backends.onnx import difference
from fusegraph.backends.onnx import lower as lower_to_onnx
from fusegraph.backends.torch import Network, lower
from fusegraph.compiler.cost import cost
from fusegraph.compiler.explore import sample
from fusegraph.compiler.pipeline import network
from fusegraph.compiler.simplify import simplify
from fusegraph.compiler.specialise import specialise
from fusegraph.ir.cells import expand
from fusegraph.ir.dsl import Program, format_genotype, loads, parse_genotype
from fusegraph.ir.dsl.flat import parse_graph, print_graph
from fusegraph.ir.dsl.format import format_text
from fusegraph.ir.graph import Graph
from fusegraph.ir.node import Node, everything
from fusegraph.ir.settling import bind
from generators import OTHER_SIZES, SIZES, programs, some, texts
from recipes import made, recipes
from repository import ROOT
from small_examples import load_small

SEEDS = st.integers(0, 2**20)
EXAMPLES = sorted((ROOT / "examples").rglob("*.fuse"))


def _is_space(path: Path) -> bool:
    return re.search(r"^space ", path.read_text(encoding="utf-8"), re.MULTILINE) is not None


SPACES = [path for path in EXAMPLES if _is_space(path)]
_each_space = pytest.mark.parametrize("path", SPACES, ids=lambda p: str(p.relative_to(ROOT)))


def _batch(
    graph: Graph,
    seed: int = 0,
    dtype: torch.dtype = torch.float32,
    sizes: Mapping[str, int] = SIZES,
) -> dict[str, Any]:
    """Random tensors for the inputs; whole numbers are below the rows of every table."""
    rng = np.random.default_rng(seed)
    found: dict[str, Any] = {}
    for node in graph.inputs:
        shape = _shape(node, sizes)
        if node.type.dtype == "i64":
            found[node["name"]] = torch.from_numpy(rng.integers(0, 5, shape))
        else:
            found[node["name"]] = torch.from_numpy(rng.standard_normal(shape)).to(dtype)
    return found


def _outputs(module: Network, batch: dict[str, Any]) -> dict[str, torch.Tensor]:
    with torch.no_grad():
        found = module.run(batch)
    return found if isinstance(found, dict) else {module.graph.outputs[0][0]: found}


def _shape(node: Node, sizes: Mapping[str, int]) -> tuple[int, ...]:
    return tuple([int(str(bind(size, sizes))) for size in node.type.shape])


# ── P1: text and graph ───────────────────────────────────────────────────────────────────────────


@some(100)
@given(programs(), SEEDS)
def test_a_graph_comes_back_from_its_text_and_its_pickle_as_the_same_object(
    program: Program, seed: int
) -> None:
    space = program.graph
    for graph in (space, expand(space), specialise(space, sample(space, Random(seed)))):
        assert parse_graph(print_graph(graph)) is graph
        assert pickle.loads(pickle.dumps(graph)) is graph  # noqa: S301


@some(100)
@given(recipes())
def test_a_graph_built_by_hand_comes_back_from_its_text(recipe: Any) -> None:
    graph = made(recipe)
    assert parse_graph(print_graph(graph)) is graph


def _comments(text: str) -> Counter[str]:
    return Counter(re.findall(r"# note \d+", text))


@some(100)
@given(texts(comments=True))
def test_the_formatter_is_idempotent_and_keeps_meaning_and_comments(text: str) -> None:
    formatted = format_text(text)
    assert format_text(formatted) == formatted
    assert _comments(formatted) == _comments(text)
    assert loads(formatted).graph is loads(text).graph
    squeezed = re.sub(r"[ ]*\n[ ]*", "\n", text).replace("  ", " ")
    assert loads(format_text(squeezed)).graph is loads(text).graph


@some(100)
@given(programs(), SEEDS)
def test_a_genotype_comes_back_from_its_text(program: Program, seed: int) -> None:
    genotype = sample(program.graph, Random(seed))
    assert parse_genotype(format_genotype(genotype, program, "s.fuse"), program) == genotype


# ── P2, P7: every genotype becomes a network that runs, exports, and costs what was said ─────────


def _check_cost(settled: Graph, module: Network, sizes: Mapping[str, int]) -> None:
    total = cost(settled)
    assert total.parameters == sum(p.numel() for p in module.parameters())
    with FlopCounterMode(display=False) as counter:
        _outputs(module, _batch(settled, sizes=sizes))
    assert 2 * bind(total.macs, sizes) == counter.get_total_flops()


def _check_onnx(settled: Graph, module: Network) -> None:
    import onnx
    import onnxruntime as ort

    weights = {name: value.numpy() for name, value in module.state_dict().items()}
    model = lower_to_onnx(settled, weights)
    onnx.checker.check_model(model, full_check=True)
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    names = [output.name for output in session.get_outputs()]
    for sizes in (SIZES, OTHER_SIZES):
        batch = _batch(settled, 1, sizes=sizes)
        found = session.run(names, {name: value.numpy() for name, value in batch.items()})
        expected = _outputs(module, batch)
        for name, value in zip(names, found, strict=True):
            assert difference(expected[name].numpy(), np.asarray(value)) < 1e-5


def _check_network(settled: Graph, seed: int) -> Network:
    assert settled.settled
    module = lower(settled, seed).eval()
    for sizes in (SIZES, OTHER_SIZES):
        found = _outputs(module, _batch(settled, sizes=sizes))
        for name, node in settled.outputs:
            assert tuple(found[name].shape) == _shape(node, sizes)
            assert bool(torch.isfinite(found[name]).all())
        _check_cost(settled, module, sizes)
    return module


@some(80)
@given(programs(), SEEDS)
def test_every_genotype_specialises_runs_and_costs_what_was_counted(
    program: Program, seed: int
) -> None:
    rng = Random(seed)
    for _ in range(3):
        settled = specialise(program.graph, sample(program.graph, rng))
        _check_network(settled, seed)


@some(40)
@given(programs(), SEEDS)
def test_every_genotype_exports_and_onnxruntime_agrees(program: Program, seed: int) -> None:
    rng = Random(seed)
    for genotype in {sample(program.graph, rng) for _ in range(2)}:
        settled = network(program.graph, genotype)
        _check_onnx(settled, lower(settled, seed).eval())


@_each_space
def test_every_example_gives_networks_that_run_export_and_cost_what_was_counted(
    path: Path,
) -> None:
    space = load_small(path).graph
    rng = Random(7)
    for _ in range(2):
        settled = network(space, sample(space, rng))
        _check_onnx(settled, _check_network(settled, 0))


# ── P4: passes keep the function ─────────────────────────────────────────────────────────────────


def _is_flat(graph: Graph) -> bool:
    return all(node.op.name != "cell" for node in everything(graph.roots))


def _is_simple(graph: Graph) -> bool:
    return simplify(graph) is graph


PASSES = (
    ("expand", expand, _is_flat),
    ("simplify", simplify, _is_simple),
    ("expand, simplify", lambda g: simplify(expand(g)), lambda g: _is_flat(g) and _is_simple(g)),
)


@some(100)
@given(programs(), SEEDS)
def test_each_pass_keeps_the_function_and_its_postcondition(program: Program, seed: int) -> None:
    settled = specialise(program.graph, sample(program.graph, Random(seed)))
    module = lower(settled, seed).double().eval()
    batch = _batch(settled, 2, torch.float64)
    expected = _outputs(module, batch)
    for name, step, holds in PASSES:
        after = step(settled)
        assert holds(after), name
        other = lower(after).double().eval()
        own = other.state_dict()
        assert own.keys() <= module.state_dict().keys(), name
        other.load_state_dict({k: v for k, v in module.state_dict().items() if k in own})
        found = _outputs(other, {k: v for k, v in batch.items() if k in _names(after)})
        for output, value in expected.items():
            torch.testing.assert_close(found[output], value, rtol=1e-9, atol=1e-9)


def _names(graph: Graph) -> set[str]:
    return {node["name"] for node in graph.inputs}


@some(100)
@given(programs(), SEEDS)
def test_specialise_and_expand_commute(program: Program, seed: int) -> None:
    space = program.graph
    genotype = sample(space, Random(seed))
    settled = specialise(space, genotype)
    assert settled.settled
    assert specialise(expand(space), genotype.settings) is expand(settled)


@some(80)
@given(programs(), SEEDS)
def test_simplify_may_come_before_or_after_the_choice(program: Program, seed: int) -> None:
    space = program.graph
    simple = simplify(space)
    settings_ = sample(space, Random(seed)).settings
    again = simplify(specialise(simple, settings_))
    assert again is simplify(specialise(space, settings_))
