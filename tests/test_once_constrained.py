"""The evolution under constraints over an elastic supernet."""

from __future__ import annotations

from pathlib import Path
from random import Random
from typing import Any

import pytest
import torch

from fusegraph.compiler.explore import sample
from fusegraph.compiler.requirements import satisfied
from fusegraph.ir.diagnostics import FusegraphError
from fusegraph.ir.genotype import Genotype
from fusegraph.ir.graph import Graph
from fusegraph.searchers.once import constrained
from fusegraph.searchers.once.constrained import ConstrainedEvolutionSearch, fit
from fusegraph.searchers.once.evolution_options import ConstrainedEvolutionOptions
from fusegraph.searchers.options import read_options
from fusegraph.searchers.parsec.prior import Prior
from fusegraph.searchers.registry import make_searcher
from fusegraph.training.containers import read_container, write_container
from fusegraph.training.settings import TrainSettings
from gradient_conformance import LIMITED, SETTINGS, STATE, SmallData, run
from searcher_conformance import space_of
from test_bm_nas_search import PAIRS, TwoOfFour
from test_once_search import FLAT

SMALL = {
    "epochs": 2,
    "population": 4,
    "parents": 2,
    "crossovers": 2,
    "mutations": 2,
    "generations": 2,
}


def evolution(text: str, seed: int = 0, **options: Any) -> ConstrainedEvolutionSearch:
    made = make_searcher("constrained_evolution", space_of(text), {**SMALL, **options}, seed)
    assert isinstance(made, ConstrainedEvolutionSearch)
    return made


@pytest.mark.parametrize("seed", [0, 1])
def test_it_finds_a_network_of_the_two_inputs_that_tell_something(seed: int) -> None:
    settings = TrainSettings(batch=32, learning_rate=2e-2, device="cpu", precision="float32")
    searcher = evolution(PAIRS, seed, epochs=40, population=12, crossovers=6, mutations=6)
    searcher.begin(TwoOfFour(seed), settings, None)
    while not searcher.done:
        searcher.epoch()
    [best] = searcher.best(1)
    assert best.genotype.settings["c.inputs"] == (1, 3)
    assert best.score > 0.6


def test_only_networks_within_the_constraints_are_scored_and_returned() -> None:
    text = LIMITED.replace("<= 80", "<= 40")
    searcher = evolution(text, population=3, crossovers=1, mutations=1)
    searcher.begin(SmallData(), SETTINGS, None)
    while not searcher.done:
        event = searcher.epoch().event
        assert not event.violated
    found = searcher.best(100)
    assert found
    assert all(satisfied(space_of(text), scored.genotype.settings) for scored in found)


def test_a_network_is_looked_for_once_where_the_first_candidates_fail_what_is_required(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    looked: list[Genotype] = []

    def counted(space: Graph, rng: Random) -> Genotype:
        looked.append(sample(space, rng))
        return looked[-1]

    monkeypatch.setattr(constrained, "sample", counted)
    text = LIMITED.replace("parameters <= 80", "parameters >= 50")
    searcher = evolution(text, epochs=3)
    searcher.begin(SmallData(), SETTINGS, None)
    found = [searcher.epoch().genotype for _ in range(3)]
    assert found == looked * 3
    assert satisfied(space_of(text), found[0].settings)


def test_an_impossible_constraint_is_told_at_once() -> None:
    with pytest.raises(FusegraphError) as refused:
        evolution(LIMITED.replace("<= 80", "<= 20"))
    [found] = refused.value.diagnostics
    assert found.code == "E503"
    assert any("35" in note for note in found.notes)


def test_topology_parameters_are_not_learnt() -> None:
    searcher = evolution(LIMITED)
    searcher.begin(SmallData(), SETTINGS, None)
    first = searcher.epoch().event
    assert first.arch_loss is None
    assert first.weights == searcher.epoch().event.weights
    assert set(first.entropies.values()) == {1.0}
    assert searcher.epoch().event.arch_loss is not None


def test_what_is_shown_are_the_shares_of_the_candidates_among_the_parents() -> None:
    prior = Prior(space_of(FLAT))
    settings = [((0,), (0, 1)), ((2,), (0,)), ((2,), (0,)), ((2,), (0, 1))]
    for key, place in (("logits.a", 0), ("logits.some", 1)):
        fit(prior.laws[key], [each[place] for each in settings])
    assert prior.laws["logits.a"].weights() == pytest.approx((0.25, 0.0, 0.75), abs=1e-6)
    assert prior.laws["logits.some"].weights() == pytest.approx((1.0, 0.5), abs=1e-6)
    fit(prior.laws["logits.a"], [])
    assert prior.laws["logits.a"].weights() == pytest.approx((0.25, 0.0, 0.75), abs=1e-6)


def test_more_children_than_a_generation_holds_are_refused_with_their_numbers() -> None:
    with pytest.raises(FusegraphError) as refused:
        read_options(ConstrainedEvolutionOptions, {"population": 1}, "constrained_evolution")
    [found] = refused.value.diagnostics
    assert found.code == "E802"
    told = "`crossovers` (25) and `mutations` (25) make 50 children, more than `population`"
    assert f"{told}, which is 1" in found.message


def test_a_budget_is_what_population_and_generations_leave_to_the_supernet() -> None:
    space = space_of(LIMITED)
    options = {"generations": 4}
    made = make_searcher("constrained_evolution", space, options, budget=9)
    assert made.planned == 9
    with pytest.raises(FusegraphError, match="E812"):
        make_searcher("constrained_evolution", space, options, budget=5)


def test_a_state_that_was_changed_is_refused(tmp_path: Path) -> None:
    run(evolution(LIMITED), tmp_path)
    header, tensors = read_container(tmp_path / STATE, "a state")
    plain: Any = header
    generations: Any = plain["kept"]["selection"]["generations"]
    for changed in (generations[:1], [*generations, generations[0]], [{"members": []}], 3):
        kept = {**plain["kept"], "selection": {"generations": changed}}
        write_container(tmp_path / STATE, {**plain, "kept": kept}, tensors)
        with pytest.raises(FusegraphError, match="E702"):
            run(evolution(LIMITED), tmp_path)


def test_the_weights_of_each_network_that_is_returned_are_there(tmp_path: Path) -> None:
    searcher = evolution(LIMITED)
    run(searcher, tmp_path)
    for scored in searcher.best(3):
        weights = searcher.weights_of(scored.genotype)
        assert all(torch.isfinite(torch.from_numpy(value)).all() for value in weights.values())
        assert any(name.startswith("logits") for name in weights)
