"""The searchers by the names that a task file calls them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, overload

from ..ir.graph import Graph
from ..ir.support.names import nearest
from .errors import search_error
from .options import read_options
from .protocol import GradientSearcher, Searcher
from .random_search import RandomOptions, RandomSearch
from .random_search import within_budget as random_within_budget


@dataclass(frozen=True, slots=True)
class Registered:
    """How a searcher is made, and what a budget of trials means to it.

    `within_budget` gives the options with which the searcher takes at most so many trials, and
    raises E812 where no options do. None: a budget says nothing to it, and is not looked at.
    `trial` is what a trial is to people. `mixes`: its epochs are of a supernet that mixes
    candidates, and not of networks that are drawn. `joint`: it may train several data sets at once,
    see `tasks.joint.joint_of`. `lends`: what it gives is `protocol.Inheriting`.
    """

    make: Callable[[Graph, Mapping[str, Any], int], Searcher | GradientSearcher]
    within_budget: Callable[[Graph, Mapping[str, Any], int], Mapping[str, Any]] | None = None
    trial: Literal["network", "epoch"] = "network"
    mixes: bool = False
    joint: bool = False
    lends: bool = False


def _mfas(space: Graph, options: Mapping[str, Any], seed: int) -> Searcher:
    from .mfas.options import MfasOptions
    from .mfas.search import MfasSearch

    return MfasSearch(space, read_options(MfasOptions, options, "mfas"), seed)


def _mfas_within_budget(space: Graph, options: Mapping[str, Any], budget: int) -> Mapping[str, Any]:
    from .mfas.budget import within_budget

    return within_budget(space, options, budget)


def _bm_nas(space: Graph, options: Mapping[str, Any], seed: int) -> GradientSearcher:
    from .bm_nas.options import BmNasOptions
    from .bm_nas.search import BmNasSearch

    return BmNasSearch(space, read_options(BmNasOptions, options, "bm_nas"), seed)


def _bm_nas_within_budget(
    space: Graph, options: Mapping[str, Any], budget: int
) -> Mapping[str, Any]:
    from .bm_nas.options import within_budget

    return within_budget(space, options, budget)


def _parsec(space: Graph, options: Mapping[str, Any], seed: int) -> GradientSearcher:
    from .parsec.options import ParsecOptions
    from .parsec.search import ParsecSearch

    return ParsecSearch(space, read_options(ParsecOptions, options, "parsec"), seed)


def _parsec_within_budget(
    space: Graph, options: Mapping[str, Any], budget: int
) -> Mapping[str, Any]:
    from .parsec.options import within_budget

    return within_budget(space, options, budget)


def _perturbation(space: Graph, options: Mapping[str, Any], seed: int) -> GradientSearcher:
    from .once.options import PerturbationOptions
    from .once.search import PerturbationSearch

    return PerturbationSearch(
        space, read_options(PerturbationOptions, options, "perturbation"), seed
    )


def _perturbation_within_budget(
    space: Graph, options: Mapping[str, Any], budget: int
) -> Mapping[str, Any]:
    from .once.options import within_budget

    return within_budget(space, options, budget)


def _constrained_evolution(space: Graph, options: Mapping[str, Any], seed: int) -> GradientSearcher:
    from .once.constrained import ConstrainedEvolutionSearch
    from .once.evolution_options import ConstrainedEvolutionOptions

    chosen = read_options(ConstrainedEvolutionOptions, options, "constrained_evolution")
    return ConstrainedEvolutionSearch(space, chosen, seed)


def _constrained_evolution_within_budget(
    space: Graph, options: Mapping[str, Any], budget: int
) -> Mapping[str, Any]:
    from .once.evolution_options import within_budget

    return within_budget(space, options, budget)


def _evolution(space: Graph, options: Mapping[str, Any], seed: int) -> Searcher:
    from .evolution.options import EvolutionOptions
    from .evolution.search import EvolutionSearch

    return EvolutionSearch(space, read_options(EvolutionOptions, options, "evolution"), seed)


def _evolution_within_budget(
    space: Graph, options: Mapping[str, Any], budget: int
) -> Mapping[str, Any]:
    from .evolution.options import within_budget

    return within_budget(space, options, budget)


def _random(space: Graph, options: Mapping[str, Any], seed: int) -> Searcher:
    return RandomSearch(space, read_options(RandomOptions, options, "random"), seed)


SEARCHERS: Mapping[str, Registered] = {
    "random": Registered(_random, random_within_budget),
    "mfas": Registered(_mfas, _mfas_within_budget),
    "evolution": Registered(_evolution, _evolution_within_budget),
    "bm_nas": Registered(_bm_nas, _bm_nas_within_budget, "epoch", mixes=True),
    "parsec": Registered(_parsec, _parsec_within_budget, "epoch", lends=True),
    "perturbation": Registered(
        _perturbation, _perturbation_within_budget, "epoch", joint=True, lends=True
    ),
    "constrained_evolution": Registered(
        _constrained_evolution,
        _constrained_evolution_within_budget,
        "epoch",
        joint=True,
        lends=True,
    ),
}


def trial_of(name: str) -> str:
    """What a trial of the searcher is to people: a network, or an epoch over a supernet."""
    return SEARCHERS[name].trial


def mixes(name: str) -> bool:
    """Whether the searcher's epochs are of a supernet that mixes its candidates."""
    return SEARCHERS[name].mixes


@overload
def make_searcher(
    name: Literal["random", "mfas", "evolution"],
    space: Graph,
    options: Mapping[str, Any] | None = None,
    seed: int = 0,
    *,
    budget: int | None = None,
) -> Searcher: ...


@overload
def make_searcher(
    name: Literal["bm_nas", "parsec", "perturbation", "constrained_evolution"],
    space: Graph,
    options: Mapping[str, Any] | None = None,
    seed: int = 0,
    *,
    budget: int | None = None,
) -> GradientSearcher: ...


@overload
def make_searcher(
    name: str,
    space: Graph,
    options: Mapping[str, Any] | None = None,
    seed: int = 0,
    *,
    budget: int | None = None,
) -> Searcher | GradientSearcher: ...


def make_searcher(
    name: str,
    space: Graph,
    options: Mapping[str, Any] | None = None,
    seed: int = 0,
    *,
    budget: int | None = None,
) -> Searcher | GradientSearcher:
    """The searcher of this name for a space, with its options made to fit a budget of trials.

    A budget of trials are epochs for a gradient-based searcher. Raises FusegraphError: E801 for an
    unknown name, E802 for an option it does not have, E803, E804, E813, E814, E505-E507 for a
    space that it cannot handle, E812 for a budget that is too small for it.
    """
    found = SEARCHERS.get(name)
    if found is None:
        near = nearest(name, SEARCHERS)
        raise search_error(
            "E801",
            f"there is no searcher `{name}`",
            place=f"searcher {name}",
            notes=(f"searchers are {', '.join(SEARCHERS)}",),
            help=f"write `{near}`" if near else "take one of these",
        )
    chosen = options or {}
    if budget is not None and found.within_budget is not None:
        chosen = found.within_budget(space, chosen, budget)
    return found.make(space, chosen, seed)
