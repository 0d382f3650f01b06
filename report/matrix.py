"""A confusion matrix as a picture."""

from __future__ import annotations

from collections.abc import Sequence

from .axes import n, percent
from .look import PLAIN, Look, nothing
from .style import SMALL_SIZE, opening
from .text import clean, escape, fit, width_of

_LARGEST_MATRIX = 40


def matrix_chart(rows: Sequence[Sequence[int]], names: Sequence[str], look: Look = PLAIN) -> str:
    """A confusion matrix: a row for each true class, a column for each predicted one."""
    size = len(rows)
    if not size or size > _LARGEST_MATRIX or any(len(row) != size for row in rows):
        return nothing(look)
    cell = 34.0 if size <= 12 else 22.0
    labels = [fit(clean(name), SMALL_SIZE, 110.0) for name in names] or [
        str(i) for i in range(size)
    ]
    left = 20.0 + 18.0 + max(width_of(label, SMALL_SIZE) for label in labels) + 8.0
    upright = all(width_of(label, SMALL_SIZE) <= cell - 2 for label in labels)
    over = 16.0 if upright else max(width_of(label, SMALL_SIZE) for label in labels) * 0.8 + 20.0
    top = (50.0 if look.title else 20.0) + 16.0 + over
    side = size * cell
    width, height = max(left + side + 20.0 + (0 if upright else 40.0), 260.0), top + side + 20.0
    title = escape(fit(clean(look.title), 13.5, width - 40.0, bold=True))
    out = [opening(width, height, title or "confusion matrix")]
    if look.title:
        out.append(f'<text class="h n" x="20" y="29">{title}</text>')
    out.append(
        f'<text class="s m" x="{n(left + side / 2)}" y="{n(top - over - 4)}">predicted</text>'
    )
    turn = f"{n(28)} {n(top + side / 2)}"
    out.append(f'<text class="s m" transform="translate({turn}) rotate(-90)">true</text>')
    for at, label in enumerate(labels):
        middle = at * cell + cell / 2
        text = escape(label)
        out.append(f'<text class="s e" x="{n(left - 8)}" y="{n(top + middle + 3.5)}">{text}</text>')
        if upright:
            out.append(f'<text class="s m" x="{n(left + middle)}" y="{n(top - 6)}">{text}</text>')
        else:
            turn = f"{n(left + middle)} {n(top - 6)}"
            out.append(f'<text class="s" transform="translate({turn}) rotate(-45)">{text}</text>')
    for r, row in enumerate(rows):
        total = sum(row)
        for c, count in enumerate(row):
            share = count / total if total else 0.0
            out.append(
                _cell(left + c * cell, top + r * cell, cell, count, share, labels[r], labels[c])
            )
    return "".join(out) + "</svg>\n"


def _cell(
    x: float, y: float, cell: float, count: int, share: float, true: str, predicted: str
) -> str:
    css = "fill-b" if true == predicted else "fill-d"
    tip = f"{true} taken for {predicted}: {count} ({percent(share)})"
    text = ""
    if count and cell > 30:
        ink = "s m on-cell" if share > 0.55 else "s m ink"
        text = (
            f'<text class="{ink}" x="{n(x + cell / 2)}" y="{n(y + cell / 2 + 3.5)}">{count}</text>'
        )
    return (
        f'<g><title>{escape(tip)}</title><rect class="slot" x="{n(x + 1)}" y="{n(y + 1)}" '
        f'width="{n(cell - 2)}" height="{n(cell - 2)}" rx="3"/><rect class="{css}" '
        f'fill-opacity="{share:.2f}" x="{n(x + 1)}" y="{n(y + 1)}" width="{n(cell - 2)}" '
        f'height="{n(cell - 2)}" rx="3"/>{text}</g>'
    )
