"""How a supernet's architecture was learnt, on the page: from the log to the pictures."""

from __future__ import annotations

import json
import math
import random
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from itertools import pairwise
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fusegraph.compiler.discretise import discretise
from fusegraph.compiler.policies import ASSEMBLENET, BM_NAS, DARTS, Policies
from fusegraph.compiler.relax import relax
from fusegraph.ir.decisions import Setting
from fusegraph.ir.dsl import load, loads
from fusegraph.ir.genotype import Genotype
from fusegraph.ir.graph import Graph
from fusegraph.ir.reach import walk
from fusegraph.pipeline.architecture import architecture_of, settings_of
from fusegraph.pipeline.events import EventLog, read_events
from fusegraph.report.architecture import (
    ArchitectureSection,
    LearntEpoch,
    alike_decisions,
    decisions_of,
    groups_of,
    shown_epochs,
)
from fusegraph.report.data import ReportData, SearchSection, Trial
from fusegraph.report.heat import HeatRow, heat_chart
from fusegraph.report.hues import hues_of, vocabularies
from fusegraph.report.learning import features_chart, learning
from fusegraph.report.page import render_report
from fusegraph.report.timeline import Run, lanes_of, timeline_chart
from fusegraph.report.weights import panels_of, weights_charts
from fusegraph.searchers.bm_nas.entropy import openness
from fusegraph.searchers.genotypes import genotype_text
from fusegraph.searchers.protocol import ArchitectureEpoch
from repository import ROOT

SVG = "{http://www.w3.org/2000/svg}"
SUBSETS = """fuse 1
space joined {
  dim N
  input x[1]: f32[N, 8]
  input x[2]: f32[N, 8]
  input x[3]: f32[N, 8]
  h = ?act of {relu, sigmoid}(linear(sum(?from some of x[*]), out=8))
  output logits = linear(h, out=3)
}
"""
POLICIES = {"bm_nas": BM_NAS, "darts": DARTS, "assemblenet": ASSEMBLENET}


def ntu() -> Graph:
    return load(ROOT / "examples" / "bm_nas" / "ntu.fuse").graph


def told(space: Graph, policies: Policies, epochs: int, seed: int = 0) -> list[ArchitectureEpoch]:
    """A search whose architecture drifts at random."""
    rng = random.Random(seed)
    supernet = relax(space, policies)

    def drift(value: Any) -> Any:
        if isinstance(value, tuple):
            return tuple([drift(v) for v in value])
        return value + rng.gauss(0.02, 0.4)

    values: dict[str, Any] = {key: supernet.one_hot({})[key] for key in supernet.architecture}
    found: list[ArchitectureEpoch] = []
    best = -1.0
    for number in range(1, epochs + 1):
        values = {key: drift(value) for key, value in values.items()}
        weights = supernet.weights(values)
        genotype = discretise(supernet, values, "paper")
        score = 0.5 + 0.4 * number / epochs + rng.gauss(0, 0.03)
        found.append(
            ArchitectureEpoch(
                epoch=number,
                epochs=epochs,
                genotype=genotype_text(space, genotype),
                digest=genotype.digest,
                weights={
                    k: tuple([tuple([round(w, 6) for w in slot]) for slot in slots])
                    for k, slots in weights.items()
                },
                entropies={
                    k: openness(supernet.relaxed[k].policy, slots) for k, slots in weights.items()
                },
                train_loss=2.0 / number,
                arch_loss=2.1 / number,
                valid_loss=2.2 / number,
                valid_score=score,
                learning_rate=1e-3,
                best=score > best,
                violated=(),
                seconds=1.0,
            )
        )
        best = max(best, score)
    return found


def logged(events: Sequence[ArchitectureEpoch]) -> list[dict[str, Any]]:
    """As the log has them."""
    return [
        json.loads(json.dumps({"event": "ArchitectureEpoch", **asdict(event)})) for event in events
    ]


def section_of(space: Graph, events: Sequence[Mapping[str, Any]]) -> ArchitectureSection:
    section = architecture_of(space, events)
    assert section is not None
    return section


def searched(epochs: int = 30, policies: Policies = BM_NAS) -> ArchitectureSection:
    space = ntu()
    return section_of(space, logged(told(space, policies, epochs)))


def pictures(section: ArchitectureSection) -> list[str]:
    shown = learning(section, "accuracy", True)
    assert shown.features is not None
    return [*shown.curves, shown.timeline, shown.features, *shown.weights]


def texts(svg: str) -> list[str]:
    """What is written in a picture, tooltips apart."""
    return [text.text or "" for text in ElementTree.fromstring(svg).iter(f"{SVG}text")]


