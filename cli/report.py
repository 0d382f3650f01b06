"""`fusegraph report`: the page of a run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .options import AsJson
from .output import print_json, say


def report(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A run folder.")],
    store: Annotated[
        str | None,
        typer.Option("--store", metavar="URL", help="The database, where the trials are in one."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Write the page of a run: drawings, curves, figures.

    It is one HTML file that needs no network. A search writes it at its end; while a search goes
    on, this shows how far it is.

    \b
    Example:
      fusegraph report runs/first

    \b
    With --json: `file`, and `finished`, whether the run is done.
    """
    from ..pipeline.run_folder import open_run
    from ..pipeline.summary import write_run_report
    from ..searchers.store import TrialStore

    folder = open_run(run)
    trials = TrialStore.open(folder.path, url=store, read_only=True) if store else None
    file = write_run_report(folder, store=trials)
    if as_json:
        print_json({"file": str(file), "finished": folder.results.is_file()})
    else:
        say(f"wrote {file}")
