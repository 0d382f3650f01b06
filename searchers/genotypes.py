"""Genotypes as text for people: in the store, on the dashboard, in the report."""

from __future__ import annotations

from ..ir.genotype import Genotype
from ..ir.graph import Graph


def genotype_text(space: Graph, genotype: Genotype) -> str:
    """One decision a line, in the words of the space: `h[1].act = relu`."""
    return "\n".join(
        f"{key} = {space.decisions[key].format(setting)}" for key, setting in genotype.items
    )
