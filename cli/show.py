"""`fusegraph show`: a space or a network as a picture."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .options import AsJson, FuseFile, Settings, pairs
from .output import print_json, say

if TYPE_CHECKING:
    from ..ir.decisions import Setting
    from ..ir.graph import Graph
    from ..pipeline.sources import Source

FORMATS = (".svg", ".png", ".mmd", ".dot")


def show(
    file: FuseFile,
    out: Annotated[
        Path | None,
        typer.Option("-o", "--out", metavar="PICTURE", help="An .svg, .png, .mmd or .dot file."),
    ] = None,
    genotype: Annotated[
        Path | None,
        typer.Option("--genotype", metavar="FILE", help="Mark in the space what it takes."),
    ] = None,
    expand: Annotated[bool, typer.Option("--expand", help="Show composites opened.")] = False,
    settings: Settings = None,
    as_json: AsJson = False,
) -> None:
    """Draw a space or a network.

    Cells are boxes, and open decisions are visibly open. A genotype file is drawn as its network;
    with --genotype the whole space is drawn, and what the genotype takes stands out. A space of
    `levels` has a box for each level, and --expand opens none of them; its genotype is drawn as its
    nodes, level by level, with --genotype too; --expand shows all ops of a genotype file. Without
    --out, Mermaid text is printed.

    \b
    Example:
      fusegraph show space.fuse -o space.svg

    \b
    With --json: `file` (the picture), `format`, `nodes`, `decisions`; without --out `text`.
    """
    from ..pipeline.files import write_file
    from ..pipeline.sources import open_source

    suffix = out.suffix.lower() if out is not None else ".mmd"
    if suffix not in FORMATS:
        raise typer.BadParameter(
            f"a picture ends in {', '.join(FORMATS)}, not {out}", param_hint="'--out'"
        )
    source = open_source(file, pairs(settings))
    graph, taken = _shown(source, expand)
    if genotype is not None:
        graph, taken = source.program.graph, _taken(genotype, source, pairs(settings))
    picture = _drawn(graph, suffix, expand, taken)
    counted = source.graph if genotype is None else graph
    about = {
        "format": suffix[1:],
        "nodes": len(counted.order),
        "decisions": len(counted.decisions),
    }
    if out is None:
        if as_json:
            print_json({**about, "text": str(picture)})
        else:
            say(str(picture).rstrip("\n"))
        return
    write_file(out, picture)
    if as_json:
        print_json({"file": str(out), **about})
    else:
        say(f"wrote {out}")


def _shown(source: Source, expand: bool) -> tuple[Graph, Mapping[str, Setting]]:
    """A network of levels is drawn by its levels, unless its composites are to be opened."""
    from ..report.levelled import levels_of

    if source.genotype is None or expand or levels_of(source.program.graph) is None:
        return source.graph, {}
    return source.program.graph, source.genotype.settings


def _taken(genotype: Path, space: Source, overrides: dict[str, str]) -> Mapping[str, Setting]:
    from ..pipeline.sources import open_source

    found = open_source(genotype, overrides)
    # The digest, not the path: a run folder holds a copy of its space.
    if found.genotype is None or found.program.graph.digest != space.program.graph.digest:
        raise typer.BadParameter(
            f"{genotype} is no genotype of {space.program.file}", param_hint="'--genotype'"
        )
    return found.genotype.settings


def _drawn(graph: Graph, suffix: str, expand: bool, taken: Mapping[str, Setting]) -> str | bytes:
    if suffix in (".svg", ".png"):
        from ..report.svg import draw

        svg = draw(graph, expand=expand, taken=taken, direction="auto")
        if suffix == ".svg":
            return svg
        from ..report.png import png

        return png(svg)
    from ..report.text_forms import dot, mermaid

    return (mermaid if suffix == ".mmd" else dot)(graph, expand=expand, taken=taken)
