"""What searchers that draw one round after another do alike."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from itertools import repeat
from typing import TYPE_CHECKING, Any

from ..ir.genotype import Genotype
from ..ir.graph import Graph
from .history import History
from .protocol import Event, Parent, Proposal, Round, Scored, SharedLayer, TrialResult
from .randomness import derive

if TYPE_CHECKING:
    from _typeshed import DataclassInstance


class RoundSearcher(ABC):
    """A searcher without its algorithm, which says in `_draw` what comes next, and in `_learn`
    what it makes of the results.
    """

    def __init__(self, name: str, space: Graph, options: DataclassInstance, seed: int) -> None:
        self._name = name
        self._space = space
        self._settings = asdict(options)
        self._seed = seed
        self._history = History()
        self._round: Round | None = None
        self._ending = ""

    @property
    def identity(self) -> Mapping[str, Any]:
        """See `Searcher.identity`."""
        return {
            "searcher": self._name,
            "space": self._space.digest,
            "options": self._settings,
            "seed": self._seed,
        }

    @property
    @abstractmethod
    def planned(self) -> int:
        """See `Searcher.planned`."""

    @property
    def done(self) -> bool:
        """Whether there is no further round."""
        self._prepare()
        return self._round is None

    @property
    def ending(self) -> str:
        """Why there is none."""
        return self._ending

    def best(self, count: int) -> list[Scored]:
        """See `Searcher.best`."""
        return self._history.best(count)

    def ask(self) -> Round:
        """The next round, which stays the same until its results are told."""
        self._prepare()
        if self._round is None:
            raise ValueError(f"the search is done: {self._ending}")
        return self._round

    def tell(self, results: Sequence[TrialResult]) -> tuple[Event, ...]:
        """Remember the results and learn from them."""
        events = self._learn(self._history.pair(results))
        self._round = None
        return events

    @abstractmethod
    def _draw(self) -> Round | str:
        """The next round, or why there is none; called once for each."""

    @abstractmethod
    def _learn(self, pairs: Sequence[tuple[Proposal, TrialResult]]) -> tuple[Event, ...]:
        """Take the proposals of the last round with their results."""

    def _propose(
        self,
        number: int,
        candidates: Iterable[tuple[Genotype, tuple[SharedLayer, ...]]],
        note: str,
        *,
        synchronous: bool = False,
        parents: Iterable[Parent | None] = repeat(None),
    ) -> Round:
        """A round of these genotypes with what each shares, or the parent whose weights it starts
        from, as the trials that come next.
        """
        first = self._history.trials
        proposals = [
            Proposal(trial, number, genotype, derive(self._seed, "trial", trial), shares, parent)
            for trial, ((genotype, shares), parent) in enumerate(
                zip(candidates, parents, strict=False), first
            )
        ]
        return Round(number, tuple(proposals), note, synchronous)

    def _prepare(self) -> None:
        """Draw the next round, unless there is one already or nothing is left."""
        if self._round is not None or self._ending:
            return
        drawn = self._draw()
        if isinstance(drawn, str):
            self._ending = drawn
        else:
            self._round = drawn
            self._history.proposed(drawn.proposals)
