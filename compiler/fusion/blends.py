"""Blends: weighted sums as one sweep over their operands, each read once.

Precondition: mixes are in rows (`rows.py`). Postcondition: the same function and gradients; every
`mix` of rows is a `blend`.

Cases, cited in the code:
B1  A mix is a blend; equal operands share a term whose coefficient is the sum of their gates.
B2  x + x, and x times a number, in a blend are terms of x.
B3  Columns of a `dense` with several tails are terms that read them in place.
B4  A blend that only a sum reads takes the other operands of the sum, with coefficient 1.
"""

from __future__ import annotations

from ...ir.graph import Graph
from ...ir.node import Node
from ...ir.ops import PRIMITIVES
from .ops import BLEND, DENSE, REPEAT, Term, made
from .stages import rewritten, users, with_inputs

_Parts = tuple[tuple[int, float], ...]


def blends(network: Graph) -> Graph:
    """The network with `blend` for `mix`."""
    readers = users(network)
    roots = set(network.roots)

    def rule(node: Node, inputs: tuple[Node, ...]) -> Node:
        if node.type.rank != 2 or node.type.dtype != "f32":
            return with_inputs(node, inputs)
        if node.op.name == "mix":
            given = [
                (((place, 1.0),), x) for place, x in zip(node["index"], inputs[1:], strict=True)
            ]
            return _blend(inputs[0], given, node)
        if node.op.name == "sum" and all(i.type is node.type for i in inputs):
            for old, new in zip(node.inputs, inputs, strict=True):
                if new.op is BLEND and len(readers[old]) == 1 and old not in roots:
                    return _joined(new, [i for i in inputs if i is not new], node)  # B4
        return with_inputs(node, inputs)

    return rewritten(network, rule)


def _joined(blend: Node, others: list[Node], node: Node) -> Node:
    gates, *x = blend.inputs
    terms = list(blend["terms"])
    given: list[tuple[_Parts, Node]] = [(((-1, 1.0),), other) for other in others]
    return _blend(gates, given, node, x, terms)


def _blend(
    gates: Node,
    given: list[tuple[_Parts, Node]],
    node: Node,
    before: list[Node] | None = None,
    terms: list[Term] | None = None,
) -> Node:
    operands = dict[Node, int]()
    for x in before or []:
        operands[x] = len(operands)
    found: dict[tuple[int, int], dict[int, float]] = {}
    for term in terms or []:
        found[term.operand, term.column] = dict(term.parts)
    pending = list(reversed(given))
    while pending:
        parts, x = pending.pop()
        if x.op.name == "sum" and all(i.type is x.type for i in x.inputs) and _few(x):  # B2
            pending.extend([(parts, i) for i in reversed(x.inputs)])
            continue
        if x.op.name == "scale" and isinstance(x["by"], float):  # B2
            scaled = tuple([(gate, factor * x["by"]) for gate, factor in parts])
            pending.append((scaled, x.inputs[0]))
            continue
        column = 0
        if x.op.name == "slice" and x.inputs[0].op is DENSE and _aligned(x):  # B3
            column, x = x["start"], x.inputs[0]
        place = operands.setdefault(x, len(operands))
        coefficient = found.setdefault((place, column), {})
        for gate, factor in parts:
            coefficient[gate] = coefficient.get(gate, 0.0) + factor
    result = tuple([Term(*at, tuple(parts.items())) for at, parts in found.items()])
    return made(BLEND, [gates, *operands], result, (node.type.shape[1],))


def _few(x: Node) -> bool:
    """Whether the operands of a sum are fewer than its inputs, so that it need not be computed."""
    return len(set(x.inputs)) == 1 and x.op is PRIMITIVES["sum"] and x.inputs[0].op is not REPEAT


def _aligned(x: Node) -> bool:
    """Whether slices like this one do not overlap."""
    return x["axis"] == 1 and x["step"] == 1 and x["start"] % x.type.shape[1] == 0
