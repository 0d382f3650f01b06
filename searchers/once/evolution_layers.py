"""What a space is to an evolution: layers, each a block of decisions, and what decides on layers.

A layer is what shares the scope of its keys: `h[3].heads` and `h[3].ratio` are the block of `h[3]`.
A decision outside of any scope is a layer by itself. A decision is of *depth* where it says which
others are reached, as the skeleton of the space has it, whatever it is called.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import reduce
from operator import and_, or_

from ...ir.graph import Graph
from ...ir.reach import skeleton
from ...ir.sites import ALWAYS


def layer_of(key: str) -> str:
    """The layer that has the decision of this key."""
    scope, _, name = key.rpartition(".")
    return scope or name


def depth_decisions(space: Graph) -> frozenset[str]:
    """The keys of those that say which others are reached.

    Their candidates differ in the decisions that may be reached below them, or that must be; what
    every network reaches anyhow does not count.
    """
    bones = skeleton(space)
    bit = {key: 1 << place for place, key in enumerate(space.decisions)}
    may: list[int] = []
    must: list[int] = []

    def both(needs: Iterable[int]) -> tuple[int, int]:
        places = list(needs)
        return _any(may[p] for p in places), _any(must[p] for p in places)

    below: list[tuple[str, list[tuple[int, int]]]] = []
    for site in bones.sites:
        branches = [both(branch) for branch in site.branches]
        own = 0 if site.decision is None else bit[site.decision.key]
        may.append(own | _any(m for m, _ in branches))
        must.append(own | (reduce(and_, [m for _, m in branches]) if branches else 0))
        if site.decision is not None and site.slot != ALWAYS:
            below.append((site.decision.key, branches))
    _, everywhere = both(bones.roots)
    return frozenset(
        key
        for key, branches in below
        if len({(one & ~everywhere, two & ~everywhere) for one, two in branches}) > 1
    )


def _any(masks: Iterable[int]) -> int:
    return reduce(or_, masks, 0)
