"""The steps of Adam, AdamW and SGD by torch's fused kernels, called without their optimiser.

`torch.optim` looks after hooks, groups and a counter for each tensor at every step; for a network
of small tensors that takes longer than the update itself. The kernels are torch's own, and so are
the results.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from .settings import TrainSettings

_KERNELS = {"adam": "_fused_adam_", "adamw": "_fused_adamw_", "sgd": "_fused_sgd_"}
_EPS = 1e-8  # torch.optim's


class Updates:
    """The optimiser of the settings.

    `moments` are its state by name, a tensor for each parameter; `steps` counts. Raises
    RuntimeError where this torch, or this device, has no such kernel.
    """

    def __init__(self, parameters: Sequence[nn.Parameter], settings: TrainSettings) -> None:
        self.parameters = [p.detach() for p in parameters]
        self.steps = torch.zeros((), device=self.parameters[0].device)
        self._settings = settings
        kernel: Any = getattr(torch, _KERNELS[settings.optimiser], None)
        if kernel is None:
            raise RuntimeError(f"this torch has no {_KERNELS[settings.optimiser]}")
        self._kernel: Any = kernel
        names = ["mean", "square"] if settings.optimiser != "sgd" else ["momentum"]
        if settings.optimiser == "sgd" and not settings.momentum:
            names = []
        self.moments = {name: [torch.zeros_like(p) for p in self.parameters] for name in names}

    def step(self, grads: Sequence[Tensor], rate: float) -> None:
        """One step along the gradients, one for each parameter."""
        given = self._settings
        if given.optimiser == "sgd":
            self._kernel(
                self.parameters,
                grads,
                self.moments.get("momentum", []),
                weight_decay=given.weight_decay,
                momentum=given.momentum,
                lr=rate,
                dampening=0.0,
                nesterov=False,
                maximize=False,
                # Momentum starts at zero here, so that the first step is like any other.
                is_first_step=False,
            )
            return
        self.steps += 1
        self._kernel(
            self.parameters,
            grads,
            self.moments["mean"],
            self.moments["square"],
            [],
            [self.steps] * len(grads),
            lr=rate,
            beta1=given.betas[0],
            beta2=given.betas[1],
            weight_decay=given.weight_decay,
            eps=_EPS,
            amsgrad=False,
            maximize=False,
        )
