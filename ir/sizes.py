"""Named sizes: which a computation needs to know, and which an input tells."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from weakref import WeakKeyDictionary

from .dims import Expr, Symbol
from .node import Node, topological
from .ops import CELL, FORMAL, INPUT
from .types import Type

_inside: WeakKeyDictionary[Node, frozenset[str]] = WeakKeyDictionary()


def sizes_named(order: Iterable[Node]) -> frozenset[str]:
    """The named sizes in attributes, composites included: what must be known when these run."""
    found: set[str] = set()
    for node in order:
        if node.op is CELL:
            inside = _inside.get(node)
            if inside is None:
                inside = _inside[node] = sizes_named(topological([node["body"]]))
            found |= inside
        elif node.kernel.symbols and node.op is not INPUT and node.op is not FORMAL:
            found.update(node.kernel.symbols)
    return frozenset(found)


def sizes_told(type: Type) -> set[str]:
    """The named sizes that a tensor of this type shows: `4*T + 1` shows `T`, `N*T` shows none."""
    found: set[str] = set()
    for size in type.shape:
        if isinstance(size, Expr):
            terms = [term for term in size.terms if term[0]]
            if len(terms) == 1 and len(terms[0][0]) == 1:
                found.update([a.name for a in terms[0][0] if isinstance(a, Symbol)])
    return found


def with_tellers(
    inputs: Sequence[Node], reached: Sequence[Node], named: frozenset[str]
) -> tuple[Node, ...]:
    """The inputs that are reached, and those of which a size is: zeros as long as `x` need `x`."""
    untold = set(named).difference(*[sizes_told(node.type) for node in reached])
    tellers: set[Node] = set()
    for node in inputs:
        told = untold & sizes_told(node.type)
        if told:
            tellers.add(node)
            untold -= told
    return tuple([node for node in inputs if node in reached or node in tellers])
