"""net/ against the kernel, with pyroute2 as the oracle: what we pack is understood, what we read is what is there."""

from __future__ import annotations

import errno
import os
import random
import socket
import struct
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from pyroute2 import IPRoute

from lab import in_namespace, new_namespace
from vrrpd.net import addresses, netlink
from vrrpd.net.links import Interface, Links
from vrrpd.net.sockets import AF_INET, AF_INET6, Receiver, Sender

NODAD, PERMANENT = 0x02, 0x80
SYSCTLS = {
    "ipv6/conf/default/addr_gen_mode": "1",  # no link-local addresses that come by themselves
    "ipv4/conf/all/accept_local": "1",  # both ends of the pair are ours
    "ipv4/conf/default/accept_local": "1",
}


@pytest.fixture
def namespace() -> Iterator[int]:
    """A namespace with a veth pair, both ends up."""
    fd = new_namespace()
    with in_namespace(fd), IPRoute() as ipr:
        for path, value in SYSCTLS.items():
            Path("/proc/sys/net", path).write_text(value)
        ipr.link("add", ifname="eth0", kind="veth", peer={"ifname": "eth1"})
        for name in ("lo", "eth0", "eth1"):
            ipr.link("set", index=ipr.link_lookup(ifname=name)[0], state="up")
    yield fd
    os.close(fd)


@pytest.fixture
def oracle(namespace: int) -> Iterator[IPRoute]:
    with in_namespace(namespace):
        ipr = IPRoute()
    yield ipr
    ipr.close()


@pytest.fixture
def requests(namespace: int) -> Iterator[netlink.Requests]:
    with in_namespace(namespace):
        made = netlink.Requests()
    yield made
    made.close()


def eth0(oracle: IPRoute, name: str = "eth0") -> int:
    index: int = oracle.link_lookup(ifname=name)[0]
    return index


def seen(oracle: IPRoute, index: int, family: int) -> dict[tuple[str, int], dict[str, object]]:
    """What pyroute2 reads: (address, prefix length) -> its attributes, link-local ones of the kernel's own left out."""
    found = {}
    for message in oracle.get_addr(index=index, family=family):
        address = message.get_attr("IFA_LOCAL") or message.get_attr("IFA_ADDRESS")
        found[address, message["prefixlen"]] = {**dict(message["attrs"]), "scope": message["scope"]}
    return found


def packed(text: str) -> bytes:
    return socket.inet_pton(AF_INET6 if ":" in text else AF_INET, text)


@pytest.mark.parametrize("count", [1, netlink.BATCH, 3 * netlink.BATCH + 7])
def test_a_batch_adds_and_removes_what_pyroute2_sees(oracle: IPRoute, requests: netlink.Requests, count: int) -> None:
    index = eth0(oracle)
    wanted = [(f"10.7.{i >> 8}.{i & 255}", 24) for i in range(count)]
    wanted6 = [(f"fd00::{i:x}", 64) for i in range(1, count + 1)]
    everything = [(packed(text), length) for text, length in wanted + wanted6]
    assert set(requests.run([addresses.add(index, *entry) for entry in everything])) == {0}
    assert set(seen(oracle, index, AF_INET)) == set(wanted)
    six = seen(oracle, index, AF_INET6)
    assert {key for key in six if not key[0].startswith("fe80")} == set(wanted6)
    flags = {six[key]["IFA_FLAGS"] for key in wanted6}
    assert flags == {NODAD | PERMANENT}, "usable at once: not tentative"
    assert set(requests.run([addresses.delete(index, *entry) for entry in everything])) <= {0, errno.EADDRNOTAVAIL}
    assert not seen(oracle, index, AF_INET)


def test_the_options_of_an_address(oracle: IPRoute, requests: netlink.Requests) -> None:
    index = eth0(oracle)
    plain = addresses.add(index, packed("10.7.0.1"), 24)
    rich = addresses.add(index, packed("10.8.0.1"), 24, packed("10.8.0.255"), 253, "eth0:vip")
    host6 = addresses.add(index, packed("fd00::1"), 128)
    careful6 = addresses.add(index, packed("fd00::2"), 64, dad=True)
    assert requests.run([plain, rich, host6, careful6]) == [0, 0, 0, 0]
    four, six = seen(oracle, index, AF_INET), seen(oracle, index, AF_INET6)
    assert four["10.7.0.1", 24]["IFA_LABEL"] == "eth0"
    assert "IFA_BROADCAST" not in four["10.7.0.1", 24]
    assert four["10.8.0.1", 24]["IFA_LABEL"] == "eth0:vip"
    assert four["10.8.0.1", 24]["IFA_BROADCAST"] == "10.8.0.255"
    assert four["10.8.0.1", 24]["scope"] == 253
    lifetimes = six["fd00::1", 128]["IFA_CACHEINFO"]
    assert isinstance(lifetimes, dict)
    assert (lifetimes["ifa_preferred"], lifetimes["ifa_valid"]) == (0, 0xFFFFFFFF), "never a source by itself"
    flags = six["fd00::2", 64]["IFA_FLAGS"]
    assert isinstance(flags, int)
    assert not flags & NODAD


