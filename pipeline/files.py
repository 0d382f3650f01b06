"""Files that are written whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path

from ..ir.diagnostics import FusegraphError
from .problems import problem


def write_file(path: str | Path, content: str | bytes) -> Path:
    """Write beside the file, then rename: who reads sees the old file or the new one.

    Raises FusegraphError E633 where the file cannot be written.
    """
    target = make_room(path)
    part = target.with_name(f".{target.name}.{os.getpid()}.part")
    data = content.encode("utf-8") if isinstance(content, str) else content
    try:
        try:
            with part.open("wb") as stream:
                stream.write(data)
                stream.flush()
                os.fsync(stream.fileno())
            part.replace(target)
        finally:
            part.unlink(missing_ok=True)
    except OSError as error:
        raise _unwritable(target, error.strerror or str(error)) from None
    return target


def make_room(path: str | Path) -> Path:
    """The path of a file that is to be written, in a folder that is made if it is not there.

    Raises FusegraphError E633 where the folder cannot be made, or the path is a folder's.
    """
    target = Path(path)
    if target.is_dir():
        raise _unwritable(target, "expected the path of a file, found a folder")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _unwritable(target, error.strerror or str(error)) from None
    return target


def _unwritable(target: Path, why: str) -> FusegraphError:
    return problem(
        "E633",
        f"the file cannot be written: {why}",
        target,
        help="give another path, or make room and allow writing there",
    )
