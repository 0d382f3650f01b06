"""The state of a search after an epoch, as a file: all that the next epoch needs.

Weights, architecture and batch statistics, both optimisers, and the epochs that are done. The best
genotype follows from those.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from ...ir.graph import Graph
from ...training.bilevel import Bilevel
from ...training.state import below, damaged, optimiser_tensors, restore_optimiser
from ..epoch_state import read_state, write_state
from ..protocol import Epoch

_HOLDS = "state of a search over a supernet"


def save_state(
    file: Path, run: Mapping[str, Any], epochs: Sequence[Epoch], bilevel: Bilevel
) -> None:
    """Write the state, whole or not at all; `run` is what must be the same to go on from it."""
    tensors = {f"now/{name}": value for name, value in bilevel.module.state_dict().items()}
    for place, optimiser in _optimisers(bilevel).items():
        found = optimiser_tensors(optimiser)
        tensors |= {f"{place}/{name}": value for name, value in found.items()}
    write_state(file, _HOLDS, run, epochs, tensors)


def load_state(
    file: Path, run: Mapping[str, Any], space: Graph, bilevel: Bilevel
) -> tuple[Epoch, ...]:
    """Put the module and both optimisers back; the epochs that are done.

    Raises FusegraphError E702 and E705 as `read_state` does.
    """
    epochs, tensors, _ = read_state(file, _HOLDS, run, space)
    try:
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
