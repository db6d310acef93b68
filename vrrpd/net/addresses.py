"""An interface address as an rtnetlink request: compiled to bytes, carried out by netlink.Requests.

Adding is idempotent for the caller: EEXIST is an answer, as ENOENT-like codes are for removing. IPv6 addresses
are added without duplicate address detection unless asked for (a tentative second at promotion would be an outage).
"""

from __future__ import annotations

import errno
import struct

from vrrpd.net.netlink import (
    NLM_F_CREATE,
    NLM_F_EXCL,
    NLM_F_REPLACE,
    RTM_DELADDR,
    RTM_NEWADDR,
    attribute,
)

IFA_ADDRESS, IFA_LOCAL, IFA_LABEL, IFA_BROADCAST, IFA_CACHEINFO, IFA_FLAGS = 1, 2, 3, 4, 6, 8
IFA_F_NODAD, IFA_F_DADFAILED, IFA_F_TENTATIVE, IFA_F_PERMANENT = 0x02, 0x08, 0x40, 0x80

AF_INET, AF_INET6 = 2, 10
FOREVER = 0xFFFFFFFF
_HEADER = struct.Struct("=BBBBI")  # ifaddrmsg: family, prefix length, flags, scope, interface index
_CACHEINFO = struct.Struct("=IIII")  # preferred, valid, created, changed
_U32 = struct.Struct("=I")

Request = tuple[int, int, bytes]

# What "already there" and "not there" look like: no address, no such interface any more.
PRESENT = frozenset({errno.EEXIST})
ABSENT = frozenset({errno.EADDRNOTAVAIL, errno.ENODEV, errno.ENOENT})


def add(
    ifindex: int,
    address: bytes,
    prefixlen: int,
    broadcast: bytes | None = None,
    scope: int = 0,
    label: str = "",
    dad: bool = False,
    lifetime: int = 0,
    renew: bool = False,
    peer: bytes | None = None,
    flags: int = 0,
    preferred: int | None = None,
) -> Request:
    """RTM_NEWADDR that fails with EEXIST rather than changing an address that is there.

    `lifetime` in seconds, 0 for ever. With `renew` an address that is there gets this lifetime from now on.
    `preferred`: seconds until it is no source of new connections any more, not longer than its lifetime.
    """
    parts = [attribute(IFA_LOCAL, address), attribute(IFA_ADDRESS, peer or address)]
    if len(address) == 4:
        if broadcast is not None:
            parts.append(attribute(IFA_BROADCAST, broadcast))
        if label:
            parts.append(attribute(IFA_LABEL, label.encode() + b"\0"))
        head = _HEADER.pack(AF_INET, prefixlen, 0, scope, ifindex)
    else:
        flags |= 0 if dad else IFA_F_NODAD
        if preferred is None and prefixlen == 128:
            # As keepalived: an address without a subnet is never preferred as source of outgoing traffic.
            preferred = 0
        head = _HEADER.pack(AF_INET6, prefixlen, flags & 0xFF, 0, ifindex)
    if flags > 0xFF or (flags and len(address) == 4):
        parts.append(attribute(IFA_FLAGS, _U32.pack(flags)))
    if lifetime or renew or preferred is not None:
        valid = lifetime or FOREVER
        preferred = valid if preferred is None else min(preferred, valid)
        parts.append(attribute(IFA_CACHEINFO, _CACHEINFO.pack(preferred, valid, 0, 0)))
    return RTM_NEWADDR, NLM_F_CREATE | (NLM_F_REPLACE if renew else NLM_F_EXCL), head + b"".join(parts)


def delete(ifindex: int, address: bytes, prefixlen: int, peer: bytes | None = None) -> Request:
    """The kernel compares the peer of an IPv4 address too."""
    family = AF_INET if len(address) == 4 else AF_INET6
    head = _HEADER.pack(family, prefixlen, 0, 0, ifindex)
    return RTM_DELADDR, 0, head + attribute(IFA_LOCAL, address) + attribute(IFA_ADDRESS, peer or address)
