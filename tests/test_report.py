"""The report page and its charts: complete, escaped, readable, the same each time."""

from __future__ import annotations

import re
from dataclasses import fields, replace
from html.parser import HTMLParser
from itertools import pairwise
from math import inf, isfinite, nan
from pathlib import Path
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fusegraph.ir.diagnostics import FusegraphError
from fusegraph.ir.dsl import loads
from fusegraph.report.axes import decades, percent, scale_of, short, ticks
from fusegraph.report.bars import Bar, bar_chart
from fusegraph.report.curves import Mark, Series, line_chart
from fusegraph.report.data import (
    Chart,
    ComparisonSection,
    Cost,
    DataSection,
    Epoch,
    ExportSection,
    File,
    Final,
    Method,
    Parity,
    RepeatSection,
    ReportData,
    SearchSection,
    SpaceSection,
    Split,
    Tap,
    Trial,
    WinnerSection,
)
from fusegraph.report.highlight import highlighted
from fusegraph.report.look import Look
from fusegraph.report.matrix import matrix_chart
from fusegraph.report.page import mean_and_error, render_report, seconds, size, write_report
from fusegraph.report.pareto import front, pareto_chart

SPACE = """fuse 1
space small { # a comment
  dim N
  input image[1]: f32[N, 32]
  input image[2]: f32[N, 64]
  input audio: f32[N, 16]
  output digit = linear(relu(linear(concat(?x of image[*], audio), out=24)), out=10)
}
"""
NETWORK = SPACE.replace("?x of image[*]", "image[2]").replace("  input image[1]: f32[N, 32]\n", "")
HOSTILE = '</td></pre><script>alert("1")</script>\x00\x1b &amp; <b>\u202e'
SVG = "{http://www.w3.org/2000/svg}"


def full(word: str = "plain") -> ReportData:
    """Every section, with `word` in every text."""
    space, network = loads(SPACE).graph, loads(NETWORK).graph
    pairs = ((word, word),)
    trials = (
        Trial(1, word, 0.7, 1200, 1100, 0.5, "level 1"),
        Trial(2, word, 0.8, 20_000, 19_000, 0.7, f"level 2 {word}"),
        Trial(3, word, failure=word, round="level 2"),
        Trial(4, word, nan, 3, 3, 1.0),
    )
    return ReportData(
        word,
        word,
        pairs,
        SpaceSection(space, SPACE + word, word, 2, (word,)),
        DataSection((Split(word, 4000, word),), (Tap(word, word, word),), (word, "b"), (word,)),
        SearchSection(
            word,
            word,
            trials,
            pairs,
            (Chart(word, word, word, (Series(word, [0.0, 1.0], [1.0, 2.0]),), (Mark(0, word),)),),
            seconds=83.0,
            notes=(word,),
        ),
        ComparisonSection(
            word,
            (Method(word, (0.8, 0.9), 1200, 3.0, True, word), Method("b", (0.7,))),
            True,
            (word,),
        ),
        WinnerSection(
            network,
            word,
            space,
            {"digit.x": (1,)}
            if "digit.x" in space.decisions
            else dict.fromkeys(space.decisions, (1,)),
            (Cost(word, word, 12, 13, 1400),),
            (Epoch(1, 2.0, 2.1, 0.5), Epoch(2, 1.0, None, 0.6)),
            ((word, 0.8),),
            ((3, 1), (0, 4)),
            (word, "b"),
            notes=(word,),
        ),
        ExportSection((File(word, 1400, word),), (Parity(word, 1e-6, 1e-7, 1e-5),), pairs, (word,)),
        RepeatSection((word,), (0, 1), pairs, pairs, (word,)),
    )


class Page(HTMLParser):
    """Which tags are there, with which attributes, and whether they are closed in order."""

    VOID = frozenset({"meta", "link", "br", "img", "hr", "input"})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.wrong: list[str] = []
        self.text = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        if not self.open or self.open.pop() != tag:
            self.wrong.append(tag)

    def handle_data(self, data: str) -> None:
        self.text += data


def test_the_page_has_every_section() -> None:
    page = Page(render_report(full()))
    anchors = [attrs.get("id") for tag, attrs in page.tags if tag == "section"]
    assert anchors == ["space", "data", "search", "comparison", "winner", "export", "repeat"]
    assert (page.wrong, page.open) == ([], [])


