"""The graph: nodes with named outputs; a network, or a space where decisions are open."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any
from weakref import WeakValueDictionary

from .decisions import Decision
from .dims import Expr, Static, decisions_in, text_of, told
from .node import Node, everything, topological
from .ops import CHOICE, INPUT, LEVELS, MAYBE
from .sizes import sizes_named, with_tellers

COUNTED = ("parameters", "macs", "flops", "activation_bytes")
"""Measures that the graph alone tells, all of one sample."""
MEASURED = ("latency",)
"""Measures that only a run of the network tells: milliseconds for one batch."""
MEASURES = COUNTED + MEASURED
"""What a `require` may speak of besides sizes."""


@dataclass(frozen=True, slots=True)
class Requirement:
    """`require left relation right`, over static numbers and the measures of cost."""

    left: Static
    relation: str
    right: Static

    @property
    def text(self) -> str:
        """As in the language, without the word `require`."""
        return f"{text_of(self.left)} {self.relation} {text_of(self.right)}"

    @property
    def told(self) -> str:
        """`text` for people."""
        return f"{told(self.left)} {self.relation} {told(self.right)}"


@dataclass(frozen=True, eq=False)
class Graph:
    """A network, or a space where decisions are open. Interned; made by `graph`.

    `inputs` are the inputs that the outputs reach, in the order of declaration, with those that
    alone tell a named size which is needed.
    """

    name: str
    inputs: tuple[Node, ...]
    outputs: tuple[tuple[str, Node], ...]
    requires: tuple[Requirement, ...] = ()

    def __repr__(self) -> str:
        return f"<graph {self.name}: {len(self.order)} nodes, {len(self.decisions)} decisions>"

    def __reduce__(self) -> tuple[Callable[[str], Graph], tuple[str]]:
        from .dsl.flat import parse_graph, print_graph

        return (parse_graph, (print_graph(self),))

    @property
    def roots(self) -> tuple[Node, ...]:
        """The nodes of the outputs."""
        return tuple([node for _, node in self.outputs])

    @cached_property
    def order(self) -> tuple[Node, ...]:
        """Every node, inputs before users; composites whole."""
        return tuple(topological(self.roots))

    @cached_property
    def decisions(self) -> Mapping[str, Decision]:
        """The open decisions by key, in the order of the graph."""
        found: dict[str, Decision] = {}
        for node in everything(self.roots):
            if node.op is CHOICE or node.op is MAYBE:
                found.setdefault(node.decision.key, node.decision)
            elif node.op is LEVELS:
                for decision in (node.decision, *node["outer"].decisions):
                    found.setdefault(decision.key, decision)
            elif not node.settled:
                for value in _leaves(node.attrs):
                    found.update({k: d for k, d in decisions_in(value).items() if k not in found})
        for requirement in self.requires:
            for side in (requirement.left, requirement.right):
                found.update({k: d for k, d in decisions_in(side).items() if k not in found})
        return found

    @property
    def settled(self) -> bool:
        """Whether this is a network: a space without open decisions."""
        return not self.decisions

    @cached_property
    def digest(self) -> str:
        """12 hexadecimal digits that name the canonical form."""
        from .canonical import digest_of

        return digest_of(self)


def _leaves(value: Any) -> Iterator[Expr]:
    if isinstance(value, Expr):
        yield value
    elif isinstance(value, tuple):
        for item in value:  # pyright: ignore[reportUnknownVariableType]
            yield from _leaves(item)


_graphs: WeakValueDictionary[tuple[Any, ...], Graph] = WeakValueDictionary()


def graph(
    name: str,
    inputs: Sequence[Node],
    outputs: Sequence[tuple[str, Node]],
    requires: Sequence[Requirement] = (),
) -> Graph:
    """The graph of these outputs; inputs whose values and sizes nothing needs are left out."""
    order = tuple(topological([node for _, node in outputs]))
    reached = {node for node in order if node.op is INPUT}
    kept = tuple([node for node in inputs if node in reached])
    if len(kept) < len(inputs) and (named := sizes_named(order)):
        kept = with_tellers(inputs, kept, named)
    if len(kept) < len(reached):
        missing = next(node for node in reached if node not in kept)
        raise ValueError(f"the input {missing['name']} is used but not declared")
    identity = (name, kept, tuple(outputs), tuple(requires))
    found = _graphs.get(identity)
    if found is None:
        found = _graphs[identity] = Graph(*identity)
        found.__dict__["order"] = order
    return found
