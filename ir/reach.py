"""Which decisions a space reaches under which settings: what counting and sampling walk.

A skeleton keeps only what decides, as *sites*: a choice, a subset, an open number in an attribute.
Each site says which further sites each setting of its decision needs. All else is gone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

from .cells import expand
from .decisions import Decision, KOf, Setting
from .dims import Call, Expr, Pick, Present
from .graph import Graph
from .node import Node
from .ops import CHOICE, MAYBE

WHOLE = -1
"""The slot of a site that takes the branches of all candidates in the setting."""


@dataclass(frozen=True, slots=True)
class Site:
    """A place in the graph where a decision matters.

    `branches` has for each candidate the sites that it needs. The setting's candidate at `slot`
    is taken, or where `slot` is WHOLE every candidate of the setting. A site without a decision
    only needs others: its one branch.
    """

    decision: Decision | None
    slot: int
    branches: tuple[tuple[int, ...], ...]

    def taken(self, setting: Setting) -> Iterable[int]:
        """The sites that this setting needs."""
        if self.slot != WHOLE:
            return self.branches[setting[self.slot]]
        return [site for index in setting for site in self.branches[index]]


@dataclass(frozen=True, eq=False, slots=True)
class Skeleton:
    """The sites of a space, needed ones before those that need them; where a walk starts; and the
    places of decisions in the order of the space.
    """

    sites: tuple[Site, ...]
    roots: tuple[int, ...]
    order: dict[str, int]


class _Builder:
    def __init__(self) -> None:
        self.sites: list[Site] = []
        self.entries: dict[Node, tuple[int, ...]] = {}
        self._known: dict[Site, int] = {}

    def add(self, site: Site) -> tuple[int, ...]:
        """The place of this site, the same one for equal sites."""
        place = self._known.get(site)
        if place is None:
            place = self._known[site] = len(self.sites)
            self.sites.append(site)
        return (place,)

    def merged(self, needs: Iterable[int]) -> tuple[int, ...]:
        """One place that stands for all of these."""
        once = tuple(sorted(set(needs)))
        return once if len(once) <= 1 else self.add(Site(None, 0, (once,)))

    def entry(self, node: Node) -> tuple[int, ...]:
        """What reaching the node needs. Nodes above it have been visited."""
        found = self.entries.get(node)
        if found is None:
            found = self.entries[node] = self._visit(node)
        return found

    def _visit(self, node: Node) -> tuple[int, ...]:
        if node.settled:
            return ()
        if node.op is CHOICE:
            branches = tuple([self.entry(i) for i in node.inputs])
            return self.add(Site(node.decision, node["slot"], branches))
        if node.op is MAYBE:
            return self._subset([node])
        return self.merged([*self.inputs(node.inputs), *self.values(node.attrs)])

    def inputs(self, nodes: Sequence[Node]) -> list[int]:
        """The sites of several nodes; all values of one decision together are one site."""
        together: dict[Decision, list[Node]] = {}
        for node in nodes:
            if node.op is MAYBE or (node.op is CHOICE and isinstance(node.decision, KOf)):
                members = together.setdefault(node.decision, [])
                if node not in members:
                    members.append(node)
        needs: list[int] = []
        done: set[Decision] = set()
        for node in nodes:
            members = together.get(node.decision, []) if node.op in (CHOICE, MAYBE) else []
            whole = len(members) > 1 and (node.op is MAYBE or self._all_slots(members))
            if not whole:
                needs += self.entry(node)
            elif node.decision not in done:
                done.add(node.decision)
                needs += self._subset(members) if node.op is MAYBE else self._several(members)
        return needs

    @staticmethod
    def _all_slots(members: list[Node]) -> bool:
        same = all(m.inputs == members[0].inputs for m in members)
        return same and len(members) == members[0].decision.slots

    def _several(self, members: list[Node]) -> tuple[int, ...]:
        branches = tuple([self.entry(i) for i in members[0].inputs])
        return self.add(Site(members[0].decision, WHOLE, branches))

    def _subset(self, members: list[Node]) -> tuple[int, ...]:
        branches: list[tuple[int, ...]] = [()] * members[0].decision.slots
        for member in members:
            branches[member["index"]] = self.entry(member.inputs[0])
        return self.add(Site(members[0].decision, WHOLE, tuple(branches)))

    def values(self, value: Any) -> list[int]:
        """The sites of the open numbers in attributes: what an option that is not taken needs
        is not needed.
        """
        if isinstance(value, tuple):
            return [site for item in value for site in self.values(item)]  # pyright: ignore[reportUnknownVariableType]
        if not isinstance(value, Expr) or not value.open:
            return []
        needs: list[int] = []
        for monomial, _ in value.terms:
            inner: list[int] = []
            for atom in monomial:
                if isinstance(atom, Pick):
                    branches = tuple([self.merged(self.values(option)) for option in atom.options])
                    inner += self.add(Site(atom.decision, atom.slot, branches))
                elif isinstance(atom, Call):
                    inner += self.values(atom.arguments)
            for atom in monomial:
                if isinstance(atom, Present):
                    present: list[tuple[int, ...]] = [()] * atom.decision.slots
                    present[atom.index] = self.merged(inner)
                    inner = list(self.add(Site(atom.decision, WHOLE, tuple(present))))
            needs += inner
        return needs


_skeletons: WeakKeyDictionary[Graph, Skeleton] = WeakKeyDictionary()


def skeleton(space: Graph) -> Skeleton:
    """The skeleton of the space, with composites expanded; made once for each space."""
    found = _skeletons.get(space)
    if found is None:
        builder = _Builder()
        flat = expand(space)
        for node in flat.order:
            if node.op is not MAYBE and not (node.op is CHOICE and isinstance(node.decision, KOf)):
                builder.entry(node)
        roots = builder.inputs(flat.roots)
        for requirement in space.requires:
            roots += builder.values((requirement.left, requirement.right))
        order = {key: place for place, key in enumerate(space.decisions)}
        found = Skeleton(tuple(builder.sites), tuple(dict.fromkeys(roots)), order)
        _skeletons[space] = found
    return found


def walk(space: Graph, choose: Callable[[Decision], Setting]) -> dict[str, Setting]:
    """The settings of the decisions that are reached when each takes what `choose` says.

    `choose` is asked once for each reached decision. The result is in the order of the space.
    """
    bones = skeleton(space)
    sites = bones.sites
    settings: dict[str, Setting] = {}
    seen = bytearray(len(sites))
    stack = list(bones.roots)
    while stack:
        place = stack.pop()
        if seen[place]:
            continue
        seen[place] = 1
        site = sites[place]
        decision = site.decision
        if decision is None:
            stack += site.branches[0]
            continue
        setting = settings.get(decision.key)
        if setting is None:
            setting = settings[decision.key] = choose(decision)
        stack += site.taken(setting)
    order = bones.order
    return {key: settings[key] for key in sorted(settings, key=order.__getitem__)}
