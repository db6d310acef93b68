"""What the neighbours are told, and when: gratuitous ARP, neighbour advertisements, the order of effects.

protocol.md A01-A11, M06, bytes as in its section 1.4, timings of garp_master_* (keepalived.conf(5)).
"""

from __future__ import annotations

import struct
import time
from collections.abc import Callable

import pytest

from lab import (
    Daemon,
    Garp,
    Keepalived,
    Lab,
    Na,
    Order,
    Ours,
    checksum,
    config,
    instance,
    now,
    packed,
)

VIP, VIP6 = "10.0.0.100", "fd00::100"
SIX = ("fe80::100/64", f"{VIP6}/64")


def announced(lab: Lab, address: str, start: float) -> list[float]:
    return [f.at - start for f in lab.announcements(address) if f.at >= start - 0.001]


class Takeover:
    """One takeover with three routers of different timings, watched for as long as the longest needs."""

    def __init__(self) -> None:
        with Lab("a") as lab:
            host = self.host = lab["a"]
            host.sysctl(net__ipv6__conf__all__forwarding=0)
            host.run(
                Ours,
                config(
                    instance((f"{VIP}/24",), "garp_master_delay 1", "garp_master_repeat 3", name="V4", vrid=1),
                    instance(("10.0.0.101/24",), name="DEFAULTS", vrid=2),
                    instance(SIX, "garp_master_delay 1", "garp_master_repeat 2", name="V6", vrid=3),
                    instance(("10.0.0.103/24", "10.0.0.104/24"), "garp_master_delay 0", "garp_master_repeat 2",
                             "garp_master_refresh 1", "garp_master_refresh_repeat 2", name="REFRESH", vrid=4),
                ),
            )  # fmt: skip
            lab.wait(lambda: len(lab.announcements("10.0.0.101")) == 10, 12, "two blocks of five by default")
            self.first = {vrid: lab.adverts("a", vrid)[0].at for vrid in (1, 2, 3, 4)}
            self.frames = {
                address: lab.announcements(address)
                for address in (VIP, "10.0.0.101", VIP6, "fe80::100", "10.0.0.103", "10.0.0.104")
            }

    def times(self, address: str, vrid: int) -> list[float]:
        return [f.at - self.first[vrid] for f in self.frames[address]]


@pytest.fixture(scope="module")
def takeover() -> Takeover:
    return Takeover()


def blocks(times: list[float], apart: float = 0.3) -> list[list[float]]:
    """Times closer together than `apart` are one block."""
    found: list[list[float]] = []
    for at in times:
        if found and at - found[-1][-1] < apart:
            found[-1].append(at)
        else:
            found.append([at])
    return found


def test_a01_gratuitous_arp_bytes(takeover: Takeover) -> None:
    mac, vip = bytes.fromhex(takeover.host.mac.replace(":", "")), packed(VIP)
    wanted = b"\xff" * 6 + mac + b"\x08\x06" + bytes.fromhex("0001080006040001") + mac + vip + b"\xff" * 6 + vip
    assert {f.frame[:42] for f in takeover.frames[VIP]} == {wanted}


def test_a02_unsolicited_neighbour_advertisement_bytes(takeover: Takeover) -> None:
    (frame,) = {f.frame for f in takeover.frames[VIP6]}
    assert len(frame) == 86
    mac, vip = bytes.fromhex(takeover.host.mac.replace(":", "")), packed(VIP6)
    assert frame[:14] == bytes.fromhex("333300000001") + mac + b"\x86\xdd"
    assert frame[14] >> 4 == 6
    assert frame[18:54] == struct.pack("!HBB", 32, 58, 255) + vip + packed("ff02::1")
    # Type 136, override set, solicited clear, router clear: this host does not forward. Target link-layer address.
    assert frame[54:56] + frame[58:] == bytes.fromhex("8800 20000000") + vip + b"\x02\x01" + mac
    pseudo = frame[22:54] + struct.pack("!IBBBB", 32, 0, 0, 0, 58)
    assert checksum(pseudo + frame[54:]) == 0


def test_a03_five_at_once_and_five_after_five_seconds(takeover: Takeover) -> None:
    first, second = blocks(takeover.times("10.0.0.101", 2))
    assert len(first) == len(second) == 5
    assert 0 <= first[0] <= 0.2
    assert 5.0 - 0.01 <= second[0] <= 5.3


@pytest.mark.parametrize(("address", "vrid", "repeat"), [(VIP, 1, 3), (VIP6, 3, 2), ("fe80::100", 3, 2)])
def test_a03_garp_master_delay_and_repeat(takeover: Takeover, address: str, vrid: int, repeat: int) -> None:
    first, second = blocks(takeover.times(address, vrid))
    assert len(first) == len(second) == repeat
    assert 0 <= first[0] <= 0.2
    assert 1.0 - 0.01 <= second[0] <= 1.3


def test_garp_master_refresh(takeover: Takeover) -> None:
    for address in ("10.0.0.103", "10.0.0.104"):
        found = blocks(takeover.times(address, 4))
        assert [len(b) for b in found[:4]] == [2, 2, 2, 2]
        assert [round(b[0] - a[0], 1) for a, b in zip(found, found[1:4], strict=False)] == pytest.approx(
            [1, 1, 1], abs=0.3
        )


