"""Which decisions a space reaches under which settings: what counting and sampling walk.

A skeleton keeps only what decides, as *sites*: a choice, a subset, an open number in an attribute,
a levelled graph. Each site says which further sites each setting of its decision needs. All else
is gone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any
from weakref import WeakKeyDictionary

from .cells import expand
from .decisions import Decision, KOf, Setting
from .dims import Call, Expr, Pick, Present
from .graph import Graph
from .levels.attributes import Attributes
from .node import Node
from .ops import CHOICE, LEVELS, MAYBE
from .sites import ALWAYS, WHOLE, Site, Skeleton


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
        if node.op is LEVELS:
            behind = self.copied(node["outer"])
            return self.add(Site(node.decision, ALWAYS, (behind,)))
        return self.merged([*self.inputs(node.inputs), *self.values(node.attrs)])

    def copied(self, attributes: Attributes) -> tuple[int, ...]:
        """One place that stands for the roots of sites that were found before."""
        places: list[tuple[int, ...]] = []

        def moved(needs: Iterable[int]) -> tuple[int, ...]:
            return self.merged([place for need in needs for place in places[need]])

        for site in attributes.sites:
            branches = tuple([moved(branch) for branch in site.branches])
            places.append(self.add(Site(site.decision, site.slot, branches)))
        return moved(attributes.roots)

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
        order = {key: place for place, key in enumerate(space.decisions)}
        sites, roots = _found(space)
        found = _skeletons[space] = Skeleton(sites, roots, order)
    return found


def attributes(space: Graph, keep: Callable[[str], str | None]) -> Attributes:
    """The decisions of the space for whose key `keep` has a name, under these names, and the sites
    where they matter. Other decisions count as settled, whatever they need is needed.
    """
    kept = {key: name for key in space.decisions if (name := keep(key)) is not None}
    renamed = {k: replace(d, key=kept[k]) for k, d in space.decisions.items() if k in kept}
    sites, roots = _found(space)
    ours: list[Site] = []
    for site in sites:
        decision = site.decision
        if decision is not None and decision.key in renamed:
            ours.append(Site(renamed[decision.key], site.slot, site.branches))
        else:
            needs = {place for branch in site.branches for place in branch}
            ours.append(Site(None, 0, (tuple(sorted(needs)),)))
    return Attributes(tuple(renamed.values()), tuple(ours), roots)


def _found(space: Graph) -> tuple[tuple[Site, ...], tuple[int, ...]]:
    """The sites of the space and where a walk starts."""
    builder = _Builder()
    flat = expand(space)
    for node in flat.order:
        if node.op is not MAYBE and not (node.op is CHOICE and isinstance(node.decision, KOf)):
            builder.entry(node)
    roots = builder.inputs(flat.roots)
    for requirement in space.requires:
        roots += builder.values((requirement.left, requirement.right))
    return tuple(builder.sites), tuple(dict.fromkeys(roots))


def walk(space: Graph, choose: Callable[[Decision], Setting]) -> dict[str, Setting]:
    """The settings of the decisions that are reached when each takes what `choose` says.

    `choose` is asked once for each reached decision. The result is in the order of the space.
    """
    return skeleton(space).walk(choose)
