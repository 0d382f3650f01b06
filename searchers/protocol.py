"""What a searcher is, told as a timeline.

A *searcher* is made from a space, its options and a seed, and then lives through rounds:

1. Made. `Searcher(space, options, seed)` looks at the space and either can handle all of its
   decisions or raises one FusegraphError (E8xx) that says which it can't, and why.
2. Asked. `ask()` gives the next *round*: proposals that don't depend on one another's scores. Each
   has a trial number (0, 1, 2 … through the whole search), a genotype, a seed for whatever is
   random in its training, and the layers whose weights it shares with earlier trials, or the one
   trial that it starts from as a child.
3. Trained. The driver evaluates the proposals one after the other, in their order, or in *waves*
   side by side, which comes to the same (see `waves`), and records each. A candidate that cannot
   be trained is a result as well, with the reason of its failure.
4. Told. `tell(results)` takes the results of the whole round, one for each proposal and in their
   order, learns from them, and gives back what there is to report, such as a surrogate's fit.
   Asking twice without telling in between gives the same round.
5. Steps 2 to 4 go round until `done`; `ending` then says why. `best(k)` is there at any time.

*All state is a pure function of the space, the options, the seed and the results told so far.*
Hence resuming is replaying: a new searcher is fed the recorded results, round by round, and goes on
as if nothing had happened. Randomness is counter-based for the same reason (`randomness`).

Such searchers train nothing and write nothing. The driver does that, and tells everyone who watches
(progress bars, the report, a dashboard) by *events*, which are frozen data.

A *gradient-based* searcher is another creature. It learns its decisions together with the weights
of one supernet, so there is nothing to ask for and nobody else to train it: it owns a loop.

1. Made. As above: it relaxes the space, or raises one FusegraphError that says why it can't.
2. Begun. `begin(data, settings, state)` builds the supernet on the task's data. Where the file
   `state` is there, all of it is put back as it was, and the epochs that are done are answered.
3. Moved on. `epoch()` does one epoch, derives a genotype, and writes `state`, whole or not at all,
   before it answers. Each epoch is a trial: its genotype, with the supernet's validation score.
4. Step 3 goes round until `done`; `ending`, `best(k)` and `identity` are as above.

Its state cannot be replayed from scores, so it is kept in a file. Batch order, dropout and learning
rates are functions of the seed and the epoch's number; so the search ends the same, bit by bit,
wherever it was killed. `gradient` is its driver: the same store, the same events.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from numpy.typing import NDArray

from ..ir.genotype import Genotype

if TYPE_CHECKING:
    from typing_extensions import TypeIs

    from ..tasks.sources import TaskData
    from ..training.settings import TrainSettings

Array = NDArray[Any]

PLAIN_SCORE = "plain_score"
"""The figure of a trial that holds its score before the price of its network, where it has one."""


@dataclass(frozen=True, slots=True)
class SharedLayer:
    """A layer that starts from the weights that the last trial with the same layer ended with.

    `path` is the key that its weights lie under, such as `h[1]`; layers of different `variant`
    (an activation, in the release of MFAS) do not share.
    """

    path: str
    variant: str = ""


@dataclass(frozen=True, slots=True)
class Parent:
    """An earlier trial of the search whose weights a proposal starts from, by their names.

    `renamed` has keys of the proposal's network, such as a node's, that stand for others in the
    parent's: what lies under the one starts from what lay under the first of the others where it
    fits, and from nothing where there is none.
    """

    trial: int
    renamed: tuple[tuple[str, tuple[str, ...]], ...] = ()


@dataclass(frozen=True, slots=True)
class Proposal:
    """A candidate to train: one trial of a search. Its `parent`, if any, is of an earlier round."""

    trial: int
    round: int
    genotype: Genotype
    seed: int
    shares: tuple[SharedLayer, ...] = ()
    parent: Parent | None = None


@dataclass(frozen=True, slots=True)
class Round:
    """The proposals of one round, and a line for people on where the search stands.

    `synchronous`: all inherit what stood before the round, and nothing from one another.
    """

    number: int
    proposals: tuple[Proposal, ...]
    note: str = ""
    synchronous: bool = False


@dataclass(frozen=True, slots=True)
class TrialResult:
    """What became of a proposal: a score, the higher the better, or why there is none."""

    trial: int
    score: float | None
    failure: str = ""
    metrics: Mapping[str, float] = field(default_factory=dict[str, float])
    learned: Mapping[str, float] = field(default_factory=dict[str, float])


@dataclass(frozen=True, slots=True)
class Scored:
    """A genotype, the best score that a trial of it had, and that trial."""

    genotype: Genotype
    score: float
    trial: int


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What an evaluator found: a score, further figures, and the trained weights by name.

    `learned` is what the training says about the genotype itself, for searchers that go by it: how
    strong each connection of a levelled graph became, from 0 to 1, as `v[1][2] <- v[0][1]`.
    """

    score: float
    metrics: Mapping[str, float] = field(default_factory=dict[str, float])
    weights: Mapping[str, Array] = field(default_factory=dict[str, Array])
    learned: Mapping[str, float] = field(default_factory=dict[str, float])


