"""Cost from the graph alone: parameters, multiply-adds, activation memory.

One multiply-add (MAC) is two FLOPs. Only linear, convolution and matmul are counted, as
`torch.utils.flop_counter` and the papers do. Sizes that are named stay symbolic: `2229248*N`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..ir.dims import Static
from ..ir.graph import Graph
from ..ir.node import Node, intern, topological
from ..ir.ops import CELL, FORMAL, INPUT
from ..ir.ops.products import product
from ..ir.types import DTYPES


@dataclass(frozen=True, slots=True)
class Cost:
    """What a network, a composite or a node costs.

    `parameters` counts learned numbers, tied ones once, running statistics not at all;
    `activation_bytes` is the memory of every computed value, inputs not counted, as training
    without recomputation holds it.
    """

    parameters: Static
    macs: Static
    activation_bytes: Static

    @property
    def flops(self) -> Static:
        """Two per multiply-add."""
        return 2 * self.macs


_NOTHING = Cost(0, 0, 0)


@dataclass(frozen=True, slots=True)
class Line:
    """The cost of one node, or of one composite with all that is in it (`whole`)."""

    key: str
    op: str
    type: str
    depth: int
    whole: bool
    cost: Cost


def cost(network: Graph) -> Cost:
    """The cost of the whole network. Open decisions are summed over all candidates."""
    return _sum([line.cost for line in cost_lines(network) if not line.whole])


def cost_lines(network: Graph) -> list[Line]:
    """The cost of each node in order; a composite comes before what is in it, one deeper.

    What two composites compute alike, such as the scores of two attentions over the same features,
    is computed once: it costs where it comes first, and nothing after that.
    """
    lines: list[Line] = []
    _visit(network.roots, {}, 0, lines, set(), set())
    return lines


def _visit(
    roots: Sequence[Node],
    operands: Mapping[Node, Node],
    depth: int,
    lines: list[Line],
    computed: set[Node],
    counted: set[str],
) -> dict[Node, Node]:
    """Each node as it stands in the expanded graph; `lines` gains the cost of each."""
    done: dict[Node, Node] = {}
    for node in topological(roots):
        inputs = tuple([done[i] for i in node.inputs])
        if node.op is INPUT or node.op is FORMAL:
            done[node] = operands.get(node, node)
        elif node.op is CELL:
            inner = dict(zip(node["formals"], inputs, strict=True))
            body, at = node["body"], len(lines)
            done[node] = _visit([body], inner, depth + 1, lines, computed, counted)[body]
            parts = _sum([line.cost for line in lines[at:] if not line.whole])
            lines.insert(at, Line(node.key, node["name"], node.type.text, depth, True, parts))
        else:
            same = inputs == node.inputs
            done[node] = node if same else intern(node.op, inputs, node.attrs, node.key)
            own = _NOTHING if done[node] in computed else own_cost(node, counted)
            computed.add(done[node])
            lines.append(Line(node.key, node.op.name, node.type.text, depth, False, own))
    return done


def own_cost(node: Node, counted: set[str]) -> Cost:
    """The cost of a primitive; its weights unless their key is counted already, which it is then.

    Open sizes stay open in it.
    """
    inputs = [i.type for i in node.inputs]
    attrs: Mapping[str, Any] = node.attributes
    parameters: Static = 0
    if node.op.weights is not None and node.key not in counted:
        counted.add(node.key)
        for weight in node.op.weights(inputs, attrs):
            if not weight.buffer:
                parameters = product(weight.shape) + parameters
    macs = node.op.macs(inputs, attrs, node.type) if node.op.macs is not None else 0
    memory = DTYPES[node.type.dtype] * product(node.type.shape)
    return Cost(parameters, macs, memory)


def _sum(parts: Sequence[Cost]) -> Cost:
    parameters: Static = 0
    macs: Static = 0
    memory: Static = 0
    for part in parts:
        parameters = part.parameters + parameters
        macs = part.macs + macs
        memory = part.activation_bytes + memory
    return Cost(parameters, macs, memory)
