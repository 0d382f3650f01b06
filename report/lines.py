"""Lines of a picture: what flows from box to box, how it bends, how dark it is."""

from __future__ import annotations

from collections.abc import Sequence

from .layout import Path
from .placing import Direction, PlacedNet
from .text import escape

_FAINTEST = 0.16


def n(value: float) -> str:
    """A coordinate with at most one decimal."""
    text = f"{value:.1f}"
    return text[:-2] if text.endswith(".0") else text


def _kind_of(net: PlacedNet) -> str:
    link = net.links[0]
    if link.state == "taken":
        return "chosen-"
    return "open-" if link.candidate else ""


def write_net(net: PlacedNet, direction: Direction, out: list[str]) -> None:
    """A line with its branches and arrow heads."""
    kind = _kind_of(net)
    line = "".join(_curve(path, direction) for path in net.paths)
    heads = "".join(_head(path, direction) for path in net.paths if path.arrow >= 0)
    tips = dict.fromkeys(link.tooltip for link in net.links if link.tooltip)
    tip = f"<title>{escape(next(iter(tips)))}</title>" if tips else ""
    faded = ' class="faded"' if net.links[0].state == "faded" else ""
    arrow = f'<path class="{kind}head" d="{heads}"/>' if heads else ""
    out.append(f'<g{faded}>{tip}<path class="{kind}line" d="{line}"/>{arrow}</g>')


def write_weighed(nets: Sequence[PlacedNet], direction: Direction, out: list[str]) -> None:
    """Lines whose links have weights from 0 to 1: the darker the larger, alike in all pictures.

    What several links share is as dark as the heaviest of them.
    """
    strokes: list[tuple[float, str]] = []
    for net in nets:
        ends = {path.arrow: path for path in net.paths if path.arrow >= 0}
        along = 1 if direction == "down" else 0
        for path in net.paths:
            reached = [
                link.weight or 0.0
                for place, link in enumerate(net.links)
                if path.arrow == place
                or (path.arrow < 0 and ends[place].start[along] >= path.end[along])
            ]
            weight = min(1.0, max(0.0, *reached))
            opacity = n(100 * (_FAINTEST + (1 - _FAINTEST) * weight))
            style = f'style="opacity:{opacity}%;stroke-width:{n(1.2 + 1.4 * weight)}"'
            tip, head = "", ""
            if path.arrow >= 0:
                tip = f"<title>{escape(net.links[path.arrow].tooltip)}</title>"
                head = f'<path class="weighed-head" style="opacity:{opacity}%" d="'
                head += f'{_head(path, direction)}"/>'
            line = f'<path class="weighed-line" {style} d="{_curve(path, direction)}"/>'
            strokes.append((weight, f"<g>{tip}{line}{head}</g>"))
    out += [text for _, text in sorted(strokes, key=lambda stroke: stroke[0])]


def _curve(path: Path, direction: Direction) -> str:
    (x0, y0), (x1, y1), (x2, y2), (x3, y3) = path.start, path.left, path.right, path.end
    text = f"M{n(x0)} {n(y0)}"
    if (x1, y1) != (x0, y0):
        text += f"L{n(x1)} {n(y1)}"
    if direction == "right":
        if abs(y2 - y1) < 0.05:
            text += f"L{n(x2)} {n(y2)}"
        else:
            bend = (x1 + x2) / 2
            text += f"C{n(bend)} {n(y1)} {n(bend)} {n(y2)} {n(x2)} {n(y2)}"
    elif abs(x2 - x1) < 0.05:
        text += f"L{n(x2)} {n(y2)}"
    else:
        bend = (y1 + y2) / 2
        text += f"C{n(x1)} {n(bend)} {n(x2)} {n(bend)} {n(x2)} {n(y2)}"
    if (x3, y3) != (x2, y2):
        text += f"L{n(x3)} {n(y3)}"
    return text


def _head(path: Path, direction: Direction) -> str:
    x, y = path.end
    if direction == "right":
        return f"M{n(x)} {n(y)}l-6.5 -3.2v6.4z"
    return f"M{n(x)} {n(y)}l-3.2 -6.5h6.4z"


def write_label(net: PlacedNet, direction: Direction, out: list[str]) -> None:
    """The words where a line begins, if it has any."""
    if not net.label or not net.paths:
        return
    x, y = net.paths[0].left
    x, y = (x + 6.0, y - 4.0) if direction == "right" else (x + 5.0, y + 12.0)
    faded = " faded" if net.links[0].state == "faded" else ""
    out.append(f'<text class="s o halo{faded}" x="{n(x)}" y="{n(y)}">{escape(net.label)}</text>')
