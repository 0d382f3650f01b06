"""The one order of nodes that all numberings of a levelled graph have in common.

Colours are refined from both sides until they are stable. Where nodes are still alike, each of
them is set apart in turn, and the least outcome wins; nodes that a symmetry of the graph maps to
one that was tried are left out, symmetries being seen in equal outcomes. Nodes with the very same
neighbours may stand in any order and are never tried.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .graph import LevelGraph, LevelNode

MOST_OUTCOMES = 5_000
"""Orders that are compared; only graphs made for it, such as strongly regular ones, have more."""


def arranged(nodes: Sequence[LevelNode]) -> tuple[LevelGraph, tuple[int, ...]]:
    """The graph of these nodes in its one order, and which of `nodes` each of its nodes was.

    Inputs are places in `nodes`, which may stand in any order.
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


class _Arrangement:
    def __init__(self, nodes: Sequence[LevelNode]) -> None:
        self.nodes = nodes
        self.ins = [tuple(sorted(node.inputs)) for node in nodes]
        outs: list[list[int]] = [[] for _ in nodes]
        for place, inputs in enumerate(self.ins):
            for i in inputs:
                outs[i].append(place)
        self.outs = [tuple(found) for found in outs]
        self.best: tuple[Any, list[int]] | None = None
        self.symmetries: list[dict[int, int]] = []
        self.outcomes = 0

    def order(self) -> list[int]:
        """The order whose description is the least."""
        marks = [(node.level, -node.width, node.attributes) for node in self.nodes]
        self._search(_ranks(marks), [])
        assert self.best is not None
        return self.best[1]

    def _search(self, colours: list[int], apart: list[int]) -> None:
        colours = self._refined(colours)
        tied = self._tied(colours)
        if tied is None:
            self._outcome(colours)
            return
        tried: list[int] = []
        for node in tied:
            if tried and self._image_of_tried(node, tried, apart):
                continue
            tried.append(node)
            finer = [2 * colour for colour in colours]
            finer[node] -= 1
            self._search(finer, [*apart, node])
            if self.outcomes >= MOST_OUTCOMES:
                return

    def _refined(self, colours: list[int]) -> list[int]:
        classes = len(set(colours))
        while classes < len(colours):
            marks = [
                (
                    colours[place],
                    sorted([colours[i] for i in self.ins[place]]),
                    sorted([colours[i] for i in self.outs[place]]),
                )
                for place in range(len(colours))
            ]
            colours = _ranks(marks)
            finer = len(set(colours))
            if finer == classes:
                break
            classes = finer
        return colours

    def _tied(self, colours: list[int]) -> list[int] | None:
        """Of the first class of alike nodes one for each set of neighbours; None: all are told."""
        classes: dict[int, list[int]] = {}
        for place, colour in enumerate(colours):
            classes.setdefault(colour, []).append(place)
        if len(classes) == len(colours):
            return None
        for colour in sorted(classes):
            if len(classes[colour]) > 1:
                apart = {(self.ins[p], self.outs[p]): p for p in reversed(classes[colour])}
                if len(apart) > 1:
                    return sorted(apart.values())
        return None

    def _outcome(self, colours: list[int]) -> None:
        self.outcomes += 1
        order = sorted(range(len(colours)), key=colours.__getitem__)
        place = {old: new for new, old in enumerate(order)}
        text = [
            (n.level, -n.width, n.attributes, sorted([place[i] for i in n.inputs]))
            for n in [self.nodes[old] for old in order]
        ]
        if self.best is None or text < self.best[0]:
            self.best = (text, order)
        elif text == self.best[0]:
            self.symmetries.append(dict(zip(self.best[1], order, strict=True)))

    def _image_of_tried(self, node: int, tried: list[int], apart: list[int]) -> bool:
        """Whether symmetries that leave `apart` in place map a tried node to this one."""
        reached = {*tried}
        usable = [s for s in self.symmetries if all(s[a] == a for a in apart)]
        pending = list(tried)
        while pending:
            one = pending.pop()
            for symmetry in usable:
                if symmetry[one] not in reached:
                    reached.add(symmetry[one])
                    pending.append(symmetry[one])
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
