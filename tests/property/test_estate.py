"""A hand-over to another process at any moment changes nothing on the wire, in the kernel or for scripts."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from random import Random

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from simulator import Configuration, Datagram, Event, Node, World, describe, instance, packed, signed, vip

from vrrpd.model.groups import VrrpSyncGroup
from vrrpd.model.values import Routing
from vrrpd.model.vrrp import AF_INET, Authentication, AuthHmac, VirtualAddress, VrrpInstance
from vrrpd.vrrp.actions import GroupTransition, Inherit
from vrrpd.vrrp.estate import ESTATE_VERSION, Estate, Holding, Lacking, Laid, UnknownEstate, decode, encode

Step = Callable[[Node], None]
HMAC = AuthHmac(((1, b"a key of this test, of 32 bytes."),), 1, "time", 5)


def hear(priority: int, source: str, interval: float, vrid: int) -> Step:
    def step(node: Node) -> None:
        for router in node.engine.routers.values():
            if router.cfg.virtual_router_id == vrid:
                adver_int = interval if router.cfg.version == 3 else router.cfg.advert_int
                spec = router.spec._replace(source=packed(source), advert_int=adver_int)
                message = signed(spec, priority, node.world.now)
                node.receive(Datagram("A", AF_INET, spec.source, spec.destinations[0], 255, message))

    return step


def configuration(dice: Random) -> tuple[VrrpInstance, ...]:
    version, count = dice.choice([2, 3]), dice.randrange(1, 4)
    auth: dict[str, object] = {}
    if dice.random() < 0.3:
        auth = {"auth_hmac": replace(HMAC, anti_replay=dice.choice(["time", "monotonic"]))}
    elif version == 2 and dice.random() < 0.3:
        auth = {"authentication": Authentication("AH", b"secret12")}
    return tuple(
        instance(
            f"VI_{vrid}",
            version=version,
            virtual_router_id=vrid,
            priority=dice.choice([1, 100, 200, 254, 255]),
            advert_int=1.0 if version == 2 else dice.choice([0.05, 0.1, 1.0]),
            preempt=dice.random() < 0.7,
            preempt_delay=dice.choice([0.0, 0.0, 0.7]),
            garp_master_delay=dice.choice([0.0, 0.5, 5.0]),
            garp_master_refresh=dice.choice([0.0, 0.9]),
            garp_lower_prio_delay=dice.choice([0.0, 0.3]),
            garp_interval=dice.choice([0.0, 0.0, 0.04]) if count == 1 else 0.0,  # else their order may change
            virtual_ipaddress=tuple(vip(f"10.0.{vrid}.{n}/24") for n in range(dice.randrange(1, 4))),
            **auth,
        )
        for vrid in range(51, 51 + count)
    )


def story(dice: Random) -> list[Step]:
    """What happens to a node, the passing of time included."""

    def pass_time(seconds: float) -> Step:
        return lambda node: node.world.advance(node.world.now + seconds)

    def link(up: bool) -> Step:
        return lambda node: node.link("eth0", up=up)

    def maintenance(on: bool) -> Step:
        return lambda node: node.do(node.engine.maintenance(on, node.world.now))

    def lost(node: Node) -> None:
        entry = vip("10.0.51.0/24")
        node.do(node.engine.address_removed(2, entry.address, entry.prefixlen, node.world.now))

    def handover(node: Node) -> None:
        router = next(iter(node.engine.routers.values()))
        node.do(router.handover(node.world.now))

    steps: list[Step] = []
    for _ in range(dice.randrange(3, 30)):
        kind = dice.randrange(10)
        if kind < 4:
            priority, source = dice.choice([0, 1, 99, 200, 255]), dice.choice(["10.0.0.9", "10.0.0.200", "9.9.9.9"])
            steps.append(hear(priority, source, dice.choice([0.05, 0.1, 1.0, 2.0]), 51 + dice.randrange(3)))
        elif kind < 5:
            steps.append(link(dice.random() < 0.7))
        elif kind < 6:
            steps.append(maintenance(dice.random() < 0.4))
        elif kind < 7:
            steps.append(lost)
        elif kind < 8:
            steps.append(handover)
        steps.append(pass_time(dice.choice([0.0, 0.003, 0.02, 0.11, 0.4, 1.3, 4.0])))
    return steps


def grouped(instances: Sequence[VrrpInstance], dice: Random) -> tuple[VrrpSyncGroup, ...]:
    """None, or a sync group of some of them."""
    members = tuple(cfg.name for cfg in instances if dice.random() < 0.7)
    return (VrrpSyncGroup("G1", members),) if members and dice.random() < 0.5 else ()


def seen(events: list[Event]) -> list[tuple[float, str, str]]:
    """Everything but the hand-over itself; what is done at one moment in any order, so that the last member of a sync
    group, whose reason is the group's, may be another one.
    """
    lines = [
        (
            round(event.at, 6),
            getattr(getattr(event.action, "router", None), "name", ""),
            describe(event.action._replace(reason="") if isinstance(event.action, GroupTransition) else event.action),
        )
        for event in events
        if not isinstance(event.action, Inherit)
    ]
    return sorted(lines)


def snapshots(node: Node) -> list[dict[str, object]]:
    return [node.engine.snapshot(router, node.world.now, 1e9) for router in node.engine.routers.values()]


@example(531604863)  # a member follows whom it had given up before, while another one is MASTER
@given(st.integers(0, 2**32))
@settings(max_examples=300, deadline=None)
def test_a_hand_over_at_any_moment_is_not_noticed(seed: int) -> None:
    worlds = []
    for interrupted in (False, True):
        dice = Random(seed)
        node = World().node("A")
        instances = configuration(dice)
        groups = grouped(instances, dice)
        node.apply(*instances, groups=groups)
        steps = story(dice)
        when = {index for index in range(len(steps)) if dice.random() < 0.4}
        for index, step in enumerate(steps):
            if interrupted and index in when:
                node.apply(*instances, groups=groups)
            step(node)
        worlds.append(node)
    plain, successor = worlds
    assert seen(successor.world.events) == seen(plain.world.events)
    assert set(successor.held) == set(plain.held)
    assert snapshots(successor) == snapshots(plain)


@given(st.integers(0, 2**32))
@settings(max_examples=150, deadline=None)
def test_a_successor_that_does_not_come_to_be_leaves_no_trace(seed: int) -> None:
    worlds = []
    for interrupted in (False, True):
        dice = Random(seed)
        node = World().node("A")
        instances = configuration(dice)
        node.apply(*instances, groups=grouped(instances, dice))
        for step in story(dice):
            if interrupted:
                node.engine.give(list(node.engine.routers.values()))
                node.do(node.engine.resume(node.world.now))
            step(node)
        worlds.append(node)
    plain, resumed = worlds
    assert seen(resumed.world.events) == seen(plain.world.events)
    assert snapshots(resumed) == snapshots(plain)


def test_a_renamed_router_keeps_its_counters_and_its_history() -> None:
    node = World().node("A")
    node.apply(instance("old"))
    node.world.advance(10)
    before = node.engine.snapshot(node.router, node.world.now, 1e9)
    node.apply(instance("new", garp_master_delay=1.0))
    after = node.engine.snapshot(node.router, node.world.now, 1e9)
    assert after["name"] == "new"
    assert after["last_transition"] == before["last_transition"]
    assert after["counters"] == before["counters"]


def test_unicast_siblings_are_told_apart_by_their_peers() -> None:
    def two(first: str, second: str) -> tuple[VrrpInstance, VrrpInstance]:
        return (
            instance(first, unicast_peer=(packed("10.0.0.8"),), priority=100),
            instance(second, unicast_peer=(packed("10.0.0.9"),), priority=100, virtual_ipaddress=(vip("10.0.0.7/24"),)),
        )

    node = World().node("A")
    node.apply(*two("one", "two"))
    node.world.advance(10)
    node.engine.routers["two"].counters["own_advert"] = 7
    node.apply(*reversed(two("two", "one")))
    assert node.engine.routers["one"].counters["own_advert"] == 7
    assert not [event for event in node.world.events if describe(event.action).startswith("DelAddresses")]


@pytest.mark.parametrize("missing", [(), ("10.0.0.101",)])
def test_after_a_crash_the_master_adverts_at_once_and_adds_what_is_missing(missing: tuple[str, ...]) -> None:
    node = World().node("A")
    node.apply(instance(virtual_ipaddress=(vip("10.0.0.100/24"), vip("10.0.0.101/24"))))
    node.world.advance(5.5)
    for address in missing:
        node.held.pop(packed(address))
    before = len(node.world.events)
    node.crash()
    told = [describe(event.action) for event in node.world.events[before:]]
    added = [f"AddAddresses {address}/24" for address in missing] + [f"Announce {address} x5" for address in missing]
    kept = " ".join(f"{address}/24" for address in ("10.0.0.100", "10.0.0.101") if address not in missing)
    assert told == [f"Inherit {kept}", "SendAdvert 100", *added]
    assert node.router.state.name == "MASTER"
    node.world.advance(7.6)
    assert [event.at for event in node.world.events[before:] if describe(event.action) == "SendAdvert 100"] == [
        5.5,
        6.5,
        7.5,
    ]


@pytest.mark.parametrize(
    ("silent", "told"), [(1.9, ["SendAdvert 100"]), (2.1, ["SendAdvert 100", "Announce 10.0.0.100 x5"])]
)
def test_a_successor_that_comes_too_late_for_its_peers_announces(silent: float, told: list[str]) -> None:
    """One may have been MASTER for a moment, heard by nobody here, and the neighbours have its MAC address."""
    node = World().node("A")
    node.apply(instance(advert_int=1.0, virtual_ipaddress=(vip("10.0.0.100/24"),)))
    node.world.advance(20)
    before = len(node.world.events)
    node.crash(silent)
    assert [describe(event.action) for event in node.world.events[before:]][1:] == told


def test_after_a_crash_of_a_backup_it_listens_first() -> None:
    world = World()
    a, b = world.node("A"), world.node("B")
    a.apply(instance(priority=200))
    b.apply(instance(priority=100))
    world.advance(10)
    b.crash()
    world.advance(20)
    assert world.masters() == ["A"]


ROUTE = Routing("route", "198.51.100.0/24 dev eth1", bytes(range(40)), ((36, "eth1"),), 0x800, True)
ESTATE = Estate(
    "eth0", AF_INET, 51, None, (packed("10.0.0.2"),), "VI_1", "MASTER",
    heard=(packed("10.0.0.9"), 100, 1.5),
    held=(
        Holding(packed("10.0.0.100"), 24, 2, "eth0"),
        Holding(packed("10.0.0.1"), 32, 2, "eth0", True, packed("10.0.0.9")),
    ),
    last_transition=("BACKUP", "MASTER", "MASTER", "why", 3.25), pending={"refresh": 7.0},
    faults={"a": "link", "b": "maintenance"},
    addresses=(
        VirtualAddress(packed("10.0.0.1"), 24, "eth1", packed("10.0.0.255"), 253, "label", True, True, False,
                       packed("10.0.0.9"), 0x200, 60),
        VirtualAddress(packed("10.0.0.100"), 24),
    ),
    routing=(ROUTE,), laid=(Laid(ROUTE, (7,), True),),
    lacking=(Lacking("route", ROUTE.text, "Network is unreachable", 7.0),),
)  # fmt: skip


def test_an_estate_survives_json() -> None:
    assert decode(json.loads(json.dumps(encode([ESTATE])))) == [ESTATE]


@pytest.mark.parametrize(
    "message",
    [
        {**encode([ESTATE]), "version": ESTATE_VERSION + 1},
        {"routers": []},
        [],
        {"version": ESTATE_VERSION, "routers": [{"name": "VI_1"}]},
        {"version": ESTATE_VERSION, "routers": [{**encode([ESTATE])["routers"][0], "peers": ["zz"]}]},
        {"version": ESTATE_VERSION, "routers": [{**encode([ESTATE])["routers"][0], "later": 1}]},
    ],
)
def test_what_is_not_understood_is_refused(message: object) -> None:
    with pytest.raises(UnknownEstate, match="hand-over message"):
        decode(message)


def test_a_changed_label_is_a_changed_address() -> None:
    node = World().node("A")
    node.apply(instance())
    node.world.advance(5)
    before = len(node.world.events)
    (entry,) = node.router.addresses
    node.apply(instance(virtual_ipaddress=(entry._replace(label="eth0:1"),)))
    told = [describe(event.action) for event in node.world.events[before:]]
    assert told == [
        "Inherit 10.0.0.100/24", "DelAddresses 10.0.0.100/24", "AddAddresses 10.0.0.100/24", "Announce 10.0.0.100 x5",
    ]  # fmt: skip
    assert Configuration((node.router.cfg,)).vrrp_instances[0].virtual_ipaddress[0].label == "eth0:1"
