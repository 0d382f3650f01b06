"""Steps of an optimiser on the slices of shared weights that one network has.

Supplement of *NAS just once*, Algorithm 1, line 8: "update the corresponding part of w in w_A while
freezing the remaining part". Weights, momenta and decay of what a network does not have stay as
they are. The rules are those of `torch.optim`, with a counter of steps for each weight.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.adam import adam
from torch.optim.adamw import adamw
from torch.optim.sgd import sgd

from ..backends.torch.cuts import Cut
from ..backends.torch.elastic import ElasticNetworks
from ..ir.decisions import Setting
from .settings import TrainSettings

MOST_VIEWS = 20_000
"""Views that are remembered; beyond it all are forgotten."""

_EPS = 1e-8  # torch.optim's


@dataclass(frozen=True, slots=True)
class _Part:
    """Of one weight what a network has, of its moments as well; `wholes` are these as a whole."""

    cut: Cut
    parameter: nn.Parameter
    wholes: Mapping[str, Tensor]
    weight: Tensor
    moments: Mapping[str, Tensor]
    steps: Tensor

    def put_back(self) -> None:
        """Write what has moved into the whole, where it is a copy."""
        if not self.cut.view:
            self.cut.put(self.parameter, self.weight)
            for kind, moment in self.moments.items():
                self.cut.put(self.wholes[kind], moment)


class SlicedOptimiser:
    """The optimiser of the settings, on the weights of elastic networks.

    `moments` are its state by name, a tensor for each parameter; `steps` counts for each. The
    learning rate is given to each step. Precondition: the networks stay on the device, and of the
    precision, that they have now.
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
        self._views: dict[tuple[str, Cut], _Part] = {}
        self.steps = {
            name: torch.zeros((), device=p.device) for name, p in self._parameters.items()
        }

    @property
    def views(self) -> int:
        """How many views of weights are remembered."""
        return len(self._views)

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
        parts = [
            (self._part(self._names[parameter], parameter, cut), cut.of(parameter.grad))
            for parameter, cut in self._networks.cuts(network, outputs).items()
            if parameter.grad is not None
        ]
        # Torch's fused kernels take what lies in one piece; the others go one op after the other.
        one_piece = [part for part in parts if part[0].weight.is_contiguous()]
        others = [part for part in parts if not part[0].weight.is_contiguous()]
        for some, fused in ((one_piece, True), (others, False)):
            if some:
                self._move(some, rate, fused=fused)
        for part, _ in parts:
            part.put_back()

    def _part(self, name: str, parameter: nn.Parameter, cut: Cut) -> _Part:
        """What a step works on; views are made once for each cut."""
        part = self._views.get((name, cut))
        if part is None:
            known = {kind: tensors[name] for kind, tensors in self.moments.items()}
            part = _Part(
                cut,
                parameter,
                known,
                cut.of(parameter.detach()),
                {kind: cut.of(moment) for kind, moment in known.items()},
                self.steps[name],
            )
            if len(self._views) > MOST_VIEWS:
                self._views.clear()
            if cut.view:
                self._views[name, cut] = part
        return part

    def _move(self, parts: Sequence[tuple[_Part, Tensor]], rate: float, *, fused: bool) -> None:
        weights = [part.weight for part, _ in parts]
        grads = [grad for _, grad in parts]
        moments = {kind: [part.moments[kind] for part, _ in parts] for kind in self.moments}
        steps = [part.steps for part, _ in parts]
        given = self._settings
        if given.optimiser == "sgd":
            sgd(
                weights,
                grads,
                list[Tensor | None](moments["momentum"]),
                foreach=not fused,
                fused=fused,
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
            foreach=not fused,
            fused=fused,
            amsgrad=False,
            beta1=given.betas[0],
            beta2=given.betas[1],
            lr=rate,
            weight_decay=given.weight_decay,
            eps=_EPS,
            maximize=False,
        )

    def state_dict(self) -> dict[str, Tensor]:
        """All that the next step needs, `<kind>/<parameter>`: what is returned moves with steps."""
        kinds = {**self.moments, "steps": self.steps}
        return {f"{kind}/{name}": value for kind, of in kinds.items() for name, value in of.items()}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Go on where another one ended. Raises ValueError where that is of other weights."""
        known = self.state_dict()
        shapes = {name: value.shape for name, value in known.items()}
        if shapes != {name: value.shape for name, value in state.items()}:
            raise ValueError("the optimiser's state is of other weights")
        for name, value in known.items():
            value.copy_(state[name])
