"""A genotype that was not tried before: drawn, or looked for in a list of the whole space."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable
from itertools import islice
from random import Random

from ..ir.genotype import Genotype

TRIES = 200
"""Draws in a row that were all seen before, after which the rest of the space is listed."""
MOST_LISTED = 100_000


def unseen(
    seen: Container[str],
    draw: Callable[[], Genotype | None],
    listed: Callable[[], Iterable[Genotype]],
    rng: Random,
) -> Genotype | None:
    """The first draw whose digest was not seen; where draws give none, any of those listed.

    None if there is none left among the first `MOST_LISTED`.
    """
    for _ in range(TRIES):
        genotype = draw()
        if genotype is not None and genotype.digest not in seen:
            return genotype
    left = [genotype for genotype in islice(listed(), MOST_LISTED) if genotype.digest not in seen]
    return left[rng.randrange(len(left))] if left else None
