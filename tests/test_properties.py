"""The promises of the design, P1 to P5 and P7, over generated spaces, graphs and the examples."""

from __future__ import annotations

import pickle
import re
from collections import Counter
from collections.abc import Mapping
from fractions import Fraction
from itertools import product
from math import prod
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from torch.utils.flop_counter import FlopCounterMode

from fusegraph.backends.onnx import difference
from fusegraph.backends.onnx import lower as lower_to_onnx
from fusegraph.backends.torch import Network, lower
from fusegraph.compiler.cost import cost
from fusegraph.compiler.count import count
from fusegraph.compiler.explore import cross, enumerate_genotypes, mutate, sample
from fusegraph.compiler.pipeline import network
from fusegraph.compiler.requirements import satisfied
from fusegraph.compiler.simplify import simplify
from fusegraph.compiler.specialise import specialise
from fusegraph.ir.cells import expand
from fusegraph.ir.decisions import Setting
from fusegraph.ir.dims import Expr, bind, decisions_in
from fusegraph.ir.dsl import Program, format_genotype, load, loads, parse_genotype
from fusegraph.ir.dsl.flat import parse_graph, print_graph
from fusegraph.ir.dsl.format import format_text
from fusegraph.ir.genotype import Genotype
from fusegraph.ir.graph import Graph
from fusegraph.ir.node import Node, everything
from fusegraph.ir.reach import walk
from generators import OTHER_SIZES, SIZES, programs, texts
from recipes import changed, disguised, isomorphic, made, paired, recipes, star
from repository import ROOT

SEEDS = st.integers(0, 2**20)
EXAMPLES = sorted((ROOT / "examples").rglob("*.fuse"))
MOST_TRIED = 3_000
"""Joint settings that the slow oracle tries one by one."""


def _is_space(path: Path) -> bool:
    return re.search(r"^space ", path.read_text(encoding="utf-8"), re.MULTILINE) is not None


SPACES = [path for path in EXAMPLES if _is_space(path)]
_each_space = pytest.mark.parametrize("path", SPACES, ids=lambda p: str(p.relative_to(ROOT)))


def _some(examples: int) -> settings:
    """That many examples. The health checks measure time, which a busy machine has less of."""
    checks = [HealthCheck.too_slow, HealthCheck.filter_too_much]
    return settings(max_examples=examples, suppress_health_check=checks)


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


@_some(60)
@given(programs(), SEEDS)
def test_a_graph_comes_back_from_its_text_and_its_pickle_as_the_same_object(
    program: Program, seed: int
) -> None:
    space = program.graph
    for graph in (space, expand(space), specialise(space, sample(space, Random(seed)))):
        assert parse_graph(print_graph(graph)) is graph
        assert pickle.loads(pickle.dumps(graph)) is graph  # noqa: S301


@_some(60)
@given(recipes())
def test_a_graph_built_by_hand_comes_back_from_its_text(recipe: Any) -> None:
    graph = made(recipe)
    assert parse_graph(print_graph(graph)) is graph


def _comments(text: str) -> Counter[str]:
    return Counter(re.findall(r"# note \d+", text))


@_some(60)
@given(texts(comments=True))
def test_the_formatter_is_idempotent_and_keeps_meaning_and_comments(text: str) -> None:
    formatted = format_text(text)
    assert format_text(formatted) == formatted
    assert _comments(formatted) == _comments(text)
    assert loads(formatted).graph is loads(text).graph
    squeezed = re.sub(r"[ ]*\n[ ]*", "\n", text).replace("  ", " ")
    assert loads(format_text(squeezed)).graph is loads(text).graph


@_some(60)
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


@_some(50)
@given(programs(), SEEDS)
def test_every_genotype_specialises_runs_and_costs_what_was_counted(
    program: Program, seed: int
) -> None:
    rng = Random(seed)
    for _ in range(3):
        settled = specialise(program.graph, sample(program.graph, rng))
        _check_network(settled, seed)


@_some(25)
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
    space = load(path).graph
    rng = Random(7)
    for _ in range(2):
        settled = network(space, sample(space, rng))
        _check_onnx(settled, _check_network(settled, 0))


