"""Runs notify scripts: in order and one at a time per instance, several instances in parallel, never waiting.

In: `notify.Job`s. Out: child processes, one log line per run, the last results for `vrrpctl`. A child is the
leader of its own session, so that a timeout ends everything it started (TERM, then KILL). What a script leaves
running in the background on purpose is left alone. Which commands a transition means is decided by notify.py.
"""

from __future__ import annotations

import contextlib
import grp
import os
import pwd
import re
import signal
import time
from collections import deque
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Callable, NamedTuple

from vrrpd import process
from vrrpd.journal import LIMIT, Journal, start_of
from vrrpd.log import Log
from vrrpd.loop import Loop
from vrrpd.notify import Job
from vrrpd.timers import Timer, Timers

if TYPE_CHECKING:
    import subprocess

    from vrrpd.model.globals import GlobalDefs

TIMEOUT = 60.0
TERM_GRACE = 2.0  # between SIGTERM and SIGKILL, as keepalived
PARALLEL = 8
MAX_QUEUED = 64  # of one instance; beyond it the oldest go, so that the last state is always told
MAX_RESULTS = 64
OUTPUT_KEPT = 4096
OUTPUT_LOGGED = 5  # lines
MAX_DRAINS = 32
DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
DEFAULT_USER = "keepalived_script"

# What would make the loader, a shell or an interpreter run code that the script's author did not choose, and what
# systemd meant for this service alone.
_UNWANTED = re.compile(
    r"IFS|ENV|BASH_ENV|SHELLOPTS|BASHOPTS|PS4|CDPATH|GLOBIGNORE|PERL5(LIB|OPT)|RUBY(OPT|LIB)|NODE_OPTIONS"
    r"|(LD_|PYTHON|BASH_FUNC_|GCONV_|MALLOC_).*"
    r"|NOTIFY_SOCKET|WATCHDOG_(PID|USEC)|LISTEN_(FDS|PID|FDNAMES)|JOURNAL_STREAM|MAINPID"
)


class Owner(NamedTuple):
    """Who a file says a script is to run as. `supplementary`: in all groups of that user (set_supplementary_groups)."""

    user: str = ""
    group: str = ""
    supplementary: bool = False

    def of(self, user: str, group: str) -> Owner:
        """For a script that says its own, or what it leaves unsaid as here."""
        return Owner(user or self.user, group or ("" if user else self.group), self.supplementary)


class Account(NamedTuple):
    """Who a script runs as; `groups` None leaves user and groups as they are."""

    name: str
    uid: int
    gid: int
    groups: list[int] | None
    home: str
    shell: str


def environment(base: dict[str, str], account: Account) -> dict[str, str]:
    """The daemon's environment without its traps, and with what a login would set."""
    kept = {
        name: value for name, value in base.items() if not _UNWANTED.fullmatch(name) and not value.startswith("() {")
    }
    kept["PATH"] = kept.get("PATH") or DEFAULT_PATH
    kept.update(HOME=account.home, SHELL=account.shell, USER=account.name, LOGNAME=account.name)
    return kept


def account(user: str, group: str, supplementary: bool = False) -> Account:
    """The account of an Owner; LookupError names what does not exist. "" is keepalived's default user, or us."""
    if not user:
        try:
            user = pwd.getpwnam(DEFAULT_USER).pw_name
        except KeyError:
            user = str(os.geteuid())
    try:
        entry = pwd.getpwuid(int(user)) if user.isdigit() else pwd.getpwnam(user)
    except KeyError:
        raise LookupError(f"user {user} does not exist") from None
    gid = entry.pw_gid
    if group:
        try:
            gid = int(group) if group.isdigit() else grp.getgrnam(group).gr_gid
        except KeyError:
            raise LookupError(f"group {group} does not exist") from None
    unchanged = entry.pw_uid == os.geteuid() and gid == os.getegid()
    more = os.getgrouplist(entry.pw_name, gid) if supplementary else ()
    groups = None if unchanged else sorted({gid, *more})
    return Account(entry.pw_name, entry.pw_uid, gid, groups, entry.pw_dir or "/", entry.pw_shell or "/bin/sh")


def owner(defs: GlobalDefs) -> Owner:
    """Of the scripts that name none."""
    return Owner(defs.script_user, defs.script_group, defs.set_supplementary_groups)


