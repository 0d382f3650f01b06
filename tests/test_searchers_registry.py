"""Searchers by name, their options, and the spaces that they say they cannot handle."""

from __future__ import annotations

from math import inf, nan
from typing import Any, get_type_hints

import pytest

from fusegraph.ir.diagnostics import Diagnostic, FusegraphError
from fusegraph.searchers.option_pages import OPTIONS
from fusegraph.searchers.progression import progression_of
from fusegraph.searchers.registry import SEARCHERS, Registered, make_searcher
from searcher_conformance import FLAT, PROGRESSIVE, space_of


def refusal(
    name: str, text: str = PROGRESSIVE, options: dict[str, Any] | None = None
) -> Diagnostic:
    with pytest.raises(FusegraphError) as error:
        make_searcher(name, space_of(text), options)
    assert len(error.value.diagnostics) == 1
    found = error.value.diagnostics[0]
    assert found.help
    assert found.place
    return found


def layers(first: str, later: str, top: str) -> str:
    return f"""fuse 1
space toy {{
  dim N
  for i in 1..3 {{ input x[i]: f32[N, 4] }}
  h[1] = {first}
  for l in 2..3 {{ h[l] = {later} }}
  output logits = linear({top}, out=3)
}}
"""


def test_an_unknown_searcher_is_answered_with_the_nearest() -> None:
    found = refusal("mfsa")
    assert (found.code, found.help) == ("E801", "write `mfas`")


def test_an_unknown_option_is_answered_with_the_nearest() -> None:
    found = refusal("mfas", options={"candidate": 5})
    assert (found.code, found.help) == ("E802", "write `candidates`")


@pytest.mark.parametrize(
    ("name", "options", "expected"),
    [
        ("mfas", {"candidates": "15"}, "takes a whole number, not '15'"),
        ("mfas", {"candidates": True}, "takes a whole number, not true"),
        ("mfas", {"order": "both"}, "takes one of 'paper', 'release', not 'both'"),
        ("mfas", {"sigma": "wide"}, "takes a number, not 'wide'"),
        ("mfas", {"variants": "act"}, "takes a list of texts, not 'act'"),
        ("mfas", {"candidates": 0}, "at least 1"),
        ("mfas", {"end_temperature": 0}, "above 0"),
        ("random", {"trials": 0}, "at least 1"),
        ("random", {"lengths": [1, "2"]}, "takes a whole number, not '2'"),
        ("random", {"lengths": [0, 0]}, "one that is positive"),
        ("random", {"lengths": [1, 1, 1, 1]}, "networks of 4 levels"),
    ],
)
def test_an_option_out_of_its_range_is_refused(
    name: str, options: dict[str, Any], expected: str
) -> None:
    found = refusal(name, options=options)
    assert found.code == "E802"
    assert expected in found.message


_NUMBERS = [
    (searcher, name)
    for searcher, kind in OPTIONS.items()
    for name, hint in get_type_hints(kind()).items()
    if hint is float
]


@pytest.mark.parametrize(("name", "option"), _NUMBERS)
@pytest.mark.parametrize("value", [nan, inf, -inf, 10**400])
def test_numbers_of_options_are_finite(name: str, option: str, value: float) -> None:
    found = refusal(name, options={option: value})
    assert found.code == "E802"
    assert f"the option `{option}` of the searcher `{name}` takes a finite number" in found.message


def test_whole_numbers_are_numbers_too() -> None:
    make_searcher("mfas", space_of(PROGRESSIVE), {"start_temperature": 5})


def test_mfas_refuses_a_space_without_a_progression() -> None:
    found = refusal("mfas", FLAT)
    assert found.code == "E803"
    assert found.message == "MFAS needs a progression, and `flat` has none"
    assert any("logits.which" in note for note in found.notes)


def test_a_depth_that_is_not_open_is_no_progression() -> None:
    text = layers("relu(linear(?x of x[*], out=4))", "relu(linear(h[l - 1], out=4))", "h[3]")
    assert refusal("mfas", text).code == "E803"


def test_a_choice_among_layers_that_reach_nothing_more_is_no_progression() -> None:
    text = layers("linear(?x of x[*], out=4)", "linear(h[l - 1], out=4)", "?layers of h[*]")
    found = refusal("mfas", text)
    assert found.code == "E803"
    assert any("does not reach more than a shallower" in note for note in found.notes)


def test_what_depends_on_other_decisions_as_well_is_no_progression() -> None:
    text = layers(
        "linear(?x of x[*], out=4)",
        "linear(concat(?x of {x[1], relu(linear(?deep of x[*], out=4))}, h[l - 1]), out=4)",
        "?layers of h[*]",
    )
    found = refusal("mfas", text)
    assert found.code == "E803"
    assert any("depends on `h[2].x` as well" in note for note in found.notes)


