"""Every searcher of the registry passes the conformance suite."""

from __future__ import annotations

from typing import ClassVar

from fusegraph.searchers.registry import SEARCHERS
from gradient_conformance import GradientConformance
from searcher_conformance import FLAT, LIMITED, PROGRESSIVE, SearcherConformance

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


class TestBmNas(GradientConformance):
    name = "bm_nas"
    options: ClassVar = {"epochs": 3, "arch_learning_rate": 0.03}


class TestDarts(GradientConformance):
    name = "bm_nas"
    options: ClassVar = {"epochs": 2, "policies": "darts", "derive": "argmax", "alternate": "epoch"}


def test_every_searcher_is_in_the_suite() -> None:
    suites = (
        TestRandom,
        TestRandomAtLengths,
        TestMfas,
        TestMfasInTheReleasesOrder,
        TestMfasInheritingRoundByRound,
    )
    by_gradients = {suite.name for suite in (TestBmNas, TestDarts)}
    assert {suite.name for suite in suites} | by_gradients == set(SEARCHERS)
    assert PROGRESSIVE in TestMfas.spaces
