"""Engines on a virtual wire in virtual time: the world around the protocol core, for tests.

A `World` owns the clock, the wire (latency, cuts, loss) and what happened; a `Node` is one engine with its
interfaces and the addresses that it has put on them. The actions of an engine are carried out as the daemon's
executor does, except that nothing here can fail.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from heapq import heappop, heappush
from ipaddress import ip_address, ip_interface
from itertools import count
from typing import NamedTuple

from vrrpd.model.diff import identity
from vrrpd.model.globals import GlobalDefs
from vrrpd.model.groups import VrrpSyncGroup
from vrrpd.model.values import GarpGroup, InterfaceDelay, Routing, Static
from vrrpd.model.vrrp import AF_INET, AF_INET6, VirtualAddress, VrrpInstance
from vrrpd.vrrp.actions import (
    Action,
    AddAddresses,
    AddRouting,
    Announce,
    DelAddresses,
    DelRouting,
    GroupTransition,
    Inherit,
    LetGo,
    Log,
    OtherAdvert,
    PriorityChange,
    Refit,
    RenewAddresses,
    RxLowerPriority,
    SendAdvert,
    Transition,
    Unsteady,
)
from vrrpd.vrrp.auth import AH_EPOCH, next_sequence, sealed, standing_of
from vrrpd.vrrp.engine import Engine, InterfaceAddress, Link
from vrrpd.vrrp.estate import Holding, Laid, adopted, decode, encode
from vrrpd.vrrp.packet import AUTH_AH, AdvertSpec, datagrams
from vrrpd.vrrp.router import VirtualRouter
from vrrpd.vrrp.states import MASTER
from vrrpd.vrrp.track import Verdict

LATENCY = 0.001
EPOCH = 1.8e9  # the time of day when the world's clock says 0


@cache
def packed(text: str) -> bytes:
    return ip_address(text).packed


@cache
def text(address: bytes) -> str:
    return str(ip_address(address))


@cache
def interface_address(value: str, usable: bool = True) -> InterfaceAddress:
    parsed = ip_interface(value)
    return InterfaceAddress(parsed.ip.packed, parsed.network.prefixlen, usable)


@cache
def vip(value: str) -> VirtualAddress:
    """ADDRESS/LENGTH, with @DEVICE behind it when it lives on another interface."""
    value, _, dev = value.partition("@")
    parsed = ip_interface(value)
    return VirtualAddress(parsed.ip.packed, parsed.network.prefixlen, dev)


def signed(spec: AdvertSpec, priority: int, now: float) -> bytes:
    """The message, with what the spec's authentication adds: behind AH the whole datagram."""
    bare = datagrams(spec, priority)
    if spec.seal is not None:  # a peer's sequence, whatever ours has reached
        seal = spec.seal._replace(base=EPOCH - (0 if spec.seal.key_id else AH_EPOCH))
        bare = sealed(spec, bare, next_sequence(seal, 0, now, now + EPOCH))
    data = bare[0][1]
    return data[20:] if spec.family == AF_INET and spec.auth_type != AUTH_AH else data


def instance(name: str = "VI_1", **changes: object) -> VrrpInstance:
    """A vrrp_instance of the tests: eth0, VRID 51, one address of the right family."""
    family = changes.get("family", AF_INET)
    cfg = VrrpInstance(
        name=name,
        interface="eth0",
        virtual_router_id=51,
        virtual_ipaddress=(vip("10.0.0.100/24" if family == AF_INET else "fe80::100/64"),),
    )
    if family == AF_INET6:
        cfg = replace(cfg, version=3, mcast_group=packed("ff02::12"))
    return replace(cfg, **changes)  # type: ignore[arg-type]


@dataclass(frozen=True)
class Configuration:
    """What Engine.prepare reads of a Model."""

    vrrp_instances: tuple[VrrpInstance, ...]
    vrrp_sync_groups: tuple[VrrpSyncGroup, ...] = ()
    interface_delays: tuple[InterfaceDelay, ...] = ()
    garp_groups: tuple[GarpGroup, ...] = ()
    global_defs: GlobalDefs = field(default_factory=GlobalDefs)
    statics: tuple[Static, ...] = ()


class Event(NamedTuple):
    """Something an engine did."""

    at: float
    node: str
    action: Action


