"""Bars side by side, with standard errors: a comparison of methods."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite

from .axes import Scale, n, percent, placed_scale, scale_of, short
from .look import PLAIN, Look, nothing
from .style import SMALL_SIZE, TEXT_SIZE, opening
from .text import clean, escape, fit, width_of

_BAR, _BAR_GAP = 20.0, 10.0


@dataclass(frozen=True, slots=True)
class Bar:
    """One bar of a comparison: its value, its standard error, and whether to point it out."""

    name: str
    value: float
    error: float = 0.0
    strong: bool = False
    note: str = ""


def bar_chart(bars: Sequence[Bar], look: Look = PLAIN) -> str:
    """Horizontal bars with their values, and their standard errors as whiskers."""
    shown = [bar for bar in bars if isfinite(bar.value)]
    if not shown:
        return nothing(look)
    width = look.size[0]
    names = [fit(clean(bar.name), TEXT_SIZE, width * 0.38, bold=bar.strong) for bar in shown]
    texts = [_bar_text(bar, look) for bar in shown]
    left = (
        20.0
        + 12.0
        + max(
            width_of(name, TEXT_SIZE, bold=bar.strong)
            for name, bar in zip(names, shown, strict=True)
        )
    )
    right = width - 20.0 - max(width_of(text, SMALL_SIZE) for text in texts) - 12.0
    top = 50.0 if look.title else 20.0
    bottom = top + len(shown) * (_BAR + _BAR_GAP)
    ends = [v for bar in shown for v in (bar.value - bar.error, bar.value + bar.error)]
    scale = scale_of(ends, as_percent=look.percent, least=0.0)
    scale = placed_scale(scale, left, right)
    title = escape(fit(clean(look.title), 13.5, width - 40.0, bold=True))
    out = [opening(width, bottom + 34.0 + (14.0 if look.x else 0.0), title or "bars")]
    if look.title:
        out.append(f'<text class="h n" x="20" y="29">{title}</text>')
    _write_bar_axis(scale, top, bottom, look, out)
    for place, (bar, name, text) in enumerate(zip(shown, names, texts, strict=True)):
        _write_bar(bar, name, text, scale, top + place * (_BAR + _BAR_GAP), out)
    return "".join(out) + "</svg>\n"


def _bar_text(bar: Bar, look: Look) -> str:
    text = percent(bar.value) if look.percent else short(bar.value)
    if bar.error > 0 and look.percent:
        text = f"{100 * bar.value:.1f} ± {100 * bar.error:.1f} %"
    elif bar.error > 0:
        text += f" ± {short(bar.error)}"
    return f"{text}  {clean(bar.note)}" if bar.note else text


def _write_bar_axis(scale: Scale, top: float, bottom: float, look: Look, out: list[str]) -> None:
    for mark, text in zip(scale.ticks, scale.texts, strict=True):
        at = n(scale.at(mark))
        out.append(f'<path class="grid" d="M{at} {n(top - 4)}V{n(bottom)}"/>')
        out.append(f'<text class="s m" x="{at}" y="{n(bottom + 14)}">{escape(text)}</text>')
    if look.x:
        middle = n((scale.begin + scale.end) / 2)
        label = escape(clean(look.x))
        out.append(f'<text class="s m" x="{middle}" y="{n(bottom + 30)}">{label}</text>')


def _write_bar(bar: Bar, name: str, text: str, scale: Scale, top: float, out: list[str]) -> None:
    zero, end = scale.at(max(0.0, scale.ticks[0])), scale.at(bar.value)
    css = "fill-b" if bar.strong else "fill-a"
    middle = top + _BAR / 2
    ink = "n e" if bar.strong else "e"
    out.append(
        f'<text class="{ink}" x="{n(scale.begin - 10)}" y="{n(middle + 4.3)}">{escape(name)}</text>'
    )
    out.append(
        f'<g><title>{escape(f"{bar.name}: {text}")}</title><rect class="{css} bar" '
        f'x="{n(min(zero, end))}" y="{n(top)}" width="{n(max(abs(end - zero), 1.0))}" '
        f'height="{n(_BAR)}" rx="3"/></g>'
    )
    after = end
    if bar.error > 0:
        low, high = scale.at(bar.value - bar.error), scale.at(bar.value + bar.error)
        upper = n(middle - 4)
        d = f"M{n(low)} {n(middle)}H{n(high)}M{n(low)} {upper}v8M{n(high)} {upper}v8"
        out.append(f'<path class="whisker" d="{d}"/>')
        after = high
    out.append(
        f'<text class="s" x="{n(max(after, zero) + 8)}" y="{n(middle + 3.7)}">{escape(text)}</text>'
    )
