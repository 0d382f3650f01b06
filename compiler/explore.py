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

TRIES = 2_000
"""How often a draw that violates a `require` is drawn again before that is given up: what one
genotype of 430 satisfies is then found 99 times of 100.
"""
BEFORE_BOUNDS = 20
"""After so many, bounds are asked whether any genotype can satisfy it; only where they rule it out
is it given up then, so that nothing that can be reached is refused for them.
"""
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
        if not satisfied_unmeasured(self._space, settings):
            self.failed.append(settings)
            return False
        if satisfied_measured(self._space, settings):
            return True
        self.run.append(settings)
        return False


def sample(space: Graph, rng: Random) -> Genotype:
    """A genotype, each reached decision drawn uniformly from its settings.

    Raises FusegraphError (E503) where none of TRIES draws satisfies the space's `require`; after
    BEFORE_BOUNDS of them where the bounds of the costs of all genotypes rule it out.
    """
    draws = _Draws(space)
    for attempt in range(TRIES):
        if attempt == BEFORE_BOUNDS and unreachable(space):
            break
        settings = walk(space, lambda decision: decision.sample(rng))
        if draws.satisfy(settings):
            return Genotype.of(space.digest, settings)
        if draws.used_up:
            break
    many = len(draws.failed) + len(draws.run)
    run = (f"{len(draws.run)} of their networks were run",) if draws.run else ()
    raise FusegraphError(
        Diagnostic(
            code="E503",
            message=f"no genotype of `{space.name}` was found that satisfies its `require`",
            notes=(
                f"{many} genotypes were drawn",
                *run,
                *unreachable(space),
                *nearest_miss(space, [*draws.failed, *draws.run], draws.run),
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
