"""vrrp_track_process: counts the processes that match, from the kernel's events or by looking.

In: definitions, events of processes (net/process_events.py), /proc. Out: `found(kind, name, value, said)`. /proc is
read as a whole at the start, after an overrun, and now and then; every SCAN seconds where the kernel does not tell.
Names are compared whole, zombies and threads do not count.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Callable, NamedTuple

from vrrpd.model.values import PROCESS
from vrrpd.net.process_events import ACK, EXIT, FORK, Overrun, ProcessEvents

if TYPE_CHECKING:
    from vrrpd.log import Log
    from vrrpd.loop import Loop
    from vrrpd.model.trackers import TrackProcess
    from vrrpd.timers import Timer, Timers
    from vrrpd.vrrp.track import Key, Verdict

SCAN = 1.0  # seconds between two looks where there are no events
CHECK = 30.0  # and where there are
COMM = 15  # bytes of a process's name that the kernel keeps

Found = Callable[[str, str, int, str], None]


class Program(NamedTuple):
    """What runs in a process: its name, and its command line where that was asked for."""

    name: bytes
    argv: tuple[bytes, ...] = ()


def look_at(pid: int, command_line: bool) -> Program | None:
    """None when there is no such process, or it has ended already (a zombie)."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            stat = file.read()
        begin, end = stat.index(b"(") + 1, stat.rindex(b")")
        if stat[end + 2 : end + 3] in b"ZX":
            return None
        argv: tuple[bytes, ...] = ()
        if command_line:
            with open(f"/proc/{pid}/cmdline", "rb") as file:
                argv = tuple(file.read().split(b"\0")[:-1])
    except (OSError, ValueError):
        return None
    return Program(stat[begin:end], argv)


def by_command_line(definition: TrackProcess) -> bool:
    return definition.full_command or len(definition.process) > 1 or bool(definition.param_match)


def matches(definition: TrackProcess, program: Program) -> bool:
    """keepalived.conf(5) vrrp_track_process."""
    name, *wanted = (os.fsencode(word) for word in definition.process)
    if not by_command_line(definition):
        return program.name == name[:COMM]
    if not program.argv or program.argv[0] != name:
        return False
    given = list(program.argv[1:])
    if not wanted and not definition.param_match:
        return True  # full_command alone: any arguments
    if not wanted or definition.param_match in ("", "exact"):
        return given == wanted
    if definition.param_match == "partial":
        return given[: len(wanted)] == wanted
    begins = len(given) >= len(wanted) and given[len(wanted) - 1].startswith(wanted[-1])
    return begins and given[: len(wanted) - 1] == wanted[:-1]


class Quorum:
    """One vrrp_track_process: how many run, and since when that is to count."""

    def __init__(self, definition: TrackProcess, timers: Timers, found: Found, good: bool | None) -> None:
        self.definition = definition
        self.count = 0
        self._timers, self._found = timers, found
        self._good = good  # what was found last
        self._timer: Timer | None = None
        self.delaying: tuple[str, float] | None = None  # keyword, and when it ends

    def set(self, count: int) -> None:
        """The delays keep a restart from being noticed: fork_delay of one more, terminate_delay of one less."""
        definition = self.definition
        more, self.count = count > self.count, count
        good = definition.quorum <= count <= definition.quorum_max
        if good == self._good:
            self.stop()
            return
        delay = definition.fork_delay if more else definition.terminate_delay
        if self._good is None or not delay:
            self._tell()
        elif self._timer is None:
            self._timer = self._timers.later(delay, self._tell)
            self.delaying = "fork_delay" if more else "terminate_delay", time.monotonic() + delay

    def _tell(self) -> None:
        self.stop()
        definition, count = self.definition, self.count
        self._good = definition.quorum <= count <= definition.quorum_max
        if self._good:
            said = "is running" if definition.quorum_max else "is not running"
        elif count < definition.quorum:
            said = "is not running" if not count else f"is running {count} times, {definition.quorum} are wanted"
        else:
            said = f"is running {count} times, {definition.quorum_max} at most are wanted"
        self._found(PROCESS, definition.name, int(self._good), said)

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = self.delaying = None

    def delays(self, now: float) -> dict[str, float]:
        """The one that runs, and how long it still does."""
        return {} if self.delaying is None else {self.delaying[0]: round(max(0.0, self.delaying[1] - now), 3)}


