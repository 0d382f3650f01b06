"""Single-path training of an elastic supernet on several data sets at once, and its scores.

Algorithm 1: a step draws a data set by its size (in the first epochs it is `first` alone), draws a
network uniformly, computes the loss of the data set's output, and moves what this network reads and
nothing else. Gradients are not accumulated. Then the topology parameters, where there are any, take
a step with a batch of the same data set's validation split.

An epoch is one pass over all data sets that it draws from: each step draws one in proportion to the
batches that it has left, see `training.heads.drawn`. What is drawn of the validation splits begins
anew with each epoch, pass after pass. Networks are judged with the running statistics of batch
norms as they are, which all networks share.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ...backends.torch.elastic import ElasticNetworks
from ...ir.decisions import Setting
from ...ir.graph import Graph
from ...training.batches import Batch, BatchSource
from ...training.heads import drawn
from ...training.loop import predict
from ...training.schedules import learning_rate
from ...training.settings import TrainSettings
from ...training.slices import SlicedOptimiser
from ...training.steps import (
    Diverged,
    all_finite,
    epoch_seed,
    of_the_network,
    precise,
    precision_of,
)
from ..randomness import derive, generator
from .heads import FirstBatches, Head, endless, head_named
from .options import OnceOptions
from .selection import Settings
from .topology import Topology, trained_space, uniform

SEEDS = 1 << 31
_PLACES = 6
"""To which a share of the epochs is rounded: 0.29 of 100 are 29, in binary fractions a bit less."""


@dataclass(frozen=True, slots=True)
class Learned:
    """What came of an epoch: `loss` and `arch_loss` are means over the samples that were read, the
    latter of the validation batches that alpha learned from; None where it did not.
    """

    loss: float
    arch_loss: float | None
    learning_rate: float


@dataclass(frozen=True, slots=True)
class Judged:
    """A network's validation loss and score with the shared weights, means over the data sets."""

    loss: float
    score: float


