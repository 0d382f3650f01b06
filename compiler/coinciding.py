"""Which nodes of a space may become one node of its networks, and under which settings they do.

Nodes without weights are the same where their op, their attributes and their inputs are: relu of
`?a of {x, y}` and relu of `?b of {x, y}` are computed once where both take `x`. What is computed
once costs once, so the cost of such nodes is that of all of them together.

Precondition of all that is here: composites are expanded.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping, Sequence
from typing import Any

from ..ir.decisions import Setting
from ..ir.dims import Expr, decisions_in
from ..ir.node import Node
from ..ir.ops import CHOICE, INPUT, MAYBE
from ..ir.settling import settle


class Coinciding:
    """The nodes of a space that may coincide, in groups; no two of different groups ever do."""

    def __init__(self, order: Sequence[Node], *, tied_only: bool = False) -> None:
        """`order` has every node, inputs before users.

        With `tied_only` only nodes of one key are looked at, and all others as if each were alone.
        """
        self._becomes: dict[Node, frozenset[Node]] = {}
        self._pairs: set[frozenset[Node]] = set()
        leaders: dict[Node, Node] = {}
        alike: dict[Hashable, list[Node]] = {}
        for node in order:
            if node.op is CHOICE or node.op is MAYBE:
                below = [self._becomes[i] for i in node.inputs]
                self._becomes[node] = frozenset[Node]().union(*below)
                continue
            self._becomes[node] = frozenset((node,))
            if node.op is INPUT or (tied_only and not node.key):
                continue
            others = alike.setdefault((node.op.name, node.key), [])
            for other in others:
                if node.key or self._may_be(node, other):
                    self._pairs.add(frozenset((node, other)))
                    leaders.setdefault(node, node)
                    leaders[_leader(leaders, other)] = _leader(leaders, node)
            others.append(node)
        groups: dict[Node, list[Node]] = {}
        for node in order:
            if node in leaders:
                groups.setdefault(_leader(leaders, node), []).append(node)
        self.groups = list(groups.values())
        """Each in the order of the space."""
        self._grouped = frozenset(leaders)

    def __contains__(self, node: Node) -> bool:
        return node in self._grouped

    def identity(
        self, node: Node, settings: Mapping[str, Setting], known: dict[Node, Hashable]
    ) -> Hashable:
        """Equal for two nodes exactly where these settings make them one; `known` remembers."""
        found = known.get(node)
        if found is None:
            found = known[node] = self._identity(node, settings, known)
        return found

    def _identity(
        self, node: Node, settings: Mapping[str, Setting], known: dict[Node, Hashable]
    ) -> Hashable:
        if node.op is CHOICE:
            slot: int = node["slot"]
            return self.identity(node.inputs[settings[node.decision.key][slot]], settings, known)
        if node.op is MAYBE:
            there = node["index"] in settings[node.decision.key]
            return self.identity(node.inputs[0], settings, known) if there else None
        if node not in self._grouped:
            return node
        inputs = [self.identity(i, settings, known) for i in node.inputs]
        attrs = tuple([_settled(value, settings) for value in node.attrs])
        return (node.op.name, node.key, attrs, tuple([i for i in inputs if i is not None]))

    def decisions_of(self, node: Node) -> set[str]:
        """The keys of the decisions that its identity depends on, at most."""
        found: set[str] = set()
        seen: set[Node] = set()
        pending = [node]
        while pending:
            other = pending.pop()
            if other in seen:
                continue
            seen.add(other)
            if other.op is CHOICE or other.op is MAYBE:
                found.add(other.decision.key)
            elif other not in self._grouped:
                continue
            else:
                found.update(key for value in _numbers(other.attrs) for key in decisions_in(value))
            pending += other.inputs
        return found

    def _may_be(self, one: Node, other: Node) -> bool:
        """Whether two nodes of one op may be one; true where this does not tell."""
        if one.settled and other.settled:
            return False  # they are interned, and would be one already
        pairs = zip(one.attrs, other.attrs, strict=True)
        if any(not _open(a) and not _open(b) and a != b for a, b in pairs):
            return False
        if any(i.op is MAYBE for i in (*one.inputs, *other.inputs)):
            return True
        if len(one.inputs) != len(other.inputs):
            return False
        return all(map(self._may_meet, one.inputs, other.inputs))

    def _may_meet(self, one: Node, other: Node) -> bool:
        left, right = self._becomes[one], self._becomes[other]
        if not left.isdisjoint(right):
            return True
        return any(frozenset((a, b)) in self._pairs for a in left for b in right)


def _leader(leaders: dict[Node, Node], node: Node) -> Node:
    """Who stands for all that are in one group with the node."""
    while (above := leaders.setdefault(node, node)) is not node:
        node = above
    return node


def _numbers(value: Any) -> Iterator[Expr]:
    if isinstance(value, Expr):
        yield value
    elif isinstance(value, tuple):
        for item in value:  # pyright: ignore[reportUnknownVariableType]
            yield from _numbers(item)


def _open(value: Any) -> bool:
    return any(number.open for number in _numbers(value))


def _settled(value: Any, settings: Mapping[str, Setting]) -> Any:
    if isinstance(value, tuple):
        return tuple([_settled(item, settings) for item in value])  # pyright: ignore[reportUnknownVariableType]
    return settle(value, settings) if isinstance(value, Expr) else value
