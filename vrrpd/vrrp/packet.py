"""Adverts as bytes: decode what a peer sent, encode what we send. Both versions, both families.

In: a VRRP message (and the IP addresses its checksum covers). Out: an Advert, or PacketError whose reason
is the name of the counter. What needs a router's configuration (password, interval, peers) is checked by
engine.py; here is only what the bytes themselves decide.

VRRPv2 (RFC 3768 5.1, authentication RFC 2338 5.3.6)        VRRPv3 (RFC 9568 5.1)
     0               1               2               3          0               1               2               3
    +-------+-------+---------------+---------------+-------+  +-------+-------+---------------+---------------+-------+
    |ver = 2|type= 1|     VRID      |   Priority    | Count |  |ver = 3|type= 1|     VRID      |   Priority    | Count |
    +-------+-------+---------------+---------------+-------+  +-------+-------+---------------+---------------+-------+
    |   Auth Type   |  Adver Int s  |       Checksum        |  | rsvd  |  Max Adver Int cs     |       Checksum        |
    +---------------+---------------+-----------------------+  +-------+-----------------------+-----------------------+
    |  IPv4 address (1) .. (n), 4 bytes each                |  |  IPv4 or IPv6 address (1) .. (n), 4 or 16 bytes each  |
    +-------------------------------------------------------+  +-------------------------------------------------------+
    |  Authentication data, 8 bytes, always there           |
    +-------------------------------------------------------+

The checksum: v2 sums the message. v3 over IPv6 adds the pseudo header of RFC 8200 8.1. v3 over IPv4 was read
both ways: RFC 9568 5.2.8 (and Cisco, Juniper, Arista) sums the message, keepalived and FRR by default add a
pseudo header. Both are accepted on receipt and `Advert.pseudo_header` says which it was. keepalived before 1.3.7
had the multicast group in the pseudo header of unicast adverts too: `old_sum`.

What makes every advert another one, the trailer of auth_hmac and AH, is auth.py's: a datagram made here leaves room.
"""

from __future__ import annotations

from struct import Struct
from typing import NamedTuple, Union

from vrrpd.families import AF_INET, AF_INET6

Buffer = Union[bytes, bytearray, memoryview]

IPPROTO_VRRP, IPPROTO_AH = 112, 51
ADVERTISEMENT = 1  # the only type there is (RFC 9568 5.2.2)
AUTH_NONE, AUTH_SIMPLE, AUTH_AH = 0, 1, 2
HEADER_LENGTH = 8
OLD_GROUP = b"\xe0\x00\x00\x12"  # what keepalived before 1.3.7 sums over wherever it sends to
AUTH_LENGTH = 8
AH_LENGTH = 24  # RFC 2402 2, with 96 bits of integrity check value
TRAILER_LENGTH = 28  # of auth_hmac
ADDRESS_LENGTH = {AF_INET: 4, AF_INET6: 16}

_V2 = Struct("!BBBBBBH")
_V3 = Struct("!BBBBHH")
#  version/IHL, TOS, total length, id, flags/fragment, TTL, protocol, checksum, source, destination
_IPV4 = Struct("!BBHHHBBH4s4s")
_PSEUDO_LENGTH_IPV4 = Struct("!HH")  # zero + protocol, length
_PSEUDO_LENGTH_IPV6 = Struct("!II")  # length, zero + next header


