"""A network of BM-NAS's release, computed from its genotype's lines with torch alone."""

from __future__ import annotations

from collections.abc import Mapping
from math import isqrt

import torch
from torch import Tensor
from torch.nn import functional

from fusegraph.backends.torch import Network
from fusegraph.ir.dsl import Program
from fusegraph.ir.genotype import Genotype
from fusegraph.ir.graph import Graph


def labels_of(space: Graph, genotype: Genotype) -> dict[str, tuple[str, ...]]:
    """What each decision takes, as the genotype's file says it."""
    return {
        key: tuple([space.decisions[key].labels[i] for i in setting])
        for key, setting in genotype.items
    }


class Release:
    """A found network computed from its genotype's lines, with the weights of the module."""

    def __init__(self, module: Network, program: Program, genotype: Genotype) -> None:
        self.weights = {
            name: torch.randn_like(value) if value.is_floating_point() else value
            for name, value in module.state_dict().items()
        }
        for name, value in self.weights.items():
            if name.endswith("running_var"):
                value.abs_().add_(0.5)
        module.load_state_dict(self.weights)
        self.taken = labels_of(program.graph, genotype)

    def pick(self, key: str) -> list[Tensor]:
        """What the state dict has under a key: weight, bias, and a batch norm's statistics."""
        owner = key.replace("[", ".").replace("]", "")
        return [v for k, v in self.weights.items() if k.rpartition(".")[0] == owner and v.ndim]

    def linear(self, x: Tensor, key: str) -> Tensor:
        weight, bias = self.pick(key)
        return functional.conv1d(x, weight.reshape(*weight.shape[:2], 1), bias)

    def norm(self, x: Tensor, key: str) -> Tensor:
        weight, bias, mean, var = self.pick(key)
        return functional.batch_norm(x, mean, var, weight, bias)

    def layer_norm(self, x: Tensor, key: str) -> Tensor:
        weight, bias = self.pick(key)
        return functional.layer_norm(x, x.shape[1:], weight, bias)

    def align(self, tap: Tensor, key: str, length: int) -> Tensor:
        if key.startswith("image"):
            side = isqrt(length)
            at = functional.adaptive_max_pool2d(tap, (side, side)).flatten(2)
        elif tap.ndim == 2:
            at = tap.unsqueeze(-1).repeat(1, 1, length)
        else:
            frames = tap.reshape(*tap.shape[:3], -1)
            at = functional.adaptive_max_pool2d(frames, (length, 1)).flatten(2)
        key = f"{key}.project"
        return functional.relu(self.norm(self.linear(at, f"{key}.linear"), f"{key}.batch_norm"))

    def step(self, x: Tensor, y: Tensor, key: str) -> Tensor:
        op = self.taken[f"{key}.op"][0]
        if op == "sum":
            return x + y
        if op == "attention":
            scores = torch.softmax(x.transpose(1, 2) @ y / x.shape[1] ** 0.5, dim=-1)
            out = (scores @ y.transpose(1, 2)).transpose(1, 2)
            return self.layer_norm(out, f"{key}.attention.layer_norm")
        if op == "glu":
            h = self.linear(torch.cat([x, y], 1), f"{key}.glu.h.linear")
            return functional.glu(self.norm(h, f"{key}.glu.h"), dim=1)
        return self.joined([x, y], f"{key}.fc")

    def joined(self, parts: list[Tensor], key: str) -> Tensor:
        h = self.linear(torch.cat(parts, 1), f"{key}.linear")
        return functional.relu(self.norm(h, f"{key}.batch_norm"))

    def run(self, taps: Mapping[str, Tensor], constants: Mapping[str, int]) -> Tensor:
        states: dict[str, Tensor] = {}
        for n in range(1, constants["cells"] + 1):
            ends: list[Tensor] = []
            for name in self.taken[f"c[{n}].inputs"]:
                if name not in states:
                    tap = taps[name.replace("[", "_tap[")]
                    states[name] = self.align(tap, name, constants["L"])
                ends.append(states[name])
            inner = {"x": ends[0], "y": ends[1]}
            for m in range(1, constants["steps"] + 1):
                key = f"c[{n}].s[{m}]"
                left, right = (inner[self.taken[f"{key}.{side}"][0]] for side in ("left", "right"))
                inner[f"s[{m}]"] = self.step(left, right, key)
            many, of = constants["multiplier"], constants["steps"]
            last = [inner[f"s[{max(1, of - many + i + 1)}]"] for i in range(many)]
            out = last[0] if many == 1 else self.joined(last, f"c[{n}].out[2]")
            states[f"c[{n}]"] = self.layer_norm(out + ends[0], f"c[{n}].layer_norm")
        cells = torch.cat([states[f"c[{n + 1}]"] for n in range(constants["cells"])], 1)
        wide = functional.relu(self.layer_norm(cells, "logits.layer_norm")).flatten(1)
        return functional.linear(wide, *self.pick("logits"))
