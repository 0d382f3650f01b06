"""The bounds of a space hold for each of its genotypes, and rule out nothing that one has."""

from __future__ import annotations

from collections.abc import Mapping
from random import Random
from typing import Any

import pytest
from hypothesis import given

from fusegraph.compiler import explore
from fusegraph.compiler.cost_bounds import Bounds, cost_bounds, unreachable
from fusegraph.compiler.count import count
from fusegraph.compiler.explore import BEFORE_BOUNDS, enumerate_genotypes, sample
from fusegraph.compiler.measures import counted
from fusegraph.compiler.partial_costs import PartialCosts
from fusegraph.compiler.polynomial import ExpectedCost
from fusegraph.compiler.specialise import specialise
from fusegraph.ir.decisions import Setting
from fusegraph.ir.diagnostics import FusegraphError
from fusegraph.ir.dsl import load, loads
from fusegraph.ir.graph import COUNTED, Graph, graph
from generators import programs, some
from repository import ROOT

MOST = 400
"""Genotypes of a space that are all looked at."""


def small(body: str) -> Graph:
    return loads(
        f"""fuse 1
space s {{
  dim N
  input x: f32[N, 4]
  input y: f32[N, 4]
{body}
}}"""
    ).graph


def free(space: Graph) -> Graph:
    return graph(space.name, space.inputs, space.outputs)


def reached(space: Graph, measure: str) -> list[float]:
    """What each genotype has."""
    return [
        float(counted(specialise(space, genotype))[measure])
        for genotype in enumerate_genotypes(free(space))
    ]


WIDE = "  output o = linear(x, out=?w of {2, 3, 8})"
CASES: Mapping[str, str] = {
    "one width": WIDE,
    "the fewest of nothing": "  output o = ?op of {relu(linear(x, out=4)), x}",
    "two decisions of one node": "  a = linear(x, out=?w of {2, 5})\n"
    "  output o = linear(a, out=?v of {3, 7})",
    "equal nodes are one": "  a = tanh(relu(?l of {x, y}))\n  b = tanh(relu(?r of {x, y}))\n"
    "  output o = concat(a, b, ?s of {tanh(relu(x)), y})",
    "tied weights": "  share f = linear(out=4)\n"
    "  output o = concat(?l of {f(x), x}, ?r of {f(y), f(x), y})",
    "a subset": "  a = linear(x, out=4)\n  output o = sum(?some some of {x, a, relu(a), relu(y)})",
    "a depth": "  h[0] = x\n"
    "  for l in 1..4 { h[l] = ?act of {relu, tanh}(linear(h[l - 1], out=4)) }\n"
    "  output o = ?depth of h[1..4]",
}


@pytest.mark.parametrize("case", CASES)
def test_the_bounds_are_reached_where_nothing_is_settled_twice(case: str) -> None:
    space = small(CASES[case])
    bounds = cost_bounds(space)
    assert set(bounds) == set(COUNTED)
    for measure, (least, most) in bounds.items():
        found = reached(space, measure)
        assert (least, most) == (min(found), max(found))


def test_a_setting_that_no_part_names_pays_nothing() -> None:
    (decision,) = small(WIDE).decisions.values()

    def bounds(*parts: tuple[tuple[int, ...], float]) -> Bounds:
        paid = [(((decision.key, places),), (cost, 0.0, 0.0)) for places, cost in parts]
        terms = (((0,), tuple(paid)),)
        found = ExpectedCost({decision.key: decision}, (), terms)
        return PartialCosts(found).bounds({})["parameters"]

    assert bounds(((0,), 3.0), ((2,), 4.0)) == (0, 4)
    assert bounds(((0, 1), 3.0), ((2,), 4.0), ((1, 2), 1.0)) == (3, 5)


@some(100)
@given(programs(4))
def test_the_bounds_hold_for_every_space(program: Any) -> None:
    space = free(program.graph)
    if count(space).genotypes > MOST:
        return
    for measure, (least, most) in cost_bounds(space).items():
        found = reached(space, measure)
        assert least <= min(found)
        assert max(found) <= most


@pytest.mark.parametrize("relation", ["==", "<", "<=", ">", ">="])
@pytest.mark.parametrize("side", ["{m} {r} {n}", "{n} {r} {m}", "7 - 3 * {m} {r} 7 - 3 * {n}"])
def test_only_what_no_genotype_has_is_ruled_out(relation: str, side: str) -> None:
    possible: set[bool] = set()
    for number in (1, 9, 11, 15, 16, 39, 41, 90):  # 10, 15 and 40 are had
        text = side.format(m="parameters", r=relation, n=number)
        space = small(f"  require {text}\n{WIDE}")
        possible.add(some_do := bool(list(enumerate_genotypes(space))))
        between = 10 < number < 40
        assert bool(unreachable(space)) == (not some_do and not between)
    assert possible == {False, True}


def test_nothing_is_said_of_what_has_no_bounds() -> None:
    body = "  let w = ?w of {2, 3}\n  require {r}\n  output o = linear(x, out=w)"
    for text in ("w > 3", "parameters > 100 * w", "min(5, parameters) > 100", "latency < 1"):
        assert not unreachable(small(body.replace("{r}", text)))
    entangled = load(ROOT / "examples" / "bm_nas" / "ntu.fuse").graph
    assert set(cost_bounds(entangled)) == {"parameters"}


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """One for each genotype that is drawn."""
    found: list[int] = []
    walk = explore.walk

    def counting(*arguments: Any) -> dict[str, Setting]:
        found.append(1)
        return walk(*arguments)

    monkeypatch.setattr(explore, "walk", counting)
    return found


def test_what_is_out_of_reach_is_told_after_few_draws(drawn: list[int]) -> None:
    with pytest.raises(FusegraphError, match="E503") as error:
        sample(small(f"  require flops in 1 .. 5\n{WIDE}"), Random(0))
    assert len(drawn) == BEFORE_BOUNDS
    notes = error.value.diagnostics[0].notes
    assert notes == (
        "`flops <= 5`: every genotype has 16 to 64 against 5",
        "`flops <= 5`: the nearest that can be reached is 16 against 5",
    )


def test_what_lies_between_the_bounds_is_told_after_few_draws_as_well(drawn: list[int]) -> None:
    space = small(f"  require parameters == 20\n{WIDE}")
    assert not unreachable(space)
    with pytest.raises(FusegraphError, match="E503") as error:
        sample(space, Random(0))
    assert len(drawn) == BEFORE_BOUNDS
    told = error.value.diagnostics[0]
    assert told.message == "no genotype of `s` satisfies its `require`"
    assert "`parameters == 20`: the nearest that can be reached is 15 against 20" in told.notes


def test_a_full_size_space_tells_at_once() -> None:
    space = load(
        ROOT / "examples" / "two_stream" / "space.fuse", {"least": "1000", "most": "2000"}
    ).graph
    (note,) = unreachable(space)
    assert note.startswith("`macs >= 1000000000000`: every genotype has ")
