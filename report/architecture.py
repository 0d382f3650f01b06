"""What a search over a supernet learnt, epoch by epoch, and how its decisions belong together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ..compiler.relaxations import among_values
from ..ir.decisions import Decision, Setting
from ..ir.graph import Graph
from ..ir.node import Node, everything, topological
from ..ir.ops import CHOICE, MAYBE
from .labels import short_name

Slots = tuple[tuple[float, ...], ...]
"""For each slot of a decision the weights of its candidates."""

_ROUNDED = 1e-6
"""How far a weight in the log may be from the weight that it was."""


@dataclass(frozen=True, slots=True)
class OpenDecision:
    """A decision with its place: `edges` if it is among values that are there, such as features or
    the results of steps, and not among ops or numbers; `inner` if it lies inside a composite;
    `features` if some of those values are there before anything is decided.
    """

    decision: Decision
    edges: bool = False
    inner: bool = False
    features: bool = False

    @property
    def key(self) -> str:
        """`c[1].s[2].op`."""
        return self.decision.key

    @property
    def name(self) -> str:
        """`op` of `c[1].s[2].op`."""
        return short_name(self.decision)

    @property
    def owner(self) -> str:
        """What is decided about: `c[1].s[2]`."""
        return self.key.rpartition(".")[0]

    @property
    def scope(self) -> str:
        """Inside what: `c[1]`; empty at the upper level."""
        if not self.inner:
            return ""
        return self.owner.rpartition(".")[0] or self.owner


@dataclass(frozen=True, slots=True)
class LearntCost:
    """What networks of an epoch cost: the mean `expected` of those that were drawn, and the derived
    genotype's. `measure` says what of them, `target` the range where it shall lie, if any.
    """

    measure: str
    expected: float
    taken: float
    target: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class LearntEpoch:
    """A supernet after an epoch, and the genotype `taken` that was derived from it.

    `weights` and `openness` (0 settled, 1 all the same) are by the key of each decision. The
    architecture's loss is the one on the validation batches that its steps saw; None in an epoch of
    the warm-up, in which only the weights learned and whose genotype cannot be taken. The training
    loss is nan in one that trains nothing and selects.
    """

    number: int
    weights: Mapping[str, Slots]
    openness: Mapping[str, float]
    taken: Mapping[str, Setting]
    score: float
    training_loss: float = float("nan")
    architecture_loss: float | None = float("nan")
    validation_loss: float = float("nan")
    best: bool = False
    violated: tuple[str, ...] = ()
    cost: LearntCost | None = None


@dataclass(frozen=True, slots=True)
class ArchitectureSection:
    """How the architecture was learnt. `epochs` ascend; of those that were best, the last is.

    `mixed`: by a supernet that mixes its candidates, whose best epoch is taken. Else by a
    distribution that networks are drawn from, whose last epoch is taken.
    """

    decisions: tuple[OpenDecision, ...]
    epochs: tuple[LearntEpoch, ...]
    notes: tuple[str, ...] = ()
    mixed: bool = True

    @property
    def mark(self) -> str:
        """The words at the epoch that was taken: `best: 12` or `taken: epoch 12`."""
        if self.best is None:
            return ""
        return f"best: {self.best.number}" if self.mixed else f"taken: epoch {self.best.number}"

    @property
    def best(self) -> LearntEpoch | None:
        """The epoch whose genotype was taken."""
        return next((epoch for epoch in reversed(self.epochs) if epoch.best), None)


def decisions_of(space: Graph) -> tuple[OpenDecision, ...]:
    """The decisions of a space, those of one owner together, its edges first, then by name."""
    outer = {node.decision.key for node in topological(space.roots) if node.op in (CHOICE, MAYBE)}
    choices: dict[str, list[Node]] = {}
    for node in everything(space.roots):
        if node.op in (CHOICE, MAYBE):
            choices.setdefault(node.decision.key, []).append(node)
    found: dict[str, list[OpenDecision]] = {}
    for key, decision in space.decisions.items():
        mixed = [node for node in choices.get(key, []) if node.op is CHOICE]
        edges = among_values(decision, mixed)
        inner = key in choices.keys() - outer
        features = edges and _of_features(choices.get(key, []))
        told = OpenDecision(decision, edges, inner, features)
        found.setdefault(told.owner, []).append(told)
    return tuple(
        [d for owned in found.values() for d in sorted(owned, key=lambda d: (not d.edges, d.name))]
    )


def _of_features(choices: Sequence[Node]) -> bool:
    """Whether two candidates or more are there before anything is decided, and none of these is
    made from another, as the steps of an open depth are.
    """
    candidates = dict.fromkeys([candidate for node in choices for candidate in node.inputs])
    beneath = {c: frozenset(everything([c])) for c in candidates}
    settled = [c for c in candidates if not any(n.op in (CHOICE, MAYBE) for n in beneath[c])]
    apart = [c for c in settled if not any(c in beneath[d] for d in settled if d is not c)]
    return len(apart) > 1 and len(apart) == len(settled)


def compete(epochs: Sequence[LearntEpoch], key: str) -> bool:
    """Whether a decision's weights add up to one, as under a softmax, and did in every epoch."""
    return all(
        abs(sum(slot) - 1.0) <= _ROUNDED * max(2, len(slot))
        for epoch in epochs
        for slot in epoch.weights.get(key, ())
    )


