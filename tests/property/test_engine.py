"""The engine under any order of events, and many engines on a wire that loses datagrams.

The rules that hold whatever happens: a state is one of four and reached by a legal way (router.py asserts it),
nothing raises, time only moves forward, an address is held exactly by a MASTER, nothing is advertised in INIT,
FAULT or BACKUP but a last advert, and once the wire is whole again exactly one router is MASTER.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from math import inf
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from simulator import Datagram, Node, World, instance, packed, signed, vip

from vrrpd.model.groups import VrrpSyncGroup
from vrrpd.model.values import FILE, INTERFACE, PROCESS, SCRIPT, Track
from vrrpd.model.vrrp import AF_INET, AF_INET6, Authentication, AuthHmac, VrrpInstance
from vrrpd.vrrp.actions import AddAddresses, Announce, DelAddresses, GroupTransition, SendAdvert, Transition
from vrrpd.vrrp.packet import encode
from vrrpd.vrrp.router import VirtualRouter
from vrrpd.vrrp.states import BACKUP, FAULT, GROUP, INIT, LEGAL, MAINTENANCE, MASTER

PRIORITIES = st.sampled_from([1, 99, 100, 101, 254, 255])
SOURCES = {AF_INET: ["10.0.0.1", "10.0.0.2", "10.0.0.200", "200.0.0.1"], AF_INET6: ["fe80::1", "fe80::2", "fe80::ffff"]}
HMAC = AuthHmac(((1, b"a key of this test, of 32 bytes."),), 1, "time", 5)
MODES = ("enforce", "permissive", "receive-only")


TRACKS: list[dict[str, tuple[Track, ...]]] = [
    {},
    {"track_script": (Track(SCRIPT, "chk"),)},
    {"track_script": (Track(SCRIPT, "chk", 30), Track(SCRIPT, "other", -253, True))},
    {"track_file": (Track(FILE, "f", -5),), "track_interface": (Track(INTERFACE, "eth1"),)},
    {"track_process": (Track(PROCESS, "nginx", 0, True),), "track_interface": (Track(INTERFACE, "eth1", 20),)},
]
TRACKED = [(SCRIPT, "chk"), (SCRIPT, "other"), (FILE, "f"), (PROCESS, "nginx")]


@st.composite
def configurations(draw: st.DrawFn, family: int, name: str = "VI_1", vrid: int = 51) -> VrrpInstance:
    version = 3 if family == AF_INET6 else draw(st.sampled_from([2, 3]))
    hmac = draw(st.sampled_from([None, None, None, *(replace(HMAC, mode=mode) for mode in MODES)]))
    password = draw(st.sampled_from([None, Authentication("PASS", b"abc"), Authentication("AH", b"abc")]))
    prefix = "10.0.0." if family == AF_INET else "fe80::"
    return instance(
        name,
        family=family,
        version=version,
        virtual_router_id=vrid,
        state=draw(st.sampled_from(["MASTER", "BACKUP"])),
        priority=draw(PRIORITIES),
        advert_int=draw(st.sampled_from([1.0, 2.0])) if version == 2 else draw(st.sampled_from([0.01, 0.1, 1.0])),
        virtual_ipaddress=tuple(vip(f"{prefix}{vrid + n}") for n in draw(st.sets(st.integers(0, 3), max_size=4))),
        preempt=draw(st.booleans()),
        preempt_delay=draw(st.sampled_from([0.0, 0.5, 30.0])),
        garp_master_delay=draw(st.sampled_from([0.0, 0.3, 5.0])),
        garp_master_refresh=draw(st.sampled_from([0.0, 0.7])),
        garp_lower_prio_delay=draw(st.sampled_from([0.0, 0.2])),
        garp_lower_prio_repeat=draw(st.sampled_from([0, 1, 5])),
        garp_interval=draw(st.sampled_from([0.0, 0.05])),
        gna_interval=draw(st.sampled_from([0.0, 0.05])),
        lower_prio_no_advert=draw(st.booleans()),
        down_timer_adverts=draw(st.sampled_from([1, 3])),
        owner_ignore_adverts=draw(st.booleans()),
        timer_expired_backup=draw(st.sampled_from([0, 254])),
        authentication=password if version == 2 and hmac is None else None,
        auth_hmac=hmac,
        **draw(st.sampled_from(TRACKS)),
    )


def timers_of(router: VirtualRouter) -> tuple[object, ...]:
    """All that a rejected packet must not touch."""
    return router.state, router.timer.deadline, router.delay_timer.deadline, dict(router.duties.pending)


class AnyOrder(RuleBasedStateMachine):
    """One engine; whatever may happen to it, in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.world = World()
        self.node: Node = self.world.node("A")
        self.family = AF_INET
        self.checked = 0
        self.legal_deadline = inf

    @property
    def routers(self) -> list[VirtualRouter]:
        return list(self.node.engine.routers.values())

    @rule(
        data=st.data(),
        family=st.sampled_from([AF_INET, AF_INET6]),
        count=st.integers(0, 3),
        grouped=st.sampled_from([0, 0, 1, 2, 3]),
    )
    def reload(self, data: st.DataObject, family: int, count: int, grouped: int) -> None:
        self.family = family
        instances = [data.draw(configurations(family, f"VI_{n}", 100 + 4 * n)) for n in range(count)]
        members = tuple(cfg.name for cfg in instances[:grouped])
        self.node.apply(*instances, groups=(VrrpSyncGroup("G1", members),) if members else ())

    @rule(seconds=st.sampled_from([0.0, 0.005, 0.02, 0.3, 1.0, 3.0, 10.0, 100.0]))
    def pass_time(self, seconds: float) -> None:
        self.world.advance(self.world.now + seconds)

    @rule(seconds=st.sampled_from([0.5, 5.0, 500.0]))
    def stall(self, seconds: float) -> None:
        self.world.now += seconds
        self.node.do(self.node.engine.expire(self.world.now))

    @precondition(lambda self: self.routers)
    @rule(data=st.data(), priority=st.sampled_from([0, 1, 99, 100, 101, 254, 255]), interval=st.integers(1, 4095))
    def hear(self, data: st.DataObject, priority: int, interval: int) -> None:
        router = data.draw(st.sampled_from(self.routers))
        family = router.cfg.family
        spec = router.spec._replace(source=packed(data.draw(st.sampled_from(SOURCES[family]))))
        if router.cfg.version == 3:
            spec = spec._replace(advert_int=interval / 100)
        if not spec.addresses and router.cfg.version == 3:
            spec = spec._replace(addresses=(bytes(4 if family == AF_INET else 16),))
        message = signed(spec, priority, self.world.now)
        self.node.receive(Datagram("A", family, spec.source, spec.destinations[0], 255, message))

    @precondition(lambda self: self.routers)
    @rule(data=st.data(), junk=st.binary(max_size=64), ttl=st.sampled_from([255, 254, -1]))
    def hear_nonsense(self, data: st.DataObject, junk: bytes, ttl: int) -> None:
        router = data.draw(st.sampled_from(self.routers))
        junk = junk[:1] + bytes((router.cfg.virtual_router_id,)) + junk[2:]
        source = packed(SOURCES[router.cfg.family][-1])
        destination = data.draw(st.sampled_from([router.spec.destinations[0], source, b""]))
        before, rcvd = timers_of(router), router.advert_rcvd
        self.node.receive(Datagram("A", router.cfg.family, source, destination, ttl, junk))
        if router.advert_rcvd == rcvd:
            assert timers_of(router) == before

    @rule(up=st.booleans(), address=st.sampled_from(["10.0.0.1/24", "10.0.0.77/24", ""]), usable=st.booleans())
    def change_link(self, up: bool, address: str, usable: bool) -> None:
        listed = [*([address] if address else []), "fe80::1/64", "10.0.0.100/32"]
        self.node.link("eth0", *listed, up=up)
        if not usable:
            kept = tuple(entry._replace(usable=False) for entry in self.node.links["eth0"].addresses)
            self.node.link("eth0", addresses=kept)

    @precondition(lambda self: "eth0" in self.node.links)
    @rule()
    def lose_interface(self) -> None:
        self.node.unlink("eth0")

    @rule(address=st.sampled_from(["10.0.0.100/32", "10.0.0.101/32", "fe80::100/128"]))
    def lose_address(self, address: str) -> None:
        entry = vip(address)
        if "eth0" in self.node.links:
            ifindex = self.node.links["eth0"].ifindex
            self.node.do(self.node.engine.address_removed(ifindex, entry.address, entry.prefixlen, self.world.now))

    @rule(what=st.sampled_from(TRACKED), value=st.sampled_from([0, 1, 1, 60, -7]))
    def find(self, what: tuple[str, str], value: int) -> None:
        self.node.track(*what, value if what[0] == FILE else int(value > 0), f"is {value}")

    @rule(up=st.booleans())
    def change_other_link(self, up: bool) -> None:
        self.node.link("eth1", up=up)

    @rule()
    def crash(self) -> None:
        self.node.crash()

    @rule(on=st.booleans())
    def maintenance(self, on: bool) -> None:
        self.node.do(self.node.engine.maintenance(on, self.world.now))

    @precondition(lambda self: self.routers)
    @rule(data=st.data())
    def handover(self, data: st.DataObject) -> None:
        router = data.draw(st.sampled_from(self.routers))
        if router.state is MASTER and not router.leaving:
            self.node.do(self.node.engine.handover(router.name, self.world.now))

    @precondition(lambda self: len(self.world.events) > 40)
    @rule()
    def stop(self) -> None:
        self.node.do(self.node.engine.stop(self.world.now))
        self.world.advance(self.world.now + 20)
        assert self.node.engine.stopped
        assert not self.node.held
        self.__init__()  # type: ignore[misc]  # the next daemon

    @invariant()
    def the_state_is_sound(self) -> None:
        now = self.world.now
        for router in self.routers:
            assert router.state in LEGAL
            assert (router.state is FAULT) <= bool(router.faults)
            if router.faults and not router.leaving:
                assert router.state in (FAULT, INIT)
            if router.tracking is not None and router.cfg.priority != 255:
                assert router.priority == router.tracking.priority(router.cfg.priority)
                assert 1 <= router.priority <= 254
            if router.waits:
                assert router.group is not None
                assert not router.group.allows_master(router)
                assert router.group.holders_back(router)
            elif router.state in (MASTER, BACKUP):
                assert now - 1e-6 <= router.timer.deadline < now + 200
                assert self.node.engine.next_deadline <= router.timer.deadline
            if router.state is not MASTER:
                assert not router.duties.pending
                assert not router.leaving
            snapshot = self.node.engine.snapshot(router, now, 1e9)
            assert snapshot["state"] == router.state.name
        for group in self.node.engine.groups.values():
            own = {m.name: {f for f, by in m.faults.items() if by not in (GROUP, MAINTENANCE)} for m in group.members}
            for member in group.members:
                first = next((name for name in own if own[name] and name != member.name), "")
                others = {f"sync group G1: {first}: {fault}" for fault in own.get(first, ())}
                assert {fault for fault, by in member.faults.items() if by == GROUP} == others
                if member.follows and not self.node.engine.stopping:
                    assert all(m.leaving for m in group.members if m.state is MASTER)
            assert group.snapshot()["members"]
        masters = [router for router in self.routers if router.state is MASTER]
        may = {entry.address for router in masters for entry in router.addresses}
        must = {entry.address for router in masters if not router.leaving for entry in router.addresses}
        assert must <= set(self.node.held) <= may  # who is leaving gets no new ones

    @invariant()
    def the_actions_are_sound(self) -> None:
        events, self.checked = self.world.events[self.checked :], len(self.world.events)
        for position, (_, _, action) in enumerate(events):
            if isinstance(action, Transition):
                assert action.new in LEGAL[action.old]
                assert action.reason
                assert not action.reason.endswith(".")
                assert action.event in ("MASTER", "BACKUP", "FAULT", "STOP", "DELETED")
            elif isinstance(action, GroupTransition):
                assert action.old is not action.new
            elif isinstance(action, (AddAddresses, DelAddresses, Announce)):
                assert all(entry in action.router.addresses for entry in action.addresses) or isinstance(
                    action, DelAddresses
                )
            elif isinstance(action, SendAdvert) and action.priority:
                master = action.router.state is MASTER
                yields = any(  # the last advert of one that was outbid
                    isinstance(later.action, Transition) and later.action.router is action.router
                    for later in events[position:]
                )
                assert master or yields


