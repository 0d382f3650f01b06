"""The picture of `levels`: a row a level, as in Fig. 1 of AssembleNet (Ryoo et al. 2020).

Of a space each level is one box, with its width, the shares of a node, what it may take and what is
open in a node. Of a genotype each node is one box: blocks stay whole, however many ops they are.
A node that sees one family of inputs has its colour; where families meet there is none.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from ..compiler.specialise import specialise
from ..ir.decisions import Decision, OpenNumber, Setting
from ..ir.dsl import elaborated
from ..ir.dsl.level_genotypes import format_levels
from ..ir.graph import Graph
from ..ir.levels import Level, Levels
from ..ir.levels.witnesses import witnesses
from ..ir.node import Node, topological
from ..ir.ops import INPUT, LEVELS
from .labels import Run, kind_text, short_name, type_text
from .scene import Box, Legend, Link, Scene
from .text import clean

_MIXED = -1
"""The hue of what has several families of inputs, or none."""


def levels_of(graph: Graph) -> Levels | None:
    """The open levels of a space; None for other spaces and for networks."""
    return next((d for d in graph.decisions.values() if isinstance(d, Levels)), None)


def levelled_scene(
    space: Graph, taken: Mapping[str, Setting], weights: Mapping[str, float] | None = None
) -> Scene:
    """The scene of a space with `levels`, or of the genotype that `taken` settles all of.

    `weights` are what was learned of edges, by names such as `v[1][2] <- v[0][1]`.
    """
    levels = levels_of(space)
    assert levels is not None
    if levels.key in taken:
        return _Network(space, levels, taken, weights or {}).scene()
    return _space_scene(space, levels)


# ── a network ────────────────────────────────────────────────────────────────────────────────────


class _Network:
    """Inputs in the first row, nodes in the rows of their levels, outputs in the last."""

    def __init__(
        self,
        space: Graph,
        levels: Levels,
        taken: Mapping[str, Setting],
        weights: Mapping[str, float],
    ) -> None:
        self.levels, self.weights = levels, weights
        self.setting = taken[levels.key]
        self.graph = levels.graph_of(self.setting)
        self.network = specialise(space, taken)
        self.labels = [levels.label(self.graph, place) for place in range(len(self.graph.nodes))]
        self.flow = _Flow(self.network, levels, self.labels)

    def scene(self) -> Scene:
        """Boxes and links."""
        inputs = [node for node in self.network.inputs if node in self.flow.read]
        hues = _hues(inputs)
        boxes = [_input_box(node, hues[node]) for node in inputs]
        first = len(boxes)
        boxes += self._nodes(hues)
        links = [
            Link(place, first + at, tooltip=f"{clean(node['name'])} → {self.labels[at]}")
            for place, node in enumerate(inputs)
            for at in self.flow.readers(node)
        ]
        links += [self._edge(i, j, first) for i, j in self.graph.edges]
        outputs, ends = _outputs(self.network, self.flow, inputs, first, len(self.levels.levels))
        notes = _weights_note([link.weight for link in links if link.weight is not None])
        return Scene(
            (*boxes, *outputs),
            (*links, *ends),
            notes=notes,
            rows=_rows(self.levels),
            subtitle=self._subtitle(len(inputs)),
        )

    def _nodes(self, hues: Mapping[Node, int]) -> list[Box]:
        found: list[Box] = []
        row = {level.number: 1 + place for place, level in enumerate(self.levels.levels)}
        lines = list(format_levels(self.levels, self.setting))
        for at, node in enumerate(self.graph.nodes):
            attributes = self.levels.level(node.level).attributes
            told = [f"{node.width} wide"]
            told += [f"{k} {attributes.named(k).format(v)}" for k, v in node.attributes]
            colours = {hues[i] for i in self.flow.inputs[at]}
            colours |= {found[i].hue for i in node.inputs}
            found.append(
                Box(
                    "node",
                    ((Run(self.labels[at], "name"),),),
                    clean(" · ".join(told)),
                    clean(lines[at]),
                    hue=colours.pop() if len(colours) == 1 else _MIXED,
                    row=row[node.level],
                )
            )
        return found

    def _edge(self, i: int, j: int, first: int) -> Link:
        weight = self.weights.get(f"{self.labels[j]} <- {self.labels[i]}")
        told = "" if weight is None else f", learned weight {weight:.3f}"
        return Link(
            first + i, first + j, tooltip=f"{self.labels[i]} → {self.labels[j]}{told}",
            weight=weight,
        )  # fmt: skip

    def _subtitle(self, inputs: int) -> str:
        graph, possible = self.graph, len(self.levels.possible_edges(self.graph))
        return " · ".join(
            [
                "network",
                _number(inputs, "input"),
                f"{_number(len(graph.nodes), 'node')} at {_number(self.levels.slots, 'level')}",
                f"{len(graph.edges)} of {possible} possible edges",
                "nodes numbered anew",
            ]
        )


def _weights_note(weights: Sequence[float]) -> tuple[str, ...]:
    if not weights:
        return ()
    return (
        "the darker an edge, the larger its learned weight, from 0 (faint) to 1 (black): here "
        f"{min(weights):.2f} to {max(weights):.2f}",
    )


# ── a space ──────────────────────────────────────────────────────────────────────────────────────


def _space_scene(space: Graph, levels: Levels) -> Scene:
    """A box a level; a graph with one node on each tells which inputs its nodes may read."""
    path = next(witnesses(levels))
    root = next(root for root in space.roots if root.op is LEVELS)
    labels = [levels.label(path, place) for place in range(len(path.nodes))]
    opened = elaborated(root["program"], path)
    flow = _Flow(opened, levels, labels)
    inputs = [node for node in opened.inputs if node in flow.read]
    hues = _hues(inputs)
    boxes = [_input_box(node, hues[node]) for node in inputs]
    first = len(boxes)
    boxes += [_level_box(level, 1 + place) for place, level in enumerate(levels.levels)]
    links = [
        Link(place, first + at, candidate=len(flow.inputs[at]) > 1)
        for place, node in enumerate(inputs)
        for at in flow.readers(node)
    ]
    at = {level.number: first + place for place, level in enumerate(levels.levels)}
    links += [
        Link(at[number], at[level.number], candidate=True, tooltip=f"?{level.edges} some of it")
        for level in levels.levels
        for number in level.takes
    ]
    outputs, ends = _outputs(opened, flow, inputs, first, levels.slots)
    return Scene(
        (*boxes, *outputs),
        (*links, *ends),
        legend=_legend(space, levels),
        rows=_rows(levels),
        subtitle=" · ".join(
            ["space", _number(len(inputs), "input"), _number(levels.slots, "open level")]
        ),
    )


def _level_box(level: Level, row: int) -> Box:
    most = level.width // level.shares[-1]
    *wider, least = map(str, level.shares)
    shares = f"{', '.join(wider)} or {least}" if wider else least
    nodes = f"1 to {most} nodes" if most > 1 else "1 node"
    parts = [
        (Run(f"level {level.number}: {nodes}", "name"),),
        (Run(f"{shares} wide", "plain"),),
    ]
    parts += [(Run(f"?{_offer(decision)}", "open"),) for decision in level.attributes.decisions]
    taken = ", ".join(map(str, level.takes))
    caption = f"?{level.edges} some of level{'s' * (len(level.takes) > 1)} {taken}"
    return Box("level", tuple(parts), caption if taken else "", level.text, open=True, row=row)


def _offer(decision: Decision) -> str:
    shown = ", ".join(map(clean, decision.labels[:8])) + (", …" if len(decision.labels) > 8 else "")
    return f"{short_name(decision)} of {{{shown}}}"


def _legend(space: Graph, levels: Levels) -> tuple[Legend, ...]:
    """Decisions of nodes, how many levels have each, and those that are outside of the levels."""
    inside = [d for level in levels.levels for d in level.attributes.decisions]
    outside = [d for d in space.decisions.values() if d is not levels]
    groups: dict[str, dict[tuple[str, tuple[str, ...]], int]] = {}
    for decision, where in [(d, " at a level") for d in inside] + [(d, "") for d in outside]:
        kind = "a number" if isinstance(decision, OpenNumber) else kind_text(decision)
        sorts = groups.setdefault(short_name(decision), {})
        sort = (f"{kind}{where}", tuple(map(clean, decision.labels)))
        sorts[sort] = sorts.get(sort, 0) + 1
    return tuple(
        [
            Legend(name, tuple([(n, kind, labels) for (kind, labels), n in sorts.items()]))
            for name, sorts in groups.items()
        ]
    )


# ── what both have ───────────────────────────────────────────────────────────────────────────────


class _Flow:
    """Which inputs the nodes of a levelled graph read, and what the outputs read.

    A node of the graph are the ops whose keys begin with its label; what has no such key, as an
    `add`, is looked through.
    """

    def __init__(self, graph: Graph, levels: Levels, labels: Sequence[str]) -> None:
        self._owner = re.compile(re.escape(levels.key) + r"\[\d+\]\[\d+\](?=$|\.)")
        self._place = {label: at for at, label in enumerate(labels)}
        self.inputs: list[set[Node]] = [set() for _ in labels]
        for node in topological(graph.roots):
            at = self._at(node)
            if at is not None:
                self.inputs[at] |= {i for i in self.sources(node.inputs) if isinstance(i, Node)}
        self.ends = {name: self.sources([root]) for name, root in graph.outputs}
        self.read = set[Node]().union(*self.inputs)
        self.read |= {i for found in self.ends.values() for i in found if isinstance(i, Node)}

    def readers(self, node: Node) -> list[int]:
        """The nodes of the graph that read this input."""
        return [at for at, inputs in enumerate(self.inputs) if node in inputs]

    def sources(self, nodes: Sequence[Node]) -> set[Node | int]:
        """The inputs and the nodes of the graph, by place, that these values come of."""
        found: set[Node | int] = set()
        seen: set[Node] = set()
        pending = list(nodes)
        while pending:
            node = pending.pop()
            if node in seen:
                continue
            seen.add(node)
            at = self._at(node)
            if at is not None:
                found.add(at)
            elif node.op is INPUT:
                found.add(node)
            else:
                pending += node.inputs
        return found

    def _at(self, node: Node) -> int | None:
        match = self._owner.match(node.key)
        return self._place.get(match[0]) if match is not None else None


def _hues(inputs: Sequence[Node]) -> dict[Node, int]:
    families: dict[str, int] = {}
    return {
        node: families.setdefault(str(node["name"]).split("[", 1)[0], len(families))
        for node in inputs
    }


def _input_box(node: Node, hue: int) -> Box:
    text = type_text(node.type, {})
    name = clean(node["name"])
    return Box("input", ((Run(name, "name"),),), text, f"{name}: {text}", hue=hue, row=0)


def _outputs(
    graph: Graph, flow: _Flow, inputs: Sequence[Node], first: int, levels: int
) -> tuple[list[Box], list[Link]]:
    """A box for each output, and the links into it; nodes are counted from `first` on."""
    boxes: list[Box] = []
    links: list[Link] = []
    place = {node: at for at, node in enumerate(inputs)}
    nodes = first + len(flow.inputs)
    for name, root in graph.outputs:
        text = type_text(root.type, {})
        target = nodes + len(boxes)
        boxes.append(
            Box("output", ((Run(clean(name), "name"),),), text, f"{clean(name)}: {text}",
                row=levels + 1)
        )  # fmt: skip
        sources = [place[s] if isinstance(s, Node) else first + s for s in flow.ends[name]]
        links += [Link(source, target) for source in sorted(sources)]
    return boxes, links


def _rows(levels: Levels) -> tuple[str, ...]:
    """The words beside each row: none for inputs and outputs."""
    return ("", *[f"level {level.number} · width {level.width}" for level in levels.levels], "")


def _number(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"
