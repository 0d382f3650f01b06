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
from dataclasses import dataclass, field, replace

from ..diagnostics import Diagnostic, Edit, FusegraphError, Label, Span
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
WIDTH = "width"
"""What templates and genotypes call a node's share."""


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
            "E212", "`levels` is a statement of a space, outside of loops and cells", name,
            help="move it to the space itself; what a node does may be a call of a cell",
        )  # fmt: skip
    if world.levels is not None:
        raise problem(
            "E202", "a space has one `levels`", name, "a second one",
            causes=(Label(world.levels.tree.name.span, "the first one"),),
            help="put all streams into the levels of one graph",
        )  # fmt: skip
    if name.id in scope.values:
        raise problem(
            "E202", f"`{name.id}` is defined twice", name, "again here",
            causes=(Label(scope.spans[name.id], "first here"),) if name.id in scope.spans else (),
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
            own = _own(world, found, template, made, tree)
            level = Level(number, width, least, template.takes, template.edges, False, own)
            _check_share_used(level, tree)
            found.levels.append(level)
            found.roots.append(made)
            made = formal(template.key, made.type)
        members.members[index] = made
        found.numbers[template.key] = number
    family.members[number] = members


def _check_share_used(level: Level, tree: s.LevelTree) -> None:
    """A template whose nodes may have different widths says what they are for."""
    pending: list[s.Tree] = [tree.template]
    while pending:
        part = pending.pop()
        if isinstance(part, s.Name) and part.id == "width":
            return
        pending += part.parts()
    if len(level.shares) > 1:
        raise problem(
            "E214",
            f"the nodes of level {level.number} do not use their `width`",
            tree.template,
            f"this is the same for shares of {_listed([str(share) for share in level.shares])}",
            help="write `width` for the node's share, such as `out=width`, or "
            f"`least {level.width}` where the level has one node",
        )


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
            "E214", f"the width of level {number} is {width}, and a width is 1 or more", tree.width,
            help="write how many channels the nodes of the level have together",
        )  # fmt: skip
    least = max(1, width // LEAST_SHARE)
    if tree.least is not None:
        least = whole_of(evaluate(world, tree.least, scope, place), tree.least)
        if not 1 <= least <= width:
            raise problem(
                "E214", f"the least share of level {number} is {least}, of a width of {width}",
                tree.least, help=f"write a number from 1 to {width}: a node has the whole width, "
                "or half of it, or a quarter, …, and never below `least`",
            )  # fmt: skip
    shares = Level(number, width, least, (), "", False, Attributes()).shares
    if width // shares[-1] > MOST_NODES:
        raise problem(
            "E501", f"level {number} may have {width // shares[-1]} nodes, over {MOST_NODES}",
            tree.least or tree.width,
            help=f"write `least {-(-width // MOST_NODES)}` or more: no node is narrower",
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
    inner.values[WIDTH] = width
    found.template = template
    try:
        value = evaluate(world, tree.template, inner, Place(template.key, True))
    finally:
        found.template = None
    node = tensor_of(value, tree.template)
    world.note_span(node, tree.template.span)
    return node


def _own(
    world: Elaboration, found: OpenLevels, template: Template, node: Node, tree: s.LevelTree
) -> Attributes:
    """The decisions of the node itself, by their names in it, which a genotype can tell apart from
    the node's width and edges.
    """
    key, edges = template.key, template.edges
    opened = [name for size in node.type.shape for name in decisions_in(size) if found.owns(name)]
    if opened:
        raise problem(
            "E214", f"the size of `{key}` depends on its own decision `{opened[0]}`", tree.template,
            f"this is {node.type.pretty}",
            help="let `width` alone set the size of a node; decisions may change what is inside",
        )  # fmt: skip
    prefix = f"{key}."
    space = graph(key, world.inputs, [("node", node)])
    own = attributes(space, lambda k: k.removeprefix(prefix) if k.startswith(prefix) else None)
    taken = {WIDTH: "the width of the node", edges: "the nodes that it takes"}
    for decision in own.decisions:
        if decision.key in taken:
            raise problem(
                "E214",
                f"`{decision.key}` is a decision of `{key}`, and what a genotype calls "
                f"{taken[decision.key]}",
                world.decision_spans.get(prefix + decision.key, tree.template.span),
                help=f"give the decision another name than `{decision.key}`",
            )  # fmt: skip
    return own


# ── what templates and others see of it ──────────────────────────────────────────────────────────


def taken_inputs(
    world: Elaboration, tree: s.Decide, candidates: Sequence[Candidate]
) -> Many | None:
    """The nodes that `?from some of v[<l]` stands for; None where no such nodes are offered."""
    found = world.levels
    if found is None:
        return None
    template = found.template
    inside = [c for c in candidates if c.label in found.numbers]
    if not inside:
        return None
    if template is None:
        raise problem(
            "E214",
            f"`?{tree.name.id}` offers nodes of `{found.key}`, and how many there are is open",
            tree,
            help="read all nodes of a level, as by "
            f"`concat({found.key}[{found.levels[-1].number}][*])`",
        )  # fmt: skip
    for other in candidates:
        if other.label not in found.numbers:
            raise problem(
                "E214", f"`?{tree.name.id}` offers `{other.label}` beside nodes of `{found.key}`",
                other.span, f"no node of `{found.key}`",
                help=f"offer nodes alone; a node that takes `{other.label}` belongs to a level "
                "that takes no other",
            )  # fmt: skip
    if tree.take != "some":
        taken = "one" if tree.take is None else "a fixed number"
        whole = s.unparse(tree.source)
        mended = f"?{tree.name.id} some of {whole}"
        raise problem(
            "E214", f"`?{tree.name.id}` takes {taken} of the nodes of lower levels", tree,
            "a node takes some of them, one or more", help=f"write `{mended}`, and join what it "
            "takes, as by `concat`",
        )  # fmt: skip
    if template.edges:
        raise problem(
            "E214", f"`?{tree.name.id}` takes nodes of lower levels a second time", tree,
            f"`?{template.edges}` took some already",
            help="write one such decision, and use what it takes several times in a cell",
        )  # fmt: skip
    if tree.name.id == WIDTH:
        raise problem(
            "E214", f"`?{WIDTH}` takes nodes, and a genotype calls the width of a node `{WIDTH}`",
            tree.name, help="give the decision another name, such as `?from`",
            edit=Edit(tree.name.span, "from"),
        )  # fmt: skip
    template.edges = tree.name.id
    template.takes = tuple(sorted({found.numbers[c.label] for c in inside}))
    chosen = [c for c in inside if template.chosen is None or c.label in template.chosen]
    return Many(tuple([(c.label, c.value) for c in chosen]))


def check_selector(base: Family, tree: s.Index) -> None:
    """Raises Problem (E214) where nodes of a level are told by number."""
    if isinstance(base, LevelMembers) and not isinstance(tree.selector, s.All):
        mended = f"{s.unparse(tree.base)}[*]"
        raise problem(
            "E214", f"`{s.unparse(tree)}` names nodes by number, and how many there are is open",
            tree, help=f"write `{mended}` for all nodes of this level",
            edit=Edit(tree.span, mended),
        )  # fmt: skip


def note_read(world: Elaboration, found: Many, tree: s.Index) -> None:
    """Nodes are read at this place: in a template to be offered, elsewhere for good.

    Raises Problem (E214) where that cannot be.
    """
    state = world.levels
    if state is None:
        return
    if state.template is None:
        state.read |= {state.numbers[label] for label, _ in found.items}
    elif not state.template.offering:
        raise problem(
            "E214", f"a node takes all of `{s.unparse(tree)}`, and which it takes is open", tree,
            help=f"write `?from some of {s.unparse(tree)}`",
            edit=Edit(tree.span, f"?from some of {s.unparse(tree)}"),
        )  # fmt: skip


# ── what comes of it ─────────────────────────────────────────────────────────────────────────────


def with_shape(error: FusegraphError, levels: Levels, shape: LevelGraph) -> FusegraphError:
    """The error that a file gives for this graph, which says what the graph is."""
    told: list[str] = []
    for level in levels.levels:
        widths = [str(shape.nodes[place].width) for place in shape.on(level.number)]
        told.append(f"{_listed(widths)} at level {level.number}")
    note = f"met where the nodes of `{levels.key}` have the widths {'; '.join(told)}"
    return FusegraphError([replace(d, notes=(*d.notes, note)) for d in error.diagnostics])


def _listed(widths: Sequence[str]) -> str:
    """`64, 32 and 32`."""
    return " and ".join([", ".join(widths[:-1]), widths[-1]] if len(widths) > 1 else widths)


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
                label="no higher level does, and no output",
                help=f"let a higher level take them, or read `{found.key}[{level.number}][*]` "
                "on the way to an output",
            )
