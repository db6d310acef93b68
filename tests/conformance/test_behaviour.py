"""The cases of sections F, T, M, A and X that are not scenarios: tables, sets of routers, bytes, orders."""

from __future__ import annotations

import ast
from itertools import product
from pathlib import Path

import pytest
from simulator import Node, World, instance, packed, vip

import vrrpd.vrrp
from vrrpd.model.vrrp import VrrpInstance
from vrrpd.vrrp.actions import AddAddresses, Announce, Log, SendAdvert, Transition
from vrrpd.vrrp.engine import Engine, Link
from vrrpd.vrrp.frames import gratuitous_arp, unsolicited_na
from vrrpd.vrrp.router import VirtualRouter
from vrrpd.vrrp.states import BACKUP, FAULT, INIT, MASTER

GROUP4 = packed("224.0.0.18")


def alone(**changes: object) -> tuple[World, Node]:
    world = World()
    node = world.node("A")
    node.apply(instance(**changes))
    return world, node


def down_interval(**changes: object) -> tuple[float, float]:
    router = alone(**changes)[1].router
    return router.skew_time, router.master_down_interval


# ---- F: nothing happens in Initialize ----------------------------------------------------------------------------


def test_f03_nothing_happens_in_init() -> None:
    """RFC 9568 6.4.1. Some implementations have an unreachable panic here."""
    world, node = alone()
    node.do(node.engine.stop(0.0))
    assert node.router.state is INIT
    seen = len(world.events)
    router = node.router
    data = router.datagrams(200)[0][1][20:]
    for priority in (0, 1, 100, 255):
        data = router.datagrams(priority)[0][1][20:]
        node.do(node.engine.receive(router.ifindex, 2, packed("10.0.0.9"), GROUP4, 255, data, 0.1))
    for when in (1.0, 100.0):
        node.do(node.engine.expire(when))
    node.link("eth0", up=False)
    node.link("eth0", up=True)
    node.do(node.engine.maintenance(True, 200.0))
    node.do(node.engine.stop(200.0))
    assert router.state is INIT
    assert not [event for event in world.events[seen:] if not isinstance(event.action, Log)]


# ---- T: timers ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("priority", "seconds"),
    [(1, 3.99609375), (100, 3.609375), (200, 3.21875), (254, 3.0078125), (255, 3.00390625)],
)
def test_t01_v2_master_down_interval(priority: int, seconds: float) -> None:
    """RFC 3768 6.1: exact, these are all sums of powers of two."""
    assert down_interval(version=2, priority=priority) == (seconds - 3, seconds)


@pytest.mark.parametrize(
    ("interval", "priority", "milliseconds"),
    [(0.01, 100, 36.09375), (0.01, 254, 30.078125), (0.1, 100, 360.9375), (0.1, 200, 321.875)],
)
def test_t02_v3_master_down_interval(interval: float, priority: int, milliseconds: float) -> None:
    """RFC 9568 6.1, without rounding to centiseconds: with that all backups would fire together."""
    assert down_interval(version=3, advert_int=interval, priority=priority)[1] == pytest.approx(milliseconds / 1000)


def test_t03_v2_skew_does_not_scale() -> None:
    assert down_interval(version=2, advert_int=5.0)[1] == 15.609375
    assert down_interval(version=3, advert_int=5.0)[1] == pytest.approx(15 + 5 * 156 / 256)


FORBIDDEN = {"socket", "time", "os", "select", "random", "logging", "asyncio", "subprocess", "datetime", "pyroute2"}


@pytest.mark.parametrize("path", sorted(Path(vrrpd.vrrp.__file__).parent.glob("*.py")), ids=lambda path: path.name)
def test_t06_the_core_reads_no_clock(path: Path) -> None:
    """A step of the wall clock has no effect: `now` is an argument and nothing else tells the time."""
    for statement in ast.walk(ast.parse(path.read_text())):
        if isinstance(statement, ast.Import):
            assert not FORBIDDEN.intersection(alias.name.split(".")[0] for alias in statement.names)
        elif isinstance(statement, ast.ImportFrom):
            assert (statement.module or "").split(".")[0] not in FORBIDDEN


# ---- M: many routers ---------------------------------------------------------------------------------------------


def test_m08_52_routers_shuffled_and_half_of_them_stopped() -> None:
    """Two hosts, 52 VRIDs on one link, priorities crossed; one host stops, the other has them all."""
    world = World()
    a, b = world.node("A"), world.node("B")

    def routers(odd: int, even: int) -> list[VrrpInstance]:
        return [
            instance(
                f"VI_{n}",
                virtual_router_id=n,
                priority=odd if n % 2 else even,
                virtual_ipaddress=(vip(f"10.0.1.{n}/24"),),
            )
            for n in range(1, 53)
        ]

    def held(node: Node) -> int:
        return sum(router.state is MASTER for router in node.engine.routers.values())

    a.apply(*routers(odd=200, even=100))
    b.apply(*routers(odd=100, even=200))
    world.advance(10)
    assert (held(a), held(b)) == (26, 26)
    a.apply(*routers(odd=100, even=240))
    b.apply(*routers(odd=240, even=100))
    world.advance(20)
    assert all((router.state is MASTER) == (n % 2 == 0) for n, router in enumerate(a.engine.routers.values(), 1))
    a.do(a.engine.stop(world.now))
    world.advance(23)
    assert (held(a), held(b)) == (0, 52)
    assert a.engine.stopped
    assert not a.held
    assert len(b.held) == 52


