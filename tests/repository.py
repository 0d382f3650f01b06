"""Where things are: the folders of the repository, its packages and their modules."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

PACKAGES_IN_ORDER = (
    "ir",
    "compiler",
    "backends",
    "training",
    "tasks",
    "searchers",
    "report",
    "pipeline",
    "cli",
)
"""Each may import itself and those before it."""


def declared_packages() -> list[str]:
    """The packages that pyproject.toml ships, `fusegraph` first."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    return list(project["tool"]["setuptools"]["packages"])


def package_folders() -> Iterator[Path]:
    """Every folder below these packages that holds Python files."""
    for top in PACKAGES_IN_ORDER:
        folders = {file.parent for file in (ROOT / top).rglob("*.py")}
        yield from sorted(folders)


def folder_of(package: str) -> Path:
    """The folder of `fusegraph.a.b`."""
    return ROOT.joinpath(*package.split(".")[1:])


def module_files() -> list[Path]:
    """Every Python file of the packages."""
    return sorted(file for folder in package_folders() for file in folder.glob("*.py"))


def module_name(file: Path) -> str:
    """`fusegraph.ir.types` for `ir/types.py`."""
    parts = file.relative_to(ROOT).with_suffix("").parts
    if parts[-1] == "__init__":
        parts = parts[:-1]
    return ".".join(("fusegraph", *parts))


def relative(path: Path) -> str:
    """The path as a test's name shows it."""
    return path.relative_to(ROOT).as_posix()
