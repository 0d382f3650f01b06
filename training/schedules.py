"""The learning rate as a pure function of how far training is; so there is nothing to resume."""

from __future__ import annotations

import math

from .settings import TrainSettings


def learning_rate(settings: TrainSettings, epoch: int, batch: int, batches: int) -> float:
    """The rate of one step; epochs and batches count from 0.

    lr(t) = end + (start - end) (1 + cos(pi t / T)) / 2 (Loshchilov & Hutter 2017, eq. 5). Without
    restarts T is the whole training; with them the i-th cosine lasts restart_epochs *
    restart_factor^i epochs.
    """
    start, end = settings.learning_rate, settings.final_learning_rate
    done = epoch + batch / batches if settings.schedule_step == "batch" else float(epoch)
    if settings.schedule == "constant":
        return start
    length = float(settings.epochs)
    if settings.schedule == "warm_restarts":
        length = float(settings.restart_epochs)
        while done >= length:
            done -= length
            length *= settings.restart_factor
    return end + (start - end) * 0.5 * (1.0 + math.cos(math.pi * done / length))
