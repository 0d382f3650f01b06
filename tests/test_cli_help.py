"""Every command's help: an example that runs, JSON keys that are printed, and no heavy import."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from cli_calls import call, good
from fusegraph.cli.main import COMMANDS
from repository import ROOT
from small_task import write_task

NAMES = [name for commands in COMMANDS.values() for name in commands]
HEAVY = ("torch", "onnx", "onnxruntime", "optuna", "pydantic", "numpy", "lark", "rich", "networkx")


def examples(name: str) -> list[list[str]]:
    """The calls that a command's help shows below `Example:`."""
    text = good(name, "--help").partition("Example:\n")[2].partition("\n\n")[0]
    joined = re.sub(r"\n {6,}(?=\S)", " ", text)
    return [shlex.split(line)[1:] for line in joined.splitlines() if line.strip()]


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with all that the examples name."""
    folder = tmp_path_factory.mktemp("work space")
    write_task(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        good("search", "task.toml", "--out", "runs/first", "-q")
        good("export", "runs/first", "-o", "model.onnx")
        Path("runs/first").rename("runs/done")
    return folder


@pytest.mark.parametrize("name", NAMES)
def test_example_of_the_help_runs(
    name: str, workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(workspace)
    if name == "search":
        (workspace / "runs" / "first").rename(workspace / "runs" / "before")
    elif not Path("runs/first").exists():
        Path("runs/first").symlink_to("done")
    calls = examples(name)
    assert calls
    for words in calls:
        assert words[0] == name
        good(*words)
        if name not in ("search", "train", "extract"):
            found = call(*words, "--json")
            assert (found.code, found.err) == (0, "")
            told = good(name, "--help").partition("With --json:")[2]
            promised = set(re.findall(r"`(\w+)`", told.split(", each with")[0].split("; for")[0]))
            assert promised & set(found.json), (promised, set(found.json))


@pytest.mark.parametrize("name", NAMES)
def test_help_tells_what_the_command_does_and_its_json(name: str) -> None:
    told = good(name, "-h")
    assert told.startswith(f"Usage: fusegraph {name} ")
    assert "With --json:" in told
    assert max(map(len, told.splitlines())) <= 100


def test_every_command_stands_in_the_readme_and_in_the_commands_page() -> None:
    page = (ROOT / "docs" / "commands.md").read_text(encoding="utf-8")
    for name in NAMES:
        assert f"fusegraph {name}" in page


def test_help_imports_nothing_heavy() -> None:
    script = (
        "import sys\nsys.argv = ['fusegraph', '--help']\nfrom fusegraph.cli.main import main\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        f"print('heavy:', *[name for name in {HEAVY!r} if name in sys.modules])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.splitlines()[-1] == "heavy:"
