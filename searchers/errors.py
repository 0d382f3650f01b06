"""The errors of searchers and their store, E8xx, in one place so that their words agree."""

from __future__ import annotations

from ..ir.diagnostics import Diagnostic, FusegraphError


def search_error(
    code: str, message: str, *, place: str = "", notes: tuple[str, ...] = (), help: str = ""
) -> FusegraphError:
    """An error of a search: `place` is the searcher, the space or the store that it is about."""
    return FusegraphError(
        Diagnostic(code=code, message=message, place=place, notes=notes, help=help)
    )
