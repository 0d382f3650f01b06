"""An exported network at work on a feature folder: predictions, and what they score."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from ..backends.onnx.inference import Model, load
from ..backends.onnx.session import Device
from ..tasks.features import FeatureFolder, open_features
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
    batch: int = 256,
    device: Device = "auto",
    progress: Callable[[int, int], None] | None = None,
) -> Inference:
    """Run an exported network on a split of a feature folder.

    Inputs are standardised as the file says that they were in training. Raises FusegraphError:
    E610-E619 for the folder, E725-E727 for the model, E706 where its classes are not the folder's.
    """
    loaded = load(model, device)
    folder = open_features(features)
    inputs = {port.name: input_array(loaded, folder, port.name, split) for port in loaded.inputs}
    labels = np.asarray(folder.labels(split))
    began = perf_counter()
    outputs = loaded.run(inputs, batch, progress)
    seconds = perf_counter() - began
    logits = outputs.get("logits", next(iter(outputs.values())))
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
        classes=loaded.metadata.classes or kind.names,
        providers=loaded.providers,
        seconds=seconds,
    )


def input_array(model: Model, folder: FeatureFolder, name: str, split: str) -> Array:
    """A tap as the network wants it: (x - mean) / deviation a channel, where the file says so."""
    stored = folder.array(name, split)
    known = cast("Mapping[str, Any]", model.metadata.preprocessing.get("standardise", {}))
    if name not in known:
        return np.asarray(stored, dtype=np.float32)
    axes = (-1, *([1] * (stored.ndim - 2)))
    mean = np.asarray(known[name]["mean"], dtype=np.float32).reshape(axes)
    deviation = np.asarray(known[name]["deviation"], dtype=np.float32).reshape(axes)
    return (stored.astype(np.float32) - mean) / deviation
