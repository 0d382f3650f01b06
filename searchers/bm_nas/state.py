"""The state of a search after an epoch, as a file: all that the next epoch needs.

Weights, architecture and batch statistics, both optimisers, and the epochs that are done. The best
genotype follows from those. The file may come from anywhere, so what is in it is checked.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError
from torch import Tensor

from ...ir.diagnostics import Diagnostic, FusegraphError
from ...ir.graph import Graph
from ...training.bilevel import Bilevel
from ...training.containers import read_container, write_container
from ...training.state import below, damaged, difference, optimiser_tensors, restore_optimiser
from ..epoch_records import EpochRecord, recorded, restored
from ..protocol import Epoch

_HOLDS = "state of a search over a supernet"


class _Header(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)
    holds: str
    run: dict[str, Any]
    epochs: list[EpochRecord]


def save_state(
    file: Path, run: Mapping[str, Any], epochs: Sequence[Epoch], bilevel: Bilevel
) -> None:
    """Write the state, whole or not at all; `run` is what must be the same to go on from it."""
    tensors = {f"now/{name}": value for name, value in bilevel.module.state_dict().items()}
    for place, optimiser in _optimisers(bilevel).items():
        found = optimiser_tensors(optimiser)
        tensors |= {f"{place}/{name}": value for name, value in found.items()}
    write_container(file, {"holds": _HOLDS, "run": dict(run), "epochs": recorded(epochs)}, tensors)


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
        epochs = restored(space, header.epochs)
        bilevel.module.load_state_dict(below(tensors, "now/"))
        for place, optimiser in _optimisers(bilevel).items():
            restore_optimiser(optimiser, below(tensors, f"{place}/"))
    except (RuntimeError, ValueError, KeyError) as error:
        raise damaged(file, error) from None
    return epochs


def _optimisers(bilevel: Bilevel) -> dict[str, Any]:
    found = {"architecture": bilevel.architecture_optimiser}
    if bilevel.weight_optimiser is not None:
        found["weights"] = bilevel.weight_optimiser
    return found


def shapes_of(tensors: Mapping[str, Tensor]) -> dict[str, list[int]]:
    """By name, as JSON."""
    return {name: list(value.shape) for name, value in tensors.items()}