def test_answers_come_by_position_and_do_not_stop_the_batch(oracle: IPRoute, requests: netlink.Requests) -> None:
    index = eth0(oracle)
    one, two = packed("10.7.0.1"), packed("10.7.0.2")
    codes = requests.run(
        [
            addresses.add(index, one, 24),
            addresses.add(index, one, 24),
            addresses.delete(index, two, 24),
            addresses.add(9999, two, 24),
            addresses.add(index, two, 24),
        ]
    )
    assert codes[0] == codes[4] == 0
    assert codes[1] in addresses.PRESENT
    assert codes[2] in addresses.ABSENT
    assert codes[3] == errno.ENODEV
    assert set(seen(oracle, index, AF_INET)) == {("10.7.0.1", 24), ("10.7.0.2", 24)}


def told(links: Links) -> dict[str, Interface]:
    return {interface.name: interface for interface in links}


def follow(links: Links, monitor: netlink.Monitor, oracle: IPRoute) -> None:
    """Until both tell the same: carrier and operational state change a moment after the command."""
    until = time.monotonic() + 3
    while True:
        links.read(monitor.events())
        try:
            return agree(links, oracle)
        except AssertionError:
            if time.monotonic() > until:
                raise


def agree(links: Links, oracle: IPRoute) -> None:
    """The table and pyroute2 have the same interfaces with the same addresses."""
    mine = told(links)
    theirs = {message.get_attr("IFLA_IFNAME"): message for message in oracle.get_links()}
    assert set(mine) == set(theirs)
    for name, message in theirs.items():
        interface = mine[name]
        assert interface.ifindex == message["index"]
        assert interface.mtu == message.get_attr("IFLA_MTU")
        assert interface.up == (message["flags"] & 0x41 == 0x41)
        assert interface.mac.hex(":") == message.get_attr("IFLA_ADDRESS", "")
        known = {(a.address, a.prefixlen) for a in interface.addresses}
        both = {**seen(oracle, interface.ifindex, AF_INET), **seen(oracle, interface.ifindex, AF_INET6)}
        assert known == {(packed(text), length) for text, length in both}


def test_the_link_table_follows_the_kernel_through_anything(namespace: int, oracle: IPRoute) -> None:
    rng = random.Random(51)
    with in_namespace(namespace):
        monitor, links = netlink.Monitor(), Links()
        links.load()
        agree(links, oracle)
        names = ["eth0"]
        for step in range(60):
            index = eth0(oracle, names[0])
            address = f"10.9.{step >> 4}.{step & 15}"
            act = rng.choice(["add", "add6", "del", "down", "up", "mtu", "rename", "peer", "replace"])
            if act == "add":
                oracle.addr("add", index=index, address=address, prefixlen=rng.choice([24, 32]))
            elif act == "add6" and told(links)[names[0]].mtu >= 1280:
                oracle.addr("add", index=index, address=f"fd00::{step + 1:x}", prefixlen=64, flags=NODAD)
            elif act == "del":
                for text, length in list(seen(oracle, index, AF_INET))[:1]:
                    oracle.addr("del", index=index, address=text, prefixlen=length)
            elif act in ("down", "up"):
                oracle.link("set", index=index, state=act)
            elif act == "mtu":
                oracle.link("set", index=index, mtu=rng.choice([1400, 1500, 9000]))
            elif act == "rename":
                oracle.link("set", index=index, state="down")
                names = [f"net{step}"]
                oracle.link("set", index=index, ifname=names[0])
            elif act == "peer":
                oracle.link("set", index=eth0(oracle, "eth1"), state=rng.choice(["up", "down"]))
            elif act == "replace":
                oracle.link("del", index=index)
                names = ["eth0"]
                oracle.link("add", ifname="eth0", kind="veth", peer={"ifname": "eth1"})
                for name in ("eth0", "eth1"):
                    oracle.link("set", index=eth0(oracle, name), state="up")
            follow(links, monitor, oracle)
        monitor.close()


def test_an_overrun_is_noticed_and_a_new_dump_tells_the_difference(namespace: int, oracle: IPRoute) -> None:
    index = eth0(oracle)
    oracle.addr("add", index=index, address="10.7.0.1", prefixlen=24)
    with in_namespace(namespace):
        monitor, links = netlink.Monitor(), Links()
        monitor._sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        links.load()
        oracle.addr("del", index=index, address="10.7.0.1", prefixlen=24)
        for number in range(40):
            oracle.addr("add", index=index, address=f"10.7.1.{number}", prefixlen=24)
        with pytest.raises(netlink.Overrun):
            list(monitor.events())
        changes = links.load()
        monitor.close()
    assert changes.changed == [index]
    assert changes.removed == [(index, packed("10.7.0.1"), 24)]
    assert len([a for a in told(links)["eth0"].addresses if len(a.address) == 4]) == 40


