"""Video networks against torch's own functions: random weights for all of a network, and layers
that read them by name from its `state_dict`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as f

from fusegraph.backends.onnx import export
from fusegraph.backends.torch import Network, lower
from fusegraph.ir.graph import Graph
from torch_backend_networks import batch_for


def weighted(network: Graph, seed: int = 0) -> Network:
    """A module in evaluation mode in which no weight and no statistic is 0 or 1."""
    module = lower(network, seed=seed).eval()
    generator = torch.Generator().manual_seed(seed)
    for name, value in module.state_dict().items():
        if not value.is_floating_point():
            continue
        drawn = torch.rand(value.shape, generator=generator)
        if name.endswith("running_var") or (value.ndim == 1 and name.endswith("weight")):
            value.copy_(0.5 + drawn)
        elif value.ndim <= 1:
            value.copy_(0.4 * drawn - 0.2)
        else:
            fan_in = max(1, value[0].numel())
            value.copy_((2 * drawn - 1) * (3 / fan_in) ** 0.5)
    return module


@dataclass(frozen=True)
class Layers:
    """Layers by the names of their weights, in torch's own functions."""

    weights: dict[str, Tensor]

    def conv(
        self,
        name: str,
        x: Tensor,
        stride: tuple[int, int, int] = (1, 1, 1),
        pad: tuple[int, int, int] = (0, 0, 0),
        dilation: tuple[int, int, int] = (1, 1, 1),
        groups: int = 1,
    ) -> Tensor:
        weight, bias = self.weights[f"{name}.weight"], self.weights.get(f"{name}.bias")
        return f.conv3d(x, weight, bias, stride, pad, dilation, groups)

    def norm(self, name: str, x: Tensor) -> Tensor:
        mean, var, gamma, beta = [
            self.weights[f"{name}.{part}"].reshape(1, -1, *[1] * (x.ndim - 2))
            for part in ("running_mean", "running_var", "weight", "bias")
        ]
        return (x - mean) / torch.sqrt(var + 1e-5) * gamma + beta

    def linear(self, name: str, x: Tensor) -> Tensor:
        return f.linear(x, self.weights[f"{name}.weight"], self.weights.get(f"{name}.bias"))


def doubled(module: Network, seed: int = 1) -> tuple[Layers, dict[str, Tensor], Tensor]:
    """The module's layers, a batch, and what the module makes of it, in double precision."""
    module = module.double()
    batch = batch_for(module.graph, seed, double=True)
    with torch.no_grad():
        found = module.run(batch)
    assert isinstance(found, Tensor)
    return Layers(module.state_dict()), batch, found


def onnx_difference(module: Network, folder: Path) -> float:
    """How far onnxruntime is from torch, relative to the largest value."""
    return export(module.float(), None, folder / "m.onnx", batch_sizes=(1, 2)).difference
