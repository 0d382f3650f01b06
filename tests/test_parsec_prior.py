"""Networks that are drawn from P(A | alpha) where hardly any satisfies what is required."""

from __future__ import annotations

from collections import Counter
from random import Random

import pytest
import torch

from fusegraph.compiler.requirements import satisfied
from fusegraph.ir.decisions import Decision, KOf, OneOf, SomeOf
from fusegraph.ir.diagnostics import FusegraphError
from fusegraph.searchers.once.options import PerturbationOptions
from fusegraph.searchers.once.topology import Topology
from fusegraph.searchers.parsec.laws import law_of
from fusegraph.searchers.parsec.prior import Prior, by_lot
from searcher_conformance import space_of

# Those of widths 2 and 3 satisfy it, 256 networks of 16 million.
NARROW = """fuse 1
space narrow {
  dim N
  input x: f32[N, 2]
  h[0] = x
  for i in 1..8 { h[i] = linear(h[i - 1], out=?w of {2, 3, 24, 32, 48, 64, 96, 128}) }
  output logits = linear(h[8], out=1)
  require parameters <= 97
}
"""


def test_networks_are_found_by_bounds_where_hardly_any_draw_satisfies() -> None:
    space = space_of(NARROW)
    topology = Topology(Prior(space), PerturbationOptions(drawn="required"))
    for seed in range(5):
        assert satisfied(space, topology.draw(Random(seed)))


def test_by_bounds_too_each_decision_is_drawn_by_its_law_and_what_is_fixed_stays() -> None:
    space = space_of(NARROW)
    prior = Prior(space)
    with torch.no_grad():
        prior.laws["h[2].w"].alpha[1] = 1.0
    fixed = {"h[5].w": (1,)}
    drawn = prior.draw(Random(0), 400, fixed)
    assert all(settings["h[5].w"] == (1,) for settings in drawn)
    shares = [
        sum(settings[key] == (1,) for settings in drawn) / 400 for key in ("h[2].w", "h[3].w")
    ]
    assert shares == pytest.approx([0.731, 0.5], abs=0.08)


def test_where_what_is_fixed_leaves_nothing_the_nearest_is_told() -> None:
    with pytest.raises(FusegraphError) as refused:
        Prior(space_of(NARROW)).draw(Random(0), 1, {"h[5].w": (7,)})
    [found] = refused.value.diagnostics
    assert found.code == "E503"
    assert any("parameters" in note for note in found.notes)


@pytest.mark.parametrize(
    "decision",
    [OneOf("one", ("a", "b", "c")), KOf("two", ("a", "b", "c"), 2), SomeOf("some", ("a", "b"))],
    ids=lambda decision: decision.key,
)
def test_settings_come_by_lot_each_by_the_law_among_those_that_are_left(
    decision: Decision,
) -> None:
    law = law_of(decision)
    assert law is not None
    with torch.no_grad():
        law.alpha.copy_(torch.tensor([0.8, -0.5, 0.1][: len(law.alpha)]))
        settings = list(decision.settings())
        first = law.log_probability(settings).exp().tolist()
    rng = Random(0)
    orders = [by_lot(law, rng) for _ in range(2000)]
    assert all(sorted(order) == sorted(settings) for order in orders)
    firsts = Counter(order[0] for order in orders)
    assert [firsts[s] / 2000 for s in settings] == pytest.approx(first, abs=0.04)
    seconds = Counter(order[1] for order in orders if order[0] == settings[0])
    left = [p / sum(first[1:]) for p in first[1:]]
    found = [seconds[s] / seconds.total() for s in settings[1:]]
    assert found == pytest.approx(left, abs=0.06)
