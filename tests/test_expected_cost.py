"""The expected cost of a space is the mean of the costs of its genotypes, and differentiable."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import product
from math import exp
from random import Random
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fusegraph.compiler.cost import cost
from fusegraph.compiler.count import count
from fusegraph.compiler.expected_cost import expected_cost, expected_cost_apart
from fusegraph.compiler.explore import complete, enumerate_genotypes, sample
from fusegraph.compiler.policies import DARTS
from fusegraph.compiler.polynomial import Expected, law_of_slots
from fusegraph.compiler.relax import relax
from fusegraph.compiler.specialise import specialise
from fusegraph.ir.decisions import Decision, KOf, Setting, SomeOf
from fusegraph.ir.diagnostics import FusegraphError
from fusegraph.ir.dims import symbols_in
from fusegraph.ir.dsl import load, loads
from fusegraph.ir.graph import Graph, graph
from fusegraph.ir.settling import bind
from generators import SIZES, programs, some
from repository import ROOT

Laws = Mapping[str, Sequence[float]]
MOST = 400
"""Genotypes of a space whose mean is taken by hand."""


def laws_of(space: Graph, seed: int) -> dict[str, list[float]]:
    rng = Random(seed)
    found: dict[str, list[float]] = {}
    for key, decision in space.decisions.items():
        if isinstance(decision, SomeOf):
            found[key] = [rng.uniform(0.05, 0.95) for _ in decision.labels]
            continue
        drawn = [rng.uniform(0.01, 1.0) ** 2 for _ in range(decision.count())]
        found[key] = [value / sum(drawn) for value in drawn]
    return found


def probability(decision: Decision, setting: Setting, law: Sequence[float]) -> float:
    """By the definition of a law, word for word."""
    if not isinstance(decision, SomeOf):
        return law[list(decision.settings()).index(setting)]
    taken = left = nothing = 1.0
    for place, value in enumerate(law):
        taken *= value if place in setting else 1.0
        left *= 1.0 if place in setting else 1.0 - value
        nothing *= 1.0 - value
    return taken * left / (1.0 - nothing)


def by_hand(space: Graph, laws: Laws, sizes: Mapping[str, int]) -> list[float]:
    """The sum over all genotypes of probability times cost."""
    totals = [0.0, 0.0, 0.0]
    free = graph(space.name, space.inputs, space.outputs)  # `require` rules nothing out
    for genotype in enumerate_genotypes(free):
        weight = 1.0
        for key, setting in genotype.items:
            weight *= probability(free.decisions[key], setting, laws[key])
        found = cost(specialise(free, genotype))
        for place, value in enumerate((found.parameters, found.macs, found.activation_bytes)):
            bound: Any = bind(value, {n: sizes.get(n, 1) for n in symbols_in(value)})
            totals[place] += weight * float(bound)
    return totals


def figures(found: Expected[Any]) -> list[float]:
    return [float(v) for v in (found.parameters, found.macs, found.activation_bytes)]


def expect_equal(space: Graph, sizes: Mapping[str, int], seed: int = 0) -> None:
    laws = laws_of(space, seed)
    assert figures(expected_cost(space, sizes).value(laws)) == pytest.approx(
        by_hand(space, laws, sizes), rel=1e-9
    )


def small(body: str, head: str = "") -> Graph:
    return loads(
        f"""fuse 1
{head}
space s {{
  dim N
  input x: f32[N, 4]
  input y: f32[N, 4]
{body}
}}"""
    ).graph


CASES = {
    "a candidate that is not taken costs nothing": """
  output o = ?op of {relu(linear(x, out=4)), x}""",
    "what nothing reaches is not there": """
  a = linear(x, out=?w of {2, 8})
  output o = linear(?from of {a, y}, out=3)""",
    "an open number in two places": """
  let w = ?w of {2, 3, 8}
  output o = linear(linear(x, out=w), out=w)""",
    "the width of what is taken": """
  a = linear(x, out=7)
  b = linear(concat(?l of {x, a}, ?r of {y, a}), out=?w of {2, 5})
  output o = linear(b, out=3)""",
    "equal nodes are one": """
  a = relu(?l of {x, y})
  b = relu(?r of {x, y})
  output o = concat(a, b)""",
    "equal nodes over equal nodes": """
  a = tanh(relu(?l of {x, y}))
  b = tanh(relu(?r of {x, y}))
  output o = concat(a, b, ?s of {tanh(relu(x)), y})""",
    "equal nodes where a choice lies between them": """
  a = relu(?r of {x, y})
  b = relu(?l of {x, tanh(a)})
  output o = concat(b, ?k of {x, a})""",
    "products without weights": """
  input z: f32[N, 4, 3]
  m = matmul(transpose(z), ?l of {z, relu(z)})
  n = matmul(transpose(z), ?r of {z, relu(z)})
  output o = concat(m, n)""",
    "tied weights": """
  share f = linear(out=4)
  output o = concat(?l of {f(x), x}, ?r of {f(y), f(x), y})""",
    "several of several": """
  a = linear(x, out=4)
  b = relu(y)
  output o = concat(?two 2 of {x, a, b, linear(b, out=4)})""",
    "a subset": """
  a = linear(x, out=4)
  output o = sum(?some some of {x, a, relu(a), relu(y)})""",
    "a subset that makes the width": """
  a = linear(x, out=5)
  output o = linear(concat(?some some of {x, a, y}), out=2)""",
    "a depth": """
  h[0] = x
  for l in 1..4 { h[l] = ?act of {relu, tanh}(linear(h[l - 1], out=4)) }
  output o = ?depth of h[1..4]""",
}


@pytest.mark.parametrize("case", CASES)
def test_it_is_the_mean_over_all_genotypes(case: str) -> None:
    expect_equal(small(CASES[case]), {"N": 2})


@some(150)
@given(programs(4), st.integers(0, 5))
def test_it_is_the_mean_for_every_space(program: Any, seed: int) -> None:
    space = program.graph
    free = graph(space.name, space.inputs, space.outputs)
    if count(free).genotypes <= MOST:
        expect_equal(free, SIZES, seed)


@pytest.mark.parametrize("file", ["mfas/ntu", "mfas/sixteen_taps", "two_stream/space"])
def test_it_is_the_mean_in_the_examples_where_few_decisions_are_open(file: str) -> None:
    space = load(ROOT / "examples" / f"{file}.fuse").graph
    free = graph(space.name, space.inputs, space.outputs)
    found, rng = expected_cost(free), Random(0)
    for _ in range(2):
        genotype, drawn = sample(free, rng), laws_of(free, rng.randrange(99))
        few = [key for key, _ in genotype.items if free.decisions[key].count() < 7]
        few = rng.sample(few, 3)
        laws = {
            key: drawn[key] if key in few else certain(decision, genotype.settings.get(key))
            for key, decision in free.decisions.items()
        }
        assert figures(found.value(laws)) == pytest.approx(
            _mean_of_few(free, genotype.settings, laws, few), rel=1e-9
        )


def certain(decision: Decision, setting: Setting | None) -> list[float]:
    """The law that gives this setting, or the first one."""
    assert not isinstance(decision, SomeOf)
    settings = list(decision.settings())
    return [float(other == (setting or settings[0])) for other in settings]


def _mean_of_few(
    space: Graph, settings: Mapping[str, Setting], laws: Laws, few: Sequence[str]
) -> list[float]:
    totals = [0.0, 0.0, 0.0]
    for chosen in product(*[space.decisions[key].settings() for key in few]):
        given = {**settings, **dict(zip(few, chosen, strict=True))}
        weight = 1.0
        for key in few:
            weight *= probability(space.decisions[key], given[key], laws[key])
        whole = complete(space, given, lambda decision: next(decision.settings()))
        found = cost(specialise(space, whole))
        for place, value in enumerate((found.parameters, found.macs, found.activation_bytes)):
            bound: Any = bind(value, dict.fromkeys(symbols_in(value), 1))
            totals[place] += weight * float(bound)
    return totals


def test_what_may_coincide_is_paid_apart_where_that_is_asked() -> None:
    space = small(CASES["equal nodes over equal nodes"])
    laws = laws_of(space, 0)
    exact, apart = [f(space).value(laws) for f in (expected_cost, expected_cost_apart)]
    assert apart.activation_bytes > exact.activation_bytes
    tied = small(CASES["tied weights"])
    laws = laws_of(tied, 0)
    exact, apart = [f(tied).value(laws) for f in (expected_cost, expected_cost_apart)]
    assert apart.parameters == pytest.approx(exact.parameters)
    assert apart.macs == pytest.approx(exact.macs)


def test_without_laws_all_settings_are_as_probable() -> None:
    space = small("  output o = sum(?some some of {x, linear(x, out=4), relu(linear(y, out=4))})")
    # Seven subsets, four of which have each candidate.
    assert expected_cost(space).value({}).parameters == pytest.approx((4 * 20 + 4 * 20) / 7)


# ── gradients ────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("case", CASES)
def test_gradients_are_those_of_finite_differences(case: str) -> None:
    space = small(CASES[case])
    found = expected_cost(space)
    keys = list(space.decisions)
    alphas = [
        torch.randn(
            len(d.labels) if isinstance(d, SomeOf) else d.count(),
            dtype=torch.float64,
            generator=torch.Generator().manual_seed(3),
            requires_grad=True,
        )
        for d in space.decisions.values()
    ]

    def price(*given: torch.Tensor) -> torch.Tensor:
        laws = {
            key: torch.sigmoid(a) if isinstance(space.decisions[key], SomeOf) else a.softmax(0)
            for key, a in zip(keys, given, strict=True)
        }
        value = found.value(laws)
        return torch.stack([torch.as_tensor(v) for v in (value.macs, value.activation_bytes)])

    assert torch.autograd.gradcheck(price, alphas)


def test_a_supernet_tells_its_laws() -> None:
    space = small("  a = linear(x, out=4)\n  output o = concat(?two 2 of {x, a, y})")
    supernet = relax(space, DARTS)
    (key, decision), *_ = space.decisions.items()
    assert isinstance(decision, KOf)
    rows = [[0.2, 0.3, 0.5], [0.6, 0.3, 0.1]]
    law = law_of_slots(decision, rows)
    both = [0.2 * 0.3 + 0.3 * 0.6, 0.2 * 0.1 + 0.5 * 0.6, 0.3 * 0.1 + 0.5 * 0.3]
    assert law == pytest.approx([value / sum(both) for value in both])
    alpha = {name: [[1.0, 0.0, 0.0]] * 2 for name in supernet.architecture}
    weights = supernet.weights(alpha)
    laws = {key: law_of_slots(decision, weights[key])}
    assert figures(expected_cost(space).value(laws)) == pytest.approx(by_hand(space, laws, {}))


# ── laws of almost nothing ───────────────────────────────────────────────────────────────────────

SUBSET = "  a = linear(x, out=4)\n  output o = sum(?some some of {a, relu(y)})"


@pytest.mark.parametrize("alpha", [-3.0, -16.0, -18.0, -40.0])
def test_a_subset_of_which_hardly_any_is_drawn_has_its_cost_and_gradients(alpha: float) -> None:
    space = small(SUBSET)
    found = expected_cost(space)
    key, *_ = space.decisions

    def parameters(dtype: torch.dtype) -> tuple[float, list[float]]:
        alphas = torch.tensor([alpha, alpha + 1], dtype=dtype, requires_grad=True)
        value = found.value({key: torch.sigmoid(alphas)}).parameters
        value.backward()
        assert alphas.grad is not None
        return value.item(), alphas.grad.tolist()

    value, gradient = parameters(torch.float32)
    p, q = [1 / (1 + exp(-a)) for a in (alpha, alpha + 1)]
    # the first has 20 parameters: 20 p / (p + q - p q), and its derivatives along both alphas
    over = p + q - p * q
    assert value == pytest.approx(20 * p / over, rel=1e-5)
    slope = 20 * p * q / over**2 * (1 - p)
    assert gradient == pytest.approx([slope, -slope * (1 - q)], rel=1e-5)


@pytest.mark.parametrize("law", [[0.0, 0.0], torch.zeros(2), torch.full((2,), -200.0).sigmoid()])
def test_a_law_that_never_takes_any_is_an_error(law: Any) -> None:
    space = small(SUBSET)
    with pytest.raises(ValueError, match="never draw any of its settings"):
        expected_cost(space).value(dict.fromkeys(space.decisions, law))


def test_slots_that_never_draw_a_setting_are_an_error() -> None:
    space = small("  a = linear(x, out=4)\n  output o = concat(?two 2 of {x, a, y})")
    (decision,) = space.decisions.values()
    with pytest.raises(ValueError, match="never draw any of its settings"):
        law_of_slots(decision, [[1, 0, 0], [1, 0, 0]])


# ── limits ───────────────────────────────────────────────────────────────────────────────────────


def test_a_space_that_is_too_entangled_is_told_at_once_and_has_a_bound() -> None:
    space = load(ROOT / "examples" / "bm_nas" / "ntu.fuse").graph
    with pytest.raises(FusegraphError, match=r"E509.*expected_cost_apart"):
        expected_cost(space)
    laws = laws_of(space, 1)
    bound, rng = expected_cost_apart(space).value(laws), Random(0)
    costs = [figures_of(space, drawn_by(space, laws, rng)) for _ in range(100)]
    means = [sum(column) / len(column) for column in zip(*costs, strict=True)]
    assert bound.parameters == pytest.approx(means[0], rel=0.05)
    assert bound.activation_bytes > 0.95 * means[2]


def drawn_by(space: Graph, laws: Laws, rng: Random) -> Mapping[str, Setting]:
    def draw(decision: Decision) -> Setting:
        return rng.choices(list(decision.settings()), laws[decision.key])[0]

    return complete(space, {}, draw).settings


def figures_of(space: Graph, settings: Mapping[str, Setting]) -> list[float]:
    found = cost(specialise(space, settings))
    values = (found.parameters, found.macs, found.activation_bytes)
    return [float(str(bind(value, dict.fromkeys(symbols_in(value), 1)))) for value in values]