AnyOrder.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestAnyOrder = AnyOrder.TestCase


# ---- every state, every input ------------------------------------------------------------------------------------


def reach(state: str, **changes: object) -> tuple[World, Node]:
    """A node whose router is in this state (LEAVING is a MASTER on its planned way out)."""
    world = World()
    node = world.node("A")
    node.apply(instance(**changes))
    if state in ("MASTER", "LEAVING"):
        world.advance(5)
    if state == "LEAVING":
        node.do(node.engine.handover("VI_1", world.now))
    if state == "FAULT":
        node.link("eth0", up=False)
    if state == "INIT":
        node.do(node.engine.stop(world.now))
    assert node.router.state.name == ("MASTER" if state == "LEAVING" else state)
    return world, node


def advert(priority: int, source: str) -> Callable[[Node], None]:
    def hear(node: Node) -> None:
        spec = node.router.spec._replace(source=packed(source))
        message = encode(spec, priority, spec.destinations[0])
        node.receive(Datagram("A", AF_INET, spec.source, spec.destinations[0], 255, message))

    return hear


INPUTS: list[Callable[[Node], None]] = [
    *(advert(priority, source) for priority in (0, 1, 100, 255) for source in ("10.0.0.1", "10.0.0.9", "9.9.9.9")),
    lambda node: node.do(node.engine.expire(node.world.now)),
    lambda node: node.world.advance(node.world.now + 4),
    lambda node: node.link("eth0", up=False),
    lambda node: node.link("eth0", up=True),
    lambda node: node.link("eth0", addresses=()),
    lambda node: node.unlink("eth0") if "eth0" in node.links else None,
    lambda node: node.do(node.engine.maintenance(True, node.world.now)),
    lambda node: node.do(node.engine.maintenance(False, node.world.now)),
    lambda node: node.do(node.engine.stop(node.world.now)),
    lambda node: node.do(node.router.handover(node.world.now)),
    lambda node: node.do(node.router.delete(node.world.now)),
    lambda node: node.apply(replace(node.router.cfg, priority=200)),
    lambda node: node.crash(),
    lambda node: node.apply(replace(node.router.cfg, track_script=(Track(SCRIPT, "chk"), Track(SCRIPT, "other", -50)))),
    lambda node: node.track(SCRIPT, "chk", 0, "failed"),
    lambda node: node.track(SCRIPT, "chk", 1, "succeeded"),
    lambda node: node.track(SCRIPT, "other", 0, "failed"),
    lambda node: node.apply(replace(node.router.cfg, advert_int=2.0, virtual_ipaddress=())),
    lambda node: node.do(node.engine.address_removed(2, packed("10.0.0.100"), 24, node.world.now)),
]


