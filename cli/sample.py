"""`fusegraph sample`: genotypes drawn at random, as files."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from .options import AsJson, FuseFile, Settings, pairs
from .output import print_json, say


def sample(
    file: FuseFile,
    number: Annotated[int, typer.Option("-n", "--number", min=1, help="How many.")] = 1,
    seed: Annotated[int, typer.Option("--seed", min=0, help="The same seed, the same files.")] = 0,
    settings: Settings = None,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="DIR", help="Write files there; else print.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Draw genotypes of a space at random.

    Each reached decision is drawn uniformly from its settings. The i-th genotype depends on the
    seed and on i alone. Without --out the files are printed, one after the other.

    \b
    Example:
      fusegraph sample space.fuse -n 5 --seed 0 --out drawn

    \b
    With --json: `genotypes`, each with `digest`, `text` and, with --out, `file`.
    """
    from ..compiler.explore import sample as draw
    from ..ir.dsl import format_genotype
    from ..pipeline.files import write_file
    from ..pipeline.sources import open_source
    from ..searchers.randomness import generator

    program = open_source(file, pairs(settings)).program
    space = Path(program.file)
    folder = out if out is not None else space.parent
    inside = Path(os.path.relpath(space, folder)).as_posix()
    found: list[dict[str, str]] = []
    for index in range(number):
        genotype = draw(program.graph, generator(seed, "sample", index))
        entry = {
            "digest": genotype.digest,
            "text": format_genotype(genotype, program, inside),
        }
        if out is not None:
            name = f"{program.graph.name}-{seed}-{index}.fuse"
            entry["file"] = str(write_file(out / name, entry["text"]))
        found.append(entry)
    if as_json:
        print_json({"genotypes": found})
        return
    say("\n".join([entry.get("file", entry["text"]) for entry in found]))
