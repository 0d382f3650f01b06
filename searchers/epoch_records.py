"""The epochs of a gradient-based search as JSON, in its state file.

The file may come from anywhere, so what is read is checked.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from pydantic import BaseModel, ConfigDict

from ..compiler.explore import complete
from ..ir.graph import Graph
from .protocol import ArchitectureEpoch, Epoch

_DONE = "of epochs that are done"


class _Event(BaseModel):
    """`ArchitectureEpoch`, field by field."""

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
    measure: str
    target: list[float]
    expected_cost: float | None
    cost: float | None
    restored: bool
    steps: int = 0


class EpochRecord(BaseModel):
    """An epoch: the settings of its genotype by decision, and its event."""

    model_config = ConfigDict(extra="forbid", strict=True)
    settings: dict[str, list[int]]
    event: _Event


def recorded(epochs: Sequence[Epoch]) -> list[dict[str, Any]]:
    """The epochs as plain data, as `EpochRecord` reads them."""
    return [
        {
            "settings": {key: list(setting) for key, setting in epoch.genotype.items},
            "event": asdict(epoch.event),
        }
        for epoch in epochs
    ]


def restored(space: Graph, records: Sequence[EpochRecord]) -> tuple[Epoch, ...]:
    """The epochs of these records, told as restored ones.

    Raises ValueError where one is none of this space, or none of this place.
    """
    return tuple([_epoch(space, number, record) for number, record in enumerate(records, 1)])


def _epoch(space: Graph, number: int, stored: EpochRecord) -> Epoch:
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
    plain = told.model_dump(exclude={"weights", "violated", "target", "restored"})
    weights = {key: tuple([tuple(slot) for slot in slots]) for key, slots in told.weights.items()}
    event = ArchitectureEpoch(
        **plain,
        weights=weights,
        violated=tuple(told.violated),
        target=tuple(told.target),
        restored=True,
    )
    return Epoch(genotype, event)