SPAWN_ERRORS = (OSError, LookupError, ValueError)


def spawn(argv: Sequence[str], owner: Owner, output: int) -> subprocess.Popen[bytes]:
    """Start a script as its user, in a session of its own, what it writes to `output`; raises SPAWN_ERRORS."""
    who = account(*owner)
    return spawn_as(argv, who, environment(dict(os.environ), who), output)


def spawn_as(argv: Sequence[str], who: Account, env: Mapping[str, str], output: int) -> subprocess.Popen[bytes]:
    """The same for who starts it again and again, and need not look up the user each time."""
    import subprocess  # in the helper alone: the guard, which forks it, stays small

    identity: dict[str, Any] = {}
    if who.groups is not None:
        identity = {"user": who.uid, "group": who.gid, "extra_groups": who.groups}
    try:
        return subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            cwd="/",
            env=env,
            start_new_session=True,
            **identity,
        )
    except subprocess.SubprocessError as error:
        raise ValueError(str(error)) from error


class _Waiting(NamedTuple):
    """A job with the number that it has in the journal."""

    number: int
    job: Job


class _Run:
    """One running process. `child` is None when an earlier helper started it: then its status goes elsewhere."""

    def __init__(self, entry: _Waiting, pid: int, child: subprocess.Popen[bytes] | None, output: int) -> None:
        self.number, self.job = entry
        self.pid = pid
        self.child = child
        self.pidfd = process.pidfd_open(pid)
        self.output = output  # read end of its stdout and stderr, -1 once closed
        self.tail = b""
        self.at = time.time()
        self.started = time.monotonic()
        self.timer: Timer | None = None
        self.ended_by = ""  # why we ended it


