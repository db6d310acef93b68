"""Virtual MAC addresses on the wire, in the neighbours' caches and in the kernel: use_vmac and its companions.

RFC 9568 7.3: adverts come from the virtual MAC, and so does every answer for the address. A switch learns from each
frame where a MAC address lives, therefore whoever is not MASTER may send nothing from it, ever: `Senders` looks at
every frame of a port. protocol.md I02.
"""

from __future__ import annotations

import contextlib
import glob
import json
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from test_upgrade import release, upgrade

from lab import (
    ETH_P_ALL,
    ROOT,
    SO_TIMESTAMPNS,
    VRRP,
    Daemon,
    Host,
    Keepalived,
    Lab,
    Ours,
    Prober,
    clock_offset,
    config,
    in_namespace,
    instance,
    now,
    stamp,
)

VIP, VIP6 = "10.0.0.100", "fd00::100"
MAC, MAC6 = "00:00:5e:00:01:33", "00:00:5e:00:02:33"
NAME = "vrrp.51"


class Family(NamedTuple):
    vip: str
    vips: tuple[str, ...]
    mac: str


FOUR = Family(VIP, (f"{VIP}/24",), MAC)
SIX = Family(VIP6, ("fe80::100/64", f"{VIP6}/64"), MAC6)
FAMILIES = pytest.mark.parametrize("family", [FOUR, SIX], ids=["ipv4", "ipv6"])


def links(host: Host) -> dict[str, dict[str, Any]]:
    """Interfaces by name, addresses included."""
    return {link["ifname"]: link for link in json.loads(host.command("ip", "-d", "-j", "addr", "show"))}


def on(host: Host, name: str) -> set[str]:
    """The addresses of an interface; none where there is no such interface."""
    return {info["local"] for info in links(host).get(name, {}).get("addr_info", ())}


def ifindex(host: Host, name: str) -> int:
    return int(links(host).get(name, {}).get("ifindex", 0))


def sysctls(host: Host) -> dict[str, str]:
    """Every setting of IPv4 and IPv6 interfaces that this namespace has."""
    found = {}
    with host.inside():
        for path in glob.glob("/proc/sys/net/ipv[46]/conf/*/*"):
            with contextlib.suppress(OSError):
                found[path] = Path(path).read_text()
    return found


def vmac(family: Family = FOUR, *lines: str, priority: int = 100, **more: Any) -> str:
    return instance(family.vips, "use_vmac", *lines, priority=priority, **more)


def pair(
    lab: Lab, family: Family = FOUR, a: type[Daemon] = Ours, b: type[Daemon] = Ours, *lines: str, interval: float = 0.1
) -> None:
    """a (priority 200) is master, b (100) backup, both with use_vmac."""
    lab["b"].run(b, config(vmac(family, *lines, interval=interval)))
    lab["a"].run(a, config(vmac(family, *lines, priority=200, interval=interval)))
    lab.wait_owner(family.vip, "a", 8)
    lab.wait(lambda: "BACKUP" in lab["b"].daemon.log(), 5, "b is backup")


class Senders:
    """Every frame that comes out of a host, by source MAC address."""

    def __init__(self, lab: Lab, name: str) -> None:
        with in_namespace(lab.switch):
            self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
            self._socket.bind((f"p{name}", ETH_P_ALL))
            self._socket.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
        self._socket.settimeout(0.05)
        self.frames: list[tuple[float, str, bytes]] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._stop.is_set():
            with contextlib.suppress(TimeoutError, socket.timeout):
                data, control, _, sender = self._socket.recvmsg(2048, 64)
                if sender[2] != socket.PACKET_OUTGOING and control:
                    self.frames.append((stamp(control[0][2]) - clock_offset(), data[6:12].hex(":"), data))

    def of(self, mac: str, since: float = 0) -> list[bytes]:
        return [frame for at, source, frame in list(self.frames) if source == mac and at >= since]

    def close(self) -> None:
        self._stop.set()
        self._thread.join()
        self._socket.close()


def is_advert(frame: bytes) -> bool:
    return frame[20 if frame[12:14] == b"\x86\xdd" else 23] == VRRP


@contextlib.contextmanager
def senders(lab: Lab, name: str) -> Iterator[Senders]:
    seen = Senders(lab, name)
    try:
        yield seen
    finally:
        seen.close()


