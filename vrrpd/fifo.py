"""keepalived's notification FIFOs: lines about transitions for whoever reads a named pipe, and the scripts that do.

In: lines, and which pipes the configuration wants. Out: the pipes, processes that read them. A write never waits: a
pipe that nobody reads fills up (a megabyte), then lines are dropped, counted and complained about. The guard keeps a
descriptor of each pipe, so that neither a reload nor the end of a helper takes away what has not been read; the script
that reads outlives the helper too, and is found again by what is written down about it beside the will. What a line
says is notify.py's.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import signal
import stat
import termios
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Callable, NamedTuple

from vrrpd import process
from vrrpd.children import Backoff
from vrrpd.journal import start_of
from vrrpd.log import Log
from vrrpd.loop import Loop
from vrrpd.scripts import SPAWN_ERRORS, TERM_GRACE, Owner, account, owner, spawn, why
from vrrpd.timers import Timer, Timers

if TYPE_CHECKING:
    from vrrpd.model.globals import GlobalDefs
    from vrrpd.model.host import Fifo
    from vrrpd.model.scripts import Script

CAPACITY = 1 << 20  # bytes; a failover of thousands of instances, while the reader is busy with the first
COMPLAIN = 60.0  # seconds between two complaints about one pipe
READ_OUT = 1.0  # for the last lines to be read, before the script that reads is ended
LOOK = 0.02
STDERR = 2  # the journal, where systemd has started us
F_SETPIPE_SZ = 1031  # fcntl's from Python 3.10 on


class Kept(NamedTuple):
    """A pipe as the guard has it between two helpers."""

    path: str
    fd: int
    made: bool  # by us: then it is ours to remove


class Wanted(NamedTuple):
    fifo: Fifo
    script: Script | None


class _Reader:
    """The script behind one pipe. `child` is None when an earlier helper has started it."""

    def __init__(self, argv: tuple[str, ...], pid: int, child: Any = None) -> None:
        self.argv, self.pid, self.child = argv, pid, child
        self.start = start_of(pid)
        self.pidfd = process.pidfd_open(pid)


class _Pipe:
    def __init__(self, kept: Kept) -> None:
        self.path, self.fd, self.made = kept
        self.wanted: Wanted | None = None
        self.reader: _Reader | None = None
        self.backoff = Backoff()
        self.again: Timer | None = None  # when the script is started again
        self.written = 0
        self.dropped = 0
        self.unsaid = 0  # of these, since the last complaint
        self.complained = 0.0


class Fifos:
    """All of them. `keep` has the guard hold a pipe, and lets it go when called without a descriptor."""

    def __init__(
        self,
        loop: Loop,
        timers: Timers,
        log: Log,
        notes: str,
        keep: Callable[[str, bool, Sequence[int]], None],
        kept: Sequence[Kept] = (),
    ) -> None:
        self._loop, self._timers, self._log, self._keep = loop, timers, log, keep
        self._notes = notes
        self._kept = {each.path: each for each in kept}
        self._pipes: dict[str, _Pipe] = {}
        self._ending = False
        self._told = ""  # what is written down
        self._owner = Owner()
        self.on_idle: Callable[[], None] = lambda: None

    @property
    def busy(self) -> bool:
        """Scripts that read have not ended."""
        return any(pipe.reader is not None for pipe in self._pipes.values())

    def status(self) -> list[dict[str, Any]]:
        return [
            {
                "path": pipe.path,
                "written": pipe.written,
                "dropped": pipe.dropped,
                "reader": pipe.reader.pid if pipe.reader else None,
            }
            for pipe in self._pipes.values()
        ]

    def configure(self, defs: GlobalDefs) -> None:
        """Have the pipes of this configuration, and no others."""
        self._owner = owner(defs)
        wanted = {
            fifo.path: Wanted(fifo, script)
            for fifo, script in (
                (defs.notify_fifo, defs.notify_fifo_script),
                (defs.vrrp_notify_fifo, defs.vrrp_notify_fifo_script),
            )
            if fifo is not None
        }
        earlier = self._earlier() if not self._pipes else {}
        for path in [path for path in self._kept if path not in wanted]:
            self._remove(_Pipe(self._kept.pop(path)))
        for path in [path for path in self._pipes if path not in wanted]:
            self._remove(self._pipes.pop(path))
        for path, want in wanted.items():
            note = earlier.pop(path, {})
            pipe = self._pipes.get(path)
            if pipe is None:
                try:
                    kept = self._kept.pop(path) if path in self._kept else None
                    pipe = _Pipe(kept or self._open(want.fifo, bool(note.get("made"))))
                except OSError as error:
                    self._log.error(f"cannot have the named pipe {path}: {error.strerror}; nothing is written there")
                    continue
                self._pipes[path] = pipe
            if pipe.made:
                self._own(pipe, want.fifo)
            pipe.wanted = want
            self._have_reader(pipe, note)
        for note in earlier.values():  # those of a configuration before, or of a daemon that was killed
            reader = _found(note)
            if reader is not None:
                self._end_reader(reader)
        self._note()

    # ------------------------------------------------------------------ lines
    def write(self, line: str) -> None:
        """One line, line end included, to all of them; never waits."""
        data = line.encode("utf-8", "surrogateescape")
        for pipe in self._pipes.values():
            if not _is_there(pipe):
                self._replace(pipe)
            try:
                os.write(pipe.fd, data)
                pipe.written += 1
            except OSError as error:  # BlockingIOError: it is full
                self._drop(pipe, "nobody reads it" if isinstance(error, BlockingIOError) else str(error.strerror))

    def _drop(self, pipe: _Pipe, reason: str) -> None:
        pipe.dropped += 1
        pipe.unsaid += 1
        now = time.monotonic()
        if now - pipe.complained >= COMPLAIN or not pipe.complained:
            count = f"{pipe.unsaid} lines" if pipe.unsaid > 1 else "a line"
            self._log.error(f"named pipe {pipe.path}: {count} dropped, {reason}")
            pipe.complained, pipe.unsaid = now, 0

    # ------------------------------------------------------------------ pipes
    def _open(self, fifo: Fifo, made: bool = False) -> Kept:
        try:
            os.mkfifo(fifo.path, 0o600)
            made = True
        except FileExistsError:
            if not stat.S_ISFIFO(os.lstat(fifo.path).st_mode):
                raise
        # Read and write: it is never without a reader, so that a write is no SIGPIPE, and opening it never waits.
        fd = os.open(fifo.path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOFOLLOW)
        with contextlib.suppress(OSError):  # beyond what this system allows
            fcntl.fcntl(fd, F_SETPIPE_SZ, CAPACITY)
        self._keep(fifo.path, made, (fd,))
        return Kept(fifo.path, fd, made)

    def _own(self, pipe: _Pipe, fifo: Fifo) -> None:
        try:
            who = account(*self._owner.of(fifo.user, fifo.group))
            os.fchmod(pipe.fd, 0o600)
            os.fchown(pipe.fd, who.uid, who.gid)
        except (OSError, LookupError) as error:
            self._log.error(f"named pipe {pipe.path}: {error}; it belongs to root")

    def _replace(self, pipe: _Pipe) -> None:
        """Somebody has removed it: whoever opens that path would never see a line."""
        assert pipe.wanted is not None
        try:
            kept = self._open(pipe.wanted.fifo)
        except OSError as error:
            self._drop(pipe, f"it was removed, and cannot be made again: {error.strerror}")
            return
        os.close(pipe.fd)
        pipe.fd, pipe.made = kept.fd, kept.made
        if pipe.made:
            self._own(pipe, pipe.wanted.fifo)
        self._log.warning(f"named pipe {pipe.path} was removed by somebody: made again")

    def _remove(self, pipe: _Pipe) -> None:
        self._stop_reader(pipe)
        if pipe.made and _is_there(pipe):
            with contextlib.suppress(OSError):
                os.unlink(pipe.path)
        os.close(pipe.fd)
        self._keep(pipe.path, False, ())

    # ---------------------------------------------------------------- readers
    def _have_reader(self, pipe: _Pipe, note: dict[str, Any]) -> None:
        assert pipe.wanted is not None
        script = pipe.wanted.script
        argv = (*script.argv, pipe.path) if script is not None else ()
        found = _found(note)
        if found is not None:
            self._watch_reader(pipe, found)
        if pipe.reader is not None and pipe.reader.argv != argv:
            self._stop_reader(pipe)
        if argv and pipe.reader is None:
            self._start_reader(pipe)

    def _start_reader(self, pipe: _Pipe) -> None:
        pipe.again = None
        if pipe.wanted is None or pipe.wanted.script is None or self._ending:
            return
        script = pipe.wanted.script
        argv = (*script.argv, pipe.path)
        try:
            child = spawn(argv, self._owner.of(script.user, script.group), STDERR)
            self._watch_reader(pipe, _Reader(argv, child.pid, child))
        except SPAWN_ERRORS as error:
            self._failed(pipe, why(argv[0], error))
        self._note()

    def _watch_reader(self, pipe: _Pipe, reader: _Reader) -> None:
        pipe.reader = reader
        self._loop.watch(reader.pidfd, lambda now: self._reader_ended(pipe))

    def _reader_ended(self, pipe: _Pipe) -> None:
        reader, pipe.reader = pipe.reader, None
        assert reader is not None
        self._loop.forget(reader.pidfd)
        os.close(reader.pidfd)
        status = reader.child.wait() if reader.child is not None else None
        if not self._ending:
            how = "" if status is None else f" ({_outcome(status)})"
            self._failed(pipe, f"{reader.argv[0]} has ended{how}")
        self._note()
        if not self.busy:
            self.on_idle()

    def _failed(self, pipe: _Pipe, reason: str) -> None:
        delay = max(1.0, pipe.backoff.after_death(time.monotonic()))
        self._log.warning(f"the script of named pipe {pipe.path}: {reason}; started again in {delay:g} s")
        pipe.again = self._timers.later(delay, lambda: self._start_reader(pipe))

    def _stop_reader(self, pipe: _Pipe) -> None:
        if pipe.again is not None:
            pipe.again.cancel()
            pipe.again = None
        reader, pipe.reader = pipe.reader, None
        if reader is not None:
            self._loop.forget(reader.pidfd)
            self._end_reader(reader)

    def _end_reader(self, reader: _Reader) -> None:
        """TERM, later KILL; its end is not waited for."""
        _signal(reader, signal.SIGTERM)
        self._timers.later(TERM_GRACE, lambda: self._bury(reader))

    def _bury(self, reader: _Reader) -> None:
        _signal(reader, signal.SIGKILL)
        os.close(reader.pidfd)
        if reader.child is not None:
            reader.child.poll()

    # -------------------------------------------------------------------- end
    def finish(self) -> None:
        """The last line has been written: have it read, then end the scripts that read."""
        if self._ending:
            return
        self._ending = True
        until = time.monotonic() + READ_OUT

        def look() -> None:
            unread = any(pipe.reader is not None and _waiting(pipe.fd) for pipe in self._pipes.values())
            if unread and time.monotonic() < until:
                self._timers.later(LOOK, look)
                return
            for pipe in self._pipes.values():
                if pipe.again is not None:
                    pipe.again.cancel()
                if pipe.reader is not None:
                    _signal(pipe.reader, signal.SIGTERM)

        look()

    def close(self) -> None:
        """The daemon ends: what still reads is killed, what is ours is removed."""
        self._ending = True
        for pipe in self._pipes.values():
            if pipe.reader is not None:
                _signal(pipe.reader, signal.SIGKILL)
            self._remove(pipe)
        self._pipes.clear()
        with contextlib.suppress(OSError):
            os.unlink(self._notes)

    # ------------------------------------------------------------------ notes
    def _note(self) -> None:
        """For the helper after this one: which pipes are ours, and who reads them."""
        notes = [
            {
                "path": pipe.path,
                "made": pipe.made,
                **(
                    {"argv": pipe.reader.argv, "pid": pipe.reader.pid, "start": pipe.reader.start}
                    if pipe.reader is not None
                    else {}
                ),
            }
            for pipe in self._pipes.values()
        ]
        text = json.dumps(notes)
        if text == self._told or not (notes or self._told):
            return
        self._told = text
        try:
            os.makedirs(os.path.dirname(self._notes), 0o700, exist_ok=True)
            fd = os.open(f"{self._notes}.new", os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
            with os.fdopen(fd, "w", encoding="utf-8") as file:
                file.write(text)
            os.rename(f"{self._notes}.new", self._notes)
        except OSError as error:
            self._log.error(f"{self._notes}: {error.strerror}; a helper that dies leaves the scripts of named pipes")

    def _earlier(self) -> dict[str, dict[str, Any]]:
        try:
            with open(self._notes, encoding="utf-8") as file:
                return {str(note["path"]): note for note in json.load(file)}
        except (OSError, ValueError, TypeError, KeyError):
            return {}


def _found(note: dict[str, Any]) -> _Reader | None:
    """The script of a note, if it is still that process."""
    if "pid" not in note or start_of(note["pid"]) != note["start"]:
        return None
    try:
        return _Reader(tuple(note["argv"]), note["pid"])
    except OSError:
        return None


def _is_there(pipe: _Pipe) -> bool:
    try:
        return os.path.samestat(os.lstat(pipe.path), os.fstat(pipe.fd))
    except OSError:
        return False


def _waiting(fd: int) -> int:
    """Bytes that nobody has read."""
    return int.from_bytes(fcntl.ioctl(fd, termios.FIONREAD, bytes(4)), "little")


def _signal(reader: _Reader, sig: int) -> None:
    """It and what it started. While we hold its pidfd unread the pid may be reused only after its end was seen."""
    if start_of(reader.pid) == reader.start:
        with contextlib.suppress(OSError):
            os.killpg(reader.pid, sig)


def _outcome(status: int) -> str:
    return f"killed by signal {-status}" if status < 0 else f"exit status {status}"
