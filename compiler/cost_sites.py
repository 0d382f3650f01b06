"""Where a space costs something, and what has to be decided for it to be reached.

A *lump* is a set of nodes that are reached together or not at all; a *site* is a lump, a choice, or
a value that may be absent, with what it needs. The cost of nodes that may coincide belongs to no
lump but to their group. Sites come users first.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from ..ir.decisions import Decision, Setting
from ..ir.dims import Expr, Monomial, Static, decisions_in, expression, symbols_in
from ..ir.dims import total as sum_of
from ..ir.graph import Graph
from ..ir.node import Node
from ..ir.ops import CHOICE, INPUT, MAYBE
from ..ir.settling import bind
from .coinciding import Coinciding
from .cost import Cost, own_cost

Keys = tuple[str, ...]
MEASURES = ("parameters", "macs", "activation_bytes")


@dataclass(frozen=True, slots=True)
class Site:
    """Other sites that it needs, by their places: `needs[0]`; of a choice, by candidate.

    A choice takes the candidate at `slot` of its setting; an optional value needs what it does
    where the setting has the candidate `slot`. `costs` has by the decisions that they depend on the
    sums of what the nodes of a lump cost.
    """

    needs: tuple[tuple[int, ...], ...]
    decision: Decision | None = None
    slot: int = 0
    optional: bool = False
    costs: Mapping[Keys, tuple[Static, ...]] = field(
        default_factory=dict[Keys, "tuple[Static, ...]"]
    )

    def taken(self, setting: Setting) -> tuple[int, ...]:
        """What it needs under this setting of its decision."""
        if self.optional:
            return self.needs[0] if self.slot in setting else ()
        return self.needs[setting[self.slot]]


@dataclass(frozen=True, slots=True)
class Group:
    """Nodes that may coincide, each with the place of its lump and its cost.

    `decisions` are those that say which do, and what they cost.
    """

    members: tuple[tuple[Node, int, Cost], ...]
    decisions: Mapping[Node, frozenset[str]]


@dataclass(frozen=True, eq=False, slots=True)
class CostSites:
    """The sites of a space, users first; the places of those that the outputs need; the groups."""

    sites: tuple[Site, ...]
    roots: tuple[int, ...]
    groups: tuple[Group, ...]
    coinciding: Coinciding


def cost_sites(flat: Graph, sizes: Mapping[str, int], together: Coinciding) -> CostSites:
    """The sites of a space whose composites are expanded; sizes without a number are 1.

    `together` has the nodes that are looked at as such that may coincide.
    """
    heads = _heads(flat)
    places = {head: place for place, head in enumerate(dict.fromkeys(heads.values()))}
    lumps: dict[Node, list[Node]] = {}
    for node, head in heads.items():
        lumps.setdefault(head, []).append(node)
    costs = {
        node: _bound(own_cost(node, set()), sizes)
        for node in flat.order
        if node.op is not CHOICE and node.op is not MAYBE and node.op is not INPUT
    }
    sites: list[Site] = []
    for head, members in lumps.items():
        below = [[places[heads[i]] for i in node.inputs] for node in members]
        if head.op is CHOICE or head.op is MAYBE:
            slot = head["slot"] if head.op is CHOICE else head["index"]
            needs = tuple([(place,) for place in below[0]])
            sites.append(Site(needs, head.decision, slot, head.op is MAYBE))
            continue
        needed = dict.fromkeys(place for places in below for place in places)
        needed.pop(places[head], None)
        own = [costs[node] for node in members if node in costs and node not in together]
        sites.append(Site((tuple(needed),), costs=_by_decisions(own)))
    groups = [
        Group(
            tuple([(node, places[heads[node]], costs[node]) for node in members]),
            {
                node: frozenset(together.decisions_of(node) | open_in(costs[node]))
                for node in members
            },
        )
        for members in together.groups
    ]
    roots = tuple(dict.fromkeys([places[heads[root]] for root in flat.roots]))
    kept = _costly(sites, {place for group in groups for _, place, _ in group.members})
    return CostSites(tuple(kept), roots, tuple(groups), together)


def _costly(sites: Sequence[Site], grouped: set[int]) -> list[Site]:
    """The sites, none of which needs one that costs nothing itself and needs nothing, as inputs."""
    idle: set[int] = set()
    found: list[Site] = []
    for place in range(len(sites) - 1, -1, -1):
        site = sites[place]
        needs = tuple([tuple([n for n in needed if n not in idle]) for needed in site.needs])
        if not site.costs and place not in grouped and not any(needs):
            idle.add(place)
        found.append(replace(site, needs=needs))
    return found[::-1]


def _heads(flat: Graph) -> dict[Node, Node]:
    """The first node of the lump of each node, users before what they use."""
    users: dict[Node, list[Node | None]] = {root: [None] for root in flat.roots}
    for node in flat.order:
        for operand in node.inputs:
            users.setdefault(operand, []).append(node)
    heads: dict[Node, Node] = {}
    for node in reversed(flat.order):
        heads[node] = _head(node, users[node], heads)
    return heads


def values_of(cost: Cost) -> tuple[Static, ...]:
    """The figures of a cost, in the order of MEASURES."""
    return (cost.parameters, cost.macs, cost.activation_bytes)


def _head(node: Node, users: Sequence[Node | None], heads: Mapping[Node, Node]) -> Node:
    """The first node of its lump: that of all its users, where these are of one lump."""
    if node.op is CHOICE or node.op is MAYBE or None in users:
        return node
    found = {heads[user] for user in users if user is not None}
    head = found.pop()
    return node if found or head.op is CHOICE or head.op is MAYBE else head


def _bound(cost: Cost, sizes: Mapping[str, int]) -> Cost:
    found: list[Static] = []
    for value in values_of(cost):
        found.append(bind(value, {name: sizes.get(name, 1) for name in symbols_in(value)}))
    return Cost(*found)


def open_in(cost: Cost) -> frozenset[str]:
    """The keys of the decisions that a cost depends on."""
    return frozenset(key for value in values_of(cost) for key in decisions_in(value))


def _by_decisions(costs: Iterable[Cost]) -> dict[Keys, tuple[Static, ...]]:
    """The sums of the terms of all costs, apart by the decisions in them."""
    found: dict[Keys, list[list[Static]]] = {}
    for cost in costs:
        for measure, value in enumerate(values_of(cost)):
            for term in _terms(value):
                keys = tuple(sorted(decisions_in(term)))
                found.setdefault(keys, [[] for _ in MEASURES])[measure].append(term)
    return {keys: tuple(map(sum_of, terms)) for keys, terms in found.items()}


def _terms(value: Static) -> list[Static]:
    """Values that add up to this one, each as small as can be."""
    if not isinstance(value, Expr):
        return [value] if value else []
    return [factor * _product(monomial) for monomial, factor in value.terms]


def _product(monomial: Monomial) -> Static:
    found: Static = 1
    for atom in monomial:
        found = expression(atom) * found
    return found