# ---------------------------------------------------------------------------------------------- on the wire
@FAMILIES
def test_adverts_announcements_and_answers_have_the_virtual_mac(lab: Lab, family: Family) -> None:
    """RFC 9568 7.3, 8.1.2, 8.2.3."""
    a, c = lab["a"], lab["c"]
    a.run(Ours, config(vmac(family)))
    lab.wait_owner(family.vip, "a", 5)
    assert family.vip in on(a, NAME)
    assert family.vip not in on(a, "eth0")
    assert {advert.frame[6:12].hex(":") for advert in lab.adverts("a")} == {family.mac}
    lab.wait(lambda: len(lab.announcements(family.vip, "a")) >= 5, 3, "announcements")
    for frame in lab.announcements(family.vip, "a"):
        assert frame.frame[6:12].hex(":") == family.mac
        assert bytes.fromhex(family.mac.replace(":", "")) in frame.frame[14:]
    # The router asks for the client in its turn, and with its own MAC address: the client must not learn that one.
    a.ip("neigh flush dev eth0")
    c.ip("neigh flush dev eth0")
    lab.wait(lambda: lab.ping(family.vip), 3, "the address answers")
    a.ip("neigh flush dev eth0")
    lab.wait(lambda: lab.ping(family.vip), 3, "the address answers")
    assert lab.neighbour(family.vip) == family.mac
    own = a.address6 if family is SIX else a.address
    assert lab.ping(own)
    assert lab.neighbour(own) == a.mac


@FAMILIES
def test_vmac_xmit_base_adverts_from_the_interface_and_answers_from_the_virtual_mac(lab: Lab, family: Family) -> None:
    a = lab["a"]
    a.run(Ours, config(vmac(family, "vmac_xmit_base")))
    lab.wait_owner(family.vip, "a", 5)
    lab.wait(lambda: lab.adverts("a"), 3, "the advert behind the address")
    assert {advert.frame[6:12].hex(":") for advert in lab.adverts("a")} == {a.mac}
    lab.wait(lambda: lab.ping(family.vip), 3, "the address answers")
    assert lab.neighbour(family.vip) == family.mac


def test_names_and_mac_addresses_of_our_own(lab: Lab) -> None:
    a = lab["a"]
    a.run(Ours, config(
        instance((VIP,), "use_vmac inside.51 02:11:22:33:44:55", priority=200),
        instance(("10.0.0.101",), "use_vmac 02:11:22:33:44", name="VI_2", vrid=52),
        globals=("vmac_prefix lb",),
    ))  # fmt: skip
    lab.wait_owner(VIP, "a", 5)
    lab.wait_owner("10.0.0.101", "a", 5)
    found = links(a)
    assert found["inside.51"]["address"] == "02:11:22:33:44:55"
    assert found["lb.52"]["address"] == "02:11:22:33:44:34"
    assert lab.ping("10.0.0.101")
    assert lab.neighbour("10.0.0.101") == "02:11:22:33:44:34"


def test_use_vmac_addr_gives_other_interfaces_and_the_other_family_theirs(lab: Lab) -> None:
    a = lab["a"]
    a.ip(
        "link add eth1 type veth peer name far1",
        "link set eth1 up",
        "link set far1 up",
        "addr add 10.1.0.2/24 dev eth1",
    )
    text = instance((f"{VIP}/24", "10.1.0.100/24 dev eth1"), "use_vmac", "use_vmac_addr")
    excluded = f"    virtual_ipaddress_excluded {{\n        {VIP6}/64\n    }}\n}}"
    a.run(Ours, config(text.rstrip("\n")[:-1] + excluded))
    lab.wait_owner(VIP, "a", 5)
    lab.wait_owner(VIP6, "a", 5)
    found = links(a)
    by_mac = {(link.get("link"), link["address"]): name for name, link in found.items() if "vrrp" in name}
    assert set(by_mac) == {("eth0", MAC), ("eth1", MAC), ("eth0", MAC6)}
    assert on(a, by_mac["eth1", MAC]) == {"10.1.0.100"}
    assert on(a, by_mac["eth0", MAC6]) == {VIP6}
    lab.wait(lambda: lab.ping(VIP6), 3, "the excluded address answers")
    assert lab.neighbour(VIP6) == MAC6
    a.daemon.stop()
    assert not any("vrrp" in name for name in links(a))


