"""Composites: written in the language, whole in the graph until `expand` puts their bodies in."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from .graph import Graph, graph
from .node import Node, intern, topological
from .ops import CELL, FORMAL


def expand(space: Graph, keep: Callable[[Node], bool] | None = None) -> Graph:
    """The graph with every composite replaced by its body, inside out.

    Composites for which `keep` holds stay whole, so that a backend may take them so.
    Precondition: none. Postcondition: every composite left satisfies `keep`; the function that
    the graph computes, its keys and its decisions are the same.
    """
    if all(root.flat for root in space.roots):
        return space
    done = _expanded(list(space.roots), {}, keep)
    outputs = [(name, done[node]) for name, node in space.outputs]
    return graph(space.name, space.inputs, outputs, space.requires)


def _expanded(
    roots: list[Node], operands: Mapping[Node, Node], keep: Callable[[Node], bool] | None
) -> dict[Node, Node]:
    """Each node that the roots reach, expanded, with formals replaced by operands."""
    done: dict[Node, Node] = {}
    for node in topological(roots):
        if node.op is FORMAL:
            done[node] = operands.get(node, node)
        elif node.op is CELL and not (keep and keep(node)):
            actual = [done[i] for i in node.inputs]
            inner = dict(zip(node["formals"], actual, strict=True))
            body = node["body"]
            done[node] = _expanded([body], inner, keep)[body]
        elif node.flat and not operands:
            done[node] = node
        else:
            inputs = tuple([done[i] for i in node.inputs])
            same = inputs == node.inputs
            done[node] = node if same else intern(node.op, inputs, node.attrs, node.key)
    return done
