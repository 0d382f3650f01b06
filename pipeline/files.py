"""Files that are written whole or not at all."""

from __future__ import annotations

from pathlib import Path

from ..ir.diagnostics import FusegraphError
from ..ir.support.files import write_whole
from .problems import problem


def write_file(path: str | Path, content: str | bytes) -> Path:
    """Write a file whole or not at all, in a folder that is made if it is not there.

    Raises FusegraphError E633 where the file cannot be written.
    """
    target = make_room(path)
    try:
        write_whole(target, content.encode("utf-8") if isinstance(content, str) else content)
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
