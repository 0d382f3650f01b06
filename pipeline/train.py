"""Training one genotype of a task to completion, in a run folder of its own."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from ..backends.torch import Network, lower
from ..compiler.pipeline import network as network_of
from ..ir.dsl import Program, format_genotype
from ..ir.genotype import Genotype
from ..ir.graph import Graph
from ..tasks.task_file import Task
from ..training.checkpoints import CheckpointHeader, save_checkpoint
from ..training.loop import choose_device, predict
from .evaluate import forward_of, outcome, train_module
from .events import EventLog, OnRunEvent, RunEvent, StageStarted, ignore
from .export import export_best
from .files import write_file
from .price import figures, measuring
from .run_folder import RunFolder, begin_run
from .scores import confusion, scores
from .summary import write_run_report
from .tasks import Prepared, prepare, task_genotype


def train_task(
    task: Task,
    out: str | Path,
    *,
    genotype: str | Path | None = None,
    resume: bool = False,
    allow_hooks: bool = False,
    on_event: OnRunEvent = ignore,
) -> tuple[RunFolder, dict[str, Any]]:
    """Train the genotype that is given, or that the task names, with the task's `[train]`.

    Answers the run folder and what its `results.json` holds. Raises FusegraphError as `search_task`
    does, E631 where no genotype is named, E701 where the training diverges. An interrupted training
    goes on with `resume`, to the same result.
    """
    prepared = prepare(task, allow_hooks=allow_hooks)
    source = task_genotype(task, prepared.trained, genotype)
    settings = task.settings.train
    identity = {
        "kind": "train",
        "settings": task.settings.model_dump(mode="json", include={"task", "data", "train"}),
        "trained": prepared.trained.graph.digest,
        "network": source.network.digest,
    }
    folder, _ = begin_run(out, identity, prepared.trained, task.file, resume=resume)
    with EventLog(folder.events) as log:

        def tell(event: RunEvent) -> None:
            log(event)
            on_event(event)

        tell(StageStarted("train", 1))
        module = lower(source.network, seed=settings.seed)
        result = train_module(
            module, prepared.data, settings, folder=folder, name="train", on_event=tell
        )
        weights = {name: value.cpu().numpy() for name, value in module.state_dict().items()}
        if settings.refit:
            weights = refit_network(prepared, folder, source.genotype, "train", tell)
        with measuring(task.settings.search, source.network, folder.latencies, tell):
            told = {**figures(source.network), **outcome(result)}
        network = finish_network(
            prepared,
            folder,
            source.genotype,
            weights,
            valid=result.best_score,
            figures=told,
            tell=tell,
        )
        exported = export_best(folder, task, tell)
    results = {
        "task": task.settings.task.name,
        **network,
        "final": "train",
        "export": exported,
    }
    folder.write(folder.results, results)
    write_run_report(folder)
    return folder, results


def refit_network(
    prepared: Prepared,
    folder: RunFolder,
    genotype: Genotype | None,
    name: str,
    tell: OnRunEvent,
) -> dict[str, Any]:
    """The weights of the network after a training on both splits (BM-NAS, section 3.4).

    Goes on with an interrupted one, as every training of a run does.
    """
    tell(StageStarted("refit", 1))
    settings = prepared.task.settings.train.model_copy(update={"patience": None})
    module = lower(network_of(prepared.trained.graph, genotype), seed=settings.seed)
    train_module(
        module,
        prepared.data,
        settings,
        folder=folder,
        name=f"{name}-refit",
        both_splits=True,
        on_event=tell,
    )
    return {name: value.cpu().numpy() for name, value in module.state_dict().items()}


def finish_network(
    prepared: Prepared,
    folder: RunFolder,
    genotype: Genotype | None,
    weights: Mapping[str, Any],
    *,
    valid: float,
    figures: Mapping[str, float],
    tell: OnRunEvent,
) -> dict[str, Any]:
    """Write the genotype and the checkpoint of a trained network, and measure it on the test split.

    Answers what `results.json` says of the network.
    """
    text = genotype_text(prepared.trained, genotype, folder)
    write_file(folder.best, text)
    program, settings = prepared.trained, prepared.task.settings
    network = network_of(program.graph, genotype)
    module = lower(network)
    module.load_state_dict({name: torch.from_numpy(value) for name, value in weights.items()})
    preprocessing = preprocessing_of(prepared, network)
    folder.write(folder.preprocessing, preprocessing)
    tested, confused = measure(module, prepared, tell)
    metric = settings.train.metric
    header = CheckpointHeader(
        genotype=text if genotype is not None else "",
        space_digest=program.graph.digest,
        network_digest=network.digest,
        class_names=settings.export.class_names or prepared.data.class_names,
        settings=settings.train.model_dump(mode="json"),
        preprocessing=preprocessing,
        scores={f"valid_{metric}": valid, **{f"test_{n}": v for n, v in tested.items()}},
    )
    save_checkpoint(folder.checkpoint, module, header)
    return {
        "network": network.digest,
        "genotype": text,
        "metric": metric,
        "valid": valid,
        "test": tested,
        "confusion": confused,
        "data": data_of(prepared),
        **{name: whole(value) for name, value in figures.items()},
    }


def genotype_text(program: Program, genotype: Genotype | None, folder: RunFolder) -> str:
    """The file of the genotype, relative to the copy of its space; an empty one of a network."""
    found = Genotype.of(program.graph.digest, ()) if genotype is None else genotype
    return format_genotype(found, program, f"../space/{folder.space.name}")


def measure(
    module: Network, prepared: Prepared, tell: OnRunEvent = ignore
) -> tuple[dict[str, float], list[list[int]]]:
    """What the network scores on the split `test`, and for single-label data the confusion matrix.

    The matrix has a row for each true class and a column for each predicted one. Both are empty
    where the data has no such split.
    """
    data, settings = prepared.data, prepared.task.settings.train
    folder = prepared.features
    if folder is None or "test" not in folder.manifest.splits:
        return {}, []
    tell(StageStarted("test"))
    device = choose_device(settings.device)
    source = data.source(
        "test", list(module.parameter_names), batch=max(256, settings.batch), device=device
    )
    found, answers = predict(module.to(device), source, forward=forward_of(module))
    logits, labels = found.cpu().numpy(), answers.cpu().numpy()
    matrix = confusion(logits, labels).tolist() if data.kind == "single" else []
    return scores(logits, labels, data.kind), matrix


def data_of(prepared: Prepared) -> dict[str, Any]:
    """What the report says of the data; empty for a hook's."""
    folder = prepared.features
    if folder is None:
        return {}
    manifest = folder.manifest
    return {
        "splits": dict(manifest.splits),
        "taps": {
            name: f"{tap.dtype}[{', '.join(map(str, tap.shape))}]"
            for name, tap in manifest.taps.items()
        },
        "classes": list(manifest.labels.names or prepared.task.settings.export.class_names),
        "source": manifest.source,
    }


def preprocessing_of(prepared: Prepared, network: Graph) -> dict[str, Any]:
    """What is done to raw features before they are the network's inputs, as JSON.

    `standardise` has mean and deviation by input, one of each per channel.
    """
    settings = prepared.task.settings
    folder = prepared.features
    found: dict[str, Any] = {}
    if folder is not None and settings.data.standardise:
        known = folder.manifest.standardisation
        names = [node["name"] for node in network.inputs]
        found["standardise"] = {n: known[n].model_dump(mode="json") for n in names if n in known}
    if settings.export.preprocessing:
        found["note"] = settings.export.preprocessing
    return found


def whole(value: float) -> int | float:
    """The number, without a point where it is whole."""
    return int(value) if value == int(value) else value