def tips(svg: str) -> list[str]:
    return [title.text or "" for title in ElementTree.fromstring(svg).iter(f"{SVG}title")]


# ── from the log ─────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("policies", POLICIES.values(), ids=POLICIES)
def test_the_log_gives_back_what_each_epoch_told(tmp_path: Path, policies: Policies) -> None:
    space, file = ntu(), tmp_path / "events.jsonl"
    events = told(space, policies, 4)
    with EventLog(file) as log:
        for event in events:
            log(event)
    section = section_of(space, read_events(file))
    assert [e.number for e in section.epochs] == [1, 2, 3, 4]
    for event, epoch in zip(events, section.epochs, strict=True):
        assert epoch.weights == event.weights
        assert epoch.openness == event.entropies
        taken = Genotype.of(space.digest, walk(space, lambda d, e=epoch: e.taken[d.key]))
        assert taken.digest == event.digest
    assert section.notes == ()


def test_an_epoch_that_is_told_again_counts_once() -> None:
    space = ntu()
    events = logged(told(space, BM_NAS, 3))
    assert section_of(space, [*events, *events]).epochs == section_of(space, events).epochs


def test_a_run_without_a_supernet_has_no_such_section() -> None:
    assert architecture_of(ntu(), [{"event": "TrialStarted"}]) is None


@pytest.mark.parametrize(
    "change",
    [
        {"epoch": "2"},
        {"epoch": 0},
        {"weights": None},
        {"weights": {"c[9].inputs": [[0.5]]}},
        {"weights": {"c[1].inputs": [[0.5]]}},
        {"weights": {"c[1].inputs": []}},
        {"weights": {"c[1].inputs": [[0.5] * 8] * 3}},
        {"weights": {"c[1].inputs": [[1.5] * 8]}},
        {"weights": {"c[1].inputs": [[math.nan] * 8]}},
        {"entropies": {"c[1].inputs": -1.0}},
        {"entropies": {"c[1].inputs": math.nan}},
        {"genotype": "c[1].inputs = {video[1], video[9]}"},
        {"genotype": "c[1].inputs = video[1], video[2]"},
        {"genotype": "c[1].inputs = {video[1]}"},
        {"genotype": "c[1].s[1].op = attention, sum"},
        {"genotype": "no line of a genotype"},
        {"valid_score": "high"},
    ],
    ids=str,
)
def test_a_damaged_epoch_is_left_out_and_said_so(change: dict[str, Any]) -> None:
    space = ntu()
    first, second = logged(told(space, BM_NAS, 2))
    section = section_of(space, [first, {**second, **change}])
    assert [e.number for e in section.epochs] == [1]
    assert section.notes == ("what the log has of 1 epoch is damaged and left out",)


def test_a_log_of_which_nothing_is_whole_still_makes_a_page() -> None:
    section = section_of(ntu(), [{"event": "ArchitectureEpoch"}])
    assert section.epochs == ()
    for picture in pictures(section):
        ElementTree.fromstring(picture)


def test_settings_are_read_as_they_are_written() -> None:
    space, rng = ntu(), random.Random(3)
    for _ in range(20):
        genotype = Genotype.of(space.digest, walk(space, lambda d: d.sample(rng)))
        assert settings_of(space, genotype_text(space, genotype)) == genotype.settings


def test_epochs_of_a_warm_up_are_whole_and_leave_a_gap() -> None:
    space = ntu()
    events = logged(told(space, BM_NAS, 4))
    for event in events[:2]:
        event.update(arch_loss=None, best=False)
    section = section_of(space, events)
    assert section.notes == ()
    assert [e.architecture_loss is None for e in section.epochs] == [True, True, False, False]
    shown = learning(section, "accuracy", True)
    assert [row.architecture for row in shown.rows[:3]] == [
        "the weights alone",
        "the weights alone",
        "0.7",
    ]
    lines = re.findall(r'class="curve ink-[^"]*" d="([^"]*)"', shown.curves[2])
    assert [line.count("L") for line in lines[-3:]] == [3, 1, 3]


def test_figures_that_are_not_finite_are_dashes() -> None:
    space = ntu()
    [event] = logged(told(space, BM_NAS, 1))
    event["valid_score"] = event["train_loss"] = math.nan
    shown = learning(section_of(space, [event]), "accuracy", True)
    assert (shown.rows[0].score, shown.rows[0].training) == ("–", "–")


# ── how decisions belong together ────────────────────────────────────────────────────────────────


