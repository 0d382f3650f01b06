"""Cost from the graph alone: parameters, multiply-adds, activation memory.

One multiply-add (MAC) is two FLOPs. Only linear, convolution and matmul are counted, as
`torch.utils.flop_counter` and the papers do. Sizes that are named stay symbolic: `2229248*N`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..ir.dims import Static
from ..ir.graph import Graph
from ..ir.node import Node, topological
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
    return _total(network.roots, set())


def cost_lines(network: Graph) -> list[Line]:
    """The cost of each node in order; a composite comes before what is in it, one deeper."""
    lines: list[Line] = []
    seen: set[str] = set()
    pending: list[tuple[Node, int]] = [(n, 0) for n in reversed(topological(network.roots))]
    while pending:
        node, depth = pending.pop()
        if node.op is INPUT or node.op is FORMAL:
            continue
        if node.op is CELL:
            inside = topological([node["body"]])
            whole = _total((node["body"],), set(seen))
            lines.append(Line(node.key, node["name"], node.type.text, depth, True, whole))
            pending += [(inner, depth + 1) for inner in reversed(inside)]
        else:
            own = _own(node, seen)
            lines.append(Line(node.key, node.op.name, node.type.text, depth, False, own))
    return lines


def _own(node: Node, counted: set[str]) -> Cost:
    """The cost of a primitive; its weights unless their key is counted already."""
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


def _total(roots: tuple[Node, ...], counted: set[str]) -> Cost:
    parameters: Static = 0
    macs: Static = 0
    memory: Static = 0
    pending = [iter(topological(roots))]
    while pending:
        node = next(pending[-1], None)
        if node is None:
            pending.pop()
        elif node.op is CELL:
            pending.append(iter(topological([node["body"]])))
        elif node.op is not INPUT and node.op is not FORMAL:
            own = _own(node, counted)
            parameters = own.parameters + parameters
            macs = own.macs + macs
            memory = own.activation_bytes + memory
    return Cost(parameters, macs, memory)
