"""PARSEC: the distribution over a space's networks and their shared weights learn together.

Casale et al. 2019, "Probabilistic Neural Architecture Search", arXiv 1902.05116, with the cost term
and the phases of the supplement of "Searching for Two-Stream Models in Multivariate Space for Video
Recognition" (Auto-TSNet), section 1 and Table 2. Where it departs:

* The cost is max(0, F / T_max - 1) + max(0, 1 - F / T_min): eq. 2 prints T_max - 1 as the divisor.
  Where no sampled network costs anything its logarithm is minus infinity, and it is left out.
* The weights move along the gradient of the mean over the batch's samples, not of the sum, as the
  paper's learning rates (0.4 for batches of 256) can only be meant. The importance weights are of
  the sum, unless `likelihood = "mean"`.
* Label smoothing and class balance, where the settings have them, are of the weights' loss alone:
  the likelihoods of eq. 1, and so the importance weights, are those of the labels as they are.
* Decisions that a network does not reach are no part of its probability, see `prior`.
* The learning rate falls along one cosine in each phase, and starts at 0.4 * batch / 256 where
  nobody set one: the supplement says nothing of a schedule while searching, and has 0.4 and a half
  cosine where it trains (section 3.2). Dropout is the space's.
* A genotype is told after each epoch: the most probable one, with its score by shared weights.
  Where it fails a `require`, it is the most probable of the networks of the epoch's last step.
* The search ends with the most probable network alone, whatever scored higher before.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path

from ...backends.torch.sampled_weights import shared_weights
from ...ir.genotype import Genotype
from ...ir.graph import Graph
from ...tasks.sources import TaskData
from ...training.settings import TrainSettings
from ..epochs import EpochSearcher, nothing_open
from ..genotypes import genotype_text
from ..protocol import ArchitectureEpoch, Array, Epoch, Scored
from .options import ParsecOptions
from .plan import Plan
from .prior import Prior
from .run import Done, Run


class ParsecSearch(EpochSearcher[Done]):
    """A gradient-based searcher, see `protocol.GradientSearcher`. Which of the settings hold,
    `ParsecOptions` says.

    Raises FusegraphError: E813 where the space has nothing to search, E814 where a decision has no
    distribution, E505 and E714 where its weights cannot be listed, E802 where an option does not
    fit the space.
    """

    learns = "the sampled networks"
    helps = (
        "lower `learning_rate` of `[search.train]` or of the phase, or set `gradient_clip` of "
        "`[search.train]`"
    )

    def __init__(self, space: Graph, options: ParsecOptions, seed: int) -> None:
        Prior(space)
        shared_weights(space)
        if not any(decision.count() > 1 for decision in space.decisions.values()):
            raise nothing_open("parsec", space)
        super().__init__("parsec", space, options, seed)
        self._options = options
        self._plan = Plan(space, options)

    @property
    def planned(self) -> int:
        """As many as there are epochs."""
        return self._plan.epochs

    def best(self, count: int) -> list[Scored]:
        """The most probable network of the last epoch in which alpha learned, and no other."""
        learnt = [epoch for epoch in self._epochs if epoch.event.best]
        return [
            Scored(epoch.genotype, epoch.event.valid_score, epoch.event.epoch - 1)
            for epoch in learnt[-1:]
        ][:count]

    def weights_of(self, genotype: Genotype) -> Mapping[str, Array]:
        """See `protocol.Inheriting`."""
        if not isinstance(self._run, Run):
            raise ValueError("weights_of() comes after begin()")
        return self._run.weights_of(genotype.settings)

    def _loop(self, data: TaskData, settings: TrainSettings, state: Path | None) -> Run:
        return Run(self._space, self._plan, self._options, self._seed, data, settings, state)

    def _told(self, number: int, found: Done, started: float) -> Epoch:
        genotype = Genotype.of(self._space.digest, found.settings)
        violated = self._violated(genotype)
        learned = found.learned
        event = ArchitectureEpoch(
            epoch=number,
            epochs=self.planned,
            genotype=genotype_text(self._space, genotype),
            digest=genotype.digest,
            weights=found.weights,
            entropies=found.entropies,
            train_loss=learned.loss,
            arch_loss=learned.arch_loss,
            valid_loss=found.valid_loss,
            valid_score=found.valid_score,
            learning_rate=learned.learning_rate,
            best=learned.arch_loss is not None and not violated,
            violated=violated,
            seconds=time.perf_counter() - started,
            measure=self._options.measure,
            target=self._options.target,
            expected_cost=learned.expected,
            cost=found.cost,
        )
        return Epoch(genotype, event)