def test_edges_and_ops_of_both_levels_are_told_apart() -> None:
    found = {d.key: (d.edges, d.inner, d.scope) for d in decisions_of(ntu())}
    assert found["c[1].inputs"] == (True, False, "")
    assert found["c[2].s[2].left"] == (True, True, "c[2]")
    assert found["c[2].s[2].op"] == (False, True, "c[2]")


def test_decisions_of_one_name_and_level_are_one_line_of_the_entropy() -> None:
    names = [group.name for group in groups_of(searched(3))]
    assert names == ["upper level: inputs", "lower level: left, right", "lower level: op"]


def test_operands_with_weights_of_their_own_are_apart() -> None:
    alike = [[d.name for d in each] for each in alike_decisions(searched(3, DARTS))]
    assert ["left", "right"] not in alike
    assert ["left", "right"] in [
        [d.name for d in each] for each in alike_decisions(searched(3, BM_NAS))
    ]


def test_two_policies_of_one_name_are_two_lines() -> None:
    mixed = replace(BM_NAS, pairs="slots", rules=(("c[[]1].s[[]1].left", "softmax"),))
    names = [group.name for group in groups_of(searched(3, mixed))]
    assert "lower level: left, competing" in names
    assert "lower level: left, each by itself" in names


def test_the_best_epoch_is_the_last_that_was_best() -> None:
    section = searched(10)
    assert section.best is not None
    assert section.best.score == max(epoch.score for epoch in section.epochs)


def test_many_epochs_are_thinned_out_but_for_the_best_and_the_last() -> None:
    section = searched(301)
    shown = shown_epochs(section)
    assert len(shown) <= 122
    assert section.best in shown
    assert section.epochs[-1] in shown


# ── the pictures ─────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("policies", POLICIES.values(), ids=POLICIES)
@pytest.mark.parametrize("epochs", [1, 2, 30])
def test_every_picture_is_well_formed_and_inside_its_frame(policies: Policies, epochs: int) -> None:
    for picture in pictures(searched(epochs, policies)):
        root = ElementTree.fromstring(picture)
        width, height = float(root.attrib["width"]), float(root.attrib["height"])
        for rect in root.iter(f"{SVG}rect"):
            x, y = float(rect.get("x", 0)), float(rect.get("y", 0))
            assert x >= 0
            assert y >= 0
            assert x + float(rect.attrib["width"]) <= width + 0.1
            assert y + float(rect.attrib["height"]) <= height + 0.1


@given(st.lists(st.one_of(st.none(), st.sets(st.integers(0, 4), min_size=1)), max_size=12))
def test_lanes_show_exactly_what_is_taken(columns: list[set[int] | None]) -> None:
    lanes = lanes_of([None if c is None else tuple(sorted(c)) for c in columns])
    shown: list[set[int]] = [set() for _ in columns]
    for lane in lanes:
        assert all(a.end <= b.begin for a, b in pairwise(lane))
        for run in lane:
            for column in range(run.begin, run.end):
                assert run.candidate not in shown[column]
                shown[column].add(run.candidate)
    assert shown == [c or set() for c in columns]


def test_a_candidate_that_stays_keeps_its_lane() -> None:
    lanes = lanes_of([(2, 5), (5, 7), (5, 7), (0, 7)])
    assert lanes == [[Run(2, 0, 1), Run(7, 1, 4)], [Run(5, 0, 3), Run(0, 3, 4)]]


def test_the_timeline_names_what_is_taken_and_for_how_long() -> None:
    space = ntu()
    events = logged(told(space, BM_NAS, 1)) * 3
    again = [{**event, "epoch": place} for place, event in enumerate(events, 1)]
    section = section_of(space, again)
    picture = timeline_chart(section)
    label = section.decisions[3].decision.format(section.epochs[0].taken["c[1].s[1].op"])
    assert section.decisions[3].key == "c[1].s[1].op"
    assert f"c[1].s[1].op takes {label}, epochs 1 to 3" in tips(picture)
    assert {"c[1]", "c[2]", "inputs", "s[2].op", "best: 3"} <= set(texts(picture))


def test_thirty_epochs_of_twenty_decisions_fit_on_a_screen() -> None:
    space = load(ROOT / "examples" / "bm_nas" / "ego_gesture.fuse").graph
    assert len(space.decisions) == 20
    picture = timeline_chart(section_of(space, logged(told(space, BM_NAS, 30))))
    assert float(ElementTree.fromstring(picture).attrib["height"]) < 900


