"""The selection by perturbation, on scores that are known."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from random import Random
from typing import Literal

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fusegraph.compiler.explore import enumerate_genotypes, sample
from fusegraph.compiler.requirements import satisfied
from fusegraph.ir.decisions import Setting
from fusegraph.ir.graph import Graph
from fusegraph.searchers.once.options import PerturbationOptions, open_decisions
from fusegraph.searchers.once.perturbation import Perturbation, within_reach
from fusegraph.searchers.parsec.prior import Prior
from generators import some
from gradient_conformance import EDGES, LIMITED
from searcher_conformance import PROGRESSIVE, space_of, unit

EVERY_KIND = """fuse 1
space every_kind {
  dim N
  let w = ?width of {3, 5}
  for i in 1..4 { input x[i]: f32[N, 4] }
  h[1] = ?act of {relu, tanh}(linear(concat(?two 2 of x[*]), out=w))
  h[2] = linear(sum(?some some of x[*]), out=w)
  output logits = linear(concat(h[*], ?again 2 of {x[1], x[2], x[3]} repeats), out=3)
}
"""

Settings = Mapping[str, Setting]


def prior_of(space: Graph, seed: int = 0, spread: float = 1.0) -> Prior:
    """A prior as a training may leave it."""
    prior = Prior(space)
    generator = torch.Generator().manual_seed(seed)
    for law in prior.laws.values():
        drawn = torch.randn(law.alpha.shape, generator=generator, dtype=torch.float64)
        law.alpha.data.copy_(spread * drawn)
    return prior


def selected(
    text: str,
    score: Callable[[Settings], float],
    options: PerturbationOptions | None = None,
    seed: int = 0,
    spread: float = 1.0,
) -> Settings:
    space = space_of(text)
    chosen = options or PerturbationOptions()
    selection = Perturbation(space, prior_of(space, seed, spread), chosen, seed)
    for number in range(1, len(open_decisions(space)) + 1):
        selection.step(number, score)
    return selection.chosen()


def agreement(best: Settings) -> Callable[[Settings], float]:
    """How many candidates a network has in common with the best one, of all that it takes."""

    def score(settings: Settings) -> float:
        each = [
            len({*taken} & {*best[key]}) / len({*taken} | {*best[key]})
            for key, taken in settings.items()
            if key in best
        ]
        return sum(each) / max(1, len(each))

    return score


def chance(seed: int) -> Callable[[Settings], float]:
    """A score for each network, that has nothing to do with any other's."""
    return lambda settings: unit(seed, sorted(settings.items()))


@pytest.mark.parametrize("order", ["random", "space"])
@pytest.mark.parametrize("seed", range(6))
def test_where_each_decision_has_one_best_candidate_those_are_found(seed: int, order: str) -> None:
    best = sample(space_of(EVERY_KIND), Random(seed)).settings
    chosen: Literal["space", "random"] = "space" if order == "space" else "random"
    options = PerturbationOptions(order=chosen, networks=32)
    assert selected(EVERY_KIND, agreement(best), options, seed, spread=0.2) == best


def test_the_candidate_that_hurts_most_when_gone_is_kept_not_the_one_of_the_highest_alpha() -> None:
    space = space_of(LIMITED)
    likely = Perturbation(space, prior_of(space, 0, 3.0), PerturbationOptions(), 0).chosen()
    other = {key: (1 - taken[0],) for key, taken in likely.items() if key != "logits.layers"}

    def score(settings: Settings) -> float:
        return sum(settings.get(key) == taken for key, taken in other.items()) / 10

    found = selected(LIMITED, score, spread=3.0)
    assert all(found[key] == other[key] for key in found if key in other)


def test_of_equal_scores_the_more_probable_candidates_are_kept() -> None:
    space = space_of(EDGES)
    for seed in range(4):
        prior = prior_of(space, seed)
        assert selected(EDGES, lambda _: 0.5, seed=seed) == prior.most_probable({})


@some(15)
@given(st.integers(0, 10**6), st.sampled_from([40, 80, 200]))
def test_what_is_selected_satisfies_what_the_space_requires(seed: int, most: int) -> None:
    text = LIMITED.replace("<= 80", f"<= {most}")
    space = space_of(text)
    prior = prior_of(space, seed)
    options = PerturbationOptions(networks=2)
    selection = Perturbation(space, prior, options, seed)
    asked: list[Settings] = []

    def score(settings: Settings) -> float:
        asked.append(settings)
        return unit(seed, sorted(settings.items()))

    for number in range(1, len(open_decisions(space)) + 1):
        selection.step(number, score)
        assert satisfied(space, selection.chosen())
    assert all(satisfied(space, settings) for settings in asked)


def test_a_candidate_without_which_nothing_is_left_is_kept_however_little_it_helps() -> None:
    text = LIMITED.replace("require parameters <= 80", "require parameters <= 40")
    small = {g.settings["logits.layers"] for g in enumerate_genotypes(space_of(text))}
    assert small == {(0,)}

    def score(settings: Settings) -> float:
        return float(settings["logits.layers"][0])

    assert selected(text, score)["logits.layers"] == (0,)


