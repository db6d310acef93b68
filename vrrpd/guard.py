"""The guard: starts the other processes and keeps them alive, and is the one that systemd and signals talk to.

It never reads a configuration itself: a short-lived loader child does, and leaves diagnostics (JSON) and the
compiled model (a memfd that is only passed on, never read here). Who is the vrrp process, and what follows a
dead one, is succession.py's, reload and upgrade are renewal.py's; a helper is followed by a new helper. Root, standard
library, small, no protocol.

    SIGHUP reload | SIGTERM, SIGINT planned stop
    SIGUSR1, SIGUSR2, SIGRTMIN+2, SIGRTMAX-1 keepalived's dump files | SIGRTMAX what is awaited, to the log
"""

from __future__ import annotations

import contextlib
import gc
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

from vrrpd import (
    control,
    firewall,
    helper,
    hooks,
    ipc,
    process,
    renewal,
    resume,
    statics,
    succession,
    vmacs,
    vrrp_daemon,
    will,
)
from vrrpd.children import (
    EXIT_CANNOT_RUN,
    Backoff,
    Child,
    Loaded,
    Loader,
    fork,
    plain,
    plainly,
    process_facts,
    process_from,
)  # fmt: skip
from vrrpd.fifo import Kept
from vrrpd.log import log_of
from vrrpd.loop import INFINITY, Loop
from vrrpd.pidfile import EXIT_RUNNING, PREDECESSOR_WAIT, Running, lock_pid_file, outlive, write_pid
from vrrpd.pulse import Pulse, Watch
from vrrpd.renewal import DUMPS, STATS_CLEAR
from vrrpd.second_path import LastWords
from vrrpd.vrrp import estate
from vrrpd.vrrp.path import Standing

HELPER_PATIENCE = 12.0  # it may block, on a disk for instance; the vrrp process does without it meanwhile
HELPER_GRACE = 5.0
LAST_WORDS = 32  # helpings of messages that are read from a dead helper at most
RETRY = 1.0  # when there is no process or no memory to be had


class Setting(NamedTuple):
    """The command line, resolved."""

    config: str
    run_dir: str
    pid_file: str
    vrrp_pid_file: str
    state_dir: str = "/var/lib/vrrpd"
    config_id: str | None = None
    lenient: bool = False
    to_stderr: bool = False
    detailed: bool = False
    release_addresses: bool = True
    core_dumps: bool = False
    release: str = "checkout"
    user: str = "vrrpd"
    namespace: str = ""  # network namespace: of -s, else of the configuration
    instance: str = ""
    movable: bool = False  # folders were not chosen on the command line: they get namespace and instance as names
    umask: int | None = None  # -u
    ignore_sigint: bool = False
    log_facility: int = 3  # of syslog; daemon
    log_file: str = ""  # -g
    syslog: bool = True  # false: -G
    started: float = 0.0  # on the monotonic clock; an upgrade is no start
    dump_conf: bool = False  # -d

    @property
    def tag(self) -> str:
        """What tells several daemons of one machine apart, as keepalived does in the names of its files."""
        return "_".join(filter(None, (self.namespace, self.instance)))

    def placed(self, namespace: str, instance: str) -> Setting:
        """In the folders of this namespace and instance."""
        setting = self._replace(namespace=namespace, instance=instance)
        if not (self.movable and setting.tag):
            return setting
        run_dir = f"{self.run_dir}_{setting.tag}"

        def moved(path: str) -> str:
            return os.path.join(run_dir, os.path.basename(path)) if os.path.dirname(path) == self.run_dir else path

        return setting._replace(
            run_dir=run_dir,
            pid_file=moved(self.pid_file),
            vrrp_pid_file=moved(self.vrrp_pid_file),
            state_dir=f"{self.state_dir}_{setting.tag}",
            movable=False,
        )


