"""Genotypes that satisfy `require` are found by the bounds of costs, and no others."""

from __future__ import annotations

import re
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fusegraph.compiler import satisfying as module
from fusegraph.compiler.cost_bounds import partial_costs
from fusegraph.compiler.count import count
from fusegraph.compiler.explore import enumerate_genotypes, holds, refuse_unreachable, sample
from fusegraph.compiler.measures import counted
from fusegraph.compiler.requirements import satisfied
from fusegraph.compiler.satisfying import GivenUp, Satisfying, satisfying
from fusegraph.compiler.specialise import specialise
from fusegraph.ir.diagnostics import FusegraphError
from fusegraph.ir.dsl import loads
from fusegraph.ir.graph import Graph, Requirement, graph
from generators import programs, some
from repository import ROOT

MOST = 300
"""Genotypes of a space that are all looked at."""
SMALLEST = 5_366_056
LARGEST = 10_517_272
"""Parameters in the T space, by the closed formulas of `test_elastic_spaces.py`."""


def search_of(space: Graph) -> Satisfying:
    found = satisfying(space)
    assert found is not None
    return found


def within(space: Graph, *limits: tuple[str, float]) -> Graph:
    """The space with these requirements alone."""
    from fusegraph.ir.dims import Symbol, expression

    requires = [Requirement(expression(Symbol("parameters")), r, int(n)) for r, n in limits]
    return graph(space.name, space.inputs, space.outputs, requires)


def t_space(*limits: str) -> Graph:
    text = (ROOT / "examples" / "elastic" / "tiny.fuse").read_text("utf-8")
    lines = "".join([f"  require {limit}\n" for limit in limits])
    return loads(text.replace("  input", f"{lines}  input", 1)).graph


def refused(space: Graph) -> Any:
    with pytest.raises(FusegraphError, match="E503") as error:
        sample(space, Random(0))
    return error.value.diagnostics[0]


# ── bounds with some decisions settled ───────────────────────────────────────────────────────────


@some(80)
@given(programs(4), st.integers(0, 2**32))
def test_bounds_hold_for_all_genotypes_with_these_settings(program: Any, seed: int) -> None:
    space, rng = within(program.graph), Random(seed)
    costs = partial_costs(space)
    if costs is None or count(space).genotypes > MOST:
        return
    every = [(g.settings, counted(specialise(space, g))) for g in enumerate_genotypes(space)]
    settings, itself = every[rng.randrange(len(every))]
    for name, (least, most) in costs.bounds(settings).items():
        assert least == most == itself[name]
    some_of_them = {key: s for key, s in settings.items() if rng.random() < 0.5}
    with_these = [found for have, found in every if some_of_them.items() <= have.items()]
    for name, (least, most) in costs.bounds(some_of_them).items():
        found = [float(each[name]) for each in with_these]
        assert least <= min(found)
        assert max(found) <= most


@some(80)
@given(programs(4), st.integers(0, 2**32))
def test_what_holds_is_what_counting_the_network_says(program: Any, seed: int) -> None:
    free, rng = within(program.graph), Random(seed)
    if count(free).genotypes > MOST:
        return
    every = list(enumerate_genotypes(free))
    limit = int(counted(specialise(free, rng.choice(every)))["parameters"])
    space = within(free, (rng.choice(("<", "<=", "==", "!=", ">=", ">")), limit))
    for genotype in every:
        assert holds(space, genotype.settings) == satisfied(space, genotype.settings)


@pytest.mark.parametrize("limit", ["0.14 * parameters <= 7", "0.58 * parameters >= 29"])
def test_a_limit_is_compared_without_rounding(limit: str) -> None:
    # In float64 0.14 * 50 is above 7, and 0.58 * 50 below 29.
    space = loads(
        "fuse 1\nspace s {\n  dim N\n  input x: f32[N, 4]\n"
        f"  require {limit}\n  output y = linear(x, out=?w of {{9, 10, 11}})\n}}"
    ).graph
    search_of(space)
    assert holds(space, {"y.w": (1,)})
    for setting in space.decisions["y.w"].settings():
        assert holds(space, {"y.w": setting}) == satisfied(space, {"y.w": setting})


# ── what is found ────────────────────────────────────────────────────────────────────────────────


