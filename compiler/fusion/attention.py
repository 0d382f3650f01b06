"""Attention: products, softmax and products as one `attend`.

Precondition: none. Postcondition: the same function; no softmax of products that only a matrix
product reads is left.
"""

from __future__ import annotations

from ...ir.graph import Graph
from ...ir.node import Node
from .ops import ATTEND, made
from .stages import rewritten, users, with_inputs


def attention(network: Graph) -> Graph:
    """The network with `attend` for softmax(scale * x yᵀ) v of three axes."""
    readers = users(network)
    roots = set(network.roots)

    def alone(node: Node) -> bool:
        return len(readers[node]) == 1 and node not in roots

    def rule(node: Node, inputs: tuple[Node, ...]) -> Node:
        if node.op.name == "matmul" and node.type.rank == 3:
            softmax = node.inputs[0]
            scores = softmax.inputs[0] if softmax.op.name == "softmax" else softmax
            by = 1.0
            inner = [softmax, scores]
            if scores.op.name == "scale" and isinstance(scores["by"], float):
                by, scores = scores["by"], scores.inputs[0]
                inner.append(scores)
            if (
                softmax.op.name == "softmax"
                and softmax["axis"] == 2
                and scores.op.name == "matmul"
                and scores.inputs[1].op.name == "transpose"
                and scores.inputs[1]["axes"] == (0, 2, 1)
                and all(map(alone, inner))
            ):
                x, y = scores.inputs[0], scores.inputs[1].inputs[0]
                return made(ATTEND, [done[x], done[y], inputs[1]], by)
        return with_inputs(node, inputs)

    done: dict[Node, Node] = {}

    def remembered(node: Node, inputs: tuple[Node, ...]) -> Node:
        done[node] = rule(node, inputs)
        return done[node]

    return rewritten(network, remembered)