class Inherited(Protocol):
    """The weights that a proposal may start from."""

    def matching(self, shapes: Mapping[str, Sequence[int]]) -> dict[str, Array]:
        """Those of the named weights for which there are shared ones of exactly this shape."""
        ...


class Evaluator(Protocol):
    """Trains a candidate for a few epochs and measures it."""

    def evaluate(self, proposal: Proposal, inherited: Inherited) -> Evaluation:
        """The score and weights of a proposal.

        Must be a pure function of its arguments (random numbers from `proposal.seed`), or a
        resumed search may end otherwise. See `recording.reason_of_failure` for the exceptions that
        count as a failed candidate; any other ends the search.
        """
        ...


@runtime_checkable
class WaveEvaluator(Evaluator, Protocol):
    """An evaluator that also trains several candidates side by side, as one program."""

    @property
    def together(self) -> int:
        """How many candidates it trains side by side at most; 1: it evaluates one by one."""
        ...

    def weight_shapes(self, proposal: Proposal) -> Mapping[str, Sequence[int]]:
        """The names and shapes that it will ask `Inherited.matching` for, and of the weights that
        the proposal ends with. Raises what `evaluate` raises where there is no such network.
        """
        ...

    def evaluate_together(
        self, proposals: Sequence[Proposal], inherited: Sequence[Inherited]
    ) -> list[Evaluation | Exception]:
        """What `evaluate` finds for each, to rounding and to what dropout draws, or the exception
        that it raises.

        Must be a pure function of its arguments, as `evaluate`; in another company a proposal may
        end otherwise, by as much. What is raised ends the search.
        """
        ...


class AnySearcher(Protocol):
    """What searchers of both sorts have."""

    @property
    def identity(self) -> Mapping[str, Any]:
        """All that the search is a function of, as JSON: searcher, space digest, options, seed."""
        ...

    @property
    def planned(self) -> int:
        """How many trials it will take at most."""
        ...

    @property
    def done(self) -> bool:
        """Whether there is nothing left to ask."""
        ...

    @property
    def ending(self) -> str:
        """Why it is done; empty before."""
        ...

    def best(self, count: int) -> list[Scored]:
        """The best different genotypes so far, best first; of equal scores the earlier trial."""
        ...


class Searcher(AnySearcher, Protocol):
    """The timeline is told at the top of this module."""

    def ask(self) -> Round:
        """The next round. Must not be called when done."""
        ...

    def tell(self, results: Sequence[TrialResult]) -> tuple[Event, ...]:
        """Take the results of the round that was asked for last."""
        ...


@runtime_checkable
class Finishing(Protocol):
    """A searcher that changes what it found before that is trained to completion."""

    def finished(self, found: Scored) -> Genotype:
        """What is trained in place of a genotype that the search found."""
        ...


@runtime_checkable
class Inheriting(Protocol):
    """A searcher whose networks share weights that each of them can go on with by itself."""

    def weights_of(self, genotype: Genotype) -> Mapping[str, Array]:
        """The weights that the search ended with, of this network: all that the `state_dict` of the
        lowered network has, by its names. Must not be called before the search has begun.
        """
        ...


@dataclass(frozen=True, slots=True)
class Epoch:
    """What an epoch of a gradient-based searcher came to: trial `event.epoch - 1`."""

    genotype: Genotype
    event: ArchitectureEpoch


class GradientSearcher(AnySearcher, Protocol):
    """The other timeline is told at the top of this module, too."""

    def begin(
        self, data: TaskData, settings: TrainSettings, state: Path | None
    ) -> tuple[Epoch, ...]:
        """Build the supernet, or put it back as `state` has it; the epochs that are done.

        `settings` say how the weights are trained. Raises FusegraphError E702 where `state` cannot
        be read, E705 where it is that of another search.
        """
        ...

    def epoch(self) -> Epoch:
        """Do the next epoch. Must not be called when done, or before `begin`.

        Raises FusegraphError E701 where the supernet diverges.
        """
        ...


