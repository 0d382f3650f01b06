"""One file of named tensors with a JSON header: safetensors, written whole or not at all."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import cast

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from ..ir.diagnostics import Diagnostic, FusegraphError
from ..ir.support.files import write_whole

_KEY = "fusegraph"


def write_container(
    file: Path, header: Mapping[str, object], tensors: Mapping[str, Tensor]
) -> None:
    """Writes the file whole or not at all, in a folder that is made if it is not there."""
    # Tied weights share memory, which the format refuses: every name gets a copy of its own.
    plain = {name: value.detach().cpu().contiguous().clone() for name, value in tensors.items()}
    file.parent.mkdir(parents=True, exist_ok=True)
    write_whole(file, save(plain, metadata={_KEY: json.dumps(header)}))


def read_container(file: Path, what: str) -> tuple[dict[str, object], dict[str, Tensor]]:
    """Header and tensors, on the CPU.

    Args:
        file: the file.
        what: what it should be, for the message: "a checkpoint".

    Raises:
        FusegraphError: E702 where the file is missing, truncated, or not one of ours.
    """
    try:
        with safe_open(file, framework="pt", device="cpu") as opened:
            metadata = cast("dict[str, str] | None", opened.metadata())
            names = cast("list[str]", opened.keys())
            tensors = {name: cast("Tensor", opened.get_tensor(name)) for name in names}
    except FileNotFoundError:
        raise _unreadable(file, what, "there is no such file", "correct the path") from None
    except (OSError, SafetensorError) as error:
        size = f"{file.stat().st_size} bytes" if file.is_file() else "no file"
        raise _unreadable(
            file,
            what,
            f"found {size} that safetensors cannot read ({error})",
            "it is truncated or of another kind: train again, or take a complete copy",
        ) from None
    try:
        header: object = json.loads((metadata or {})[_KEY])
    except (KeyError, json.JSONDecodeError, RecursionError):
        header = None
    if not isinstance(header, dict):
        raise _unreadable(
            file,
            what,
            "found safetensors without fusegraph's header",
            "give a file that `fusegraph train` wrote",
        )
    return cast("dict[str, object]", header), tensors


def _unreadable(file: Path, what: str, found: str, advice: str) -> FusegraphError:
    return FusegraphError(
        Diagnostic(code="E702", message=f"expected {what}, {found}", place=str(file), help=advice)
    )
