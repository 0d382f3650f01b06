"""Commute: what acts on each row alike is done before rows are repeated, once for each.

Precondition: none; it finds something to do in a network in rows (`rows.py`). Postcondition: the
same function, gradients and running statistics; no linear map, batch norm or op of one element
reads a `repeat`, save through dropout, which draws for each copy anew.

Cases, cited in the code:
C1  A linear map, or what acts on each element, of repeated rows.
C2  A batch norm of repeated rows: the running variance counts the copies.
C3  What acts on elements of several tensors, all repeated as often.
C4  A mix adds those that are repeated as often before it repeats them.
C5  Repeating twice.
"""

from __future__ import annotations

from ...ir.dims import Static
from ...ir.graph import Graph
from ...ir.node import Node, build, intern
from ...ir.ops import PRIMITIVES
from .ops import REPEAT, REPEATED_NORM, made
from .rows import ELEMENTWISE
from .stages import rewritten, with_inputs

_TOGETHER = frozenset(("sum", "mul", "maximum", "sub", "div", "concat"))


def commute(network: Graph) -> Graph:
    """The network in which rows are repeated as late as can be."""
    return rewritten(network, _commuted)


def _commuted(node: Node, inputs: tuple[Node, ...]) -> Node:
    repeated = [i.op is REPEAT for i in inputs]
    if not any(repeated) or node.type.dtype != "f32":
        return with_inputs(node, inputs)
    x, name = inputs[0], node.op.name
    if node.op is REPEAT:  # C5
        return _again(x.inputs[0], x["times"] * node["times"])
    of_rows = name == "linear" and x.type.rank == 2 and node["axis"] == 1
    if name in ELEMENTWISE or of_rows:  # C1
        return _again(with_inputs(node, (x.inputs[0],)), x["times"])
    if name == "slice" and node["axis"] == 1:  # C1
        first = x.inputs[0]
        attrs = {**node.attributes}
        return _again(build(node.op, [first], attrs), x["times"])
    if name == "batch_norm":  # C2
        attrs = (node["eps"], node["momentum"], node["gamma"], x["times"])
        return _again(intern(REPEATED_NORM, (x.inputs[0],), attrs, node.key), x["times"])
    if node.op is REPEATED_NORM:  # C2
        attrs = (node["eps"], node["momentum"], node["gamma"], node["repeats"] * x["times"])
        return _again(intern(REPEATED_NORM, (x.inputs[0],), attrs, node.key), x["times"])
    if name in _TOGETHER and all(repeated) and _along_rows(node):  # C3
        times = x["times"]
        if all(i["times"] == times for i in inputs):
            return _again(with_inputs(node, tuple([i.inputs[0] for i in inputs])), times)
    if name == "mix" and node.type.rank == 2:
        return _mixed(node, inputs)  # C4
    return with_inputs(node, inputs)


def _along_rows(node: Node) -> bool:
    if node.op.name == "concat":
        return node["axis"] == 1
    return all(i.type is node.type for i in node.inputs)


def _again(x: Node, times: Static) -> Node:
    return made(REPEAT, [x], times)


def _mixed(node: Node, inputs: tuple[Node, ...]) -> Node:
    gates, *tensors = inputs
    groups: dict[Static, list[tuple[int, Node]]] = {}
    for place, x in zip(node["index"], tensors, strict=True):
        times, inner = (x["times"], x.inputs[0]) if x.op is REPEAT else (1, x)
        groups.setdefault(times, []).append((place, inner))
    parts: list[Node] = []
    for times, members in groups.items():
        index = tuple([place for place, _ in members])
        mixed = build(node.op, [gates, *[x for _, x in members]], {"index": index})
        parts.append(mixed if times == 1 else _again(mixed, times))
    return parts[0] if len(parts) == 1 else build(PRIMITIVES["sum"], parts)
