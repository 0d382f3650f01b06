"""Losses for one class a sample and for any number of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

Kind = Literal["single", "multi"]
Loss = Callable[[Tensor, Tensor], Tensor]


def single_label(*, label_smoothing: float = 0.0) -> Loss:
    """Softmax cross-entropy, the mean over samples: logits (samples, classes), labels (samples,).

    loss = -sum_c q_c log softmax(z)_c, q = (1 - s) onehot + s / classes. Logits of several
    networks, (networks, samples, classes), give the loss of each, (networks,).
    """

    def loss(logits: Tensor, labels: Tensor) -> Tensor:
        if logits.ndim == 2:
            return functional.cross_entropy(logits, labels, label_smoothing=label_smoothing)
        # With samples last: a softmax along few classes that are last takes over ten times as long.
        each = functional.cross_entropy(
            logits.transpose(1, 2),
            labels.expand(len(logits), -1),
            reduction="none",
            label_smoothing=label_smoothing,
        )
        return each.mean(1)

    return loss


def multi_label(*, positive_weight: Tensor | None = None, label_smoothing: float = 0.0) -> Loss:
    """Sigmoid cross-entropy, the mean over samples and classes: both (samples, classes).

    loss = -w_c q log sigmoid(z) - (1 - q) log sigmoid(-z), q = (1 - s) label + s / 2; with the
    weights of `balance`, MFAS's loss for MM-IMDB (Pérez-Rúa et al. 2019, section 4.2). Logits of
    several networks, (networks, samples, classes), give the loss of each, (networks,).
    """

    def loss(logits: Tensor, labels: Tensor) -> Tensor:
        target = labels.to(logits.dtype)
        if label_smoothing:
            target = target * (1.0 - label_smoothing) + 0.5 * label_smoothing
        if logits.ndim == 2:
            return functional.binary_cross_entropy_with_logits(
                logits, target, pos_weight=positive_weight
            )
        each = functional.binary_cross_entropy_with_logits(
            logits, target.expand_as(logits), reduction="none", pos_weight=positive_weight
        )
        return each.mean((1, 2))

    return loss


def balance(labels: Tensor) -> Tensor:
    """(classes,): negatives / positives of each class, so that both sides weigh the same.

    A class without positives, or without negatives, gets 1: there is nothing to balance.
    """
    positives = labels.to(torch.float32).sum(dim=0)
    negatives = len(labels) - positives
    return torch.where((positives > 0) & (negatives > 0), negatives / positives.clamp(min=1), 1.0)
