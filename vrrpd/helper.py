"""The helper process: everything that may block. Log lines, notify scripts, mail, the control socket.

In: notices of the vrrp process (transitions, log lines, parts of answers), messages of the guard (model, a new vrrp
process, the end), requests at the control socket. Out: requests to both, children, mail, replies. It runs as root in
an environment that scripts bear, and may die at any time: the guard forks another one, and what was under way is
lost, nothing else. The parts know nothing of each other; this file connects them. Messages: see the tables
`_FROM_GUARD` and `_FROM_VRRP`.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import time
from collections import deque
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Callable, NamedTuple

from vrrpd import __version__, ipc, notify, process
from vrrpd.children import fork
from vrrpd.control import Control, Peer
from vrrpd.fifo import Fifos, Kept
from vrrpd.journal import Journal
from vrrpd.log import Log, log_of
from vrrpd.loop import Loop
from vrrpd.mail import SMTP_PORT, MailQueue, Settings
from vrrpd.model.compiled import decode, extracted
from vrrpd.pulse import Pulse
from vrrpd.schedule import ReloadTime
from vrrpd.scripts import Runner, owner
from vrrpd.timers import Timer, Timers
from vrrpd.trackers import Trackers, Verdicts

if TYPE_CHECKING:
    from vrrpd.model.compiled import Extract
    from vrrpd.model.groups import VrrpSyncGroup
    from vrrpd.model.vrrp import VrrpInstance

SOCKET = "control.sock"  # in the run directory
MAINTENANCE = "maintenance"  # in the state directory: present means on; a new vrrp process is told by the guard
JOURNAL = "guard/scripts"  # in the run directory, in the folder that only root may enter
CHECKS = "guard/checks"  # there too
READERS = "guard/readers"  # there too
EVENTS, EVENTS_PART = 200, 10  # changes of state that are remembered, and in one message to the next helper
BEAT = 5.0  # between two signs of life at most
VRRP_TIMEOUT = 2.0
GUARD_TIMEOUT = 60.0  # a reload reads and checks a configuration of any size
ORPHAN_TIMEOUT = 15.0  # for the vrrp process to leave in the planned way when the guard has died
ORPHAN_GRACE = 5.0
RETIRE_LOOK = 0.01
RETIRE_GRACE = 2.0  # for what runs and what is being answered, before a helper of other code takes over
KILL_RESERVE = 0.5  # of the grace, for what does not end on SIGTERM

_LISTS = (
    "instances",
    "sync_groups",
    "verdicts",
    "sockets",
    "announcing",
)  # of an answer, which may come in parts
Reply = Callable[[dict[str, Any]], None]


class Setting(NamedTuple):
    """What the guard decided before the fork."""

    run_dir: str = "/run/vrrpd"
    state_dir: str = "/var/lib/vrrpd"
    to_stderr: bool = False  # -l
    detailed: bool = False  # -D
    release: str = "checkout"
    tag: str = ""  # namespace and instance, where there are several daemons
    umask: int | None = None  # -u, which wins over the configuration
    log_facility: int = 3
    log_file: str = ""
    syslog: bool = True


class _Request:
    """A question to another process whose answer is awaited."""

    def __init__(self, done: Reply, timer: Timer) -> None:
        self.done = done
        self.timer = timer
        self.head: dict[str, Any] = {}
        self.lists: dict[str, list[Any]] = {"instances": []}  # what comes in parts


class _Peer:
    """The requests that go to one process: numbers, parts, timeouts."""

    def __init__(self, name: str, sock: socket.socket, timers: Timers, timeout: float) -> None:
        self.name = name
        self.channel = ipc.Channel(sock)
        self._timers = timers
        self._timeout = timeout
        self._waiting: dict[int, _Request] = {}
        self._number = os.getpid() << 16  # not those of a predecessor, whose answers may still be under way
        self._asked = 0.0  # since when it owes an answer; 0: it does not

    def request(self, message: dict[str, Any], done: Reply) -> None:
        """Ask; `done` gets {"ok": False, "error": ...} when no answer comes in time."""
        if self.channel.closed:
            done({"ok": False, "error": f"the {self.name} process is not running; it is being restarted"})
            return
        self._number += 1
        number = self._number
        self._asked = self._asked or time.monotonic()
        self._waiting[number] = _Request(done, self._timers.later(self._timeout, lambda: self._too_late(number)))
        if not self.channel.send({"t": "request", "id": number, **message}):
            self._waiting.pop(number).timer.cancel()
            done({"ok": False, "error": f"the request did not fit on the way to the {self.name} process"})

    def heard(self, message: dict[str, Any]) -> None:
        """One part of an answer. It is whole with the first part that does not announce more."""
        self._asked = 0.0
        number, data = message.get("id"), message.get("data")
        if not isinstance(number, int) or not isinstance(data, dict) or number not in self._waiting:
            return  # too late, or the answer to another helper before us
        request = self._waiting[number]
        head = data.pop("head", {})
        if isinstance(head, dict):
            request.head.update(head)
        for name in _LISTS:
            part = data.pop(name, None)
            if isinstance(part, list):
                request.lists.setdefault(name, []).extend(part)
        if message.get("more"):
            return
        del self._waiting[number]
        request.timer.cancel()
        request.done({**request.head, **request.lists, **data})

    def gone(self) -> None:
        """The process has ended: what was asked stays unanswered."""
        waiting, self._waiting = self._waiting, {}
        self._asked = 0.0
        for request in waiting.values():
            request.timer.cancel()
            request.done({"ok": False, "error": f"the {self.name} process has ended; it is being restarted"})

    def _too_late(self, number: int) -> None:
        silent = time.monotonic() - (self._asked or time.monotonic())
        request = self._waiting.pop(number)
        request.done({"ok": False, "error": f"the {self.name} process does not answer since {silent:.1f} s"})


class Helper:
    def __init__(
        self,
        vrrp_sock: socket.socket,
        guard_sock: socket.socket,
        setting: Setting,
        log: Log,
        pulse: Pulse,
        listener: socket.socket | None = None,
        pipes: Sequence[Kept] = (),
    ) -> None:
        self.setting = setting
        self._pulse = pulse
        self._listener = listener
        self.log = log
        self.loop = Loop()
        self.timers = Timers()
        self.guard = _Peer("guard", guard_sock, self.timers, GUARD_TIMEOUT)
        self.vrrp = _Peer("vrrp", vrrp_sock, self.timers, VRRP_TIMEOUT)
        self.runner = Runner(self.loop, self.timers, log)
        self.mail = MailQueue(self.loop, self.timers, log)
        readers = os.path.join(setting.run_dir, READERS)
        self.fifos = Fifos(self.loop, self.timers, log, readers, self._keep_pipe, pipes)
        self.runner.on_idle = self.mail.on_idle = self.fifos.on_idle = self._idle
        self.trackers = Trackers(self.loop, self.timers, log, self._tell_verdicts)
        self._tracked: Extract | None = None  # the configuration whose trackers wait for what the vrrp process knows
        self.reload_time = ReloadTime(self.timers, log, lambda: self.guard.request({"cmd": "reload"}, lambda _: None))
        self._retiring = False
        self.control: Control | None = None
        self.started = time.time()
        self.config: dict[str, Any] = {}
        self.events: deque[dict[str, Any]] = deque(maxlen=EVENTS)  # the latest changes of state
        self.lost = 0  # transitions that the vrrp process could not tell us
        self._router_id = ""
        self._states_on_reload = False
        self._no_email_faults = False
        self._instances: dict[str, VrrpInstance] = {}  # those that somebody wants to be told of
        self._groups: dict[str, VrrpSyncGroup] = {}  # likewise
        self._lacking: list[dict[str, Any]] = []  # static items that cannot be had
        self._mailed: dict[str, str] = {}  # last mailed event by instance, or by "group NAME"
        self._seq = 0
        self._loaded = False  # until then the vrrp process is not listened to
        self._finishing = False

    # ------------------------------------------------------------------ life
    def run(self) -> int:
        self._watch(self.guard, self._from_guard)
        path = os.path.join(self.setting.run_dir, SOCKET)
        try:
            self.control = Control(self.loop, self.timers, self.log, path, self._handle, listener=self._listener)
        except OSError as error:
            self.log.error(f"control socket {path}: {error.strerror}; vrrpctl will not work")
        if self._maintenance_on():
            self.log.warning(f"maintenance is on ({self._maintenance_path()}); end it with: vrrpctl maintenance off")
        self.loop.run(self._turn)
        if self._finishing:
            self.fifos.close()
        return 0

    def _turn(self, now: float) -> float:
        deadline = min(self.timers.run(now), now + BEAT)
        self._pulse.promise(max(deadline, now))
        for peer in (self.guard, self.vrrp) if self._loaded else (self.guard,):
            if not peer.channel.closed:
                self.loop.want_write(peer.channel.fileno(), peer.channel.congested)
        return deadline

    def _watch(self, peer: _Peer, read: Callable[[], None]) -> None:
        self.loop.watch(peer.channel.fileno(), lambda now: read(), lambda now: peer.channel.flush())

    def finish(self, grace: float) -> None:
        """Run what is queued within `grace` seconds, then leave."""
        if self._finishing:
            return
        self._finishing = True
        if self.control is not None:
            self.control.close()
            self.control = None
        self.trackers.stop(self._idle)
        self._from_vrrp()  # its last transitions
        self.mail.finish()
        self.fifos.finish()
        self.timers.later(max(0.0, grace - KILL_RESERVE), lambda: self.runner.end("the daemon is ending"))
        self.timers.later(grace, self._leave)
        self.timers.later(0, self._idle)

    def retire(self) -> None:
        """Make room for a helper of other code: end what runs, leave the rest to it.

        What waits is in the journal and in the sockets, which the successor has too.
        """
        if self._retiring or self._finishing:
            return
        self._retiring = True
        self.trackers.stop(self._idle)
        self.runner.hold()
        if self.control is not None:
            self.control.leave()
        self.timers.later(RETIRE_GRACE, self._retired)
        self._retire_when_done()

    def _retire_when_done(self) -> None:
        if (
            self.runner.running
            or self.trackers.busy
            or self.mail.sending
            or (self.control is not None and self.control.busy)
        ):
            self.timers.later(RETIRE_LOOK, self._retire_when_done)
        else:
            self._retired()

    def _retired(self) -> None:
        """Mail, and what has happened, is nowhere but here: the guard passes it on."""
        self.trackers.kill()
        for mail in self.mail.unsent():
            self.guard.channel.send({"t": "mail", "mail": list(mail)})
        for name, event in self._mailed.items():
            self.guard.channel.send({"t": "mailed", "instance": name, "event": event})
        past = list(self.events)
        for start in range(0, len(past), EVENTS_PART):
            self.guard.channel.send({"t": "events", "events": past[start : start + EVENTS_PART]})
        self.loop.running = False

    def _idle(self) -> None:
        busy = self.runner.busy or self.mail.busy or self.fifos.busy or self.trackers.busy
        if self._finishing and not busy:
            self.loop.running = False

    def _leave(self) -> None:
        self.runner.kill()
        self.trackers.kill()
        self.mail.kill()
        self.loop.running = False

    # ------------------------------------------------------------ from the guard
    def _from_guard(self) -> None:
        for message, fds in self.guard.channel.receive():
            handler = _FROM_GUARD.get(str(message.get("t")))
            if handler is not None:
                handler(self, message, fds)
            ipc.close_all(fds)
        if self.guard.channel.closed and not self._finishing:
            self.loop.forget(self.guard.channel.fileno())
            self.guard.gone()
            self.log.error("the guard has died; leaving when the vrrp process has")
            if self.vrrp.channel.closed:
                self.finish(ORPHAN_GRACE)
            else:
                self.timers.later(ORPHAN_TIMEOUT, lambda: self.finish(ORPHAN_GRACE))

    def _model(self, message: dict[str, Any], fds: list[int]) -> None:
        if not fds:
            return
        model = extracted(ipc.read_all(fds.pop()))  # made by the guard's own loader child
        wanted = {instance.name: instance for instance in model.vrrp_instances}
        # The DELETED of an instance may come before or after the model without it.
        removed = {name: old for name, old in self._instances.items() if name not in model.names}
        self._instances = {**removed, **wanted}
        self._groups = {group.name: group for group in model.vrrp_sync_groups}
        self.config = {"path": str(model.path), "sha256": model.sha256, "loaded_at": time.time()}
        defs = model.global_defs
        self.runner.owner = owner(defs)
        self.mail.settings = mail_settings(defs)
        self.fifos.configure(defs)
        self.reload_time.configure(defs.reload_time_file or "", bool(defs.reload_repeat))
        if self.setting.umask is None:
            os.umask(process.UMASK if defs.umask is None else defs.umask)
        self._states_on_reload = bool(defs.fifo_write_vrrp_states_on_reload)
        self._router_id = defs.router_id or socket.gethostname()
        self._no_email_faults = bool(defs.no_email_faults)
        if not self._loaded:
            self._loaded = True
            self._resume()
            self._watch(self.vrrp, self._from_vrrp)
            if model.vrrp_scripts or model.track_files or model.track_processes:
                self._tracked = model
                self.vrrp.request({"cmd": "verdicts"}, self._begin_tracking)
        elif self._tracked is not None:
            self._tracked = model
        elif not self._finishing and not self._retiring:
            self.trackers.configure(model)

    def _begin_tracking(self, answer: dict[str, Any]) -> None:
        """With what a helper before us has found, or with nothing."""
        model, self._tracked = self._tracked, None
        self.trackers.seed(answer.get("verdicts", ()))
        if model is not None and not self._finishing and not self._retiring:
            self.trackers.configure(model)

    def _tell_verdicts(self, verdicts: Verdicts) -> bool:
        """True where there is nobody to tell: the next vrrp process is told all."""
        return self.vrrp.channel.closed or self.vrrp.channel.send({"t": "verdicts", "verdicts": list(verdicts)})

    def _resume(self) -> None:
        """Only now: whose scripts these are, and who runs them, is in the model."""
        for name, resume, what in (
            (JOURNAL, self.runner.resume, "scripts that wait do not survive"),
            (CHECKS, self.trackers.resume, "a check that runs outlives"),
        ):
            path = os.path.join(self.setting.run_dir, name)
            try:
                resume(Journal(path))
            except (OSError, ValueError) as error:
                self.log.error(f"{path}: {error}; {what} this process")

    def _keep_pipe(self, path: str, made: bool, fds: Sequence[int]) -> None:
        """The guard has it for as long as it is in use, whatever becomes of us."""
        self.guard.channel.send({"t": "pipe", "path": path, "made": made}, fds)

    def _reloaded(self, message: dict[str, Any], fds: list[int]) -> None:
        """A new configuration runs: keepalived's fifo_write_vrrp_states_on_reload."""

        def done(answer: dict[str, Any]) -> None:
            for entry in answer.get("instances", ()):
                self.fifos.write(notify.fifo_line(entry["name"], entry["state"], entry["priority"]))
            for entry in answer.get("sync_groups", ()):
                if entry["state"]:
                    self.fifos.write(notify.fifo_line(entry["name"], entry["state"], 0, notify.GROUP))

        if self._states_on_reload:
            self.vrrp.request({"cmd": "status"}, done)

    def _dump(self, message: dict[str, Any], fds: list[int]) -> None:
        """keepalived's files: data, stats or JSON, of this configuration and the present state; or to the log."""
        kind, model = str(message.get("kind")), fds.pop() if fds else -1
        if model < 0:
            return

        def done(answer: dict[str, Any]) -> None:
            if "error" in answer:
                self.log.error(f"{kind} not written: {answer['error']}")
            else:
                self._write_dump(kind, model, self._whole(answer))
            os.close(model)

        self.vrrp.request({"cmd": "status", "clear": message.get("clear") is True}, done)

    def _write_dump(self, kind: str, model: int, answer: dict[str, Any]) -> None:
        """In a child: the whole model is megabytes, and a disk may be slow."""

        def work() -> int:
            from vrrpd import dump  # the child alone pays for it

            log = log_of(self.setting)
            try:
                if kind in dump.LOGGED:
                    for line in dump.LOGGED[kind](decode(ipc.read_all(model)), answer):
                        log.info(line)
                    return 0
                dump.make(kind, decode(ipc.read_all(model)), answer, self.setting.tag, self.setting.umask)
            except OSError as error:
                log.error(f"{kind} not written: {error.strerror}: {error.filename or ''}")
                return 1
            return 0

        try:
            child = fork({model}, work)
        except OSError as error:
            self.log.error(f"{kind} not written: {error.strerror}")
            return

        def ended(now: float) -> None:
            self.loop.forget(child.fd)
            child.reap()

        self.loop.watch(child.fd, ended)

    def _vrrp(self, message: dict[str, Any], fds: list[int]) -> None:
        """A new vrrp process, at the other end of this descriptor."""
        if not fds:
            return
        self._from_vrrp()
        if not self.vrrp.channel.closed:
            self._vrrp_gone()
        self.vrrp = _Peer("vrrp", socket.socket(fileno=fds.pop()), self.timers, VRRP_TIMEOUT)
        self._seq = 0
        if self._loaded:
            self._watch(self.vrrp, self._from_vrrp)
            self.trackers.tell_all()

    def _statics(self, message: dict[str, Any], fds: list[int]) -> None:
        self._lacking = [
            {"what": f"static {kind} {text}", "why": why, "since": round(since, 3)}
            for kind, text, why, since in message["statics"]
        ]

    def _finish(self, message: dict[str, Any], fds: list[int]) -> None:
        self.finish(float(message.get("grace", ORPHAN_GRACE)))

    # ------------------------------------------------------------- from the vrrp
    def _from_vrrp(self) -> None:
        peer = self.vrrp
        while not peer.channel.closed:
            count = 0
            for message, fds in peer.channel.receive():
                ipc.close_all(fds)
                count += 1
                for notice in message["notices"] if message.get("t") == "notices" else (message,):
                    handler = _FROM_VRRP.get(str(notice.get("t")))
                    if handler is not None:
                        handler(self, notice)
            # one helping is enough, unless these are the last words
            if peer.channel.closed:
                self._vrrp_gone()
            elif not count or not self._finishing:
                return

    def _vrrp_gone(self) -> None:
        self.loop.forget(self.vrrp.channel.fileno())
        self.vrrp.channel.close()
        self.vrrp.gone()
        if self.guard.channel.closed:
            self.finish(ORPHAN_GRACE)

    def _transition(self, message: dict[str, Any]) -> None:
        if not _is_transition(message):
            self.log.error("the vrrp process sent what is no transition: ignored")
            return
        group = message["t"] == "group_transition"
        kind = notify.GROUP if group else notify.INSTANCE
        name, event, priority = message["instance"], message["event"], message["priority"]
        self._count(message["seq"])
        new = event if event in ("STOP", "DELETED") else message["new"]
        who, weight = (f"sync group {name}", "") if group else (name, f", priority {priority}")
        self.log.write("info", f"{who}: {message['old']} -> {new} ({message['reason']}){weight}", message["at"])
        concerned = self._groups.get(name) if group else self._instances.get(name)
        what = "sync_group" if group else "instance"
        past = {"at": message["at"], what: name, "old": message["old"], "new": new, "reason": message["reason"]}
        self.events.append(past if group else {**past, "priority": priority})
        self.fifos.write(notify.fifo_line(name, notify.told(concerned, event), priority, kind))
        if concerned is None:
            return
        for job in notify.transition_jobs(concerned, event, priority, kind):
            self.runner.submit(job)
        key = f"group {name}" if group else name
        last, faults = self._mailed.get(key, ""), self._no_email_faults
        mail = notify.transition_mail(concerned, event, self._router_id, message["at"], last, faults, kind)
        if mail is not None:
            self._mailed[key] = mail.event
            self.mail.submit(mail)

    def _count(self, seq: int) -> None:
        missed = seq - self._seq - 1
        if self._seq and missed > 0:
            self.lost += missed
            self.log.warning(f"{missed} state changes were not told to scripts and mail: too many at once")
        self._seq = seq

    def _priority(self, message: dict[str, Any]) -> None:
        former, priority, reason = message["former"], message["priority"], message["reason"]
        self.log.write("info", f"{message['instance']}: priority {former} -> {priority} ({reason})", message["at"])
        if message.get("piped"):
            event = "MASTER_PRIORITY" if message.get("state") == "MASTER" else "BACKUP_PRIORITY"
            self.fifos.write(notify.fifo_line(str(message["instance"]), event, int(priority)))

    def _rx_lower_pri(self, message: dict[str, Any]) -> None:
        name, own = str(message.get("instance")), message.get("own")
        if isinstance(own, int):
            self.fifos.write(notify.fifo_line(name, "MASTER_RX_LOWER_PRI", own))
        instance = self._instances.get(name)
        if instance is not None:
            for job in notify.rx_lower_pri_jobs(instance):
                self.runner.submit(job)

    def _log(self, message: dict[str, Any]) -> None:
        self.log.write(str(message.get("level")), str(message.get("message")))

    # ---------------------------------------------------------------- the control
    def _handle(self, request: dict[str, Any], peer: Peer, reply: Reply) -> None:
        if "release" in request and peer.uid:
            reply({"ok": False, "error": f"only root chooses what code runs, not uid {peer.uid}"})
            return
        _COMMANDS[request["cmd"]](self, request, reply)

    def _status(self, request: dict[str, Any], reply: Reply) -> None:
        def done(answer: dict[str, Any]) -> None:
            if "error" in answer:
                # what we know without it; no "instances", which would read as "there are none"
                reply({"ok": False, "error": answer["error"], "status": self._own_status()})
                return
            reply({"ok": True, "status": self._whole(answer)})

        self.vrrp.request({"cmd": "status"}, done)

    def _whole(self, answer: dict[str, Any]) -> dict[str, Any]:
        """What the vrrp process has answered, and what we know."""
        own = self._own_status()
        return {**own, **answer, "processes": {**own["processes"], **answer.get("processes", {})}}

    def _own_status(self) -> dict[str, Any]:
        return {
            "version": __version__,
            "release": self.setting.release,
            "config": self.config,
            "maintenance": self._maintenance_on(),
            "uptime": round(time.time() - self.started, 3),
            "processes": {"guard": os.getppid(), "helper": os.getpid()},
            "scripts": list(self.runner.results.values()),
            "trackers": self.trackers.status(),
            "missing": self._lacking,
            "scripts_queued": self.runner.queued,
            "scripts_dropped": self.runner.dropped,
            "mail": {
                "queued": self.mail.queued,
                "sent": self.mail.sent,
                "dropped": self.mail.dropped,
                "last_error": self.mail.last_error,
            },
            "fifos": self.fifos.status(),
            "reload_at": self.reload_time.at,
            "transitions_lost": self.lost,
        }

    def _scripts(self, request: dict[str, Any], reply: Reply) -> None:
        reply({"ok": True, "scripts": list(self.runner.results.values())})

    def _events(self, request: dict[str, Any], reply: Reply) -> None:
        reply({"ok": True, "events": list(self.events)})

    def _reload(self, request: dict[str, Any], reply: Reply) -> None:
        def done(answer: dict[str, Any]) -> None:
            answer.pop("instances", None)
            reply(answer)

        self.guard.request({"cmd": "reload"}, done)

    def _upgrade(self, request: dict[str, Any], reply: Reply) -> None:
        release = request.get("release")
        if release is not None and not (isinstance(release, str) and os.path.isabs(release)):
            reply({"ok": False, "error": 'upgrade takes "release", the whole path of a folder'})
            return

        def done(answer: dict[str, Any]) -> None:
            answer.pop("instances", None)
            reply(answer)

        self.guard.request({"cmd": "upgrade", "release": release}, done)

    def _maintenance(self, request: dict[str, Any], reply: Reply) -> None:
        on = request.get("on")
        if not isinstance(on, bool):
            reply({"ok": False, "error": 'maintenance needs "on": true or false'})
            return
        path = self._maintenance_path()
        try:
            # Recorded first: a process that dies between the two must not come back against the operator's word.
            if on:
                os.makedirs(self.setting.state_dir, 0o755, exist_ok=True)
                with open(path, "w", encoding="ascii") as file:
                    file.write(time.strftime("%Y-%m-%dT%H:%M:%S%z\n"))
            else:
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(path)
        except OSError as error:
            reply({"ok": False, "error": f"cannot record maintenance in {path}: {error.strerror}; nothing is changed"})
            return

        def done(answer: dict[str, Any]) -> None:
            if answer.get("ok"):
                reply({"ok": True, "maintenance": on})
            else:
                word = "on" if on else "off"
                reply({"ok": False, "error": f"maintenance {word} is recorded, but {answer.get('error')}"})

        self.vrrp.request({"cmd": "maintenance", "on": on}, done)

    def _handover(self, request: dict[str, Any], reply: Reply) -> None:
        name = request.get("instance")
        if not isinstance(name, str) or not name:
            reply({"ok": False, "error": 'handover needs "instance", the name of one'})
            return

        def done(answer: dict[str, Any]) -> None:
            answer.pop("instances", None)
            reply(answer)

        self.vrrp.request({"cmd": "handover", "instance": name}, done)

    def _maintenance_path(self) -> str:
        return os.path.join(self.setting.state_dir, MAINTENANCE)

    def _maintenance_on(self) -> bool:
        return os.path.exists(self._maintenance_path())


