"""What can be set of a search over an elastic supernet, with the paper's values as defaults."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from ...ir.graph import Graph
from ..errors import search_error
from ..options import WrongValue, expect_range

_MOST_EPOCHS = 1_000_000
_MOST_NETWORKS = 10_000
"""More than any search takes: a slip in a task file shall not fill the memory."""


@dataclass(frozen=True)
class OnceOptions:
    """How the supernet is trained, whatever selects a network from it.

    epochs: of the supernet, before the selection begins; each has as many steps as the data sets
        that it trains have batches. `--budget` counts the steps of the selection as well.
    first: the output whose data set trains alone at first; empty: none. The paper's is the image
        data set.
    first_share: the share of the epochs in which it does.
    warmup: the share of the epochs in which the learning rate rises, linearly from 0; 20 of the
        paper's 500.
    drawn: which networks are drawn for a step: "any" of the space, as in the paper, whatever they
        cost, or "required": those alone that satisfy all of `require`. What `require` says of
        sizes always holds.
    batches: how many batches of each validation split score a network, the first ones; 0: all.
    """

    epochs: int = 500
    first: str = ""
    first_share: float = 1 / 3
    warmup: float = 0.04
    drawn: Literal["any", "required"] = "any"
    batches: int = 0

    def __post_init__(self) -> None:
        expect_range(self, "epochs", least=1, most=_MOST_EPOCHS)
        for name in ("first_share", "warmup"):
            expect_range(self, name, least=0, most=1)
        if self.batches < 0:
            raise WrongValue("batches", f"is at least 1, or 0 for all, not {self.batches}")


@dataclass(frozen=True)
class PerturbationOptions(OnceOptions):
    """Options of the selection by perturbation, with the values of NAS just once's supplement as
    defaults where it has them. `epochs` of `[search.train]` and `side_by_side` say nothing to it.
    Its optimiser is AdamW with weight decay 0.05 unless another one is set, its schedule one
    cosine.

    arch_learning_rate: gamma of Algorithm 1, by which the topology parameters move.
    networks: how many networks are drawn to estimate the supernet's validation score with one
        candidate gone.
    order: which decision is settled next: by lot, as in the selection by perturbation that the
        paper takes up, or in the order of the space.
    """

    arch_learning_rate: float = 0.1
    networks: int = 16
    order: Literal["random", "space"] = "random"

    def __post_init__(self) -> None:
        super().__post_init__()
        expect_range(self, "arch_learning_rate", above=0)
        expect_range(self, "networks", least=1, most=_MOST_NETWORKS)


def open_decisions(space: Graph) -> list[str]:
    """The keys of those that have more than one setting, in the order of the space."""
    return [key for key, decision in space.decisions.items() if decision.count() > 1]


def epochs_within(
    searcher: str, options: Mapping[str, Any], budget: int, steps: int
) -> dict[str, Any]:
    """The options with as many epochs as a budget leaves beside the steps of the selection.

    Raises FusegraphError E812 where it leaves none.
    """
    if budget > steps:
        return {**options, "epochs": budget - steps}
    raise search_error(
        "E812",
        f"the selection of `{searcher}` takes {steps} steps, and a budget of {budget} leaves no "
        "epoch to train the supernet",
        place=f"searcher {searcher}",
        help=f"give a budget of {steps + 1} or more",
    )


def within_budget(space: Graph, options: Mapping[str, Any], budget: int) -> dict[str, Any]:
    """`epochs_within` for the selection by perturbation, which takes a step for each decision."""
    return epochs_within("perturbation", options, budget, len(open_decisions(space)))
