"""The state of a search after an epoch, as a file: all that the next epoch needs.

The shared weights, alpha, both optimisers, and the epochs that are done.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ...ir.graph import Graph
from ...training.state import below, damaged, optimiser_tensors, restore_optimiser
from ..epoch_state import read_state, write_state
from ..protocol import Epoch
from .learner import Learner

_HOLDS = "state of a search by sampled networks"


def save_state(
    file: Path, run: Mapping[str, Any], epochs: Sequence[Epoch], learner: Learner
) -> None:
    """Write the state, whole or not at all; `run` is what must be the same to go on from it."""
    tensors = {f"now/{name}": value for name, value in learner.networks.state_dict().items()}
    tensors |= {f"alpha/{key}": alpha for key, alpha in learner.prior.alphas().items()}
    found = optimiser_tensors(learner.arch_optimiser)
    tensors |= {f"architecture/{name}": value for name, value in found.items()}
    if learner.weight_optimiser is not None:
        found = optimiser_tensors(learner.weight_optimiser)
        tensors |= {f"weights/{name}": value for name, value in found.items()}
    write_state(file, _HOLDS, run, epochs, tensors)


def load_state(
    file: Path, run: Mapping[str, Any], space: Graph, learner: Learner
) -> tuple[Epoch, ...]:
    """Put everything back; the epochs that are done.

    Raises FusegraphError E702 and E705 as `read_state` does.
    """
    epochs, tensors, _ = read_state(file, _HOLDS, run, space)
    try:
        learner.networks.load_state_dict(below(tensors, "now/"))
        learner.prior.restore(below(tensors, "alpha/"))
        restore_optimiser(learner.arch_optimiser, below(tensors, "architecture/"))
        if learner.weight_optimiser is not None:
            restore_optimiser(learner.weight_optimiser, below(tensors, "weights/"))
    except (RuntimeError, ValueError, KeyError) as error:
        raise damaged(file, error) from None
    return epochs
