"""Who is the vrrp process: its start, its death, the candidate that is to follow it, the will between them.

    start      nobody was there: a new process that starts every router
    hand_over  a candidate with another configuration (or code) prepares itself while the present one goes on; once it
               is ready the two settle it among themselves (handover.py); before `live` nothing has changed
    death      the will names what the dead one held as MASTER. If the peers' timers leave the time, a new process
               adopts it: its first act is their adverts. Else, and when processes keep dying, the will is executed

It belongs to the guard, which says when, and is told what became of it (`Owner`). Nothing here knows the protocol.
"""

from __future__ import annotations

import functools
import os
import select
import signal
import socket
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple, Protocol

from vrrpd import ipc, process, vrrp_daemon, will
from vrrpd.children import Backoff, Child, Loaded, fork, process_facts, process_from
from vrrpd.loop import INFINITY, Loop
from vrrpd.pidfile import lock_pid_file, write_pid
from vrrpd.pulse import LOOKS, LOOKS_IDLE, Pulse, Watch, patience
from vrrpd.vrrp.path import Standing

KILL_WAIT = 0.02  # after SIGKILL; longer only when the kernel holds it, and then the will does not wait either
PREPARE_TIMEOUT = 60.0  # for a candidate to become ready
TAKE_TIMEOUT = 5.0  # and then to take over, besides three intervals
RETIRE_TIMEOUT = 5.0  # for a former process to bury what has no heir, and to go
PEERS_WAIT = 2.0  # intervals after a broken promise until a peer's timer may run out (3, one of them slept through)
ADOPTION = 0.005  # what an adoption takes until its first advert

Done = Callable[[str], None]  # what went wrong, or ""


class Setting(NamedTuple):
    pid_file: str
    will_folder: str
    vrrp: vrrp_daemon.Setting


class Owner(Protocol):
    def connect(self, helper_end: int) -> None:
        """The helper's end of a new pair to the vrrp process."""

    def announce(self, loaded: Loaded) -> None:
        """A process with this configuration is about to start: for the interfaces that it needs."""

    def in_force(self, loaded: Loaded) -> None:
        """This configuration runs, or is about to: for scripts and mail."""

    def vrrp_live(self, loaded: Loaded) -> None:
        """The vrrp process is responsible now."""

    def vrrp_ended(self, ended: str, again: str) -> None:
        """It has died; what follows."""

    def vrrp_gone(self, now: float) -> None:
        """It has left as it was asked to."""

    def hear(self, message: ipc.Message) -> None:
        """Anything else that it says."""

    def execute(self, records: list[will.Record]) -> None:
        """Of the will: nobody goes on with these."""

    def in_maintenance(self) -> bool: ...

    def standings(self) -> Mapping[bytes, Standing]:
        """What the vrrp process knew of the second path."""

    def refused(self) -> Mapping[str, str]:
        """Virtual interfaces that cannot be made, and why."""

    def missing(self) -> Mapping[str, str]:
        """Static items that cannot be had, and why."""

    def tell(self, level: str, message: str) -> None: ...


class Worker:
    """A vrrp process as the guard knows it."""

    def __init__(self, child: Child, channel: ipc.Channel, pulse: Pulse, epoch: int, loaded: Loaded) -> None:
        self.child, self.channel, self.pulse, self.epoch, self.loaded = child, channel, pulse, epoch, loaded
        self.live = False
        self.watch: Watch | None = None
        self.pair: socket.socket | None = None  # of a candidate: the present one's end of their hand-over
        self.done: Done = _ignore
        self.deadline = INFINITY  # by when it has to be ready, or gone
        self.error = ""  # why it refused
        self.fallen = False  # its death has been dealt with
        self.again = ""  # and what followed

    def observe(self, now: float) -> None:
        self.watch = Watch(self.pulse, patience(self.loaded.shortest, self.loaded.routers), now)


def _ignore(error: str) -> None:
    pass


