"""`draw`: the picture of a space or a network as SVG text.

Inputs are at the left, outputs at the right. What is open is amber and dashed: a pill for each
choice with lines from its candidates, chips where they are small functions of the same values,
`64|128` where a number is open. What is settled is solid. Types and keys are tooltips.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Literal

from ..ir.decisions import Setting
from ..ir.graph import Graph
from ..ir.node import Node
from ..ir.ops import CELL
from .boxes import (
    ASKS_MARGIN,
    CAPTION,
    CHIP_HEIGHT,
    HEADER,
    LINE,
    PAD_X,
    Sized,
    line_width,
)
from .labels import Run
from .levelled import levelled_scene, levels_of
from .lines import n, write_label, write_net, write_weighed
from .placing import Direction, Placed, PlacedBox, inset, place
from .regions import scene_of
from .scene import Box, Legend, Scene, boxes_by_kind
from .style import CHIP_SIZE, SERIES, SMALL_SIZE, TITLE_SIZE, opening
from .text import clean, escape, fit, width_of

Flow = Literal["right", "down", "auto"]
Expand = bool | Callable[[Node], bool]

_FRAME = 24.0
_PAGE = 1080.0
_MOST_BOXES = 600
_RADIUS = 7.0
_GUTTER = 24.0
_BAND = 7.0


def draw(
    graph: Graph,
    *,
    expand: Expand = False,
    taken: Mapping[str, Setting] | None = None,
    direction: Flow = "right",
    title: bool = True,
    legend: bool = True,
    weights: Mapping[str, float] | None = None,
) -> str:
    """The SVG of a graph.

    `expand` shows the inside of composites: of all, or of those for which it holds. `taken` maps
    the keys of decisions to settings: the candidates of this genotype stand out, and what it
    leaves fades. `direction` is where values flow; `auto` is down where the picture would
    otherwise be wider than a page and that helps.

    A space with `levels` has a row a level, and under a genotype its nodes are the boxes; `weights`
    are what was learned of edges, by names such as `v[1][2] <- v[0][1]`.
    """
    scene = picture_of(graph, expand=expand, taken=taken, weights=weights)
    if scene.rows:
        return _svg(graph, scene, place(scene, "down"), "down", title, legend)
    if direction != "auto":
        return _svg(graph, scene, place(scene, direction), direction, title, legend)
    placed = place(scene, "right")
    if placed.width > _PAGE and (down := place(scene, "down")).width < placed.width:
        return _svg(graph, scene, down, "down", title, legend)
    return _svg(graph, scene, placed, "right", title, legend)


def picture_of(
    graph: Graph,
    *,
    expand: Expand = False,
    taken: Mapping[str, Setting] | None = None,
    weights: Mapping[str, float] | None = None,
) -> Scene:
    """What `draw` draws. Composites stay whole, with a note, where it would be too large."""
    if levels_of(graph) is not None:
        return levelled_scene(graph, taken or {}, weights)
    if callable(expand):
        opened = expand
    elif expand:
        opened = _every
    else:
        opened = _no
    scene = scene_of(graph, opened, taken or {})
    if expand and scene.size > _MOST_BOXES:
        note = f"{scene.size} boxes with composites opened, so they are shown whole"
        whole = scene_of(graph, _no, taken or {})
        return replace(whole, notes=(note,))
    return scene


def _every(node: Node) -> bool:
    return node.op is CELL


def _no(node: Node) -> bool:
    return False


# ── writing ──────────────────────────────────────────────────────────────────────────────────────


def _svg(
    graph: Graph, scene: Scene, placed: Placed, direction: Direction, title: bool, legend: bool
) -> str:
    top = _FRAME + (44.0 if title else 0.0)
    name = clean(graph.name) or "graph"
    heading = _subtitle(graph, scene)
    entries = scene.legend if legend else ()
    least = 320.0 if title or entries else 0.0
    gutter = max([width_of(words, SMALL_SIZE) for words in scene.rows], default=-_GUTTER) + _GUTTER
    width = max(placed.width + gutter, least, width_of(heading, SMALL_SIZE) if title else 0.0)
    out: list[str] = []
    if title:
        shown = fit(name, TITLE_SIZE, width, bold=True)
        out.append(f'<text class="t" x="{n(_FRAME)}" y="{n(_FRAME + 12)}">{escape(shown)}</text>')
        out.append(f'<text class="s" x="{n(_FRAME)}" y="{n(_FRAME + 29)}">{escape(heading)}</text>')
    _write_rows(scene, placed, width, top, out)
    left = _FRAME + gutter + (width - gutter - placed.width) / 2
    out.append(f'<g transform="translate({n(left)} {n(top)})">')
    _write(placed, direction, out)
    out.append("</g>")
    bottom = _write_legend(entries, scene.notes, width, top + placed.height + 22.0, out)
    head = opening(width + 2 * _FRAME, bottom + _FRAME, escape(f"{name}: {heading}"))
    return head + "".join(out) + "</svg>\n"


def _write_rows(scene: Scene, placed: Placed, width: float, top: float, out: list[str]) -> None:
    """A band behind each row that has words, and the words at its left."""
    for row, words in enumerate(scene.rows):
        boxes = [box for box in placed.boxes if box.box.row == row]
        if not words or not boxes:
            continue
        upper = top + min(box.y for box in boxes)
        lower = top + max(box.y + box.sized.height for box in boxes)
        out.append(
            f'<rect class="slot" x="{n(_FRAME)}" y="{n(upper - _BAND)}" width="{n(width)}" '
            f'height="{n(lower - upper + 2 * _BAND)}" rx="{n(_RADIUS)}"/>'
        )
        out.append(
            f'<text class="s" x="{n(_FRAME + 8)}" y="{n((upper + lower) / 2 + 3.5)}">'
            f"{escape(words)}</text>"
        )


def _subtitle(graph: Graph, scene: Scene) -> str:
    if scene.subtitle:
        return scene.subtitle
    counts = boxes_by_kind(scene)
    parts = ["network" if graph.settled else "space"]
    inputs, cells, decisions = len(graph.inputs), counts.get("cell", 0), len(graph.decisions)
    parts.append(f"{inputs} input{'s' if inputs != 1 else ''}")
    if cells:
        parts.append(f"{cells} composite{'s' if cells != 1 else ''}")
    if decisions:
        parts.append(f"{decisions} open decision{'s' if decisions != 1 else ''}")
    return " · ".join(parts)


def _write(placed: Placed, direction: Direction, out: list[str]) -> None:
    """Opened composites first, then lines, then the other boxes, so that nothing is covered."""
    for box in placed.boxes:
        if box.inside is not None:
            _write_opened(box, direction, out)
    ranks = {"faded": 0, "plain": 2, "taken": 3}
    nets = sorted(placed.nets, key=lambda net: ranks[net.links[0].state] - net.links[0].candidate)
    for net in nets:
        if net.links[0].weight is None:
            write_net(net, direction, out)
    write_weighed([net for net in nets if net.links[0].weight is not None], direction, out)
    for box in placed.boxes:
        if box.inside is None and box.box.kind != "port":
            _write_box(box, out)
    for net in nets:
        write_label(net, direction, out)


def _group(box: Box, inner: str) -> str:
    tip = f"<title>{escape(box.tooltip)}</title>" if box.tooltip else ""
    faded = ' class="faded"' if box.state == "faded" else ""
    return f"<g{faded}>{tip}{inner}</g>"


def _rect(x: float, y: float, width: float, height: float, radius: float, css: str) -> str:
    return (
        f'<rect class="r {css}" x="{n(x)}" y="{n(y)}" width="{n(width)}" '
        f'height="{n(height)}" rx="{n(radius)}"/>'
    )


_SPANS = {"name": "n", "plain": "p", "open": "o"}


def _text(runs: Sequence[Run], x: float, y: float, css: str = "m") -> str:
    spans = "".join(
        f'<tspan class="{_SPANS[run.style]}">{escape(run.text)}</tspan>' for run in runs
    )
    return f'<text class="{css}" x="{n(x)}" y="{n(y)}" xml:space="preserve">{spans}</text>'


def _css_of(box: Box) -> str:
    if box.kind == "input" or box.kind == "formal":
        return f"in-{SERIES[box.hue % len(SERIES)]}"
    if box.kind == "choice":
        return "choice dash" if box.state != "taken" else "choice"
    if box.kind == "cell" and box.open:
        return "cell dash"
    if box.kind == "node":
        return f"in-{SERIES[box.hue % len(SERIES)]}" if box.hue >= 0 else "op"
    if box.kind == "level":
        return "op asked dash"
    if box.kind == "op" and box.open:
        return "op asked dash"
    return box.kind


def _write_box(placed: PlacedBox, out: list[str]) -> None:
    box, size = placed.box, placed.sized
    if box.kind == "bus":
        out.append(_group(box, _bar(placed)))
        return
    x, y = placed.x, placed.y
    radius = _RADIUS
    if box.kind in ("input", "output") or (box.kind == "choice" and not box.chips):
        radius = min(size.height / 2, 17.0)
    parts = [_rect(x, y, size.width, size.height, radius, _css_of(box))]
    if box.kind == "cell":
        parts.append(_rect(x + 3, y + 3, size.width - 6, size.height - 6, radius - 2, "cell"))
    if box.chips:
        parts.append(_chips(placed))
    else:
        block = LINE * len(size.lines) + (CAPTION if size.caption else 0.0)
        own = size.height - _below(size)
        baseline = y + (own - block) / 2 + 12.0
        middle = x + size.width / 2
        for line in size.lines:
            runs = [
                Run(r.text, "open") if r.style == "name" and box.kind == "choice" else r
                for r in line
            ]
            css = "m n" if box.kind == "choice" else "m"
            parts.append(_text(runs, middle, baseline, css))
            baseline += LINE
        if size.caption:
            at = baseline - 1.5
            parts.append(
                f'<text class="s m" x="{n(middle)}" y="{n(at)}">{escape(size.caption)}</text>'
            )
    out.append(_group(box, "".join(parts)))
    if box.asks is not None and size.asks is not None:
        top = y + size.height - _below(size)
        for place, line in enumerate(size.after):
            at = top + size.asks.height + 15.0 + place * LINE
            out.append(_text(line, x + size.width / 2, at))
        _write_box(PlacedBox(box.asks, x + ASKS_MARGIN, top, size.asks, None), out)


def _below(size: Sized) -> float:
    """The height of the choice in a box and of what comes after it."""
    if size.asks is None:
        return 0.0
    after = LINE * len(size.after) + (2.0 if size.after else 0.0)
    return size.asks.height + ASKS_MARGIN + after


def _bar(placed: PlacedBox) -> str:
    size = placed.sized
    return (
        f'<rect class="bus" x="{n(placed.x)}" y="{n(placed.y)}" width="{n(size.width)}" '
        f'height="{n(size.height)}" rx="3"/>'
    )


def _chips(placed: PlacedBox) -> str:
    size, x, y = placed.sized, placed.x, placed.y
    head = [Run(run.text, "open") for run in size.lines[0]]
    parts = [_text(head, x + PAD_X, y + 20.0, "n")]
    after = x + size.width - PAD_X
    parts.append(
        f'<text class="s e" x="{n(after)}" y="{n(y + 19.5)}">{escape(size.caption)}</text>'
    )
    for chip in size.chips:
        state = chip.chip.state
        css = "chosen" if state == "taken" else "chip"
        ink = "k m on" if state == "taken" else "k m"
        faded = ' class="faded"' if state == "faded" else ""
        parts.append(
            f"<g{faded}><title>{escape(chip.chip.tooltip)}</title>"
            + _rect(x + chip.x, y + chip.y, chip.width, CHIP_HEIGHT, CHIP_HEIGHT / 2, css)
            + f'<text class="{ink}" x="{n(x + chip.x + chip.width / 2)}" '
            f'y="{n(y + chip.y + 13.3)}">{escape(chip.text)}</text></g>'
        )
    return "".join(parts)


def _write_opened(placed: PlacedBox, direction: Direction, out: list[str]) -> None:
    box, size, inside = placed.box, placed.sized, placed.inside
    assert inside is not None
    x, y = placed.x, placed.y
    head = _rect(x, y, size.width, size.height, _RADIUS + 3, _css_of(box))
    head += _text(size.lines[0], x + PAD_X, y + 19.0, "")
    after = x + PAD_X + line_width(size.lines[0]) + 10.0
    head += f'<text class="s" x="{n(after)}" y="{n(y + 19)}">{escape(size.caption)}</text>'
    out.append(_group(box, head))
    shift = 0.0 if direction == "right" else inset(size, inside)
    faded = ' class="faded"' if box.state == "faded" else ""
    out.append(f'<g{faded} transform="translate({n(x + shift)} {n(y + HEADER)})">')
    _write(inside, direction, out)
    out.append("</g>")


# ── legend ───────────────────────────────────────────────────────────────────────────────────────


def _write_legend(
    entries: Sequence[Legend], notes: Sequence[str], width: float, top: float, out: list[str]
) -> float:
    """The open decisions below the picture, and notes. Returns where it ends."""
    bottom = top - 22.0
    if entries:
        out.append(f'<path class="grid" d="M{n(_FRAME)} {n(top - 6)}h{n(width)}"/>')
        named = [(entry, fit(f"?{entry.name}", CHIP_SIZE, 130.0)) for entry in entries]
        column = max(width_of(name, CHIP_SIZE, bold=True) for _, name in named) + 22.0
        y = top + 4.0
        for entry, name in named:
            out.append(_rect(_FRAME, y, column, CHIP_HEIGHT, CHIP_HEIGHT / 2, "choice dash"))
            middle = _FRAME + column / 2
            out.append(
                f'<text class="k m n o" x="{n(middle)}" y="{n(y + 13.3)}">{escape(name)}</text>'
            )
            told = entry.text
            room = width - column - 10.0
            out.append(
                f'<text class="s" x="{n(_FRAME + column + 10)}" y="{n(y + 13.3)}">'
                f"{escape(fit(told, SMALL_SIZE, room))}<title>{escape(told)}</title></text>"
            )
            y += CHIP_HEIGHT + 6.0
        bottom = y - 6.0
    for note in notes:
        bottom += 18.0
        told = escape(fit(note, SMALL_SIZE, width))
        out.append(f'<text class="s" x="{n(_FRAME)}" y="{n(bottom)}">{told}</text>')
    return bottom
