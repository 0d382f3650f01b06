"""From a task's `[data]` to batches that a network can be trained with."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import Tensor

from ..ir.diagnostics import Diagnostic, FusegraphError
from ..training.batches import BatchSource
from ..training.losses import Kind, balance
from ..training.tensors import TensorBatches, tensor_batches
from .features import FeatureFolder, open_features
from .hooks import Hook, HookBatches, load_hook
from .problems import nearest
from .task_file import Task


class TaskData(Protocol):
    """The data of a task, whatever it comes from."""

    @property
    def kind(self) -> Kind:
        """Single-label or multi-label."""
        ...

    @property
    def class_names(self) -> tuple[str, ...]:
        """In the order of the labels; empty where nobody named them."""
        ...

    def source(
        self, split: str, inputs: Iterable[str], *, batch: int, device: torch.device
    ) -> BatchSource:
        """A split's batches with these inputs and no others."""
        ...

    def positive_weight(self) -> Tensor | None:
        """(classes,): what `balance` gives for the training labels; None for single-label."""
        ...


@dataclass(frozen=True, slots=True)
class FeatureData:
    """A feature folder in memory: each tap read, standardised and moved once for all networks."""

    folder: FeatureFolder
    standardise: bool = True
    _tensors: dict[tuple[str, str, str], Tensor] = field(default_factory=dict, repr=False)

    @property
    def kind(self) -> Kind:
        """Single-label or multi-label."""
        return self.folder.manifest.labels.kind

    @property
    def class_names(self) -> tuple[str, ...]:
        """As in the manifest."""
        return self.folder.manifest.labels.names

    def source(
        self, split: str, inputs: Iterable[str], *, batch: int, device: torch.device
    ) -> TensorBatches:
        """A split's batches with these inputs and no others; taps are shared between calls.

        Raises:
            FusegraphError: E619 where the folder has no such split or tap.
        """
        taps = {name: self._tensor(split, name, device) for name in inputs}
        return TensorBatches(taps, self._tensor(split, "labels", device), batch)

    def positive_weight(self) -> Tensor | None:
        """(classes,): negatives / positives of the training labels; None for single-label."""
        if self.kind == "single":
            return None
        return balance(self._tensor("train", "labels", torch.device("cpu")))

    def _tensor(self, split: str, name: str, device: torch.device) -> Tensor:
        key = (split, name, str(device))
        if key not in self._tensors:
            labels = self.folder.labels(split)
            if name == "labels":
                self._tensors[key] = tensor_batches({}, labels, batch=1, device=device).labels
            else:
                array = self.folder.array(name, split, standardise=self.standardise)
                one = tensor_batches({name: array}, labels, batch=1, device=device)
                self._tensors[key] = one.inputs[name]
        return self._tensors[key]


@dataclass(frozen=True, slots=True)
class HookData:
    """A task's own function."""

    hook: Hook
    kind: Kind = "single"
    class_names: tuple[str, ...] = ()
    section: str = "data"
    """Of the task file, that names the hook."""

    def source(
        self, split: str, inputs: Iterable[str], *, batch: int, device: torch.device
    ) -> HookBatches:
        """The hook's batches of a split, in the hook's own batch size."""
        return HookBatches(self.hook, split, tuple(inputs), device, self.section)

    def positive_weight(self) -> Tensor | None:
        """None: a hook's labels are not counted beforehand."""
        return None


def open_data(
    task: Task,
    inputs: Mapping[str, tuple[int | None, ...]] | None = None,
    *,
    allow_hooks: bool = False,
    section: str = "data",
) -> TaskData:
    """Opens what a section of a task names, before anything is trained.

    Args:
        task: the task.
        inputs: the space's inputs with the shape of one sample, without the axis of the samples;
            None for an axis of any length. Where given, a feature folder must fit them.
        allow_hooks: whether the task may run code.
        section: `data`, or the `joint.digits` of a further data set.

    Raises:
        FusegraphError: E604-E606 for a hook, E610-E619 for a feature folder, E608 where its taps
            have other shapes than the space's inputs.
    """
    data = task.sections[section]
    if data.hook is not None:
        hook = load_hook(data.hook, allow=allow_hooks, folder=task.file.parent, section=section)
        names = task.settings.export.class_names if section == "data" else ()
        return HookData(hook, data.labels, names, section)
    assert data.features is not None  # the schema demands one of the two
    folder = open_features(task.path(data.features))
    check_fits(folder, inputs or {})
    return FeatureData(folder, data.standardise)


def check_fits(folder: FeatureFolder, inputs: Mapping[str, tuple[int | None, ...]]) -> None:
    """Every input of the space is a tap, of its shape; train and valid are there.

    Raises:
        FusegraphError: E619 for what is missing, E608 for another shape; all at once.
    """
    taps, splits = folder.manifest.taps, folder.manifest.splits
    place = str(folder.path)
    found: list[Diagnostic] = [
        Diagnostic(
            code="E619",
            message=f"the feature folder has no split `{split}`, which training needs",
            place=place,
            help=nearest(split, splits),
        )
        for split in ("train", "valid")
        if split not in splits
    ]
    for name, shape in inputs.items():
        if name not in taps:
            found.append(
                Diagnostic(
                    code="E619",
                    message=f"the feature folder has no tap `{name}`, which the space reads",
                    place=place,
                    help=nearest(name, taps),
                )
            )
            continue
        cached = taps[name].shape
        fits = len(cached) == len(shape) and all(
            wanted in (None, has) for wanted, has in zip(shape, cached, strict=True)
        )
        if not fits:
            wanted = ["any" if size is None else size for size in shape]
            found.append(
                Diagnostic(
                    code="E608",
                    message=f"tap `{name}` does not fit the space's input: expected {wanted} a "
                    f"sample, found {list(cached)}",
                    place=place,
                    help="correct the input's shape in the `.fuse` file, or set the parameter "
                    "that decides it in `[task] set`",
                )
            )
    if found:
        raise FusegraphError(found)
