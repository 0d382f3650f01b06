"""Files that are there whole or not at all."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from .problems import problem


def write_whole(path: Path, content: bytes) -> None:
    """Write beside `path`, then rename. Raises FusegraphError E728 and leaves nothing behind."""
    temporary = ""
    try:
        handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o666 & ~_umask())
        os.replace(temporary, path)
    except OSError as error:
        raise problem(
            "E728",
            f"the file cannot be written: {error.strerror or error}",
            str(path),
            help="give a path in a folder that exists and that you may write to",
        ) from error
    finally:
        if temporary:
            Path(temporary).unlink(missing_ok=True)


def _umask() -> int:
    """What the process denies new files; `mkstemp` denies everything to all but the owner."""
    mask = os.umask(0o077)
    os.umask(mask)
    return mask