@given(
    st.sampled_from(["INIT", "BACKUP", "MASTER", "LEAVING", "FAULT"]),
    st.lists(st.sampled_from(range(len(INPUTS))), min_size=1, max_size=4),
)
@settings(max_examples=400, deadline=None)
def test_every_state_takes_every_input(state: str, inputs: list[int]) -> None:
    _, node = reach(state)
    for number in inputs:
        INPUTS[number](node)
        router = node.router
        assert router.state in LEGAL
        holding = router.state is MASTER and bool(router.addresses)
        assert (packed("10.0.0.100") in node.held) <= holding


# ---- many engines on a bad wire ----------------------------------------------------------------------------------


@given(
    st.lists(st.integers(1, 254), min_size=2, max_size=5),
    st.sampled_from([(AF_INET, 2), (AF_INET, 3), (AF_INET6, 3)]),
    st.integers(0, 2**32),
    st.sampled_from([0.0, 0.1, 0.5]),
    st.booleans(),
)
@settings(max_examples=60, deadline=None)
def test_one_master_once_the_wire_is_whole(
    priorities: list[int], kind: tuple[int, int], seed: int, loss: float, preempt: bool
) -> None:
    """Loss, cuts, links that flap and stalls; then ten quiet seconds: one MASTER, and it alone holds the address."""
    dice = Random(seed)
    whole = False
    world = World(lose=lambda sender, receiver: not whole and dice.random() < loss)
    family, version = kind
    for number, priority in enumerate(priorities):
        node = world.node("ABCDE"[number])
        node.apply(instance(family=family, version=version, priority=priority, preempt=preempt))
    names = list(world.nodes)
    for _ in range(dice.randrange(12)):
        node = world.nodes[dice.choice(names)]
        event = dice.randrange(5)
        if event == 0:
            node.link("eth0", up=dice.random() < 0.5)
        elif event == 1:
            world.cut([node.name], [dice.choice(names)])
        elif event == 2:
            world.cuts.clear()
        elif event == 3:
            node.asleep = not node.asleep
            if not node.asleep:
                world.wake(node)
        else:
            node.do(node.engine.maintenance(dice.random() < 0.3, world.now))
        world.advance(world.now + dice.random() * 6)
    whole = True
    world.cuts.clear()
    for node in world.nodes.values():
        world.wake(node)
        node.link("eth0", up=True)
        node.do(node.engine.maintenance(False, world.now))
    world.advance(world.now + 10)
    masters = world.masters()
    assert len(masters) == 1
    assert world.holders("10.0.0.100" if family == AF_INET else "fe80::100") == masters
    if preempt:
        highest = max(priorities)
        assert world.nodes[masters[0]].router.priority == highest


