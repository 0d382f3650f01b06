"""A supernet as a module: what a gradient-based searcher steps.

Weights and architecture parameters apart, each by the names of the space.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import torch
from torch import Tensor, nn

from ...compiler.relax import Alpha, Supernet
from ..names import path_of
from .network import Network, lower


class SupernetModule(nn.Module):
    """A supernet that runs, trains and is asked for its architecture. Made by `lower_supernet`."""

    def __init__(self, supernet: Supernet, network: Network) -> None:
        super().__init__()
        self.supernet = supernet
        self.network = network
        self._places = {key: f"{'.'.join(path_of(key))}.weight" for key in supernet.architecture}

    @property
    def parameter_names(self) -> Mapping[str, str]:
        """What `forward` calls each input of the graph."""
        return self.network.parameter_names

    def forward(self, *inputs: Tensor) -> Tensor | dict[str, Tensor]:
        """The outputs for the inputs in the order of the graph, as `Network.forward`."""
        return self.network(*inputs)

    def run(self, batch: Mapping[str, Tensor]) -> Tensor | dict[str, Tensor]:
        """The outputs for a batch of named tensors, as `Network.run`."""
        return self.network.run(batch)

    def weight_parameters(self) -> list[nn.Parameter]:
        """All parameters but those of the architecture, for the optimiser of the weights."""
        places = set(self._places.values())
        return [p for name, p in self.network.named_parameters() if name not in places]

    def architecture_parameters(self) -> list[nn.Parameter]:
        """One parameter a decision, in the order of `Supernet.architecture`."""
        parameters = dict(self.network.named_parameters())
        return [parameters[place] for place in self._places.values() if place in parameters]

    def architecture(self) -> dict[str, Alpha]:
        """By `Relaxed.key` the values of the parameter as nested tuples of numbers."""
        parameters = dict(self.network.named_parameters())
        return {
            key: _nested(parameters[place].detach().tolist())
            for key, place in self._places.items()
            if place in parameters
        }

    def set_architecture(self, values: Mapping[str, Alpha]) -> None:
        """Give architecture parameters these values; those that are not named keep theirs."""
        parameters = dict(self.network.named_parameters())
        with torch.no_grad():
            for key, value in values.items():
                place = self._places[key]
                if place in parameters:
                    target = parameters[place]
                    target.copy_(torch.tensor(value, dtype=target.dtype, device=target.device))

    def plain_state(self) -> dict[str, Tensor]:
        """The state by the names of the space's keys, as `lower(supernet.graph)` has it."""
        return {name: value.clone() for name, value in self.network.state_dict().items()}

    def load_plain_state(self, state: Mapping[str, Tensor]) -> None:
        """Take over a state that `plain_state` gave."""
        self.network.load_state_dict(dict(state))


def lower_supernet(
    supernet: Supernet, seed: int | None = None, *, fused: bool = True, compiled: bool = False
) -> SupernetModule:
    """The supernet as a module; starts of weights as those of `lower(supernet.graph, seed)`."""
    module = SupernetModule(supernet, lower(supernet.graph, seed))
    if compiled:
        module.network.compile()
    return module


def _nested(value: Any) -> Any:
    if isinstance(value, list):
        return tuple([_nested(item) for item in cast("list[Any]", value)])
    return value
