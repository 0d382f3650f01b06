"""Generated code reads like the file it came from: paragraphs with headings, and names."""

from __future__ import annotations

from dataclasses import dataclass

from ...ir.node import Node
from ..names import path_of
from .names import Namer
from .steps import Unfolded

Heading = tuple[str, str]
"""The key of a composite or of a scope, and the name of the composite; either may be empty."""


@dataclass(slots=True)
class Paragraph:
    """Consecutive nodes of one composite or scope. `dead` are the names it is the last to read."""

    heading: Heading
    nodes: list[Node]
    dead: list[str]

    @property
    def title(self) -> str:
        """`c[1].s[2]: attention`, of letters and signs that end no comment."""
        key, cell = self.heading
        shown = (
            "".join([f".{s}" if not s.isdigit() else f"[{s}]" for s in path_of(key)]) if key else ""
        )
        name = "".join([c if c.isascii() and c.isprintable() else "_" for c in cell])
        return ": ".join([text for text in (shown.removeprefix("."), name) if text])


def paragraphs(code: Unfolded, namer: Namer) -> tuple[list[Paragraph], dict[Node, str]]:
    """The nodes in paragraphs, and the variable that holds each.

    What is read in its own paragraph alone has a short name, used again in others: `linear`. The
    rest is named after its place: `h_1`, `c_1_attention`.
    """
    headings = _headings(code)
    found: list[Paragraph] = []
    at: dict[Node, int] = {}
    for node in code.order:
        if not found or headings[node] != found[-1].heading:
            found.append(Paragraph(headings[node], [], []))
        found[-1].nodes.append(node)
        at[node] = len(found) - 1
    last: dict[Node, int] = dict(at)
    for node in code.order:
        for i in node.inputs:
            if i in last:
                last[i] = max(last[i], at[node])
    names: dict[Node, str] = {}
    kept: set[Node] = set()
    for name, node in code.outputs:
        if node in at and node not in kept:
            kept.add(node)
            names[node] = namer.variable(name)
    leaving = [node for node in code.order if last[node] > at[node] and node not in kept]
    for node in leaving:
        names[node] = namer.variable(_long_name(node, code, found[at[node]]))
        found[last[node]].dead.append(names[node])
    for paragraph in found:
        local = Namer()
        for node in paragraph.nodes:
            if node not in names:
                short = local.variable(_short_name(node, paragraph.heading))
                while short in namer:
                    short = local.variable(short)
                names[node] = short
    if found:
        found[-1].dead.clear()
    return found, names


def _joined(*parts: str) -> str:
    return "_".join(["_".join(path_of(part)) for part in parts if part])


def _long_name(node: Node, code: Unfolded, paragraph: Paragraph) -> str:
    heading = paragraph.heading
    place = code.results.get(node)
    if place is not None:
        return _joined(place.key or place.cell)
    if node is paragraph.nodes[-1] and heading[0] and code.places[node] is None:
        return _joined(heading[0])
    return _joined(node.key) if node.key else _joined(heading[0] or heading[1], node.op.name)


def _short_name(node: Node, heading: Heading) -> str:
    if not node.key or node.key == heading[0]:
        return node.op.name
    rest = node.key.removeprefix(f"{heading[0]}.") if heading[0] else node.key
    return _joined(rest)


def _headings(code: Unfolded) -> dict[Node, Heading]:
    """Where each node belongs: its composite, else the scope that its key names.

    A node without either goes with its input where it has one, else with its first user.
    """
    found: dict[Node, Heading | None] = {}
    for node in code.order:
        place = code.places[node]
        if place is not None:
            found[node] = (place.key, place.cell)
        elif node.key:
            found[node] = (_scope(node), "")
        elif len(node.inputs) == 1:
            below = found.get(node.inputs[0])
            found[node] = below if below is not None and not below[1] else None
        else:
            found[node] = None
    for node in reversed(code.order):
        heading = found[node]
        if heading is not None and not heading[1]:
            for i in node.inputs:
                if i in found and found[i] is None:
                    found[i] = heading
    return {node: heading or ("", "") for node, heading in found.items()}


def _scope(node: Node) -> str:
    """`h[1]` for the key `h[1].linear` of a linear op, and for the key `h[1]`."""
    scope, _, name = node.key.rpartition(".")
    return scope if name.startswith(node.op.name) else node.key
