"""Axes of charts: round ticks, short numbers, the frame that all charts share."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import ceil, floor, isfinite, log10

from .style import SMALL_SIZE, opening
from .text import escape, fit, width_of

LEAST_LOG = 1e-100
"""The least value that a logarithmic axis shows."""

_FRAME = 20.0
_LEGEND_HEIGHT = 20.0
_LONGEST_LABEL = 150.0


def ticks(low: float, high: float, wanted: int = 5) -> list[float]:
    """About `wanted` round numbers from at or below `low` to at or above `high`."""
    if not (isfinite(low) and isfinite(high)):
        return [0.0, 1.0]
    if high - low <= 1e-12 * max(abs(low), abs(high), 1e-300):
        room = abs(low) * 0.1 or 1.0
        low, high = low - room, high + room
    rough = (high - low) / max(wanted, 1)
    power = 10.0 ** floor(log10(rough))
    step = next(power * factor for factor in (1, 2, 2.5, 5, 10) if power * factor >= rough * 0.999)
    first, last = floor(low / step + 1e-9), ceil(high / step - 1e-9)
    # Each tick is a multiple of the step, not a sum of steps, so that 0.3 stays 0.3.
    return [float(f"{count * step:.12g}") for count in range(first, last + 1)]


def decades(low: float, high: float) -> list[float]:
    """Powers of ten around positive numbers, with 2 and 5 between them where few are needed."""
    first, last = floor(log10(low)), ceil(log10(high))
    factors = (1, 2, 5) if last - first <= 2 else (1,)
    marks = [10.0**power * factor for power in range(first, last + 2) for factor in factors]
    start = max(place for place, mark in enumerate(marks) if mark <= low * 1.0001 or place == 0)
    end = min(place for place, mark in enumerate(marks) if mark >= high * 0.9999)
    inside = marks[start : max(end, start + 1) + 1]
    kept = inside[:: ceil(len(inside) / 7)]
    return kept if kept[-1] == inside[-1] else [*kept, inside[-1]]


def short(value: float, step: float | None = None) -> str:
    """A number in few characters: `0.25`, `1,200`, `81.3k`, `1.71M`, `3e-05`.

    `step` is the distance of ticks: all of them then have as many decimals as it needs.
    """
    if not isfinite(value):
        return "–"
    size = abs(value)
    for limit, unit in ((1e9, "G"), (1e6, "M"), (1e4, "k")):
        if max(size, abs(step or 0.0)) >= limit:
            if step is None:
                return f"{value / limit if limit > 1e4 else value / 1e3:.3g}{unit}"
            divisor = limit if limit > 1e4 else 1e3
            return f"{value / divisor:g}{unit}"
    if value and size < 1e-3 and step is None:
        return f"{value:.2g}"
    if step is not None:
        if step < 1e-4:
            return f"{value:.1e}" if value else "0"
        decimals = next(d for d in range(6) if abs(round(step, d) - step) < step * 1e-6 or d == 5)
        return f"{value:,.{decimals}f}"
    return f"{value:,.0f}" if size >= 1000 or value == int(value) else f"{value:.3g}"


def percent(value: float, step: float | None = None) -> str:
    """A share as a percentage: `89.8 %`."""
    if not isfinite(value):
        return "–"
    if step is None:
        return f"{100 * value:.1f} %"
    return f"{short(100 * value, 100 * step)} %"


@dataclass(frozen=True, slots=True)
class Scale:
    """One axis: its ticks with their texts, and where a value lies between two pixels."""

    ticks: tuple[float, ...]
    texts: tuple[str, ...]
    begin: float
    end: float
    log: bool = False

    def at(self, value: float) -> float:
        """The pixel of a value."""
        low, high = self.ticks[0], self.ticks[-1]
        if self.log:
            low, high, value = log10(low), log10(high), log10(max(value, LEAST_LOG))
        return self.begin + (value - low) / (high - low) * (self.end - self.begin)


def scale_of(
    values: Iterable[float],
    *,
    wanted: int = 5,
    as_percent: bool = False,
    log: bool = False,
    whole: bool = False,
    least: float | None = None,
) -> Scale:
    """The scale on which all finite values lie; `whole` where only whole numbers make sense."""
    finite = [v for v in values if isfinite(v) and (not log or v >= LEAST_LOG)]
    if least is not None:
        finite.append(least)
    if not finite:
        finite = [1.0, 10.0] if log else [0.0, 1.0]
    marks = decades(min(finite), max(finite)) if log else ticks(min(finite), max(finite), wanted)
    if whole:
        marks = ticks(floor(min(finite)), max(ceil(max(finite)), floor(min(finite)) + 1), wanted)
        if marks[1] - marks[0] < 1:
            marks = [float(v) for v in range(floor(marks[0]), ceil(marks[-1]) + 1)]
    step = None if log else marks[1] - marks[0]
    write = percent if as_percent else short
    return Scale(tuple(marks), tuple([write(mark, step) for mark in marks]), 0.0, 1.0, log)


def placed_scale(scale: Scale, begin: float, end: float) -> Scale:
    """The scale between two pixels."""
    return Scale(scale.ticks, scale.texts, begin, end, scale.log)


@dataclass(frozen=True, slots=True)
class Entry:
    """A line of the legend: a name with the colour and shape of what it names."""

    name: str
    colour: str
    shape: str = "line"


@dataclass(frozen=True, slots=True)
class Frame:
    """The room inside the axes, and the text that has been written around it."""

    left: float
    top: float
    right: float
    bottom: float
    head: str
    x: Scale
    y: Scale


def n(value: float) -> str:
    """A coordinate with at most one decimal."""
    text = f"{value:.1f}"
    return text[:-2] if text.endswith(".0") else text


def framed(
    title: str,
    labels: tuple[str, str],
    scales: tuple[Scale, Scale],
    legend: Sequence[Entry],
    size: tuple[float, float],
    strip: float = 0.0,
) -> Frame:
    """Title, legend, grid and axes of a chart; what is drawn inside comes after `head`.

    `strip` is the height of a strip for words above the grid.
    """
    width, height = size
    x, y = scales
    left = _FRAME + max([width_of(text, SMALL_SIZE) for text in y.texts], default=0.0) + 10.0
    right = width - _FRAME
    out = [opening(width, height, escape(title or labels[1]))]
    top = _FRAME
    if title:
        shown = escape(fit(title, 13.5, right - _FRAME, bold=True))
        out.append(f'<text class="h n" x="{n(_FRAME)}" y="{n(top + 9)}">{shown}</text>')
        top += 22.0
    top = _write_legend(legend, _FRAME, right, top, out)
    if labels[1]:
        out.append(f'<text class="s" x="{n(_FRAME)}" y="{n(top + 9)}">{escape(labels[1])}</text>')
        top += 20.0
    else:
        top += 8.0
    top += strip
    bottom = height - _FRAME - 16.0 - (16.0 if labels[0] else 0.0)
    x, y = placed_scale(x, left, right), placed_scale(y, bottom, top)
    for mark, text in zip(y.ticks, y.texts, strict=True):
        at = y.at(mark)
        out.append(f'<path class="grid" d="M{n(left)} {n(at)}H{n(right)}"/>')
        out.append(f'<text class="s e" x="{n(left - 8)}" y="{n(at + 3.5)}">{escape(text)}</text>')
    out.append(f'<path class="axis" d="M{n(left)} {n(bottom)}H{n(right)}"/>')
    until = -1e9
    for mark, text in zip(x.ticks, x.texts, strict=True):
        at, half = x.at(mark), width_of(text, SMALL_SIZE) / 2
        out.append(f'<path class="axis" d="M{n(at)} {n(bottom)}v4"/>')
        if at - half > until + 6:
            out.append(f'<text class="s m" x="{n(at)}" y="{n(bottom + 16)}">{escape(text)}</text>')
            until = at + half
    if labels[0]:
        middle = (left + right) / 2
        text = escape(labels[0])
        out.append(f'<text class="s m" x="{n(middle)}" y="{n(bottom + 32)}">{text}</text>')
    return Frame(left, top, right, bottom, "".join(out), x, y)


def _write_legend(
    legend: Sequence[Entry], left: float, right: float, top: float, out: list[str]
) -> float:
    """The names of what is shown, in rows. Returns where the room below them begins."""
    if not legend:
        return top
    x = left
    for entry in legend:
        text = fit(entry.name, SMALL_SIZE, _LONGEST_LABEL)
        room = 20.0 + width_of(text, SMALL_SIZE) + 16.0
        if x > left and x + room > right:
            x, top = left, top + _LEGEND_HEIGHT - 4.0
        out.append(_sample(entry, x, top + 5.5))
        out.append(f'<text class="s" x="{n(x + 20)}" y="{n(top + 9)}">{escape(text)}</text>')
        x += room
    return top + _LEGEND_HEIGHT


def _sample(entry: Entry, x: float, y: float) -> str:
    if entry.shape == "points":
        return f'<circle class="fill-{entry.colour}" cx="{n(x + 7)}" cy="{n(y)}" r="3.2"/>'
    if entry.shape == "failed":
        return cross(x + 7, y, entry.colour)
    if entry.shape == "bar":
        return (
            f'<rect class="fill-{entry.colour}" x="{n(x + 2)}" y="{n(y - 4)}" width="10" '
            'height="8" rx="2"/>'
        )
    css = "thin" if entry.shape == "dashed" else "curve"
    return f'<path class="{css} ink-{entry.colour}" d="M{n(x)} {n(y)}h14"/>'


def cross(x: float, y: float, colour: str) -> str:
    """A small cross, for what failed."""
    d = f"M{n(x - 3)} {n(y - 3)}l6 6m0 -6l-6 6"
    return f'<path class="curve ink-{colour}" d="{d}"/>'
