"""Fused and plain supernets compared: what the tests of fusion share."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import cast

import torch
from torch import Tensor

from fusegraph.backends.torch.masks import Drawing
from fusegraph.backends.torch.modules import DropPath
from fusegraph.backends.torch.supernet import SupernetModule, lower_supernet
from fusegraph.compiler.relax import Supernet
from relaxing import batch_of, random_state

Outputs = dict[str, Tensor]


def both(supernet: Supernet, seed: int) -> tuple[SupernetModule, SupernetModule]:
    """The plain and the fused module, in double precision, with the same random state."""
    plain = lower_supernet(supernet, 0, fused=False).double()
    fused = lower_supernet(supernet, 1).double()
    state = random_state(plain.network, seed)
    plain.load_plain_state(state)
    fused.load_plain_state(state)
    return plain, fused


def without_chance(module: SupernetModule) -> SupernetModule:
    """Nothing is dropped, but what is left is scaled as if it were: as dropout at its kindest."""
    for inner in module.modules():
        if isinstance(inner, torch.nn.Dropout | DropPath):
            object.__setattr__(inner, "forward", _scaled(inner))
        elif isinstance(inner, Drawing):
            object.__setattr__(inner.masks, "draw", _ones)
    return module


def _scaled(module: torch.nn.Dropout | DropPath) -> Callable[[Tensor], Tensor]:
    return lambda x: x / (1 - module.p) if module.training else x


def _ones(like: Tensor, p: float) -> Tensor:
    return torch.ones_like(like)


def step(module: SupernetModule, batch: Mapping[str, Tensor], seed: int) -> tuple[Outputs, Outputs]:
    """Outputs, and the gradients of a random sum of them by the names of the space's weights."""
    found = module.run({name: batch[name] for name in module.parameter_names})
    outputs = found if isinstance(found, dict) else {"": found}
    generator = torch.Generator().manual_seed(seed)
    loss = sum(
        (y * torch.randn(y.shape, generator=generator, dtype=y.dtype)).sum()
        for _, y in sorted(outputs.items())
    )
    parameters = [*module.weight_parameters(), *module.architecture_parameters()]
    wanted = [p for p in parameters if p.numel()]
    if not isinstance(loss, Tensor) or not loss.requires_grad:
        return outputs, {}
    found_gradients = torch.autograd.grad(loss, wanted, allow_unused=True)
    gradients = cast("Sequence[Tensor | None]", found_gradients)
    kept = module.plain_state()
    with torch.no_grad():
        before = [p.clone() for p in wanted]
        for parameter, gradient in zip(wanted, gradients, strict=True):
            parameter.copy_(torch.zeros_like(parameter) if gradient is None else gradient)
        state = module.plain_state()
        for parameter, value in zip(wanted, before, strict=True):
            parameter.copy_(value)
    learned = {name for name in kept if "running_" not in name and "num_batches" not in name}
    return outputs, {name: value for name, value in state.items() if name in learned}


def check_same(supernet: Supernet, sizes: Mapping[str, int], seed: int) -> None:
    """Outputs, gradients and running statistics are equal, in both modes, to 1e-10."""
    plain, fused = both(supernet, seed)
    batch = batch_of(supernet.graph, sizes, seed)
    for training in (False, True):
        expected = step(without_chance(plain.train(training)), batch, seed)
        found = step(without_chance(fused.train(training)), batch, seed)
        for ours, theirs in zip(found, expected, strict=True):
            close(ours, theirs)
        close(fused.plain_state(), plain.plain_state())


def close(found: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> None:
    """The same names, and values that are equal to 1e-10 of the largest of their tensor."""
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        if not value.numel():
            continue
        size = max(1.0, float(value.detach().abs().max())) if value.is_floating_point() else 1.0
        torch.testing.assert_close(
            found[name] / size,
            value / size,
            rtol=0,
            atol=1e-10,
            equal_nan=True,
            msg=f"{name}: {{}}",
        )
