"""What training loops have in common: errors, losses, optimisers, precision, randomness."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import SGD, Adam, AdamW, Optimizer

from ..ir.diagnostics import Diagnostic, FusegraphError
from . import losses
from .losses import Kind, Loss
from .settings import TrainSettings


class Diverged(FusegraphError):
    """The loss became NaN or infinite. Epoch and batch count from 1; no batch: in validation."""

    def __init__(self, epoch: int, batch: int | None, loss: float) -> None:
        where = f"epoch {epoch}, " + ("validation" if batch is None else f"batch {batch}")
        super().__init__(
            Diagnostic(
                code="E701",
                message=f"training diverged: expected a finite loss, found {loss} in {where}",
                place=where,
                help="lower `learning_rate`, or set `gradient_clip`",
            )
        )
        self.epoch = epoch
        self.batch = batch
        self.loss = loss

    def __reduce__(self) -> tuple[Any, ...]:
        return (Diverged, (self.epoch, self.batch, self.loss))


@contextmanager
def of_the_network(where: str) -> Iterator[None]:
    """An error that torch raises within this block is told as one of the network, E708.

    Other kinds of errors, such as an AttributeError, are slips of a program, and surface.
    """
    try:
        yield
    except (ValueError, RuntimeError) as error:
        said = str(error).strip().splitlines()
        raise FusegraphError(
            Diagnostic(
                code="E708",
                message=f"the network cannot be trained, in {where}: "
                f"{said[0] if said else type(error).__name__}",
                place=where,
                help="give `batch` another value, or take what torch refuses out of the space",
            )
        ) from error


def choose_device(name: str) -> torch.device:
    """`auto`: a GPU if there is one; otherwise the device of that name.

    Raises:
        FusegraphError: E707 where this machine has no such device.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    device = torch.device(name)
    there = {"cuda": torch.cuda.is_available, "mps": torch.backends.mps.is_available}
    if not there.get(device.type, lambda: True)():
        raise FusegraphError(
            Diagnostic(
                code="E707",
                message=f"expected the device `{name}`, found none of the kind on this machine",
                place="device",
                help='set `device = "auto"` to take what there is',
            )
        )
    return device


def epoch_seed(seed: int, epoch: int) -> int:
    """What the generators of an epoch (counted from 1) of a training with this seed start from."""
    return seed * 1_000_003 + epoch


def precision_of(settings: TrainSettings, device: torch.device) -> AbstractContextManager[Any]:
    """The context in which forward passes run; a fresh one for each use."""
    wanted = settings.precision
    if wanted == "auto":
        on_gpu = device.type == "cuda" and torch.cuda.is_bf16_supported()
        wanted = "bfloat16" if on_gpu else "float32"
    if wanted == "float32":
        return nullcontext()
    return torch.autocast(device.type, dtype=torch.bfloat16)


def precise(logits: Tensor) -> Tensor:
    """As losses and scores want them: float32 where they are of lower precision."""
    return logits if logits.dtype is torch.float64 else logits.float()


def check_labels(kind: Kind, logits: Tensor, labels: Tensor, output: str = "logits") -> None:
    """Raises FusegraphError E706 where labels and the logits of an output do not fit."""
    samples = len(labels)
    wanted = [samples, "classes"] if kind == "single" else list(labels.shape)
    fits = (
        logits.ndim == 2 and len(logits) == samples and labels.ndim == 1
        if kind == "single"
        else logits.ndim == 2 and logits.shape == labels.shape
    )
    found = f"logits {list(logits.shape)} with labels {list(labels.shape)}"
    if fits and kind == "single":
        low, high = (int(v) for v in torch.aminmax(labels))
        fits = low >= 0 and high < logits.shape[1]
        found = f"logits of {logits.shape[1]} classes with labels {low}..{high}"
    if not fits:
        of = "" if output == "logits" else f" of the output `{output}`"
        raise FusegraphError(
            Diagnostic(
                code="E706",
                message=f"labels and logits{of} do not fit: expected logits {wanted} for "
                f"{kind}-label data, found {found}",
                place=output,
                help="the space's output must be as wide as the data has classes",
            )
        )


def all_finite(values: Sequence[Tensor], epoch: int, last_batch: int) -> None:
    """Raises Diverged at the first loss that is not finite; the last is of `last_batch`."""
    first_batch = last_batch - len(values) + 1
    for batch, value in enumerate(values, start=first_batch):
        if not math.isfinite(loss := value.item()):
            raise Diverged(epoch, batch, loss)


def loss_of(kind: Kind, positive_weight: Tensor | None, label_smoothing: float) -> Loss:
    """The loss for labels of this kind; weights of positives are for multi-label only."""
    if kind == "single":
        return losses.single_label(label_smoothing=label_smoothing)
    return losses.multi_label(positive_weight=positive_weight, label_smoothing=label_smoothing)


def optimiser_of(parameters: Iterable[nn.Parameter], settings: TrainSettings) -> Optimizer | None:
    """The settings' optimiser of those that can be trained, fused where there is a kernel.

    None where there is nothing to train: late fusion without weights is a network too.
    """
    weights = [p for p in parameters if p.requires_grad]
    if not weights:
        return None
    rate, decay = settings.learning_rate, settings.weight_decay

    def build(fused: bool | None) -> Optimizer:
        if settings.optimiser == "sgd":
            return SGD(
                weights, lr=rate, momentum=settings.momentum, weight_decay=decay, fused=fused
            )
        kind = Adam if settings.optimiser == "adam" else AdamW
        return kind(weights, lr=rate, betas=settings.betas, weight_decay=decay, fused=fused)

    try:
        return build(True)
    except RuntimeError:  # this device or dtype has no fused kernel
        return build(None)


def start_momenta(optimiser: Optimizer) -> None:
    """For weights that have their first steps one after the other: torch's fused SGD takes either
    all momenta or none for those of its first step. A momentum of 0 is none.
    """
    if not isinstance(optimiser, SGD):
        return
    for group in optimiser.param_groups:
        if group["momentum"]:
            for parameter in group["params"]:
                optimiser.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)


@contextmanager
def own_randomness(device: torch.device) -> Iterator[None]:
    """Whatever is seeded and drawn inside leaves the caller's random state as it was."""
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        yield
