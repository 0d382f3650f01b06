"""The genotype of each epoch: a row for each decision, a bar for as long as it takes the same."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ..ir.decisions import Setting
from .architecture import ArchitectureSection, LearntEpoch, OpenDecision, shown_epochs
from .axes import n, ticks
from .hues import Hue, hues_of, vocabularies
from .look import PLAIN, Look, nothing
from .style import SMALL_SIZE, opening
from .text import clean, escape, fit, width_of

_EDGE = 20.0
_LANE, _LANE_GAP, _ROW_GAP, _HEADING = 19.0, 2.0, 5.0, 22.0
_MOST_LANES = 4
_MOST_ROWS = 80
_LONGEST_NAME = 130.0
_LEAST_TEXT = 20.0


@dataclass(frozen=True, slots=True)
class Run:
    """A candidate, by its index, that is taken from one column to before another."""

    candidate: int
    begin: int
    end: int


def lanes_of(settings: Sequence[Setting | None]) -> list[list[Run]]:
    """What is taken, column by column, as runs in lanes; a candidate that stays keeps its lane.

    None is where the decision is not reached.
    """
    lanes: list[list[Run]] = []
    held: list[int | None] = []
    for column, setting in enumerate(settings):
        wanted = list(setting or ())
        kept: list[int | None] = []
        for candidate in held:
            if candidate is not None and candidate in wanted:
                wanted.remove(candidate)
                kept.append(candidate)
            else:
                kept.append(None)
        for candidate in wanted:
            if None in kept:
                kept[kept.index(None)] = candidate
            else:
                kept.append(candidate)
        while len(lanes) < len(kept):
            lanes.append([])
        for lane, before, candidate in zip(
            lanes, [*held, *[None] * (len(kept) - len(held))], kept, strict=True
        ):
            if candidate is None:
                continue
            if before == candidate:
                lane[-1] = Run(candidate, lane[-1].begin, column + 1)
            else:
                lane.append(Run(candidate, column, column + 1))
        held = kept
    return lanes


@dataclass(frozen=True, slots=True)
class _Grid:
    """Where the columns are."""

    left: float
    right: float
    epochs: Sequence[LearntEpoch]

    def at(self, column: float) -> float:
        """The pixel where a column begins."""
        return self.left + (self.right - self.left) * column / len(self.epochs)

    def span(self, run: Run) -> str:
        """`epoch 4`, `epochs 4 to 12`."""
        first, last = self.epochs[run.begin].number, self.epochs[run.end - 1].number
        return f"epoch {first}" if first == last else f"epochs {first} to {last}"


def timeline_chart(section: ArchitectureSection, look: Look = PLAIN) -> str:
    """All decisions over all epochs, those of one cell together; the best epoch stands out."""
    epochs = shown_epochs(section)
    decisions = [d for d in section.decisions if len(d.decision.labels) > 1]
    if not epochs or not decisions:
        return nothing(look)
    left_out = len(decisions) - _MOST_ROWS
    decisions = decisions[:_MOST_ROWS]
    hues: dict[str, Mapping[str, Hue]] = {}
    legend: list[Mapping[str, Hue]] = []
    for words in vocabularies([d.decision.labels for d in decisions]):
        found = hues_of(words)
        legend.append(found)
        hues |= {d.key: found for d in decisions if d.decision.labels[0] in words}
    names = [clean(_rest(d)) for d in decisions]
    widest = max(width_of(fit(name, SMALL_SIZE, _LONGEST_NAME), SMALL_SIZE) for name in names)
    grid = _Grid(_EDGE + widest + 12.0, look.size[0] - _EDGE, epochs)
    body: list[str] = []
    top = first = _EDGE + (28.0 if look.title else 0.0) + 34.0
    heading = None
    for d, name in zip(decisions, names, strict=True):
        if (head := _cell(d)) != heading:
            heading = head
            text = escape(fit(clean(head), SMALL_SIZE, grid.right - _EDGE, bold=True))
            body.append(f'<text class="s n ink" x="{n(_EDGE)}" y="{n(top + 14)}">{text}</text>')
            top += _HEADING
        lanes = lanes_of([epoch.taken.get(d.key) for epoch in epochs])
        top = _write_row(d, name, lanes, hues[d.key], grid, top, body)
    bottom = top
    head = _head(look, grid, first, bottom, section)
    tail: list[str] = []
    top = _write_legend(legend, grid, bottom + 14.0, tail)
    if left_out > 0:
        tail.append(
            f'<text class="s" x="{n(_EDGE)}" y="{n(top + 12)}">and {left_out} decisions more</text>'
        )
        top += 18.0
    title = escape(clean(look.title) or "genotype of each epoch")
    return opening(look.size[0], top + 10.0, title) + "".join([*head, *body, *tail]) + "</svg>\n"


def _cell(d: OpenDecision) -> str:
    """The first part of its key: `c[1]`."""
    return d.key.partition(".")[0]


def _rest(d: OpenDecision) -> str:
    return d.key.partition(".")[2] or d.key


def _head(
    look: Look, grid: _Grid, top: float, bottom: float, section: ArchitectureSection
) -> list[str]:
    """The title, the numbers of the epochs, and the column of the one that was taken."""
    out: list[str] = []
    if look.title:
        title = escape(fit(clean(look.title), 13.5, look.size[0] - 2 * _EDGE, bold=True))
        out.append(f'<text class="h n" x="{n(_EDGE)}" y="29">{title}</text>')
    out.append(f'<text class="s" x="{n(_EDGE)}" y="{n(top - 8)}">epoch</text>')
    numbers = [epoch.number for epoch in grid.epochs]
    wanted = {int(mark) for mark in ticks(numbers[0], numbers[-1], 15)} | {numbers[0]}
    best_at = next((i for i, epoch in enumerate(grid.epochs) if epoch is section.best), None)
    until = -1e9
    for column, number in enumerate(numbers):
        middle, text = grid.at(column + 0.5), str(number)
        half = width_of(text, SMALL_SIZE, bold=True) / 2
        if number in wanted and middle - half > until + 4:
            css = "s m n o" if column == best_at else "s m"
            out.append(f'<text class="{css}" x="{n(middle)}" y="{n(top - 8)}">{text}</text>')
            until = middle + half
    if best_at is not None:
        begin, end = grid.at(best_at), grid.at(best_at + 1)
        text = section.mark
        half = width_of(text, SMALL_SIZE, bold=True) / 2
        middle = min(max((begin + end) / 2, grid.left + half), grid.right - half)
        out.append(f'<text class="s m n o" x="{n(middle)}" y="{n(top - 23)}">{text}</text>')
        out.append(
            f'<rect class="choice" x="{n(begin - 1)}" y="{n(top - 3)}" '
            f'width="{n(max(end - begin, 2.0) + 2)}" height="{n(bottom - top + 5)}" rx="3"/>'
        )
    return out


def _write_row(
    d: OpenDecision,
    name: str,
    lanes: Sequence[Sequence[Run]],
    hues: Mapping[str, Hue],
    grid: _Grid,
    top: float,
    out: list[str],
) -> float:
    """One decision. Returns where the next one begins."""
    shown = fit(name, SMALL_SIZE, _LONGEST_NAME)
    tip = f"<title>{escape(clean(d.key))}</title>"
    out.append(
        f'<text class="s e" x="{n(grid.left - 8)}" y="{n(top + 13)}">{escape(shown)}{tip}</text>'
    )
    for lane in lanes[:_MOST_LANES]:
        for run in lane:
            out.append(_bar(d, run, hues, grid, top))
        top += _LANE + _LANE_GAP
    if len(lanes) > _MOST_LANES:
        text = f"and up to {len(lanes) - _MOST_LANES} more"
        out.append(f'<text class="s" x="{n(grid.left)}" y="{n(top + 10)}">{text}</text>')
        top += 14.0
    elif not lanes:
        out.append(f'<text class="s" x="{n(grid.left)}" y="{n(top + 13)}">not reached</text>')
        top += _LANE
    return top + _ROW_GAP


def _bar(d: OpenDecision, run: Run, hues: Mapping[str, Hue], grid: _Grid, top: float) -> str:
    label = d.decision.labels[run.candidate]
    hue = hues[label]
    begin, end = grid.at(run.begin) + 0.5, grid.at(run.end) - 0.5
    width = max(end - begin, 0.5)
    tip = f"{clean(d.key)} takes {clean(label)}, {grid.span(run)}"
    text = fit(clean(label), SMALL_SIZE, width - 8.0)
    written = ""
    if width >= _LEAST_TEXT and not text.startswith("…"):
        written = (
            f'<text class="s ink" x="{n(begin + 5)}" y="{n(top + 13.3)}">{escape(text)}</text>'
        )
    return f"<g><title>{escape(tip)}</title>{_swatch(hue, begin, top, width, _LANE)}{written}</g>"


def _swatch(hue: Hue, x: float, y: float, width: float, height: float) -> str:
    at = f'x="{n(x)}" y="{n(y)}" width="{n(width)}" height="{n(height)}"'
    return (
        f'<rect class="paper" {at} rx="2.5"/>'
        f'<rect class="fill-{hue.series}" fill-opacity="{hue.opacity}" {at} rx="2.5"/>'
        f'<rect class="fill-{hue.series}" x="{n(x)}" y="{n(y)}" width="{n(min(2.0, width))}" '
        f'height="{n(height)}"/>'
    )


def _write_legend(
    legend: Sequence[Mapping[str, Hue]], grid: _Grid, top: float, out: list[str]
) -> float:
    """What the colours mean, those of one vocabulary in rows of their own."""
    for hues in legend:
        x = _EDGE
        for label, hue in hues.items():
            text = fit(clean(label), SMALL_SIZE, 150.0)
            room = 16.0 + width_of(text, SMALL_SIZE) + 14.0
            if x > _EDGE and x + room > grid.right:
                x, top = _EDGE, top + 17.0
            out.append(_swatch(hue, x, top, 11.0, 11.0))
            out.append(f'<text class="s" x="{n(x + 16)}" y="{n(top + 9)}">{escape(text)}</text>')
            x += room
        top += 19.0
    return top
