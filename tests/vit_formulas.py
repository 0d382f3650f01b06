"""What a vision transformer of `std/vit` costs, by closed formulas that know no graph."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from math import floor

Ratio = float | Fraction

WIDTH = 64
"""Channels of a head."""


def vit_parameters(
    embed: int,
    heads: Sequence[int],
    ratios: Sequence[Ratio],
    side: int = 14,
    patch: int = 16,
    classes: int = 1000,
    reach: int = 14,
) -> int:
    """Of a network of images of side * patch pixels: heads and ratio of each layer."""
    tokens = side * side + 1
    total = (3 * patch * patch + 1) * embed + embed + tokens * embed
    for h, ratio in zip(heads, ratios, strict=True):
        inner, mlp = WIDTH * h, floor(ratio * embed)
        total += 3 * (embed + 1) * inner + (inner + 1) * embed
        total += 4 * (2 * reach + 2) * WIDTH + 4 * embed
        total += (embed + 1) * mlp + (mlp + 1) * embed
    return total + 2 * embed + (embed + 1) * classes


def vit_macs(
    embed: int,
    heads: Sequence[int],
    ratios: Sequence[Ratio],
    side: int = 14,
    patch: int = 16,
    classes: int = 1000,
) -> int:
    """Multiply-adds of one image: layers, products of tokens, and those with relative positions."""
    tokens = side * side + 1
    total = side * side * 3 * patch * patch * embed
    for h, ratio in zip(heads, ratios, strict=True):
        total += 4 * tokens * embed * WIDTH * h
        total += 4 * tokens * tokens * WIDTH * h
        total += 2 * tokens * embed * floor(ratio * embed)
    return total + embed * classes