SECTIONS = [f.name for f in fields(ReportData) if f.name not in ("title", "subtitle", "facts")]


@pytest.mark.parametrize("name", SECTIONS)
def test_every_section_may_be_missing(name: str) -> None:
    without = render_report(replace(full(), **{name: None}))
    assert f'id="{name}"' not in without
    assert f'href="#{name}"' not in without
    assert f'id="{name}"' in render_report(full())


def test_the_page_may_hold_nothing_but_a_title() -> None:
    page = Page(render_report(ReportData("empty")))
    assert (page.wrong, page.open) == ([], [])


@pytest.mark.parametrize(
    "section",
    [
        DataSection(),
        SearchSection("random", "accuracy"),
        SearchSection("random", "accuracy", (Trial(1, "x", failure="out of memory"),)),
        ComparisonSection("accuracy", ()),
        ComparisonSection("accuracy", (Method("none", ()),)),
        ExportSection(),
        RepeatSection(),
    ],
    ids=lambda section: type(section).__name__,
)
def test_sections_may_be_empty(section: object) -> None:
    name = {
        DataSection: "data",
        SearchSection: "search",
        ComparisonSection: "comparison",
        ExportSection: "export",
        RepeatSection: "repeat",
    }[type(section)]
    page = Page(render_report(replace(ReportData("x"), **{name: section})))
    assert (page.wrong, page.open) == ([], [])


def test_the_page_needs_no_network_and_runs_nothing() -> None:
    page = Page(render_report(full()))
    assert not {tag for tag, _ in page.tags} & {"script", "link", "img", "iframe", "object"}
    links = [a.get("href") or "" for _, a in page.tags if "href" in a]
    assert all(link.startswith("#") for link in links)
    assert not [k for _, a in page.tags for k in a if k in ("src", "xlink:href")]
    assert "@import" not in render_report(full())
    assert "url(" not in render_report(full())


def test_hostile_text_stays_text_everywhere() -> None:
    text = render_report(full(HOSTILE))
    page, plain = Page(text), Page(render_report(full()))
    assert [tag for tag, _ in page.tags] == [tag for tag, _ in plain.tags] or not {
        tag for tag, _ in page.tags
    } - {tag for tag, _ in plain.tags}
    assert "<script" not in text
    assert not {"\x00", "\x1b", "\u202e"} & set(text)
    assert (page.wrong, page.open) == ([], [])
    assert not [k for _, attrs in page.tags for k in attrs if k.startswith("on")]


def test_what_was_measured_is_on_the_page() -> None:
    text = Page(render_report(full())).text
    for figure in ("2 genotypes", "1 min 23 s", "80.0 %", "85.0 %", "20,000", "1.4 kB", "1e-07"):
        assert figure in text
    assert "agrees" in text


def test_a_failed_trial_is_listed_with_its_reason() -> None:
    failed = SearchSection("mfas", "accuracy", (Trial(7, "g", failure="the loss was not finite"),))
    text = Page(render_report(ReportData("x", search=failed))).text
    assert "1 failed" in text
    assert "the loss was not finite" in text


def test_a_long_search_shows_the_best_first_and_folds_the_rest() -> None:
    trials = tuple(Trial(i, f"g{i}", i / 1000, 10, 10, 0.1) for i in range(400))
    text = render_report(ReportData("x", search=SearchSection("mfas", "accuracy", trials)))
    assert "The best 10 of 400 trials" in text
    assert text.index(">g399<") < text.index(">g398<") < text.index("<details>")
    assert ">g100<" not in text


def test_networks_trained_to_completion_have_the_metric_that_they_were_trained_for() -> None:
    section = SearchSection(
        "evolution",
        "top_1_and_k",
        percent=False,
        finals=(Final(1, 1.5, 0.75),),
        final_metric="accuracy",
    )
    text = render_report(ReportData("x", search=section))
    heads = re.findall(r"<th[^>]*>([^<]*)</th>", text.split("Trained to completion")[1])
    assert heads[:3] == ["rank", "in the search: top_1_and_k", "accuracy"]
    assert '<td class="n">1.5</td><td class="n">75.0 %</td>' in text


