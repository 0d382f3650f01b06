"""Waves: which proposals of a round may be trained side by side, and all stays as one by one.

A candidate starts from what the last one before it left under each of its shared modules (see
`sharing`), and leaves its own there. So a proposal has to wait for every earlier one with which it
has a module in common, and for no other: it joins the first *wave* after all of those. Then each
module passes through the same candidates in the same order as one by one, every candidate inherits
the same weights, and what stands at the end is the same. Without shared weights a round is one
wave; the rounds of MFAS (K = 15) become four or five.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence


def earliest_waves(modules: Sequence[Iterable[Hashable]]) -> list[list[int]]:
    """The waves of a round whose proposal i inherits, and leaves, weights under `modules[i]`.

    Each wave holds numbers of proposals in their order; no wave is empty, and no proposal could be
    in an earlier one.
    """
    waves: list[list[int]] = []
    last: dict[Hashable, int] = {}
    for number, own in enumerate(modules):
        keys = list(own)
        wave = max((last[key] + 1 for key in keys if key in last), default=0)
        last.update(dict.fromkeys(keys, wave))
        if wave == len(waves):
            waves.append([])
        waves[wave].append(number)
    return waves


def at_most(size: int, waves: Iterable[Sequence[int]]) -> list[list[int]]:
    """The waves with those that are larger than `size` cut into pieces, in their order."""
    return [
        list(wave[start : start + size]) for wave in waves for start in range(0, len(wave), size)
    ]
