"""What searchers that own a loop over shared weights do alike."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

from ..compiler.requirements import violations
from ..compiler.specialise import specialise
from ..ir.diagnostics import Diagnostic, FusegraphError
from ..ir.genotype import Genotype
from ..ir.graph import Graph
from ..tasks.sources import TaskData
from ..training.settings import TrainSettings
from ..training.steps import Diverged
from .errors import search_error
from .protocol import Epoch, Scored

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

DIGITS = 6
"""Of the weights in events."""

D = TypeVar("D")
D_co = TypeVar("D_co", covariant=True)


class Loop(Protocol[D_co]):
    """A search on its data, which gives what came of each epoch."""

    def restored(self) -> Sequence[Epoch]:
        """The epochs that are done, with everything as it was after them."""
        ...

    def epoch(self, number: int) -> D_co:
        """The epoch with this number, from 1. Raises Diverged."""
        ...

    def save(self, epochs: Sequence[Epoch]) -> None:
        """Keep all that the next epoch needs."""
        ...


class EpochSearcher(ABC, Generic[D]):
    """A gradient-based searcher without its algorithm, which `_loop` begins; `_told` makes of what
    came of an epoch what the driver is told.
    """

    learns = "the supernet"
    """What diverges, to people."""
    helps = "lower `learning_rate` of `[search.train]`, or set its `gradient_clip`"
    """Against that."""

    def __init__(self, name: str, space: Graph, options: DataclassInstance, seed: int) -> None:
        self._name = name
        self._space = space
        self._given = asdict(options)
        self._seed = seed
        self._epochs: list[Epoch] = []
        self._run: Loop[D] | None = None

    @property
    def identity(self) -> Mapping[str, Any]:
        """See `AnySearcher.identity`."""
        return {
            "searcher": self._name,
            "space": self._space.digest,
            "options": self._given,
            "seed": self._seed,
        }

    @property
    @abstractmethod
    def planned(self) -> int:
        """As many as there are epochs."""

    @property
    def done(self) -> bool:
        """Whether all epochs are done."""
        return len(self._epochs) >= self.planned

    @property
    def ending(self) -> str:
        """See `AnySearcher.ending`."""
        return f"{len(self._epochs)} epochs are done" if self.done else ""

    @abstractmethod
    def best(self, count: int) -> list[Scored]:
        """See `AnySearcher.best`."""

    def begin(
        self, data: TaskData, settings: TrainSettings, state: Path | None
    ) -> tuple[Epoch, ...]:
        """See `GradientSearcher.begin`."""
        self._run = self._loop(data, settings, state)
        self._epochs = [*self._run.restored()]
        return tuple(self._epochs)

    def epoch(self) -> Epoch:
        """See `GradientSearcher.epoch`."""
        if self._run is None or self.done:
            raise ValueError("epoch() comes after begin(), and not when the search is done")
        started = time.perf_counter()
        number = len(self._epochs) + 1
        try:
            found = self._run.epoch(number)
        except Diverged as error:
            raise self._diverged(error) from error
        epochs = [*self._epochs, self._told(number, found, started)]
        self._run.save(epochs)
        self._epochs = epochs
        return epochs[-1]

    @abstractmethod
    def _loop(self, data: TaskData, settings: TrainSettings, state: Path | None) -> Loop[D]:
        """Build all that learns; `begin` restores it."""

    @abstractmethod
    def _told(self, number: int, found: D, started: float) -> Epoch:
        """The genotype and the event of an epoch, which began at `started` of the clock
        `time.perf_counter`.
        """

    def _violated(self, genotype: Genotype) -> tuple[str, ...]:
        """The texts of what the space requires and the genotype fails."""
        if not self._space.requires:
            return ()
        network = specialise(self._space, genotype)
        return tuple([requirement.told for requirement, _, _ in violations(network)])

    def _diverged(self, error: Diverged) -> FusegraphError:
        notes = ["the epochs before it are on record; nothing follows from this one"]
        if best := self.best(1):
            notes.append(
                f"the genotype chosen so far is that of epoch {best[0].trial + 1}, with "
                f"{best[0].score:.4f}"
            )
        [told] = error.diagnostics
        return FusegraphError(
            Diagnostic(
                code="E701",
                message=f"{self.learns} diverged: expected a finite loss, found {error.loss}",
                place=told.place,
                notes=tuple(notes),
                help=self.helps,
            )
        )


def nothing_open(searcher: str, space: Graph) -> FusegraphError:
    """E813: a space whose decisions have one candidate each, or that has none."""
    return search_error(
        "E813",
        f"`{searcher}` learns the decisions of a space, and `{space.name}` has none that is open",
        place=space.name,
        help="open a decision, or train the network by `fusegraph train`",
    )


def architecture_diverged(key: str, help: str) -> FusegraphError:
    """E701: the parameters of a decision are not finite."""
    return FusegraphError(
        Diagnostic(
            code="E701",
            message="the architecture diverged: expected finite parameters, found others",
            place=key,
            help=help,
        )
    )