def test_every_weight_of_the_best_epoch_is_written_beside_its_candidate() -> None:
    section = searched(5)
    best = section.best
    assert best is not None
    panels = panels_of(section, best)
    assert [panel.title for panel in panels] == ["the upper level", "c[1]", "c[2]"]
    shown = [tip for chart in weights_charts(section) for tip in tips(chart)]
    for d in section.decisions:
        for slot in best.weights[d.key]:
            for label, weight in zip(d.decision.labels, slot, strict=True):
                told_of = f"{label}: weight {weight:.4f}"
                assert any(tip.startswith(told_of) for tip in shown)


def test_the_genotype_stands_out_among_the_weights() -> None:
    section = searched(5)
    best = section.best
    assert best is not None
    panels = panels_of(section, best)
    for panel in panels:
        for owner, parts in panel.boxes:
            for part in parts:
                for name in re.findall(r"\?(\w+)", part.title):
                    taken = best.taken.get(f"{owner}.{name}", ())
                    assert set(taken) <= set(part.takers)
    taken = sum(len(p.takers) for panel in panels for _, parts in panel.boxes for p in parts)
    strong = sum(chart.count('<rect class="chosen"') for chart in weights_charts(section))
    assert strong == taken + len(panels)  # and one in each legend


def test_a_wider_line_has_more_weight() -> None:
    section = searched(5)
    chart = weights_charts(section)[0]
    found = re.findall(r"<title>[^<]*: ([\d.]+)</title><path[^>]*stroke-width:([\d.]+)", chart)
    assert len(found) == 17
    ordered = sorted((float(weight), float(width)) for weight, width in found)
    assert [width for _, width in ordered] == sorted(width for _, width in ordered)


def test_weights_for_each_slot_are_shown_apart() -> None:
    section = searched(3, DARTS)
    assert section.best is not None
    upper = panels_of(section, section.best)[0]
    titles = [part.title for part in upper.boxes[0][1]]
    assert titles == ["?inputs  2 of 8, 1.", "?inputs  2 of 8, 2."]
    for part in upper.boxes[0][1]:
        assert part.even == pytest.approx(1 / 8)
        assert len(part.takers) == 1


def test_subsets_are_shown_with_all_that_they_take() -> None:
    space = loads(SUBSETS).graph
    section = section_of(space, logged(told(space, BM_NAS, 6)))
    for picture in pictures(section):
        ElementTree.fromstring(picture)
    text = " ".join(row.changes for row in learning(section, "accuracy", True).rows)
    assert re.search(r"\.from = \{x\[\d\]", text)


def test_features_have_their_mean_weight_and_who_takes_them() -> None:
    section = searched(4)
    epoch = section.epochs[1]
    first = section.decisions[0].decision.labels.index("video[2]")
    mean = (epoch.weights["c[1].inputs"][0][first] + epoch.weights["c[2].inputs"][0][first]) / 2
    picture = features_chart(section)
    found = [tip for tip in tips(picture) if tip.startswith("video[2], epoch 2: ")]
    assert len(found) == 1
    assert found[0].startswith(f"video[2], epoch 2: {mean:.3g}")
    takes = [first in epoch.taken[f"c[{i}].inputs"] for i in (1, 2)]
    assert ("taken" in found[0]) == any(takes)


def test_a_heat_map_has_gaps_where_nothing_is_known() -> None:
    rows = [HeatRow("a", [0.1, math.nan], [0, 0]), HeatRow("b", [0.2, 0.9], [1, 2])]
    picture = heat_chart(rows, [1, 2])
    assert len([t for t in tips(picture) if t.startswith(("a,", "b,"))]) == 3
    assert any(t.endswith("taken 2 times") for t in tips(picture))


def test_families_have_one_hue_and_members_are_told_apart() -> None:
    hues = hues_of(["video[1]", "video[2]", "skeleton[1]", "c[1]"])
    assert hues["video[1]"].series == hues["video[2]"].series != hues["skeleton[1]"].series
    assert len({(hue.series, hue.opacity) for hue in hues.values()}) == 4


def test_labels_that_occur_together_share_a_vocabulary() -> None:
    found = vocabularies([("x", "y"), ("relu", "sum"), ("z",), ("y", "z", "s")])
    assert [list(words) for words in found] == [["relu", "sum"], ["x", "y", "z", "s"]]


# ── the page ─────────────────────────────────────────────────────────────────────────────────────


def page_of(section: ArchitectureSection) -> str:
    search = SearchSection("bm_nas", "accuracy", architecture=section)
    return render_report(ReportData("x", search=search))


