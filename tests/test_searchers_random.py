"""Random search: what it draws, at which depths, and when it ends."""

from __future__ import annotations

from collections import Counter

from fusegraph.compiler.count import count
from fusegraph.searchers.registry import make_searcher
from searcher_conformance import FLAT, LIMITED, PROGRESSIVE, drive, genotypes_of, space_of


def test_it_ends_early_when_the_space_is_exhausted_and_says_so() -> None:
    space = space_of(FLAT)
    searcher = make_searcher("random", space, {"trials": 10_000}, seed=0)
    trials = drive(searcher)
    assert len(trials) == count(space).genotypes
    assert searcher.ending == f"the space is exhausted after {len(trials)} genotypes"


def test_it_ends_when_the_budget_is_spent_and_says_so() -> None:
    searcher = make_searcher("random", space_of(PROGRESSIVE), {"trials": 7, "batch": 3}, seed=0)
    rounds = [len(searcher.ask().proposals)]
    trials = drive(searcher)
    rounds = list(Counter(p.round for p, _ in trials).values())
    assert rounds == [3, 3, 1]
    assert searcher.ending == "the budget is spent"


def test_depths_are_as_asked_for() -> None:
    searcher = make_searcher("random", space_of(PROGRESSIVE), {"lengths": [1, 3, 5]}, seed=0)
    depths = Counter(g.settings["logits.layers"][0] + 1 for g in genotypes_of(drive(searcher)))
    assert depths == {1: 1, 2: 3, 3: 5}


def test_a_depth_that_is_exhausted_leaves_the_others_theirs() -> None:
    searcher = make_searcher("random", space_of(PROGRESSIVE), {"lengths": [9, 3, 5]}, seed=0)
    depths = Counter(g.settings["logits.layers"][0] + 1 for g in genotypes_of(drive(searcher)))
    assert depths == {1: 4, 2: 3, 3: 5}  # there are only four networks of one layer
    assert searcher.planned == 17
    assert searcher.ending == "the space is exhausted after 12 genotypes"


def test_first_draws_are_uniform_over_the_networks_of_a_depth() -> None:
    space = space_of(PROGRESSIVE)
    draws = Counter(
        make_searcher("random", space, {"lengths": [0, 1]}, seed).ask().proposals[0].genotype.digest
        for seed in range(3200)
    )
    assert len(draws) == 16
    chi_square = sum((n - 200) ** 2 / 200 for n in draws.values())
    assert chi_square < 37.7  # the 99.9 % quantile for 15 degrees of freedom


def test_first_draws_honour_require() -> None:
    space = space_of(LIMITED)
    wide = [
        g
        for seed in range(40)
        for g in genotypes_of(drive(make_searcher("random", space, {"lengths": [0, 0, 2]}, seed)))
        if [g.settings[f"h[{level}].x"] for level in (1, 2, 3)] == [(1,), (1,), (1,)]
    ]
    assert wide == []  # three layers on 60 features have more than 400 parameters
