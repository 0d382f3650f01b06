"""The learned weights of connections: which parameter weighs which edge of a levelled graph.

An edge is weighed where what it carries is multiplied by the sigmoid of a parameter with one
element that belongs to the node it leads to (Ryoo et al. 2020, section 3.1). How a file writes that
is its own affair: it is found in the network.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from ..ir.cells import expand
from ..ir.graph import Graph
from ..ir.levels import Edge, LevelGraph, Levels
from ..ir.node import Node
from ..ir.ops import PRIMITIVES

_MUL, _SIGMOID, _PARAMETER = PRIMITIVES["mul"], PRIMITIVES["sigmoid"], PRIMITIVES["parameter"]


def connections(network: Graph, levels: Levels, graph: LevelGraph) -> dict[Edge, str]:
    """The key of the parameter whose sigmoid weighs each edge.

    `network` is the one that the levelled graph specialises to. Edges that nothing weighs, such as
    one into a node that takes no other, are left out. The parameter has one element, named
    `weight` under its key.
    """
    place = {f"{levels.key}{label}": at for at, label in enumerate(graph.labels)}
    owner = re.compile(re.escape(levels.key) + r"\[\d+\]\[\d+\](?=$|\.)")
    edges = set(graph.edges)
    found: dict[Edge, str] = {}
    for node in expand(network).order:
        weight = _weight_of(node)
        if weight is None:
            continue
        parameter, carried = weight
        match = owner.match(parameter.key)
        sources = _sources(carried, owner, place)
        if match is not None and len(sources) == 1:
            edge = (sources.pop(), place.get(match[0], -1))
            if edge in edges:
                found[edge] = parameter.key
    return found


def _weight_of(node: Node) -> tuple[Node, Node] | None:
    """The parameter and what it weighs, where the node is such a product."""
    if node.op is not _MUL or len(node.inputs) != 2:
        return None
    for gate, carried in (node.inputs, node.inputs[::-1]):
        if gate.op is _SIGMOID and gate.inputs[0].op is _PARAMETER:
            (weight,) = gate.inputs[0].weights
            if all(size == 1 for size in weight.shape):
                return gate.inputs[0], carried
    return None


def _sources(carried: Node, owner: re.Pattern[str], place: Mapping[str, int]) -> set[int]:
    """The nodes of the graph whose weights are the last on the way to this tensor."""
    found: set[int] = set()
    seen: set[Node] = set()
    pending = [carried]
    while pending:
        node = pending.pop()
        if node in seen:
            continue
        seen.add(node)
        match = owner.match(node.key)
        if match is not None and match[0] in place:
            found.add(place[match[0]])
        else:
            pending += node.inputs
    return found
