"""The state of a search after an epoch, as a file: all that the next epoch needs.

Weights, architecture and batch statistics, both optimisers, and the epochs that are done. The best
genotype follows from those. The file may come from anywhere, so what is in it is checked.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError
from torch import Tensor

from ...compiler.explore import complete
from ...ir.diagnostics import Diagnostic, FusegraphError
from ...ir.graph import Graph
from ...training.bilevel import Bilevel
from ...training.containers import read_container, write_container
from ...training.state import below, damaged, difference, optimiser_tensors, restore_optimiser
from ..protocol import ArchitectureEpoch, Epoch

_HOLDS = "state of a search over a supernet"
_DONE = "of epochs that are done"


class _Event(BaseModel):
    """`ArchitectureEpoch`, but for what follows from the genotype."""

    model_config = ConfigDict(extra="forbid", strict=True)
    epoch: int
    epochs: int
    genotype: str
    digest: str
    weights: dict[str, list[list[float]]]
    entropies: dict[str, float]
    train_loss: float
    arch_loss: float | None
    valid_loss: float
    valid_score: float
    learning_rate: float
    best: bool
    violated: list[str]
    seconds: float
    restored: bool


class _Epoch(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)
    settings: dict[str, list[int]]
    event: _Event


class _Header(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)
    holds: str
    run: dict[str, Any]
    epochs: list[_Epoch]


def save_state(
    file: Path, run: Mapping[str, Any], epochs: Sequence[Epoch], bilevel: Bilevel
) -> None:
    """Write the state, whole or not at all; `run` is what must be the same to go on from it."""
    tensors = {f"now/{name}": value for name, value in bilevel.module.state_dict().items()}
    for place, optimiser in _optimisers(bilevel).items():
        found = optimiser_tensors(optimiser)
        tensors |= {f"{place}/{name}": value for name, value in found.items()}
    done = [
        {
            "settings": {key: list(setting) for key, setting in epoch.genotype.items},
            "event": asdict(epoch.event),
        }
        for epoch in epochs
    ]
    write_container(file, {"holds": _HOLDS, "run": dict(run), "epochs": done}, tensors)


def load_state(
    file: Path, run: Mapping[str, Any], space: Graph, bilevel: Bilevel
) -> tuple[Epoch, ...]:
    """Put the module and both optimisers back; the epochs that are done.

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
                message="expected the state of a search over a supernet, found another file of "
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
        epochs = tuple([_epoch(space, number, e) for number, e in enumerate(header.epochs, 1)])
        bilevel.module.load_state_dict(below(tensors, "now/"))
        for place, optimiser in _optimisers(bilevel).items():
            restore_optimiser(optimiser, below(tensors, f"{place}/"))
    except (RuntimeError, ValueError, KeyError) as error:
        raise damaged(file, error) from None
    return epochs


def _epoch(space: Graph, number: int, stored: _Epoch) -> Epoch:
    """Raises ValueError where it is none of this space."""
    settings = {key: tuple(setting) for key, setting in stored.settings.items()}
    for key, setting in settings.items():
        if key not in space.decisions or not space.decisions[key].admits(setting):
            raise ValueError(f"the space has no such setting of `{key}`, {_DONE}")

    def missing(decision: Any) -> Any:
        raise ValueError(f"`{decision.key}` is not settled, {_DONE}")

    genotype = complete(space, settings, missing)
    told = stored.event
    if genotype.digest != told.digest or told.epoch != number:
        raise ValueError(f"epoch {number} has another genotype than it says")
    plain = told.model_dump(exclude={"weights", "violated", "restored"})
    weights = {key: tuple([tuple(slot) for slot in slots]) for key, slots in told.weights.items()}
    event = ArchitectureEpoch(
        **plain, weights=weights, violated=tuple(told.violated), restored=True
    )
    return Epoch(genotype, event)


def _optimisers(bilevel: Bilevel) -> dict[str, Any]:
    found = {"architecture": bilevel.architecture_optimiser}
    if bilevel.weight_optimiser is not None:
        found["weights"] = bilevel.weight_optimiser
    return found


def shapes_of(tensors: Mapping[str, Tensor]) -> dict[str, list[int]]:
    """By name, as JSON."""
    return {name: list(value.shape) for name, value in tensors.items()}
