"""The progression of a space: how its networks grow level by level.

MFAS, section 3.2: "the space is naturally divided by complexity levels that can be interpreted as
progression steps". In any space, the *progression* is a one-of decision whose candidates are nested
in depth, such as

    output logits = linear(?layers of h[1..4], out=60)

where choosing h[l] reaches the decisions of h[1], …, h[l]. The decisions of level l are those newly
reached there. What holds of a progression (and is checked, E803 and E804):

C1. Each candidate reaches all that the one before it reaches, and something more.
C2. Which decisions are reached depends on the progression alone.
C3. Each level has the same number of decisions, so that one surrogate can read all levels.
C4. No level has more than `MOST_OPTIONS` combinations of settings, since all are tried or scored.

A *configuration* is a tuple of levels, each a tuple of 1-based integers: the place of each setting
among all settings of its decision, which for a one-of decision is the number of the candidate.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from math import prod

from ..compiler.explore import complete
from ..compiler.requirements import satisfied
from ..ir.decisions import Decision, OneOf, OpenNumber, Setting
from ..ir.diagnostics import FusegraphError
from ..ir.genotype import Genotype
from ..ir.graph import Graph
from ..ir.reach import walk
from .errors import search_error

MOST_OPTIONS = 20_000

Level = tuple[int, ...]
Configuration = tuple[Level, ...]


@dataclass(frozen=True, eq=False)
class Progression:
    """The levels of a space. Made by `progression_of`."""

    space: Graph
    decision: Decision
    depths: tuple[int, ...]
    """The candidate of `decision` for each depth, shallowest first."""
    levels: tuple[tuple[Decision, ...], ...]

    @property
    def decisions_a_level(self) -> int:
        """How many integers describe a level: 3 in MFAS."""
        return len(self.levels[0])

    def options(self, level: int) -> list[Level]:
        """All combinations of the settings of a level, in ascending order."""
        return list(product(*[range(1, d.count() + 1) for d in self.levels[level]]))

    def count(self, depth: int) -> int:
        """The number of configurations of `depth` levels: (M·N·P)^depth in MFAS."""
        return prod(d.count() for level in self.levels[:depth] for d in level)

    def genotype(self, configuration: Configuration) -> Genotype | None:
        """The genotype of a configuration, or None where the space's `require` rules it out."""
        settings: dict[str, Setting] = {self.decision.key: (self.depths[len(configuration) - 1],)}
        for decisions, level in zip(self.levels, configuration, strict=False):
            for decision, place in zip(decisions, level, strict=True):
                settings[decision.key] = _setting(decision, place)
        if not satisfied(self.space, settings):
            return None
        return complete(self.space, settings, _never)

    def paths(self, level: int) -> tuple[str, ...]:
        """The keys of the layers of a level: what its decisions' keys lie under, such as `h[1]`."""
        parents = [d.key.rpartition(".")[0] for d in self.levels[level]]
        return tuple(dict.fromkeys(path for path in parents if path))

    def labels(self, configuration: Configuration, level: int, name: str) -> str:
        """The setting of the level's decision called `name`, in words; empty if there is none."""
        for decision, place in zip(self.levels[level], configuration[level], strict=True):
            if decision.key.rpartition(".")[2] == name:
                return decision.format(_setting(decision, place))
        return ""


def progression_of(space: Graph, searcher: str) -> Progression:
    """The progression of a space.

    Raises FusegraphError: E803 where no decision is one, E804 where the levels are not alike or
    too many. `searcher` is named in the message.
    """
    reasons: list[str] = []
    unlike: FusegraphError | None = None
    for decision in reversed([*space.decisions.values()]):  # depth is decided near the outputs
        if not isinstance(decision, OneOf) or isinstance(decision, OpenNumber):
            continue
        found = _nested(space, decision)
        if isinstance(found, str):
            reasons.append(f"`{decision.key}` is none: {found}")
            continue
        depths, levels = found
        error = _unlike(space, decision, levels, searcher)
        if error is None:
            return Progression(space, decision, depths, levels)
        unlike = unlike or error
    if unlike is not None:
        raise unlike
    raise search_error(
        "E803",
        f"{searcher} needs a progression, and `{space.name}` has none",
        place=space.name,
        notes=(
            "a progression is a choice among the outputs of layers that build on one another, "
            "such as `?layers of h[1..4]`",
            *reasons[:3],
        ),
        help="open the depth, as in `output logits = linear(?layers of h[*], …)`, or take the "
        "searcher `random`",
    )


