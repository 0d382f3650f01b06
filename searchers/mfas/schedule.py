"""The steps of MFAS in order, and the temperature at each.

Source: MFAS, Algorithm 1 (lines 17 to 28), Figure 5 and Table 6; the formula of the temperature is
that of the authors' release:

    T(t) = (T0 - Tf) · exp(-(t + 1)² / σ²) + Tf          T0 = 10, Tf = 0.2, σ = 4
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

Order = Literal["paper", "release"]
Cooling = Literal["level", "running", "release"]


@dataclass(frozen=True, slots=True)
class Step:
    """One step: K candidates of depth `level` drawn, trained, and the surrogate updated.

    All numbers count from 0. Step 0 is the one that trains all single-layer configurations.
    `replaces`: candidates get another last-but-some level in place, and keep their length (the
    release's later iterations); else they are one level longer than what they come from.
    """

    number: int
    level: int
    iteration: int
    replaces: bool = False


def plan(order: Order, levels: int, iterations: int) -> tuple[Step, ...]:
    """All steps of a search.

    - "paper": Algorithm 1. Levels outermost, `iterations` (E_search) steps within each, save the
      first level, which lines 11 to 16 train once and whole: 1 + (L - 1) · E_search steps.
    - "release": iterations outermost, levels within. In the first iteration a level is appended;
      in later ones the level is *replaced*, so all candidates keep the length L: L · E_search.
    """
    if order == "paper":
        deeper = [(level, i) for level in range(1, levels) for i in range(iterations)]
        return tuple(Step(n, level, i) for n, (level, i) in enumerate([(0, 0), *deeper]))
    places = [(level, i) for i in range(iterations) for level in range(levels)]
    return tuple(Step(n, level, i, replaces=i > 0) for n, (level, i) in enumerate(places))


@dataclass(frozen=True, slots=True)
class Temperature:
    """The inverse-exponential schedule from `start` (T0) to `end` (Tf) with the width `sigma`."""

    start: float = 10.0
    end: float = 0.2
    sigma: float = 4.0

    def after(self, updates: int) -> float:
        """T(updates - 1); without an update, T0 (line 18 of Algorithm 1)."""
        return (self.start - self.end) * math.exp(-((updates / self.sigma) ** 2)) + self.end


def updates_before(cooling: Cooling, step: Step, levels: int, iterations: int) -> int:
    """How often the temperature was updated before the draw of a step.

    - "running", the default, as Figure 5 draws it: one schedule over all steps of the search.
    - "level", Algorithm 1 to the letter: a fresh start at each level, one update an iteration.
      With E_search = 3 it stays between 10 and 7.8, so that the draws remain almost uniform.
    - "release": after a step t = iteration · iterations + level, where the number of *levels* was
      meant as the factor, so that with L = 4 and E_search = 3 two temperatures are used twice.
      A slip of the release, kept for parity with it.
    """
    if cooling == "level":
        return step.iteration
    if cooling == "running":
        return step.number
    if step.level > 0:
        return step.iteration * iterations + step.level
    return (step.iteration - 1) * iterations + levels if step.iteration else 0
