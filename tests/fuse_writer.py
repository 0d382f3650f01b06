"""A `.fuse` text in the making: the writer knows the shape of each value that it has named."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from hypothesis import strategies as st

T = TypeVar("T")
Size = int | str
Shape = tuple[Size, ...]
"""All sizes of a value but the batch's: numbers, or names that the text defines."""


@dataclass(frozen=True)
class Value:
    """A tensor that the text has given a name."""

    text: str
    shape: Shape


@dataclass
class Writer:
    """A text in the making: what is written, what can be used, how many decisions are left."""

    draw: st.DrawFn
    decisions: int
    widths: list[Size]
    prefix: str = "v"
    lines: list[str] = field(default_factory=list[str])
    values: list[Value] = field(default_factory=list[Value])
    cells: list[tuple[str, int, int]] = field(default_factory=list[tuple[str, int, int]])
    activations: list[str] = field(default_factory=list[str])
    shares: dict[Shape, tuple[str, Shape]] = field(default_factory=dict[Shape, tuple[str, Shape]])
    count: int = 0

    # ── drawing ──────────────────────────────────────────────────────────────────────────────────

    def one(self, options: Sequence[T]) -> T:
        return self.draw(st.sampled_from(options))

    def chance(self) -> bool:
        return self.draw(st.booleans())

    def width(self) -> Size:
        return self.one(self.widths)

    def some(self, values: Sequence[Value], least: int, most: int = 3) -> list[Value]:
        """That many of them, all different."""
        size = self.draw(st.integers(least, min(most, len(values))))
        return self.draw(
            st.lists(st.sampled_from(values), min_size=size, max_size=size, unique=True)
        )

    def of_rank(self, rank: int) -> Value | None:
        found = [v for v in self.values if len(v.shape) == rank]
        return self.one(found) if found else None

    def alike(self, least: int, beyond: int = 0) -> list[Value]:
        """Values of one shape, the first `beyond` sizes apart."""
        groups: dict[tuple[int, Shape], list[Value]] = {}
        for value in self.values:
            group = groups.setdefault((len(value.shape), value.shape[beyond:]), [])
            if all(v.text != value.text for v in group):
                group.append(value)
        large = [group for group in groups.values() if len(group) >= least]
        return self.one(large) if large else []

    # ── writing ──────────────────────────────────────────────────────────────────────────────────

    def name(self) -> str:
        self.count += 1
        return f"{self.prefix}{self.count}"

    def decide(self) -> str:
        """A decision's name."""
        self.decisions -= 1
        return f"?{self.name()}"

    def add(self, expression: str, shape: Shape) -> Value:
        name = self.name()
        self.lines.append(f"{name} = {expression}")
        self.values.append(Value(name, shape))
        return self.values[-1]
