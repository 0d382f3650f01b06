"""A genotype that was not tried before: drawn, or looked for in a list of the whole space."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable
from random import Random

from ..ir.genotype import Genotype
from ..ir.levels.listing import ListingTooLong

TRIES = 200
"""Draws in a row that were all seen before, after which the rest of the space is listed."""
MOST_LISTED = 100_000


class NoneFound(Exception):
    """No genotype was found that was not seen, though there may be some; its text says so."""


def unseen(
    seen: Container[str],
    draw: Callable[[], Genotype | None],
    listed: Callable[[], Iterable[Genotype]],
    rng: Random,
) -> Genotype | None:
    """The first draw whose digest was not seen; where draws give none, any of those listed.

    None if there is none left. Raises NoneFound where there is none in the part of the space that
    can be listed.
    """
    for _ in range(TRIES):
        genotype = draw()
        if genotype is not None and genotype.digest not in seen:
            return genotype
    left, whole = _left(seen, listed())
    if left:
        return left[rng.randrange(len(left))]
    if not whole:
        raise NoneFound(f"no new network was found in {TRIES} draws")
    return None


def _left(seen: Container[str], listed: Iterable[Genotype]) -> tuple[list[Genotype], bool]:
    """Those that were not seen, and whether the list was looked through to its end."""
    left: list[Genotype] = []
    try:
        for number, genotype in enumerate(listed):
            if number == MOST_LISTED:
                return left, False
            if genotype.digest not in seen:
                left.append(genotype)
    except ListingTooLong:
        return left, False
    return left, True
