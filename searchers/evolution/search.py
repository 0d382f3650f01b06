"""Evolution guided by learned connections, and its ablations.

M. S. Ryoo, AJ Piergiovanni, M. Tan, A. Angelova, "AssembleNet: Searching for Multi-Stream Neural
Connectivity in Video Architectures", ICLR 2020, section 3.2: a pool of candidates; each round the
fittest of a random subset has a child, which joins; the least fit leaves. The fitness is the score
that the task trains for (`metric = "top_1_and_k"` is the paper's). Where this departs from the
paper, or the paper leaves something open:

D1. Any space is searched. Where it has no levelled graph, a child is the parent with one decision
    mutated, and 0 to 4 times one more; `connections` then means nothing.
D2. Eq. 2 leaves open whether B is drawn once or for each edge: it is for each edge. An only input
    of a node has no learned weight, and is kept. What splits, merges and changes do where the paper
    is silent is told in `ir.levels.rewrites`, how initial graphs are made in `ir.levels.sampling`.
D3. "0-4 random number of node split, merge, or temporal resolution change": each is of a kind drawn
    uniformly among those that are possible, at a node drawn among those for which it is. Where a
    space has other decisions too, another value for one of them is one more kind.
D4. The pruning threshold, which the paper does not give, is 0.25 (`prune`); an edge begins at 0.5.
D5. No candidate is trained twice as long as others are found. The initial ones are all different; a
    space with fewer is tried whole, and the search is over. A child is drawn until it is new and
    satisfies the space's `require`: up to 25 times, and as often of up to three further parents. If
    none is, one that was tried before is trained again, from another random start.
D6. Of equal fitness the younger wins a tournament, and the older leaves first. A candidate that
    failed has the least fitness; where all of the initial ones fail the search ends.
D7. On wish, several `children` a round, which are trained side by side. All have their parents from
    one pool, and none learns from its siblings.
D8. On wish, a `crossover` with a second parent, from a tournament of its own: a levelled graph has
    its higher levels. Edges that the first parent has not are kept, as nothing is known of them.
D9. On wish, `inheritance = "parent"`: the paper trains every candidate from scratch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from random import Random

from ...compiler.explore import cross, enumerate_genotypes, sample
from ...compiler.requirements import satisfied
from ...ir.genotype import Genotype
from ...ir.graph import Graph
from ..protocol import Event, Parent, Proposal, Round, Scored, TrialResult
from ..randomness import generator
from ..rounds import RoundSearcher
from ..unseen import NoneFound, unseen
from .children import Child, mutated
from .graphs import evolved, graphs_in, heir, pruned
from .options import EvolutionOptions
from .pool import Member, standing, survivors, tournament

TRIES = 25
"""How often a parent has a child that was tried before, or that the space's `require` rules out."""
PARENTS = 4
"""Of how many parents in turn."""


class EvolutionSearch(RoundSearcher):
    """See the module. Refuses no space."""

    def __init__(self, space: Graph, options: EvolutionOptions, seed: int) -> None:
        super().__init__("evolution", space, options, seed)
        self._options = options
        self._levelled = bool(graphs_in(space))
        self._learned: dict[int, Mapping[str, float]] = {}
        self._pool: list[Member] = []
        self._seen: set[str] = set()
        self._number = 0
        self._shortage = "the space is exhausted"

    @property
    def planned(self) -> int:
        """The initial population, and the children of all rounds."""
        return self._options.population + self._options.rounds * self._options.children

    def finished(self, found: Scored) -> Genotype:
        """The genotype without its weak edges ("we prune the edges with low weights", 4.1)."""
        learned = self._learned.get(found.trial, {})
        return pruned(self._space, found.genotype, learned, self._options.prune)

    def _learn(self, pairs: Sequence[tuple[Proposal, TrialResult]]) -> tuple[Event, ...]:
        """The children join the pool, and the least fit leave."""
        born = [
            Member(proposal.trial, proposal.genotype, result.score, result.learned)
            for proposal, result in pairs
        ]
        self._learned |= {member.trial: member.learned for member in born}
        self._pool = survivors([*self._pool, *born], self._options.population)
        self._number += 1
        return standing(self._pool, self._number - 1)

    def _draw(self) -> Round | str:
        """The initial population, and then children of the pool."""
        if self._number == 0:
            return self._initial()
        if len(self._pool) < self._options.population:
            return f"{self._shortage} after {len(self._seen)} genotypes"
        if all(member.score is None for member in self._pool):
            return f"none of the {len(self._pool)} initial candidates could be trained"
        if self._number > self._options.rounds:
            return "all rounds are done"
        return self._children()

    def _initial(self) -> Round:
        """Different random candidates: for levelled graphs, those of section 4.1."""
        drawn: list[Genotype] = []
        for slot in range(self._options.population):
            rng = generator(self._seed, "initial", slot)
            try:
                new = unseen(
                    self._seen,
                    partial(sample, self._space, rng),
                    partial(enumerate_genotypes, self._space),
                    rng,
                )
            except NoneFound as found:
                self._shortage = str(found)
                break
            if new is None:
                break
            drawn.append(new)
            self._seen.add(new.digest)
        return self._propose(0, [(genotype, ()) for genotype in drawn], "drawn at random")

    def _children(self) -> Round:
        """The children of a round, all of one pool."""
        pairs: list[tuple[Member, Child]] = []
        born: set[str] = set()
        for slot in range(self._options.children):
            rng = generator(self._seed, "round", self._number, slot)
            parent, child = self._child(born, rng)
            if child.genotype.digest not in born:
                pairs.append((parent, child))
                born.add(child.genotype.digest)
        self._seen |= born
        parents: list[Parent | None] = [None] * len(pairs)
        if self._options.inheritance == "parent":
            parents = [heir(self._space, parent, child) for parent, child in pairs]
        return self._propose(
            self._number,
            [(child.genotype, ()) for _, child in pairs],
            _note(pairs),
            parents=parents,
        )

    def _child(self, born: set[str], rng: Random) -> tuple[Member, Child]:
        """A parent with a child that is new, if one is found."""
        options = self._options
        known: list[tuple[Member, Child]] = []
        for _ in range(PARENTS):
            parent = tournament(self._pool, options.tournament, rng)
            known.append((parent, Child(parent.genotype, "as its parent")))
            other = None
            if rng.random() < options.crossover:
                other = tournament(self._pool, options.tournament, rng)
            for _ in range(TRIES):
                child = self._bred(parent, other, rng)
                if child.genotype.digest in self._seen or child.genotype.digest in born:
                    known.append((parent, child))
                elif satisfied(self._space, child.genotype.settings):
                    return parent, child
        return known[-1]

    def _bred(self, parent: Member, other: Member | None, rng: Random) -> Child:
        """A child of one parent, or of two."""
        if self._levelled:
            return evolved(self._space, parent, other, self._options, rng)
        if other is None:
            return mutated(self._space, parent.genotype, self._options, rng)
        crossed = cross(self._space, parent.genotype, other.genotype, rng)
        child = mutated(self._space, crossed, self._options, rng)
        return replace(child, words=f"crossed with trial {other.trial}, {child.words}")


def _note(pairs: Sequence[tuple[Member, Child]]) -> str:
    """Where the children of a round come from."""
    if len(pairs) == 1:
        [(parent, child)] = pairs
        return f"child of trial {parent.trial}: {child.words}"
    trials = ", ".join(str(parent.trial) for parent, _ in pairs)
    return f"{len(pairs)} children of the trials {trials}"
