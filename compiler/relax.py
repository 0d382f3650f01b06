"""Relax: a space becomes a supernet, a network that computes a weighted sum of all candidates.

Precondition: the candidates of each decision have one type. Postcondition: a graph without
decisions, without composites; each decision has a `parameter`, whose key begins with the scope of
`Supernet.scope`; all other weights keep their keys. Under a one-hot setting (`Supernet.one_hot`)
the supernet computes what the specialised network computes with the same weights (P6).

Cases, cited in the code:
R1  A choice is the `mix` of its candidates.
R2  A value that may be absent, in a sum, is the value times its weight.
R3  A choice that is written in an attribute, such as a kernel size, is a mix of the op's variants;
    weights are not shared among them.
R4  Choices of one among the same values that meet in one op share one gated sum
    (`Policies.pairs`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import Any

from ..ir.cells import expand
from ..ir.decisions import Decision, KOf, Setting, SomeOf
from ..ir.diagnostics import Diagnostic, FusegraphError
from ..ir.dims import Expr, decisions_in
from ..ir.graph import Graph, graph
from ..ir.node import Node, build, everything, intern
from ..ir.ops import CHOICE, FORMAL, INPUT, MAYBE, PRIMITIVES
from ..ir.settling import settle
from ..ir.types import Type
from .policies import BM_NAS, Policies, PolicyName, Weights, weights_of
from .simplify import simplify

SCOPE = "architecture"
INIT_STD = 1e-3
"""The spread of architecture parameters at the start: 1e-3 N(0, 1), as DARTS and BM-NAS have it."""

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

    def _value(self, taken: bool) -> Any:
        sign = _CERTAIN if taken else -_CERTAIN
        return (-sign, sign) if self.policy == "gate" else sign


@dataclass(frozen=True, slots=True)
class Variant:
    """A node of the supernet stands for `key` of the space under these settings (R3)."""

    key: str
    settings: tuple[tuple[str, Setting], ...]


@dataclass(frozen=True)
class Supernet:
    """A relaxed space. `graph` is an ordinary network, `relaxed` what became of each decision.

    `scope` is the first part of the keys of the architecture parameters. `variants` has the nodes
    whose keys are not those of the space, by key.
    """

    space: Graph
    graph: Graph
    policies: Policies
    relaxed: Mapping[str, Relaxed]
    variants: Mapping[str, Variant]
    scope: str

    @property
    def architecture(self) -> dict[str, Relaxed]:
        """By the key of each architecture parameter, the first decision that it belongs to."""
        found: dict[str, Relaxed] = {}
        for relaxed in self.relaxed.values():
            found.setdefault(relaxed.key, relaxed)
        return found

    def one_hot(self, settings: Mapping[str, Setting]) -> dict[str, Alpha]:
        """Values of the architecture parameters that make the supernet the network of `settings`.

        Decisions without a setting get equal weights. Where several places share one sum
        (`pairs="sum"`), each of them is given the sum of what the settings take for all of them,
        which is another function than the network's unless they take the same.
        """
        values: dict[str, Alpha] = {}
        for key, relaxed in self.architecture.items():
            given = [settings[name] for name in relaxed.tied if name in settings]
            if not given:
                values[key] = _zeros(relaxed.shape)
            elif isinstance(relaxed.decision, SomeOf):
                values[key] = relaxed.certain([given[0]])
            elif relaxed.slots > 1:
                values[key] = relaxed.certain([(index,) for index in given[0]])
            else:
                values[key] = relaxed.certain([[i for setting in given for i in setting]])
        return values

    def key_of(self, key: str, settings: Mapping[str, Setting]) -> str:
        """The key, in the supernet, of the node that is `key` in the network of these settings."""
        for name, variant in self.variants.items():
            if variant.key == key and all(settings.get(k) == s for k, s in variant.settings):
                return name
        return key

    def weights(self, values: Mapping[str, Sequence[Any]]) -> dict[str, tuple[Weights, ...]]:
        """By decision the weights of the candidates for each slot, from the parameters' values."""
        return {name: r.weights(values[r.key]) for name, r in self.relaxed.items()}


