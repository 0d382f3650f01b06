"""The wheel, built and installed elsewhere: an editable install hides what was forgotten."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import pytest

from repository import ROOT, module_files, module_name, relative

LEFT_BEHIND = shutil.ignore_patterns(
    ".*", "*.egg-info", "__pycache__", "build", "dist", "runs", "tests", "benchmarks"
)
DATA = (
    "docs/levels.md",
    "ir/std/*.fuse",
    "ir/diagnostics/pages/*.md",
    "ir/dsl/*.lark",
    "report/*.html",
)


@dataclass(frozen=True)
class Installed:
    """A wheel and the folder that it was installed to."""

    wheel: Path
    target: Path

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Python from outside the repository, finding the installed copy first."""
        return subprocess.run(
            [sys.executable, *arguments],
            cwd=self.target.parent,
            env={**os.environ, "PYTHONPATH": str(self.target)},
            capture_output=True,
            text=True,
            check=False,
        )


def pip(*arguments: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pip", "--disable-pip-version-check", *arguments],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Installed:
    folder = tmp_path_factory.mktemp("packaging")
    # A copy, because building leaves files behind and takes up what an earlier build left.
    source = Path(shutil.copytree(ROOT, folder / "source", ignore=LEFT_BEHIND))
    pip("wheel", "--no-build-isolation", "--no-deps", "--wheel-dir", str(folder), str(source))
    (wheel,) = folder.glob("*.whl")
    shutil.rmtree(source)
    pip("install", "--no-deps", "--target", str(folder / "site"), str(wheel))
    return Installed(wheel, folder / "site")


def wheel_names(files: Iterable[Path]) -> set[str]:
    return {f"fusegraph/{relative(file)}" for file in files}


def test_wheel_holds_every_module_and_nothing_else_of_python(installed: Installed) -> None:
    with zipfile.ZipFile(installed.wheel) as wheel:
        shipped = {name for name in wheel.namelist() if name.endswith(".py")}
    assert shipped == wheel_names([*module_files(), ROOT / "__init__.py", ROOT / "__main__.py"])


def test_wheel_holds_the_data_that_modules_read(installed: Installed) -> None:
    wanted = wheel_names(file for pattern in DATA for file in ROOT.glob(pattern))
    with zipfile.ZipFile(installed.wheel) as wheel:
        assert {*wanted, "fusegraph/py.typed"} <= set(wheel.namelist())


def test_installed_package_imports_outside_the_repository(installed: Installed) -> None:
    modules = ", ".join(sorted(module_name(file) for file in module_files()))
    done = installed.run("-c", f"import {modules}\nprint(fusegraph.__file__)")
    assert done.returncode == 0, done.stderr
    assert Path(done.stdout.strip()).is_relative_to(installed.target)


def test_installed_command_prints_its_help(installed: Installed) -> None:
    done = installed.run("-m", "fusegraph", "--help")
    assert done.returncode == 0, done.stderr
    assert "check" in done.stdout
    assert installed.run("-m", "fusegraph", "explain", "levels").stdout.startswith("# Levels\n")
