"""Reads a task file; every complaint names its line, its key, and the nearest known key."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from ..ir.diagnostics import Diagnostic, FusegraphError, Span
from .problems import nearest, problems_of
from .schema import DataSection, TaskSettings

_LARGEST = 1 << 20


@dataclass(frozen=True, slots=True)
class Task:
    """A task file that has been read: its settings, and paths that can be opened."""

    file: Path
    settings: TaskSettings
    changed: frozenset[str] = frozenset()
    """The keys, as dotted paths, that the caller set over the file's."""

    def path(self, relative: str) -> Path:
        """A path of the task file, relative to where that file lies."""
        return self.file.parent / relative

    @property
    def space(self) -> Path:
        """The space's file."""
        return self.path(self.settings.task.space)

    @property
    def genotype(self) -> Path | None:
        """The genotype's file, where the task names one."""
        name = self.settings.task.genotype
        return None if name is None else self.path(name)

    @property
    def features(self) -> Path | None:
        """The feature folder of the main data set, where it has one."""
        name = self.settings.data.features
        return None if name is None else self.path(name)

    @property
    def sections(self) -> Mapping[str, DataSection]:
        """All data sets by their sections, `data` and `joint.NAME`; the main one first."""
        others = {f"joint.{name}": section for name, section in self.settings.joint.items()}
        return {"data": self.settings.data, **others}


def load_task(file: str | Path) -> Task:
    """Reads and checks a task file. The files that it names are not opened.

    Raises:
        FusegraphError: E601 where it cannot be read or is not TOML, E602 for an unknown key,
            E603 for a missing key or a wrong value. All that is wrong is reported at once.
    """
    path = Path(file)
    if path.suffix == ".fuse":
        raise FusegraphError(
            Diagnostic(
                code="E601",
                message="expected a task, found a `.fuse` file",
                place=str(path),
                help="give the path of a `.toml` task file, which names the space",
            )
        )
    text = _read(path)
    try:
        data: object = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        at = re.search(r"\(at line (\d+), column (\d+)\)", str(error))
        line, column = (int(at[1]), int(at[2])) if at else (1, 1)
        raise FusegraphError(
            Diagnostic(
                code="E601",
                message=f"the task file is not TOML: {str(error).split(' (at ')[0]}",
                span=Span(str(path), line, column, line, column + 1),
                help="a task file has sections `[task]`, `[data]`, ... with `key = value` lines",
            )
        ) from None
    try:
        return Task(path, TaskSettings.model_validate(data))
    except ValidationError as error:
        found: list[Diagnostic] = []
        for problem in problems_of(error, TaskSettings):
            span = _span(path, text, problem.path)
            found.append(
                Diagnostic(
                    code="E602" if problem.unknown else "E603",
                    message=f"{problem.path}: {problem.message}",
                    span=span,
                    place="" if span else str(path),
                    help=nearest(problem.unknown, problem.known)
                    or "`fusegraph explain E603` shows where all keys are documented",
                )
            )
        raise FusegraphError(found) from None


def key_span(file: Path, key_path: str) -> Span | None:
    """The line of a task file that sets a key, or the header of the section that should.

    None where there is neither, or where the file is gone.
    """
    try:
        return _span(file, _read(file), key_path)
    except FusegraphError:
        return None


def _read(path: Path) -> str:
    try:
        size = path.stat().st_size
        if size > _LARGEST:
            raise OSError(f"expected at most {_LARGEST} bytes, found {size}")
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise FusegraphError(
            Diagnostic(
                code="E601",
                message=f"the task file cannot be read: {reason}",
                place=str(path),
                help="give the path of a `.toml` task file",
            )
        ) from None


def _span(path: Path, text: str, key_path: str) -> Span | None:
    """The line that sets a key, or else the header of the section that should."""
    steps = key_path.split(".")
    section = ""
    best: Span | None = None
    deepest = 0
    for number, line in enumerate(text.splitlines(), start=1):
        header = re.match(r"\s*\[+\s*([^\]]+?)\s*\]", line)
        entry = re.match(r"(\s*)([A-Za-z0-9_-]+)\s*=", line)
        if header is not None:
            section = header[1].replace(" ", "").replace('"', "")
            name, column = section, line.index("[") + 2
        elif entry is not None:
            name = f"{section}.{entry[2]}" if section else entry[2]
            column = len(entry[1]) + 1
        else:
            continue
        parts = name.split(".")
        if parts == steps[: len(parts)] and len(parts) > deepest:
            deepest = len(parts)
            width = len(section) if header is not None else len(parts[-1])
            best = Span(str(path), number, column, number, column + width)
    return best
