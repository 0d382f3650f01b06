"""What selects a network once the supernet is trained, step by step."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

from ...ir.decisions import Setting
from ...ir.graph import Graph

Settings = dict[str, Setting]
Score = Callable[[Mapping[str, Setting]], float]
"""The score of a network with the supernet's weights, the higher the better."""
Shown = tuple[dict[str, tuple[tuple[float, ...], ...]], dict[str, float]]
"""`weights` and `entropies` as in `ArchitectureEpoch`."""


class Selection(Protocol):
    """A step is a function of the state, of the seed and of the scores that it asks for."""

    def step(self, number: int, score: Score) -> None:
        """Do the step with this number, from 1."""
        ...

    def chosen(self) -> Settings:
        """The network that is chosen so far; before the first step, one that tells how the training
        of the supernet goes.
        """
        ...

    def shown(self) -> Shown:
        """What the candidates weigh so far."""
        ...

    def state(self) -> dict[str, Any]:
        """All that the next step needs, as JSON."""
        ...

    def restore(self, state: Mapping[str, Any], steps: int) -> None:
        """Put back what `state` gave after so many steps, read from a file. Raises KeyError and
        ValueError where it is none of this space.
        """
        ...


def read_settings(space: Graph, value: Any) -> Settings:
    """Settings by decision. Raises ValueError where the space has none such."""
    found: Settings = {}
    for key, indices in dict(value).items():
        decision = space.decisions.get(key)
        setting = tuple(indices)
        if decision is None or not all(type(index) is int for index in setting):
            raise ValueError(f"the space has no such setting of `{key}`")
        if not decision.admits(setting):
            raise ValueError(f"the space has no such setting of `{key}`")
        found[key] = setting
    return found
