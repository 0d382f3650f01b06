"""Which networks are drawn, and how the topology parameters learn which to prefer.

Algorithm 1 moves them by A = A - gamma grad_A L_val(w*, A). It does not say what gradient one
sampled path has in A. Read here as the score-function estimate of the gradient of the expected
loss: with P(A | alpha) the distribution of `searchers.parsec.prior`,

    grad E[L_val] = E[(L_val - b) grad log P(A | alpha)],  A ~ P(A | alpha)

by one network A, drawn for this alone, since those that train weights are drawn uniformly. The
baseline b is a running mean of L_val, one for each data set, whose losses differ. With `drawn =
"required"` A is drawn from P(A | alpha) given that it satisfies `require`, or by bounds where
hardly any draw does (`prior` says how); log P stays that of the product over decisions.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from random import Random
from typing import Any, Literal

import torch

from ...compiler.explore import sample
from ...ir.decisions import Setting
from ...ir.dims import symbols_in
from ...ir.graph import MEASURES, Graph, graph
from ..parsec.prior import Prior
from .options import PerturbationOptions
from .selection import Settings

_FORGETS = 0.05
"""The share of the newest loss in the running mean."""


def trained_space(space: Graph, drawn: Literal["any", "required"]) -> Graph:
    """The space that the supernet trains: for "any" one that requires nothing of costs."""
    if drawn == "required":
        return space
    kept = [
        requirement
        for requirement in space.requires
        if (symbols_in(requirement.left) | symbols_in(requirement.right)).isdisjoint(MEASURES)
    ]
    return graph(space.name, space.inputs, space.outputs, kept)


def uniform(space: Graph, rng: Random) -> Settings:
    """A network, each reached decision drawn uniformly. Raises FusegraphError E503."""
    return dict(sample(space, rng).settings)


class Topology:
    """alpha, which `prior` has, the baselines by data set, and a step along the estimate above."""

    def __init__(self, prior: Prior, options: PerturbationOptions) -> None:
        self._prior = prior
        self._drawn = prior.over(trained_space(prior.space, options.drawn))
        self._rate = options.arch_learning_rate
        self.baselines: dict[str, float] = {}

    def draw(self, rng: Random) -> Settings:
        """A network from P(A | alpha). Raises FusegraphError E503."""
        return self._drawn.draw(rng, 1, {})[0]

    def step(self, data: str, settings: Mapping[str, Setting], loss: float) -> None:
        """One step by the network's validation loss on a data set, whose first loss is its
        baseline. Raises FusegraphError E701 where alpha is no longer finite.
        """
        before = self.baselines.get(data, loss)
        self.baselines[data] = before + _FORGETS * (loss - before)
        log_probability = self._drawn.log_probability([settings], {}).sum()
        (log_probability * (loss - before)).backward()
        with torch.no_grad():
            for law in self._prior.laws.values():
                if law.alpha.grad is not None:
                    law.alpha.sub_(self._rate * law.alpha.grad)
                    law.alpha.grad = None
        self._prior.check_finite("lower `arch_learning_rate` of the searcher's options")

    def restore(self, baselines: Mapping[str, Any]) -> None:
        """Put the baselines back. Raises ValueError where they are no numbers."""
        for data, value in baselines.items():
            if not (isinstance(value, float) and math.isfinite(value)):
                raise ValueError(f"the baseline of `{data}` is no number")
        self.baselines = dict(baselines)
