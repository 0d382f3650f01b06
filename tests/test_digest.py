"""The promise P3: digests are blind to names and order, and to nothing else."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from random import Random
from typing import Any

import networkx as nx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fusegraph.compiler.explore import sample
from fusegraph.compiler.specialise import specialise
from fusegraph.ir.dsl import loads
from generators import some, texts
from recipes import changed, disguised, isomorphic, made, paired, recipes, star
from repository import ROOT

SEEDS = st.integers(0, 2**20)


@some(300)
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


@some(100)
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


def _rings(*lengths: int) -> Any:
    return nx.disjoint_union_all([nx.cycle_graph(length) for length in lengths])


REGULAR: dict[str, Any] = {
    "ring": _rings(8),
    "two rings": _rings(4, 4),
    "rings of two lengths": _rings(3, 5),
    "cube": nx.cubical_graph(),
    "twisted ladder": nx.circulant_graph(8, [1, 4]),
    "Petersen's": nx.petersen_graph(),
    "ladder": nx.circular_ladder_graph(5),
    **{f"cubic {seed}": nx.random_regular_graph(3, 10, seed=seed) for seed in range(4)},
    "complete": nx.complete_graph(8),
    "lattice": nx.grid_2d_graph(4, 4, periodic=True),
}
"""All layers of each have as many partners: no refinement of colours tells them apart."""


def _digests(pattern: Any, orders: int) -> set[str]:
    pattern = nx.convert_node_labels_to_integers(pattern)
    vertices, rng = list(pattern), Random(0)
    found: set[str] = set()
    for _ in range(orders):
        order, edges = list(vertices), list(pattern.edges())
        rng.shuffle(order)
        rng.shuffle(edges)
        found.add(paired(len(vertices), edges, order).digest)
    return found


@pytest.mark.parametrize("name", REGULAR)
def test_a_pattern_that_every_layer_sees_alike_has_one_digest(name: str) -> None:
    assert len(_digests(REGULAR[name], 8)) == 1


def test_patterns_that_every_layer_sees_alike_have_different_digests() -> None:
    names, known = list(REGULAR), dict[str, str]()
    for name in names:
        (digest,) = _digests(REGULAR[name], 1)
        other = known.setdefault(digest, name)
        assert other == name or nx.is_isomorphic(REGULAR[other], REGULAR[name])


def test_hundreds_of_alike_branches_have_one_digest_in_any_order() -> None:
    order = list(range(400))
    shuffled = Random(0).sample(order, len(order))
    assert star(order).digest == star(shuffled).digest
    assert star(order).digest != star(order[1:]).digest


def _renamed(text: str, shift: int) -> str:
    """Every variable, decision and named size under another name."""
    text = re.sub(r"\b([uv])(\d+)\b", lambda m: f"{m[1]}{(int(m[2]) * 7 + shift) % 101}", text)
    return re.sub(r"\bT\b", "Time", re.sub(r"\bN\b", "Batch", text))


@some(100)
@given(texts(), SEEDS)
def test_the_digest_is_blind_to_the_names_of_variables_and_sizes(text: str, seed: int) -> None:
    space, other = loads(text).graph, loads(_renamed(text, seed % 50)).graph
    genotype = sample(space, Random(seed))
    renamed = {_renamed(key, seed % 50): setting for key, setting in genotype.items}
    assert specialise(space, genotype).digest == specialise(other, renamed).digest


@some(40)
@given(texts())
def test_a_dead_branch_changes_nothing(text: str) -> None:
    dead = "  dead = linear(concat(?dead of {a[1], relu(a[1])}, a[1]), out=7)\n"
    assert (
        loads(text.replace("  output logits", dead + "  output logits")).graph is loads(text).graph
    )


_ELSEWHERE = """
import sys
from random import Random
from fusegraph.compiler.explore import sample
from fusegraph.compiler.specialise import specialise
from fusegraph.ir.dsl import load
from recipes import paired, star
space = load(sys.argv[1]).graph
network = specialise(space, sample(space, Random(0)))
ring = paired(6, [(i, (i + 1) % 6) for i in range(6)], range(6))
print(space.digest, network.digest, ring.digest, star(range(9)).digest)
"""


def test_digests_are_the_same_in_every_process() -> None:
    def digests(seed: str) -> str:
        path = os.pathsep.join([str(ROOT / "tests"), *sys.path])
        environment = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": path}
        command = [sys.executable, "-c", _ELSEWHERE, str(ROOT / "examples" / "mfas" / "ntu.fuse")]
        return subprocess.run(
            command, env=environment, capture_output=True, text=True, check=True
        ).stdout

    assert digests("1") == digests("2") != ""


def test_the_order_of_outputs_makes_no_difference() -> None:
    head = "fuse 1\nspace s {\n  dim N\n  input x: f32[N, 4]\n"
    a, b = "  output a = relu(linear(x, out=2))\n", "  output b = tanh(linear(x, out=3))\n"
    assert loads(f"{head}{a}{b}}}").graph.digest == loads(f"{head}{b}{a}}}").graph.digest
