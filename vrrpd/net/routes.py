"""A route as the body of an rtnetlink request (rtnetlink(7), linux/rtnetlink.h), packed once when it is configured.

In: a Route, whose interfaces are names. Out: rtmsg with its attributes, and the places in it where the indexes of
those interfaces belong, which only the running machine knows (routing.py fills them in). The same bytes add a route
and remove exactly that one: the kernel compares every field that it is given.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

from vrrpd.net.netlink import attribute
from vrrpd.net.routing import RTPROT_KEEPALIVED

AF_INET, AF_INET6 = 2, 10

RT_TABLE_MAIN = 254
RT_SCOPE_UNIVERSE, RT_SCOPE_LINK, RT_SCOPE_HOST = 0, 253, 254
RTN_UNICAST, RTN_LOCAL, RTN_BROADCAST, RTN_ANYCAST, RTN_MULTICAST, RTN_NAT = 1, 2, 3, 4, 5, 10
RTNH_F_ONLINK = 4

RTA_DST, RTA_SRC, RTA_OIF, RTA_GATEWAY, RTA_PRIORITY, RTA_PREFSRC, RTA_METRICS = 1, 2, 4, 5, 6, 7, 8
RTA_MULTIPATH, RTA_FLOW, RTA_TABLE, RTA_VIA, RTA_PREF, RTA_ENCAP_TYPE, RTA_ENCAP = 9, 11, 15, 18, 20, 21, 22
RTA_EXPIRES, RTA_TTL_PROPAGATE = 23, 26
RTAX_LOCK = 1

RTMSG = struct.Struct("=BBBBBBBBI")  # family, lengths of dst and src, tos, table, protocol, scope, type, flags
_NEXTHOP = struct.Struct("=HBBi")  # rtnexthop: length, flags, weight less one, interface index
_U16, _U32 = struct.Struct("=H"), struct.Struct("=I")
_ATTRIBUTE_HEAD = 4

Holes = tuple[tuple[int, str], ...]


class Nexthop(NamedTuple):
    """One way. `gateway` may be of the other family (RTA_VIA); `encap` is (type, attributes) of a tunnel."""

    gateway: bytes = b""
    dev: str = ""
    weight: int = 1
    onlink: bool = False
    realms: int = 0
    encap: tuple[int, bytes] | None = None


class Route(NamedTuple):
    """`metrics`: RTAX_* and values ready as bytes. `hops`: none of a blackhole, one as usual, or several."""

    family: int
    dst: bytes = b""
    dst_len: int = 0
    src: bytes = b""
    src_len: int = 0
    prefsrc: bytes = b""
    tos: int = 0
    table: int = RT_TABLE_MAIN
    protocol: int = RTPROT_KEEPALIVED
    scope: int | None = None  # None: global, or what the type needs
    type: int = RTN_UNICAST
    priority: int | None = None
    hops: tuple[Nexthop, ...] = ()
    metrics: tuple[tuple[int, bytes], ...] = ()
    lock: int = 0  # bits of the metrics that the kernel must not change
    pref: int | None = None
    expires: int | None = None
    ttl_propagate: int | None = None


def pack(route: Route) -> tuple[bytes, Holes]:
    """rtmsg with its attributes, 0 where an interface index belongs, and (offset, name) of those places."""
    one = route.hops[0] if len(route.hops) == 1 else None
    table = route.table if route.table < 256 else 0
    scope = _scope(route) if route.scope is None else route.scope
    flags = RTNH_F_ONLINK if one is not None and one.onlink else 0
    body = bytearray(
        RTMSG.pack(
            route.family, route.dst_len, route.src_len, route.tos, table, route.protocol, scope, route.type, flags
        )
    )
    holes: list[tuple[int, str]] = []
    for kind, value in ((RTA_DST, route.dst), (RTA_SRC, route.src), (RTA_PREFSRC, route.prefsrc)):
        if value:
            body += attribute(kind, value)
    body += attribute(RTA_TABLE, _U32.pack(route.table))
    if route.priority is not None:
        body += attribute(RTA_PRIORITY, _U32.pack(route.priority))
    if one is not None:
        if one.dev:
            holes.append((len(body) + _ATTRIBUTE_HEAD, one.dev))
            body += attribute(RTA_OIF, _U32.pack(0))
        body += _way(route.family, one)
    elif route.hops:
        start = len(body) + _ATTRIBUTE_HEAD
        ways = bytearray()
        for hop in route.hops:
            way = _way(route.family, hop)
            if hop.dev:
                holes.append((start + len(ways) + 4, hop.dev))
            ways += _NEXTHOP.pack(8 + len(way), RTNH_F_ONLINK if hop.onlink else 0, hop.weight - 1, 0) + way
        body += attribute(RTA_MULTIPATH, bytes(ways))
    if route.metrics or route.lock:
        metrics = attribute(RTAX_LOCK, _U32.pack(route.lock)) if route.lock else b""
        metrics += b"".join(attribute(kind, value) for kind, value in route.metrics)
        body += attribute(RTA_METRICS, metrics)
    if route.pref is not None:
        body += attribute(RTA_PREF, bytes([route.pref]))
    if route.expires is not None:
        body += attribute(RTA_EXPIRES, _U32.pack(route.expires))
    if route.ttl_propagate is not None:
        body += attribute(RTA_TTL_PROPAGATE, bytes([route.ttl_propagate]))
    return bytes(body), tuple(holes)


def _scope(route: Route) -> int:
    """As keepalived; ip(8) gives a route without a gateway the scope link."""
    if route.family == AF_INET and route.type in (RTN_LOCAL, RTN_NAT):
        return RT_SCOPE_HOST
    if route.family == AF_INET and route.type in (RTN_BROADCAST, RTN_MULTICAST, RTN_ANYCAST):
        return RT_SCOPE_LINK
    return RT_SCOPE_UNIVERSE


def _way(family: int, hop: Nexthop) -> bytes:
    found = b""
    if hop.gateway:
        other = AF_INET if len(hop.gateway) == 4 else AF_INET6
        if other == family:
            found += attribute(RTA_GATEWAY, hop.gateway)
        else:
            found += attribute(RTA_VIA, _U16.pack(other) + hop.gateway)
    if hop.realms:
        found += attribute(RTA_FLOW, _U32.pack(hop.realms))
    if hop.encap is not None:
        kind, data = hop.encap
        found += attribute(RTA_ENCAP_TYPE, _U16.pack(kind)) + attribute(RTA_ENCAP | 0x8000, data)  # NLA_F_NESTED
    return found
