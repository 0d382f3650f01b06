"""Trains any module that takes named tensors; knows nothing of graphs or searches."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from ..ir.diagnostics import Diagnostic, FusegraphError
from .batches import Batch, BatchSource
from .events import BatchEnded, EpochEnded, OnEvent, TrainingEnded
from .heads import Forward, Head, drawn
from .losses import Kind, Loss
from .metrics import Score, score_function
from .schedules import learning_rate
from .settings import TrainSettings
from .state import TrainingState, describe, load_state, save_state
from .steps import (
    Diverged,
    all_finite,
    check_labels,
    choose_device,
    epoch_seed,
    loss_of,
    of_the_network,
    optimiser_of,
    own_randomness,
    precise,
    precision_of,
    start_momenta,
)


@dataclass(frozen=True, slots=True)
class FitResult:
    """How a training went; the module holds the weights of the best epoch."""

    best_epoch: int
    best_score: float
    history: tuple[EpochEnded, ...]
    early: bool
    """Whether `patience` ended it."""


def call_with_mapping(module: nn.Module, inputs: Mapping[str, Tensor]) -> Tensor:
    """The default forward: `module(inputs)`, which answers the logits or a mapping with them."""
    answer: object = module(inputs)
    if isinstance(answer, Mapping):
        answer = cast("Mapping[str, object]", answer).get("logits")
    if not isinstance(answer, Tensor):
        raise FusegraphError(
            Diagnostic(
                code="E704",
                message="expected the network to answer a tensor, or a mapping with `logits`, "
                f"found {type(answer).__name__}",
                place=type(module).__name__,
                help="name the output `logits`, or give `forward`",
            )
        )
    return answer


def fit(
    module: nn.Module,
    train: BatchSource,
    valid: BatchSource,
    settings: TrainSettings,
    *,
    kind: Kind = "single",
    forward: Forward = call_with_mapping,
    positive_weight: Tensor | None = None,
    others: Sequence[Head] = (),
    order_seed: int | None = None,
    keep: Literal["best", "last"] = "best",
    on_event: OnEvent | None = None,
    state: Path | None = None,
) -> FitResult:
    """Trains, and leaves the module in evaluation mode with the weights of its best epoch.

    The same seed gives the same result, bit by bit on a CPU, whatever the caller drew before;
    the caller's own random state is left alone.

    Args:
        module: moved to the settings' device; its present weights are the start.
        train: batches on that device.
        valid: likewise; chooses the best epoch, the first among equals.
        settings: see `TrainSettings`.
        kind: single-label or multi-label.
        forward: how the module is called.
        positive_weight: (classes,), `losses.balance` of the training labels; multi-label only.
        others: further data sets that train the module, each its own head, see `heads`; the mean
            of all validation scores chooses the best epoch.
        order_seed: of the batch order, where trainings with different seeds are to see one order;
            the settings' seed if not given.
        keep: `last` leaves the weights of the last epoch instead, where `valid` was trained on
            and so cannot choose.
        on_event: called after each batch, each epoch, and at the end.
        state: a file that is written after each epoch; where it exists already, training goes
            on from it, to the same result as if it had never been interrupted.

    Raises:
        Diverged: where a loss is NaN or infinite.
        FusegraphError: E704 for inputs or outputs of a wrong kind, E705 where `state` is that of
            another training, E706 where labels and logits do not fit, E708 where the network's
            own forward or backward pass, or the optimiser's step, raises an error.
    """
    device = choose_device(settings.device)
    module.to(device)
    heads = (Head(train, valid, forward, kind, positive_weight), *others)
    optimiser = optimiser_of(module.parameters(), settings)
    if others and optimiser is not None:
        start_momenta(optimiser)
    run = _Run(
        module=module,
        settings=settings,
        heads=heads,
        losses=tuple([_loss(head, device, settings.label_smoothing) for head in heads]),
        judges=tuple([_judge(head, settings, device) for head in heads]),
        device=device,
        optimiser=optimiser,
        order_seed=settings.seed if order_seed is None else order_seed,
        emit=on_event,
    )
    done = TrainingState()
    what = describe(module, settings, run.batches, run.order_seed)
    if state is not None and state.exists():
        done = load_state(state, module, run.optimiser, what)
    history, best = list(done.history), done.best
    best_epoch, best_score = _best(history)
    with own_randomness(device):
        while len(history) < settings.epochs and not _patience_over(history, settings):
            ended = run.epoch(len(history) + 1, best_score)
            history.append(ended)
            if ended.best:
                best_epoch, best_score = ended.epoch, ended.score
                best = {n: v.detach().clone() for n, v in module.state_dict().items()}
            if state is not None:
                save_state(state, TrainingState(tuple(history), best), module, run.optimiser, what)
            if on_event is not None:
                on_event(ended)
    if best is not None and keep == "best":
        module.load_state_dict(best)
    module.eval()
    early = len(history) < settings.epochs
    if on_event is not None:
        on_event(TrainingEnded(len(history), best_epoch, best_score, early))
    return FitResult(best_epoch, best_score, tuple(history), early)


@torch.no_grad()
def predict(
    module: nn.Module,
    source: BatchSource,
    *,
    forward: Forward = call_with_mapping,
    precision: AbstractContextManager[Any] | None = None,
) -> tuple[Tensor, Tensor]:
    """Logits and labels of a whole split, in the data's order, in evaluation mode.

    Raises FusegraphError E708 where the network's forward pass raises an error.
    """
    module.eval()
    logits: list[Tensor] = []
    labels: list[Tensor] = []
    with precision or nullcontext():
        for batch in source.epoch(None):
            with of_the_network(f"evaluation, batch {len(logits) + 1}"):
                logits.append(precise(forward(module, batch.inputs)))
            labels.append(batch.labels)
    return torch.cat(logits), torch.cat(labels)


def judge(
    module: nn.Module,
    valid: BatchSource,
    settings: TrainSettings,
    *,
    kind: Kind = "single",
    forward: Forward = call_with_mapping,
    positive_weight: Tensor | None = None,
    output: str = "logits",
) -> tuple[float, float]:
    """The loss of a module as it is on a split, and its score; moves it to the settings' device.

    Raises FusegraphError E706, E708 as `fit` does. The loss may be NaN or infinite.
    """
    device = choose_device(settings.device)
    head = Head(valid, valid, forward, kind, positive_weight, output)
    return _judge(head, settings, device)(module.to(device))


@dataclass(frozen=True, slots=True)
class _Judge:
    """How a module is measured on the validation split of a head."""

    head: Head
    loss: Loss
    score: Score | None
    settings: TrainSettings
    device: torch.device

    def __call__(self, module: nn.Module) -> tuple[float, float]:
        precision = precision_of(self.settings, self.device)
        valid, forward = self.head.valid, self.head.forward
        logits, labels = predict(module, valid, forward=forward, precision=precision)
        check_labels(self.head.kind, logits, labels, self.head.output)
        loss = self.loss(logits, labels).item()
        return loss, -loss if self.score is None else self.score(logits, labels)


def _judge(head: Head, settings: TrainSettings, device: torch.device) -> _Judge:
    metric = settings.metric
    score = None if metric == "loss" else score_function(metric, head.kind, top_k=settings.top_k)
    return _Judge(head, _loss(head, device, 0.0), score, settings, device)


def _loss(head: Head, device: torch.device, smoothing: float) -> Loss:
    weight = head.positive_weight
    return loss_of(head.kind, None if weight is None else weight.to(device), smoothing)


@dataclass(frozen=True, slots=True)
class _Run:
    """What does not change between the epochs of one training."""

    module: nn.Module
    settings: TrainSettings
    heads: tuple[Head, ...]
    losses: tuple[Loss, ...]
    judges: tuple[_Judge, ...]
    device: torch.device
    optimiser: Optimizer | None
    order_seed: int
    emit: OnEvent | None

    @property
    def batches(self) -> int:
        return sum(len(head.train) for head in self.heads)

    def epoch(self, number: int, best: float) -> EpochEnded:
        start = time.perf_counter()
        torch.manual_seed(epoch_seed(self.settings.seed, number))  # dropout
        order = torch.Generator().manual_seed(epoch_seed(self.order_seed, number))
        train_loss, rate = self._train(number, order)
        judged = [judge(self.module) for judge in self.judges]
        valid_loss, score = [sum(each) / len(judged) for each in zip(*judged, strict=True)]
        if not math.isfinite(valid_loss):
            raise Diverged(number, None, valid_loss)
        return EpochEnded(
            epoch=number,
            epochs=self.settings.epochs,
            train_loss=train_loss,
            valid_loss=valid_loss,
            score=score,
            learning_rate=rate,
            seconds=time.perf_counter() - start,
            best=score > best,
        )

    def _train(self, number: int, order: torch.Generator) -> tuple[float, float]:
        self.module.train()
        batches, device = self.batches, self.device
        total, samples, rate = torch.zeros((), device=device), 0, 0.0
        # Reading a loss stops a GPU until it is there, so there it is read seldom.
        read_every = 1 if device.type == "cpu" else 50
        unread: list[Tensor] = []
        met: set[int] = set()
        index = -1
        for index, (head, batch) in enumerate(drawn([h.train for h in self.heads], order)):
            rate = learning_rate(self.settings, number - 1, index, batches)
            where = f"epoch {number}, batch {index + 1}"
            loss = self._step(head, batch, rate, where, first=head not in met)
            met.add(head)
            unread.append(loss)
            total += loss * len(batch.labels)
            samples += len(batch.labels)
            if len(unread) == read_every:
                all_finite(unread, number, index + 1)
                unread.clear()
            if self.emit is not None:
                self.emit(BatchEnded(number, index + 1, batches))
        all_finite(unread, number, index + 1)
        return total.item() / max(1, samples), rate

    def _step(self, number: int, batch: Batch, rate: float, where: str, *, first: bool) -> Tensor:
        head = self.heads[number]
        with precision_of(self.settings, self.device):
            with of_the_network(where):
                logits = head.forward(self.module, batch.inputs)
            if first:
                check_labels(head.kind, logits, batch.labels, head.output)
            loss = self.losses[number](precise(logits), batch.labels)
        if self.optimiser is not None and loss.requires_grad:
            self.optimiser.zero_grad(set_to_none=True)
            for group in self.optimiser.param_groups:
                group["lr"] = rate
            with of_the_network(where):
                loss.backward()
                if self.settings.gradient_clip is not None:
                    nn.utils.clip_grad_norm_(self.module.parameters(), self.settings.gradient_clip)
                self.optimiser.step()
        return loss.detach()


def _best(history: list[EpochEnded]) -> tuple[int, float]:
    best = [event for event in history if event.best]
    return (best[-1].epoch, best[-1].score) if best else (0, -math.inf)


def _patience_over(history: list[EpochEnded], settings: TrainSettings) -> bool:
    if settings.patience is None or not history:
        return False
    return len(history) - _best(history)[0] >= settings.patience
