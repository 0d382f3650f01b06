"""Specialise: a space and a genotype become a network."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from operator import itemgetter
from typing import Any
from weakref import WeakKeyDictionary

from ..ir.decisions import Decision, Setting
from ..ir.diagnostics import FusegraphError
from ..ir.dims import Expr, decisions_in
from ..ir.dsl import elaborated
from ..ir.dsl.levels import with_shape
from ..ir.genotype import Genotype
from ..ir.graph import Graph, Requirement, graph
from ..ir.levels import Levels
from ..ir.node import Node, cell, formal, intern, topological
from ..ir.ops import CELL, CHOICE, FORMAL, LEVELS, MAYBE
from ..ir.settling import pretty, settle
from ..ir.types import Type, tensor

_WIDEST_KEY = 64


class Unmakeable(FusegraphError):
    """A levelled graph for which the templates of its space do not work."""


class Specialiser:
    """Specialises one space, again and again: what a setting does not touch is not rebuilt.

    Each node remembers what it became last, with the settings of the decisions at or above it, so
    one changed decision rebuilds the path from there to the outputs and shares the rest.
    """

    def __init__(self, space: Graph) -> None:
        # The graph itself is not kept: whoever remembers specialisers by graph must not hold it.
        self._name, self._inputs = space.name, space.inputs
        self._outputs, self._requires = space.outputs, space.requires
        self._keys: dict[Node, Callable[[Mapping[str, Setting | None]], Any] | None] = {}
        self._last: dict[Node, tuple[Any, Node | None]] = {}
        self._unset: dict[str, Setting | None] = dict.fromkeys(space.decisions)
        self._find_dependencies(space.roots)

    def _find_dependencies(self, roots: tuple[Node, ...]) -> dict[Node, frozenset[str] | None]:
        """The decisions at or above each node; None where they are too many to compare."""
        needs: dict[Node, frozenset[str] | None] = {}
        for node in topological(roots):
            if node.settled:
                needs[node] = frozenset()
                continue
            parts: list[frozenset[str] | None] = [frozenset(_decisions_of(node))]
            if node.op is CELL:
                parts.append(self._find_dependencies((node["body"],))[node["body"]])
            parts += [needs[i] for i in node.inputs]
            needs[node] = _joined(parts)
            names = sorted(needs[node] or ())
            self._keys[node] = itemgetter(*names) if names else None
        return needs

    def __call__(self, genotype: Genotype | Mapping[str, Setting]) -> Graph:
        """The network. Decisions that the network does not reach need no setting.

        Raises KeyError where a decision that is reached has no setting.
        """
        given = genotype.settings if isinstance(genotype, Genotype) else genotype
        known = given if len(given) == len(self._unset) else {**self._unset, **given}
        outputs: list[tuple[str, Node]] = []
        for name, root in self._outputs:
            node = self._settle(root, given, known)
            assert node is not None
            outputs.append((name, node))
        requires = [
            Requirement(settle(r.left, given), r.relation, settle(r.right, given))
            for r in self._requires
        ]
        return graph(self._name, self._inputs, outputs, requires)

    def _settle(
        self,
        root: Node,
        settings: Mapping[str, Setting],
        known: Mapping[str, Setting | None],
    ) -> Node | None:
        """The node under these settings; None for an optional value that is absent.

        `known` has None for what is not set, so that remembered results cannot hide a gap.
        """
        last = self._last
        local: dict[Node, Node | None] = {}
        stack = [root]
        while stack:
            node = stack[-1]
            if node in local:
                stack.pop()
                continue
            if node.settled:
                local[node] = stack.pop()
                continue
            key = self._keys[node]
            state = None if key is None else key(known)
            remembered = last.get(node)
            if remembered is not None and remembered[0] == state and state is not None:
                local[stack.pop()] = remembered[1]
                continue
            needed = self._reached_inputs(node, settings, known)
            waiting = [i for i in needed if i not in local]
            if waiting:
                stack.extend(reversed(waiting))
                continue
            stack.pop()
            result = self._rebuilt(node, [local[i] for i in needed], settings, known)
            local[node] = result
            last[node] = (state, result)
        return local[root]

    def _rebuilt(
        self,
        node: Node,
        inputs: list[Node | None],
        settings: Mapping[str, Setting],
        known: Mapping[str, Setting | None],
    ) -> Node | None:
        op = node.op
        if op is CHOICE:
            return inputs[0]
        if op is MAYBE:
            return inputs[0] if inputs else None
        if op is FORMAL:
            type = _settled_type(node["type"], settings)
            return None if type is None else formal(node["name"], type)
        if op is CELL:
            return self._rebuilt_cell(node, inputs, settings, known)
        there = tuple([i for i in inputs if i is not None])
        attrs = node.attrs
        if node.kernel.is_open:
            # A settled number takes the form of its attribute, as if it had been written there.
            attrs = tuple(
                [
                    attr.accept(_settled_attr(value, settings))
                    if isinstance(value, Expr)
                    else _settled_attr(value, settings)
                    for attr, value in zip(op.attrs, attrs, strict=True)
                ]
            )
        return intern(op, there, attrs, node.key)

    def _reached_inputs(
        self,
        node: Node,
        settings: Mapping[str, Setting],
        known: Mapping[str, Setting | None],
    ) -> tuple[Node, ...]:
        """The inputs that matter under these settings; decisions above the others have none."""
        if node.op is CHOICE:
            slot: int = node["slot"]
            return (node.inputs[settings[node.decision.key][slot]],)
        if node.op is MAYBE and node["index"] not in settings[node.decision.key]:
            return ()
        if node.op is CELL:
            body = self._settle(node["body"], settings, known)
            assert body is not None
            reached = _operands_in(body)
            pairs = zip(node["formals"], node.inputs, strict=True)
            return tuple([i for f, i in pairs if f["name"] in reached])
        return node.inputs

    def _rebuilt_cell(
        self,
        node: Node,
        inputs: list[Node | None],
        settings: Mapping[str, Setting],
        known: Mapping[str, Setting | None],
    ) -> Node:
        body = self._settle(node["body"], settings, known)
        assert body is not None
        reached = _operands_in(body)
        names = [f["name"] for f in node["formals"] if f["name"] in reached]
        there = [i for i in inputs if i is not None]
        formals = [formal(name, i.type) for name, i in zip(names, there, strict=True)]
        bound = tuple([(name, _shown_attr(value, settings)) for name, value in node["bound"]])
        return cell(node["name"], formals, body, there, bound, node.key)


def _joined(parts: list[frozenset[str] | None]) -> frozenset[str] | None:
    """All of them; None where one is None or they are over _WIDEST_KEY."""
    known = [part for part in parts if part is not None]
    joined = frozenset[str]().union(*known)
    return None if len(known) < len(parts) or len(joined) > _WIDEST_KEY else joined


def _decisions_of(node: Node) -> dict[str, Decision]:
    if node.op is CHOICE or node.op is MAYBE:
        return {node.decision.key: node.decision}
    found: dict[str, Decision] = {}
    pending: list[Any] = list(node.attrs)
    while pending:
        value = pending.pop()
        if isinstance(value, Expr):
            found.update(decisions_in(value))
        elif isinstance(value, tuple):
            pending += value
        elif isinstance(value, Type):
            pending += value.shape
            if value.maybe is not None:
                found[value.maybe[0].key] = value.maybe[0]
    return found


def _settled_type(type: Type, settings: Mapping[str, Setting]) -> Type | None:
    if type.maybe is not None and type.maybe[1] not in settings[type.maybe[0].key]:
        return None
    return tensor(type.dtype, _settled_attr(type.shape, settings))


def _operands_in(body: Node) -> set[str]:
    return {node["name"] for node in topological([body]) if node.op is FORMAL}


def _shown_attr(value: Any, settings: Mapping[str, Setting]) -> Any:
    """An attribute that is only for people: what nothing reaches may stay open, as a text."""
    try:
        return _settled_attr(value, settings)
    except KeyError:
        return pretty(value) if isinstance(value, Expr) else "open"


def _settled_attr(value: Any, settings: Mapping[str, Setting]) -> Any:
    if isinstance(value, Expr):
        settled = settle(value, settings) if value.open else value
        if isinstance(settled, Expr) and settled.open:
            raise KeyError(next(iter(decisions_in(settled))))
        return settled
    if isinstance(value, tuple):
        return tuple([_settled_attr(v, settings) for v in value])  # pyright: ignore[reportUnknownVariableType]
    return value


def _opened(
    space: Graph, genotype: Genotype | Mapping[str, Setting]
) -> tuple[Graph, Mapping[str, Setting]]:
    """The space of the levelled graph that is chosen, with the settings of its nodes' decisions."""
    settings = dict(genotype.settings if isinstance(genotype, Genotype) else genotype)
    root = next(root for root in space.roots if root.op is LEVELS)
    levels = root.decision
    assert isinstance(levels, Levels)
    chosen = levels.graph_of(settings.pop(levels.key))
    for label, node in zip(chosen.labels, chosen.nodes, strict=True):
        settings |= {f"{levels.key}{label}.{name}": found for name, found in node.attributes}
    try:
        return elaborated(root["program"], chosen.shape), settings
    except FusegraphError as error:
        place = f"`{levels.key}` of `{space.name}`"
        told = [
            replace(d, span=None, label="", place=place, causes=(), edit=None)
            for d in with_shape(error, levels, chosen).diagnostics
        ]
        raise Unmakeable(told) from None


_specialisers: WeakKeyDictionary[Graph, Specialiser] = WeakKeyDictionary()


def specialise(space: Graph, genotype: Genotype | Mapping[str, Setting]) -> Graph:
    """The network that a genotype of the space describes.

    Precondition: each decision that is reached has a setting. Postcondition: a graph without
    decisions; what is not reached is not there. Raises KeyError for a missing setting, Unmakeable
    for a levelled graph that the program of the space cannot make.
    """
    if any(root.op is LEVELS for root in space.roots):
        return specialise(*_opened(space, genotype))
    found = _specialisers.get(space)
    if found is None:
        found = _specialisers[space] = Specialiser(space)
    return found(genotype)
