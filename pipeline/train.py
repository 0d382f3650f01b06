"""Training one genotype of a task to completion, in a run folder of its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..backends.torch import Network, lower
from ..compiler.pipeline import network as network_of
from ..ir.dsl import Program, format_genotype
from ..ir.genotype import Genotype
from ..searchers.protocol import Array
from ..tasks.task_file import Task
from ..training.checkpoints import CheckpointHeader, save_checkpoint
from ..training.loop import choose_device, predict
from ..training.settings import TrainSettings
from .evaluate import outcome, tensors_of, train_module
from .events import EventLog, OnRunEvent, RunEvent, StageStarted, ignore
from .export import export_best
from .files import write_file
from .heads import DataHead, heads_of, valid_of_each
from .joint import joint_identity, of_the_network, others_of, valid_of
from .price import figures, measuring
from .run_folder import RunFolder, begin_run
from .scores import confusion, scores
from .summary import write_run_report
from .tasks import Prepared, folder_of, prepare, task_genotype


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
        "settings": task.settings.model_dump(
            mode="json", include={"task", "data", "joint", "train"}
        ),
        "trained": prepared.trained.graph.digest,
        "network": source.network.digest,
        **joint_identity(prepared),
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
        each = valid_of_each(module, prepared.data, settings)
        if settings.refit:
            weights = refit_network(prepared, folder, source.genotype, "train", tell)
        with measuring(task.settings.search, source.network, folder.latencies, tell):
            told = {**figures(source.network), **outcome(result), **each}
        network = finish_network(
            prepared,
            folder,
            source.genotype,
            weights,
            score=result.best_score,
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
    start: Mapping[str, Array] | None = None,
) -> dict[str, Any]:
    """The weights of the network after a training on both splits (BM-NAS, section 3.4), from the
    weights `start` or from new ones.

    Goes on with an interrupted one, as every training of a run does.
    """
    tell(StageStarted("refit", 1))
    settings = prepared.task.settings.train.model_copy(update={"patience": None})
    module = lower(network_of(prepared.trained.graph, genotype), seed=settings.seed)
    if start is not None:
        module.load_state_dict(tensors_of(start))
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
    score: float,
    figures: Mapping[str, float],
    tell: OnRunEvent,
) -> dict[str, Any]:
    """Write the genotype and the checkpoint of a trained network, and measure it on the test split.

    `score` and `figures` are those of its trial. Answers what `results.json` says of the network:
    of several data sets `score` is the mean of their validation scores, and `joint` has what the
    further ones measured.
    """
    text = genotype_text(prepared.trained, genotype, folder)
    write_file(folder.best, text)
    program, settings = prepared.trained, prepared.task.settings
    network = network_of(program.graph, genotype)
    module = lower(network)
    module.load_state_dict(tensors_of(weights))
    heads = heads_of(module, prepared.data)
    preprocessing = preprocessing_of(prepared, heads)
    folder.write(folder.preprocessing, preprocessing)
    if any(_tests(head) for head in heads):
        tell(StageStarted("test"))
    tested = {head.output: measure(module, head, settings.train) for head in heads}
    metric, main = settings.train.metric, heads[0].output
    valid, others = valid_of(score, figures), others_of(figures)
    scored = {f"valid_{metric}": valid, **{f"test_{n}": v for n, v in tested[main].scores.items()}}
    for output, own in others.items():
        scored[f"{output}_valid_{metric}"] = own
        scored |= {f"{output}_test_{n}": v for n, v in tested[output].scores.items()}
    header = CheckpointHeader(
        genotype=text if genotype is not None else "",
        space_digest=program.graph.digest,
        network_digest=network.digest,
        class_names=class_names_of(heads[0], prepared.task),
        settings=settings.train.model_dump(mode="json"),
        preprocessing=preprocessing,
        scores=scored,
    )
    save_checkpoint(folder.checkpoint, module, header)
    told = {
        head.output: {
            "test": tested[head.output].scores,
            "confusion": tested[head.output].confusion,
            "data": data_of(head, prepared.task),
        }
        for head in heads
    }
    joint = {output: {"valid": own, **told[output]} for output, own in others.items()}
    return {
        "network": network.digest,
        "genotype": text,
        "metric": metric,
        "valid": valid,
        **told[main],
        **({"score": score, "joint": joint} if joint else {}),
        **{name: whole(value) for name, value in of_the_network(figures).items()},
    }


def genotype_text(program: Program, genotype: Genotype | None, folder: RunFolder) -> str:
    """The file of the genotype, relative to the copy of its space; an empty one of a network."""
    found = Genotype.of(program.graph.digest, ()) if genotype is None else genotype
    return format_genotype(found, program, f"../space/{folder.space.name}")


@dataclass(frozen=True, slots=True)
class Tested:
    """What a network scores on the split `test`, and for single-label data the confusion matrix: a
    row for each true class, a column for each predicted one. Both are empty without such a split.
    """

    scores: dict[str, float]
    confusion: list[list[int]]


def measure(module: Network, head: DataHead, settings: TrainSettings) -> Tested:
    """The network on the split `test` of a data set. Raises FusegraphError E708."""
    if not _tests(head):
        return Tested({}, [])
    source = head.source("test", settings, batch=max(256, settings.batch))
    module.to(choose_device(settings.device))
    found, answers = predict(module, source, forward=head.forward)
    logits, labels = found.cpu().numpy(), answers.cpu().numpy()
    kind = head.data.kind
    matrix = confusion(logits, labels).tolist() if kind == "single" else []
    return Tested(scores(logits, labels, kind), matrix)


def _tests(head: DataHead) -> bool:
    folder = folder_of(head.data)
    return folder is not None and "test" in folder.manifest.splits


def class_names_of(head: DataHead, task: Task) -> tuple[str, ...]:
    """The names of a data set's classes; the task may name those of the main one itself."""
    asked = () if head.output in task.settings.joint else task.settings.export.class_names
    return asked or head.data.class_names


