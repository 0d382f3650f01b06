"""Leases: who is working on a claimed trial, and whether that process still lives."""

from __future__ import annotations

import os
import socket
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

LEASE_SECONDS = 24 * 3600.0
"""How long a process that cannot be looked up, on another machine, is believed to live."""


@dataclass(frozen=True, slots=True)
class Lease:
    """A process: host, process id, when that process was started, and when it took the trial.

    The start tells a process from a later one with the same id. It is in clock ticks since the
    machine was booted, or empty where the system does not tell.
    """

    host: str
    process: int
    born: str
    taken: float

    @classmethod
    def mine(cls) -> Lease:
        """The lease of this process, taken now."""
        process = os.getpid()
        return cls(socket.gethostname(), process, _born(process), time.time())

    @classmethod
    def parse(cls, data: Mapping[str, Any]) -> Lease:
        """The lease that `as_json` gave."""
        return cls(str(data["host"]), int(data["process"]), str(data["born"]), float(data["taken"]))

    def as_json(self) -> dict[str, Any]:
        """Its fields, for the store."""
        return asdict(self)

    def held_by_another(self) -> bool:
        """Whether a process other than this one holds it and, as far as can be known, lives."""
        mine = Lease.mine()
        if self.host != mine.host or sys.platform == "win32":
            return time.time() - self.taken < LEASE_SECONDS
        if (self.process, self.born) == (mine.process, mine.born):
            return False
        return _lives(self.process) and _born(self.process) == self.born

    def describe(self) -> str:
        """For people."""
        return f"process {self.process} on {self.host}"


def _lives(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _born(process: int) -> str:
    try:
        status = Path(f"/proc/{process}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    # The name, in brackets, may hold spaces; the state and the start are fields 3 and 22.
    fields = status.rpartition(")")[2].split()
    return "" if fields[0] == "Z" else fields[19]
