"""The vrrp process: sockets into the engine, actions out of it, one turn at a time, never blocking.

In: datagrams, link events, messages from the guard (model, stop) and the helper (requests). Out: what the engine
asks for, by executor.py; answers, in slices of bounded time; signs of life. Everything that may wait for another
process, a disk or a name server lives elsewhere. A model arrives compiled; what the protocol means is the
engine's; what Linux wants to hear is net/'s.
"""

from __future__ import annotations

import errno
import functools
import gc
import os
import pickle
import signal
import socket
import time
from collections import deque
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

from vrrpd import __version__, ipc, process
from vrrpd.executor import Executor
from vrrpd.loop import Loop
from vrrpd.model.model import Model  # here, so that no first unpickling has to import it
from vrrpd.net import netlink
from vrrpd.net.links import Changes, Links
from vrrpd.net.sockets import Receiver
from vrrpd.second_path import SecondPath
from vrrpd.vrrp import actions
from vrrpd.vrrp.engine import Engine
from vrrpd.vrrp.links import InterfaceAddress, Link
from vrrpd.vrrp.router import State

if TYPE_CHECKING:
    from vrrpd.vrrp.router import VirtualRouter

# Datagrams taken from one socket in one turn. More than its queue holds, so that a turn empties what it found
# (inputs before timers), and few enough that a flood delays the adverts of our own by some milliseconds.
READ_LIMIT = 512
SLICE_BYTES = 32768  # of one part of a status answer
SLICE_SECONDS = 0.001  # and what making it may take of a turn
BEAT_LEAST, BEAT_MOST = 0.2, 0.5

MASTER = State.MASTER


class Setting(NamedTuple):
    """What the guard decided before the fork."""

    user: str = "vrrpd"
    release: str = "checkout"
    release_addresses: bool = True  # false: keepalived's -V
    core_dumps: bool = False
    maintenance: bool = False  # on since before this process: known before the first model, or an owner would start


