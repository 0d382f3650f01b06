"""Fold: linear maps of rows become `dense`, and maps of [u; u] become maps of u.

W [u; u] = (W1 + W2) u: half the multiplications. Both parts stay weights of their own.

Precondition: none. Postcondition: the same function; every linear map of the rows of a matrix,
whose key no other node has, is a `dense`; none of these reads the same tensor twice in one
concatenation.
"""

from __future__ import annotations

from ...ir.graph import Graph
from ...ir.node import Node, build
from ...ir.ops import PRIMITIVES
from .ops import DENSE, Block, made
from .packing import Packing, Piece
from .stages import named, owners, rewritten, spans, whole, with_inputs


def fold(network: Graph) -> tuple[Graph, Packing]:
    """The network with `dense` for `linear`, and where the parts of its weights lie."""
    once = {key for key, nodes in owners(network).items() if len(nodes) == 1}
    pieces: dict[str, tuple[Piece, ...]] = {}

    def rule(node: Node, inputs: tuple[Node, ...]) -> Node:
        of_rows = node.op.name == "linear" and node.type.rank == 2 and node["axis"] == 1
        if of_rows and node.key in once:
            return _dense(node, inputs[0], pieces)
        return with_inputs(node, inputs)

    return rewritten(network, rule), Packing(pieces)


def _dense(node: Node, x: Node, pieces: dict[str, tuple[Piece, ...]]) -> Node:
    parts = x.inputs if x.op.name == "concat" and x["axis"] == 1 else (x,)
    distinct = tuple(dict.fromkeys(parts))
    out = whole(node["out"])
    places: dict[Node, tuple[int, int]] = {}
    width = 0
    for part in distinct:
        size = whole(part.type.shape[1])
        places[part] = (width, width + size)
        width += size
    if len(distinct) < len(parts):
        x = distinct[0] if len(distinct) == 1 else build(PRIMITIVES["concat"], distinct)
    source = named(node.key, "weight")
    first: list[Piece] = []
    extras: list[Block] = []
    seen: set[Node] = set()
    at = 0
    for part in parts:
        left, right = places[part]
        take = ((0, out), (at, at + right - left))
        at += right - left
        if part not in seen:
            seen.add(part)
            first.append(Piece(source, ((0, out), (left, right)), take))
        else:
            name = named(node.key, f"extra_{len(extras)}")
            pieces[name] = (Piece(source, spans((out, right - left)), take),)
            extras.append(Block(0, out, left, right))
    pieces[source] = tuple(first)
    bias = (0, out) if node["bias"] else (0, 0)
    return made(DENSE, [x], out, tuple(extras), bias, None, (), key=node.key)
