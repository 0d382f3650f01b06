"""`levels`: open levelled graphs, elaborated once for what is open and again for each graph.

How many nodes there are, and of which sizes, is itself decided, so what follows from them cannot be
one graph with choices in it. A space with `levels` is elaborated in two ways:

* *open*, when it is loaded: each level has one node that stands for any, and what is learned are
  the levels with their own decisions. Outputs become nodes that hold the program (`bundles`).
* *for a graph*: each level has the nodes of that graph, and the result is an ordinary space, whose
  decisions are those of the nodes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..diagnostics import Diagnostic, Span
from ..dims import decisions_in
from ..graph import graph
from ..levels import Level, LevelGraph, Levels
from ..levels.attributes import Attributes
from ..node import Node, formal
from ..reach import attributes
from . import syntax as s
from .context import Candidate, Elaboration, problem
from .expressions import Place, evaluate
from .kinds import tensor_of, whole_of
from .values import Family, LevelFamily, LevelMembers, Many, Scope

LEAST_SHARE = 8
"""A node has at least this part of its level's width, where the file does not say."""
MOST_NODES = 64
"""On one level."""


@dataclass(slots=True)
class Template:
    """The node that is being made: what it may take, and what was found out about it."""

    key: str
    chosen: frozenset[str] | None
    offering: bool = False
    edges: str = ""
    takes: tuple[int, ...] = ()
    at: Span | None = None


@dataclass(slots=True)
class OpenLevels:
    """The `levels` of a space while it is elaborated: for `shape`, or open where that is None."""

    tree: s.LevelsTree
    shape: LevelGraph | None
    template: Template | None = None
    levels: list[Level] = field(default_factory=list[Level])
    roots: list[Node] = field(default_factory=list[Node])
    numbers: dict[str, int] = field(default_factory=dict[str, int])
    read: set[int] = field(default_factory=set[int])

    @property
    def key(self) -> str:
        """The key of the decision."""
        return self.tree.name.id

    def decision(self) -> Levels:
        """The levels as a decision, once everything has been elaborated."""
        found = [
            Level(v.number, v.width, v.least, v.takes, v.edges, v.number in self.read, v.attributes)
            for v in self.levels
        ]
        return Levels.of(self.key, found)

    def owns(self, key: str) -> bool:
        """Whether this is the key of a decision of a node."""
        return key.startswith(f"{self.key}[")


# ── the statement ────────────────────────────────────────────────────────────────────────────────


def run_levels(world: Elaboration, tree: s.LevelsTree, scope: Scope) -> None:
    """Make the nodes of every level. Raises Problem (E202, E212, E214)."""
    name = tree.name
    if scope.kind != "space":
        raise problem(
            "E212", "only a space has `levels`, outside of loops", name,
            help="move it out; a node's template may call any cell",
        )  # fmt: skip
    if world.levels is not None:
        raise problem(
            "E202", "a space has one `levels`", name, "a second one",
            help="put all streams into the levels of one graph",
        )  # fmt: skip
    if name.id in scope.values:
        raise problem(
            "E202", f"`{name.id}` is defined twice", name, "again here",
            help="give one of them another name",
        )  # fmt: skip
    found = world.levels = OpenLevels(tree, world.shape)
    family = LevelFamily(name.id)
    scope.values[name.id] = family
    scope.spans[name.id] = name.span
    world.decision_spans[name.id] = name.span
    for level in tree.levels:
        _run_level(world, found, family, level, scope)


def _run_level(
    world: Elaboration, found: OpenLevels, family: LevelFamily, tree: s.LevelTree, scope: Scope
) -> None:
    number, width, least = _sizes(world, found, tree, scope)
    label = f"{found.key}[{number}]"
    members = LevelMembers(label)
    if found.shape is None:
        heads: list[tuple[int, int, frozenset[str] | None]] = [(1, width, None)]
    else:
        names = [f"{found.key}[{node.level}][{n}]" for n, node in found.shape.numbered()]
        heads = [
            (n, node.width, frozenset([names[i] for i in node.inputs]))
            for n, node in found.shape.numbered()
            if node.level == number
        ]
    for index, share, taken in heads:
        world.count_statement(tree.span)
        template = Template(f"{label}[{index}]", taken)
        made = _made(world, found, template, share, tree, scope)
        if found.shape is None:
            own = _own(world, found, template.key, made, tree)
            found.levels.append(
                Level(number, width, least, template.takes, template.edges, False, own)
            )
            found.roots.append(made)
            made = formal(template.key, made.type)
        members.members[index] = made
        found.numbers[template.key] = number
    family.members[number] = members


