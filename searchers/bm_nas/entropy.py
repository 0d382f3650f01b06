"""How open a decision still is."""

from __future__ import annotations

from collections.abc import Sequence
from math import log

from ...compiler.policies import PolicyName, Weights


def openness(policy: PolicyName, slots: Sequence[Weights]) -> float:
    """From 0, settled, to 1, all the same; the mean over the slots.

    Candidates that compete (softmax): the entropy of their weights over log n. Candidates that do
    not (gate, sigmoid): the mean of the entropies, in bits, of being taken or not.
    """
    each = [_shared(slot) if policy == "softmax" else _apart(slot) for slot in slots]
    return sum(each) / len(each)


def _shared(weights: Weights) -> float:
    if len(weights) < 2:
        return 0.0
    return min(1.0, sum(_nats(weight) for weight in weights) / log(len(weights)))


def _apart(weights: Weights) -> float:
    bits = [(_nats(weight) + _nats(1 - weight)) / log(2) for weight in weights]
    return min(1.0, sum(bits) / len(bits))


def _nats(probability: float) -> float:
    return -probability * log(probability) if probability > 0 else 0.0
