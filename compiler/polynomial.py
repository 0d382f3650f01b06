"""The polynomial of an expected cost, in the probabilities of settings, and its value.

The value takes arithmetic alone, so probabilities may be numbers, arrays or tensors. But for the
1 - p of a candidate that is left out, it subtracts nothing: probabilities that are tiny count as
exactly as others.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import permutations
from typing import Any, Generic, TypeVar

from ..ir.decisions import Decision, KOf, SomeOf
from .cost_sites import MEASURES

N = TypeVar("N")

Factor = tuple[str, tuple[int, ...]]
"""A decision and some of its settings, by their places: the probability of any of them."""
Part = tuple[tuple[Factor, ...], tuple[float, ...]]
"""Costs, by MEASURES, and the settings under which they are paid."""
Sources = tuple[tuple[int, Factor | None], ...]
"""Earlier states, each with the settings that lead from it."""


@dataclass(frozen=True, slots=True)
class Expected(Generic[N]):
    """Expected parameters, multiply-adds and bytes of activations."""

    parameters: N
    macs: N
    activation_bytes: N

    @property
    def flops(self) -> N:
        """Two for each multiply-add."""
        return 2 * self.macs  # pyright: ignore[reportOperatorIssue, reportUnknownVariableType]


@dataclass(frozen=True, eq=False)
class ExpectedCost:
    """The polynomial. `steps` are the probabilities of states, each a sum over earlier states times
    the probability of some settings; `terms` what is paid in states, by product of probabilities.
    """

    decisions: Mapping[str, Decision]
    steps: tuple[Sources, ...]
    terms: tuple[tuple[tuple[int, ...], tuple[Part, ...]], ...]

    def value(self, weights: Mapping[str, Any]) -> Expected[Any]:
        """The expected cost under these laws; a decision without one is uniform.

        A law has, for one of several, k of several and open numbers, the probability of each
        setting in the order of `Decision.settings()`, which add up to 1; for subsets that of each
        candidate to be taken, apart from the others but for the empty set, which is drawn again.
        Raises ValueError where all of a subset's are 0, so that it would be drawn for ever.
        """
        laws: dict[str, Sequence[Any]] = {}
        known: dict[Factor, Any] = {}

        def probability(factor: Factor) -> Any:
            found = known.get(factor)
            if found is None:
                key, places = factor
                if key not in laws:
                    laws[key] = _law(self.decisions[key], weights.get(key))
                found = known[factor] = _sum([laws[key][place] for place in places])
            return found

        states: list[Any] = [1.0]
        for step in self.steps:
            states.append(
                _sum([states[s] if f is None else states[s] * probability(f) for s, f in step])
            )
        totals: list[Any] = [0.0] * len(MEASURES)
        for places, parts in self.terms:
            mass = _sum([states[place] for place in places])
            for factors, costs in parts:
                share = mass
                for factor in factors:
                    share = share * probability(factor)
                totals = [t + share * c if c else t for t, c in zip(totals, costs, strict=True)]
        return Expected(*totals)


def law_of_slots(decision: Decision, slots: Sequence[Sequence[Any]]) -> Sequence[Any]:
    """The law of a decision from the weights of its candidates for each slot.

    As `Supernet.weights` gives them under the policies `softmax` and `sigmoid`. For k of several
    each slot draws by itself, until all draws are a setting; their order is forgotten. Raises
    ValueError where they never are.
    """
    if not isinstance(decision, KOf):
        return slots[0]
    rows = [slots[0]] * decision.take if len(slots) == 1 else slots
    found: list[Any] = []
    for setting in decision.settings():
        orders = sorted(set(permutations(setting)))
        found.append(_sum([_product([r[i] for r, i in zip(rows, o, strict=True)]) for o in orders]))
    return _given_any(decision, found, _sum(found))


def _law(decision: Decision, given: Sequence[Any] | None) -> Sequence[Any]:
    """The probability of each setting."""
    if given is None:
        return [1.0 / decision.count()] * decision.count()
    if not isinstance(decision, SomeOf):
        return given
    left = [1.0 - p for p in given]
    found = [
        _product([p if i in setting else left[i] for i, p in enumerate(given)])
        for setting in decision.settings()
    ]
    # That any is taken: each as the first one. 1 less the product of `left` would cancel.
    firsts = [_product([*left[:i], p]) for i, p in enumerate(given)]
    return _given_any(decision, found, _sum(firsts))


def _given_any(decision: Decision, found: Sequence[Any], total: Any) -> Sequence[Any]:
    """The probabilities of the settings, given that it is one of them that is drawn."""
    never: Any = total == 0  # an array's are one by one
    if never.any() if hasattr(never, "any") else never:
        raise ValueError(
            f"the probabilities for `{decision.key}` never draw any of its settings: expected some "
            "above 0, found that the products for all settings are 0"
        )
    return [value / total for value in found]


def _sum(values: Sequence[Any]) -> Any:
    found = values[0]
    for value in values[1:]:
        found = found + value
    return found


def _product(values: Sequence[Any]) -> Any:
    found = values[0]
    for value in values[1:]:
        found = found * value
    return found
