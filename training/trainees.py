"""Networks that are to be trained side by side: where they start, and which fit together."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from torch import Tensor

from ..backends.torch.network import start_of
from ..ir.diagnostics import Diagnostic, FusegraphError
from ..ir.dims import Expr, symbols_in
from ..ir.graph import Graph, graph
from ..ir.node import everything
from ..ir.settling import bind
from ..ir.types import DTYPES
from .events import TrainingEvent
from .loop import FitResult
from .settings import TrainSettings

OnTrainee = Callable[[int, TrainingEvent], None]
"""Called with a trainee's place and what it tells: the end of its epochs and of its training."""

MOST_BYTES = 2**31
"""Of activations: networks that together need more are trained in several programs."""


@dataclass(frozen=True, slots=True)
class Trainee:
    """A network to be trained.

    `weights` are where it starts, by the names of its `state_dict`; what they have not starts as
    in `lower(network, seed)`. They give the precision too. `seed` is also that of its dropout.
    """

    network: Graph
    weights: Mapping[str, Tensor] | None
    seed: int


@dataclass(frozen=True, slots=True)
class Trained:
    """How it went: the result and the weights of the best epoch, or what went wrong."""

    result: FitResult | None
    failure: Exception | None
    """A FusegraphError, or what was raised where the memory is too small for the network."""
    weights: Mapping[str, Tensor]


@dataclass(frozen=True, slots=True)
class Ready:
    """A trainee with its start, and its network with the logits as its only output."""

    trainee: Trainee
    network: Graph
    start: dict[str, Tensor]


def prepared(trainee: Trainee) -> Ready:
    """The trainee, ready to be trained. Raises FusegraphError E704, and as `lower` does."""
    network = trainee.network
    outputs = dict(network.outputs)
    if "logits" not in outputs and len(outputs) > 1:
        raise FusegraphError(
            Diagnostic(
                code="E704",
                message=f"expected an output `logits`, found {', '.join(sorted(outputs))}",
                place=network.name,
                help="name the output that is trained `logits`",
            )
        )
    root = outputs["logits"] if "logits" in outputs else network.roots[0]
    start = {**start_of(network, trainee.seed), **(trainee.weights or {})}
    bare = graph(network.name, network.inputs, [("logits", root)], network.requires)
    return Ready(trainee, bare, {name: value.detach() for name, value in start.items()})


def programs(ready: Mapping[int, Ready], settings: TrainSettings) -> list[list[int]]:
    """The places of networks that are trained together: alike, and not too many."""
    alike: dict[Any, list[tuple[dict[str, Any], list[int], float]]] = {}
    found: list[list[int]] = []
    for place, each in ready.items():
        network = each.network
        inputs = {node["name"]: node.type for node in network.inputs}
        needs = _activation_bytes(network) * settings.batch
        programs = alike.setdefault(network.roots[0].type, [])
        for at, (known, places, taken) in enumerate(programs):
            agree = all(known.get(name, type) is type for name, type in inputs.items())
            if agree and taken + needs <= MOST_BYTES:
                places.append(place)
                programs[at] = ({**known, **inputs}, places, taken + needs)
                break
        else:
            programs.append((inputs, [place], needs))
            found.append(programs[-1][1])
    return found


def _activation_bytes(network: Graph) -> float:
    """Of one sample, named sizes taken as 1: what the nodes give, all kept for the way back."""
    total = 0.0
    for node in everything(network.roots):
        numbers = 1.0
        for size in node.type.shape:
            numbers *= float(size) if isinstance(size, int) else _at_one(size)
        total += numbers * DTYPES[node.type.dtype]
    return total


@lru_cache(maxsize=1024)
def _at_one(size: Expr) -> float:
    value: Any = bind(size, dict.fromkeys(symbols_in(size), 1))
    return float(value)
