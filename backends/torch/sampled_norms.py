"""Batch norms in training: statistics of each network's own, running ones as if in turn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F  # noqa: N812  (its name all over the field)
from torch import Tensor, nn

from .cuts import Slices
from .sampled_steps import Step


def normed(step: Step, x: Tensor, statistics: dict[Step, Tensor]) -> Tensor:
    """A batch norm by the statistics of x, kept for the running ones: mean and variance, [2, C].

    They have the precision of the running ones, which is not that of x under autocast.
    """
    module, node = step.module, step.node
    assert module is not None
    weight, bias = module.weight, module.bias
    assert isinstance(weight, Tensor)
    assert isinstance(bias, Tensor)
    found = statistics[step] = weight.new_zeros((2, x.shape[1]))
    return F.batch_norm(x, found[0], found[1], weight, bias, True, 1.0, node["eps"])


def update(uses: Sequence[Step], statistics: Mapping[Step, Tensor]) -> None:
    """Running statistics after these batch norms, in this order, a step as often as it stands.

    After batches of the statistics s1 … sn, r becomes (1-m)^n r + sum of m (1-m)^(n-i) si.
    """
    shares: dict[nn.Module, dict[Step, float]] = {}
    kept: dict[nn.Module, float] = {}
    counts: dict[nn.Module, int] = {}
    for step in reversed(uses):
        module = step.module
        assert module is not None
        momentum = float(step.node["momentum"])
        left = kept.get(module, 1.0)
        of_module = shares.setdefault(module, {})
        of_module[step] = of_module.get(step, 0.0) + momentum * left
        kept[module] = left * (1.0 - momentum)
        counts[module] = counts.get(module, 0) + 1
    with torch.no_grad():
        for module, of_module in shares.items():
            for place, name in enumerate(("running_mean", "running_var")):
                running = getattr(module, name)
                assert isinstance(running, Tensor)
                running.mul_(kept[module])
                for step, share in of_module.items():
                    running.add_(statistics[step][place], alpha=share)
                if isinstance(module, Slices):
                    module.put(name, running)
            count = module.num_batches_tracked
            assert isinstance(count, Tensor)
            count.add_(counts[module])
