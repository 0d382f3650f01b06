"""Bundles: all that a space needs, as one text that needs no file.

A space with `levels` holds its own program, since each graph that it offers is elaborated anew. The
text has the space and the cells that it uses, in the one layout, without comments, constants set;
so two spaces that differ only in comments, layout, places of files or cells that they don't use are
one.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import cast

from ..diagnostics import FusegraphError
from . import syntax as s
from .format import format_items
from .parse import parse
from .values import CellDef, Scope

MAIN = "main.fuse"


def bundle(space: s.SpaceTree, scope: Scope, overrides: Mapping[str, str]) -> str:
    """The program of a space whose names mean what they mean in `scope`."""
    files = {scope.file: MAIN}
    cells: dict[str, dict[str, CellDef]] = {scope.file: {}}
    uses: dict[str, dict[str, str]] = {scope.file: {}}
    pending: list[tuple[s.Tree, Scope]] = [(space, scope)]
    while pending:
        tree, around = pending.pop()
        for name in _names(tree):
            cell = around.values.get(name)
            if not isinstance(cell, CellDef):
                continue
            home = cell.scope.file
            if home not in files:
                files[home] = home if home.startswith("std/") else f"{len(files)}.fuse"
            if home != around.file:
                uses.setdefault(around.file, {})[name] = home
            if cell.name not in cells.setdefault(home, {}):
                cells[home][cell.name] = cell
                pending.append((cell.tree, cell.scope))
    texts: dict[str, str] = {}
    for file, called in files.items():
        body: list[s.Item] = list(_imports(uses.get(file, {}), files))
        body += [cells[file][name].tree for name in sorted(cells[file])]
        if file == scope.file:
            body.append(_set(space, overrides))
        texts[called] = format_items(body)
    return json.dumps(texts, sort_keys=True, separators=(",", ":"))


def unbundled(text: str) -> dict[str, str]:
    """The files of a bundle by name. Raises ValueError where it is none."""
    found = json.loads(text)
    if not isinstance(found, dict) or MAIN not in found:
        raise ValueError("this is no bundled program")
    files = cast("dict[str, object]", found)
    return {name: str(content) for name, content in files.items()}


def _names(tree: s.Tree) -> Iterator[str]:
    pending = [tree]
    while pending:
        part = pending.pop()
        if isinstance(part, s.Name):
            yield part.id
        pending += list(part.parts())


def _imports(names: Mapping[str, str], files: Mapping[str, str]) -> Iterator[s.Use]:
    homes: dict[str, list[str]] = {}
    for name, home in sorted(names.items()):
        homes.setdefault(files[home].removesuffix(".fuse"), []).append(name)
    for home in sorted(homes):
        span = s.NOWHERE
        taken = tuple([s.Name(span, name) for name in homes[home]])
        yield s.Use(span, s.String(span, home), taken)


def _set(space: s.SpaceTree, overrides: Mapping[str, str]) -> s.SpaceTree:
    """The space with its constants as given."""
    body: list[s.Statement] = []
    for statement in space.body:
        if isinstance(statement, s.Let) and statement.name.id in overrides:
            statement = replace(statement, value=_expression(overrides[statement.name.id]))
        body.append(statement)
    return replace(space, body=tuple(body))


def _expression(text: str) -> s.Expression:
    try:
        tree = parse(f"fuse 1\nspace s {{ let x = {text} }}")
    except FusegraphError as error:
        raise ValueError(text) from error
    (space,) = tree.items
    assert isinstance(space, s.SpaceTree)
    (statement,) = space.body
    assert isinstance(statement, s.Let)
    return statement.value
