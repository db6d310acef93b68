"""All virtual routers of one process: whose advert is it, is it valid, what is due, what becomes of whom.

In: configurations, pictures of interfaces, datagrams, the passing of time; each with `now`, float seconds of
one monotonic clock. Out: actions, to be carried out in their order. It owns the routers, the timer heap and
the table of links; the rules of one router are router.py's, system calls the daemon's.

The daemon reads its sockets empty before it calls `expire`, so that an advert which arrived before a
deadline, or with it, wins over the deadline (a process that was stopped does not depose a live master); and a
router whose Active_Down_Timer is found more than one interval late listens once more (backup.py).
"""

from __future__ import annotations

from collections.abc import Container, Hashable, Iterable, Mapping, Sequence
from math import inf
from typing import TYPE_CHECKING, Any, Protocol

from vrrpd.families import AF_INET
from vrrpd.model.diff import Identity, identity
from vrrpd.model.values import INTERFACE, Device, Routing, Static, VirtualAddress
from vrrpd.vrrp import backup, heritage
from vrrpd.vrrp.actions import Action, Log, Refit, Unsteady
from vrrpd.vrrp.announce import Announcer
from vrrpd.vrrp.checks import (
    Memo,
    addressee,
    lists_our_addresses,
    other_addresses,
    other_checksum,
    told_by_trailer,
    validate,
)
from vrrpd.vrrp.estate import Estate
from vrrpd.vrrp.groups import SyncGroup
from vrrpd.vrrp.links import InterfaceAddress, Link, is_other, roams
from vrrpd.vrrp.packet import AH_LENGTH, HEADER_LENGTH, AdvertSpec, Buffer, PacketError
from vrrpd.vrrp.path import STEP, Told
from vrrpd.vrrp.path import identity as path_identity
from vrrpd.vrrp.records import Records, duration, text
from vrrpd.vrrp.router import VirtualRouter
from vrrpd.vrrp.snapshot import snapshot
from vrrpd.vrrp.states import INIT, MASTER, State
from vrrpd.vrrp.steady import Steady
from vrrpd.vrrp.timers import Timer, Timers
from vrrpd.vrrp.track import Key, Verdict

if TYPE_CHECKING:
    from vrrpd.model.globals import GlobalDefs
    from vrrpd.model.groups import VrrpSyncGroup
    from vrrpd.model.values import GarpGroup, InterfaceDelay
    from vrrpd.model.vrrp import VrrpInstance

__all__ = ["AdvertSpec", "Engine", "InterfaceAddress", "Link", "State", "VirtualRouter"]

DELAY = "start delay"  # what is awaited by who does not start yet
STATIC = "static"  # who finds a fault of a static item
REFIT_GAP = 2.0  # between two requests for virtual interfaces or static items


class Configuration(Protocol):
    """The part of a Model that the engine reads."""

    @property
    def vrrp_instances(self) -> Sequence[VrrpInstance]:
        """Every instance, names unique."""

    @property
    def vrrp_sync_groups(self) -> Sequence[VrrpSyncGroup]:
        """Names unique; members exist, each in one group."""

    @property
    def interface_delays(self) -> Sequence[InterfaceDelay]:
        """interface_up_down_delays."""

    @property
    def garp_groups(self) -> Sequence[GarpGroup]:
        """Of disjoint interfaces."""

    @property
    def global_defs(self) -> GlobalDefs:
        """What holds for all instances."""

    @property
    def statics(self) -> Sequence[Static]:
        """What is set whoever is MASTER, and which instances need it."""


