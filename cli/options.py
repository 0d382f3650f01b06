"""Arguments and options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

FuseFile = Annotated[
    Path, typer.Argument(metavar="FILE", help="A space, a network or a genotype (.fuse).")
]
TaskFile = Annotated[Path, typer.Argument(metavar="TASK", help="A task file (.toml).")]
AsJson = Annotated[
    bool, typer.Option("--json", help="Print one JSON object; its keys stay as they are.")
]
Settings = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="NAME=VALUE", help="A constant of the space; may be repeated."),
]
AllowHook = Annotated[
    bool,
    typer.Option("--allow-hook", help="Run the Python code that the task or call names."),
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Say nothing while it runs.")]


Sizes = Annotated[
    list[str] | None,
    typer.Option("--size", metavar="NAME=N", help="Another named size, such as T=16."),
]


def pairs(given: list[str] | None, option: str = "--set") -> dict[str, str]:
    """`NAME=VALUE` texts as a mapping. Raises typer.BadParameter for anything else."""
    found: dict[str, str] = {}
    for text in given or []:
        name, sign, value = text.partition("=")
        if not sign or not name.strip() or not value.strip():
            raise typer.BadParameter(
                f"expected NAME=VALUE, found {text!r}", param_hint=f"'{option}'"
            )
        found[name.strip()] = value.strip()
    return found


def whole_size(name: str, text: str) -> int:
    """The number of `--size NAME=N`. Raises typer.BadParameter where it is none."""
    if not text.isdigit() or int(text) < 1:
        raise typer.BadParameter(f"{name}={text} is no size", param_hint="'--size'")
    return int(text)
