"""The vrrp process: sockets into the engine, actions out of it, one turn at a time, never blocking.

In: datagrams, link events, messages from the guard (handover, stop) and the helper (requests). Out: what the engine
asks for, by executor.py; answers, in slices of bounded time; signs of life. Everything that may wait for another
process, a disk or a name server lives elsewhere. A model arrives compiled and is never changed: a reload is another
process, which goes on where this one stopped (handover.py), as after a crash (`Origin`). What the protocol means is
the engine's; what Linux wants to hear is net/'s.
"""

from __future__ import annotations

import errno
import fcntl
import functools
import gc
import os
import signal
import socket
import time
from collections import deque
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from vrrpd import __version__, ipc, laying, process, will
from vrrpd.bridge import Bridge
from vrrpd.executor import Executor, Place
from vrrpd.firewall import Firewall, shape
from vrrpd.handover import Giver, Heir
from vrrpd.loop import Loop
from vrrpd.model.compiled import decode
from vrrpd.net import netlink, routing
from vrrpd.net.links import ANYWHERE, Changes, Links
from vrrpd.net.sockets import AH, PROTOCOL, Receiver
from vrrpd.pulse import Pulse
from vrrpd.scheduling import Scheduling
from vrrpd.second_path import SecondPath
from vrrpd.vrrp import actions
from vrrpd.vrrp.engine import Engine
from vrrpd.vrrp.estate import Estate
from vrrpd.vrrp.links import InterfaceAddress, Link, roams
from vrrpd.vrrp.packet import AUTH_AH
from vrrpd.vrrp.path import Standing
from vrrpd.vrrp.states import State
from vrrpd.vrrp.track import Verdict

if TYPE_CHECKING:
    from vrrpd.model.globals import GlobalDefs
    from vrrpd.model.model import Model
    from vrrpd.model.values import Routing
    from vrrpd.vrrp.router import VirtualRouter

# Datagrams taken from one socket in one turn. More than its queue holds, so that a turn empties what it found
# (inputs before timers), and few enough that a flood delays the adverts of our own by some milliseconds.
READ_LIMIT = 512
SLICE_BYTES = 32768  # of one part of a status answer
ENTRY_BYTES, TRACKER_BYTES = 1400, 250  # of an instance in it, and more for each thing that it tracks
LISTS = (
    "virtual_ipaddress", "virtual_ipaddress_excluded", "virtual_routes", "virtual_rules", "unicast_peer", "faults",
    "awaited",
)  # fmt: skip
LIST_BYTES = 6000  # of each: a message holds all of them
MISSING_MOST = 20  # routes and rules that the kernel does not take
VERDICTS = 100  # in one message
GROUPS = 20  # likewise
PARTS = 100  # likewise, of what is short
SLICE_SECONDS = 0.002  # what making it, and announcing and telling, may take of a turn
TRY_AGAIN = 2.0  # between two attempts at what the kernel does not take
BEAT_LEAST, BEAT_MOST = 0.05, 0.5
LAST_WORDS = 2.0
HIGH_NUMBER = 900  # of a descriptor; 1024 is the usual limit
INFINITY = float("inf")
NEVER = 1 << 30

MASTER = State.MASTER

ReceiverKey = tuple[int, int, int]  # interface index, family, protocol


class Setting(NamedTuple):
    """What the guard decided before the fork."""

    user: str = "vrrpd"
    release: str = "checkout"
    release_addresses: bool = True  # false: keepalived's -V
    core_dumps: bool = False
    maintenance: bool = False  # on since before this process: known before the first model, or an owner would start
    refused: Mapping[str, str] = {}  # virtual interfaces that could not be made, and why
    missing: Mapping[str, str] = {}  # static items that cannot be had, and why
    epoch: int = 0  # which vrrp process of this guard it is
    started: float = 0.0  # the daemon, on the monotonic clock
    links: Mapping[str, Any] = {}  # how a former process took those whose change had yet to last, and until when
    standings: Mapping[bytes, Standing] = {}  # of the peers of the second path, as a former process knew them


