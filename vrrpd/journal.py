"""What the helper has promised to run, or runs, for the helper after it: a file of JSON lines in a root-only folder.

In: one record per event (added, running, done). Out: at the start, the records that an earlier helper of the same
guard has left. A helper may be killed at any moment; what was queued is then still run, in order, and what was
running is not started a second time beside itself. The file lives in the run directory: it must not survive a
reboot, and a daemon does not execute what an earlier daemon meant to. A helper killed in the instant between the
start of a script and its record has it run twice: better than never. Meaning of the records: scripts.py, and
trackers/scripts.py.
"""

from __future__ import annotations

import json
import os
from typing import Any

LIMIT = 1 << 20  # bytes; beyond it the owner writes it anew

Record = dict[str, Any]


class Journal:
    """`earlier` holds what was found. Errors are the caller's: without a journal everything works but this."""

    def __init__(self, path: str) -> None:
        os.makedirs(os.path.dirname(path), 0o700, exist_ok=True)
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        self._owner = f"{os.getppid()} {start_of(os.getppid())}"  # the guard
        self.earlier = self._read()
        self.size = 0
        self.clear()

    def _read(self) -> list[Record]:
        with open(self._fd, "rb", closefd=False) as file:
            lines = file.read().split(b"\n")[:-1]  # the last one is empty, or torn
        records = [json.loads(line) for line in lines]
        return records[1:] if records and records[0] == {"owner": self._owner} else []

    def clear(self) -> None:
        """Nothing is promised any more."""
        os.ftruncate(self._fd, 0)
        self.size = 0
        self.write({"owner": self._owner})

    def write(self, record: Record) -> None:
        self.size += os.write(self._fd, json.dumps(record, separators=(",", ":")).encode() + b"\n")

    def close(self) -> None:
        os.close(self._fd)


def start_of(pid: int) -> int:
    """When a process started, in clock ticks since the boot; 0 when there is none. A pid alone may come again."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            fields = file.read().rpartition(b")")[2].split()
    except OSError:
        return 0
    return 0 if fields[0] == b"Z" else int(fields[19])  # proc(5): field 22, and 2 before the bracket