def test_m12_255_routers_fail_over_in_one_pass() -> None:
    """All deadlines that have come are one call, in their order; each in the order advert, addresses, announcement."""
    world = World()
    node = world.node("A")
    node.apply(
        *(
            instance(
                f"VI_{n}",
                virtual_router_id=n,
                version=3,
                advert_int=0.1,
                priority=100 + n % 7,
                virtual_ipaddress=(vip(f"10.1.{n}.1/24"),),
            )
            for n in range(1, 256)
        )
    )
    actions = node.engine.expire(0.4)
    promoted = [action for action in actions if isinstance(action, Transition)]
    assert len(promoted) == 255
    priorities = [action.priority for action in promoted]
    assert priorities == sorted(priorities, reverse=True)
    kinds = [type(action) for action in actions]
    assert kinds == [SendAdvert, AddAddresses, Announce, Transition] * 255
    assert node.engine.next_deadline == pytest.approx(0.5)


# ---- A: announcements --------------------------------------------------------------------------------------------


def test_a01_gratuitous_arp() -> None:
    """FRR's and keepalived's, byte for byte: a request, broadcast, sender and target the address."""
    frame = gratuitous_arp(bytes.fromhex("00005e000105"), packed("192.0.2.16"))
    assert frame.hex() == ("ffffffffffff00005e000105080600010800060400010" + "0005e000105c0000210ffffffffffffc0000210")


@pytest.mark.parametrize(("router", "flags"), [(True, "a0000000"), (False, "20000000")])
def test_a02_unsolicited_neighbour_advertisement(router: bool, flags: str) -> None:
    mac, address = bytes.fromhex("00005e000205"), packed("2001:db8::10")
    frame = unsolicited_na(mac, address, router)
    assert len(frame) == 86
    assert frame[:14].hex() == "333300000001" + mac.hex() + "86dd"
    assert frame[14:54].hex() == "6000000000203aff" + address.hex() + packed("ff02::1").hex()
    assert frame[54:56].hex() == "8800"
    assert frame[58:].hex() == flags + address.hex() + "0201" + mac.hex()
    pseudo = frame[22:54] + bytes.fromhex("000000200000003a")
    assert int.from_bytes(pseudo + frame[54:], "big") % 0xFFFF == 0


def test_a04_advert_then_addresses_then_announcement_then_notice() -> None:
    """keepalived's order: the old owner lets go before the segment hears where the address is now."""
    _, node = alone()
    kinds = [type(action) for action in node.engine.expire(4.0)]
    assert kinds == [SendAdvert, AddAddresses, Announce, Transition]


# ---- X: robustness -----------------------------------------------------------------------------------------------


def test_x01_a_replayed_advert_of_another_source_is_told() -> None:
    """Nothing in v2 or v3 tells a replay; a new address for the same master is at least visible."""
    world, node = alone()
    advert = node.router.datagrams(200)[0][1][20:]
    for source in ("10.0.0.9", "10.0.0.9", "10.0.0.66"):
        node.do(node.engine.receive(node.router.ifindex, 2, packed(source), GROUP4, 255, advert, world.now))
        world.advance(world.now + 1.5)
    lines = [event.action.message for event in world.events if isinstance(event.action, Log)]
    assert lines == ["VI_1: master is 10.0.0.9, priority 200", "VI_1: master is 10.0.0.66, priority 200"]
    assert node.router.counters["master_changes"] == 1


def test_x03_log_lines_are_bounded() -> None:
    """10 000 bad packets: all counted, one line per cause and minute, which says how many it stands for."""
    _, node = alone(version=3)
    good = node.router.datagrams(200)[0][1][20:]
    bad = good[:6] + b"\0\0" + good[8:]
    engine, ifindex = node.engine, node.router.ifindex
    actions = []
    for n in range(20_000):
        actions += engine.receive(ifindex, 2, packed("10.0.0.9"), GROUP4, 255, bad, n / 10_000)
    assert len(actions) == 1
    assert node.router.counters["checksum_err"] == 20_000
    (line,) = engine.receive(ifindex, 2, packed("10.0.0.9"), GROUP4, 255, bad, 61.0)
    assert isinstance(line, Log)
    assert line.message == "VI_1: ignored a packet from 10.0.0.9: wrong checksum (19999 more since the last such line)"


# ---- the table of transitions ------------------------------------------------------------------------------------


def test_illegal_transitions_are_a_bug_and_raise() -> None:
    """State changes in one place, which knows what is legal."""
    legal = {(INIT, new) for new in (BACKUP, MASTER, FAULT)}
    legal |= {(old, INIT) for old in (BACKUP, MASTER, FAULT)}
    legal |= {(BACKUP, MASTER), (MASTER, BACKUP), (BACKUP, FAULT), (MASTER, FAULT), (FAULT, BACKUP), (FAULT, MASTER)}
    for old, new in product((INIT, BACKUP, MASTER, FAULT), repeat=2):
        _, node = alone()
        router: VirtualRouter = node.router
        router.state = old
        if (old, new) in legal:
            router._enter(new, "test", 0.0)
            assert router.state is new
        else:
            with pytest.raises(AssertionError, match=f"{old.name} -> {new.name}"):
                router._enter(new, "test", 0.0)


def test_an_engine_without_routers_wants_nothing() -> None:
    engine = Engine()
    engine.link(Link(2, "eth0", True, bytes(6)), 0.0)
    assert engine.next_deadline == float("inf")
    assert not engine.expire(1e9)
    assert not engine.stop(1e9)
    assert engine.stopped
