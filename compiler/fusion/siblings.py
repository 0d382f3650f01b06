"""Siblings: layers over one input become one matrix product, one batch norm, one sweep.

Three passes over `dense` (`fold.py`), in this order:

* `norms`: a batch norm of a layer that nothing else reads becomes a part of it.
* `stack`: layers over one input, with norms of one kind, become one layer and slices of it.
* `tails`: activations, gated linear units and dropout on parts of a layer become parts of it.

Each keeps the function, the gradients and the running statistics.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from ...ir.graph import Graph
from ...ir.node import Node, build
from ...ir.ops import PRIMITIVES
from .ops import DENSE, REPEATED_NORM, Block, Norm, Tail, made
from .packing import Packing, Piece
from .stages import named, owners, rewritten, spans, users, whole, with_inputs

_RENAMED = {
    "weight": "norm_weight",
    "bias": "norm_bias",
    "running_mean": "running_mean",
    "running_var": "running_var",
    "num_batches_tracked": "num_batches_tracked",
}


def norms(network: Graph) -> tuple[Graph, Packing]:
    """Precondition: none. Postcondition: no batch norm alone reads a `dense` without one."""
    readers = users(network)
    roots = set(network.roots)
    once = {key for key, nodes in owners(network).items() if len(nodes) == 1}
    pieces: dict[str, tuple[Piece, ...]] = {}

    def rule(node: Node, inputs: tuple[Node, ...]) -> Node:
        if node.op.name != "batch_norm" and node.op is not REPEATED_NORM:
            return with_inputs(node, inputs)
        x = inputs[0]
        alone = len(readers[node.inputs[0]]) == 1 and node.inputs[0] not in roots
        if x.op is not DENSE or x["norm"] or x["tails"] or not alone or node.key not in once:
            return with_inputs(node, inputs)
        repeats = node["repeats"] if node.op is REPEATED_NORM else 1
        norm = Norm(node["eps"], node["momentum"], repeats)
        for weight in node.weights:
            piece = Piece(named(node.key, weight.name), spans(weight.shape))
            pieces[named(x.key, _RENAMED[weight.name])] = (piece,)
        return made(DENSE, x.inputs, x["out"], x["extras"], x["bias"], norm, (), key=x.key)

    return rewritten(network, rule), Packing(pieces)


# ── stack ────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class _Part:
    """A piece of a stacked weight: the weight `name` of a member, which takes this block."""

    source: Node
    name: str
    block: Block


def stack(network: Graph) -> tuple[Graph, Packing]:
    """Precondition: none. Postcondition: two `dense` without tails that read one tensor differ in
    their norms.
    """
    groups: dict[tuple[Node, Norm | None], list[Node]] = {}
    for node in network.order:
        if node.op is DENSE and not node["tails"]:
            groups.setdefault((node.inputs[0], node["norm"]), []).append(node)
    member_of: dict[Node, list[Node]] = {}
    for members in groups.values():
        if len(members) > 1:
            members.sort(key=lambda node: node["bias"][1] > 0)
            member_of.update(dict.fromkeys(members, members))
    pieces: dict[str, tuple[Piece, ...]] = {}

    def rule(node: Node, inputs: tuple[Node, ...]) -> Node:
        members = member_of.get(node)
        if members is None:
            return with_inputs(node, inputs)
        stacked = _stacked(members, inputs[0], pieces)
        start = sum([m["out"] for m in members[: members.index(node)]])
        return _columns(stacked, start, start + node["out"])

    return rewritten(network, rule), Packing(pieces)


def _columns(x: Node, start: int, stop: int) -> Node:
    if (start, stop) == (0, x.type.shape[1]):
        return x
    return build(PRIMITIVES["slice"], [x], {"axis": 1, "start": start, "stop": stop})


def _stacked(members: list[Node], x: Node, pieces: dict[str, tuple[Piece, ...]]) -> Node:
    key = f"{members[0].key}.stack"
    width = whole(x.type.shape[1])
    parts: dict[str, list[_Part]] = {}
    extras: list[tuple[Block, list[_Part]]] = []
    biases: list[tuple[int, int]] = []
    top = 0
    for member in members:
        bottom = top + whole(member["out"])
        parts.setdefault("weight", []).append(_Part(member, "weight", Block(top, bottom, 0, width)))
        for place, block in enumerate(member["extras"]):
            moved = block._replace(top=block.top + top, bottom=block.bottom + top)
            _joined(extras, _Part(member, f"extra_{place}", moved))
        if member["bias"][1]:
            biases.append((member["bias"][0] + top, member["bias"][1] + top))
            parts.setdefault("bias", []).append(_Part(member, "bias", Block(*biases[-1], 0, 0)))
        for name in _RENAMED.values() if member["norm"] else ():
            parts.setdefault(name, []).append(_Part(member, name, Block(top, bottom, 0, 0)))
        top = bottom
    first = biases[0][0] if biases else 0
    for name, members_of in parts.items():
        down = first if name == "bias" else 0
        pieces[named(key, name)] = tuple([_piece(part, down, 0) for part in members_of])
    for place, (block, joined) in enumerate(extras):
        pieces[named(key, f"extra_{place}")] = tuple(
            [_piece(part, block.top, block.left) for part in joined]
        )
    bias = (first, biases[-1][1]) if biases else (0, 0)
    blocks = tuple([block for block, _ in extras])
    return made(DENSE, [x], top, blocks, bias, members[0]["norm"], (), key=key)


def _joined(extras: list[tuple[Block, list[_Part]]], part: _Part) -> None:
    """Add a block to one that ends where it begins, or as one of its own."""
    for place, (block, parts) in enumerate(extras):
        same = (block.left, block.right) == (part.block.left, part.block.right)
        if same and block.bottom == part.block.top:
            extras[place] = (block._replace(bottom=part.block.bottom), [*parts, part])
            return
    extras.append((part.block, [part]))


def _piece(part: _Part, down: int, right: int) -> Piece:
    source = named(part.source.key, part.name)
    block = part.block
    if part.name == "num_batches_tracked":
        return Piece(source, ())
    rows = (block.top - down, block.bottom - down)
    if part.name == "weight" or part.name.startswith("extra"):
        return Piece(source, (rows, (block.left - right, block.right - right)))
    return Piece(source, (rows,))


# ── tails ────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class _Range:
    """Columns of a `dense`."""

    dense: Node
    start: int
    stop: int


def tails(network: Graph) -> Graph:
    """Precondition: none. Postcondition: what acts on elements of a `dense` is a tail of it."""
    readers = users(network)
    ranges = _ranges(network)
    found = _found(network, ranges, readers)
    _with_dropouts(found, readers, set(network.roots))
    ends: dict[Node, tuple[Node, int, int]] = {}
    new: dict[Node, tuple[Tail, ...]] = {}
    for dense, segments in found.items():
        if all(t.kind == "copy" and not t.p for t in segments.values()):
            continue
        new[dense] = tuple(segments.values())
        at = 0
        for end, tail in segments.items():
            ends[end] = (dense, at, at + tail.stop - tail.start)
            at += tail.stop - tail.start
    made_of: dict[Node, Node] = {}

    def rule(node: Node, inputs: tuple[Node, ...]) -> Node:
        result = with_inputs(node, inputs)
        if node in new:
            attrs = (node["out"], node["extras"], node["bias"], node["norm"], new[node])
            made_of[node] = made(DENSE, inputs, *attrs, key=node.key)
        if node in ends:
            dense, start, stop = ends[node]
            return _columns(made_of[dense], start, stop)
        return result  # without its tails, as what lies between still reads it

    done = rewritten(network, rule)
    layers = [node.key for node in done.order if node.op is DENSE]
    assert len(set(layers)) == len(layers), "what lies between a layer and its ends is left over"
    return done


def _ranges(network: Graph) -> dict[Node, _Range]:
    found: dict[Node, _Range] = {}
    for node in network.order:
        if node.op is DENSE and not node["tails"]:
            found[node] = _Range(node, 0, node["out"])
        elif node.op.name == "slice" and node["axis"] == 1 and node["step"] == 1:
            inner = found.get(node.inputs[0])
            if inner is not None:
                start, stop = inner.start + node["start"], inner.start + node["stop"]
                found[node] = replace(inner, start=start, stop=stop)
    return found


def _found(
    network: Graph, ranges: Mapping[Node, _Range], readers: Mapping[Node, list[Node]]
) -> dict[Node, dict[Node, Tail]]:
    """By `dense` the ends, each with its tail."""
    roots = set(network.roots)
    found: dict[Node, dict[Node, Tail]] = {}

    def add(of: _Range, end: Node, kind: str, gate: int = 0) -> None:
        found.setdefault(of.dense, {})[end] = Tail(kind, of.start, of.stop, gate, 0.0)

    gated: set[Node] = set()
    for node in network.order:
        glu = _glu(node, ranges, readers, roots)
        if glu is not None:
            value, gate, sigmoid = glu
            gated |= {node, sigmoid}
            add(value, node, "glu", gate.start)
    for node in network.order:
        if node in gated or (node in ranges and node.op is not DENSE):
            continue
        for i in node.inputs:
            of = ranges.get(i)
            if of is None:
                continue
            if node.op.name in ("relu", "sigmoid"):
                add(of, node, node.op.name)
            else:
                add(of, i, "copy")
    for root in network.roots:
        if root in ranges:
            add(ranges[root], root, "copy")
    return found


def _glu(
    node: Node,
    ranges: Mapping[Node, _Range],
    readers: Mapping[Node, list[Node]],
    roots: set[Node],
) -> tuple[_Range, _Range, Node] | None:
    """The columns, those that gate them, and the sigmoid between, which nothing else needs."""
    if node.op.name != "mul" or len(node.inputs) != 2:
        return None
    for sigmoid, other in (node.inputs, node.inputs[::-1]):
        value = ranges.get(other)
        private = len(readers[sigmoid]) == 1 and sigmoid not in roots
        if sigmoid.op.name == "sigmoid" and private and value is not None:
            gate = ranges.get(sigmoid.inputs[0])
            if gate is not None and gate.dense is value.dense and sigmoid.type is other.type:
                return value, gate, sigmoid
    return None


def _with_dropouts(
    found: dict[Node, dict[Node, Tail]], readers: Mapping[Node, list[Node]], roots: set[Node]
) -> None:
    """Where nothing but a dropout reads an end, that is the end."""
    for segments in found.values():
        for end, tail in list(segments.items()):
            after = readers[end]
            if len(after) == 1 and after[0].op.name == "dropout" and end not in roots:
                del segments[end]
                segments[after[0]] = tail._replace(p=after[0]["p"])
