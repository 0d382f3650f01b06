"""`fusegraph export`: a trained network as an ONNX file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .options import AsJson, pairs
from .output import grouped, print_json, say


def export(
    trained: Annotated[
        Path,
        typer.Argument(metavar="RUN|CHECKPOINT", help="A run folder, or a .safetensors file."),
    ],
    out: Annotated[
        Path | None, typer.Option("-o", "--out", metavar="MODEL.onnx", help="RUN/model.onnx.")
    ] = None,
    genotype: Annotated[
        Path | None,
        typer.Option("--genotype", metavar="FILE", help="Of a checkpoint that lies in no run."),
    ] = None,
    size: Annotated[
        list[str] | None,
        typer.Option("--size", metavar="NAME=N", help="A named size for the comparison: T=16."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Write a trained network as ONNX.

    The file is checked, run by onnxruntime, and compared with torch, before it is written.

    \b
    Example:
      fusegraph export runs/first -o model.onnx

    \b
    With --json: `path`, `digest`, `inputs`, `outputs`, `nodes`, `bytes`, `opset`, `difference`,
    `differences`, `tolerance`, `batch_sizes`, `sizes`, `providers`, `lowering`, `seconds`.
    """
    from ..ir.diagnostics import Diagnostic, FusegraphError
    from ..pipeline.export import export_network, export_run, run_of
    from ..pipeline.run_folder import open_run
    from ..pipeline.sources import open_source
    from ..training.checkpoints import load_checkpoint

    sizes: dict[str, int] = {}
    for name, text in pairs(size, "--size").items():
        if not text.isdigit() or int(text) < 1:
            raise typer.BadParameter(f"{name}={text} is no size", param_hint="'--size'")
        sizes[name] = int(text)
    if genotype is not None:
        target = out if out is not None else trained.with_suffix(".onnx")
        network = open_source(genotype).network
        checkpoint = load_checkpoint(trained, network_digest=network.digest)
        report = export_network(network, checkpoint, target, sizes=sizes)
    elif trained.suffix == ".safetensors":
        run = run_of(trained) if trained.is_file() else None
        if run is None:
            load_checkpoint(trained)
            raise FusegraphError(
                Diagnostic(
                    code="E632",
                    message="this checkpoint lies in no run folder, so its network is unknown",
                    place=str(trained),
                    help="give its network by `--genotype FILE`",
                )
            )
        target = out if out is not None else trained.with_suffix(".onnx")
        report = export_run(run, target, checkpoint=trained, sizes=sizes)
    else:
        run = open_run(trained)
        target = out if out is not None else run.path / "model.onnx"
        report = export_run(run, target, sizes=sizes)
    if as_json:
        print_json(report.as_json())
        return
    say(f"wrote {target}: {report.nodes} nodes, {grouped(report.bytes)} bytes")
    ran = ", ".join(name.removesuffix("ExecutionProvider") for name in report.providers)
    say(f"onnxruntime ({ran}) differs from torch by {report.difference:.1e} at most")
