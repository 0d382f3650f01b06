"""Prefix: what is computed of each sample without weights, once and for all.

Pooling of a backbone's maps is most of what a fusion network reads, and the same in each epoch. It
is split off, so that its results can be kept.
"""

from __future__ import annotations

from collections.abc import Sequence

from ...ir.dims import Static
from ...ir.graph import Graph, graph
from ...ir.node import Node, input_node
from ...ir.ops import INPUT
from ...ir.ops.products import product
from .stages import with_inputs

_ANY = frozenset(
    (
        *("relu", "sigmoid", "tanh", "leaky_relu", "gelu", "silu", "softplus", "exp", "log"),
        *("sqrt", "abs", "scale", "shift", "sum", "mul", "maximum", "sub", "div", "pad"),
        *("max_pool", "avg_pool", "adaptive_max_pool", "adaptive_avg_pool"),
    )
)
_ONE_AXIS = frozenset(("concat", "flatten", "slice", "softmax", "log_softmax"))
_AXES = frozenset(("mean", "amax", "total"))


def split_prefix(network: Graph) -> tuple[Graph, Graph]:
    """The prefix, from the inputs to named tensors, and the rest, which has these for inputs.

    Precondition: none; it may be a space whose composites are expanded. Postcondition: the rest of
    the prefix is the network; the prefix decides nothing, owns no weights, draws nothing, looks at
    each sample by itself (axis 0), and makes no tensor larger than what it is made of. An input
    that the rest reads as it is is a named tensor too. A tensor is called as the input that it is
    made of, with a number where several are.
    """
    inside: set[Node] = set()
    for node in network.order:
        alone = node.settled and node.inputs and inside.issuperset(node.inputs)
        if node.op is INPUT or (alone and _fits(node)):
            inside.add(node)
    read = [i for node in network.order if node not in inside for i in node.inputs if i in inside]
    read += [root for root in network.roots if root in inside]
    names: dict[Node, str] = {}
    taken: set[str] = set()
    for node in dict.fromkeys(read):
        name, count = _name(node), 1
        while name in taken:
            count += 1
            name = f"{_name(node)}.{count}"
        taken.add(name)
        names[node] = name
    outputs = [(name, node) for node, name in names.items()]
    prefix = graph(f"{network.name}_prefix", network.inputs, outputs)
    inputs = {node: input_node(name, node.type) for node, name in names.items()}

    done: dict[Node, Node] = {}
    for node in network.order:
        operands = tuple([done[i] for i in node.inputs])
        done[node] = inputs[node] if node in inputs else with_inputs(node, operands)
    ends = [(name, done[root]) for name, root in network.outputs]
    return prefix, graph(network.name, list(inputs.values()), ends)


def _name(node: Node) -> str:
    while node.op is not INPUT:
        node = node.inputs[0]
    return node["name"]


def _fits(node: Node) -> bool:
    """Whether the op looks at each sample by itself and makes nothing larger."""
    rank = node.type.rank
    first = node.inputs[0].type
    if rank < 1 or any(
        i.type.rank < 1 or i.type.shape[0] != node.type.shape[0] for i in node.inputs
    ):
        return False
    name = node.op.name
    apart = (
        name in _ANY
        or (name in _ONE_AXIS and node["axis"] >= 1)
        or (name in _AXES and 0 not in node["axis"])
        or (name == "transpose" and node["axes"][0] == 0)
        or (name == "matmul" and rank >= 3)
        or (name == "reshape" and first.rank >= 1)
    )
    return apart and _numel(node.type.shape[1:]) <= sum(
        [_numel(i.type.shape[1:]) for i in node.inputs]
    )


def _numel(sizes: Sequence[Static]) -> float:
    found = product(sizes)
    return float(found) if isinstance(found, int) else float("inf")
