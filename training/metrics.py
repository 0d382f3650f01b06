"""Scores of logits against labels; higher is better, 1 is perfect (2 for top-1 and top-k added).

Accuracy and top-k are exact counts and cost microseconds, for the inner loop of a search. The F1
scores are torchmetrics', imported when first asked for, since that import takes seconds.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Literal, cast

import torch
from torch import Tensor

from ..ir.diagnostics import Diagnostic, FusegraphError
from .losses import Kind

Score = Callable[[Tensor, Tensor], float]
THRESHOLD_LOGIT = 0.0  # a probability of one half


def accuracy(logits: Tensor, labels: Tensor, kind: Kind) -> float:
    """The share of samples whose class is right; for multi-label, whose classes *all* are."""
    if kind == "single":
        return (logits.argmax(dim=1) == labels).double().mean().item()
    return ((logits > THRESHOLD_LOGIT) == labels.bool()).all(dim=1).double().mean().item()


def top_k_accuracy(logits: Tensor, labels: Tensor, k: int) -> float:
    """The share of samples whose class is among the k highest logits."""
    highest = logits.topk(min(k, logits.shape[1]), dim=1).indices
    return (highest == labels[:, None]).any(dim=1).double().mean().item()


def f1(logits: Tensor, labels: Tensor, kind: Kind, average: Literal["weighted", "macro"]) -> float:
    """F1 = 2 TP / (2 TP + FP + FN) per class, averaged by support (weighted) or plainly (macro)."""
    functional = import_module("torchmetrics.functional.classification")
    classes = logits.shape[1]
    if kind == "single":
        score = cast("Callable[..., Tensor]", functional.multiclass_f1_score)
        return score(logits.argmax(dim=1), labels, num_classes=classes, average=average).item()
    score = cast("Callable[..., Tensor]", functional.multilabel_f1_score)
    chosen = (logits > THRESHOLD_LOGIT).long()
    return score(chosen, labels.long(), num_labels=classes, average=average).item()


def score_function(
    metric: Literal["accuracy", "top_k", "top_1_and_k", "weighted_f1", "macro_f1"],
    kind: Kind,
    *,
    top_k: int = 5,
) -> Score:
    """The score that a task's settings name.

    `top_1_and_k` is the sum of both, the fitness of AssembleNet (section 3.2).

    Raises:
        FusegraphError: E706 for top-k accuracy of multi-label data, which has no meaning.
    """
    if metric in ("top_k", "top_1_and_k") and kind == "multi":
        raise FusegraphError(
            Diagnostic(
                code="E706",
                message="top-k accuracy needs one class a sample: expected single-label data, "
                "found multi-label",
                place="metric",
                help='use `metric = "weighted_f1"`, as MFAS does for MM-IMDB',
            )
        )

    def score(logits: Tensor, labels: Tensor) -> float:
        if metric == "accuracy":
            return accuracy(logits, labels, kind)
        if metric == "top_k":
            return top_k_accuracy(logits, labels, top_k)
        if metric == "top_1_and_k":
            return accuracy(logits, labels, kind) + top_k_accuracy(logits, labels, top_k)
        return f1(logits, labels, kind, "weighted" if metric == "weighted_f1" else "macro")

    return torch.no_grad()(score)
