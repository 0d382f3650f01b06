"""How MFAS draws candidates from the surrogate's predictions.

Source: MFAS, Algorithm 1, lines 21 and 22: p_i ∝ (π_i / Σ π)^(1/T), K drawn without replacement.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from random import Random

SMALLEST_SCORE = 1e-12
"""What a score of zero or less counts as, so that every candidate keeps some probability."""


def log_probabilities(scores: Sequence[float], temperature: float) -> list[float]:
    """The logarithms of p_i ∝ (score_i / Σ)^(1/T), summing to one as probabilities.

    Computed from logarithms: at T = 0.2 a score's fifth power would underflow where scores are
    small, and the division by Σ cancels.
    """
    logits = [math.log(max(score, SMALLEST_SCORE)) / temperature for score in scores]
    highest = max(logits)
    total = highest + math.log(math.fsum(math.exp(logit - highest) for logit in logits))
    return [logit - total for logit in logits]


def draw_without_replacement(
    log_weights: Sequence[float], count: int, rng: Random
) -> tuple[int, ...]:
    """Indices of `count` different candidates in the order drawn; all of them if there are fewer.

    The Gumbel-top-k trick: the largest of log p_i + G_i, with G_i standard Gumbel, are distributed
    exactly as drawing one after the other, each time with the weights of those that are left.
    """
    keys = [weight - math.log(-math.log(_open_unit(rng))) for weight in log_weights]
    ranked = sorted(range(len(keys)), key=lambda index: (-keys[index], index))
    return tuple(ranked[:count])


def _open_unit(rng: Random) -> float:
    """Uniform on (0, 1): `random()` may return 0, whose logarithm does not exist."""
    while (value := rng.random()) == 0.0:
        pass
    return value
