"""Static addresses, routes, rules, and who needs them."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from vrrpd.dump import roads, words
from vrrpd.model.values import VirtualAddress
from vrrpd.net import addresses as net
from vrrpd.net.netlink import attributes
from vrrpd.net.routing import ADDRESS, ROUTE, RULE

if TYPE_CHECKING:
    from vrrpd.model.model import Model
    from vrrpd.model.values import Routing

_HEADER = struct.Struct("=BBBBI")  # ifaddrmsg
_U32 = struct.Struct("=I")


def addresses(model: Model, status: dict[str, Any]) -> Iterator[str]:
    missing = {found["what"] for found in status.get("missing", ())}
    for static in model.statics:
        entry = static.entry
        if entry.kind == ADDRESS:
            line = words.address(_address(entry), entry.holes[0][1], group=static.group)
            yield f"     {line}{'' if f'static {ADDRESS} {entry.text}' in missing else ' set'}"


def routes(model: Model) -> Iterator[str]:
    return words.indented(
        roads.route(static.entry, static.group) for static in model.statics if static.entry.kind == ROUTE
    )


def rules(model: Model) -> Iterator[str]:
    return words.indented(
        roads.rule(static.entry, static.group) for static in model.statics if static.entry.kind == RULE
    )


def track_groups(model: Model) -> Iterator[str]:
    """Those that an item names."""
    for group, followers in {static.group: static.followers for static in model.statics if static.group}.items():
        yield f" Static Track Group = {group}"
        yield "   VRRP member instances :"
        yield from words.indented(followers)


def _address(entry: Routing) -> VirtualAddress:
    """Out of what the kernel is told."""
    family, length, flags, scope, _ = _HEADER.unpack_from(entry.body)
    found = {number: bytes(value) for number, value in attributes(memoryview(entry.body)[_HEADER.size :])}
    local, other = found[net.IFA_LOCAL], found[net.IFA_ADDRESS]
    if net.IFA_FLAGS in found:
        flags = _U32.unpack(found[net.IFA_FLAGS])[0]
    preferred = found.get(net.IFA_CACHEINFO)
    return VirtualAddress(
        local,
        length,
        broadcast=found.get(net.IFA_BROADCAST),
        scope=scope,
        label=found.get(net.IFA_LABEL, b"").rstrip(b"\0").decode(),
        dad=family == net.AF_INET6 and not flags & net.IFA_F_NODAD,
        no_track=entry.no_track,
        peer=None if other == local else other,
        flags=flags,
        preferred=None if preferred is None else _U32.unpack_from(preferred)[0],
    )
