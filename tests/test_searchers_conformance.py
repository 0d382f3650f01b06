"""Every searcher of the registry passes the conformance suite."""

from __future__ import annotations

from typing import ClassVar

import pytest

from fusegraph.compiler.requirements import satisfied
from fusegraph.searchers.registry import SEARCHERS
from gradient_conformance import GradientConformance, drive
from searcher_conformance import (
    FLAT,
    GRAPHS,
    LIMITED,
    PROGRESSIVE,
    SearcherConformance,
    space_of,
)

SMALL_SURROGATE = {"surrogate_hidden": 6, "surrogate_epochs": 3}


class TestRandom(SearcherConformance):
    name = "random"
    options: ClassVar = {"trials": 14, "batch": 4}
    exhaustive: ClassVar = {"trials": 5000, "batch": 100}
    spaces = (LIMITED, FLAT)
    without_duplicates = True


class TestRandomAtLengths(SearcherConformance):
    name = "random"
    options: ClassVar = {"lengths": (2, 6, 6), "batch": 5}
    exhaustive: ClassVar = {"lengths": (100, 200, 300)}
    without_duplicates = True


class TestMfas(SearcherConformance):
    name = "mfas"
    options: ClassVar = {"candidates": 4, "iterations": 2, **SMALL_SURROGATE}
    exhaustive: ClassVar = {"candidates": 10_000, "iterations": 1, **SMALL_SURROGATE}


class TestMfasInTheReleasesOrder(SearcherConformance):
    name = "mfas"
    options: ClassVar = {
        "candidates": 3,
        "iterations": 2,
        "order": "release",
        "sharing": "variant",
        **SMALL_SURROGATE,
    }
    exhaustive: ClassVar = {
        "candidates": 10_000,
        "iterations": 1,
        "order": "release",
        **SMALL_SURROGATE,
    }


class TestMfasInheritingRoundByRound(SearcherConformance):
    name = "mfas"
    options: ClassVar = {
        "candidates": 4,
        "iterations": 2,
        "inheritance": "round",
        **SMALL_SURROGATE,
    }
    exhaustive: ClassVar = {"candidates": 10_000, "iterations": 1, **SMALL_SURROGATE}


class TestEvolution(SearcherConformance):
    name = "evolution"
    options: ClassVar = {"population": 5, "tournament": 3, "rounds": 9}
    exhaustive: ClassVar = {"population": 5000, "rounds": 0}
    spaces = (LIMITED, FLAT)


class TestEvolutionOfGraphs(SearcherConformance):
    name = "evolution"
    options: ClassVar = {
        "population": 5,
        "tournament": 3,
        "rounds": 5,
        "children": 2,
        "connections": "random",
        "inheritance": "parent",
    }
    exhaustive: ClassVar = {"population": 5000, "rounds": 0}
    spaces = (GRAPHS, LIMITED)


class TestEvolutionInheritingInRounds(SearcherConformance):
    name = "evolution"
    options: ClassVar = {
        "population": 4,
        "tournament": 2,
        "rounds": 4,
        "children": 3,
        "crossover": 0.5,
        "inheritance": "parent",
    }
    exhaustive: ClassVar = {"population": 5000, "rounds": 0}


class TestBmNas(GradientConformance):
    name = "bm_nas"
    options: ClassVar = {"epochs": 3, "arch_learning_rate": 0.03}


class TestDarts(GradientConformance):
    name = "bm_nas"
    options: ClassVar = {"epochs": 2, "policies": "darts", "derive": "argmax", "alternate": "epoch"}


class OfTheLastEpoch(GradientConformance):
    """The search ends with the genotype of the last epoch in which its architecture learned."""

    @pytest.mark.parametrize("seed", [0, 1])
    def test_best_is_best_and_honours_what_the_space_requires(self, text: str, seed: int) -> None:
        searcher = self.make(text, seed)
        assert searcher.best(3) == []
        epochs = drive(searcher)
        learnt = [e for e in epochs if e.event.arch_loss is not None and not e.event.violated]
        assert [e.event.best for e in epochs] == [e in learnt for e in epochs]
        [best] = searcher.best(3)
        last = learnt[-1]
        assert (best.genotype, best.score) == (last.genotype, last.event.valid_score)
        assert best.trial == last.event.epoch - 1


class TestParsec(OfTheLastEpoch):
    name = "parsec"
    options: ClassVar = {"epochs": 4, "samples": 3, "arch_learning_rate": 0.1}


class TestParsecInPhasesAtAPrice(OfTheLastEpoch):
    name = "parsec"
    options: ClassVar = {
        "samples": 4,
        "warmup": 0.5,
        "likelihood": "mean",
        "beta": 0.5,
        "measure": "parameters",
        "target": (20, 40),
        "phases": [
            {"decisions": ["logits.*"], "epochs": 2, "arch_learning_rate": 0.3},
            {"decisions": ["*.*"], "epochs": 2, "learning_rate": 0.02},
        ],
    }


class TestPerturbation(OfTheLastEpoch):
    name = "perturbation"
    options: ClassVar = {"epochs": 2, "networks": 3}


class TestConstrainedEvolution(GradientConformance):
    """While the supernet is trained nothing is chosen; then the best of all that were scored."""

    name = "constrained_evolution"
    options: ClassVar = {
        "epochs": 2,
        "population": 4,
        "parents": 2,
        "crossovers": 2,
        "mutations": 2,
        "generations": 2,
    }

    @pytest.mark.parametrize("seed", [0, 1])
    def test_best_is_best_and_honours_what_the_space_requires(self, text: str, seed: int) -> None:
        searcher = self.make(text, seed)
        assert searcher.best(3) == []
        epochs = drive(searcher)
        assert [e.event.best for e in epochs] == [False] * 2 + [True] * 3
        found = searcher.best(1000)
        assert 3 * 4 >= len(found) == len({scored.genotype.digest for scored in found}) >= 4
        assert [s.score for s in found] == sorted([s.score for s in found], reverse=True)
        assert all(satisfied(space_of(text), scored.genotype.settings) for scored in found)
        assert (found[0].genotype, found[0].score) == (
            epochs[-1].genotype,
            epochs[-1].event.valid_score,
        )
        assert epochs[found[0].trial].genotype == found[0].genotype
        assert {scored.trial for scored in found} == {2, 3, 4}


def test_every_searcher_is_in_the_suite() -> None:
    suites = (
        TestRandom,
        TestRandomAtLengths,
        TestMfas,
        TestMfasInTheReleasesOrder,
        TestMfasInheritingRoundByRound,
        TestEvolution,
        TestEvolutionOfGraphs,
        TestEvolutionInheritingInRounds,
    )
    by_gradients = {
        suite.name
        for suite in (TestBmNas, TestDarts, TestParsec, TestPerturbation, TestConstrainedEvolution)
    }
    assert {suite.name for suite in suites} | by_gradients == set(SEARCHERS)
    assert PROGRESSIVE in TestMfas.spaces