class Guard:
    def __init__(self, setting: Setting, loaded: Loaded) -> None:
        self.setting = setting
        self.log = log_of(setting)
        self.loop = Loop()
        self.signals = process.SignalPipe(renewal.HANDLED)
        self.folder = os.path.join(setting.run_dir, will.FOLDER)
        self.devices = vmacs.Devices(self.folder, self.tell)
        self.tables = firewall.Tables(self.folder, self.tell)
        self._refused: dict[str, str] = {}  # virtual interfaces that cannot be made, and why
        self.statics = statics.Statics(self.folder, self.tell)
        self._missing: dict[str, str] = {}  # static items that cannot be had, and why
        self._told_lacking: list[estate.Lacking] = []  # what the helper knows of them
        self.last_words = LastWords()
        self.exit_code = 0
        vrrp = vrrp_daemon.Setting(
            setting.user, setting.release, setting.release_addresses, setting.core_dumps, started=setting.started
        )
        self.vrrp = succession.Succession(
            succession.Setting(setting.vrrp_pid_file, self.folder, vrrp), self.loop, loaded, self
        )
        # A channel is None while its process does not run.
        self.helper: Child | None = None
        self.helper_channel: ipc.Channel | None = None
        self._listener: socket.socket | None = None  # the control socket: clients wait while there is no helper
        self._pipes: dict[str, Kept] = {}  # named pipes that the helper writes to
        self._legacy: list[ipc.Message] = []  # what a retired helper has left for the next one
        self._retiring = False  # the helper has been asked to make room for one of other code
        self._pid_files: list[int] = []
        self._helper_backoff = Backoff()
        self._helper_start = INFINITY  # when to try again
        self._helper_pulse: Pulse | None = None
        self._helper_watch: Watch | None = None
        self._ready = False
        self.renewal = renewal.Renewal(self)
        # A planned stop: first the vrrp process has until _stop_by, then the helper until _helper_by.
        self.stopping = False
        self._stop_by = INFINITY
        self._helper_by = INFINITY
        self._watchdog = process.watchdog_interval()
        self._next_watchdog = 0.0
        self._inherited: resume.State = {}  # between `inherit` and `resume`

    # -------------------------------------------------------------------- start
    def start(self) -> None:
        """Everything that can fail for a reason the operator should read, before anything runs."""
        setting = self.setting
        os.makedirs(setting.run_dir, 0o755, exist_ok=True)
        os.makedirs(self.folder, 0o700, exist_ok=True)
        os.chmod(self.folder, 0o700)
        for path in (setting.pid_file, setting.vrrp_pid_file):
            os.makedirs(os.path.dirname(path) or ".", 0o755, exist_ok=True)
        self._pid_files = [lock_pid_file(setting.pid_file)]
        write_pid(self._pid_files[0], os.getpid())
        # A vrrp process may outlive its guard by the time that a planned departure takes.
        os.close(outlive(setting.vrrp_pid_file, PREDECESSOR_WAIT))
        self.devices.load()
        self.tables.load()
        self.statics.load()
        process.note_namespace(self.folder, setting.namespace)
        self._be(self.vrrp.loaded)
        left = will.left_behind(self.folder)
        will.execute(left, self.log.write, only_present=True, virtual=self.devices.names)
        self._fit(self.vrrp.loaded)

    def run(self) -> int:
        gc.collect()
        gc.freeze()  # the children share what is never looked at by a collection
        process.go_first()  # it has little to do, but that at once
        self._hook("startup_script", self._asked_to_stop)
        if self.stopping:
            return self._leave()
        self.vrrp.start_at = self._attempt(self.vrrp.start, 0.0)
        self._start_helper()
        return self._live()

    def _live(self) -> int:
        self.loop.watch(self.signals.fileno(), self._on_signals)
        self.loop.run(self._turn)
        return self._leave()

    def _hook(self, keyword: str, stopped: Callable[[], bool] = lambda: False) -> None:
        hook = self.vrrp.loaded.host.get(keyword)
        if hook:
            hooks.run(keyword, hook, self.log.write, stopped)

    def _asked_to_stop(self) -> bool:
        """Before anything runs: the only signal that means anything yet."""
        if not self.stopping and {signal.SIGTERM, signal.SIGINT} & {*self.signals.read()}:
            self.stopping = True
            process.notify("STOPPING=1")
        return self.stopping

    def _leave(self) -> int:
        """Undo what `start` and later loads have made."""
        if self.setting.release_addresses:
            self.statics.undo()
            self.devices.undo()
            self.tables.undo()
        self._hook("shutdown_script")
        for path in (self.setting.vrrp_pid_file, self.setting.pid_file):
            with contextlib.suppress(OSError):
                os.unlink(path)
        return self.exit_code

    def _be(self, loaded: Loaded) -> None:
        """What the file says of this process itself."""
        mask = self.setting.umask if self.setting.umask is not None else loaded.host.get("umask")
        os.umask(process.UMASK if mask is None else mask)
        process.set_name(loaded.host.get("process_name") or "vrrpd")

    def _fit(self, loaded: Loaded, running: bool = False) -> None:
        """Have the virtual interfaces and static items of a configuration; once it is running, those and no others.

        Likewise the nftables table, but that is made by the vrrp process.
        """
        wanted = [vmacs.decode(device) for device in loaded.devices]
        self.tables.expect(loaded.table)
        self.devices.silence(loaded.disable_local_igmp)
        self.devices.promote(loaded.promote, alone=running)
        if running:
            self.devices.keep(wanted)
            self.tables.keep(loaded.table)
        self._refused = self.devices.fit(wanted, replace=running)
        former, self._missing = self._missing, self.statics.fit(loaded.statics, alone=running)
        if former or self._missing:
            self.vrrp.send({"t": "missing", "causes": self._missing})
        self._tell_lacking()
        if wanted:
            self.vrrp.send({"t": "refused", "causes": self._refused})

    def _tell_lacking(self) -> None:
        """For the status: which static items cannot be had. The helper is told what is news to it."""
        lacking = list(self.statics.lacking.values())
        if self.helper_channel is None or lacking == self._told_lacking:
            return
        if self.helper_channel.send({"t": "lacking", "statics": lacking}):
            self._told_lacking = lacking

    # ------------------------------------------------- what becomes of the vrrp process (succession.Owner)
    def connect(self, helper_end: int) -> None:
        if self.helper_channel is not None:
            self.helper_channel.send({"t": "vrrp"}, [helper_end])

    def in_force(self, loaded: Loaded) -> None:
        if self.helper_channel is not None:
            self.helper_channel.send({"t": "model"}, [loaded.model])

    def in_maintenance(self) -> bool:
        return os.path.exists(os.path.join(self.setting.state_dir, helper.MAINTENANCE))

    def standings(self) -> dict[bytes, Standing]:
        return self.last_words.standings

    def refused(self) -> Mapping[str, str]:
        return self._refused

    def missing(self) -> Mapping[str, str]:
        return self._missing

    def announce(self, loaded: Loaded) -> None:
        self._fit(loaded)

    def vrrp_live(self, loaded: Loaded) -> None:
        self._be(loaded)
        self._fit(loaded, running=True)
        if not self._ready:
            self._ready = True
            process.notify(f"READY=1\nMAINPID={os.getpid()}\nSTATUS=running with {self.setting.config}")
            if self.setting.dump_conf:
                self._dump("configuration")

    def execute(self, records: list[will.Record]) -> None:
        gone = will.execute(records, self.tell, virtual=self.devices.names)
        self.last_words.say(gone, time.monotonic())

    def hear(self, message: ipc.Message) -> None:
        handler = _FROM_VRRP.get(str(message.get("t")))
        if handler is not None:
            handler(self, message)

    def vrrp_ended(self, ended: str, again: str) -> None:
        self.tell("error", f"the vrrp process has ended ({ended}); started {again}")
        process.notify(f"STATUS=vrrp process ended ({ended})")

    def vrrp_gone(self, now: float) -> None:
        """Second half of a stop: let the helper run what is queued."""
        self._stop_by = INFINITY
        if self.helper_channel is None:
            self.loop.running = False
            return
        grace = float(self.vrrp.loaded.host.get("child_wait_time", HELPER_GRACE))
        self._helper_by = now + grace + 1.0
        self.helper_channel.send({"t": "finish", "grace": grace})

    def _start_helper(self) -> None:
        end = self.vrrp.helper_end
        assert end is not None
        ours, theirs = ipc.pair()
        setting = helper.Setting(
            self.setting.run_dir,
            self.setting.state_dir,
            self.setting.to_stderr,
            self.setting.detailed,
            self.setting.release,
            self.setting.tag,
            self.setting.umask,
            self.setting.log_facility,
            self.setting.log_file,
            self.setting.syslog,
        )
        listener = self._listen()
        pipes = list(self._pipes.values())
        keep = {end.fileno(), theirs.fileno(), *([listener.fileno()] if listener else []), *(pipe.fd for pipe in pipes)}
        pulse = Pulse()
        child = fork(keep, lambda: helper.run(end, theirs, setting, pulse, listener, pipes))
        theirs.close()
        self.helper, self.helper_channel = child, ipc.Channel(ours, limit=8192)  # thousands of lines, then `finish`
        self._helper_pulse, self._helper_watch = pulse, Watch(pulse, HELPER_PATIENCE, time.monotonic())
        self.loop.watch(child.fd, self._helper_ended)
        self.loop.watch(ours.fileno(), self._from_helper)
        self.in_force(self.vrrp.loaded)
        self._told_lacking = []
        self._tell_lacking()
        legacy, self._legacy = self._legacy, []
        for message in legacy:
            self.helper_channel.send(message)

    def _listen(self) -> socket.socket | None:
        """The control socket, made anew where somebody has removed it."""
        path = os.path.join(self.setting.run_dir, helper.SOCKET)
        if self._listener is not None and os.path.exists(path):
            return self._listener
        try:
            self._listener = control.listen(path)
        except OSError as error:
            self.tell("error", f"control socket {path}: {error.strerror}; vrrpctl will not work")
            self._listener = None
        return self._listener

    # --------------------------------------------------------------------- turn
    def _turn(self, now: float) -> float:
        if now >= self.vrrp.start_at:
            self.vrrp.start_at = self._attempt(self.vrrp.start, now)
        vrrp_wants = self.vrrp.turn(now)
        if now >= self._helper_start:
            self._helper_start = self._attempt(self._start_helper, now)
        self.renewal.turn(now)
        if now >= self._stop_by:
            self._stop_by = INFINITY
            if self.vrrp.current is not None:
                self.tell("error", "the vrrp process does not leave: killed")
                self.vrrp.fence(self.vrrp.current, now)
        watch = self._helper_watch
        if watch is not None and now >= watch.next_look and watch.look(now):
            self.log.write("error", "the helper process has given no sign of life: killed")  # not through itself
            self._helper_by = now
        if now >= self._helper_by and self.helper is not None:
            self._helper_by = INFINITY
            process.pidfd_kill(self.helper.fd, signal.SIGKILL)
        if now >= self._next_watchdog:
            process.notify("WATCHDOG=1")
            self._next_watchdog = now + self._watchdog
        self.vrrp.will.save()
        channel = self.helper_channel
        if channel is not None and not channel.closed:
            channel.flush()
        waiting = channel is not None and channel.congested
        return min(
            vrrp_wants,
            self._helper_start,
            watch.next_look if watch is not None else INFINITY,
            self.renewal.deadline,
            self._stop_by,
            self._helper_by,
            self._next_watchdog,
            now + 0.05 if waiting else INFINITY,
        )

    def _attempt(self, start: Callable[[], None], now: float) -> float:
        """Fork, or say what the machine lacks; when to try again."""
        try:
            start()
        except (OSError, Running) as error:
            self.tell("error", f"cannot start a process, trying again: {error}")
            return now + RETRY
        return INFINITY

    def tell(self, level: str, message: str) -> None:
        """A line for the log: through the helper, or on our own while there is none."""
        line: ipc.Message = {"t": "log", "level": level, "message": message}
        if self.helper_channel is None or not self.helper_channel.send(line):
            self.log.write(level, message)

    # ------------------------------------------------------------------ signals
    def _on_signals(self, now: float) -> None:
        self.handle_signals(self.pending_signals(), now)

    def pending_signals(self) -> list[int]:
        return self.signals.read()

    def handle_signals(self, numbers: Iterable[int], now: float) -> None:
        for number in numbers:
            if number == signal.SIGTERM or (number == signal.SIGINT and not self.setting.ignore_sigint):
                self._stop(now)
            elif number == signal.SIGHUP:
                self.renewal.reload(0)
            elif number in DUMPS:
                self._dump(DUMPS[number], number == STATS_CLEAR)

    def _dump(self, kind: str, clear: bool = False) -> None:
        """keepalived's files: the helper asks the vrrp process, and has a child of its own write them."""
        message: ipc.Message = {"t": "dump", "kind": kind, "clear": clear}
        if self.helper_channel is None or not self.helper_channel.send(message, [self.vrrp.loaded.model]):
            self.tell("error", f"{kind} not written: the helper process is not there to do it")

    def _stop(self, now: float) -> None:
        if self.stopping:
            return
        self.stopping = True
        process.notify("STOPPING=1\nSTATUS=stopping")
        self._helper_start = INFINITY
        # The address stays until the successor is heard, or skew (less than one interval, or 1 s in v2) + one interval.
        self._stop_by = now + 2 * self.vrrp.loaded.longest + 3.0
        if not self.vrrp.stop():
            self.vrrp_gone(now)

    # ------------------------------------------------------- what the vrrp process says
    def _on_path(self, message: ipc.Message) -> None:
        try:
            self.last_words.update(message)
        except ValueError as error:
            self.tell("error", f"the vrrp process declared a malformed {error}")

    def _refit(self, message: ipc.Message) -> None:
        """Something is missing. What a candidate needs is wanted as well, though no configuration in force says so."""
        self._fit(self.vrrp.loaded, running=self.vrrp.candidate is None)

    # ---------------------------------------------------------------- the helper
    def _from_helper(self, now: float) -> None:
        channel = self.helper_channel
        if channel is None:
            return
        for message, fds in channel.receive():
            if message.get("t") == "pipe":
                self._keep_pipe(str(message.get("path")), bool(message.get("made")), fds)
                continue
            ipc.close_all(fds)
            if message.get("t") in ("mail", "mailed", "events"):
                self._legacy.append(message)
            if message.get("t") != "request":
                continue
            number = message.get("id")
            if message.get("cmd") == "reload" and isinstance(number, int):
                self.renewal.reload(number)
            elif message.get("cmd") == "upgrade" and isinstance(number, int):
                self.renewal.upgrade(number, message.get("release"))
            else:
                channel.send({"t": "reply", "id": number, "data": {"ok": False, "error": "unknown command"}})
        if channel.closed:
            self.loop.forget(channel.fileno())

    def _keep_pipe(self, path: str, made: bool, fds: list[int]) -> None:
        """What is in it and not read yet is there as long as somebody has it open."""
        former = self._pipes.pop(path, None)
        if former is not None:
            os.close(former.fd)
        if fds:
            self._pipes[path] = Kept(path, fds[0], made)

    def _helper_ended(self, now: float) -> None:
        child = self.helper
        assert child is not None
        self.loop.forget(child.fd)
        ended = child.reap()
        for _ in range(LAST_WORDS):
            if self.helper_channel is not None and not self.helper_channel.closed:
                self._from_helper(now)
        if self.helper_channel is not None:
            self.loop.forget(self.helper_channel.fileno())
            self.helper_channel.close()
        self.helper = self.helper_channel = self._helper_watch = None
        if self._helper_pulse is not None:  # none where the helper is of the code before an upgrade
            self._helper_pulse.close()
            self._helper_pulse = None
        if self.stopping:
            if self.vrrp.current is None:
                self.loop.running = False
            return
        if self._retiring:
            self._retiring = False
            self._helper_start = now
            return
        delay = self._helper_backoff.after_death(now)
        self._helper_start = now + delay
        again = f"again in {delay:g} s" if delay else "again now"
        self.tell("error", f"the helper process has ended ({ended}); started {again}")
        self.renewal.clients_gone()

    # ------------------------------------------------------------------ upgrade (renewal.Owner)
    def bequeath(self, loaded: Loaded) -> resume.State:
        """All that a guard of other code needs in order to go on, and to hand over to `loaded`."""
        return {
            "version": resume.VERSION,
            "estate": {"version": estate.ESTATE_VERSION, "shape": estate.shape()},
            "setting": self.setting._asdict(),
            "loaded": plain(loaded),
            "former": {"code": resume.own_code(), "loaded": plain(self.vrrp.loaded)},
            "vrrp": self.vrrp.bequeath(),
            "path": self.last_words.encode(),
            "helper": process_facts(self.helper, self.helper_channel),
            "listener_fd": self._listener.fileno() if self._listener else -1,
            "pid_file_fd": self._pid_files[0],
            "pipes": [pipe._asdict() for pipe in self._pipes.values()],
            "lacking": [list(each) for each in self.statics.lacking.values()],
            "helper_deaths": self._helper_backoff.deaths,
            "helper_start": self._helper_start,
            "ready": self._ready,
            "asked": [],
            "signals": [],
            **self.renewal.bequeath(),
        }

    @staticmethod
    def understand(state: resume.State) -> tuple[Setting, Loaded, Loaded]:
        """The parts of a state that can be looked at without the descriptors; raises where this code does not fit."""
        known = {name: value for name, value in state["setting"].items() if name in Setting._fields}
        setting = Setting(**known)._replace(release=resume.release_of(resume.own_code()))
        succession.Succession.understand(state["vrrp"])
        return setting, plainly(state["former"]["loaded"]), plainly(state["loaded"])

    @classmethod
    def inherit(cls, state: resume.State) -> Guard:
        """The guard that the former code has been in this process, with its configuration."""
        setting, former, _ = cls.understand(state)
        guard = cls(setting, former)
        guard._pid_files = [state["pid_file_fd"]]
        if state["listener_fd"] >= 0:
            guard._listener = socket.socket(fileno=state["listener_fd"])
        guard.vrrp.inherit(state["vrrp"])
        guard.last_words.update(state.get("path", {"peers": []}))
        known = [estate.Lacking(*each) for each in state.get("lacking", ())]
        guard.statics.lacking = {each.text: each for each in known}
        guard.helper, guard.helper_channel = process_from(state["helper"])
        guard._helper_backoff = Backoff(state["helper_deaths"])
        guard._helper_start = state["helper_start"]
        guard._ready = state["ready"]
        guard._inherited = state
        return guard

    def resume(self) -> int:
        """After `inherit`: watch what we have got, and have a vrrp process of this code take over."""
        state, self._inherited = self._inherited, {}
        for fd in resume.descriptors(state):
            if fd >= 0:
                os.set_inheritable(fd, False)
        gc.collect()
        gc.freeze()
        self.vrrp.watch(time.monotonic())
        self.devices.load()
        self.tables.load()
        self.statics.load()
        self._be(self.vrrp.loaded)
        self._fit(self.vrrp.loaded)
        if self.helper is not None:
            self.loop.watch(self.helper.fd, self._helper_ended)
        if self.helper_channel is not None:
            self.loop.watch(self.helper_channel.fileno(), self._from_helper)
        self.renewal.go_on(state)
        self.handle_signals(state["signals"], time.monotonic())
        return self._live()

    def reloaded(self) -> None:
        if self.helper_channel is not None:
            self.helper_channel.send({"t": "reloaded"})
        if self.setting.dump_conf:
            self._dump("configuration")

    def retire_helper(self) -> None:
        """The helper is of the former code still. It takes no more clients and goes when those it has are answered."""
        if self.helper_channel is not None:
            self._retiring = self.helper_channel.send({"t": "retire"})

    def answer(self, number: int, data: dict[str, Any]) -> bool:
        channel = self.helper_channel
        return channel is None or channel.send({"t": "reply", "id": number, "data": data})


