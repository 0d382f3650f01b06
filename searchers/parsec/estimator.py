"""The gradients of eq. 3, estimated from K networks A_k that were drawn from P(A | alpha).

    L = -log E[P(y | X, theta, A)] + beta log E[cost(A)],  both over A ~ P(A | alpha)

    -grad_theta: sum_k w_k grad l_k
    -grad_alpha: sum_k w_k grad log P(A_k | alpha) - beta sum_k m_k grad log P(A_k | alpha)

with l_k = log P(y | X, theta, A_k), w = softmax_k(l), m_k = cost_k / sum_j cost_j. They are the
exact gradients of L where both expectations are means over the A_k, each weighted by
P(A_k | alpha) over its present value (Casale et al. 2019, section 3; the supplement, eq. 1-3).

Where a network must satisfy a `require`, the A_k come from P(A | alpha) given that it does. The
first term is then as exact as before, for an L in which the networks that fail have the likelihood
0; in the second they cost nothing, so a `require` and a target that exclude one another pull
against each other.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import log

import torch
from torch import Tensor


def importance(log_likelihoods: Tensor) -> Tensor:
    """(K,): w = softmax(l)."""
    return torch.softmax(log_likelihoods, 0)


def shares(costs: Sequence[float]) -> Tensor | None:
    """(K,): m. None where no network costs anything: log 0 is left out of L."""
    total = sum(costs)
    return torch.tensor([c / total for c in costs], dtype=torch.float64) if total > 0 else None


def architecture_loss(
    log_probabilities: Tensor, weights: Tensor, priced: Tensor | None, beta: float
) -> Tensor:
    """A number whose gradient in alpha is the one above; w and m (`priced`) are constants."""
    loss = -(weights * log_probabilities).sum()
    return loss if priced is None else loss + beta * (priced * log_probabilities).sum()


def evidence(log_likelihoods: Tensor) -> float:
    """log 1/K sum_k P(y | X, theta, A_k), eq. 1."""
    return torch.logsumexp(log_likelihoods, 0).item() - log(len(log_likelihoods))