def test_the_page_tells_how_the_architecture_was_learnt() -> None:
    section = searched(6)
    assert section.best is not None
    page = page_of(section)
    assert f"at its best epoch, {section.best.number}" in page
    for title in ("Genotype of each epoch", "Features over the search", "Entropy of the decisions"):
        assert title in page
    for d in section.decisions:
        if d.key in section.epochs[0].taken:
            assert f"{d.key} = {d.decision.format(section.epochs[0].taken[d.key])}" in page
    assert "Score against size" not in page  # the scores are the supernet's


def test_a_distribution_over_networks_is_told_in_its_own_words() -> None:
    space = load(ROOT / "examples" / "two_stream" / "moving_digits.fuse").graph
    taken = {key: next(iter(decision.settings())) for key, decision in space.decisions.items()}
    epochs = [drawn_epoch(space, taken, number, score) for number, score in ((1, 0.9), (2, 0.5))]
    section = ArchitectureSection(decisions_of(space), tuple(epochs), mixed=False)
    trials = (Trial(0, "a", 0.9), Trial(1, "b", 0.5))
    search = SearchSection("parsec", "accuracy", trials, architecture=section)
    page = render_report(ReportData("x", search=search))
    assert page.count("taken: epoch 2") > 2
    assert re.findall(r'class="strong"><td class="n">(\d+)', page) == ["2", "1"]
    assert "a distribution is learned, of an evolution how many of the parents" in page
    for words in ("best epoch", "best: ", "supernet", "er level", "weighted sum", "Features over"):
        assert words not in page


def drawn_epoch(
    space: Graph, taken: Mapping[str, Setting], number: int, score: float
) -> LearntEpoch:
    weights = {
        key: tuple([(1 / len(d.labels),) * len(d.labels)] * d.slots)
        for key, d in space.decisions.items()
    }
    return LearntEpoch(
        number, weights, dict.fromkeys(weights, 1.0), taken, score, best=True
    )  # fmt: skip


def test_steps_of_an_open_depth_are_no_features() -> None:
    space = load(ROOT / "examples" / "two_stream" / "moving_digits.fuse").graph
    assert not any(d.features for d in decisions_of(space))
    found = {d.name: d.features for d in decisions_of(ntu())}
    assert found == {"inputs": True, "left": True, "right": True, "op": False}


def test_other_searches_have_no_such_part() -> None:
    page = render_report(ReportData("x", search=SearchSection("mfas", "accuracy")))
    assert "Genotype of each epoch" not in page
    assert "supernet" not in page


def test_the_table_says_what_each_epoch_takes_anew() -> None:
    space = ntu()
    first, second = logged(told(space, BM_NAS, 2))
    second["genotype"] = first["genotype"]
    rows = learning(section_of(space, [first, second]), "accuracy", True).rows
    assert rows[0].changes.startswith("c[1].inputs = {")
    assert rows[1].changes == "the same"


def test_an_epoch_whose_genotype_fails_a_require_is_marked() -> None:
    space = ntu()
    first, second = logged(told(space, BM_NAS, 2))
    second["violated"] = ["flops <= 1e9 </title><script>"]
    chart = learning(section_of(space, [first, second]), "accuracy", True).curves[0]
    assert "2: flops <= 1e9 </title><script>" in tips(chart)
    assert "<script>" not in chart


HOSTILE = '</text><script>alert("1")</script>&\x00\u202e'


def test_hostile_labels_are_text_and_nothing_else() -> None:
    section = searched(3)
    renamed = tuple(
        [
            replace(
                d,
                decision=replace(
                    d.decision,
                    key=f"{d.key}{HOSTILE}",
                    labels=tuple([label + HOSTILE for label in d.decision.labels]),
                ),
            )
            for d in section.decisions
        ]
    )

    def with_keys(found: Mapping[str, Any]) -> dict[str, Any]:
        return {f"{key}{HOSTILE}": value for key, value in found.items()}

    epochs = tuple(
        [
            replace(
                e,
                weights=with_keys(e.weights),
                openness=with_keys(e.openness),
                taken=with_keys(e.taken),
            )
            for e in section.epochs
        ]
    )
    hostile = ArchitectureSection(renamed, epochs, (HOSTILE,))
    page = page_of(hostile)
    assert "<script" not in page
    assert "\x00" not in page
    assert "\u202e" not in page
    for picture in pictures(hostile):
        assert {e.tag for e in ElementTree.fromstring(picture).iter()} <= {
            f"{SVG}{tag}"
            for tag in ("svg", "g", "title", "style", "rect", "path", "text", "circle")
        }


def test_the_same_search_gives_the_same_page() -> None:
    assert page_of(searched(4)) == page_of(searched(4))
