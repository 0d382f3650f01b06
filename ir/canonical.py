"""The canonical form: a network printed with numbers for names, and its digest.

Equal only for networks that compute the same function of their weights, whatever these are called;
dead branches and the order of commutative inputs are gone, composites are expanded. Where two
inputs of a commutative op look alike from below, what uses them tells them apart: colours are
refined from both sides, and what is still alike is numbered each way, the smallest text winning.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence, Set
from hashlib import blake2b

from .cells import expand
from .graph import Graph
from .graph import graph as make_graph
from .node import Node

DIGITS = 12


def digest_of(graph: Graph) -> str:
    """12 hexadecimal digits of the canonical form."""
    return blake2b(canonical(graph).encode(), digest_size=32).hexdigest()[:DIGITS]


def canonical(graph: Graph) -> str:
    """One line a node: its op, its attributes, the number of its weights, those of its inputs."""
    flat = expand(graph)
    if len(flat.outputs) > 1:  # outputs have names, so their order says nothing
        flat = make_graph(flat.name, flat.inputs, sorted(flat.outputs, key=_name), flat.requires)
    requires = sorted([r.text for r in flat.requires])
    if any(node.op.commutative and _alike(node) for node in flat.order):
        return "\n".join([*_smallest(flat), *requires])
    return "\n".join([*_numbered(flat, flat.order, _in_order), *requires])


def _name(output: tuple[str, Node]) -> str:
    return output[0]


def _in_order(node: Node) -> Sequence[Node]:
    return node.inputs


def _alike(node: Node) -> bool:
    """Whether two different inputs of a commutative op have one form."""
    forms = {i: i.form for i in node.inputs}
    return len(set(forms.values())) < len(forms)


def _numbered(
    graph: Graph, order: Sequence[Node], inputs_of: Callable[[Node], Sequence[Node]]
) -> list[str]:
    """A line a node; `order` is the depth-first order that `inputs_of` gives."""
    number: dict[Node, str] = {}
    owner: dict[str, int] = {"": 0}
    names: dict[str, str] = {}
    lines: list[str] = []
    for node in order:
        kernel = node.kernel
        renamed = kernel.symbols
        if renamed:
            renamed = tuple([names.setdefault(name, f"d{len(names)}") for name in renamed])
        tie = owner.setdefault(node.key, len(owner))
        below = " ".join([number[i] for i in inputs_of(node)])
        number[node] = str(len(lines))
        lines.append(f"{kernel.text(renamed)}#{tie} {below}")
    lines += [f"{name}={number[node]}" for name, node in graph.outputs]
    return lines


def _depth_first(graph: Graph, inputs_of: Callable[[Node], Sequence[Node]]) -> list[Node]:
    done: set[Node] = set()
    order: list[Node] = []
    stack: list[Node] = [node for _, node in reversed(graph.outputs)]
    while stack:
        node = stack[-1]
        waiting = [i for i in reversed(inputs_of(node)) if i not in done]
        if node in done or not waiting:
            stack.pop()
            if node not in done:
                done.add(node)
                order.append(node)
        else:
            stack.extend(waiting)
    return order


# ── telling alike inputs apart ───────────────────────────────────────────────────────────────────

_Colours = Mapping[Node, bytes]


def _hash(*parts: bytes) -> bytes:
    return blake2b(b"|".join(parts), digest_size=12).digest()


def _refined(graph: Graph, colours: _Colours) -> dict[Node, bytes]:
    """Colours made finer by those of inputs, users and owners of the same weights, until stable."""
    users: dict[Node, list[tuple[Node, int]]] = {node: [] for node in graph.order}
    peers: dict[str, list[Node]] = {}
    for node in graph.order:
        for place, i in enumerate(node.inputs):
            users[i].append((node, 0 if node.op.commutative else place))
        if node.key:
            peers.setdefault(node.key, []).append(node)
    tied = [nodes for nodes in peers.values() if len(nodes) > 1]
    current = dict(colours)
    classes = len(set(current.values()))
    while True:
        # Each sweep goes through the whole graph, so few are needed however deep it is.
        for nodes in tied:
            mark = _hash(b"t", *sorted(current[node] for node in nodes))
            for node in nodes:
                current[node] = _hash(current[node], mark)
        for node in graph.order:
            below = [current[i] for i in node.inputs]
            if node.op.commutative:
                below.sort()
            current[node] = _hash(current[node], b"b", *below)
        for node in reversed(graph.order):
            above = sorted(current[user] + b"%d" % place for user, place in users[node])
            current[node] = _hash(current[node], b"a", *above)
        refined = len(set(current.values()))
        if refined == classes:
            return current
        classes = refined


def _apart(graph: Graph, colours: dict[Node, bytes]) -> dict[Node, bytes]:
    """Numbers for parts of the graph that are images of each other and meet only at their ends.

    Such are the branches of a sum that differ in nothing: they may be exchanged freely, so any
    numbers will do, and no time is lost on trying each. The parts are the connected ones of what
    has its colour in common with other nodes. Colours are stable, so parts of the same colours
    are alike, node by node, where no part has a colour twice.
    """
    often = Counter(colours.values())
    alike = {node for node in graph.order if often[colours[node]] > 1}
    parts = _parts([node for node in graph.order if node in alike], alike)
    mixed: set[bytes] = set()
    for part in parts:
        found = [colours[node] for node in part]
        if len(set(found)) < len(found):
            mixed.update(found)
    numbers: Counter[bytes] = Counter()
    for part in parts:
        first = min([colours[node] for node in part])
        if first not in mixed:
            numbers[first] += 1
            for node in part:
                colours[node] = _hash(colours[node], b"part", b"%d" % numbers[first])
    return colours


def _parts(order: Sequence[Node], alike: Set[Node]) -> list[list[Node]]:
    """The connected parts of these nodes: by inputs, and by weights in common."""
    together: dict[Node | str, list[Node | str]] = {}
    for node in order:
        for other in (*[i for i in node.inputs if i in alike], *([node.key] if node.key else [])):
            together.setdefault(node, []).append(other)
            together.setdefault(other, []).append(node)
    seen: set[Node | str] = set()
    parts: list[list[Node]] = []
    for start in order:
        part: list[Node] = []
        stack: list[Node | str] = [start]
        while stack:
            one = stack.pop()
            if one not in seen:
                seen.add(one)
                stack += together.get(one, [])
                if not isinstance(one, str):
                    part.append(one)
        if part:
            parts.append(part)
    return parts


class _Orbits:
    """Nodes that symmetries found so far map to each other (union-find)."""

    def __init__(self) -> None:
        self._up: dict[Node, Node] = {}

    def of(self, node: Node) -> Node:
        while (up := self._up.get(node)) is not None:
            node = up
        return node

    def join(self, first: Node, second: Node) -> None:
        a, b = self.of(first), self.of(second)
        if a is not b:
            self._up[b] = a


def _smallest(graph: Graph) -> list[str]:
    """Set one of a class of alike nodes apart, refine, and go on; the smallest outcome wins.

    Exact where nodes of one colour are images of each other under a symmetry of the graph, as in
    every graph without strongly regular parts; the first level tries each node of the class, save
    those that a symmetry, seen in two equal outcomes, maps to one that was tried.
    """
    start: dict[Node, bytes] = {node: node.form for node in graph.order}
    for name, node in graph.outputs:
        start[node] = _hash(start[node], b"o", name.encode())
    colours = _apart(graph, _refined(graph, start))
    orbits = _Orbits()
    tried: list[Node] = []
    outcomes: list[tuple[list[str], list[Node]]] = []
    candidates: Sequence[Node | None] = _first_tied(graph, colours) or [None]
    for node in candidates:
        if node is not None and orbits.of(node) in [orbits.of(other) for other in tried]:
            continue
        lines, order = _in_colours(graph, _told_apart(graph, colours, node))
        same = next((known for text, known in outcomes if text == lines), None)
        if same is None:
            outcomes.append((lines, order))
        else:
            for one, other in zip(same, order, strict=True):
                orbits.join(one, other)
        if node is not None:
            tried.append(node)
    return min([lines for lines, _ in outcomes])


def _told_apart(graph: Graph, colours: dict[Node, bytes], first: Node | None) -> dict[Node, bytes]:
    """Colours that differ wherever it matters, with `first` the first to be set apart."""
    found = colours
    while first is not None:
        found = {**found, first: _hash(found[first], b"individual")}
        found = _apart(graph, _refined(graph, found))
        first = next(iter(_first_tied(graph, found) or ()), None)
    return found


def _in_colours(graph: Graph, colours: _Colours) -> tuple[list[str], list[Node]]:
    def inputs_of(node: Node) -> Sequence[Node]:
        return _coloured(node, colours)

    order = _depth_first(graph, inputs_of)
    return _numbered(graph, order, inputs_of), order


def _coloured(node: Node, colours: _Colours) -> Sequence[Node]:
    if not node.op.commutative:
        return node.inputs
    return sorted(node.inputs, key=lambda i: colours[i])


def _first_tied(graph: Graph, colours: _Colours) -> list[Node] | None:
    """The alike inputs of the commutative node with the least colour; None when all differ."""
    found: list[tuple[bytes, list[Node]]] = []
    for node in graph.order:
        if node.op.commutative:
            groups: dict[bytes, list[Node]] = {}
            for i in dict.fromkeys(node.inputs):
                groups.setdefault(colours[i], []).append(i)
            found += [(colour, nodes) for colour, nodes in groups.items() if len(nodes) > 1]
    return min(found, key=lambda group: group[0])[1] if found else None
