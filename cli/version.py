"""`fusegraph version`: which fusegraph this is, and what it stands on."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as version_of

from .. import __version__
from .options import AsJson
from .output import print_json, say

PARTS = ("torch", "onnx", "onnxruntime", "onnxruntime-gpu", "numpy", "optuna", "pydantic", "lark")


def version(as_json: AsJson = False) -> None:
    """Print the versions of fusegraph and its packages.

    \b
    Example:
      fusegraph version

    \b
    With --json: `fusegraph`, `python`, `platform`, and `packages` (null where not installed).
    """
    found: dict[str, str | None] = {}
    for part in PARTS:
        try:
            found[part] = version_of(part)
        except PackageNotFoundError:
            found[part] = None
    python, machine = platform.python_version(), platform.platform()
    if as_json:
        print_json(
            {
                "fusegraph": __version__,
                "python": python,
                "platform": machine,
                "packages": found,
            }
        )
        return
    say(f"fusegraph {__version__}")
    say(f"Python {python} on {machine}")
    for name, number in found.items():
        if number is not None:
            say(f"{name} {number}")
