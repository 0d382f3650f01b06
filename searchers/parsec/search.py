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
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ...backends.torch.sampled_weights import shared_weights
from ...compiler.requirements import violations
from ...compiler.specialise import specialise
from ...ir.decisions import Setting
from ...ir.diagnostics import Diagnostic, FusegraphError
from ...ir.genotype import Genotype
from ...ir.graph import Graph
from ...tasks.sources import TaskData
from ...training.settings import TrainSettings
from ...training.steps import Diverged
from ..errors import search_error
from ..genotypes import genotype_text
from ..protocol import ArchitectureEpoch, Epoch, Scored
from .options import ParsecOptions
from .plan import Plan, shown_weights
from .prior import Prior
from .run import Run

DIGITS = 6
"""Of the weights in events."""


class ParsecSearch:
    """A gradient-based searcher, see `protocol.GradientSearcher`.

    Raises FusegraphError: E813 where the space has nothing to search, E814 where a decision has no
    distribution, E505 and E714 where its weights cannot be listed, E802 where an option does not
    fit the space.
    """

    def __init__(self, space: Graph, options: ParsecOptions, seed: int) -> None:
        Prior(space)
        shared_weights(space)
        if not any(decision.count() > 1 for decision in space.decisions.values()):
            raise search_error(
                "E813",
                f"`parsec` learns the decisions of a space, and `{space.name}` has none that is "
                "open",
                place=space.name,
                help="open a decision, or train the network by `fusegraph train`",
            )
        self._space = space
        self._options = options
        self._seed = seed
        self._plan = Plan(space, options)
        self._epochs: list[Epoch] = []
        self._run: Run | None = None

    # ── what all searchers have ──────────────────────────────────────────────────────────────────

    @property
    def identity(self) -> Mapping[str, Any]:
        """See `AnySearcher.identity`."""
        return {
            "searcher": "parsec",
            "space": self._space.digest,
            "options": asdict(self._options),
            "seed": self._seed,
        }

    @property
    def planned(self) -> int:
        """As many as there are epochs."""
        return self._plan.epochs

    @property
    def done(self) -> bool:
        """Whether all epochs are done."""
        return len(self._epochs) >= self.planned

    @property
    def ending(self) -> str:
        """See `AnySearcher.ending`."""
        return f"{len(self._epochs)} epochs are done" if self.done else ""

    def best(self, count: int) -> list[Scored]:
        """The most probable network of the last epoch in which alpha learned, and no other."""
        learnt = [epoch for epoch in self._epochs if epoch.event.best]
        return [
            Scored(epoch.genotype, epoch.event.valid_score, epoch.event.epoch - 1)
            for epoch in learnt[-1:]
        ][:count]

    # ── the loop ─────────────────────────────────────────────────────────────────────────────────

    def begin(
        self, data: TaskData, settings: TrainSettings, state: Path | None
    ) -> tuple[Epoch, ...]:
        """See `GradientSearcher.begin`. Which of the `settings` hold, `ParsecOptions` says."""
        self._run = run = Run(
            self._space, self._plan, self._options, self._seed, data, settings, state
        )
        self._epochs = [*run.restored()]
        return tuple(self._epochs)

    def epoch(self) -> Epoch:
        """See `GradientSearcher.epoch`."""
        if self._run is None or self.done:
            raise ValueError("epoch() comes after begin(), and not when the search is done")
        started = time.perf_counter()
        number = len(self._epochs) + 1
        try:
            done = self._run.epoch(number)
        except Diverged as error:
            raise self._diverged(error) from error
        genotype = Genotype.of(self._space.digest, done.settings)
        violated = self._violated(done.settings)
        weights, entropies = self._shown(done.settings)
        learned = done.learned
        event = ArchitectureEpoch(
            epoch=number,
            epochs=self.planned,
            genotype=genotype_text(self._space, genotype),
            digest=genotype.digest,
            weights=weights,
            entropies=entropies,
            train_loss=learned.loss,
            arch_loss=learned.arch_loss,
            valid_loss=done.valid_loss,
            valid_score=done.valid_score,
            learning_rate=learned.learning_rate,
            best=learned.arch_loss is not None and not violated,
            violated=violated,
            seconds=time.perf_counter() - started,
            measure=self._options.measure,
            target=self._options.target,
            expected_cost=learned.expected,
            cost=done.cost,
        )
        epochs = [*self._epochs, Epoch(genotype, event)]
        self._run.save(epochs)
        self._epochs = epochs
        return epochs[-1]

    # ── beneath ──────────────────────────────────────────────────────────────────────────────────

    def _violated(self, settings: Mapping[str, Setting]) -> tuple[str, ...]:
        if not self._space.requires:
            return ()
        network = specialise(self._space, settings)
        return tuple([requirement.text for requirement, _, _ in violations(network)])

    def _shown(self, settings: Mapping[str, Setting]) -> Any:
        assert self._run is not None
        prior = self._run.prior
        given = self._plan.fixed(prior, self._plan.parts[-1])
        settled = {key: given[key] for key in self._plan.never_searched(self._space)}
        return shown_weights(prior, settled, DIGITS)

    def _diverged(self, error: Diverged) -> FusegraphError:
        notes = ["the epochs before it are on record; nothing follows from this one"]
        if best := self.best(1):
            notes.append(f"the genotype of epoch {best[0].trial + 1} scored {best[0].score:.4f}")
        [told] = error.diagnostics
        return FusegraphError(
            Diagnostic(
                code="E701",
                message="the sampled networks diverged: expected a finite loss, found "
                f"{error.loss}",
                place=told.place,
                notes=tuple(notes),
                help="lower `learning_rate` of `[search.train]` or of the phase, or set "
                "`gradient_clip` of `[search.train]`",
            )
        )
