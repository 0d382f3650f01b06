"""MFAS as Algorithm 1 has it, on spaces of the paper's shape."""

from __future__ import annotations

import re
from collections.abc import Callable
from itertools import product
from typing import Any

import pytest
import torch

from fusegraph.ir.diagnostics import FusegraphError
from fusegraph.ir.dsl import load
from fusegraph.searchers.mfas.options import MfasOptions
from fusegraph.searchers.mfas.search import MfasSearch
from fusegraph.searchers.progression import Configuration, progression_of
from fusegraph.searchers.protocol import (
    Proposal,
    Round,
    SharedLayer,
    SurrogateFitted,
    TrialResult,
)
from repository import ROOT
from searcher_conformance import PROGRESSIVE, space_of, unit

NTU_LIKE = """fuse 1
space ntu_like {               # M = N = 4, P = 3, L = 4 as in the paper, with short features
  dim N
  for i in 1..4 {
    input x[i]: f32[N, 4]
    input y[i]: f32[N, 5]
  }
  h[1] = ?act of {relu, sigmoid, leaky_relu}(linear(concat(?x of x[*], ?y of y[*]), out=4))
  for l in 2..4 {
    h[l] = ?act of {relu, sigmoid, leaky_relu}(
      linear(concat(?x of x[*], ?y of y[*], h[l - 1]), out=4)
    )
  }
  output logits = linear(?layers of h[*], out=3)
}
"""
QUICK: dict[str, Any] = {"surrogate_hidden": 8, "surrogate_epochs": 3}

Score = Callable[[Configuration], float | None]


def triplets(proposal: Proposal) -> Configuration:
    """The configuration of a proposal, in the paper's 1-based triplets."""
    settings = proposal.genotype.settings
    depth = settings["logits.layers"][0] + 1
    return tuple(
        (
            settings[f"h[{level}].x"][0] + 1,
            settings[f"h[{level}].y"][0] + 1,
            settings[f"h[{level}].act"][0] + 1,
        )
        for level in range(1, depth + 1)
    )


def hashed(configuration: Configuration) -> float:
    return unit(configuration)


def run(
    score: Score = hashed, seed: int = 0, **options: Any
) -> tuple[MfasSearch, list[tuple[Round, list[Configuration]]]]:
    """A whole search of the NTU-like space; its rounds with their configurations."""
    searcher = MfasSearch(space_of(NTU_LIKE), MfasOptions(**{**QUICK, **options}), seed)
    rounds: list[tuple[Round, list[Configuration]]] = []
    while not searcher.done:
        asked = searcher.ask()
        configurations = [triplets(proposal) for proposal in asked.proposals]
        rounds.append((asked, configurations))
        searcher.tell(
            [
                TrialResult(proposal.trial, score(configuration), "failed")
                for proposal, configuration in zip(asked.proposals, configurations, strict=True)
            ]
        )
    return searcher, rounds


def prefixes(configurations: list[Configuration]) -> set[Configuration]:
    return {configuration[:-1] for configuration in configurations}


def test_levels_are_the_papers_triplets() -> None:
    progression = progression_of(space_of(NTU_LIKE), "MFAS")
    assert [[d.key for d in level] for level in progression.levels[:2]] == [
        ["h[1].x", "h[1].y", "h[1].act"],
        ["h[2].x", "h[2].y", "h[2].act"],
    ]
    assert progression.options(3) == list(product(range(1, 5), range(1, 5), range(1, 4)))
    assert progression.count(4) == 5_308_416


@pytest.mark.parametrize(
    ("space", "levels", "singles", "networks"),
    [("ntu", 4, 48, 5_308_416), ("mm_imdb", 3, 48, 110_592), ("av_mnist", 4, 30, 810_000)],
)
def test_the_papers_spaces_are_searched_once_their_depth_is_open(
    space: str, levels: int, singles: int, networks: int
) -> None:
    file = ROOT / "examples" / "mfas" / f"{space}.fuse"
    opened = load(file, {"shallowest": "1"}).graph
    progression = progression_of(opened, "MFAS")
    assert (len(progression.levels), progression.decisions_a_level) == (levels, 3)
    assert progression.count(levels) == networks
    assert len(MfasSearch(opened, MfasOptions(), 0).ask().proposals) == singles
    with pytest.raises(FusegraphError, match="needs a progression"):
        progression_of(load(file).graph, "MFAS")