# ── P3: the digest ───────────────────────────────────────────────────────────────────────────────


@_some(150)
@given(recipes(), SEEDS)
def test_the_digest_is_blind_to_names_and_order_and_to_nothing_else(recipe: Any, seed: int) -> None:
    rng = Random(seed)
    graph = made(recipe)
    twin = made(disguised(recipe, rng), batch="B")
    assert graph.digest == twin.digest
    assert isomorphic(graph, made(disguised(recipe, rng)))
    for _ in range(3):
        other = made(changed(recipe, rng))
        assert (other.digest == graph.digest) == isomorphic(other, graph)


@_some(60)
@given(st.integers(3, 7), st.data())
def test_alike_layers_are_told_apart_by_what_uses_them(vertices: int, data: st.DataObject) -> None:
    possible = [(a, b) for b in range(vertices) for a in range(b)]
    edges = st.lists(st.sampled_from(possible), min_size=2, max_size=9, unique=True)
    first, second = data.draw(edges), data.draw(edges)
    order = data.draw(st.permutations(range(vertices)))
    graph = paired(vertices, first, range(vertices))
    assert graph.digest == paired(vertices, first, order).digest
    other = paired(vertices, second, order)
    assert (graph.digest == other.digest) == isomorphic(graph, other)


def test_patterns_that_every_layer_sees_alike_have_digests_of_their_own() -> None:
    # Both are 2-regular on six layers: no refinement of colours tells them apart.
    ring = [(i, (i + 1) % 6) for i in range(6)]
    triangles = [(0, 1), (1, 2), (0, 2), (3, 4), (4, 5), (3, 5)]
    orders = [(0, 1, 2, 3, 4, 5), (3, 1, 5, 0, 2, 4), (5, 4, 3, 2, 1, 0)]
    found = [{paired(6, edges, order).digest for order in orders} for edges in (ring, triangles)]
    assert [len(digests) for digests in found] == [1, 1]
    assert found[0] != found[1]


def test_hundreds_of_alike_branches_have_one_digest_in_any_order() -> None:
    order = list(range(400))
    shuffled = Random(0).sample(order, len(order))
    assert star(order).digest == star(shuffled).digest
    assert star(order).digest != star(order[1:]).digest


def _renamed(text: str, shift: int) -> str:
    """Every variable, decision and named size under another name."""
    text = re.sub(r"\b([uv])(\d+)\b", lambda m: f"{m[1]}{(int(m[2]) * 7 + shift) % 101}", text)
    return re.sub(r"\bT\b", "Time", re.sub(r"\bN\b", "Batch", text))


@_some(60)
@given(texts(), SEEDS)
def test_the_digest_is_blind_to_the_names_of_variables_and_sizes(text: str, seed: int) -> None:
    space, other = loads(text).graph, loads(_renamed(text, seed % 50)).graph
    genotype = sample(space, Random(seed))
    renamed = {_renamed(key, seed % 50): setting for key, setting in genotype.items}
    assert specialise(space, genotype).digest == specialise(other, renamed).digest


@_some(40)
@given(texts())
def test_a_dead_branch_changes_nothing(text: str) -> None:
    dead = "  dead = linear(concat(?dead of {a[1], relu(a[1])}, a[1]), out=7)\n"
    assert (
        loads(text.replace("  output logits", dead + "  output logits")).graph is loads(text).graph
    )


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


@_some(60)
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


@_some(60)
@given(programs(), SEEDS)
def test_specialise_and_expand_commute(program: Program, seed: int) -> None:
    space = program.graph
    genotype = sample(space, Random(seed))
    settled = specialise(space, genotype)
    assert settled.settled
    assert specialise(expand(space), genotype.settings) is expand(settled)


@_some(40)
@given(programs(), SEEDS)
def test_simplify_may_come_before_or_after_the_choice(program: Program, seed: int) -> None:
    space = program.graph
    simple = simplify(space)
    settings_ = sample(space, Random(seed)).settings
    again = simplify(specialise(simple, settings_))
    assert again is simplify(specialise(space, settings_))


# ── P5: moving about in a space ──────────────────────────────────────────────────────────────────


