"""How large each box of a picture is, and where its words go."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from .labels import Run
from .scene import Box, Chip, Scene
from .style import CHIP_SIZE, NAME_SIZE, SMALL_SIZE, TEXT_SIZE
from .text import fit, width_of

LINE = 16.0
CAPTION = 13.0
PAD_X = 12.0
PAD_Y = 8.0
CHIP_HEIGHT = 19.0
CHIP_PAD = 8.0
CHIP_GAP = 5.0
HEADER = 28.0
MARGIN = 14.0
ASKS_MARGIN = 6.0
_WIDEST_LINE = 210.0
_WIDEST_CHIPS = 236.0
_WIDEST_CAPTION = 190.0
_SEPARATOR = Run(" · ", "plain")


@dataclass(frozen=True, slots=True)
class PlacedChip:
    """A chip with its corner in the box, and its width."""

    chip: Chip
    text: str
    x: float
    y: float
    width: float


@dataclass(frozen=True, slots=True)
class Sized:
    """A box with its size, its lines of text, its caption cut to fit, and its chips in place."""

    width: float
    height: float
    lines: tuple[tuple[Run, ...], ...]
    caption: str
    chips: tuple[PlacedChip, ...] = ()
    asks: Sized | None = None
    after: tuple[tuple[Run, ...], ...] = ()


def run_width(run: Run) -> float:
    """The width of a stretch of text in its style."""
    bold = run.style == "name"
    return width_of(run.text, NAME_SIZE if bold else TEXT_SIZE, bold=bold)


def line_width(line: Sequence[Run]) -> float:
    """The width of a line of stretches."""
    return sum(map(run_width, line))


def sized(box: Box, arriving: int) -> Sized:
    """The size of a box that shows no inside, with room for `arriving` lines at its side."""
    if box.kind == "bus":
        return Sized(6.0, max(28.0, 9.0 * arriving + 8.0), (), "")
    if box.kind == "port":
        return Sized(0.0, 8.0, (), "")
    if box.chips:
        return _with_chips(box)
    if box.asks is not None:
        own, asks = sized(replace(box, asks=None), arriving), sized(box.asks, 0)
        width = max(own.width, asks.width + 2 * ASKS_MARGIN)
        after = _wrapped(box.after)
        width = max([width, *[line_width(line) + 2 * PAD_X for line in after]])
        asks = replace(asks, width=width - 2 * ASKS_MARGIN)
        height = own.height + asks.height + ASKS_MARGIN - 2.0
        height += LINE * len(after) + (2.0 if after else 0.0)
        return replace(own, width=width, height=height, asks=asks, after=after)
    lines = _wrapped(box.parts)
    caption = fit(box.caption, SMALL_SIZE, _WIDEST_CAPTION)
    widest = max([line_width(line) for line in lines], default=0.0)
    widest = max(widest, width_of(caption, SMALL_SIZE))
    pad = PAD_X + (4.0 if box.kind == "choice" else 0.0)
    height = PAD_Y * 2 + LINE * len(lines) + (CAPTION if caption else 0.0) - 4.0
    room = 10.0 * (min(arriving, 12) - 1) + 18.0
    if box.kind == "formal":
        return Sized(widest + PAD_X, 22.0, lines, "")
    return Sized(max(widest + 2 * pad, 40.0), max(height, room, 30.0), lines, caption)


def _wrapped(parts: Sequence[Sequence[Run]]) -> tuple[tuple[Run, ...], ...]:
    """The ops of a chain, as many in a line as fit."""
    lines: list[list[Run]] = []
    for part in parts:
        cut = _cut(part)
        if lines and line_width([*lines[-1], _SEPARATOR, *cut]) <= _WIDEST_LINE:
            lines[-1] += [_SEPARATOR, *cut]
        else:
            lines.append(list(cut))
    return tuple([tuple(line) for line in lines])


def _cut(part: Sequence[Run]) -> list[Run]:
    cut: list[Run] = []
    left = _WIDEST_LINE
    for run in part:
        bold = run.style == "name"
        text = fit(run.text, NAME_SIZE, max(left, 24.0), bold=bold)
        cut.append(Run(text, run.style))
        left -= run_width(cut[-1])
        if text != run.text:
            break
    return cut


def _with_chips(box: Box) -> Sized:
    head = _cut(box.parts[0])
    caption = fit(box.caption, SMALL_SIZE, _WIDEST_CAPTION)
    top = PAD_Y + LINE + 4.0
    x, y, widest = PAD_X, top, PAD_X + line_width(head) + 10.0 + width_of(caption, SMALL_SIZE)
    chips: list[PlacedChip] = []
    for chip in box.chips:
        text = fit(chip.text, CHIP_SIZE, _WIDEST_CHIPS - 2 * CHIP_PAD)
        width = width_of(text, CHIP_SIZE) + 2 * CHIP_PAD
        if chips and x + width > PAD_X + _WIDEST_CHIPS:
            x, y = PAD_X, y + CHIP_HEIGHT + CHIP_GAP
        chips.append(PlacedChip(chip, text, x, y, width))
        x += width + CHIP_GAP
        widest = max(widest, x - CHIP_GAP)
    height = y + CHIP_HEIGHT + PAD_Y + 2.0
    return Sized(widest + PAD_X, height, (tuple(head),), caption, tuple(chips))


def arriving(scene: Scene) -> list[int]:
    """How many lines arrive at each box."""
    counts = [0] * len(scene.boxes)
    for _, _, target in {(link.source, link.port, link.target) for link in scene.links}:
        counts[target] += 1
    return counts
