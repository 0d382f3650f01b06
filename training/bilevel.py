"""First-order bilevel training: weights on one split, architecture on another, step about.

Yin et al. 2022, Algorithm 1, lines 7 and 8; Liu et al. 2019, section 2.3 with xi = 0. Knows nothing
of spaces: it is given a module, and which of its parameters are weights and which architecture.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.optim import Adam, Optimizer

from .batches import Batch, BatchSource
from .loop import Forward, call_with_mapping, predict
from .losses import Kind
from .metrics import score_function
from .schedules import learning_rate
from .settings import TrainSettings
from .steps import (
    Diverged,
    all_finite,
    check_labels,
    epoch_seed,
    loss_of,
    of_the_network,
    optimiser_of,
    precision_of,
)

Alternate = Literal["step", "epoch"]
"""`step`: an architecture step after each weight step, over the validation batches again and again.
`epoch`: all training batches, then all validation batches once.
"""

_VALIDATION = 1 << 31
"""Seeds are below this, so the order of the validation batches has seeds of its own."""


@dataclass(frozen=True, slots=True)
class ArchitectureSettings:
    """How architecture parameters are learned: Adam, as in A.2 of the paper and in DARTS."""

    learning_rate: float = 3e-4
    betas: tuple[float, float] = (0.5, 0.999)
    weight_decay: float = 1e-3


@dataclass(frozen=True, slots=True)
class EpochLosses:
    """Means over the samples of an epoch; the learning rate is that of the last weight step.

    `arch_loss` is None where the architecture took no step.
    """

    train_loss: float
    arch_loss: float | None
    learning_rate: float


class Bilevel:
    """Both optimisers of a module, and the steps that alternate between them.

    A weight step computes no gradient of the architecture, an architecture step none of the
    weights. Both run the module in training mode, as DARTS does: dropout is on, and batch norm
    takes the statistics of the batch.

    Args:
        module: on its device; its present weights are the start.
        weights: those of its parameters that learn on the training split.
        architecture: those that learn on the validation split.
        settings: of the weights; `epochs` is that of the whole search.
        of_architecture: of the architecture.
        device: where the module and its data are.
        kind: single-label or multi-label.
        forward: how the module is called.
        positive_weight: (classes,), `losses.balance` of the training labels; multi-label only.
    """

    def __init__(
        self,
        module: nn.Module,
        weights: Iterable[nn.Parameter],
        architecture: Iterable[nn.Parameter],
        settings: TrainSettings,
        of_architecture: ArchitectureSettings,
        device: torch.device,
        *,
        kind: Kind = "single",
        forward: Forward = call_with_mapping,
        positive_weight: Tensor | None = None,
    ) -> None:
        self.module = module
        self.settings = settings
        self.kind: Kind = kind
        self.forward = forward
        self.device = device
        self._weights = list(weights)
        self._architecture = list(architecture)
        self.weight_optimiser = optimiser_of(self._weights, settings)
        self.architecture_optimiser = _adam(self._architecture, of_architecture)
        balance = None if positive_weight is None else positive_weight.to(device)
        self._loss = loss_of(kind, balance, settings.label_smoothing)
        self._plain_loss = loss_of(kind, balance, 0.0)
        self._checked = False
        metric = settings.metric
        self._score = (
            None if metric == "loss" else score_function(metric, kind, top_k=settings.top_k)
        )

    def weight_step(self, batch: Batch, rate: float, where: str = "a weight step") -> Tensor:
        """One step of the weights at this learning rate; the loss before it."""
        loss = self._loss_of(batch, self._weights, self._architecture, where)
        optimiser = self.weight_optimiser
        if optimiser is not None:
            for group in optimiser.param_groups:
                group["lr"] = rate
            self._descend(loss, optimiser, self._weights, where, self.settings.gradient_clip)
        return loss.detach()

    def architecture_step(self, batch: Batch, where: str = "an architecture step") -> Tensor:
        """One step of the architecture; the loss before it."""
        loss = self._loss_of(batch, self._architecture, self._weights, where)
        self._descend(loss, self.architecture_optimiser, self._architecture, where, None)
        return loss.detach()

    def epoch(
        self, number: int, train: BatchSource, valid: BatchSource, alternate: Alternate | None
    ) -> EpochLosses:
        """An epoch of both, or where `alternate` is None of the weights alone.

        Its number counts from 1. The order of the batches and dropout are functions of the
        settings' seed and of the number, so that an epoch that is done again ends the same. Raises
        Diverged, and FusegraphError E706 and E708, as `fit` does.
        """
        seed = self.settings.seed
        torch.manual_seed(epoch_seed(seed, number))  # dropout
        order = torch.Generator().manual_seed(epoch_seed(seed, number))
        other = torch.Generator().manual_seed(epoch_seed(seed | _VALIDATION, number))
        self.module.train()
        learned, settled = _Losses(number, self.device), _Losses(number, self.device)
        batches, rate = len(train), 0.0
        again = _again_and_again(valid, other)
        for index, batch in enumerate(train.epoch(order)):
            where = f"epoch {number}, batch {index + 1}"
            rate = learning_rate(self.settings, number - 1, index, batches)
            learned.add(self.weight_step(batch, rate, where), len(batch.labels))
            if alternate == "step":
                other_batch = next(again)
                settled.add(self.architecture_step(other_batch, where), len(other_batch.labels))
        if alternate == "epoch":
            for index, batch in enumerate(valid.epoch(other)):
                where = f"epoch {number}, validation batch {index + 1}"
                settled.add(self.architecture_step(batch, where), len(batch.labels))
        arch_loss = None if alternate is None else settled.mean()
        return EpochLosses(learned.mean(), arch_loss, rate)

    def validate(self, number: int, valid: BatchSource) -> tuple[float, float]:
        """Loss and score on the validation split, in evaluation mode, after this epoch."""
        logits, labels = predict(
            self.module,
            valid,
            forward=self.forward,
            precision=precision_of(self.settings, self.device),
        )
        loss = self._plain_loss(logits, labels).item()
        if not math.isfinite(loss):
            raise Diverged(number, None, loss)
        return loss, -loss if self._score is None else self._score(logits, labels)

    def _loss_of(
        self,
        batch: Batch,
        learning: Sequence[nn.Parameter],
        fixed: Sequence[nn.Parameter],
        where: str,
    ) -> Tensor:
        for parameter in fixed:
            parameter.requires_grad_(False)
        for parameter in learning:
            parameter.requires_grad_(True)
        with precision_of(self.settings, self.device):
            with of_the_network(where):
                logits = self.forward(self.module, batch.inputs)
            if not self._checked:
                check_labels(self.kind, logits, batch.labels)
                self._checked = True
            logits = logits.float() if logits.dtype.itemsize < 4 else logits
            return self._loss(logits, batch.labels)

    def _descend(
        self,
        loss: Tensor,
        optimiser: Optimizer,
        parameters: Sequence[nn.Parameter],
        where: str,
        clip: float | None,
    ) -> None:
        if not loss.requires_grad:  # nothing that learns is reached
            return
        optimiser.zero_grad(set_to_none=True)
        with of_the_network(where):
            loss.backward()
            if clip is not None:
                nn.utils.clip_grad_norm_(parameters, clip)
            optimiser.step()


class _Losses:
    """The losses of an epoch, checked and averaged.

    Reading a loss stops a GPU until it is there, so there it is read seldom.
    """

    def __init__(self, epoch: int, device: torch.device) -> None:
        self._epoch = epoch
        self._total = torch.zeros((), device=device)
        self._samples = 0
        self._steps = 0
        self._unread: list[Tensor] = []
        self._read_every = 1 if device.type == "cpu" else 50

    def add(self, loss: Tensor, samples: int) -> None:
        self._total = self._total + loss * samples
        self._samples += samples
        self._steps += 1
        self._unread.append(loss)
        if len(self._unread) == self._read_every:
            self._check()

    def mean(self) -> float:
        self._check()
        return self._total.item() / max(1, self._samples)

    def _check(self) -> None:
        all_finite(self._unread, self._epoch, self._steps)
        self._unread.clear()


def _again_and_again(source: BatchSource, order: torch.Generator) -> Iterator[Batch]:
    """Batches without end, in a new order each time around."""
    while True:
        yield from source.epoch(order)


def _adam(parameters: Sequence[nn.Parameter], settings: ArchitectureSettings) -> Optimizer:
    def build(fused: bool | None) -> Optimizer:
        return Adam(
            parameters,
            lr=settings.learning_rate,
            betas=settings.betas,
            weight_decay=settings.weight_decay,
            fused=fused,
        )

    try:
        return build(True)
    except RuntimeError:  # this device or dtype has no fused kernel
        return build(None)
