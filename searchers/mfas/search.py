"""MFAS: progressive search of fusion architectures with a recurrent surrogate.

J.-M. Pérez-Rúa, V. Vielzeuf, S. Pateux, M. Baccouche, F. Jurie, "MFAS: Multimodal Fusion
Architecture Search", CVPR 2019, Algorithm 1. The default is the paper's order; `order="release"`
follows the authors' code. Where this departs from Algorithm 1, or the paper leaves something open:

D1. Any space with a *progression* is searched, not only triplets (see `progression`).
D2. Line 26, "π <- update(S_l, A_l)": the surrogate is fitted to all configurations sampled so far,
    one batch for each length, as in the release; of a configuration that was trained more than
    once the best score counts.
D3. S_{l-1}, which line 19 unfolds, is read as the set drawn in the last iteration of the level
    before; for l = 2 it is all of Γ_1 (line 11). In the release's order it is K of Γ_1, drawn by
    their measured scores.
D4. A candidate that fails is not unfolded and not shown to the surrogate. If a whole draw fails,
    what succeeded in earlier iterations of its level is unfolded instead.
D5. Line 18 resets the temperature at each level; Figure 5 shows one schedule over all steps, as
    the release has it, and that is the default (`cooling="running"`, see `schedule`).
D6. The surrogate is not fitted after the last step, when nobody asks it any more.
D7. On wish, `inheritance="round"`: round-synchronous weight sharing. The candidates of a round
    inherit what stood when it began, and nothing from one another; of those that end with weights
    for one layer the last in order leaves them to later rounds. The paper hands weights on from
    each candidate to the next, and that is the default.
D8. Where candidates are priced (`protocol.PLAIN_SCORE`), the surrogate learns 0 for a score that
    its price has brought below, and 1 for one above.

The final training of the best five at a larger width is the driver's (`driver.run_finals`).
"""

from __future__ import annotations

from collections.abc import Sequence

from ...ir.genotype import Genotype
from ...ir.graph import Graph
from ..errors import search_error
from ..progression import Configuration, progression_of
from ..protocol import (
    PLAIN_SCORE,
    Event,
    Proposal,
    Round,
    SharedLayer,
    SurrogateFitted,
    TrialResult,
)
from ..randomness import derive, generator
from ..rounds import RoundSearcher
from .options import MfasOptions
from .sampling import draw_without_replacement, log_probabilities
from .schedule import Step, plan, updates_before
from .surrogate import RecurrentSurrogate


