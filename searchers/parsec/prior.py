"""P(A | alpha), the distribution over the networks of a space: a product over decisions.

The product is over the decisions that A *reaches*: what is not reached is no part of a network, and
with it one network would be counted under many settings. So the probabilities of all genotypes of a
space add up to one (the paper's spaces reach every decision, where it makes no difference).

Networks that fail a `require` are drawn again, so those that are drawn are from P(A | alpha) given
that they satisfy it. Where hardly any draw does, each decision in turn is drawn by its law from the
settings that the bounds of costs leave, given those before it. That is another distribution: what
is settled first knows less of what is required than P(A | alpha) given that it is satisfied.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from copy import copy
from itertools import islice
from math import log
from random import Random
from sys import float_info

import torch
from torch import Tensor

from ...compiler.cost_bounds import unreachable
from ...compiler.explore import BEFORE_BOUNDS, MOST_RUN, TRIES, holds
from ...compiler.requirements import nearest_miss
from ...compiler.satisfying import GivenUp, InOrder, Satisfying, satisfying
from ...ir.decisions import Decision, KOf, OneOf, Setting
from ...ir.diagnostics import Diagnostic, FusegraphError
from ...ir.graph import Graph
from ...ir.reach import walk
from ..epochs import architecture_diverged
from ..errors import search_error
from .laws import SETTINGS, Law, law_of

Settings = Mapping[str, Setting]

TRIES_WHERE_RARE = 20
"""In place of TRIES, where of draws with all alpha 0 none satisfies `require`: alpha may know."""


class Prior:
    """The laws of all decisions of a space, by key; each with its own alpha.

    In what follows `fixed` are decisions that are not drawn, with their settings; they have
    probability 1. Raises FusegraphError E814, in the name of the searcher, for a space with a
    decision that has no law.
    """

    def __init__(self, space: Graph, searcher: str = "parsec") -> None:
        self.space = space
        found = {key: law_of(decision) for key, decision in space.decisions.items()}
        missing = [space.decisions[key] for key, law in found.items() if law is None]
        if missing:
            raise _no_law(searcher, space, missing)
        self.laws: dict[str, Law] = {key: law for key, law in found.items() if law is not None}

    def draw(self, rng: Random, count: int, fixed: Settings) -> list[dict[str, Setting]]:
        """So many networks, each the settings of what it reaches.

        They satisfy every `require` of the space, see the module. Raises FusegraphError E503 where
        none was found.
        """
        draws = {key: law.drawing() for key, law in self.laws.items() if key not in fixed}

        def choose(decision: Decision) -> Setting:
            known = fixed.get(decision.key)
            return draws[decision.key](rng) if known is None else known

        def in_order(decision: Decision) -> Sequence[Setting]:
            known = fixed.get(decision.key)
            return by_lot(self.laws[decision.key], rng) if known is None else [known]

        return [self._satisfying(choose, in_order, rng) for _ in range(count)]

    def _satisfying(
        self, choose: Callable[[Decision], Setting], in_order: InOrder, rng: Random
    ) -> dict[str, Setting]:
        search: Satisfying | None = None
        seen: list[dict[str, Setting]] = []
        most = TRIES
        while len(seen) < most:
            if len(seen) == BEFORE_BOUNDS:
                if unreachable(self.space):
                    break
                search = satisfying(self.space)
                most = TRIES_WHERE_RARE if search is not None and search.rare else TRIES
            settings = walk(self.space, choose)
            if holds(self.space, settings):
                return settings
            seen.append(settings)
        nearest: tuple[str, ...] = ()
        if search is not None:
            try:
                for settings in islice(search.each(rng, in_order), MOST_RUN):
                    if holds(self.space, settings):
                        return settings
            except GivenUp:
                pass
            nearest = search.nearest()
        raise FusegraphError(
            Diagnostic(
                code="E503",
                message=f"no genotype of `{self.space.name}` was found that satisfies its "
                "`require`",
                notes=(
                    f"{len(seen)} genotypes were drawn",
                    *unreachable(self.space),
                    *(nearest or nearest_miss(self.space, seen)),
                ),
                help="widen the range to a value that can be reached, or open more decisions",
            )
        )

    def log_probability(self, networks: Sequence[Settings], fixed: Settings) -> Tensor:
        """(networks,): log P(A | alpha), the sum over what each reaches and is not fixed."""
        total = torch.zeros(len(networks), dtype=torch.float64)
        for key, law in self.laws.items():
            if key in fixed:
                continue
            reaching = [row for row, settings in enumerate(networks) if key in settings]
            if reaching:
                each = law.log_probability([networks[row][key] for row in reaching])
                total = total.index_add(0, torch.tensor(reaching), each)
        return total

    def most_probable(self, fixed: Settings) -> dict[str, Setting]:
        """Each decision that is reached at its most probable; `require` is not looked at."""

        def choose(decision: Decision) -> Setting:
            known = fixed.get(decision.key)
            return self.laws[decision.key].most_probable() if known is None else known

        return walk(self.space, choose)

    def over(self, space: Graph) -> Prior:
        """The same laws, whose alpha they share, over another space with the same decisions."""
        other = copy(self)
        other.space = space
        return other

    def alphas(self) -> dict[str, Tensor]:
        """alpha by the keys of the decisions."""
        return {key: law.alpha.detach() for key, law in self.laws.items()}

    def restore(self, alphas: Mapping[str, Tensor]) -> None:
        """Put alpha back. Raises ValueError where it is not of this space, or not finite."""
        if alphas.keys() != self.laws.keys():
            raise ValueError("alpha is of other decisions")
        for key, alpha in self.alphas().items():
            value = alphas[key]
            if value.shape != alpha.shape or value.dtype != alpha.dtype:
                found = f"{list(value.shape)}, not {list(alpha.shape)}"
                raise ValueError(f"alpha of `{key}` is {found}")
            if not torch.isfinite(value).all():
                raise ValueError(f"alpha of `{key}` is not finite")
            alpha.copy_(value)

    def check_finite(self, help: str) -> None:
        """Raises FusegraphError E701 where alpha is no longer finite."""
        alphas = self.alphas()
        if not torch.cat([*alphas.values()]).isfinite().all():
            raise architecture_diverged(
                next(key for key, alpha in alphas.items() if not alpha.isfinite().all()), help
            )


def by_lot(law: Law, rng: Random) -> list[Setting]:
    """All settings, one drawn by the law after the other, each among those that are left.

    They come as in a race of exponential clocks, each as fast as its setting is probable.
    """
    settings = list(law.decision.settings())
    with torch.no_grad():
        rates: list[float] = law.log_probability(settings).tolist()
    times = {
        setting: log(max(rng.expovariate(1.0), float_info.min)) - rate
        for setting, rate in zip(settings, rates, strict=True)
    }
    return sorted(settings, key=times.__getitem__)


def _no_law(searcher: str, space: Graph, missing: Sequence[Decision]) -> FusegraphError:
    first = missing[0]
    what = "a levelled graph is no fixed number of choices"
    help = "take a searcher that draws networks: `evolution` or `random`"
    if isinstance(first, OneOf | KOf):
        what = f"it has {first.count():,}, and a probability for each of {SETTINGS:,} at most"
        help = "offer fewer candidates, or take a searcher that draws networks, such as `random`"
    others = [f"`{decision.key}`" for decision in missing[1:8]]
    return search_error(
        "E814",
        f"`{searcher}` has no distribution over the settings of `{first.key}`: {what}",
        place=space.name,
        notes=(f"nor over those of {', '.join(others)}",) if others else (),
        help=help,
    )
