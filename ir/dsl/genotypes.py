"""Genotype files: read against their space, written in the one layout."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Set
from pathlib import Path, PurePosixPath, PureWindowsPath

from ..decisions import Decision, Setting
from ..diagnostics import Diagnostic, Edit, FusegraphError, Label, Span, begins_as_fuse
from ..genotype import Genotype
from ..levels import Levels
from ..support.names import nearest
from . import syntax as s
from .choosing import chosen, in_short
from .context import MOST_ERRORS
from .level_genotypes import LEVELS_KEY, LevelsReader, format_levels, owner_of
from .library import read_source
from .load import Program, load
from .parse import parse


def load_genotype(path: str | Path) -> tuple[Program, Genotype]:
    """The genotype in a file, with the space that it names, which lies relative to it.

    Raises FusegraphError: E106 no such file, E401 another space's digest, E402 to E406 settings
    that do not belong, E407 where the space is not there, is no `.fuse` text, or has an absolute
    path.
    """
    text = read_source(path)
    tree = _genotype_tree(parse(text, str(path)), str(path))
    overrides = {setting.name.id: s.unparse(setting.value) for setting in tree.settings}
    program = _space_of(tree, Path(path).parent, overrides)
    return program, _read(tree, program)


def _space_of(tree: s.GenotypeTree, folder: Path, overrides: Mapping[str, str]) -> Program:
    """The space that a genotype in `folder` names.

    Files come from strangers: one that names any other file of this machine as its space must not
    bring a line of it into a message.
    """
    named = tree.space.value
    if PurePosixPath(named).is_absolute() or PureWindowsPath(named).anchor:
        raise _no_space(tree, "is not named by a relative path", "an absolute path")
    where = folder / named
    try:
        if not begins_as_fuse(read_source(where)):
            raise _no_space(tree, "is no file of this language", "does not begin with `fuse 1`")
        return load(where, overrides)
    except FusegraphError as error:
        if [d.code for d in error.diagnostics] != ["E106"]:
            raise
        raise _no_space(tree, "is not there", f"looked for {where}") from None


def _no_space(tree: s.GenotypeTree, what: str, label: str) -> FusegraphError:
    return FusegraphError(
        Diagnostic(
            code="E407",
            message=f'the space "{tree.space.value}" of this genotype {what}',
            span=tree.space.span,
            label=label,
            help="the path is relative to the genotype's file",
        )
    )


def parse_genotype(text: str, program: Program, file: str = "<genotype>") -> Genotype:
    """The genotype in a text, against a space that is loaded already."""
    return _read(_genotype_tree(parse(text, file), file), program)


def is_genotype(text: str, file: str = "<text>") -> bool:
    """Whether the text holds a genotype rather than a space."""
    return any(isinstance(item, s.GenotypeTree) for item in parse(text, file).items)


def _genotype_tree(tree: s.File, file: str) -> s.GenotypeTree:
    for item in tree.items:
        if isinstance(item, s.GenotypeTree):
            return item
    raise FusegraphError(
        Diagnostic(
            code="E207",
            message="there is no genotype in this file",
            span=Span(file, 1, 1, 1, 2),
            help='begin with `genotype of "space.fuse"`, or use a command that takes a space',
        )
    )


def _entries(tree: s.GenotypeTree) -> Iterator[tuple[str, s.Entry]]:
    """Every entry with its whole key."""
    pending: list[tuple[str, s.Entry | s.ScopeTree]] = [("", e) for e in reversed(tree.entries)]
    while pending:
        prefix, item = pending.pop()
        key = f"{prefix}.{item.path.text}" if prefix else item.path.text
        if isinstance(item, s.Entry):
            yield key, item
        else:
            pending += [(key, entry) for entry in reversed(item.entries)]


def _read(tree: s.GenotypeTree, program: Program) -> Genotype:
    space = program.graph
    errors: list[Diagnostic] = []
    settings: dict[str, Setting] = {}
    spans: dict[str, Span] = {}
    written = {key for key, _ in _entries(tree)}
    readers = {
        key: LevelsReader(decision, tree, program.decision_spans)
        for key, decision in space.decisions.items()
        if isinstance(decision, Levels)
    }
    for key, entry in _entries(tree):
        decision = space.decisions.get(key)
        levels = owner_of(key, space.decisions)
        if levels is not None:
            readers[levels.key].add(key, entry)
        elif (whole := LEVELS_KEY.match(key)) and whole[0] in readers:
            readers[whole[0]].no_node(key, entry)
        elif decision is None:
            errors.append(_unknown_decision(key, entry, program, written))
        elif key in settings:
            errors.append(
                Diagnostic(
                    code="E406",
                    message=f"`{key}` is settled twice",
                    span=entry.span,
                    causes=(Label(spans[key], "first here"),),
                    help="keep one of the lines",
                )
            )
        else:
            spans[key] = entry.span
            where = program.decision_spans.get(key)
            setting = chosen(decision, key, entry, where, errors)
            if setting is not None:
                settings[key] = setting
    for key, reader in readers.items():
        setting = reader.setting()
        if setting is not None:
            settings[key] = setting
            spans[key] = tree.space.span
        errors += reader.errors
    if tree.pin is not None and tree.pin.value != space.digest:
        errors.insert(0, _other_space(tree, tree.pin, program))
    if errors:
        raise FusegraphError(errors[:MOST_ERRORS])
    return _completed(tree, program, settings, spans)


def _unknown_decision(key: str, entry: s.Entry, program: Program, written: set[str]) -> Diagnostic:
    scope = key.removesuffix(entry.path.text)
    close = _meant(key, program.graph.decisions.keys() - written)
    inside = close is not None and close.startswith(scope)
    shown = close.removeprefix(scope) if close is not None else ""
    help = "`fusegraph show` draws the open decisions of the space"
    if close is not None:
        help = f"write `{shown}`" if inside else f"settle `{close}` outside of these braces"
    return Diagnostic(
        code="E402",
        message=f"`{program.graph.name}` has no decision `{in_short(key)}`",
        span=entry.path.span,
        label=f"did you mean `{shown}`?" if close is not None else "not open there",
        help=help,
        edit=Edit(entry.path.span, shown) if inside else None,
    )


def _scope_of(key: str) -> tuple[str, str]:
    scope, _, name = key.rpartition(".")
    return scope, name


def _meant(key: str, known: Set[str]) -> str | None:
    """The nearest name in the same scope, else the same name in the nearest scope."""
    scope, name = _scope_of(key)
    here = [other for other in known if _scope_of(other)[0] == scope]
    if close := nearest(key, here):
        return close
    return nearest(key, [other for other in known if _scope_of(other)[1] == name])


def _other_space(tree: s.GenotypeTree, pin: s.String, program: Program) -> Diagnostic:
    digest = program.graph.digest
    return Diagnostic(
        code="E401",
        message=f'this genotype was made for another version of "{tree.space.value}"',
        span=pin.span,
        label=f"the space is {digest} now",
        notes=("the space, its constants or its decisions have changed since",),
        help="if the genotype still says what you mean, pin it to the space as it is: "
        f'`@ "{digest}"`',
    )


def _completed(
    tree: s.GenotypeTree,
    program: Program,
    settings: Mapping[str, Setting],
    spans: Mapping[str, Span],
) -> Genotype:
    """Exactly the decisions that are reached: none missing (E405), none too many (E408)."""
    from ..reach import walk

    missing: list[Decision] = []

    def known(decision: Decision) -> Setting:
        if decision.key not in settings:
            missing.append(decision)
            return next(decision.settings())
        return settings[decision.key]

    reached = walk(program.graph, known)
    errors: list[Diagnostic] = []
    for decision in missing:
        where = program.decision_spans.get(decision.key)
        errors.append(
            Diagnostic(
                code="E405",
                message=f"`{decision.key}` is not settled",
                span=tree.space.span,
                label="in this genotype",
                causes=(Label(where, "open here"),) if where else (),
                help=f"add `{decision.key} = …`, one of {', '.join(decision.labels[:12])}",
            )
        )
    for key, span in spans.items():
        if key not in reached and not missing:
            errors.append(
                Diagnostic(
                    code="E408",
                    message=f"`{key}` is settled, but nothing reaches it",
                    span=span,
                    label="decides nothing in this network",
                    help="remove the line, or settle what leads there",
                )
            )
    if errors:
        raise FusegraphError(errors[:MOST_ERRORS])
    return Genotype.of(program.graph.digest, reached)


# ── writing ──────────────────────────────────────────────────────────────────────────────────────


def _natural(text: str) -> list[tuple[int, str | int]]:
    parts = re.split(r"(\d+)", text)
    return [(1, int(p)) if p.isdigit() else (0, p) for p in parts]


def format_genotype(genotype: Genotype, program: Program, space_path: str | None = None) -> str:
    """The file of a genotype: one scope a line, scopes in natural order, pinned to its space.

    In a scope the decisions stand in the order in which the space's file has them.
    """
    decisions = program.graph.decisions
    spans = program.decision_spans
    nowhere = Span("", 0, 0, 0, 0)
    scopes: dict[str, list[str]] = {}
    nodes: list[str] = []
    for key, setting in sorted(genotype.items, key=lambda item: spans.get(item[0], nowhere)):
        decision = decisions[key]
        if isinstance(decision, Levels):
            nodes += format_levels(decision, setting)
            continue
        scope, name = _scope_of(key)
        scopes.setdefault(scope, []).append(f"{name} = {decisions[key].format(setting)}")
    path = space_path if space_path is not None else Path(program.file).name
    given = ", ".join(f"{name}={text}" for name, text in sorted(program.overrides.items()))
    head = f'genotype of "{path}"' + (f" with {given}" if given else "")
    lines = ["fuse 1", f'{head} @ "{genotype.space}"']
    for scope in sorted(scopes, key=_natural):
        if scope:
            lines.append(f"{scope} {{ {', '.join(scopes[scope])} }}")
        else:
            lines += scopes[scope]
    return "\n".join([*lines, *nodes]) + "\n"
