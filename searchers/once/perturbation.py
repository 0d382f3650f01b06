"""Selection by perturbation: of each decision the candidate whose loss hurts the supernet most.

The supplement, section B: "rather than choosing the maximum alpha values, we progressively remove
layer choices associated with the alpha parameters and identify as best component the one leading to
the highest validation accuracy drop". Algorithm 1's last line returns the choice with the "lowest
val. accuracy drop"; the text says the opposite, and is right: what the supernet does without as
well as with is what it needs least.

What the paper leaves open, and how it is read here:

* The supernet's accuracy without a candidate is the mean score of sub-networks that are drawn from
  P(A | alpha) given what is settled, given that the candidate is gone, and given that the decision
  is reached. The draws for the candidates of a decision have all other decisions in common, so that
  their means differ by the candidates.
* Decisions are settled one after the other, in an order drawn by lot as in the selection by
  perturbation of Wang et al. 2021. One that no network reaches any more is passed over.
* Of k of several, candidates are settled one by one until there are k; of a subset member by
  member, as to whether it is in.
* Networks that fail a `require` are not drawn; where hardly any satisfies it they are drawn within
  the bounds of costs, which is not quite by P(A | alpha). Where nothing is found that satisfies it
  without a candidate, that one is kept; a candidate with which nothing is found is not. Of equal
  scores the candidate that is more probable by alpha is kept, then the first.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from random import Random
from typing import Any

from ...compiler.explore import holds, sample
from ...compiler.satisfying import satisfying
from ...ir.decisions import Decision, Setting
from ...ir.graph import Graph
from ...ir.reach import skeleton, walk
from ..epochs import DIGITS
from ..parsec.laws import Draw
from ..parsec.plan import shown_weights
from ..parsec.prior import Prior
from ..randomness import derive, generator
from .options import PerturbationOptions, open_decisions
from .parts import Part, whole
from .selection import Score, Settings, Shown, read_settings

PLAIN = 200
"""How often a network is drawn again that fails a `require`, or does not reach the decision."""
NARROWED = 20
"""How often after that, each decision within the bounds of costs that those before it leave."""
_AGAIN = 20
"""How often a decision is drawn again that is not within them."""


class Perturbation:
    """A selection (see `selection`) with a step for each open decision, which settles it.

    `prior` is P(A | alpha) over the space, with alpha as the supernet's training left it.
    """

    def __init__(self, space: Graph, prior: Prior, options: PerturbationOptions, seed: int) -> None:
        self._space = space
        self._prior = prior
        self._options = options
        self._seed = seed
        self._order = open_decisions(space)
        if options.order == "random":
            generator(seed, "order").shuffle(self._order)
        self._settled: Settings = {}
        self._witness: Settings = {}
        self._bounds = satisfying(space) if space.requires else None
        self._draws: dict[str, Draw] = {}
        self._known: dict[tuple[tuple[str, Setting], ...], bool] = {}

    def chosen(self) -> Settings:
        """What is settled, and the rest at its most probable; where that fails a `require`, a
        network that does not and has all that is settled.
        """
        found = self._prior.most_probable(self._settled)
        if holds(self._space, found):
            return found
        if not self._witness:
            rng = generator(self._seed, "witness")
            self._witness = dict(sample(self._space, rng).settings)
        return self._witness

    def shown(self) -> Shown:
        """The probabilities of the candidates, 0 and 1 where a decision is settled. What no network
        reaches any more is as little open.
        """
        weights, openness = shown_weights(self._prior, self._settled, DIGITS)
        reached = within_reach(self._space, self._settled)
        return weights, {key: each if key in reached else 0.0 for key, each in openness.items()}

    def step(self, number: int, score: Score) -> None:
        """Settle the next decision, unless nothing reaches it."""
        key = self._order[number - 1]
        if key not in within_reach(self._space, self._settled):
            return
        self._known.clear()
        self._draws = {other: law.drawing() for other, law in self._prior.laws.items()}
        part = whole(self._prior.laws[key])
        witness = self._network(key, part.drawing(), derive(self._seed, "reaches", number))
        if witness is None:
            return
        self._witness = witness
        place = 0
        while part.candidates:
            rng = generator(self._seed, "perturbation", number, place)
            part = self._next_part(key, part, rng, score)
            place += 1
        self._settled[key] = part.setting

    def state(self) -> dict[str, Any]:
        """What is settled, as JSON."""
        return {"settled": self._settled, "witness": self._witness}

    def restore(self, state: Mapping[str, Any], steps: int) -> None:
        """Put back what `state` gave. Raises KeyError and ValueError where it is none of this
        space, or settles more than there were steps.
        """
        if len(state["settled"]) > steps:
            raise ValueError(f"{len(state['settled'])} decisions are settled in {steps} steps")
        self._settled = read_settings(self._space, state["settled"])
        self._witness = read_settings(self._space, state["witness"])

    # ── beneath ──────────────────────────────────────────────────────────────────────────────────

    def _next_part(self, key: str, part: Part, rng: Random, score: Score) -> Part:
        """The part with the candidate that hurts most. The witness moves on to a network with it;
        one of the candidates has the present one.
        """
        seeds = [rng.getrandbits(63) for _ in range(self._options.networks)]
        means: dict[int, float] = {}
        seen = [self._witness]
        for candidate in part.candidates:
            draw = part.without(candidate)
            drawn = [] if draw is None else self._networks(key, draw, seeds)
            scores = [score(settings) for settings in drawn]
            means[candidate] = sum(scores) / len(scores) if scores else float("-inf")
            seen += drawn
        probable = part.probabilities
        ranked = sorted(means, key=lambda c: (means[c], -probable[c]))
        for kept in map(part.keeping, ranked[:-1]):
            witness = next((s for s in seen if kept.admits(s[key])), None)
            witness = witness or self._network(key, kept.drawing(), seeds[0])
            if witness is not None:
                self._witness = witness
                return kept
        return part.keeping(ranked[-1])

    def _networks(self, key: str, draw: Draw, seeds: Sequence[int]) -> list[Settings]:
        """One for each seed, as far as one is found."""
        found: list[Settings] = []
        for seed in seeds:
            settings = self._network(key, draw, seed)
            if settings is None:
                break
            found.append(settings)
        return found

    def _network(self, key: str, draw: Draw, seed: int) -> Settings | None:
        """One that reaches the decision, which is drawn so, and satisfies every `require`."""
        bounds = self._bounds
        first = PLAIN if bounds is not None and bounds.rare else 0
        last = PLAIN if bounds is None else PLAIN + NARROWED
        for attempt in range(first, last):
            settings = self._drawn(
                {**self._draws, key: draw}, f"{seed}/{attempt}", attempt >= PLAIN
            )
            if key in settings and self._satisfies(settings):
                return settings
        return None

    def _drawn(self, draws: Mapping[str, Draw], place: str, narrowed: bool) -> Settings:
        """What is settled, and the rest by these draws. Each decision has random numbers of its
        own, whatever the others come to.
        """
        given = dict(self._settled)
        if narrowed and self._bounds is not None:
            for key in [key for key in self._bounds.order if key not in given]:
                for again in range(_AGAIN):
                    given[key] = draws[key](generator(self._seed, place, key, again))
                    if self._bounds.possible(given):
                        break

        def choose(decision: Decision) -> Setting:
            known = given.get(decision.key)
            return (
                draws[decision.key](generator(self._seed, place, decision.key))
                if known is None
                else known
            )

        return walk(self._space, choose)

    def _satisfies(self, settings: Settings) -> bool:
        """Remembered for a step: in a small space the same networks are drawn again and again."""
        network = tuple(settings.items())
        found = self._known.get(network)
        if found is None:
            found = self._known[network] = holds(self._space, settings)
        return found


def within_reach(space: Graph, settled: Mapping[str, Setting]) -> set[str]:
    """The decisions that some network reaches in which these are settled so."""
    found: set[str] = set()
    frame = skeleton(space)
    stack = list(frame.roots)
    seen: set[int] = set()
    while stack:
        place = stack.pop()
        if place in seen:
            continue
        seen.add(place)
        site = frame.sites[place]
        known = None
        if site.decision is not None:
            found.add(site.decision.key)
            known = settled.get(site.decision.key)
        if site.decision is None or known is None:
            stack += [need for branch in site.branches for need in branch]
        else:
            stack += site.taken(known)
    return found
