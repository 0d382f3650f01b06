"""The command `fusegraph`: the table of commands, and the end of the process."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import typer

from .check import check
from .cost import cost
from .count import count
from .emit import emit
from .explain import explain
from .export import export
from .extract import extract
from .fmt import fmt
from .guard import OUR_FAULT, close_pipe, crash_line, guarded
from .output import print_error
from .report import report
from .run import run
from .sample import sample
from .search import search
from .show import show
from .train import train
from .version import version

COMMANDS: dict[str, dict[str, Callable[..., None]]] = {
    "Files": {
        "check": check,
        "fmt": fmt,
        "explain": explain,
    },
    "Spaces": {
        "count": count,
        "cost": cost,
        "show": show,
        "sample": sample,
        "emit": emit,
    },
    "Tasks": {
        "extract": extract,
        "search": search,
        "train": train,
        "export": export,
        "run": run,
        "report": report,
    },
    "About": {
        "version": version,
    },
}
"""Every command, by the heading that it stands under."""


def _made() -> typer.Typer:
    made = typer.Typer(
        name="fusegraph",
        help="Fusion architectures as typed graphs: write a space, search it, train, export.",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
        context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    )
    for commands in COMMANDS.values():
        for name, function in commands.items():
            made.command(name)(guarded(function))
    return made


app = _made()


def main() -> None:
    """Run the command that the arguments name, and end the process with its exit code."""
    for stream in (sys.stdout, sys.stderr):
        # A terminal that cannot say `×` gets an escape, and not a traceback.
        reconfigure: Any = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="backslashreplace")
    try:
        code = 0
        try:
            app(prog_name="fusegraph")
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else 1
        sys.stdout.flush()
    except BrokenPipeError:
        code = close_pipe()
    except KeyboardInterrupt:
        code = 130
    except Exception as error:
        print_error(crash_line(error))
        code = OUR_FAULT
    sys.exit(code)
