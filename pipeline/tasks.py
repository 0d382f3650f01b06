"""A task with all that it names, opened and checked before anything is trained."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from ..ir.diagnostics import Diagnostic, FusegraphError
from ..ir.dims import Expr
from ..ir.dsl import Program, load
from ..ir.graph import Graph
from ..tasks.placing import at_key
from ..tasks.problems import nearest
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
        """The feature folder of the main data set; None where a hook yields the data."""
        from ..tasks.joint import MAIN, joint_of

        return folder_of(joint_of(self.data)[MAIN])

    @property
    def others(self) -> Mapping[str, TaskData]:
        """The further data sets, by the outputs that they train."""
        from ..tasks.joint import MAIN, joint_of

        return {name: data for name, data in joint_of(self.data).items() if name != MAIN}


def folder_of(data: TaskData) -> FeatureFolder | None:
    """The feature folder of a data set; None where a hook yields it."""
    from ..tasks.sources import FeatureData

    return data.folder if isinstance(data, FeatureData) else None


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
    searched, trained = task_programs(task)
    _expect_outputs(task, trained.graph)
    prepared = Prepared(task, searched, trained, _opened(task, searched, trained, allow_hooks))
    try:
        _check_classes(prepared)
    except FusegraphError as error:
        raise at_key(error, task, "task.space", "E706") from None
    if task.settings.joint:
        from .heads import expect_to_be_scored

        for section in ("search.train", "train"):
            settings = task.settings.train if section == "train" else task.settings.search.train
            try:
                expect_to_be_scored(prepared.data, settings)
            except FusegraphError as error:
                raise at_key(error, task, f"{section}.metric", "E706") from None
    return prepared


def _opened(task: Task, searched: Program, trained: Program, allow_hooks: bool) -> TaskData:
    """The data of a task; of several data sets each has to fit the inputs that its output reads."""
    from ..tasks.joint import MAIN, JointData, part_for
    from ..tasks.sources import open_data

    def opened(section: str, output: str) -> TaskData:
        graphs = [searched.graph, trained.graph]
        if task.settings.joint:
            graphs = [part_for(graph, output) for graph in graphs]
        shapes = input_shapes(*graphs)
        try:
            return open_data(task, shapes, allow_hooks=allow_hooks, section=section)
        except FusegraphError as error:
            source = "hook" if task.sections[section].features is None else "features"
            told = [_with_folder(found, task, trained.graph) for found in error.diagnostics]
            codes = ("E604", "E605", "E608", "E610", "E619")
            raise at_key(FusegraphError(told), task, f"{section}.{source}", *codes) from None

    main = opened("data", MAIN)
    others = {name: opened(f"joint.{name}", name) for name in task.settings.joint}
    return JointData(main, others) if others else main


def _with_folder(found: Diagnostic, task: Task, space: Graph) -> Diagnostic:
    """What is missing of a feature folder, with the folder, as its place becomes the task file's,
    and with the output that reads a missing tap where that output alone does, untrained.
    """
    from ..tasks.joint import MAIN, inputs_for

    if found.code not in ("E610", "E619"):
        return found
    folder = found.place.removesuffix("manifest.json")
    found = replace(found, notes=(*found.notes, f"the feature folder is {folder}"))
    tap = re.search(r"no tap `([^`]+)`", found.message)
    if tap is None or task.settings.joint:
        return found
    readers = [name for name, _ in space.outputs if tap[1] in inputs_for(space, name)]
    if not readers or MAIN in readers or len(space.outputs) == 1:
        return found
    help = f"train the output `{readers[0]}`, which reads it, by `[joint.{readers[0]}]`"
    return replace(found, help=help)


def check_task(file: str | Path) -> Program:
    """Check a task file, its space, its genotype and its feature folder; a hook is not run.

    Where the task has a `[search]`, its searcher is made, too. Answers the space as it is searched.
    Raises FusegraphError as `prepare`, `task_genotype` and `searcher_of` do.
    """
    task = load_task(file)
    searched, trained = task_programs(task)
    if task.genotype is not None:
        task_genotype(task, trained)
    if not any(section.hook for section in task.sections.values()):
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


def _expect_outputs(task: Task, graph: Graph) -> None:
    """The outputs of the space are those that the data sets train; otherwise E706."""
    outputs = dict(graph.outputs)
    if len(outputs) > 1 and "logits" not in outputs:
        error = problem(
            "E706",
            f"none of the outputs of `{graph.name}` is called `logits`",
            task.settings.task.space,
            notes=(f"its outputs are {', '.join(outputs)}",),
            help="call the output that is trained `logits`",
        )
        raise at_key(error, task, "task.space", "E706")
    further = [name for name in outputs if name != "logits"] if len(outputs) > 1 else []
    for name in task.settings.joint:
        if name not in further:
            error = problem(
                "E706",
                f"`{graph.name}` has no further output `{name}` that `[joint.{name}]` could train",
                task.settings.task.space,
                notes=(f"besides that of `[data]` its outputs are {', '.join(further) or 'none'}",),
                help=nearest(name, further) or f"add `output {name} = ...` to the space",
            )
            raise at_key(error, task, f"joint.{name}", "E706")


def _check_classes(prepared: Prepared) -> None:
    """Each output is as wide as the feature folder that trains it has classes; otherwise E706.

    Every candidate would fail for it, each for itself, so it is said once and at the start.
    """
    from ..tasks.joint import joint_of

    graph, place = prepared.trained.graph, prepared.task.space
    outputs = dict(graph.outputs)
    for name, data in joint_of(prepared.data).items():
        folder = folder_of(data)
        shape = outputs.get(name, graph.roots[0]).type.shape
        if folder is None or not shape or not isinstance(shape[-1], int):
            continue
        classes = folder.manifest.labels.classes
        if shape[-1] != classes:
            what = f"output `{name}`" if len(outputs) > 1 else "output"
            raise problem(
                "E706",
                f"the {what} of `{graph.name}` is {shape[-1]} wide, and the data has {classes} "
                "classes",
                place,
                notes=(f"the space is {place}", f"the feature folder is {folder.path}"),
                help=f"make the output {classes} wide, or give other features",
            )


def _texts(values: Mapping[str, int | float | str]) -> dict[str, str]:
    return {name: v if isinstance(v, str) else repr(v) for name, v in values.items()}
