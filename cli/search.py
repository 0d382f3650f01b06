"""`fusegraph search`: find, train, measure and export a network of a task's space."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .guard import Interrupted
from .options import AllowHook, AsJson, Quiet, TaskFile
from .output import grouped, plural, print_error, print_json, say

if TYPE_CHECKING:
    from ..tasks.task_file import Task

COSTS = {
    "parameters": "parameters",
    "macs": "multiply-adds",
    "activation_bytes": "bytes of activations",
}
"""What a trained network costs, by the keys of `results.json`, in the words for people."""


def search(
    task: TaskFile,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="RUN", help="The run folder: runs/NAME.")
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with the run that is in the folder.")
    ] = False,
    searcher: Annotated[
        str | None,
        typer.Option(
            "--searcher",
            help="Instead of the task's: mfas, random, evolution, bm_nas, parsec, perturbation, "
            "constrained_evolution.",
        ),
    ] = None,
    budget: Annotated[
        int | None, typer.Option("--budget", min=1, help="So many networks at most, or epochs.")
    ] = None,
    seed: Annotated[
        int | None, typer.Option("--seed", min=0, max=2**31 - 1, help="Instead of the task's.")
    ] = None,
    store: Annotated[
        str | None,
        typer.Option("--store", metavar="URL", help="Keep the trials in this database."),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check all, say what would be done, write nothing.")
    ] = False,
    allow_hook: AllowHook = False,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Find, train, measure and export a task's best network.

    The space is searched, the best five are trained to completion, and the best of them is measured
    on the test split and exported. All of it goes into a run folder. Ctrl-C, or a crash, leaves a
    run that --resume continues to the same result.

    \b
    Example:
      fusegraph search task.toml --out runs/first

    \b
    With --json: what `results.json` in the run folder holds, and `run`, the folder. Among its keys
    are `trials`, `failed`, `genotype`, `metric`, `valid`, `test`, `parameters`, `macs`,
    `activation_bytes`, `latency` where it was measured, `price`, `target`, `finals` and `export`;
    of several data sets also `score`, the mean that was chosen by, and `joint`, the further ones.
    With --dry-run: `space`, `genotypes`, `searcher`, `trials`, `samples`, `run`.
    """
    from ..pipeline.price import missed_target
    from ..pipeline.search import search_task, with_search
    from ..searchers.registry import trial_of
    from ..tasks.task_file import load_task

    changed = with_search(load_task(task), searcher=searcher, budget=budget, seed=seed)
    folder = out if out is not None else Path("runs") / changed.settings.task.name
    if dry_run:
        _plan(changed, folder, allow_hook, as_json)
        return
    given = {"--searcher": searcher, "--budget": budget, "--seed": seed, "--store": store}
    words = ["fusegraph", "search", str(task)]
    words += [word for k, v in given.items() if v is not None for word in (k, str(v))]
    words += ["--allow-hook"] if allow_hook else []
    again = shlex.join([*words, "--resume", "--out", str(folder)])
    if resume and not (folder / "run.json").is_file():
        print_error(f"there is no run in {folder} yet: it begins now")
    from .progress import Watcher

    try:
        with Watcher(quiet=quiet) as watch:
            found = search_task(
                changed,
                folder,
                resume=resume,
                allow_hooks=allow_hook,
                store_url=store,
                on_event=watch,
            )
    except KeyboardInterrupt:
        if not (folder / "run.json").is_file():
            raise
        raise Interrupted(f"interrupted; to go on: {again}") from None
    if as_json:
        print_json({**found.results, "run": str(found.folder.path)})
        return
    results = found.results
    tried = plural(results["trials"], trial_of(results["searcher"]))
    say(f"{tried} tried, {results['failed']} failed")
    tell_network(results, found.folder.path)
    if missed := missed_target(results):
        say(missed)


def tell_network(results: Any, folder: Path) -> None:
    """The trained network in a few lines."""
    metric = results["metric"]
    for output, told in (("", results), *results.get("joint", {}).items()):
        said = [f"{metric} {told['valid']:.4f} on the validation split"]
        if told["test"]:
            shown = metric if metric in told["test"] else "accuracy"
            said.append(f"{shown} {told['test'][shown]:.4f} on the test split")
        say((f"{output}: " if output else "") + ", ".join(said))
    costs = [f"{grouped(results[name])} {what}" for name, what in COSTS.items()]
    if "latency" in results:
        costs.append(f"{results['latency']:.3g} ms")
    say(", ".join(costs))
    say(f"genotype    {folder / 'genotypes' / 'best.fuse'}")
    say(f"checkpoint  {folder / 'checkpoints' / 'best.safetensors'}")
    if results["export"] is not None:
        export = results["export"]
        say(f"model       {folder / export['path']} (differs by {export['difference']:.1e})")
    if (folder / "report.html").is_file():
        say(f"report      {folder / 'report.html'}")


def _plan(task: Task, folder: Path, allow_hook: bool, as_json: bool) -> None:
    from ..compiler.count import count
    from ..pipeline.searcher import searcher_of
    from ..pipeline.tasks import folder_of, prepare
    from ..searchers.registry import trial_of

    prepared = prepare(task, allow_hooks=allow_hook)
    planned = searcher_of(task, prepared.searched, prepared.trained).planned
    space = prepared.searched.graph
    counted = count(space)
    samples = {} if prepared.features is None else dict(prepared.features.manifest.splits)
    folders = {output: folder_of(data) for output, data in prepared.others.items()}
    joint = {output: dict(f.manifest.splits) for output, f in folders.items() if f is not None}
    name = task.settings.search.searcher
    if as_json:
        print_json(
            {
                "space": space.name,
                "genotypes": counted.genotypes,
                "searcher": name,
                "trials": planned,
                "samples": samples,
                **({"joint": joint} if joint else {}),
                "run": str(folder),
            }
        )
        return
    say(f"space     {space.name}, {grouped(counted.genotypes)} genotypes")
    say(f"searcher  {name}, at most {plural(planned, trial_of(name))}")
    if samples:
        say("samples   " + ", ".join(f"{split} {number}" for split, number in samples.items()))
    for output, splits in joint.items():
        say(f"{output}: " + ", ".join(f"{split} {number}" for split, number in splits.items()))
    say(f"run       {folder}, nothing was written")