class Supernet:
    """The shared weights and their optimiser; `settings` are those of the search.

    Raises FusegraphError E802 where `first` names no data set.
    """

    def __init__(
        self,
        searcher: str,
        space: Graph,
        heads: Sequence[Head],
        options: OnceOptions,
        settings: TrainSettings,
        device: torch.device,
        seed: int,
        topology: Topology | None,
    ) -> None:
        self.networks = ElasticNetworks(space, derive(seed, "networks")).to(device)
        self.optimiser = SlicedOptimiser(self.networks, settings)
        self._trained = trained_space(space, options.drawn)
        self._heads = list(heads)
        self._first = head_named(searcher, heads, options.first) if options.first else None
        self._options = options
        self._settings = settings
        self._device = device
        self._seed = seed
        self._topology = topology
        self._known: dict[tuple[tuple[str, Setting], ...], Judged] = {}

    # ── learning ─────────────────────────────────────────────────────────────────────────────────

    def heads_at(self, epoch: int) -> list[Head]:
        """The data sets that an epoch, from 1, draws from."""
        alone = int(round(self._options.first_share * self._options.epochs, _PLACES))
        if self._first is not None and epoch <= alone:
            return [self._first]
        return self._heads

    def epoch(self, number: int) -> Learned:
        """The epoch with this number, from 1.

        What is drawn in it, networks, data sets, orders and dropout, follows from the seeds and the
        number. Raises Diverged, and FusegraphError E503, E706, E708, E701 for alpha.
        """
        self._known.clear()
        torch.manual_seed(epoch_seed(self._settings.seed, number))  # dropout
        heads = self.heads_at(number)
        steps = sum([len(head.train) for head in heads])
        order = torch.Generator().manual_seed(epoch_seed(self._settings.seed, number))
        valid = [self._validation(head, number) for head in heads]
        losses, arch_losses, rate = _Losses(number, read_together(self._device)), _Mean(), 0.0
        batches = drawn([head.train for head in heads], order)
        for index, (place, batch) in enumerate(batches):
            rng = generator(self._seed, "step", number, index)
            rate = self._rate(number, index, steps)
            settings = uniform(self._trained, rng)
            where = f"epoch {number}, batch {index + 1}"
            losses.add(self._step(heads[place], settings, batch, rate, where), batch)
            if self._topology is not None:
                batch = next(valid[place])
                settings = self._topology.draw(rng)
                loss = self._validation_loss(heads[place], settings, batch, number)
                self._topology.step(heads[place].output, settings, loss)
                arch_losses.add(loss, batch)
        losses.read()
        return Learned(losses.mean.value, arch_losses.value if arch_losses.samples else None, rate)

    def _validation(self, head: Head, epoch: int) -> Iterator[Batch]:
        seed = derive(self._settings.seed, "validation", head.output, epoch)
        return endless(head.valid, seed % SEEDS)

    def _rate(self, epoch: int, index: int, steps: int) -> float:
        """One cosine over all epochs, times what has passed of the warm-up."""
        rate = learning_rate(self._settings, epoch - 1, index, steps)
        warmup = self._options.warmup * self._options.epochs
        done = epoch - 1 + (index + 1) / steps
        return rate * min(1.0, done / warmup) if warmup > 0 else rate

    def _step(
        self, head: Head, settings: Settings, batch: Batch, rate: float, where: str
    ) -> Tensor:
        """The loss before the step."""
        self.networks.train()
        with precision_of(self._settings, self._device):
            with of_the_network(where):
                logits = precise(self._logits(head, settings, batch.inputs))
            head.fits(logits, batch.labels)
            loss = head.loss(logits, batch.labels)
        if loss.requires_grad:  # else a network without weights
            self.optimiser.zero_grad()
            with of_the_network(where):
                loss.backward()
                if self._settings.gradient_clip is not None:
                    clip = self._settings.gradient_clip
                    nn.utils.clip_grad_norm_(self.networks.parameters(), clip)
                self.optimiser.step(settings, rate, [head.output])
        return loss.detach()

    @torch.no_grad()
    def _validation_loss(self, head: Head, settings: Settings, batch: Batch, epoch: int) -> float:
        self.networks.eval()
        with precision_of(self._settings, self._device):
            with of_the_network(f"epoch {epoch}, validation"):
                logits = precise(self._logits(head, settings, batch.inputs))
            head.fits(logits, batch.labels)
            loss = head.plain_loss(logits, batch.labels).item()
        if not math.isfinite(loss):
            raise Diverged(epoch, None, loss)
        return loss

    def _logits(
        self, head: Head, settings: Mapping[str, Setting], inputs: Mapping[str, Tensor]
    ) -> Tensor:
        [found] = self.networks.run([settings], inputs, [head.output])
        return found[head.output]

    # ── looking ──────────────────────────────────────────────────────────────────────────────────

    def judge(self, settings: Mapping[str, Setting], epoch: int) -> Judged:
        """A network with the shared weights on the validation splits, in evaluation mode: the mean
        over the data sets. Remembered until the weights move on. Raises Diverged.
        """
        key = tuple(settings.items())
        found = self._known.get(key)
        if found is None:
            each = [self._judged(head, settings, epoch) for head in self._heads]
            found = self._known[key] = Judged(
                sum([judged.loss for judged in each]) / len(each),
                sum([judged.score for judged in each]) / len(each),
            )
        return found

    def _judged(self, head: Head, settings: Mapping[str, Setting], epoch: int) -> Judged:
        def forward(module: nn.Module, inputs: Mapping[str, Tensor]) -> Tensor:
            return self._logits(head, settings, inputs)

        most = self._options.batches
        source: BatchSource = FirstBatches(head.valid, most) if most else head.valid
        precision = precision_of(self._settings, self._device)
        logits, labels = predict(self.networks, source, forward=forward, precision=precision)
        head.fits(logits, labels)
        loss = head.plain_loss(logits, labels).item()
        if not math.isfinite(loss):
            raise Diverged(epoch, None, loss)
        return Judged(loss, -loss if head.score is None else head.score(logits, labels))


class _Mean:
    """A mean over samples."""

    def __init__(self) -> None:
        self.samples = 0
        self._total = 0.0

    def add(self, value: float, batch: Batch) -> None:
        """A batch's mean."""
        self.samples += len(batch.labels)
        self._total += value * len(batch.labels)

    @property
    def value(self) -> float:
        """The mean so far."""
        return self._total / max(1, self.samples)


class _Losses:
    """The mean of an epoch's losses, so many of which are read together."""

    def __init__(self, epoch: int, together: int) -> None:
        self.mean = _Mean()
        self._epoch = epoch
        self._together = together
        self._read = 0
        self._unread: list[tuple[Tensor, Batch]] = []

    def add(self, loss: Tensor, batch: Batch) -> None:
        """A batch's mean. Raises Diverged as `read` does."""
        self._unread.append((loss, batch))
        if len(self._unread) == self._together:
            self.read()

    def read(self) -> None:
        """Those that are not read yet. Raises Diverged at the first that is not finite."""
        if not self._unread:
            return
        losses = torch.stack([loss for loss, _ in self._unread]).cpu().unbind()
        self._read += len(losses)
        all_finite(losses, self._epoch, self._read)
        for loss, (_, batch) in zip(losses, self._unread, strict=True):
            self.mean.add(loss.item(), batch)
        self._unread.clear()


def read_together(device: torch.device) -> int:
    """How many losses are read at once: on a GPU reading one waits for all that is under way."""
    return 1 if device.type == "cpu" else 50
