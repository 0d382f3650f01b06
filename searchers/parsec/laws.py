"""How the setting of one decision is drawn: a law with parameters alpha, 0 at first.

Two laws, each with an exact log-probability:

* `Categorical`: softmax of alpha over the settings: for one of several, open numbers, and k of
  several, whose candidates are settled together.
* `NonEmpty`: for a subset, each candidate by itself with probability sigmoid(alpha), given that one
  is taken at all. With alpha = 0 all subsets are equally probable.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from itertools import accumulate
from math import exp, log
from random import Random

import torch
from torch import Tensor, nn
from torch.nn import functional

from ...ir.decisions import Decision, KOf, OneOf, Setting, SomeOf

SETTINGS = 4096
"""The most settings that a categorical law is over."""

_TINY = 1e-9
"""A probability whose square is below what float64 tells from 1."""

Draw = Callable[[Random], Setting]


class Law(ABC):
    """The law of one decision. `alpha` is float64: these are few numbers, and logarithms."""

    def __init__(self, decision: Decision, size: int) -> None:
        self.decision = decision
        self.alpha = nn.Parameter(torch.zeros(size, dtype=torch.float64))

    @abstractmethod
    def log_probability(self, settings: Sequence[Setting]) -> Tensor:
        """(settings,): log P(setting | alpha)."""

    @abstractmethod
    def drawing(self) -> Draw:
        """What draws by the present alpha."""

    @abstractmethod
    def most_probable(self) -> Setting:
        """The setting of the highest probability; the first of equal ones."""

    @abstractmethod
    def weights(self) -> tuple[float, ...]:
        """The probability that each candidate is taken."""

    @abstractmethod
    def openness(self) -> float:
        """From 0, settled, to 1, all the same."""

    @property
    def _values(self) -> list[float]:
        return _numbers(self.alpha)


class Categorical(Law):
    """P(setting) = softmax(alpha)_setting."""

    def __init__(self, decision: Decision) -> None:
        self._settings = list(decision.settings())
        self._places = {setting: place for place, setting in enumerate(self._settings)}
        super().__init__(decision, len(self._settings))

    def log_probability(self, settings: Sequence[Setting]) -> Tensor:
        """log softmax(alpha) at the settings."""
        places = torch.tensor([self._places[setting] for setting in settings])
        return functional.log_softmax(self.alpha, 0)[places]

    def drawing(self, among: Sequence[Setting] = ()) -> Draw:
        """By the cumulated probabilities; given that it is one of `among`, where there are any."""
        settings = list(among) or self._settings
        ends = list(accumulate(self._probabilities(settings)))

        def draw(rng: Random) -> Setting:
            at = rng.random() * ends[-1]
            place = next((place for place, end in enumerate(ends) if at < end), len(ends) - 1)
            return settings[place]

        return draw

    def most_probable(self) -> Setting:
        """That of the highest alpha."""
        values = self._values
        return self._settings[values.index(max(values))]

    def weights(self) -> tuple[float, ...]:
        """The sum over the settings that have the candidate."""
        found = [0.0] * len(self.decision.labels)
        for setting, probability in zip(self._settings, self._probabilities(), strict=True):
            for index in set(setting):
                found[index] += probability
        return tuple([min(1.0, value) for value in found])

    def openness(self) -> float:
        """Entropy over that of the uniform law."""
        if len(self._settings) < 2:
            return 0.0
        nats = sum(-p * log(p) for p in self._probabilities() if p > 0)
        return min(1.0, nats / log(len(self._settings)))

    def _probabilities(self, among: Sequence[Setting] = ()) -> list[float]:
        values = self._values
        if among:
            values = [values[self._places[setting]] for setting in among]
        high = max(values)
        each = [exp(value - high) for value in values]
        total = sum(each)
        return [value / total for value in each]


class NonEmpty(Law):
    """P(s) = prod_(i in s) p_i prod_(i not in s) (1 - p_i) / (1 - prod_i (1 - p_i)).

    With p = sigmoid(alpha); the divisor is the probability that anything is taken.
    """

    def __init__(self, decision: Decision) -> None:
        super().__init__(decision, len(decision.labels))

    def log_probability(self, settings: Sequence[Setting]) -> Tensor:
        """The logarithm of the formula above."""
        taken = torch.zeros(len(settings), len(self.alpha), dtype=torch.float64)
        for row, setting in enumerate(settings):
            taken[row, list(setting)] = 1.0
        inside = functional.logsigmoid(self.alpha)
        outside = functional.logsigmoid(-self.alpha)
        return (taken * inside + (1 - taken) * outside).sum(1) - self._log_any()

    def drawing(self, among: Sequence[int] | None = None, inside: Setting = ()) -> Draw:
        """The first candidate that is taken, by its exact probability; then each of the rest. Given
        that those `inside` are taken, and besides them none that is not in `among`.
        """
        places = list(range(len(self.alpha))) if among is None else list(among)
        with torch.no_grad():
            alpha = self.alpha[places]
            outside = functional.logsigmoid(-alpha)
            before = outside.cumsum(0) - outside
            firsts = torch.softmax(functional.logsigmoid(alpha) + before, 0)
            each = dict(zip(places, _numbers(torch.sigmoid(alpha)), strict=True))
        ends = list(accumulate(_numbers(firsts)))

        def draw(rng: Random) -> Setting:
            if inside:
                return (*inside, *[place for place in places if rng.random() < each[place]])
            at = rng.random() * ends[-1]
            first = next((place for place, end in enumerate(ends) if at < end), len(ends) - 1)
            rest = places[first + 1 :]
            return (places[first], *[place for place in rest if rng.random() < each[place]])

        return draw

    def most_probable(self) -> Setting:
        """All with p > 1/2; where there are none, the one of the highest alpha."""
        values = self._values
        likely = tuple([place for place, value in enumerate(values) if value > 0])
        return likely or (values.index(max(values)),)

    def weights(self) -> tuple[float, ...]:
        """p_i, given that the subset is not empty."""
        with torch.no_grad():
            each = (functional.logsigmoid(self.alpha) - self._log_any()).exp()
        return tuple([min(1.0, weight) for weight in _numbers(each)])

    def openness(self) -> float:
        """The mean of the entropies, in bits, of p_i."""
        each = [(p, 1 - p) for p in self._probabilities()]
        bits = [sum(-x * log(x) for x in pair if x > 0) / log(2) for pair in each]
        return min(1.0, sum(bits) / len(bits))

    def _probabilities(self) -> list[float]:
        return _numbers(torch.sigmoid(self.alpha))

    def _log_any(self) -> Tensor:
        """log(1 - prod_i (1 - p_i)), which for tiny p is log sum_i p_i."""
        nothing = functional.logsigmoid(-self.alpha).sum()
        if nothing.item() > -_TINY:
            return torch.logsumexp(functional.logsigmoid(self.alpha), 0)
        return torch.log(-torch.expm1(nothing))


def _numbers(values: Tensor) -> list[float]:
    return [float(value) for value in values.tolist()]


def law_of(decision: Decision) -> Law | None:
    """The law of the decision; None where there is none for its kind, or for so many settings."""
    if isinstance(decision, SomeOf):
        return NonEmpty(decision)
    few = isinstance(decision, OneOf | KOf) and decision.count() <= SETTINGS
    return Categorical(decision) if few else None
