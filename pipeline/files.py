"""Files that are written whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path

from .problems import problem


def write_file(path: str | Path, content: str | bytes) -> Path:
    """Write beside the file, then rename: who reads sees the old file or the new one.

    Raises FusegraphError E633 where the file cannot be written.
    """
    target = Path(path)
    part = target.with_name(f".{target.name}.{os.getpid()}.part")
    data = content.encode("utf-8") if isinstance(content, str) else content
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            with part.open("wb") as stream:
                stream.write(data)
                stream.flush()
                os.fsync(stream.fileno())
            part.replace(target)
        finally:
            part.unlink(missing_ok=True)
    except OSError as error:
        raise problem(
            "E633",
            f"the file cannot be written: {error.strerror or error}",
            target,
            help="give another path, or make room and allow writing there",
        ) from None
    return target
