"""One step and one epoch of PARSEC: K networks drawn, run as one program, learnt from."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Adam, Optimizer

from ...backends.torch.sampled import SampledNetworks
from ...compiler.requirements import satisfied
from ...compiler.specialise import specialise
from ...ir.cells import expand
from ...ir.decisions import Setting
from ...ir.graph import Graph
from ...training.batches import Batch, BatchSource
from ...training.loop import predict
from ...training.losses import Kind
from ...training.metrics import score_function
from ...training.schedules import learning_rate
from ...training.settings import TrainSettings
from ...training.steps import (
    Diverged,
    check_labels,
    epoch_seed,
    loss_of,
    of_the_network,
    optimiser_of,
    precise,
    precision_of,
    start_momenta,
)
from ..randomness import generator
from .estimator import architecture_loss, evidence, importance, shares
from .options import ParsecOptions
from .price import Price, excess
from .prior import Prior

Settings = dict[str, Setting]


@dataclass(frozen=True, slots=True)
class Place:
    """Where a search stands: its epoch from 1, the epoch of its phase from 0, and what holds there.

    `fixed` are the decisions that this phase does not search. `settings` are of the phase's
    weights: their learning rate, and for their schedule its number of epochs.
    """

    epoch: int
    within: int
    settings: TrainSettings
    arch_learning_rate: float
    fixed: Mapping[str, Setting]
    warming: bool


@dataclass(frozen=True, slots=True)
class Sample:
    """A network that was drawn: its settings, its graph on the shared weights, what it costs."""

    settings: Settings
    network: Graph
    figure: float


@dataclass(frozen=True, slots=True)
class Learned:
    """What came of an epoch. `loss` is the mean over all networks drawn; `arch_loss` that of
    -log P(y | X, alpha) a sample, None while warming up; `expected` the mean of the measure.
    `drawn` are the different networks of the last step.
    """

    loss: float
    arch_loss: float | None
    learning_rate: float
    expected: float
    drawn: tuple[Settings, ...]


@dataclass(frozen=True, slots=True)
class Losses:
    """(K,) each, of the networks of a step: what the weights learn from, and -log P(y | X, A_k),
    both means over the batch's terms. They differ by label smoothing and class balance.
    """

    trained: Tensor
    unlikely: Tensor


class Learner:
    """The shared weights, the prior, and both optimisers. `networks` are of the prior's space with
    its composites expanded, or of what is behind its prefix.

    A step draws K networks, computes their losses, and moves the weights along sum_k w_k grad
    loss_k and alpha along its own estimate (see `estimator`). Label smoothing and class balance are
    of loss_k alone: w_k and what is told of the likelihood are those of the labels as they are. The
    gradient of the weights is that of a *mean* over the batch's samples, for which learning rates
    are made; networks that are drawn twice in a step run once, with one dropout mask. What no
    network of the step reaches does not move: neither its weights, nor their momentum, nor their
    decay.
    """

    def __init__(
        self,
        prior: Prior,
        networks: SampledNetworks,
        options: ParsecOptions,
        settings: TrainSettings,
        device: torch.device,
        seed: int,
        *,
        kind: Kind = "single",
        positive_weight: Tensor | None = None,
    ) -> None:
        self.prior = prior
        self.networks = networks
        # A prefix owns no weights and multiplies nothing, but its results take memory.
        whole = options.measure == "activation_bytes"
        self._priced = expand(prior.space) if whole else networks.space
        self._price = Price(options.measure)
        self.weight_optimiser = _optimiser(networks, settings)
        alphas = [law.alpha for law in prior.laws.values()]
        self.arch_optimiser = Adam(alphas, lr=options.arch_learning_rate, fused=True)
        self._options = options
        self._settings = settings
        self._device = device
        self._seed = seed
        self._kind: Kind = kind
        balance = None if positive_weight is None else positive_weight.to(device)
        self._loss = loss_of(kind, balance, settings.label_smoothing)
        self._plain_loss = loss_of(kind, balance, 0.0)
        altered = balance is not None or settings.label_smoothing > 0
        self._unlikely = loss_of(kind, None, 0.0) if altered else self._loss
        metric = settings.metric
        self._score = (
            None if metric == "loss" else score_function(metric, kind, top_k=settings.top_k)
        )
        self._checked = False

    # ── learning ─────────────────────────────────────────────────────────────────────────────────

    def epoch(self, place: Place, train: BatchSource) -> Learned:
        """An epoch over the training batches.

        The order of the batches, dropout and the networks that are drawn are functions of the seeds
        and of the epoch's number. Raises Diverged, and FusegraphError E503, E706, E708, and E701
        where alpha is no longer finite.
        """
        seed = epoch_seed(place.settings.seed, place.epoch)
        torch.manual_seed(seed)  # dropout
        order = torch.Generator().manual_seed(seed)
        self.networks.train()
        batches, seen, rate = len(train), 0, 0.0
        total = evidences = expected = 0.0
        samples: list[Sample] = []
        for index, batch in enumerate(train.epoch(order)):
            rate = learning_rate(place.settings, place.within, index, batches)
            samples = self.draw(generator(self._seed, "networks", place.epoch, index), place)
            losses = self.step(place, batch, samples, rate, index)
            size = len(batch.labels)
            seen += size
            count = self._count(batch)
            total += losses.trained.mean().item() * size
            evidences += evidence(-losses.unlikely * count) / count * size
            expected += sum(sample.figure for sample in samples) / len(samples) / batches
        different = {sample.network: sample.settings for sample in samples}
        return Learned(
            total / max(1, seen),
            None if place.warming else -evidences / max(1, seen),
            rate,
            expected,
            tuple(different.values()),
        )

    def draw(self, rng: Random, place: Place) -> list[Sample]:
        """The K networks of a step. Raises FusegraphError E503 where none satisfies `require`."""
        found: list[Sample] = []
        for settings in self.prior.draw(rng, self._options.samples, place.fixed):
            network = self._graph(settings)
            same = self._priced is self.networks.space
            figure = self._price(network) if same else self.figure(settings)
            found.append(Sample(settings, network, figure))
        return found

    def figure(self, settings: Settings) -> float:
        """What the network of these settings costs, in the options' measure."""
        return self._price(specialise(self._priced, settings))

    def _graph(self, settings: Settings) -> Graph:
        return specialise(self.networks.space, settings)

    def step(
        self,
        place: Place,
        batch: Batch,
        drawn: Sequence[Sample],
        rate: float,
        index: int = 0,
    ) -> Losses:
        """One step of the weights, and but for the warm-up of alpha; the losses before it, float64
        on the CPU.
        """
        where = f"epoch {place.epoch}, batch {index + 1}"
        losses = self._losses(batch, [sample.network for sample in drawn], where)
        known = torch.stack([losses.trained.detach(), losses.unlikely]).to("cpu", torch.float64)
        if not torch.isfinite(known).all():
            worst = known[~torch.isfinite(known)][0].item()
            raise Diverged(place.epoch, index + 1, worst)
        trained, unlikely = known
        count = self._count(batch) if self._options.likelihood == "sum" else 1
        weights = importance(-unlikely * count)
        self._weight_step((weights.to(losses.trained) * losses.trained).sum(), rate, where)
        if not place.warming:
            self._arch_step(place, drawn, weights)
        return Losses(trained, unlikely)

    def _losses(self, batch: Batch, graphs: Sequence[Graph], where: str) -> Losses:
        different = list(dict.fromkeys(graphs))
        trained: list[Tensor] = []
        unlikely: list[Tensor] = []
        places: dict[Graph, int] = {}
        with precision_of(self._settings, self._device):
            with of_the_network(where):
                sets = self.networks.stacked(different, batch.inputs)
            for those, outputs in sets:
                logits = precise(logits_of(outputs))
                if not self._checked:
                    check_labels(self._kind, logits[0], batch.labels)
                    self._checked = True
                loss = self._loss(logits, batch.labels)
                trained.append(loss)
                if self._unlikely is not self._loss:
                    loss = self._unlikely(logits.detach(), batch.labels)
                unlikely.append(loss.detach())
                places.update({different[place]: len(places) + n for n, place in enumerate(those)})
        each = [places[graph] for graph in graphs]
        return Losses(torch.cat(trained)[each], torch.cat(unlikely)[each])

    def _count(self, batch: Batch) -> int:
        """How many terms the mean of a loss has, which the likelihood of the batch sums."""
        return len(batch.labels) if self._kind == "single" else batch.labels.numel()

    def _weight_step(self, loss: Tensor, rate: float, where: str) -> None:
        optimiser = self.weight_optimiser
        if optimiser is None or not loss.requires_grad:  # networks without weights
            return
        optimiser.zero_grad(set_to_none=True)
        with of_the_network(where):
            loss.backward()
            if self._settings.gradient_clip is not None:
                nn.utils.clip_grad_norm_(self.networks.parameters(), self._settings.gradient_clip)
            optimiser.param_groups[0]["lr"] = rate
            optimiser.step()

    def _arch_step(self, place: Place, drawn: Sequence[Sample], weights: Tensor) -> None:
        self.arch_optimiser.zero_grad(set_to_none=True)
        beta = self._options.beta
        costs = [excess(sample.figure, self._options.target) for sample in drawn]
        priced = shares(costs) if beta > 0 else None
        settings = [sample.settings for sample in drawn]
        log_probabilities = self.prior.log_probability(settings, place.fixed)
        if log_probabilities.requires_grad:
            architecture_loss(log_probabilities, weights, priced, beta).backward()
            self.arch_optimiser.param_groups[0]["lr"] = place.arch_learning_rate
            self.arch_optimiser.step()
            self.prior.check_finite(
                "lower `arch_learning_rate` or `beta` of the searcher's options, or raise the "
                "bounds of `target`"
            )

    # ── looking ──────────────────────────────────────────────────────────────────────────────────

    def most_probable(self, place: Place, drawn: Sequence[Settings]) -> Settings:
        """The most probable network; where it fails a `require`, that of `drawn`."""
        found = self.prior.most_probable(place.fixed)
        if satisfied(self.prior.space, found):
            return found
        with torch.no_grad():
            known = self.prior.log_probability(drawn, place.fixed)
        return drawn[int(known.argmax())]

    def weights_of(self, settings: Mapping[str, Setting]) -> dict[str, Tensor]:
        """The shared weights that a network reads, by the names that it has for them alone."""
        return self.networks.state_of(self._graph(dict(settings)))

    def validate(self, settings: Settings, valid: BatchSource, epoch: int) -> tuple[float, float]:
        """Loss and score of a network with the shared weights on a split, in evaluation mode."""
        graph = self._graph(settings)

        def forward(module: nn.Module, inputs: Mapping[str, Tensor]) -> Tensor:
            assert isinstance(module, SampledNetworks)
            [found] = module.run([graph], inputs)
            return logits_of(found)

        precision = precision_of(self._settings, self._device)
        logits, labels = predict(self.networks, valid, forward=forward, precision=precision)
        loss = self._plain_loss(logits, labels).item()
        if not math.isfinite(loss):
            raise Diverged(epoch, None, loss)
        return loss, -loss if self._score is None else self._score(logits, labels)


def _optimiser(networks: SampledNetworks, settings: TrainSettings) -> Optimizer | None:
    """The settings' optimiser of all weights; None where no network has any."""
    made = optimiser_of(networks.parameters(), settings)
    if made is not None:
        start_momenta(made)
    return made


def logits_of(outputs: Mapping[str, Tensor]) -> Tensor:
    """The output `logits`, or the only one."""
    found: Any = outputs.get("logits")
    return next(iter(outputs.values())) if found is None else found