def relax(space: Graph, policies: Policies = BM_NAS) -> Supernet:
    """The supernet of a space; its `require` lines hold for genotypes and are left out.

    Raises FusegraphError E506 where candidates of one decision differ in size, E507 for a decision
    that has no relaxation: a subset that is not summed up, sizes of too many combinations.
    """
    plan = _plan(space, policies)
    maker = _Maker(plan)
    flat = expand(space)
    problems: list[Diagnostic] = []
    done: dict[Node, Node | None] = {}
    for node in flat.order:
        if any(done[i] is None for i in node.inputs):
            done[node] = None  # told of already
            continue
        try:
            done[node] = maker.relaxed(node, [i for i in map(done.get, node.inputs) if i])
        except FusegraphError as error:
            problems += error.diagnostics
            done[node] = None
    for root in flat.roots:
        if root.op is MAYBE:
            problems.append(_not_summed(root, "an output"))
    if problems:
        raise FusegraphError(problems)
    outputs = [(name, root) for name, node in flat.outputs if (root := done[node]) is not None]
    supernet = simplify(graph(space.name, flat.inputs, outputs))
    relaxed = {r.decision.key: r for r in plan.relaxed.values()}
    return Supernet(space, supernet, policies, relaxed, maker.variants, plan.scope)


def _zeros(shape: Sequence[int]) -> Alpha:
    if len(shape) == 1:
        return (0.0,) * shape[0]
    return tuple([_zeros(shape[1:]) for _ in range(shape[0])])


# ── which policy each decision has ───────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class _Plan:
    relaxed: Mapping[str, Relaxed]
    scope: str


