"""`fusegraph check`: whether files are as they should be."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from .guard import exit_code, show_errors
from .options import AsJson, Settings, pairs
from .output import plural, print_json, rounded, say


def check(
    files: Annotated[
        list[Path], typer.Argument(metavar="FILE...", help="Spaces, genotypes (.fuse), tasks.")
    ],
    settings: Settings = None,
    as_json: AsJson = False,
) -> None:
    """Check spaces, networks, genotypes and tasks.

    Says what each holds. Of a task, its space, its genotype, its feature folder and its searcher
    are checked too; a hook is not run. All that is wrong is reported, with its place. Exit code 1
    where anything is.

    \b
    Example:
      fusegraph check space.fuse genotype.fuse task.toml

    \b
    With --json: `files`, each with `file`, `kind` (space, network, genotype or task), `name`,
    and `nodes`, `decisions`, `genotypes`, `exact`, `least`, `digest`; or `errors`.
    """
    from ..ir.diagnostics import Diagnostic, FusegraphError

    overrides = pairs(settings)
    fine: list[dict[str, Any]] = []
    wrong: list[Diagnostic] = []
    for file in files:
        try:
            fine.append(_checked(file, overrides))
        except FusegraphError as error:
            wrong += error.diagnostics
    if wrong:
        if not as_json:
            for found in fine:
                say(_line(found))
        errors = FusegraphError(wrong)
        show_errors(errors, as_json=as_json)
        raise typer.Exit(exit_code(errors, {"settings": settings}))
    if as_json:
        print_json({"files": fine})
        return
    for found in fine:
        say(_line(found))


def _checked(file: Path, overrides: dict[str, str]) -> dict[str, Any]:
    if file.suffix == ".toml":
        from ..pipeline.tasks import check_task

        program, kind = check_task(file), "task"
        graph = program.graph
    else:
        from ..pipeline.sources import expect_requirements, open_source

        source = open_source(file, overrides)
        expect_requirements(source)
        graph, kind = source.graph, source.kind
    from ..compiler.count import count
    from ..ir.diagnostics import Diagnostic, FusegraphError
    from ..ir.node import everything

    try:
        counted = count(graph)
        genotypes, exact, least = counted.genotypes, not counted.bound, counted.least
    except FusegraphError as error:
        if [d.code for d in error.diagnostics] != ["E504"]:
            raise
        genotypes, exact, least = None, False, 0
    if genotypes == 0 and exact:
        raise FusegraphError(
            Diagnostic(
                code="E503",
                message=f"no genotype of `{graph.name}` satisfies its `require`",
                place=str(file),
                notes=(
                    "every combination was tried",
                    "required is " + ", ".join(f"`{wanted.told}`" for wanted in graph.requires),
                ),
                help="widen the range to a value that can be reached, or open more decisions",
            )
        )
    return {
        "file": str(file),
        "kind": kind,
        "name": graph.name,
        "nodes": sum(1 for _ in everything(graph.roots)),
        "decisions": len(graph.decisions),
        "genotypes": genotypes,
        "exact": exact,
        "least": least if not exact else genotypes,
        "digest": graph.digest,
    }


def _line(found: dict[str, Any]) -> str:
    held = [plural(found["nodes"], "node")]
    if found["decisions"]:
        held.append(plural(found["decisions"], "decision"))
        if found["genotypes"] is None:
            held.append("too entangled to count the genotypes")
        else:
            most = rounded(found["genotypes"])
            if not found["exact"]:
                least = found["least"]
                most = f"between {rounded(least)} and {most}" if least else f"at most {most}"
            held.append(f"{most} genotype{'' if found['genotypes'] == 1 else 's'}")
    kind = "task over space" if found["kind"] == "task" else found["kind"]
    return f"ok {found['file']}: {kind} {found['name']}, {', '.join(held)}"
