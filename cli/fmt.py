"""`fusegraph fmt`: `.fuse` files in the one layout."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from .guard import WRONG_FILE
from .options import AsJson
from .output import plural, print_error, print_json, say


def fmt(
    files: Annotated[
        list[Path],
        typer.Argument(metavar="FILE...", help="Files; - is stdin, to stdout."),
    ],
    check: Annotated[
        bool, typer.Option("--check", help="Change nothing; exit code 1 where something would.")
    ] = False,
    stdout: Annotated[bool, typer.Option("--stdout", help="Print, and change no file.")] = False,
    as_json: AsJson = False,
) -> None:
    """Bring files into the one layout. Comments are kept.

    \b
    Example:
      fusegraph fmt space.fuse

    \b
    With --json: `changed` and `unchanged`, the files that were (or with --check would be) written
    anew, and the others.
    """
    from ..ir.dsl.format import format_text
    from ..ir.dsl.library import read_source
    from ..pipeline.files import write_file
    from ..pipeline.sources import expect_fuse

    if stdout and (check or as_json):
        raise typer.BadParameter("goes with neither --check nor --json", param_hint="'--stdout'")
    # All are read before the first is written: a file that does not parse leaves all as they are.
    texts = [
        (file, sys.stdin.read() if str(file) == "-" else read_source(expect_fuse(file)))
        for file in files
    ]
    formatted = [(file, text, format_text(text, str(file))) for file, text in texts]
    changed: list[str] = []
    for file, old, new in formatted:
        if stdout or str(file) == "-":
            sys.stdout.write(new)
        elif old != new:
            changed.append(str(file))
            if not check:
                write_file(file, new)
    if as_json:
        rest = [str(file) for file in files if str(file) not in changed]
        print_json({"changed": changed, "unchanged": rest})
    else:
        for file in changed:
            say(f"would change {file}" if check else f"formatted {file}")
    if check and changed:
        if not as_json:
            print_error(f"{plural(len(changed), 'file')} not in the one layout: `fusegraph fmt`")
        raise typer.Exit(WRONG_FILE)