class Succession:
    def __init__(self, setting: Setting, loop: Loop, loaded: Loaded, owner: Owner) -> None:
        self.setting, self.loop, self.loaded, self.owner = setting, loop, loaded, owner
        self.will = will.Will(setting.will_folder)
        self.epoch = 0  # of the youngest process
        self.current: Worker | None = None
        self.candidate: Worker | None = None
        self.retiring: list[Worker] = []
        self.stopping = False
        self.helper_end: socket.socket | None = None  # of the pair vrrp <-> helper, for the successors of both
        self._vrrp_end: socket.socket | None = None
        self._lock = -1  # of the pid file; every vrrp process holds it too
        self._backoff = Backoff()
        self.start_at = INFINITY  # when to try again
        self.links: dict[str, Any] = {}  # of which delays run: how the vrrp process takes them, and until when
        self._waiting: tuple[Loaded, Done] | None = None  # a hand-over asked of a process that is not live yet

    # ------------------------------------------------------------------- beginning
    def start(self, heritage: Iterable[will.Record] = (), due: float = 0.0) -> None:
        """A new process, where there is none: it goes on with the heritage, due since then, and starts the rest."""
        self.start_at = INFINITY
        self._connect()
        records = tuple(heritage)
        worker = self._fork(self.loaded, vrrp_daemon.Origin(will=records, due=due))
        self.current = worker
        self._write_pid(worker)
        if records:  # its promise is kept from the first advert on; one that starts anew may take its time
            worker.observe(time.monotonic())
        assert self.helper_end is not None
        self.owner.connect(self.helper_end.fileno())

    def _connect(self) -> None:
        for end in (self._vrrp_end, self.helper_end):
            if end is not None:
                end.close()
        self._vrrp_end, self.helper_end = ipc.pair()

    def _fork(self, loaded: Loaded, origin: vrrp_daemon.Origin) -> Worker:
        assert self._vrrp_end is not None
        if self._lock < 0:
            self._lock = lock_pid_file(self.setting.pid_file)
        self.epoch += 1
        ours, theirs = ipc.pair()
        to_helper, pulse = self._vrrp_end, Pulse()
        pulse.promise(time.monotonic() + loaded.shortest)
        setting = self.setting.vrrp._replace(
            maintenance=self.owner.in_maintenance(),
            refused=self.owner.refused(),
            missing=self.owner.missing(),
            standings=self.owner.standings(),
            links=self.links,
            epoch=self.epoch,
        )
        keep = {theirs.fileno(), to_helper.fileno(), self._lock, loaded.model}
        if origin.former is not None:
            keep.add(origin.former.fileno())
        work = functools.partial(vrrp_daemon.run, theirs, to_helper, setting, loaded.model, pulse, origin)
        child = fork(keep, work, urgent=bool(origin.will))
        theirs.close()
        worker = Worker(child, ipc.Channel(ours), pulse, self.epoch, loaded)
        self._listen_to(worker)
        return worker

    def _listen_to(self, worker: Worker) -> None:
        fd = worker.child.fd
        self.loop.watch(fd, lambda now: self._ended(worker, now) if _readable(fd) else None)
        self.loop.watch(worker.channel.fileno(), lambda now: self._on_channel(worker, now))

    def _write_pid(self, worker: Worker) -> None:
        write_pid(self._lock, worker.child.pid)

    # --------------------------------------------------------------------- hand-over
    def hand_over(self, loaded: Loaded, done: Done) -> None:
        """Have a process with this configuration follow the present one; `done` is told what hindered it, or ""."""
        if self.current is None:  # between a death and a new start, which will take it
            os.close(self.loaded.model)
            self.loaded = loaded
            self.owner.in_force(loaded)
            done("")
        elif not self.current.live:
            self._waiting = loaded, done
        else:
            self._nominate(loaded, done)

    def _nominate(self, loaded: Loaded, done: Done) -> None:
        self.owner.announce(loaded)
        mine, heirs = ipc.pair()
        try:
            candidate = self._fork(loaded, vrrp_daemon.Origin(former=heirs))
        except OSError as error:
            mine.close()
            done(f"cannot start a process: {error}")
            return
        finally:
            heirs.close()
        candidate.pair, candidate.done = mine, done
        candidate.deadline = time.monotonic() + PREPARE_TIMEOUT
        self.candidate = candidate

    def _on_ready(self, worker: Worker, now: float) -> None:
        """It can take over at any moment: let the present one begin, and watch both."""
        if worker is not self.candidate or worker.pair is None or self.current is None:
            return
        self.owner.in_force(worker.loaded)  # before anything that a script could be told
        worker.deadline = now + TAKE_TIMEOUT + 3 * self.loaded.longest
        worker.observe(now)
        self.current.channel.send({"t": "handover"}, [worker.pair.fileno()])
        worker.pair.close()
        worker.pair = None

    def _on_live(self, worker: Worker, message: ipc.Message, now: float) -> None:
        """Responsible from now on; what its predecessors left in the will is its own by now, or theirs to undo."""
        worker.live, worker.deadline = True, INFINITY
        worker.observe(now)
        left = [tuple(identity) for identity in message.get("left") or ()]
        self.will.forget(
            record
            for record in self.will.records.values()
            if record.epoch != worker.epoch and _plain(record) not in left
        )
        if worker is self.candidate:
            former, self.current, self.candidate = self.current, worker, None
            assert former is not None
            former.watch, former.deadline = None, now + RETIRE_TIMEOUT
            self.retiring.append(former)
            self._write_pid(worker)
            os.close(self.loaded.model)
            self.loaded = worker.loaded
            worker.done("")
            if self.stopping:
                worker.channel.send({"t": "stop"})
        self.owner.vrrp_live(worker.loaded)
        waiting, self._waiting = self._waiting, None
        if waiting is not None:
            self._nominate(*waiting)

    def _failed(self, candidate: Worker, why: str) -> None:
        """The present process goes on; what the candidate did beyond that is undone."""
        self.candidate = None
        if candidate.pair is not None:
            candidate.pair.close()
        its = self.will.of(candidate.epoch)
        self.will.forget(its)
        records = self.will.records.values()
        kept = {here for record in records for here in record.addresses}
        laid = {here for record in records for here in record.laid}
        will.remove(
            [here for record in its for here in record.addresses if here not in kept],
            self.owner.tell,
            [here for record in its for here in record.laid if here not in laid],
        )
        os.close(candidate.loaded.model)
        self.owner.in_force(self.loaded)
        if self.current is not None and self.current.live:
            self.owner.vrrp_live(self.loaded)
        candidate.done(why)
        if self.stopping and self.current is not None:
            self.current.channel.send({"t": "stop"})

    # ------------------------------------------------------------------ exec of the guard
    def settle(self, now: float) -> None:
        """Nothing is under way any more that an exec would forget."""
        for worker in list(self.retiring):
            select.select([worker.child.fd], [], [], RETIRE_TIMEOUT / 10)
            self._kill(worker, now)
        self.will.save()

    def bequeath(self) -> dict[str, Any]:
        """What the same guard needs after an exec: plain data, and descriptors under keys that end in `fd`."""
        current = None
        if self.current is not None:
            facts = process_facts(self.current.child, self.current.channel) or {}
            current = {**facts, "pulse_fd": self.current.pulse.fd, "epoch": self.current.epoch}
            current["live"] = self.current.live
        ends = [end.fileno() if end is not None else -1 for end in (self._vrrp_end, self.helper_end)]
        return {
            "current": current,
            "epoch": self.epoch,
            "vrrp_end_fd": ends[0],
            "helper_end_fd": ends[1],
            "lock_fd": self._lock,
            "deaths": self._backoff.deaths,
            "start_at": self.start_at,
            "links": self.links,
            "will": [will.encode(record) for record in self.will.records.values()],
        }

    @staticmethod
    def understand(state: dict[str, Any]) -> list[will.Record]:
        """Raises where this code does not fit."""
        return [will.decode(record) for record in state["will"]]

    def inherit(self, state: dict[str, Any]) -> None:
        """After `__init__` with the configuration that runs; `watch` follows."""
        self.will.records = {record.key: record for record in self.understand(state)}
        self.epoch, self._lock, self.start_at = state["epoch"], state["lock_fd"], state["start_at"]
        self.links = state.get("links", {})
        self._vrrp_end = socket.socket(fileno=state["vrrp_end_fd"])
        self.helper_end = socket.socket(fileno=state["helper_end_fd"])
        self._backoff = Backoff(state["deaths"])
        facts = state["current"]
        child, channel = process_from(facts)
        if child is not None and channel is not None:
            self.current = Worker(child, channel, Pulse(facts["pulse_fd"]), facts["epoch"], self.loaded)
            self.current.live = facts["live"]

    def watch(self, now: float) -> None:
        if self.current is not None:
            self._listen_to(self.current)
            if self.current.live:
                self.current.observe(now)

    # ------------------------------------------------------------------------- turn
    def turn(self, now: float) -> float:
        """Look after all of them; when to be called again."""
        wanted = INFINITY
        for worker in self._workers():
            watch = worker.watch if not self.stopping else None
            looks = LOOKS if self.will.records else LOOKS_IDLE
            if watch is not None and now >= watch.next_look and watch.look(now, looks):
                silent = now - worker.pulse.promised
                self.owner.tell("error", f"the vrrp process has given no sign of life for {silent:.2f} s: killed")
                self.fence(worker, now)
                return now  # others are to be looked after now
            if now >= worker.deadline:
                worker.deadline, worker.error = INFINITY, "not ready in time"
                process.pidfd_kill(worker.child.fd, signal.SIGKILL)
            if not worker.channel.closed:
                worker.channel.flush()
            look = watch.next_look if watch is not None else INFINITY
            wanted = min(wanted, look, worker.deadline, now + 0.05 if worker.channel.congested else INFINITY)
        return min(wanted, self.start_at)

    def _workers(self) -> list[Worker]:
        return [worker for worker in (self.current, self.candidate, *self.retiring) if worker is not None]

    def fence(self, worker: Worker, now: float) -> None:
        """Kill it, and carry out its will even when the kernel does not let go of it."""
        worker.watch = None
        if not self._kill(worker, now):
            self.execute(list(self.will.records.values()))

    def _kill(self, worker: Worker, now: float) -> bool:
        """Dead as soon as its channel is closed: what it does from then on is the kernel's tidying up."""
        process.pidfd_kill(worker.child.fd, signal.SIGKILL)
        until = time.monotonic() + KILL_WAIT
        while not worker.channel.closed:
            left = until - time.monotonic()
            if left <= 0 or not select.select([worker.channel.fileno()], [], [], left)[0]:
                return False
            self._hear(worker, now)
        self._fall(worker, "killed", now)
        return True

    def send(self, message: ipc.Message) -> bool:
        return self.current is not None and self.current.channel.send(message)

    def stop(self) -> bool:
        """Have it leave in the planned way; false when there is none."""
        self.stopping = True
        self.start_at = INFINITY
        if self.candidate is not None:
            if self.candidate.pair is None:  # in the middle of the hand-over: whoever remains is told
                return True
            process.pidfd_kill(self.candidate.child.fd, signal.SIGKILL)
        return self.send({"t": "stop"})

    # --------------------------------------------------------------------- messages
    def _on_channel(self, worker: Worker, now: float) -> None:
        self._hear(worker, now)
        if worker.channel.closed and worker is self.current and worker.live and not self.stopping:
            # It is dying. Its descriptors go one by one, and of a packet socket the kernel takes leave for 40 ms.
            process.pidfd_kill(worker.child.fd, signal.SIGKILL)
            self._fall(worker, "", now)

    def _hear(self, worker: Worker, now: float) -> None:
        for message, fds in worker.channel.receive():
            ipc.close_all(fds)
            kind = message.get("t")
            if kind == "will":
                try:
                    self.will.update(message.get("set") or (), message.get("drop") or ())
                except (ValueError, TypeError) as error:
                    self.owner.tell("error", f"the vrrp process declared a malformed will: {error}")
            elif kind == "links":
                try:
                    links = dict(message.get("links") or {})
                    self.links = {str(name): (bool(up), float(until)) for name, (up, until) in links.items()}
                except (ValueError, TypeError) as error:
                    self.owner.tell("error", f"the vrrp process declared malformed links: {error}")
            elif kind == "ready":
                self._on_ready(worker, now)
            elif kind == "live":
                self._on_live(worker, message, now)
            elif kind == "declined":
                worker.error = worker.error or str(message.get("error"))
            else:
                self.owner.hear(message)
        if worker.channel.closed:
            self.loop.forget(worker.channel.fileno())

    # ------------------------------------------------------------------------ death
    def _ended(self, worker: Worker, now: float) -> None:
        """Its last words, then what follows."""
        while not worker.channel.closed:
            self._hear(worker, now)
        self.loop.forget(worker.child.fd)
        ended = worker.child.reap()
        self._fall(worker, ended, now)
        worker.channel.close()
        worker.pulse.close()
        if worker.again:
            self.owner.vrrp_ended(ended, worker.again)

    def _fall(self, worker: Worker, ended: str, now: float) -> None:
        """It does nothing any more. To be called once or twice."""
        if worker.fallen:
            return
        worker.fallen = True
        if worker is self.current:  # nobody goes on beside the next one; the candidate's last word may be `live`
            for other in (self.candidate, *self.retiring):
                if other is not None:
                    other.error = "the present one ended while reloading"
                    self._kill(other, now)
        if worker is self.current:
            self._succeed(worker, now)
        elif worker is self.candidate:
            self._failed(worker, f"no new vrrp process: {worker.error or ended}; the former configuration goes on")
        elif worker in self.retiring:
            self.retiring.remove(worker)
            self.execute(self.will.of(worker.epoch))  # what it should have buried

    def _succeed(self, dead: Worker, now: float) -> None:
        """After the death of the vrrp process: adoption as fast as can be, or the will."""
        self.current = None
        records = _youngest(self.will.records.values())
        known = {record.key for record in records}
        self.will.forget(record for record in self.will.records.values() if record.key not in known)
        if self.stopping:
            if self.setting.vrrp.release_addresses:
                self.execute(records)
            self.will.clear()  # with keepalived's -V the addresses are to stay
            self.owner.vrrp_gone(now)
            return
        delay = self._backoff.after_death(now)
        due = dead.pulse.promised
        adoptable = [
            record
            for record in records
            if not delay and record.priority and now + ADOPTION < due + PEERS_WAIT * record.advert.advert_int
        ]
        adoptable = will.in_one_piece(adoptable, records)
        dead.again = f"again in {delay:g} s" if delay else "again now"
        if adoptable:
            self._speak_for(adoptable)
            try:
                self.start(adoptable, due)
                dead.again = "again now, its addresses stay"
            except OSError:
                adoptable = []
        if not adoptable:
            self.start_at = now + delay
        kept = {record.key for record in adoptable}
        self.execute([record for record in records if record.key not in kept])
        waiting, self._waiting = self._waiting, None
        if waiting is not None:
            os.close(waiting[0].model)
            waiting[1]("no new vrrp process: the present one ended while reloading; the former configuration goes on")

    def _speak_for(self, records: list[will.Record]) -> None:
        """Once, before the fork: at adverts of 10 ms a peer waits for 30, and a busy machine takes 20 of them."""
        voice = will.Voice(records, self.owner.tell)
        voice.speak()
        voice.close()

    def execute(self, records: list[will.Record]) -> None:
        if records:
            self.owner.execute(records)
        self.will.forget(records)
        self.will.save()


def _readable(fd: int) -> bool:
    """An event may be of a descriptor that was closed in this very turn, and its number given away again."""
    return bool(select.select([fd], [], [], 0)[0])


def _youngest(records: Iterable[will.Record]) -> list[will.Record]:
    """Of each router what its last process declared."""
    known = list(records)
    last: dict[object, int] = {}
    for record in known:
        last[record.identity] = max(last.get(record.identity, 0), record.epoch)
    return [record for record in known if record.epoch == last[record.identity]]


def _plain(record: will.Record) -> tuple[object, ...]:
    interface, family, vrid, source = record.identity
    return interface, family, vrid, None if source is None else source.hex()
