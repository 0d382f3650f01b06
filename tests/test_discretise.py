"""Derivation of genotypes: the paper's rule, the release's, and every decision by itself."""

from __future__ import annotations

from collections.abc import Mapping
from random import Random
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from fusegraph.compiler.discretise import Rule, discretise
from fusegraph.compiler.explore import sample
from fusegraph.compiler.policies import DARTS, Policies
from fusegraph.compiler.relax import Supernet, relax
from fusegraph.ir.diagnostics import FusegraphError
from fusegraph.ir.dsl import Program, loads
from fusegraph.ir.graph import Graph
from fusegraph.ir.reach import walk
from generators import programs, some

CELLS = """fuse 1
use "std/bm_nas": attention, concat_fc
space cells {
  dim N
  for i in 1..4 { input f[i]: f32[N, 4, 3] }
  cell fusion(x: f32[N, C, L], y: f32[N, C, L]) -> f32[N, C, L] {
    s[1] = ?op of {sum, attention, concat_fc}(?left of {x, y}, ?right of {x, y})
    return layer_norm(s[1] + x)
  }
  for n in 1..2 { c[n] = fusion(?inputs 2 of {f[*], c[<n]}) }
  output logits = linear(flatten(concat(c[*])), out=5)
}
"""


def _gates(*weights: float) -> tuple[tuple[float, float], ...]:
    """Values of a `gate` parameter that rank the candidates as these numbers do."""
    return tuple([(0.0, weight) for weight in weights])


def _derived(values: Mapping[str, Any], rule: Rule, text: str = CELLS) -> dict[str, str]:
    space = loads(text).graph
    supernet = relax(space)
    filled = {**supernet.one_hot({}), **{f"architecture.{k}": v for k, v in values.items()}}
    genotype = discretise(supernet, filled, rule)
    return {k: space.decisions[k].format(s) for k, s in genotype.items}


def test_the_papers_pair_has_the_greatest_product_and_cells_may_be_inputs() -> None:
    found = _derived(
        {"c[1].inputs": _gates(1, 3, 2, 0), "c[2].inputs": _gates(1, 3, 0, 0, 5)}, "paper"
    )
    assert found["c[1].inputs"] == "{f[2], f[3]}"
    assert found["c[2].inputs"] == "{f[2], c[1]}"


def test_no_two_cells_have_the_papers_same_pair() -> None:
    found = _derived(
        {"c[1].inputs": _gates(0, 3, 2, 1), "c[2].inputs": _gates(0, 3, 2, 1, -9)}, "paper"
    )
    assert found["c[1].inputs"] == "{f[2], f[3]}"
    assert found["c[2].inputs"] == "{f[2], f[4]}"


def test_the_release_takes_raw_features_and_bars_pairs_of_used_ones() -> None:
    found = _derived(
        {"c[1].inputs": _gates(0, 3, 2, 1), "c[2].inputs": _gates(0, 3, 2, -1, 9)}, "release"
    )
    assert found["c[1].inputs"] == "{f[2], f[3]}"
    assert found["c[2].inputs"] == "{f[1], f[2]}"


@pytest.mark.parametrize(
    ("rule", "left", "right"), [("paper", "x", "y"), ("release", "y", "x"), ("argmax", "y", "y")]
)
def test_the_operands_of_a_step(rule: Rule, left: str, right: str) -> None:
    found = _derived({"c[1].s[1].left": _gates(1, 2), "c[1].s[1].op": (0, 1, 0)}, rule)
    assert (found["c[1].s[1].left"], found["c[1].s[1].right"]) == (left, right)
    assert found["c[1].s[1].op"] == "attention"


def test_of_equals_the_first_is_taken() -> None:
    found = _derived({}, "release")
    assert found["c[1].inputs"] == "{f[1], f[2]}"
    assert found["c[2].inputs"] == "{f[1], f[3]}"
    assert (found["c[1].s[1].left"], found["c[1].s[1].op"]) == ("x", "sum")


