"""The searchers by the names that a task file calls them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from difflib import get_close_matches
from typing import Any

from ..ir.graph import Graph
from .errors import search_error
from .options import read_options
from .protocol import Searcher
from .random_search import RandomOptions, RandomSearch


def _random(space: Graph, options: Mapping[str, Any], seed: int) -> Searcher:
    return RandomSearch(space, read_options(RandomOptions, options, "random"), seed)


def _mfas(space: Graph, options: Mapping[str, Any], seed: int) -> Searcher:
    from .mfas.options import MfasOptions
    from .mfas.search import MfasSearch

    return MfasSearch(space, read_options(MfasOptions, options, "mfas"), seed)


SEARCHERS: Mapping[str, Callable[[Graph, Mapping[str, Any], int], Searcher]] = {
    "random": _random,
    "mfas": _mfas,
}


def make_searcher(
    name: str, space: Graph, options: Mapping[str, Any] | None = None, seed: int = 0
) -> Searcher:
    """The searcher of this name for a space.

    Raises FusegraphError: E801 for an unknown name, E802 for an option it does not have, E803 or
    E804 for a space that it cannot handle.
    """
    make = SEARCHERS.get(name)
    if make is None:
        near = get_close_matches(name, SEARCHERS, n=1)
        raise search_error(
            "E801",
            f"there is no searcher `{name}`",
            place=f"searcher {name}",
            notes=(f"searchers are {', '.join(SEARCHERS)}",),
            help=f"write `{near[0]}`" if near else "take one of these",
        )
    return make(space, options or {}, seed)
