"""`fusegraph emit`: a network as a file of Python that needs only torch."""

from __future__ import annotations

from keyword import iskeyword
from pathlib import Path
from typing import Annotated

import typer

from .options import AsJson, FuseFile, Settings, pairs
from .output import print_json, say


def emit(
    file: FuseFile,
    out: Annotated[
        Path | None, typer.Option("-o", "--out", metavar="MODEL.py", help="Else it is printed.")
    ] = None,
    name: Annotated[
        str | None, typer.Option("--name", help="Of the class; else the network's.")
    ] = None,
    sample: Annotated[
        int | None,
        typer.Option("--sample", metavar="SEED", help="Draw a genotype where decisions are open."),
    ] = None,
    settings: Settings = None,
    as_json: AsJson = False,
) -> None:
    """Write a network as PyTorch code that needs only torch.

    Its `state_dict` has the names of a checkpoint's: weights go from one to the other.

    \b
    Example:
      fusegraph emit genotype.fuse -o model.py

    \b
    With --json: `digest`, and `file` or, without --out, `text`.
    """
    from ..backends.torch import emit as emit_network
    from ..pipeline.files import write_file
    from ..pipeline.sources import open_source

    if name is not None and (not name.isidentifier() or iskeyword(name)):
        raise typer.BadParameter(
            f"expected the name of a class (letters, digits and _, no digit first), found {name!r}",
            param_hint="'--name'",
        )
    source = open_source(file, pairs(settings))
    network = source.drawn(sample) if sample is not None else source.network
    text = emit_network(network, name)
    if out is not None:
        write_file(out, text)
    if as_json:
        where = {"text": text} if out is None else {"file": str(out)}
        print_json({"digest": network.digest, **where})
    else:
        say(text.rstrip("\n") if out is None else f"wrote {out}")
