"""What a process does to itself: privileges, parent-death signal, memory, scheduling; and what systemd hears.

Linux only, by ctypes where Python has no call. Everything that a container or an ordinary user may be refused
returns False instead of raising, so that the caller can say once what it goes without.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import pwd
import resource
import signal
import socket
import struct
import sys
from collections.abc import Iterable
from typing import Any

# capabilities(7)
CAP_NET_ADMIN, CAP_NET_RAW, CAP_IPC_LOCK, CAP_SYS_NICE = 12, 13, 14, 23
VRRP_CAPABILITIES = (CAP_NET_ADMIN, CAP_NET_RAW, CAP_IPC_LOCK, CAP_SYS_NICE)

_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE, _PR_SET_KEEPCAPS, _PR_SET_NAME = 1, 4, 8, 15
_PR_CAPBSET_DROP, _PR_SET_NO_NEW_PRIVS = 24, 38
_CAPABILITY_VERSION_3 = 0x20080522
_MCL_CURRENT, _MCL_FUTURE, _MCL_ONFAULT = 1, 2, 4
_CLONE_NEWNET = 0x40000000
UMASK = 0o022  # keepalived.conf(5), and not what whoever starts the daemon has; scripts inherit it
NAMESPACES = "/run/netns"  # ip-netns(8)
NAMESPACE_NOTE = "net_namespace"
_SYS_PIDFD_OPEN = 434  # the same number on every architecture
_SYS_PIDFD_SEND_SIGNAL = 424


def _libc() -> Any:
    return ctypes.CDLL(None, use_errno=True)


def prctl(option: int, argument: int) -> bool:
    return bool(_libc().prctl(option, ctypes.c_ulong(argument), 0, 0, 0) == 0)


def set_name(name: str) -> None:
    """The name that ps and top show (15 bytes)."""
    buffer = ctypes.create_string_buffer(name.encode(errors="surrogateescape")[:15])
    _libc().prctl(_PR_SET_NAME, buffer, 0, 0, 0)


def die_with_parent(parent: int, sig: int = signal.SIGTERM) -> bool:
    """Have the kernel send `sig` when the parent dies; False when it is dead already.

    To be called after the user was changed: setuid clears the setting (prctl(2)).
    """
    prctl(_PR_SET_PDEATHSIG, sig)
    return os.getppid() == parent


def permit_core_dumps() -> None:
    """keepalived's -m: no limit, and dumpable again after setuid."""
    prctl(_PR_SET_DUMPABLE, 1)
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_CORE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))


def capabilities() -> int:
    """The permitted set of this process."""
    with open("/proc/self/status", encoding="ascii") as file:
        return next(int(line.split()[1], 16) for line in file if line.startswith("CapPrm:"))


def _set_capabilities(mask: int) -> bool:
    header = struct.pack("=Ii", _CAPABILITY_VERSION_3, 0)
    low, high = mask & 0xFFFFFFFF, mask >> 32
    return bool(_libc().capset(header, struct.pack("=6I", low, low, 0, high, high, 0)) == 0)


def drop_privileges(user: str, keep: Iterable[int]) -> str:
    """Become `user` with these capabilities and no way to gain others; returns who we are now.

    Where the user does not exist (a checkout, a user namespace) root stays, with nothing but the capabilities.
    """
    wanted = sum(1 << cap for cap in keep) & capabilities()
    for cap in range(64):
        if not wanted >> cap & 1 and not prctl(_PR_CAPBSET_DROP, cap):
            break  # beyond the last one, or we lack CAP_SETPCAP
    name = "root" if os.geteuid() == 0 else str(os.geteuid())
    with contextlib.suppress(KeyError, OSError):
        entry = pwd.getpwnam(user)
        prctl(_PR_SET_KEEPCAPS, 1)
        os.setgroups([])
        os.setresgid(entry.pw_gid, entry.pw_gid, entry.pw_gid)
        os.setresuid(entry.pw_uid, entry.pw_uid, entry.pw_uid)
        name = user
    prctl(_PR_SET_KEEPCAPS, 0)
    _set_capabilities(wanted)
    prctl(_PR_SET_NO_NEW_PRIVS, 1)
    return name


def lock_memory() -> bool:
    """No page that was touched is ever swapped or dropped again (MCL_ONFAULT: untouched ones cost nothing)."""
    return bool(_libc().mlockall(_MCL_CURRENT | _MCL_FUTURE | _MCL_ONFAULT) == 0)


def schedule_realtime(priority: int = 1) -> bool:
    """SCHED_RR: under load SCHED_OTHER is 8-30 ms late at p99, longer than a down interval of 10 ms adverts."""
    try:
        os.sched_setscheduler(0, os.SCHED_RR | os.SCHED_RESET_ON_FORK, os.sched_param(priority))
    except OSError:
        return False
    return True


def limit_realtime(microseconds: int) -> None:
    """SIGXCPU after so long in real time without a wait (setrlimit(2) RLIMIT_RTTIME), and then every second."""
    _, hard = resource.getrlimit(resource.RLIMIT_RTTIME)
    soft = microseconds if hard == resource.RLIM_INFINITY else min(microseconds, hard)
    resource.setrlimit(resource.RLIMIT_RTTIME, (soft, hard))


def schedule_ordinary(nice: int) -> bool:
    """With this nice value, and not in real time."""
    try:
        os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
        os.setpriority(os.PRIO_PROCESS, 0, nice)
    except OSError:
        return False
    return True


