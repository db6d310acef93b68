"""track_file: reads the number in a file whenever it changes.

In: definitions, the kernel's word that something in a folder has changed. Out: `found(kind, name, value, said)`.
A file is read when whoever wrote it closes it, when it is renamed to its place or removed: half of a number is never
seen. Where the kernel does not tell (no inotify, a network's or a kernel's own file system, a link into another
folder, a writer that never closes) a look every LOOK seconds finds out.
"""

from __future__ import annotations

import contextlib
import os
import re
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING, Callable

from vrrpd.model.values import FILE
from vrrpd.net.inotify import Inotify

if TYPE_CHECKING:
    from vrrpd.log import Log
    from vrrpd.loop import Loop
    from vrrpd.model.trackers import TrackFile
    from vrrpd.timers import Timer, Timers

LOOK = 2.0
GAP = 0.02  # between two reads of the same files: a writer in a loop does not keep us busy
SETTLED = 0.1  # since it was written: until then the writer may not be done
LENGTH = 128  # of what is read
MOST = 2**31 - 1
# As strtol() with base 0, which is keepalived's way to read it; what follows the number is overlooked.
NUMBER = re.compile(rb"\s*([+-]?)(0[xX][0-9a-fA-F]+|0[0-7]*|[1-9][0-9]*)")

Found = Callable[[str, str, int, str], None]
State = tuple[int, int, int]  # of a file: another one says that it has to be read


def number(data: bytes) -> int | None:
    """The number that a file begins with, within 32 bits; None when there is none."""
    match = NUMBER.match(data)
    if match is None:
        return None
    sign, digits = match.groups()
    base = 10 if digits[:1] != b"0" else 16 if digits[1:2] in (b"x", b"X") else 8
    value = min(int(digits, base), MOST)
    return -value if sign == b"-" else value


def read(path: str) -> tuple[int, str]:
    """(value, how it is for people). What cannot be read counts as 0, as in keepalived."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
        try:
            value = number(os.read(fd, LENGTH))
        finally:
            os.close(fd)
    except FileNotFoundError:
        return 0, "does not exist: 0"
    except OSError as error:
        return 0, f"cannot be read ({error.strerror}): 0"
    return (0, "holds no number: 0") if value is None else (value, f"holds {value}")


def state(path: str) -> State | None:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino


def initialise(path: str, value: int, overwrite: bool) -> None:
    """init_file: make it, or give it this number too when it exists already."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOCTTY | os.O_NONBLOCK
    try:
        fd = os.open(path, flags | (os.O_TRUNC if overwrite else os.O_EXCL), 0o600)
    except FileExistsError:
        return
    with os.fdopen(fd, "w", encoding="ascii") as file:
        file.write(f"{value}\n")


class Files:
    """All of them."""

    def __init__(self, loop: Loop, timers: Timers, log: Log, found: Found) -> None:
        self._loop, self._timers, self._log, self._found = loop, timers, log, found
        self._files: dict[str, TrackFile] = {}
        self._states: dict[str, State | None] = {}  # by path, when it was read
        self._inotify: Inotify | None = None
        self._wanted: set[str] = set()  # what has changed, as inotify calls it
        self._read_at = 0.0
        self._reading: Timer | None = None
        self._looking: Timer | None = None

    def configure(self, definitions: Iterable[TrackFile], known: Iterable[str]) -> None:
        """`known`: of which the vrrp process has a verdict already, so that they were initialised before."""
        former, self._files = self._files, {each.name: each for each in definitions}
        before = {*former, *known}
        for each in self._files.values():
            if each.init_file is not None and each.name not in before:
                try:
                    initialise(each.file, *each.init_file)
                except OSError as error:
                    self._log.error(f"track_file {each.name}: cannot initialise {each.file}: {error.strerror}")
        self._states = {}
        if self._looking is not None:
            self._looking.cancel()
            self._looking = None
        if self._files:
            self._look()
        elif self._inotify is not None:
            self._close()

    def stop(self) -> None:
        self.configure((), ())

    def _close(self) -> None:
        assert self._inotify is not None
        self._loop.forget(self._inotify.fd)
        self._inotify.close()
        self._inotify = None

    def _look(self) -> None:
        """Have all watched, and read what has changed behind the back of inotify."""
        self._looking = self._timers.later(LOOK, self._look)
        self._watch()
        for path in {each.file for each in self._files.values()}:
            if path not in self._states or self._has_changed(path):
                self._read(path)

    def _has_changed(self, path: str) -> bool:
        """And is not being written just now."""
        found = state(path)
        return self._states[path] != found and (found is None or time.time() - found[0] / 1e9 > SETTLED)

    def _watch(self) -> None:
        if self._inotify is None:
            try:
                self._inotify = Inotify()
            except OSError as error:
                self._log.warning(f"files are looked at every {LOOK:g} s: no inotify ({error.strerror})")
                return
            self._loop.watch(self._inotify.fd, self._changed)
        wanted = {os.path.dirname(path) for each in self._files.values() for path in _paths(each.file)}
        watched = self._inotify.folders
        for folder in watched - wanted:
            self._inotify.forget(folder)
        for folder in wanted - watched:
            with contextlib.suppress(OSError):  # it does not exist (yet), or no more watches: the next look is soon
                self._inotify.watch(folder)

    def _changed(self, now: float) -> None:
        assert self._inotify is not None
        self._wanted.update(self._inotify.read())
        if self._reading is None:
            self._reading = self._timers.later(max(0.0, self._read_at + GAP - time.monotonic()), self._read_wanted)

    def _read_wanted(self) -> None:
        wanted, self._wanted, self._reading = self._wanted, set(), None
        self._read_at = time.monotonic()
        for path in {each.file for each in self._files.values()}:
            for real in _paths(path):
                if real in wanted or os.path.dirname(real) in wanted:
                    self._read(path)
                    break

    def _read(self, path: str) -> None:
        self._states[path] = state(path)
        value, said = read(path)
        for each in self._files.values():
            if each.file == path:
                self._found(FILE, each.name, value, said)

    def status(self) -> list[dict[str, object]]:
        return [{"kind": FILE, "name": each.name, "file": each.file} for each in self._files.values()]


def _paths(path: str) -> set[str]:
    """Its own, and what it leads to."""
    return {os.path.normpath(path), os.path.realpath(path)}
