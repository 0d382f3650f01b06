"""A heat map over epochs: how much weight each name has, and where it is taken."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite

from .axes import n, short, ticks
from .look import PLAIN, Look, nothing
from .style import SMALL_SIZE, opening
from .text import clean, escape, fit, width_of

_EDGE = 20.0
_CELL = 19.0
_PALEST, _STRONGEST = 0.05, 0.85
_LONGEST_NAME = 130.0
_SCALE = 90.0


@dataclass(frozen=True, slots=True)
class HeatRow:
    """A name with a value for each column, not finite where there is none, and how many take it."""

    name: str
    values: Sequence[float]
    taken: Sequence[int]


def heat_chart(
    rows: Sequence[HeatRow],
    columns: Sequence[int],
    look: Look = PLAIN,
    best: int | None = None,
    mark: str = "",
) -> str:
    """Rows of shades between the least and the greatest value; dots, or numbers, where taken.

    `columns` are ascending numbers, `best` is the one that stands out, with the words `mark`.
    """
    finite = [v for row in rows for v in row.values if isfinite(v)]
    if not finite or not columns:
        return nothing(look)
    low, high = min(finite), max(finite)
    width = look.size[0]
    names = [fit(clean(row.name), SMALL_SIZE, _LONGEST_NAME) for row in rows]
    left = _EDGE + max(width_of(name, SMALL_SIZE) for name in names) + 12.0
    cell = (width - _EDGE - left) / len(columns)
    top = _EDGE + (28.0 if look.title else 0.0) + 18.0
    bottom = top + len(rows) * _CELL
    title = escape(fit(clean(look.title), 13.5, width - 2 * _EDGE, bold=True))
    out = [opening(width, bottom + 58.0, title or "heat map")]
    if look.title:
        out.append(f'<text class="h n" x="{n(_EDGE)}" y="29">{title}</text>')
    if look.y:
        out.append(f'<text class="s" x="{n(_EDGE)}" y="{n(top - 8)}">{escape(look.y)}</text>')
    for place, (row, name) in enumerate(zip(rows, names, strict=True)):
        y = top + place * _CELL
        out.append(
            f'<text class="s e" x="{n(left - 8)}" y="{n(y + 13)}">{escape(name)}'
            f"<title>{escape(clean(row.name))}</title></text>"
        )
        for column, (value, taken) in enumerate(zip(row.values, row.taken, strict=True)):
            share = (value - low) / (high - low) if high > low else 0.5
            told = f"{clean(row.name)}, {look.x} {columns[column]}: {short(value)}"
            if isfinite(value):
                out.append(_cell(left + column * cell, y, cell, share, taken, told))
    _write_columns(columns, left, cell, (top, bottom), best, mark, out)
    if look.x:
        out.append(f'<text class="s e" x="{n(left - 8)}" y="{n(bottom + 14)}">{look.x}</text>')
    _write_scale(low, high, left, bottom + 34.0, out)
    return "".join(out) + "</svg>\n"


def _cell(x: float, y: float, width: float, share: float, taken: int, tip: str) -> str:
    opacity = _PALEST + (_STRONGEST - _PALEST) * share
    gap = 1.0 if width > 4 else 0.0
    mark = ""
    middle = x + width / 2
    if taken:
        tip += f", taken {'once' if taken == 1 else f'{taken} times'}"
        mark = _dots(middle, y + _CELL / 2, taken, width)
    at = f'x="{n(x)}" y="{n(y)}" width="{n(width - gap)}" height="{n(_CELL - 1)}"'
    return (
        f"<g><title>{escape(tip)}</title>"
        f'<rect class="fill-a" fill-opacity="{opacity:.2f}" {at}/>{mark}</g>'
    )


def _dots(middle: float, y: float, taken: int, width: float) -> str:
    """One dot for each that takes it, at most three, side by side where there is room."""
    count = min(taken, 3)
    radius = min(3.2, width / (2.6 * count))
    step = 2.4 * radius
    first = middle - step * (count - 1) / 2
    return "".join(
        f'<circle class="paper" cx="{n(first + step * i)}" cy="{n(y)}" r="{radius + 1.2:.1f}"/>'
        f'<circle class="chosen" cx="{n(first + step * i)}" cy="{n(y)}" r="{radius:.1f}"/>'
        for i in range(count)
    )


def _write_columns(
    columns: Sequence[int],
    left: float,
    cell: float,
    rows: tuple[float, float],
    best: int | None,
    mark: str,
    out: list[str],
) -> None:
    top, bottom = rows
    wanted = {int(mark) for mark in ticks(columns[0], columns[-1], 10)} | {columns[0]}
    until = -1e9
    for place, number in enumerate(columns):
        middle, text = left + (place + 0.5) * cell, str(number)
        half = width_of(text, SMALL_SIZE, bold=True) / 2
        if number == best:
            out.append(
                f'<rect class="whisker" x="{n(left + place * cell - 1)}" y="{n(top - 2)}" '
                f'width="{n(max(cell, 2.0) + 1)}" height="{n(bottom - top + 3)}" rx="2"/>'
            )
            room = width_of(mark, SMALL_SIZE, bold=True) / 2
            label = min(max(middle, left + room), left + len(columns) * cell - room)
            out.append(f'<text class="s m n o" x="{n(label)}" y="{n(top - 6)}">{mark}</text>')
        if number in wanted and middle - half > until + 4:
            css = "s m n o" if number == best else "s m"
            out.append(f'<text class="{css}" x="{n(middle)}" y="{n(bottom + 14)}">{text}</text>')
            until = middle + half


def _write_scale(low: float, high: float, left: float, top: float, out: list[str]) -> None:
    """What the shades and the dots mean."""
    x = left
    text = f"{low:.2f}"
    out.append(f'<text class="s" x="{n(x)}" y="{n(top + 10)}">{text}</text>')
    x += width_of(text, SMALL_SIZE) + 6.0
    steps = 6
    for step in range(steps):
        opacity = _PALEST + (_STRONGEST - _PALEST) * step / (steps - 1)
        out.append(
            f'<rect class="fill-a" fill-opacity="{opacity:.2f}" x="{n(x)}" y="{n(top)}" '
            f'width="{n(_SCALE / steps)}" height="12"/>'
        )
        x += _SCALE / steps
    text = f"{high:.2f} weight"
    out.append(f'<text class="s" x="{n(x + 6)}" y="{n(top + 10)}">{text}</text>')
    x += width_of(text, SMALL_SIZE) + 26.0
    out.append(_dots(x, top + 6.0, 1, 10.0))
    out.append(f'<text class="s" x="{n(x + 9)}" y="{n(top + 10)}">taken, a dot for each</text>')