class Datagram(NamedTuple):
    """On its way to a node."""

    node: str
    family: int
    source: bytes
    destination: bytes
    ttl: int
    data: bytes
    interface: str = "eth0"


@dataclass
class Node:
    """One host."""

    name: str
    world: World
    engine: Engine = field(default_factory=Engine)
    links: dict[str, Link] = field(default_factory=dict)
    held: dict[bytes, VirtualRouter] = field(default_factory=dict)
    ways: dict[Routing, VirtualRouter] = field(default_factory=dict)
    statics: tuple[Static, ...] = ()
    asleep: bool = False
    options: dict[str, object] = field(default_factory=dict)  # of its configurations, beside the instances
    causes: dict[str, str] = field(default_factory=dict)  # why virtual interfaces cannot be made
    verdicts: dict[tuple[str, str], Verdict] = field(default_factory=dict)  # the helper's
    unsteady: Mapping[str, tuple[bool, float]] = field(default_factory=dict)  # the guard's: of which delays run
    offset: float = EPOCH  # of the time of day, to the world's
    groups: tuple[VrrpSyncGroup, ...] = ()

    @property
    def router(self) -> VirtualRouter:
        """The only one, for tests with one."""
        (router,) = self.engine.routers.values()
        return router

    def link(self, name: str, *addresses: str, **changes: object) -> None:
        """Tell the engine of an interface; what is not said stays as it was."""
        old = self.links.get(name) or Link(
            len(self.links) + 2, name, True, bytes((2, 0, 0, 0, ord(self.name[0]), len(self.links) + 2))
        )
        if addresses:
            old = old._replace(addresses=tuple(map(interface_address, addresses)))
        link = self.links[name] = old._replace(**changes)  # type: ignore[arg-type]
        self.do(self.engine.link(link, self.world.now))

    def unlink(self, name: str) -> None:
        self.do(self.engine.unlink(self.links.pop(name).ifindex, self.world.now))

    def track(self, kind: str, name: str, value: int, said: str) -> None:
        """The helper has found something new."""
        verdict = self.verdicts[kind, name] = Verdict(value, said, self.world.now)
        self.do(self.engine.verdict(kind, name, verdict, self.world.now))

    def apply(self, *instances: VrrpInstance, groups: Sequence[VrrpSyncGroup] = ()) -> None:
        """Start, or reload: a successor with this configuration takes over what the former engine hands it."""
        now = self.world.now
        former, self.engine = self.engine, self._successor(instances, groups)
        self.engine.follow(former.head(), now)
        held = {router.name: tuple(self._held_by(router)) for router in former.routers.values()}
        ways = {router.name: tuple(self._ways_of(router)) for router in former.routers.values()}
        given = former.give(list(former.routers.values()))
        estates = [estate._replace(held=held[estate.name], laid=ways[estate.name]) for estate in given]
        estates = decode(json.loads(json.dumps(encode(estates))))
        todo, left = self.engine.take(estates, now)
        self.do(former.bury({estate.name for estate in left}, now))
        self.do(todo)
        self.do(self.engine.begin(now))

    def crash(self, silent: float = 0.0) -> None:
        """The process dies; another one adopts what it held as MASTER, knowing no more than the will.

        Its first advert comes now, `silent` seconds after it was due.
        """
        now, former = self.world.now, self.engine
        self.engine = self._successor([router.cfg for router in former.routers.values()], self.groups)
        self.engine.follow({**former.head(), "verdicts": [], "links": self.unsteady}, now)
        wills = [
            adopted(
                identity(router.cfg),
                router.name,
                self._held_by(router),
                now,
                now - silent,
                router.priority,
                None if router.spec.seal is None else standing_of(router.spec.seal, 0),
                self._ways_of(router),
            )
            for router in former.routers.values()
            if router.state is MASTER and not router.leaving
        ]
        survivors = {address for will in wills for address, *_ in will.held}
        self.held = {address: router for address, router in self.held.items() if address in survivors}
        self.do(self.engine.take(wills, now)[0])
        self.do(self.engine.begin(now))
        for (kind, name), verdict in self.verdicts.items():  # by now the helper has told it
            self.do(self.engine.verdict(kind, name, verdict, now))

    def _successor(self, instances: Sequence[VrrpInstance], groups: Sequence[VrrpSyncGroup]) -> Engine:
        engine = Engine()
        engine.offset = self.offset
        engine.refused(self.causes, self.world.now)
        for link in self.links.values():
            engine.link(link, self.world.now)
        self.groups = tuple(groups)
        options = {**self.options, "statics": self.statics}
        configuration = Configuration(tuple(instances), self.groups, **options)  # type: ignore[arg-type]
        engine.prepare(configuration, self.world.now)
        return engine

    def _held_by(self, router: VirtualRouter) -> list[Holding]:
        return [
            Holding(entry.address, entry.prefixlen, router.ifindex, entry.dev or router.cfg.interface)
            for entry in router.addresses
            if self.held.get(entry.address) is router
        ]

    def _ways_of(self, router: VirtualRouter) -> list[Laid]:
        return [Laid(entry, tuple(2 for _ in entry.holes)) for entry, of in self.ways.items() if of is router]

    def do(self, actions: Sequence[Action]) -> None:
        for action in actions:
            self.world.events.append(Event(self.world.now, self.name, action))
            if isinstance(action, SendAdvert):
                self.world.transmit(self, action)
            elif isinstance(action, AddAddresses):
                self.held.update((entry.address, action.router) for entry in action.addresses)
            elif isinstance(action, Inherit):
                self.held.update((here.address, action.router) for here in action.held)
                self.ways.update((here.entry, action.router) for here in action.laid)
            elif isinstance(action, AddRouting):
                self.ways.update((entry, action.router) for entry in action.entries)
            elif isinstance(action, DelRouting):
                for way in action.entries:
                    self.ways.pop(way, None)
            elif isinstance(action, DelAddresses):
                for entry in action.addresses:
                    self.held.pop(entry.address, None)
            elif isinstance(action, Unsteady):
                self.unsteady = action.links

    def adverts(self, router: VirtualRouter, priority: int) -> tuple[tuple[bytes, bytes], ...]:
        """What leaves now. The engine's offset is this host's time of day, less the world's."""
        if router.spec.seal is None:
            return router.datagrams(priority)
        return router.sealed(priority, self.world.now, self.world.now + self.engine.offset)

    def receive(self, datagram: Datagram, interface: str = "") -> None:
        """As the daemon does it, keys included."""
        interface = interface or datagram.interface
        if interface in self.links and datagram.family == AF_INET and datagram.data[:1] == b"\x45":
            self.do(self.engine.receive_ah(self.links[interface].ifindex, datagram.data, self.world.now))
        elif interface in self.links:
            key = self.links[interface].ifindex, *datagram[1:6]
            todo = self.engine.repeated(key, self.world.now)
            self.do(self.engine.receive(*key, self.world.now, key) if todo is None else todo)