class Origin(NamedTuple):
    """Where a vrrp process comes from: nowhere, one that died, or one that goes on until it hands over."""

    will: tuple[will.Record, ...] = ()  # what the dead one held as MASTER, to be gone on with
    due: float = 0.0  # when the dead one's next advert was
    former: socket.socket | None = None  # the way to the living one


class Daemon:
    def __init__(self, guard: ipc.Channel, helper: ipc.Channel, setting: Setting, pulse: Pulse) -> None:
        self.guard, self.helper, self.setting, self.pulse = guard, helper, setting, pulse
        self.loop = Loop()
        self.engine = Engine()
        self._read_clocks()
        self.requests = netlink.Requests()
        self.monitor = netlink.Monitor()
        self.links = Links(self.requests.port)
        self.executor = Executor(self.links, self.requests, guard, helper, setting.epoch)
        self.path = SecondPath(self.loop, self.engine, guard, self.executor.run, setting.standings)
        self.executor.let_go = lambda routers: self.path.let_go(routers, time.monotonic())
        self.receivers: dict[ReceiverKey, Receiver] = {}
        self.log_unknown = False  # adverts for virtual routers that we do not have
        self._devices: list[VirtualRouter] = []  # those with addresses on other interfaces than their own
        self._anywhere: tuple[int, ...] = ()  # ANYWHERE, where somebody needs the addresses of the whole machine
        self._on_roads: list[VirtualRouter] = []  # those with routes or rules
        self._roads: routing.Monitor | None = None  # hears of their removal
        self._try_at = 0.0  # when to try again what the kernel did not take
        # Static items: routes and rules by their keys, addresses with the names of their interfaces.
        self._static_keys: set[routing.Key] = set()
        self._static_places: set[tuple[str, bytes, int]] = set()
        self.started = time.time()
        self.source: dict[str, Any] = {"path": "", "sha256": "", "loaded_at": 0.0}
        self.maintenance = setting.maintenance
        self.engine.maintenance(setting.maintenance, time.monotonic())
        self.engine.refused(setting.refused, time.monotonic())
        self.engine.missing(setting.missing, time.monotonic())
        self.live = False  # responsible for routers, all or (during a hand-over) some of them
        self.begun = False  # for all of them
        self.stopping = False
        self._giver: Giver | None = None
        self._wanted_by: socket.socket | None = None  # a heir that has to wait for an answer under way
        self._beat_every = BEAT_MOST
        self._pending: deque[tuple[ipc.Channel, Iterator[None]]] = deque()  # answers under way
        self._channels: list[ipc.Channel] = []  # that are listened to
        self._congested: set[int] = set()  # those that the loop watches for room

    # -------------------------------------------------------------- coming to life
    def prepare(self, model: Model) -> None:
        """Everything that can be done before the routers are ours."""
        self._watch(self.guard, self._from_guard)
        self.loop.watch(self.monitor.fileno(), self._from_kernel)
        now = time.monotonic()
        self.monitor.buffer(model.global_defs.vrrp_netlink_monitor_rcv_bufs)
        self._anywhere = () if all(instance.interface for instance in model.vrrp_instances) else (ANYWHERE,)
        if model.global_defs.vrrp_netlink_cmd_rcv_bufs:
            self.requests.buffer(model.global_defs.vrrp_netlink_cmd_rcv_bufs)
        statics = [static.entry for static in model.statics]
        self._static_places = {(e.holes[0][1], *routing.address(e.body)) for e in statics if e.kind == routing.ADDRESS}
        self._feed(self.links.load(), now)
        self.engine.prepare(model, now)
        self.engine.recall(self.setting.links, now)
        self.log_unknown = model.global_defs.log_unknown_vrids
        self.engine.hold(first_start(model.global_defs, self.setting.started))
        self.source = {"path": str(model.path), "sha256": model.sha256, "loaded_at": time.time()}
        routers = self._routers()
        for router in routers:
            self.executor.open(router)
        self._devices = [router for router in routers if any(address.dev for address in router.addresses)]
        wanted = shape(model)
        self.executor.firewall = None if wanted is None else Firewall(wanted, self.executor.tell)
        self._on_roads = [router for router in routers if router.routing]
        self._watch_roads([*(entry for router in self._on_roads for entry in router.routing), *statics])
        self._static_keys = {routing.key(entry.kind, entry.body) for entry in statics if entry.kind != routing.ADDRESS}
        shortest = min((router.cfg.advert_int for router in routers), default=BEAT_MOST)
        self._beat_every = max(BEAT_LEAST, min(BEAT_MOST, shortest))

    def take(self, estates: Sequence[Estate], now: float) -> list[Estate]:
        """Go on with these routers; the estates that have no heir in this configuration are left."""
        self.live = True
        self._from_kernel(now)  # what the former process did is in our table
        todo, left = self.engine.take(estates, now)
        self.executor.run(todo)
        return left

    def begin(self, left: Sequence[Estate], now: float) -> None:
        """The rest of the configuration: whatever took nothing over starts, and everything is listened to.

        A BACKUP must not answer for an address that an earlier process left; those in `left`, what the present one
        has not given us, it takes care of itself.
        """
        self.live = self.begun = True
        buried = {here.address for estate in left for here in estate.held}
        self.executor.succeed(left)
        self._guard_addresses()
        new = [router for router in self._routers() if router.state is State.INIT]
        todo = self.engine.begin(now)
        self._open_sockets()
        self.executor.run(todo)
        for router in new:
            if router.state is not MASTER and router.cfg.priority != 255:
                leftovers = tuple(entry for entry in router.addresses if entry.address not in buried)
                self.executor.run([actions.DelAddresses(router, leftovers)])
                if router.routing:
                    self.executor.laying.leftovers(router, reversed(router.routing))
        self.executor.settle_routing(())
        if self._devices:
            self.executor.settle(self._devices)
        self._open_path(now)
        self._watch(self.helper, self._from_helper)

    def _guard_addresses(self) -> None:
        """The firewall is ours alone: as it has to be, and watched."""
        firewall = self.executor.firewall
        if firewall is None:
            return
        firewall.watch()
        firewall.build()
        if firewall.monitor is not None:
            self.loop.watch(firewall.monitor.fileno(), firewall.read)

    def look_at_roads(self) -> None:
        self.executor.settle_routing(self._on_roads)

    def _leave_firewall(self) -> None:
        firewall = self.executor.firewall
        if firewall is not None and firewall.monitor is not None:
            self.loop.forget(firewall.monitor.fileno())
            firewall.leave()

    def _watch_roads(self, entries: Iterable[Routing]) -> None:
        tracked = {
            (entry.kind, entry.body[0]) for entry in entries if not entry.no_track and entry.kind != routing.ADDRESS
        }
        if tracked:
            self._roads = routing.Monitor(routing.groups(tracked), [routing.RTPROT_KEEPALIVED])
            self.loop.watch(self._roads.fileno(), self._from_roads)

    def announce_live(self, left: Sequence[object] = ()) -> None:
        self.guard.send({"t": "live", "left": list(left)})

    def _open_path(self, now: float) -> None:
        """The former process has left the port by now."""
        self.path.configure([router.cfg for router in self._routers()], now)

    def inherit(self, receiver: Receiver) -> None:
        """A receive socket of the former process, with all that waits in it."""
        self.receivers[receiver.key] = receiver
        self._hear(receiver)

    def _hear(self, receiver: Receiver) -> None:
        handler = self._receive_ah if receiver.protocol == AH else self._receive
        self.loop.watch(receiver.fileno(), functools.partial(handler, receiver))

    # ----------------------------------------------------------------- leaving to a heir
    def head(self) -> dict[str, Any]:
        """What a heir should know of this process besides the engine."""
        return {"started": self.started, "seq": self.executor.seq, "maintenance": self.maintenance}

    def follow(self, head: dict[str, Any]) -> None:
        self.started, self.executor.seq = float(head["started"]), int(head["seq"])
        self.maintenance = bool(head["maintenance"])

    def _hand_over(self, now: float) -> None:
        """Begin, once no answer is under way: its reader would wait for the rest in vain."""
        if self._wanted_by is None or self._pending or self.stopping:
            return
        sock, self._wanted_by = self._wanted_by, None
        self._forget(self.helper)
        self.path.leave()
        self._leave_firewall()
        self._giver = Giver(self, sock, now)

    def leave_to_heir(
        self, left: Container[str], keep: Iterable[Place], ways: Iterable[laying.Place], now: float
    ) -> None:
        """It has taken over: bury those that it has no use for, touch nothing else, and go."""
        self.executor.disown(keep)
        if self.executor.firewall is not None:
            self.executor.firewall.retire()
        self.executor.laying.disown(ways)
        self.executor.run(self.engine.bury(left, now))
        self.executor.last_words()
        self.helper.flush()
        self._leave()

    def resume(self, receivers: Iterable[Receiver], now: float) -> None:
        """There is no heir after all."""
        self._giver = None
        for receiver in receivers:
            self.inherit(receiver)
        self._watch(self.helper, self._from_helper)
        self._open_path(now)
        self._guard_addresses()
        self.executor.run(self.engine.resume(now))

    # ----------------------------------------------------------------- the turn
    def run(self) -> None:
        self.loop.run(self._turn)

    def _watch(self, channel: ipc.Channel, handler: Callable[[float], None]) -> None:
        self._channels.append(channel)
        self.loop.watch(channel.fileno(), handler, lambda _now: channel.flush())

    def _forget(self, channel: ipc.Channel) -> None:
        self._channels.remove(channel)
        self._congested.discard(channel.fileno())
        self.loop.forget(channel.fileno())

    def _turn(self, now: float) -> float:
        if self.engine.next_deadline <= now:
            self.executor.run(self.engine.expire(now))
        if self.stopping and self.engine.stopped:
            self._leave()
            return now
        if self.executor.busy:  # but whoever is due by now comes first
            self.executor.work(min(SLICE_SECONDS, self.engine.next_deadline - time.monotonic()))
        answering = self._answer() or self.executor.busy
        if self._wanted_by is not None:
            self._hand_over(now)
        giving = self._giver.turn(now) if self._giver is not None else INFINITY
        path_deadline = self.path.turn(now)
        firewall = self.executor.firewall
        repair = firewall.turn(now) if firewall is not None else INFINITY
        if self.live and self._giver is None and self.executor.incomplete:
            if now >= self._try_at:
                self._try_again(now)
            repair = min(repair, self._try_at)
        for channel in self._channels:
            if channel.congested != (channel.fileno() in self._congested) and not channel.closed:
                self.loop.want_write(channel.fileno(), channel.congested)
                self._congested ^= {channel.fileno()}
        due = min(self.engine.next_deadline, giving, path_deadline, repair, now + self._beat_every)
        deadline = now if answering else due
        self.pulse.promise(max(deadline, now))
        return deadline

    def _answer(self) -> bool:
        """One step of the first answer whose reader keeps up; true when there is another step to do now."""
        if not self._pending:
            return False
        channel, steps = self._pending[0]
        if not channel.congested and next(steps, self) is self:
            self._pending.popleft()
        return bool(self._pending) and not self._pending[0][0].congested

    def _leave(self) -> None:
        self.executor.last_words()
        self.guard.send({"t": "stopped"})
        self.loop.running = False

    # ------------------------------------------------------------------- inputs
    def _receive(self, receiver: Receiver, now: float) -> None:
        if self.engine.seals:
            self._read_clocks()
        repeated, receive, execute = self.engine.repeated, self.engine.receive, self.executor.run
        ifindex, family = where = receiver.ifindex, receiver.family
        for packet in receiver.read(READ_LIMIT):
            key = where, packet
            todo = repeated(key, now)
            if todo is None:
                todo = receive(ifindex, family, *receiver.split(packet), now, key)
            if todo:
                execute(todo)

    def _receive_ah(self, receiver: Receiver, now: float) -> None:
        for datagram in receiver.read(READ_LIMIT):
            self.executor.run(self.engine.receive_ah(receiver.ifindex, datagram, now))

    def _read_clocks(self) -> None:
        self.engine.offset = time.time() - time.monotonic()

    def _from_kernel(self, now: float) -> None:
        try:
            changes = self.links.read(list(self.monitor.events()), self.executor.places)
        except netlink.Overrun:
            self.monitor.discard()
            changes = self.links.load()
        if changes.changed or changes.gone or changes.removed:
            self._feed(changes, now)
        if self.links.duplicates:
            duplicates, self.links.duplicates = self.links.duplicates, []
            for place in duplicates:
                self.executor.tell_duplicate(place)

    def _from_roads(self, now: float) -> None:
        """Routes or rules of ours were removed; when too many were, all are looked at."""
        assert self._roads is not None
        self._from_kernel(now)  # an address or an interface that takes its routes along comes first
        try:
            events = list(self._roads.events())
        except netlink.Overrun:
            self._roads.discard()
            if self.live:
                self.executor.settle_routing(self._on_roads)
                self._look_at_statics(now)
            return
        if self._static_keys and any(routing.removed(event) in self._static_keys for event in events):
            self._look_at_statics(now)
        again: dict[VirtualRouter, None] = {}
        for router, entry, by_somebody in self.executor.laying.lost(events, self.requests.port):
            if self.live and by_somebody:
                self.executor.run(self.engine.routing_removed(router, entry, now))
            elif self.live and self.engine.routers.get(router.name) is router:
                again[router] = None
        self.executor.settle_routing(again)

    def _try_again(self, now: float) -> None:
        """What the kernel would not take: a gateway may be reachable by now, a source address be here."""
        self._try_at = now + TRY_AGAIN
        self.executor.retry()

    def _concerns_statics(self, changes: Changes) -> bool:
        return changes.links or any(
            (self.links.hardware(ifindex)[0], address, prefixlen) in self._static_places
            for ifindex, address, prefixlen in changes.removed
        )

    def _look_at_statics(self, now: float) -> None:
        """The guard's: it puts back what is missing."""
        if self.live:
            self.executor.run(self.engine.look_at_statics(now))

    def _feed(self, changes: Changes, now: float) -> None:
        """Tell the engine: interfaces first, so that a lost address of a dead interface is no news."""
        todo: list[actions.Action] = []
        for ifindex in changes.gone:
            todo += self.engine.unlink(ifindex, now)
        for ifindex in (*changes.changed, *self._anywhere):
            todo += self._link(ifindex, now)
        for ifindex, address, prefixlen in changes.removed:
            todo += self.engine.address_removed(ifindex, address, prefixlen, now)
        for ifindex in changes.gone:
            self.executor.close(ifindex)
        if (self._static_places or self._static_keys) and self._concerns_statics(changes):
            self._look_at_statics(now)
        if not self.live:
            return
        if self.begun and self._giver is None:
            self._open_sockets()
        self.executor.run(todo)
        if self._devices:
            self.executor.settle(self._devices)
        if changes.links and self._on_roads:
            self.executor.settle_routing(self._on_roads)
        elif changes.changed and self._giver is None and self.executor.incomplete:
            self._try_again(now)
        self.executor.renew_wills()
        self.path.look(now)

    def _link(self, ifindex: int, now: float) -> Sequence[actions.Action]:
        interface = self.links.get(ifindex)
        if interface is None:
            return ()
        # A static address of ours is the source of adverts only where there is no other, also where the kernel lists
        # it first (a narrow scope): what adverts leave with must not depend on whether we were started before.
        places, name = self._static_places, interface.name
        ranked = sorted(interface.addresses, key=lambda each: (name, each.address, each.prefixlen) in places)
        known = tuple(InterfaceAddress(*address) for address in ranked)
        return self.engine.link(Link(*interface[:-1], known), now)

    def _from_guard(self, now: float) -> None:
        for message, fds in self.guard.receive():
            kind = message.get("t")
            if kind == "handover" and len(fds) == 1:
                self._wanted_by = socket.socket(fileno=fds.pop())
            elif kind == "refused":
                causes = {str(name): str(why) for name, why in dict(message.get("causes") or {}).items()}
                self.executor.run(self.engine.refused(causes, now))
            elif kind == "missing":
                causes = {str(text): str(why) for text, why in dict(message.get("causes") or {}).items()}
                self.executor.run(self.engine.missing(causes, now))
            elif kind == "stop":
                self.stop(now)
            ipc.close_all(fds)
        if self.guard.closed:  # the guard died: leave in the planned way (PDEATHSIG says so too)
            self._forget(self.guard)
            self.stop(now)

    def stop(self, now: float) -> None:
        """Leave in the planned way: the guard says so, or it has died."""
        if self.stopping:
            return
        self.stopping = True
        if self._giver is not None:
            self._giver.abandon(now)
        if not self.live:
            self._leave()
            return
        self.executor.run(self.engine.stop(now) if self.setting.release_addresses else self.engine.depart(now))

    def _from_helper(self, now: float) -> None:
        for message, fds in self.helper.receive():
            ipc.close_all(fds)
            if message.get("t") == "verdicts":
                for kind, name, value, said, since in message["verdicts"]:
                    self.executor.run(self.engine.verdict(kind, name, Verdict(value, said, since), now))
            if message.get("t") != "request":
                continue
            number, command = message.get("id"), message.get("cmd")
            if command == "status":
                steps = self._status(self.helper, {"t": "reply", "id": number}, message.get("clear") is True)
                self._pending.append((self.helper, steps))
                continue
            if command == "verdicts":
                self._tell_verdicts({"t": "reply", "id": number})
                continue
            data = self._command(str(command), message, now)
            self.helper.send({"t": "reply", "id": number, "more": False, "data": data})
        if self.helper.closed:
            self._forget(self.helper)

    def _command(self, command: str, message: ipc.Message, now: float) -> dict[str, object]:
        if command == "maintenance":
            self.maintenance = bool(message.get("on"))
            self.executor.run(self.engine.maintenance(self.maintenance, now))
            return {"ok": True}
        if command == "handover":
            name = str(message.get("instance"))
            try:
                self.executor.run(self.engine.handover(name, now))
                group, routers = self.engine.meant(name)
            except (LookupError, ValueError) as error:
                return {"ok": False, "error": str(error.args[0])}
            if group is None:
                return {"ok": True}
            return {"ok": True, "sync_group": group.name, "members": [router.name for router in routers]}
        return {"ok": False, "error": f"unknown command {command!r}"}

    def _tell_verdicts(self, message: ipc.Message) -> None:
        """To a helper that comes after one that died: it goes on from these."""
        verdicts = self.engine.verdicts()
        for start in range(0, len(verdicts), VERDICTS):
            part = verdicts[start : start + VERDICTS]
            self.helper.send({**message, "more": True, "data": {"verdicts": part}})
        self.helper.send({**message, "more": False, "data": {}})

    def _routers(self) -> list[VirtualRouter]:
        return list(self.engine.routers.values())

    # ------------------------------------------------------------------- status
    def _status(self, channel: ipc.Channel, message: ipc.Message, clear: bool = False) -> Iterator[None]:
        """Send the head and the instances in parts; each step takes about SLICE_SECONDS of a turn.

        `clear`: every counter begins anew with what is not told here.
        """
        head = {
            "version": __version__,
            "release": self.setting.release,
            "config": self.source,
            "maintenance": self.maintenance,
            "uptime": time.time() - self.started,
            "processes": {"guard": os.getppid(), "vrrp": os.getpid()},
            "peer_path": self.path.status(),
            "nftables": self.executor.firewall and self.executor.firewall.status(),
            "socket_drops": sum(receiver.dropped() for receiver in self.receivers.values()),
            "send_errors": self.executor.send_errors,
            "messages_dropped": self.guard.dropped + self.helper.dropped,
            "packets": self.engine.counters,
            "delayed": self.engine.delayed(),
        }
        channel.send({**message, "more": True, "data": {"head": head}})
        part: list[object] = []
        size = 0
        until = time.monotonic() + SLICE_SECONDS
        for router in self._routers():
            entry = self.engine.snapshot(router, time.monotonic(), time.time())
            entry["missing"] = self._missing(router)
            if clear:
                router.clear_counts()
            more = _bounded(entry)
            if part and size + more > SLICE_BYTES:
                channel.send({**message, "more": True, "data": {"instances": part}})
                part, size = [], 0
            part.append(entry)
            size += more
            if time.monotonic() >= until:
                yield
                until = time.monotonic() + SLICE_SECONDS
        channel.send({**message, "more": True, "data": {"instances": part}})
        groups = [group.snapshot() for group in self.engine.groups.values()]
        for start in range(0, len(groups), GROUPS):
            channel.send({**message, "more": True, "data": {"sync_groups": groups[start : start + GROUPS]}})
        for name, items in (
            ("sockets", self._sockets()),
            ("announcing", self.engine.announcing(time.monotonic(), time.time())),
        ):
            for start in range(0, len(items), PARTS):
                channel.send({**message, "more": True, "data": {name: items[start : start + PARTS]}})
        channel.send({**message, "more": False, "data": {}})

    def _sockets(self) -> list[dict[str, object]]:
        return [
            {
                "interface": self.links.hardware(ifindex)[0],
                "family": "ipv4" if family == socket.AF_INET else "ipv6",
                "protocol": "AH" if protocol == AH else "VRRP",
                "fd_in": receiver.fileno(),
                "fd_out": self.executor.descriptor(ifindex, family),
                "buffer": receiver.size,
                "dropped": receiver.dropped(),
            }
            for (ifindex, family, protocol), receiver in self.receivers.items()
        ]

    def _missing(self, router: VirtualRouter) -> list[dict[str, Any]]:
        """What the kernel does not take of it, why, and since when (epoch seconds)."""
        ahead = time.time() - time.monotonic()
        return [
            {"what": f"{kind} {text}", "why": why, "since": round(since + ahead, 3)}
            for kind, text, why, since in self.executor.lacking(router)
        ]

    # ------------------------------------------------------------------ sockets
    def _open_sockets(self) -> None:
        """Have exactly the receivers that the routers on their present interfaces need."""
        wanted: dict[ReceiverKey, tuple[set[bytes], set[int]]] = {}
        buffers: dict[ReceiverKey, int] = {}
        for router in self._routers():
            if router.ifindex not in self.links:
                continue
            cfg = router.cfg
            for protocol in (PROTOCOL,) if router.spec.auth_type != AUTH_AH else (PROTOCOL, AH):
                key = router.ifindex, cfg.family, protocol
                groups, ids = wanted.setdefault(key, (set(), set()))
                ids.add(cfg.virtual_router_id)
                if not cfg.unicast_peer:
                    groups.add(cfg.mcast_group)
                if cfg.kernel_rx_buf_size or cfg.rx_buf_mtus:
                    mtu = router.link.mtu if router.link is not None else 0
                    buffers[key] = buffers.get(key, 0) + (cfg.kernel_rx_buf_size or cfg.rx_buf_mtus * mtu)
        if self.log_unknown:
            roaming = {router.ifindex for router in self._routers() if roams(router.cfg)}
            for (ifindex, *_), (_, ids) in wanted.items():
                if ifindex not in roaming:  # they hear what is for others on every interface
                    ids.update(range(256))
        for key in [key for key in self.receivers if key not in wanted]:
            receiver = self.receivers.pop(key)
            self.loop.forget(receiver.fileno())
            receiver.close()
        for key, (groups, ids) in wanted.items():
            self._listen(key, groups, ids)
        for key, size in buffers.items():
            if key in self.receivers:
                self.receivers[key].buffer(size)

    def _listen(self, key: ReceiverKey, groups: set[bytes], ids: set[int]) -> None:
        try:
            self._receiver(key).listen(groups, ids)
        except OSError as error:
            if error.errno not in (errno.ENODEV, errno.ENXIO):  # gone again: its event is under way
                self.executor.tell(
                    "error", f"interface {self.links.hardware(key[0])[0]}: cannot receive: {error.strerror}"
                )

    def _receiver(self, key: ReceiverKey) -> Receiver:
        receiver = self.receivers.get(key)
        if receiver is None:
            receiver = self.receivers[key] = Receiver(*key[:2], protocol=key[2])
            self._hear(receiver)
        return receiver


