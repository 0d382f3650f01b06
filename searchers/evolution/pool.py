"""The pool of an evolution: who is drawn as a parent, and who has to leave (section 3.2)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from random import Random

from ...ir.genotype import Genotype
from ..protocol import PoolChanged


@dataclass(frozen=True, slots=True)
class Member:
    """A trained candidate; one that failed has no score. `learned` as in `Evaluation`."""

    trial: int
    genotype: Genotype
    score: float | None
    learned: Mapping[str, float] = field(default_factory=dict[str, float])


def rank(member: Member) -> tuple[bool, float, int]:
    """The fitter, the higher: one that failed is below all others, of equals the older."""
    score = member.score
    return (score is not None, 0.0 if score is None else score, member.trial)


def tournament(pool: Sequence[Member], size: int, rng: Random) -> Member:
    """G_p = argmax f(G) over P', a random subset of the pool."""
    return max(rng.sample(pool, size), key=rank)


def survivors(pool: Iterable[Member], size: int) -> list[Member]:
    """The pool without "the model with the least fitness", as often as it is too large."""
    fittest = sorted(pool, key=rank, reverse=True)[:size]
    return sorted(fittest, key=lambda member: member.trial)


def standing(pool: Iterable[Member], number: int) -> tuple[PoolChanged, ...]:
    """How the pool stands after a round; the mean of the three best is the curve of Fig. 4."""
    scores = sorted([m.score for m in pool if m.score is not None], reverse=True)
    if not scores:
        return ()
    best = scores[:3]
    return (PoolChanged(number, len(scores), scores[0], sum(best) / len(best), scores[-1]),)
