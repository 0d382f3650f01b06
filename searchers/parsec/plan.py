"""Which phase an epoch belongs to, and what that phase searches."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ...ir.decisions import Decision, OneOf, Setting, UnknownLabel
from ...ir.diagnostics import FusegraphError
from ...ir.graph import Graph
from ..errors import search_error
from .options import ParsecOptions, Phase, matches, parsed
from .prior import Prior


@dataclass(frozen=True, slots=True)
class Part:
    """A phase in its space: the keys of the decisions that it searches, its first epoch (from 1),
    and how many of its epochs warm up.
    """

    phase: Phase
    keys: frozenset[str]
    first: int
    warmup: int


class Plan:
    """The phases of a search, one after the other.

    Raises FusegraphError E802 where a pattern fits no decision, or where a decision is to be fixed
    at a candidate that it does not have.
    """

    def __init__(self, space: Graph, options: ParsecOptions) -> None:
        self.parts: list[Part] = []
        first = 1
        for phase in options.plan:
            keys = [_fitting(space, pattern, "phases") for pattern in phase.decisions]
            warmup = int(options.warmup * phase.epochs)
            self.parts.append(Part(phase, frozenset[str]().union(*keys), first, warmup))
            first += phase.epochs
        self.epochs = first - 1
        self._given: dict[str, Setting] = {}
        for rule in options.fixed:
            pattern, text = parsed(rule)
            for key in _fitting(space, pattern, "fixed"):
                setting = _setting_of(space.decisions[key], text)
                self._given.setdefault(key, setting)

    def part_of(self, epoch: int) -> Part:
        """The phase of an epoch, which counts from 1."""
        return next(part for part in reversed(self.parts) if part.first <= epoch)

    def fixed(self, prior: Prior, part: Part) -> dict[str, Setting]:
        """The decisions that the phase does not search: what earlier ones learnt at its most
        probable, the rest as it is given, or at the first candidate.
        """
        before = [other.keys for other in self.parts if other.first < part.first]
        learnt = frozenset[str]().union(*before)
        return {
            key: law.most_probable() if key in learnt else self._given.get(key, law.most_probable())
            for key, law in prior.laws.items()
            if key not in part.keys
        }

    def never_searched(self, space: Graph) -> frozenset[str]:
        """The decisions of no phase."""
        searched = frozenset[str]().union(*[part.keys for part in self.parts])
        return frozenset(space.decisions) - searched


def _fitting(space: Graph, pattern: str, option: str) -> list[str]:
    found = [key for key in space.decisions if matches(pattern, key)]
    if found:
        return found
    raise search_error(
        "E802",
        f"the option `{option}` of the searcher `parsec` has `{pattern}`, which fits no decision "
        f"of `{space.name}`",
        place="searcher parsec",
        notes=(f"decisions are {', '.join(list(space.decisions)[:8])}",),
        help="write a decision's key, its last part, or either with `*` for anything: `h[*].act`",
    )


def _setting_of(decision: Decision, text: str) -> Setting:
    braced = text.startswith("{") and text.endswith("}") and not isinstance(decision, OneOf)
    labels = [part.strip() for part in text[1:-1].split(",")] if braced else [text]
    try:
        setting = decision.parse(labels)
    except UnknownLabel:
        setting = ()
    if setting and decision.admits(setting):
        return setting
    raise _no_setting(decision, text)


def _no_setting(decision: Decision, text: str) -> FusegraphError:
    return search_error(
        "E802",
        f"the option `fixed` of the searcher `parsec` has `{text}`, which is no setting of "
        f"`{decision.key}`",
        place="searcher parsec",
        notes=(f"its candidates are {', '.join(decision.labels[:8])}",),
        help="write a candidate as the space has it, several of a set as `{a, b}`",
    )


def shown_weights(
    prior: Prior, settled: Mapping[str, Setting], digits: int
) -> tuple[dict[str, tuple[tuple[float, ...], ...]], dict[str, float]]:
    """By decision the probability that each candidate is taken, and how open the decision is; of
    those that are settled for good 0 and 1.
    """
    weights: dict[str, tuple[tuple[float, ...], ...]] = {}
    openness: dict[str, float] = {}
    for key, law in prior.laws.items():
        taken = settled.get(key)
        each = law.weights()
        if taken is not None:
            each = tuple([float(index in taken) for index in range(len(each))])
        weights[key] = (tuple([round(weight, digits) for weight in each]),)
        openness[key] = 0.0 if taken is not None else round(law.openness(), digits)
    return weights, openness
