"""The state file of a gradient-based search: its epochs, what it belongs to, and tensors.

The file may come from anywhere, so what is in it is checked.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError
from torch import Tensor

from ..ir.diagnostics import Diagnostic, FusegraphError
from ..ir.graph import Graph
from ..training.containers import read_container, write_container
from ..training.state import damaged, difference
from .epoch_records import EpochRecord, recorded, restored
from .protocol import Epoch


class _Header(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)
    holds: str
    run: dict[str, Any]
    epochs: list[EpochRecord]
    kept: dict[str, Any] = {}


def write_state(
    file: Path,
    holds: str,
    run: Mapping[str, Any],
    epochs: Sequence[Epoch],
    tensors: Mapping[str, Tensor],
    kept: Mapping[str, Any] | None = None,
) -> None:
    """Write the state, whole or not at all; `run` is what must be the same to go on from it, and
    `kept` what the searcher keeps besides its tensors, as JSON.
    """
    header = {"holds": holds, "run": dict(run), "epochs": recorded(epochs)}
    if kept is not None:
        header["kept"] = dict(kept)
    write_container(file, header, tensors)


def read_state(
    file: Path, holds: str, run: Mapping[str, Any], space: Graph
) -> tuple[tuple[Epoch, ...], dict[str, Tensor], dict[str, Any]]:
    """The epochs that are done, the tensors by name, and what was kept.

    Raises FusegraphError: E702 where the file is no such state or damaged, E705 where it is that of
    a search with other settings, another space or other data.
    """
    raw, tensors = read_container(file, "the state of a search")
    try:
        header = _Header.model_validate(raw)
        if header.holds != holds:
            raise ValueError(f"it holds a {header.holds}")
    except (ValidationError, ValueError):
        raise FusegraphError(
            Diagnostic(
                code="E702",
                message=f"expected the {holds}, found another file of fusegraph's",
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
        return restored(space, header.epochs), tensors, header.kept
    except (RuntimeError, ValueError, KeyError) as error:
        raise damaged(file, error) from None
