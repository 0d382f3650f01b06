"""The layout's rules: what is where, what may import what, what stays light."""

from __future__ import annotations

import ast
import importlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import fusegraph
from repository import (
    PACKAGES_IN_ORDER,
    ROOT,
    declared_packages,
    folder_of,
    module_files,
    module_name,
    package_folders,
    relative,
)

README_LINES = 40
OTHER_FOLDERS = [ROOT / name for name in ("tests", "examples", "benchmarks", "docs")]
DOCUMENTED_FOLDERS = [*package_folders(), *(f for f in OTHER_FOLDERS if f.is_dir())]


def test_pyproject_ships_exactly_the_packages_that_exist() -> None:
    found = {"fusegraph", *(module_name(folder / "__init__.py") for folder in package_folders())}
    assert set(declared_packages()) == found


def test_every_folder_with_python_files_is_a_package() -> None:
    assert [relative(f) for f in package_folders() if not (f / "__init__.py").is_file()] == []


def test_nothing_but_the_public_face_lies_at_the_root() -> None:
    assert sorted(file.name for file in ROOT.glob("*.py")) == ["__init__.py", "__main__.py"]


def test_tests_are_no_package() -> None:
    assert not (ROOT / "tests" / "__init__.py").exists()


@pytest.mark.parametrize("package", declared_packages())
def test_package_says_what_it_is(package: str) -> None:
    tree = ast.parse((folder_of(package) / "__init__.py").read_text(encoding="utf-8"))
    assert ast.get_docstring(tree)


@pytest.mark.parametrize("folder", DOCUMENTED_FOLDERS, ids=relative)
def test_folder_has_a_short_readme(folder: Path) -> None:
    lines = (folder / "README.md").read_text(encoding="utf-8").splitlines()
    assert 0 < len(lines) <= README_LINES


def imported_modules(file: Path) -> Iterator[tuple[int, str]]:
    """Line and full name of all that a file imports, `from . import x` as `….x`."""
    package = module_name(file).split(".")
    if file.name != "__init__.py":
        package = package[:-1]
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            origin = ".".join([*base, *([node.module] if node.module else [])])
            for alias in node.names:
                yield node.lineno, origin if node.module else f"{origin}.{alias.name}"


def _below_root(name: str) -> str:
    return name.split(".")[1] if "." in name else ""


def wrong_imports(file: Path) -> list[str]:
    """Imports that go against the order, or reach the package's root."""
    own = PACKAGES_IN_ORDER.index(relative(file).split("/")[0])
    allowed = {*PACKAGES_IN_ORDER[: own + 1], "__version__"}
    return [
        f"{relative(file)}:{line} imports {name}"
        for line, name in imported_modules(file)
        if name.split(".")[0] == "fusegraph" and _below_root(name) not in allowed
    ]


def absolute_imports(file: Path) -> list[str]:
    """Imports of ours by full name."""
    found: list[str] = []
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            names = [node.module or ""]
        ours = [name for name in names if name.split(".")[0] == "fusegraph"]
        found += [f"{relative(file)}: {name}" for name in ours]
    return found


def test_packages_import_only_those_before_them() -> None:
    assert [wrong for file in module_files() for wrong in wrong_imports(file)] == []


def test_packages_import_each_other_relatively() -> None:
    assert [found for file in module_files() for found in absolute_imports(file)] == []


HEAVY = ("torch", "onnx", "onnxruntime", "torchmetrics", "optuna", "sklearn")


@pytest.mark.parametrize(
    ("module", "unwanted"),
    [
        ("fusegraph", (*HEAVY, "numpy", "lark", "fusegraph.ir")),
        ("fusegraph.ir", (*HEAVY, "numpy")),
        ("fusegraph.ir.dsl", (*HEAVY, "numpy")),
        ("fusegraph.compiler", (*HEAVY, "numpy")),
        ("fusegraph.cli.main", HEAVY),
    ],
)
def test_import_stays_light(module: str, unwanted: tuple[str, ...]) -> None:
    script = (
        f"import sys, {module}\nprint(*(name for name in {unwanted!r} if name in sys.modules))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout.strip(), done.stderr) == (0, "", "")


def test_public_names_are_those_that_type_checkers_see() -> None:
    tree = ast.parse((ROOT / "__init__.py").read_text(encoding="utf-8"))
    typed = {
        alias.asname or alias.name: f".{node.module}"
        for block in tree.body
        if isinstance(block, ast.If)
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert typed == fusegraph._HOME  # pyright: ignore[reportPrivateUsage]


@pytest.mark.parametrize("name", fusegraph.__all__)
def test_public_name_loads(name: str) -> None:
    assert getattr(fusegraph, name) is not None


def test_unknown_public_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'genome'"):
        _ = fusegraph.genome  # pyright: ignore[reportAttributeAccessIssue]


def test_every_module_imports() -> None:
    for file in module_files():
        importlib.import_module(module_name(file))
