"""The registry of primitives: one table, made here, of the ops that this folder's files list."""

from __future__ import annotations

from collections.abc import Mapping

from . import elementwise, mixing, products, reducing, shaping, stacking, structure
from .base import Attr, Attrs, Misfit, Op, Weight
from .structure import CELL, CHOICE, FORMAL, INPUT, LEVELS, MAYBE

PRIMITIVES: Mapping[str, Op] = {
    op.name: op
    for group in (products, mixing, elementwise, shaping, reducing, stacking)
    for op in group.OPS
}
"""The ops that a `.fuse` file may call and that every backend lowers, by name."""

STRUCTURE: Mapping[str, Op] = {op.name: op for op in structure.OPS}
"""Inputs, formals, choices, optional values and composites: what passes take away."""


def op_named(name: str) -> Op:
    """The op of this name, primitive or structural. Raises KeyError."""
    return PRIMITIVES[name] if name in PRIMITIVES else STRUCTURE[name]


__all__ = [
    "CELL",
    "CHOICE",
    "FORMAL",
    "INPUT",
    "LEVELS",
    "MAYBE",
    "PRIMITIVES",
    "STRUCTURE",
    "Attr",
    "Attrs",
    "Misfit",
    "Op",
    "Weight",
    "op_named",
]