@dataclass(frozen=True, slots=True)
class Group:
    """Decisions of one name, level and policy, whose openness is one line of a chart."""

    name: str
    decisions: tuple[OpenDecision, ...]


def groups_of(section: ArchitectureSection) -> tuple[Group, ...]:
    """Decisions by level, name and policy. Names that always have the same weights are together."""
    tied: dict[str, list[OpenDecision]] = {}
    for alike in alike_decisions(section):
        tied.update({d.key: list(alike) for d in alike})
    found: dict[tuple[bool, str, bool], list[OpenDecision]] = {}
    for d in section.decisions:
        if len(d.decision.labels) > 1:
            names = ", ".join(dict.fromkeys(other.name for other in tied[d.key]))
            found.setdefault((d.inner, names, compete(section.epochs, d.key)), []).append(d)
    levels = len({inner for inner, _, _ in found}) > 1
    sorts = [(inner, names) for inner, names, _ in found]
    groups: list[Group] = []
    for (inner, names, shared), members in found.items():
        name = names
        if levels and section.mixed:
            name = f"{'lower' if inner else 'upper'} level: {names}"
        elif levels:
            name = f"{'in' if inner else 'outside of'} composites: {names}"
        if sorts.count((inner, names)) > 1:
            name += ", competing" if shared else ", each by itself"
        groups.append(Group(name, tuple(members)))
    return tuple(groups)


def alike_decisions(section: ArchitectureSection) -> tuple[tuple[OpenDecision, ...], ...]:
    """Decisions of one owner with the same candidates and, in every epoch, the same weights: they
    share one sum, as the left and the right operand of a step. A distribution has no such sums.
    """
    if not section.mixed:
        return tuple([(d,) for d in section.decisions])
    found: dict[tuple[object, ...], list[OpenDecision]] = {}
    for d in section.decisions:
        weights = tuple([epoch.weights.get(d.key, ()) for epoch in section.epochs])
        sort = (d.owner, d.decision.labels, d.edges or d.key, weights)
        found.setdefault(sort, []).append(d)
    return tuple([tuple(alike) for alike in found.values()])


def shown_epochs(section: ArchitectureSection, most: int = 120) -> tuple[LearntEpoch, ...]:
    """The epochs, or where there are more than `most` some at equal distances, and the best one."""
    epochs = section.epochs
    if len(epochs) <= most:
        return epochs
    step = -(-len(epochs) // most)
    best = section.best
    return tuple([e for i, e in enumerate(epochs) if i % step == 0 or e is best or e is epochs[-1]])
