"""Counter-based randomness: every draw has its own generator, made from a seed and its place.

A generator that lives as long as a search would have to be stored to resume it; one that is made
from (seed, what is drawn, round or trial number) is the same in every process, today and tomorrow.
Only `random.Random` is used, whose stream for a seed does not change between Python releases.
"""

from __future__ import annotations

from hashlib import blake2b
from random import Random


def derive(seed: int, *place: str | int) -> int:
    """A seed of 63 bits for one place of a search, such as `derive(seed, "round", 3)`."""
    text = "/".join([str(seed), *map(str, place)])
    return int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "big") >> 1


def generator(seed: int, *place: str | int) -> Random:
    """A generator for one place of a search."""
    return Random(derive(seed, *place))