def test_a_candidate_with_which_nothing_is_left_is_never_kept() -> None:
    """Without the deepest of three depths, which `require` rules out, the score is the mean over
    both others; of one network for each, that may be the lowest.
    """
    depths = {g.settings["logits.layers"] for g in enumerate_genotypes(space_of(LIMITED))}
    assert depths == {(0,), (1,)}
    options = PerturbationOptions(networks=1)
    for seed in range(8):
        found = selected(LIMITED, chance(seed), options, seed)
        assert found["logits.layers"] in depths


def test_networks_that_differ_in_the_candidate_have_the_rest_in_common() -> None:
    space = space_of(EVERY_KIND)
    options = PerturbationOptions(networks=5, order="space")
    selection = Perturbation(space, prior_of(space), options, 0)
    asked: list[dict[str, Setting]] = []

    def score(settings: Settings) -> float:
        asked.append(dict(settings))
        return 0.0

    selection.step(list(space.decisions).index("width") + 1, score)
    assert len(asked) == 2 * 5
    for one, other in zip(asked[:5], asked[5:], strict=True):
        assert one.pop("width") != other.pop("width")
        assert one == other
    assert any(settings != asked[0] for settings in asked[1:5])


def test_a_decision_that_nothing_reaches_any_more_is_passed_over() -> None:
    asked: list[int] = []

    def score(settings: Settings) -> float:
        asked.append(len(settings))
        return -float(settings["logits.layers"][0])

    space = space_of(PROGRESSIVE)
    options = PerturbationOptions(networks=3, order="space")
    selection = Perturbation(space, Prior(space), options, 0)
    order = list(space.decisions)
    counts: list[int] = []
    for number in [order.index("logits.layers") + 1, *range(1, len(open_decisions(space)) + 1)]:
        before = len(asked)
        selection.step(number, score)
        counts.append(len(asked) - before)
    assert selection.chosen().keys() == {"h[1].act", "h[1].pose", "logits.layers"}
    assert [order[at] for at, count in enumerate(counts[1:]) if count] == [
        key for key in order if key in selection.chosen()
    ]


def test_nothing_is_open_when_all_is_settled_that_is_reached() -> None:
    space = space_of(PROGRESSIVE)
    unreached = 0
    for seed in range(4):
        selection = Perturbation(space, prior_of(space, seed), PerturbationOptions(), seed)
        assert any(selection.shown()[1].values())
        for number in range(1, len(open_decisions(space)) + 1):
            selection.step(number, chance(seed))
        unreached += len(space.decisions.keys() - selection.chosen().keys())
        assert not any(selection.shown()[1].values())
    assert unreached


@some(40)
@given(st.integers(0, 10**6), st.sampled_from([EVERY_KIND, PROGRESSIVE, LIMITED, EDGES]))
def test_what_is_within_reach_is_what_some_network_reaches(seed: int, text: str) -> None:
    space = space_of(text.replace("  require parameters <= 80\n", ""))
    rng = Random(seed)
    settled = {k: s for k, s in sample(space, rng).settings.items() if rng.random() < 0.5}
    reached: set[str] = set()
    for genotype in enumerate_genotypes(space):
        found = genotype.settings
        if all(found.get(key, setting) == setting for key, setting in settled.items()):
            reached |= found.keys()
    assert within_reach(space, settled) == reached


@pytest.mark.parametrize("text", [EVERY_KIND, LIMITED])
def test_a_selection_that_is_put_back_goes_on_as_it_would_have(text: str) -> None:
    space = space_of(text)
    prior, options = prior_of(space), PerturbationOptions(networks=2)

    def score(settings: Settings) -> float:
        return unit(sorted(settings.items()))

    whole = Perturbation(space, prior, options, 3)
    again = Perturbation(space, prior, options, 3)
    for number in range(1, len(open_decisions(space)) + 1):
        whole.step(number, score)
        again.step(number, score)
        state = json.loads(json.dumps(again.state()))
        again = Perturbation(space, prior, options, 3)
        again.restore(state, number)
        assert (again.chosen(), again.shown()) == (whole.chosen(), whole.shown())


@pytest.mark.parametrize(
    "state",
    [
        {"settled": {"nothing": [0]}, "witness": {}},
        {"settled": {"h[1].act": [2]}, "witness": {}},
        {"settled": {"h[1].act": [True]}, "witness": {}},
        {"settled": {"h[1].act": ["0"]}, "witness": {}},
        {"settled": {}, "witness": {"h[1].act": []}},
        {"settled": [1], "witness": {}},
        {"witness": {}},
        {"settled": {"h[1].act": [0], "h[1].x": [0]}, "witness": {}},
    ],
)
def test_a_state_of_another_selection_is_refused(state: dict[str, object]) -> None:
    space = space_of(LIMITED)
    selection = Perturbation(space, prior_of(space), PerturbationOptions(), 0)
    with pytest.raises((ValueError, KeyError, TypeError)):
        selection.restore(state, 1)