_FROM_GUARD: dict[str, Callable[[Helper, dict[str, Any], list[int]], None]] = {
    "model": Helper._model,  # + memfd
    "vrrp": Helper._vrrp,  # + socket
    "log": lambda helper, message, fds: helper._log(message),
    "reply": lambda helper, message, fds: helper.guard.heard(message),
    "mail": lambda helper, message, fds: helper.mail.submit(notify.Mail(*message["mail"])),
    "mailed": lambda helper, message, fds: helper._mailed.update({message["instance"]: message["event"]}),
    "events": lambda helper, message, fds: helper.events.extend(message["events"]),
    "retire": lambda helper, message, fds: helper.retire(),
    "reloaded": Helper._reloaded,
    "lacking": Helper._statics,
    "dump": Helper._dump,  # + memfd
    "finish": Helper._finish,  # grace
}

_FROM_VRRP: dict[str, Callable[[Helper, dict[str, Any]], None]] = {
    "transition": Helper._transition,
    "group_transition": Helper._transition,
    "rx_lower_pri": Helper._rx_lower_pri,
    "priority": Helper._priority,
    "log": Helper._log,
    "reply": lambda helper, message: helper.vrrp.heard(message),
}

_COMMANDS: dict[str, Callable[[Helper, dict[str, Any], Reply], None]] = {
    "status": Helper._status,
    "scripts": Helper._scripts,
    "events": Helper._events,
    "reload": Helper._reload,
    "upgrade": Helper._upgrade,
    "maintenance": Helper._maintenance,
    "handover": Helper._handover,
}


