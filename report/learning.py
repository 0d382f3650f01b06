"""The part of the page that tells how a supernet's architecture was learnt."""

from __future__ import annotations

from dataclasses import dataclass
from math import isfinite, nan

from markupsafe import Markup

from .architecture import (
    ArchitectureSection,
    LearntEpoch,
    OpenDecision,
    groups_of,
    shown_epochs,
)
from .axes import percent, short
from .curves import Mark, Series, line_chart
from .heat import HeatRow, heat_chart
from .look import Look
from .timeline import timeline_chart
from .weights import weights_charts

_ALONE = "the weights alone"
_WIDE = (1040.0, 0.0)
_MOST_GROUPS = 6
_MOST_FEATURES = 60


@dataclass(frozen=True, slots=True)
class EpochRow:
    """An epoch as the table has it. `changes` is what its genotype takes anew."""

    number: int
    score: str
    training: str
    architecture: str
    validation: str
    openness: str
    changes: str
    best: bool


@dataclass(frozen=True, slots=True)
class Learning:
    """The pictures and the table, ready for the template. `best` is the epoch that was taken."""

    curves: tuple[Markup, ...]
    timeline: Markup
    features: Markup | None
    weights: tuple[Markup, ...]
    best: int | None
    rows: tuple[EpochRow, ...]


def learning(section: ArchitectureSection, metric: str, as_percent: bool) -> Learning:
    """All that the page shows of the section."""
    curves = [
        _scores(section, metric, as_percent),
        _openness(section),
        _losses(section),
        *_costs(section),
    ]
    best = section.best
    return Learning(
        tuple([Markup(chart) for chart in curves]),
        Markup(timeline_chart(section, Look(size=_WIDE))),
        Markup(features) if (features := features_chart(section)) else None,
        tuple([Markup(chart) for chart in weights_charts(section)]),
        None if best is None else best.number,
        _rows(section, as_percent),
    )


def _marks(section: ArchitectureSection) -> list[Mark]:
    best = section.best
    return [] if best is None else [Mark(float(best.number), section.mark)]


def _numbers(section: ArchitectureSection) -> list[float]:
    return [float(epoch.number) for epoch in section.epochs]


def _scores(section: ArchitectureSection, metric: str, as_percent: bool) -> str:
    """BM-NAS, Fig. 6."""
    numbers = _numbers(section)
    scores = [epoch.score for epoch in section.epochs]
    series = [Series("supernet" if section.mixed else "genotype", numbers, scores)]
    refused = [epoch for epoch in section.epochs if epoch.violated]
    if refused:
        series.append(
            Series(
                "genotype fails a require",
                [float(e.number) for e in refused],
                [e.score for e in refused],
                "failed",
                tips=[f"{e.number}: {', '.join(e.violated)}" for e in refused],
                colour=3,
            )
        )
    what = "the supernet" if section.mixed else "each epoch's genotype, by shared weights"
    look = Look(f"Score of {what}", "epoch", metric, percent=as_percent, whole_x=True)
    return line_chart(series, look, _marks(section))


def _openness(section: ArchitectureSection) -> str:
    groups = groups_of(section)
    numbers = _numbers(section)
    series: list[Series] = []
    for group in groups[:_MOST_GROUPS]:
        each = [
            [e.openness[d.key] for d in group.decisions if d.key in e.openness]
            for e in section.epochs
        ]
        means = [sum(values) / len(values) if values else nan for values in each]
        several = len(group.decisions) > 1 and all(each)
        low = [min(values) for values in each] if several else []
        high = [max(values) for values in each] if several else []
        series.append(Series(group.name, numbers, means, low=low, high=high))
    left_out = len(groups) - _MOST_GROUPS
    title = "Entropy of the decisions"
    title += f", {left_out} groups left out" if left_out > 0 else ""
    look = Look(title, "epoch", "0 settled, 1 all the same", whole_x=True, from_zero=True)
    return line_chart(series, look, _marks(section))


def _losses(section: ArchitectureSection) -> str:
    numbers = _numbers(section)
    series = [
        Series("training", numbers, [e.training_loss for e in section.epochs]),
        Series("architecture's steps", numbers, [_settled(e) for e in section.epochs]),
        Series("validation", numbers, [e.validation_loss for e in section.epochs]),
    ]
    what = "the supernet" if section.mixed else "the networks that were drawn"
    look = Look(f"Loss of {what}", "epoch", "loss", whole_x=True)
    return line_chart(series, look, _marks(section))