def _nested(
    space: Graph, decision: Decision
) -> tuple[tuple[int, ...], tuple[tuple[Decision, ...], ...]] | str:
    """The candidates by depth and the levels, or why the decision is no progression (C1, C2)."""
    reached: list[tuple[int, frozenset[str]]] = []
    for candidate in range(len(decision.labels)):
        keys = _reached(space, {decision.key: (candidate,)})
        if decision.key not in keys:
            return "other decisions settle whether it is reached"
        reached.append((candidate, keys - {decision.key}))
    reached.sort(key=lambda pair: len(pair[1]))
    before: frozenset[str] = frozenset()
    levels: list[tuple[Decision, ...]] = []
    for candidate, keys in reached:
        if not before < keys:
            return f"`{decision.labels[candidate]}` does not reach more than a shallower candidate"
        unsteady = _unsteady(space, {decision.key: (candidate,)}, keys)
        if unsteady:
            return f"which decisions are reached depends on `{unsteady}` as well"
        levels.append(tuple(d for key, d in space.decisions.items() if key in keys - before))
        before = keys
    return tuple(candidate for candidate, _ in reached), tuple(levels)


def _reached(space: Graph, settings: Mapping[str, Setting]) -> frozenset[str]:
    """The decisions that are reached with these settings, and the first ones elsewhere."""
    return frozenset(walk(space, lambda d: settings.get(d.key) or next(d.settings())))


def _unsteady(space: Graph, settings: Mapping[str, Setting], keys: frozenset[str]) -> str:
    """A decision whose setting changes what is reached; empty if there is none."""
    for key in sorted(keys):
        decision = space.decisions[key]
        if decision.count() > MOST_OPTIONS:
            continue  # `_unlike` says so
        for setting in decision.settings():
            if _reached(space, {**settings, key: setting}) - set(settings) != keys:
                return key
    return ""


def _unlike(
    space: Graph,
    decision: Decision,
    levels: Sequence[Sequence[Decision]],
    searcher: str,
) -> FusegraphError | None:
    """What is wrong with the levels (C3, C4)."""
    sizes = [len(level) for level in levels]
    if len(set(sizes)) > 1:
        notes = tuple(
            f"level {number} ({decision.labels[number - 1]}): "
            + ", ".join(f"`{d.key}`" for d in level)
            for number, level in enumerate(levels, start=1)
        )
        return search_error(
            "E804",
            f"{searcher} needs as many decisions in each level, and `{decision.key}` reaches "
            f"{', '.join(map(str, sizes))}",
            place=space.name,
            notes=notes,
            help="open the same decisions in every level; a decision outside the levels counts "
            "into the first one",
        )
    for number, level in enumerate(levels, start=1):
        options = prod(d.count() for d in level)
        if options > MOST_OPTIONS:
            return search_error(
                "E804",
                f"{searcher} tries every option of a level, and level {number} of "
                f"`{decision.key}` has {options:,}, more than {MOST_OPTIONS:,}",
                place=space.name,
                notes=tuple(f"`{d.key}` has {d.count():,} settings" for d in level),
                help="open fewer candidates, or take the searcher `random`",
            )
    return None


def _setting(decision: Decision, place: int) -> Setting:
    """The setting at a 1-based place among all of a decision."""
    if isinstance(decision, OneOf):
        return (place - 1,)
    return next(s for number, s in enumerate(decision.settings(), start=1) if number == place)


def _never(decision: Decision) -> Setting:
    raise AssertionError(f"{decision.key} is reached but belongs to no level")
