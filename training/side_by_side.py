"""Trains several networks as one program: the results of `fit` for each, in a fraction of the time.

All see the same batches in the same order. What a network learns depends on the others in nothing
but rounding and, where there is dropout, in the numbers that are drawn for its mask.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from hashlib import blake2b
from typing import Any

import torch
from torch import Tensor

from ..backends.torch import lower
from ..ir.diagnostics import FusegraphError
from ..ir.support.memory import out_of_memory
from .batches import BatchSource
from .events import EpochEnded, TrainingEnded, TrainingEvent
from .joint import Joint, losses_of
from .loop import FitResult, fit
from .losses import Kind
from .metrics import Score, score_function
from .schedules import learning_rate
from .settings import TrainSettings
from .steps import (
    Diverged,
    check_labels,
    choose_device,
    epoch_seed,
    of_the_network,
    own_randomness,
    precision_of,
)
from .tensors import TensorBatches
from .trainees import OnTrainee, Ready, Trained, Trainee, prepared, programs

__all__ = ["OnTrainee", "Trained", "Trainee", "fit_side_by_side"]

_SEEDS = 2**31
_LARGER = 8
"""How much larger than in training the batches of an evaluation are."""


def fit_side_by_side(
    trainees: Sequence[Trainee],
    train: BatchSource,
    valid: BatchSource,
    settings: TrainSettings,
    *,
    kind: Kind = "single",
    positive_weight: Tensor | None = None,
    order_seed: int = 0,
    on_event: OnTrainee | None = None,
) -> list[Trained]:
    """Trains all, each as `fit` would, and answers in their order.

    Each has its own optimiser state, gradient norm, dropout, best epoch, and end: one that
    diverges, or whose patience is over, leaves the others as they are. Networks whose logits
    differ in type, or that together need more than `MOST_BYTES`, are trained in several programs.

    Args:
        trainees: their networks have one output, or one that is called `logits`.
        train: batches with every input that one of the networks reads, on the settings' device.
        valid: likewise; chooses the best epoch.
        settings: see `TrainSettings`; its seed is one of those of the dropout.
        kind: single-label or multi-label.
        positive_weight: (classes,), multi-label only.
        order_seed: of the batch order, as in `fit`.
        on_event: told each network's epochs and its end, once its program has ended.

    Raises:
        FusegraphError: E707 where this machine has no such device. All else is the failure of a
            network: E701, E704, E706, E708, what `lower` raises, and a memory that is too small.
    """
    device = choose_device(settings.device)
    run = _Run(train, valid, settings, device, kind, order_seed, on_event)
    if positive_weight is not None:
        run.positive_weight = positive_weight.to(device)
    found: dict[int, Trained] = {}
    ready: dict[int, Ready] = {}
    for place, trainee in enumerate(trainees):
        try:
            ready[place] = prepared(trainee)
        except FusegraphError as error:
            found[place] = Trained(None, error, {})
    with own_randomness(device):
        for places in programs(ready, settings):
            found.update(run.together({place: ready[place] for place in places}))
    return [found[place] for place in range(len(trainees))]


@dataclass(slots=True)
class _Member:
    """What is known of a network while it is trained."""

    place: int
    history: list[EpochEnded] = field(default_factory=list[EpochEnded])
    best_epoch: int = 0
    best_score: float = -math.inf
    best: dict[str, Tensor] | None = None
    failure: FusegraphError | None = None

    def over(self, settings: TrainSettings) -> bool:
        """Whether its training has ended."""
        patience = settings.patience
        tired = patience is not None and len(self.history) - self.best_epoch >= patience
        return self.failure is not None or len(self.history) == settings.epochs or tired


@dataclass(slots=True)
class _Run:
    """What is the same for all programs of a call."""

    train: BatchSource
    valid: BatchSource
    settings: TrainSettings
    device: torch.device
    kind: Kind
    order_seed: int
    on_event: OnTrainee | None
    positive_weight: Tensor | None = None

    def together(self, ready: Mapping[int, Ready]) -> dict[int, Trained]:
        """Trains these in one program, or where torch refuses that or has no memory, in two.

        So a network that is at fault ends up by itself, and the others in a few programs.
        """
        places = list(ready)
        if len(places) == 1:
            return {places[0]: self._alone(places[0], ready[places[0]])}
        try:
            members = self._jointly(ready)
        except (FusegraphError, ValueError, RuntimeError, MemoryError):
            pass  # out of here first: the traceback keeps what filled the memory
        else:
            return {m.place: self._trained(m, ready[m.place]) for m in members}
        half = len(places) // 2
        return {
            **self.together({place: ready[place] for place in places[:half]}),
            **self.together({place: ready[place] for place in places[half:]}),
        }

    def _jointly(self, ready: Mapping[int, Ready]) -> list[_Member]:
        joint = Joint(
            [each.network for each in ready.values()],
            [each.start for each in ready.values()],
            self.settings,
            self.device,
        )
        members = [_Member(place) for place in ready]
        running = list(members)
        score = _score(self.settings, self.kind)
        seed = _joint_seed(self.settings.seed, [each.trainee.seed for each in ready.values()])
        for epoch in range(1, self.settings.epochs + 1):
            torch.manual_seed(epoch_seed(seed, epoch))  # dropout
            self._epoch(epoch, joint, running, score)
            going = [at for at, member in enumerate(running) if not member.over(self.settings)]
            if not going:
                break
            # A member that has ended is computed along until half of them have: then those that
            # are left are worth a program of their own.
            if 2 * len(going) <= len(running):
                joint = joint.narrowed(going)
                running = [running[at] for at in going]
        return members

    def _epoch(
        self, number: int, joint: Joint, running: Sequence[_Member], score: Score | None
    ) -> None:
        start = time.perf_counter()
        losses, rate = self._pass(number, joint)
        with torch.no_grad():
            logits, labels = self._predicted(joint)
            valid = losses_of(self.kind, logits, labels, 0.0, self.positive_weight).tolist()
        seconds = time.perf_counter() - start
        improved: list[tuple[int, _Member]] = []
        for at, member in enumerate(running):
            if member.over(self.settings):
                continue
            loss = losses[at]
            member.failure = loss if isinstance(loss, Diverged) else None
            if member.failure is None and not math.isfinite(valid[at]):
                member.failure = Diverged(number, None, valid[at])
            if isinstance(loss, Diverged) or member.failure is not None:
                continue
            reached = -valid[at] if score is None else score(logits[at], labels)
            better = reached > member.best_score
            member.history.append(
                EpochEnded(
                    epoch=number,
                    epochs=self.settings.epochs,
                    train_loss=loss,
                    valid_loss=valid[at],
                    score=reached,
                    learning_rate=rate,
                    seconds=seconds,
                    best=better,
                )
            )
            if better:
                member.best_epoch, member.best_score = number, reached
                improved.append((at, member))
        states = joint.states([at for at, _ in improved])
        for (_, member), state in zip(improved, states, strict=True):
            member.best = state

    def _pass(self, number: int, joint: Joint) -> tuple[list[float | Diverged], float]:
        """One pass over the training split: each member's mean loss, or where it diverged."""
        joint.module.train()
        source = _only(self.train, joint.inputs)
        batches = len(source)
        order = torch.Generator().manual_seed(epoch_seed(self.order_seed, number))
        seen: list[Tensor] = []
        sizes: list[int] = []
        rate = 0.0
        smoothing, weight = self.settings.label_smoothing, self.positive_weight
        with of_the_network(f"epoch {number}"):
            for index, batch in enumerate(source.epoch(order)):
                rate = learning_rate(self.settings, number - 1, index, batches)
                with precision_of(self.settings, self.device):
                    logits = joint.logits(batch.inputs)
                    if index == 0:
                        check_labels(self.kind, logits[0], batch.labels)
                    losses = losses_of(self.kind, logits, batch.labels, smoothing, weight)
                joint.step(losses, rate)
                seen.append(losses.detach())
                sizes.append(len(batch.labels))
        table = torch.stack(seen).cpu()
        weights = torch.tensor(sizes, dtype=table.dtype)[:, None]
        means = ((table * weights).sum(0) / max(1, sum(sizes))).tolist()
        found: list[float | Diverged] = list(means)
        finite = table.isfinite()
        for at in (~finite.all(0)).nonzero().flatten().tolist():
            first = int(finite[:, at].logical_not().nonzero()[0])
            found[at] = Diverged(number, first + 1, table[first, at].item())
        return found, rate

    def _predicted(self, joint: Joint) -> tuple[Tensor, Tensor]:
        """Logits [members, samples, classes] and labels of the validation split."""
        joint.module.eval()
        parts: list[Tensor] = []
        labels: list[Tensor] = []
        with of_the_network("evaluation"), precision_of(self.settings, self.device):
            for batch in _larger(_only(self.valid, joint.inputs)).epoch(None):
                parts.append(joint.logits(batch.inputs))
                labels.append(batch.labels)
        return torch.cat(parts, 1), torch.cat(labels)

    def _trained(self, member: _Member, ready: Ready) -> Trained:
        if self.on_event is not None:
            for epoch in member.history:
                self.on_event(member.place, epoch)
        if member.failure is not None:
            return Trained(None, member.failure, {})
        epochs = len(member.history)
        early = epochs < self.settings.epochs
        if self.on_event is not None:
            ended = TrainingEnded(epochs, member.best_epoch, member.best_score, early)
            self.on_event(member.place, ended)
        result = FitResult(member.best_epoch, member.best_score, tuple(member.history), early)
        return Trained(result, None, {**ready.start, **(member.best or {})})

    def _alone(self, place: int, ready: Ready) -> Trained:
        try:
            return self._by_itself(place, ready)
        except FusegraphError as error:
            failure: Exception = error
        except (RuntimeError, MemoryError) as error:
            if not out_of_memory(error):
                raise
            failure = error
        _drop_frames(failure)
        return Trained(None, failure, {})

    def _by_itself(self, place: int, ready: Ready) -> Trained:
        settings = self.settings.model_copy(update={"seed": ready.trainee.seed % _SEEDS})
        module = lower(ready.network, ready.trainee.seed)
        names = module.state_dict()
        for value in ready.start.values():
            if value.is_floating_point():
                module.to(value.dtype)
                break
        module.load_state_dict({n: v for n, v in ready.start.items() if n in names})
        tell, inputs = self.on_event, list(module.parameter_names)

        def forward(network: Any, batch: Mapping[str, Tensor]) -> Tensor:
            return network(*[batch[name] for name in inputs])

        result = fit(
            module,
            _only(self.train, inputs),
            _only(self.valid, inputs),
            settings,
            kind=self.kind,
            forward=forward,
            positive_weight=self.positive_weight,
            order_seed=self.order_seed,
            on_event=None if tell is None else lambda event: _told(tell, place, event),
        )
        return Trained(result, None, {**ready.start, **module.state_dict()})