def _costs(section: ArchitectureSection) -> list[str]:
    """What the networks cost, and the range where they shall; nothing where nobody looked at it."""
    told = [(float(epoch.number), epoch.cost) for epoch in section.epochs if epoch.cost]
    if not told:
        return []
    numbers = [number for number, _ in told]
    measure, target = told[-1][1].measure, told[-1][1].target
    series = [
        Series("mean of what was drawn", numbers, [cost.expected for _, cost in told]),
        Series("most probable network", numbers, [cost.taken for _, cost in told], "steps"),
    ]
    ends = ("target, lower end", "target, upper end")
    for name, end in zip(ends, target, strict=False):
        series.append(Series(name, numbers, [end] * len(numbers), "dashed", colour=3))
    look = Look(f"Cost of the networks: {measure}", "epoch", measure, whole_x=True)
    return [line_chart(series, look, _marks(section))]


def features_chart(section: ArchitectureSection) -> str:
    """What the edges of the upper level weigh, a row for each value that may be taken: the mean
    over the places that offer it. Spaces without such edges show those inside their composites;
    nothing is shown where no edges are from features.
    """
    edges = [d for d in section.decisions if d.features and len(d.decision.labels) > 1]
    upper = [d for d in edges if not d.inner] or edges
    if not upper:
        return ""
    epochs = shown_epochs(section)
    labels = list(dict.fromkeys(label for d in upper for label in d.decision.labels))
    rows = [
        HeatRow(
            label,
            [_weight(label, upper, epoch) for epoch in epochs],
            [_times(label, upper, epoch) for epoch in epochs],
        )
        for label in labels[:_MOST_FEATURES]
    ]
    title = "Which features are selected: mean weight over the places that may take them"
    if len(labels) > _MOST_FEATURES:
        title += f", the first {_MOST_FEATURES} of {len(labels)}"
    best = section.best
    look = Look(title, "epoch", size=_WIDE)
    numbers = [e.number for e in epochs]
    return heat_chart(rows, numbers, look, best.number if best else None, section.mark)


def _weight(label: str, decisions: list[OpenDecision], epoch: LearntEpoch) -> float:
    found = [
        slot[d.decision.labels.index(label)]
        for d in decisions
        if label in d.decision.labels
        for slot in epoch.weights.get(d.key, ())
    ]
    return sum(found) / len(found) if found else nan


def _times(label: str, decisions: list[OpenDecision], epoch: LearntEpoch) -> int:
    return sum(
        [d.decision.labels[i] for i in epoch.taken.get(d.key, ())].count(label) for d in decisions
    )


def _rows(section: ArchitectureSection, as_percent: bool) -> tuple[EpochRow, ...]:
    rows: list[EpochRow] = []
    before: LearntEpoch | None = None
    best = section.best
    for epoch in section.epochs:
        mean = sum(epoch.openness.values()) / len(epoch.openness) if epoch.openness else nan
        rows.append(
            EpochRow(
                epoch.number,
                _number(epoch.score, as_percent),
                _number(epoch.training_loss),
                _ALONE if epoch.architecture_loss is None else _number(_settled(epoch)),
                _number(epoch.validation_loss),
                f"{mean:.3f}" if isfinite(mean) else "–",
                _changes(section, before, epoch),
                epoch is best,
            )
        )
        before = epoch
    return tuple(rows)


def _settled(epoch: LearntEpoch) -> float:
    """The architecture's loss, a gap in its line where there is none."""
    return nan if epoch.architecture_loss is None else epoch.architecture_loss


def _number(value: float, as_percent: bool = False) -> str:
    return percent(value) if as_percent else short(value)


def _changes(section: ArchitectureSection, before: LearntEpoch | None, epoch: LearntEpoch) -> str:
    """What the genotype takes that the one before did not; all of it at first."""
    old = {} if before is None else before.taken
    told = [
        f"{d.key} = {d.decision.format(epoch.taken[d.key])}"
        for d in section.decisions
        if d.key in epoch.taken and old.get(d.key) != epoch.taken[d.key]
    ]
    told += [f"{key} is not reached" for key in old if key not in epoch.taken]
    return ", ".join(told) or "the same"
