"""Gates: the weights of all mixes in one vector, computed at once from few parameters.

Precondition: none. Postcondition: the same function; every `mix` reads one vector of gates, and the
parameters behind gates of one sort are one parameter each.

Sorts, cited in the code:
S1  softmax over (zero, identity) of which the identity is taken: [n, 2], stacked to [m, 2].
S2  softmax over n candidates: [n], stacked to [m, n].
S3  sigmoid of each: [n], stacked to [m].
S4  anything else stays as it is computed.
"""

from __future__ import annotations

from ...ir.graph import Graph
from ...ir.node import Node, build
from ...ir.ops import PRIMITIVES
from .packing import Packing, Piece
from .stages import named, owners, rewritten, users, whole, with_inputs

_SORT = tuple[str, int]


def gates(network: Graph, scope: str) -> tuple[Graph, Packing]:
    """The network with one vector of gates; its parameters are below the key `scope`."""
    used: list[Node] = []
    for node in network.order:
        if node.op.name == "mix" and node.inputs[0] not in used:
            used.append(node.inputs[0])
    if not used:
        return network, Packing({})
    readers = users(network)
    once = {key for key, nodes in owners(network).items() if len(nodes) == 1}
    sorts: dict[_SORT, list[tuple[Node, Node]]] = {}
    rest: list[Node] = []
    for gate in used:
        found = _sort(gate)
        if found is not None and found[1].key in once and len(readers[found[1]]) == 1:
            sorts.setdefault(found[0], []).append((gate, found[1]))
        else:
            rest.append(gate)
    pieces: dict[str, tuple[Piece, ...]] = {}
    parts: list[Node] = []
    start: dict[Node, int] = {}
    at = 0
    for sort, members in sorts.items():
        parts.append(_stacked(sort, [p for _, p in members], scope, pieces))
        for gate, _ in members:
            start[gate] = at
            at += whole(gate.type.shape[0])
    for gate in rest:
        parts.append(gate)
        start[gate] = at
        at += whole(gate.type.shape[0])
    vector = parts[0] if len(parts) == 1 else build(PRIMITIVES["concat"], parts, {"axis": 0})

    def rule(node: Node, inputs: tuple[Node, ...]) -> Node:
        if node.op.name != "mix":
            return with_inputs(node, inputs)
        index = tuple([start[node.inputs[0]] + place for place in node["index"]])
        return build(node.op, [vector, *inputs[1:]], {"index": index})

    return rewritten(network, rule), Packing(pieces)


def _sort(gate: Node) -> tuple[_SORT, Node] | None:
    """The sort of a vector of gates, and its parameter."""
    size = whole(gate.type.shape[0])
    match gate.op.name:
        case "reshape":
            cut = gate.inputs[0]
            pair = cut.inputs[0] if cut.op.name == "slice" else cut
            if (
                cut.op.name == "slice"
                and (cut["axis"], cut["start"], cut["stop"]) == (1, 1, 2)
                and pair.op.name == "softmax"
                and pair["axis"] == 1
                and pair.inputs[0].type.shape == (size, 2)
                and pair.inputs[0].op.name == "parameter"
            ):
                return ("pairs", 2), pair.inputs[0]  # S1
        case "softmax" if gate.inputs[0].op.name == "parameter":
            return ("softmax", size), gate.inputs[0]  # S2
        case "sigmoid" if gate.inputs[0].op.name == "parameter":
            return ("sigmoid", 1), gate.inputs[0]  # S3
        case _:
            pass
    return None  # S4


def _stacked(
    sort: _SORT, parameters: list[Node], scope: str, pieces: dict[str, tuple[Piece, ...]]
) -> Node:
    kind, width = sort
    key = f"{scope}.{kind}[{width}]"
    found: list[Piece] = []
    at = 0
    for parameter in parameters:
        source = named(parameter.key, "weight")
        size = whole(parameter.type.shape[0])
        if kind == "pairs":
            found.append(Piece(source, ((at, at + size), (0, 2))))
        elif kind == "softmax":
            found.append(Piece(source, ((at, at + 1), (0, size)), shape=(1, size)))
        else:
            found.append(Piece(source, ((at, at + size),)))
        at += 1 if kind == "softmax" else size
    pieces[named(key, "weight")] = tuple(found)
    shape = (at,) if kind == "sigmoid" else (at, width)
    weight = build(PRIMITIVES["parameter"], [], {"shape": shape}, key)
    if kind == "sigmoid":
        return build(PRIMITIVES["sigmoid"], [weight])
    gated = build(PRIMITIVES["softmax"], [weight], {"axis": 1})
    if kind == "pairs":
        attrs = {"axis": 1, "start": 1, "stop": 2}
        gated = build(PRIMITIVES["slice"], [gated], attrs)
        return build(PRIMITIVES["reshape"], [gated], {"shape": (at,)})
    return build(PRIMITIVES["reshape"], [gated], {"shape": (at * width,)})
