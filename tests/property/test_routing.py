"""Routes and rules as bytes: pyroute2 reads what we have packed, and the kernel's word about one is recognized."""

from __future__ import annotations

import socket
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from pyroute2.netlink.rtnl.fibmsg import fibmsg
from pyroute2.netlink.rtnl.rtmsg import rtmsg

from vrrpd.net import netlink, routes, routing, rules

AF_INET, AF_INET6 = 2, 10
U8, U32 = st.integers(0, 255), st.integers(1, 0xFFFFFFFF)
NAMES = st.sampled_from(["eth0", "a", "wlan0.4094", "abcdefghijklmno"])


def read(kind: Any, body: bytes) -> Any:
    message = kind(netlink.HEADER.pack(16 + len(body), 24, 0, 1, 0) + body)
    message.decode()
    return message


def text(address: bytes) -> str:
    return socket.inet_ntop(AF_INET if len(address) == 4 else AF_INET6, address)


@st.composite
def packed_routes(draw: st.DrawFn) -> routes.Route:
    family = draw(st.sampled_from([AF_INET, AF_INET6]))
    size = 4 if family == AF_INET else 16
    address = st.binary(min_size=size, max_size=size)
    hop = st.builds(
        routes.Nexthop,
        gateway=st.one_of(st.just(b""), address, st.binary(min_size=16, max_size=16)),
        dev=st.one_of(st.just(""), NAMES),
        weight=st.integers(1, 256),
        onlink=st.booleans(),
        realms=st.one_of(st.just(0), U32),
        encap=st.none(),
    )
    return routes.Route(
        family,
        draw(address),
        draw(st.integers(1, size * 8)),
        tos=draw(U8),
        prefsrc=draw(st.one_of(st.just(b""), address)),
        table=draw(U32),
        scope=draw(st.one_of(st.none(), U8)),
        type=draw(st.integers(1, 9)),
        priority=draw(st.one_of(st.none(), U32)),
        hops=tuple(draw(st.lists(hop, max_size=3))),
        metrics=tuple(
            (number, draw(U32).to_bytes(4, "little")) for number in sorted(draw(st.sets(st.integers(2, 14))))
        ),
        lock=draw(st.sampled_from([0, 4, 0x80])),
        pref=draw(st.one_of(st.none(), st.integers(0, 3))),
        expires=draw(st.one_of(st.none(), U32)),
    )


@given(packed_routes())
def test_a_route_is_read_as_it_was_meant(route: routes.Route) -> None:
    body, holes = routes.pack(route)
    indexes = {name: 7 + len(name) for _, name in holes}
    filled = routing.filled(body, [offset for offset, _ in holes], [indexes[name] for _, name in holes])
    message = read(rtmsg, filled)
    assert message["family"] == route.family
    assert (message["dst_len"], message["tos"], message["type"]) == (route.dst_len, route.tos, route.type)
    assert message["proto"] == routing.RTPROT_KEEPALIVED
    assert message.get_attr("RTA_DST") == text(route.dst)
    assert message.get_attr("RTA_PREFSRC") == (text(route.prefsrc) if route.prefsrc else None)
    assert message.get_attr("RTA_TABLE") == route.table
    assert message["table"] == (route.table if route.table < 256 else 0)
    assert message.get_attr("RTA_PRIORITY") == route.priority
    expires = message.get_attr("RTA_EXPIRES")  # pyroute2 leaves it as hexadecimal bytes
    assert expires == (None if route.expires is None else route.expires.to_bytes(4, "little").hex(":"))
    if len(route.hops) == 1:
        compare(route, route.hops[0], message, indexes)
        assert (message.get_attr("RTA_OIF") or 0) == indexes.get(route.hops[0].dev, 0)
        assert bool(message["flags"] & routes.RTNH_F_ONLINK) == route.hops[0].onlink
    elif route.hops:
        ways = message.get_attr("RTA_MULTIPATH")
        assert len(ways) == len(route.hops)
        for hop, way in zip(route.hops, ways):
            compare(route, hop, way, indexes)
            assert (way["oif"], way["hops"] + 1) == (indexes.get(hop.dev, 0), hop.weight)
            assert bool(way["flags"] & routes.RTNH_F_ONLINK) == hop.onlink
    metrics = message.get_attr("RTA_METRICS")
    found = [value for _, value in metrics["attrs"]] if metrics else []
    lock = [route.lock] if route.lock else []
    assert found == [*lock, *(int.from_bytes(value, "little") for _, value in route.metrics)]


