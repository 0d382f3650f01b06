"""What was meant by a name that is not known."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

LIKENESS = 0.6
"""The least share of letters that two names have in common, in order, to be taken for a slip."""


def likely(name: str, known: Iterable[str], most: int, likeness: float = LIKENESS) -> list[str]:
    """At most so many of the known names that are like `name`, the likeliest first."""
    return get_close_matches(name, list(known), n=most, cutoff=likeness)


def nearest(name: str, known: Iterable[str], likeness: float = LIKENESS) -> str | None:
    """The known name that was probably meant, if there is one."""
    return next(iter(likely(name, known, 1, likeness)), None)