def data_of(head: DataHead, task: Task) -> dict[str, Any]:
    """What the report says of a data set; empty for a hook's."""
    folder = folder_of(head.data)
    if folder is None:
        return {}
    manifest = folder.manifest
    return {
        "splits": dict(manifest.splits),
        "taps": {
            name: f"{tap.dtype}[{', '.join(map(str, tap.shape))}]"
            for name, tap in manifest.taps.items()
        },
        "classes": list(head.data.class_names or class_names_of(head, task)),
        "source": manifest.source,
    }


def preprocessing_of(prepared: Prepared, heads: Sequence[DataHead]) -> dict[str, Any]:
    """What is done to raw features before they are the network's inputs, as JSON.

    `standardise` has mean and deviation by input, one of each per channel. Where several data sets
    trained the network it is in `joint`, by the output that a data set trained, beside the `inputs`
    that this output reads and the names of its `classes`: an input may be read by two.
    """
    settings = prepared.task.settings
    told = [_standardised(head, prepared.task) for head in heads]
    found: dict[str, Any] = told[0] if len(heads) == 1 else {}
    if len(heads) > 1:
        found["joint"] = {
            head.output: {
                "inputs": list(head.inputs),
                "classes": list(class_names_of(head, prepared.task)),
                **own,
            }
            for head, own in zip(heads, told, strict=True)
        }
    if settings.export.preprocessing:
        found["note"] = settings.export.preprocessing
    return found


def _standardised(head: DataHead, task: Task) -> dict[str, Any]:
    folder = folder_of(head.data)
    section = task.settings.joint.get(head.output, task.settings.data)
    if folder is None or not section.standardise:
        return {}
    known = folder.manifest.standardisation
    return {"standardise": {n: known[n].model_dump(mode="json") for n in head.inputs if n in known}}


def whole(value: float) -> int | float:
    """The number, without a point where it is whole."""
    return int(value) if value == int(value) else value
