"""What the kernel hands to our sockets: IP headers of every shape, many groups, lost notifications."""

from __future__ import annotations

import select
import socket
import struct
import subprocess
import time
from collections.abc import Iterator

import pytest

from lab import checksum, in_namespace, ip_packet, new_namespace, packed, vrrp3
from vrrpd.net import netlink
from vrrpd.net.links import Links
from vrrpd.net.sockets import Datagram, Receiver

SOL_PACKET, PACKET_QDISC_BYPASS = 263, 20
GROUP = packed("224.0.0.18")
SENDER = "10.0.0.9"
MESSAGE = vrrp3(51, 200, ("10.0.0.100",), SENDER)


def ip(*lines: str) -> None:
    subprocess.run(["ip", "-batch", "-"], input="\n".join(lines), text=True, check=True)


@pytest.fixture
def inside() -> Iterator[None]:
    """The test runs in a fresh network namespace."""
    with in_namespace(new_namespace()):
        yield


@pytest.fixture
def wire(inside: None) -> Iterator[tuple[Receiver, socket.socket]]:
    """A receiver on one end of a cable, a packet socket on the other."""
    ip("link add here type veth peer name there", "link set there up", "link set here up",
       "address add 10.0.0.2/24 dev here")  # fmt: skip
    receiver = Receiver(socket.if_nametoindex("here"), socket.AF_INET)
    receiver.listen([GROUP], [51])
    sender = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
    # The queue of an interface drops everything until the kernel's link watch has come round: pass by it.
    sender.setsockopt(SOL_PACKET, PACKET_QDISC_BYPASS, 1)
    sender.bind(("there", 0))
    yield receiver, sender
    receiver.close()
    sender.close()


def heard(receiver: Receiver) -> list[Datagram]:
    """Everything up to EXPECTED, which each test sends last. On a busy machine a veth delivers after send returned."""
    found: list[Datagram] = []
    end = time.monotonic() + 5
    while EXPECTED not in found and (left := end - time.monotonic()) > 0:
        select.select([receiver], [], [], left)
        found += [receiver.split(packet) for packet in receiver.read(100)]
    return found


EXPECTED = (packed(SENDER), GROUP, 255, MESSAGE)


def with_header(first: int, options: bytes = b"", total: int | None = None, message: bytes = MESSAGE) -> bytes:
    """An Ethernet frame whose IPv4 header says what we want it to."""
    total = 20 + len(options) + len(message) if total is None else total
    head = struct.pack("!BBHHHBBH", first, 0xC0, total, 1, 0, 255, 112, 0) + packed(SENDER) + GROUP + options
    head = head[:10] + struct.pack("!H", checksum(head)) + head[12:]
    return ip_packet(SENDER, MESSAGE)[:14] + head + message


def test_p07_ethernet_padding_is_cut_off(wire: tuple[Receiver, socket.socket]) -> None:
    receiver, sender = wire
    frame = ip_packet(SENDER, MESSAGE)
    assert len(frame) < 60
    sender.send(frame.ljust(60, b"\xaa"))
    assert heard(receiver) == [EXPECTED]


@pytest.mark.parametrize("words", [6, 15])
def test_p08_ip_options_are_stripped(wire: tuple[Receiver, socket.socket], words: int) -> None:
    receiver, sender = wire
    sender.send(with_header(0x40 | words, options=b"\x01" * (4 * (words - 5))))  # no operation
    assert heard(receiver) == [EXPECTED]


def test_p09_a_lying_ip_header_goes_nowhere(wire: tuple[Receiver, socket.socket]) -> None:
    receiver, sender = wire
    sender.send(with_header(0x44))
    sender.send(with_header(0x4F))  # beyond the datagram
    sender.send(with_header(0x45, total=len(MESSAGE) + 60))  # longer than what was received
    sender.send(with_header(0x45, total=12))
    broken = bytearray(with_header(0x45))
    broken[24] ^= 1  # the header's own checksum
    sender.send(bytes(broken))
    sender.send(with_header(0x45))
    assert heard(receiver) == [EXPECTED]


def test_p21_other_ids_are_dropped_by_the_kernel(wire: tuple[Receiver, socket.socket]) -> None:
    receiver, sender = wire
    for vrid in (50, 52, 0, 255):
        sender.send(ip_packet(SENDER, vrrp3(vrid, 200, ("10.0.0.100",), SENDER)))
    sender.send(ip_packet(SENDER, MESSAGE))
    assert heard(receiver) == [EXPECTED]


def test_i10_more_than_20_groups_on_one_interface(inside: None) -> None:
    """igmp_max_memberships is 20 for a socket: one for each interface never meets it."""
    ip(*(f"link add d{n} type veth peer name e{n}\nlink set d{n} up" for n in range(30)))
    receivers = [Receiver(socket.if_nametoindex(f"d{n}"), socket.AF_INET) for n in range(30)]
    for receiver in receivers:
        receiver.listen([GROUP], range(1, 256))
        receiver.close()


def test_i09_after_an_overrun_the_links_are_read_anew(inside: None) -> None:
    """Notifications were lost: the next reading says so, and reading everything gives the truth, no false fault."""
    ip(
        "link add d0 type veth peer name e0",
        "link set d0 addrgenmode none",
        "link set e0 up",
        "link set d0 up",
        "address add 10.0.0.2/24 dev d0",
    )
    links, monitor = Links(), netlink.Monitor()
    monitor._sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2304)
    links.load()
    index = socket.if_nametoindex("d0")
    before = links.get(index)
    ip(*(f"address add 10.0.0.{n}/24 dev d0\naddress del 10.0.0.{n}/24 dev d0" for n in range(10, 60)))
    with pytest.raises(netlink.Overrun):
        links.read(monitor.events(), ())
    changes = links.load()
    assert not changes.gone
    assert links.get(index) == before
    ip("address add 10.0.0.200/24 dev d0", "address del 10.0.0.2/24 dev d0", "link set d0 down")
    changes = links.load()
    assert index in changes.changed
    assert (index, packed("10.0.0.2"), 24) in changes.removed
    now = links.get(index)
    assert now is not None
    assert not now.up
    monitor.close()