class World:
    """The clock, the wire, and what happened."""

    def __init__(self, lose: Callable[[str, str], bool] = lambda sender, receiver: False) -> None:
        self.now = 0.0
        self.nodes: dict[str, Node] = {}
        self.events: list[Event] = []
        self.cuts: set[tuple[str, ...]] = set()  # (sender, receiver), or (sender, receiver, interface)
        self.latency = LATENCY
        self._lose = lose
        self._queue: list[tuple[float, int, Datagram]] = []
        self._tie = count()
        self.sent: list[Datagram] = []  # everything that was under way once, for who captures and replays
        self._parked: list[Datagram] = []  # in the sockets of nodes that sleep

    def node(self, name: str, *addresses: str) -> Node:
        """A host with eth0; by default 10.0.0.N/24 and fe80::N, N from its letter."""
        number = ord(name[0]) - ord("A") + 1
        node = self.nodes[name] = Node(name, self)
        node.link("eth0", *(addresses or (f"10.0.0.{number}/24", f"fe80::{number}/64")))
        return node

    def cut(self, senders: Iterable[str], receivers: Iterable[str]) -> None:
        """Nothing of the senders reaches the receivers any more."""
        receivers = list(receivers)
        self.cuts |= {(a, b) for a in senders for b in receivers}

    def transmit(self, sender: Node, action: SendAdvert) -> None:
        router = action.router
        link = sender.links.get(router.cfg.interface)
        if link is None or not link.up:
            return
        for destination, datagram in sender.adverts(router, action.priority):
            if router.cfg.family == AF_INET and router.spec.auth_type == AUTH_AH:
                source, ttl, data = datagram[12:16], datagram[8], datagram  # whole
            elif router.cfg.family == AF_INET:
                source, ttl, data = datagram[12:16], datagram[8], datagram[20:]
            else:
                source, ttl, data = router.spec.source, router.spec.ttl, datagram
            for node in self.nodes.values():
                path = sender.name, node.name
                if node is sender or {path, (*path, link.name)} & self.cuts or self._lose(*path):
                    continue
                here = node.links.get(link.name)
                if here is None or not here.up:
                    continue
                multicast = destination[0] in (0xE0, 0xFF)
                if multicast or any(entry.address == destination for entry in here.addresses):
                    parcel = Datagram(node.name, router.cfg.family, source, destination, ttl, data, link.name)
                    self.sent.append(parcel)
                    heappush(self._queue, (self.now + self.latency, next(self._tie), parcel))

    def advance(self, until: float) -> None:
        """Let time pass. Datagrams win over deadlines of the same moment, as the daemon reads before it expires."""
        while True:
            arrival = self._queue[0][0] if self._queue else float("inf")
            awake = [node for node in self.nodes.values() if not node.asleep]
            deadline = min((node.engine.next_deadline for node in awake), default=float("inf"))
            at = max(self.now, min(arrival, deadline))  # a node that slept is late
            if at > until:
                break
            self.now = at
            if arrival <= at:
                self._deliver(heappop(self._queue)[2])
            else:
                for node in awake:
                    if node.engine.next_deadline <= at:
                        node.do(node.engine.expire(at))
        self.now = max(self.now, until)

    def _deliver(self, datagram: Datagram) -> None:
        node = self.nodes[datagram.node]
        if node.asleep:
            self._parked.append(datagram)
        else:
            node.receive(datagram)

    def wake(self, node: Node) -> None:
        """What arrived while it slept is read before anything expires."""
        node.asleep = False
        parked, self._parked = self._parked, []
        for datagram in parked:
            self._deliver(datagram)

    def masters(self, name: str = "VI_1") -> list[str]:
        return [
            node.name
            for node in self.nodes.values()
            if name in node.engine.routers and node.engine.routers[name].state is MASTER
        ]

    def holders(self, address: str = "10.0.0.100") -> list[str]:
        return [node.name for node in self.nodes.values() if packed(address) in node.held]


