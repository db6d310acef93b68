"""vrrp_script: runs each check at its interval and judges what it answers.

In: definitions, the ends of children, time. Out: `found(kind, name, value, said)` after each run, and numbers for
status. A run that takes longer than the interval is left out once, never doubled; one that takes longer than its
timeout has failed there and then, and is ended with all that it started: TERM, two seconds, KILL. So is what an earlier
helper that was killed has left running, which a journal knows: nobody would hear what it says. Output goes nowhere, as
with keepalived. Checks start a little apart from each other: a hundred with the same interval are no storm.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Callable

from vrrpd import process
from vrrpd.journal import LIMIT, start_of
from vrrpd.model.values import SCRIPT
from vrrpd.scripts import (
    SPAWN_ERRORS,
    TERM_GRACE,
    Account,
    Owner,
    account,
    environment,
    signal_group,
    signal_name,
    spawn_as,
    why,
)

if TYPE_CHECKING:
    import subprocess

    from vrrpd.journal import Journal
    from vrrpd.log import Log
    from vrrpd.loop import Loop
    from vrrpd.model.trackers import VrrpScript
    from vrrpd.timers import Timer, Timers
    from vrrpd.vrrp.track import Key, Verdict

APART = 0.01  # seconds between the first runs of two checks, less where there are many for their interval
DEVNULL = -3  # subprocess.DEVNULL, without importing it

Found = Callable[[str, str, int, str], None]


class Judge:
    """From single results to a verdict: `fall` failures in a row, `rise` successes; the first result counts alone."""

    def __init__(self, rise: int, fall: int, good: bool | None = None) -> None:
        self.rise, self.fall = rise, fall
        self.good = good
        self.streak = 0  # results in a row that speak against the verdict

    def hear(self, good: bool) -> None:
        if self.good is None:
            self.good = good
        elif good == self.good:
            self.streak = 0
        else:
            self.streak += 1
            if self.streak >= (self.rise if good else self.fall):
                self.good, self.streak = good, 0


def following(due: float, now: float, interval: float) -> float:
    """The next start after the one that was due: no drift, and no burst after a stall."""
    return due + interval * max(1, int((now - due) // interval) + 1)


class Run:
    """One running process of a check. `child` is None when an earlier helper started it."""

    def __init__(self, name: str, pid: int, child: subprocess.Popen[bytes] | None) -> None:
        self.name, self.pid, self.child = name, pid, child
        self.pidfd = process.pidfd_open(pid)
        self.start = start_of(pid)
        self.started = time.monotonic()
        self.ended = ""  # why we ended it
        self.killed = False  # it did not end when it was asked to
        self.timer: Timer | None = None


class Check:
    """One vrrp_script at work."""

    def __init__(self, definition: VrrpScript, owner: Owner, good: bool | None) -> None:
        self.definition, self.owner = definition, owner
        self.judge = Judge(definition.rise, definition.fall, good)
        self.due = 0.0
        self.timer: Timer | None = None
        self.run: Run | None = None
        self.who: tuple[Account, dict[str, str]] | None = None
        self.failure = ""  # how it failed last
        self.last: dict[str, Any] | None = None
        self.counters = {"runs": 0, "failures": 0, "timeouts": 0, "skipped": 0}


class Scripts:
    """All of them."""

    def __init__(self, loop: Loop, timers: Timers, log: Log, found: Found) -> None:
        self._loop, self._timers, self._log, self._found = loop, timers, log, found
        self._checks: dict[str, Check] = {}
        self._running: set[Run] = set()  # of checks that are no more, too
        self._idle: Callable[[], None] = lambda: None
        self._journal: Journal | None = None

    def resume(self, journal: Journal) -> None:
        """End what an earlier helper has left running, and keep the journal from now on."""
        self._journal = journal
        running: dict[int, tuple[str, int]] = {}
        for record in journal.earlier:
            if "run" in record:
                running[record["pid"]] = record["run"], record["start"]
            else:
                running.pop(record["done"], None)
        for pid, (name, start) in running.items():
            if start_of(pid) == start:
                self._end_left(name, pid)

    def _end_left(self, name: str, pid: int) -> None:
        try:
            run = Run(name, pid, None)
        except OSError:  # it has ended just now
            return
        self._running.add(run)
        self._note_run(run)
        self._log.info(f"vrrp_script {name}: the helper that ran it has died, its process {pid} is ended")
        self._loop.watch(run.pidfd, lambda now: self._forget(run))
        self._end(run, "its helper has died")

    def configure(self, definitions: Iterable[VrrpScript], owner: Owner, verdicts: Mapping[Key, Verdict]) -> None:
        """`owner`: of those that name none. What is as before goes on with its schedule."""
        former, self._checks = self._checks, {}
        new: list[Check] = []
        for definition in definitions:
            mine = owner.of(*definition.user)
            check = former.get(definition.name)
            if check is not None and _work(check.definition, check.owner) == _work(definition, mine):
                check.definition = definition
                del former[definition.name]
            else:
                verdict = verdicts.get((SCRIPT, definition.name)) if definition.name not in former else None
                check = Check(definition, mine, None if verdict is None else verdict.good)
                new.append(check)
            self._checks[definition.name] = check
        for check in former.values():
            self._drop(check)
        now = time.monotonic()
        apart = min([APART, *(check.definition.interval / len(new) for check in new)])
        for number, check in enumerate(new):
            self._at(check, now + number * apart)

    @property
    def busy(self) -> bool:
        return bool(self._running)

    def stop(self, idle: Callable[[], None]) -> None:
        self._idle = idle
        checks, self._checks = self._checks, {}
        for check in checks.values():
            self._drop(check)

    def kill(self) -> None:
        for run in self._running:
            signal_group(run.pid, signal.SIGKILL)

    def _drop(self, check: Check) -> None:
        if check.timer is not None:
            check.timer.cancel()
        if check.run is not None:
            self._end(check.run, "it is not wanted any more")

    def _at(self, check: Check, due: float) -> None:
        check.due = due
        check.timer = self._timers.later(due - time.monotonic(), lambda: self._start(check))

    def _start(self, check: Check) -> None:
        self._at(check, following(check.due, time.monotonic(), check.definition.interval))
        if check.run is not None or self._runs_still(check.definition.name):
            check.counters["skipped"] += 1
            return
        argv = check.definition.script.argv
        at = time.time()
        try:
            if check.who is None:
                who = account(*check.owner)
                check.who = who, environment(dict(os.environ), who)
            child = spawn_as(argv, *check.who, DEVNULL)
            run = check.run = Run(check.definition.name, child.pid, child)
        except SPAWN_ERRORS as error:
            check.last = {"at": at, "duration": 0.0, "result": why(argv[0], error)}
            self._judge(check, False, f"cannot run: {why(argv[0], error)}")
            return
        self._running.add(run)
        self._note_run(run)
        check.last = {"at": at, "duration": None, "result": "running"}
        run.timer = self._timers.later(check.definition.timeout, lambda: self._timed_out(check, run))
        self._loop.watch(run.pidfd, lambda now: self._ended(check, run))

    def _runs_still(self, name: str) -> bool:
        """What an earlier helper started has not ended yet."""
        return any(run.child is None and run.name == name for run in self._running)

    def _timed_out(self, check: Check, run: Run) -> None:
        """It has failed; what it says from now on counts for nothing."""
        said = f"timed out after {check.definition.timeout:g} s"
        check.counters["timeouts"] += 1
        self._end(run, said)
        self._judge(check, False, said)

    def _end(self, run: Run, why: str) -> None:
        if run.ended:
            return
        run.ended = why
        if run.timer is not None:
            run.timer.cancel()
        signal_group(run.pid, signal.SIGTERM)
        run.timer = self._timers.later(TERM_GRACE, lambda: self._kill(run))

    def _kill(self, run: Run) -> None:
        run.killed = True
        signal_group(run.pid, signal.SIGKILL)

    def _ended(self, check: Check, run: Run) -> None:
        assert run.child is not None
        if run.ended:  # its descendants too, while the zombie still keeps the group's number
            signal_group(run.pid, signal.SIGKILL)
        status = run.child.wait()
        check.run = None
        how = run.ended or (f"killed by {signal_name(-status)}" if status < 0 else f"exit status {status}")
        assert check.last is not None
        check.last.update(duration=round(time.monotonic() - run.started, 3), result=how)
        if not run.ended:
            self._judge(check, status == 0, "succeeded" if status == 0 else f"failed ({how})")
        self._forget(run)

    def _forget(self, run: Run) -> None:
        self._loop.forget(run.pidfd)
        os.close(run.pidfd)
        if run.timer is not None:
            run.timer.cancel()
        self._running.discard(run)
        self._note({"done": run.pid})
        if not self._running:
            self._idle()

    # -- the journal
    def _note_run(self, run: Run) -> None:
        self._note(_record(run))

    def _note(self, record: dict[str, Any]) -> None:
        if self._journal is None:
            return
        try:
            self._journal.write(record)
            if not self._running or self._journal.size > LIMIT:
                self._journal.clear()
                for run in self._running:
                    self._journal.write(_record(run))
        except OSError as error:  # a full /run: checks go on, without this insurance
            self._log.error(f"the journal of checks cannot be written ({error.strerror}): given up")
            self._journal.close()
            self._journal = None

    def _judge(self, check: Check, good: bool, said: str) -> None:
        name, judge = check.definition.name, check.judge
        check.counters["runs"] += 1
        if not good:
            check.counters["failures"] += 1
            check.failure = said
        before = judge.good
        judge.hear(good)
        if judge.streak and not good:
            self._log.info(f"vrrp_script {name}: {said}, {judge.streak} of {judge.fall}")
        if self._checks.get(name) is not check:
            return
        if judge.good is not before or judge.good == good:
            self._found(SCRIPT, name, int(judge.good is True), said)

    def status(self) -> list[dict[str, Any]]:
        """`next`: seconds until a run is due; `state` in keepalived's words."""
        now = time.monotonic()
        return [
            {
                "kind": SCRIPT,
                "name": check.definition.name,
                "command": list(check.definition.script.argv),
                "interval": check.definition.interval,
                "timeout": check.definition.timeout,
                "rise": check.judge.rise,
                "fall": check.judge.fall,
                "streak": check.judge.streak,
                "state": _doing(check.run),
                "next": round(max(0.0, check.due - now), 3),
                "last": check.last,
                **check.counters,
            }
            for check in self._checks.values()
        ]


def _record(run: Run) -> dict[str, Any]:
    return {"run": run.name, "pid": run.pid, "start": run.start}


def _doing(run: Run | None) -> str:
    if run is None:
        return "idle"
    if not run.ended:
        return "running"
    return "forcing termination" if run.killed else "requested termination"


def _work(definition: VrrpScript, owner: Owner) -> tuple[object, ...]:
    """What a check does: another weight is the instances' affair."""
    each = definition
    return each.script, each.interval, each.timeout, each.rise, each.fall, owner
