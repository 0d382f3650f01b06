"""Evolution: tournaments and replacement as in the paper, on pools of any fitness."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from fusegraph.ir.genotype import Genotype
from fusegraph.searchers.evolution.pool import Member, standing, survivors, tournament

SCORES = st.lists(st.one_of(st.none(), st.sampled_from([0.0, 0.25, 0.5, 1.5])), min_size=1)


def pool_of(scores: Sequence[float | None]) -> list[Member]:
    return [
        Member(trial, Genotype.of("", {"x": (trial,)}), score) for trial, score in enumerate(scores)
    ]


@given(SCORES, st.integers(1, 8), st.integers(0, 50))
def test_the_parent_is_the_fittest_of_a_random_subset(
    scores: list[float | None], size: int, seed: int
) -> None:
    pool = pool_of(scores)
    size = min(size, len(pool))
    parent = tournament(pool, size, Random(seed))
    drawn = Random(seed).sample(pool, size)
    assert parent in drawn
    fitness = [-1.0 if member.score is None else member.score for member in drawn]
    assert (-1.0 if parent.score is None else parent.score) == max(fitness)


def test_a_tournament_of_the_whole_pool_has_one_outcome_and_one_of_one_has_any() -> None:
    pool = pool_of([0.3, 0.9, 0.1, None])
    assert {tournament(pool, 4, Random(seed)).trial for seed in range(20)} == {1}
    assert {tournament(pool, 1, Random(seed)).trial for seed in range(50)} == {0, 1, 2, 3}


@given(SCORES, SCORES)
def test_one_joins_and_the_least_fit_leaves(
    before: list[float | None], joining: list[float | None]
) -> None:
    members = pool_of([*before, *joining])
    size = len(before)
    left = survivors(members, size)
    assert [m.trial for m in left] == sorted({m.trial for m in left})
    assert len(left) == size
    gone = [m for m in members if m not in left]
    for leaver in gone:
        for survivor in left:
            if leaver.score is not None:
                assert survivor.score is not None
                assert leaver.score <= survivor.score


def test_of_equals_the_older_leaves_and_a_child_that_is_the_worst_leaves_at_once() -> None:
    assert [m.trial for m in survivors(pool_of([0.5, 0.5, 0.5]), 2)] == [1, 2]
    assert [m.trial for m in survivors(pool_of([0.5, 0.6, 0.4]), 2)] == [0, 1]
    assert [m.trial for m in survivors(pool_of([0.5, None, 0.4]), 2)] == [0, 2]


def test_the_standing_tells_the_mean_of_the_three_best() -> None:
    [told] = standing(pool_of([0.1, 0.4, None, 0.2, 0.3]), 7)
    assert (told.round, told.size, told.best, told.worst) == (7, 4, 0.4, 0.1)
    assert abs(told.three_best - 0.3) < 1e-12
    assert standing(pool_of([None, None]), 7) == ()