def test_a03_every_address_is_named_once_per_round(takeover: Takeover) -> None:
    """All addresses of a round before the next round (keepalived's order)."""
    both = sorted((f.at, f.address) for a in ("10.0.0.103", "10.0.0.104") for f in takeover.frames[a])
    assert [address for _, address in both[:4]] == ["10.0.0.103", "10.0.0.104"] * 2


def test_a_garp_group_paces_over_its_interfaces(lab: Lab) -> None:
    """One pace for eth0 and eth1 together, whoever announces there; eth2 does not wait for them."""
    a = lab["a"]
    for number in (1, 2):
        lab.second_link("a", f"eth{number}", f"02:00:00:00:0{number}:02")
        a.ip(f"addr add 10.{number}.0.2/24 dev eth{number}")
    vips = {number: tuple(f"10.{number}.0.{last}" for last in (101, 102, 103)) for number in (0, 1, 2)}
    every = "garp_group {\n garp_interval 0.03\n interfaces {\n eth0 eth1\n }\n}\n"
    text = every + config(
        *(
            instance(
                tuple(f"{vip}/24" for vip in vips[number]),
                "garp_master_delay 0",
                name=f"VI_{number}",
                vrid=60 + number,
                interface=f"eth{number}",
            )
            for number in vips
        )
    )
    a.run(Ours, text)

    def times(*numbers: int) -> list[float]:
        return sorted(frame.at for n in numbers for vip in vips[n] for frame in lab.announcements(vip))

    lab.wait(lambda: len(times(0, 1, 2)) == 3 * 3 * 5, 10, "five rounds of three addresses everywhere")
    paced, free = times(0, 1), times(2)
    assert min(later - at for at, later in zip(paced, paced[1:])) > 0.03 - 0.003
    assert free[-1] - free[0] < 0.3


@pytest.mark.parametrize(("vips", "watched"), [((f"{VIP}/24",), VIP), (SIX, VIP6)], ids=["ipv4", "ipv6"])
def test_a04_advert_then_address_then_announcement(lab: Lab, vips: tuple[str, ...], watched: str) -> None:
    """The old owner lets go before the neighbours are told; the neighbours are told what is true."""
    lab["a"].run(Ours, config(instance(vips, priority=200)))
    lab.wait_owner(watched, "a", 5)
    lab["b"].run(Ours, config(instance(vips, priority=100)))
    lab.wait(lambda: "BACKUP" in lab["b"].daemon.log(), 5, "b is backup")
    order = Order(lab["b"], watched)
    lab["a"].daemon.kill()
    seen = order.seen()
    if ":" in watched:  # Linux reports an IPv6 address from a work queue, some time after it is usable
        seen.remove("address")
        assert seen == ["advert", "announcement"]
    else:
        assert seen == ["advert", "address", "announcement"]


def test_a02_a_forwarding_router_says_so(lab: Lab) -> None:
    lab["a"].sysctl(net__ipv6__conf__all__forwarding=1)
    lab["a"].run(Ours, config(instance(SIX)))
    lab.wait(lambda: lab.announcements(VIP6), 5, "announced")
    first = lab.announcements(VIP6)[0]
    assert isinstance(first, Na)
    assert first.flags == 0xA0


def test_a05_a_reload_installs_and_announces_the_new_address_alone(lab: Lab) -> None:
    a, b = lab["a"], lab["b"]
    a.run(Ours, config(instance(priority=200)))
    b.run(Ours, config(instance(priority=100)))
    lab.wait_owner(VIP, "a", 5)
    more = (f"{VIP}/24", "10.0.0.110/24")
    since = now()
    b.daemon.reload(config(instance(more, priority=100)))
    a.daemon.reload(config(instance(more, priority=200)))
    lab.wait_owner("10.0.0.110", "a", 5)
    lab.wait(lambda: len(lab.announcements("10.0.0.110", "a")) >= 5, 3, "the new address is announced")
    assert not lab.announcements(VIP, since=since)
    assert not lab.changes(VIP, since)
    assert not [f for f in lab.adverts(since=since) if f.priority == 0 or f.host == "b"]
    # ... and taken away again, alone.
    since = now()
    a.daemon.reload(config(instance(priority=200)))
    lab.wait_owner("10.0.0.110", "", 5)
    assert not lab.changes(VIP, since)


def test_a06_excluded_addresses_are_installed_and_announced_but_not_advertised(lab: Lab) -> None:
    excluded = "virtual_ipaddress_excluded {\n10.0.0.120/24\nfd00::120/64\n}"
    lab["a"].run(Ours, config(instance((f"{VIP}/24",), excluded)))
    lab.wait_owner("10.0.0.120", "a", 5)
    lab.wait_owner("fd00::120", "a", 5)
    lab.wait(lambda: lab.announcements("10.0.0.120") and lab.announcements("fd00::120"), 3, "both are announced")
    assert {f.addresses for f in lab.adverts("a")} == {(VIP,)}


