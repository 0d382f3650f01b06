"""How many genotypes a space has: the papers' figures, and what must not multiply."""

from __future__ import annotations

from random import Random

import pytest

from fusegraph.compiler.cost import cost
from fusegraph.compiler.count import Count, count
from fusegraph.compiler.explore import enumerate_genotypes, sample
from fusegraph.compiler.specialise import specialise
from fusegraph.ir.diagnostics import FusegraphError
from fusegraph.ir.dsl import load, loads
from fusegraph.ir.graph import COUNTED
from fusegraph.ir.settling import bind
from repository import ROOT

MFAS = ROOT / "examples" / "mfas"


def _count(body: str) -> Count:
    return count(loads(f"fuse 1\nspace s {{\n  dim N\n  input x: f32[N, 4]\n{body}\n}}").graph)


def _exactly(body: str) -> int:
    found = _count(body)
    assert not found.bound
    return found.genotypes


# ── figures of the papers ────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("file", "genotypes"),
    [
        ("mm_imdb", 110_592),  # (8 * 2 * 3)^3, Perez-Rua et al. 2019, section 4
        ("ntu", 5_308_416),  # (4 * 4 * 3)^4
        ("av_mnist", 810_000),  # (5 * 3 * 2)^4
        ("sixteen_taps", 35_184_372_088_832),  # (16 * 16 * 2)^5
    ],
)
def test_the_spaces_of_mfas_have_the_size_that_the_paper_gives(file: str, genotypes: int) -> None:
    assert count(load(MFAS / f"{file}.fuse").graph) == Count(genotypes)


@pytest.mark.parametrize(("file", "each", "layers"), [("ntu", 48, 4), ("av_mnist", 30, 4)])
def test_an_open_depth_sums_over_the_depths(file: str, each: int, layers: int) -> None:
    space = load(MFAS / f"{file}.fuse", {"shallowest": "1"}).graph
    assert count(space) == Count(sum(each**depth for depth in range(1, layers + 1)))


# ── what is reached ──────────────────────────────────────────────────────────────────────────────


def test_a_decision_that_nothing_reaches_does_not_multiply() -> None:
    body = """
  a = ?act of {relu, tanh, sigmoid}(x)
  dead = ?act of {relu, tanh}(x)
  output y = ?take of {a, x}"""
    assert _exactly(body) == 3 + 1


def test_a_tied_decision_counts_once_wherever_it_is_used() -> None:
    body = """
  let act = ?act of {relu, tanh, sigmoid}
  let w = ?w of {2, 3}
  output y = act(linear(act(linear(x, out=w)), out=w))"""
    assert _exactly(body) == 3 * 2


def test_a_tied_decision_counts_where_any_of_its_uses_is_reached() -> None:
    body = """
  let act = ?act of {relu, tanh, sigmoid}
  a = act(x)
  b = act(x + x)
  output y = sum(?some some of {a, b, x})"""
    assert _exactly(body) == 6 * 3 + 1  # of seven subsets, {x} alone reaches no activation


def test_each_instance_of_a_composite_decides_for_itself() -> None:
    cell = "cell step(x) { return ?op of {relu, tanh, sigmoid}(x) }"
    text = f"fuse 1\n{cell}\nspace s {{\n  dim N\n  input x: f32[N, 4]\n"
    text += "  for i in 1..2 { h[i] = step(x) }\n  output y = concat(h[*])\n}"
    assert count(loads(text).graph) == Count(9)


@pytest.mark.parametrize(
    ("decision", "expected"),
    [
        ("sum(?two 2 of {x, a, b, c})", 6),
        ("sum(?two 2 of {x, a, b, c} repeats)", 10),
        ("sum(?three 3 of {x, a} repeats)", 4),
        ("sum(?some some of {x, a, b, c})", 15),
        ("linear(x, out=?w of {1, 2..5, 8})", 6),
    ],
)
def test_each_kind_of_decision_counts_its_settings(decision: str, expected: int) -> None:
    body = f"  a = relu(x)\n  b = tanh(x)\n  c = sigmoid(x)\n  output y = {decision}"
    assert _exactly(body) == expected


def test_a_long_chain_of_open_layers_is_counted_at_once() -> None:
    body = """
  h[0] = relu(x)
  for l in 1..200 { h[l] = ?op of {relu, tanh, sigmoid}(?from of {h[l - 1], x}) }
  output y = h[200]"""
    # n(l) = 3 * (n(l - 1) + 1), n(0) = 1: the chain ends where a layer reads x.
    expected = 1
    for _ in range(200):
        expected = 3 * (expected + 1)
    assert _exactly(body) == expected


# ── requirements ─────────────────────────────────────────────────────────────────────────────────


def test_a_requirement_rules_genotypes_out() -> None:
    body = """
  let a = ?a of {1, 2, 3}
  let b = ?b of {1, 2, 3}
  require a + b <= 4
  output y = linear(linear(x, out=a), out=b)"""
    assert _exactly(body) == 6


def test_a_requirement_on_parameters_is_that_of_the_network() -> None:
    body = """
  output y = linear(x, out=?w of {1, 2, 3, 4})
  require parameters in 10 .. 15"""
    assert _exactly(body) == 2  # 5 * w parameters: w = 2 and w = 3


@pytest.mark.parametrize("measure", COUNTED)
def test_each_measure_can_be_required(measure: str) -> None:
    body = """
  input m: f32[N, 2, 5]
  h = conv(m, out=?w of {2, 3, 4}, kernel=?k of {1, 2, 3})
  output y = linear(mean(h, axis=2), out=3)"""
    head = "fuse 1\nspace s {\n  dim N"
    free = loads(f"{head}{body}\n}}").graph
    costs = [cost(specialise(free, genotype)) for genotype in enumerate_genotypes(free)]
    found = [int(str(bind(getattr(one, measure), {"N": 1}))) for one in costs]
    middle = sorted(found)[4]
    bounded = loads(f"{head}{body}\n  require {measure} <= {middle}\n}}").graph
    assert count(bounded) == Count(sum(value <= middle for value in found))


def test_too_many_genotypes_under_a_requirement_give_an_upper_bound() -> None:
    body = """
  h[0] = relu(x)
  for l in 1..30 { h[l] = linear(h[l - 1], out=?w of {2, 3}) }
  require parameters <= 200
  output y = h[30]"""
    assert _count(body) == Count(2**30, bound=True)


def test_an_empty_space_has_no_genotypes_and_says_so_when_sampled() -> None:
    text = """fuse 1
space s {
  dim N
  input x: f32[N, 4]
  let w = ?w of {2, 3}
  output y = linear(x, out=w)
  require parameters <= 9
}"""
    space = loads(text).graph
    assert count(space) == Count(0)
    assert list(enumerate_genotypes(space)) == []
    with pytest.raises(FusegraphError, match="E503") as error:
        sample(space, Random(0))
    assert any("nearest that can be reached is 10" in n for n in error.value.diagnostics[0].notes)
