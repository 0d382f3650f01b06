"""The one order of nodes that all numberings of a levelled graph have in common.

Colours are refined from both sides until they are stable. Where nodes are still alike, edges
between two classes that are all there tell nothing; what the others hold together are parts, which
are put in order one by one, and equal ones may stand in any order. In a part each of the alike
nodes is set apart in turn, and the least outcome wins; nodes that a symmetry of the graph maps to
one that was tried are left out, symmetries being seen in equal outcomes. Nodes with the very same
neighbours may stand in any order and are never tried.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from .graph import LevelGraph, LevelNode

MOST_WORK = 500_000
"""Neighbours that are looked at once some nodes are set apart, in a second or two. Only graphs made
for it, such as projective planes, need more.
"""
MOST_APART = 200
"""Nodes that are set apart one after the other."""

_Neighbours = Mapping[int, tuple[int, ...]]
_Colours = Mapping[int, int]


def arranged(nodes: Sequence[LevelNode]) -> tuple[LevelGraph, tuple[int, ...]]:
    """The graph of these nodes in its one order, and which of `nodes` each of its nodes was.

    Inputs are places in `nodes`, which may stand in any order. Raises ValueError where that takes
    too long.
    """
    order = _Arrangement(nodes).order()
    place = {old: new for new, old in enumerate(order)}
    moved = [
        LevelNode(
            nodes[old].level,
            nodes[old].width,
            tuple(sorted([place[i] for i in nodes[old].inputs])),
            nodes[old].attributes,
        )
        for old in order
    ]
    return LevelGraph(tuple(moved)), tuple(order)


class _Part:
    """Nodes with the edges among them of which colours do not tell whether they are there."""

    def __init__(self, nodes: list[int], ins: _Neighbours, outs: _Neighbours) -> None:
        self.nodes = nodes
        self.ins = ins
        self.outs = outs

    def refined(self, colours: _Colours) -> _Colours:
        """The coarsest stable colours that are finer than these."""
        classes = len(set(colours.values()))
        while classes < len(self.nodes):
            marks = [
                (
                    colours[node],
                    sorted([colours[i] for i in self.ins[node]]),
                    sorted([colours[i] for i in self.outs[node]]),
                )
                for node in self.nodes
            ]
            colours = dict(zip(self.nodes, _ranks(marks), strict=True))
            finer = len(set(colours.values()))
            if finer == classes:
                break
            classes = finer
        return colours

    def tied(self, colours: _Colours) -> list[int]:
        """Of the first class of alike nodes one for each set of neighbours; none: all are told."""
        classes: dict[int, list[int]] = {}
        for node in self.nodes:
            classes.setdefault(colours[node], []).append(node)
        if len(classes) == len(self.nodes):
            return []
        for colour in sorted(classes):
            if len(classes[colour]) > 1:
                apart = {(self.ins[p], self.outs[p]): p for p in reversed(classes[colour])}
                if len(apart) > 1:
                    return sorted(apart.values())
        return []

    def split(self, colours: _Colours) -> list[_Part]:
        """The parts that these colours, which are stable, leave."""
        sizes: dict[int, int] = {}
        for node in self.nodes:
            sizes[colours[node]] = sizes.get(colours[node], 0) + 1
        ins: dict[int, tuple[int, ...]] = {}
        outs: dict[int, list[int]] = {node: [] for node in self.nodes}
        for node in self.nodes:
            shared: dict[int, int] = {}
            for i in self.ins[node]:
                shared[colours[i]] = shared.get(colours[i], 0) + 1
            open = [i for i in self.ins[node] if shared[colours[i]] < sizes[colours[i]]]
            ins[node] = tuple(open)
            for i in open:
                outs[i].append(node)
        found: list[_Part] = []
        seen: set[int] = set()
        for start in self.nodes:
            if start in seen:
                continue
            seen.add(start)
            together = [start]
            for node in together:
                new = [i for i in (*ins[node], *outs[node]) if i not in seen]
                seen.update(new)
                together += dict.fromkeys(new)
            found.append(
                _Part(
                    together,
                    {node: ins[node] for node in together},
                    {node: tuple(outs[node]) for node in together},
                )
            )
        return found

    def text(self, order: Sequence[int], colours: _Colours) -> list[Any]:
        """What two parts in order have in common if and only if they are equal."""
        place = {node: new for new, node in enumerate(order)}
        return [(colours[n], sorted([place[i] for i in self.ins[n]])) for n in order]

    @property
    def size(self) -> int:
        """How many neighbours one round of refinement looks at."""
        return len(self.nodes) + 2 * sum(map(len, self.ins.values()))


class _Arrangement:
    def __init__(self, nodes: Sequence[LevelNode]) -> None:
        every = list(range(len(nodes)))
        outs: list[list[int]] = [[] for _ in nodes]
        for place, node in enumerate(nodes):
            for i in node.inputs:
                outs[i].append(place)
        self.whole = _Part(
            every,
            {place: tuple(sorted(nodes[place].inputs)) for place in every},
            {place: tuple(outs[place]) for place in every},
        )
        marks = [(node.level, -node.width, node.attributes) for node in nodes]
        self.colours = dict(zip(every, _ranks(marks), strict=True))
        self.symmetries: list[dict[int, int]] = []
        self.work = 0

    def order(self) -> list[int]:
        """The order whose description is the least."""
        return self._ordered(self.whole, self.colours, [])

    def _ordered(self, part: _Part, colours: _Colours, apart: list[int]) -> list[int]:
        """The nodes of the part, where the nodes `apart` were set apart before."""
        fine = part.refined(colours)
        if not part.tied(fine):
            return sorted(part.nodes, key=fine.__getitem__)
        parts = part.split(fine)
        if len(parts) == 1:
            return self._least(parts[0], fine, apart)
        done = [(p, self._ordered(p, fine, apart) if len(p.nodes) > 1 else p.nodes) for p in parts]
        ranked = sorted([(p.text(order, fine), order) for p, order in done])
        keys = {
            node: (fine[node], rank, place)
            for rank, (_, order) in enumerate(ranked)
            for place, node in enumerate(order)
        }
        return sorted(part.nodes, key=keys.__getitem__)

    def _least(self, part: _Part, colours: _Colours, apart: list[int]) -> list[int]:
        """The least of the orders in which one node after the other is set apart."""
        best: tuple[list[Any], list[int]] | None = None
        tried: list[int] = []
        for node in part.tied(colours):
            if tried and self._image_of_tried(node, tried, apart):
                continue
            self.work += part.size
            if self.work > MOST_WORK or len(apart) >= MOST_APART:
                raise ValueError("the graph has too many nodes that are alike")
            tried.append(node)
            finer = {n: 2 * colour - (n == node) for n, colour in colours.items() if n in part.ins}
            order = self._ordered(part, finer, [*apart, node])
            text = part.text(order, colours)
            if best is None or text < best[0]:
                best = (text, order)
            elif text == best[0]:
                self.symmetries.append(dict(zip(best[1], order, strict=True)))
        assert best is not None
        return best[1]

    def _image_of_tried(self, node: int, tried: list[int], apart: list[int]) -> bool:
        """Whether symmetries that leave `apart` in place map a tried node to this one."""
        reached = {*tried}
        usable = [s for s in self.symmetries if all(s.get(a, a) == a for a in apart)]
        pending = list(tried)
        while pending:
            one = pending.pop()
            for symmetry in usable:
                image = symmetry.get(one, one)
                if image not in reached:
                    reached.add(image)
                    pending.append(image)
        return node in reached


def _ranks(marks: Sequence[Any]) -> list[int]:
    """For each mark the number of different ones below it."""
    ranks = [0] * len(marks)
    rank = -1
    previous: Any = None
    for place in sorted(range(len(marks)), key=marks.__getitem__):
        if rank < 0 or marks[place] != previous:
            rank += 1
            previous = marks[place]
        ranks[place] = rank
    return ranks