def test_a07_an_address_left_by_a_crash_is_removed_at_start(lab: Lab) -> None:
    lab["b"].run(Ours, config(instance(priority=200)))
    lab.wait_owner(VIP, "b", 5)
    lab["a"].ip(f"addr add {VIP}/24 dev eth0")
    lab["a"].run(Ours, config(instance(priority=100)))
    lab.wait_owner(VIP, "b", 3)


def test_a07_an_address_that_is_there_already_does_not_hinder_a_master(lab: Lab) -> None:
    a = lab["a"]
    a.run(Ours, config(instance(state="MASTER", priority=255)))
    lab.wait_owner(VIP, "a", 5)
    a.daemon.kill()
    assert VIP in a.addresses()
    since = now()
    a.daemon.start()
    lab.wait(lambda: lab.announcements(VIP, "a", since), 5, "master again")
    lab.steady(lambda: lab.held.owners(VIP) == {"a"}, 0.5, "the address stays")


def put_back(lab: Lab, since: float) -> Callable[[], bool]:
    return lambda: [e.added for e in lab.changes(VIP, since)][-2:] == [False, True]


def test_a08_an_address_deleted_by_hand_is_put_back_and_announced(lab: Lab) -> None:
    a = lab["a"]
    a.run(Ours, config(instance(priority=200)))
    lab["b"].run(Ours, config(instance(priority=100)))
    lab.wait_owner(VIP, "a", 5)
    lab.wait(lambda: len(lab.announcements(VIP, "a")) >= 5, 3, "first block")
    since = now()
    a.ip(f"addr del {VIP}/24 dev eth0")
    lab.wait(lambda: [e.added for e in lab.changes(VIP, since)] == [False, True], 2, "the address is back")
    lab.wait(lambda: lab.announcements(VIP, "a", since), 2, "announced again")
    assert not [f for f in lab.adverts(since=since) if f.host == "b" or f.priority == 0], "nobody else noticed"
    lab.wait(lambda: f"somebody removed {VIP}" in a.daemon.log(), 2, "it is in the log")
    # Again and again, by something that fights for it: always back, and the log is not flooded.
    for _ in range(10):
        since = now()
        a.ip(f"addr del {VIP}/24 dev eth0", check=False)
        lab.wait(put_back(lab, since), 3, "back again")
    assert a.daemon.log().count("somebody removed") <= 3


def test_a10_an_ipv6_address_is_usable_at_once(lab: Lab) -> None:
    """Added without duplicate address detection, which would make it wait a second (RFC 4862 5.4)."""
    a = lab["a"]
    a.sysctl(net__ipv6__conf__all__accept_dad=1, net__ipv6__conf__eth0__accept_dad=1)
    a.run(Ours, config(instance(SIX)))
    lab.wait_owner(VIP6, "a", 5)
    flags = a.addresses()[VIP6]
    assert "tentative" not in flags
    assert "nodad" in flags
    assert lab.ping(VIP6, 1)


def test_a11_a_backup_does_not_answer_for_the_address(lab: Lab) -> None:
    lab["a"].run(Ours, config(instance(priority=200)))
    lab["b"].run(Ours, config(instance(priority=100)))
    lab.wait_owner(VIP, "a", 5)
    for _ in range(5):
        lab["c"].ip("neigh flush dev eth0")
        assert lab.ping(VIP)
        assert lab.neighbour(VIP) == lab["a"].mac


@pytest.mark.parametrize("winner", [Ours, Keepalived], ids=["ours", "keepalived"])
def test_m06_after_a_healed_partition_the_neighbours_find_the_owner(lab: Lab, winner: type[Daemon]) -> None:
    """Between two keepalived the client keeps the loser's MAC when the winner's advert is the first one heard:
    the loser yields in silence, and the winner never learns that there was another owner."""
    a, b = lab["a"], lab["b"]
    a.run(winner, config(instance(priority=200)))
    b.run(Ours, config(instance(priority=100)))
    lab.wait_owner(VIP, "a", 5)
    for attempt in range(4):
        lab.cut("a")
        lab.wait_owner(VIP, "ab", 5)
        lab.wait(lambda: lab.ping(VIP) and lab.neighbour(VIP) == b.mac, 2, "the client follows to b")
        # Heal at a chosen phase, so that either's advert comes first.
        time.sleep(max(0.0, lab.adverts("ab"[attempt % 2])[-1].at + 0.03 - now()))
        lab.heal("a")
        healed = now()
        found = lab.wait(lambda: lab.neighbour(VIP) == a.mac and lab.held.owners(VIP) == {"a"}, 2, "the client finds a")
        assert found - healed < 2  # else it was not told: it found out by itself, which takes 3.5 to 7.5 s


def test_announcements_are_frames_of_the_interface_itself(takeover: Takeover) -> None:
    for frames in takeover.frames.values():
        assert frames
        for frame in frames:
            assert frame.frame[6:12].hex(":") == takeover.host.mac
            assert not isinstance(frame, Garp) or frame.mac == takeover.host.mac
