"""Files to programs: read, resolve `use`, elaborate, check."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from ..diagnostics import Diagnostic, FusegraphError, Label, Span
from ..graph import Graph, graph
from ..levels import LevelGraph
from ..levels.witnesses import witnesses
from ..node import Node, intern, topological
from ..ops import FORMAL, LEVELS
from ..reach import attributes
from ..support.names import nearest
from . import syntax as s
from .bundles import MAIN, bundle, unbundled
from .checking import check_sizes, check_weights
from .context import Elaboration, Problem, Silent, problem
from .expressions import Place, evaluate
from .levels import unread, with_shape
from .library import Library, file_scope, read_source
from .parse import parse
from .statements import run_space_body
from .values import Many, Scope


@dataclass(frozen=True, eq=False)
class Program:
    """A space with all that its file says beyond the graph: where everything stands.

    `overrides` are the values given for its constants (`--set`), `constants` all of them.
    """

    graph: Graph
    file: str
    sources: Mapping[str, str]
    spans: Mapping[Node, Span]
    decision_spans: Mapping[str, Span]
    constants: Mapping[str, Any]
    overrides: Mapping[str, str] = field(default_factory=dict[str, str])


def load(path: str | Path, overrides: Mapping[str, str] | None = None) -> Program:
    """The program in a `.fuse` file. `overrides` are texts for constants of the space.

    Raises FusegraphError with all that is wrong with it.
    """
    text = read_source(path)
    return _program(text, str(path), Library(Path(path).resolve().parent), overrides or {})


def loads(text: str, overrides: Mapping[str, str] | None = None, file: str = "<text>") -> Program:
    """The program in a text, which imports the standard library only."""
    return _program(text, file, Library(None), overrides or {})


def _program(text: str, file: str, library: Library, overrides: Mapping[str, str]) -> Program:
    library.sources[file] = text
    tree = parse(text, file)
    world, space, scope = _elaborated(tree, file, library, overrides, None)
    if world.levels is not None:
        world = _levelled(world, tree, file, library, overrides, bundle(space, scope, overrides))
    made = graph(space.name.id, world.inputs, list(world.outputs.items()), world.requires)
    levels = world.levels
    spans = {
        key: span
        for key, span in world.decision_spans.items()
        if key in made.decisions or (levels is not None and levels.owns(key))
    }
    return Program(
        made, file, library.sources, world.spans, spans, world.constants, dict(overrides)
    )


def _elaborated(
    tree: s.File,
    file: str,
    library: Library,
    overrides: Mapping[str, str],
    shape: LevelGraph | None,
) -> tuple[Elaboration, s.SpaceTree, Scope]:
    """The space of a file with what it says, `levels` open or of this shape.

    Raises FusegraphError with all that is wrong with it.
    """
    spaces = [item for item in tree.items if isinstance(item, s.SpaceTree)]
    world = Elaboration(shape=shape)
    try:
        scope = file_scope(tree, file, library)
        if len(spaces) != 1:
            raise _not_one_space(tree, spaces, file)
        space = spaces[0]
        world.overrides = {k: _override(k, v) for k, v in overrides.items()}
        run_space_body(world, space, Scope("space", file, scope))
        _check_overrides(world, space)
    except Problem as error:
        world.diagnostics.append(error.diagnostic)
        raise FusegraphError(world.diagnostics) from None
    except Silent:
        raise FusegraphError(world.diagnostics) from None
    except RecursionError:
        raise FusegraphError(
            Diagnostic(
                code="E104",
                message="an expression is nested too deep",
                place=file,
                help="name its inner parts",
            )
        ) from None
    if not world.outputs and not world.diagnostics:
        world.diagnostics.append(
            Diagnostic(
                code="E207",
                message=f"`{space.name.id}` has no output",
                span=space.name.span,
                help="end it with `output name = …`",
            )
        )
    if not world.diagnostics:
        check_weights(world)
        check_sizes(world)
    if world.diagnostics:
        raise FusegraphError(world.diagnostics)
    return world, space, scope


def _levelled(
    world: Elaboration,
    tree: s.File,
    file: str,
    library: Library,
    overrides: Mapping[str, str],
    program: str,
) -> Elaboration:
    """The space with its levels open: its outputs hold the program.

    Raises FusegraphError where one of a few telling graphs does not elaborate.
    """
    state = world.levels
    assert state is not None
    if missing := list(unread(world)):
        raise FusegraphError(missing)
    decision = state.decision()
    for shape in witnesses(decision):
        try:
            _elaborated(tree, file, library, overrides, shape)
        except FusegraphError as error:
            raise with_shape(error, decision, shape) from None
    whole = graph("levels", world.inputs, [(str(i), n) for i, n in enumerate(state.roots)])
    with_outputs = graph("outputs", world.inputs, list(world.outputs.items()), world.requires)
    both = graph("both", world.inputs, [*whole.outputs, *with_outputs.outputs], world.requires)
    outer = attributes(both, lambda key: None if state.owns(key) else key)
    for name, node in world.outputs.items():
        if any(n.op is FORMAL for n in topological([node])):
            attrs = (decision, program, name, outer, node.type)
            world.outputs[name] = intern(LEVELS, both.inputs, attrs, "")
    return world


@lru_cache(maxsize=256)
def elaborated(program: str, shape: LevelGraph) -> Graph:
    """The space that a bundled program is for a levelled graph, whose own decisions are open.

    Raises FusegraphError where the program does not elaborate for it.
    """
    world, space, _ = _unbundled(program, shape)
    return graph(space.name.id, world.inputs, list(world.outputs.items()), world.requires)


@lru_cache(maxsize=16)
def open_space(program: str) -> Graph:
    """The space of a bundled program, its levels open.

    Raises FusegraphError, and ValueError where there are no levels.
    """
    tree, library = _bundled_tree(program)
    world, space, _ = _elaborated(tree, MAIN, library, {}, None)
    if world.levels is None:
        raise ValueError("the program has no levels")
    world = _levelled(world, tree, MAIN, library, {}, program)
    return graph(space.name.id, world.inputs, list(world.outputs.items()), world.requires)


def _unbundled(program: str, shape: LevelGraph) -> tuple[Elaboration, s.SpaceTree, Scope]:
    tree, library = _bundled_tree(program)
    return _elaborated(tree, MAIN, library, {}, shape)


@lru_cache(maxsize=16)
def _bundled_tree(program: str) -> tuple[s.File, Library]:
    library = Library(None, unbundled(program))
    return parse(library.bundled[MAIN], MAIN), library


def _not_one_space(tree: s.File, spaces: list[s.SpaceTree], file: str) -> Problem:
    if spaces:
        return problem(
            "E202",
            "a file holds one space",
            spaces[1].name,
            "a second one",
            causes=(Label(spaces[0].name.span, "the first one"),),
            help="put each space in a file of its own",
        )
    for item in tree.items:
        if isinstance(item, s.GenotypeTree):
            return problem(
                "E207",
                "there is no space in this file, but a genotype",
                item.space,
                "of this space",
                help="give the file of the space, or a command that takes a genotype",
            )
    return problem(
        "E207",
        "there is no space in this file",
        Span(file, 1, 1, 1, 2),
        help="write `space name { … }`",
    )


def _override(name: str, text: str) -> Any:
    """The value of `--set name=text`: a static expression."""
    where = f"--set {name}={text}"
    try:
        tree = parse(f"fuse 1\nspace s {{ let {name} = {text} }}", where)
        (space,) = (item for item in tree.items if isinstance(item, s.SpaceTree))
        (statement,) = space.body
        assert isinstance(statement, s.Let)
        world = Elaboration()
        value = evaluate(world, statement.value, Scope("space", where), Place("", False))
        if world.decisions or isinstance(value, Many):
            raise ValueError(text)
        return value
    except (FusegraphError, Problem, Silent, ValueError):
        raise FusegraphError(
            Diagnostic(
                code="E213",
                message=f"`{text}` is no value for the constant `{name}`",
                place=where,
                help="write a number, a tuple or a text in quotes, such as `--set C=256`",
            )
        ) from None


def _check_overrides(world: Elaboration, space: s.SpaceTree) -> None:
    known = [i.name.id for i in space.body if isinstance(i, s.Let)]
    for name in world.overrides:
        if name not in known:
            close = nearest(name, known)
            raise Problem(
                Diagnostic(
                    code="E213",
                    message=f"`{space.name.id}` has no constant `{name}`",
                    span=space.name.span,
                    label=f"its constants are {', '.join(known) or 'none'}",
                    help=f"did you mean `{close}`?"
                    if close
                    else f"set one of them, or add `let {name} = …` to the space",
                )
            )
