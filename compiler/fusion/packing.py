"""How the weights of a fused graph are made of those of the graph that it computes.

A pass that stacks layers owns larger weights under new names. Users, checkpoints and genotypes know
the old names, so each fused weight says which part of which old weight lies where in it. Every part
is moved, never computed with, and never twice: any element-wise optimiser (Adam, weight decay,
momentum) does the same to a fused weight as to its parts.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

Span = tuple[int, int]
"""From the first place to the one behind the last, along one axis."""


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of an old weight, and where it lies in the fused one.

    `fused[at] = source[take].reshape(shape).permute(axes)`: `take` has a span per axis of the
    source, `at` a span per axis of the fused weight. Empty `take` takes all; empty `shape` keeps
    the shape; empty `axes` keeps their order.
    """

    source: str
    at: tuple[Span, ...]
    take: tuple[Span, ...] = ()
    shape: tuple[int, ...] = ()
    axes: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Packing:
    """By the name of a fused weight or buffer, the pieces that it is made of.

    Names are those of a `state_dict`. Weights that no pass touched are not listed: they have one
    name in both graphs. Several buffers that are equal by nature, such as the counters of batch
    norms that are stacked into one, are all pieces of the same place.
    """

    pieces: Mapping[str, tuple[Piece, ...]]

    @property
    def sources(self) -> frozenset[str]:
        """The old weights that lie in fused ones."""
        return frozenset(p.source for pieces in self.pieces.values() for p in pieces)
