"""What a run folder tells of the network that was found, and of its exported files."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..compiler.cost import cost_lines
from ..ir.diagnostics import FusegraphError
from ..ir.dims import Static, symbols_in
from ..ir.dsl import Program
from ..ir.graph import Graph
from ..ir.settling import bind
from ..report.data import (
    Confusion,
    Cost,
    Epoch,
    ExportSection,
    File,
    Pairs,
    Parity,
    WinnerSection,
)
from ..report.levelled import levels_of
from ..training.checkpoints import load_checkpoint
from .learned import learned_connections
from .run_folder import RunFolder
from .sources import Source, open_source

PERCENT = ("accuracy", "top_k", "weighted_f1", "macro_f1")
"""The metrics that are shares."""


def joint_of_results(results: Mapping[str, Any]) -> Mapping[str, Any]:
    """What `results.json` has of the outputs that further data sets trained."""
    return results.get("joint", {})


def winner_of(folder: RunFolder, trained: Program, results: Mapping[str, Any]) -> WinnerSection:
    """The network, what it costs and what it scored."""
    source = open_source(folder.best)
    epochs: list[Epoch] = []
    history = folder.history(str(results["final"]))
    if history.is_file():
        kept: Any = folder.read(history)["epochs"]
        epochs = [Epoch(e["epoch"], e["train_loss"], e["valid_loss"], e["score"]) for e in kept]
    metric = str(results["metric"])
    metrics = [(f"{metric}, validation", float(results["valid"]))]
    metrics += [(f"{name}, test", float(value)) for name, value in results["test"].items()]
    joint = joint_of_results(results)
    for output, told in joint.items():
        metrics.append((f"{output}: {metric}, validation", float(told["valid"])))
        metrics += [(f"{output}: {n}, test", float(value)) for n, value in told["test"].items()]
    classes: Any = (results.get("data") or {}).get("classes", ())
    return WinnerSection(
        network=source.network,
        genotype=str(results["genotype"]),
        space=trained.graph if source.genotype is not None else None,
        taken=None if source.genotype is None else source.genotype.settings,
        costs=_costs(source.network),
        epochs=tuple(epochs),
        metrics=tuple(metrics),
        confusion=tuple([tuple(row) for row in results.get("confusion", ())]),
        classes=tuple(classes),
        percent=metric in PERCENT,
        connections=_connections(folder, trained, source),
        joint=tuple(
            [
                Confusion(
                    output,
                    tuple([tuple(row) for row in told["confusion"]]),
                    tuple(told["data"].get("classes", ())),
                )
                for output, told in joint.items()
                if told["confusion"]
            ]
        ),
    )


def _connections(folder: RunFolder, trained: Program, source: Source) -> dict[str, float]:
    """What the winner learned of its edges, if it is a levelled graph whose weights are kept."""
    if source.genotype is None or levels_of(trained.graph) is None:
        return {}
    try:
        tensors = load_checkpoint(folder.checkpoint).tensors
        arrays = {name: tensor.numpy() for name, tensor in tensors.items()}
        return learned_connections(trained.graph, source.genotype, source.network, arrays)
    except (FusegraphError, KeyError):
        return {}


def _costs(network: Graph) -> tuple[Cost, ...]:
    return tuple(
        [
            Cost(
                line.key,
                line.op,
                _of_one_sample(line.cost.parameters),
                _of_one_sample(line.cost.macs),
                _of_one_sample(line.cost.activation_bytes),
            )
            for line in cost_lines(network)
            if line.depth == 0
        ]
    )


def _of_one_sample(value: Static) -> int:
    settled: Any = bind(value, dict.fromkeys(symbols_in(value), 1))
    return int(settled)


def export_of(folder: RunFolder, results: Mapping[str, Any]) -> ExportSection:
    """The files, and how far the exported one is from torch."""
    written: Any = results["export"]
    files = [(folder.checkpoint, "the weights"), (folder.best, "the genotype")]
    parity: tuple[Parity, ...] = ()
    facts: Pairs = ()
    if written is not None:
        files.insert(0, (folder.path / written["path"], "the network for onnxruntime"))
        parity = tuple(
            [
                Parity(f"{name}, torch and onnxruntime", float("nan"), gap, written["tolerance"])
                for name, gap in written["differences"].items()
            ]
        )
        sizes = ", ".join(str(size) for size in written["batch_sizes"])
        facts = (
            ("opset", str(written["opset"])),
            ("nodes", str(written["nodes"])),
            ("compared at batch sizes", sizes),
            ("ran on", ", ".join(written["providers"])),
        )
    there = [(file, purpose) for file, purpose in files if file.is_file()]
    return ExportSection(
        files=tuple(
            [
                File(file.relative_to(folder.path).as_posix(), file.stat().st_size, purpose)
                for file, purpose in there
            ]
        ),
        parity=parity,
        facts=facts,
    )
