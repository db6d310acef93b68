"""Pid files whose lock is the truth: who holds it runs, whatever the number in the file says."""

from __future__ import annotations

import fcntl
import os
import time


class Running(Exception):
    """Another daemon has the pid file locked."""


def lock_pid_file(path: str, wait: float = 0.0) -> int:
    """Open and lock; wait for the holder at most so long. The lock lives as long as the descriptor and its copies."""
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)
    until = time.monotonic() + wait
    while True:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            if time.monotonic() < until:
                time.sleep(0.02)
                continue
            holder = os.pread(fd, 32, 0).decode(errors="replace").strip()
            os.close(fd)
            raise Running(f"already running: process {holder} holds {path}") from None
        if _same_file(fd, path):
            return fd
        os.close(fd)  # its last owner removed it between our open and our lock
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)


def _same_file(fd: int, path: str) -> bool:
    try:
        return os.path.samestat(os.fstat(fd), os.stat(path))
    except FileNotFoundError:
        return False


def write_pid(fd: int, pid: int) -> None:
    """Readable at any moment: the former pid, the new one, or the new one with line ends behind it."""
    data = b"%d\n" % pid
    os.pwrite(fd, data.ljust(16, b"\n"), 0)
    os.ftruncate(fd, len(data))


def read_pid(path: str) -> int:
    """The pid in the file; 0 when there is none."""
    try:
        with open(path, encoding="ascii") as file:
            return int(file.read(32))
    except (OSError, ValueError):
        return 0
