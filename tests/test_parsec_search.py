"""The search by PARSEC: what it finds, its phases and its price, what it refuses."""

from __future__ import annotations

from collections.abc import Iterable
from fnmatch import fnmatchcase
from itertools import pairwise
from math import inf, nan
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fusegraph.ir.diagnostics import Diagnostic, FusegraphError
from fusegraph.pipeline.architecture import architecture_of
from fusegraph.pipeline.events import EventLog, read_events
from fusegraph.report.learning import learning
from fusegraph.searchers.parsec.options import ParsecOptions, Phase, matches, within_budget
from fusegraph.searchers.protocol import Epoch
from fusegraph.searchers.registry import make_searcher
from fusegraph.training.containers import read_container, write_container
from fusegraph.training.settings import TrainSettings
from generators import some
from gradient_conformance import EDGES, LIMITED, SETTINGS, STATE, SmallData, run
from searcher_conformance import PROGRESSIVE, space_of
from test_bm_nas_search import PAIRS, ManyLabels, TwoOfFour

WIDTHS = """fuse 1
space widths {
  dim N
  for i in 1..3 { input x[i]: f32[N, 4] }
  h[1] = relu(linear(x[1], out=?width of {4, 8, 16, 32}))
  h[2] = relu(linear(x[2], out=?width of {4, 8, 16, 32}))
  output logits = linear(concat(h[*]), out=3)
}
"""


class Silent(SmallData):
    """Inputs of zeros: no network is likelier than another one."""

    def source(self, split: str, inputs: Iterable[str], *, batch: int, device: torch.device) -> Any:
        found = super().source(split, inputs, batch=batch, device=device)
        for value in found.batches.inputs.values():
            value.zero_()
        return found


def searched(
    text: str, data: Any, settings: TrainSettings = SETTINGS, seed: int = 0, **options: Any
) -> list[Epoch]:
    searcher = make_searcher("parsec", space_of(text), options, seed)
    done = [*searcher.begin(data, settings, None)]
    while not searcher.done:
        done.append(searcher.epoch())
    return done


def refusal(text: str, **options: Any) -> Diagnostic:
    with pytest.raises(FusegraphError) as refused:
        make_searcher("parsec", space_of(text), options)
    [found] = refused.value.diagnostics
    assert found.help
    assert found.place
    return found


# ── what it finds ────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(("seed", "likelihood"), [(0, "sum"), (1, "sum"), (2, "sum"), (2, "mean")])
def test_it_finds_the_two_inputs_that_tell_something(seed: int, likelihood: str) -> None:
    settings = TrainSettings(batch=32, learning_rate=0.1, device="cpu", precision="float32")
    options = {"epochs": 20, "arch_learning_rate": 0.05, "likelihood": likelihood}
    epochs = searched(PAIRS, TwoOfFour(seed), settings, seed, **options)
    first, last = epochs[0].event, epochs[-1].event
    assert epochs[-1].genotype.settings["c.inputs"] == (1, 3)
    assert last.entropies["c.inputs"] < 0.5 < first.entropies["c.inputs"] == 1
    assert last.valid_score > 0.9


def test_many_labels_are_learnt_too() -> None:
    for epoch in searched(EDGES, ManyLabels(), epochs=2, samples=3):
        assert 0 <= epoch.event.valid_score <= 1


def test_while_it_warms_up_networks_are_drawn_alike_and_none_is_chosen() -> None:
    epochs = searched(EDGES, SmallData(), epochs=8, arch_learning_rate=0.1)
    assert [e.event.arch_loss is None for e in epochs] == [True] * 2 + [False] * 6
    assert [e.event.best for e in epochs] == [False] * 2 + [True] * 6
    assert all(entropy == 1 for e in epochs[:2] for entropy in e.event.entropies.values())
    assert epochs[2].event.weights != epochs[1].event.weights


def test_a_genotype_that_fails_a_require_gives_way_to_one_that_was_drawn() -> None:
    options = {"epochs": 6, "arch_learning_rate": 0.1, "warmup": 0.0}
    epochs = searched(LIMITED.replace("<= 80", "<= 60"), SmallData(), **options)
    assert not any(epoch.event.violated for epoch in epochs)


# ── the price ────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("target", [(80, 100), (200, 230)])
def test_the_price_alone_drives_the_search_into_its_range(target: tuple[int, int]) -> None:
    options = {"target": target, "beta": 3.0, "arch_learning_rate": 0.1, "epochs": 30}
    epochs = searched(WIDTHS, Silent(), **options)
    first, last = epochs[0].event, epochs[-1].event
    assert (last.measure, last.target) == ("macs", target)
    assert last.cost is not None
    assert target[0] <= last.cost <= target[1]
    assert first.expected_cost is not None
    assert last.expected_cost is not None
    middle = sum(target) / 2
    assert abs(last.expected_cost - middle) < 0.5 * abs(first.expected_cost - middle) + 10


