"""What every command shares: how errors, Ctrl-C, broken pipes and our own faults end it.

Exit codes: 0 fine, 1 the file is wrong, 2 the call is wrong, 70 fusegraph itself is wrong,
130 Ctrl-C, 141 the reader of a pipe went away.
"""

from __future__ import annotations

import os
import sys
import tempfile
import traceback
from collections.abc import Callable, Mapping
from functools import wraps
from typing import TYPE_CHECKING, Any, NoReturn, ParamSpec

import typer
from typer.exceptions import TyperException

from .output import print_error, print_json

if TYPE_CHECKING:
    from ..ir.diagnostics import Diagnostic, FusegraphError

P = ParamSpec("P")

WRONG_FILE = 1
WRONG_CALL = 2
OUR_FAULT = 70
INTERRUPTED = 130
PIPE_CLOSED = 141


CALLS_FAULT = {
    "E213": ("settings", "constant"),
    "E619": ("split", "split"),
    "E640": ("option", "option"),
    "E801": ("searcher", "searcher"),
    "E808": ("store", "database"),
    "E812": ("budget", "budget"),
}
"""Errors that an option of the call causes where it is given: code, option, word of the message."""


class Interrupted(KeyboardInterrupt):
    """Ctrl-C, with what a person can do to go on."""

    def __init__(self, resume: str) -> None:
        super().__init__(resume)
        self.resume = resume


def guarded(command: Callable[P, None]) -> Callable[P, None]:
    """The command, so that no traceback reaches the user."""

    @wraps(command)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            command(*args, **kwargs)
            sys.stdout.flush()
        except (typer.Exit, typer.Abort, TyperException):
            raise
        except KeyboardInterrupt as error:
            print_error("interrupted" if not isinstance(error, Interrupted) else error.resume)
            raise typer.Exit(INTERRUPTED) from None
        except BrokenPipeError:
            raise typer.Exit(close_pipe()) from None
        except Exception as error:
            _end(error, kwargs)

    return run


def _end(error: Exception, given: Mapping[str, Any]) -> NoReturn:
    from ..ir.diagnostics import FusegraphError

    if not isinstance(error, FusegraphError):
        print_error(crash_line(error))
        raise typer.Exit(OUR_FAULT) from None
    try:
        show_errors(error, as_json=bool(given.get("as_json")))
        sys.stdout.flush()
    except BrokenPipeError:
        raise typer.Exit(close_pipe()) from None
    raise typer.Exit(exit_code(error, given)) from None


def exit_code(error: FusegraphError, given: Mapping[str, Any]) -> int:
    """2 where all that is wrong comes from an option that is `given` in the call, 1 otherwise."""

    def of_the_call(found: Diagnostic) -> bool:
        option, word = CALLS_FAULT.get(found.code, ("", ""))
        return bool(given.get(option)) and word in found.message

    return WRONG_CALL if all(map(of_the_call, error.diagnostics)) else WRONG_FILE


def show_errors(error: FusegraphError, *, as_json: bool) -> None:
    """The diagnostics: for people to stderr, or `{"errors": [...]}` to stdout."""
    from ..ir.diagnostics import render

    if as_json:
        print_json({"errors": [diagnostic.as_json() for diagnostic in error.diagnostics]})
        return
    print_error(render(error.diagnostics).rstrip("\n"))


def crash_line(error: BaseException) -> str:
    """One line that names a file with the traceback, which is written now."""
    what = str(error).strip().splitlines()
    said = f"{type(error).__name__}: {what[0]}" if what else type(error).__name__
    try:
        handle, name = tempfile.mkstemp(prefix="fusegraph-error-", suffix=".txt")
        with os.fdopen(handle, "w", encoding="utf-8", errors="backslashreplace") as file:
            file.write(f"fusegraph {' '.join(sys.argv[1:])}\nPython {sys.version}\n\n")
            file.writelines(traceback.format_exception(error))
    except OSError:
        return f"fusegraph failed, which is its own fault ({said}); please report this line"
    return f"fusegraph failed, which is its own fault ({said}); please report it with {name}"


def close_pipe() -> int:
    """Keep Python from complaining at its end that nobody reads; the exit code."""
    try:
        nothing = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nothing, sys.stdout.fileno())
        os.close(nothing)
    except (OSError, ValueError):
        pass
    return PIPE_CLOSED
