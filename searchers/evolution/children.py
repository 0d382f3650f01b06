"""How a child comes from its parent in spaces without levelled graphs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

from ...compiler.explore import mutate
from ...ir.genotype import Genotype
from ...ir.graph import Graph
from .lineage import Lineage
from .options import EvolutionOptions

_MOST_TOLD = 3


@dataclass(frozen=True, slots=True)
class Child:
    """A genotype, how it came from its parent in words, and the line of each levelled graph."""

    genotype: Genotype
    words: str
    lines: tuple[Lineage, ...] = ()


def mutated(space: Graph, genotype: Genotype, options: EvolutionOptions, rng: Random) -> Child:
    """A child by one mutation and 0 up to `mutations` further ones, each of one decision."""
    child = genotype
    for _ in range(1 + rng.randint(0, options.mutations)):
        child = mutate(space, child, rng)
    return Child(child, told(genotype, child))


def in_words(done: Sequence[str]) -> str:
    """What was done, each once and with how often; `nothing changed` where nothing was."""
    often = Counter(done)
    shown = [what if times == 1 else f"{what} ({times} times)" for what, times in often.items()]
    return ", ".join(shown) or "nothing changed"


def told(parent: Genotype, child: Genotype) -> str:
    """What a child settles otherwise."""
    before = parent.settings
    changed = [key for key, setting in child.items if before.get(key) != setting]
    if not changed:
        return "nothing changed"
    more = len(changed) - _MOST_TOLD
    shown = ", ".join(changed[:_MOST_TOLD])
    return f"changed {shown}" + (f" and {more} more" if more > 0 else "")