@pytest.mark.parametrize("options", [{"arch_learning_rate": 1e308}, {"target": (0, 5e-324)}])
def test_an_architecture_that_is_no_longer_finite_is_told(options: dict[str, Any]) -> None:
    with pytest.raises(FusegraphError, match="the architecture diverged") as refused:
        searched(EDGES, SmallData(), epochs=4, warmup=0.0, samples=3, **options)
    [found] = refused.value.diagnostics
    assert found.code == "E701"
    assert found.place in space_of(EDGES).decisions


def test_without_beta_a_target_changes_nothing() -> None:
    plain = searched(WIDTHS, SmallData(), epochs=3, warmup=0.0)
    priced = searched(WIDTHS, SmallData(), epochs=3, warmup=0.0, beta=0.0, target=(1, 2))
    assert [e.event.weights for e in plain] == [e.event.weights for e in priced]


def test_the_page_shows_what_networks_cost_and_the_range(tmp_path: Path) -> None:
    space = space_of(WIDTHS)
    epochs = searched(WIDTHS, SmallData(), epochs=3, target=(80, 120))
    with EventLog(tmp_path / "events.jsonl") as log:
        for epoch in epochs:
            log(epoch.event)
    section = architecture_of(space, read_events(tmp_path / "events.jsonl"))
    assert section is not None
    assert section.notes == ()
    for told, epoch in zip(section.epochs, epochs, strict=True):
        assert told.cost is not None
        assert told.cost.expected == epoch.event.expected_cost
        assert told.cost.taken == epoch.event.cost
        assert told.cost.target == (80, 120)
    charts = [str(chart) for chart in learning(section, "accuracy", True).curves]
    assert len(charts) == 4
    assert "Cost of the networks: macs" in charts[-1]
    assert "target, upper end" in charts[-1]


# ── phases ───────────────────────────────────────────────────────────────────────────────────────

PHASES = [
    {"decisions": ["logits.*"], "epochs": 2, "arch_learning_rate": 0.2},
    {"decisions": ["c.*", "two"], "epochs": 3, "learning_rate": 0.01},
]


def test_a_phase_searches_its_part_while_the_rest_stays() -> None:
    epochs = searched(EDGES, SmallData(), warmup=0.5, phases=PHASES, fixed=["op = mul"])
    assert [e.event.arch_loss is None for e in epochs] == [True, False, True, False, False]
    weights = [e.event.weights for e in epochs]
    moving = [
        {key for key in after if after[key] != before[key]} for before, after in pairwise(weights)
    ]
    assert moving[0] == {"logits.which"}
    assert moving[1] == set()
    assert moving[2] | moving[3] == {"c.two", "c.left", "c.right", "c.op"}
    assert all(e.genotype.settings["c.op"] == (1,) for e in epochs[:2])
    settled = {e.genotype.settings["logits.which"] for e in epochs[1:]}
    assert len(settled) == 1


def test_each_phase_has_a_cosine_of_its_own_from_its_own_learning_rate() -> None:
    rates = [e.event.learning_rate for e in searched(EDGES, SmallData(), phases=PHASES)]
    assert SETTINGS.learning_rate > rates[0] > rates[1]
    assert 0.01 > rates[2] > rates[3] > rates[4]


def test_decisions_of_no_phase_are_settled_from_the_start() -> None:
    phases = [{"decisions": ["c.left", "c.right"], "epochs": 2}]
    epochs = searched(EDGES, SmallData(), phases=phases, fixed=["two = {x[1], x[3]}"])
    for epoch in epochs:
        assert epoch.genotype.settings["c.two"] == (0, 2)
        assert epoch.event.weights["c.two"] == ((1.0, 0.0, 1.0),)
        assert epoch.event.entropies["c.two"] == epoch.event.entropies["logits.which"] == 0


def test_only_a_star_is_special_in_a_pattern() -> None:
    assert matches("h[1].act", "h[1].act")
    assert matches("h[*].act", "h[12].act")
    assert matches("act", "h[1].act")
    assert not matches("h[1].act", "h1.act")
    assert not matches("h", "h[1].act")


@some(400)
@given(st.text("ab*", max_size=8), st.text("ab", max_size=8))
def test_a_star_stands_for_anything(pattern: str, key: str) -> None:
    assert matches(pattern, key) == fnmatchcase(key, pattern)


def test_many_stars_are_no_long_work() -> None:
    assert not matches("*a" * 30 + "*b", "a" * 60)


# ── options ──────────────────────────────────────────────────────────────────────────────────────