def _bounded(entry: dict[str, Any]) -> int:
    """About how many bytes an instance of a status answer takes; what is too long for a message is cut."""
    size = ENTRY_BYTES
    for name in LISTS:
        items = entry.get(name) or ()
        length = 0
        for count, item in enumerate(items):
            length += len(item) + 4
            if length > LIST_BYTES:
                entry[name] = [*items[:count], f"and {len(items) - count} more"]
                break
        size += min(length, LIST_BYTES)
    missing = entry["missing"]
    if len(missing) > MISSING_MOST:
        rest = {**missing[-1], "what": f"what is told of, and {len(missing) - MISSING_MOST} more,"}
        missing = entry["missing"] = [*missing[:MISSING_MOST], rest]
    return size + TRACKER_BYTES * (len(entry["trackers"]) + len(missing))


def first_start(defs: GlobalDefs, started: float) -> float:
    """When instances may start, on the monotonic clock, which began when the machine did; the daemon at `started`."""
    delay = defs.vrrp_startup_delay
    return max(started + delay if delay else 0.0, defs.vrrp_delay_after_boot)


def run(
    guard_sock: socket.socket, helper_sock: socket.socket, setting: Setting, model: int, pulse: Pulse, origin: Origin
) -> int:
    """The life of the forked vrrp process; returns its exit status. `model` is the memfd of a compiled Model."""
    parent = os.getppid()
    process.default_signals()
    # A terminal's interrupt and hang-up reach the whole group; the guard decides what they mean.
    for sig in (signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(sig, signal.SIG_IGN)
    bridge = Bridge(origin.will, origin.due, pulse)
    bridge.speak()
    signals = process.SignalPipe([signal.SIGTERM])
    process.set_name("vrrpd-vrrp")
    guard, helper = ipc.Channel(_first_to_close(guard_sock), limit=8192), ipc.Channel(helper_sock, limit=8192)
    who = process.drop_privileges(setting.user, process.VRRP_CAPABILITIES)
    if setting.core_dumps:
        process.permit_core_dumps()
    if not process.die_with_parent(parent):
        return 0
    daemon = Daemon(guard, helper, setting, pulse)

    compiled = decode(ipc.read_all(model))  # made by the guard's own loader child
    defs = compiled.global_defs
    scheduling = Scheduling(defs, daemon.executor.tell)

    def signalled(now: float) -> None:
        numbers = signals.read()
        if signal.SIGXCPU in numbers:
            scheduling.rested(now)
        if signal.SIGTERM in numbers:
            daemon.stop(now)

    daemon.loop.watch(signals.fileno(), signalled)
    if defs.vrrp_process_name:
        process.set_name(defs.vrrp_process_name)
    bridge.speak()
    daemon.prepare(compiled)
    del compiled
    bridge.speak()
    bridge.leave(len(daemon.engine.routers))
    if origin.former is None:
        _live(daemon, bridge.estates(daemon.links))
    daemon.loop.late = scheduling.late
    _settle_down(daemon, who, scheduling)
    bridge.close()
    if origin.former is not None:
        Heir(daemon, origin.former)
        guard.send({"t": "ready"})
    daemon.run()
    for channel in (guard, helper):  # last words: that nothing is left to be undone, and what scripts are to be told
        channel.drain(LAST_WORDS)
    return 0


def _first_to_close(sock: socket.socket) -> socket.socket:
    """On a high number. The kernel closes a dead process's files from the highest down, and for a packet socket it
    takes 10-40 ms: the guard, which sees our end by this one, must not wait for those."""
    try:
        fd = fcntl.fcntl(sock.fileno(), fcntl.F_DUPFD_CLOEXEC, HIGH_NUMBER)
    except OSError:  # a lower limit than usual
        return sock
    sock.close()
    return socket.socket(fileno=fd)


def _live(daemon: Daemon, estates: Sequence[Estate]) -> None:
    """At once, with what a dead process held or with nothing."""
    now = time.monotonic()
    daemon.take(estates, now)
    daemon.begin((), now)
    if estates:  # a will does not know what the kernel refused, nor what was lost since
        daemon.look_at_roads()
    daemon.announce_live()


def _settle_down(daemon: Daemon, who: str, scheduling: Scheduling) -> None:
    gc.collect()
    gc.freeze()
    # A full collection of 4000 instances takes 40-90 ms, longer than a down interval of 10 ms adverts: there is none.
    # What becomes of them at a takeover or a hand-over stays; what dies young is found by the two younger generations.
    gc.set_threshold(*gc.get_threshold()[:2], NEVER)
    missing = [
        what
        for what, granted in (
            ("locked memory", process.lock_memory()),
            *scheduling.settle(),
        )
        if not granted
    ]
    if missing:
        daemon.executor.tell("info", f"vrrp process ({who}) runs without {' and '.join(missing)}: not permitted here")