def test_the_first_step_trains_all_single_layer_networks() -> None:
    _, rounds = run()
    assert rounds[0][1] == [(t,) for t in product(range(1, 5), range(1, 5), range(1, 4))]


def test_the_papers_order_unfolds_what_the_level_before_drew_last() -> None:
    _, rounds = run()
    assert [(len(c), len(c[0])) for _, c in rounds] == [
        (48, 1), (15, 2), (15, 2), (15, 2), (15, 3), (15, 3), (15, 3), (15, 4), (15, 4), (15, 4),
    ]  # fmt: skip
    for step in (4, 5, 6):
        assert prefixes(rounds[step][1]) <= set(rounds[3][1])
    for step in (7, 8, 9):
        assert prefixes(rounds[step][1]) <= set(rounds[6][1])


def test_all_unfolded_candidates_are_scored() -> None:
    _, rounds = run()
    counts = [int(n) for asked, _ in rounds for n in re.findall(r"of (\d+) candidates", asked.note)]
    assert counts == [48 * 48] * 3 + [15 * 48] * 6


def test_the_temperature_falls_over_the_whole_search_in_both_orders() -> None:
    def found(**options: Any) -> list[str]:
        _, rounds = run(**options)
        return [t for asked, _ in rounds for t in re.findall(r"T = (\S+)", asked.note)]

    assert found(cooling="level") == ["10.00", "9.41", "7.83"] * 3
    assert found()[:5] == ["9.41", "7.83", "5.78", "3.81", "2.25"]
    assert found()[-1] == "0.26"
    release = found(order="release")
    assert len(release) == 11
    assert release[:9] == found()
    assert len(set(found(order="release", cooling="release"))) < len(release)


def test_the_releases_order_replaces_one_level_and_keeps_the_length() -> None:
    _, rounds = run(order="release", iterations=2)
    lengths = [len(configurations[0]) for _, configurations in rounds]
    assert lengths == [1, 2, 3, 4, 4, 4, 4, 4]
    assert prefixes(rounds[1][1]) <= set(rounds[0][1])
    for number, level in ((4, 0), (5, 1), (6, 2), (7, 3)):
        before = {c[:level] + c[level + 1 :] for c in rounds[number - 1][1]}
        assert {c[:level] + c[level + 1 :] for c in rounds[number][1]} <= before


def test_the_releases_order_goes_on_from_k_of_the_first_level_drawn_by_their_scores() -> None:
    best = {((1, 1, 1),), ((2, 2, 2),)}
    _, rounds = run(
        lambda c: 1.0 if c in best else 1e-6,
        order="release",
        candidates=2,
        start_temperature=0.2,
    )
    assert prefixes(rounds[1][1]) <= best


def test_a_configuration_that_is_seen_twice_keeps_its_best_score() -> None:
    given: dict[Configuration, list[float]] = {}

    def changing(configuration: Configuration) -> float:
        before = given.setdefault(configuration, [])
        before.append(unit(configuration, len(before)))
        return before[-1]

    searcher, _ = run(changing, candidates=700, iterations=2)
    assert max(map(len, given.values())) > 1
    known = searcher._scores  # pyright: ignore[reportPrivateUsage]
    assert known == {configuration: max(scores) for configuration, scores in given.items()}


def test_the_surrogate_is_fitted_to_all_that_was_sampled() -> None:
    searcher = MfasSearch(space_of(NTU_LIKE), MfasOptions(**QUICK), 0)
    samples: list[int] = []
    seen: set[Configuration] = set()
    while not searcher.done:
        proposals = searcher.ask().proposals
        seen |= {triplets(p) for p in proposals}
        for event in searcher.tell([TrialResult(p.trial, 0.5) for p in proposals]):
            assert isinstance(event, SurrogateFitted)
            samples.append(event.samples)
            assert event.samples == len(seen)
    assert len(samples) == 9
    assert samples[:2] == [48, 63]


