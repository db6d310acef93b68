"""Whole Ethernet frames, as bytes; net/ sends them: where an address now lives, and adverts from a virtual MAC.

In: the MAC that carries the address, and the address, or an advert as packet.py made it. The announcements are those
of keepalived and FRR byte for byte, so that whatever learns from theirs learns from ours; but for the virtual MAC.
"""

from __future__ import annotations

from struct import Struct

from vrrpd.vrrp.packet import IPPROTO_VRRP

BROADCAST = b"\xff" * 6
ALL_NODES = b"\xff\x02" + bytes(13) + b"\x01"
ALL_NODES_MAC = b"\x33\x33\x00\x00\x00\x01"

NA_ROUTER = 0x80000000
NA_OVERRIDE = 0x20000000

#  Ethernet: destination, source, type | ARP: hardware, protocol, lengths, opcode, sender MAC and IP, target MAC and IP
_ARP = Struct("!6s6sH HHBBH 6s4s6s4s")

#  Ethernet | IPv6: version/class/flow, payload length, next header, hop limit, source, destination
#  | ICMPv6: type, code, checksum, flags, target | option 2 (target link-layer address), length 1 (8 bytes), MAC
_ETHER_IPV6 = Struct("!6s6sH IHBB16s16s")
_NA = Struct("!BBHI16s BB6s")


def gratuitous_arp(mac: bytes, address: bytes, virtual: bool = False) -> bytes:
    """An ARP request for `address` from itself, broadcast (RFC 5227 3: an announcement).

    From a virtual MAC a reply to itself: nobody has to learn another address, only the switches. A request would be
    answered, with the virtual MAC, by a former owner that still has the address, and they would turn to that one.
    """
    if virtual:
        return _ARP.pack(BROADCAST, mac, 0x0806, 1, 0x0800, 6, 4, 2, mac, address, mac, address)
    return _ARP.pack(BROADCAST, mac, 0x0806, 1, 0x0800, 6, 4, 1, mac, address, BROADCAST, address)


def unsolicited_na(mac: bytes, address: bytes, router: bool) -> bytes:
    """A neighbour advertisement nobody asked for, to all nodes (RFC 4861 7.2.6): O set, S clear, R as we forward."""
    flags = NA_OVERRIDE | (NA_ROUTER if router else 0)
    # RFC 8200 8.1: the sum covers source, destination, length and next header too.
    pseudo = address + ALL_NODES + (_NA.size).to_bytes(4, "big") + b"\x00\x00\x00\x3a"
    bare = _NA.pack(136, 0, 0, flags, address, 2, 1, mac)
    checksum = -int.from_bytes(pseudo + bare, "big") % 0xFFFF
    header = _ETHER_IPV6.pack(ALL_NODES_MAC, mac, 0x86DD, 0x60000000, _NA.size, 58, 255, address, ALL_NODES)
    return header + bare[:2] + checksum.to_bytes(2, "big") + bare[4:]


def advert(mac: bytes, source: bytes, destination: bytes, datagram: bytes) -> bytes:
    """A multicast advert (`packet.datagrams`) as the frame that leaves from `mac` (RFC 9568 5.1.1, 7.3)."""
    if len(destination) == 16:
        group = b"\x33\x33" + destination[12:]  # RFC 2464 7
        # RFC 9568 5.1.2: hop limit 255; traffic class 0xc0 as all adverts have it
        header = _ETHER_IPV6.pack(group, mac, 0x86DD, 0x6C000000, len(datagram), IPPROTO_VRRP, 255, source, destination)
        return header + datagram
    group = b"\x01\x00\x5e" + bytes([destination[1] & 0x7F]) + destination[2:]  # RFC 1112 6.4
    checksum = -int.from_bytes(datagram[:20], "big") % 0xFFFF
    return group + mac + b"\x08\x00" + datagram[:10] + checksum.to_bytes(2, "big") + datagram[12:]
