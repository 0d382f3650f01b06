"""The state of a search after an epoch, as a file: all that the next epoch needs.

The shared weights, alpha, both optimisers, and the epochs that are done. The
file may come from anywhere, so what is in it is checked.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from pydantic import BaseModel, ConfigDict, ValidationError

from ...ir.diagnostics import Diagnostic, FusegraphError
from ...ir.graph import Graph
from ...training.containers import read_container, write_container
from ...training.state import below, damaged, difference, optimiser_tensors, restore_optimiser
from ..epoch_records import EpochRecord, recorded, restored
from ..protocol import Epoch
from .learner import Learner

_HOLDS = "state of a search by sampled networks"


class _Header(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)
    holds: str
    run: dict[str, Any]
    epochs: list[EpochRecord]


def save_state(
    file: Path, run: Mapping[str, Any], epochs: Sequence[Epoch], learner: Learner
) -> None:
    """Write the state, whole or not at all; `run` is what must be the same to go on from it."""
    tensors = {f"now/{name}": value for name, value in learner.networks.state_dict().items()}
    tensors |= {f"alpha/{key}": law.alpha for key, law in learner.prior.laws.items()}
    found = optimiser_tensors(learner.arch_optimiser)
    tensors |= {f"architecture/{name}": value for name, value in found.items()}
    if learner.weight_optimiser is not None:
        found = optimiser_tensors(learner.weight_optimiser)
        tensors |= {f"weights/{name}": value for name, value in found.items()}
    write_container(file, {"holds": _HOLDS, "run": dict(run), "epochs": recorded(epochs)}, tensors)


def load_state(
    file: Path, run: Mapping[str, Any], space: Graph, learner: Learner
) -> tuple[Epoch, ...]:
    """Put everything back; the epochs that are done.

    Raises FusegraphError: E702 where the file is no such state or damaged, E705 where it is that of
    a search with other settings, another space or other data.
    """
    raw, tensors = read_container(file, "the state of a search")
    try:
        header = _Header.model_validate(raw)
        if header.holds != _HOLDS:
            raise ValueError(f"it holds a {header.holds}")
    except (ValidationError, ValueError):
        raise FusegraphError(
            Diagnostic(
                code="E702",
                message="expected the state of a search by sampled networks, found another file of "
                "fusegraph's",
                place=str(file),
                help="put the file of this run back, or remove it to begin anew",
            )
        ) from None
    if header.run != run:
        raise FusegraphError(
            Diagnostic(
                code="E705",
                message=f"this search cannot go on from here: {difference(run, header.run)}",
                place=str(file),
                help="resume with what the search began with, or begin in another folder",
            )
        )
    try:
        epochs = restored(space, header.epochs)
        learner.networks.load_state_dict(below(tensors, "now/"))
        _restore_alpha(learner, below(tensors, "alpha/"))
        restore_optimiser(learner.arch_optimiser, below(tensors, "architecture/"))
        if learner.weight_optimiser is not None:
            restore_optimiser(learner.weight_optimiser, below(tensors, "weights/"))
    except (RuntimeError, ValueError, KeyError) as error:
        raise damaged(file, error) from None
    return epochs


def _restore_alpha(learner: Learner, alphas: Mapping[str, torch.Tensor]) -> None:
    """Raises ValueError where they are not those of the space."""
    laws = learner.prior.laws
    if alphas.keys() != laws.keys():
        raise ValueError("alpha is of other decisions")
    for key, value in alphas.items():
        alpha = laws[key].alpha
        if value.shape != alpha.shape or value.dtype != alpha.dtype:
            raise ValueError(f"alpha of `{key}` is {list(value.shape)}, not {list(alpha.shape)}")
        with torch.no_grad():
            alpha.copy_(value)
