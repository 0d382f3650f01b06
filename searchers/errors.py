"""The errors of searchers and their store, E8xx, in one place so that their words agree."""

from __future__ import annotations

from ..ir.diagnostics import Diagnostic, FusegraphError
from ..ir.graph import Graph


def search_error(
    code: str, message: str, *, place: str = "", notes: tuple[str, ...] = (), help: str = ""
) -> FusegraphError:
    """An error of a search: `place` is the searcher, the space or the store that it is about."""
    return FusegraphError(
        Diagnostic(code=code, message=message, place=place, notes=notes, help=help)
    )


def budget_too_small(searcher: str, space: Graph, least: int, budget: int) -> FusegraphError:
    """E812: `least` trials are the fewest with which the searcher still is itself."""
    return search_error(
        "E812",
        f"`{searcher}` trains at least {least} networks in `{space.name}`, and the budget is "
        f"{budget}",
        place=f"searcher {searcher}",
        help=f"give a budget of {least} or more, or take the searcher `random`",
    )
