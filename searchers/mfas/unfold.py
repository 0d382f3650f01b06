"""Scoring all that continues given prefixes, with the states of the LSTM shared along them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import repeat
from math import prod

import torch
from torch import Tensor

from ..progression import Level
from .weights import Weights

UNFOLDED_ROWS = 3072
"""States that are computed at once for each level of a product: their gates fit into the cache."""


@contextmanager
def one_thread() -> Iterator[None]:
    """Let each operation of torch have one thread.

    Matrices of a few dozen rows gain nothing from threads, and on a busy machine wait for them:
    with two threads on two busy cores, a search's refits took twenty times longer than with one.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def project_levels(weights: Weights, options: Sequence[Level]) -> Tensor:
    """What each option of a level adds to the gates: (options, 4 * hidden)."""
    inputs = torch.tensor(list(options), dtype=weights.embed.dtype)
    return weights.projected(weights.embedded(inputs))


def score_product(weights: Weights, levels: Sequence[Sequence[Level]]) -> Tensor:
    """The scores of the whole product of `levels`, in the order of `itertools.product`.

    Each option of the first level is a task for one thread, which goes on depth first: beside the
    result, the memory in use is `UNFOLDED_ROWS` states for each level and thread.
    """
    projected = [project_levels(weights, level) for level in levels]
    scores = torch.empty(prod(len(level) for level in levels), dtype=weights.embed.dtype)
    root = torch.zeros(1, weights.hidden.shape[1], dtype=weights.embed.dtype)
    if len(levels) == 1:
        score_below(weights, root, root, projected, scores)
        return scores
    states, cells = _continued(weights, root, root, projected[0])
    workers = torch.get_num_threads()
    with (
        one_thread(),
        ThreadPoolExecutor(workers, initializer=torch.set_num_threads, initargs=(1,)) as pool,
    ):
        tasks = pool.map(
            score_below,
            repeat(weights),
            states.split(1),
            cells.split(1),
            repeat(projected[1:]),
            scores.view(len(states), -1),
        )
        for _ in tasks:
            pass
    return scores


def score_below(
    weights: Weights, state: Tensor, cell: Tensor, projected: Sequence[Tensor], scores: Tensor
) -> None:
    """Score all that continues the prefixes in `state` by the levels left, into `scores`.

    `state` and `cell` are (prefixes, hidden), `projected` as `project_levels` gives for each level
    left, `scores` flat in the order of the product.
    """
    share = len(scores) // len(state)
    rows = max(1, UNFOLDED_ROWS // len(projected[0]))
    for start in range(0, len(state), rows):
        stop = start + rows
        below, below_cell = _continued(weights, state[start:stop], cell[start:stop], projected[0])
        part = scores[start * share : stop * share]
        if len(projected) == 1:
            part.copy_(weights.valued(below))
        else:
            score_below(weights, below, below_cell, projected[1:], part)


def _continued(
    weights: Weights, state: Tensor, cell: Tensor, projected: Tensor
) -> tuple[Tensor, Tensor]:
    """State and cell of every prefix with every option: (prefixes * options, hidden), both."""
    width = weights.hidden.shape[1]
    old = (state @ weights.hidden.T).view(-1, 1, 4, width)
    new = projected.view(-1, 4, width)
    next_cell = (old[:, :, 1] + new[:, 1]).sigmoid_().mul_(cell[:, None])
    inner = (old[:, :, 0] + new[:, 0]).sigmoid_()
    next_cell.addcmul_(inner, (old[:, :, 2] + new[:, 2]).tanh_())
    outer = (old[:, :, 3] + new[:, 3]).sigmoid_()
    next_state = torch.tanh(next_cell).mul_(outer)
    return next_state.view(-1, width), next_cell.view(-1, width)
