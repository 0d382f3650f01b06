"""From a run's checkpoint to an ONNX file that says what it is and what it wants."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..backends.onnx import ExportReport, Metadata, export
from ..ir.graph import Graph
from ..tasks.task_file import Task
from ..training.checkpoints import Checkpoint, load_checkpoint, load_weights
from .events import OnRunEvent, StageStarted, ignore
from .files import make_room
from .problems import problem
from .run_folder import RunFolder, open_run
from .sources import open_source


def export_best(folder: RunFolder, task: Task, tell: OnRunEvent = ignore) -> dict[str, Any] | None:
    """Export a run's best network where the task's `[export] onnx` says; None where it does not."""
    name = task.settings.export.onnx
    if name is None:
        return None
    tell(StageStarted("export", note=name))
    report = export_run(folder, folder.path / name).as_json()
    # Times differ from run to run, and results of equal runs are equal.
    return {**{k: v for k, v in report.items() if k not in ("lowering", "seconds")}, "path": name}


def export_run(
    folder: RunFolder,
    out: str | Path,
    *,
    checkpoint: str | Path | None = None,
    sizes: dict[str, int] | None = None,
) -> ExportReport:
    """Write the best network of a run as ONNX, checked and compared with torch.

    Raises FusegraphError: E632 for a run without a trained network, E702 and E703 for its
    checkpoint, E720-E728.
    """
    if not folder.checkpoint.is_file() and checkpoint is None:
        raise problem(
            "E632",
            "this run has no trained network yet",
            folder.path,
            help="go on with it by `--resume`; the checkpoint is written when its training is done",
        )
    network = open_source(folder.best).network
    loaded = load_checkpoint(checkpoint or folder.checkpoint, network_digest=network.digest)
    return export_network(network, loaded, out, sizes=sizes)


def export_network(
    network: Graph,
    checkpoint: Checkpoint,
    out: str | Path,
    *,
    sizes: dict[str, int] | None = None,
) -> ExportReport:
    """Write a network with the weights of a checkpoint as ONNX, and what its inputs go through.

    Raises FusegraphError E703 where the checkpoint is not one of this network, E633 where the file
    cannot be written.
    """
    from ..backends.torch import lower

    module = lower(network)
    load_weights(module, checkpoint)
    header = checkpoint.header
    metadata = Metadata(
        genotype=header.genotype,
        classes=header.class_names,
        preprocessing=header.preprocessing,
    )
    make_room(out)
    return export(module, None, out, metadata=metadata, sizes=sizes or {})


def run_of(checkpoint: Path) -> RunFolder | None:
    """The run that a checkpoint lies in; None for one that lies elsewhere."""
    for parent in list(checkpoint.resolve().parents)[:2]:
        if (parent / "run.json").is_file():
            return open_run(parent)
    return None
