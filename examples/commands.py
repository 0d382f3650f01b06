"""Commands of fusegraph as the studies run them: as a user would, and again where they ended."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path


def run(folder: Path, *arguments: str) -> None:
    """Run a command of fusegraph in `folder` unless its results are there, told to who watches.

    `--out` among the arguments names the run folder; one that was interrupted goes on. Torch works
    with two threads unless OMP_NUM_THREADS says otherwise.
    """
    name = arguments[arguments.index("--out") + 1]
    if (folder / name / "results.json").is_file():
        return
    resumed = ("--resume",) if (folder / name / "run.json").is_file() else ()
    print(f"\n$ cd {shlex.quote(str(folder))} && fusegraph {shlex.join(arguments)}", flush=True)
    environment = {"OMP_NUM_THREADS": "2", **os.environ}
    command = [sys.executable, "-m", "fusegraph", *arguments, *resumed]
    subprocess.run(command, cwd=folder, check=True, env=environment)
