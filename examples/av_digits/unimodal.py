"""What the backbones can do without being fused: each alone, and late fusion of the two."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fusegraph.tasks.features import FeatureFolder


@dataclass(frozen=True, slots=True)
class Unfused:
    """Test accuracies, as shares."""

    image: float
    audio: float
    late_fusion: float
    """The argmax of the sum of log-probabilities."""


def unfused(folder: FeatureFolder, split: str = "test") -> Unfused:
    """Accuracies on the task's own label, from the cached logits."""
    image = _log_softmax(folder.array("image_logits", split))
    audio = _log_softmax(folder.array("audio_logits", split))
    label = folder.labels(split)

    def accuracy(scores: NDArray[np.float64]) -> float:
        return float(np.mean(scores.argmax(axis=1) == label))

    return Unfused(accuracy(image), accuracy(audio), accuracy(image + audio))


def _log_softmax(logits: NDArray[np.float32]) -> NDArray[np.float64]:
    shifted = logits.astype(np.float64) - logits.max(axis=1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