def test_the_defaults_are_those_of_the_paper() -> None:
    options = ParsecOptions()
    assert (options.samples, options.warmup, options.arch_learning_rate) == (13, 0.25, 0.015)
    assert options.plan == (Phase(("*",), options.epochs, 0.0, 0.015),)


def test_weights_learn_by_the_papers_sgd_unless_something_else_is_set(tmp_path: Path) -> None:
    told: list[dict[str, Any]] = []
    for place, settings in enumerate(
        (
            TrainSettings(batch=20, device="cpu"),
            TrainSettings(batch=20, device="cpu", optimiser="adam", weight_decay=1e-3),
        )
    ):
        folder = tmp_path / str(place)
        searcher = make_searcher("parsec", space_of(EDGES), {"epochs": 1, "samples": 2})
        run(searcher, folder, settings=settings)
        header: Any = read_container(folder / STATE, "a state")[0]
        told.append(header["run"]["settings"])
    names = ("optimiser", "learning_rate", "weight_decay", "momentum", "schedule")
    first, second = [tuple(t[name] for name in names) for t in told]
    assert first == ("sgd", 0.4 * 20 / 256, 5e-5, 0.9, "cosine")
    assert second[:3] == ("adam", 1e-3, 1e-3)


def test_a_budget_is_shared_out_among_the_phases() -> None:
    space = space_of(EDGES)
    assert within_budget(space, {}, 7) == {"epochs": 7}
    phases = [{"decisions": ["*"], "epochs": n} for n in (800, 400, 200)]
    for budget in range(3, 40):
        found = make_searcher("parsec", space, {"phases": phases}, budget=budget)
        assert found.planned == budget
    shares = within_budget(space, {"phases": phases}, 14)["phases"]
    assert [phase["epochs"] for phase in shares] == [8, 4, 2]
    with pytest.raises(FusegraphError, match="E812"):
        make_searcher("parsec", space, {"phases": phases}, budget=2)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"samples": 0}, "at least 1"),
        ({"samples": 10**9}, "at most 1000"),
        ({"epochs": 10**400}, "at most 1000000"),
        ({"phases": [{"decisions": ["*"], "epochs": 10**400}]}, "at most 1000000"),
        ({"warmup": 1.0}, "below 1"),
        ({"beta": -1.0}, "not below 0"),
        ({"target": [3, 2]}, "is a range"),
        ({"target": [3]}, "is a range"),
        ({"target": [inf, inf]}, "takes a finite number, not inf"),
        ({"measure": "latency"}, "takes one of 'macs'"),
        ({"phases": ["all"]}, "takes a table of `decisions`"),
        ({"phases": [{"decisions": [], "epochs": 3}]}, "one at least"),
        ({"phases": [{"decision": ["*"], "epochs": 3}]}, "no option `decision`"),
        ({"phases": [{"decisions": ["*"]}]}, "`epochs`"),
        (
            {"phases": [{"decisions": ["*"], "epochs": 3, "learning_rate": nan}]},
            "takes a finite number, not nan",
        ),
        ({"phases": [{"decisions": ["nothing"], "epochs": 3}]}, "fits no decision"),
        ({"fixed": ["op"]}, "PATTERN = CANDIDATE"),
        ({"fixed": ["op = div"]}, "no setting of `c.op`"),
        ({"fixed": ["two = {x[1]}"]}, "no setting of `c.two`"),
    ],
)
def test_an_option_out_of_its_range_is_refused(options: dict[str, Any], expected: str) -> None:
    found = refusal(EDGES, **options)
    assert found.code == "E802"
    assert expected in found.message


def test_a_subset_needs_no_list_of_its_settings() -> None:
    text = PROGRESSIVE.replace(
        "input y[1]", "for i in 3..40 { input x[i]: f32[N, 4] }\n  input y[1]"
    )
    text = text.replace("concat(?pose of x[*], y[1])", "sum(?pose some of x[3..40])")
    make_searcher("parsec", space_of(text))


def test_a_state_with_another_alpha_is_refused(tmp_path: Path) -> None:
    def searcher() -> Any:
        return make_searcher("parsec", space_of(EDGES), {"epochs": 2, "samples": 2})

    run(searcher(), tmp_path)
    header, tensors = read_container(tmp_path / STATE, "a state")
    unknown = torch.full_like(tensors["alpha/c.op"], nan)
    for changed in (torch.zeros(7, dtype=torch.float64), torch.zeros(2), unknown, None):
        others = {n: v for n, v in tensors.items() if n != "alpha/c.op" or changed is not None}
        if changed is not None:
            others["alpha/c.op"] = changed
        write_container(tmp_path / STATE, header, others)
        with pytest.raises(FusegraphError, match="E702"):
            run(searcher(), tmp_path)