class PacketError(Exception):
    """This datagram is not an advert for us; `reason` is the name of the counter."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Advert(NamedTuple):
    """A received advert. `addresses` is the list as it was on the wire, `adver_int` is in seconds."""

    version: int
    vrid: int
    priority: int
    adver_int: float
    addresses: bytes
    auth_type: int = AUTH_NONE
    auth_data: bytes = b""
    pseudo_header: bool = False
    old_sum: bool = False
    skew: int | None = None  # with a trailer, authentic: seconds that its sender's clock is behind ours


class Seal(NamedTuple):
    """What an advert is sealed with at the moment it is sent, and what its sequence is made of (auth.py)."""

    key: bytes
    key_id: int = 0  # of auth_hmac, 1..255; 0: AH
    window: int = 0  # seconds: the sequence is the time of day, which peers compare with theirs; 0: it only grows
    base: float = 0.0  # without a window: how far the sequence's clock is ahead of the monotonic one, seconds

    def __repr__(self) -> str:
        return f"<Seal {self.key_id}>"


class AdvertSpec(NamedTuple):
    """Everything an advert needs but the priority."""

    family: int
    version: int
    vrid: int
    advert_int: float
    addresses: tuple[bytes, ...]
    source: bytes
    destinations: tuple[bytes, ...]
    ttl: int = 255
    auth_type: int = AUTH_NONE
    auth_data: bytes = b""
    pseudo_header: bool = True
    old_sum: bool = False
    seal: Seal | None = None


def decode(
    data: Buffer,
    version: int,
    family: int,
    source: bytes,
    destination: bytes,
    skew: int | None = None,
    old_sums: bool = False,
) -> Advert:
    """The advert in `data`, a message for a router of this version and family; raises PacketError.

    With a `skew` it has the trailer of auth_hmac, which the checksum of IPv6 alone covers. `old_sums`: old_sum is
    fine too. Checked in the order of RFC 9568 7.1: version, type, completeness, checksum, then what v3 forbids.
    """
    length = len(data)
    if length < HEADER_LENGTH:
        raise PacketError("packet_len_err")
    if data[0] >> 4 != version:  # v2 knows no IPv6, so no router of ours asks for it
        raise PacketError("version_err")
    if data[0] & 0x0F != ADVERTISEMENT:
        raise PacketError("invalid_type_rcvd")
    count = data[3]
    end = HEADER_LENGTH + count * ADDRESS_LENGTH[family]
    if length != end + (AUTH_LENGTH if version == 2 else 0) + (0 if skew is None else TRAILER_LENGTH):
        raise PacketError("packet_len_err")
    if skew is not None and family == AF_INET:
        length -= TRAILER_LENGTH
        data = data[:length]

    # RFC 1071: with its checksum in place the one's complement sum is 0xffff, that is 0 modulo 0xffff.
    # Lengths are even here, so the whole message is summed as one integer.
    total = int.from_bytes(data, "big")
    if version == 2:
        if total % 0xFFFF:
            raise PacketError("checksum_err")
        return Advert(2, data[1], data[2], float(data[5]), bytes(data[8:end]), data[4], bytes(data[end:]), skew=skew)

    pseudo_header = old_sum = False
    if family == AF_INET6 or total % 0xFFFF:
        pseudo_header = True
        if (total + _pseudo_sum(family, source, destination, length)) % 0xFFFF:
            old_sum = old_sums and (total + _pseudo_sum(family, source, OLD_GROUP, length)) % 0xFFFF == 0
            if not old_sum:
                raise PacketError("checksum_err")
    adver_int_cs = (data[4] & 0x0F) << 8 | data[5]  # RFC 9568 5.2.6: the upper four bits are ignored
    if adver_int_cs == 0:  # erratum 8301: else every backup would take over at once
        raise PacketError("advert_interval_err")
    if count == 0:  # RFC 9568 5.2.5, erratum 8299
        raise PacketError("addr_list_err")
    interval, addresses = adver_int_cs / 100, bytes(data[8:end])
    return Advert(3, data[1], data[2], interval, addresses, pseudo_header=pseudo_header, old_sum=old_sum, skew=skew)


def encode(spec: AdvertSpec, priority: int, destination: bytes) -> bytes:
    """The VRRP message, checksum included. ValueError when the wire cannot carry it."""
    count = len(spec.addresses)
    if not 1 <= spec.vrid <= 255:
        raise ValueError(f"virtual_router_id: {spec.vrid} is outside 1..255")
    if not 0 <= priority <= 255:
        raise ValueError(f"priority: {priority} is outside 0..255")
    if count > 255:
        raise ValueError(f"virtual_ipaddress: {count} addresses do not fit, the most is 255")
    first = spec.version << 4 | ADVERTISEMENT
    body = b"".join(spec.addresses)
    if spec.version == 2:
        seconds = round(spec.advert_int)
        if not 1 <= seconds <= 255:
            raise ValueError(f"advert_int: {spec.advert_int:g} s is outside 1..255 s")
        body += spec.auth_data.ljust(AUTH_LENGTH, b"\0")
        header = _V2.pack(first, spec.vrid, priority, count, spec.auth_type, seconds, 0)
        total = int.from_bytes(header + body, "big")
    else:
        adver_int_cs = round(spec.advert_int * 100)
        if not 1 <= adver_int_cs <= 4095:
            raise ValueError(f"advert_int: {spec.advert_int:g} s is outside 0.01..40.95 s")
        header = _V3.pack(first, spec.vrid, priority, count, adver_int_cs, 0)
        total = int.from_bytes(header + body, "big")
        if spec.family == AF_INET6 or spec.pseudo_header:
            summed = OLD_GROUP if spec.old_sum else destination
            total += _pseudo_sum(spec.family, spec.source, summed, len(header) + len(body))
    return header[:6] + (-total % 0xFFFF).to_bytes(2, "big") + body


def datagrams(spec: AdvertSpec, priority: int) -> tuple[tuple[bytes, bytes], ...]:
    """(destination, datagram) to send: with its IP header for IPv4 (IP_HDRINCL), the bare message for IPv6.

    TOS 0xc0 (internetwork control) as keepalived and FRR, DF clear. Id and checksum 0: the kernel fills them.
    Where the spec has a seal it is still to be put on: the trailer is missing, AH is there and empty.
    """
    out = []
    protocol, gap, more = IPPROTO_VRRP, b"", 0
    if spec.seal is not None and spec.seal.key_id:
        more = TRAILER_LENGTH
    elif spec.seal is not None:
        protocol, gap = IPPROTO_AH, bytes(AH_LENGTH)
    for destination in spec.destinations:
        message = encode(spec, priority, destination)
        if spec.family == AF_INET:
            length = _IPV4.size + len(gap) + len(message) + more
            header = _IPV4.pack(0x45, 0xC0, length, 0, 0, spec.ttl, protocol, 0, spec.source, destination)
            message = header + gap + message
        out.append((destination, message))
    return tuple(out)


def _pseudo_sum(family: int, source: bytes, destination: bytes, length: int) -> int:
    """The pseudo header as a number congruent to its one's complement sum."""
    tail = _PSEUDO_LENGTH_IPV4 if family == AF_INET else _PSEUDO_LENGTH_IPV6
    words = (IPPROTO_VRRP, length) if family == AF_INET else (length, IPPROTO_VRRP)
    return int.from_bytes(source + destination + tail.pack(*words), "big")