class Engine:
    """The edge of the core. Every method takes `now` and returns what to do."""

    def __init__(self) -> None:
        self.routers: dict[str, VirtualRouter] = {}
        self.groups: dict[str, SyncGroup] = {}
        self.counters = {"packet_len_err": 0, "vrid_err": 0}  # of packets that are nobody's
        self.stopping = False
        # How far the time of day is ahead of the monotonic clock; kept up by who reads both, while `seals`.
        self.offset = 0.0
        self.seals = False  # a router of ours has auth_hmac or AH
        self._begun = False
        self._in_maintenance = False
        self._timers = Timers()
        self._announcer = Announcer(self._timers)
        self._of_groups: dict[str, tuple[str, ...]] = {}  # whom the configuration names
        self._unclaimed: dict[Identity, list[VirtualRouter]] = {}  # prepared, neither taken over nor started
        self._given: dict[str, tuple[VirtualRouter, Estate]] = {}  # to a successor that has not said so yet
        self._links: dict[str, Link] = {}
        self._names: dict[int, str] = {}  # of these, by interface index
        self._table: dict[tuple[int, int, int], VirtualRouter] = {}  # (ifindex, family, vrid)
        self._roaming: set[tuple[int, int, bytes | None]] = set()  # family, vrid, source of those without an interface
        self._memos: dict[Hashable, Memo] = {}  # datagrams that passed every check, under their keys
        self._on_interface: dict[str, list[VirtualRouter]] = {}
        self._on_device: dict[str, list[VirtualRouter]] = {}  # those with virtual interfaces, by these and their bases
        self._refused: dict[str, str] = {}  # virtual interface -> why it could not be made
        self._refit = Timer(self._look_again)
        self._steady = Steady(self._timers, self._show)
        self._held_until = 0.0  # nobody starts before
        self._start = Timer(self._start_held)
        self._unknown: Records | None = None  # log_unknown_vrids: who says so
        self._missing: dict[str, str] = {}  # static item -> why it cannot be had
        self._followers: dict[str, Sequence[str]] = {}  # static item -> names of those that need it
        self._statics_asked = False  # while a request was under way
        self._verdicts: dict[Key, Verdict] = {}  # of all that is tracked
        self._trackers: dict[Key, list[VirtualRouter]] = {}  # who tracks it
        self._keepers: dict[bytes, list[VirtualRouter]] = {}  # virtual address -> who may hold it
        self._known: dict[tuple[int, int, bytes], list[VirtualRouter]] = {}  # those with a peer_path, as it names them
        self._virtual: dict[str, frozenset[bytes]] = {}  # interface -> all virtual addresses on it

    # ---- time ------------------------------------------------------------------------------------------------

    @property
    def next_deadline(self) -> float:
        """When `expire` is wanted next: never too late, sometimes too early; inf when never."""
        return self._timers.next_deadline

    def expire(self, now: float) -> Sequence[Action]:
        """Everything that is due by now, in the order of the deadlines. Calling it too early is a no-op."""
        actions: list[Action] = []
        for timer, due in self._timers.due(now):
            actions += timer.fire(now, due)
        return actions

    # ---- packets ---------------------------------------------------------------------------------------------

    def repeated(self, key: Hashable, now: float) -> Sequence[Action] | None:
        """A datagram again that `receive` was given under this key; None when it has to be looked at.

        A master says the same all day: with this a backup of 4000 spends a third of the time on an advert.
        """
        memo = self._memos.get(key)
        if memo is None or memo.router.memo is not memo:  # heard something else since, or was configured anew
            return None
        router = memo.router
        router.advert_rcvd += 1
        return router.on_advert(memo.advert, memo.source, now)

    def receive(
        self,
        ifindex: int,
        family: int,
        source: bytes,
        destination: bytes,
        ttl: int,
        data: Buffer,
        now: float,
        key: Hashable = None,
        ah: Buffer | None = None,
    ) -> Sequence[Action]:
        """A VRRP message without its IP header; ttl -1 or destination b"" when the kernel did not tell.

        `key` stands for all of the above but `now`: it is the caller's name for this datagram on this interface.
        `ah`: all of the datagram, when the message was behind AH.
        """
        router = self._table.get((ifindex, family, data[1])) if len(data) > 1 else None
        if router is not None and router.siblings:
            router = addressee(router, source, destination)
        if self._roaming and len(data) > 1 and self._for_another_socket(router, family, data[1], destination):
            return ()
        if router is None:
            self.counters["vrid_err" if len(data) >= HEADER_LENGTH else "packet_len_err"] += 1
            return () if self._unknown is None else self._stranger(self._unknown, ifindex, source, data, now)
        try:
            advert = validate(router, source, destination, ttl, data, now, self.offset, ah)
        except PacketError as error:
            return router.records.reject(error.reason, source, now)
        router.advert_rcvd += 1
        known = router.heard is not None and router.heard.source == source
        actions = router.on_advert(advert, source, now)
        if router.auth is not None:
            key = None  # no two are the same
            if router.cfg.auth_hmac is not None:
                actions = [*actions, *told_by_trailer(router, router.auth, advert, source, now)]
        if not lists_our_addresses(router, advert, known):
            return [*actions, *other_addresses(router, advert, source, now)]
        if key is not None:
            if router.memo is not None:  # one for each router: no flood can fill the memory
                self._memos.pop(router.memo.key, None)
            router.memo = self._memos[key] = Memo(key, router, source, advert)
        if router.cfg.version == 3 and (
            advert.pseudo_header is not router.peer_pseudo_header or advert.old_sum is not router.spec.old_sum
        ):
            return [*actions, *other_checksum(router, advert, source, now)]
        return actions

    def _for_another_socket(self, router: VirtualRouter | None, family: int, vrid: int, destination: bytes) -> bool:
        """Who has no interface hears what is for those that have one, and these hear what is for him."""
        if router is not None and roams(router.cfg):
            return destination != router.cfg.unicast_src_ip
        return (family, vrid, destination) in self._roaming

    def receive_ah(self, ifindex: int, datagram: Buffer, now: float) -> Sequence[Action]:
        """A whole IPv4 datagram of protocol 51: AH covers its header too."""
        size = (datagram[0] & 15) * 4 if datagram else 0
        data = datagram[size + AH_LENGTH :]
        if size < 20 or len(data) < HEADER_LENGTH:
            self.counters["packet_len_err"] += 1
            return ()
        source, destination = bytes(datagram[12:16]), bytes(datagram[16:20])
        return self.receive(ifindex, AF_INET, source, destination, datagram[8], data, now, None, datagram)

    def _stranger(self, records: Records, ifindex: int, source: bytes, data: Buffer, now: float) -> Sequence[Action]:
        """What is for a virtual router that we do not have there, once in a while for each."""
        if len(data) < HEADER_LENGTH or ifindex not in self._names:
            return ()
        cause = f"{self._names[ifindex]} {data[1]}"
        if records.hushed(cause, now):
            return ()
        message = f"an advert from {text(source)} for virtual_router_id {data[1]}, which no instance has there"
        return records.line("info", cause, message)

    def let_go(self, peer: bytes, told: Told, now: float) -> Sequence[Action]:
        """What a peer has said over the second path, authenticated. Where two routers fit it is about neither."""
        actions: list[Action] = []
        for family, vrid, source, digest in told.words:
            found = self._known.get((family, vrid, digest), ())
            if len(found) == 1 and peer in found[0].cfg.peer_path:
                actions += backup.let_go(found[0], source, told.rank * STEP, told.age, now)
        return actions

    # ---- configuration ---------------------------------------------------------------------------------------

    def prepare(self, model: Configuration, now: float) -> None:
        """Know this configuration, and do nothing: its routers wait in INIT for `take` or `begin`."""
        self.routers = {
            cfg.name: VirtualRouter(cfg, self._timers, self._announcer, self._verdicts, self.offset)
            for cfg in model.vrrp_instances
        }
        self.seals = any(router.auth is not None for router in self.routers.values())
        self._of_groups = {cfg.name: cfg.group for cfg in model.vrrp_sync_groups}
        self.groups = {cfg.name: SyncGroup(cfg, self._timers) for cfg in model.vrrp_sync_groups}
        self._index()
        bases = {device.name: device.base for r in self.routers.values() for device in r.cfg.devices}
        self._steady.configure(model.interface_delays, bases)
        self._announcer.configure(model.garp_groups, bases)
        self._unknown = Records("log_unknown_vrids") if model.global_defs.log_unknown_vrids else None
        self._unclaimed = {}
        for router in self.routers.values():
            self._unclaimed.setdefault(identity(router.cfg), []).append(router)
        for interface in {*self._on_interface, *(name for kind, name in self._trackers if kind == INTERFACE)}:
            self._refresh(interface, now)
        self._followers = {static.entry.text: static.followers for static in model.statics if static.followers}
        self._follow_statics(now)
        if self._in_maintenance:
            self.maintenance(True, now)

    def hold(self, until: float) -> None:
        """vrrp_startup_delay, vrrp_delay_after_boot: nobody starts before. A successor has it from us."""
        self._held_until = until

    def head(self) -> dict[str, Any]:
        """What a successor must know besides the estates; the argument of its `follow`."""
        return {
            "stopping": self.stopping,
            "maintenance": self._in_maintenance,
            "counters": self.counters,
            "verdicts": self.verdicts(),
            "held_until": self._held_until,
            "links": self._steady.give(self._links),
            "groups": {name: group.waiting.deadline for name, group in self.groups.items() if group.waits},
        }

    def follow(self, head: dict[str, Any], now: float) -> None:
        """Before the first `take`."""
        self.stopping = bool(head["stopping"])
        self.maintenance(bool(head["maintenance"]), now)
        self.counters.update((key, int(value)) for key, value in head["counters"].items() if key in self.counters)
        self._held_until = float(head["held_until"])
        self.recall(head["links"], now)
        for name, deadline in head.get("groups", {}).items():  # a release before this one says nothing of them
            if name in self.groups:
                self._timers.set(self.groups[name].waiting, float(deadline))
        for kind, name, value, said, since in head["verdicts"]:
            if (kind, name) in self._trackers:
                self.verdict(kind, name, Verdict(value, said, since), now)

    def recall(self, links: Mapping[str, Any], now: float) -> None:
        """How another process took interfaces, and until when at the most: the delays that ran go on."""
        for link in self._steady.take(links, self._links, self._longest_down, now):
            self._links[link.name] = link
            self._refresh(link.name, now)  # that they are unsteady is told by `begin`

    def take(self, estates: Sequence[Estate], now: float) -> tuple[list[Action], list[Estate]]:
        """Go on where other processes stopped; beside the actions the estates that have no heir here.

        A router is the same when interface, family, VRID and for unicast the source are the same, whatever its name.
        """
        actions: list[Action] = []
        left: list[Estate] = []
        for estate in estates:
            heirs, started = self._unclaimed.get(estate.identity, []), estate.state != INIT.name
            heir = _heir(heirs if started else heirs.copy(), estate)
            if heir is not None and started:
                actions += heritage.take(heir, estate, now)
                continue
            left.append(estate)
            if heir is not None:  # it starts later than it was to, but what was heard before is no news to it
                heritage.remember(heir, estate)
        return actions, left

    def begin(self, now: float) -> Sequence[Action]:
        """Start whoever took nothing over."""
        new = [router for heirs in self._unclaimed.values() for router in heirs]
        self._unclaimed = {}
        self._begun = True
        if self.stopping:
            return ()
        self._try_again(now)
        actions = [*self._fit(self.routers.values(), now), *self._unsteady()]
        if now < self._held_until and new:
            self._timers.set(self._start, self._held_until)
            return [*actions, Log("info", f"the instances start in {duration(self._held_until - now)} ({DELAY})")]
        return [*actions, *self._started(new, now, "start")]

    def _started(self, new: Iterable[VirtualRouter], now: float, reason: str) -> list[Action]:
        actions = [action for router in new for action in router.start(now, reason)]
        for group in self.groups.values():
            actions += group.settle(now)
        return actions

    def _start_held(self, now: float, due: float) -> Sequence[Action]:
        if self.stopping:
            return ()
        held = [router for router in self.routers.values() if router.state is INIT]
        return self._started(held, now, f"start, the {DELAY} is over")

    def give(self, routers: Sequence[VirtualRouter]) -> list[Estate]:
        """These are another process's from now on; until it says so they are kept for `resume` or `bury`."""
        estates: list[Estate] = []
        for router in routers:
            estate = heritage.give(router)
            estates.append(estate)
            self._given[router.name] = router, estate
            del self.routers[router.name]
        gone = set(routers)
        for index in (self._on_interface, self._on_device, self._keepers, self._known, self._trackers):
            _forget(index, gone)
        self._gather()
        self._index_table()
        return estates

    def resume(self, now: float) -> Sequence[Action]:
        """The successor did not come to be: go on with everything that was given away."""
        given, self._given = self._given, {}
        self.routers = {**self.routers, **{name: router for name, (router, _) in given.items()}}
        self._index()
        for router, estate in given.values():
            heritage.resume(router, estate)
        if any(router.state is INIT for router, _ in given.values()) and self._held_until:
            self._timers.set(self._start, max(now, self._held_until))
        actions = [action for interface in self._on_interface for action in self._refresh(interface, now)]
        for group in self.groups.values():
            actions += group.settle(now)
        return actions

    def bury(self, names: Container[str], now: float) -> Sequence[Action]:
        """The successor has taken over, but for these: they are gone from the configuration."""
        given, self._given = self._given, {}
        return [action for name, (router, _) in given.items() if name in names for action in router.delete(now)]

    def _index(self) -> None:
        self._on_interface, self._on_device = {}, {}
        self._keepers = {}
        self._known = {}
        self._trackers = {}
        for router in self.routers.values():
            for track in router.tracking.tracks if router.tracking is not None else ():
                self._trackers.setdefault((track.kind, track.name), []).append(router)
            if router.cfg.peer_path:
                key = (router.cfg.family, router.cfg.virtual_router_id, path_identity(router.advertised))
                self._known.setdefault(key, []).append(router)
            self._on_interface.setdefault(router.cfg.interface, []).append(router)
            for name in {name for device in router.cfg.devices for name in (device.name, device.base)}:
                self._on_device.setdefault(name, []).append(router)
            for entry in router.addresses:
                self._keepers.setdefault(entry.address, []).append(router)
        self._virtual = {
            interface: frozenset(entry.address for router in routers for entry in router.addresses)
            for interface, routers in self._on_interface.items()
        }
        self._roaming = {
            (cfg.family, cfg.virtual_router_id, cfg.unicast_src_ip)
            for cfg in (router.cfg for router in self.routers.values())
            if roams(cfg)
        }
        self._gather()
        self._index_table()

    def _gather(self) -> None:
        """The groups have those of their members that are ours."""
        for group in self.groups.values():
            group.consist_of(self.routers[name] for name in self._of_groups[group.name] if name in self.routers)

    def _index_table(self) -> None:
        groups: dict[tuple[int, int, int], list[VirtualRouter]] = {}
        for interface, routers in self._on_interface.items():
            link = self._links.get(interface)
            for router in routers if link else ():
                assert link is not None
                key = (link.ifindex, router.cfg.family, router.cfg.virtual_router_id)
                groups.setdefault(key, []).append(router)
        self._table = {}
        self._memos.clear()
        for key, group in groups.items():
            for router in group:
                router.siblings = tuple(group) if len(group) > 1 else ()
            self._table[key] = group[0]

    # ---- interfaces ------------------------------------------------------------------------------------------

    def link(self, link: Link, now: float) -> Sequence[Action]:
        """The full current picture of one interface: at start, and whenever anything of it changes."""
        actions: list[Action] = []
        # Renamed, or deleted and made again: both are another interface to those who live on it.
        name = self._names.get(link.ifindex, link.name)
        if name != link.name and name in self._links:
            del self._links[name]
            self._steady.forget(name)
            actions += self._rebind(name, now)
        former = self._links.get(link.name)
        if former is not None and former.ifindex != link.ifindex:
            self._names.pop(former.ifindex, None)
            del self._links[link.name]
            actions += self._rebind(link.name, now)
            former = None
        if link.name in self._steady:
            link = self._steady.view(link, former, self._longest_down(link.name), now)
        self._links[link.name] = link
        self._names[link.ifindex] = link.name
        if former is None:
            self._index_table()
        actions += self._refresh(link.name, now)
        return [*actions, *self._unsteady()]

    def _show(self, link: Link, now: float) -> Sequence[Action]:
        """An interface is taken for what it is, or was."""
        self._links[link.name] = link
        return [*self._refresh(link.name, now), *self._unsteady()]

    def _unsteady(self) -> Sequence[Action]:
        """Other delays run than before."""
        if not self._steady.changed:
            return ()
        self._steady.changed = False
        return (Unsteady(self._steady.running(self._links)),)

    def _longest_down(self, interface: str) -> float:
        """After so long somebody may take over, who must have noticed by then that it is he who hears nothing."""
        routers = (*self._on_interface.get(interface, ()), *self._on_device.get(interface, ()))
        bounds = ((r.cfg.down_timer_adverts - 1) * min(r.cfg.advert_int, r.master_adver_int) for r in routers)
        return min(bounds, default=inf)

    def unlink(self, ifindex: int, now: float) -> Sequence[Action]:
        """The interface is gone."""
        name = self._names.pop(ifindex, None)
        if name is None:
            return ()
        self._steady.forget(name)
        if self._links.pop(name, None) is None:
            return ()
        return [*self._rebind(name, now), *self._unsteady()]

    def _rebind(self, interface: str, now: float) -> Sequence[Action]:
        self._index_table()
        return self._refresh(interface, now)

    def _refresh(self, interface: str, now: float) -> Sequence[Action]:
        actions: list[Action] = []
        link, virtual = self._links.get(interface), self._virtual.get(interface, frozenset())
        if (INTERFACE, interface) in self._trackers:
            actions += self._judge_interface(interface, link, now)
        for router in self._on_interface.get(interface, ()):
            vmac = router.cfg.vmac
            if vmac is None:
                actions += router.set_link(link, virtual, now)
            else:
                device = self._links.get(vmac.name)
                actions += router.set_link(link, virtual, now, device, self._refused.get(vmac.name, ""))
        if interface in self._on_device:
            actions += self._refresh_devices(interface, now)
        return actions

    # ---- what is tracked -------------------------------------------------------------------------------------

    def verdict(self, kind: str, name: str, verdict: Verdict, now: float) -> Sequence[Action]:
        """The last word about something that is tracked, or will be when the next configuration is in force."""
        if self._verdicts.get((kind, name)) == verdict:
            return ()
        self._verdicts[kind, name] = verdict
        concerned = self._trackers.get((kind, name), ())
        reason = f"{kind} {name} {verdict.said}" if concerned else ""
        return [action for router in concerned for action in router.judge(now, reason)]

    def verdicts(self) -> list[tuple[str, str, int, str, float]]:
        """All but those about interfaces: for a successor, or for another helper."""
        return [(*key, *verdict) for key, verdict in self._verdicts.items() if key[0] != INTERFACE]

    def _judge_interface(self, name: str, link: Link | None, now: float) -> Sequence[Action]:
        up = link is not None and link.up
        said = "does not exist" if link is None else "is up" if up else "is down"
        former = self._verdicts.get((INTERFACE, name))
        since = former.since if former is not None and former.good == up else now
        return self.verdict(INTERFACE, name, Verdict(int(up), said, since), now)

    # ---- virtual interfaces ----------------------------------------------------------------------------------

    def _refresh_devices(self, interface: str, now: float) -> Sequence[Action]:
        """A virtual interface, or the one below it, is another now."""
        actions: list[Action] = []
        concerned = self._on_device[interface]
        for router in concerned:
            vmac = router.cfg.vmac
            if vmac is not None and vmac.name == interface:
                base = router.cfg.interface
                link, virtual = self._links.get(base), self._virtual.get(base, frozenset())
                device, refused = self._links.get(interface), self._refused.get(interface, "")
                actions += router.set_link(link, virtual, now, device, refused)
        return actions if self.stopping else [*actions, *self._fit(concerned, now)]

    def _fit(self, routers: Iterable[VirtualRouter], now: float) -> Sequence[Action]:
        """Ask for what these lack, once, and again after a while for as long as anything is missing."""
        if (
            not self._begun
            or self._refit.deadline != inf
            or not any(self._lacks(device) for r in routers for device in r.cfg.devices)
        ):
            return ()
        self._timers.set(self._refit, now + REFIT_GAP)
        return (Refit(),)

    def _lacks(self, device: Device) -> bool:
        base, link = self._links.get(device.base), self._links.get(device.name)
        return base is not None and (link is None or is_other(device, base, link))

    def _look_again(self, now: float, due: float) -> Sequence[Action]:
        if self._statics_asked or self._missing:
            return self.look_at_statics(now)
        return () if self.stopping else self._fit(self.routers.values(), now)

    def look_at_statics(self, now: float) -> Sequence[Action]:
        """A static item was removed, or an interface changed that one may need: have them looked at, soon again."""
        if not self._begun or self.stopping:
            return ()
        if self._refit.deadline != inf:
            self._statics_asked = True
            return ()
        self._statics_asked = False
        self._timers.set(self._refit, now + REFIT_GAP)
        return (Refit(),)

    def missing(self, causes: Mapping[str, str], now: float) -> Sequence[Action]:
        """Which static items cannot be had, and why: the instances of their track_group are in FAULT for it."""
        self._missing = dict(causes)
        self._try_again(now)
        return self._follow_statics(now)

    def _try_again(self, now: float) -> None:
        """What is missing is looked at until it is not."""
        if self._missing and self._begun and self._refit.deadline == inf:
            self._timers.set(self._refit, now + REFIT_GAP)

    def delayed(self) -> list[str]:
        """Interfaces whose link has changed, which does not count yet (interface_up_down_delays)."""
        return [name for name in self._links if self._steady.until(name)]

    def announcing(self, now: float, wall: float) -> list[tuple[str, str, float]]:
        """For status: interface, GARP or GNA, and when the next may leave, epoch seconds."""
        return [
            (
                where if isinstance(where, str) else self._names.get(where, ""),
                "GARP" if width == 4 else "GNA",
                wall - now + at,
            )
            for where, width, at in self._announcer.paces()
        ]

    def _follow_statics(self, now: float) -> Sequence[Action]:
        needy: dict[str, list[str]] = {name: [] for names in self._followers.values() for name in names}
        for item, why in self._missing.items():
            for name in self._followers.get(item, ()):
                needy[name].append(f"static {item}: {why}")
        return [
            action
            for name, sentences in needy.items()
            if name in self.routers
            for action in self.routers[name].find(STATIC, sentences, now)
        ]

    def refused(self, causes: Mapping[str, str], now: float) -> Sequence[Action]:
        """Which virtual interfaces cannot be made, and why: the routers that need them say so in FAULT."""
        concerned = {*self._refused, *causes}
        self._refused = dict(causes)
        return [action for name in concerned if name in self._on_device for action in self._refresh_devices(name, now)]

    def address_removed(self, ifindex: int, address: bytes, prefixlen: int, now: float) -> Sequence[Action]:
        """Somebody else took an address off: whoever should hold it puts it back."""
        actions: list[Action] = []
        for router in self._keepers.get(address, ()):
            for entry in router.addresses:
                if entry.address == address and entry.prefixlen == prefixlen and self._lives_on(router, entry, ifindex):
                    actions += router.duties.restore(entry, now)
        return actions

    def routing_removed(self, router: VirtualRouter, entry: Routing, now: float) -> Sequence[Action]:
        """Somebody else took a route or a rule of this router away."""
        if self.routers.get(router.name) is not router:
            return ()  # another process has it by now
        return router.duties.restore_routing(entry, now)

    def _lives_on(self, router: VirtualRouter, entry: VirtualAddress, ifindex: int) -> bool:
        if not entry.dev:
            return router.ifindex == ifindex
        link = self._links.get(entry.dev)
        return link is None or link.ifindex == ifindex

    # ---- the operator's wishes -------------------------------------------------------------------------------

    def stop(self, now: float) -> Sequence[Action]:
        """End in the planned way: priority 0 at once, addresses until a successor speaks. Then `stopped`."""
        self.stopping = True
        return [action for router in self.routers.values() for action in router.stop(now)]

    def depart(self, now: float) -> Sequence[Action]:
        """End without a word to the segment, and leave what is there (keepalived's -V). Then `stopped`."""
        self.stopping = True
        return [action for router in self.routers.values() for action in router.depart(now)]

    @property
    def stopped(self) -> bool:
        """Nothing of ours is on any interface any more."""
        return self.stopping and all(router.state is INIT for router in self.routers.values())

    def maintenance(self, on: bool, now: float) -> Sequence[Action]:
        """Leave every router in the planned way and stay out, or come back as after a fault."""
        self._in_maintenance = on
        return [action for router in self.routers.values() for action in router.maintenance(on, now)]

    def handover(self, name: str, now: float) -> Sequence[Action]:
        """Resign `name`, or all of the sync group that is called so or that it is in.

        LookupError or ValueError when there is nothing to give away.
        """
        group, routers = self.meant(name)
        if not any(router.state is MASTER and not router.leaving for router in routers):
            states = ", ".join(sorted({"leaving" if r.leaving else r.state.name for r in routers}))
            who = name if group is None else f"sync group {group.name}"
            raise ValueError(f"{who} is {states}, not MASTER")
        return [action for router in routers for action in router.handover(now)]

    def meant(self, name: str) -> tuple[SyncGroup | None, tuple[VirtualRouter, ...]]:
        """Who moves when `name` does: an instance, or all of a sync group, by its name or a member's. LookupError."""
        router = self.routers.get(name)
        group = self.groups.get(name) if router is None else router.group
        if group is not None:
            return group, group.members
        if router is None:
            raise LookupError(f"no vrrp_instance or vrrp_sync_group {name}")
        return None, (router,)

    def _awaited(self, router: VirtualRouter, now: float) -> list[str]:
        """What has to come before it starts, or before a change of its link counts, as sentences."""
        awaited = list(router.tracking.awaited()) if router.tracking is not None and router.tracking.held else []
        if router.state is INIT and now < self._held_until and not self.stopping:
            awaited.append(f"{DELAY}, {duration(self._held_until - now)} left")
        if router.group is not None:
            awaited += router.group.holders_back(router)
        interface = router.cfg.interface
        if until := self._steady.until(interface):
            really = "down" if self._links[interface].up else "up"
            awaited.append(f"{interface} is {really}, which counts in {duration(until - now)}")
        return awaited

    # ---- status ----------------------------------------------------------------------------------------------

    def snapshot(self, router: VirtualRouter, now: float, wall: float | None = None) -> dict[str, Any]:
        """One router as plain data, no secrets. With `wall` (epoch seconds of `now`) times get a date."""
        return snapshot(router, self._awaited(router, now), now, wall)


def _forget(index: dict[Any, list[VirtualRouter]], gone: set[VirtualRouter]) -> None:
    for key, found in index.items():
        if not gone.isdisjoint(found):
            index[key] = [router for router in found if router not in gone]


def _heir(candidates: list[VirtualRouter], estate: Estate) -> VirtualRouter | None:
    """Of several unicast routers with one VRID the one that shares most peers, else the namesake."""
    if not candidates:
        return None
    peers = set(estate.peers)
    best = max(candidates, key=lambda new: (len(peers.intersection(new.cfg.unicast_peer)), new.name == estate.name))
    candidates.remove(best)
    return best