class Runner:
    """Owns the queue and the children. `on_idle` is called whenever nothing is left to run."""

    def __init__(
        self, loop: Loop, timers: Timers, log: Log, *, timeout: float = TIMEOUT, parallel: int = PARALLEL
    ) -> None:
        self.timeout = timeout
        self.owner = Owner()
        self.dropped = 0
        self.results: dict[tuple[str, str], dict[str, Any]] = {}  # last run by (instance, keyword), oldest first
        self.on_idle: Callable[[], None] = lambda: None
        self._loop = loop
        self._timers = timers
        self._log = log
        self._parallel = parallel
        self._journal: Journal | None = None
        self._number = 0
        self._queues: dict[str, deque[_Waiting]] = {}  # by instance, in the order of their turn; never empty ones
        self._running: dict[str, _Run] = {}  # by instance
        self._drains: set[int] = set()

    @property
    def busy(self) -> bool:
        return bool(self._queues or self._running)

    @property
    def queued(self) -> int:
        return sum(map(len, self._queues.values()))

    def submit(self, job: Job) -> None:
        """Run it once the earlier ones of its instance have ended."""
        queue = self._queues.setdefault(job.instance, deque())
        if len(queue) >= MAX_QUEUED:
            self._drop(queue.popleft(), "error", f"{MAX_QUEUED} scripts of this instance are waiting already")
        self._number += 1
        queue.append(_Waiting(self._number, job))
        self._promise(queue[-1])
        self._start_next()

    def resume(self, journal: Journal) -> None:
        """Go on where an earlier helper was killed, and keep the journal from now on."""
        self._journal = journal
        jobs: dict[int, Job] = {}
        running: dict[int, tuple[int, int]] = {}
        for record in journal.earlier:
            if "job" in record:
                instance, keyword, argv, user, group = record["job"]
                jobs[record["add"]] = Job(instance, keyword, tuple(argv), user, group)
            elif "run" in record:
                running[record["run"]] = (record["pid"], record["start"])
            else:
                jobs.pop(record["done"], None)
        for number, job in sorted(jobs.items()):
            if number not in running:
                self.submit(job)
            elif start_of(running[number][0]) == running[number][1]:
                self._adopt(job, *running[number])
            else:
                self._log.warning(f"{job.instance}: {job.keyword} {job.argv[0]}: its end was not seen")

    def _adopt(self, job: Job, pid: int, start: int) -> None:
        self._number += 1
        entry = _Waiting(self._number, job)
        self._promise(entry)
        try:
            run = _Run(entry, pid, None, -1)
        except OSError:  # ended just now
            self._done(entry.number)
            return
        self._watch(run)

    @property
    def running(self) -> bool:
        return bool(self._running)

    def hold(self) -> None:
        """Start nothing more: what waits is for the next helper."""
        self._parallel = 0

    def end(self, reason: str) -> None:
        """Drop what waits, and TERM, then KILL what runs."""
        for queue in self._queues.values():
            for entry in queue:
                self._drop(entry, "warning", reason)
        self._queues.clear()
        for run in self._running.values():
            self._end(run, reason)

    def kill(self) -> None:
        """KILL what still runs, at once."""
        for run in self._running.values():
            signal_group(run.pid, signal.SIGKILL)

    def _drop(self, entry: _Waiting, level: str, reason: str) -> None:
        self.dropped += 1
        self._log.write(level, f"{entry.job.instance}: {entry.job.keyword} not run: {reason}")
        self._done(entry.number)

    # -- the journal
    def _promise(self, entry: _Waiting) -> None:
        self._note({"add": entry.number, "job": entry.job})
        if self._journal is not None and self._journal.size > LIMIT:
            self._note_all()

    def _done(self, number: int) -> None:
        self._note({"done": number})

    def _note(self, record: dict[str, Any]) -> None:
        if self._journal is None:
            return
        try:
            self._journal.write(record)
        except OSError as error:
            self._give_up(self._journal, error)

    def _give_up(self, journal: Journal, error: OSError) -> None:
        """A full /run: scripts go on, without this insurance."""
        self._log.error(f"the journal of scripts cannot be written ({error.strerror}): given up")
        journal.close()
        self._journal = None

    def _note_all(self) -> None:
        """The journal anew, with nothing but what still counts."""
        if self._journal is not None:
            try:
                self._journal.clear()
            except OSError as error:
                self._give_up(self._journal, error)
        for run in self._running.values():
            self._note({"add": run.number, "job": run.job})
            self._note({"run": run.number, "pid": run.pid, "start": start_of(run.pid)})
        for queue in self._queues.values():
            for entry in queue:
                self._note({"add": entry.number, "job": entry.job})

    # -- children
    def _start_next(self) -> None:
        for instance in list(self._queues):
            if len(self._running) >= self._parallel:
                return
            if instance in self._running:
                continue
            queue = self._queues.pop(instance)
            entry = queue.popleft()
            if queue:  # behind the others
                self._queues[instance] = queue
            self._start(entry)
            if instance not in self._running and instance in self._queues:
                # it did not start: its next one must not wait for a child that never ends
                self._timers.later(0, self._start_next)

    def _start(self, entry: _Waiting) -> None:
        job = entry.job
        at = time.time()
        read = write = -1
        try:
            read, write = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
            os.set_blocking(write, True)  # the script's end; O_NONBLOCK belongs to each end of a pipe alone
            child = spawn(job.argv, self.owner.of(job.user, job.group), write)
        except SPAWN_ERRORS as error:
            if read >= 0:
                os.close(read)
            self._failed(entry, at, why(job.argv[0], error))
            return
        finally:
            if write >= 0:
                os.close(write)
        run = _Run(entry, child.pid, child, read)
        self._watch(run)
        self._loop.watch(run.output, lambda now: self._read(run))

    def _watch(self, run: _Run) -> None:
        self._note({"run": run.number, "pid": run.pid, "start": start_of(run.pid)})
        self._running[run.job.instance] = run
        run.timer = self._timers.later(self.timeout, lambda: self._timed_out(run))
        self._loop.watch(run.pidfd, lambda now: self._ended(run))

    def _failed(self, entry: _Waiting, at: float, why: str) -> None:
        job = entry.job
        self._done(entry.number)
        self._log.warning(f"{job.instance}: {job.keyword}: {why}")
        self._remember(job, at, 0.0, error=why)
        if not self.busy:
            self._timers.later(0, self._tell_idle)

    def _timed_out(self, run: _Run) -> None:
        self._end(run, f"it did not end within {self.timeout:g} s")

    def _end(self, run: _Run, reason: str) -> None:
        if run.ended_by:
            return
        run.ended_by = reason
        if run.timer is not None:
            run.timer.cancel()
        signal_group(run.pid, signal.SIGTERM)
        run.timer = self._timers.later(TERM_GRACE, lambda: signal_group(run.pid, signal.SIGKILL))

    def _read(self, run: _Run) -> None:
        try:
            data = os.read(run.output, 65536)
        except BlockingIOError:
            return
        if data:
            run.tail = (run.tail + data)[-OUTPUT_KEPT:]
            return
        self._close_output(run)

    def _close_output(self, run: _Run) -> None:
        if run.output >= 0:
            self._loop.forget(run.output)
            os.close(run.output)
            self._drains.discard(run.output)
            run.output = -1

    def _ended(self, run: _Run) -> None:
        if run.ended_by and run.child is not None:
            # Its descendants too. The zombie still holds the pid, so the group's number cannot have been reused.
            signal_group(run.pid, signal.SIGKILL)
        status = run.child.wait() if run.child is not None else None
        seconds = time.monotonic() - run.started
        self._loop.forget(run.pidfd)
        os.close(run.pidfd)
        if run.timer is not None:
            run.timer.cancel()
        if run.output >= 0:
            self._read(run)
        if run.output >= 0:
            self._leave_open(run)
        del self._running[run.job.instance]
        self._done(run.number)
        self._report(run, status, seconds)
        self._start_next()
        if not self.busy:
            self._tell_idle()

    def _leave_open(self, run: _Run) -> None:
        # Something that the script left in the background holds our pipe. To close it would be SIGPIPE for a
        # service that this script (re)started, so it is read and thrown away as long as there are not too many.
        if len(self._drains) >= MAX_DRAINS:
            self._close_output(run)
        else:
            self._drains.add(run.output)

    def _report(self, run: _Run, status: int | None, seconds: float) -> None:
        job = run.job
        name = f"{job.instance}: {job.keyword} {job.argv[0]}"
        if status is None:
            lost = "ended; its status went with the helper process that started it"
            self._log.warning(f"{name}: {run.ended_by or lost}")
            self._remember(job, run.at, seconds, error=run.ended_by or lost)
            return
        output = [line for line in run.tail.decode("utf-8", "replace").splitlines() if line.strip()]
        reason = f" ({run.ended_by})" if run.ended_by else ""
        if status == 0 and not reason:
            self._log.info(f"{name}: exit status 0 after {seconds:.2f} s")
        else:
            how = f"killed by {signal_name(-status)}" if status < 0 else f"exit status {status}"
            self._log.warning(f"{name}: {how} after {seconds:.2f} s{reason}")
            for line in output[-OUTPUT_LOGGED:]:
                self._log.warning(f"{job.instance}: {job.keyword}: | {line}")
        outcome: dict[str, Any] = {"signal": signal_name(-status)} if status < 0 else {"exit": status}
        if run.ended_by:
            outcome["error"] = run.ended_by
        self._remember(job, run.at, seconds, **outcome, output=output[-OUTPUT_LOGGED:])

    def _remember(self, job: Job, at: float, seconds: float, **outcome: Any) -> None:
        key = (job.instance, job.keyword)
        self.results.pop(key, None)
        while len(self.results) >= MAX_RESULTS:
            del self.results[next(iter(self.results))]
        self.results[key] = {
            "instance": job.instance,
            "keyword": job.keyword,
            "argv": list(job.argv),
            "at": at,
            "duration": round(seconds, 3),
            **outcome,
        }

    def _tell_idle(self) -> None:
        if not self.busy:
            self._note_all()
            self.on_idle()


def signal_group(pid: int, sig: int) -> None:
    """A script and all that it started; it leads its session."""
    with contextlib.suppress(ProcessLookupError):  # all of it has gone
        os.killpg(pid, sig)


def signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def why(program: str, error: Exception) -> str:
    """For people: why `spawn` could not start it."""
    if isinstance(error, FileNotFoundError):
        return (
            f"{program}: its interpreter (first line) does not exist"
            if os.path.exists(program)
            else (f"{program} does not exist")
        )
    if isinstance(error, PermissionError):
        return f"{program}: permission denied (not executable, or only root may change to another user)"
    if isinstance(error, OSError) and error.errno == 8:  # ENOEXEC
        return f"{program} is not a program: a script starts with a line like #!/bin/sh"
    return f"{program}: {error}"