def _sizes(
    world: Elaboration, found: OpenLevels, tree: s.LevelTree, scope: Scope
) -> tuple[int, int, int]:
    place = Place(scope.prefix, False)
    number = whole_of(evaluate(world, tree.number, scope, place), tree.number)
    width = whole_of(evaluate(world, tree.width, scope, place), tree.width)
    if found.levels and number <= found.levels[-1].number:
        raise problem(
            "E214", f"level {number} comes after level {found.levels[-1].number}", tree.number,
            help="write the levels in ascending order: edges lead upwards",
        )  # fmt: skip
    if width < 1:
        raise problem(
            "E214", f"a level's width is 1 or more, not {width}", tree.width,
            help="write another width",
        )  # fmt: skip
    least = max(1, width // LEAST_SHARE)
    if tree.least is not None:
        least = whole_of(evaluate(world, tree.least, scope, place), tree.least)
        if not 1 <= least <= width:
            raise problem(
                "E214", f"the least share of {width} is from 1 to {width}, not {least}", tree.least,
                help="shares are the width halved again and again, none below the least one",
            )  # fmt: skip
    shares = Level(number, width, least, (), "", False, Attributes()).shares
    if width // shares[-1] > MOST_NODES:
        raise problem(
            "E501", f"level {number} may have {width // shares[-1]} nodes, over {MOST_NODES}",
            tree.least or tree.width, help=f"write a larger `least` than {least}",
        )  # fmt: skip
    return number, width, least


def _made(
    world: Elaboration,
    found: OpenLevels,
    template: Template,
    width: int,
    tree: s.LevelTree,
    scope: Scope,
) -> Node:
    inner = Scope("for", scope.file, scope, scope.prefix, template.key.removeprefix(found.key))
    inner.values["width"] = width
    found.template = template
    try:
        value = evaluate(world, tree.template, inner, Place(template.key, True))
    finally:
        found.template = None
    node = tensor_of(value, tree.template)
    world.note_span(node, tree.template.span)
    return node


def _own(
    world: Elaboration, found: OpenLevels, key: str, node: Node, tree: s.LevelTree
) -> Attributes:
    """The decisions of the node itself, by their names in it."""
    opened = [name for size in node.type.shape for name in decisions_in(size) if found.owns(name)]
    if opened:
        raise problem(
            "E214", f"the size of `{key}` depends on its own decision `{opened[0]}`", tree.template,
            f"this is {node.type.pretty}",
            help="let the node's decisions change what is inside it, and its width its size",
        )  # fmt: skip
    prefix = f"{key}."
    space = graph(key, world.inputs, [("node", node)])
    return attributes(space, lambda k: k.removeprefix(prefix) if k.startswith(prefix) else None)


# ── what templates and others see of it ──────────────────────────────────────────────────────────


def taken_inputs(
    world: Elaboration, tree: s.Decide, candidates: Sequence[Candidate]
) -> Many | None:
    """The nodes that `?from some of v[<l]` stands for; None where no such nodes are offered."""
    found = world.levels
    if found is None or found.template is None:
        return None
    template = found.template
    inside = [c for c in candidates if c.label in found.numbers]
    if not inside:
        return None
    if tree.take != "some" or len(inside) < len(candidates):
        raise problem(
            "E214",
            "a node takes some of the nodes of lower levels, and nothing else beside them",
            tree,
            help=f"write `?{tree.name.id} some of {found.key}[<n]`",
        )
    if template.edges:
        raise problem(
            "E214", f"a node takes its inputs once, and `?{template.edges}` took them", tree,
            "again here", help="give what was taken a name, or join it in a cell",
        )  # fmt: skip
    template.edges = tree.name.id
    template.takes = tuple(sorted({found.numbers[c.label] for c in inside}))
    chosen = [c for c in inside if template.chosen is None or c.label in template.chosen]
    return Many(tuple([(c.label, c.value) for c in chosen]))


def note_read(world: Elaboration, base: Family, found: Any, tree: s.Index) -> None:
    """Nodes or a level are read at this place: in a template to be offered, elsewhere for good.

    Raises Problem (E214) where that cannot be.
    """
    state = world.levels
    if state is None:
        return
    if not isinstance(found, Many):
        if isinstance(base, LevelMembers):
            raise problem(
                "E214", "the nodes of a level have no fixed numbers", tree,
                help=f"write `{base.label}[*]` for all of them",
            )  # fmt: skip
    elif state.template is None:
        state.read |= {state.numbers[label] for label, _ in found.items}
    elif not state.template.offering:
        raise problem(
            "E214", "a template takes nodes of lower levels by a decision", tree,
            help=f"write `?from some of {s.unparse(tree)}`",
        )  # fmt: skip


# ── what comes of it ─────────────────────────────────────────────────────────────────────────────


def unread(world: Elaboration) -> Iterator[Diagnostic]:
    """Levels whose nodes reach no output (E214)."""
    found = world.levels
    if found is None:
        return
    for place, level in enumerate(found.levels):
        above = found.levels[place + 1 :]
        if level.number not in found.read and not any(level.number in v.takes for v in above):
            yield Diagnostic(
                code="E214",
                message=f"nothing takes the nodes of level {level.number}",
                span=found.tree.levels[place].span,
                label="no higher level, and no output",
                help=f"let a higher level take them, or read `{found.key}[{level.number}][*]`",
            )