def test_on_top_of_a_macvlan(lab: Lab) -> None:
    """As a container's interface often is one: the kernel takes the interface below it."""
    for host in (lab["a"], lab["b"]):
        # In a container it is in another namespace; here it must not answer for us.
        host.sysctl(net__ipv4__conf__eth0__arp_ignore=1, net__ipv4__conf__eth0__arp_announce=2)
        host.ip(
            "link add mv0 link eth0 type macvlan mode bridge",
            f"addr add 10.0.0.{host.number + 20}/24 dev mv0",
            "link set mv0 up",
        )
    lab["a"].run(Ours, config(vmac(priority=200, interface="mv0")))
    lab["b"].run(Ours, config(vmac(interface="mv0")))
    lab.wait_owner(VIP, "a", 8)
    lab.wait(lambda: lab.ping(VIP), 3, "it answers")
    assert lab.neighbour(VIP) == MAC
    lab["a"].daemon.stop()
    lab.wait_owner(VIP, "b", 8)
    assert NAME not in links(lab["a"])


def test_many_on_one_interface(lab: Lab) -> None:
    """Several VRIDs, one of them twice, for IPv4 and for IPv6; all fail over."""

    def every(priority: int) -> str:
        four = [
            vmac(Family(f"10.0.0.{vrid}", (f"10.0.0.{vrid}/24",), ""), priority=priority, vrid=vrid, name=f"V{vrid}")
            for vrid in range(51, 59)
        ]
        return config(*four, vmac(SIX, priority=priority, name="V6"))

    lab["b"].run(Ours, every(100))
    lab["a"].run(Ours, every(200))
    vips = [f"10.0.0.{vrid}" for vrid in range(51, 59)] + [VIP6]
    for vip in vips:
        lab.wait_owner(vip, "a", 8)
    for winner in "ba":
        lab["a"].daemon.stop() if winner == "b" else lab["a"].run(Ours, every(200))
        for vip in vips:
            lab.wait_owner(vip, winner, 8)
            lab.wait(lambda vip=vip: lab.ping(vip), 3, f"{vip} answers")  # type: ignore[misc]
            assert lab.neighbour(vip) == (MAC6 if vip == VIP6 else f"00:00:5e:00:01:{int(vip[7:]):02x}")


# ---------------------------------------------------------------------------------------------- the election
@FAMILIES
@pytest.mark.parametrize("forwarding", [0, 1], ids=["host", "router"])
def test_a_backup_sends_nothing_from_the_virtual_mac(lab: Lab, family: Family, forwarding: int) -> None:
    """Not at its start, not when it yields: no listener report (a router joins groups too), no solicitation."""
    for host in (lab["a"], lab["b"]):
        host.sysctl(net__ipv6__conf__all__forwarding=forwarding, net__ipv4__ip_forward=forwarding)
    lab["a"].run(Ours, config(vmac(family, priority=200)))
    lab.wait_owner(family.vip, "a", 5)
    with senders(lab, "b") as b, senders(lab, "a") as a:
        lab["b"].run(Ours, config(vmac(family)))
        lab.wait(lambda: "BACKUP" in lab["b"].daemon.log(), 5, "b is backup")
        time.sleep(1.5)  # reports are repeated within a second
        assert not b.of(family.mac)
        lab["a"].daemon.stop()
        lab.wait_owner(family.vip, "b", 5)
        assert b.of(family.mac)
        lab["a"].run(Ours, config(vmac(family, priority=200)))
        lab.wait_owner(family.vip, "a", 5)
        lab.wait(lambda: a.of(family.mac), 3, "a adverts")
        time.sleep(0.1)
        since = now()
        time.sleep(1.5)
        assert not b.of(family.mac, since)
        assert a.of(family.mac, since)


@FAMILIES
def test_the_old_master_is_silent_once_the_new_one_has_spoken(lab: Lab, family: Family) -> None:
    """keepalived's answers to the announcement of its successor, and with that the switch's table is wrong."""
    pair(lab, family)
    for _ in range(3):
        lab["a"].daemon.stop()
        lab.wait_owner(family.vip, "b", 5)
        with senders(lab, "b") as b:
            since = now()
            lab["a"].run(Ours, config(vmac(family, priority=200)))
            lab.wait_owner(family.vip, "a", 8)
            lab.wait(lambda since=since: len(lab.adverts("a", since=since)) > 3, 3, "adverts")  # type: ignore[misc]
            last = [at for at, source, frame in b.frames if source == lab["b"].mac and is_advert(frame)]
            assert last, "it yields with a last advert, from its own MAC address"
            assert not b.of(family.mac, last[0])


