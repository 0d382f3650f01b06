"""The journal file of the store: its lock, and the repair of a torn last line."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import IO

from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock


class KernelLock(JournalFileOpenLock):
    """A lock that the kernel holds for the process, and lets go of when the process dies.

    Optuna's own locks are files: after `kill -9` within a write, the next process waits 30 seconds
    before it takes such a lock away.
    """

    def __init__(self, journal: str) -> None:
        super().__init__(journal)
        self._path = journal + ".lock"
        self._file: IO[bytes] | None = None

    def acquire(self) -> bool:
        """Wait for the lock."""
        import fcntl

        file = open(self._path, "ab")  # noqa: SIM115 - held until `release`
        try:
            fcntl.flock(file, fcntl.LOCK_EX)
        except BaseException:
            file.close()
            raise
        self._file = file
        return True

    def release(self) -> None:
        """Let go of it."""
        if self._file is not None:
            self._file.close()
            self._file = None


def journal_lock(path: Path) -> JournalFileOpenLock:
    """The best lock that the platform has."""
    if sys.platform == "win32":
        return JournalFileOpenLock(str(path))
    return KernelLock(str(path))


def journal_backend(path: Path) -> JournalFileBackend:
    """The backend of a journal file, which is made if it is not there."""
    return JournalFileBackend(str(path), lock_obj=journal_lock(path))


def repair(path: Path) -> int:
    """Drop a last line that was not written to its end; returns how many bytes were dropped.

    A torn line would make every load fail once another line follows it. What it spoke of was never
    acknowledged to anyone, so nothing is lost.
    """
    if not path.exists():
        return 0
    lock = journal_lock(path)
    lock.acquire()
    try:
        with open(path, "r+b") as file:
            text = file.read()
            whole = text[: text.rfind(b"\n") + 1]
            last = whole[whole.rfind(b"\n", 0, -1) + 1 :]
            if last and not _is_json(last):
                whole = whole[: -len(last)]
            if len(whole) < len(text):
                file.truncate(len(whole))
                file.flush()
                os.fsync(file.fileno())
            return len(text) - len(whole)
    finally:
        lock.release()


def _is_json(line: bytes) -> bool:
    try:
        json.loads(line)
    except ValueError:
        return False
    return True