def test_levels_must_have_equally_many_decisions() -> None:
    text = layers(
        "linear(?x of x[*], out=4)",
        "?act of {relu, tanh}(linear(concat(?x of x[*], h[l - 1]), out=4))",
        "?layers of h[*]",
    )
    found = refusal("mfas", text)
    assert found.code == "E804"
    assert found.message.endswith("`logits.layers` reaches 1, 2, 2")
    assert found.notes[0] == "level 1 (h[1]): `h[1].x`"


def test_an_open_number_outside_the_levels_counts_into_the_first() -> None:
    text = PROGRESSIVE.replace("dim N", "dim N\n  let W = ?w of {4, 8}").replace("out=4", "out=W")
    found = refusal("mfas", text)
    assert found.code == "E804"
    assert "`w`" in " ".join(found.notes)


def test_levels_must_be_small_enough_to_try_every_option() -> None:
    text = layers(
        "relu(linear(concat(?x 3 of y[*]), out=4))",
        "relu(linear(concat(?x 3 of y[*], h[l - 1]), out=4))",
        "?layers of h[*]",
    ).replace("for i in 1..3 { input x[i]", "for i in 1..60 { input y[i]")
    found = refusal("mfas", text)
    assert found.code == "E804"
    assert "34,220" in found.message


def test_a_progression_may_be_written_in_any_order_and_of_any_kind_of_decision() -> None:
    text = layers(
        "relu(linear(concat(?x 2 of x[*]), out=4))",
        "relu(linear(concat(?x 2 of x[*], h[l - 1]), out=4))",
        "?layers of {h[3], h[1], h[2]}",
    )
    progression = progression_of(space_of(text), "MFAS")
    assert progression.depths == (1, 2, 0)
    assert progression.options(1) == [(1,), (2,), (3,)]
    assert progression.count(3) == 27
    genotype = progression.genotype(((3,), (1,)))
    assert genotype is not None
    assert dict(genotype.items) == {"h[1].x": (1, 2), "h[2].x": (0, 1), "logits.layers": (2,)}
    assert progression.paths(1) == ("h[2]",)
    assert progression.labels(((3,), (1,)), 0, "x") == "{x[2], x[3]}"


def planned(name: str, options: dict[str, Any], budget: int | None) -> int:
    return make_searcher(name, space_of(PROGRESSIVE), options, budget=budget).planned


@pytest.mark.parametrize("order", ["paper", "release"])
def test_mfas_takes_the_most_candidates_that_a_budget_allows(order: str) -> None:
    options = {"order": order, "iterations": 2}
    first, second = (planned("mfas", {**options, "candidates": k}, None) for k in (1, 2))
    for budget in range(first, first + 3 * (second - first)):
        taken = planned("mfas", options, budget)
        assert taken <= budget < taken + second - first


def test_mfas_refuses_a_budget_below_one_candidate_a_step() -> None:
    least = planned("mfas", {"candidates": 1}, None)
    with pytest.raises(FusegraphError) as error:
        planned("mfas", {}, least - 1)
    found = error.value.diagnostics[0]
    assert found.code == "E812"
    assert found.message.startswith(f"`mfas` trains at least {least} networks")
    assert f"a budget of {least} or more" in found.help


def test_random_search_takes_as_many_trials_as_its_budget() -> None:
    assert planned("random", {"trials": 50}, 7) == 7
    assert planned("random", {"lengths": [1, 2, 2]}, 7) == 5


def test_random_search_refuses_a_budget_below_its_lengths() -> None:
    with pytest.raises(FusegraphError, match=r"E812.*at least 5 networks"):
        planned("random", {"lengths": [1, 2, 2]}, 4)


def test_a_budget_is_not_looked_at_where_it_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    deaf = Registered(SEARCHERS["random"].make)
    monkeypatch.setattr("fusegraph.searchers.registry.SEARCHERS", {"deaf": deaf})
    assert planned("deaf", {"trials": 9}, 4) == 9


LEVELLED = """fuse 1
space levelled {
  dim N
  input x: f32[N, 8]
  levels v {
    level 0 width 8 { linear(x, out=width) }
    level 1 width 8 { ?act of {relu, tanh}(linear(concat(?from some of v[<1]), out=width)) }
  }
  output logits = linear(concat(v[1][*]), out=2)
}
"""


def test_a_levelled_graph_is_left_to_those_that_draw_networks() -> None:
    found = refusal("parsec", LEVELLED)
    assert found.code == "E814"
    assert found.help == "take a searcher that draws networks: `evolution` or `random`"