def test_trials_without_rounds_have_no_column_for_them() -> None:
    trials = (Trial(1, "a", 0.5), Trial(2, "b", 0.6))
    for rounds in (("", ""), ("round 1", "round 2")):
        told = tuple(replace(t, round=r) for t, r in zip(trials, rounds, strict=True))
        text = render_report(ReportData("x", search=SearchSection("random", "accuracy", told)))
        assert ("<th>round</th>" in text) == (rounds[0] != "")


def test_parity_beyond_its_tolerance_is_called_so() -> None:
    export = ExportSection(parity=(Parity("torch and onnx", 1.0, 1e-3, 1e-5),))
    assert "differs" in Page(render_report(ReportData("x", export=export))).text


def test_the_same_data_gives_the_same_page() -> None:
    assert render_report(full()) == render_report(full())


def test_the_report_is_written_whole(tmp_path: Path) -> None:
    path = write_report(tmp_path / "runs" / "one", full())
    assert path == tmp_path / "runs" / "one" / "report.html"
    assert path.read_text(encoding="utf-8") == render_report(full())
    assert [file.name for file in path.parent.iterdir()] == ["report.html"]


def test_a_report_that_cannot_be_written_leaves_the_old_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_report(tmp_path, ReportData("old"))
    before = path.read_bytes()

    def no_space(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", no_space)
    with pytest.raises(FusegraphError) as caught:
        write_report(tmp_path, ReportData("new"))
    assert [d.code for d in caught.value.diagnostics] == ["E633"]
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["report.html"]


def test_the_mean_comes_with_its_standard_error() -> None:
    mean, error = mean_and_error([0.8, 0.9, 1.0])
    assert mean == pytest.approx(0.9)
    assert error == pytest.approx(0.1 / 3**0.5)
    assert mean_and_error([0.5]) == (0.5, 0.0)
    assert not isfinite(mean_and_error([])[0])


def test_numbers_are_written_for_people() -> None:
    assert [seconds(v) for v in (0.4213, 12.34, 185.0, 7800.0, None)] == [
        "0.42 s", "12.3 s", "3 min 05 s", "2 h 10 min", "–",
    ]  # fmt: skip
    assert [size(v) for v in (812, 14_200, 3_100_000)] == ["812 B", "14.2 kB", "3.1 MB"]
    assert [short(v) for v in (0.0, 0.25, 1200.0, 81_301.0, 1_707_836.0, 3e-5, nan)] == [
        "0", "0.25", "1,200", "81.3k", "1.71M", "3e-05", "–",
    ]  # fmt: skip
    assert percent(0.8984) == "89.8 %"


def test_fuse_text_is_told_apart_and_unchanged() -> None:
    html = str(highlighted(SPACE))
    assert '<span class="comment"># a comment</span>' in html
    assert '<span class="open">?x</span>' in html
    assert '<span class="keyword">input</span>' in html
    assert Page(html).text == SPACE


# ── charts ───────────────────────────────────────────────────────────────────────────────────────

NUMBERS = st.floats(allow_nan=True, allow_infinity=True)


@given(st.floats(-1e9, 1e9), st.floats(0, 1e9), st.integers(2, 9))
def test_ticks_are_round_and_hold_the_range(low: float, room: float, wanted: int) -> None:
    marks = ticks(low, low + room, wanted)
    step = marks[1] - marks[0]
    assert marks[0] <= low + step * 1e-6
    assert marks[-1] >= low + room - step * 1e-6
    assert 2 <= len(marks) <= 2 * wanted + 3
    assert all(a < b for a, b in pairwise(marks))


def test_ticks_are_the_numbers_one_would_choose() -> None:
    assert ticks(0.0, 1.0) == [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]
    assert ticks(0.61, 0.93) == [0.6, 0.7, 0.8, 0.9, 1.0]
    assert scale_of([1, 60], whole=True, wanted=7).texts[:3] == ("0", "10", "20")
    assert decades(20.0, 180.0) == [20.0, 50.0, 100.0, 200.0]


@given(st.lists(st.tuples(NUMBERS, NUMBERS), max_size=30), st.booleans(), st.booleans())
def test_charts_of_any_numbers_are_well_formed(
    points: list[tuple[float, float]], log: bool, as_percent: bool
) -> None:
    bounded = [(x, y) for x, y in points if abs(x) < 1e12 or not isfinite(x)]
    xs = [x if isfinite(x) else 0.0 for x, _ in bounded]
    ys = [y if abs(y) < 1e12 else nan for _, y in bounded]
    look = Look("t", "x", "y", percent=as_percent, log_x=log, log_y=log)
    for shape in ("line", "points", "steps", "failed"):
        svg = line_chart([Series("s", xs, ys, shape, low=ys, high=ys)], look)
        assert "nan" not in re.sub(r"<title>.*?</title>", "", svg)
        ElementTree.fromstring(svg)
    ElementTree.fromstring(pareto_chart([Series("s", xs, ys)], look))
    ElementTree.fromstring(bar_chart([Bar("b", y, 0.1) for y in ys], look))


def test_points_of_a_chart_lie_inside_its_axes() -> None:
    svg = ElementTree.fromstring(
        line_chart([Series("s", [1, 2, 3], [0.2, 0.9, 0.4], "points")], Look("t", "x", "y"))
    )
    width, height = float(svg.get("width", "0")), float(svg.get("height", "0"))
    dots = [(float(c.get("cx", "-1")), float(c.get("cy", "-1"))) for c in svg.iter(f"{SVG}circle")]
    assert len(dots) == 4  # three points and one in the legend
    assert all(0 < x < width and 0 < y < height for x, y in dots)
    assert dots[2][1] < dots[3][1] < dots[1][1]


def test_a_line_is_interrupted_where_a_value_is_missing() -> None:
    svg = line_chart([Series("s", [0, 1, 2, 3, 4], [1, 2, nan, 2, inf])])
    # One line of two points; one single point.
    assert svg.count('class="curve ink-a" d="M') == 2  # with the sample in the legend
    assert svg.count("<circle") == 1


def test_an_empty_chart_says_so() -> None:
    assert "No values yet." in line_chart([], Look("Loss"))
    assert "No values yet." in line_chart([Series("s", [1.0], [nan])])
    assert "No values yet." in bar_chart([Bar("b", nan)])
    assert "No values yet." in matrix_chart([], [])


def test_the_pareto_front_is_what_nothing_beats() -> None:
    points = [(1.0, 0.5), (2.0, 0.7), (2.0, 0.6), (3.0, 0.7), (4.0, 0.9), (0.5, 0.4), (2.0, 0.7)]
    assert front(points) == [5, 0, 1, 6, 4]


def _dominates(one: tuple[float, float], other: tuple[float, float]) -> bool:
    return one[0] <= other[0] and one[1] >= other[1] and one != other


@given(st.lists(st.tuples(*[st.integers(0, 6).map(float)] * 2), max_size=30))
def test_no_point_on_the_front_is_dominated_and_each_other_one_is(
    points: list[tuple[float, float]],
) -> None:
    found = front(points)
    assert sorted(set(found)) == sorted(found)
    for place, point in enumerate(points):
        beaten = any(_dominates(other, point) for other in points)
        assert beaten == (place not in found)


def test_bars_show_their_values_and_errors() -> None:
    svg = bar_chart(
        [Bar("late fusion", 0.898, 0.008), Bar("mine", 0.9, strong=True)], Look(percent=True)
    )
    texts = ["".join(e.itertext()) for e in ElementTree.fromstring(svg).iter(f"{SVG}text")]
    assert "89.8 ± 0.8 %" in texts
    assert "90.0 %" in texts


def test_a_confusion_matrix_tells_who_was_taken_for_whom() -> None:
    svg = matrix_chart([[3, 1], [0, 4]], ["cat & dog", "<none>"])
    titles = [e.text for e in ElementTree.fromstring(svg).iter(f"{SVG}title")]
    assert "cat & dog taken for <none>: 1 (25.0 %)" in titles


@pytest.mark.parametrize("word", [HOSTILE, "W" * 500, ""])
def test_hostile_names_in_charts_are_text(word: str) -> None:
    look = Look(word, word, word)
    for svg in (
        line_chart([Series(word, [1.0], [1.0], "points", tips=[word])], look, [Mark(1.0, word)]),
        bar_chart([Bar(word, 1.0, note=word)], look),
        matrix_chart([[1]], [word], look),
    ):
        tags = {e.tag.removeprefix(SVG) for e in ElementTree.fromstring(svg).iter()}
        assert tags <= {"svg", "title", "style", "rect", "text", "g", "path", "circle"}
