"""What the log of a run tells of its supernet. The log may come from anywhere, so it is checked."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from math import nan
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from ..ir.decisions import Decision, OneOf, Setting
from ..ir.graph import Graph
from ..report.architecture import ArchitectureSection, LearntCost, LearntEpoch, Slots, decisions_of

_SLACK = 1e-6
"""Weights are rounded to six digits."""


class _Event(BaseModel):
    """The fields of `ArchitectureEpoch` that are shown."""

    model_config = ConfigDict(extra="ignore", strict=True)
    epoch: int
    epochs: int
    genotype: str
    weights: dict[str, list[list[float]]]
    entropies: dict[str, float]
    train_loss: float
    arch_loss: float | None
    valid_loss: float
    valid_score: float
    best: bool
    violated: list[str]
    measure: str = ""
    target: list[float] = []
    expected_cost: float | None = None
    cost: float | None = None
    steps: int = 0


def architecture_of(
    space: Graph, events: Iterable[Mapping[str, Any]], *, mixed: bool = True
) -> ArchitectureSection | None:
    """The epochs of a search over a supernet; None where there is none on record. `mixed` says
    whether the supernet mixes its candidates, or networks are drawn from a distribution.

    What is damaged, or belongs to another space, is left out, and a note says how many epochs are.
    An epoch may be on record twice, as a search that is resumed tells again what it did.
    """
    found: dict[int, LearntEpoch] = {}
    damaged: set[str] = set()
    for event in events:
        if event.get("event") != "ArchitectureEpoch":
            continue
        try:
            epoch = _epoch(space, _Event.model_validate(event))
        except (ValidationError, ValueError):
            damaged.add(repr(event.get("epoch")))
        else:
            found[epoch.number] = epoch
    if not found and not damaged:
        return None
    missing = damaged - {repr(number) for number in found}
    notes: tuple[str, ...] = ()
    if missing:
        many = f"{len(missing)} epochs" if len(missing) > 1 else "1 epoch"
        notes = (f"what the log has of {many} is damaged and left out",)
    epochs = tuple([found[number] for number in sorted(found)])
    return ArchitectureSection(decisions_of(space), epochs, notes, mixed)


def _epoch(space: Graph, event: _Event) -> LearntEpoch:
    """Raises ValueError where the event is none of this space."""
    if event.epoch < 1:
        raise ValueError("epochs count from 1")
    if event.weights.keys() - space.decisions.keys():
        raise ValueError("another space")
    weights = {key: _slots(space.decisions[key], slots) for key, slots in event.weights.items()}
    entropies = event.entropies
    if not all(0.0 <= value <= 1.0 + _SLACK for value in entropies.values()):
        raise ValueError("an entropy lies between 0 and 1")
    return LearntEpoch(
        event.epoch,
        weights,
        {key: value for key, value in entropies.items() if key in space.decisions},
        settings_of(space, event.genotype),
        event.valid_score,
        event.train_loss if event.epoch <= event.epochs - event.steps else nan,
        event.arch_loss,
        event.valid_loss,
        event.best,
        tuple(event.violated),
        _cost(event),
    )


def _cost(event: _Event) -> LearntCost | None:
    """Raises ValueError where the target is no range."""
    if event.expected_cost is None or event.cost is None:
        return None
    if len(event.target) not in (0, 2):
        raise ValueError("a target has two ends")
    return LearntCost(event.measure, event.expected_cost, event.cost, tuple(event.target))


def _slots(decision: Decision, slots: list[list[float]]) -> Slots:
    if not 1 <= len(slots) <= max(1, decision.slots):
        raise ValueError("too many slots, or none")
    for slot in slots:
        if len(slot) != len(decision.labels):
            raise ValueError("a weight for each candidate")
        # Written so that NaN fails, too.
        if not all(-_SLACK <= weight <= 1.0 + _SLACK for weight in slot):
            raise ValueError("a weight lies between 0 and 1")
    return tuple([tuple([min(1.0, max(0.0, weight)) for weight in slot]) for slot in slots])


def settings_of(space: Graph, text: str) -> dict[str, Setting]:
    """The settings that `searchers.genotypes.genotype_text` wrote.

    Raises ValueError where they are none of this space.
    """
    found: dict[str, Setting] = {}
    for line in text.splitlines():
        key, equals, value = line.partition(" = ")
        decision = space.decisions.get(key)
        if not equals or decision is None:
            raise ValueError(f"`{line}` is none of `{space.name}`")
        labels = [value] if isinstance(decision, OneOf) else _listed(decision, value)
        setting = decision.parse(labels)
        if not decision.admits(setting):
            raise ValueError(f"`{line}` is no setting")
        found[key] = setting
    return found


def _listed(decision: Decision, text: str) -> list[str]:
    """The labels of `{a, b}`; a label may have commas of its own, so the longest that fits goes."""
    if not (text.startswith("{") and text.endswith("}")):
        raise ValueError("a set has braces")
    rest, found = text[1:-1] + ", ", list[str]()
    known = sorted(decision.labels, key=len, reverse=True)
    while rest:
        label = next((label for label in known if rest.startswith(f"{label}, ")), None)
        if label is None:
            raise ValueError("no candidate of this decision")
        found.append(label)
        rest = rest[len(label) + 2 :]
    return found
