"""Hosts with engines of the daemon on a virtual network in virtual time, and what may happen to them.

A `Host` is one machine: its clock, its kernel (addresses, interface), the configuration on its disk, the vrrp process
(an engine, or none) and the guard, as far as the protocol sees it: who executes the will, or starts a successor, and
when. The `World` owns the true clock, the network and the events of a history. What must hold is rules.py's.

The network without a fault delivers within `delay` and in order. A datagram that is lost, late or not listened to is
told to the rules, which excuse from then on what could follow from it, and nothing else.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cache
from heapq import heappop, heappush
from itertools import count
from math import inf
from random import Random
from typing import TYPE_CHECKING, Any

import seals
from seals import Seals, Wire
from simulator import Configuration, describe, instance, interface_address, packed, text, vip

from vrrpd.bridge import GUARD_SPOKE
from vrrpd.model.diff import identity
from vrrpd.model.groups import VrrpSyncGroup
from vrrpd.model.values import FILE, SCRIPT, InterfaceDelay, Routing, Static, Track
from vrrpd.model.vrrp import AF_INET, AF_INET6, Authentication, VirtualAddress, VrrpInstance
from vrrpd.net.routing import ROUTE, RULE
from vrrpd.succession import PEERS_WAIT
from vrrpd.vrrp import path
from vrrpd.vrrp.actions import (
    Action,
    AddAddresses,
    AddRouting,
    Announce,
    DelAddresses,
    DelRouting,
    GroupTransition,
    LetGo,
    PriorityChange,
    SendAdvert,
    Transition,
    Unsteady,
)
from vrrpd.vrrp.auth import Standing, next_sequence, standing_of
from vrrpd.vrrp.duties import ANSWER_GAP_MAX, RESTORE_GAP
from vrrpd.vrrp.engine import Engine, Link
from vrrpd.vrrp.estate import Holding, Laid, adopted, decode, encode
from vrrpd.vrrp.packet import AdvertSpec
from vrrpd.vrrp.router import VirtualRouter
from vrrpd.vrrp.states import INIT, MASTER
from vrrpd.vrrp.track import Verdict

if TYPE_CHECKING:
    from history import History
    from rules import Rules

DATAGRAM, EVENT, TIMER, HELLO = 0, 1, 2, 3  # of the same moment in this order: the daemon reads before it expires
FENCE = 2.5  # adverts of its shortest router after which the guard fences a process that does not run, at the most
BEAT = 0.5  # the longest that a process promises to sleep

KERNELS = (AddAddresses, DelAddresses, AddRouting, DelRouting)
SHOWN = (SendAdvert, *KERNELS, LetGo, Transition)

KEY = b"the key of the second path"
LATE = 0.5  # a datagram of the second path that somebody holds back, at the most
AGAIN = 4.0  # and one that he has recorded and sends again

Heritage = tuple[int, float, float, int]


def configuration(history: History, number: int, host: int) -> VrrpInstance:
    """The vrrp_instance of one router on one host."""
    router = history.routers[number]
    hosts = range(len(history.boot))
    family = AF_INET6 if router.ipv6 else AF_INET
    own = source(family, host)
    cfg = instance(
        f"VI_{number}",
        family=family,
        version=router.version,
        virtual_router_id=51 + number,
        state="MASTER" if router.master[host] else "BACKUP",
        priority=router.priority[host],
        advert_int=router.interval[host],
        virtual_ipaddress=addresses(router.ipv6, number, router.vips),
        preempt=router.preempt[host] or router.priority[host] == 255,
        preempt_delay=router.preempt_delay[host] if router.preempt[host] else 0.0,
        owner_ignore_adverts=bool(router.ignoring) and router.ignoring[host],
        timer_expired_backup=router.expired[host] if router.expired and not router.preempt[host] else 0,
        authentication=Authentication("PASS", b"secret") if router.password else None,
        unicast_peer=peers(history, number, host, router.absent[host] if router.absent else 0),
        check_unicast_src=router.unicast and number % 2 == 0,
        unicast_src_ip=own if router.unicast else None,
        peer_path=tuple(beside(peer) for peer in hosts if peer != host) if history.path else (),
        **belongings(router.ipv6, number, router.ways, router.excluded),
        restore_deleted=router.restore,
        track_script=(Track(SCRIPT, f"check_{number}"),) if history.scripts else (),
        track_file=(Track(FILE, f"number_{number}", 1),) if history.weights else (),
    )
    return cfg if router.introduced else seals.configured(cfg, router.seal)


def peers(history: History, number: int, host: int, absent: int) -> tuple[bytes, ...]:
    """unicast_peer: each host has another order, and some that are not there."""
    router, hosts = history.routers[number], len(history.boot)
    family = AF_INET6 if router.ipv6 else AF_INET
    others = [(host + further) % hosts for further in range(1, hosts)]
    return tuple(source(family, peer) for peer in (*others, *range(100, 100 + absent))) if router.unicast else ()


@cache
def addresses(ipv6: bool, number: int, many: int, first: int = 100) -> tuple[VirtualAddress, ...]:
    text = f"fe80::1:{number}:%d/64" if ipv6 else f"10.0.{number + 1}.%d/24"
    return tuple(vip(text % (first + index)) for index in range(many))


@cache
def belongings(ipv6: bool, number: int, ways: int, excluded: int) -> dict[str, Any]:
    """Routes and rules in turn. The first route leads from the first address, and goes with it; of the third one
    nobody cares whether it is there (no_track). The first excluded address has another end."""
    vips = addresses(ipv6, number, excluded, 201)
    if vips:
        vips = (vips[0]._replace(peer=vips[0].address[:-1] + b"\1"), *vips[1:])
    first = f" src {text(addresses(ipv6, number, 1)[0].address)}"
    entries = [
        Routing(kind, f"{kind} {number} {index}{'' if index else first}", bytes((number, index)), no_track=index == 2)
        for index, kind in zip(range(ways), (ROUTE, RULE) * 2)
    ]
    return {
        "virtual_ipaddress_excluded": vips,
        "virtual_routes": tuple(entry for entry in entries if entry.kind == ROUTE),
        "virtual_rules": tuple(entry for entry in entries if entry.kind == RULE),
    }


@cache
def leads_from(way: Routing, address: bytes) -> bool:
    return way.text.endswith(f" src {text(address)}")


@cache
def source(family: int, host: int) -> bytes:
    return packed(f"10.0.0.{host + 1}" if family == AF_INET else f"fe80::{host + 1}")


@cache
def beside(host: int) -> bytes:
    """The address on the second path."""
    return packed(f"10.9.0.{host + 1}")


class Host:
    """One machine."""

    def __init__(self, world: World, number: int) -> None:
        history = world.history
        self.world, self.number, self.name = world, number, "ABCD"[number]
        self.rate = 1.0 + history.drift[number]
        self.offset = 1000.0 * (number + 1)
        self.config = [configuration(history, index, number) for index in range(len(history.routers))]
        self.link = Link(
            ifindex=2,
            name="eth0",
            up=True,
            mac=bytes((2, 0, 0, 0, 0, number)),
            addresses=(interface_address(f"10.0.0.{number + 1}/24"), interface_address(f"fe80::{number + 1}/64")),
        )
        self.engine: Engine | None = None
        self.error = history.errors[number] if history.errors else 0.0  # of the time of day
        self.setbacks = False  # it was set back once
        self.bygone = False  # who speaks now does so for a process that died long ago
        self.specs: dict[int, AdvertSpec] = {}  # of the guard's will
        self.life = 0  # which process this is
        self.hung = False
        self.catching_up = False  # it learns one after the other what happened while it did not run
        self.suspended = False  # the whole machine: its kernel neither hears nor answers
        self.in_maintenance = False
        self.sick = [0] * len(history.routers)  # how many faults each router has at the moment
        self.missing = [0] * len(history.routers)  # how many reasons there are that its static item cannot be had
        self.results = [1] * len(history.routers)  # what the scripts that its routers track would say
        self.judged = [not history.scripts] * len(history.routers)  # by the helper, which outlives a vrrp process
        self.weights = [0] * len(history.routers)  # what is in the files that its routers track
        members = tuple(cfg.name for cfg in self.config)
        self.statics = tuple(
            Static(Routing(ROUTE, f"static {cfg.name}", b""), (cfg.name,)) for cfg in self.config if history.statics
        )
        self.groups = (VrrpSyncGroup("G1", members),) if history.group else ()
        self.todo: list[Callable[[], None]] = []  # what a process that does not run has yet to learn
        self.socket: deque[tuple[int, Wire]] = deque()  # (sender, datagram), unread
        self.kernel: dict[bytes, int] = {}  # address -> router
        self.ways: dict[Routing, int] = {}  # route or rule in it -> router
        self.wake = inf  # when its next timer was put on the world's list
        self.paths = path.Paths(b"", self.chance)  # of the process; and what the guard knows of it
        self.standings: dict[bytes, path.Standing] = {}
        self.beside: set[bytes] = set()  # what it has heard there
        self.boots = 0
        self.held_until = 0.0  # vrrp_startup_delay
        down, up = history.delays[number] if history.delays else (0.0, 0.0)
        self.delays = (InterfaceDelay("eth0", down, up),) if down or up else ()
        self.unsteady: Mapping[str, tuple[bool, float]] = {}  # the guard's: of which links a delay runs

    def clock(self) -> float:
        return self.offset + self.world.now * self.rate

    def wall(self) -> float:
        """The time of day."""
        return seals.time_of_day(self)

    def new_engine(self) -> Engine:
        engine = Engine()
        engine.offset = self.wall() - self.clock()
        return engine

    @property
    def mute(self) -> bool:
        """Nobody here reads or adverts."""
        return self.engine is None or self.hung

    def router(self, number: int) -> VirtualRouter | None:
        return self.engine.routers.get(f"VI_{number}") if self.engine else None

    # ---- the process -----------------------------------------------------------------------------------------

    def boot(self) -> None:
        """A new process with the configuration on the disk, and none of its predecessor's state."""
        if self.engine is not None:
            if not self.engine.stopping:
                return
            self.world.after(self.world.history.interval / 2, self.boot)  # still leaving
            return
        if self.owing():
            self.bygone = True
            self.execute_will()  # the guard's first deed: what was left behind
            self.bygone = False
        self.world.say(self, "starts")
        self.life += 1
        self.engine = self.new_engine()
        self.world.seals.forget(self)
        self.hung = False
        now = self.clock()
        self.engine.maintenance(self.in_maintenance, now)
        self.engine.link(self.link, now)
        if self.world.history.hold:
            hold = self.world.history.hold[self.number]
            self.held_until = now + hold
            self.world.after(hold / self.rate, lambda: None)  # not whole before
        self.engine.hold(self.held_until)
        self.world.rules.restarted(self)
        self.open_path()
        self._prepare(self.engine, now)
        self.do(self.engine.begin(now))
        self._clean_up(list(self.engine.routers.values()))
        self.world.rules.begun(self)
        self.tell_all()
        self.await_results()

    def lacking(self) -> dict[str, str]:
        """Of static items, the guard's."""
        return {f"static VI_{number}": "no such device" for number, why in enumerate(self.missing) if why}

    def await_results(self) -> None:
        if not all(self.judged):
            self.world.after(self.world.history.scripts[self.number], self.first_results)

    def first_results(self) -> None:
        """The scripts of a daemon that has just begun."""
        if self.engine is not None:
            self.world.rules.disturbed(self)
            self.judged = [True for _ in self.judged]
            self.learn(self.tell_all)

    def tell_all(self) -> None:
        """The helper tells a new process all that it knows."""
        for number, result in enumerate(self.results if self.world.history.scripts else ()):
            if self.engine is not None and self.judged[number]:
                verdict = Verdict(result, "succeeded" if result else "failed")
                self.do(self.engine.verdict(SCRIPT, f"check_{number}", verdict, self.clock()))
        self.world.rules.in_fault(self)
        for number, value in enumerate(self.weights if self.world.history.weights else ()):
            if self.engine is not None:
                verdict = Verdict(value, f"holds {value}")
                self.do(self.engine.verdict(FILE, f"number_{number}", verdict, self.clock()))
        self.world.rules.weighed(self)

    def priority(self, number: int) -> int:
        """With its weight, whatever the process thinks of it."""
        base = self.config[number].priority
        return base if base == 255 else max(1, min(254, base + self.weights[number]))

    def _prepare(self, engine: Engine, now: float, heir: bool = False) -> None:
        engine.missing(self.lacking(), now)
        options = (self.groups, self.delays)
        engine.prepare(Configuration(tuple(self.config), *options, statics=self.statics), now)
        if not heir:
            engine.recall(self.unsteady, now)
        for number, faults in enumerate(self.sick):
            if faults:
                engine.routers[f"VI_{number}"].find("check", ("sick",), now)

    # ---- the second path -------------------------------------------------------------------------------------

    def chance(self, count: int) -> bytes:
        return self.world.chance.randbytes(count)

    def open_path(self) -> None:
        """second_path.py, at the start of a process."""
        if not self.world.history.path:
            return
        self.paths = path.Paths(bytes((self.number, self.boots)).ljust(path.EPOCH, b"\0"), self.chance)
        others = [host.number for host in self.world.hosts if host is not self]
        self.paths.configure({beside(other): KEY for other in others}, self.clock())
        for peer in self.paths.peers.values():
            peer.local = beside(self.number)
        self.world.push(self.world.now, HELLO, (self, self.life))

    def greet(self) -> None:
        """More often than every second where adverts are: or most histories would be over before anybody is known."""
        self.paths.next_deadline = self.clock()
        for peer, data in self.paths.tick(self.clock())[0]:
            self.world.carry_beside(self, peer.remote, data)

    def hear_beside(self, remote: bytes, data: bytes, sent: float, genuine: bool) -> None:
        """A datagram; `sent` by whoever has the key, unless it is not `genuine`."""
        assert self.engine is not None
        honest = genuine and data not in self.beside  # a second time it is not
        self.beside.add(data)
        peer = self.paths.peers[remote]
        told, _ = self.paths.receive(peer, data, self.clock())
        self.standings[remote] = peer.standing
        if told is None:
            return
        before = {name: router.heard for name, router in self.engine.routers.items()}
        actions = self.engine.let_go(remote, told, self.clock())
        for name, router in self.engine.routers.items():
            if router.heard is not before[name]:
                self.world.rules.believes(self, int(name[3:]), remote, told.rank, sent, honest)
        self.do(actions)

    def let_go(self, router: VirtualRouter) -> None:
        """The vrrp process says it."""
        for peer, data in self.paths.let_go([(router.cfg.peer_path, path.word(router.spec))], self.clock()):
            self.world.carry_beside(self, peer.remote, data)

    def _spec(self, number: int) -> AdvertSpec:
        """Of the will; after a death so early that there is none, what it would have been."""
        known = self.specs.get(number)
        if known is not None:
            return known
        engine = self.new_engine()
        engine.link(self.link, 0.0)
        engine.prepare(Configuration((self.config[number],)), 0.0)
        return engine.routers[f"VI_{number}"].spec

    def last_words(self, numbers: Sequence[int]) -> None:
        """The guard says it."""
        now = self.clock()
        who = [(self.config[number].peer_path, path.word(self._spec(number))) for number in numbers]
        for (standing, rank), words in path.addressed(self.standings, who, now).items():
            for data in path.let_go(standing, words, rank, int(now * 1e9), now):
                self.world.carry_beside(self, standing.remote, data)

    def _clean_up(self, routers: Sequence[VirtualRouter]) -> None:
        """vrrp_daemon.py: what an earlier process left behind is taken off, but for an owner's, which may be its."""
        for router in routers:
            if router.state is not MASTER and router.cfg.priority != 255:
                ways = tuple(entry for entry in router.routing if not entry.no_track)
                self.do([DelAddresses(router, router.addresses), DelRouting(router, ways)])

    def learn(self, what: Callable[[], None]) -> None:
        """Now, or when the process runs again."""
        if self.engine is not None:
            if self.hung:
                self.todo.append(what)
            else:
                what()

    def reload(self) -> None:
        assert self.engine is not None
        if self.engine.stopping:
            return
        now, former = self.clock(), self.engine
        successor = self.new_engine()
        successor.link(self.link, now)
        self._prepare(successor, now, heir=True)
        successor.follow(former.head(), now)
        states = {name: router.state for name, router in former.routers.items()}
        estates = former.give(list(former.routers.values()))
        todo, left = successor.take(decode(json.loads(json.dumps(encode(estates)))), now)
        self.do(former.bury({estate.name for estate in left}, now))
        self.engine = successor
        self.do(todo)
        new = [router for router in successor.routers.values() if router.state is INIT]
        self.do(successor.begin(now))
        self._clean_up(new)
        self.world.rules.reloaded(self, states)

    def end(self, guard: bool = False) -> None:
        """The process is gone, by whatever way, or the guard too; what it held is still on the interface."""
        self.world.rules.ends(self, guard)
        for each in self.engine.routers.values() if self.engine is not None else ():
            self.specs[int(each.name[3:])] = each.spec
        if guard:
            self.unsteady = {}
            self.judged = [not self.world.history.scripts for _ in self.judged]
        if self.suspended:
            for address, router in self.kernel.items():
                self.world.rules.holds(self, address, router)
        self.engine = None
        self.hung = self.suspended = False
        self.life += 1
        self.todo.clear()
        for sender, wire in self.socket:
            if not (wire.forged or wire.again):
                self.world.rules.unheard(sender, self.number)
        self.socket.clear()
        self.wake = inf

    def resume(self) -> None:
        """Sockets are drained before any timer fires."""
        self.world.rules.resumed(self)
        self.hung = False
        self.world.say(self, "runs again")
        life = self.life
        self.drain(life)
        self.catching_up = True
        for what in self.todo:
            if self.life == life:
                what()
        self.catching_up = False
        self.world.rules.in_fault(self)
        self.todo.clear()
        if self.life == life:
            self.expire()

    def drain(self, life: int) -> None:
        while self.socket and self.life == life:
            self.receive(*self.socket.popleft())

    def adoptable(self) -> list[Heritage]:
        """Each MASTER in the guard's will: since when it is late, until when its peers keep quiet (succession.py), and
        its priority."""
        engine, now = self.engine, self.clock()
        if engine is None or engine.stopping:
            return []
        promised = min(engine.next_deadline, now + BEAT)
        masters = [router for router in engine.routers.values() if router.state is MASTER and not router.leaving]
        return [(int(r.name[3:]), promised, promised + PEERS_WAIT * r.cfg.advert_int, r.priority) for r in masters]

    def adopt(self, heirs: Sequence[Heritage]) -> None:
        """After a death: another process goes on with what was MASTER, as far as its peers still wait for it."""
        now = self.clock()
        due = {number: min(now, since) for number, since, until, _ in heirs if now < until}
        priorities = {number: priority for number, _, _, priority in heirs}
        if self.groups and len(due) < len(heirs):  # as a group, or not at all
            due = {}
        numbers = list(due)
        self.execute_will([number for number in self.owing() if number not in numbers])
        self.world.say(self, f"adopts {', '.join(f'VI_{number}' for number in numbers) or 'nothing'}")
        self.life += 1
        self.world.seals.forget(self)
        successor = self.new_engine()
        successor.link(self.link, now)
        successor.hold(self.held_until)
        successor.maintenance(self.in_maintenance, now)
        self._prepare(successor, now)
        known_as = {
            e.address: e for cfg in self.config for e in (*cfg.virtual_ipaddress, *cfg.virtual_ipaddress_excluded)
        }
        estates = []
        for number in numbers:
            held = [self._holding(a, known_as.get(a)) for a, n in self.kernel.items() if n == number]
            laid = [Laid(entry) for entry, n in self.ways.items() if n == number]
            known = identity(self.config[number]), f"VI_{number}", held, now, due[number]
            standing = self._speak_for(number, priorities[number])
            estates.append(adopted(*known, priority=priorities[number], auth=standing, laid=laid))
        todo, _ = successor.take(estates, now)
        self.engine = successor
        self.world.rules.adopted(self, numbers)
        self.open_path()
        self.do(todo)
        new = [router for router in successor.routers.values() if router.state is INIT]
        self.do(successor.begin(now))
        self._clean_up(new)
        self.world.rules.begun(self)
        self.expire()
        self.world.rules.goes_on(self, numbers, priorities)
        self.world.meanwhile(self, self.world.history.delay, lambda: self.learn(self.tell_all))
        self.await_results()

    def _speak_for(self, number: int, priority: int) -> Standing | None:
        """Guard and bridge, before the next process does; of what has no seal nobody notices it."""
        spec = self.specs.get(number)
        if spec is None or spec.seal is None:
            return None
        for wire in seals.last_word(spec, priority, self.clock(), self.wall()) if self.link.up else ():
            self.world.transmit(self, wire)
        return standing_of(spec.seal, next_sequence(spec.seal, 0, self.clock(), self.wall(), GUARD_SPOKE))

    def _holding(self, address: bytes, entry: VirtualAddress | None) -> Holding:
        if entry is None:
            return Holding(address, 32, 2, "eth0")
        return Holding(address, entry.prefixlen, 2, "eth0", peer=entry.peer or b"")

    def owing(self) -> set[int]:
        """The routers of which something lies in the kernel."""
        return {*self.kernel.values(), *self.ways.values()}

    def execute_will(self, numbers: Sequence[int] | None = None) -> None:
        """What the guard does after the death of the process: priority 0 of each MASTER, addresses off."""
        numbers = sorted(self.owing() if numbers is None else numbers)
        if numbers:
            self.world.say(self, f"the will of {', '.join(f'VI_{number}' for number in numbers)} is executed")
        for number in numbers if self.link.up else ():
            for wire in seals.last_word(self._spec(number), 0, self.clock(), self.wall()):
                self.world.transmit(self, wire)
        self.ways = {entry: number for entry, number in self.ways.items() if number not in numbers}
        for address, number in list(self.kernel.items()):
            if number in numbers:
                self.drop(address)
        self.last_words(numbers)

    # ---- inputs ----------------------------------------------------------------------------------------------

    def expire(self) -> None:
        engine = self.engine
        assert engine is not None
        now = self.clock()
        ahead = engine.next_deadline - now
        if 0 < ahead < 1e-6:  # the way through the true clock and back is not exact
            now += ahead
        self.do(engine.expire(now))

    def receive(self, sender: int, wire: Wire) -> None:
        engine = self.engine
        assert engine is not None
        rules, number = self.world.rules, wire.number
        router = self.router(number)
        rules.hears(self, number, wire)
        engine.offset = self.wall() - self.clock()
        if wire.ah:
            self.do(engine.receive_ah(2, wire.ah, self.clock()), wire)
        else:
            self.do(engine.receive(2, *wire[:5], self.clock()), wire)
        rules.heard(self, sender, number, router)

    # ---- actions ---------------------------------------------------------------------------------------------

    def do(self, actions: Sequence[Action], cause: Wire | None = None) -> None:
        world = self.world
        if actions:
            self._carry_out(actions, cause)
        if self.groups:
            world.rules.together(self)
        engine = self.engine
        if engine is None:
            return
        if engine.stopping and engine.stopped:
            world.say(self, "has stopped")
            self.end(guard=True)
        elif engine.next_deadline < inf:
            at = (engine.next_deadline - self.offset) / self.rate
            if at < self.wake:
                self.wake = at
                world.push(at, TIMER, self)

    def _carry_out(self, actions: Sequence[Action], cause: Wire | None) -> None:
        world = self.world
        moved: list[Transition] = []
        touched: list[VirtualRouter] = []
        for action in actions:
            if world.trace is not None and isinstance(action, SHOWN):
                world.say(self, f"{action.router.name} {describe(action)}")
            if type(action) is SendAdvert:
                world.rules.sends(self, int(action.router.name[3:]), action.priority)
                if self.link.up:
                    for wire in world.wires(self, action.router, action.priority):
                        world.transmit(self, wire)
            elif type(action) is Announce:
                for entry in action.addresses:
                    world.cache[entry.address] = self.number
            elif isinstance(action, KERNELS):
                self._change(action)
                touched.append(action.router)
            elif type(action) is Transition:
                world.rules.told(self, action.router.name, action.old, action.new)
                moved.append(action)
            elif type(action) is GroupTransition:
                world.rules.told(self, action.group.name, action.old, action.new)
            elif type(action) is LetGo:
                self.let_go(action.router)
            elif type(action) is PriorityChange:
                world.rules.reweighed(self, action)
            elif type(action) is Unsteady:
                self.unsteady = json.loads(json.dumps(action.links))
        for transition in moved:
            world.rules.moved(self, transition, cause)
        if moved:
            world.rules.told_all(self)
        for router in touched:
            world.rules.belongs(self, router)

    def _change(self, action: AddAddresses | DelAddresses | AddRouting | DelRouting) -> None:
        """What lies in the kernel."""
        if isinstance(action, AddAddresses):
            for entry in action.addresses:
                self.hold(entry.address, int(action.router.name[3:]))
        elif isinstance(action, DelAddresses):
            for entry in action.addresses:
                self.drop(entry.address)
        elif isinstance(action, AddRouting):
            self.ways.update(dict.fromkeys(action.entries, int(action.router.name[3:])))
        else:
            for way in action.entries:
                self.ways.pop(way, None)

    def hold(self, address: bytes, router: int) -> None:
        if address not in self.kernel:
            self.kernel[address] = router
            self.world.rules.holds(self, address, router)

    def drop(self, address: bytes) -> None:
        router = self.kernel.pop(address, None)
        if router is not None:
            for way in [way for way in self.ways if leads_from(way, address)]:
                del self.ways[way]
            self.world.rules.drops(self, address, router)

    def drop_all(self) -> None:
        """The addresses; what leads from them goes with them."""
        for address in list(self.kernel):
            self.drop(address)


