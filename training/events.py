"""What training tells while it runs: frozen events, for progress lines, stores and plots."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class BatchEnded:
    """One step was taken. Epochs and batches count from 1."""

    epoch: int
    batch: int
    batches: int


@dataclass(frozen=True, slots=True)
class EpochEnded:
    """One epoch was trained and validated."""

    epoch: int
    epochs: int
    train_loss: float
    valid_loss: float
    score: float
    """The settings' metric on the validation split; minus the loss for the metric `loss`."""
    learning_rate: float
    """Of the epoch's last step."""
    seconds: float = field(compare=False)
    best: bool
    """Whether no earlier epoch scored as high."""


@dataclass(frozen=True, slots=True)
class TrainingEnded:
    """All epochs are done, or `patience` ran out."""

    epochs: int
    best_epoch: int
    best_score: float
    early: bool


TrainingEvent = BatchEnded | EpochEnded | TrainingEnded
OnEvent = Callable[[TrainingEvent], None]
