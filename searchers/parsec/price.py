"""What a network costs, counted from its graph, and how far that is from the target."""

from __future__ import annotations

from typing import Any

from ...compiler.cost import Cost, own_cost
from ...ir.cells import expand
from ...ir.dims import symbols_in
from ...ir.graph import Graph
from ...ir.node import Node
from ...ir.ops import INPUT
from ...ir.settling import bind
from .options import Measure

_KEPT = 100_000
"""Nodes whose figures are remembered."""


class Price:
    """A measure of networks of one space, as `compiler.cost` counts it.

    Networks that are drawn one after the other share most of their nodes, so each node is counted
    once and remembered: `cost` of a whole network took longer than a step of its training.
    """

    def __init__(self, measure: Measure) -> None:
        self._measure = measure
        self._known: dict[Node, float] = {}

    def __call__(self, network: Graph) -> float:
        """The measure for one sample: named sizes, such as the batch's, count as 1."""
        if len(self._known) > _KEPT:
            self._known.clear()
        total, keys = 0.0, set[str]()
        for node in expand(network).order:
            if self._measure == "parameters":
                if node.op.weights is None or node.key in keys:
                    continue
                keys.add(node.key)
            total += self._own(node)
        return total

    def _own(self, node: Node) -> float:
        found = self._known.get(node)
        if found is None:
            cost = Cost(0, 0, 0) if node.op is INPUT else own_cost(node, set())
            value: Any = getattr(cost, self._measure)
            counted: Any = bind(value, dict.fromkeys(symbols_in(value), 1))
            found = self._known[node] = float(counted)
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
