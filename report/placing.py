"""Sizes and places for everything in a scene, insides of composites first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from .boxes import HEADER, MARGIN, PAD_X, Sized, arriving, line_width, sized
from .layout import Item, Layout, Net, Path, Point, Target, layered
from .scene import Box, Kind, Link, Scene, State
from .style import SMALL_SIZE
from .text import fit, width_of

Direction = Literal["right", "down"]
"""Where values flow."""

# The lines between ops are the spine of the picture; those from inputs may bend.
_PULL: dict[Kind, float] = {"op": 6.0, "cell": 6.0, "choice": 1.0, "bus": 1.0}
_INPUT_PULL = 0.5
_WIDEST_LABEL = 110.0


@dataclass(frozen=True, slots=True)
class PlacedBox:
    """A box in the picture: its corner, its size, its words; `inside` is its inside."""

    box: Box
    x: float
    y: float
    sized: Sized
    inside: Placed | None


@dataclass(frozen=True, slots=True)
class PlacedNet:
    """A line with all its branches, and the links that it stands for."""

    links: tuple[Link, ...]
    paths: tuple[Path, ...]
    label: str


@dataclass(frozen=True, slots=True)
class Placed:
    """A scene with places, its corner at the origin.

    `entries` are where across its operands come in, from the top or the left, and `leave` where
    its result goes out.
    """

    boxes: tuple[PlacedBox, ...]
    nets: tuple[PlacedNet, ...]
    width: float
    height: float
    entries: tuple[float, ...]
    leave: float


def place(scene: Scene, direction: Direction) -> Placed:
    """Sizes and places of everything in a scene."""
    insides: list[Placed | None] = []
    sizes: list[Sized] = []
    for box, count in zip(scene.boxes, arriving(scene), strict=True):
        size = sized(box, count)
        inside = place(box.inner, direction) if box.inner is not None else None
        if inside is not None:
            size = _around(size, inside, direction)
        if direction == "down" and box.kind in ("bus", "port"):
            size = replace(size, width=size.height, height=size.width)
        insides.append(inside)
        sizes.append(size)
    _level_inputs(scene, sizes)
    items = [
        _item(box, size, inside, direction)
        for box, size, inside in zip(scene.boxes, sizes, insides, strict=True)
    ]
    groups = _grouped(scene.links)
    ports: dict[int, int] = {}
    for link in scene.links:
        ports[link.source] = max(ports.get(link.source, 1), link.port + 1)
    nets: list[Net] = []
    for links in groups:
        source, port = links[0].source, links[0].port
        targets = tuple([Target(link.target, link.operand) for link in links])
        room = width_of(_label(links), SMALL_SIZE) if direction == "right" else 0.0
        nets.append(Net(source, targets, port, ports[source], room))
    layout = layered(items, nets)
    return _placed(scene, sizes, insides, groups, layout, direction)


def inset(size: Sized, inside: Placed) -> float:
    """How far the inside of a composite is from its left edge, where values flow down."""
    return (size.width - inside.width) / 2


def _around(size: Sized, inside: Placed, direction: Direction) -> Sized:
    """A composite's size: its header, its inside, and a margin where no operand touches."""
    head = 2 * PAD_X + line_width(size.lines[0])
    if size.caption:
        head += 10.0 + width_of(size.caption, SMALL_SIZE)
    if direction == "right":
        height = HEADER + inside.height + MARGIN
        return replace(size, width=max(inside.width, head), height=height)
    width = max(inside.width + 2 * MARGIN, head)
    return replace(size, width=width, height=HEADER + inside.height)


def _level_inputs(scene: Scene, sizes: list[Sized]) -> None:
    """Inputs of one picture are of one width, as are its outputs."""
    for kind in ("input", "formal", "output"):
        same = [i for i, box in enumerate(scene.boxes) if box.kind == kind]
        widest = max([sizes[i].width for i in same], default=0.0)
        for i in same:
            sizes[i] = replace(sizes[i], width=widest)


def _item(box: Box, size: Sized, inside: Placed | None, direction: Direction) -> Item:
    across = size.height if direction == "right" else size.width
    along = size.width if direction == "right" else size.height
    entries: tuple[float, ...] = ()
    leave = 0.0
    if inside is not None:
        before = HEADER if direction == "right" else inset(size, inside)
        entries = tuple([before + entry - across / 2 for entry in inside.entries])
        leave = before + inside.leave - across / 2
    first, last = box.kind in ("input", "formal"), box.kind in ("output", "port")
    pull = _PULL.get(box.kind, _INPUT_PULL)
    return Item(along, across, first, last, entries, leave, pull, box.row)


def _grouped(links: Sequence[Link]) -> list[list[Link]]:
    """The links that share a line: from one value, of one look."""
    groups: dict[tuple[int, int, bool, State, bool], list[Link]] = {}
    for link in links:
        same = (link.source, link.port, link.candidate, link.state, link.weight is None)
        groups.setdefault(same, []).append(link)
    return list(groups.values())


def _label(links: Sequence[Link]) -> str:
    labels = list(dict.fromkeys(link.label for link in links if link.label))
    return fit(", ".join(labels), SMALL_SIZE, _WIDEST_LABEL)


def _placed(
    scene: Scene,
    sizes: Sequence[Sized],
    insides: Sequence[Placed | None],
    groups: Sequence[list[Link]],
    layout: Layout,
    direction: Direction,
) -> Placed:
    boxes: list[PlacedBox] = []
    entries: list[float] = []
    leave = layout.breadth / 2
    for box, size, inside, corner in zip(scene.boxes, sizes, insides, layout.corners, strict=True):
        x, y = _turned(corner, direction)
        boxes.append(PlacedBox(box, x, y, size, inside))
        middle = y + size.height / 2 if direction == "right" else x + size.width / 2
        if box.kind == "formal":
            entries.append(middle)
        elif box.kind == "port":
            leave = middle
    nets = [
        PlacedNet(tuple(links), tuple([_turned_path(p, direction) for p in paths]), _label(links))
        for links, paths in zip(groups, layout.paths, strict=True)
    ]
    width, height = _turned((layout.length, layout.breadth), direction)
    return Placed(tuple(boxes), tuple(nets), width, height, tuple(entries), leave)


def _turned(point: Point, direction: Direction) -> Point:
    return point if direction == "right" else (point[1], point[0])


def _turned_path(path: Path, direction: Direction) -> Path:
    start, left, right, end = (
        _turned(point, direction) for point in (path.start, path.left, path.right, path.end)
    )
    return Path(start, left, right, end, path.arrow)