def _is_transition(message: dict[str, Any]) -> bool:
    """Its sender has fewer rights than we: what ends up in the arguments of root's scripts has the right type."""
    texts = [message.get(key) for key in ("instance", "old", "new", "event", "reason")]
    numbers = [message.get(key) for key in ("priority", "seq")]
    at = message.get("at")
    return (
        all(isinstance(text, str) for text in texts)
        and all(isinstance(number, int) for number in numbers)
        and isinstance(at, (int, float))
        and 0 <= at < 1 << 40
        and message["event"] in notify.MAIL_TEXT
    )


def mail_settings(defs: Any) -> Settings | None:
    """How global_defs says to send mail; None without a server or a recipient (keepalived's rule)."""
    if not defs.smtp_server or not defs.notification_email:
        return None
    host, port = defs.smtp_server
    return Settings(
        (host, port or SMTP_PORT),
        tuple(defs.notification_email),
        defs.notification_email_from or "",
        defs.smtp_helo_name or "",
        float(defs.smtp_connect_timeout or 30),
    )


def run(
    vrrp_sock: socket.socket,
    guard_sock: socket.socket,
    setting: Setting,
    pulse: Pulse,
    listener: socket.socket | None = None,
    pipes: Sequence[Kept] = (),
) -> int:
    """The life of the forked helper process; returns its exit status."""
    process.default_signals()
    # The end comes from the guard: a terminal's interrupt or systemd's SIGTERM reaches all of us, and the scripts of
    # the stop are still to run. Handlers instead of SIG_IGN, which scripts would inherit.
    for sig in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(sig, lambda number, frame: None)
    process.set_name("vrrpd-helper")
    process.ordinary_priority()
    log = log_of(setting)
    return Helper(vrrp_sock, guard_sock, setting, log, pulse, listener, pipes).run()
