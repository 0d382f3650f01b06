"""Several networks as one module: their losses in one, and each one's weights apart.

What `side_by_side.py` trains. Networks are members, by their place from 0 on; nothing here lets the
numbers of one member reach those of another, so a member with NaN harms itself alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F  # noqa: N812  (its name all over the field)
from torch import Tensor, nn

from ..backends.names import weight_name
from ..backends.torch import Network, lower
from ..backends.torch.packing import pack, unpack
from ..compiler.fusion.packing import Packing
from ..compiler.fusion.side_by_side import name_of, side_by_side
from ..ir.graph import Graph
from .losses import Kind
from .settings import TrainSettings
from .steps import precise
from .updates import Updates

State = Mapping[str, Tensor]


class Joint:
    """The networks of `members` as one module, each starting from its state.

    Precondition: each network has one output, `logits`, of one type for all. The precision is that
    of the states. Raises FusegraphError as `lower` does, ValueError as `side_by_side` does.
    """

    def __init__(
        self,
        networks: Sequence[Graph],
        states: Sequence[State],
        settings: TrainSettings,
        device: torch.device,
    ) -> None:
        fused = side_by_side(networks, weight_name)
        self.networks = tuple(networks)
        self.packing: Packing = fused.packing
        self.module: Network = lower(fused.graph)
        for tensor in _all(states).values():
            if tensor.is_floating_point():
                self.module.to(tensor.dtype)
                break
        self.module.load_state_dict(pack(self.packing, _all(states), self.module.state_dict()))
        self.module.to(device)
        self.like = tuple([dict(state) for state in states])
        self.inputs = tuple(self.module.parameter_names)
        self.parameters: tuple[nn.Parameter, ...] = tuple(self.module.parameters())
        self.updates = Updates(self.parameters, settings) if self.parameters else None
        self._settings = settings
        self._device = device
        self._owners: list[Tensor] | None = None

    @property
    def count(self) -> int:
        """How many members there are."""
        return len(self.networks)

    def logits(self, inputs: Mapping[str, Tensor]) -> Tensor:
        """[members, samples, classes], in float32 at least."""
        return precise(self.module(*[inputs[name] for name in self.inputs]))

    def step(self, losses: Tensor, rate: float) -> None:
        """One step of each member's optimiser along the gradient of its loss. losses: [members]."""
        if self.updates is None:
            return
        grads = torch.autograd.grad(
            losses, self.parameters, torch.ones_like(losses), materialize_grads=True
        )
        if self._settings.gradient_clip is not None:
            self._clip(grads, self._settings.gradient_clip)
        self.updates.step(grads, rate)

    def states(self, members: Sequence[int]) -> list[dict[str, Tensor]]:
        """The present weights and buffers of some members, copied."""
        return self.parted(self.module.state_dict(), members)

    def narrowed(self, members: Sequence[int]) -> Joint:
        """These members alone, with their weights and what the optimiser knows of them."""
        smaller = Joint(
            [self.networks[m] for m in members], self.states(members), self._settings, self._device
        )
        if self.updates is not None and smaller.updates is not None:
            names = [name for name, _ in self.module.named_parameters()]
            after = dict(smaller.module.named_parameters())
            smaller.updates.steps.copy_(self.updates.steps)
            for name, moments in self.updates.moments.items():
                parted = self.parted(dict(zip(names, moments, strict=True)), members)
                packed = pack(smaller.packing, _all(parted), after)
                smaller.updates.moments[name] = [packed[n].detach() for n in after]
        return smaller

    def parted(self, state: State, members: Sequence[int]) -> list[dict[str, Tensor]]:
        """Values by the names of the fused weights, as each member's by its own names."""
        like = {name_of(m, name): v for m in members for name, v in self.like[m].items()}
        there = Packing({n: p for n, p in self.packing.pieces.items() if n in state})
        found = unpack(there, state, like)
        return [
            {name: found[name_of(m, name)] for name in self.like[m] if name_of(m, name) in found}
            for m in members
        ]

    def _clip(self, grads: Sequence[Tensor], most: float) -> None:
        """As `clip_grad_norm_`, with a norm of its own for each member."""
        if self._owners is None:
            self._owners = [
                _owners(self.packing, name, parameter).to(self._device)
                for name, parameter in self.module.named_parameters()
            ]
        squares = grads[0].new_zeros(self.count)
        for grad, owners in zip(grads, self._owners, strict=True):
            squares.index_add_(0, owners, grad.reshape(len(owners), -1).square().sum(1))
        factors = (most / (squares.sqrt() + 1e-6)).clamp(max=1.0)
        for grad, owners in zip(grads, self._owners, strict=True):
            grad.mul_(factors[owners].view(-1, *(1,) * (grad.dim() - 1)))


def losses_of(
    kind: Kind, logits: Tensor, labels: Tensor, smoothing: float, positive_weight: Tensor | None
) -> Tensor:
    """The losses of `losses.py`, one for each member. logits: [members, samples, classes]."""
    members, samples = logits.shape[:2]
    if kind == "single" and not smoothing:
        # As cross_entropy does, in fewer steps; classes before samples is how logits lie in memory.
        logs = torch.log_softmax(logits.transpose(1, 2), 1)
        return -logs.gather(1, labels.expand(members, 1, samples)).mean((1, 2))
    if kind == "single":
        each = F.cross_entropy(
            logits.transpose(1, 2),
            labels.expand(members, samples),
            reduction="none",
            label_smoothing=smoothing,
        )
        return each.mean(1)
    target = labels.to(logits.dtype)
    if smoothing:
        target = target * (1.0 - smoothing) + 0.5 * smoothing
    each = F.binary_cross_entropy_with_logits(
        logits, target.expand_as(logits), reduction="none", pos_weight=positive_weight
    )
    return each.mean((1, 2))


def _all(states: Sequence[State]) -> dict[str, Tensor]:
    return {name_of(m, name): v for m, state in enumerate(states) for name, v in state.items()}


def _owners(packing: Packing, name: str, parameter: Tensor) -> Tensor:
    """The member that each row of a parameter belongs to; a number is a row."""
    owners = torch.zeros(parameter.shape[0] if parameter.dim() else 1, dtype=torch.int64)
    for piece in packing.pieces[name]:
        start, stop = piece.at[0] if piece.at else (0, 1)
        owners[start:stop] = int(piece.source.partition(":")[0])
    return owners
