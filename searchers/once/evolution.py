"""Evolution under constraints, with the weights of a supernet.

NAS just once, supplement, section C, Algorithm 2: N random sub-networks that satisfy the constraint
f are scored with inherited weights; the top K are parents; a crossover takes the block of each
layer uniformly from one of two parents; a mutation changes the depth with probability P_d and then
the block of each layer with probability P_m; a child stays only if f holds; the next generation is
crossovers and mutations together. "The release" below is AutoFormer's (Chen et al. 2021), whose
evolution this is. Where the paper leaves something open, or this departs from it:

D1. Any space is searched: `evolution_layers` says what its layers and its depth are. f is all that
    the space requires. What no layer shares, such as one width of all layers, is a layer by itself
    and changes with P_m; the release changes that width with P_d.
D2. The parents are the best of all generations, as in the release; Algorithm 2, read by the letter,
    takes them of the last one (`best_of`).
D3. Parents of unequal depth: the child's depth is that of either, like any block, and a layer that
    only one of them has is that one's. The release draws parents again until they are equally deep
    (`equal_depth`), and chooses each decision by itself in place of each block.
D4. A block that mutates becomes another one, drawn uniformly, and a depth another depth. In the
    release what is drawn may be what was there. Layers that a mutation adds are drawn uniformly.
D5. No network is scored twice (refused by digest, as in the release). A child that is not new, or
    fails f, is bred again from parents drawn anew, up to TRIES times. Where none is found, networks
    drawn at random complete the generation, as in the release.
D6. A space with fewer networks than the population is scored whole, and the evolution ends. It ends
    as well where no new network is found.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any, Literal

from ...compiler.explore import holds, refuse_unreachable, sample
from ...compiler.satisfying import GivenUp, satisfying
from ...ir.decisions import Decision, Setting
from ...ir.diagnostics import FusegraphError
from ...ir.genotype import Genotype
from ...ir.graph import Graph
from ...ir.reach import walk
from ..randomness import generator
from .evolution_layers import depth_decisions, layer_of
from .evolution_options import ConstrainedEvolutionOptions
from .selection import Score, Settings, read_settings

TRIES = 100
"""How often a child is bred that is not new or fails a `require`."""
DRAWS = 50
"""How often a random network is drawn that is not new, before those of the space are listed."""
_EQUAL_TRIES = 50
"""How often parents are drawn until they are equally deep; as in the release."""

Origin = Literal["drawn", "crossover", "mutation"]


@dataclass(frozen=True, slots=True)
class Member:
    """A network of a generation with its score; one that is not finite is worse than all others."""

    genotype: Genotype
    score: float
    origin: Origin


@dataclass(frozen=True, slots=True)
class Generation:
    """A generation in the order in which it was made. `ending` says why none follows, if so."""

    number: int
    members: tuple[Member, ...]
    ending: str = ""


class ConstrainedEvolution:
    """See the module. A generation is a function of the state, of the seed and of the scores.

    Raises FusegraphError E503, here or from the first generation, where no network satisfies the
    space's `require`; E508 where a latency is required and nothing measures it.
    """

    def __init__(self, space: Graph, options: ConstrainedEvolutionOptions, seed: int) -> None:
        refuse_unreachable(space)
        self._space = space
        self._options = options
        self._seed = seed
        self._depth = depth_decisions(space)
        self._done: list[Generation] = []
        self._seen: set[str] = set()

    @property
    def done(self) -> Sequence[Generation]:
        """Those that there are so far."""
        return tuple(self._done)

    def generation(self, number: int, score: Score) -> Generation:
        """The generation with this number, the next one; one without members if none follows.

        Raises ValueError where another one is the next.
        """
        if number != len(self._done):
            raise ValueError(f"expected generation {len(self._done)}, found {number}")
        made, ending = self.proposed()
        members = [Member(new, float(score(new.settings)), origin) for new, origin in made]
        found = Generation(number, tuple(members), ending)
        self._take(found)
        return found

    def best(self, count: int) -> list[Member]:
        """The best of all generations, the best first; of equal ones the older."""
        members = [member for generation in self._done for member in generation.members]
        return sorted(members, key=_worse)[:count]

    def state(self) -> dict[str, Any]:
        """All that the next generation needs, as JSON."""
        return {
            "generations": [
                {
                    "ending": generation.ending,
                    "members": [
                        {
                            "settings": dict(member.genotype.settings),
                            "score": member.score if math.isfinite(member.score) else None,
                            "origin": member.origin,
                        }
                        for member in generation.members
                    ],
                }
                for generation in self._done
            ]
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Put back what `state` gave, read from a file. Raises ValueError where it is none of this
        space.
        """
        try:
            found = [
                Generation(
                    number,
                    tuple([self._member(member) for member in told["members"]]),
                    str(told["ending"]),
                )
                for number, told in enumerate(state["generations"])
            ]
        except (KeyError, TypeError) as error:
            raise ValueError(f"this is no state of an evolution: {error!r}") from error
        self._done, self._seen = [], set()
        for generation in found:
            self._take(generation)

    def _member(self, told: Mapping[str, Any]) -> Member:
        settings = read_settings(self._space, told["settings"])
        reached = walk(self._space, lambda decision: settings[decision.key])
        if reached != settings:
            raise ValueError("settings of decisions that are not reached")
        score = math.nan if told["score"] is None else float(told["score"])
        if told["origin"] not in ("drawn", "crossover", "mutation"):
            raise ValueError(f"no network comes from `{told['origin']}`")
        genotype = Genotype.of(self._space.digest, reached)
        return Member(genotype, score, told["origin"])

    def _take(self, generation: Generation) -> None:
        self._done.append(generation)
        self._seen |= {member.genotype.digest for member in generation.members}

    # ── a generation ─────────────────────────────────────────────────────────────────────────────

    def proposed(self) -> tuple[list[tuple[Genotype, Origin]], str]:
        """The networks of the next generation, and why none follows it, if so."""
        number = len(self._done)
        if number and self._done[-1].ending:
            return [], self._done[-1].ending
        options = self._options
        made: dict[str, tuple[Genotype, Origin]] = {}
        if number:
            parents = [member.genotype.settings for member in self._parents()]
            breeds: list[tuple[Origin, int, Callable[..., Settings | None]]] = [
                ("crossover", options.crossovers, self._crossed),
                ("mutation", options.mutations, self._mutated),
            ]
            for origin, count, bred in breeds:
                for slot in range(count):
                    rng = generator(self._seed, "generation", number, origin, slot)
                    child = self._child(bred, parents, made, rng)
                    if child is not None:
                        made[child.digest] = (child, origin)
        ending = ""
        for slot in range(options.population - len(made)):
            rng = generator(self._seed, "generation", number, "drawn", slot)
            drawn, ending = self._drawn(made, rng)
            if drawn is None:
                break
            made[drawn.digest] = (drawn, "drawn")
        return list(made.values()), ending

    def _parents(self) -> list[Member]:
        if self._options.best_of == "all":
            return self.best(self._options.parents)
        return sorted(self._done[-1].members, key=_worse)[: self._options.parents]

    def _child(
        self,
        bred: Callable[[list[Mapping[str, Setting]], Random], Settings | None],
        parents: list[Mapping[str, Setting]],
        made: Mapping[str, Any],
        rng: Random,
    ) -> Genotype | None:
        """One that is new and satisfies what is required; None where TRIES have none."""
        for _ in range(TRIES):
            settings = bred(parents, rng)
            if settings is None:
                return None
            child = Genotype.of(self._space.digest, settings)
            if self._new(child, made) and holds(self._space, settings):
                return child
        return None

    def _drawn(self, made: Mapping[str, Any], rng: Random) -> tuple[Genotype | None, str]:
        """A new random network, or why there is none."""
        search = satisfying(self._space)
        first = not (self._seen or made)
        rare = bool(self._space.requires) and search is not None and search.rare
        for _ in range(DRAWS if first or not rare else 0):
            try:
                found = sample(self._space, rng)
            except FusegraphError as error:
                if first or error.diagnostics[0].code != "E503":
                    raise
                break
            if self._new(found, made):
                return found, ""
        try:
            for settings in search.each(rng) if search is not None else ():
                found = Genotype.of(self._space.digest, settings)
                if self._new(found, made) and holds(self._space, settings):
                    return found, ""
        except GivenUp:
            search = None
        if search is None:
            return None, f"no new network was found in {DRAWS} draws"
        return None, "the space has no more networks"

    def _new(self, genotype: Genotype, made: Mapping[str, Any]) -> bool:
        return genotype.digest not in self._seen and genotype.digest not in made

    # ── children ─────────────────────────────────────────────────────────────────────────────────

    def _crossed(self, parents: list[Mapping[str, Setting]], rng: Random) -> Settings | None:
        """The block of each layer from one of two parents; None where there is one parent only."""
        if len(parents) < 2:
            return None
        pair = rng.sample(parents, 2)
        if self._options.equal_depth:
            for _ in range(_EQUAL_TRIES):
                if pair[0].keys() == pair[1].keys():
                    break
                pair = rng.sample(parents, 2)
        chosen: dict[str, int] = {}

        def inherited(decision: Decision) -> Setting:
            layer = layer_of(decision.key)
            if layer not in chosen:
                chosen[layer] = rng.randrange(2)
            for parent in (pair[chosen[layer]], pair[1 - chosen[layer]]):
                if decision.key in parent:
                    return parent[decision.key]
            return decision.sample(rng)

        return walk(self._space, inherited)

    def _mutated(self, parents: list[Mapping[str, Setting]], rng: Random) -> Settings:
        """A parent with another depth, or with other blocks, or both."""
        new = dict(parents[rng.randrange(len(parents))])
        for key in list(new):
            if key in self._depth and rng.random() < self._options.depth_probability:
                new[key] = self._space.decisions[key].mutate(new[key], rng)
        new = self._completed(new, rng)
        blocks: dict[str, list[Decision]] = {}
        for key in new:
            decision = self._space.decisions[key]
            if key not in self._depth and decision.count() > 1:
                blocks.setdefault(layer_of(key), []).append(decision)
        for block in blocks.values():
            if rng.random() < self._options.layer_probability:
                before = {decision.key: new[decision.key] for decision in block}
                after = before
                while after == before:
                    after = {decision.key: decision.sample(rng) for decision in block}
                new |= after
        return self._completed(new, rng)

    def _completed(self, settings: Settings, rng: Random) -> Settings:
        """What is reached: as it is given, or drawn uniformly."""

        def known(decision: Decision) -> Setting:
            given = settings.get(decision.key)
            return decision.sample(rng) if given is None else given

        return walk(self._space, known)


def _worse(member: Member) -> float:
    return -member.score if math.isfinite(member.score) else math.inf
