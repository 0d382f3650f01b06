"""How this backend tells what is wrong."""

from __future__ import annotations

from ...ir.diagnostics import Diagnostic, FusegraphError


def problem(
    code: str, message: str, place: str = "", *notes: str, help: str = ""
) -> FusegraphError:
    """The error to raise: one diagnostic with its code, place, notes and what to do."""
    return FusegraphError(
        Diagnostic(code=code, message=message, place=place, notes=notes, help=help)
    )


def listed(names: list[str], most: int = 5) -> str:
    """The names in backticks, the first few of them where there are many."""
    shown = [f"`{name}`" for name in names[:most]]
    return ", ".join(shown) + (f" and {len(names) - most} more" if len(names) > most else "")
