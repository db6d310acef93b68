#!/usr/bin/env python3
"""Fuzz target: a message on the wire, through Engine.receive into routers of every kind and state.

The first byte of an input chooses the router (with AH the message is a whole datagram), the second how the message
came (TTL, source, destination) and whether its checksum is put right, so that what lies behind that check is reached.
The rest is the message.

Whatever it is, nothing raises. What is rejected is counted once, under one name, and touches nothing else: no state,
no timer, no action but a line for the log. What is accepted holds what RFC 9568 7.1 asks for, computed here a second
time and the slow way.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import atheris

sys.path[:0] = [str(Path(__file__).resolve().parents[2]), str(Path(__file__).resolve().parents[1])]
with atheris.instrument_imports(include=["vrrpd"]):
    from simulator import Configuration, instance, interface_address, packed, vip

    from vrrpd.model.vrrp import AF_INET, AF_INET6, Authentication, AuthHmac, VrrpInstance
    from vrrpd.vrrp.actions import Log
    from vrrpd.vrrp.engine import Engine, Link
    from vrrpd.vrrp.router import VirtualRouter
    from vrrpd.vrrp.states import MASTER

NOW = 1000.0
LINK = Link(
    ifindex=2,
    name="eth0",
    up=True,
    mac=b"\2\0\0\0\0\1",
    addresses=(interface_address("192.0.2.9/24"), interface_address("fe80::9/64")),
)
TWO = (vip("192.0.2.1/24"), vip("192.0.2.2/24"))
V2 = instance(virtual_router_id=10, virtual_ipaddress=TWO)
V3 = replace(V2, version=3)
V6 = instance(family=AF_INET6, virtual_router_id=10, virtual_ipaddress=(vip("fe80::1/64"), vip("2001:db8::1/64")))
PEERS = (packed("192.0.2.251"), packed("192.0.2.10"))
HMAC = AuthHmac(((1, b"a key that no fuzzer will find, 32"),), 1, "time", 5)
KINDS: list[VrrpInstance] = [
    V2,
    replace(V2, authentication=Authentication("PASS", b"secret12")),
    V3,
    replace(V3, v3_checksum_as_v2=True, preempt=False),
    V6,
    replace(V6, unicast_peer=(packed("fe80::c8"),), check_unicast_src=True),
    replace(V3, unicast_peer=PEERS, unicast_peer_ttl=((0, 255), (250, 254)), unicast_src_ip=packed("192.0.2.9")),
    replace(V3, preempt_delay=5.0, priority=254),
    replace(V2, auth_hmac=HMAC),
    replace(V3, auth_hmac=replace(HMAC, mode="permissive")),
    replace(V6, auth_hmac=HMAC),
    replace(V2, authentication=Authentication("AH", b"secret12")),
    replace(V3, auth_hmac=replace(HMAC, anti_replay="monotonic")),
    replace(V6, auth_hmac=replace(HMAC, mode="receive-only")),
    replace(V3, auth_hmac=HMAC, unicast_peer=PEERS),
    replace(V2, authentication=Authentication("AH", b"abc"), unicast_peer=PEERS),
]
TTLS = [255, 254, -1, 0]
SOURCES = {
    AF_INET: [packed("192.0.2.251"), packed("192.0.2.9"), packed("192.0.2.10"), packed("0.0.0.0")],
    AF_INET6: [packed("fe80::c8"), packed("fe80::9"), packed("2001:db8::c8"), packed("::")],
}
DESTINATIONS = {
    AF_INET: [packed("224.0.0.18"), packed("192.0.2.9"), b"", packed("224.0.0.18")],
    AF_INET6: [packed("ff02::12"), packed("fe80::9"), b"", packed("ff02::12")],
}


def words(data: bytes) -> int:
    """RFC 1071, as it is written there."""
    total = 0
    for index in range(0, len(data), 2):
        total += int.from_bytes(data[index : index + 2].ljust(2, b"\0"), "big")
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total


def pseudo(family: int, source: bytes, destination: bytes, length: int) -> bytes:
    size = 2 if family == AF_INET else 4
    tail = b"\0\x70" + length.to_bytes(2, "big") if size == 2 else length.to_bytes(4, "big") + b"\0\0\0\x70"
    return source + destination + tail


def with_checksum(message: bytes, cfg: VrrpInstance, source: bytes, destination: bytes) -> bytes:
    if len(message) < 8:
        return message
    bare = message[:6] + b"\0\0" + message[8:]
    covered = bare
    if cfg.version == 3 and not cfg.v3_checksum_as_v2:
        covered = pseudo(cfg.family, source, destination, len(bare)) + bare
    return bare[:6] + (0xFFFF - words(covered)).to_bytes(2, "big") + bare[8:]


class Bench:
    """A router of each kind in each state; what a packet changed is made anew."""

    def __init__(self) -> None:
        self.ready: dict[tuple[int, int], Engine] = {}

    def engine(self, kind: int, state: int) -> Engine:
        engine = self.ready.get((kind, state))
        if engine is None:
            engine = self.ready[kind, state] = Engine()
            engine.link(LINK._replace(up=state != 3), 0.0)
            engine.prepare(Configuration((KINDS[kind],)), NOW)
            engine.begin(NOW)
            (router,) = engine.routers.values()
            if state in (1, 2):
                engine.expire(router.timer.deadline)
                assert router.state is MASTER
            if state == 2:
                router.handover(NOW)
                assert router.leaving
        return engine


BENCH = Bench()


def untouched(router: VirtualRouter) -> tuple[object, ...]:
    """All that a rejected packet has no business with."""
    return (
        router.state, router.leaving, router.priority, router.timer.deadline, router.delay_timer.deadline,
        router.duties.timer.deadline, dict(router.duties.pending), router.heard, router.master_adver_int,
        router.outbids, router.resigned, router.yielding_until, router.last_transition, router.memo,
    )  # fmt: skip


def counts(engine: Engine, router: VirtualRouter) -> dict[str, int]:
    return {**router.counts(), **{f"nobody's {name}": value for name, value in engine.counters.items()}}


def acceptable(cfg: VrrpInstance, message: bytes, source: bytes, destination: bytes, ttl: int) -> None:
    """RFC 9568 7.1 once more, of a message that was accepted."""
    width = 4 if cfg.family == AF_INET else 16
    assert message[0] == cfg.version << 4 | 1
    assert message[1] == cfg.virtual_router_id
    assert len(message) == 8 + message[3] * width + (8 if cfg.version == 2 else 0)
    assert ttl == 255 or (cfg.unicast_peer and destination[:1] not in (b"\xe0", b"\xff"))
    with_pseudo = pseudo(cfg.family, source, destination, len(message)) + message
    sums = [words(with_pseudo)] if cfg.family == AF_INET6 else [words(message), words(with_pseudo)]
    if cfg.family == AF_INET and cfg.unicast_peer and cfg.old_unicast_checksum != "never":
        # P16: keepalived before 1.3.7 sums over the group, wherever it sends to.
        sums.append(words(pseudo(AF_INET, source, b"\xe0\x00\x00\x12", len(message)) + message))
    assert 0xFFFF in (sums[:1] if cfg.version == 2 else sums)
    if cfg.version == 3:
        assert message[3] > 0
        assert int.from_bytes(message[4:6], "big") & 0xFFF
    else:
        assert message[5] == cfg.advert_int
        password = cfg.authentication
        assert message[4] == bool(password)
        assert not password or message[-8:] == password.auth_pass.ljust(8, b"\0")


def one(data: bytes) -> None:
    if len(data) < 2:
        return
    kind, state = data[0] & 7 | data[0] >> 2 & 8, data[0] >> 3 & 3
    how, cfg = data[1], KINDS[kind]
    ttl = TTLS[how & 3]
    source, destination = SOURCES[cfg.family][how >> 2 & 3], DESTINATIONS[cfg.family][how >> 4 & 3]
    message = data[2:]
    if how & 0x40:
        message = with_checksum(message, cfg, source, destination)
    engine = BENCH.engine(kind, state)
    (router,) = engine.routers.values()
    before, counters = untouched(router), counts(engine, router)
    ah = cfg.authentication is not None and cfg.authentication.auth_type == "AH"
    if ah:
        actions = engine.receive_ah(2, memoryview(message), NOW + 0.5)
    else:
        actions = engine.receive(2, cfg.family, source, destination, ttl, memoryview(message), NOW + 0.5)
    after = counts(engine, router)
    moved = {name for name in after if after[name] != counters[name]}
    if "advert_rcvd" in moved:
        assert not ah
        assert cfg.auth_hmac is None or cfg.auth_hmac.mode != "enforce"
        acceptable(cfg, message, source, destination, ttl)
        del BENCH.ready[kind, state]
        return
    assert len(moved) == 1, moved
    assert untouched(router) == before, moved
    assert all(isinstance(action, Log) for action in actions), actions


if __name__ == "__main__":
    atheris.Setup(sys.argv, one)
    atheris.Fuzz()
