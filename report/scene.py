"""What a picture shows: boxes and the links between them, without places."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from .labels import Run, text_of_runs

Kind = Literal["input", "formal", "op", "cell", "choice", "bus", "output", "port", "level", "node"]
State = Literal["plain", "taken", "faded"]
"""Beside a genotype: what it takes, what it leaves, and what it says nothing about."""


@dataclass(frozen=True, slots=True)
class Chip:
    """A candidate inside the box of its choice."""

    text: str
    tooltip: str
    state: State


@dataclass(frozen=True, slots=True)
class Box:
    """One thing in the picture. `parts` are the ops of a chain.

    `asks` is a choice that ends the chain, and `after` are cheap ops behind it. `row` is where it
    has to be along the flow, which all boxes of a scene say, or none.
    """

    kind: Kind
    parts: tuple[tuple[Run, ...], ...]
    caption: str = ""
    tooltip: str = ""
    chips: tuple[Chip, ...] = ()
    hue: int = 0
    open: bool = False
    state: State = "plain"
    inner: Scene | None = None
    asks: Box | None = None
    after: tuple[tuple[Run, ...], ...] = ()
    row: int = -1

    @property
    def text(self) -> str:
        """The words of the box on one line."""
        return " · ".join(text_of_runs(list(runs)) for runs in self.parts)


@dataclass(frozen=True, slots=True)
class Link:
    """A value that flows from box to box; `candidate` where a decision may not take it.

    `port` is which of its values the source gives (k of several), `operand` which input of an
    opened composite takes it. `candidates` are the decision's labels of what it carries. `weight`
    is what was learned of it.
    """

    source: int
    target: int
    candidate: bool = False
    port: int = 0
    operand: int = -1
    label: str = ""
    tooltip: str = ""
    state: State = "plain"
    candidates: tuple[str, ...] = ()
    weight: float | None = None


@dataclass(frozen=True, slots=True)
class Legend:
    """The open decisions of one name: how many there are of each sort, and their candidates."""

    name: str
    sorts: tuple[tuple[int, str, tuple[str, ...]], ...]

    @property
    def text(self) -> str:
        """`4 × one of 3: relu, sigmoid, leaky_relu`."""
        return " · ".join(
            f"{f'{times} × ' if times > 1 else ''}{kind}: {', '.join(labels)}"
            for times, kind, labels in self.sorts
        )


@dataclass(frozen=True, slots=True)
class Scene:
    """The picture of a graph, or of the inside of a composite.

    `rows` are words beside the rows of the boxes, `subtitle` the words below the title.
    """

    boxes: tuple[Box, ...]
    links: tuple[Link, ...]
    legend: tuple[Legend, ...] = ()
    notes: tuple[str, ...] = ()
    rows: tuple[str, ...] = ()
    subtitle: str = ""

    @property
    def size(self) -> int:
        """How many boxes there are, those inside others too."""
        return sum(1 + (box.inner.size if box.inner else 0) for box in self.boxes)


def boxes_by_kind(scene: Scene) -> Mapping[str, int]:
    """How many boxes of each kind the scene has, those inside others too."""
    counts: dict[str, int] = {}
    for box in scene.boxes:
        counts[box.kind] = counts.get(box.kind, 0) + 1
        if box.inner is not None:
            for kind, n in boxes_by_kind(box.inner).items():
                counts[kind] = counts.get(kind, 0) + n
    return counts
