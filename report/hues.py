"""Colours of candidates: of one family, such as `video[1]` and `video[2]`, shades of one hue."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from .style import SERIES

_DARKEST = 0.55
"""Text must be readable on it, in both schemes."""


@dataclass(frozen=True, slots=True)
class Hue:
    """A colour of the palette, and how strong it is."""

    series: str
    opacity: float


def hues_of(labels: Iterable[str]) -> Mapping[str, Hue]:
    """A colour for each label. Where families outnumber hues, later ones are paler."""
    families: dict[str, list[str]] = {}
    for label in dict.fromkeys(labels):
        families.setdefault(label.split("[", 1)[0], []).append(label)
    found: dict[str, Hue] = {}
    for place, members in enumerate(families.values()):
        series = SERIES[place % len(SERIES)]
        strongest = _DARKEST * 0.55 ** (place // len(SERIES))
        for index, label in enumerate(members):
            share = 0.75 if len(members) == 1 else 0.3 + 0.7 * index / (len(members) - 1)
            found[label] = Hue(series, round(strongest * share, 3))
    return found


def vocabularies(sets: Iterable[tuple[str, ...]]) -> list[dict[str, None]]:
    """Labels that occur together in some decision are in one vocabulary, in the order they come."""
    found: list[dict[str, None]] = []
    for labels in sets:
        whole: dict[str, None] = {}
        rest: list[dict[str, None]] = []
        for words in found:
            if words.keys().isdisjoint(labels):
                rest.append(words)
            else:
                whole.update(words)
        found = [*rest, whole | dict.fromkeys(labels)]
    return found