def _drop_frames(error: BaseException) -> None:
    """An error that is kept would keep, by its traceback, what filled the memory."""
    error.__traceback__ = None
    for other in (error.__cause__, error.__context__):
        if other is not None:
            _drop_frames(other)


def _told(tell: OnTrainee, place: int, event: TrainingEvent) -> None:
    if isinstance(event, (EpochEnded, TrainingEnded)):
        tell(place, event)


def _score(settings: TrainSettings, kind: Kind) -> Score | None:
    if settings.metric == "loss":
        return None
    return score_function(settings.metric, kind, top_k=settings.top_k)


def _only(source: BatchSource, inputs: Sequence[str]) -> BatchSource:
    """The source without inputs that no one reads, where they would be permuted for nothing."""
    if isinstance(source, TensorBatches) and all(name in source.inputs for name in inputs):
        return replace(source, inputs={name: source.inputs[name] for name in inputs})
    return source


def _larger(source: BatchSource) -> BatchSource:
    """The source in larger batches where it can be: nothing is kept for a way back."""
    if isinstance(source, TensorBatches):
        return replace(source, batch=_LARGER * source.batch)
    return source


def _joint_seed(seed: int, seeds: Sequence[int]) -> int:
    digest = blake2b(repr((seed, *seeds)).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") % _SEEDS