def describe(action: Action) -> str:
    """One action as the golden files show it."""
    if isinstance(action, SendAdvert):
        real = action.yielding and action.router.virtual_mac
        return f"SendAdvert {action.priority}{' from the real MAC address' if real else ''}"
    if isinstance(action, Inherit):
        return f"Inherit {' '.join(f'{text(here.address)}/{here.prefixlen}' for here in action.held)}"
    if isinstance(action, (AddAddresses, DelAddresses, RenewAddresses)):
        listed = " ".join(f"{text(entry.address)}/{entry.prefixlen}" for entry in action.addresses)
        return f"{type(action).__name__} {listed}"
    if isinstance(action, (AddRouting, DelRouting)):
        return f"{type(action).__name__} {', '.join(entry.text for entry in action.entries)}"
    if isinstance(action, (LetGo, OtherAdvert, Refit)):
        return type(action).__name__
    if isinstance(action, Announce):
        return f"Announce {' '.join(text(entry.address) for entry in action.addresses)} x{action.rounds}"
    if isinstance(action, Transition):
        event = "" if action.event == action.new.name else f" [{action.event}]"
        return f"Transition {action.old.name} -> {action.new.name}{event}: {action.reason}"
    if isinstance(action, GroupTransition):
        event = "" if action.event == action.new.name else f" [{action.event}]"
        return f"{action.group.name} {action.old.name} -> {action.new.name}{event}: {action.reason}"
    if isinstance(action, RxLowerPriority):
        return f"RxLowerPriority {action.priority} from {text(action.source)}"
    if isinstance(action, PriorityChange):
        return f"PriorityChange {action.former} -> {action.priority} ({action.reason})"
    if isinstance(action, Unsteady):
        links = [f"{name} {'up' if up else 'down'} until {until:g}" for name, (up, until) in action.links.items()]
        return f"Unsteady {', '.join(links) or 'nothing'}"
    assert isinstance(action, Log)
    return f"Log {action.level}: {action.message}"
