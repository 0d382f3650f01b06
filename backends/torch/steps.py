"""The nodes of a network in the order of computation, composite by composite."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from ...ir.graph import Graph
from ...ir.node import Node, intern, topological
from ...ir.ops import CELL, FORMAL, INPUT


@dataclass(frozen=True, eq=False, slots=True)
class Place:
    """An instance of a composite: its name, its key (empty where it owns nothing), its result."""

    cell: str
    key: str


@dataclass(slots=True)
class Unfolded:
    """A network without composites, and of which instance each node is a part.

    A node that several instances share belongs to the first. `results` are the nodes that are
    the results of instances, with the outermost of these.
    """

    order: list[Node] = field(default_factory=list)
    places: dict[Node, Place | None] = field(default_factory=dict)
    results: dict[Node, Place] = field(default_factory=dict)
    outputs: list[tuple[str, Node]] = field(default_factory=list)


def unfold(network: Graph) -> Unfolded:
    """The network as a list of primitives.

    Postcondition: the nodes are those of `expand(network)`, each after its inputs, and those of
    one composite stand together. Inputs are not in the list.
    """
    found = Unfolded()
    done = _unfold(list(network.roots), {}, None, found)
    found.outputs = [(name, done[node]) for name, node in network.outputs]
    return found


def _unfold(
    roots: list[Node], operands: Mapping[Node, Node], place: Place | None, found: Unfolded
) -> dict[Node, Node]:
    done: dict[Node, Node] = {}
    for node in topological(roots):
        if node.op is INPUT:
            done[node] = node
            continue
        if node.op is FORMAL:
            done[node] = operands[node]
            continue
        if node.op is CELL:
            inner = dict(zip(node["formals"], [done[i] for i in node.inputs], strict=True))
            here = Place(node["name"], node.key)
            body = node["body"]
            result = done[node] = _unfold([body], inner, here, found)[body]
            if found.places.get(result) is not None:
                found.results[result] = here
            continue
        inputs = tuple([done[i] for i in node.inputs])
        new = node if inputs == node.inputs else intern(node.op, inputs, node.attrs, node.key)
        done[node] = new
        if new not in found.places:
            found.places[new] = place
            found.order.append(new)
    return done