def compare(route: routes.Route, hop: routes.Nexthop, found: Any, indexes: dict[str, int]) -> None:
    own = len(hop.gateway) == (4 if route.family == AF_INET else 16)
    assert found.get_attr("RTA_GATEWAY") == (text(hop.gateway) if hop.gateway and own else None)
    via = found.get_attr("RTA_VIA")
    assert (via["addr"] if via else None) == (text(hop.gateway) if hop.gateway and not own else None)
    assert (found.get_attr("RTA_FLOW") or 0) == hop.realms


@st.composite
def packed_rules(draw: st.DrawFn) -> rules.Rule:
    family = draw(st.sampled_from([AF_INET, AF_INET6]))
    size = 4 if family == AF_INET else 16
    address = st.binary(min_size=size, max_size=size)
    ports = st.one_of(st.none(), st.tuples(st.integers(1, 0xFFFF), st.integers(1, 0xFFFF)))
    optional = st.one_of(st.none(), U32)
    return rules.Rule(
        family,
        action=draw(st.integers(1, 8)),
        priority=draw(U32),
        dst=draw(address),
        dst_len=size * 8,
        src=draw(st.one_of(st.just(b""), address)),
        invert=draw(st.booleans()),
        tos=draw(U8),
        table=draw(U32),
        goto=draw(st.integers(0, 0xFFFFFFFF)),
        fwmark=draw(optional),
        fwmask=draw(optional),
        iif=draw(st.one_of(st.just(""), NAMES)),
        oif=draw(st.one_of(st.just(""), NAMES)),
        realms=draw(st.integers(0, 0xFFFFFFFF)),
        suppress_prefixlen=draw(optional),
        suppress_group=draw(optional),
        uids=draw(st.one_of(st.none(), st.tuples(U32, U32))),
        l3mdev=draw(st.booleans()),
        ip_proto=draw(U8),
        sport=draw(ports),
        dport=draw(ports),
    )


@given(packed_rules())
def test_a_rule_is_read_as_it_was_meant(rule: rules.Rule) -> None:
    message = read(fibmsg, rules.pack(rule))
    assert (message["family"], message["dst_len"], message["tos"]) == (rule.family, rule.dst_len, rule.tos)
    assert (message["action"], message["flags"]) == (rule.action, rules.FIB_RULE_INVERT if rule.invert else 0)
    expected = {
        "FRA_DST": text(rule.dst),
        "FRA_SRC": text(rule.src) if rule.src else None,
        "FRA_PRIORITY": rule.priority,
        "FRA_TABLE": rule.table,
        "FRA_GOTO": rule.goto or None,
        "FRA_FWMARK": rule.fwmark,
        "FRA_FWMASK": rule.fwmask,
        "FRA_IIFNAME": rule.iif or None,
        "FRA_OIFNAME": rule.oif or None,
        "FRA_FLOW": rule.realms or None,
        "FRA_SUPPRESS_PREFIXLEN": rule.suppress_prefixlen,
        "FRA_SUPPRESS_IFGROUP": rule.suppress_group,
        "FRA_L3MDEV": 1 if rule.l3mdev else None,
        "FRA_PROTOCOL": routing.RTPROT_KEEPALIVED,
        "FRA_IP_PROTO": rule.ip_proto or None,
    }
    assert {name: message.get_attr(name) for name in expected} == expected
    for name, wanted in (("FRA_SPORT_RANGE", rule.sport), ("FRA_DPORT_RANGE", rule.dport)):
        assert message.get_attr(name) == ("{}:{}".format(*wanted) if wanted else None)


@given(st.binary(max_size=200), st.sampled_from([routing.RTM_DELROUTE, routing.RTM_DELRULE, 20]))
def test_any_bytes_are_some_removal_or_none(body: bytes, kind: int) -> None:
    key = routing.removed(netlink.Event(kind, 0, memoryview(body)))
    assert (key is None) == (kind == 20 or len(body) < 12)
