"""PARSEC's distribution and its gradients, against enumeration and autograd."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from random import Random
from typing import Any, get_args

import pytest
import torch
from torch import Tensor
from torch.func import functional_call
from torch.nn import functional

from fusegraph.backends.torch import lower
from fusegraph.backends.torch.sampled import SampledNetworks
from fusegraph.compiler.explore import enumerate_genotypes
from fusegraph.compiler.measures import counted
from fusegraph.compiler.requirements import satisfied
from fusegraph.compiler.specialise import specialise
from fusegraph.ir.cells import expand
from fusegraph.ir.decisions import Setting, SomeOf
from fusegraph.ir.diagnostics import FusegraphError
from fusegraph.ir.graph import Graph
from fusegraph.searchers.parsec.estimator import architecture_loss, importance, shares
from fusegraph.searchers.parsec.learner import Learner, Place
from fusegraph.searchers.parsec.options import Measure, ParsecOptions
from fusegraph.searchers.parsec.price import Price, excess
from fusegraph.searchers.parsec.prior import Prior
from fusegraph.training.batches import Batch
from fusegraph.training.losses import Kind
from fusegraph.training.settings import TrainSettings
from fusegraph.training.steps import loss_of
from gradient_conformance import EDGES, LIMITED
from searcher_conformance import space_of

EVERY_KIND = """fuse 1
space every_kind {
  dim N
  let w = ?width of {3, 5}
  for i in 1..4 { input x[i]: f32[N, 4] }
  h[1] = ?act of {relu, tanh}(linear(concat(?two 2 of x[*]), out=w))
  h[2] = linear(sum(?some some of x[*]), out=w)
  output logits = linear(?which of {h[1], h[2], x[3]}, out=3)
}
"""
UNLIMITED = LIMITED.replace("  require parameters <= 80\n", "")
FLAT = """fuse 1
space flat {
  dim N
  for i in 1..3 { input x[i]: f32[N, 4] }
  output logits = linear(concat(?a of x[*], ?act of {relu, tanh}(?b of x[*])), out=3)
}
"""
SHARED = """fuse 1
use "std/bm_nas": attention
space shared {
  dim N
  for i in 1..2 { input x[i]: f32[N, 4, 2] }
  share f = linear(out=2)
  y = attention(x[1], ?left of x[*]) + attention(x[1], ?right of x[*])
  output logits = linear(flatten(concat(y, f(x[1]), f(?tied of x[*]))), out=3)
}
"""
SPACES = {"edges": EDGES, "unlimited": UNLIMITED, "every_kind": EVERY_KIND}


def prior_of(text: str, seed: int = 0, spread: float = 1.0) -> Prior:
    """A prior somewhere in the middle of a search."""
    prior = Prior(space_of(text))
    generator = torch.Generator().manual_seed(seed)
    for law in prior.laws.values():
        drawn = torch.randn(law.alpha.shape, generator=generator, dtype=torch.float64)
        law.alpha.data.copy_(spread * drawn)
    return prior


def log_probability(prior: Prior, settings: Mapping[str, Setting]) -> Tensor:
    """By definition: what a setting weighs, over what all settings of its decision weigh."""
    total = torch.zeros((), dtype=torch.float64)
    for key, setting in settings.items():
        law = prior.laws[key]
        every = list(law.decision.settings())
        if isinstance(law.decision, SomeOf):
            # p / (1 - p) = exp(alpha), and the rest cancels.
            weights = [law.alpha[list(s)].sum() for s in every]
        else:
            weights = [law.alpha[place] for place in range(len(every))]
        total = total + torch.log_softmax(torch.stack(weights), 0)[every.index(setting)]
    return total


def genotypes(space: Graph) -> list[dict[str, Setting]]:
    return [dict(genotype.items) for genotype in enumerate_genotypes(space)]


# ── the distribution ─────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("name", SPACES)
def test_the_probabilities_of_all_genotypes_add_up_to_one(name: str) -> None:
    prior = prior_of(SPACES[name])
    every = genotypes(prior.space)
    found = prior.log_probability(every, {})
    expected = torch.stack([log_probability(prior, settings) for settings in every])
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)
    assert found.exp().sum().item() == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize("name", SPACES)
def test_networks_are_drawn_as_often_as_they_are_probable(name: str) -> None:
    prior, draws = prior_of(SPACES[name]), 4000
    drawn = Counter(tuple(s.items()) for s in prior.draw(Random(1), draws, {}))
    every = genotypes(prior.space)
    expected = prior.log_probability(every, {}).exp() * draws
    for settings, mean in zip(every, expected.tolist(), strict=True):
        assert abs(drawn[tuple(settings.items())] - mean) <= 5 * max(mean, 1) ** 0.5
    assert sum(drawn[tuple(s.items())] for s in every) == draws


def test_at_first_every_setting_is_as_probable_as_any_other() -> None:
    prior = Prior(space_of(EVERY_KIND))
    for law in prior.laws.values():
        settings = list(law.decision.settings())
        each = law.log_probability(settings).exp()
        torch.testing.assert_close(each, torch.full_like(each, 1 / len(settings)))
        assert law.openness() == pytest.approx(1)


@pytest.mark.parametrize("seed", range(5))
def test_the_most_probable_setting_is_that(seed: int) -> None:
    for law in prior_of(EVERY_KIND, seed).laws.values():
        settings = list(law.decision.settings())
        each = law.log_probability(settings)
        assert settings[int(each.argmax())] == law.most_probable()


def test_a_weight_is_the_probability_that_a_candidate_is_taken() -> None:
    for law in prior_of(EVERY_KIND).laws.values():
        settings = list(law.decision.settings())
        each = law.log_probability(settings).exp().tolist()
        for index, weight in enumerate(law.weights()):
            pairs = zip(settings, each, strict=True)
            assert weight == pytest.approx(sum(p for s, p in pairs if index in s), abs=1e-12)


@pytest.mark.parametrize("value", [-800.0, -60.0, 60.0, 800.0])
def test_a_settled_law_still_has_finite_probabilities(value: float) -> None:
    prior = Prior(space_of(EVERY_KIND))
    for law in prior.laws.values():
        law.alpha.data.fill_(value)
        law.alpha.data[0] = value + 1
        assert law.most_probable() in list(law.decision.settings())
        assert law.decision.admits(law.drawing()(Random(0)))
        assert all(0 <= weight <= 1 for weight in law.weights())
        assert 0 <= law.openness() <= 1
        found = law.log_probability([law.most_probable()])
        found.sum().backward()
        assert found.isfinite().all()
        assert law.alpha.grad is not None
        assert law.alpha.grad.isfinite().all()


def test_what_is_drawn_satisfies_what_the_space_requires() -> None:
    prior = prior_of(LIMITED)
    every = prior.draw(Random(0), 200, {})
    assert all(satisfied(prior.space, settings) for settings in every)
    assert {settings["logits.layers"] for settings in every} == {(0,), (1,)}


def test_a_distribution_that_cannot_satisfy_a_require_says_so() -> None:
    prior = Prior(space_of(LIMITED))
    with pytest.raises(FusegraphError) as refused:
        prior.draw(Random(0), 1, {"logits.layers": (2,)})
    [told] = refused.value.diagnostics
    assert told.code == "E503"
    assert any("parameters <= 80" in note for note in told.notes)


# ── the gradients ────────────────────────────────────────────────────────────────────────────────


SGD = TrainSettings(optimiser="sgd", learning_rate=1e-3, device="cpu", precision="float32")


def batch_of(space: Graph) -> Batch:
    generator = torch.Generator().manual_seed(7)
    names = [node["name"] for node in space.inputs]
    inputs = {n: torch.randn(6, 4, generator=generator, dtype=torch.float64) for n in names}
    return Batch(inputs, torch.randint(0, 3, (6,), generator=generator))


def learner_of(prior: Prior, options: ParsecOptions) -> Learner:
    networks = SampledNetworks(expand(prior.space), 3).double()
    return Learner(prior, networks, options, SGD, torch.device("cpu"), 0)


def likelihoods(
    networks: SampledNetworks, drawn: Sequence[Mapping[str, Setting]], batch: Batch
) -> Tensor:
    """(K,): log P(y | X, theta, A_k), each network by itself."""
    found: list[Tensor] = []
    for settings in drawn:
        graph = specialise(networks.space, settings)
        module, state = lower(graph, 0).double(), networks.state_of(graph)
        inputs = tuple([batch.inputs[name] for name in module.parameter_names])
        logits: Any = functional_call(module, state, inputs)
        rows = torch.arange(len(batch.labels))
        found.append(torch.log_softmax(logits, 1)[rows, batch.labels].sum())
    return torch.stack(found)


@pytest.mark.parametrize("beta", [0.0, 0.3])
@pytest.mark.parametrize("name", ["every_kind", "unlimited"])
def test_a_steps_gradients_are_those_of_autograd_on_the_objective(name: str, beta: float) -> None:
    options = ParsecOptions(beta=beta, target=(20, 40), measure="parameters")
    learner = learner_of(prior_of(SPACES[name]), options)
    prior, networks = learner.prior, learner.networks
    batch = batch_of(prior.space)
    place = Place(1, 0, SGD, 0.01, {}, False)
    samples = learner.draw(Random(5), place)
    drawn = [sample.settings for sample in samples]
    figures = [sample.figure for sample in samples]
    every = [law.alpha for law in prior.laws.values()], list(networks.parameters())

    # -log 1/K sum P_k / [P_k] p(y | A_k) + beta log 1/K sum P_k / [P_k] cost_k, [.] held fixed.
    l = likelihoods(networks, drawn, batch)  # noqa: E741
    log_p = torch.stack([log_probability(prior, settings) for settings in drawn])
    ratio = torch.exp(log_p - log_p.detach())
    costs = torch.tensor([excess(f, options.target) for f in figures], dtype=torch.float64)
    assert costs.min() == 0 < costs.max()
    objective = -torch.log((ratio * torch.exp(l)).mean())
    if beta:
        objective = objective + beta * torch.log((ratio * costs).mean())
    wanted: list[tuple[Tensor | None, ...]] = [
        torch.autograd.grad(objective, part, retain_graph=True, allow_unused=True) for part in every
    ]

    learner.step(place, batch, samples, 1e-3)
    for part, expected, scale in zip(every, wanted, (1, len(batch.labels)), strict=True):
        assert any(grad is not None and grad.abs().max() > 1e-3 for grad in expected)
        for parameter, grad in zip(part, expected, strict=True):
            if grad is None:
                assert parameter.grad is None
            else:
                assert parameter.grad is not None
                torch.testing.assert_close(scale * parameter.grad, grad, rtol=0, atol=1e-12)


@pytest.mark.parametrize("kind", ["single", "multi"])
def test_smoothing_and_balance_say_nothing_of_a_networks_likelihood(kind: Kind) -> None:
    """They are of what the weights learn from: sum_k w_k loss_k, w of the labels as they are."""
    prior = prior_of(EVERY_KIND)
    networks = SampledNetworks(expand(prior.space), 3).double()
    settings = SGD.model_copy(update={"label_smoothing": 0.4})
    balance = torch.tensor([9.0, 0.1, 5.0], dtype=torch.float64) if kind == "multi" else None
    learner = Learner(
        prior, networks, ParsecOptions(), settings, torch.device("cpu"), 0,
        kind=kind, positive_weight=balance,
    )  # fmt: skip
    batch = batch_of(prior.space)
    if kind == "multi":
        batch = Batch(batch.inputs, functional.one_hot(batch.labels, 3))
    place = Place(1, 0, SGD, 0.01, {}, False)
    samples = learner.draw(Random(5), place)
    outputs = [networks.run([s.network], batch.inputs)[0]["logits"] for s in samples]

    def each(balance: Tensor | None, smoothing: float) -> Tensor:
        loss = loss_of(kind, balance, smoothing)
        return torch.stack([loss(logits, batch.labels) for logits in outputs])

    plain, trained = each(None, 0.0).detach(), each(balance, 0.4)
    weights = torch.softmax(-plain * batch.labels.numel(), 0)
    drawn = [sample.settings for sample in samples]
    alphas, shared = [law.alpha for law in prior.laws.values()], [*networks.parameters()]
    upward = -(weights * prior.log_probability(drawn, {})).sum()
    wanted: list[Tensor | None] = [
        *torch.autograd.grad(upward, alphas, allow_unused=True),
        *torch.autograd.grad((weights * trained).sum(), shared, allow_unused=True),
    ]
    losses = learner.step(place, batch, samples, 1e-3)
    torch.testing.assert_close(losses.unlikely, plain, rtol=0, atol=1e-12)
    torch.testing.assert_close(losses.trained, trained.detach(), rtol=0, atol=1e-12)
    for parameter, grad in zip([*alphas, *shared], wanted, strict=True):
        if grad is not None:
            torch.testing.assert_close(parameter.grad, grad, rtol=0, atol=1e-12)


def test_with_every_network_drawn_once_the_gradient_is_exact() -> None:
    prior = Prior(space_of(FLAT))
    every = genotypes(prior.space)
    generator = torch.Generator().manual_seed(0)
    l = torch.randn(len(every), generator=generator, dtype=torch.float64)  # noqa: E741
    costs = torch.rand(len(every), generator=generator, dtype=torch.float64)
    alphas = [law.alpha for law in prior.laws.values()]
    p = torch.stack([log_probability(prior, settings) for settings in every]).exp()
    objective = -torch.log((p * l.exp()).sum()) + 0.5 * torch.log((p * costs).sum())
    exact = torch.autograd.grad(objective, alphas)
    loss = architecture_loss(
        prior.log_probability(every, {}), importance(l), shares(costs.tolist()), 0.5
    )
    for found, expected in zip(torch.autograd.grad(loss, alphas), exact, strict=True):
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)


def test_decisions_that_are_fixed_have_no_part_in_it() -> None:
    learner = learner_of(prior_of(EVERY_KIND), ParsecOptions())
    fixed = {"h[1].act": (1,), "width": (0,)}
    place = Place(1, 0, SGD, 0.01, fixed, False)
    drawn = learner.draw(Random(0), place)
    assert all(sample.settings.get("h[1].act", (1,)) == (1,) for sample in drawn)
    learner.step(place, batch_of(learner.prior.space), drawn, 1e-3)
    learnt = {key for key, law in learner.prior.laws.items() if law.alpha.grad is not None}
    assert learnt
    assert learnt.isdisjoint(fixed)


# ── the price ────────────────────────────────────────────────────────────────────────────────────


def test_a_cost_is_how_far_a_figure_is_from_its_range_in_parts_of_the_bound() -> None:
    target = (10.0, 20.0)
    assert [excess(f, target) for f in (0, 5, 10, 15, 20, 30)] == [1, 0.5, 0, 0, 0, 0.5]
    assert excess(5, (0.0, 20.0)) == excess(5, ()) == 0


@pytest.mark.parametrize("measure", get_args(Measure))
@pytest.mark.parametrize("text", [EVERY_KIND, EDGES, SHARED], ids=["every_kind", "edges", "shared"])
def test_a_price_is_what_the_cost_of_the_network_is(text: str, measure: Measure) -> None:
    space, price = space_of(text), Price(measure)
    for settings in genotypes(space):
        network = specialise(space, settings)
        expected: Any = counted(network)[measure]
        assert price(network) == price(specialise(expand(space), settings)) == expected


def test_without_any_cost_its_logarithm_is_left_out() -> None:
    assert shares([0.0, 0.0]) is None
    found = shares([1.0, 3.0])
    assert found is not None
    assert found.tolist() == [0.25, 0.75]


WIDTHS = """fuse 1
space widths {
  dim N
  input x: f32[N, 8]
  let a = ?a of {4, 8, 16, 24}
  let b = ?b of {4, 8, 16, 24}
  output logits = linear(concat(linear(x, out=a), linear(x, out=b)), out=3)
}
"""


TARGET = (250.0, 320.0)


def learnt(beta: float, seed: int) -> tuple[float, float]:
    """What the networks of a search by the estimator alone cost at its end, on average and the most
    probable one; larger ones are a little likelier.
    """
    prior = Prior(space_of(WIDTHS))
    price = Price("macs")
    optimiser = torch.optim.Adam([law.alpha for law in prior.laws.values()], lr=0.03)
    for step in range(400):
        drawn = prior.draw(Random(1000 * seed + step), 13, {})
        figures = [price(specialise(prior.space, settings)) for settings in drawn]
        likely = torch.tensor([figure / 2000 for figure in figures], dtype=torch.float64)
        priced = shares([excess(figure, TARGET) for figure in figures])
        known = prior.log_probability(drawn, {})
        optimiser.zero_grad()
        architecture_loss(known, importance(likely), priced, beta).backward()
        optimiser.step()
    drawn = prior.draw(Random(seed), 200, {})
    drawn.append(prior.most_probable({}))
    figures = [price(specialise(prior.space, settings)) for settings in drawn]
    return sum(figures) / len(figures), figures[-1]


def test_with_growing_beta_the_cost_falls_into_its_range() -> None:
    """The supplement's Table 1, in shape."""
    ends = {beta: [learnt(beta, seed) for seed in range(3)] for beta in (0, 0.05, 0.1, 0.2)}
    means = [sum(mean for mean, _ in found) / len(found) for found in ends.values()]
    assert means == sorted(means, reverse=True)
    assert means[0] > 1.4 * TARGET[1]
    assert all(TARGET[0] <= taken <= TARGET[1] for _, taken in ends[0.2])
