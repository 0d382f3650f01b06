"""Every kind of decision: what it counts, lists, draws, changes, prints and reads agrees."""

from __future__ import annotations

from collections import Counter
from random import Random

import pytest

from fusegraph.ir.decisions import Decision, KOf, OneOf, OpenNumber, Setting, SomeOf, UnknownLabel

LABELS = ("a", "b[1]", "b[2]", "conv(kernel=3)")
DECISIONS = [
    OneOf("x", LABELS),
    OneOf("x", ("only",)),
    OpenNumber("x", ("64", "96", "128")),
    KOf("x", LABELS, 1),
    KOf("x", LABELS, 2),
    KOf("x", LABELS, 4),
    KOf("x", LABELS, 2, repeats=True),
    KOf("x", LABELS[:2], 3, repeats=True),
    SomeOf("x", LABELS),
    SomeOf("x", LABELS[:1]),
]
_each = pytest.mark.parametrize(
    "decision", DECISIONS, ids=lambda d: f"{type(d).__name__}-{d.count()}"
)


@_each
def test_the_settings_are_as_many_as_counted_all_different_and_admitted(decision: Decision) -> None:
    settings = list(decision.settings())
    assert len(settings) == len(set(settings)) == decision.count()
    assert all(decision.admits(setting) for setting in settings)


@_each
def test_what_is_no_setting_is_not_admitted(decision: Decision) -> None:
    known = set(decision.settings())
    size = len(decision.labels)
    tried: list[Setting] = [(), (size,), (-1,), *[(a, b) for a in range(size) for b in range(size)]]
    assert [s for s in tried if decision.admits(s)] == [s for s in tried if s in known]


@_each
def test_settings_are_drawn_uniformly(decision: Decision) -> None:
    rng = Random(0)
    draws = 400 * decision.count()
    found = Counter([decision.sample(rng) for _ in range(draws)])
    assert found.keys() == set(decision.settings())
    # 400 expected each, with a standard deviation of 20 at most.
    assert all(300 < times < 500 for times in found.values()) or decision.count() == 1


@_each
def test_neighbours_are_mutual_and_lead_everywhere(decision: Decision) -> None:
    near = {s: list(decision.neighbours(s)) for s in decision.settings()}
    for setting, others in near.items():
        assert setting not in others
        assert len(others) == len(set(others))
        assert all(setting in near[other] for other in others)
    reached, frontier = set[Setting](), [next(decision.settings())]
    while frontier:
        setting = frontier.pop()
        if setting not in reached:
            reached.add(setting)
            frontier += near[setting]
    assert reached == near.keys()


@_each
def test_a_mutation_draws_from_the_neighbours(decision: Decision) -> None:
    rng = Random(0)
    for setting in decision.settings():
        near = set(decision.neighbours(setting)) or {setting}
        assert {decision.mutate(setting, rng) for _ in range(60 * len(near))} == near


@_each
def test_a_child_takes_what_its_parents_take(decision: Decision) -> None:
    rng = Random(0)
    for first in decision.settings():
        for second in decision.settings():
            child = decision.cross(first, second, rng)
            assert decision.admits(child)
            assert set(child) <= {*first, *second}
            if first == second:
                assert child == first


@_each
def test_a_setting_is_printed_read_and_encoded(decision: Decision) -> None:
    for setting in decision.settings():
        text = decision.format(setting)
        assert decision.parse([decision.labels[index] for index in setting]) == setting
        assert all(decision.labels[index] in text for index in setting)
        assert sum(decision.encode(setting)) == len(setting)
    with pytest.raises(UnknownLabel):
        decision.parse(["z"])
