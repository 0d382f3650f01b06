"""The run folder: all that is needed to understand a run, to go on with it and to repeat it."""

from __future__ import annotations

import json
import platform
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from .. import __version__
from ..ir.dsl import Program
from ..ir.support.differences import differences
from .files import write_file
from .problems import problem

PACKAGES = ("torch", "numpy", "onnx", "onnxruntime", "onnxruntime-gpu", "optuna")


@dataclass(frozen=True, slots=True)
class RunFolder:
    """Where everything of a run lies; `open_run` and `begin_run` make it."""

    path: Path

    @property
    def identity(self) -> Path:
        """What the run is a function of, as JSON; written when the folder is complete."""
        return self.path / "run.json"

    @property
    def machine(self) -> Path:
        """Versions, machine and seeds of each process that worked on the run, one a line."""
        return self.path / "machine.json"

    @property
    def events(self) -> Path:
        """What happened, one JSON object a line."""
        return self.path / "events.jsonl"

    @property
    def results(self) -> Path:
        """What was found, as JSON; there when the run is done."""
        return self.path / "results.json"

    @property
    def task_copy(self) -> Path:
        """The task file as it was."""
        return self.path / "task.toml"

    @property
    def genotypes(self) -> Path:
        """The folder of genotype files; `best.fuse` is the trained one."""
        return self.path / "genotypes"

    @property
    def best(self) -> Path:
        """The genotype of the best network, or the network itself where it has no decisions."""
        return self.genotypes / "best.fuse"

    @property
    def checkpoint(self) -> Path:
        """The weights of the best network."""
        return self.path / "checkpoints" / "best.safetensors"

    @property
    def preprocessing(self) -> Path:
        """What is done to raw features before they are inputs, as JSON."""
        return self.path / "preprocessing.json"

    @property
    def supernet(self) -> Path:
        """The state of a search over a supernet after its last epoch."""
        return self.path / "supernet.safetensors"

    @property
    def latencies(self) -> Path:
        """Every latency that was measured, one JSON object a line; a resumed run goes by them."""
        return self.path / "latency.jsonl"

    def state(self, name: str) -> Path:
        """Where an unfinished training keeps its state."""
        return self.path / "states" / f"{name}.safetensors"

    def history(self, name: str) -> Path:
        """The epochs of a finished training, as JSON."""
        return self.path / "trainings" / f"{name}.json"

    @property
    def space(self) -> Path:
        """The copy of the space's file; what it imports lies beside it."""
        return self.path / "space" / str(self.read(self.identity)["space"])

    def read(self, file: Path) -> dict[str, Any]:
        """A JSON object of the folder. Raises FusegraphError E632 where it is damaged."""
        try:
            data: object = json.loads(file.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise _no_run(self.path, f"{file.name} cannot be read: {error}") from None
        if not isinstance(data, dict):
            raise _no_run(self.path, f"{file.name} is no JSON object")
        return data

    def write(self, file: Path, data: Mapping[str, Any]) -> None:
        """A JSON object, written whole or not at all."""
        write_file(file, json.dumps(data, indent=1, ensure_ascii=False) + "\n")


def open_run(path: str | Path) -> RunFolder:
    """The run in a folder. Raises FusegraphError E632 where there is none."""
    folder = RunFolder(Path(path))
    if not folder.identity.is_file():
        there = "the folder has no run.json" if folder.path.is_dir() else "there is no such folder"
        raise _no_run(folder.path, there)
    return folder


def begin_run(
    path: str | Path,
    identity: Mapping[str, Any],
    program: Program,
    task_file: Path,
    *,
    resume: bool,
) -> tuple[RunFolder, bool]:
    """A new run folder, or with `resume` the one that is there; and whether it was there.

    `identity` is what the run is a function of. Raises FusegraphError E630 where a run is there and
    is not to be resumed, E635 where it is a run of something else.
    """
    folder = RunFolder(Path(path))
    whole = {"format": 1, "space": Path(program.file).name, **identity}
    # As the file will hold it: tuples are lists there.
    whole = json.loads(json.dumps(whole))
    if folder.identity.is_file():
        if not resume:
            raise problem(
                "E630",
                "this folder holds a run already",
                folder.path,
                help="go on with it by `--resume`, or begin another with `--out FOLDER`",
            )
        _check_same(folder, whole)
        note_process(folder)
        return folder, True
    for name, text in _sources(program):
        write_file(folder.path / "space" / name, text)
    write_file(folder.task_copy, task_file.read_bytes())
    note_process(folder)
    folder.write(folder.identity, whole)
    return folder, False


def _check_same(folder: RunFolder, wanted: Mapping[str, Any]) -> None:
    found = folder.read(folder.identity)
    changed = tuple(differences(found, wanted))
    if changed:
        raise problem(
            "E635",
            "this folder holds a run of another task, or of this task before it was changed",
            folder.path,
            notes=changed[:8],
            help="resume with what the run began with, or begin another with `--out FOLDER`",
        )


def _sources(program: Program) -> Iterator[tuple[str, str]]:
    """The files of a program, relative to its folder; those of the standard library left out."""
    root = Path(program.file).parent
    for name, text in program.sources.items():
        if Path(name) == Path(program.file):
            yield Path(name).name, text
        elif not name.startswith("std/"):
            inside = (Path(name)).resolve().relative_to(root.resolve())
            yield inside.as_posix(), text


def note_process(folder: RunFolder) -> None:
    """Add this process to `machine.json`."""
    packages: dict[str, str] = {}
    for package in PACKAGES:
        try:
            packages[package] = version(package)
        except PackageNotFoundError:
            continue
    entry = {
        "fusegraph": __version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "processor": platform.processor() or platform.machine(),
        "command": sys.argv,
        "packages": packages,
    }
    known = folder.read(folder.machine)["processes"] if folder.machine.is_file() else []
    folder.write(folder.machine, {"processes": [*known, entry]})


def _no_run(path: Path, what: str) -> Exception:
    return problem(
        "E632",
        f"this is no run folder: {what}",
        path,
        help="give a folder that `fusegraph search` or `fusegraph train` wrote",
    )
