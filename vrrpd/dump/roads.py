"""Routes and rules as keepalived writes them, read back from what the kernel is told (net/routes.py, net/rules.py).

prepend|append|add [TYPE] PREFIX [src A] [tos T] [encap ...] [via inet A] [dev IF] [table T] proto P [scope S] ...
[not] from PREFIX|all [to PREFIX] priority N tos T [...] lookup T | goto N | nop | type TYPE
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import TYPE_CHECKING

from vrrpd.model import routing
from vrrpd.net import routes, rules
from vrrpd.net.netlink import attributes
from vrrpd.vrrp.records import text

if TYPE_CHECKING:
    from vrrpd.model.values import Routing

Attributes = dict[int, bytes]

TYPES = {number: word for word, number in routing.TYPES.items() if word != "unicast"}
MODES = {flag: word for word, flag in routing.MODES.items()}
PREF = {number: word for word, number in routing.PREF.items()}
# linux/rtnetlink.h RTAX_*, in keepalived's order; times are in these fractions of 1 ms.
CONGCTL, FEATURES = 16, 12
METRICS = {
    CONGCTL: "congctl", 4: "rtt", 5: "rttvar", 13: "rto_min", FEATURES: "features", 2: "mtu", 3: "window",
    6: "ssthresh", 7: "cwnd", 8: "advmss", 9: "reordering", 10: "hoplimit", 11: "initcwnd", 14: "initrwnd",
    15: "quickack", 17: "fastopen_no_cookie",
}  # fmt: skip
FRACTIONS = {4: 8, 5: 4, 13: 1}
ENCAPS = {1: "mpls", 2: "ip", 3: "ila", 4: "ip6"}
MPLS_DST, ILA_LOCATOR = 1, 1
_U16, _PAIR32, _PAIR16 = struct.Struct("=H"), struct.Struct("=II"), struct.Struct("=HH")
_NEXTHOP = struct.Struct("=HBBi")


def route(entry: Routing, group: str = "") -> str:
    """`group`: of a static one that is tracked."""
    *_, dst_len, src_len, tos, _, proto, scope, kind, flags = routes.RTMSG.unpack_from(entry.body)
    six = entry.body[0] == routes.AF_INET6
    found = _attributes(entry.body[routes.RTMSG.size :])
    devices = dict(entry.holes)
    mode = "add" if kind in routing.WITHOUT_WAY and not entry.mode else MODES[entry.mode]
    everywhere = "::" if six else "0.0.0.0"
    words = [mode, TYPES.get(kind, ""), _prefix(found.get(routes.RTA_DST), dst_len, six, everywhere)]
    if src_len:
        words.append(f"from {_prefix(found.get(routes.RTA_SRC), src_len, six, everywhere)}")
    if routes.RTA_PREFSRC in found:
        words.append(f"src {text(found[routes.RTA_PREFSRC])}")
    if tos:
        words.append(f"tos {tos}")
    words += _way(found, six)
    if routes.RTA_MULTIPATH not in found:
        words += [f"dev {name}" for name in devices.values()]
    table = _number(found.get(routes.RTA_TABLE))
    if table != routes.RT_TABLE_MAIN:
        words.append(f"table {table}")
    words.append(f"proto {proto}")
    if scope and kind not in (routes.RTN_LOCAL, routes.RTN_NAT):
        words.append(f"scope {scope}")
    if routes.RTA_PRIORITY in found:
        words.append(f"metric {_number(found[routes.RTA_PRIORITY])}")
    if flags & routes.RTNH_F_ONLINK:
        words.append("onlink")
    words += _realms(found)
    if routes.RTA_EXPIRES in found:
        words.append(f"expires {_number(found[routes.RTA_EXPIRES])}sec")
    words += _metrics(_attributes(found.get(routes.RTA_METRICS, b"")))
    if routes.RTA_PREF in found:
        words.append(f"pref {PREF.get(found[routes.RTA_PREF][0], found[routes.RTA_PREF][0])}")
    if routes.RTA_TTL_PROPAGATE in found:
        words.append(f"ttl-propagate {'en' if found[routes.RTA_TTL_PROPAGATE][0] else 'dis'}abled")
    words += _nexthops(entry, found.get(routes.RTA_MULTIPATH, b""), six)
    words += _ending(entry, group)
    return " ".join(filter(None, words))


def _nexthops(entry: Routing, ways: bytes, six: bool) -> Iterator[str]:
    devices = dict(entry.holes)
    at = entry.body.index(ways) if ways else 0
    while ways:
        length, flags, weight, _ = _NEXTHOP.unpack_from(ways)
        found = _attributes(ways[_NEXTHOP.size : length])
        device = devices.get(at + 4)
        yield "nexthop"
        yield from _way(found, six)
        yield from (f"dev {device}",) if device else ()
        yield from (f"weight {weight + 1}",) if weight else ()
        yield from ("onlink",) if flags & routes.RTNH_F_ONLINK else ()
        yield from _realms(found)
        at, ways = at + length, ways[length:]


def _way(found: Attributes, six: bool) -> list[str]:
    words = []
    if routes.RTA_ENCAP in found:
        words.append(f"encap {_encap(_U16.unpack(found[routes.RTA_ENCAP_TYPE])[0], found[routes.RTA_ENCAP])}")
    gateway = found.get(routes.RTA_GATEWAY)
    if gateway is None and routes.RTA_VIA in found:
        gateway = found[routes.RTA_VIA][_U16.size :]
    if gateway is not None:
        words.append(f"via inet{'6' if len(gateway) == 16 else ''} {text(gateway)}")
    return words


def _encap(kind: int, data: bytes) -> str:
    """linux/lwtunnel.h"""
    name, found = ENCAPS.get(kind, str(kind)), _attributes(data)
    if name == "mpls":
        stack = found.get(MPLS_DST, b"")
        return (
            f"mpls {'/'.join(str(int.from_bytes(stack[at : at + 4], 'big') >> 12) for at in range(0, len(stack), 4))}"
        )
    if name == "ila":
        return f"ila {':'.join(f'{group:x}' for group in struct.unpack('!4H', found.get(ILA_LOCATOR, bytes(8))))}"
    words = [name]
    for number, word in ((1, "id"), (2, "dst"), (3, "src"), (5, "tos"), (4, "ttl")):
        if number in found:
            word = {"tos": "tc", "ttl": "hoplimit"}.get(word, word) if name == "ip6" else word
            value = text(found[number]) if number in (2, 3) else str(int.from_bytes(found[number], "big"))
            words.append(f"{word} {value}")
    return " ".join(words)


def _realms(found: Attributes) -> list[str]:
    flow = _number(found.get(routes.RTA_FLOW))
    if not flow:
        return []
    return [f"realms {flow >> 16}/{flow & 0xFFFF}" if flow >> 16 else f"realm {flow}"]


def _metrics(found: Attributes) -> Iterator[str]:
    locked = _number(found.get(routes.RTAX_LOCK))
    for number, name in METRICS.items():
        if number not in found:
            continue
        lock = "lock " if locked >> number & 1 else ""
        if number == CONGCTL:
            yield f"{name} {lock}{found[number].rstrip(bytes(1)).decode()}"
        elif number == FEATURES:
            yield f"{name} ecn"
        elif number in FRACTIONS:
            yield f"{name} {lock}{_number(found[number]) / FRACTIONS[number]:g}ms"
        else:
            yield f"{name} {lock}{_number(found[number])}"


def rule(entry: Routing, group: str = "") -> str:
    family, dst_len, src_len, tos, _, _, _, action, flags = rules.RULE_HEADER.unpack_from(entry.body)
    six = family == routes.AF_INET6
    found = _attributes(entry.body[rules.RULE_HEADER.size :])
    words = ["not"] if flags & rules.FIB_RULE_INVERT else []
    words.append(f"from {_prefix(found.get(rules.FRA_SRC), src_len, six, 'all')}")
    if dst_len:
        words.append(f"to {_prefix(found.get(rules.FRA_DST), dst_len, six, 'all')}")
    words.append(f"priority {_number(found.get(rules.FRA_PRIORITY))} tos 0x{tos:x}")
    if rules.FRA_FWMARK in found:
        mask = f"/0x{_number(found[rules.FRA_FWMASK]):x}" if rules.FRA_FWMASK in found else ""
        words.append(f"fwmark 0x{_number(found[rules.FRA_FWMARK]):x}{mask}")
    for number, word in ((rules.FRA_IIFNAME, "iif"), (rules.FRA_OIFNAME, "oif")):
        if number in found:
            words.append(f"{word} {found[number].rstrip(bytes(1)).decode()}")
    for number, word in (
        (rules.FRA_SUPPRESS_PREFIXLEN, "suppress_prefixlen"),
        (rules.FRA_SUPPRESS_IFGROUP, "suppress_ifgroup"),
    ):
        if number in found:
            words.append(f"{word} {_number(found[number])}")
    if rules.FRA_TUN_ID in found:
        words.append(f"tunnel-id {int.from_bytes(found[rules.FRA_TUN_ID], 'big')}")
    if rules.FRA_UID_RANGE in found:
        words.append("uidrange {}-{}".format(*_PAIR32.unpack(found[rules.FRA_UID_RANGE])))
    words += ["l3mdev"] if rules.FRA_L3MDEV in found else []
    words.append(f"protocol {found[rules.FRA_PROTOCOL][0]}")
    if rules.FRA_IP_PROTO in found:
        words.append(f"ipproto {found[rules.FRA_IP_PROTO][0]}")
    for number, word in ((rules.FRA_SPORT_RANGE, "sport"), (rules.FRA_DPORT_RANGE, "dport")):
        if number in found:
            words.append("{} {}-{}".format(word, *_PAIR16.unpack(found[number])))
    if rules.FRA_FLOW in found:
        flow = _number(found[rules.FRA_FLOW])
        words.append(f"realms {flow >> 16}/{flow & 0xFFFF}")
    words.append(_action(action, found))
    words += _ending(entry, group)
    return " ".join(words)


def _action(action: int, found: Attributes) -> str:
    if action == rules.FR_ACT_TO_TBL:
        return f"lookup {_number(found.get(rules.FRA_TABLE))}"
    if action == rules.FR_ACT_GOTO:
        return f"goto {_number(found.get(rules.FRA_GOTO))}"
    return "nop" if action == rules.FR_ACT_NOP else f"type {TYPES.get(action, action)}"


def _ending(entry: Routing, group: str) -> list[str]:
    return [*(["no_track"] if entry.no_track else []), *([f"track_group {group}"] if group else [])]


def _prefix(packed: bytes | None, length: int, six: bool, everything: str) -> str:
    if packed is None:
        return everything if everything == "all" else f"{everything}/0"
    return text(packed) if length == (128 if six else 32) else f"{text(packed)}/{length}"


def _number(value: bytes | None) -> int:
    return 0 if value is None else int(struct.unpack("=I", value)[0])


def _attributes(data: bytes) -> Attributes:
    return {number: bytes(value) for number, value in attributes(memoryview(data))}
