"""Linear layers over a concat, as the sum of what each part gives.

    linear(concat(a, b, h)) = bank layer over (a, b) + linear(h)

where a and b are shared (frozen features, which many layers read) and h is the layer's own. The
halves over shared inputs of *all* layers, however deep, are then one product for each input.
"""

from __future__ import annotations

from collections.abc import Sequence, Set
from dataclasses import dataclass, field
from typing import Any

from ...ir.node import Node, intern
from ...ir.ops import PRIMITIVES
from .packing import Span

_LINEAR, _CONCAT, _SUM = (PRIMITIVES[name] for name in ("linear", "concat", "sum"))


@dataclass(frozen=True, slots=True)
class Part:
    """Where a part of a weight lies in its source: columns `take` of it become `at` of it."""

    key: str
    take: Span
    at: Span


@dataclass(frozen=True, slots=True)
class BankLayer:
    """A linear layer over shared inputs: what it reads, with the columns of its weight."""

    node: Node
    reads: tuple[tuple[Node, Span], ...]
    source: str
    """The key of the layer that it is a part of, or its own."""


@dataclass(slots=True)
class Split:
    """`nodes` maps each old node to the new one. `banks` are groups of layers, two or more each.

    `columns` says of a linear layer by its new key which columns of which old weight it has; a
    layer that is not listed kept its own.
    """

    nodes: dict[Node, Node] = field(default_factory=dict[Node, Node])
    banks: list[list[BankLayer]] = field(default_factory=list[list[BankLayer]])
    columns: dict[str, tuple[Part, ...]] = field(default_factory=dict[str, tuple[Part, ...]])


def split_linears(order: Sequence[Node], shared: Set[Node], tied: Set[str]) -> Split:
    """Part the linear layers that read `shared` nodes, where two or more fit into one bank.

    Precondition: `order` has inputs before users; `shared` nodes depend on nothing that is not;
    no key starts with `own.` or `shared.`, as those of the parts do.
    Postcondition: the same function; layers of the keys `tied` are left alone.
    """
    wanted: dict[tuple[Any, ...], list[Node]] = {}
    for node in order:
        if node.op is _LINEAR and node.key not in tied:
            reads = [part for part, _ in _parts(node) if part in shared]
            if reads:
                wanted.setdefault(_form(node, len(reads)), []).append(node)
    chosen = {node for nodes in wanted.values() if len(nodes) > 1 for node in nodes}
    found = Split()
    banks: dict[tuple[Any, ...], list[BankLayer]] = {}
    for node in order:
        inputs = tuple([found.nodes[i] for i in node.inputs])
        if node not in chosen:
            same = inputs == node.inputs
            found.nodes[node] = node if same else intern(node.op, inputs, node.attrs, node.key)
            continue
        parts = _parts(node)
        reads = tuple([(part, span) for part, span in parts if part in shared])
        own = [(found.nodes[part], span) for part, span in parts if part not in shared]
        if not own:
            layer = BankLayer(node, reads, node.key)
            found.nodes[node] = node
        else:
            layer = BankLayer(
                _over(node, [part for part, _ in reads], "shared", node["bias"]), reads, node.key
            )
            rest = _over(node, [part for part, _ in own], "own", False)
            found.columns[rest.key] = _columns(node.key, [span for _, span in own])
            found.nodes[node] = intern(_SUM, (layer.node, rest), (), "")
        banks.setdefault(_form(node, len(reads)), []).append(layer)
    found.banks = list(banks.values())
    return found


def _form(node: Node, reads: int) -> tuple[Any, ...]:
    """Layers of one form can stand in one bank."""
    axis: int = node["axis"]
    around = [size for at, size in enumerate(node.type.shape) if at != axis]
    return (node["out"], node["bias"], axis, reads, node.type.dtype, tuple(around))


def _parts(node: Node) -> list[tuple[Node, Span]]:
    """What a linear layer reads, concats along its axis taken apart, with the columns of each."""
    axis: int = node["axis"]
    pending, found, start = [node.inputs[0]], list[tuple[Node, Span]](), 0
    while pending:
        part = pending.pop()
        if part.op is _CONCAT and part["axis"] == axis:
            pending += reversed(part.inputs)
            continue
        width = part.type.shape[axis]
        if not isinstance(width, int):
            return [(node.inputs[0], (0, 0))]
        found.append((part, (start, start + width)))
        start += width
    return found


def _over(node: Node, parts: Sequence[Node], prefix: str, bias: bool) -> Node:
    """The layer over some of the parts. Attributes are in their one form already: no checks."""
    x = parts[0] if len(parts) == 1 else intern(_CONCAT, tuple(parts), (node["axis"],), "")
    attrs = tuple([bias if name == "bias" else node[name] for name in _LINEAR.names])
    return intern(_LINEAR, (x,), attrs, f"{prefix}.{node.key}")


def _columns(key: str, spans: Sequence[Span]) -> tuple[Part, ...]:
    found: list[Part] = []
    start = 0
    for span in spans:
        stop = start + span[1] - span[0]
        found.append(Part(key, span, (start, stop)))
        start = stop
    return tuple(found)
