"""The vrrp process: sockets into the engine, actions out of it, one turn at a time, never blocking.

In: datagrams, link events, messages from the guard (model, stop) and the helper (requests). Out: adverts, one
netlink batch, gratuitous ARP / neighbour advertisements, notices to the helper, and the will to the guard before
an address is added. Everything that may wait for another process, a disk or a name server lives elsewhere. A
model arrives compiled; what the protocol means is the engine's; what Linux wants to hear is net/'s.
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
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from vrrpd import __version__, ipc, process, will
from vrrpd.loop import Loop
from vrrpd.model.model import Model  # here, so that no first unpickling has to import it
from vrrpd.net import addresses, netlink
from vrrpd.net.links import Changes, Links
from vrrpd.net.sockets import Frames, Receiver, Sender
from vrrpd.vrrp import actions, frames
from vrrpd.vrrp.engine import Engine
from vrrpd.vrrp.links import InterfaceAddress, Link
from vrrpd.vrrp.router import State

if TYPE_CHECKING:
    from vrrpd.model.vrrp import VirtualAddress
    from vrrpd.vrrp.router import VirtualRouter

# Datagrams taken from one socket in one turn. More than its queue holds, so that a turn empties what it found
# (inputs before timers), and few enough that a flood delays the adverts of our own by some milliseconds.
READ_LIMIT = 512
SLICE_BYTES = 32768  # of one part of a status answer
SLICE_SECONDS = 0.001  # and what making it may take of a turn
RECORD_ADDRESSES = 200
BEAT_LEAST, BEAT_MOST = 0.2, 0.5

MASTER = State.MASTER

Place = tuple[int, bytes, int]  # interface index, address, prefix length


class Setting(NamedTuple):
    """What the guard decided before the fork."""

    user: str = "vrrpd"
    release: str = "checkout"
    release_addresses: bool = True  # false: keepalived's -V
    core_dumps: bool = False
    maintenance: bool = False  # on since before this process: known before the first model, or an owner would start


class _Edge:
    """The sockets of one interface, opened when needed, closed when it goes."""

    def __init__(self, ifindex: int) -> None:
        self.ifindex = ifindex
        self.receivers: dict[int, Receiver] = {}
        self.senders: dict[int, Sender] = {}
        self.frames: Frames | None = None

    def sender(self, family: int) -> Sender:
        sender = self.senders.get(family)
        if sender is None:
            sender = self.senders[family] = Sender(self.ifindex, family)
        return sender

    def close(self) -> None:
        for thing in (*self.receivers.values(), *self.senders.values(), self.frames):
            if thing is not None:
                thing.close()


class Daemon:
    def __init__(self, guard: ipc.Channel, helper: ipc.Channel, setting: Setting) -> None:
        self.guard, self.helper, self.setting = guard, helper, setting
        self.loop = Loop()
        self.engine = Engine()
        self.requests = netlink.Requests()
        self.monitor = netlink.Monitor()
        self.links = Links(self.requests.port)
        self.edges: dict[int, _Edge] = {}
        self.started = time.time()
        self.source: dict[str, Any] = {"path": "", "sha256": "", "loaded_at": 0.0}
        self.maintenance = setting.maintenance
        self.engine.maintenance(setting.maintenance, time.monotonic())
        self.stopping = False
        self._beat_every = BEAT_MOST
        self._next_beat = 0.0
        self._seq = 0
        self._pending: deque[tuple[ipc.Channel, Iterator[None]]] = deque()  # answers under way
        self._congested: set[int] = set()  # channels that the loop watches for room
        # The executor: what is queued in one turn, and whose addresses lie where.
        self._batch: list[tuple[VirtualRouter, VirtualAddress, Place, bool]] = []  # true: add
        self._announce: list[tuple[VirtualRouter, Sequence[VirtualAddress], int]] = []
        self._notices: list[ipc.Message] = []
        self._held: dict[VirtualRouter, dict[tuple[bytes, int], tuple[Place, str]]] = {}
        self._places: dict[Place, VirtualRouter] = {}
        self._devices: list[VirtualRouter] = []  # those with addresses on other interfaces than their own
        self._fresh: set[Place] = set()  # what nobody held before this batch
        self._foreign: set[Place] = set()  # an owner's address that was on the interface before us
        self._declarations: dict[VirtualRouter, None] = {}  # to be looked at when the batch is through
        self._keys: dict[VirtualRouter, tuple[str, ...]] = {}  # of the records that the guard has
        self._specs: dict[VirtualRouter, object] = {}  # whose adverts they hold
        self._next_key = 0
        self._handlers: dict[type, Callable[[Any], None]] = {
            actions.SendAdvert: self._send_advert,
            actions.AddAddresses: self._add_addresses,
            actions.DelAddresses: self._del_addresses,
            actions.Announce: self._queue_announce,
            actions.Transition: self._transition,
            actions.RxLowerPriority: self._rx_lower_priority,
            actions.Log: self._log,
        }

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
            self.execute(self.engine.expire(now))
        if self.stopping and self.engine.stopped:
            self._leave()
            return now
        if now >= self._next_beat:
            self._next_beat = now + self._beat_every
            self.guard.send({"t": "beat"})
        answering = self._answer()
        for channel in (self.guard, self.helper):
            if channel.congested != (channel.fileno() in self._congested) and not channel.closed:
                self.loop.want_write(channel.fileno(), channel.congested)
                self._congested ^= {channel.fileno()}
        return now if answering else min(self.engine.next_deadline, self._next_beat)

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
        receive, execute = self.engine.receive, self.execute
        ifindex, family = receiver.ifindex, receiver.family
        for source, destination, ttl, data in receiver.read(READ_LIMIT):
            todo = receive(ifindex, family, source, destination, ttl, data, now)
            if todo:
                execute(todo)

    def _from_kernel(self, now: float) -> None:
        try:
            changes = self.links.read(list(self.monitor.events()), self._places)
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
            self._close(ifindex)
        self._open_sockets()
        self.execute(todo)
        if self._devices:
            self.execute(self._arrived())
        self._renew_wills()

    def _arrived(self) -> list[actions.Action]:
        """What belongs on an interface of its own (`dev`) that was not there, or is another one by now."""
        todo: list[actions.Action] = []
        for router in self._devices:
            if router.state is not MASTER or router.leaving:
                continue
            held = self._held.get(router, {})
            missing = tuple(
                address
                for address in router.addresses
                if address.dev
                and (place := self._place(router, address)) is not None
                and place != held.get(place[1:], (None, ""))[0]
            )
            if missing:
                todo += [
                    actions.AddAddresses(router, missing),
                    actions.Announce(router, missing, router.cfg.garp_master_repeat),
                ]
        return todo

    def _from_guard(self, now: float) -> None:
        for message, fds in self.guard.receive():
            kind = message.get("t")
            if kind == "model" and len(fds) == 1:
                self._apply(message, fds.pop(), now)
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
        known = set(self._routers())
        todo = self.engine.apply(model, now)
        self.source = {"path": str(model.path), "sha256": model.sha256, "loaded_at": time.time()}
        self._open_sockets()
        self.execute(todo)
        self.execute(
            [
                actions.DelAddresses(router, router.addresses)
                for router in self._routers()
                if router not in known and router.state is not MASTER and router.cfg.priority != 255
            ]
        )
        self._renew_wills()
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
            self.execute(self.engine.stop(now))
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
            self.execute(self.engine.maintenance(self.maintenance, now))
            return {"ok": True}
        if command == "handover":
            try:
                self.execute(self.engine.handover(str(message.get("instance")), now))
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
            "socket_drops": sum(r.dropped() for edge in self.edges.values() for r in edge.receivers.values()),
            "send_errors": sum(s.errors for edge in self.edges.values() for s in edge.senders.values()),
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
        for edge in self.edges.values():
            for family in [family for family in edge.receivers if (edge.ifindex, family) not in wanted]:
                receiver = edge.receivers.pop(family)
                self.loop.forget(receiver.fileno())
                receiver.close()
        for (ifindex, family), (groups, ids) in wanted.items():
            self._listen(ifindex, family, groups, ids)

    def _listen(self, ifindex: int, family: int, groups: set[bytes], ids: set[int]) -> None:
        try:
            self._receiver(ifindex, family).listen(groups, ids)
        except OSError as error:
            if error.errno not in (errno.ENODEV, errno.ENXIO):  # gone again: its event is under way
                self.tell("error", f"interface {self.links.hardware(ifindex)[0]}: cannot receive: {error.strerror}")

    def _receiver(self, ifindex: int, family: int) -> Receiver:
        edge = self._edge(ifindex)
        receiver = edge.receivers.get(family)
        if receiver is None:
            receiver = edge.receivers[family] = Receiver(ifindex, family)
            self.loop.watch(receiver.fileno(), functools.partial(self._receive, receiver))
        return receiver

    def _edge(self, ifindex: int) -> _Edge:
        edge = self.edges.get(ifindex)
        if edge is None:
            edge = self.edges[ifindex] = _Edge(ifindex)
        return edge

    def _close(self, ifindex: int) -> None:
        edge = self.edges.pop(ifindex, None)
        if edge is not None:
            for receiver in edge.receivers.values():
                self.loop.forget(receiver.fileno())
            edge.close()

    # ----------------------------------------------------------------- executor
    def execute(self, todo: Sequence[actions.Action]) -> None:
        """Adverts at once; then addresses in one batch, then announcements, then everything that only tells."""
        if not todo:
            return
        handlers = self._handlers
        for action in todo:
            handlers[type(action)](action)
        if self._batch:
            self._flush_batch()
        if self._declarations:
            self._declare(self._declarations)
            self._declarations.clear()
        if self._announce:
            self._flush_announcements()
        if self._notices:
            self._flush_notices()

    def _send_advert(self, action: actions.SendAdvert) -> None:
        router = action.router
        if router.ifindex not in self.links:
            return
        try:
            sender = self._edge(router.ifindex).sender(router.cfg.family)
        except OSError as error:
            self.tell("debug", f"{router.name}: cannot send on {router.cfg.interface}: {error.strerror}")
            return
        spec = router.spec
        for destination, datagram in router.datagrams(action.priority):
            sender.send(destination, datagram, spec.source, spec.ttl)

    def _place(self, router: VirtualRouter, address: VirtualAddress) -> Place | None:
        ifindex = self.links.find(address.dev) if address.dev else router.ifindex
        return (ifindex, address.address, address.prefixlen) if ifindex in self.links else None

    def _add_addresses(self, action: actions.AddAddresses) -> None:
        router = action.router
        held = self._held.setdefault(router, {})
        for address in action.addresses:
            place = self._place(router, address)
            if place is None:
                self.tell("error", f"{router.name}: no interface {address.dev} for {_show(address)}")
                continue
            held[place[1:]] = place, address.dev or router.cfg.interface
            self._batch.append((router, address, place, True))

    def _del_addresses(self, action: actions.DelAddresses) -> None:
        router = action.router
        held = self._held.get(router, {})
        for address in action.addresses:
            # Where we put it, should the interface have another name by now.
            place, _ = held.pop((address.address, address.prefixlen), (None, ""))
            if place is not None or (place := self._stale(router, address)) is not None:
                self._batch.append((router, address, place, False))
        self._declarations[router] = None

    def _flush_batch(self) -> None:
        batch, self._batch = self._batch, []
        wanted: list[tuple[VirtualRouter, VirtualAddress, Place, bool]] = []
        for entry in batch:
            router, _, place, adding = entry
            if adding:
                if place not in self._places:
                    self._fresh.add(place)
                self._places[place] = router
            elif self._places.get(place) is not router:
                continue  # taken over by another router in this very turn
            else:
                del self._places[place]
                if place in self._foreign:
                    self._foreign.discard(place)
                    continue
            wanted.append(entry)
        self._declare(dict.fromkeys(router for router, _, _, adding in wanted if adding))
        results = self.requests.run([_request(address, place, adding) for _, address, place, adding in wanted])
        for (router, address, place, adding), code in zip(wanted, results):
            if adding and code in addresses.PRESENT:
                if place in self._fresh and router.cfg.priority == 255:
                    self._foreign.add(place)  # an owner's own address: what we did not add we do not remove
                    self._declarations[router] = None
            elif code and code not in addresses.ABSENT:
                verb = "add" if adding else "remove"
                self.tell("error", f"{router.name}: cannot {verb} {_show(address)}: {os.strerror(code)}")
        self._fresh.clear()

    def _queue_announce(self, action: actions.Announce) -> None:
        self._announce.append((action.router, action.addresses, action.rounds))

    def _flush_announcements(self) -> None:
        queue, self._announce = self._announce, []
        for router, announced, rounds in queue:
            ready: list[tuple[Frames, bytes]] = []
            for address in announced:
                place = self._place(router, address)
                frame = self._frame(place) if place else None
                if frame:
                    ready.append(frame)
            for _ in range(rounds):
                for out, data in ready:
                    out.send(data)

    def _frame(self, place: Place) -> tuple[Frames, bytes] | None:
        name, mac, arp = self.links.hardware(place[0])
        if not arp or len(mac) != 6:
            return None
        edge = self._edge(place[0])
        if edge.frames is None:
            try:
                edge.frames = Frames(place[0])
            except OSError:
                return None
        if len(place[1]) == 4:
            return edge.frames, frames.gratuitous_arp(mac, place[1])
        return edge.frames, frames.unsolicited_na(mac, place[1], _forwards(name))

    # -- what only tells
    def _transition(self, action: actions.Transition) -> None:
        self._seq += 1
        self._notices.append(
            {
                "t": "transition",
                "instance": action.router.name,
                "old": action.old.name,
                "new": action.new.name,
                "event": action.event,
                "priority": action.priority,
                "reason": action.reason,
                "seq": self._seq,
                "at": time.time(),
            }
        )
        if MASTER in (action.old, action.new):
            self._declarations[action.router] = None

    def _rx_lower_priority(self, action: actions.RxLowerPriority) -> None:
        self._notices.append(
            {
                "t": "rx_lower_pri",
                "instance": action.router.name,
                "source": _text(action.source),
                "priority": action.priority,
                "at": time.time(),
            }
        )

    def _log(self, action: actions.Log) -> None:
        self._notices.append({"t": "log", "level": action.level, "message": action.message})

    def tell(self, level: str, message: str) -> None:
        self.helper.send({"t": "log", "level": level, "message": message})

    def _flush_notices(self) -> None:
        notices, self._notices = self._notices, []
        for notice in notices:
            self.helper.send(notice)

    # --------------------------------------------------------------------- will
    def _declare(self, routers: Iterable[VirtualRouter]) -> None:
        """Tell the guard what undoes these routers now; where there is nothing to undo, that."""
        sets: list[dict[str, Any]] = []
        drops: list[str] = []
        size = 0
        for router in routers:
            records = self._records(router)
            keys = tuple(record.key for record in records)
            drops += [key for key in self._keys.pop(router, ()) if key not in keys]
            if not records:
                self._held.pop(router, None)
                self._specs.pop(router, None)
                continue
            self._keys[router], self._specs[router] = keys, router.spec
            for record in records:
                sets.append(will.encode(record))
                size += 256 + 64 * len(record.addresses) + 40 * len(record.advert.addresses)
                if size >= SLICE_BYTES:
                    self.guard.send({"t": "will", "set": sets, "drop": []})
                    sets, size = [], 0
        for start in range(0, max(len(drops), 1), 512):
            if sets or drops:
                self.guard.send({"t": "will", "set": sets, "drop": drops[start : start + 512]})
                sets = []

    def _records(self, router: VirtualRouter) -> list[will.Record]:
        """One for every RECORD_ADDRESSES addresses, because a message has a limit; none for who holds nothing."""
        held = self._held.get(router, {}).values()
        if not held and router.state is not MASTER:
            return []
        own = [will.Held(place[1], place[2], place[0], name) for place, name in held if place not in self._foreign]
        if router in self._keys:
            stem = self._keys[router][0].rpartition("/")[0]
        else:
            self._next_key += 1
            stem = f"{router.name}#{self._next_key}"
        return [
            will.Record(
                f"{stem}/{start}",
                router.ifindex,
                router.cfg.interface,
                tuple(own[start : start + RECORD_ADDRESSES]),
                router.spec,
            )
            for start in range(0, max(len(own), 1), RECORD_ADDRESSES)
        ]

    def _renew_wills(self) -> None:
        """After a reload or a change of our source address the advert of a record may be another one."""
        self._declare([router for router in self._keys if self._specs.get(router) is not router.spec])

    def _stale(self, router: VirtualRouter, address: VirtualAddress) -> Place | None:
        """Where an address of ours lies that we did not add: a crash left it, and a BACKUP must not answer for it."""
        place = self._place(router, address)
        if place is None or place in self._places or not self.links.holds(*place):
            return None
        interface = self.links.get(place[0])
        same = [a for a in interface.addresses if len(a.address) == len(place[1])] if interface else []
        where = self.links.hardware(place[0])[0]
        if len(same) == 1:  # rather a mistake in the configuration: without it the interface has none at all
            self.tell("warning", f"{router.name}: {_show(address)} is the only address of {where}: left alone")
            return None
        self._places[place] = router
        self.tell("warning", f"{router.name}: removed {_show(address)}, left on {where} by an earlier process")
        return place


def _request(address: VirtualAddress, place: Place, adding: bool) -> addresses.Request:
    if not adding:
        return addresses.delete(*place)
    return addresses.add(*place, address.broadcast, address.scope, address.label, address.dad)


def _show(address: VirtualAddress) -> str:
    return f"{_text(address.address)}/{address.prefixlen}"


def _text(address: bytes) -> str:
    return socket.inet_ntop(socket.AF_INET if len(address) == 4 else socket.AF_INET6, address)


def _forwards(interface: str) -> bool:
    """The R flag of a neighbour advertisement says whether we route (RFC 4861 4.4)."""
    try:
        with open(f"/proc/sys/net/ipv6/conf/{interface}/forwarding", encoding="ascii") as file:
            return file.read(1) != "0"
    except OSError:
        return False


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
        daemon.tell("info", f"vrrp process ({who}) runs without {' and '.join(missing)}: not permitted here")

    def terminated(now: float) -> None:
        if signals.read():
            daemon.stop(now)

    daemon.loop.watch(signals.fileno(), terminated)
    daemon.run()
    return 0
