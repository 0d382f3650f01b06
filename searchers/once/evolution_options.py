"""What can be set of an evolution under constraints."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from ...ir.graph import Graph
from ..options import expect_range, read_options
from .options import OnceOptions, epochs_within

_MOST = 100_000
"""More than any search takes: a slip in a task file shall not fill the memory."""


@dataclass(frozen=True)
class ConstrainedEvolutionOptions(OnceOptions):
    """Options of the evolution under constraints (NAS just once's supplement, Algorithm 2). It has
    no figures for them; the defaults are those of the release of AutoFormer (Chen et al. 2021),
    which it takes its evolution from. The constraints are the `require` of the space.

    population: how many networks are drawn at the beginning, and how many a generation has (N):
        `crossovers` and `mutations` together at most, random networks fill it up.
    parents: how many of the best are parents (K); all where there are not so many yet, as in the
        first generations where it is above `population`.
    crossovers: how many children of two parents a generation has.
    mutations: how many changed copies of one parent.
    generations: how many follow the first population; each is a step after the supernet's epochs.
    depth_probability: how probably a mutation changes a decision that says which others there are,
        such as a depth (P_d).
    layer_probability: how probably it changes the block of a layer (P_m).
    best_of: where the parents come from: "all" generations so far, as in the release, or the last
        "generation" alone, as Algorithm 2 is written.
    equal_depth: whether two parents are drawn again, up to 50 times, until both have the same
        layers, as in the release; otherwise a layer that one of them lacks is the other's.
    """

    population: int = 50
    parents: int = 10
    crossovers: int = 25
    mutations: int = 25
    generations: int = 20
    depth_probability: float = 0.4
    layer_probability: float = 0.2
    best_of: Literal["all", "generation"] = "all"
    equal_depth: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("population", "parents"):
            expect_range(self, name, least=1, most=_MOST)
        for name in ("crossovers", "mutations", "generations"):
            expect_range(self, name, least=0, most=_MOST)
        for name in ("depth_probability", "layer_probability"):
            expect_range(self, name, least=0, most=1)
        if self.crossovers + self.mutations > self.population:
            raise ValueError(
                f"`crossovers` ({self.crossovers}) and `mutations` ({self.mutations}) make "
                f"{self.crossovers + self.mutations} children, more than `population`, which is "
                f"{self.population}: lower both, or raise `population`"
            )


def within_budget(space: Graph, options: Mapping[str, Any], budget: int) -> dict[str, Any]:
    """The options with as many epochs as the budget leaves beside the population and generations.

    Raises FusegraphError: E802 as the searcher does, E812 where it leaves none.
    """
    chosen = read_options(ConstrainedEvolutionOptions, options, "constrained_evolution")
    return epochs_within("constrained_evolution", options, budget, 1 + chosen.generations)