class MfasSearch(RoundSearcher):
    """See the module. Raises FusegraphError E803 or E804 for a space that it cannot handle."""

    def __init__(self, space: Graph, options: MfasOptions, seed: int) -> None:
        super().__init__("mfas", space, options, seed)
        self._options = options
        self._progression = progression_of(space, "MFAS")
        self._levels = [
            self._progression.options(level) for level in range(len(self._progression.levels))
        ]
        self._steps = plan(options.order, len(self._levels), options.iterations)
        self._surrogate = RecurrentSurrogate(
            self._progression.decisions_a_level, derive(seed, "surrogate"), options.surrogate
        )
        self._scores: dict[Configuration, float] = {}
        self._drawn: list[Configuration] = []
        """The successes of the last step that had any, from which the next step goes on."""
        self._prefixes: list[Configuration] = []
        """S_{l-1}: what the steps of the present level unfold."""
        self._next = 0
        self._configurations: list[Configuration] = []

    @property
    def planned(self) -> int:
        """All of the first level, and K in each later step."""
        return len(self._levels[0]) + (len(self._steps) - 1) * self._options.candidates

    def _learn(self, pairs: Sequence[tuple[Proposal, TrialResult]]) -> tuple[Event, ...]:
        """Lines 25 and 26: keep the scores and update the surrogate."""
        succeeded: list[Configuration] = []
        for configuration, (_, result) in zip(self._configurations, pairs, strict=True):
            if result.score is None:
                continue
            score = result.score
            if PLAIN_SCORE in result.metrics:
                score = min(1.0, max(0.0, score))  # a price may take it out of what is predicted
            if not 0.0 <= score <= 1.0:
                raise search_error(
                    "E810",
                    f"MFAS's surrogate predicts scores between 0 and 1, and trial {result.trial} "
                    f"has {result.score:g}",
                    place="searcher mfas",
                    help="score candidates by an accuracy or an F1 measure",
                )
            known = self._scores.get(configuration, 0.0)
            self._scores[configuration] = max(known, score)
            succeeded.append(configuration)
        step = self._steps[self._next]
        self._drawn = succeeded or self._earlier(step)
        if step.number == 0 and self._options.order == "release":
            self._drawn = self._draw_by_measured_scores()
        self._next += 1
        if not self._scores or self._next == len(self._steps):
            return ()
        fit = self._surrogate.fit(self._scores)
        return (
            SurrogateFitted(step.number, fit.samples, fit.first_loss, fit.last_loss, fit.seconds),
        )

    def _draw(self) -> Round | str:
        """The candidates of the next step, unless all are done or nothing can be built on."""
        if self._next == len(self._steps):
            return "all steps are done"
        step = self._steps[self._next]
        if step.iteration == 0 or step.replaces:
            self._prefixes = self._drawn
        if step.number and not self._prefixes:
            return f"none of the candidates before step {step.number} could be trained"
        chosen, note = self._first_level() if step.number == 0 else self._deeper(step)
        if not chosen:
            return f"`require` rules out every candidate of step {step.number}"
        self._configurations = [configuration for configuration, _ in chosen]
        candidates = [(genotype, self._shares(found)) for found, genotype in chosen]
        synchronous = self._options.inheritance == "round"
        return self._propose(step.number, candidates, note, synchronous=synchronous)

    def _first_level(self) -> tuple[list[tuple[Configuration, Genotype]], str]:
        """Line 11: all configurations of one level."""
        chosen = self._valid([(level,) for level in self._levels[0]], len(self._levels[0]))
        return chosen, f"all {len(chosen)} networks of one level"

    def _deeper(self, step: Step) -> tuple[list[tuple[Configuration, Genotype]], str]:
        """Lines 19 to 22: unfold, predict, compute probabilities, and draw K."""
        options = self._levels[step.level]
        if step.replaces:
            at = step.level
            candidates = [
                (*whole[:at], option, *whole[at + 1 :])
                for whole in self._prefixes
                for option in options
            ]
            candidates = list(dict.fromkeys(candidates))
            scores = self._surrogate.score(candidates)
        else:
            candidates = [(*prefix, option) for prefix in self._prefixes for option in options]
            scores = self._surrogate.score_unfolded(self._prefixes, options).flatten()
        updates = updates_before(
            self._options.cooling, step, len(self._levels), self._options.iterations
        )
        temperature = self._options.temperature.after(updates)
        weights = log_probabilities(scores.tolist(), temperature)
        rng = generator(self._seed, "step", step.number)
        order = draw_without_replacement(weights, len(candidates), rng)
        chosen = self._valid([candidates[i] for i in order], self._options.candidates)
        note = (
            f"level {step.level + 1} of {len(self._levels)}, iteration {step.iteration + 1} of "
            f"{self._options.iterations}: {len(chosen)} of {len(candidates)} candidates at "
            f"T = {temperature:.2f}"
        )
        return chosen, note

    def _valid(
        self, configurations: Sequence[Configuration], count: int
    ) -> list[tuple[Configuration, Genotype]]:
        """The first `count` of these that `require` admits: as if the others had not been there."""
        found: list[tuple[Configuration, Genotype]] = []
        for configuration in configurations:
            genotype = self._progression.genotype(configuration)
            if genotype is not None:
                found.append((configuration, genotype))
                if len(found) == count:
                    break
        return found

    def _draw_by_measured_scores(self) -> list[Configuration]:
        """K of the single-level configurations, by their real scores: the release's first step."""
        singles = list(self._scores)
        if not singles:
            return []
        weights = log_probabilities(
            [self._scores[c] for c in singles], self._options.temperature.after(0)
        )
        rng = generator(self._seed, "step", 0)
        order = draw_without_replacement(weights, self._options.candidates, rng)
        return [singles[i] for i in order]

    def _earlier(self, step: Step) -> list[Configuration]:
        """What succeeded at the depth of a step whose whole draw has failed."""
        depth = self._depth(step)
        return [c for c in self._scores if len(c) == depth][-self._options.candidates :]

    def _depth(self, step: Step) -> int:
        return len(self._levels) if step.replaces else step.level + 1

    def _shares(self, configuration: Configuration) -> tuple[SharedLayer, ...]:
        options, progression = self._options, self._progression
        if options.sharing == "none":
            return ()
        layers: list[SharedLayer] = []
        for level in range(len(configuration)):
            variant = ""
            if options.sharing == "variant":
                labels = [progression.labels(configuration, level, n) for n in options.variants]
                variant = "/".join(labels)
            layers += [SharedLayer(path, variant) for path in progression.paths(level)]
        return tuple(layers)
