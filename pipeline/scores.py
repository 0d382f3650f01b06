"""Scores of a whole split without torch, so that an exported network runs where torch is not.

They are those of `training.metrics`, which tests compare them with.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
TOP = 5


def scores(logits: Array, labels: Array, kind: Literal["single", "multi"]) -> dict[str, float]:
    """Accuracy, weighted F1 and macro F1 by name, and `top_5` where there are more classes.

    logits (samples, classes); labels (samples,), or 0 and 1 (samples, classes) for multi-label,
    where accuracy asks for all classes of a sample to be right.
    """
    logits, labels = np.asarray(logits), np.asarray(labels)
    classes = logits.shape[1]
    chosen = predictions(logits, kind)
    if kind == "single":
        found = {"accuracy": float(np.mean(chosen == labels))}
        if classes > TOP:
            best = np.argpartition(-logits, TOP - 1, axis=1)[:, :TOP]
            found["top_5"] = float(np.mean((best == labels[:, None]).any(axis=1)))
        taken, wanted = np.eye(classes)[chosen], np.eye(classes)[labels]
    else:
        found = {"accuracy": float(np.mean((chosen == labels).all(axis=1)))}
        taken, wanted = chosen.astype(float), labels.astype(float)
    return {**found, **_f1(taken, wanted)}


def predictions(logits: Array, kind: Literal["single", "multi"]) -> Array:
    """The class of each sample; for multi-label 1 where the probability is above one half."""
    return logits.argmax(axis=1) if kind == "single" else (logits > 0).astype(np.int64)


def confusion(logits: Array, labels: Array) -> Array:
    """(classes, classes): how many samples of each true class (row) got each class (column)."""
    classes = logits.shape[1]
    pairs = np.asarray(labels) * classes + predictions(logits, "single")
    return np.bincount(pairs, minlength=classes**2).reshape(classes, classes)


def _f1(taken: Array, wanted: Array) -> Mapping[str, float]:
    """F1 = 2 TP / (2 TP + FP + FN) a class, averaged by support and over the classes met."""
    hits = (taken * wanted).sum(axis=0)
    size = taken.sum(axis=0) + wanted.sum(axis=0)
    each = np.divide(2 * hits, size, out=np.zeros_like(hits), where=size > 0)
    support = wanted.sum(axis=0)
    met = size > 0
    return {
        "weighted_f1": float((each * support).sum() / max(support.sum(), 1.0)),
        "macro_f1": float(each[met].mean()) if met.any() else 0.0,
    }
