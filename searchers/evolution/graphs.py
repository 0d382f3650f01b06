"""How a child comes from its parent where the space has levelled graphs (section 3.2)."""

from __future__ import annotations

from collections.abc import Mapping
from random import Random

from ...compiler.explore import complete
from ...compiler.pipeline import network
from ...compiler.requirements import satisfied
from ...ir.decisions import Setting
from ...ir.genotype import Genotype
from ...ir.graph import Graph
from ...ir.levels import Levels
from ...ir.levels.rewrites import prune
from ..protocol import Parent
from .children import Child, in_words
from .edges import weights_of
from .lineage import Lineage
from .options import EvolutionOptions
from .pool import Member


def graphs_in(space: Graph) -> dict[str, Levels]:
    """The levelled graphs that a space leaves open, by key."""
    return {key: found for key, found in space.decisions.items() if isinstance(found, Levels)}


def evolved(
    space: Graph, parent: Member, other: Member | None, options: EvolutionOptions, rng: Random
) -> Child:
    """A child of one parent, or of two; whether the space's `require` admits it is not looked at.

    Its edges are inherited or replaced first; then come 0 up to `mutations` splits, merges and
    changes, each of a kind drawn uniformly among those that are possible. Where the space has other
    decisions too, another value for one of them is one more kind.
    """
    settings = dict(parent.genotype.settings)
    lines: dict[str, Lineage] = {}
    theirs = {} if other is None else other.genotype.settings
    for key, setting in parent.genotype.items:
        decision = space.decisions[key]
        if isinstance(decision, Levels):
            graph = decision.graph_of(setting)
            line = Lineage.of(decision, graph)
            if key in theirs:
                line = line.crossed(decision.graph_of(theirs[key]), rng)
            lines[key] = line.connected(weights_of(decision, graph, parent.learned), options, rng)
        elif key in theirs:
            settings[key] = decision.cross(setting, theirs[key], rng)
    changed = _mutate(space, settings, lines, rng.randint(0, options.mutations), rng)
    settings |= {key: line.levels.told(line.graph) for key, line in lines.items()}
    words = [] if other is None else [f"crossed with trial {other.trial}"]
    words += [text for line in lines.values() for text in line.words] + changed
    genotype = complete(space, settings, lambda decision: decision.sample(rng))
    return Child(genotype, in_words(words), tuple(lines.values()))


def _mutate(
    space: Graph,
    settings: dict[str, Setting],
    lines: dict[str, Lineage],
    times: int,
    rng: Random,
) -> list[str]:
    """Mutate the graphs and the other settings in place; what became of the latter, in words."""
    plain = [key for key in settings if key not in lines and space.decisions[key].count() > 1]
    changed: list[str] = []
    for _ in range(times):
        kinds = [(key, kind) for key, line in lines.items() for kind in line.able]
        kinds += [("", "settle")] if plain else []
        if not kinds:
            break
        key, kind = rng.choice(kinds)
        if key:
            lines[key] = lines[key].mutated(kind, rng)
        else:
            key = rng.choice(plain)
            settings[key] = space.decisions[key].mutate(settings[key], rng)
            changed.append(f"changed {key}")
    return changed


def heir(space: Graph, parent: Member, child: Child) -> Parent:
    """Whose weights a child starts from, and what of its network continues what of the parent's."""
    if not child.lines:
        return Parent(parent.trial)
    before, after = network(space, parent.genotype), network(space, child.genotype)
    renamed = [pair for line in child.lines for pair in line.renamed(before, after)]
    return Parent(parent.trial, tuple(renamed))


def pruned(
    space: Graph, genotype: Genotype, learned: Mapping[str, float], threshold: float
) -> Genotype:
    """The genotype without edges whose learned weight is not over `threshold` (section 4.1).

    Without any where the space's `require` asks for them.
    """
    settings = dict(genotype.settings)
    for key, setting in genotype.items:
        decision = space.decisions[key]
        if isinstance(decision, Levels):
            graph = decision.graph_of(setting)
            found = prune(decision, graph, weights_of(decision, graph, learned), threshold)
            settings[key] = decision.told(found.graph)
    smaller = Genotype.of(space.digest, settings)
    return smaller if satisfied(space, smaller.settings) else genotype
