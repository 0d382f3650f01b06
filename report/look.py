"""What the charts have in common: titles, labels, how numbers are written, the size."""

from __future__ import annotations

from dataclasses import dataclass

from .style import TEXT_SIZE, opening
from .text import clean, escape, fit


@dataclass(frozen=True, slots=True)
class Look:
    """What charts have in common: title, labels of the axes, how numbers are written, the size."""

    title: str = ""
    x: str = ""
    y: str = ""
    percent: bool = False
    log_x: bool = False
    log_y: bool = False
    whole_x: bool = False
    from_zero: bool = False
    size: tuple[float, float] = (540.0, 280.0)


PLAIN = Look()
"""No title, no labels, the usual size."""


def nothing(look: Look) -> str:
    """A chart that has nothing to show."""
    width, _ = look.size
    title = escape(fit(clean(look.title) or "chart", TEXT_SIZE, width - 40.0, bold=True))
    return (
        opening(width, 76.0, title)
        + f'<text class="n" x="20" y="30">{title}</text>'
        + '<text class="s" x="20" y="50">No values yet.</text></svg>\n'
    )
