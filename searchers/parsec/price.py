"""What a network costs, counted from its graph, and how far that is from the target."""

from __future__ import annotations

from typing import Any

from ...compiler.cost import own_cost
from ...ir.cells import expand
from ...ir.dims import symbols_in
from ...ir.graph import Graph
from ...ir.node import Node
from ...ir.ops import INPUT, Op
from ...ir.settling import bind
from ...ir.types import Type
from .options import Measure

_Kernel = tuple[Op, tuple[Any, ...], tuple[Type, ...]]


class Price:
    """A measure of networks of one space, as `compiler.cost` counts it.

    What a node counts follows from its op, its attributes and the types that it reads, which are
    the same in most networks: each such kernel is counted once and remembered.
    """

    def __init__(self, measure: Measure) -> None:
        self._measure = measure
        self._known: dict[_Kernel, float] = {}

    def __call__(self, network: Graph) -> float:
        """The measure for one sample: named sizes, such as the batch's, count as 1."""
        total, keys = 0.0, set[str]()
        for node in expand(network).order:
            op = node.op
            if self._measure == "activation_bytes":
                total += 0.0 if op is INPUT else self._own(node)
            elif self._measure != "parameters":
                total += 0.0 if op.macs is None else self._own(node)
            elif op.weights is not None and node.key not in keys:
                keys.add(node.key)
                total += self._own(node)
        return total

    def _own(self, node: Node) -> float:
        kernel = (node.op, node.attrs, tuple([i.type for i in node.inputs]))
        found = self._known.get(kernel)
        if found is None:
            value: Any = getattr(own_cost(node, set()), self._measure)
            counted: Any = bind(value, dict.fromkeys(symbols_in(value), 1))
            found = self._known[kernel] = float(counted)
        return found


def excess(figure: float, target: tuple[float, ...]) -> float:
    """cost(A) = max(0, F / T_max - 1) + max(0, 1 - F / T_min), eq. 2; 0 without a target.

    The supplement prints F / (T_max - 1), which means nothing where F is in FLOPs. A T_min of 0
    bounds nothing.
    """
    if not target:
        return 0.0
    low, high = target
    below = max(0.0, 1 - figure / low) if low > 0 else 0.0
    return max(0.0, figure / high - 1) + below