@pytest.mark.parametrize("peer", [Ours, Keepalived], ids=["ours", "keepalived"])
def test_a_preemption_does_not_interrupt(lab: Lab, peer: type[Daemon]) -> None:
    """keepalived loses a whole interval, 1 s here, almost always. What it costs to the millisecond: bench/failover."""
    pair(lab, FOUR, Ours, peer)
    lab["a"].daemon.stop()
    lab.wait_owner(VIP, "b", 8)
    lab.wait(lambda: lab.ping(VIP), 3, "the address answers")
    prober = Prober(lab, VIP, 0.005)
    lab["a"].run(Ours, config(vmac(priority=200)))
    lab.wait_owner(VIP, "a", 8)
    time.sleep(0.3)
    prober.stop()
    assert prober.longest_gap() < 0.08


@FAMILIES
@pytest.mark.parametrize(
    ("a", "b", "lines"),
    [
        (Ours, Keepalived, ()),
        (Keepalived, Ours, ()),
        (Ours, Keepalived, ("vmac_xmit_base",)),
        pytest.param(Keepalived, Ours, ("vmac_xmit_base",), marks=pytest.mark.full),
    ],
    ids=["ours-keepalived", "keepalived-ours", "ours-keepalived-xmit_base", "keepalived-ours-xmit_base"],
)
def test_with_keepalived(lab: Lab, family: Family, a: type[Daemon], b: type[Daemon], lines: tuple[str, ...]) -> None:
    """The peer's adverts come from our own virtual MAC address, and must be heard all the same."""
    pair(lab, family, a, b, *lines, interval=0.3)
    since = now()
    lab.steady(lambda: lab.held.owners(family.vip) == {"a"}, 1.5, "b hears a")
    assert not lab.adverts("b", since=since)
    lab["a"].daemon.stop()
    lab.wait_owner(family.vip, "b", 8)
    lab.wait(lambda: lab.ping(family.vip), 3, "b answers")
    lab["a"].run(a, config(vmac(family, *lines, priority=200, interval=0.3)))
    lab.wait_owner(family.vip, "a", 8)
    lab.wait(lambda: lab.ping(family.vip), 3, "a answers")
    lab.steady(lambda: lab.held.owners(family.vip) == {"a"}, 1.5, "b hears a again")


@pytest.mark.parametrize("peer", [Ours, Keepalived], ids=["ours", "keepalived"])
def test_with_a_peer_without_use_vmac(lab: Lab, peer: type[Daemon]) -> None:
    """The election does not depend on MAC addresses."""
    lab["b"].run(peer, config(instance((f"{VIP}/24",))))
    lab["a"].run(Ours, config(vmac(priority=200)))
    lab.wait_owner(VIP, "a", 8)
    lab["a"].daemon.stop()
    lab.wait_owner(VIP, "b", 8)
    lab["a"].run(Ours, config(vmac(priority=200)))
    lab.wait_owner(VIP, "a", 8)
    lab.steady(lambda: lab.held.owners(VIP) == {"a"}, 1, "one owner")


# ---------------------------------------------------------------------------------------------- what remains
@FAMILIES
def test_after_a_stop_everything_is_as_before(lab: Lab, family: Family) -> None:
    a = lab["a"]
    a.sysctl(net__ipv4__conf__all__rp_filter=1)
    before, names = sysctls(a), set(links(a))
    a.run(Ours, config(vmac(family, priority=200)))
    lab.wait_owner(family.vip, "a", 5)
    lab.wait(lambda: lab.ping(family.vip), 3, "the address answers, in spite of a strict rp_filter")
    assert a.daemon.stop() == 0
    assert set(links(a)) == names
    assert sysctls(a) == before


def test_a_setting_that_somebody_changed_meanwhile_is_not_put_back(lab: Lab) -> None:
    a = lab["a"]
    a.run(Ours, config(vmac()))
    lab.wait_owner(VIP, "a", 5)
    a.sysctl(net__ipv4__conf__eth0__arp_announce=1)
    a.daemon.stop()
    assert sysctls(a)["/proc/sys/net/ipv4/conf/eth0/arp_announce"] == "1\n"
    assert sysctls(a)["/proc/sys/net/ipv4/conf/eth0/arp_ignore"] == "0\n"