class World:
    """The true clock, the network, and the events of a history."""

    def __init__(self, history: History, rules: type[Rules], trace: bool = False) -> None:
        self.history = history
        self.now = 0.0
        self.trace: list[str] | None = [] if trace else None
        self.dice = Random(history.seed + 1)
        self.chance = Random(history.seed + 2)  # of the second path: what it draws moves nothing else
        self.cache: dict[bytes, int] = {}  # of a client that hears every announcement
        self._tie = count()
        self._queue: list[tuple[float, int, int, Any]] = []
        self._events = 0  # still to come
        self._rotating = [False for _ in history.routers]
        self._wanted: list[dict[str, Any]] = [{} for _ in history.routers]
        self._wires: dict[tuple[bytes, bytes], list[Wire]] = {}
        self.stranger = Random(f"{history.seed} stranger")  # who records what is sealed
        self._haunted = max((event[0] for event in history.events), default=0.0) + 5 * history.interval
        self._last: dict[tuple[int, int], float] = {}  # when the last datagram of a path arrives: they stay in order
        self.cuts: list[tuple[int, int]] = []
        self.splits: list[tuple[int, int, int]] = []  # and the router
        self.noise: list[tuple[float, float, float]] = []
        self.hosts = [Host(self, number) for number in range(len(history.boot))]
        self._at_address = {source(family, h.number): h.number for h in self.hosts for family in (AF_INET, AF_INET6)}
        self._sealing = any(router.seal for router in history.routers)
        self.seals = Seals(history.delay)
        self.rules = rules(self)

    def say(self, host: Host | None, what: str) -> None:
        if self.trace is not None:
            self.trace.append(f"{self.now:12.6f}  {host.name if host else ' '}  {what}")

    # ---- the network -----------------------------------------------------------------------------------------

    def wires(self, host: Host, router: VirtualRouter, priority: int) -> list[Wire]:
        if router.spec.seal is not None:
            return seals.wires(router.spec, router.sealed(priority, host.clock(), host.wall()))
        datagrams = router.datagrams(priority)
        known = self._wires.get(datagrams[0])
        if known is None:
            known = self._wires[datagrams[0]] = seals.wires(router.spec, datagrams)
        return known

    def transmit(self, sender: Host, wire: Wire) -> None:
        multicast = wire.destination[0] in (0xE0, 0xFF)
        peer = None if multicast else self._at_address.get(wire.destination, -1)
        if self._sealing:
            wire, complaint = self.seals.sends(sender, wire)
            if complaint:
                self.rules.fail(complaint)
        for host in self.hosts:
            if host is not sender and (peer is None or peer == host.number):
                self._carry(sender.number, host, wire)

    def _carry(self, sender: int, host: Host, wire: Wire) -> None:
        path = (sender, host.number)
        dice = self.dice
        if path in self.cuts or (*path, wire.number) in self.splits:
            self.rules.unheard(*path)
            return
        at = self.now + self.history.delay * (0.2 + 0.8 * dice.random())
        for loss, delay, twice in self.noise:
            if dice.random() < loss:
                self.rules.unheard(*path)
                return
            if dice.random() < twice:
                self._arrival(self.now + delay * dice.random(), path, wire)
            at += delay * dice.random()
        if at - self.now <= self.history.delay:
            at = max(at, self._last.get(path, 0.0))
            self._last[path] = at
        self._arrival(at, path, wire)
        if wire.sealed and self.now < self._haunted:
            self._haunt(path, wire)

    def _haunt(self, path: tuple[int, int], wire: Wire) -> None:
        """The stranger is nearer than the host, and patient."""
        dice, interval = self.stranger, self.history.interval
        what = dice.random()
        if what < 0.08:
            forged = seals.forge(wire, dice)
            self.push(self.now + self.history.delay * 1.5 * dice.random(), DATAGRAM, (path, forged))
        elif what < 0.2:
            later = dice.choice((self.history.delay, interval, min(12.0, 12 * interval))) * dice.random()
            self.push(self.now + later, DATAGRAM, (path, wire._replace(again=True)))
            self.after(later, lambda: None)

    def _arrival(self, at: float, path: tuple[int, int], wire: Wire) -> None:
        if at - self.now > self.history.delay + 1e-9:
            self.rules.unheard(*path)  # it is late, and then it is old
            self.after(at - self.now, lambda: self.rules.unheard(*path))
        self.push(at, DATAGRAM, (path, wire))

    def _deliver(self, path: tuple[int, int], wire: Wire) -> None:
        host = self.hosts[path[1]]
        if host.engine is None or not host.link.up or host.suspended:
            if not (wire.forged or wire.again):
                self.rules.unheard(*path)
        elif host.hung:
            host.socket.append((path[0], wire))
        else:
            host.receive(path[0], wire)

    # ---- the second path -------------------------------------------------------------------------------------

    def carry_beside(self, sender: Host, remote: bytes, data: bytes) -> None:
        """To the host with this address; and what a stranger on the way does with it: drop, delay, repeat, change."""
        number, source, dice = remote[3] - 1, beside(sender.number), self.chance
        at = self.now + self.history.delay * dice.random()
        what = dice.random()
        if what < 0.15:
            return
        if what < 0.4:
            at += LATE * dice.random()
        if what > 0.85:
            index = dice.randrange(len(data))
            forged = data[:index] + bytes((data[index] ^ 1 << dice.randrange(8),)) + data[index + 1 :]
            self.push(at, DATAGRAM, (number, source, forged, self.now, False))
        else:
            self.push(at, DATAGRAM, (number, source, data, self.now, True))
        if dice.random() < 0.3:
            self.push(at + AGAIN * dice.random(), DATAGRAM, (number, source, data, self.now, True))

    def _deliver_beside(self, number: int, source: bytes, data: bytes, sent: float, genuine: bool) -> None:
        host = self.hosts[number]
        if host.engine is None or host.suspended or host.engine.stopping:
            return
        host.learn(lambda: host.hear_beside(source, data, sent, genuine))

    # ---- time ------------------------------------------------------------------------------------------------

    def push(self, at: float, order: int, what: Any) -> None:
        heappush(self._queue, (at, order, next(self._tie), what))

    def after(self, seconds: float, what: Callable[[], object]) -> None:
        """Something that happens to the world; while such things are due, it is not whole."""
        self._events += 1
        self.push(self.now + seconds, EVENT, what)

    def run(self) -> None:
        """The whole history, and what must hold after it."""
        for host, boot in zip(self.hosts, self.history.boot):
            self.after(boot, host.boot)
        for event in self.history.events:
            self.after(event[0], lambda event=event: self._happen(event))  # type: ignore[misc]
        while self._events:
            self._step()
        self.say(None, "everything is whole")
        settled = self.now + self.rules.settling()
        self._advance(settled)
        self.rules.settled()
        self._advance(settled + self.rules.longest_down())
        self.rules.finished()
        if self.rules.misled:
            self._advance(self.now + ANSWER_GAP_MAX)
        if self.rules.misled:
            self.rules.fail(self.rules.misled)

    def _advance(self, until: float) -> None:
        while self._queue and self._queue[0][0] <= until:
            self._step()
        self.now = until

    def _step(self) -> None:
        at, order, _, what = heappop(self._queue)
        self.now = at
        if order == DATAGRAM and len(what) == 2:
            self._deliver(*what)
        elif order == DATAGRAM:
            self._deliver_beside(*what)
        elif order == HELLO:
            self._greet(*what)
        elif order == TIMER:
            host: Host = what
            if at == host.wake:
                host.wake = inf
                if not host.mute:
                    host.expire()
        else:
            self._events -= 1
            what()

    def _greet(self, host: Host, life: int) -> None:
        if host.life == life and host.engine is not None:
            if not host.mute:
                host.greet()
            self.push(self.now + min(path.HELLO_GAP, 2 * self.history.interval), HELLO, (host, life))

    def meanwhile(self, host: Host, delay: float, call: Callable[[], object]) -> None:
        """After `delay`, unless the host has begun another life by then."""
        life = host.life
        self.after(delay, lambda: call() if host.life == life else None)

    # ---- events ----------------------------------------------------------------------------------------------

    def _happen(self, event: tuple[Any, ...]) -> None:
        self.say(None, " ".join(map(str, event[1:])))
        getattr(self, f"_do_{event[1]}")(*event[2:])

    def _do_cut(self, duration: float, senders: list[int], receivers: list[int]) -> None:
        paths = [(a, b) for a in senders for b in receivers if a != b]
        self.cuts += paths

        def heal() -> None:
            self.say(None, f"cut {senders} {receivers} is over")
            for cut in paths:
                self.cuts.remove(cut)

        self.after(duration, heal)

    def _do_split(self, duration: float, router: int, senders: list[int], receivers: list[int]) -> None:
        paths = [(a, b, router) for a in senders for b in receivers]
        self.splits += paths

        def heal() -> None:
            self.say(None, f"split {router} {senders} {receivers} is over")
            for each in paths:
                self.splits.remove(each)

        self.after(duration, heal)

    def _do_sick(self, number: int, router: int, duration: float) -> None:
        host = self.hosts[number]

        def change(by: int) -> None:
            host.sick[router] += by
            self.say(host, f"VI_{router} is {'sick' if host.sick[router] else 'well'}")
            self.rules.disturbed(host)

            def tell() -> None:
                victim = host.router(router)
                assert victim is not None
                host.do(victim.find("check", ("sick",) if host.sick[router] else (), host.clock()))
                self.rules.in_fault(host)

            host.learn(tell)

        change(1)
        self.after(duration, lambda: change(-1))

    def _do_judge(self, number: int, router: int, good: int) -> None:
        host = self.hosts[number]
        self.rules.disturbed(host)
        host.results[router] = good
        host.learn(host.tell_all)

    def _do_missing(self, number: int, router: int, duration: float) -> None:
        host = self.hosts[number]

        def change(by: int) -> None:
            self.rules.disturbed(host)
            host.missing[router] += by

            def tell() -> None:
                assert host.engine is not None
                host.do(host.engine.missing(host.lacking(), host.clock()))
                self.rules.in_fault(host)

            host.learn(tell)

        change(1)
        self.after(duration, lambda: change(-1))

    def _do_weigh(self, number: int, router: int, value: int) -> None:
        host = self.hosts[number]
        self.rules.disturbed(host)
        host.weights[router] = value
        host.learn(host.tell_all)

    def _do_noise(self, duration: float, *what: float) -> None:
        self.noise.append(what)  # type: ignore[arg-type]
        self.after(duration, lambda: self.noise.remove(what))  # type: ignore[arg-type]

    def _do_link(self, number: int, duration: float) -> None:
        host = self.hosts[number]
        self._set_link(host, False)
        self.after(duration, lambda: self._set_link(host, True))

    def _set_link(self, host: Host, up: bool) -> None:
        self.say(host, f"interface is {'up' if up else 'down'}")
        self.rules.disturbed(host)  # judged by what was until now: who damps its links is MASTER on one that is down
        host.link = host.link._replace(up=up)
        for delay in host.delays:
            self.after((delay.up if up else delay.down) / host.rate, lambda: self.rules.disturbed(host))

        def tell() -> None:
            assert host.engine is not None
            host.do(host.engine.link(host.link, host.clock()))

        host.learn(tell)

    def _do_stop(self, number: int, back: float) -> None:
        host = self.hosts[number]
        if host.mute:
            return
        assert host.engine is not None
        host.do(host.engine.stop(host.clock()))
        if host.engine is not None and host.engine.stopped:
            host.end(guard=True)
        if back:
            self.after(back, host.boot)
        else:
            self.after(2.6 * self.rules.longest_interval, lambda: None)

    def _do_power(self, number: int, back: float) -> None:
        host = self.hosts[number]
        self.rules.disturbed(host)
        host.end(guard=True)
        host.drop_all()
        host.ways.clear()
        host.boots += 1
        host.standings.clear()
        if back:
            self.after(back, host.boot)

    def _do_crash(self, number: int, back: float, reaction: float) -> None:
        host = self.hosts[number]
        if host.engine is None:
            return
        self.rules.disturbed(host)
        host.end()

        def will() -> None:
            host.execute_will()
            self.rules.disturbed(host)

        self.meanwhile(host, reaction, will)
        self.meanwhile(host, reaction + back, host.boot)

    def _do_adopt(self, number: int, reaction: float) -> None:
        host = self.hosts[number]
        if host.engine is None:
            return
        if host.engine.stopping or host.suspended:
            self._do_crash(number, self.history.interval, reaction)
            return
        heirs = host.adoptable()
        self._succeed(host, heirs, reaction)

    def _succeed(self, host: Host, heirs: Sequence[Heritage], reaction: float) -> None:
        self.rules.disturbed(host)
        self.rules.dies(host)
        host.end()
        self.meanwhile(host, reaction, lambda: host.adopt(heirs))

    def _do_kill(self, number: int, back: float, lifetime: float) -> None:
        host = self.hosts[number]
        if host.engine is None:
            return
        self.rules.disturbed(host)
        host.end(guard=True)

        def lapse() -> None:
            host.drop_all()
            self.rules.disturbed(host)

        self.meanwhile(host, lifetime, lapse)
        if back:
            self.after(back, host.boot)

    def _do_hang(self, number: int, duration: float, adopt: bool) -> None:
        host = self.hosts[number]
        if host.mute:
            return
        patience = FENCE * min(cfg.advert_int for cfg in host.config) * (0.2 + 0.8 * self.dice.random())
        if duration <= patience:
            self._do_freeze(number, duration)
            return
        heirs = host.adoptable() if adopt else []
        self._suspend(host)

        def fence() -> None:
            if host.hung:
                self.say(host, "is fenced")
                if heirs:
                    self._succeed(host, heirs, 0.0)
                else:
                    self._do_crash(number, self.history.interval, 0.0)

        self.meanwhile(host, patience, fence)

    def _do_freeze(self, number: int, duration: float) -> None:
        host = self.hosts[number]
        if host.mute:
            return
        self._suspend(host)
        self.meanwhile(host, duration, lambda: host.resume() if host.hung else None)

    def _suspend(self, host: Host) -> None:
        self.rules.disturbed(host)
        host.hung = True

    def _do_suspend(self, number: int, duration: float) -> None:
        host = self.hosts[number]
        if host.mute:
            return
        self._suspend(host)
        host.suspended = True
        for address, router in host.kernel.items():
            self.rules.drops(host, address, router)
        life = host.life

        def resume() -> None:
            if host.life != life:
                return
            host.suspended = False
            for address, router in host.kernel.items():
                self.rules.holds(host, address, router)
            self.rules.slept(host, duration)
            host.resume()

        self.after(duration, resume)

    def _do_maintenance(self, number: int, duration: float) -> None:
        host = self.hosts[number]

        def switch(on: bool) -> None:
            host.in_maintenance = on
            self.say(host, f"maintenance {'on' if on else 'off'}")

            def tell() -> None:
                assert host.engine is not None
                host.do(host.engine.maintenance(host.in_maintenance, host.clock()))

            host.learn(tell)

        switch(True)
        self.after(duration, lambda: switch(False))
        self.after(2.6 * self.rules.longest_interval, lambda: None)  # as long as it may be leaving

    def _do_handover(self, number: int, router: int) -> None:
        host = self.hosts[number]
        if host.mute:
            return
        assert host.engine is not None
        try:
            host.do(host.engine.handover(f"VI_{router}", host.clock()))
        except (LookupError, ValueError):
            return
        self.rules.handed_over(host)

    def _do_reload(self, number: int, router: int, what: str, value: Any) -> None:
        host = self.hosts[number]
        if what != "nothing":
            cfg = replace(host.config[router], **{what: value})
            if cfg.priority == 255 or cfg.preempt_delay:
                cfg = replace(cfg, preempt=True)
            if cfg.preempt:
                cfg = replace(cfg, timer_expired_backup=0)
            self._configure(host, router, cfg)
        else:
            host.learn(host.reload)

    def _configure(self, host: Host, router: int, cfg: VrrpInstance) -> None:
        self.say(host, f"VI_{router} is configured anew")
        self.rules.configured(host, host.config[router], cfg)
        host.config[router] = cfg
        host.learn(host.reload)

    def _one_after_the_other(self, router: int, later: float, **changes: Any) -> None:
        """The same on every host in the end, also when the operator changes his mind half-way."""
        wanted = self._wanted[router]
        wanted.update(changes)
        for host in self.hosts:
            self.after(
                host.number * later,
                lambda host=host: self._configure(host, router, replace(host.config[router], **wanted)),  # type: ignore[misc]
            )

    def _do_interval(self, router: int, value: float, later: float) -> None:
        self._one_after_the_other(router, later, advert_int=value)

    def _do_vips(self, router: int, many: int, later: float) -> None:
        ipv6 = self.history.routers[router].ipv6
        self._one_after_the_other(router, later, virtual_ipaddress=addresses(ipv6, router, many))

    def _do_ways(self, router: int, many: int, excluded: int, later: float) -> None:
        ipv6 = self.history.routers[router].ipv6
        self._one_after_the_other(router, later, **belongings(ipv6, router, many, excluded))

    def _do_peers(self, router: int, many: int, later: float) -> None:
        for host in self.hosts:
            named = peers(self.history, router, host.number, many)
            self.after(
                host.number * later,
                lambda host=host, named=named: self._configure(  # type: ignore[misc]
                    host, router, replace(host.config[router], unicast_peer=named)
                ),
            )

    def _do_taken(self, number: int, router: int, which: int) -> None:
        host = self.hosts[number]
        routing = (*host.config[router].virtual_routes, *host.config[router].virtual_rules)
        entry = routing[which % len(routing)] if routing else None
        if entry not in host.ways or host.suspended:
            return
        self.rules.taken(host, entry)
        del host.ways[entry]
        self.after(1.1 * RESTORE_GAP, lambda: None)

        def tell() -> None:
            victim = host.router(router)
            if host.engine is not None and victim is not None and not entry.no_track:
                host.do(host.engine.routing_removed(victim, entry, host.clock()))

        host.learn(tell)

    def _do_clock(self, number: int, step: float) -> None:
        """Somebody sets the time of day."""
        host = self.hosts[number]
        host.error += step
        host.setbacks = host.setbacks or step < 0
        self.after(abs(step) + 1.0, lambda: None)

    def _do_rotate(self, router: int, later: float) -> None:
        """An operator, who looks before each step whether the former one was taken everywhere."""
        seal = self.history.routers[router].seal
        current = self._wanted[router].get("auth_hmac", self.hosts[0].config[router].auth_hmac)
        if not seal or seal == seals.AH or self._rotating[router]:
            return
        steps = seals.rotation(current, seal)
        self._rotating[router] = True

        def step() -> None:
            if any(host.hung or host.todo for host in self.hosts):
                self.after(self.history.interval, step)
            elif steps:
                self._one_after_the_other(router, later, auth_hmac=steps.pop(0))
                self.after(len(self.hosts) * later + 2 * self.history.delay, step)
            else:
                self._rotating[router] = False

        step()

    def _do_lost(self, number: int, router: int) -> None:
        """Somebody takes the first address off behind our back."""
        host = self.hosts[number]
        entry = host.config[router].virtual_ipaddress[0]
        if entry.address not in host.kernel or host.suspended:
            return
        self.rules.taken(host, entry.address)
        for way in host.ways:
            if leads_from(way, entry.address):
                self.rules.taken(host, way)
        host.drop(entry.address)
        self.after(1.1 * RESTORE_GAP, lambda: None)  # in a fight it is back ten times a second

        def tell() -> None:
            assert host.engine is not None
            host.do(host.engine.address_removed(2, entry.address, entry.prefixlen, host.clock()))

        host.learn(tell)

    def _do_junk(self, number: int, router: int) -> None:
        """Its own adverts, the best there are, with something wrong: no router may act on any of them."""
        host = self.hosts[number]
        victim = host.router(router)
        if host.mute or victim is None:
            return
        family, own, destination, ttl, data = self.wires(host, victim, 255)[0][:5]
        stranger = own[:-1] + b"\x77"
        wrong = data[:7] + bytes((data[7] ^ 0x5A,)) + data[8:]
        for junk in (
            (family, stranger, destination, ttl, wrong),
            (family, stranger, destination, 1, wrong),
            (family, stranger, destination, ttl, data[:-1]),
            (family, stranger, destination, ttl, b"\x41" + data[1:]),
            (family, stranger, destination, ttl, b""),
        ):
            assert host.engine is not None
            host.do(host.engine.receive(2, *junk, host.clock()))
