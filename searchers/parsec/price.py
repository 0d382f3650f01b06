"""What a network costs, counted from its graph, and how far that is from the target."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping

from ...compiler.measures import counted
from ...compiler.specialise import specialise
from ...ir.decisions import Setting
from ...ir.graph import Graph
from .options import Measure

_KEPT = 1 << 16
"""Networks whose figures are remembered: a key and a number each."""


class Price:
    """Counts a measure of networks of one space, each network once."""

    def __init__(self, space: Graph, measure: Measure) -> None:
        self._space = space
        self._measure = measure
        self._known: OrderedDict[tuple[tuple[str, Setting], ...], float] = OrderedDict()

    def __call__(self, settings: Mapping[str, Setting]) -> float:
        """The measure for one sample: named sizes, such as the batch's, count as 1."""
        place = tuple(settings.items())
        found = self._known.get(place)
        if found is None:
            found = float(counted(specialise(self._space, settings))[self._measure])
            if len(self._known) == _KEPT:
                self._known.popitem(last=False)
        self._known[place] = found
        return found


def excess(figure: float, target: tuple[float, ...]) -> float:
    """cost(A) = max(0, F / T_max - 1) + max(0, 1 - F / T_min), eq. 2; 0 without a target.

    The supplement prints F / (T_max - 1), which means nothing where F is in FLOPs. A T_min of 0
    bounds nothing.
    """
    if not target:
        return 0.0
    low, high = target
    below = max(0.0, 1 - figure / low) if low > 0 else 0.0
    return max(0.0, figure / high - 1) + below
