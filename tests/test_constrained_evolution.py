"""Evolution under constraints: what every generation holds to, and that it finds what is good."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fusegraph.compiler.count import count
from fusegraph.compiler.explore import enumerate_genotypes, sample
from fusegraph.compiler.measures import counted, lending
from fusegraph.compiler.requirements import satisfied
from fusegraph.compiler.specialise import specialise
from fusegraph.ir.decisions import Setting
from fusegraph.ir.diagnostics import FusegraphError
from fusegraph.ir.dims import Symbol, expression
from fusegraph.ir.dsl import load, loads
from fusegraph.ir.graph import Graph, Requirement, graph
from fusegraph.searchers.once import evolution as module
from fusegraph.searchers.once.evolution import ConstrainedEvolution, Generation, Member
from fusegraph.searchers.once.evolution_layers import depth_decisions, layer_of
from fusegraph.searchers.once.evolution_options import (
    ConstrainedEvolutionOptions,
    within_budget,
)
from fusegraph.searchers.options import WrongValue
from fusegraph.searchers.randomness import derive
from generators import programs, some
from repository import ROOT

FEW = 400
"""Genotypes of a space that are all looked at."""


def space_of(body: str) -> Graph:
    return loads(f"fuse 1\nspace s {{\n  dim N\n  input x: f32[N, 4]\n{body}\n}}").graph


def layered(*limits: str, layers: int = 4) -> Graph:
    """Layers with a width and an activation each, one width of all, and an open depth."""
    requires = "".join([f"  require {limit}\n" for limit in limits])
    return space_of(f"""{requires}
  let C = ?embed of {{4, 6}}
  h[0] = linear(x, out=C)
  for l in 1..{layers} {{
    h[l] = linear(?act of {{relu, tanh}}(linear(h[l - 1], out=?mid of {{1, 3}})), out=C)
  }}
  output y = linear(?depth of h[2..{layers}], out=2)""")


def options(**given: Any) -> ConstrainedEvolutionOptions:
    small: dict[str, Any] = {
        "population": 12, "parents": 4, "crossovers": 6, "mutations": 6, "generations": 5,
    }  # fmt: skip
    return ConstrainedEvolutionOptions(**{**small, **given})


class Additive:
    """A score that is a sum over the settings, drawn once; it remembers what it was asked."""

    def __init__(self, space: Graph, seed: int) -> None:
        rng = Random(seed)
        self._worth = {
            (key, setting): rng.random()
            for key, decision in space.decisions.items()
            for setting in decision.settings()
        }
        self.asked: list[tuple[tuple[str, Setting], ...]] = []

    def __call__(self, settings: Mapping[str, Setting]) -> float:
        self.asked.append(tuple(settings.items()))
        return sum(self._worth[item] for item in settings.items())


def run(evolution: ConstrainedEvolution, score: Any, last: int) -> list[Generation]:
    """The generations up to this number."""
    return [evolution.generation(n, score) for n in range(len(evolution.done), last + 1)]


def parameters(space: Graph, member: Member) -> int:
    return int(counted(specialise(space, member.genotype))["parameters"])


# ── layers and depth ─────────────────────────────────────────────────────────────────────────────


def test_a_layer_is_what_shares_a_scope() -> None:
    assert layer_of("h[3].heads") == layer_of("h[3].ratio") == "h[3]"
    assert layer_of("c[1].s[2].op") == "c[1].s[2]"
    assert layer_of("embed") == "embed"
    assert len({layer_of(key) for key in layered().decisions}) == 4 + 2


def test_depth_is_what_says_which_decisions_are_reached_whatever_its_name() -> None:
    assert depth_decisions(layered()) == {"y.depth"}
    tiny = load(ROOT / "examples" / "elastic" / "tiny.fuse").graph
    assert depth_decisions(tiny) == {"logits.depth"}
    assert depth_decisions(layered(layers=2)) == set()  # one depth alone
    inside = space_of("""
  let w = ?w of {2, 3}
  a = linear(x, out=w)
  output y = linear(concat(?op of {relu(linear(x, out=?v of {2, 3})), x}, a, ?q of {a, x}), out=2)
