"""What a searcher remembers: the proposals it made and what became of them."""

from __future__ import annotations

from collections.abc import Sequence

from ..ir.genotype import Genotype
from .protocol import Proposal, Scored, TrialResult


class History:
    """Proposals by trial number, and the best score of each genotype."""

    def __init__(self) -> None:
        self._open: tuple[Proposal, ...] = ()
        self._best: dict[str, Scored] = {}
        self.trials = 0

    def proposed(self, proposals: tuple[Proposal, ...]) -> None:
        """Remember the round that results are expected for."""
        self._open = proposals

    def pair(self, results: Sequence[TrialResult]) -> list[tuple[Proposal, TrialResult]]:
        """Each proposal of the round with its result, remembered.

        Raises ValueError where results don't belong to the round that was asked for last.
        """
        if [r.trial for r in results] != [p.trial for p in self._open] or not results:
            expected = [p.trial for p in self._open]
            raise ValueError(
                f"tell() takes the results of the trials {expected} that were asked for last, in "
                f"their order, not {[r.trial for r in results]}"
            )
        pairs = list(zip(self._open, results, strict=True))
        self._open = ()
        self.trials += len(pairs)
        for proposal, result in pairs:
            if result.score is not None:
                self._note(proposal.genotype, result.score, proposal.trial)
        return pairs

    def _note(self, genotype: Genotype, score: float, trial: int) -> None:
        known = self._best.get(genotype.digest)
        if known is None or score > known.score:
            self._best[genotype.digest] = Scored(genotype, score, trial)

    def best(self, count: int) -> list[Scored]:
        """The best different genotypes, best first; of equal scores the earlier trial."""
        ranked = sorted(self._best.values(), key=lambda scored: (-scored.score, scored.trial))
        return ranked[:count]
