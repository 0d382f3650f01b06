"""What a budget of trials means to MFAS: how many candidates each step draws."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ...ir.graph import Graph
from ..errors import budget_too_small
from ..options import read_options
from ..progression import progression_of
from .options import MfasOptions
from .schedule import plan


def within_budget(space: Graph, options: Mapping[str, Any], budget: int) -> dict[str, Any]:
    """The options with the largest K that keeps the search within the budget.

    The first level is trained whole (line 11 of Algorithm 1), and every later step trains K.

    Raises FusegraphError: E802-E804 as the searcher does, E812 where K = 1 is above the budget.
    """
    chosen = read_options(MfasOptions, {**options, "candidates": 1}, "mfas")
    progression = progression_of(space, "MFAS")
    first = len(progression.options(0))
    steps = len(plan(chosen.order, len(progression.levels), chosen.iterations)) - 1
    if first + steps > budget:
        raise budget_too_small("mfas", space, first + steps, budget)
    return {**options, "candidates": (budget - first) // steps if steps else 1}