""")
    assert depth_decisions(inside) == {"y.op"}  # `q` reaches `w`, but so does every network
    sets = space_of("""
  a = linear(x, out=4)
  b = linear(x, out=4)
  c = ?act of {relu, tanh}(b)
  output y = linear(sum(?from some of {a, c}), out=2)""")
    assert depth_decisions(sets) == {"y.from"}


# ── every generation ─────────────────────────────────────────────────────────────────────────────


@some(60)
@given(programs(4), st.integers(0, 2**32), st.sampled_from(["all", "generation"]), st.booleans())
def test_every_network_of_every_generation_satisfies_and_is_new(
    program: Any, seed: int, best_of: Any, equal_depth: bool
) -> None:
    free, rng = graph("s", program.graph.inputs, program.graph.outputs), Random(seed)
    if count(free).genotypes > FEW:
        return
    every = list(enumerate_genotypes(free))
    limit = int(counted(specialise(free, rng.choice(every)))["parameters"])
    relation = rng.choice(("<=", ">=", "=="))
    wanted = Requirement(expression(Symbol("parameters")), relation, limit)
    space = graph("s", free.inputs, free.outputs, [wanted])
    there = {g.items for g in enumerate_genotypes(space)}
    score = Additive(space, seed)
    evolution = ConstrainedEvolution(
        space, options(best_of=best_of, equal_depth=equal_depth), seed % 1000
    )
    for generation in run(evolution, score, 3):
        assert len(generation.members) == 12 or generation.ending
        for member in generation.members:
            assert satisfied(space, member.genotype.settings)
            assert member.genotype.items in there
    assert len(score.asked) == len(set(score.asked))
    assert len(score.asked) <= len(there)
    if len(there) <= 12:
        assert set(score.asked) == there
        assert evolution.done[0].ending == "the space has no more networks"


@some(15)
@given(st.integers(60, 220), st.sampled_from(["<=", ">="]), st.integers(0, 1000))
def test_children_hold_to_a_limit_on_layers(limit: int, relation: str, seed: int) -> None:
    space = layered(f"parameters {relation} {limit}")
    evolution = ConstrainedEvolution(space, options(), seed)
    for generation in run(evolution, Additive(space, seed), 2):
        for member in generation.members:
            found = parameters(space, member)
            assert found <= limit if relation == "<=" else found >= limit


def test_the_largest_spaces_hold_to_a_limit_that_draws_never_satisfy() -> None:
    text = (ROOT / "examples" / "elastic" / "tiny.fuse").read_text("utf-8")
    limit = "  require parameters < 5500000\n  require macs > 1.36e9\n"
    space = loads(text.replace("  input", f"{limit}  input", 1)).graph
    evolution = ConstrainedEvolution(space, options(), 0)
    first, second = run(evolution, Additive(space, 0), 1)
    assert len(first.members) == len(second.members) == 12
    for member in (first.members[0], second.members[0], second.members[-1]):
        assert parameters(space, member) < 5_500_000


def test_a_generation_is_crossovers_and_mutations() -> None:
    space = layered()
    first, second = run(ConstrainedEvolution(space, options(population=15), 0), len, 1)
    assert [member.origin for member in first.members] == ["drawn"] * 15
    origins = [member.origin for member in second.members]
    assert origins == ["crossover"] * 6 + ["mutation"] * 6 + ["drawn"] * 3


def test_a_crossover_takes_whole_blocks_of_two_of_the_best() -> None:
    space, score = layered(), Additive(layered(), 1)
    evolution = ConstrainedEvolution(space, options(mutations=0, crossovers=12), 3)
    run(evolution, score, 0)
    best = [member.genotype.settings for member in evolution.best(4)]
    depths: set[tuple[int, ...]] = set()
    for member in evolution.generation(1, score).members:
        if member.origin != "crossover":
            continue
        child = member.genotype.settings
        assert any(all(_from_either(child, one, two)) for one in best for two in best)
        depths.add(tuple(sorted({len(parent) for parent in best} | {len(child)})))
    assert any(len(each) > 1 for each in depths)  # of unequal parents too


def _from_either(
    child: Mapping[str, Setting], one: Mapping[str, Setting], two: Mapping[str, Setting]
) -> list[bool]:
    blocks = {layer_of(key): [k for k in child if layer_of(k) == layer_of(key)] for key in child}
    return [
        any([child[k] for k in keys] == [parent.get(k) for k in keys] for parent in (one, two))
        for keys in blocks.values()
    ]


def test_parents_of_equal_depth_have_children_of_that_depth() -> None:
    space = layered()
    evolution = ConstrainedEvolution(space, options(mutations=0, parents=8, equal_depth=True), 2)
    score = Additive(space, 2)
    run(evolution, score, 0)
    best = [member.genotype.settings for member in evolution.best(8)]
    assert len({len(parent) for parent in best}) > 1
    pairs = [(a, b) for a in best for b in best if a is not b and a.keys() == b.keys()]
    for member in evolution.generation(1, score).members:
        if member.origin == "crossover":
            child = member.genotype.settings
            assert any(
                child.keys() == a.keys() and all(_from_either(child, a, b)) for a, b in pairs
            )


@pytest.mark.parametrize(("depth", "layer"), [(1.0, 0.0), (0.0, 1.0)])
def test_a_mutation_changes_the_depth_and_the_blocks_by_their_probabilities(
    depth: float, layer: float
) -> None:
    space = layered()
    chosen = options(
        crossovers=0, mutations=12, parents=1, depth_probability=depth, layer_probability=layer
    )
    evolution = ConstrainedEvolution(space, chosen, 1)
    score = Additive(space, 5)
    run(evolution, score, 0)
    (best,) = evolution.best(1)
    parent = best.genotype.settings
    mutations = [m for m in evolution.generation(1, score).members if m.origin == "mutation"]
    assert mutations
    for member in mutations:
        child = member.genotype.settings
        if depth:
            assert child["y.depth"] != parent["y.depth"]
            common = child.keys() & parent.keys() - {"y.depth"}
            assert all(child[key] == parent[key] for key in common)
        else:
            assert child["y.depth"] == parent["y.depth"]
            layers = {layer_of(key) for key in child} - {"y"}
            for each in layers:
                keys = [key for key in child if layer_of(key) == each]
                assert any(child[key] != parent[key] for key in keys)


@pytest.mark.parametrize("best_of", ["all", "generation"])
def test_the_parent_is_the_best_of_all_generations_or_of_the_last(best_of: Any) -> None:
    chosen = options(
        best_of=best_of, parents=1, crossovers=0, mutations=12, generations=2,
        depth_probability=0.0, layer_probability=1.0,
    )  # fmt: skip
    evolution = ConstrainedEvolution(layered(layers=7), chosen, 1)
    worse = iter(range(0, -1000, -1))  # each network is worse than the one before
    first, second, third = run(evolution, lambda _: next(worse), 2)
    children = [m.genotype.settings for m in third.members if m.origin == "mutation"]
    assert len(children) > 5
    for other, parent in ((first, best_of == "all"), (second, best_of == "generation")):
        settings = other.members[0].genotype.settings
        differ = [_differs_everywhere(child, settings) for child in children]
        assert all(differ) == parent


def _differs_everywhere(child: Mapping[str, Setting], parent: Mapping[str, Setting]) -> bool:
    layers = {layer_of(key) for key in child} - {"y"}
    return all(
        any(child[key] != parent.get(key) for key in child if layer_of(key) == layer)
        for layer in layers
    )


# ── when there is little or nothing ──────────────────────────────────────────────────────────────


def test_a_space_smaller_than_the_population_is_scored_whole_and_the_evolution_ends() -> None:
    space = space_of("  output y = linear(?act of {relu, tanh}(x), out=?w of {2, 3, 4})")
    evolution = ConstrainedEvolution(space, options(), 0)
    score = Additive(space, 0)
    first, second = run(evolution, score, 1)
    assert len(first.members) == 6
    assert first.ending == second.ending == "the space has no more networks"
    assert second.members == ()
    assert len(score.asked) == 6


def test_the_rest_of_a_space_is_taken_when_children_are_no_longer_new() -> None:
    space = layered("parameters <= 90")
    there = len(list(enumerate_genotypes(space)))
    evolution = ConstrainedEvolution(space, options(generations=1000), 0)
    score = Additive(space, 0)
    while not (evolution.done and evolution.done[-1].ending):
        evolution.generation(len(evolution.done), score)
    assert len(score.asked) == there > 24


@pytest.mark.parametrize(
    ("limit", "told"),
    [
        ("parameters <= 20", "the nearest that can be reached is 56 against 20"),
        ("parameters >= 2000", "the nearest that can be reached is 224 against 2000"),
    ],
)
def test_an_impossible_limit_is_told_before_anything_is_scored(limit: str, told: str) -> None:
    space = layered(limit)
    free = graph("s", space.inputs, space.outputs)
    had = [int(counted(specialise(free, g))["parameters"]) for g in enumerate_genotypes(free)]
    assert f" {min(had)} " in told or f" {max(had)} " in told
    with pytest.raises(FusegraphError, match="E503") as error:
        ConstrainedEvolution(space, options(), 0)
    assert any(told in note for note in error.value.diagnostics[0].notes)


def test_limits_that_exclude_each_other_are_told_by_the_first_generation() -> None:
    space = layered("parameters <= 60", "macs >= 150")
    evolution = ConstrainedEvolution(space, options(), 0)
    with pytest.raises(FusegraphError, match="E503") as error:
        evolution.generation(0, len)
    assert error.value.diagnostics[0].message == "no genotype of `s` satisfies its `require`"


class WideIsSlow:
    """A meter: a millisecond for each parameter."""

    def latency(self, network: Graph) -> float:
        return float(counted(network)["parameters"])


def test_a_latency_is_a_constraint_like_others() -> None:
    space = layered("latency <= 100")
    with lending(WideIsSlow()):
        evolution = ConstrainedEvolution(space, options(), 0)
        found = run(evolution, Additive(space, 0), 2)
    assert all(len(generation.members) == 12 for generation in found)
    assert all(parameters(space, m) <= 100 for generation in found for m in generation.members)


def test_a_latency_that_nothing_measures_is_one_error() -> None:
    evolution = ConstrainedEvolution(layered("latency <= 100"), options(), 0)
    with pytest.raises(FusegraphError, match="E508"):
        evolution.generation(0, len)


# ── seeds and state ──────────────────────────────────────────────────────────────────────────────


def test_a_seed_gives_the_same_generations_and_another_one_others() -> None:
    space = layered("parameters <= 120")

    def found(seed: int) -> list[Generation]:
        return run(ConstrainedEvolution(space, options(), seed), Additive(space, 0), 3)

    assert found(4) == found(4)
    assert found(4) != found(5)


@pytest.mark.parametrize("after", [1, 2, 3])
def test_an_evolution_that_is_restored_goes_on_as_one_that_never_stopped(after: int) -> None:
    space = layered("parameters <= 120")
    whole = ConstrainedEvolution(space, options(), 4)
    run(whole, Additive(space, 0), 4)
    stopped = ConstrainedEvolution(space, options(), 4)
    run(stopped, Additive(space, 0), after - 1)
    restored = ConstrainedEvolution(space, options(), 4)
    restored.restore(json.loads(json.dumps(stopped.state())))
    assert restored.done == stopped.done
    score = Additive(space, 0)
    run(restored, score, 4)
    assert restored.done == whole.done
    assert restored.state() == whole.state()
    assert restored.best(3) == whole.best(3)
    assert len(score.asked) == 12 * (5 - after)
    restored.restore(stopped.state())  # and what came later is forgotten
    run(restored, Additive(space, 0), 4)
    assert restored.done == whole.done


def test_a_score_that_is_not_finite_is_the_worst_and_survives() -> None:
    space = layered()
    scores = iter([math.nan, -math.inf, math.inf, *[-1e9] * 9])
    evolution = ConstrainedEvolution(space, options(), 0)
    evolution.generation(0, lambda _: next(scores))
    assert [member.score for member in evolution.best(9)] == [-1e9] * 9
    text = json.dumps(evolution.state(), allow_nan=False)
    restored = ConstrainedEvolution(space, options(), 0)
    restored.restore(json.loads(text))
    assert restored.state() == evolution.state()
    assert restored.best(9) == evolution.best(9)


def _spoilt(state: dict[str, Any], how: str) -> dict[str, Any]:
    member = state["generations"][0]["members"][0]
    if how == "missing":
        del member["score"]
    elif how == "foreign":
        member["settings"]["z"] = [0]
    elif how == "none":
        member["settings"]["embed"] = [2]
    elif how == "unreached":
        member["settings"] = {key: [0] for key in layered().decisions}
    elif how == "short":
        del member["settings"]["embed"]
    else:
        member["origin"] = "stork"
    return state


@pytest.mark.parametrize("how", ["missing", "foreign", "none", "unreached", "short", "origin"])
def test_a_state_of_something_else_is_refused(how: str) -> None:
    evolution = ConstrainedEvolution(layered(), options(), 0)
    run(evolution, len, 0)
    spoilt = _spoilt(json.loads(json.dumps(evolution.state())), how)
    before = evolution.done
    with pytest.raises(ValueError, match=r"."):
        evolution.restore(spoilt)
    assert evolution.done == before


def test_only_the_next_generation_can_be_made() -> None:
    evolution = ConstrainedEvolution(layered(), options(), 0)
    with pytest.raises(ValueError, match="expected generation 0, found 1"):
        evolution.generation(1, len)


# ── what it finds ────────────────────────────────────────────────────────────────────────────────


def test_it_finds_the_optimum_more_often_than_random_search_with_as_many_scores() -> None:
    space = layered("parameters <= 150")
    every = [genotype.settings for genotype in enumerate_genotypes(space)]
    evolved: list[int] = []
    drawn: list[int] = []

    def better(found: float) -> int:
        return sum(score(settings) > found + 1e-12 for settings in every)

    for seed in range(6):
        score = Additive(space, seed)
        evolution = ConstrainedEvolution(space, options(generations=6), seed)
        run(evolution, score, 6)
        evolved.append(better(evolution.best(1)[0].score))
        rng, seen = Random(derive(seed, "random")), set[str]()
        scores: list[float] = []
        while len(scores) < 7 * 12:
            genotype = sample(space, rng)
            if genotype.digest not in seen:
                seen.add(genotype.digest)
                scores.append(score(genotype.settings))
        drawn.append(better(max(scores)))
    assert evolved.count(0) > drawn.count(0)
    assert sum(evolved) < sum(drawn)
    assert evolved.count(0) >= 3


# ── options ──────────────────────────────────────────────────────────────────────────────────────


def test_the_defaults_are_those_of_the_facts() -> None:
    found = ConstrainedEvolutionOptions()
    assert (found.population, found.parents, found.generations) == (50, 10, 20)
    assert (found.crossovers, found.mutations) == (25, 25)
    assert (found.depth_probability, found.layer_probability) == (0.4, 0.2)


@pytest.mark.parametrize(
    ("given", "option"),
    [
        ({"population": 0}, "population"),
        ({"parents": 0}, "parents"),
        ({"generations": -1}, "generations"),
        ({"layer_probability": 1.5}, "layer_probability"),
    ],
)
def test_an_option_outside_its_range_is_named(given: dict[str, Any], option: str) -> None:
    with pytest.raises(WrongValue) as error:
        ConstrainedEvolutionOptions(**given)
    assert error.value.option == option


def test_more_children_than_a_generation_has_are_refused() -> None:
    said = r"`crossovers` \(40\) and `mutations` \(11\) make 51 children, more than `population`"
    with pytest.raises(ValueError, match=said):
        ConstrainedEvolutionOptions(crossovers=40, mutations=11)


def test_a_budget_leaves_epochs_beside_the_generations() -> None:
    space = layered()
    assert within_budget(space, {"generations": 3}, 10) == {"generations": 3, "epochs": 6}
    with pytest.raises(FusegraphError, match="E812"):
        within_budget(space, {}, 21)


def test_children_that_are_never_new_are_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    space = layered()
    evolution = ConstrainedEvolution(space, options(), 0)
    run(evolution, len, 0)
    monkeypatch.setattr(evolution, "_new", lambda *_: False)
    monkeypatch.setattr(module, "TRIES", 5)
    generation = evolution.generation(1, len)
    assert generation.members == ()
    assert generation.ending == "the space has no more networks"