def bind_to(processors: Iterable[int]) -> bool:
    """Run on these alone."""
    try:
        os.sched_setaffinity(0, processors)
    except OSError:
        return False
    return True


def enter_namespace(name: str) -> None:
    """This process, and whoever it forks, lives in the network namespace that `ip netns` calls so; raises OSError."""
    fd = os.open(os.path.join(NAMESPACES, name), os.O_RDONLY | os.O_CLOEXEC)
    try:
        if _libc().setns(fd, _CLONE_NEWNET):
            code = ctypes.get_errno()
            raise OSError(code, os.strerror(code), name)
    finally:
        os.close(fd)


def note_namespace(folder: str, name: str) -> None:
    """For whoever undoes what a daemon that was killed has left: where that was."""
    path = os.path.join(folder, NAMESPACE_NOTE)
    if name:
        with open(path, "w", encoding="utf-8") as file:
            file.write(name)
    else:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)


def enter_noted_namespace(folder: str) -> None:
    """Raises OSError, where it is no more."""
    try:
        with open(os.path.join(folder, NAMESPACE_NOTE), encoding="utf-8") as file:
            name = file.read()
    except FileNotFoundError:
        return
    enter_namespace(name)


def ordinary_priority() -> None:
    """Give back what the unit's Nice= has given, for those who must not push others aside."""
    if os.getpriority(os.PRIO_PROCESS, 0) < 0:
        os.setpriority(os.PRIO_PROCESS, 0, 0)


def go_first() -> bool:
    """Before all ordinary work, behind what runs in real time; children are ordinary again."""
    try:
        os.sched_setscheduler(0, os.SCHED_OTHER | os.SCHED_RESET_ON_FORK, os.sched_param(0))
        os.setpriority(os.PRIO_PROCESS, 0, -20)
    except OSError:
        return False
    return True


def pidfd_open(pid: int) -> int:
    """A descriptor that is readable once the process has ended."""
    if sys.version_info >= (3, 9) and hasattr(os, "pidfd_open"):
        return os.pidfd_open(pid)
    fd = int(_libc().syscall(_SYS_PIDFD_OPEN, pid, 0))  # a Python built against old headers
    if fd < 0:
        raise OSError(ctypes.get_errno(), "pidfd_open")
    return fd


def pidfd_kill(fd: int, sig: int) -> None:
    """Signal exactly that process: a pid may have been reused, a pidfd never is."""
    _libc().syscall(_SYS_PIDFD_SEND_SIGNAL, fd, int(sig), None, 0)


def is_stopped(pid: int) -> bool:
    """By SIGSTOP, or by a debugger."""
    return _stat(pid)[1] in (b"T", b"t")


def stopped_orphans(name: bytes) -> list[int]:
    """Stopped processes in our network namespace with names that begin so, whose parent has died."""
    found = []
    here = os.stat("/proc/self/ns/net").st_ino
    for pid in map(int, filter(str.isdigit, os.listdir("/proc"))):
        called, state, parent = _stat(pid)
        if called.startswith(name) and parent == b"1" and state in (b"T", b"t"):
            with contextlib.suppress(OSError):
                if os.stat(f"/proc/{pid}/ns/net").st_ino == here:
                    found.append(pid)
    return found


def _stat(pid: int) -> tuple[bytes, bytes, bytes]:
    """Name, state and parent (proc(5): the name stands in parentheses and may hold anything)."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            head, _, tail = file.read().rpartition(b") ")
    except OSError:
        return b"", b"", b""
    state, parent = tail.split()[:2]
    return head.partition(b"(")[2], state, parent


def default_signals() -> None:
    """Undo in a forked child what the parent did to its signals."""
    signal.set_wakeup_fd(-1)
    for sig in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2, signal.SIGCHLD):
        signal.signal(sig, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())


class SignalPipe:
    """Signals as input of a loop: read the descriptor, get the numbers."""

    def __init__(self, signals: Iterable[int]) -> None:
        self._read, self._write = socket.socketpair()
        self._read.setblocking(False)
        self._write.setblocking(False)
        signal.set_wakeup_fd(self._write.fileno(), warn_on_full_buffer=False)
        for sig in signals:
            signal.signal(sig, lambda _number, _frame: None)

    def fileno(self) -> int:
        return self._read.fileno()

    def read(self) -> list[int]:
        try:
            return list(self._read.recv(256))
        except BlockingIOError:
            return []

    def close(self) -> None:
        self._read.close()
        self._write.close()


def block_signals(signals: Iterable[int]) -> None:
    """They wait, also across an execve(2), until `admit_signals`."""
    signal.pthread_sigmask(signal.SIG_BLOCK, signals)


def admit_signals(signals: Iterable[int]) -> None:
    signal.pthread_sigmask(signal.SIG_UNBLOCK, signals)


def notify(text: str) -> None:
    """sd_notify(3); without systemd nothing happens."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address or not text:
        return
    if address[0] == "@":
        address = "\0" + address[1:]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock, contextlib.suppress(OSError):
        sock.sendto(text.encode(), address)


def watchdog_interval() -> float:
    """Half of what the unit's WatchdogSec= asks for, or infinity (sd_watchdog_enabled(3))."""
    with contextlib.suppress(ValueError):
        if os.environ.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid()):
            return int(os.environ.get("WATCHDOG_USEC", "")) / 2e6
    return float("inf")
