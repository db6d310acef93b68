"""A routing policy rule as the body of an rtnetlink request (linux/fib_rules.h), packed once when it is configured.

Interfaces go into it by name, so that nothing is left to be filled in. The same bytes add a rule and remove exactly
that one.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

from vrrpd.net.netlink import attribute
from vrrpd.net.routing import RTPROT_KEEPALIVED

FR_ACT_TO_TBL, FR_ACT_GOTO, FR_ACT_NOP, FR_ACT_BLACKHOLE, FR_ACT_UNREACHABLE, FR_ACT_PROHIBIT = 1, 2, 3, 6, 7, 8
FIB_RULE_INVERT = 2

FRA_DST, FRA_SRC, FRA_IIFNAME, FRA_GOTO, FRA_PRIORITY, FRA_FWMARK, FRA_FLOW, FRA_TUN_ID = 1, 2, 3, 4, 6, 10, 11, 12
FRA_SUPPRESS_IFGROUP, FRA_SUPPRESS_PREFIXLEN, FRA_TABLE, FRA_FWMASK, FRA_OIFNAME = 13, 14, 15, 16, 17
FRA_L3MDEV, FRA_UID_RANGE, FRA_PROTOCOL, FRA_IP_PROTO, FRA_SPORT_RANGE, FRA_DPORT_RANGE = 19, 20, 21, 22, 23, 24

RULE_HEADER = struct.Struct("=BBBBBBBBI")  # family, lengths of dst and src, tos, table, 0, 0, action, flags
_U32, _PORTS, _UIDS = struct.Struct("=I"), struct.Struct("=HH"), struct.Struct("=II")


class Rule(NamedTuple):
    """0, "" or None: not asked for."""

    family: int
    action: int
    priority: int
    dst: bytes = b""
    dst_len: int = 0
    src: bytes = b""
    src_len: int = 0
    invert: bool = False
    tos: int = 0
    table: int = 0
    goto: int = 0
    fwmark: int | None = None
    fwmask: int | None = None
    iif: str = ""
    oif: str = ""
    realms: int = 0
    suppress_prefixlen: int | None = None
    suppress_group: int | None = None
    tunnel_id: int = 0
    uids: tuple[int, int] | None = None
    l3mdev: bool = False
    protocol: int = RTPROT_KEEPALIVED
    ip_proto: int = 0
    sport: tuple[int, int] | None = None
    dport: tuple[int, int] | None = None


def pack(rule: Rule) -> bytes:
    flags = FIB_RULE_INVERT if rule.invert else 0
    table = rule.table if rule.table < 256 else 0
    head = RULE_HEADER.pack(rule.family, rule.dst_len, rule.src_len, rule.tos, table, 0, 0, rule.action, flags)
    found = [
        (FRA_DST, rule.dst),
        (FRA_SRC, rule.src),
        (FRA_PRIORITY, _U32.pack(rule.priority)),
        (FRA_PROTOCOL, bytes([rule.protocol])),
        (FRA_TABLE, _U32.pack(rule.table) if rule.table else b""),
        (FRA_GOTO, _U32.pack(rule.goto) if rule.goto else b""),
        (FRA_FWMARK, _optional(rule.fwmark)),
        (FRA_FWMASK, _optional(rule.fwmask)),
        (FRA_IIFNAME, _name(rule.iif)),
        (FRA_OIFNAME, _name(rule.oif)),
        (FRA_FLOW, _U32.pack(rule.realms) if rule.realms else b""),
        (FRA_SUPPRESS_PREFIXLEN, _optional(rule.suppress_prefixlen)),
        (FRA_SUPPRESS_IFGROUP, _optional(rule.suppress_group)),
        (FRA_TUN_ID, rule.tunnel_id.to_bytes(8, "big") if rule.tunnel_id else b""),
        (FRA_UID_RANGE, _UIDS.pack(*rule.uids) if rule.uids else b""),
        (FRA_L3MDEV, b"\1" if rule.l3mdev else b""),
        (FRA_IP_PROTO, bytes([rule.ip_proto]) if rule.ip_proto else b""),
        (FRA_SPORT_RANGE, _PORTS.pack(*rule.sport) if rule.sport else b""),
        (FRA_DPORT_RANGE, _PORTS.pack(*rule.dport) if rule.dport else b""),
    ]
    return head + b"".join(attribute(kind, value) for kind, value in found if value)


def _optional(value: int | None) -> bytes:
    return b"" if value is None else _U32.pack(value)


def _name(name: str) -> bytes:
    return name.encode() + b"\0" if name else b""
