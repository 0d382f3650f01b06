"""Several networks as one graph: inputs of one name are shared, keys get a prefix each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ...ir.cells import expand
from ...ir.graph import Graph
from ...ir.node import Node, intern, topological


@dataclass(frozen=True, slots=True)
class Merged:
    """`roots[k]` are the outputs of network k by name, in its order.

    `origins` says of each key of the merged nodes whose it is: the network's place, and its key.
    """

    inputs: tuple[Node, ...]
    roots: tuple[tuple[tuple[str, Node], ...], ...]
    origins: dict[str, tuple[int, str]]


def merge(networks: Sequence[Graph]) -> Merged:
    """The nodes of all networks over shared inputs; what owns and draws nothing is shared too.

    Precondition: settled graphs; inputs of one name are of one type (ValueError where not).
    Postcondition: composites are expanded, and each network computes what it did. Nodes without
    weights above them are one node wherever they are equal: the common prefix of all networks.
    """
    inputs: dict[str, Node] = {}
    origins: dict[str, tuple[int, str]] = {}
    roots: list[tuple[tuple[str, Node], ...]] = []
    for place, network in enumerate(networks):
        flat = expand(network)
        for node in flat.inputs:
            if inputs.setdefault(node["name"], node) is not node:
                there = inputs[node["name"]].type.pretty
                raise ValueError(
                    f"the input `{node['name']}` is {there} in one network and "
                    f"{node.type.pretty} in another"
                )
        done: dict[Node, Node] = {}
        for node in topological(flat.roots):
            key = f"n[{place}].{node.key}" if node.key else ""
            if key:
                origins[key] = (place, node.key)
            operands = tuple([done[i] for i in node.inputs])
            done[node] = intern(node.op, operands, node.attrs, key)
        roots.append(tuple([(name, done[node]) for name, node in flat.outputs]))
    return Merged(tuple(inputs.values()), tuple(roots), origins)


def frozen(order: Sequence[Node]) -> frozenset[Node]:
    """Those of the nodes, given inputs before users, that depend on no weight and draw nothing."""
    found: set[Node] = set()
    for node in order:
        if not node.op.keyed and all(i in found for i in node.inputs):
            found.add(node)
    return frozenset(found)


def tied(order: Sequence[Node]) -> frozenset[str]:
    """The keys that several of the nodes have: tied weights, which must stay one."""
    seen: set[str] = set()
    twice: set[str] = set()
    for node in order:
        if node.key and node.op.keyed:
            (twice if node.key in seen else seen).add(node.key)
    return frozenset(twice)