def test_failed_candidates_are_neither_unfolded_nor_shown_to_the_surrogate() -> None:
    def picky(configuration: Configuration) -> float | None:
        return None if configuration[-1][0] == 1 else 0.5

    searcher, rounds = run(picky)
    for _, configurations in rounds:
        assert all(level[0] != 1 for c in configurations for level in c[:-1])
    known = searcher._scores  # pyright: ignore[reportPrivateUsage]
    assert all(c[-1][0] != 1 for c in known)


def test_a_draw_that_fails_whole_does_not_end_the_search() -> None:
    trained: list[Configuration] = []

    def third_step_fails(configuration: Configuration) -> float | None:
        trained.append(configuration)
        return None if 48 + 30 < len(trained) <= 48 + 45 else 0.5

    searcher, rounds = run(third_step_fails)
    assert searcher.ending == "all steps are done"
    assert prefixes(rounds[4][1]) <= set(rounds[1][1]) | set(rounds[2][1])


def test_a_first_level_that_fails_whole_ends_the_search_and_says_so() -> None:
    searcher, rounds = run(lambda _: None)
    assert len(rounds) == 1
    assert searcher.ending == "none of the candidates before step 1 could be trained"
    assert searcher.best(5) == []


@pytest.mark.parametrize(("inheritance", "synchronous"), [("trial", False), ("round", True)])
def test_candidates_inherit_within_a_round_unless_it_is_told_otherwise(
    inheritance: str, synchronous: bool
) -> None:
    _, rounds = run(inheritance=inheritance)
    assert {asked.synchronous for asked, _ in rounds} == {synchronous}


@pytest.mark.parametrize(
    ("sharing", "expected"),
    [
        ("shape", SharedLayer("h[2]")),
        ("variant", SharedLayer("h[2]", "leaky_relu")),
        ("none", None),
    ],
)
def test_layers_share_by_shape_or_by_activation_as_well(
    sharing: str, expected: SharedLayer | None
) -> None:
    _, rounds = run(sharing=sharing)
    for proposal in rounds[4][0].proposals:
        configuration = triplets(proposal)
        if configuration[1][2] == 3:
            assert (proposal.shares[1] if proposal.shares else None) == expected
        assert len(proposal.shares) == (0 if expected is None else 3)


@pytest.mark.parametrize("score", [-0.1, 1.5])
def test_scores_that_the_surrogate_cannot_predict_are_refused(score: float) -> None:
    with pytest.raises(FusegraphError) as error:
        run(lambda _: score)
    assert error.value.diagnostics[0].code == "E810"


def test_a_budget_beyond_the_space_trains_each_candidate_once_a_step() -> None:
    searcher = MfasSearch(
        space_of(PROGRESSIVE), MfasOptions(candidates=500, iterations=1, **QUICK), 0
    )
    sizes: list[int] = []
    while not searcher.done:
        proposals = searcher.ask().proposals
        sizes.append(len(proposals))
        searcher.tell([TrialResult(p.trial, 0.5) for p in proposals])
    assert sizes == [4, 16, 64]


def test_later_candidates_are_better_than_random_ones_where_there_is_something_to_learn() -> None:
    def deeper_features_are_better(configuration: Configuration) -> float:
        return sum((x + y) / 8 for x, y, _ in configuration) / len(configuration)

    mean = 5 / 8  # of all networks, at any depth
    last: list[float] = []
    for seed in range(2):
        searcher, rounds = run(
            deeper_features_are_better,
            seed,
            surrogate_hidden=100,
            surrogate_epochs=50,
        )
        last += map(deeper_features_are_better, rounds[-1][1])
        unseen = [(t, (4, 4, 1), t, (1, 1, 1)) for t in product((1, 2, 3), (1, 4), (2, 3))]
        predicted = searcher._surrogate.score(unseen)  # pyright: ignore[reportPrivateUsage]
        real = torch.tensor([deeper_features_are_better(c) for c in unseen])
        assert torch.corrcoef(torch.stack([predicted, real.double()]))[0, 1] > 0.95
    assert sum(last) / len(last) > mean + 0.03
