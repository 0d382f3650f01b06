"""Simplify: what computes nothing is taken out, from the inputs to the outputs in one sweep.

Precondition: none. Postcondition: no node of the table below is left; the function is the same,
weights that no output depends on are gone. Common subexpressions need no pass: interned nodes of
equal structure are one node.

Cases, cited in the code:
Z1  An op that maps zeros to zeros gives zeros: activations through the origin, shape changes,
    pooling, reductions, products with zeros, a linear map or convolution without a bias.
Z2  Zeros add nothing: they leave a sum whose type does not need them for broadcasting, and a mix.
I1  An op that gives its only input back: a sum or concat of one, scaling by 1, shifting by 0,
    a reshape, slice, pad, expand or transpose that changes nothing, dropout with p = 0.
T1  Two transposes are one.
C1  An unreached operand of a composite is gone with its input (done when the composite is built).
"""

from __future__ import annotations

from typing import Any

from ..ir.graph import Graph, graph
from ..ir.node import Node, build, cell, intern, topological
from ..ir.ops import CELL, CHOICE, FORMAL, INPUT, LEVELS, MAYBE, PRIMITIVES

_ZERO_TO_ZERO = frozenset(
    (
        *("relu", "leaky_relu", "tanh", "gelu", "silu", "abs", "sqrt", "scale"),
        *("dropout", "drop_path"),
        *("reshape", "flatten", "transpose", "slice", "pad", "expand"),
        *("max_pool", "avg_pool", "adaptive_max_pool", "adaptive_avg_pool"),
        *("mean", "amax", "total"),
    )
)
_ANY_ZERO = frozenset(("mul", "matmul"))
_ALL_ZERO = frozenset(("sum", "sub", "maximum", "concat"))
_ZEROS = PRIMITIVES["zeros"]


def simplify(space: Graph) -> Graph:
    """The same function with less to do: the cases of this file's head, applied once, bottom up."""
    done = _simplified(list(space.roots))
    outputs = [(name, done[node]) for name, node in space.outputs]
    return graph(space.name, space.inputs, outputs, space.requires)


def _simplified(roots: list[Node]) -> dict[Node, Node]:
    done: dict[Node, Node] = {}
    for node in topological(roots):
        inputs = tuple([done[i] for i in node.inputs])
        if node.op is CELL:
            done[node] = _cell(node, inputs)
        elif node.op in (INPUT, FORMAL, CHOICE, MAYBE, LEVELS):
            done[node] = node if inputs == node.inputs else intern(node.op, inputs, node.attrs, "")
        else:
            same = inputs == node.inputs
            now = node if same else intern(node.op, inputs, node.attrs, node.key)
            done[node] = _rewritten(now)
    return done


def _cell(node: Node, inputs: tuple[Node, ...]) -> Node:
    """A composite with a simpler body; one that gives zeros or an operand back is dissolved."""
    body = _simplified([node["body"]])[node["body"]]
    formals: tuple[Node, ...] = node["formals"]
    if body.op is FORMAL:
        return inputs[formals.index(body)]
    if body.op is _ZEROS:
        return body
    return cell(node["name"], formals, body, inputs, node["bound"], node.key)


def _is_zero(node: Node) -> bool:
    return node.op is _ZEROS


def _zeros_like(node: Node) -> Node:
    return build(_ZEROS, [], {"shape": node.type.shape})


def _rewritten(node: Node) -> Node:
    name = node.op.name
    zeros = [_is_zero(i) for i in node.inputs]
    if any(zeros) and node.type.dtype == "f32":
        if name in _ZERO_TO_ZERO or name in _ANY_ZERO or (name in _ALL_ZERO and all(zeros)):
            return _zeros_like(node)  # Z1
        if name in ("linear", "conv") and not node["bias"]:
            return _zeros_like(node)  # Z1
        if name == "sum":
            rest = [i for i, zero in zip(node.inputs, zeros, strict=True) if not zero]
            smaller = build(node.op, rest)
            if smaller.type is node.type:
                return _rewritten(smaller)  # Z2
        if name == "mix":
            return _mix_without_zeros(node)  # Z2
        if name == "sub" and zeros[1] and node.inputs[0].type is node.type:
            return node.inputs[0]  # Z2
    if name == "transpose" and node.inputs[0].op is node.op:
        return _rewritten(_one_transpose(node))  # T1
    return node.inputs[0] if _gives_back(node) else node  # I1


def _mix_without_zeros(node: Node) -> Node:
    """A mix of what is not zero, each with its own gate."""
    gates, *tensors = node.inputs
    rest = [(i, x) for i, x in zip(node["index"], tensors, strict=True) if not _is_zero(x)]
    if not rest:
        return _zeros_like(node)
    index = tuple([i for i, _ in rest])
    return build(node.op, [gates, *[x for _, x in rest]], {"index": index})


def _one_transpose(node: Node) -> Node:
    first: tuple[int, ...] = node.inputs[0]["axes"]
    second: tuple[int, ...] = node["axes"]
    axes = tuple([first[axis] for axis in second])
    return build(node.op, node.inputs[0].inputs, {"axes": axes})


def _gives_back(node: Node) -> bool:
    """I1: whether the node is its only input under another name."""
    if len(node.inputs) != 1 or node.inputs[0].type is not node.type:
        return False
    attrs: dict[str, Any] = node.attributes
    match node.op.name:
        case "sum" | "mul" | "maximum" | "concat" | "reshape" | "flatten" | "expand" | "pad":
            return True
        case "scale":
            return attrs["by"] == 1.0
        case "shift":
            return attrs["by"] == 0.0
        case "dropout" | "drop_path":
            return attrs["p"] == 0.0
        case "transpose":
            return attrs["axes"] == tuple(range(node.type.rank))
        case "slice":
            return attrs["step"] == 1
        case _:
            return False
