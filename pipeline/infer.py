"""An exported network at work on a feature folder: predictions, and what they score."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel

from ..backends.onnx.builder import NUMPY
from ..backends.onnx.inference import Model, load
from ..backends.onnx.session import Device
from ..ir.diagnostics import FusegraphError
from ..tasks.features import FeatureFolder, open_features
from ..tasks.problems import nearest
from .problems import problem
from .scores import predictions, scores

Array = NDArray[Any]


@dataclass(frozen=True, slots=True)
class Inference:
    """What an exported network says of a split.

    `logits` (samples, classes), `labels` as in the folder, `predicted` as `scores.predictions`.
    """

    split: str
    logits: Array
    labels: Array
    predicted: Array
    metrics: Mapping[str, float]
    classes: tuple[str, ...]
    providers: tuple[str, ...]
    seconds: float


def infer(
    model: str | Path,
    features: str | Path,
    split: str = "test",
    *,
    output: str | None = None,
    batch: int = 256,
    device: Device = "auto",
    progress: Callable[[int, int], None] | None = None,
) -> Inference:
    """Run an exported network on a split of a feature folder.

    Of several outputs `logits` is measured, or the one that is given; the folder needs the inputs
    which that reads. Inputs are standardised as the file says that they were in training. Raises
    FusegraphError: E610-E619 for the folder, E725-E727 for the model, E706 where its classes are
    not the folder's.
    """
    loaded = load(model, device)
    head = _head_of(loaded, output)
    folder = open_features(features)
    labels = np.asarray(folder.labels(split))
    try:
        arrays = {name: input_array(head, folder, name, split) for name in head.inputs}
    except FusegraphError as error:
        raise _naming_an_output(error, loaded, folder) from None
    inputs = {**arrays, **_unread(loaded, arrays)}
    began = perf_counter()
    outputs = loaded.run(inputs, batch, progress)
    seconds = perf_counter() - began
    logits = outputs[head.output]
    kind = folder.manifest.labels
    if logits.ndim != 2 or logits.shape != (len(labels), kind.classes):
        raise problem(
            "E706",
            f"the network answers {list(logits.shape)}, and the folder has {len(labels)} samples "
            f"of {kind.classes} classes",
            model,
            help="give the features of the task that the network was trained for",
        )
    return Inference(
        split=split,
        logits=logits,
        labels=labels,
        predicted=predictions(logits, kind.kind),
        metrics=scores(logits, labels, kind.kind),
        classes=head.classes or kind.names,
        providers=loaded.providers,
        seconds=seconds,
    )


class _Moments(BaseModel):
    mean: list[float]
    deviation: list[float]


class _Told(BaseModel):
    """What `preprocessing` says of an output that a data set trained, or of the only one."""

    inputs: tuple[str, ...] = ()
    classes: tuple[str, ...] = ()
    standardise: dict[str, _Moments] = {}


class _Preprocessing(_Told):
    joint: dict[str, _Told] = {}


@dataclass(frozen=True, slots=True)
class _Head:
    """An output, the inputs that it needs, the names of its classes, and moments by input."""

    output: str
    inputs: tuple[str, ...]
    classes: tuple[str, ...]
    standardise: Mapping[str, _Moments]


def _head_of(model: Model, output: str | None) -> _Head:
    """What the file says of an output; of one that it says nothing of, what holds for the file."""
    names = [port.name for port in model.outputs]
    found = ("logits" if "logits" in names else names[0]) if output is None else output
    if found not in names:
        raise problem(
            "E725",
            f"there is no output `{found}`: the network has {', '.join(f'`{n}`' for n in names)}",
            model.path,
            help=nearest(found, names),
        )
    inputs = tuple([port.name for port in model.inputs])
    try:
        told = _Preprocessing.model_validate(model.metadata.preprocessing)
        if (joint := told.joint.get(found)) is None:
            return _Head(found, inputs, model.metadata.classes, told.standardise)
        if unknown := [name for name in joint.inputs if name not in inputs]:
            raise ValueError(f"it has no input {unknown[0]!r}")
    except ValueError as error:  # pydantic's are of this kind
        raise problem(
            "E726",
            "what the file says of its preprocessing is damaged",
            model.path,
            notes=(str(error).splitlines()[-1].strip(),),
            help="export the network again with `fusegraph export`",
        ) from None
    return _Head(found, joint.inputs, joint.classes, joint.standardise)


def _naming_an_output(error: FusegraphError, model: Model, folder: FeatureFolder) -> FusegraphError:
    """A missing tap, with the outputs that read what the folder has."""
    names = [port.name for port in model.outputs]
    fits = [n for n in names if set(_head_of(model, n).inputs) <= set(folder.manifest.taps)]
    if not fits:
        return error
    help = f"the output `{fits[0]}` reads what the folder has: `--output {fits[0]}`"
    return FusegraphError([replace(found, help=help) for found in error.diagnostics])


def _unread(model: Model, arrays: Mapping[str, Array]) -> dict[str, Array]:
    """Zeros for the inputs that an output does not reach, which onnxruntime wants all the same."""
    sizes: dict[str, int] = {}
    for port in model.inputs:
        if port.name in arrays:
            pairs = zip(port.shape, arrays[port.name].shape, strict=False)
            sizes |= {name: size for name, size in pairs if isinstance(name, str)}
    return {
        port.name: np.zeros(
            [size if isinstance(size, int) else sizes.get(size, 1) for size in port.shape],
            dtype=NUMPY[port.dtype],
        )
        for port in model.inputs
        if port.name not in arrays
    }


def input_array(head: _Head, folder: FeatureFolder, name: str, split: str) -> Array:
    """A tap as the network wants it: (x - mean) / deviation a channel, where the file says so."""
    stored = folder.array(name, split)
    known = head.standardise
    if name not in known:
        return np.asarray(stored, dtype=np.float32)
    axes = (-1, *([1] * (stored.ndim - 2)))
    mean = np.asarray(known[name].mean, dtype=np.float32).reshape(axes)
    deviation = np.asarray(known[name].deviation, dtype=np.float32).reshape(axes)
    return (stored.astype(np.float32) - mean) / deviation
