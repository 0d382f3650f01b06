"""A task with all that it names, opened and checked before anything is trained."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ..ir.diagnostics import Diagnostic, FusegraphError
from ..ir.dims import Expr
from ..ir.dsl import Program, load
from ..ir.graph import Graph
from ..tasks.placing import at_key
from ..tasks.task_file import Task, load_task
from .problems import problem
from .searcher import searcher_of
from .sources import Source, carry_over, expect_requirements, open_source

if TYPE_CHECKING:
    from ..tasks.features import FeatureFolder
    from ..tasks.sources import TaskData


@dataclass(frozen=True)
class Prepared:
    """A task's space as it is searched and as its best network is trained, and its data."""

    task: Task
    searched: Program
    trained: Program
    data: TaskData

    @property
    def features(self) -> FeatureFolder | None:
        """The feature folder; None where a hook yields the data."""
        from ..tasks.sources import FeatureData

        return self.data.folder if isinstance(self.data, FeatureData) else None


def task_programs(task: Task) -> tuple[Program, Program]:
    """The space under `[search] set` and `[task] set`, and under `[task] set` alone."""
    settings = task.settings
    final = _texts(settings.task.set)
    try:
        return load(task.space, {**final, **_texts(settings.search.set)}), load(task.space, final)
    except FusegraphError as error:

        def key(found: Diagnostic) -> str:
            constant = re.search(r"constant `([^`]+)`", found.message)
            name = "" if constant is None else constant[1]
            return f"{'search' if name in settings.search.set else 'task'}.set.{name}"

        raise at_key(error, task, key, "E213") from None


def prepare(task: Task, *, allow_hooks: bool = False) -> Prepared:
    """Open a task's space and data, and check that they fit each other.

    Raises FusegraphError: what is wrong with the space (E1xx-E3xx) or with the data (E6xx), E706
    where the space's output has another number of classes than the data.
    """
    from ..tasks.sources import open_data

    searched, trained = task_programs(task)
    try:
        data = open_data(task, input_shapes(searched.graph, trained.graph), allow_hooks=allow_hooks)
    except FusegraphError as error:
        key = "data.features" if task.features is not None else "data.hook"
        raise at_key(error, task, key, "E604", "E605", "E608") from None
    prepared = Prepared(task, searched, trained, data)
    try:
        _check_classes(prepared)
    except FusegraphError as error:
        raise at_key(error, task, "task.space", "E706") from None
    return prepared


def check_task(file: str | Path) -> Program:
    """Check a task file, its space, its genotype and its feature folder; a hook is not run.

    Where the task has a `[search]`, its searcher is made, too. Answers the space as it is searched.
    Raises FusegraphError as `prepare`, `task_genotype` and `searcher_of` do.
    """
    task = load_task(file)
    searched, trained = task_programs(task)
    if task.genotype is not None:
        task_genotype(task, trained)
    if task.features is not None:
        prepare(task)
    if "search" in task.settings.model_fields_set:
        searcher_of(task, searched, trained)
    return searched


def task_genotype(task: Task, trained: Program, file: str | Path | None = None) -> Source:
    """The genotype that `file` or else the task names, for the space as it is trained.

    Raises FusegraphError E631 where there is none and the space has open decisions.
    """
    path = Path(file) if file is not None else task.genotype
    if path is None:
        if trained.graph.settled:
            source = Source(trained.file, trained)
            expect_requirements(source)
            return source
        raise problem(
            "E631",
            f"the task names no genotype, and `{trained.graph.name}` has open decisions",
            task.file,
            help="search first, give `--genotype FILE`, or set `genotype` in `[task]`",
        )
    found = open_source(path)
    if found.genotype is None:
        raise problem("E634", "expected a genotype, found a space", path, help="give a genotype")
    if found.program.graph.name != trained.graph.name:
        raise problem(
            "E410",
            f"the genotype is of `{found.program.graph.name}`, and the task's space is "
            f"`{trained.graph.name}`",
            path,
            help="give a genotype of the task's own space",
        )
    carried = carry_over(found.genotype, found.program, trained, str(path))
    source = Source(str(path), trained, carried)
    expect_requirements(source)
    return source


def input_shapes(*graphs: Graph) -> dict[str, tuple[int | None, ...]]:
    """The shape of one sample of each input; None for an axis of any length."""
    return {
        node["name"]: tuple([None if isinstance(d, Expr) else d for d in node.type.shape[1:]])
        for graph in graphs
        for node in graph.inputs
    }


def _check_classes(prepared: Prepared) -> None:
    """The space's logits are as wide as the feature folder has classes; otherwise E706.

    Every candidate would fail for it, each for itself, so it is said once and at the start.
    """
    graph, place = prepared.trained.graph, prepared.task.space
    outputs = dict(graph.outputs)
    if len(outputs) > 1 and "logits" not in outputs:
        raise problem(
            "E706",
            f"none of the outputs of `{graph.name}` is called `logits`",
            place,
            notes=(f"its outputs are {', '.join(outputs)}",),
            help="call the output that is trained `logits`",
        )
    folder = prepared.features
    shape = outputs.get("logits", graph.roots[0]).type.shape
    if folder is None or not shape or not isinstance(shape[-1], int):
        return
    classes = folder.manifest.labels.classes
    if shape[-1] != classes:
        raise problem(
            "E706",
            f"the output of `{graph.name}` is {shape[-1]} wide, and the data has {classes} classes",
            place,
            notes=(f"the space is {place}", f"the feature folder is {folder.path}"),
            help=f"make the output {classes} wide, or give other features",
        )


def _texts(values: Mapping[str, int | float | str]) -> dict[str, str]:
    return {name: v if isinstance(v, str) else repr(v) for name, v in values.items()}
