"""`fusegraph sample`: genotypes drawn at random, as files."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .options import AsJson, FuseFile, Settings, Sizes, pairs, whole_size
from .output import plural, print_error, print_json, say

if TYPE_CHECKING:
    from ..backends.latency import Latency, OnMeasured

_EVERY = 20
"""Networks that are run between two lines that say so."""


def sample(
    file: FuseFile,
    number: Annotated[int, typer.Option("-n", "--number", min=1, help="How many.")] = 1,
    seed: Annotated[int, typer.Option("--seed", min=0, help="The same seed, the same files.")] = 0,
    settings: Settings = None,
    size: Sizes = None,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="DIR", help="Write files there; else print.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Draw genotypes of a space at random.

    Each reached decision is drawn uniformly from its settings. The i-th genotype depends on the
    seed and on i alone; where the space requires a latency, on this machine, too: networks are run
    until one is fast enough. Without --out the files are printed, one after the other.

    \b
    Example:
      fusegraph sample space.fuse -n 5 --seed 0 --out drawn

    \b
    With --json: `genotypes`, each with `digest`, `text` and, with --out, `file`.
    """
    from ..backends.latency import LatencyMeter, Timing
    from ..compiler.explore import sample as draw
    from ..compiler.measures import lending
    from ..ir.dsl import format_genotype
    from ..pipeline.files import write_file
    from ..pipeline.sources import open_source
    from ..searchers.randomness import generator

    program = open_source(file, pairs(settings)).program
    space = Path(program.file)
    folder = out if out is not None else space.parent
    inside = Path(os.path.relpath(space, folder)).as_posix()
    found: list[dict[str, str]] = []
    sizes = {name: whole_size(name, text) for name, text in pairs(size, "--size").items()}
    meter = LatencyMeter(Timing(sizes=sizes), None, _told(quiet=as_json))
    for index in range(number):
        with lending(meter):
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


def _told(*, quiet: bool) -> OnMeasured:
    """Says on stderr, now and then, how many networks have been run."""
    run = 0

    def tell(_: str, found: Latency) -> None:
        nonlocal run
        run += 1
        if run % _EVERY == 0 and not quiet:
            print_error(f"{plural(run, 'network')} run, the last in {found.median:.3g} ms")

    return tell
