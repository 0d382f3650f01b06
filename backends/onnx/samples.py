"""Whether the samples of a batch are computed independently of one another."""

from __future__ import annotations

from ...ir.dims import Dim, Expr, Symbol, symbols_in
from ...ir.graph import Graph
from ...ir.node import Node


def sample_axis(graph: Graph) -> str:
    """The named size of axis 0 of every input and output, where each sample stands for itself.

    Then a batch may be split, computed in parts and put together again. Empty where it is not so,
    or where that cannot be told from the types. Precondition: composites are expanded.
    """
    ends = [*graph.inputs, *graph.roots]
    first: set[Dim] = {node.type.shape[0] if node.type.shape else 0 for node in ends}
    size = first.pop()
    if first or not isinstance(size, Expr) or size.terms != (((Symbol(size.text),), 1),):
        return ""
    return size.text if all(_keeps(node, size) for node in graph.order) else ""


def _keeps(node: Node, size: Expr) -> bool:
    """Whether samples are nowhere but along axis 0, and do not meet there."""
    shape = node.type.shape
    if any(size.text in symbols_in(other) for other in shape if other is not size):
        return False
    if any(other is size for other in shape[1:]):
        return False
    if any(_batched(i, size) for i in node.inputs) and not _batched(node, size):
        return False
    if node.op.name in ("softmax", "log_softmax"):
        return node["axis"] != 0
    if node.op.name in ("scale", "shift", "slice"):
        return not any(size.text in symbols_in(v) for v in node.attrs if isinstance(v, Expr))
    return True


def _batched(node: Node, size: Expr) -> bool:
    return bool(node.type.shape) and node.type.shape[0] is size
