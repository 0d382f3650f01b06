"""How tests call the command line: within this process, and as a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from typer.testing import CliRunner

from fusegraph.cli.main import app
from repository import ROOT

SPACE = ROOT / "examples" / "mfas" / "ntu.fuse"


@dataclass(frozen=True)
class Answer:
    """How a call ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


def call(*words: str | Path) -> Answer:
    """The command in this process; never with a traceback."""
    found = CliRunner().invoke(app, [str(word) for word in words], prog_name="fusegraph")
    assert found.exception is None or isinstance(found.exception, SystemExit), found.exception
    assert "Traceback" not in found.output
    return Answer(found.exit_code, found.stdout, found.stderr)


def good(*words: str | Path) -> str:
    """What a call that has to succeed prints."""
    answer = call(*words)
    assert answer.code == 0, answer.out + answer.err
    return answer.out


def process(
    *words: str | Path, cwd: Path | None = None, **env: str
) -> subprocess.CompletedProcess[str]:
    """The command as a process of its own."""
    return subprocess.run(
        command(*words),
        capture_output=True,
        text=True,
        check=False,
        cwd=cwd,
        env={**os.environ, **env},
        timeout=120,
    )


def command(*words: str | Path) -> list[str]:
    """The words that start the command with this Python."""
    return [sys.executable, "-m", "fusegraph", *[str(word) for word in words]]
