"""What can be set of an evolution, with AssembleNet's values as defaults."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from ...ir.graph import Graph
from ..errors import budget_too_small
from ..options import WrongValue, expect_range, read_options

_THRESHOLD = 0.5


@dataclass(frozen=True, slots=True)
class EvolutionOptions:
    """Options of evolution. The default is AssembleNet, guided by learned connections.

    population: how many random candidates the pool begins with, and keeps (20).
    tournament: how many of the pool are drawn for each child; the fittest is its parent (5).
    rounds: how many rounds follow the initial population (about 200).
    children: how many children a round has, of the same pool, so that they may be trained side by
        side; the paper has one.
    mutations: a child takes 0 up to so many further mutations (4): split, merge, change.
    connections: how the edges of levelled graphs evolve: "guided" keeps those that were learned to
        be strong (eq. 2), "random" replaces a third of them (section 4.3), "none" keeps all.
    bound: B, which a learned weight must exceed for its edge to be kept: "uniform" draws it for
        each edge from 0 to 1, "constant" is `threshold`.
    threshold: B where `bound = "constant"`.
    crossover: the probability that a child has a second parent, from a tournament of its own (the
        paper has none).
    inheritance: "none" trains every child from its own random start (paper), "parent" lets its
        layers start from those of its parent that they continue, where shapes agree.
    prune: edges whose learned weight is below this are taken out of what is trained to completion;
        0 keeps all. The paper prunes "low weights"; an edge begins at 0.5.
    """

    population: int = 20
    tournament: int = 5
    rounds: int = 200
    children: int = 1
    mutations: int = 4
    connections: Literal["guided", "random", "none"] = "guided"
    bound: Literal["uniform", "constant"] = "uniform"
    threshold: float = _THRESHOLD
    crossover: float = 0.0
    inheritance: Literal["none", "parent"] = "none"
    prune: float = 0.25

    def __post_init__(self) -> None:
        for name in ("population", "tournament", "children"):
            expect_range(self, name, least=1)
        if self.tournament > self.population:
            words = f"is at most `population`, which is {self.population}, not {self.tournament}"
            raise WrongValue("tournament", words)
        for name in ("rounds", "mutations"):
            expect_range(self, name, least=0)
        expect_range(self, "crossover", least=0, most=1)
        for name in ("threshold", "prune"):
            expect_range(self, name, least=0, below=1)
        if self.bound == "uniform" and self.threshold != _THRESHOLD:
            raise WrongValue(
                "threshold", 'is taken where `bound = "constant"` alone, and `bound` is "uniform"'
            )


def within_budget(space: Graph, options: Mapping[str, Any], budget: int) -> dict[str, Any]:
    """The options with as many rounds as the budget has room for after the initial population.

    Raises FusegraphError: E802 as the searcher does, E812 where there is room for none.
    """
    chosen = read_options(EvolutionOptions, options, "evolution")
    least = chosen.population + chosen.children
    if budget < least:
        raise budget_too_small("evolution", space, least, budget)
    return {**options, "rounds": (budget - chosen.population) // chosen.children}
