"""The page of a run: one HTML file with its pictures in it, for which no network is needed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.resources import files
from math import isfinite, sqrt
from pathlib import Path
from typing import Any

from jinja2 import DictLoader, Environment, StrictUndefined
from markupsafe import Markup

from ..ir.diagnostics import Diagnostic, FusegraphError
from ..ir.support.files import write_whole
from .axes import percent, short
from .bars import Bar, bar_chart
from .curves import Mark, Series, line_chart
from .data import (
    ComparisonSection,
    Final,
    Method,
    ReportData,
    SearchSection,
    Trial,
    WinnerSection,
)
from .highlight import highlighted
from .learning import Learning, learning
from .levelled import levels_of
from .look import Look
from .matrix import matrix_chart
from .pareto import on_fronts, pareto_charts
from .svg import draw
from .text import clean, printable, rounded

NAME = "report.html"
_LEARNING = "learning.html"

_FIRST_ROWS = 10
_MOST_ROWS = 200
_MOST_FAILURES = 20
_WIDE = (900.0, 0.0)
_MOST_COSTS = 60


def write_report(folder: str | Path, data: ReportData) -> Path:
    """Write `report.html` into the folder, whole or not at all, and return its path.

    Raises FusegraphError E633 where it cannot be written.
    """
    target = Path(folder) / NAME
    page = render_report(data)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        write_whole(target, page.encode("utf-8"))
    except OSError as error:
        raise FusegraphError(
            Diagnostic(
                code="E633",
                message=f"the report cannot be written: {error.strerror or error}",
                place=str(target),
                help="give another path, or make room and allow writing there",
            )
        ) from None
    return target


def render_report(data: ReportData) -> str:
    """The page as HTML text, the same for the same data."""
    page = _environment().get_template(NAME)
    text = page.render(
        data=data,
        css=Markup(_template("report.css")),
        sections=_sections(data),
        space=_space(data),
        search=_search(data.search) if data.search else None,
        comparison=_comparison(data.comparison) if data.comparison else None,
        winner=_winner(data.winner) if data.winner else None,
    )
    return printable(text)


def _template(name: str) -> str:
    return (files(__package__ or __name__) / "templates" / name).read_text(encoding="utf-8")


def _environment() -> Environment:
    environment = Environment(
        loader=DictLoader({name: _template(name) for name in (NAME, _LEARNING)}),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    filters: dict[str, Callable[..., Any]] = {
        "whole": whole,
        "seconds": seconds,
        "size": size,
        "number": number,
        "bytes": lambda value: "–" if value is None else size(value),
        "fuse": highlighted,
    }
    environment.filters.update(filters)
    return environment


# ── numbers ──────────────────────────────────────────────────────────────────────────────────────


def whole(value: int | None) -> str:
    """A whole number with commas, a dash where it is not known."""
    return "–" if value is None else rounded(value)


def number(value: float | None) -> str:
    """A number in few characters, a dash where it is not known."""
    return "–" if value is None or not isfinite(value) else f"{value:.3g}"


def seconds(value: float | None) -> str:
    """A duration: `0.42 s`, `12.3 s`, `3 min 05 s`, `2 h 10 min`."""
    if value is None or not isfinite(value):
        return "–"
    if value < 60:
        return f"{value:.2f} s" if value < 10 else f"{value:.1f} s"
    minutes, rest = divmod(round(value), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"


def size(value: int) -> str:
    """A number of bytes: `812 B`, `14.2 kB`, `3.1 MB`."""
    amount = float(value)
    for unit in ("B", "kB", "MB", "GB"):
        if amount < 1000 or unit == "GB":
            break
        amount /= 1000
    return f"{amount:.0f} {unit}" if unit == "B" else f"{amount:.1f} {unit}"


def _score(value: float | None, as_percent: bool) -> str:
    if value is None or not isfinite(value):
        return "–"
    return percent(value) if as_percent else f"{value:.4g}"


def _picture(svg: str) -> Markup:
    return Markup(svg)


# ── sections ─────────────────────────────────────────────────────────────────────────────────────


def _sections(data: ReportData) -> list[tuple[str, str]]:
    """The anchors and titles of the sections that are there."""
    titles = (
        ("space", "What was searched", data.space),
        ("data", "The data", data.data),
        ("search", "The search", data.search),
        ("comparison", "Comparison", data.comparison),
        ("winner", "The network that was found", data.winner),
        ("export", "Export", data.export),
        ("repeat", "How to repeat it", data.repeat),
    )
    return [(anchor, title) for anchor, title, section in titles if section is not None]


@dataclass(frozen=True, slots=True)
class _Space:
    drawing: Markup


def _space(data: ReportData) -> _Space | None:
    if data.space is None:
        return None
    return _Space(_picture(draw(data.space.graph, direction="auto", title=False)))


@dataclass(frozen=True, slots=True)
class _Row:
    trial: Trial
    score: str
    plain: str


@dataclass(frozen=True, slots=True)
class _OnFront:
    row: _Row
    measures: str


@dataclass(frozen=True, slots=True)
class _Final:
    final: Final
    search_score: str
    score: str
    valid: str
    joint: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Search:
    """`latency`, `priced` and `rounds` say whether there are columns for them, `strong` which trial
    stands out.
    """

    charts: tuple[Markup, ...]
    rows: tuple[_Row, ...]
    more: tuple[_Row, ...]
    front: tuple[_OnFront, ...]
    finals: tuple[_Final, ...]
    final_metric: str
    latency: bool
    priced: bool
    rounds: bool
    strong: int | None
    scored: int
    failures: tuple[Trial, ...]
    failed: int
    learning: Learning | None


def _search(section: SearchSection) -> _Search:
    scored = [t for t in section.trials if t.score is not None and isfinite(t.score)]
    failed = [t for t in section.trials if t.failure]
    best = sorted(scored, key=lambda trial: (-(trial.score or 0.0), trial.number))

    def shown(value: float | None) -> str:
        return _score(value, section.percent)

    def final(value: float | None) -> str:
        alike = not section.final_metric
        return _score(value, section.percent if alike else section.final_percent)

    def row(trial: Trial) -> _Row:
        return _Row(trial, shown(trial.score), shown(trial.plain))

    rows = tuple([row(trial) for trial in best[:_MOST_ROWS]])
    told = section.architecture
    charts = [_progress(section, scored, failed)] if section.trials and told is None else []
    # The scores of epochs are a supernet's: they say nothing of a network's size.
    comparable = scored if told is None else []
    charts += pareto_charts(section, comparable, lambda trial: _tip(trial, section))
    charts += [
        line_chart(c.series, Look(c.title, c.x, c.y, log_y=c.log_y), c.marks)
        for c in section.charts
    ]
    return _Search(
        tuple([_picture(chart) for chart in charts]),
        rows[:_FIRST_ROWS],
        rows[_FIRST_ROWS:],
        tuple([_OnFront(row(f.trial), ", ".join(f.measures)) for f in on_fronts(comparable)]),
        tuple(
            [
                _Final(
                    f,
                    shown(f.search_score),
                    final(f.score),
                    final(f.valid),
                    tuple([final(score) for _, score in f.joint]),
                )
                for f in section.finals
            ]
        ),
        section.final_metric or section.metric,
        any(t.latency is not None for t in (*section.trials, *section.finals)),
        any(t.plain is not None for t in scored),
        any(t.round for t in section.trials),
        _strong(section, best),
        len(scored),
        tuple(failed[:_MOST_FAILURES]),
        len(failed),
        learning(told, section.metric, section.percent) if told else None,
    )


def _strong(section: SearchSection, best: Sequence[Trial]) -> int | None:
    """The number of the best trial; of a search that takes another one, that of what it takes."""
    told = section.architecture
    if told is not None and not told.mixed:
        return None if told.best is None else told.best.number - 1
    return best[0].number if best else None


def _progress(section: SearchSection, scored: Sequence[Trial], failed: Sequence[Trial]) -> str:
    """The score of each trial, the best so far, and where rounds begin."""
    numbers = [float(t.number) for t in scored]
    scores = [t.score or 0.0 for t in scored]
    best: list[float] = []
    for score in scores:
        best.append(max(score, best[-1]) if best else score)
    marks: list[Mark] = []
    for trial in section.trials:
        if trial.round and (not marks or marks[-1].text != trial.round):
            marks.append(Mark(float(trial.number), trial.round))
    series = [
        Series("trial", numbers, scores, "points", tips=[_tip(t, section) for t in scored]),
        Series("best so far", numbers, best, "steps"),
    ]
    if failed and scores:
        low = min(scores)
        series.append(
            Series(
                "failed",
                [float(t.number) for t in failed],
                [low] * len(failed),
                "failed",
                tips=[f"{t.number}: {t.failure}" for t in failed],
                colour=3,
            )
        )
    priced = ", less its price" if any(t.plain is not None for t in scored) else ""
    label = f"{section.metric}{priced}"
    look = Look("Score of each trial", "trial", label, percent=section.percent, whole_x=True)
    return line_chart(series, look, marks)


def _tip(trial: Trial, section: SearchSection) -> str:
    score = _score(trial.score, section.percent)
    return clean(f"{trial.number}: {score} {trial.genotype}")


@dataclass(frozen=True, slots=True)
class _Compared:
    method: Method
    mean: str
    error: str
    each: str


@dataclass(frozen=True, slots=True)
class _Comparison:
    chart: Markup
    rows: tuple[_Compared, ...]


def mean_and_error(scores: Sequence[float]) -> tuple[float, float]:
    """The mean, and its standard error: the sample deviation over the root of the number."""
    n = len(scores)
    if not n:
        return float("nan"), 0.0
    mean = sum(scores) / n
    if n < 2:
        return mean, 0.0
    return mean, sqrt(sum((s - mean) ** 2 for s in scores) / (n - 1) / n)


def _comparison(section: ComparisonSection) -> _Comparison:
    bars: list[Bar] = []
    rows: list[_Compared] = []
    for method in section.methods:
        mean, error = mean_and_error(method.scores)
        bars.append(Bar(method.name, mean, error, method.strong))
        told = _score(error, section.percent) if len(method.scores) > 1 else "–"
        each = ", ".join(_score(score, section.percent) for score in method.scores)
        rows.append(_Compared(method, _score(mean, section.percent), told, each))
    look = Look(section.metric, percent=section.percent, size=_WIDE)
    return _Comparison(_picture(bar_chart(bars, look)), tuple(rows))


@dataclass(frozen=True, slots=True)
class _Winner:
    drawing: Markup
    in_space: Markup | None
    charts: tuple[Markup, ...]
    metrics: tuple[tuple[str, str], ...]
    total: tuple[int, int, int]
    left_out: int


def _winner(section: WinnerSection) -> _Winner:
    charts: list[str] = []
    if section.epochs:
        charts += _learning(section)
    if section.confusion:
        look = Look("Confusion on the test split")
        charts.append(matrix_chart(section.confusion, section.classes, look))
    for other in section.joint:
        look = Look(f"Confusion of {other.output}")
        charts.append(matrix_chart(other.matrix, other.classes, look))
    shown, in_space = draw(section.network, direction="auto", title=False), None
    if section.space is not None and section.taken:
        told = draw(
            section.space, taken=section.taken, direction="auto", title=False,
            weights=section.connections,
        )  # fmt: skip
        if levels_of(section.space) is not None:
            shown = told  # its nodes, level by level; the network has a box for each of their ops
        else:
            in_space = _picture(told)
    total = (
        sum(c.parameters for c in section.costs),
        sum(c.macs for c in section.costs),
        sum(c.activation_bytes for c in section.costs),
    )
    return _Winner(
        _picture(shown),
        in_space,
        tuple([_picture(chart) for chart in charts]),
        tuple([(name, _score(value, section.percent)) for name, value in section.metrics]),
        total,
        max(0, len(section.costs) - _MOST_COSTS),
    )


def _learning(section: WinnerSection) -> list[str]:
    epochs = [float(e.number) for e in section.epochs]

    def values(name: str) -> list[float]:
        found = [getattr(e, name) for e in section.epochs]
        return [float("nan") if value is None else float(value) for value in found]

    losses = [
        Series("training", epochs, values("training_loss")),
        Series("validation", epochs, values("validation_loss")),
    ]
    scores = [Series("validation", epochs, values("validation_score"), colour=1)]
    charts: list[str] = []
    if any(isfinite(v) for s in losses for v in s.y):
        look = Look("Loss of the winner", "epoch", "loss", whole_x=True, from_zero=True)
        charts.append(line_chart(losses, look))
    if any(isfinite(v) for v in scores[0].y):
        look = Look("Score of the winner", "epoch", "score", percent=section.percent, whole_x=True)
        charts.append(line_chart(scores, look))
    return charts


__all__ = ["NAME", "mean_and_error", "render_report", "short", "write_report"]
