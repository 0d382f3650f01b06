"""Discretise: the genotype that the weights of a supernet stand for.

The rules differ where several places share one gated sum, as in BM-NAS, whose cells and steps take
two inputs each. A *pair* are the values of one `2 of {…}`, or of two tied choices such as the left
and the right operand of a step.

* `paper` (Yin et al. 2022, eq. 3 and 11): the pair i < j with the greatest product of weights, in
  the order of the candidates; no two sibling cells take the same pair (footnote 1), steps may
  (footnote 2); of an op the greatest weight.
* `release` (its public implementation): sibling cells choose among the values that all of them
  have, so that no cell is the input of another; a pair is barred when each of its members has been
  taken before; tied choices take the two greatest weights, the greatest first.
* `argmax`: every decision by itself takes what weighs most, as in DARTS.

Everywhere the first of equals is taken, a subset takes all weights over one half and the greatest,
and a decision that has weights for each slot takes the setting with the greatest product.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import combinations
from math import prod
from typing import Any, Literal

from ..ir.decisions import Decision, KOf, Setting, SomeOf
from ..ir.genotype import Genotype
from ..ir.reach import walk
from .policies import Weights
from .relax import Supernet
from .relaxations import Relaxed

Rule = Literal["paper", "release", "argmax"]


def discretise(
    supernet: Supernet, values: Mapping[str, Sequence[Any]], rule: Rule = "paper"
) -> Genotype:
    """The genotype of these values of the architecture parameters, by key, as nested sequences.

    It holds exactly the decisions that are reached, and may violate a `require` of the space.
    """
    weights = supernet.weights(values)
    settings: dict[str, Setting] = {}
    siblings: dict[str, list[Relaxed]] = {}
    for key, relaxed in supernet.relaxed.items():
        decision = relaxed.decision
        if _shares_a_sum(relaxed) and rule != "argmax":
            if isinstance(decision, KOf):
                siblings.setdefault(_kind_of(key), []).append(relaxed)
            elif key == relaxed.tied[0]:
                settings.update(_tied(relaxed, weights[key][0], rule))
        else:
            settings[key] = _alone(decision, weights[key])
    for group in siblings.values():
        settings.update(_siblings(group, weights, rule))
    return Genotype.of(supernet.space.digest, walk(supernet.space, lambda d: settings[d.key]))


def _shares_a_sum(relaxed: Relaxed) -> bool:
    several = len(relaxed.tied) > 1 or isinstance(relaxed.decision, KOf)
    return several and relaxed.slots == 1


def _kind_of(key: str) -> str:
    """`c[1].inputs` and `c[2].inputs` are siblings: one line of the space made them."""
    return re.sub(r"\[\d+\]", "[]", key)


def _alone(decision: Decision, weights: Sequence[Weights]) -> Setting:
    """What weighs most."""
    if isinstance(decision, SomeOf):
        taken = tuple([i for i, weight in enumerate(weights[0]) if weight > 0.5])
        return taken or (_ranked(weights[0])[0],)
    if not isinstance(decision, KOf):
        return (_ranked(weights[0])[0],)
    slots = weights if len(weights) == decision.take else [weights[0]] * decision.take
    return _first_best(
        decision.settings(),
        lambda setting: prod(slot[i] for slot, i in zip(slots, setting, strict=True)),
    )


def _tied(relaxed: Relaxed, weights: Weights, rule: Rule) -> dict[str, Setting]:
    """Choices among the same values: as many different ones as there are choices."""
    count = len(relaxed.tied)
    ranked = _ranked(weights)
    taken = ranked[:count] if rule == "release" else sorted(ranked[:count])
    # Of fewer values than choices, such as one, the greatest fills what is left.
    filled = [*taken, *[ranked[0]] * (count - len(taken))]
    return {key: (index,) for key, index in zip(relaxed.tied, filled, strict=True)}


def _siblings(
    group: Sequence[Relaxed], weights: Mapping[str, Sequence[Weights]], rule: Rule
) -> dict[str, Setting]:
    """Cells one after the other, each with another pair than those before it."""
    common = set(group[0].decision.labels).intersection(*[r.decision.labels for r in group])
    taken: list[frozenset[str]] = []
    used: set[str] = set()
    settings: dict[str, Setting] = {}
    for relaxed in group:
        decision = relaxed.decision
        assert isinstance(decision, KOf)
        own = weights[decision.key][0]
        there = range(len(decision.labels))
        if rule == "release" and len(common) >= decision.take:
            there = [i for i in there if decision.labels[i] in common]
        pairs = list(combinations(there, decision.take)) or list(decision.settings())
        names = {pair: frozenset(decision.labels[i] for i in pair) for pair in pairs}
        free = [
            pair
            for pair in pairs
            if not (names[pair] <= used if rule == "release" else names[pair] in taken)
        ]
        best = _first_best(free or pairs, lambda pair, own=own: prod(own[i] for i in pair))
        settings[decision.key] = best
        taken.append(names[best])
        used |= names[best]
    return settings


def _ranked(weights: Weights) -> list[int]:
    """The candidates, the greatest weight first, of equals the first."""
    return sorted(range(len(weights)), key=lambda i: -weights[i])


def _first_best(settings: Iterable[Setting], score: Callable[[Setting], float]) -> Setting:
    return max(settings, key=score)
