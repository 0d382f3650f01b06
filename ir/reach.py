"""Which decisions a space reaches under which settings: the skeleton that is counted and sampled.

A skeleton keeps only what decides: one *site* for each node that is a choice, an optional value
or an op with open attributes, with links to the sites that it needs. All else is gone.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

from .cells import expand
from .decisions import Decision, Setting
from .dims import Expr, decisions_in
from .graph import Graph
from .node import Node
from .ops import CHOICE, MAYBE


@dataclass(frozen=True, slots=True)
class Site:
    """A place in the graph where a decision matters.

    `selects` is the decision whose setting picks among `branches` (one tuple of needed sites per
    candidate; a choice takes the branch of its slot, an optional value its own one or nothing);
    `numbers` are decisions on open attributes; `needs` are the sites needed in any case.
    """

    numbers: tuple[Decision, ...]
    selects: Decision | None
    slot: int
    branches: tuple[tuple[int, ...], ...]
    needs: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Skeleton:
    """The sites of a space, needed ones before those that need them, and where a walk starts."""

    sites: tuple[Site, ...]
    roots: tuple[int, ...]
    always: tuple[Decision, ...]
    order: dict[str, int]


def _numbers_in(value: Any) -> dict[str, Decision]:
    if isinstance(value, Expr):
        return decisions_in(value)
    found: dict[str, Decision] = {}
    if isinstance(value, tuple):
        for item in value:  # pyright: ignore[reportUnknownVariableType]
            found.update(_numbers_in(item))
    return found


def _site(node: Node, below: tuple[tuple[int, ...], ...]) -> Site:
    if node.op is CHOICE:
        return Site((), node.decision, node["slot"], below, ())
    if node.op is MAYBE:
        branches: list[tuple[int, ...]] = [()] * node.decision.slots
        branches[node["index"]] = below[0]
        return Site((), node.decision, -1, tuple(branches), ())
    numbers = tuple(_numbers_in(node.attrs).values())
    needs = tuple(dict.fromkeys([site for sites in below for site in sites]))
    return Site(numbers, None, 0, (), needs)


_skeletons: WeakKeyDictionary[Graph, Skeleton] = WeakKeyDictionary()


def skeleton(space: Graph) -> Skeleton:
    """The skeleton of the space, with composites expanded; made once for each space."""
    found = _skeletons.get(space)
    if found is not None:
        return found
    sites: list[Site] = []
    entry: dict[Node, tuple[int, ...]] = {}
    flat = expand(space)
    for node in flat.order:
        if node.settled:
            entry[node] = ()
            continue
        site = _site(node, tuple([entry[i] for i in node.inputs]))
        if site.selects is None and not site.numbers and len(site.needs) <= 1:
            entry[node] = site.needs
        else:
            entry[node] = (len(sites),)
            sites.append(site)
    roots = tuple(dict.fromkeys([s for root in flat.roots for s in entry[root]]))
    always = [
        d for r in space.requires for side in (r.left, r.right) for d in _numbers_in(side).values()
    ]
    order = {key: place for place, key in enumerate(space.decisions)}
    found = _skeletons[space] = Skeleton(tuple(sites), roots, tuple(dict.fromkeys(always)), order)
    return found


def walk(space: Graph, choose: Callable[[Decision], Setting]) -> dict[str, Setting]:
    """The settings of the decisions that are reached when each takes what `choose` says.

    `choose` is asked once for each reached decision. The result is in the order of the space.
    """
    bones = skeleton(space)
    sites = bones.sites
    settings: dict[str, Setting] = {d.key: choose(d) for d in bones.always}
    seen = bytearray(len(sites))
    stack = list(bones.roots)
    while stack:
        place = stack.pop()
        if seen[place]:
            continue
        seen[place] = 1
        site = sites[place]
        decision = site.selects
        if decision is None:
            for number in site.numbers:
                if number.key not in settings:
                    settings[number.key] = choose(number)
            stack += site.needs
            continue
        setting = settings.get(decision.key)
        if setting is None:
            setting = settings[decision.key] = choose(decision)
        if site.slot >= 0:
            stack += site.branches[setting[site.slot]]
        else:
            for index in setting:
                stack += site.branches[index]
    order = bones.order
    return {key: settings[key] for key in sorted(settings, key=order.__getitem__)}
