"""The evolution under constraints as the selection of a search, see `evolution`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from ...compiler.explore import holds, sample
from ...ir.decisions import Setting
from ...ir.genotype import Genotype
from ...ir.graph import Graph
from ..epochs import DIGITS
from ..parsec.laws import Law, NonEmpty
from ..parsec.plan import shown_weights
from ..parsec.prior import Prior
from ..protocol import Scored
from ..randomness import generator
from .evolution import ConstrainedEvolution
from .evolution_options import ConstrainedEvolutionOptions
from .search import OnceSearch
from .selection import Score, Selection, Settings, Shown

_RARE = 1e-9
"""The share of a candidate that no parent has, in place of 0, whose logarithm there is not."""


class Evolving:
    """A selection whose first step scores the first population, and each further one a generation.

    The network that is chosen is the best of all that were scored. What is shown of a decision is
    how many of the best `parents` networks have each candidate.
    """

    def __init__(
        self, space: Graph, prior: Prior, options: ConstrainedEvolutionOptions, seed: int
    ) -> None:
        self._space = space
        self._prior = prior
        self._seed = seed
        self._parents = options.parents
        self._first: Settings | None = None
        self.evolution = ConstrainedEvolution(space, options, seed)

    def step(self, number: int, score: Score) -> None:
        """Breed and score a generation."""
        self.evolution.generation(number - 1, score)

    def chosen(self) -> Settings:
        """The best network; before there is one, that of the first candidates, or where it fails a
        `require` any that does not.
        """
        if best := self.evolution.best(1):
            return dict(best[0].genotype.settings)
        if self._first is None:
            self._first = self._prior.most_probable({})
            if not holds(self._space, self._first):
                found = sample(self._space, generator(self._seed, "witness"))
                self._first = dict(found.settings)
        return self._first

    def shown(self) -> Shown:
        """See the class; all the same before the first population."""
        best = [member.genotype.settings for member in self.evolution.best(self._parents)]
        shown = Prior(self._space)
        for key, law in shown.laws.items():
            fit(law, [settings[key] for settings in best if key in settings])
        return shown_weights(shown, {}, DIGITS)

    def state(self) -> dict[str, Any]:
        """That of the evolution."""
        return self.evolution.state()

    def restore(self, state: Mapping[str, Any], steps: int) -> None:
        """Put back what `state` gave. Raises ValueError where it is none of this space, or none
        after so many steps.
        """
        self.evolution.restore(state)
        if len(self.evolution.done) != steps:
            raise ValueError(f"{len(self.evolution.done)} generations, not {steps}")


class ConstrainedEvolutionSearch(OnceSearch):
    """The supernet without topology parameters, and the evolution over it. Raises FusegraphError as
    `OnceSearch` does; E508 where a latency is required and nothing measures it.
    """

    def __init__(self, space: Graph, options: ConstrainedEvolutionOptions, seed: int) -> None:
        self._chosen = options
        self._evolving: Evolving | None = None
        super().__init__("constrained_evolution", space, options, seed)

    def best(self, count: int) -> list[Scored]:
        """The best networks of all generations, best first, each with the step that scored it."""
        if self._evolving is None:
            return []
        steps: dict[Genotype, int] = {}
        for generation in self._evolving.evolution.done:
            for member in generation.members:
                steps[member.genotype] = self._chosen.epochs + generation.number
        return [
            Scored(member.genotype, member.score, steps[member.genotype])
            for member in self._evolving.evolution.best(count)
        ]

    @property
    def _steps(self) -> int:
        return 1 + self._chosen.generations

    def _selection(self, prior: Prior) -> Selection:
        self._evolving = Evolving(self._space, prior, self._chosen, self._seed)
        return self._evolving


def fit(law: Law, settings: Sequence[Setting]) -> None:
    """Give a law the shares that these settings have, of a subset those of its members."""
    if not settings:
        return
    with torch.no_grad():
        if isinstance(law, NonEmpty):
            each = [sum(index in s for s in settings) for index in range(len(law.alpha))]
            shares = torch.tensor(each, dtype=torch.float64) / len(settings)
            law.alpha.copy_(torch.logit(shares, _RARE))
        else:
            counts = Counter(settings)
            each = [counts[setting] for setting in law.decision.settings()]
            shares = torch.tensor(each, dtype=torch.float64) / len(settings)
            law.alpha.copy_(shares.clamp(min=_RARE).log())
