"""The fifth kind of decision: which nodes each level has, and which edges lead to them.

A setting is a levelled graph in its one order, told as whole numbers, so that two graphs that
differ only in the numbering of their nodes are one setting. What holds for each:

* a level's width is shared out among its nodes in powers of two, none below the level's least;
* an edge leads from a node of one of the levels that a level takes to a node of that level;
* a node takes at least one node, unless its level takes none (a stem), and a node that nothing
  outside reads is taken by at least one: so all of them reach an output;
* a node has settings of exactly those of its own decisions that are reached.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from random import Random
from typing import ClassVar, NamedTuple

from ..decisions import Decision, Setting
from .arranging import arranged
from .attributes import Attributes
from .graph import Edge, LevelGraph, LevelNode


@dataclass(frozen=True, slots=True)
class Level:
    """A level: its number, the width that its nodes share out, the least share, the numbers of the
    lower levels that it takes (none: a stem), what a genotype calls these edges, whether it is read
    from outside, and the decisions of each node.
    """

    number: int
    width: int
    least: int
    takes: tuple[int, ...]
    edges: str
    read: bool
    attributes: Attributes

    @property
    def shares(self) -> tuple[int, ...]:
        """The widths that a node may have, the widest first."""
        found = [self.width]
        while found[-1] % 2 == 0 and found[-1] // 2 >= self.least:
            found.append(found[-1] // 2)
        return tuple(found)

    @property
    def text(self) -> str:
        """As in the language, without its template."""
        parts = [f"level {self.number} width {self.width} least {self.least}"]
        if self.takes:
            parts.append(f"{self.edges} {', '.join(map(str, self.takes))}")
        parts += [
            f"{d.key} {d.keyword} {d.slots} {{{', '.join(d.labels)}}}"
            for d in self.attributes.decisions
        ]
        return "; ".join([*parts, "read"] if self.read else parts)


class Flaw(NamedTuple):
    """What is wrong with a graph, at which node (None: with a whole level), and what to do."""

    node: int | None
    level: int
    words: str
    help: str


@dataclass(frozen=True, slots=True)
class Levels(Decision):
    """`levels v { level 0 width 128 { … } … }`."""

    levels: tuple[Level, ...]

    keyword: ClassVar[str] = "levels"

    @classmethod
    def of(cls, key: str, levels: Sequence[Level]) -> Levels:
        """The decision with the levels' own texts for labels."""
        return cls(key, tuple([level.text for level in levels]), tuple(levels))

    # ── what a setting stands for ────────────────────────────────────────────────────────────────

    def level(self, number: int) -> Level:
        """The level of this number. Raises KeyError."""
        for level in self.levels:
            if level.number == number:
                return level
        raise KeyError(number)

    def graph_of(self, setting: Setting) -> LevelGraph:
        """The graph that a setting tells. Raises ValueError where it tells none."""
        numbers = iter(setting)

        def take() -> int:
            found = next(numbers, None)
            if found is None or found < 0:
                raise ValueError("the setting ends too early")
            return found

        nodes: list[LevelNode] = []
        for _ in range(take()):
            place = take()
            if place >= len(self.levels):
                raise ValueError(f"there is no level {place}")
            level, width = self.levels[place], take()
            inputs = tuple([take() for _ in range(take())])
            attributes: list[tuple[str, Setting]] = []
            for _ in range(take()):
                index = take()
                if index >= len(level.attributes.decisions):
                    raise ValueError(f"level {level.number} has no decision {index}")
                decision = level.attributes.decisions[index]
                attributes.append((decision.key, tuple([take() for _ in range(take())])))
            nodes.append(LevelNode(level.number, width, inputs, tuple(attributes)))
        if next(numbers, None) is not None:
            raise ValueError("the setting goes on after its last node")
        return LevelGraph(tuple(nodes))

    def setting_of(self, graph: LevelGraph) -> Setting:
        """The setting that tells this graph, however its nodes are numbered.

        Raises ValueError where it is none of this decision's.
        """
        for flaw in self.flaws(graph.nodes):
            raise ValueError(flaw.words)
        return self.told(arranged(graph.nodes)[0])

    def told(self, graph: LevelGraph) -> Setting:
        """The setting of a graph that is valid and in its one order already."""
        place = {level.number: place for place, level in enumerate(self.levels)}
        found = [len(graph.nodes)]
        for node in graph.nodes:
            at = place[node.level]
            index = {d.key: i for i, d in enumerate(self.levels[at].attributes.decisions)}
            found += [at, node.width, len(node.inputs), *node.inputs, len(node.attributes)]
            for name, setting in node.attributes:
                found += [index[name], len(setting), *setting]
        return tuple(found)

    def flaws(self, nodes: Sequence[LevelNode]) -> Iterator[Flaw]:
        """What keeps these nodes, which may stand in any order, from being a graph of this."""
        levels = {level.number: level for level in self.levels}
        shares = {level.number: level.shares for level in self.levels}
        widths = dict.fromkeys(levels, 0)
        taken: set[int] = set()
        for at, node in enumerate(nodes):
            level = levels.get(node.level)
            if level is None:
                have = ", ".join(map(str, levels))
                yield Flaw(at, node.level, f"there is no level {node.level}", f"there are {have}")
                continue
            widths[node.level] += node.width
            if node.width not in shares[node.level]:
                yield Flaw(
                    at, node.level, f"{node.width} is no share of level {node.level}'s width",
                    f"shares are {', '.join(map(str, level.shares))}",
                )  # fmt: skip
            wrong = [i for i in node.inputs if not 0 <= i < len(nodes)]
            wrong = wrong or [i for i in node.inputs if nodes[i].level not in level.takes]
            if wrong or len(set(node.inputs)) < len(node.inputs):
                yield Flaw(
                    at, node.level, "an edge leads from where none can, or twice",
                    f"level {node.level} takes nodes of {_numbers(level.takes)}, each once",
                )  # fmt: skip
            if level.takes and not node.inputs:
                yield Flaw(
                    at, node.level, "the node takes no other",
                    f"let it take one of {_numbers(level.takes)}",
                )  # fmt: skip
            taken.update(node.inputs)
            if not level.attributes.admits(node.attributes):
                yield Flaw(
                    at, node.level, "the node's own decisions are not those that are reached",
                    f"settle {', '.join(d.key for d in level.attributes.decisions) or 'none'}",
                )  # fmt: skip
        for at, node in enumerate(nodes):
            if node.level in levels and not levels[node.level].read and at not in taken:
                yield Flaw(
                    at, node.level, "nothing takes this node",
                    "let a node of a higher level take it, or remove it and widen its neighbours",
                )  # fmt: skip
        for level in self.levels:
            have = widths[level.number]
            if have != level.width:
                yield Flaw(
                    None, level.number,
                    f"the nodes of level {level.number} have {have} of its width of {level.width}",
                    "a level's width is shared out among its nodes, to the last channel",
                )  # fmt: skip

    def label(self, graph: LevelGraph, place: int) -> str:
        """`v[2][1]`: the key of a node in the network."""
        return self.key + graph.labels[place]

    def possible_edges(self, graph: LevelGraph) -> list[Edge]:
        """E*: all edges that there could be between these nodes (section 3.2)."""
        takes = {level.number: level.takes for level in self.levels}
        nodes = graph.nodes
        return [
            (i, j)
            for j, node in enumerate(nodes)
            for i in range(len(nodes))
            if nodes[i].level in takes[node.level]
        ]

    # ── as every decision ────────────────────────────────────────────────────────────────────────

    @property
    def slots(self) -> int:
        """One for each level."""
        return len(self.levels)

    def count(self) -> int:
        """The number of graphs up to the numbering of nodes; see `bounds` for when it is a bound.

        An upper one then.
        """
        return self.bounds()[1]

    def bounds(self) -> tuple[int, int]:
        """Two numbers between which `count` lies: the same one where it is exact."""
        return _bounds(self)

    def settings(self) -> Iterator[Setting]:
        """All graphs, small ones first. Only for spaces with few of them."""
        from .listing import listed

        return (self.told(graph) for graph in listed(self))

    def sample(self, rng: Random) -> Setting:
        """One of the paper's initial graphs: see `sampling.initial`."""
        from .sampling import initial

        return self.told(initial(self, rng))

    def admits(self, setting: Setting) -> bool:
        """Whether it tells a valid graph in its one order."""
        try:
            return self.setting_of(self.graph_of(setting)) == setting
        except ValueError:
            return False

    def neighbours(self, setting: Setting) -> Iterator[Setting]:
        """Every split, merge, changed attribute, added edge and removed edge."""
        from .rewrites import steps

        seen = {setting}
        for rewrite in steps(self, self.graph_of(setting)):
            told = self.told(rewrite.graph)
            if told not in seen:
                seen.add(told)
                yield told

    def mutate(self, setting: Setting, rng: Random) -> Setting:
        """A split, a merge, a changed attribute or a random rewiring: see `rewrites`."""
        from .rewrites import mutated

        return self.told(mutated(self, self.graph_of(setting), rng).graph)

    def cross(self, first: Setting, second: Setting, rng: Random) -> Setting:
        """The lower levels of one and the higher levels of the other: see `rewrites.cross`."""
        from .rewrites import cross

        return self.told(cross(self, self.graph_of(first), self.graph_of(second), rng).graph)

    def encode(self, setting: Setting) -> tuple[float, ...]:
        """For each level how many nodes of each share it has, and the share of possible edges."""
        graph = self.graph_of(setting)
        found: list[float] = []
        for level in self.levels:
            nodes = [node for node in graph.nodes if node.level == level.number]
            found += [float(sum(n.width == share for n in nodes)) for share in level.shares]
        return (*found, len(graph.edges) / max(1, len(self.possible_edges(graph))))

    def format(self, setting: Setting) -> str:
        """A short text for tables; genotype files have a line a node (`dsl.level_genotypes`)."""
        graph = self.graph_of(setting)
        shown: list[str] = []
        for level in self.levels:
            widths = [str(n.width) for n in graph.nodes if n.level == level.number]
            shown.append("+".join(widths))
        return f"{{{' | '.join(shown)}; {len(graph.edges)} edges}}"

    def parse(self, labels: Sequence[str]) -> Setting:
        """A genotype has no labels for it: raises ValueError."""
        raise ValueError(f"`{self.key}` is settled by its nodes, not by labels")


def _numbers(levels: Sequence[int]) -> str:
    if not levels:
        return "no level"
    return ("levels " if len(levels) > 1 else "level ") + ", ".join(map(str, levels))


@lru_cache(maxsize=100)
def _bounds(levels: Levels) -> tuple[int, int]:
    from .counting import counted

    return counted(levels)