@some(80)
@given(programs(4), st.integers(0, 2**32))
def test_each_genotype_that_satisfies_is_found_once(program: Any, seed: int) -> None:
    free, rng = within(program.graph), Random(seed)
    if count(free).genotypes > MOST or satisfying(free) is None:
        return
    every = list(enumerate_genotypes(free))
    had = [int(counted(specialise(free, g))["parameters"]) for g in every]
    limit = rng.choice(had) + rng.choice((-1, 0, 1))
    space = within(free, (rng.choice(("<", "<=", "==", ">=", ">")), limit))
    wanted = [g.items for g in enumerate_genotypes(space)]
    found = [tuple(settings.items()) for settings in search_of(space).each(rng)]
    assert sorted(found) == sorted(wanted)


def test_what_hardly_any_draw_satisfies_is_found() -> None:
    space = t_space(f"parameters < {SMALLEST + 200_000}", f"parameters > {SMALLEST}")
    assert search_of(space).rare
    found = [sample(space, Random(seed)) for seed in range(3)]
    assert [sample(space, Random(seed)) for seed in range(3)] == found
    assert len(set(found)) == 3
    for genotype in found:
        parameters = counted(specialise(space, genotype))["parameters"]
        assert SMALLEST < parameters < SMALLEST + 200_000


def test_the_one_smallest_network_of_a_billion_is_found() -> None:
    space = t_space("parameters <= 5400000")
    genotype = sample(space, Random(0))
    assert counted(specialise(space, genotype))["parameters"] == SMALLEST


def test_sizes_that_must_agree_are_found_without_costs() -> None:
    widths = "".join([f"  let w{i} = ?w{i} of {{2, 3}}\n" for i in range(30)])
    equal = "".join([f"  require w{i} == w0\n" for i in range(1, 30)])
    space = loads(
        f"fuse 1\nspace s {{\n  dim N\n  input x: f32[N, 4]\n{widths}{equal}"
        "  output y = linear(x, out=w0)\n}"
    ).graph
    settings = sample(space, Random(1)).settings
    assert len(settings) == 30
    assert len(set(settings.values())) == 1


def test_a_search_that_is_too_long_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_TRIED", 30)
    with pytest.raises(GivenUp):
        list(search_of(t_space("parameters <= 8000000")).each(Random(0)))


# ── what is told ─────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("limit", "value"),
    [
        ("parameters <= 5000000", SMALLEST),
        (f"parameters < {SMALLEST}", SMALLEST),
        ("parameters >= 11000000", LARGEST),
        ("macs <= 1e9", 1_345_368_576),
    ],
)
def test_an_impossible_limit_is_told_with_the_value_that_comes_nearest(
    limit: str, value: int
) -> None:
    space = t_space(limit)
    with pytest.raises(FusegraphError, match="E503") as error:
        refuse_unreachable(space)
    told = error.value.diagnostics[0]
    assert told.message == "no genotype of `tiny` satisfies its `require`"
    assert any(f"the nearest that can be reached is {value} against" in n for n in told.notes)
    assert any(re.search(rf"every genotype has .*\b{value}\b", note) for note in told.notes)


def test_what_can_be_had_alone_but_not_together_is_told() -> None:
    space = t_space("parameters <= 6000000", "macs >= 2000000000")
    refuse_unreachable(space)  # bounds of the whole space leave each of the two
    told = refused(space)
    assert told.message == "no genotype of `tiny` satisfies its `require`"
    assert {note.split("`: the nearest")[0] for note in told.notes if "nearest" in note} <= {
        "`parameters <= 6000000",
        "`macs >= 2000000000",
    }


@some(80)
@given(programs(4), st.integers(0, 2**32))
def test_the_nearest_value_is_that_of_trying_all(program: Any, seed: int) -> None:
    free, rng = within(program.graph), Random(seed)
    if count(free).genotypes > MOST or satisfying(free) is None:
        return
    had = [int(counted(specialise(free, g))["parameters"]) for g in enumerate_genotypes(free)]
    limit = rng.randrange(min(had), max(had) + 2)
    notes = search_of(within(free, ("==", limit))).nearest()
    nearest = min(abs(value - limit) for value in had)
    if nearest == 0:
        assert notes == ()
        return
    (note,) = notes
    (value,) = re.findall(r"the nearest that can be reached is (\d+) against", note)
    assert int(value) in had
    assert abs(int(value) - limit) == nearest
