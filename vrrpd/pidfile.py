"""Pid files whose lock is the truth: who holds it runs, whatever the number in the file says."""

from __future__ import annotations

import fcntl
import os
import signal
import time

from vrrpd import process

EXIT_RUNNING = 1
PREDECESSOR_WAIT = 10.0  # for a vrrp process whose guard has died to leave in the planned way


class Running(Exception):
    """Another daemon has the pid file locked."""

    def __init__(self, path: str, holder: str) -> None:
        super().__init__(f"already running: process {holder} holds {path}")
        self.pid = int(holder) if holder.isdigit() else 0


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
            raise Running(path, holder) from None
        if _same_file(fd, path):
            return fd
        os.close(fd)  # its last owner removed it between our open and our lock
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)


def outlive(path: str, patience: float) -> int:
    """The lock of a worker whose guard has died. It leaves in the planned way; one that cannot, or does not, is killed.

    Stopped (SIGSTOP) it would never know that it is to leave, and nobody may undo what it could do again.
    """
    until = time.monotonic() + patience
    while True:
        try:
            return lock_pid_file(path)
        except Running as running:
            if running.pid and (time.monotonic() >= until or process.is_stopped(running.pid)):
                _kill(running.pid, path)
        time.sleep(0.02)


def _kill(pid: int, path: str) -> None:
    """Not a process that has got its number meanwhile: the lock is looked at between the two steps."""
    try:
        fd = process.pidfd_open(pid)
    except OSError:
        return
    try:
        os.close(lock_pid_file(path))
    except Running:
        process.pidfd_kill(fd, signal.SIGKILL)
    finally:
        os.close(fd)


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