def _plan(space: Graph, policies: Policies) -> _Plan:
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
    return _Plan(found, scope)


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
    """R4: one parameter for the choices among the same values that meet in one op, in the order of
    its operands.
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


# ── the nodes ────────────────────────────────────────────────────────────────────────────────────

_MOST_VARIANTS = 64


class _Maker:
    """Builds the nodes of the supernet."""

    def __init__(self, plan: _Plan) -> None:
        self.plan = plan
        self.variants: dict[str, Variant] = {}
        self._gates: dict[tuple[str, int], Node] = {}

    def relaxed(self, node: Node, inputs: Sequence[Node]) -> Node:
        """What stands for the node, of whose inputs these are what stands for them."""
        if node.op is CHOICE:
            _require_one_type(node.decision, inputs)
            return self._mix(node.decision, node["slot"], inputs)  # R1
        if node.op is MAYBE:
            return self._mix(node.decision, 0, inputs, (node["index"],))  # R2
        if node.op is not PRIMITIVES["sum"]:
            for operand in node.inputs:
                if operand.op is MAYBE:
                    raise FusegraphError(_not_summed(operand, f"`{node.op.name}`"))
        if node.kernel.is_open:
            return self._variants(node, inputs)  # R3
        if tuple(inputs) == node.inputs:
            return node
        return intern(node.op, tuple(inputs), node.attrs, node.key)

    def _mix(
        self,
        decision: Decision,
        slot: int,
        candidates: Sequence[Node],
        index: tuple[int, ...] | None = None,
    ) -> Node:
        gates = self._gates_of(self.plan.relaxed[decision.key], slot)
        return build(PRIMITIVES["mix"], [gates, *candidates], {"index": index})

    def _gates_of(self, relaxed: Relaxed, slot: int) -> Node:
        """The weights of the candidates, f32[n]."""
        slot = slot if relaxed.slots > 1 else 0
        found = self._gates.get((relaxed.key, slot))
        if found is not None:
            return found
        start = {"shape": relaxed.shape, "init": "normal", "std": INIT_STD}
        alpha = build(PRIMITIVES["parameter"], [], start, relaxed.key)
        name = "sigmoid" if relaxed.policy == "sigmoid" else "softmax"
        gates = build(PRIMITIVES[name], [alpha])
        if relaxed.policy == "gate":  # the weight of the identity
            last = len(relaxed.shape) - 1
            gates = build(PRIMITIVES["slice"], [gates], {"axis": last, "start": 1, "stop": 2})
        if relaxed.slots > 1:
            gates = build(
                PRIMITIVES["slice"], [gates], {"axis": 0, "start": slot, "stop": slot + 1}
            )
        shape = (len(relaxed.decision.labels),)
        if gates.type.rank > 1:
            gates = build(PRIMITIVES["reshape"], [gates], {"shape": shape})
        self._gates[relaxed.key, slot] = gates
        return gates

    def _variants(self, node: Node, inputs: Sequence[Node]) -> Node:
        """R3: a mix over each decision in the attributes, of mixes over the next one."""
        found: dict[str, Decision] = {}
        for value in _numbers(node.attrs):
            found.update(decisions_in(value))
        decisions = list(found.values())
        if prod(d.count() for d in decisions) > _MOST_VARIANTS or any(
            d.slots > 1 for d in decisions
        ):
            raise FusegraphError(_too_many(node, decisions))
        return self._variant(node, inputs, decisions, ())

    def _variant(
        self,
        node: Node,
        inputs: Sequence[Node],
        decisions: Sequence[Decision],
        settings: tuple[tuple[str, Setting], ...],
    ) -> Node:
        if decisions:
            decision, *rest = decisions
            candidates = [
                self._variant(node, inputs, rest, (*settings, (decision.key, setting)))
                for setting in decision.settings()
            ]
            _require_one_type(decision, candidates)
            return self._mix(decision, 0, candidates)
        given = dict(settings)
        attrs = tuple(
            [
                attr.accept(_settled(value, given)) if isinstance(value, Expr)
                else _settled(value, given)
                for attr, value in zip(node.op.attrs, node.attrs, strict=True)
            ]
        )  # fmt: skip
        key = node.key
        if key:
            names = [name.rpartition(".")[2] for name, _ in settings]
            places = [str(setting[0] + 1) for _, setting in settings]
            parts = [f"{name}[{place}]" for name, place in zip(names, places, strict=True)]
            key = ".".join([node.key, *parts])
            self.variants[key] = Variant(node.key, settings)
        return intern(node.op, tuple(inputs), attrs, key)


def _numbers(value: Any) -> Iterator[Expr]:
    if isinstance(value, Expr):
        yield value
    elif isinstance(value, tuple):
        for item in value:  # pyright: ignore[reportUnknownVariableType]
            yield from _numbers(item)


def _settled(value: Any, settings: Mapping[str, Setting]) -> Any:
    if isinstance(value, Expr):
        return settle(value, settings)
    if isinstance(value, tuple):
        return tuple([_settled(item, settings) for item in value])  # pyright: ignore[reportUnknownVariableType]
    return value


# ── what cannot be relaxed ───────────────────────────────────────────────────────────────────────


def _require_one_type(decision: Decision, candidates: Sequence[Node]) -> None:
    """Raise E506 unless all candidates have one type, which is settled."""
    types: dict[Type, list[str]] = {}
    for label, candidate in zip(decision.labels, candidates, strict=True):
        types.setdefault(candidate.type, []).append(label)
    if len(types) == 1:
        return
    notes = [f"{type.pretty}: {', '.join(labels)}" for type, labels in types.items()]
    ranks = {type.rank for type in types}
    mend = "`linear(x, out=W)`" if ranks == {2} else "`align(x, channels=C, length=L)`"
    raise FusegraphError(
        Diagnostic(
            code="E506",
            message=f"`{decision.key}` cannot be relaxed: its candidates differ in size, "
            "and a weighted sum needs one",
            place=decision.key,
            notes=tuple(notes[:8] + ([f"and {len(notes) - 8} more"] if len(notes) > 8 else [])),
            help=f"bring each candidate to one size first, for example by {mend}",
        )
    )


def _not_summed(node: Node, where: str) -> Diagnostic:
    return Diagnostic(
        code="E507",
        message=f"`{node.decision.key}` cannot be relaxed: a subset has weights only in a sum, "
        f"and it goes into {where}",
        place=node.decision.key,
        help="take the subset into a `sum`, or search this space by samples",
    )


def _too_many(node: Node, decisions: Sequence[Decision]) -> Diagnostic:
    names = ", ".join([f"`{d.key}`" for d in decisions])
    return Diagnostic(
        code="E507",
        message=f"{names} cannot be relaxed: in `{node.op.name}` they stand for "
        f"{prod(d.count() for d in decisions)} different layers",
        place=node.key or decisions[0].key,
        notes=(f"at most {_MOST_VARIANTS} layers are tried at one place, and no sizes of subsets",),
        help="open fewer numbers in one op, or search this space by samples",
    )
