"""Slices that share a tensor out among themselves are one `split`.

The gradient of a slice is as large as the tensor it was cut from, and those of several slices are
added up; the gradient of a split is one concatenation.
"""

from __future__ import annotations

from ...ir.node import Node
from .layout import Call, Items, statement
from .steps import Unfolded


def shared_out(code: Unfolded) -> dict[Node, list[Node]]:
    """The slices that make up a tensor, by the first of them in the order of computation.

    Postcondition: in `code.order` the slices of one tensor follow one another.
    """
    cuts: dict[tuple[Node, int], list[Node]] = {}
    for node in code.order:
        if node.op.name == "slice" and node["step"] == 1:
            cuts.setdefault((node.inputs[0], node["axis"]), []).append(node)
    found: dict[Node, list[Node]] = {}
    for (tensor, axis), nodes in cuts.items():
        places = {code.places[node] for node in nodes}
        if len(nodes) > 1 and len(places) == 1 and _make_up(nodes, tensor.type.shape[axis]):
            found[nodes[0]] = sorted(nodes, key=lambda node: node["start"])
    moved = {node for nodes in found.values() for node in nodes}
    order: list[Node] = []
    for node in code.order:
        if node in found:
            order += found[node]
        elif node not in moved:
            order.append(node)
    code.order = order
    return {nodes[0]: nodes for nodes in found.values()}


def _make_up(nodes: list[Node], size: object) -> bool:
    """Whether the slices, in some order, are the whole axis, each part of it once."""
    spans = [(node["start"], node["stop"]) for node in nodes]
    if not isinstance(size, int) or not all(type(a) is int and type(b) is int for a, b in spans):
        return False
    end = 0
    for start, stop in sorted(spans):
        if start != end:
            return False
        end = stop
    return end == size


def split_line(nodes: list[Node], names: dict[Node, str], indent: str) -> list[str]:
    """`a, b = x.split_with_sizes((16, 16), 1)`, which `split` calls in the end."""
    targets = ", ".join([names[node] for node in nodes])
    sizes = Items([str(node["stop"] - node["start"]) for node in nodes])
    axis: int = nodes[0]["axis"]
    call = Call(
        f"{names[nodes[0].inputs[0]]}.split_with_sizes", [sizes, *([str(axis)] if axis else [])]
    )
    return statement(f"{targets} = ", call, indent)