class Daemon:
    def __init__(self, guard: ipc.Channel, helper: ipc.Channel, setting: Setting) -> None:
        self.guard, self.helper, self.setting = guard, helper, setting
        self.loop = Loop()
        self.engine = Engine()
        self.requests = netlink.Requests()
        self.monitor = netlink.Monitor()
        self.links = Links(self.requests.port)
        self.executor = Executor(self.links, self.requests, guard, helper)
        self.path = SecondPath(self.loop, self.engine, guard, self.executor.run)
        self.executor.let_go = lambda routers: self.path.let_go(routers, time.monotonic())
        self.receivers: dict[tuple[int, int], Receiver] = {}  # by interface index and family
        self._devices: list[VirtualRouter] = []  # those with addresses on other interfaces than their own
        self.started = time.time()
        self.source: dict[str, Any] = {"path": "", "sha256": "", "loaded_at": 0.0}
        self.maintenance = setting.maintenance
        self.engine.maintenance(setting.maintenance, time.monotonic())
        self.stopping = False
        self._beat_every = BEAT_MOST
        self._next_beat = 0.0
        self._pending: deque[tuple[ipc.Channel, Iterator[None]]] = deque()  # answers under way
        self._congested: set[int] = set()  # channels that the loop watches for room

    # ----------------------------------------------------------------- the turn
    def run(self) -> None:
        for channel, handler in ((self.guard, self._from_guard), (self.helper, self._from_helper)):
            self.loop.watch(channel.fileno(), handler, self._flush(channel))
        self.loop.watch(self.monitor.fileno(), self._from_kernel)
        self._feed(self.links.load(), time.monotonic())
        self.guard.send({"t": "ready"})
        self.loop.run(self._turn)

    @staticmethod
    def _flush(channel: ipc.Channel) -> Callable[[float], None]:
        return lambda _now: channel.flush()

    def _turn(self, now: float) -> float:
        if self.engine.next_deadline <= now:
            self.executor.run(self.engine.expire(now))
        if self.stopping and self.engine.stopped:
            self._leave()
            return now
        if now >= self._next_beat:
            self._next_beat = now + self._beat_every
            self.guard.send({"t": "beat"})
        path_deadline = self.path.turn(now)
        answering = self._answer()
        for channel in (self.guard, self.helper):
            if channel.congested != (channel.fileno() in self._congested) and not channel.closed:
                self.loop.want_write(channel.fileno(), channel.congested)
                self._congested ^= {channel.fileno()}
        return now if answering else min(self.engine.next_deadline, self._next_beat, path_deadline)

    def _answer(self) -> bool:
        """One step of the first answer whose reader keeps up; true when there is another step to do now."""
        if not self._pending:
            return False
        channel, steps = self._pending[0]
        if not channel.congested and next(steps, self) is self:
            self._pending.popleft()
        return bool(self._pending) and not self._pending[0][0].congested

    def _leave(self) -> None:
        self.guard.send({"t": "stopped"})
        self.loop.running = False

    # ------------------------------------------------------------------- inputs
    def _receive(self, receiver: Receiver, now: float) -> None:
        repeated, receive, execute = self.engine.repeated, self.engine.receive, self.executor.run
        ifindex, family = where = receiver.ifindex, receiver.family
        for packet in receiver.read(READ_LIMIT):
            key = where, packet
            todo = repeated(key, now)
            if todo is None:
                todo = receive(ifindex, family, *receiver.split(packet), now, key)
            if todo:
                execute(todo)

    def _from_kernel(self, now: float) -> None:
        try:
            changes = self.links.read(list(self.monitor.events()), self.executor.places)
        except netlink.Overrun:
            self.monitor.discard()
            changes = self.links.load()
        if changes.changed or changes.gone or changes.removed:
            self._feed(changes, now)

    def _feed(self, changes: Changes, now: float) -> None:
        """Tell the engine: interfaces first, so that a lost address of a dead interface is no news."""
        todo: list[actions.Action] = []
        for ifindex in changes.gone:
            todo += self.engine.unlink(ifindex, now)
        for ifindex in changes.changed:
            interface = self.links.get(ifindex)
            if interface is not None:
                known = tuple(InterfaceAddress(*address) for address in interface.addresses)
                todo += self.engine.link(Link(*interface[:-1], known), now)
        for ifindex, address, prefixlen in changes.removed:
            todo += self.engine.address_removed(ifindex, address, prefixlen, now)
        for ifindex in changes.gone:
            self.executor.close(ifindex)
        self._open_sockets()
        self.executor.run(todo)
        if self._devices:
            self.executor.settle(self._devices)
        self.executor.renew_wills()
        self.path.look(now)

    def _from_guard(self, now: float) -> None:
        for message, fds in self.guard.receive():
            kind = message.get("t")
            if kind == "model" and len(fds) == 1:
                self._apply(message, fds.pop(), now)
            elif kind == "refused":
                causes = {str(name): str(why) for name, why in dict(message.get("causes") or {}).items()}
                self.executor.run(self.engine.refused(causes, now))
            elif kind == "stop":
                self.stop(now)
            elif kind == "status":
                self._pending.append((self.guard, self._status(self.guard, {"t": "status"})))
            ipc.close_all(fds)
        if self.guard.closed:  # the guard died: leave in the planned way (PDEATHSIG says so too)
            self.loop.forget(self.guard.fileno())
            self.stop(now)

    def _apply(self, message: ipc.Message, fd: int, now: float) -> None:
        model: Model = pickle.loads(ipc.read_all(fd))  # made by the guard's own loader child
        self._from_kernel(now)  # virtual interfaces that were made for this model are there
        known = set(self._routers())
        todo = self.engine.apply(model, now)
        self.source = {"path": str(model.path), "sha256": model.sha256, "loaded_at": time.time()}
        self._open_sockets()
        self.executor.run(todo)
        self.executor.run(
            [
                actions.DelAddresses(router, router.addresses)
                for router in self._routers()
                if router not in known and router.state is not MASTER and router.cfg.priority != 255
            ]
        )
        self.executor.renew_wills()
        self.path.configure(model.vrrp_instances, now)
        self._devices = [router for router in self._routers() if any(address.dev for address in router.addresses)]
        shortest = min((router.cfg.advert_int for router in self._routers()), default=BEAT_MOST)
        self._beat_every = max(BEAT_LEAST, min(BEAT_MOST, shortest))
        del model
        gc.collect()
        gc.freeze()  # a full collection of 4000 instances takes 40-90 ms, longer than a down interval of 10 ms adverts
        self.guard.send({"t": "applied", "id": message.get("id"), "changed": sorted(self.engine.changed)})

    def stop(self, now: float) -> None:
        """Leave in the planned way: the guard says so, or it has died."""
        if self.stopping:
            return
        self.stopping = True
        if self.setting.release_addresses:
            self.executor.run(self.engine.stop(now))
        else:
            self._leave()

    def _from_helper(self, now: float) -> None:
        for message, fds in self.helper.receive():
            ipc.close_all(fds)
            if message.get("t") != "request":
                continue
            number, command = message.get("id"), message.get("cmd")
            if command == "status":
                self._pending.append((self.helper, self._status(self.helper, {"t": "reply", "id": number})))
                continue
            data = self._command(str(command), message, now)
            self.helper.send({"t": "reply", "id": number, "more": False, "data": data})
        if self.helper.closed:
            self.loop.forget(self.helper.fileno())

    def _command(self, command: str, message: ipc.Message, now: float) -> dict[str, object]:
        if command == "maintenance":
            self.maintenance = bool(message.get("on"))
            self.executor.run(self.engine.maintenance(self.maintenance, now))
            return {"ok": True}
        if command == "handover":
            try:
                self.executor.run(self.engine.handover(str(message.get("instance")), now))
            except (LookupError, ValueError) as error:
                return {"ok": False, "error": str(error.args[0])}
            return {"ok": True}
        return {"ok": False, "error": f"unknown command {command!r}"}

    def _routers(self) -> list[VirtualRouter]:
        return list(self.engine.routers.values())

    # ------------------------------------------------------------------- status
    def _status(self, channel: ipc.Channel, message: ipc.Message) -> Iterator[None]:
        """Send the head and the instances in parts; each step takes about SLICE_SECONDS of a turn."""
        head = {
            "version": __version__,
            "release": self.setting.release,
            "config": self.source,
            "maintenance": self.maintenance,
            "uptime": time.time() - self.started,
            "processes": {"guard": os.getppid(), "vrrp": os.getpid()},
            "peer_path": self.path.status(),
            "socket_drops": sum(receiver.dropped() for receiver in self.receivers.values()),
            "send_errors": self.executor.send_errors,
            "messages_dropped": self.guard.dropped + self.helper.dropped,
        }
        channel.send({**message, "more": True, "data": {"head": head}})
        part: list[object] = []
        size = 0
        until = time.monotonic() + SLICE_SECONDS
        for router in self._routers():
            entry = self.engine.snapshot(router, time.monotonic(), time.time())
            part.append(entry)
            size += 1024 + 24 * len(entry.get("virtual_ipaddress", ()))
            if size >= SLICE_BYTES:
                channel.send({**message, "more": True, "data": {"instances": part}})
                part, size = [], 0
            if time.monotonic() >= until:
                yield
                until = time.monotonic() + SLICE_SECONDS
        channel.send({**message, "more": False, "data": {"instances": part}})

    # ------------------------------------------------------------------ sockets
    def _open_sockets(self) -> None:
        """Have exactly the receivers that the routers on their present interfaces need."""
        wanted: dict[tuple[int, int], tuple[set[bytes], set[int]]] = {}
        for router in self._routers():
            if router.ifindex in self.links:
                groups, ids = wanted.setdefault((router.ifindex, router.cfg.family), (set(), set()))
                ids.add(router.cfg.virtual_router_id)
                if not router.cfg.unicast_peer:
                    groups.add(router.cfg.mcast_group)
        for key in [key for key in self.receivers if key not in wanted]:
            receiver = self.receivers.pop(key)
            self.loop.forget(receiver.fileno())
            receiver.close()
        for (ifindex, family), (groups, ids) in wanted.items():
            self._listen(ifindex, family, groups, ids)

    def _listen(self, ifindex: int, family: int, groups: set[bytes], ids: set[int]) -> None:
        try:
            self._receiver(ifindex, family).listen(groups, ids)
        except OSError as error:
            if error.errno not in (errno.ENODEV, errno.ENXIO):  # gone again: its event is under way
                self.executor.tell(
                    "error", f"interface {self.links.hardware(ifindex)[0]}: cannot receive: {error.strerror}"
                )

    def _receiver(self, ifindex: int, family: int) -> Receiver:
        receiver = self.receivers.get((ifindex, family))
        if receiver is None:
            receiver = self.receivers[ifindex, family] = Receiver(ifindex, family)
            self.loop.watch(receiver.fileno(), functools.partial(self._receive, receiver))
        return receiver