def test_what_we_did_ourselves_is_in_the_table_but_no_news(namespace: int, oracle: IPRoute) -> None:
    index = eth0(oracle)
    with in_namespace(namespace):
        requests, monitor = netlink.Requests(), netlink.Monitor()
        links = Links(requests.port)
        links.load()
        ours = (index, packed("10.7.0.1"), 24)
        requests.run([addresses.add(*ours)])
        assert links.read(monitor.events(), {ours}) == ([], [], [], False)
        assert links.holds(*ours)
        oracle.addr("del", index=index, address="10.7.0.1", prefixlen=24)
        assert links.read(monitor.events(), {ours}) == ([index], [], [ours], False)
        requests.close()
        monitor.close()


def message(vrid: int, length: int = 20) -> bytes:
    return struct.pack("!BB", 0x31, vrid).ljust(length, b"\0")[:length]


@pytest.mark.parametrize("family", [AF_INET, AF_INET6])
@pytest.mark.parametrize("ids", [{51}, {1, 32, 255}, set(range(1, 256))])
def test_the_kernel_passes_our_router_ids_and_what_is_too_short_to_have_one(
    namespace: int, oracle: IPRoute, family: int, ids: set[int]
) -> None:
    near, far = eth0(oracle), eth0(oracle, "eth1")
    group = packed("224.0.0.18" if family == AF_INET else "ff02::12")
    oracle.addr("add", index=far, address="10.7.0.9", prefixlen=24)
    oracle.addr("add", index=far, address="fe80::9", prefixlen=64, flags=NODAD)
    source = packed("10.7.0.9" if family == AF_INET else "fe80::9")
    with in_namespace(namespace):
        receiver, sender = Receiver(near, family), Sender(far, family)
    receiver.listen([group], ids)
    sent = [message(vrid) for vrid in (1, 31, 32, 33, 51, 64, 255)]
    if family == AF_INET:  # over IPv6 the kernel itself wants room for a checksum
        sent.append(message(51, 1))
    for data in sent:
        head = struct.pack("!BBHHHBBH", 0x45, 0xC0, 20 + len(data), 0, 0, 255, 112, 0) + source + group
        assert sender.send(group, head + data if family == AF_INET else data, source), os.strerror(sender.last_error)
    got = [(bytes(d.data), d.source, d.destination, d.ttl) for d in map(receiver.split, receiver.read(100))]
    if family == AF_INET6:  # its checksum was filled in by the kernel
        got = [(data[:6] + b"\0\0" + data[8:], *rest) for data, *rest in got]
    expected = [data for data in sent if len(data) < 2 or data[1] in ids]
    assert got == [(data, source, group, 255) for data in expected]
    receiver.close()
    sender.close()


def test_a_sender_that_hears_nothing_and_a_receiver_of_one_interface(namespace: int, oracle: IPRoute) -> None:
    """Nothing of ours comes back, and the other interface's adverts are not ours."""
    near, far = eth0(oracle), eth0(oracle, "eth1")
    oracle.addr("add", index=near, address="10.7.0.8", prefixlen=24)
    oracle.addr("add", index=far, address="10.7.0.9", prefixlen=24)
    group = packed("224.0.0.18")
    with in_namespace(namespace):
        here, there, sender = Receiver(near, AF_INET), Receiver(far, AF_INET), Sender(near, AF_INET)
    here.listen([group], {51})
    there.listen([group], {51})
    data = message(51)
    head = struct.pack("!BBHHHBBH", 0x45, 0xC0, 20 + len(data), 0, 0, 255, 112, 0) + packed("10.7.0.8") + group
    sender.send(group, head + data)
    assert not list(here.read(10)), "no loop back"
    assert len(list(there.read(10))) == 1
    for thing in (here, there, sender):
        thing.close()


def test_the_kernel_counts_what_a_full_receiver_lost(namespace: int, oracle: IPRoute) -> None:
    near, far = eth0(oracle), eth0(oracle, "eth1")
    oracle.addr("add", index=far, address="10.7.0.9", prefixlen=24)
    group = packed("224.0.0.18")
    with in_namespace(namespace):
        receiver, sender = Receiver(near, AF_INET), Sender(far, AF_INET)
    receiver._sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2304)
    receiver.listen([group], {51})
    data = message(51)
    head = struct.pack("!BBHHHBBH", 0x45, 0xC0, 20 + len(data), 0, 0, 255, 112, 0) + packed("10.7.0.9") + group
    for _ in range(50):
        sender.send(group, head + data)
    got = len(list(receiver.read(100)))
    assert 0 < got < 50
    assert receiver.dropped() == 50 - got
    receiver.close()
    sender.close()
