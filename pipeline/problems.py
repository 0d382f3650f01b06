"""The errors of running a task, in one place so that their words agree."""

from __future__ import annotations

from ..ir.diagnostics import Diagnostic, FusegraphError


def problem(
    code: str, message: str, place: object = "", *, notes: tuple[str, ...] = (), help: str = ""
) -> FusegraphError:
    """An error about a file or a run folder, named by `place`."""
    return FusegraphError(
        Diagnostic(code=code, message=message, place=str(place), notes=notes, help=help)
    )
