"""Which files a program is made of: reading them, what `use` names, and what a file defines."""

from __future__ import annotations

import os
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

from ..diagnostics import Diagnostic, Edit, FusegraphError, Label
from ..support.names import nearest
from . import syntax as s
from .context import Problem, problem, unknown
from .parse import LONGEST_FILE, parse
from .values import CellDef, Scope

MOST_FILES = 200
DEEPEST_IMPORTS = 50


class Library:
    """The files that one program is made of; each is read once, and none outside its root."""

    def __init__(self, root: Path | None, bundled: Mapping[str, str] | None = None) -> None:
        self.root = root
        self.bundled = bundled or {}
        self.sources: dict[str, str] = {}
        self._scopes: dict[str, Scope] = {}
        self._loading: list[str] = []

    def cells(self, use: s.Use, importer: str) -> Scope:
        """The scope of the file that `use` names. Raises Problem (E203, E209)."""
        where, text = self._read(use, importer)
        if where in self._loading:
            raise problem(
                "E209",
                f'"{use.path.value}" is imported in a circle',
                use.path,
                " -> ".join([*self._loading, where]),
                help="move what both need into a third file",
            )
        if where not in self._scopes:
            self.sources[where] = text
            if len(self.sources) > MOST_FILES or len(self._loading) > DEEPEST_IMPORTS:
                raise problem(
                    "E501",
                    f"more than {MOST_FILES} files, or {DEEPEST_IMPORTS} within each other, "
                    "are imported",
                    use.path,
                    help="put cells that belong together into one file",
                )
            if sum(map(len, self.sources.values())) > LONGEST_FILE:
                raise problem(
                    "E103",
                    f"all files together have more than {LONGEST_FILE} characters",
                    use.path,
                    "the limit was met here",
                    help="import less",
                )
            self._loading.append(where)
            self._scopes[where] = file_scope(parse(text, where), where, self)
            self._loading.pop()
        return self._scopes[where]

    def _read(self, use: s.Use, importer: str) -> tuple[str, str]:
        name = use.path.value
        if not name.endswith(".fuse"):
            name += ".fuse"
        if name in self.bundled:
            return name, self.bundled[name]
        parts = name.split("/")
        if name.startswith("std/") and ".." not in parts:
            resource = files("fusegraph.ir").joinpath(name)
            if resource.is_file():
                return name, resource.read_text(encoding="utf-8")
            raise self._missing(use, f"the standard library has no `{use.path.value}`", _standard())
        if self.root is None:
            raise self._missing(use, "a text that is no file imports only the standard library", [])
        where = os.path.normpath(Path(importer).parent / name)
        try:
            path = Path(where).resolve()
        except (OSError, ValueError, RuntimeError):
            raise self._missing(use, f"`{name}` is no path", []) from None
        if not path.is_relative_to(self.root):
            raise problem(
                "E203",
                f'"{use.path.value}" lies outside the folder of the program',
                use.path,
                "leads out",
                help="imports stay below the folder of the file that is loaded",
            )
        if not path.is_file():
            beside = [p.stem for p in path.parent.glob("*.fuse")] if path.parent.is_dir() else []
            raise self._missing(use, f"there is no file `{name}`", beside)
        try:
            return where, read_source(path)
        except FusegraphError as error:
            (found,) = error.diagnostics
            raise problem(
                found.code, f'"{name}": {found.message}', use.path, help=found.help
            ) from None

    def _missing(self, use: s.Use, message: str, known: list[str]) -> Problem:
        close = nearest(use.path.value, known)
        return problem(
            "E203",
            message,
            use.path,
            f'did you mean "{close}"?' if close else "not found",
            help=f'write "{close}"' if close else "check the path; it is relative to this file",
            edit=Edit(use.path.span, f'"{close}"') if close else None,
        )


def _standard() -> list[str]:
    folder = files("fusegraph.ir").joinpath("std")
    return [
        f"std/{p.name.removesuffix('.fuse')}" for p in folder.iterdir() if p.name.endswith(".fuse")
    ]


def file_scope(tree: s.File, file: str, library: Library) -> Scope:
    """The cells that a file defines and imports."""
    scope = Scope("file", file)
    for item in tree.items:
        if isinstance(item, s.Use):
            theirs = library.cells(item, file)
            for name in item.names:
                found = theirs.values.get(name.id)
                if found is None:
                    known = list(theirs.values)
                    raise unknown(
                        "E203",
                        f'"{item.path.value}" has no cell `{name.id}`',
                        name,
                        known,
                        f"it has {', '.join(sorted(known))}",
                    )
                _define_once(scope, name, found)
        elif isinstance(item, s.CellTree):
            _define_once(scope, item.name, CellDef(item, scope))
    return scope


def _define_once(scope: Scope, name: s.Name, value: Any) -> None:
    if name.id in scope.values:
        raise problem(
            "E202",
            f"`{name.id}` is defined twice",
            name,
            "again here",
            causes=(Label(scope.spans[name.id], "first here"),),
            help="give one of them another name",
        )
    scope.values[name.id] = value
    scope.spans[name.id] = name.span


def read_source(path: str | Path) -> str:
    """The text of a file. Raises FusegraphError (E106) where it cannot be read."""
    try:
        if not Path(path).is_file():
            reason = "it is no file" if Path(path).exists() else "there is no such file"
            raise FusegraphError(
                Diagnostic(
                    code="E106",
                    message=f"cannot read the file: {reason}",
                    place=str(path),
                    help="check the path",
                )
            )
        if Path(path).stat().st_size > 4 * LONGEST_FILE:
            raise FusegraphError(
                Diagnostic(
                    code="E103",
                    message=f"the file has more than {LONGEST_FILE} characters",
                    place=str(path),
                    help="split it with `use`, or write parts with `for`",
                )
            )
        return Path(path).read_text(encoding="utf-8-sig")
    except (OSError, ValueError) as error:
        if isinstance(error, UnicodeDecodeError):
            raise _not_text(path, error) from None
        reason = getattr(error, "strerror", None) or "this is no path"
        raise FusegraphError(
            Diagnostic(
                code="E106",
                message=f"cannot read the file: {reason.lower()}",
                place=str(path),
                help="check the path",
            )
        ) from None


def _not_text(path: str | Path, error: UnicodeDecodeError) -> FusegraphError:
    line = error.object.count(b"\n", 0, error.start) + 1
    return FusegraphError(
        Diagnostic(
            code="E106",
            message=f"this is not a text file in UTF-8: see its byte {error.start + 1}",
            place=f"{path}:{line}",
            help="save it as UTF-8",
        )
    )
