"""Steps of an optimiser on the slices of shared weights that one network has.

Supplement of *NAS just once*, Algorithm 1, line 8: "update the corresponding part of w in w_A while
freezing the remaining part". Weights, momenta and decay of what a network does not have stay as
they are. The rules are those of `torch.optim`, with a counter of steps for each weight.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.adam import adam
from torch.optim.adamw import adamw
from torch.optim.sgd import sgd

from ..backends.torch.elastic import ElasticNetworks
from ..ir.decisions import Setting
from .settings import TrainSettings

_EPS = 1e-8  # torch.optim's


class SlicedOptimiser:
    """The optimiser of the settings, on the weights of elastic networks.

    `moments` are its state by name, a tensor for each parameter; `steps` counts for each. The
    learning rate is given to each step.
    """

    def __init__(self, networks: ElasticNetworks, settings: TrainSettings) -> None:
        self._networks = networks
        self._settings = settings
        self._parameters = dict(networks.named_parameters())
        self._names = {parameter: name for name, parameter in self._parameters.items()}
        kinds = ["momentum"] if settings.optimiser == "sgd" else ["mean", "square"]
        self.moments = {
            kind: {name: torch.zeros_like(p) for name, p in self._parameters.items()}
            for kind in kinds
        }
        self.steps = {name: torch.zeros(()) for name in self._parameters}

    def zero_grad(self) -> None:
        """Forget all gradients."""
        for parameter in self._parameters.values():
            parameter.grad = None

    @torch.no_grad()
    def step(
        self,
        network: Mapping[str, Setting],
        rate: float,
        outputs: Sequence[str] | None = None,
    ) -> None:
        """One step of what the network of these settings reads for these outputs.

        What has no gradient stays, as with torch's optimisers.
        """
        cuts = {
            self._names[parameter]: (parameter, cut)
            for parameter, cut in self._networks.cuts(network, outputs).items()
            if parameter.grad is not None
        }
        weights = [cut.of(parameter) for parameter, cut in cuts.values()]
        grads = [cut.of(_grad(parameter)) for parameter, cut in cuts.values()]
        moments = {
            kind: [cut.of(known[name]) for name, (_, cut) in cuts.items()]
            for kind, known in self.moments.items()
        }
        self._move(weights, grads, moments, [self.steps[name] for name in cuts], rate)
        for place, (name, (parameter, cut)) in enumerate(cuts.items()):
            if not cut.view:
                cut.put(parameter, weights[place])
                for kind, known in self.moments.items():
                    cut.put(known[name], moments[kind][place])

    def _move(
        self,
        weights: list[Tensor],
        grads: list[Tensor],
        moments: Mapping[str, list[Tensor]],
        steps: list[Tensor],
        rate: float,
    ) -> None:
        given = self._settings
        if given.optimiser == "sgd":
            sgd(
                weights,
                grads,
                [*moments["momentum"]],
                foreach=True,
                weight_decay=given.weight_decay,
                momentum=given.momentum,
                lr=rate,
                dampening=0.0,
                nesterov=False,
                maximize=False,
            )
            return
        rule: Any = adamw if given.optimiser == "adamw" else adam
        rule(
            weights,
            grads,
            moments["mean"],
            moments["square"],
            [],
            steps,
            foreach=True,
            amsgrad=False,
            beta1=given.betas[0],
            beta2=given.betas[1],
            lr=rate,
            weight_decay=given.weight_decay,
            eps=_EPS,
            maximize=False,
        )

    def state_dict(self) -> dict[str, Any]:
        """All that the next step needs: tensors and names, no code."""
        return {"moments": self.moments, "steps": self.steps}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where another one ended. Raises KeyError and RuntimeError for other weights."""
        for kind, known in self.moments.items():
            for name, tensor in known.items():
                tensor.copy_(state["moments"][kind][name])
        for name, steps in self.steps.items():
            steps.copy_(state["steps"][name])


def _grad(parameter: nn.Parameter) -> Tensor:
    assert parameter.grad is not None
    return parameter.grad
