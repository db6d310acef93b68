"""Routes and rules as requests and as news: what was packed by routes.py and rules.py, carried out and recognized.

`filled` puts the indexes of interfaces into a packed body, `add` and `delete` make requests of it for
netlink.Requests, `key` names the entry that a body or a notification is about. `Monitor` hears of removals only, and
of those only what bears one of our protocol numbers: the kernel throws everything else away before it wakes us, so
that a full routing table in motion costs nothing here.
"""

from __future__ import annotations

import errno
import socket
import struct
from collections.abc import Iterable, Sequence

from vrrpd.net import netlink
from vrrpd.net.netlink import NLM_F_CREATE, NLM_F_EXCL, RTM_DELADDR, RTM_NEWADDR, Event
from vrrpd.net.sockets import Instruction, attach_filter

ROUTE, RULE, ADDRESS = "route", "rule", "address"
RTM_NEWROUTE, RTM_DELROUTE, RTM_NEWRULE, RTM_DELRULE = 24, 25, 32, 33
_DELETE = {ROUTE: RTM_DELROUTE, RULE: RTM_DELRULE, ADDRESS: RTM_DELADDR}
RTNLGRP_IPV4_ROUTE, RTNLGRP_IPV4_RULE, RTNLGRP_IPV6_ROUTE, RTNLGRP_IPV6_RULE = 7, 8, 11, 19
RTPROT_KEEPALIVED = 18  # linux/rtnetlink.h; what bears it is ours, or a keepalived's
AF_INET, AF_INET6 = 2, 10

# What "already there" and "not there" look like.
PRESENT = frozenset({errno.EEXIST})
ABSENT = frozenset({errno.ESRCH, errno.ENOENT, errno.ENODEV, errno.EADDRNOTAVAIL})

_SOL_NETLINK, _NETLINK_ADD_MEMBERSHIP = 270, 1
_INDEX = struct.Struct("=I")
_HEADER = struct.Struct("=BBBBBBBBI")  # rtmsg, and fib_rule_hdr with the action where the type is
_HEADER_SIZE = _HEADER.size
_IFADDRMSG, _IFA_LOCAL = 8, 2
# What tells one entry from another: of a route destination, source, priority and table, of a rule all that it has.
_ROUTE_KEY = frozenset({1, 2, 6, 15})  # RTA_DST, RTA_SRC, RTA_PRIORITY, RTA_TABLE
_RULE_KEY = frozenset({1, 2, 3, 4, 6, 10, 15, 16, 17})  # FRA_DST .. FRA_PRIORITY, FRA_FWMARK, FRA_TABLE, ..._OIFNAME
_PRIORITY, _TABLE, _FWMARK, _FWMASK = 6, 15, 10, 16
_DEFAULT_PRIORITY6 = struct.pack("=I", 1024)  # IP6_RT_PRIO_USER

Key = tuple[object, ...]
Request = tuple[int, int, bytes]


def filled(body: bytes, offsets: Iterable[int], indexes: Iterable[int]) -> bytes:
    """The body with the indexes of its interfaces in their places."""
    data = bytearray(body)
    for offset, ifindex in zip(offsets, indexes):
        _INDEX.pack_into(data, offset, ifindex)
    return bytes(data)


def add(kind: str, body: bytes, mode: int = 0) -> Request:
    """`mode`: NLM_F_APPEND or NLM_F_EXCL of a route; it goes before its like where neither is said."""
    if kind == ADDRESS:
        return RTM_NEWADDR, NLM_F_CREATE | NLM_F_EXCL, body
    if kind == RULE:
        # Without NLM_F_EXCL the kernel takes the same rule any number of times.
        return RTM_NEWRULE, NLM_F_CREATE | NLM_F_EXCL, body
    return RTM_NEWROUTE, NLM_F_CREATE | mode, body


def delete(kind: str, body: bytes) -> Request:
    return _DELETE[kind], 0, body


def key(kind: str, body: bytes | memoryview) -> Key:
    """The same for the body that added an entry and for the kernel's word that it is gone."""
    family, dst_len, src_len, tos, table, _, _, action, _ = _HEADER.unpack_from(body)
    wanted = _RULE_KEY if kind == RULE else _ROUTE_KEY
    found = {
        number: bytes(value)
        for number, value in netlink.attributes(memoryview(body)[_HEADER_SIZE:])
        if number in wanted
    }
    found.setdefault(_TABLE, _INDEX.pack(table))
    if kind == ROUTE:
        if family == AF_INET6:
            found.setdefault(_PRIORITY, _DEFAULT_PRIORITY6)
        elif found.get(_PRIORITY) == bytes(4):
            del found[_PRIORITY]
    elif _FWMARK in found:
        found.setdefault(_FWMASK, b"\xff" * 4)
    return kind, family, dst_len, src_len, tos, action, tuple(sorted(found.items()))


def address(body: bytes) -> tuple[bytes, int]:
    """The address that the body of an ADDRESS adds, and its prefix length."""
    (found,) = (value for number, value in netlink.attributes(memoryview(body)[_IFADDRMSG:]) if number == _IFA_LOCAL)
    return bytes(found), body[1]


def removed(event: Event) -> Key | None:
    """What a notification says is gone; None for anything else."""
    if event.type not in (RTM_DELROUTE, RTM_DELRULE) or len(event.body) < _HEADER_SIZE:
        return None
    return key(RULE if event.type == RTM_DELRULE else ROUTE, event.body)


class Monitor(netlink.Monitor):
    """Removals of routes whose protocol is among `protocols`, and of rules where there are any of ours."""

    def __init__(self, groups: Sequence[int], protocols: Sequence[int]) -> None:
        super().__init__(0)
        attach_filter(self._sock, _filter(protocols))
        for group in groups:
            self._sock.setsockopt(_SOL_NETLINK, _NETLINK_ADD_MEMBERSHIP, group)


def groups(entries: Iterable[tuple[str, int]]) -> list[int]:
    """Of (kind, family)."""
    numbers = {
        (ROUTE, AF_INET): RTNLGRP_IPV4_ROUTE,
        (ROUTE, AF_INET6): RTNLGRP_IPV6_ROUTE,
        (RULE, AF_INET): RTNLGRP_IPV4_RULE,
        (RULE, AF_INET6): RTNLGRP_IPV6_RULE,
    }
    return sorted({numbers[entry] for entry in entries})


def _filter(protocols: Sequence[int]) -> list[Instruction]:
    """nlmsg_type at 4, rtm_protocol at 16 + 5. The filter reads in network order, the messages are in the machine's."""
    load_half, load_byte, equal, result = 0x28, 0x30, 0x15, 0x06
    count = len(protocols)
    return [
        (load_half, 0, 0, 4),
        (equal, count + 3, 0, socket.htons(RTM_DELRULE)),
        (equal, 0, count + 1, socket.htons(RTM_DELROUTE)),
        (load_byte, 0, 0, 16 + 5),
        *((equal, count - index, 0, number) for index, number in enumerate(protocols)),
        (result, 0, 0, 0),
        (result, 0, 0, 0xFFFFFFFF),
    ]
