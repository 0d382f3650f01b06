"""Evolution in spaces of plain decisions: rounds, parents, failures, budgets, landscapes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from fusegraph.ir.diagnostics import FusegraphError
from fusegraph.ir.dsl import loads
from fusegraph.ir.genotype import Genotype
from fusegraph.ir.graph import Graph
from fusegraph.searchers.protocol import Event, PoolChanged, Proposal, Round, Searcher, TrialResult
from fusegraph.searchers.registry import make_searcher
from searcher_conformance import FLAT, unit

ACTS = "{relu, sigmoid, tanh, gelu, silu, leaky_relu}"
DEEP = f"""fuse 1
space deep {{
  dim N
  input x: f32[N, 4]
  h[1] = ?act of {ACTS}(linear(x, out=4))
  for l in 2..10 {{ h[l] = ?act of {ACTS}(linear(h[l - 1], out=4)) }}
  output logits = linear(h[10], out=3)
}}
"""
"""6**10 genotypes, each decision of its own weight."""

Fitness = Callable[[Genotype], float | None]


def of_each_its_own(genotype: Genotype) -> float:
    """A landscape without traps: each decision adds what its candidate is worth."""
    return sum(unit(key, setting) for key, setting in genotype.items)


def rounds_of(
    searcher: Searcher, fitness: Fitness
) -> list[tuple[Round, list[TrialResult], tuple[Event, ...]]]:
    told: list[tuple[Round, list[TrialResult], tuple[Event, ...]]] = []
    while not searcher.done:
        asked = searcher.ask()
        results = [TrialResult(p.trial, fitness(p.genotype)) for p in asked.proposals]
        told.append((asked, results, searcher.tell(results)))
    return told


def made(options: dict[str, Any], text: str = DEEP, seed: int = 0, **more: Any) -> Searcher:
    return make_searcher("evolution", space_of(text), options, seed, **more)


def space_of(text: str) -> Graph:
    return loads(text).graph


def test_a_search_is_the_initial_population_and_a_child_a_round() -> None:
    told = rounds_of(made({"population": 6, "rounds": 10}), of_each_its_own)
    assert [len(asked.proposals) for asked, _, _ in told] == [6] + [1] * 10
    assert told[0][0].note == "drawn at random"
    assert all(asked.note.startswith("child of trial ") for asked, _, _ in told[1:])


def test_the_pool_is_what_the_paper_keeps_and_each_parent_is_in_it() -> None:
    searcher = made({"population": 6, "tournament": 2, "rounds": 40, "inheritance": "parent"})
    pool: list[tuple[float, int]] = []
    parents: set[int] = set()
    for asked, results, events in rounds_of(searcher, of_each_its_own):
        for proposal in asked.proposals:
            if asked.number:
                assert proposal.parent is not None
                assert proposal.parent.trial in {trial for _, trial in pool}
                parents.add(proposal.parent.trial)
        pool += [(r.score or 0.0, r.trial) for r in results]
        pool = sorted(pool, reverse=True)[:6]
        [standing] = events
        assert isinstance(standing, PoolChanged)
        assert (standing.round, standing.size) == (asked.number, 6)
        assert standing.best == pool[0][0]
        assert standing.three_best == pytest.approx(sum(score for score, _ in pool[:3]) / 3)
        assert standing.worst == pool[-1][0]
    assert len(parents) > 5


@pytest.mark.parametrize("options", [{}, {"children": 4}, {"crossover": 1.0}, {"tournament": 20}])
def test_evolution_climbs_higher_than_random_search(options: dict[str, Any]) -> None:
    space, budget = space_of(DEEP), 200
    top = sum(max(unit(key, (c,)) for c in range(6)) for key in space.decisions)
    for seed in range(3):
        found = made(options, seed=seed, budget=budget)
        rounds_of(found, of_each_its_own)
        drawn = make_searcher("random", space, {}, seed, budget=budget)
        rounds_of(drawn, of_each_its_own)
        assert found.planned <= drawn.planned == budget
        ours, theirs = found.best(1)[0].score, drawn.best(1)[0].score
        assert theirs < 0.9 * top < 0.94 * top < ours


def test_the_three_best_of_the_pool_never_get_worse() -> None:
    told = rounds_of(made({"rounds": 60}), of_each_its_own)
    curve = [e.three_best for _, _, events in told for e in events if isinstance(e, PoolChanged)]
    assert curve == sorted(curve)
    assert curve[-1] > curve[0]


def test_a_pool_of_one_has_one_child_after_another() -> None:
    told = rounds_of(made({"population": 1, "tournament": 1, "rounds": 30}), of_each_its_own)
    best = told[0][1][0].trial
    score = told[0][1][0].score or 0.0
    for asked, [result], _ in told[1:]:
        assert asked.note.startswith(f"child of trial {best}: changed ")
        if (result.score or 0.0) >= score:
            best, score = result.trial, result.score or 0.0


def test_a_failed_candidate_is_no_parent_while_another_is_in_the_tournament() -> None:
    searcher = made({"population": 4, "tournament": 4, "rounds": 20, "inheritance": "parent"})

    def mostly_failing(genotype: Genotype) -> float | None:
        return of_each_its_own(genotype) if unit("fails", genotype.digest) < 0.4 else None

    told = rounds_of(searcher, mostly_failing)
    scores = {r.trial: r.score for _, results, _ in told for r in results}
    assert None in scores.values()
    for asked, _, _ in told[1:]:
        [proposal] = asked.proposals
        assert proposal.parent is not None
        assert scores[proposal.parent.trial] is not None


def test_a_search_whose_initial_candidates_all_fail_ends_and_says_so() -> None:
    searcher = made({"population": 5})
    told = rounds_of(searcher, lambda _: None)
    assert len(told) == 1
    assert told[0][2] == ()
    assert searcher.ending == "none of the 5 initial candidates could be trained"


def test_a_space_smaller_than_the_population_is_tried_whole() -> None:
    small = DEEP.replace("2..10", "2..1").replace("h[10]", "h[1]")
    searcher = made({}, small)
    told = rounds_of(searcher, of_each_its_own)
    assert [len(asked.proposals) for asked, _, _ in told] == [6]
    assert searcher.ending == "the space is exhausted after 6 genotypes"


def test_children_are_new_while_there_is_something_new() -> None:
    told = rounds_of(made({"rounds": 100, "children": 3}), of_each_its_own)
    digests = [p.genotype.digest for asked, _, _ in told for p in asked.proposals]
    assert len(set(digests)) == len(digests) == 320


def test_a_space_that_is_all_tried_goes_on_with_what_was_tried() -> None:
    small = DEEP.replace("2..10", "2..2").replace("h[10]", "h[2]")
    told = rounds_of(made({"population": 10, "rounds": 60}, small), of_each_its_own)
    digests = [p.genotype.digest for asked, _, _ in told for p in asked.proposals]
    assert len(digests) == 70
    assert len(set(digests)) == 36


def test_children_of_two_parents_take_from_both() -> None:
    options = {"population": 8, "rounds": 30, "crossover": 1.0, "mutations": 0}
    told = rounds_of(made(options), of_each_its_own)
    known: dict[int, Proposal] = {}
    for asked, _, _ in told:
        if asked.number:
            first, second = [
                int(word.rstrip(":,")) for word in asked.note.split() if word[0].isdigit()
            ][:2]
            [child] = asked.proposals
            one, two = known[first].genotype.settings, known[second].genotype.settings
            others = [
                key for key, setting in child.genotype.items if setting not in (one[key], two[key])
            ]
            assert len(others) <= 1
        known |= {p.trial: p for p in asked.proposals}


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"population": 0}, "at least 1"),
        ({"population": 4}, "is at most `population`, which is 4, not 5"),
        ({"tournament": 21}, "is at most `population`, which is 20, not 21"),
        ({"children": 0}, "the option `children` of the searcher `evolution` is at least 1, not 0"),
        ({"rounds": -1}, "at least 0"),
        ({"mutations": -1}, "at least 0"),
        ({"crossover": 1.5}, "from 0 to 1, not 1.5"),
        ({"threshold": 1.0}, "from 0 to below 1"),
        ({"threshold": 0.7}, 'taken where `bound = "constant"` alone'),
        ({"prune": 1.5}, "`prune` of the searcher `evolution` is from 0 to below 1, not 1.5"),
        ({"connections": "learned"}, "'guided', 'random', 'none'"),
    ],
)
def test_options_out_of_their_range_are_refused(options: dict[str, Any], expected: str) -> None:
    with pytest.raises(FusegraphError) as error:
        made(options, FLAT)
    [found] = error.value.diagnostics
    assert found.code == "E802"
    assert expected in found.message


def test_a_budget_is_as_many_rounds_as_it_has_room_for() -> None:
    assert made({"rounds": 7}, budget=50).planned == 50
    assert made({"children": 7}, budget=50).planned == 20 + 4 * 7
    assert made({}, budget=21).planned == 21


def test_a_budget_without_room_for_a_child_is_refused() -> None:
    with pytest.raises(FusegraphError, match=r"E812.*at least 21 networks"):
        made({}, budget=20)
