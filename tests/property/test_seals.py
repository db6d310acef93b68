"""What we seal is believed once; whatever anybody changes of it, or makes up, is not, and nothing raises."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st
from simulator import World, instance, packed

from vrrpd.model.vrrp import AF_INET, AF_INET6, Authentication, AuthHmac, VrrpInstance
from vrrpd.vrrp.auth import next_sequence, sealed
from vrrpd.vrrp.engine import Engine
from vrrpd.vrrp.packet import AdvertSpec, Seal, datagrams
from vrrpd.vrrp.records import ALL_COUNTERS

KEYS = st.binary(min_size=32, max_size=64)
SOURCE = {AF_INET: packed("10.0.0.9"), AF_INET6: packed("fe80::9")}
KINDS = ["HMAC v2", "HMAC v3", "HMAC v6", "AH"]


def configured(kind: str, key: bytes, monotonic: bool) -> VrrpInstance:
    if kind == "AH":
        return instance(authentication=Authentication("AH", key[:8]))
    hmac = AuthHmac(((1, key),), 1, "monotonic" if monotonic else "time", 5)
    cfg = instance(family=AF_INET6 if kind == "HMAC v6" else AF_INET, auth_hmac=hmac)
    return cfg if kind == "HMAC v2" else replace(cfg, version=3)


class Receiver:
    """A BACKUP, and what a master of its would send it."""

    def __init__(self, kind: str, key: bytes, monotonic: bool) -> None:
        self.world = World()
        self.node = self.world.node("A")
        self.node.apply(configured(kind, key, monotonic))
        self.router = self.node.router
        self.ah = kind == "AH"
        assert self.router.spec.seal is not None
        self.spec: AdvertSpec = self.router.spec._replace(source=SOURCE[self.router.cfg.family])
        self.seal: Seal = self.router.spec.seal

    @property
    def engine(self) -> Engine:
        return self.node.engine

    def sent(self, priority: int, last: int = 0) -> tuple[bytes, int]:
        now = self.world.now
        sequence = next_sequence(self.seal, last, now, now + self.engine.offset)
        ((_, data),) = sealed(self.spec, datagrams(self.spec, priority), sequence)
        return data if self.ah or self.spec.family == AF_INET6 else data[20:], sequence

    def hear(self, data: bytes) -> bool:
        """Was it believed? If not, it was counted and no timer was touched."""
        before, timer = self.router.counts(), self.router.timer.deadline
        known = dict(self.engine.counters)
        if self.ah:
            self.engine.receive_ah(self.router.ifindex, memoryview(data), self.world.now)
        else:
            group = self.spec.destinations[0]
            self.engine.receive(
                self.router.ifindex, self.spec.family, self.spec.source, group, 255, memoryview(data), self.world.now
            )
        after = self.router.counts()
        if after["advert_rcvd"] > before["advert_rcvd"]:
            return True
        moved = {name for name, value in after.items() if value != before[name]} | {
            name for name, value in self.engine.counters.items() if value != known[name]
        }
        assert len(moved) == 1
        assert moved <= ALL_COUNTERS | {"vrid_err", "packet_len_err"}
        assert self.router.timer.deadline == timer
        return False


@given(st.sampled_from(KINDS), KEYS, st.booleans(), st.integers(0, 254), st.integers(1, 20))
def test_believed_once(kind: str, key: bytes, monotonic: bool, priority: int, more: int) -> None:
    receiver = Receiver(kind, key, monotonic)
    last = 0
    for _ in range(more):  # at one moment: the counter goes on
        data, last = receiver.sent(priority, last)
        assert receiver.hear(data)
        assert not receiver.hear(data)


@given(st.sampled_from(KINDS), KEYS, st.booleans(), st.data())
def test_not_with_one_bit_changed(kind: str, key: bytes, monotonic: bool, more: st.DataObject) -> None:
    receiver = Receiver(kind, key, monotonic)
    data, _ = receiver.sent(200)
    at = more.draw(st.integers(0, 8 * len(data) - 1))
    changed = bytearray(data)
    changed[at // 8] ^= 1 << at % 8
    mutable = receiver.ah and at // 8 in (1, 6, 7, 10, 11)  # TOS, fragment field, checksum
    assert receiver.hear(bytes(changed)) is mutable
    if not mutable:
        assert receiver.hear(data), "and what was not changed is believed still"


@given(st.sampled_from(KINDS), KEYS, KEYS, st.booleans())
def test_not_with_another_key(kind: str, key: bytes, other: bytes, monotonic: bool) -> None:
    receiver = Receiver(kind, key, monotonic)
    receiver.spec = receiver.spec._replace(seal=receiver.seal._replace(key=other[:8] if kind == "AH" else other))
    same = key[:8] == other[:8] if kind == "AH" else key.ljust(64, b"\0") == other.ljust(64, b"\0")
    assert receiver.hear(receiver.sent(200)[0]) is same


@given(st.sampled_from(KINDS), KEYS, st.booleans(), st.binary(max_size=200), st.booleans())
def test_nothing_that_is_made_up(kind: str, key: bytes, monotonic: bool, junk: bytes, like: bool) -> None:
    receiver = Receiver(kind, key, monotonic)
    if like:  # so that it is looked at
        data, _ = receiver.sent(200)
        junk = data[:-16] + junk[:16].ljust(16, b"x")
    assert not receiver.hear(junk)