@given(st.lists(st.integers(1, 254), min_size=2, max_size=5), st.integers(0, 2**32))
@settings(max_examples=60, deadline=None)
def test_the_segment_hears_the_owner_last(priorities: list[int], seed: int) -> None:
    """M06: partitions come and heal, processes are stopped and go on; whoever remains announced the address last.

    All of it in less than garp_master_delay: no second block covers up what the first ones miss.
    """
    dice = Random(seed)
    world = World()
    for number, priority in enumerate(priorities):
        world.node("ABCDE"[number]).apply(
            instance(version=3, priority=priority, advert_int=0.1, garp_master_delay=0.0, garp_lower_prio_delay=0.0)
        )
    names = list(world.nodes)
    for _ in range(dice.randrange(8)):
        world.advance(world.now + dice.random())
        event = dice.randrange(3)
        side = {name for name in names if dice.random() < 0.5}
        if event == 0:
            world.cut(side, set(names) - side)
            world.cut(set(names) - side, side)
        elif event == 1:
            world.cuts.clear()
        else:
            node = world.nodes[dice.choice(names)]
            node.asleep = not node.asleep
            if not node.asleep:
                world.wake(node)
    world.cuts.clear()
    for node in world.nodes.values():
        world.wake(node)
    world.advance(world.now + 2)
    (master,) = world.masters()
    assert world.holders() == [master]
    announcers = [event.node for event in world.events if isinstance(event.action, Announce)]
    assert announcers[-1] == master


@given(st.lists(PRIORITIES, min_size=2, max_size=4), st.integers(0, 2**32))
@settings(max_examples=40, deadline=None)
def test_a_planned_stop_never_leaves_a_gap(priorities: list[int], seed: int) -> None:
    """Whoever is MASTER stops; from priority 0 to the successor's first advert the address is held by somebody."""
    dice = Random(seed)
    world = World()
    for number, priority in enumerate(priorities):
        world.node("ABCD"[number]).apply(instance(version=3, priority=priority, advert_int=0.1))
    world.advance(1 + dice.random())
    (master,) = world.masters()
    node = world.nodes[master]
    node.do(node.engine.stop(world.now))
    until = world.now + 1
    while world.now < until:
        assert world.holders(), "nobody answers"
        world.advance(min(until, world.now + 0.0005))
    assert node.engine.stopped
    assert len(world.masters()) == 1
    assert master not in world.masters()
