"""Charts as SVG: lines with bands, steps, points and rings.

Values that are not finite are left out, and a line is interrupted there. A chart without any value
says so.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Literal

from .axes import LEAST_LOG, Entry, Frame, cross, framed, n, percent, scale_of, short
from .look import PLAIN, Look, nothing
from .style import SERIES, SMALL_SIZE
from .text import clean, escape, fit, width_of

Shape = Literal["line", "points", "steps", "dashed", "front", "failed", "rings"]

_DOT = 3.2
_RING = 5.5
_STRIP = 13.0


@dataclass(frozen=True, slots=True)
class Series:
    """Values of one name: where, how high, with a band from `low` to `high` where given.

    `colour` is a place in the palette, the next free one where it is negative. `tips` are shown
    when the pointer rests on a point.
    """

    name: str
    x: Sequence[float]
    y: Sequence[float]
    shape: Shape = "line"
    low: Sequence[float] = ()
    high: Sequence[float] = ()
    tips: Sequence[str] = ()
    colour: int = -1


@dataclass(frozen=True, slots=True)
class Mark:
    """A vertical line with a word, for example where a round of a search begins."""

    x: float
    text: str


def _colours(series: Sequence[Series]) -> list[str]:
    """The palette's names for the series, those that ask for none in the order they come."""
    taken = {s.colour for s in series if s.colour >= 0}
    free = (place for place in range(len(SERIES) + len(series)) if place not in taken)
    return [SERIES[(s.colour if s.colour >= 0 else next(free)) % len(SERIES)] for s in series]


def line_chart(series: Sequence[Series], look: Look = PLAIN, marks: Sequence[Mark] = ()) -> str:
    """Lines, steps, points and bands over one pair of axes."""
    used = [s for s in series if any(map(isfinite, s.y))]
    if not used:
        return nothing(look)
    colours = _colours(used)
    ys = [v for s in used for v in (*s.y, *s.low, *s.high)]
    frame = framed(
        clean(look.title),
        (clean(look.x), clean(look.y)),
        (
            scale_of(
                [*[v for s in used for v in s.x], *[m.x for m in marks]],
                wanted=7,
                log=look.log_x,
                whole=look.whole_x,
            ),
            scale_of(
                ys,
                as_percent=look.percent,
                log=look.log_y,
                least=0.0 if look.from_zero else None,
            ),
        ),
        [
            Entry(clean(s.name), c, _sample(s.shape))
            for s, c in zip(used, colours, strict=True)
            if s.shape != "rings"
        ]
        if len(used) > 1 or used[0].name
        else [],
        look.size,
        _STRIP if marks else 0.0,
    )
    out = [frame.head]
    _write_marks(marks, frame, out)
    for s, colour in zip(used, colours, strict=True):
        _write_band(s, colour, frame, out)
    for s, colour in zip(used, colours, strict=True):
        _write_series(s, colour, frame, look, out)
    return "".join(out) + "</svg>\n"


def _sample(shape: Shape) -> str:
    if shape == "front":
        return "dashed"
    return shape if shape in ("points", "dashed", "failed") else "line"


def _write_marks(marks: Sequence[Mark], frame: Frame, out: list[str]) -> None:
    until = -1e9
    for mark in marks:
        at = frame.x.at(mark.x)
        out.append(
            f'<path class="grid dash" d="M{n(at)} {n(frame.top - _STRIP)}V{n(frame.bottom)}"/>'
        )
        text = fit(clean(mark.text), SMALL_SIZE, 110.0)
        if at > until:
            out.append(
                f'<text class="s" x="{n(at + 4)}" y="{n(frame.top - 4)}">{escape(text)}</text>'
            )
            until = at + 8.0 + width_of(text, SMALL_SIZE)


def _stretches(
    xs: Sequence[float], ys: Sequence[float], frame: Frame
) -> Iterator[list[tuple[float, float]]]:
    """The pixels of a line, apart where a value is missing."""
    stretch: list[tuple[float, float]] = []
    for x, y in zip(xs, ys, strict=True):
        shown = isfinite(x) and isfinite(y) and not (frame.y.log and y < LEAST_LOG)
        if shown and not (frame.x.log and x < LEAST_LOG):
            stretch.append((frame.x.at(x), frame.y.at(y)))
        elif stretch:
            yield stretch
            stretch = []
    if stretch:
        yield stretch


def _write_band(s: Series, colour: str, frame: Frame, out: list[str]) -> None:
    if not s.low or not s.high:
        return
    upper = list(_stretches(s.x, s.high, frame))
    lower = list(_stretches(s.x, s.low, frame))
    for above, below in zip(upper, lower, strict=False):
        corners = "L".join(f"{n(x)} {n(y)}" for x, y in [*above, *reversed(below)])
        out.append(f'<path class="band fill-{colour}" d="M{corners}Z"/>')


def _write_series(s: Series, colour: str, frame: Frame, look: Look, out: list[str]) -> None:
    if s.shape in ("points", "failed"):
        for place, (x, y) in enumerate(zip(s.x, s.y, strict=True)):
            for ((px, py),) in _stretches([x], [y], frame):
                said = percent(y) if look.percent else short(y)
                tip = s.tips[place] if place < len(s.tips) else f"{s.name} {short(x)}: {said}"
                title = f"<title>{escape(tip)}</title>"
                if s.shape == "failed":
                    out.append(f"<g>{title}{cross(px, py, colour)}</g>")
                else:
                    dot = f'<circle class="fill-{colour} dot" cx="{n(px)}" cy="{n(py)}"'
                    out.append(f'{dot} r="{_DOT}">{title}</circle>')
        return
    if s.shape == "rings":
        for stretch in _stretches(s.x, s.y, frame):
            for x, y in stretch:
                ring = f'<circle class="curve ink-{colour}" cx="{n(x)}" cy="{n(y)}"'
                out.append(f'{ring} r="{_RING}"/>')
        return
    css = "thin" if s.shape in ("dashed", "front") else "curve"
    for stretch in _stretches(s.x, s.y, frame):
        first, *rest = stretch
        path = f"M{n(first[0])} {n(first[1])}"
        for x, y in rest:
            path += f"H{n(x)}V{n(y)}" if s.shape in ("steps", "front") else f"L{n(x)} {n(y)}"
        if rest:
            out.append(f'<path class="{css} ink-{colour}" d="{path}"/>')
        else:
            x, y = first
            out.append(f'<circle class="fill-{colour}" cx="{n(x)}" cy="{n(y)}" r="{_DOT}"/>')
