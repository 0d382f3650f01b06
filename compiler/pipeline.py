"""Pipelines: lists of passes, each a plain function from graph to graph."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from ..ir.decisions import Setting
from ..ir.genotype import Genotype
from ..ir.graph import Graph
from .simplify import simplify
from .specialise import specialise

Pass = Callable[[Graph], Graph]

NETWORK: tuple[Pass, ...] = (simplify,)
"""What every settled network goes through before it is costed, trained or exported."""


def run(passes: tuple[Pass, ...], graph: Graph) -> Graph:
    """The graph after the passes, one after the other."""
    for step in passes:
        graph = step(graph)
    return graph


def network(space: Graph, genotype: Genotype | Mapping[str, Setting] | None = None) -> Graph:
    """The network of a genotype (or of a space without decisions), ready for a backend.

    Raises KeyError where a decision that is reached has no setting.
    """
    settled = space if genotype is None else specialise(space, genotype)
    return run(NETWORK, settled)
