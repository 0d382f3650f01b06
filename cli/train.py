"""`fusegraph train`: train one genotype of a task to completion."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer

from .guard import Interrupted
from .options import AllowHook, AsJson, Quiet
from .output import print_json
from .search import tell_network


def train(
    what: Annotated[
        Path, typer.Argument(metavar="TASK|GENOTYPE", help="A task, or a genotype with --task.")
    ],
    task: Annotated[
        Path | None, typer.Option("--task", metavar="TASK", help="The task of the genotype.")
    ] = None,
    genotype: Annotated[
        Path | None,
        typer.Option("--genotype", metavar="FILE", help="Instead of the one that the task names."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="RUN", help="The run folder: runs/NAME-train.")
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with the run that is in the folder.")
    ] = False,
    allow_hook: AllowHook = False,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Train one genotype of a task to completion.

    It is trained as `[train]` says, measured on the test split and exported. The genotype is the
    task's own, or is given; one that was found at another width is carried over. Ctrl-C leaves a
    run that --resume continues.

    \b
    Example:
      fusegraph train task.toml --genotype genotype.fuse --out runs/trained

    \b
    With --json: what `results.json` in the run folder holds, and `run`, the folder. Among its keys
    are `genotype`, `metric`, `valid`, `test`, `parameters`, `macs` and `export`; of several data
    sets also `score`, the mean that was chosen by, and `joint`, the further ones.
    """
    from ..pipeline.train import train_task
    from ..tasks.task_file import load_task

    if what.suffix == ".fuse":
        if task is None:
            raise typer.BadParameter("a genotype is trained on a task", param_hint="'--task'")
        if genotype is not None:
            raise typer.BadParameter("the genotype is given twice", param_hint="'--genotype'")
        what, genotype = task, what
    elif task is not None:
        raise typer.BadParameter("the task is given twice", param_hint="'--task'")
    loaded = load_task(what)
    folder = out if out is not None else Path("runs") / f"{loaded.settings.task.name}-train"
    words = ["fusegraph", "train", str(what), "--resume", "--out", str(folder)]
    words += ["--genotype", str(genotype)] if genotype is not None else []
    words += ["--allow-hook"] if allow_hook else []
    from .progress import Watcher

    try:
        with Watcher(quiet=quiet) as watch:
            run, results = train_task(
                loaded,
                folder,
                genotype=genotype,
                resume=resume,
                allow_hooks=allow_hook,
                on_event=watch,
            )
    except KeyboardInterrupt:
        if not (folder / "run.json").is_file():
            raise
        raise Interrupted(f"interrupted; to go on: {shlex.join(words)}") from None
    if as_json:
        print_json({**results, "run": str(run.path)})
    else:
        tell_network(results, run.path)