class Processes:
    """All of them."""

    def __init__(self, loop: Loop, timers: Timers, log: Log, found: Found) -> None:
        self._loop, self._timers, self._log, self._found = loop, timers, log, found
        self._quorums: dict[str, Quorum] = {}
        self._running: dict[int, tuple[str, ...]] = {}  # which processes count, and for whom
        self._command_lines = False
        self._events: ProcessEvents | None = None
        self._agreed = False  # the kernel tells
        self._told = False  # that it does not
        self._timer: Timer | None = None

    def configure(self, definitions: Iterable[TrackProcess], verdicts: Mapping[Key, Verdict], buffer: int = 0) -> None:
        """What is as before goes on, its delays too. `buffer`: bytes for what the kernel tells."""
        former, self._quorums = self._quorums, {}
        for definition in definitions:
            quorum = former.get(definition.name)
            if quorum is not None and _work(quorum.definition) == _work(definition):
                quorum.definition = definition
                del former[definition.name]
            else:
                verdict = verdicts.get((PROCESS, definition.name)) if definition.name not in former else None
                good = None if verdict is None else verdict.good
                quorum = Quorum(definition, self._timers, self._found, good)
            self._quorums[definition.name] = quorum
        for quorum in former.values():
            quorum.stop()
        self._command_lines = any(by_command_line(quorum.definition) for quorum in self._quorums.values())
        if self._quorums:
            self._listen()
            if self._events is not None:
                self._events.buffer(buffer)
            self._scan()
        else:
            self._hush()

    def stop(self) -> None:
        self.configure((), {})

    def _listen(self) -> None:
        if self._events is not None or self._told:
            return
        try:
            self._events = ProcessEvents()
        except OSError as error:
            self._refused(error.strerror or str(error))
            return
        self._loop.watch(self._events.fileno(), self._on_events)

    def _refused(self, why: str) -> None:
        self._hush()
        if not self._told:
            self._told = True
            self._log.warning(f"the kernel does not tell of processes here ({why}): looked at every {SCAN:g} s")

    def _hush(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._events is not None:
            self._loop.forget(self._events.fileno())
            self._events.close()
            self._events, self._agreed = None, False

    def _scan(self) -> None:
        """All of /proc."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._timers.later(CHECK if self._agreed else SCAN, self._look_again)
        self._running = {}
        for entry in os.listdir("/proc"):
            if entry.isdigit():
                self._look(int(entry))
        self._count()

    def _look_again(self) -> None:
        if self._events is not None and not self._agreed:
            self._refused("no answer: not its first namespaces")
        self._scan()

    def _look(self, pid: int) -> None:
        program = look_at(pid, self._command_lines)
        names = () if program is None else self._names(program)
        if names:
            self._running[pid] = names
        else:
            self._running.pop(pid, None)

    def _names(self, program: Program) -> tuple[str, ...]:
        return tuple(name for name, quorum in self._quorums.items() if matches(quorum.definition, program))

    def _count(self) -> None:
        counts = dict.fromkeys(self._quorums, 0)
        for names in self._running.values():
            for name in names:
                counts[name] += 1
        for name, count in counts.items():
            self._quorums[name].set(count)

    def _on_events(self, now: float) -> None:
        assert self._events is not None
        changed = False
        try:
            for what, pid, parent in self._events.read():
                if what == FORK:
                    names = self._running.get(parent)
                    if names:  # it is what its parent is, until it becomes another program
                        self._running[pid] = names
                        changed = True
                elif what == EXIT:
                    changed = self._running.pop(pid, None) is not None or changed
                elif what == ACK:
                    self._agreed = True
                    self._scan()
                else:
                    before = self._running.get(pid)
                    self._look(pid)
                    changed = changed or self._running.get(pid) != before
        except Overrun:
            self._scan()
            return
        except OSError as error:
            self._refused(error.strerror or str(error))
            self._scan()
            return
        if changed:
            self._count()

    def status(self) -> list[dict[str, Any]]:
        now = time.monotonic()
        return [
            {
                "kind": PROCESS,
                "name": name,
                "command": list(quorum.definition.process),
                "running": quorum.count,
                "quorum": quorum.definition.quorum,
                "quorum_max": quorum.definition.quorum_max,
                "delays": quorum.delays(now),
                "events": self._agreed,
            }
            for name, quorum in self._quorums.items()
        ]


def _work(definition: TrackProcess) -> tuple[object, ...]:
    """What is counted, and when that counts: another weight is the instances' affair."""
    each = definition
    program = each.process, each.param_match, each.full_command
    return *program, each.quorum, each.quorum_max, each.fork_delay, each.terminate_delay