def owns_a_loop(searcher: Searcher | GradientSearcher) -> TypeIs[GradientSearcher]:
    """Whether it is a gradient-based searcher."""
    return hasattr(searcher, "epoch")


# ── events ───────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class RoundStarted:
    """A round was asked for; `planned` is the number of trials of the whole search at most."""

    round: int
    trials: int
    planned: int
    note: str


@dataclass(frozen=True, slots=True)
class TrialStarted:
    """A proposal is being evaluated."""

    proposal: Proposal
    stage: str


@dataclass(frozen=True, slots=True)
class TrialFinished:
    """A proposal has a score. `replayed`: it was read from the store and not evaluated now."""

    proposal: Proposal
    stage: str
    score: float
    metrics: Mapping[str, float]
    seconds: float
    replayed: bool


@dataclass(frozen=True, slots=True)
class TrialFailed:
    """A proposal could not be evaluated, for this reason."""

    proposal: Proposal
    stage: str
    reason: str
    seconds: float
    replayed: bool


@dataclass(frozen=True, slots=True)
class SurrogateFitted:
    """A surrogate was fitted to all scores so far; losses are mean squared errors."""

    round: int
    samples: int
    first_loss: float
    last_loss: float
    seconds: float


@dataclass(frozen=True, slots=True)
class PoolChanged:
    """The candidates of a round have joined the pool of an evolution, and the worst have left.

    `size` counts those that have a score; `three_best` is the mean score of the best three of them
    (of all where they are fewer), `worst` the lowest. Told only where one has a score.
    """

    round: int
    size: int
    best: float
    three_best: float
    worst: float


@dataclass(frozen=True, slots=True)
class ArchitectureEpoch:
    """A gradient-based search has done an epoch over its supernet, and derived a genotype.

    `epoch` counts from 1, `epochs` is how many there will be; epoch i is trial i - 1 of the store.
    `genotype` is its text, one decision a line, and `digest` its digest. `weights` has, by the key
    of each decision and for each slot, the weights of the candidates in the order of the decision's
    labels, rounded to 6 digits; `entropies` how open each decision still is, from 0 (settled) to 1
    (all the same). `valid_score` is the supernet's metric on the validation split, the higher the
    better; `violated` are the space's `require` lines that the genotype fails, and a genotype that
    fails one is never the best. `best`: if the search ended now, this genotype would be its first:
    for most searchers, no earlier one that may be chosen scored as high. Losses are means over the
    epoch's batches; `arch_loss` is None in an epoch in which only the weights learned, whose
    genotype may not be chosen either. `learning_rate` is that of the epoch's last weight step.
    `steps` of the epochs, the last ones, train nothing and select, as those of `once` do when its
    supernet is trained: their `arch_loss` is the mean validation loss of the networks that they
    scored, their `train_loss` and `learning_rate` are those of the last epoch that trained.

    Where a searcher looks at what networks cost, `measure` says what of them, `target` is the range
    that it shall lie in (empty: any), `expected_cost` the mean over the networks that the epoch
    drew, and `cost` that of the genotype; all for one sample.

    `restored`: it was read from the run folder, where a search was resumed; so an epoch may be told
    of more than once, always with the same content.
    """

    epoch: int
    epochs: int
    genotype: str
    digest: str
    weights: Mapping[str, tuple[tuple[float, ...], ...]]
    entropies: Mapping[str, float]
    train_loss: float
    arch_loss: float | None
    valid_loss: float
    valid_score: float
    learning_rate: float
    best: bool
    violated: tuple[str, ...]
    seconds: float = field(compare=False)
    measure: str = ""
    target: tuple[float, ...] = ()
    expected_cost: float | None = None
    cost: float | None = None
    restored: bool = field(default=False, compare=False)
    steps: int = 0

    @property
    def step(self) -> int:
        """Which step of the selection it is, from 1; 0 where it trained the supernet."""
        return max(0, self.epoch - self.epochs + self.steps)


@dataclass(frozen=True, slots=True)
class SearchInterrupted:
    """Ctrl-C: the run can be resumed after this many trials."""

    trials: int


@dataclass(frozen=True, slots=True)
class SearchFinished:
    """The search is done, and why."""

    trials: int
    failed: int
    best: tuple[Scored, ...]
    ending: str
    seconds: float


Event = (
    RoundStarted
    | TrialStarted
    | TrialFinished
    | TrialFailed
    | SurrogateFitted
    | PoolChanged
    | ArchitectureEpoch
    | SearchInterrupted
    | SearchFinished
)
OnEvent = Callable[[Event], None]
