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
from dataclasses import dataclass
from math import prod
from typing import Any

from ..ir.cells import expand
from ..ir.decisions import Decision, Setting, SomeOf
from ..ir.diagnostics import Diagnostic, FusegraphError
from ..ir.dims import Expr, decisions_in
from ..ir.graph import Graph, graph
from ..ir.node import Node, build, intern
from ..ir.ops import CHOICE, MAYBE, PRIMITIVES
from ..ir.settling import settle
from .policies import BM_NAS, Policies, Weights
from .relaxations import Alpha, Plan, Relaxed, plan
from .simplify import simplify
from .unrelaxable import (
    MOST_VARIANTS,
    not_summed,
    require_no_levels,
    require_one_type,
    together,
    too_many,
)

INIT_STD = 1e-3
"""The spread of architecture parameters at the start: 1e-3 N(0, 1), as DARTS and BM-NAS have it."""


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
                values[key] = relaxed.even
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

    Raises FusegraphError E506 where candidates of one decision differ in size and for `levels`,
    E507 for a decision that has no relaxation: a subset that is not summed up, sizes of too many
    combinations.
    """
    require_no_levels(space)
    planned = plan(space, policies)
    maker = _Maker(planned)
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
            problems.append(not_summed(root, "an output"))
    if problems:
        raise FusegraphError(together(problems))
    outputs = [(name, root) for name, node in flat.outputs if (root := done[node]) is not None]
    supernet = simplify(graph(space.name, flat.inputs, outputs))
    relaxed = {r.decision.key: r for r in planned.relaxed.values()}
    return Supernet(space, supernet, policies, relaxed, maker.variants, planned.scope)


# ── the nodes ────────────────────────────────────────────────────────────────────────────────────


class _Maker:
    """Builds the nodes of the supernet."""

    def __init__(self, planned: Plan) -> None:
        self.planned = planned
        self.variants: dict[str, Variant] = {}
        self._gates: dict[tuple[str, int], Node] = {}

    def relaxed(self, node: Node, inputs: Sequence[Node]) -> Node:
        """What stands for the node, of whose inputs these are what stands for them."""
        if node.op is CHOICE:
            require_one_type(node.decision, inputs)
            return self._mix(node.decision, node["slot"], inputs)  # R1
        if node.op is MAYBE:
            return self._mix(node.decision, 0, inputs, (node["index"],))  # R2
        if node.op is not PRIMITIVES["sum"]:
            for operand in node.inputs:
                if operand.op is MAYBE:
                    raise FusegraphError(not_summed(operand, f"`{node.op.name}`"))
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
        gates = self._gates_of(self.planned.relaxed[decision.key], slot)
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
        if prod(d.count() for d in decisions) > MOST_VARIANTS or any(
            d.slots > 1 for d in decisions
        ):
            raise FusegraphError(too_many(node, decisions))
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
            require_one_type(decision, candidates)
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
