"""Random search: different genotypes, drawn uniformly.

The baseline of MFAS, section 4 ("a purely random" exploration, Table 1). Two departures: no
genotype is drawn twice, so that a budget buys as many networks as it says; and, on wish, the
candidates have the same depths as those of another searcher (`lengths`), since a comparison at
other depths compares depths. On a space without a progression, uniform means: each reached
decision in turn is drawn uniformly from its settings.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import product
from random import Random
from typing import Any

from ..compiler.explore import enumerate_genotypes, sample
from ..ir.genotype import Genotype
from ..ir.graph import Graph
from .errors import budget_too_small, search_error
from .options import WrongValue, expect_range, read_options
from .progression import Progression, progression_of
from .protocol import Event, Proposal, Round, TrialResult
from .randomness import generator
from .rounds import RoundSearcher
from .unseen import NoneFound, unseen


@dataclass(frozen=True, slots=True)
class RandomOptions:
    """Options of random search.

    trials: how many different networks are drawn and trained.
    batch: how many of them make a round.
    lengths: how many trials have depth 1, 2, … in a space with a progression; their sum then is
        the budget, and `trials` is not looked at.
    """

    trials: int = 100
    batch: int = 15
    lengths: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        for name in ("trials", "batch"):
            expect_range(self, name, least=1)
        if self.lengths and (min(self.lengths) < 0 or sum(self.lengths) < 1):
            found = ", ".join(map(str, self.lengths))
            words = f"holds no negative number, and one that is positive, not [{found}]"
            raise WrongValue("lengths", words)


def within_budget(space: Graph, options: Mapping[str, Any], budget: int) -> dict[str, Any]:
    """The options with as many trials as the budget; `lengths` stay what they are.

    Raises FusegraphError: E802 as the searcher does, E812 where `lengths` are above the budget.
    """
    if not options.get("lengths"):
        return {**options, "trials": budget}
    wanted = sum(read_options(RandomOptions, options, "random").lengths)
    if wanted > budget:
        raise budget_too_small("random", space, wanted, budget)
    return dict(options)


class RandomSearch(RoundSearcher):
    """Draws without duplicates, and ends early when the space is exhausted. Refuses no space.

    Raises FusegraphError E803, E804 only where `lengths` is given and there is no progression.
    """

    def __init__(self, space: Graph, options: RandomOptions, seed: int) -> None:
        super().__init__("random", space, options, seed)
        self._options = options
        self._seen: set[str] = set()
        self._number = 0
        self._slot = 0
        self._progression: Progression | None = None
        self._depths: tuple[int, ...] = (0,) * options.trials
        if options.lengths:
            self._progression = progression_of(space, "random search with `lengths`")
            levels = len(self._progression.levels)
            if len(options.lengths) > levels:
                raise search_error(
                    "E802",
                    f"`lengths` asks for networks of {len(options.lengths)} levels, and those of "
                    f"`{space.name}` have {levels} at most",
                    place="searcher random",
                    help=f"give {levels} numbers, one for each depth",
                )
            depths = enumerate(options.lengths, start=1)
            self._depths = tuple([depth for depth, times in depths for _ in range(times)])

    @property
    def planned(self) -> int:
        """The budget."""
        return len(self._depths)

    def _learn(self, pairs: Sequence[tuple[Proposal, TrialResult]]) -> tuple[Event, ...]:
        """Nothing is learnt but which is best."""
        self._number += 1
        return ()

    def _draw(self) -> Round | str:
        """The next `batch` of genotypes, unless the budget is spent or the space exhausted."""
        genotypes: list[Genotype] = []
        exhausted: set[int] = set()
        ending = "the space is exhausted"
        while self._slot < len(self._depths) and len(genotypes) < self._options.batch:
            depth = self._depths[self._slot]
            new = None
            if depth not in exhausted:
                try:
                    new = self._unseen(depth)
                except NoneFound as found:
                    ending = str(found)
            self._slot += 1
            if new is None:
                exhausted.add(depth)
                if self._progression is None:
                    break
                continue
            genotypes.append(new)
            self._seen.add(new.digest)
        if genotypes:
            return self._propose(self._number, [(g, ()) for g in genotypes], "drawn at random")
        if self._history.trials == len(self._depths):
            return "the budget is spent"
        return f"{ending} after {self._history.trials} genotypes"

    def _unseen(self, depth: int) -> Genotype | None:
        """A genotype of this depth that was not drawn before; None if there is none left.

        Raises NoneFound.
        """
        rng = generator(self._seed, "draw", self._slot)
        return unseen(self._seen, partial(self._any, depth, rng), lambda: self._list(depth), rng)

    def _any(self, depth: int, rng: Random) -> Genotype | None:
        progression = self._progression
        if progression is None:
            return sample(self._space, rng)
        levels = [progression.options(level) for level in range(depth)]
        return progression.genotype(tuple([rng.choice(options) for options in levels]))

    def _list(self, depth: int) -> Iterator[Genotype]:
        progression = self._progression
        if progression is None:
            return enumerate_genotypes(self._space)
        configurations = product(*[progression.options(level) for level in range(depth)])
        found = (progression.genotype(configuration) for configuration in configurations)
        return (genotype for genotype in found if genotype is not None)
