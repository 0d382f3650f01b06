"""Supernets and networks compared: what the tests of relaxation and of fusion share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from fusegraph.backends.names import weight_name
from fusegraph.backends.torch import Network, lower
from fusegraph.compiler.relax import Supernet
from fusegraph.ir.cells import expand
from fusegraph.ir.decisions import Setting
from fusegraph.ir.graph import Graph
from fusegraph.ir.settling import bind


def batch_of(
    graph: Graph, sizes: Mapping[str, int], seed: int = 0, dtype: torch.dtype = torch.float64
) -> dict[str, torch.Tensor]:
    """Random tensors for the inputs; whole numbers are below the rows of every table."""
    generator = torch.Generator().manual_seed(seed)
    found: dict[str, torch.Tensor] = {}
    for node in graph.inputs:
        shape = [int(str(bind(size, sizes))) for size in node.type.shape]
        if node.type.dtype == "i64":
            found[node["name"]] = torch.randint(5, shape, generator=generator)
        else:
            found[node["name"]] = torch.randn(shape, generator=generator, dtype=dtype)
    return found


def outputs_of(module: Network, batch: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The outputs by name, however many there are."""
    found: Any = module.run({name: batch[name] for name in module.parameter_names})
    return found if isinstance(found, dict) else {module.graph.outputs[0][0]: found}


def random_state(module: torch.nn.Module, seed: int) -> dict[str, torch.Tensor]:
    """Weights and running statistics that are all different; variances are positive."""
    generator = torch.Generator().manual_seed(seed)
    state = module.state_dict()
    for name, value in state.items():
        if value.is_floating_point():
            drawn = torch.randn(value.shape, generator=generator, dtype=value.dtype)
            state[name] = drawn.abs() + 0.5 if name.endswith("running_var") else 0.5 * drawn
    return state


def set_architecture(
    state: dict[str, torch.Tensor], values: Mapping[str, tuple[Any, ...]]
) -> dict[str, torch.Tensor]:
    """The state with these values of the architecture parameters, by key."""
    for key, value in values.items():
        name = weight_name(key, "weight")
        if name in state:
            state[name] = torch.tensor(value, dtype=state[name].dtype)
    return state


def inherited(
    supernet: Supernet,
    settings: Mapping[str, Setting],
    network: Graph,
    state: Mapping[str, torch.Tensor],
) -> dict[str, torch.Tensor]:
    """The weights of the network of these settings, as the supernet has them."""
    found: dict[str, torch.Tensor] = {}
    for node in expand(network).order:
        for weight in node.weights:
            source = weight_name(supernet.key_of(node.key, settings), weight.name)
            found[weight_name(node.key, weight.name)] = state[source]
    return found


def lowered(graph: Graph, state: Mapping[str, torch.Tensor]) -> Network:
    """The network with these weights, in double precision."""
    module = lower(graph, 0).double()
    module.load_state_dict(dict(state))
    return module