_FROM_VRRP: dict[str, Callable[[Guard, ipc.Message], None]] = {
    "path": Guard._on_path,
    "refit": Guard._refit,
}


def main(setting: Setting, foreground: bool) -> int:
    """Load, then run; returns the exit status. Nothing is started when the configuration has errors."""
    loaded = Loader(setting.config, setting.config_id, setting.lenient).finish()
    if loaded.text:
        print(loaded.text.rstrip("\n"), file=sys.stderr, flush=True)
    if loaded.exit_code:
        log = log_of(setting)
        log.error(f"{setting.config} has errors, not started: {loaded.first_error}")
        return loaded.exit_code
    namespace = setting.namespace or str(loaded.host.get("net_namespace", ""))
    if namespace:
        try:
            process.enter_namespace(namespace)
        except OSError as error:
            made = f"; make it with: ip netns add {namespace}" if isinstance(error, FileNotFoundError) else ""
            text = f"cannot enter the network namespace {namespace}: {error.strerror}{made}"
            print(f"vrrpd: {text}", file=sys.stderr, flush=True)
            return EXIT_CANNOT_RUN
        os.close(loaded.model)  # the interfaces that it was read for are those outside
        loaded = Loader(setting.config, setting.config_id, setting.lenient).finish()
        if loaded.exit_code:
            print(loaded.text.rstrip("\n"), file=sys.stderr, flush=True)
            return loaded.exit_code
    setting = setting.placed(namespace, str(loaded.host.get("instance", "")))
    started = None if foreground else _detach(setting.to_stderr)
    guard = Guard(setting._replace(started=time.monotonic()), loaded)
    try:
        guard.start()
    except Running as error:
        print(f"vrrpd: {error}", file=sys.stderr, flush=True)
        return EXIT_RUNNING
    except OSError as error:
        print(f"vrrpd: cannot start: {error.strerror}: {error.filename or ''}", file=sys.stderr, flush=True)
        return EXIT_CANNOT_RUN
    if started is not None:
        started()
    return guard.run()


def _detach(keep_stderr: bool) -> Callable[[], None]:
    """Go on in the background. The foreground process waits for the start and ends with its status.

    The answer is to be called once nothing can go wrong any more.
    """
    read, write = os.pipe()
    if os.fork():
        os.close(write)
        word = os.read(read, 1)  # empty: it ended before it was ready, and has said why
        os._exit(0 if word else EXIT_CANNOT_RUN)
    os.close(read)
    os.setsid()
    if os.fork():
        os._exit(0)

    def started() -> None:
        os.write(write, b"+")
        os.close(write)
        null = os.open(os.devnull, os.O_RDWR)
        for fd in (0, 1) if keep_stderr else (0, 1, 2):
            os.dup2(null, fd)
        os.close(null)

    return started
