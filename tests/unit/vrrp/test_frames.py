"""Adverts and announcements from a virtual MAC address, byte by byte (RFC 9568 5.1.1, 5.1.2, 7.3)."""

from __future__ import annotations

from simulator import packed

from vrrpd.model.vrrp import AF_INET, AF_INET6
from vrrpd.vrrp import frames
from vrrpd.vrrp.packet import AdvertSpec, datagrams

MAC, MAC6 = bytes.fromhex("00005e000133"), bytes.fromhex("00005e000233")


def spec(family: int, source: str, group: str, vip: str) -> AdvertSpec:
    return AdvertSpec(family, 3, 51, 1.0, (packed(vip),), packed(source), (packed(group),))


def test_ipv4_advert() -> None:
    made = spec(AF_INET, "10.0.0.2", "224.0.0.18", "10.0.0.100")
    ((destination, datagram),) = datagrams(made, 200)
    frame = frames.advert(MAC, made.source, destination, datagram)
    assert frame[:14].hex() == "01005e00001200005e0001330800"
    header, message = frame[14:34], frame[34:]
    assert int.from_bytes(header, "big") % 0xFFFF == 0, "the header's checksum, which the kernel would fill in"
    assert header[8:10] == bytes((255, 112))
    assert header[12:] == made.source + destination
    assert message == datagram[20:]


def test_ipv6_advert() -> None:
    made = spec(AF_INET6, "fe80::2", "ff02::12", "fe80::100")
    ((destination, message),) = datagrams(made, 200)
    frame = frames.advert(MAC6, made.source, destination, message)
    assert frame[:14].hex() == "33330000001200005e00023386dd"
    assert frame[14:18].hex() == "6c000000"
    assert frame[18:22] == len(message).to_bytes(2, "big") + bytes((112, 255))
    assert frame[22:54] == made.source + destination
    assert frame[54:] == message


def test_an_announcement_from_a_virtual_mac_is_a_reply_to_itself() -> None:
    """A request would be answered by a former owner that has not let go yet, with the virtual MAC as its source."""
    frame = frames.gratuitous_arp(MAC, packed("10.0.0.100"), virtual=True)
    assert frame[:14].hex() == "ffffffffffff00005e0001330806"
    assert frame[20:22] == b"\0\2"
    assert frame[22:32] == frame[32:42] == MAC + packed("10.0.0.100")
