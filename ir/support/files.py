"""Files that are there whole or not at all."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from pathlib import Path


def write_whole(path: Path, content: bytes) -> None:
    """Write beside `path`, sync, rename: who reads sees the old file or the new one.

    Raises OSError where that cannot be done, such as in a folder that is not there; the old file
    then stays, and nothing else is left behind.
    """
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with part.open("wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
    _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    """Make a new name in a folder outlive a power cut, where the system can."""
    if sys.platform == "win32":
        return
    # The file is in its place already, and some file systems cannot sync a folder.
    with suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
