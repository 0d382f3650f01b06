"""NAS just once: one supernet of sliced weights is trained, then a network is selected from it.

Supplement of "NAS just once: Neural Architecture Search for joint Image-Video Recognition",
appendices A to C. The training of the supernet is `supernet`, and where it departs from the paper
is told there and in `topology`; the two selections are `perturbation` and `evolution`. Besides:

* The paper's batch sizes and learning rates are those of `[search.train]`; one learning rate for
  all data sets, as in its joint training.
* Each step of the selection is an epoch of the search, with a genotype and its score: the mean over
  the data sets of the metric on their validation splits, with the supernet's weights, in evaluation
  mode. It trains nothing, so its `train_loss` and `learning_rate` are those of the last epoch
  before it; its `arch_loss` is the mean validation loss of the networks that it scored, or where
  it scored none that of its genotype.
"""

from __future__ import annotations

import time
from abc import abstractmethod
from collections.abc import Mapping
from pathlib import Path

from ...backends.torch.elastic import slices_of
from ...compiler.explore import sample
from ...compiler.requirements import is_measured
from ...ir.genotype import Genotype
from ...ir.graph import Graph, graph
from ...tasks.sources import TaskData
from ...training.settings import TrainSettings
from ..epochs import EpochSearcher, nothing_open
from ..genotypes import genotype_text
from ..parsec.prior import Prior
from ..protocol import ArchitectureEpoch, Array, Epoch, Scored
from ..randomness import generator
from .options import OnceOptions, PerturbationOptions, open_decisions
from .perturbation import Perturbation
from .run import Done, Run
from .selection import Selection
from .supernet import Learned


class OnceSearch(EpochSearcher[Done]):
    """A gradient-based searcher, see `protocol.GradientSearcher`, without its selection.

    Raises FusegraphError: E813 where the space has nothing to search, E814 where a decision has no
    distribution, E503 where no network satisfies its `require`; E505, E713 and E714 where weights
    cannot be shared by slices; E802 where an option does not fit.
    """

    def __init__(self, name: str, space: Graph, options: OnceOptions, seed: int) -> None:
        Prior(space, name)
        slices_of(space)
        if not open_decisions(space):
            raise nothing_open(name, space)
        super().__init__(name, space, options, seed)
        self._options = options
        self._expect_a_network()
        self._running: Run | None = None

    @property
    def planned(self) -> int:
        """The epochs of the supernet and the steps of the selection."""
        return self._options.epochs + self._steps

    def weights_of(self, genotype: Genotype) -> Mapping[str, Array]:
        """See `protocol.Inheriting`; after `begin`."""
        if self._running is None:
            raise ValueError("weights_of() comes after begin()")
        return self._running.weights_of(genotype.settings)

    @property
    @abstractmethod
    def _steps(self) -> int:
        """How many the selection takes."""

    @abstractmethod
    def _selection(self, prior: Prior) -> Selection:
        """A new one, which has done no step."""

    def _loop(self, data: TaskData, settings: TrainSettings, state: Path | None) -> Run:
        prior = Prior(self._space, self._name)
        self._running = Run(
            self._name,
            self._space,
            self._options,
            self._seed,
            prior,
            self._selection(prior),
            data,
            settings,
            state,
        )
        return self._running

    def _told(self, number: int, found: Done, started: float) -> Epoch:
        genotype = Genotype.of(self._space.digest, found.settings)
        violated = self._violated(genotype)
        learned, arch_loss = found.learned, found.arch_loss
        if learned is None:
            last = self._epochs[-1].event
            learned = Learned(last.train_loss, last.arch_loss, last.learning_rate)
            arch_loss = found.judged.loss if arch_loss is None else arch_loss
        weights, entropies = found.shown
        event = ArchitectureEpoch(
            epoch=number,
            epochs=self.planned,
            genotype=genotype_text(self._space, genotype),
            digest=genotype.digest,
            weights=weights,
            entropies=entropies,
            train_loss=learned.loss,
            arch_loss=arch_loss,
            valid_loss=found.judged.loss,
            valid_score=found.judged.score,
            learning_rate=learned.learning_rate,
            best=arch_loss is not None and not violated,
            violated=violated,
            seconds=time.perf_counter() - started,
            steps=self._steps,
        )
        return Epoch(genotype, event)

    def _expect_a_network(self) -> None:
        """Raises FusegraphError E503 before anything is trained. What takes a run of a network to
        tell is not looked at.
        """
        space = self._space
        told = [requirement for requirement in space.requires if not is_measured(requirement)]
        asked = graph(space.name, space.inputs, space.outputs, told)
        sample(asked, generator(self._seed, "any"))


class PerturbationSearch(OnceSearch):
    """The supernet with topology parameters, and the selection by perturbation."""

    def __init__(self, space: Graph, options: PerturbationOptions, seed: int) -> None:
        self._chosen = options
        super().__init__("perturbation", space, options, seed)

    def best(self, count: int) -> list[Scored]:
        """The network of the last epoch or step, and no other."""
        told = [epoch for epoch in self._epochs if epoch.event.best]
        return [
            Scored(epoch.genotype, epoch.event.valid_score, epoch.event.epoch - 1)
            for epoch in told[-1:]
        ][:count]

    @property
    def _steps(self) -> int:
        return len(open_decisions(self._space))

    def _selection(self, prior: Prior) -> Selection:
        return Perturbation(self._space, prior, self._chosen, self._seed)
