"""The temperature's course, and the distribution of the draws."""

from __future__ import annotations

import math
from collections import Counter
from itertools import permutations
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fusegraph.searchers.mfas.sampling import draw_without_replacement, log_probabilities
from fusegraph.searchers.mfas.schedule import Temperature, plan, updates_before


def temperatures(order: str, cooling: str, levels: int = 4, iterations: int = 3) -> list[int]:
    """How often the temperature was updated before each step."""
    return [
        updates_before(cooling, step, levels, iterations)  # type: ignore[arg-type]
        for step in plan(order, levels, iterations)  # type: ignore[arg-type]
    ]


def test_temperature_follows_the_formula() -> None:
    schedule = Temperature(start=10.0, end=0.2, sigma=4.0)
    assert schedule.after(0) == 10.0
    for t in range(12):
        assert schedule.after(t + 1) == pytest.approx(9.8 * math.exp(-((t + 1) ** 2) / 16) + 0.2)
    assert schedule.after(12) == pytest.approx(0.2, abs=2e-3)


def test_the_papers_order_trains_the_first_level_once_and_the_others_e_search_times() -> None:
    steps = plan("paper", levels=3, iterations=2)
    assert [(s.level, s.iteration, s.replaces) for s in steps] == [
        (0, 0, False), (1, 0, False), (1, 1, False), (2, 0, False), (2, 1, False),
    ]  # fmt: skip


def test_the_releases_order_replaces_levels_from_the_second_iteration_on() -> None:
    steps = plan("release", levels=3, iterations=2)
    assert [(s.level, s.iteration, s.replaces) for s in steps] == [
        (0, 0, False), (1, 0, False), (2, 0, False), (0, 1, True), (1, 1, True), (2, 1, True),
    ]  # fmt: skip


def test_temperature_starts_afresh_at_each_level_in_the_papers_order() -> None:
    assert temperatures("paper", "level") == [0, 0, 1, 2, 0, 1, 2, 0, 1, 2]


def test_running_temperature_never_rises() -> None:
    assert temperatures("paper", "running") == list(range(10))
    assert temperatures("release", "running") == list(range(12))


def test_the_releases_slip_repeats_temperatures() -> None:
    # t after each step: iteration * 3 + level; the first draw is at T0.
    assert temperatures("release", "release") == [0, 1, 2, 3, 4, 4, 5, 6, 7, 7, 8, 9]


@given(st.lists(st.floats(1e-9, 1), min_size=1, max_size=8), st.floats(0.2, 10))
def test_probabilities_are_powers_of_the_normalised_scores(
    scores: list[float], temperature: float
) -> None:
    total = sum(scores)
    powers = [(score / total) ** (1 / temperature) for score in scores]
    expected = [power / sum(powers) for power in powers]
    found = [math.exp(p) for p in log_probabilities(scores, temperature)]
    assert found == pytest.approx(expected, rel=1e-6, abs=1e-12)


def test_probabilities_stay_finite_for_scores_of_zero_and_low_temperatures() -> None:
    found = log_probabilities([0.0, 1e-300, 0.5], temperature=0.001)
    assert all(map(math.isfinite, found))
    assert math.exp(found[2]) == pytest.approx(1.0)


@given(st.integers(1, 12), st.integers(1, 15), st.integers(0, 1000))
def test_draws_are_different_and_as_many_as_there_are(size: int, count: int, seed: int) -> None:
    drawn = draw_without_replacement([0.0] * size, count, Random(seed))
    assert len(drawn) == len(set(drawn)) == min(size, count)
    assert set(drawn) <= set(range(size))


def test_draws_follow_the_distribution_of_drawing_one_after_the_other() -> None:
    weights = [0.5, 0.3, 0.15, 0.05]
    draws = 40_000
    rng = Random(11)
    logs = [math.log(weight) for weight in weights]
    found = Counter(draw_without_replacement(logs, 2, rng) for _ in range(draws))
    chi_square = 0.0
    for first, second in permutations(range(4), 2):
        expected = draws * weights[first] * weights[second] / (1 - weights[first])
        chi_square += (found[first, second] - expected) ** 2 / expected
    assert chi_square < 31.3  # the 99.9 % quantile for 11 degrees of freedom
