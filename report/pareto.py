"""Scores against what networks cost: charts and a table, with the Pareto front marked.

A point is on the front where no other is at least as good in both, and better in one: costs less,
or scores more. Points that are equal are on it together.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import isfinite

from .curves import Series, line_chart
from .data import SearchSection, Trial
from .look import PLAIN, Look

_MOST_GROUPS = 6
_MOST_ROWS = 12
_WIDE_RANGE = 8.0
"""Times the least cost: where the largest is above it, the axis is logarithmic."""

Tip = Callable[[Trial], str]


@dataclass(frozen=True, slots=True)
class Measure:
    """What networks cost in one respect: its name, the axis' label, and where a trial has it."""

    name: str
    label: str
    of: Callable[[Trial], float | None]


MEASURES = (
    Measure("parameters", "parameters", lambda trial: trial.parameters),
    Measure("multiply-adds", "multiply-adds of one sample", lambda trial: trial.macs),
    Measure(
        "activations",
        "bytes of activations of one sample",
        lambda trial: trial.activation_bytes,
    ),
    Measure("latency", "latency in ms", lambda trial: trial.latency),
)
"""In the order in which they are shown."""


@dataclass(frozen=True, slots=True)
class OnFront:
    """A trial on the front of one or several measures, by name."""

    trial: Trial
    measures: tuple[str, ...]


def front(points: Sequence[tuple[float, float]]) -> list[int]:
    """The places of the points (cost, score) that none dominates, the cheapest first."""
    order = sorted(range(len(points)), key=lambda place: (points[place][0], -points[place][1]))
    found: list[int] = []
    for place in order:
        if (
            not found
            or points[place][1] > points[found[-1]][1]
            or points[place] == points[found[-1]]
        ):
            found.append(place)
    return found


def pareto_chart(series: Sequence[Series], look: Look = PLAIN) -> str:
    """Points of several names, less to the left and more to the top being better; a dashed line
    along the front, and a ring around each point on it.
    """
    points = [
        (x, y) for s in series for x, y in zip(s.x, s.y, strict=True) if isfinite(x) and isfinite(y)
    ]
    drawn = [Series(s.name, s.x, s.y, "points", tips=s.tips, colour=s.colour) for s in series]
    best = [points[place] for place in front(points)]
    if len(set(best)) > 1:
        xs, ys = [x for x, _ in best], [y for _, y in best]
        colour = len(series)
        drawn.append(Series("Pareto front", xs, ys, "front", colour=colour))
        drawn.append(Series("", xs, ys, "rings", colour=colour))
    return line_chart(drawn, look)


def pareto_charts(section: SearchSection, scored: Sequence[Trial], tip: Tip) -> list[str]:
    """A chart for each measure that differs among the trials."""
    return [_chart(section, measure, trials, tip) for measure, trials in _measured(scored)]


def on_fronts(scored: Sequence[Trial]) -> list[OnFront]:
    """The trials on the front of a measure that differs, the best first."""
    found: dict[int, list[str]] = {}
    for measure, trials in _measured(scored):
        points = [(measure.of(t) or 0.0, _score(t)) for t in trials]
        for place in front(points):
            found.setdefault(trials[place].number, []).append(measure.name)
    those = [t for t in scored if t.number in found]
    those.sort(key=lambda t: (-_score(t), t.number))
    return [OnFront(t, tuple(found[t.number])) for t in those[:_MOST_ROWS]]


def _measured(scored: Sequence[Trial]) -> list[tuple[Measure, list[Trial]]]:
    """The measures that differ, each with the trials that have it."""
    found: list[tuple[Measure, list[Trial]]] = []
    for measure in MEASURES:
        trials = [t for t in scored if measure.of(t) is not None]
        if len({measure.of(t) for t in trials}) > 1:
            found.append((measure, trials))
    return found


def _score(trial: Trial) -> float:
    """Before its price, which is that of a cost already."""
    return (trial.score or 0.0) if trial.plain is None else trial.plain


def _chart(section: SearchSection, measure: Measure, trials: Sequence[Trial], tip: Tip) -> str:
    rounds = list(dict.fromkeys(t.round for t in trials))
    grouped = rounds if 1 < len(rounds) <= _MOST_GROUPS else [None]
    series: list[Series] = []
    for place, name in enumerate(grouped):
        these = [t for t in trials if name is None or t.round == name]
        series.append(
            Series(
                name or "trial",
                [float(measure.of(t) or 0.0) for t in these],
                [_score(t) for t in these],
                "points",
                tips=[tip(t) for t in these],
                colour=place,
            )
        )
    costs = [measure.of(t) or 0.0 for t in trials]
    look = Look(
        f"Score against {measure.name}",
        measure.label,
        section.metric,
        percent=section.percent,
        log_x=min(costs) > 0.0 and max(costs) > _WIDE_RANGE * min(costs),
    )
    return pareto_chart(series, look)