@FAMILIES
def test_after_sigkill_of_everything_the_will_leaves_nothing(lab: Lab, family: Family) -> None:
    a = lab["a"]
    before, names = sysctls(a), set(links(a))
    a.run(Ours, config(vmac(family, priority=200)))
    lab.wait_owner(family.vip, "a", 5)
    a.daemon.kill()
    assert family.vip in on(a, NAME)
    with a.inside():
        argv = [sys.executable, "-m", "vrrpd", "--execute-will", "-p", str(a.daemon.pidfile)]
        done = subprocess.run(argv, capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr
    assert set(links(a)) == names
    assert sysctls(a) == before


def test_the_next_start_goes_on_with_what_sigkill_left(lab: Lab) -> None:
    a = lab["a"]
    before, names = sysctls(a), set(links(a))
    text = config(vmac(priority=200))
    killed = a.run(Ours, text, tag="one")
    lab.wait_owner(VIP, "a", 5)
    index = ifindex(a, NAME)
    killed.kill()
    killed.start()
    lab.wait(lambda: killed.vrrp_pidfile.exists(), 5, "it runs again")
    lab.wait(lambda: "INIT -> BACKUP" in killed.log().split("removed", 1)[-1], 5, "a new start")
    lab.wait_owner(VIP, "a", 5)
    assert ifindex(a, NAME) == index
    killed.stop()
    assert set(links(a)) == names
    assert sysctls(a) == before


def test_what_keepalived_left_is_taken_over(lab: Lab) -> None:
    """A migration: its macvlan is of another mode, in which we would not hear our peer."""
    a = lab["a"]
    a.run(Keepalived, config(vmac(priority=200)))
    lab.wait_owner(VIP, "a", 8)
    index = ifindex(a, NAME)
    a.daemon.kill()
    lab["b"].run(Ours, config(vmac(priority=150)))
    lab.wait(lambda: VIP in lab.held.by_host["b"], 5, "b takes over")
    a.run(Ours, config(vmac(priority=100)))
    lab.wait_owner(VIP, "b", 5)
    assert ifindex(a, NAME) == index
    lab.steady(lambda: lab.held.owners(VIP) == {"b"}, 1, "a hears b")


def test_a_crash_of_the_vrrp_process_keeps_the_interface(lab: Lab) -> None:
    a = lab["a"]
    a.run(Ours, config(vmac()))
    lab.wait_owner(VIP, "a", 5)
    lab.wait(lambda: len(lab.adverts("a")) > 5, 3, "adverts")
    index, pid, since = ifindex(a, NAME), a.daemon.vrrp_pid(), now()
    a.daemon.signal(signal.SIGKILL, [pid])
    lab.wait(lambda: a.daemon.vrrp_pidfile.read_text().strip() not in ("", str(pid)), 5, "a new vrrp process")
    lab.wait(lambda: len(lab.adverts("a", since=since)) > 5, 3, "adverts go on")
    assert not lab.changes(VIP, since), "it was adopted"
    # The first advert of an adoption is sent from the will, which does not use the virtual MAC address.
    assert lab.adverts("a")[-1].frame[6:12].hex(":") == MAC
    assert ifindex(a, NAME) == index


def test_a_reload_hands_the_interface_over(lab: Lab) -> None:
    pair(lab)
    a = lab["a"]
    index, since = ifindex(a, NAME), now()
    a.daemon.reload(config(vmac(priority=199)))
    lab.wait(lambda: lab.adverts("a")[-1].priority == 199, 5, "the new priority")
    lab.steady(lambda: lab.held.owners(VIP) == {"a"}, 0.5, "one owner")
    assert not lab.changes(VIP, since)
    assert {advert.frame[6:12].hex(":") for advert in lab.adverts("a", since=since)} == {MAC}
    assert not lab.adverts("b", since=since)
    assert ifindex(a, NAME) == index


def test_an_upgrade_finds_the_interface_and_puts_everything_back_in_the_end(lab: Lab) -> None:
    a = lab["a"]
    before, names = sysctls(a), set(links(a))
    pair(lab)
    index, since = ifindex(a, NAME), now()
    assert upgrade(a.ours, release(lab, "2.0"))["ok"]
    assert a.ours.status()["version"] == "2.0"
    lab.wait(lambda: len(lab.adverts("a", since=since)) > 3, 5, "adverts go on")
    assert not lab.changes(VIP, since)
    assert not lab.adverts("b", since=since)
    assert {advert.frame[6:12].hex(":") for advert in lab.adverts("a", since=since)} == {MAC}
    assert ifindex(a, NAME) == index
    a.daemon.stop()
    assert set(links(a)) == names
    assert sysctls(a) == before


# ---------------------------------------------------------------------------------------------- changes
def test_a_reload_touches_only_what_it_changes(lab: Lab) -> None:
    a = lab["a"]
    stays = vmac(priority=200)
    other = ("10.0.0.101/24",)
    lab["b"].run(Ours, config(vmac()))
    a.run(Ours, config(stays, instance(other, name="VI_2", vrid=52)))
    lab.wait_owner(VIP, "a", 5)
    lab.wait_owner(other[0][:-3], "a", 5)
    index, since = ifindex(a, NAME), now()

    a.daemon.reload(config(stays, instance(other, "use_vmac", name="VI_2", vrid=52)))
    lab.wait(lambda: on(a, "vrrp.52") == {"10.0.0.101"}, 5, "VI_2 moves to its virtual interface")
    lab.wait(lambda: "10.0.0.101" not in on(a, "eth0"), 5, "and leaves the other")
    lab.wait(lambda: lab.ping("10.0.0.101"), 3, "it answers")
    a.daemon.reload(config(stays, instance(other, name="VI_2", vrid=52)))
    lab.wait(lambda: "vrrp.52" not in links(a), 5, "the interface goes when nobody wants it")
    lab.wait(lambda: "10.0.0.101" in on(a, "eth0"), 5, "the address is back")
    a.daemon.reload(config(stays))
    lab.wait_owner("10.0.0.101", "", 5)

    assert ifindex(a, NAME) == index
    assert not lab.changes(VIP, since)
    assert not lab.announcements(VIP, since=since + 5.5)  # but for garp_master_delay
    assert not lab.adverts("b", since=since)


def test_a_reload_gives_the_interface_another_name(lab: Lab) -> None:
    """Two with one MAC address cannot be up at a time: the new one is as soon as the former has gone."""
    a = lab["a"]
    a.run(Ours, config(vmac()))
    lab.wait_owner(VIP, "a", 5)
    a.daemon.reload(config(instance((f"{VIP}/24",), "use_vmac vip")))
    lab.wait(lambda: NAME not in links(a) and on(a, "vip") == {VIP}, 5, "on the interface of the new name")
    lab.wait(lambda: lab.ping(VIP), 3, "it answers")


def test_a_new_interface_stays_beside_static_items(lab: Lab) -> None:
    """Its coming has the static items looked at, while the configuration in force does not know it yet."""
    a = lab["a"]
    static = "static_routes {\n 198.51.100.0/24 via 10.0.0.254 dev eth0\n}\n"
    a.run(Ours, static + config(instance()))
    lab.wait_owner(VIP, "a", 5)
    a.daemon.reload(static + config(vmac()))
    lab.wait(lambda: on(a, NAME) == {VIP}, 5, "on its virtual interface")
    assert a.daemon.log().count(f"made macvlan {NAME}") == 1
    assert "FAULT" not in a.daemon.log()


def test_i02_the_virtual_interface_goes_down(lab: Lab) -> None:
    pair(lab)
    a = lab["a"]
    a.ip(f"link set {NAME} down")
    lab.wait_owner(VIP, "b", 5)
    assert a.ours.instance()["faults"] == [f"interface {NAME} is down"]
    a.ip(f"link set {NAME} up")
    lab.wait_owner(VIP, "a", 5)


def test_i02_the_virtual_interface_is_deleted(lab: Lab) -> None:
    """It is made again, after an election."""
    pair(lab)
    a = lab["a"]
    index = ifindex(a, NAME)
    a.ip(f"link del {NAME}")
    lab.wait(lambda: ifindex(a, NAME) not in (0, index), 5, "made again")
    lab.wait(lambda: lab.held.owners(VIP) == {"a"} and VIP in on(a, NAME), 8, "a has it again")
    lab.wait(lambda: lab.ping(VIP), 3, "it answers")


def test_the_interface_below_is_deleted_or_renamed(lab: Lab) -> None:
    pair(lab)
    a = lab["a"]
    lab.new_link("a")
    lab.wait_owner(VIP, "b", 5)
    a.ip("link set eth0 up", *a.own_addresses())
    lab.wait_owner(VIP, "a", 8)
    assert VIP in on(a, NAME)

    a.ip("link set eth0 down", "link set eth0 name other", "link set other up", *(
        line.replace("dev eth0", "dev other") for line in a.own_addresses()[1:]
    ))  # fmt: skip
    lab.wait_owner(VIP, "b", 5)
    assert "interface eth0 does not exist" in a.ours.instance()["faults"]
    a.ip("link set other down", "link set other name eth0", "link set eth0 up", *a.own_addresses()[1:], check=False)
    lab.wait_owner(VIP, "a", 8)
    assert links(a)[NAME]["link"] == "eth0"


def test_the_link_of_the_interface_below_makes_the_fault(lab: Lab) -> None:
    pair(lab)
    lab.unplug("a")
    lab.wait_owner(VIP, "b", 5)
    assert lab["a"].ours.instance()["faults"] == ["interface eth0 is down"]
    lab.plug("a")
    lab.wait_owner(VIP, "a", 5)


class Confined(Ours):
    """As in an unprivileged container: it may not write below /proc/sys."""

    def argv(self) -> list[str]:
        script = 'mount --bind /proc/sys /proc/sys && mount -o remount,bind,ro /proc/sys && exec "$@"'
        return ["unshare", "--mount", "sh", "-c", script, "sh", *super().argv()]


@FAMILIES
def test_with_read_only_sysctls(lab: Lab, family: Family) -> None:
    """Those of IPv4 and the mode of addresses can be set through netlink; of the rest one line tells."""
    a = lab["a"]
    before, names = sysctls(a), set(links(a))
    a.run(Confined, config(vmac(family)))
    lab.wait_owner(family.vip, "a", 5)
    a.ip("neigh flush dev eth0")
    lab.wait(lambda: lab.ping(family.vip), 3, "the address answers")
    assert lab.neighbour(family.vip) == family.mac
    assert on(a, NAME) <= {family.vip, "fe80::100"}, "no address of its own making"
    assert a.daemon.log().count("/proc/sys is not to be written here") == 1
    a.daemon.stop()
    assert set(links(a)) == names
    assert sysctls(a) == before


# ---------------------------------------------------------------------------------------------- what cannot be
def test_an_interface_of_that_name_is_there_already(lab: Lab) -> None:
    """Its instance says so; the others run; the stranger is left alone."""
    a = lab["a"]
    a.ip(f"link add {NAME} type veth peer name far1")
    a.run(Ours, config(vmac(), instance(("10.0.0.101/24",), "use_vmac", name="VI_2", vrid=52)))
    lab.wait_owner("10.0.0.101", "a", 5)
    why = f"there is another interface {NAME} (veth), use_vmac needs another name"
    assert a.ours.instance()["state"] == "FAULT"
    assert a.ours.instance()["faults"] == [why]
    assert a.daemon.log().count(why) == 2  # the guard's line and the transition
    a.ip(f"link del {NAME}")
    lab.wait_owner(VIP, "a", 8)
    a.daemon.stop()
    assert NAME not in links(a)


def test_ipvlan(lab: Lab) -> None:
    """Where this kernel has it; else FAULT with the reason, and no crash."""
    a = lab["a"]
    a.ip("link add try0 link eth0 type ipvlan mode l2", check=False)
    supported = "try0" in links(a)
    a.ip("link del try0", check=False)
    before = set(links(a))
    a.run(Ours, config(instance((f"{VIP}/24",), "use_ipvlan ipv.51 10.0.0.51")))
    if supported:
        lab.wait_owner(VIP, "a", 5)
        assert on(a, "ipv.51") == {"10.0.0.51"}
        assert VIP in on(a, "eth0")
        assert lab.adverts("a")[-1].source == "10.0.0.51"
        lab.wait(lambda: lab.ping(VIP), 3, "the address answers")
    else:
        lab.wait(lambda: "FAULT" in a.daemon.log(), 5, "it gives up")
        assert a.ours.instance()["state"] == "FAULT"
        assert a.ours.instance()["faults"] == ["this kernel has no ipvlan (CONFIG_IPVLAN): ipv.51 cannot be made"]
        assert not lab.adverts("a")
    assert a.daemon.stop() == 0
    assert set(links(a)) == before