def test_a_subset_takes_what_is_over_one_half_and_never_nothing() -> None:
    space = loads(
        "fuse 1\nspace s { dim N\nfor i in 1..3 { input f[i]: f32[N, 4] }\n"
        "output y = sum(?taps some of f[*]) }"
    ).graph
    supernet = relax(space)
    key = "architecture.y.taps"
    assert discretise(supernet, {key: (1.0, -1.0, 2.0)}).settings == {"y.taps": (0, 2)}
    assert discretise(supernet, {key: (-3.0, -1.0, -2.0)}).settings == {"y.taps": (1,)}


@pytest.mark.parametrize("rule", ["paper", "release", "argmax"])
def test_a_pair_and_a_choice_that_meet_in_one_op(rule: Rule) -> None:
    space = loads(
        "fuse 1\nspace s { dim N\nfor i in 1..3 { input f[i]: f32[N, 4] }\n"
        "output y = concat(?a 2 of f[*], ?b of f[*], ?c of f[*]) }"
    ).graph
    supernet = relax(space)
    assert supernet.relaxed["y.a"].tied == ("y.a",)
    assert supernet.relaxed["y.b"].tied == supernet.relaxed["y.c"].tied == ("y.b", "y.c")
    pair, tied = _gates(1, 3, 2), _gates(4, 5, 6)
    values = {supernet.relaxed["y.a"].key: pair, supernet.relaxed["y.b"].key: tied}
    found = discretise(supernet, values, rule).settings
    assert found["y.a"] == (1, 2)
    pairs = {"paper": [(1,), (2,)], "release": [(2,), (1,)], "argmax": [(2,), (2,)]}
    assert [found["y.b"], found["y.c"]] == pairs[rule]


def test_the_release_bars_what_was_taken_in_different_pairs() -> None:
    text = CELLS.replace("1..2 {", "1..3 {")
    values = {
        "c[1].inputs": _gates(5, 5, 0, 0),
        "c[2].inputs": _gates(0, 0, 5, 5, 0),
        "c[3].inputs": _gates(5, 1, 4, 0, 0, 0),
    }
    found = _derived(values, "release", text=text)
    assert [found[key] for key in values] == ["{f[1], f[2]}", "{f[3], f[4]}", "{f[1], f[3]}"]
    text = text.replace("1..4 {", "1..5 {")
    more = {key: (*gates[:4], (0.0, -9.0), *gates[4:]) for key, gates in values.items()}
    found = _derived(more, "release", text=text)
    assert found["c[3].inputs"] == "{f[1], f[5]}"


def _values(supernet: Supernet, rng: Random) -> dict[str, Any]:
    def drawn(shape: tuple[int, ...]) -> Any:
        if not shape:
            return rng.gauss(0, 1)
        return tuple([drawn(shape[1:]) for _ in range(shape[0])])

    return {key: drawn(relaxed.shape) for key, relaxed in supernet.architecture.items()}


def _admitted(space: Graph, supernet: Supernet, rule: Rule, seed: int) -> None:
    genotype = discretise(supernet, _values(supernet, Random(seed)), rule)
    for key, setting in genotype.items:
        assert space.decisions[key].admits(setting)
    assert genotype.settings == walk(space, lambda d: genotype.settings[d.key])


@some(60)
@given(
    programs(),
    st.sampled_from([Policies(), DARTS]),
    st.sampled_from(["paper", "release", "argmax"]),
    st.integers(0, 2**20),
)
def test_what_is_derived_is_a_genotype_of_the_space(
    program: Program, policies: Policies, rule: Rule, seed: int
) -> None:
    try:
        supernet = relax(program.graph, policies)
    except FusegraphError:
        assume(False)
    else:
        _admitted(program.graph, supernet, rule, seed)


@some(60)
@given(programs(), st.sampled_from(["paper", "release", "argmax"]), st.integers(0, 2**20))
def test_a_one_hot_setting_is_derived_again(program: Program, rule: Rule, seed: int) -> None:
    try:
        supernet = relax(program.graph, DARTS)
    except FusegraphError:
        assume(False)
    else:
        genotype = sample(program.graph, Random(seed))
        values = supernet.one_hot(genotype.settings)
        assert discretise(supernet, values, rule).settings == genotype.settings
