"""Errors that a task file causes, shown at the key that causes them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from ..ir.diagnostics import Diagnostic, FusegraphError
from .task_file import Task, key_span


def at_key(
    error: FusegraphError, task: Task, key: str | Callable[[Diagnostic], str], *codes: str
) -> FusegraphError:
    """The error with the line of `key` in the task file as the place of its diagnostics.

    `key` is a dotted path, or a function that answers one. With `codes` the other diagnostics stay
    as they are, and so do those about a key that the caller set and not the file.
    """

    def placed(found: Diagnostic) -> Diagnostic:
        if codes and found.code not in codes:
            return found
        path = key if isinstance(key, str) else key(found)
        if path in task.changed:
            return found
        span = key_span(task.file, path)
        notes = (*found.notes, found.label) if found.label else found.notes
        place = "" if span is not None else str(task.file)
        return replace(found, span=span, place=place, label="", notes=notes)

    return FusegraphError([placed(found) for found in error.diagnostics])
