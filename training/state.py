"""The state of a training after an epoch: all that the next epoch needs.

Batch order, dropout and learning rate are functions of the seed and of the epoch's number, so no
generator and no scheduler has to be stored.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

import torch
from pydantic import BaseModel, ConfigDict, ValidationError
from torch import Tensor, nn
from torch.optim import Optimizer

from ..ir.diagnostics import Diagnostic, FusegraphError
from .containers import read_container, write_container
from .events import EpochEnded
from .settings import TrainSettings


@dataclass(frozen=True, slots=True)
class TrainingState:
    """The history so far and the weights of the best epoch."""

    history: tuple[EpochEnded, ...] = ()
    best: Mapping[str, Tensor] | None = None


class _Header(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)
    holds: str
    run: dict[str, Any]
    history: list[dict[str, Any]]


def describe(
    module: nn.Module, settings: TrainSettings, batches: int, order_seed: int
) -> dict[str, object]:
    """What must be the same for a training to go on."""
    return {
        "settings": settings.model_dump(mode="json"),
        "batches": batches,
        "order_seed": order_seed,
        "tensors": {name: list(value.shape) for name, value in module.state_dict().items()},
    }


def save_state(
    file: Path,
    state: TrainingState,
    module: nn.Module,
    optimiser: Optimizer | None,
    run: dict[str, object],
) -> None:
    """Writes the state atomically."""
    tensors = {f"now/{name}": value for name, value in module.state_dict().items()}
    tensors |= {f"best/{name}": value for name, value in (state.best or {}).items()}
    if optimiser is not None:
        found = optimiser_tensors(optimiser)
        tensors |= {f"optimiser/{name}": value for name, value in found.items()}
    history = [asdict(event) for event in state.history]
    header = {"holds": "training state", "run": run, "history": history}
    write_container(file, header, tensors)


def load_state(
    file: Path, module: nn.Module, optimiser: Optimizer | None, run: dict[str, object]
) -> TrainingState:
    """Puts module and optimiser where they were after the last complete epoch.

    Raises:
        FusegraphError: E702 where the file is not a training state, E705 where it is that of a
            training with other settings, another network or other data.
    """
    raw, tensors = read_container(file, "the state of a training")
    try:
        header = _Header.model_validate(raw)
        history = tuple(EpochEnded(**event) for event in header.history)
    except (ValidationError, TypeError):
        raise FusegraphError(
            Diagnostic(
                code="E702",
                message="expected the state of a training, found another file of fusegraph's",
                place=str(file),
                help="give the state file of this run, or remove it to begin anew",
            )
        ) from None
    if header.run != run:
        raise FusegraphError(
            Diagnostic(
                code="E705",
                message=f"this training cannot go on from here: {difference(run, header.run)}",
                place=str(file),
                help="resume with what the training began with, or remove the file to begin anew",
            )
        )
    try:
        module.load_state_dict(below(tensors, "now/"))
        if optimiser is not None:
            restore_optimiser(optimiser, below(tensors, "optimiser/"))
    except (RuntimeError, ValueError) as error:
        raise damaged(file, error) from None
    best = {name: value.clone() for name, value in below(tensors, "best/").items()}
    device = next((p.device for p in module.parameters()), torch.device("cpu"))
    return TrainingState(history, {name: value.to(device) for name, value in best.items()})


def damaged(file: Path, error: Exception) -> FusegraphError:
    """E702 for a state whose tensors are not those that its header speaks of."""
    return FusegraphError(
        Diagnostic(
            code="E702",
            message=f"the state of a training is damaged: {str(error).splitlines()[0]}",
            place=str(file),
            help="put the file back as it was, or remove it to begin anew",
        )
    )


def optimiser_tensors(optimiser: Optimizer) -> dict[str, Tensor]:
    """What an optimiser remembers of each parameter, by the parameter's number and by name."""
    slots = cast("dict[int, dict[str, object]]", optimiser.state_dict()["state"])
    return {
        f"{index}/{key}": value
        for index, values in slots.items()
        for key, value in values.items()
        if isinstance(value, Tensor)
    }


def restore_optimiser(optimiser: Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """Put back what `optimiser_tensors` gave. Raises ValueError where that cannot be."""
    parameters = [p for group in optimiser.param_groups for p in group["params"]]
    slots: dict[int, dict[str, Tensor]] = {}
    for name, value in tensors.items():
        index, _, key = name.partition("/")
        if not index.isdecimal() or int(index) >= len(parameters):
            raise ValueError(f"there is no parameter for {name}")
        shape = parameters[int(index)].shape
        if value.shape not in (shape, ()):
            raise ValueError(f"{name} has the shape {list(value.shape)}, not {list(shape)}")
        slots.setdefault(int(index), {})[key] = value
    optimiser.load_state_dict({**optimiser.state_dict(), "state": slots})


def below(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The tensors whose names begin with this, by the rest of their names."""
    return {n.removeprefix(prefix): v for n, v in tensors.items() if n.startswith(prefix)}


def difference(expected: Mapping[str, Any], found: Mapping[str, Any]) -> str:
    """Where two descriptions of a run first differ, for people; empty where they do not."""
    for key in expected:
        a, b = expected[key], found.get(key)
        if isinstance(a, dict) and isinstance(b, dict):
            inner = difference(cast("dict[str, Any]", a), cast("dict[str, Any]", b))
            if inner:
                return f"{key}.{inner}"
        elif a != b:
            return f"{key}: expected {a!r} as now, found {b!r}"
    extra = sorted(set(found) - set(expected))
    return f"{extra[0]}: expected nothing, found {found[extra[0]]!r}" if extra else ""
