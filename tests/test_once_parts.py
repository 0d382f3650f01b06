"""Decisions that are settled part by part, as the selection by perturbation settles them."""

from __future__ import annotations

from collections import Counter
from random import Random
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fusegraph.ir.decisions import Decision, KOf, OneOf, SomeOf
from fusegraph.searchers.once.parts import Part, whole
from fusegraph.searchers.parsec.laws import Law, law_of
from generators import some

LABELS = ("a", "b", "c", "d")
DECISIONS: list[Decision] = [
    OneOf("one", LABELS),
    KOf("two", LABELS, 2),
    KOf("all", LABELS, 4),
    KOf("again", LABELS[:3], 2, repeats=True),
    SomeOf("some", LABELS),
]


def law_with(decision: Decision, alpha: list[float]) -> Law:
    law = law_of(decision)
    assert law is not None
    with torch.no_grad():
        law.alpha.copy_(torch.tensor((alpha * len(law.alpha))[: len(law.alpha)]))
    return law


def possible(part: Part, decision: Decision) -> list[int]:
    """The candidates of the next part that leave something."""
    left = list(decision.settings())
    return [c for c in part.candidates if any(map(part.keeping(c).admits, left))]


@some(60)
@given(
    st.sampled_from(DECISIONS),
    st.lists(st.floats(-2, 2), min_size=1, max_size=5),
    st.integers(0, 10**6),
)
def test_without_a_candidate_the_law_is_that_of_what_is_left(
    decision: Decision, alpha: list[float], seed: int
) -> None:
    rng = Random(seed)
    law = law_with(decision, alpha)
    part = whole(law)
    for _ in range(rng.randrange(5)):
        if part.candidates:
            part = part.keeping(rng.choice(possible(part, decision)))
    for candidate in part.candidates:
        kept = part.keeping(candidate)
        left = [s for s in decision.settings() if part.admits(s) and not kept.admits(s)]
        draw = part.without(candidate)
        assert (draw is None) == (not left)
        if draw is not None:
            drawn = Counter(draw(rng) for _ in range(600))
            assert set(drawn) <= set(left)
            with torch.no_grad():
                expected = torch.softmax(law.log_probability(left), 0)
            for setting, probability in zip(left, expected.tolist(), strict=True):
                assert abs(drawn[setting] / 600 - probability) < 0.11


@some(60)
@given(st.sampled_from(DECISIONS), st.integers(0, 10**6))
def test_when_all_parts_are_settled_a_setting_is(decision: Decision, seed: int) -> None:
    rng = Random(seed)
    part = whole(law_with(decision, [0.3, -0.2]))
    while part.candidates:
        part = part.keeping(rng.choice(possible(part, decision)))
    assert decision.admits(part.setting)
    assert [s for s in decision.settings() if part.admits(s)] == [part.setting]
    assert part.drawing()(rng) == part.setting


@some(60)
@given(st.sampled_from(DECISIONS[:-1]), st.integers(0, 10**6))
def test_candidates_are_those_with_which_something_is_left(decision: Decision, seed: int) -> None:
    rng = Random(seed)
    part = whole(law_with(decision, [0.0]))
    while part.candidates:
        settings = list(decision.settings())
        numbers = range(len(decision.labels))
        left = [number for number in numbers if any(map(part.keeping(number).admits, settings))]
        assert [*part.candidates] == left
        part = part.keeping(rng.choice(left))


@pytest.mark.parametrize("decision", DECISIONS, ids=lambda decision: decision.key)
def test_settings_are_looked_through_once_for_all_candidates_of_a_part(
    decision: Decision, monkeypatch: pytest.MonkeyPatch
) -> None:
    part = whole(law_with(decision, [0.0]))
    passes: list[Decision] = []
    for kind in (OneOf, KOf, SomeOf):
        real = kind.settings

        def settings(self: Any, real: Any = real) -> Any:
            passes.append(self)
            return real(self)

        monkeypatch.setattr(kind, "settings", settings)
    assert part.candidates
    assert part.probabilities
    assert len(passes) <= isinstance(decision, KOf)


@pytest.mark.parametrize("decision", DECISIONS, ids=lambda decision: decision.key)
def test_candidates_of_a_part_split_what_is_left(decision: Decision) -> None:
    part = whole(law_with(decision, [0.0]))
    assert part.candidates
    for setting in decision.settings():
        assert any(part.keeping(candidate).admits(setting) for candidate in part.candidates)
