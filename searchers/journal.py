"""The journal file of the store: its lock, and the repair of a torn last line."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from optuna.storages import JournalStorage
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


class Journal(JournalFileBackend):
    """A journal file, which is made if it is not there."""

    def __init__(self, path: Path) -> None:
        self._lines = str(path)
        self._writing = journal_lock(path)
        super().__init__(self._lines, lock_obj=self._writing)
        self._gathering = False

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        """Append a line each, and sync, unless they are being gathered."""
        lines = [json.dumps(log, separators=(",", ":")) + "\n" for log in logs]
        self._writing.acquire()
        try:
            with open(self._lines, "ab") as file:
                file.write("".join(lines).encode())
                file.flush()
                if not self._gathering:
                    os.fsync(file.fileno())
        finally:
            self._writing.release()

    @contextmanager
    def gathered(self) -> Iterator[None]:
        """Sync once, at the end, what is appended within.

        To sync takes milliseconds, as long as a small network trains. What was appended outlives
        the process at once, as ever, and a power cut from the end on.
        """
        self._gathering = True
        try:
            yield
        finally:
            self._gathering = False
            with open(self._lines, "ab") as file:
                os.fsync(file.fileno())


class TrialJournal(JournalStorage):
    """Trials in a journal file."""

    def __init__(self, path: Path) -> None:
        self.journal = Journal(path)
        super().__init__(self.journal)


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
