"""K networks as one program: the same outputs and gradients, each network with its own weights."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

from ...ir.graph import Graph, graph
from ...ir.node import Node, intern, topological
from ...ir.ops import INPUT, PRIMITIVES
from .building import Builder, Naming, stack_groups
from .grouping import grouped, ordered, users_of
from .merging import frozen, merge, tied
from .packing import Packing
from .splitting import split_linears
from .stacking import plain, stackable


@dataclass(frozen=True, slots=True)
class SideBySide:
    """`graph` has each output of the networks once, as a stack [K, ...] in their order.

    An output whose type is not the same in all networks, or that not all have, is there for each
    network apart, as `n[k].logits`. Sources of `packing` are named by `name_of(k, weight)`.
    """

    graph: Graph
    packing: Packing


def name_of(place: int, weight: str) -> str:
    """What a packing calls the weight of this name of the network at this place, from 0 on."""
    return f"{place}:{weight}"


def side_by_side(networks: Sequence[Graph], naming: Naming) -> SideBySide:
    """The networks as one graph over shared inputs, stacked wherever their nodes are alike.

    Linear layers over frozen inputs become banks (`splitting.py`), nodes of one form become stacks
    (`grouping.py`, `stacking.py`), and what has no partner is computed by itself.

    Precondition: settled graphs; inputs of one name have one type (ValueError where not), weights
    have known sizes (ValueError). `naming` is how the backend calls weights.
    Postcondition: outputs, and the gradients of all weights, are those of the networks one by one,
    up to rounding; no value of one network depends on another's. So are running statistics, save
    those of a batch norm that is used several times in one network: each use moves them on, and the
    order of the uses may be another one, under which the last has a greater part in them.
    """
    merged = merge(networks)
    order = topological([root for outputs in merged.roots for _, root in outputs])
    split = split_linears(order, frozen(order), tied(order))
    roots = [[(name, split.nodes[root]) for name, root in outputs] for outputs in merged.roots]
    order = topological([root for outputs in roots for _, root in outputs])
    still = frozen(order)
    alone = tied(order)

    def form_of(node: Node) -> Hashable:
        if node.key in alone or not stackable(node):
            return node
        types = [i.type for i in node.inputs]
        if node.op.commutative:
            types.sort(key=lambda type: type.text)
        return (node.op, node.attrs, tuple(types))

    banks = [[layer.node for layer in bank] for bank in split.banks]
    given = still.union(*banks)
    common = _common(roots)
    ends = [dict(outputs)[name] for name in common for outputs in roots]
    groups = ordered([*banks, *grouped(order, given, form_of)], ends)

    def source(key: str, weight: str) -> str:
        place, own = merged.origins[key.removeprefix("own.")]
        return name_of(place, naming(own, weight))

    builder = Builder(source, naming, split.columns)
    for node in order:
        if node in still:
            builder.keep(node)
    stack_groups(builder, groups, split.banks)
    outputs = [(name, plain(builder.several([dict(o)[name] for o in roots]))) for name in common]
    for place, each in enumerate(roots):
        outputs += [(f"n[{place}].{n}", builder.one(r)) for n, r in each if n not in common]
    fused = graph("side_by_side", merged.inputs, _with_sums_folded(outputs))
    return SideBySide(fused, Packing(builder.pieces))


def _common(roots: Sequence[Sequence[tuple[str, Node]]]) -> list[str]:
    """The outputs that all networks have, of one type."""
    each = [dict(outputs) for outputs in roots]
    return [
        name
        for name, root in roots[0]
        if all(name in o and o[name].type is root.type for o in each)
    ]


_SUM, _STACKED_LINEAR = PRIMITIVES["sum"], PRIMITIVES["stacked_linear"]


def _with_sums_folded(outputs: Sequence[tuple[str, Node]]) -> list[tuple[str, Node]]:
    """A sum of a stacked linear layer, which nothing else reads, and another stack is one op."""
    order = topological([node for _, node in outputs])
    users = users_of(order)
    ends = {node for _, node in outputs}
    done: dict[Node, Node] = {}
    for node in order:
        if node.op is INPUT:
            done[node] = node
            continue
        inputs = tuple([done[i] for i in node.inputs])
        done[node] = intern(node.op, inputs, node.attrs, node.key)
        if node.op is not _SUM or len(node.inputs) != 2:
            continue
        for layer, other in (node.inputs, node.inputs[::-1]):
            private = len(users[layer]) == 1 and layer not in ends
            if layer.op is _STACKED_LINEAR and len(layer.inputs) == 1 and private:
                if other.type is not layer.type or other is layer:
                    continue
                pair = (done[layer].inputs[0], done[other])
                done[node] = intern(layer.op, pair, layer.attrs, layer.key)
                break
    return [(name, done[node]) for name, node in outputs]
