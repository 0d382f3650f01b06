"""What can be set of a search by PARSEC, with the paper's values as defaults."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast

from ...ir.graph import Graph
from ..errors import search_error

_MOST_SAMPLES = 1000
_MOST_EPOCHS = 1_000_000
"""More than any search takes: a slip in a task file shall not fill the memory."""

Measure = Literal["macs", "flops", "parameters", "activation_bytes"]


@dataclass(frozen=True, slots=True)
class Phase:
    """A part of a search: the decisions that it learns, for how long, at which learning rates.

    `decisions` are patterns of decision keys, in which `*` stands for anything. The learning rate
    of the weights is `[search.train]`'s where it is 0.
    """

    decisions: tuple[str, ...]
    epochs: int
    learning_rate: float = 0.0
    arch_learning_rate: float = 0.015

    def __post_init__(self) -> None:
        if not self.decisions:
            raise ValueError("`decisions` of a phase are patterns of decision keys, one at least")
        if not 1 <= self.epochs <= _MOST_EPOCHS:
            raise ValueError(f"`epochs` of a phase is at least 1 and at most {_MOST_EPOCHS}")
        if self.learning_rate < 0 or self.arch_learning_rate <= 0:
            raise ValueError(
                "`arch_learning_rate` of a phase is above 0, its `learning_rate` not below 0"
            )


@dataclass(frozen=True, slots=True)
class ParsecOptions:
    """Options of PARSEC, with the values of Auto-TSNet's supplement as defaults. `epochs` of
    `[search.train]` and `side_by_side` say nothing to it. Its optimiser is SGD with momentum 0.9
    and weight decay 5e-5 unless another one is set, its schedule one cosine over each phase.

    samples: K, the networks that are drawn at each step.
    epochs: passes over the training split, where there are no `phases`; `--budget` sets it. The
        paper has 800, 400 and 200 for its three phases.
    warmup: the share of each phase's epochs, its first, in which the weights learn alone.
    arch_learning_rate: of the Adam of alpha, where there are no `phases`. 0.015 for the paper's
        first two phases, 0.010 for its third.
    likelihood: "sum" takes the likelihood of the whole batch for an importance weight, eq. 1:
        mostly one network of the K has it all. "mean" takes that of one sample, the geometric mean
        over the batch: networks that do nearly as well learn nearly as much. The price has to
        outweigh it, so a `beta` that the paper takes does something with "mean" only.
    beta: how much the cost counts; 0.05 to 0.2 in the paper's Table 1. 0: not at all.
    measure: what costs, for one sample.
    target: T_min and T_max of the cost; empty: there is no cost.
    phases: parts of the space that are searched one after the other, each by a table such as
        `{ decisions = ["sparse[*"], epochs = 800, learning_rate = 0.4, arch_learning_rate = 0.015
        }`. The paper's are the sparse stream (800, 0.4, 0.015), the dense stream and the fusion
        blocks (400, 0.2, 0.015), and the attention blocks (200, 0.2, 0.010), the learning rates
        for batches of 256. What an earlier phase learnt stays at its most probable setting.
    fixed: what decisions are while no phase has learnt them yet, as "*.fuse = skip"; the first that
        fits holds. Without, it is their first candidate.
    """

    samples: int = 13
    epochs: int = 200
    warmup: float = 0.25
    arch_learning_rate: float = 0.015
    likelihood: Literal["sum", "mean"] = "sum"
    beta: float = 0.1
    measure: Measure = "macs"
    target: tuple[float, ...] = ()
    phases: tuple[Phase, ...] = ()
    fixed: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not (1 <= self.samples <= _MOST_SAMPLES and 1 <= self.epochs <= _MOST_EPOCHS):
            raise ValueError(
                f"`samples` is at least 1 and at most {_MOST_SAMPLES}, `epochs` at least 1 and at "
                f"most {_MOST_EPOCHS}"
            )
        if not 0 <= self.warmup < 1:
            raise ValueError("`warmup` is a share of the epochs, at least 0 and below 1")
        if self.arch_learning_rate <= 0 or self.beta < 0:
            raise ValueError("`arch_learning_rate` is above 0, `beta` not below 0")
        if self.target and not (len(self.target) == 2 and 0 <= self.target[0] <= self.target[1]):
            raise ValueError("`target` is a range, as [1.37e9, 1.43e9]")
        if self.target and self.target[1] == 0:
            raise ValueError("`target` ends above 0")
        for rule in self.fixed:
            parsed(rule)

    @property
    def plan(self) -> tuple[Phase, ...]:
        """The phases; one that searches all where none are given."""
        whole = Phase(("*",), self.epochs, arch_learning_rate=self.arch_learning_rate)
        return self.phases or (whole,)


def parsed(rule: str) -> tuple[str, str]:
    """The pattern and the setting of one of `fixed`. Raises ValueError where it is none."""
    pattern, equals, setting = [part.strip() for part in rule.partition("=")]
    if not (pattern and equals and setting):
        raise ValueError(f"what is fixed is `PATTERN = CANDIDATE`, not `{rule}`")
    return pattern, setting


def matches(pattern: str, key: str) -> bool:
    """Whether the pattern is for the decision with this key, or for its last part.

    Only `*` is special, as keys have brackets of their own: `h[*].act`.
    """
    pieces = pattern.split("*")
    return _fits(pieces, key) or _fits(pieces, key.rpartition(".")[2])


def _fits(pieces: Sequence[str], key: str) -> bool:
    """Whether the key is the pieces one after the other, with anything between two of them.

    Each inner piece is taken where it first stands, as that leaves the most for those behind it.
    """
    first, *inner = pieces
    if not inner:
        return key == first
    last = inner.pop()
    end = len(key) - len(last)
    at = len(first)
    if at > end or not (key.startswith(first) and key.endswith(last)):
        return False
    for piece in inner:
        found = key.find(piece, at, end)
        if found < 0:
            return False
        at = found + len(piece)
    return True


def within_budget(space: Graph, options: Mapping[str, Any], budget: int) -> dict[str, Any]:
    """The options with as many epochs as the budget, shared out among the phases as they share
    theirs. Raises FusegraphError E812 where a phase would have none.
    """
    phases: Any = options.get("phases")
    if not isinstance(phases, list | tuple) or not phases:
        return {**options, "epochs": budget}
    given = cast("Sequence[Any]", phases)
    if budget < len(given):
        raise search_error(
            "E812",
            f"a budget of {budget} epochs leaves a phase of {len(given)} without any",
            place="searcher parsec",
            help=f"give a budget of {len(given)} or more, or fewer `phases`",
        )
    each = [_epochs_of(phase) for phase in given]
    found, left = list[Any](), budget
    for place, phase in enumerate(given):
        share = round(left * each[place] / sum(each[place:]))
        epochs = max(1, min(share, left - (len(given) - place - 1)))
        found.append(_with_epochs(phase, epochs))
        left -= epochs
    return {**options, "phases": found}


def _epochs_of(phase: Any) -> int:
    epochs = cast("Mapping[str, Any]", phase).get("epochs") if isinstance(phase, Mapping) else None
    return epochs if isinstance(epochs, int) and epochs > 0 else 1


def _with_epochs(phase: Any, epochs: int) -> Any:
    """What is no phase stays as it is, to be refused as such."""
    return (
        {**cast("Mapping[str, Any]", phase), "epochs": epochs}
        if isinstance(phase, Mapping)
        else phase
    )
