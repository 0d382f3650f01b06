"""Moving about in a space: sample, mutate, cross over, complete, enumerate.

All of them give genotypes that hold exactly the decisions that are reached, and honour `require`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from random import Random

from ..ir.decisions import Decision, Setting
from ..ir.diagnostics import Diagnostic, FusegraphError
from ..ir.genotype import Genotype
from ..ir.graph import Graph
from ..ir.reach import skeleton, walk
from .cost_bounds import unreachable
from .requirements import (
    nearest_miss,
    satisfied,
    satisfied_measured,
    satisfied_unmeasured,
)
from .satisfying import GivenUp, Satisfying, known_search, satisfying

TRIES = 2_000
"""How often a draw that violates a `require` is drawn again before genotypes are looked for by the
bounds of their costs: what one of 430 satisfies is then found 99 times of 100.
"""
BEFORE_BOUNDS = 1
"""After so many, bounds are asked whether any genotype can satisfy it, and whether draws do."""
_TRIES_EACH = 100
"""How often a mutation of that many decisions is tried before one more is changed with them."""
MOST_RUN = 200
"""How many draws have their networks run, where `require` asks for that, before it is given up."""


class _Draws:
    """Whether draws satisfy the `require` of a space, and when to give up.

    Draws whose networks have to be run for that are dear, so they are fewer.
    """

    def __init__(self, space: Graph) -> None:
        self._space = space
        self.failed: list[dict[str, Setting]] = []
        self.run: list[dict[str, Setting]] = []

    @property
    def used_up(self) -> bool:
        """Whether no more networks are run."""
        return len(self.run) >= MOST_RUN

    def satisfy(self, settings: dict[str, Setting]) -> bool:
        """Whether this draw does."""
        if not self._satisfies_unmeasured(settings):
            self.failed.append(settings)
            return False
        if satisfied_measured(self._space, settings):
            return True
        self.run.append(settings)
        return False

    def _satisfies_unmeasured(self, settings: dict[str, Setting]) -> bool:
        """By the bounds, where they are known or a draw that failed has shown that they pay."""
        find = satisfying if len(self.failed) >= BEFORE_BOUNDS else known_search
        search = find(self._space)
        told = None if search is None else search.told(settings)
        return satisfied_unmeasured(self._space, settings) if told is None else told


def holds(space: Graph, settings: Mapping[str, Setting]) -> bool:
    """Whether a genotype satisfies every `require`, as `satisfied` says, and often sooner."""
    search = satisfying(space) if space.requires else None
    told = None if search is None else search.told(settings)
    if told is None:
        return satisfied(space, settings)
    return told and satisfied_measured(space, settings)


def sample(space: Graph, rng: Random) -> Genotype:
    """A genotype, each reached decision drawn uniformly from its settings.

    Where of the draws of a space none satisfies its `require`, each decision in turn is drawn from
    the settings that the bounds of costs leave (`satisfying`), which is not uniform. Raises
    FusegraphError (E503) where that finds none either, or the bounds rule all out.
    """
    draws = _Draws(space)
    search: Satisfying | None = None
    for attempt in range(TRIES):
        if attempt == BEFORE_BOUNDS:
            search = satisfying(space)
            if unreachable(space) or (search is not None and search.rare):
                break
        settings = walk(space, lambda decision: decision.sample(rng))
        if draws.satisfy(settings):
            return Genotype.of(space.digest, settings)
        if draws.used_up:
            break
    tried_all = False
    if search is not None and not draws.used_up:
        try:
            for settings in search.each(rng):
                if draws.satisfy(settings):
                    return Genotype.of(space.digest, settings)
                if draws.used_up or len(draws.failed) > 2 * TRIES:
                    break
            else:
                tried_all = True
        except GivenUp:
            pass
    tried_all = tried_all or bool(unreachable(space))
    raise _none_found(space, draws, tried_all=tried_all)


def refuse_unreachable(space: Graph) -> None:
    """Raises FusegraphError (E503) where bounds tell at once that no genotype satisfies `require`,
    as `sample` would after some draws.
    """
    if unreachable(space):
        raise _none_found(space, _Draws(space), tried_all=True)


def _none_found(space: Graph, draws: _Draws, *, tried_all: bool) -> FusegraphError:
    many = len(draws.failed) + len(draws.run)
    search = satisfying(space)
    nearest = () if search is None else search.nearest()
    found = f"no genotype of `{space.name}`"
    return FusegraphError(
        Diagnostic(
            code="E503",
            message=f"{found} satisfies its `require`"
            if tried_all
            else f"{found} was found that satisfies its `require`",
            notes=(
                *([f"{many:,} genotypes were drawn"] if many and not tried_all else []),
                *([f"{len(draws.run)} of their networks were run"] if draws.run else []),
                *unreachable(space),
                *(nearest or nearest_miss(space, [*draws.failed, *draws.run], draws.run)),
            ),
            help="widen the range to a value that can be reached, or open more decisions",
        )
    )


def mutate(space: Graph, genotype: Genotype, rng: Random) -> Genotype:
    """A genotype with one decision changed; what that newly reaches is drawn uniformly.

    Where `require` rules such changes out, several are made at once: `require a == b` allows no
    single one. The same genotype comes back only where no other one was found.
    """
    keys = [key for key, _ in genotype.items if space.decisions[key].count() > 1]
    before = genotype.settings
    draws = _Draws(space)
    for attempt in range(TRIES if keys else 0):
        new = dict(before)
        for key in _drawn(keys, 1 + attempt // _TRIES_EACH, rng):
            new[key] = space.decisions[key].mutate(before[key], rng)
        settings = walk(space, _given(new, lambda decision: decision.sample(rng)))
        if draws.satisfy(settings):
            return Genotype.of(space.digest, settings)
        if draws.used_up:
            break
    return genotype


def _drawn(keys: list[str], size: int, rng: Random) -> list[str]:
    if size == 1:
        return [keys[rng.randrange(len(keys))]]
    return rng.sample(keys, min(size, len(keys)))


def cross(space: Graph, first: Genotype, second: Genotype, rng: Random) -> Genotype:
    """A child: each decision crosses over from both parents, or comes from the one that has it.

    One of the parents comes back where no child that satisfies `require` was found.
    """
    one, two = first.settings, second.settings

    def inherited(decision: Decision) -> Setting:
        key = decision.key
        if key in one and key in two:
            return decision.cross(one[key], two[key], rng)
        if key in one or key in two:
            return one[key] if key in one else two[key]
        return decision.sample(rng)

    draws = _Draws(space)
    for _ in range(TRIES):
        settings = walk(space, inherited)
        if draws.satisfy(settings):
            return Genotype.of(space.digest, settings)
        if draws.used_up:
            break
    return first if rng.random() < 0.5 else second


def complete(
    space: Graph, settings: Mapping[str, Setting], default: Callable[[Decision], Setting]
) -> Genotype:
    """The genotype of these settings: what is not reached left out, what is missing by default."""
    return Genotype.of(space.digest, walk(space, _given(settings, default)))


def enumerate_genotypes(space: Graph) -> Iterator[Genotype]:
    """Every genotype of the space that satisfies its `require` once, in a fixed order."""
    for settings in skeleton(space).enumerate():
        if satisfied(space, settings):
            yield Genotype.of(space.digest, settings)


def _given(
    settings: Mapping[str, Setting], default: Callable[[Decision], Setting]
) -> Callable[[Decision], Setting]:
    def choose(decision: Decision) -> Setting:
        known = settings.get(decision.key)
        return default(decision) if known is None else known

    return choose
