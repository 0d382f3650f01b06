"""Which relaxation each decision of a space has, and the parameter that it shares with others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ..ir.decisions import Decision, KOf, SomeOf
from ..ir.graph import Graph
from ..ir.node import Node, everything
from ..ir.ops import CHOICE, FORMAL, INPUT, MAYBE
from .policies import Policies, PolicyName, Weights, weights_of

SCOPE = "architecture"

_CERTAIN = 1e4
"""exp(-2e4) is 0 in every dtype, so that one-hot weights are exactly 0 and 1."""

Alpha = tuple[Any, ...]
"""The values of an architecture parameter, as nested tuples of numbers."""


@dataclass(frozen=True, slots=True)
class Relaxed:
    """What became of a decision. `key` is that of its parameter, which tied decisions share.

    The parameter's shape is [slots, n] where there are several slots, or [n], of n candidates; with
    the policy `gate` a last axis of 2 follows, (zero, identity). `tied` are the keys of all
    decisions that share it, in the order of the operands that they are.
    """

    decision: Decision
    policy: PolicyName
    key: str
    slots: int
    tied: tuple[str, ...]

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the parameter."""
        candidates = (len(self.decision.labels),)
        slots = (self.slots,) if self.slots > 1 else ()
        return (*slots, *candidates, *((2,) if self.policy == "gate" else ()))

    def weights(self, alpha: Sequence[Any]) -> tuple[Weights, ...]:
        """For each slot the weights of the candidates."""
        rows = alpha if self.slots > 1 else [alpha]
        return tuple([weights_of(self.policy, row) for row in rows])

    def certain(self, chosen: Sequence[Sequence[int]]) -> Alpha:
        """The values under which exactly these candidates, for each slot, have the weight 1."""
        rows = [
            tuple([self._value(index in taken) for index in range(len(self.decision.labels))])
            for taken in chosen
        ]
        return tuple(rows) if self.slots > 1 else rows[0]

    @property
    def even(self) -> Alpha:
        """Values under which all candidates weigh the same."""
        return _zeros(self.shape)

    def _value(self, taken: bool) -> Any:
        sign = _CERTAIN if taken else -_CERTAIN
        return (-sign, sign) if self.policy == "gate" else sign


@dataclass(frozen=True, slots=True)
class Plan:
    """What becomes of each decision, by its key; `scope` is the first part of parameters' keys."""

    relaxed: Mapping[str, Relaxed]
    scope: str


def plan(space: Graph, policies: Policies) -> Plan:
    """The relaxation of each decision of the space; the scope is no first part of its keys."""
    keys = {node.key.partition(".")[0].partition("[")[0] for node in everything(space.roots)}
    scope = SCOPE
    while scope in keys:
        scope += "_"
    nodes = [node for node in everything(space.roots) if not node.settled]
    choices: dict[str, list[Node]] = {}
    for node in nodes:
        if node.op is CHOICE:
            choices.setdefault(node.decision.key, []).append(node)
    found: dict[str, Relaxed] = {}
    for key, decision in space.decisions.items():
        policy = policies.of(key, _usual(policies, decision, choices.get(key, [])))
        summed = policy == "gate" and policies.pairs == "sum"
        slots = decision.take if isinstance(decision, KOf) and not summed else 1
        found[key] = Relaxed(decision, policy, f"{scope}.{key}", slots, (key,))
    if policies.pairs == "sum":
        _tie(nodes, found)
    return Plan(found, scope)


def _usual(policies: Policies, decision: Decision, choices: Sequence[Node]) -> PolicyName:
    if isinstance(decision, SomeOf):
        return policies.subsets
    return policies.edges if among_values(decision, choices) else policies.ops


def among_values(decision: Decision, choices: Sequence[Node]) -> bool:
    """Whether the decision, with these choice nodes, is among values that are there: edges.

    Others are among ops on the same operands, or among numbers.
    """
    return isinstance(decision, KOf | SomeOf) or any(not _of_ops(choice) for choice in choices)


def _of_ops(choice: Node) -> bool:
    """Whether the candidates are things done to the same operands, and not values that are there:
    one of them reads all that the others read.
    """
    if any(c.op in (INPUT, FORMAL, CHOICE, MAYBE) for c in choice.inputs):
        return False
    operands = [set(candidate.inputs) for candidate in choice.inputs]
    widest = max(operands, key=len)
    return bool(widest) and all(some <= widest for some in operands)


def _tie(nodes: Sequence[Node], relaxed: dict[str, Relaxed]) -> None:
    """R4 of `relax`: one parameter for the choices among the same values that meet in one op, in
    the order of its operands.
    """
    groups: dict[str, tuple[str, ...]] = {key: (key,) for key in relaxed}
    # Commutative ops come last, as the order of their operands says nothing.
    for node in sorted(nodes, key=lambda node: node.op.commutative):
        together: dict[tuple[Node, ...], list[str]] = {}
        for operand in node.inputs:
            if operand.op is not CHOICE or isinstance(operand.decision, KOf):
                continue  # k of several have a gated sum of their own
            if relaxed[operand.decision.key].policy == "gate":
                together.setdefault(operand.inputs, []).append(operand.decision.key)
        for keys in together.values():
            joined = tuple(dict.fromkeys(other for key in keys for other in groups[key]))
            for key in joined:
                groups[key] = joined
    for key, tied in groups.items():
        relaxed[key] = replace(relaxed[key], key=relaxed[tied[0]].key, tied=tied)


def _zeros(shape: Sequence[int]) -> Alpha:
    if len(shape) == 1:
        return (0.0,) * shape[0]
    return tuple([_zeros(shape[1:]) for _ in range(shape[0])])
