"""Where log lines go, and how they look.

In: a level and a message. Out: one line in journald (stderr with sd-daemon(3) prefixes when systemd connected it
there), on stderr (`-l`), or in syslog through /dev/log. Text from outside (a peer, a script, a file) may hold
anything: `escape` leaves no control character and no line break in a line. Who logs what, and how often, is
decided by the callers; secrets never reach this file.
"""

from __future__ import annotations

import contextlib
import os
import socket
import time
from typing import Callable, Protocol

# syslog(3) severities
LEVELS = {"error": 3, "warning": 4, "info": 6, "debug": 7}
LOG_DAEMON = 3
DEV_LOG = "/dev/log"

Sink = Callable[[int, str, float], None]


def escape(text: str) -> str:
    """`text` with everything that is not printable (control, bidi, lone surrogates) as a backslash escape."""
    if text.isprintable():
        return text
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape", "backslashreplace").decode("ascii")
        for char in text
    )


class Log:
    """Writes lines at or above a level to one sink."""

    def __init__(self, sink: Sink, detailed: bool = False) -> None:
        self._sink = sink
        self._most = LEVELS["debug"] if detailed else LEVELS["info"]

    def write(self, level: str, message: str, at: float | None = None) -> None:
        """Log one line; `at` is the wall clock of what it tells, when that is not now."""
        severity = LEVELS.get(level, LEVELS["info"])
        if severity <= self._most:
            self._sink(severity, escape(message), time.time() if at is None else at)

    def error(self, message: str) -> None:
        self.write("error", message)

    def warning(self, message: str) -> None:
        self.write("warning", message)

    def info(self, message: str) -> None:
        self.write("info", message)

    def debug(self, message: str) -> None:
        self.write("debug", message)


class Outputs(Protocol):
    """How the command line says to log; guard.Setting and helper.Setting are this."""

    @property
    def to_stderr(self) -> bool: ...
    @property
    def detailed(self) -> bool: ...
    @property
    def log_facility(self) -> int:
        """Of syslog(3): 3 is daemon."""

    @property
    def log_file(self) -> str:
        """Lines go there too; "" for none."""

    @property
    def tag(self) -> str:
        """Namespace and instance: part of our name in syslog, as with keepalived."""

    @property
    def syslog(self) -> bool:
        """False: not there, as long as there is another place."""


def log_of(outputs: Outputs) -> Log:
    """The log that the command line asks for."""
    return open_log(
        outputs.to_stderr,
        outputs.detailed,
        facility=outputs.log_facility,
        also=_file(outputs.log_file) if outputs.log_file else None,
        syslog=outputs.syslog,
        name="_".join(filter(None, ("vrrpd", outputs.tag))),
    )


def open_log(
    to_stderr: bool = False,
    detailed: bool = False,
    stderr: int = 2,
    facility: int = LOG_DAEMON,
    also: Sink | None = None,
    syslog: bool = True,
    name: str = "vrrpd",
) -> Log:
    """The log that fits this process: journald, stderr with `to_stderr` or without a syslog, else syslog."""
    if _is_journal(stderr):
        sink = _journal(stderr)
    elif to_stderr or not os.path.exists(DEV_LOG):
        sink = _terminal(stderr)
    elif syslog or also is None:
        sink = Syslog(DEV_LOG, facility, name)
    else:
        return Log(also, detailed)
    return Log(sink if also is None else _both(sink, also), detailed)


def _both(one: Sink, other: Sink) -> Sink:
    def sink(severity: int, message: str, at: float) -> None:
        one(severity, message, at)
        other(severity, message, at)

    return sink


def _file(path: str) -> Sink:
    """Opened for each line, so that whoever rotates it need not tell us; not created through a link."""

    def sink(severity: int, message: str, at: float) -> None:
        with contextlib.suppress(OSError):  # there is another place
            flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
            fd = os.open(path, flags, 0o640)
            try:
                _terminal(fd)(severity, message, at)
            finally:
                os.close(fd)

    return sink


def _is_journal(fd: int) -> bool:
    # systemd.exec(5): $JOURNAL_STREAM holds "device:inode" of the stream, and outlives a redirection of it
    wanted = os.environ.get("JOURNAL_STREAM", "")
    if not wanted:
        return False
    try:
        status = os.fstat(fd)
    except OSError:
        return False
    return wanted == f"{status.st_dev}:{status.st_ino}"


def _journal(fd: int) -> Sink:
    def sink(severity: int, message: str, at: float) -> None:
        _write(fd, f"<{severity}>{message}\n")

    return sink


def _terminal(fd: int) -> Sink:
    words = {3: "error: ", 4: "warning: "}

    def sink(severity: int, message: str, at: float) -> None:
        seconds, ms = divmod(round(at * 1000), 1000)
        clock = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds))
        _write(fd, f"{clock}.{ms:03d} {words.get(severity, '')}{message}\n")

    return sink


def _write(fd: int, line: str) -> None:
    with contextlib.suppress(OSError):  # nobody reads: there is no place left to complain
        os.write(fd, line.encode("utf-8", "backslashreplace"))


class Syslog:
    """A sink in the form of syslog(3), which survives restarts of the syslog daemon and never waits for it."""

    # never localised, unlike strftime's
    MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")

    def __init__(self, path: str = DEV_LOG, facility: int = LOG_DAEMON, name: str = "vrrpd") -> None:
        self._path = path
        self._name = name
        self._facility = facility
        self._socket: socket.socket | None = None
        self._lost = 0

    def __call__(self, severity: int, message: str, at: float) -> None:
        now = time.localtime(at)
        clock = f"{self.MONTHS[now.tm_mon - 1]} {now.tm_mday:2d} {now.tm_hour:02d}:{now.tm_min:02d}:{now.tm_sec:02d}"
        if self._lost:
            message = f"{message} ({self._lost} earlier lines lost: syslog did not take them)"
        line = f"<{self._facility << 3 | severity}>{clock} {self._name}[{os.getpid()}]: {message}".encode(
            "utf-8", "backslashreplace"
        )
        # a second time after a restart of the syslog daemon
        sent = self._send(line) or (self._socket is None and self._send(line))
        self._lost = 0 if sent else self._lost + 1

    def _send(self, line: bytes) -> bool:
        try:
            if self._socket is None:
                self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
                self._socket.connect(self._path)
            self._socket.send(line)
        except BlockingIOError:
            return False
        except OSError:
            self.close()
            return False
        return True

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None