def _open_in(node: Node) -> dict[str, Any]:
    """Decisions on the attributes of a node."""
    found: dict[str, Any] = {}
    pending: list[Any] = list(node.attrs)
    while pending:
        value = pending.pop()
        if isinstance(value, tuple):
            pending += value
        elif isinstance(value, Expr):
            found.update(decisions_in(value))
    return found


def _reached(space: Graph, chosen: dict[str, Setting]) -> frozenset[tuple[str, Setting]]:
    """What these settings reach, by walking the expanded graph node by node: slow and plain."""
    keys: set[str] = set()
    for requirement in space.requires:
        for side in (requirement.left, requirement.right):
            keys |= decisions_in(side).keys()
    seen: set[Node] = set()
    stack = list(expand(space).roots)
    while stack:
        node = stack.pop()
        if node in seen:
            continue
        seen.add(node)
        below = list(node.inputs)
        if node.op.name == "choice":
            keys.add(node.decision.key)
            below = [node.inputs[chosen[node.decision.key][node["slot"]]]]
        elif node.op.name == "maybe":
            keys.add(node.decision.key)
            below = below if node["index"] in chosen[node.decision.key] else []
        else:
            keys |= _open_in(node).keys()
        stack += below
    return frozenset((key, chosen[key]) for key in keys)


def _all_genotypes(space: Graph) -> set[frozenset[tuple[str, Setting]]]:
    """Every genotype, by trying every joint setting of all decisions."""
    keys = list(space.decisions)
    choices = [list(space.decisions[key].settings()) for key in keys]
    found = {_reached(space, dict(zip(keys, joint, strict=True))) for joint in product(*choices)}
    return {items for items in found if satisfied(space, dict(items))}


def _valid(space: Graph, genotype: Genotype) -> None:
    chosen = genotype.settings
    for key, setting in genotype.items:
        assert space.decisions[key].admits(setting)
    assert walk(space, lambda d: chosen[d.key]) == chosen
    assert satisfied(space, chosen)
    assert specialise(space, genotype).settled


@_some(60)
@given(programs(), SEEDS)
def test_mutations_and_crossovers_of_genotypes_are_genotypes(program: Program, seed: int) -> None:
    space, rng = program.graph, Random(seed)
    parents = [sample(space, rng), sample(space, rng)]
    for _ in range(6):
        child = cross(space, parents[0], parents[1], rng)
        mutant = mutate(space, child, rng)
        for genotype in (child, mutant):
            _valid(space, genotype)
        parents = [parents[1], mutant]


@_some(60)
@given(programs(most_decisions=4), SEEDS)
def test_a_small_space_is_counted_enumerated_sampled_and_mutated_alike(
    program: Program, seed: int
) -> None:
    space = program.graph
    assume(prod([d.count() for d in space.decisions.values()]) <= MOST_TRIED)
    expected = _all_genotypes(space)
    listed = list(enumerate_genotypes(space))
    assert {frozenset(genotype.items) for genotype in listed} == expected
    assert len(listed) == len(expected)
    found = count(space)
    assert (found.genotypes, found.bound) == (len(expected), False)
    rng = Random(seed)
    for _ in range(20):
        assert frozenset(sample(space, rng).items) in expected
    if not space.requires:
        assert sum(_probability(space, genotype) for genotype in listed) == 1
        _check_closure(space, expected, listed[0], rng)


def _probability(space: Graph, genotype: Genotype) -> Fraction:
    """How often it is drawn: each reached decision uniformly, whatever the others are."""
    return Fraction(1, prod([space.decisions[key].count() for key, _ in genotype.items]))


def _check_closure(
    space: Graph, expected: set[frozenset[tuple[str, Setting]]], start: Genotype, rng: Random
) -> None:
    """From any genotype, mutations lead to every other one."""
    if not 1 < len(expected) <= 40:
        return
    seen = {frozenset(start.items)}
    frontier = [start]
    for _ in range(400 * len(expected)):
        if len(seen) == len(expected):
            break
        mutant = mutate(space, frontier[rng.randrange(len(frontier))], rng)
        items = frozenset(mutant.items)
        if items not in seen:
            seen.add(items)
            frontier.append(mutant)
    assert seen == expected
