"""A graph on its way through the passes of fusion, and where its weights go on the way."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from ...ir.dims import Dim
from ...ir.graph import Graph, graph
from ...ir.node import Node, intern
from .packing import Packing, Span

Pass = Callable[[Graph], "Graph | tuple[Graph, Packing]"]


@dataclass(frozen=True)
class Move:
    """One pass that moved weights: the graphs before and after it, and the packing."""

    before: Graph
    packing: Packing
    after: Graph


@dataclass(frozen=True)
class Fused:
    """A fused graph, the graph that it computes, and the moves of weights from that to this."""

    plain: Graph
    graph: Graph
    moves: tuple[Move, ...]


def through(plain: Graph, passes: Sequence[Pass]) -> Fused:
    """The graph after these passes, in this order."""
    now, moves = plain, list[Move]()
    for one in passes:
        result = one(now)
        if isinstance(result, tuple):
            after, packing = result
            if packing.pieces:
                moves.append(Move(now, packing, after))
            now = after
        else:
            now = result
    return Fused(plain, now, tuple(moves))


Rule = Callable[[Node, tuple[Node, ...]], Node]


def rewritten(network: Graph, rule: Rule) -> Graph:
    """The graph of what the rule gives for each node and what stands for its inputs."""
    done: dict[Node, Node] = {}
    for node in network.order:
        done[node] = rule(node, tuple([done[i] for i in node.inputs]))
    return graph(network.name, network.inputs, [(n, done[root]) for n, root in network.outputs])


def with_inputs(node: Node, inputs: tuple[Node, ...]) -> Node:
    """The node with other inputs of the same types."""
    return node if inputs == node.inputs else intern(node.op, inputs, node.attrs, node.key)


def users(network: Graph) -> dict[Node, list[Node]]:
    """Who reads each node, once for each operand."""
    found: dict[Node, list[Node]] = {node: [] for node in network.order}
    for node in network.order:
        for i in node.inputs:
            found[i].append(node)
    return found


def owners(network: Graph) -> Mapping[str, list[Node]]:
    """The nodes that own weights, by key."""
    found: dict[str, list[Node]] = {}
    for node in network.order:
        if node.op.weights is not None:
            found.setdefault(node.key, []).append(node)
    return found


def spans(sizes: Sequence[Dim]) -> tuple[Span, ...]:
    """All of a tensor of these sizes, which are known."""
    return tuple([(0, whole(size)) for size in sizes])


def whole(size: object) -> int:
    """A size of weights, which is a number."""
    assert isinstance(size, int)
    return size


def named(key: str, weight: str) -> str:
    """What a packing calls a weight of the node with this key; backends have names of their own."""
    return f"{key}:{weight}"