def run(guard_sock: socket.socket, helper_sock: socket.socket, setting: Setting) -> int:
    """The life of the forked vrrp process; returns its exit status."""
    parent = os.getppid()
    process.default_signals()
    # A terminal's interrupt and hang-up reach the whole group; the guard decides what they mean.
    for sig in (signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(sig, signal.SIG_IGN)
    signals = process.SignalPipe([signal.SIGTERM])
    process.set_name("vrrpd-vrrp")
    guard, helper = ipc.Channel(guard_sock, limit=8192), ipc.Channel(helper_sock, limit=8192)
    who = process.drop_privileges(setting.user, process.VRRP_CAPABILITIES)
    if setting.core_dumps:
        process.permit_core_dumps()
    if not process.die_with_parent(parent):
        return 0
    daemon = Daemon(guard, helper, setting)
    missing = [
        what
        for what, granted in (
            ("locked memory", process.lock_memory()),
            ("real-time scheduling", process.schedule_realtime()),
        )
        if not granted
    ]
    if missing:
        daemon.executor.tell("info", f"vrrp process ({who}) runs without {' and '.join(missing)}: not permitted here")

    def terminated(now: float) -> None:
        if signals.read():
            daemon.stop(now)

    daemon.loop.watch(signals.fileno(), terminated)
    daemon.run()
    return 0
