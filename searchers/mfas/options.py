"""What can be set of an MFAS search, with the paper's and the release's values as defaults."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ..options import expect_range
from .schedule import Cooling, Order, Temperature
from .surrogate import SurrogateOptions


@dataclass(frozen=True, slots=True)
class MfasOptions:
    """Options of MFAS. The default is Algorithm 1, cooled as Figure 5 of the paper shows.

    candidates: K, how many candidates a step draws and trains (15).
    iterations: E_search, the steps of each level (3).
    order: "paper" has the levels outermost, "release" the iterations (see `schedule.plan`).
    cooling: "running" lets the temperature fall once over all steps (Figure 5), "level" starts
        it afresh at each level (Algorithm 1 to the letter), "release" has the release's slip (see
        `schedule.updates_before`).
    start_temperature: T0, before the first update.
    end_temperature: Tf, which the temperature falls to.
    sigma: σ, how many updates the fall takes.
    sharing: "shape" lets a layer inherit from the last one of the same level and size (paper),
        "variant" asks for the same setting of the decisions in `variants` as well (release: the
        activation), "none" trains every candidate from its own random start.
    inheritance: "trial" lets a candidate inherit from all that were trained before it (paper);
        "round" only from those of earlier rounds, so that a round is trained as one program. That
        is another search than the paper's, and a faster one.
    variants: the decisions that `sharing = "variant"` looks at.
    surrogate_epochs: passes over all that was sampled, at each update of the surrogate (50).
    surrogate_learning_rate: of the surrogate's Adam.
    surrogate_hidden: the width of the surrogate's embedding and of its LSTM (100).
    """

    candidates: int = 15
    iterations: int = 3
    order: Order = "paper"
    cooling: Cooling = "running"
    start_temperature: float = 10.0
    end_temperature: float = 0.2
    sigma: float = 4.0
    sharing: Literal["shape", "variant", "none"] = "shape"
    inheritance: Literal["trial", "round"] = "trial"
    variants: tuple[str, ...] = ("act",)
    surrogate_epochs: int = 50
    surrogate_learning_rate: float = 1e-3
    surrogate_hidden: int = 100

    def __post_init__(self) -> None:
        for name in ("candidates", "iterations", "surrogate_epochs", "surrogate_hidden"):
            expect_range(self, name, least=1)
        for name in ("start_temperature", "end_temperature", "sigma"):
            expect_range(self, name, above=0)

    @property
    def temperature(self) -> Temperature:
        """The schedule."""
        return Temperature(self.start_temperature, self.end_temperature, self.sigma)

    @property
    def surrogate(self) -> SurrogateOptions:
        """The surrogate's."""
        return SurrogateOptions(
            embedding=self.surrogate_hidden,
            hidden=self.surrogate_hidden,
            learning_rate=self.surrogate_learning_rate,
            epochs=self.surrogate_epochs,
        )
