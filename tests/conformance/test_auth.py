"""The cases P30 to P32 and X01: adverts behind AH, and adverts with the trailer of auth_hmac.

The vectors of the trailer are those of draft-cassen-vrrp-auth-hmac, which keepalived tests itself with; the datagrams
with AH are captures of keepalived 2.2.7.
"""

from __future__ import annotations

import hmac
from dataclasses import replace

import pytest
from simulator import EPOCH, World, instance, packed
from test_packets import ACCEPTED, Answer, Victim, rejected

from vrrpd.model.vrrp import AF_INET, AF_INET6, Authentication, AuthHmac
from vrrpd.vrrp.actions import Log
from vrrpd.vrrp.auth import TICKS, next_sequence, sealed
from vrrpd.vrrp.packet import AdvertSpec, Seal, datagrams, encode
from vrrpd.vrrp.states import BACKUP

KEY = bytes(range(32))
GROUP4, GROUP6 = packed("224.0.0.18"), packed("ff02::12")
SPEC4 = AdvertSpec(
    AF_INET, 3, 51, 1.0, (packed("192.0.2.100"),), packed("198.51.100.10"), (GROUP4,),
    pseudo_header=False, seal=Seal(KEY, 1),
)  # fmt: skip
SPEC6 = AdvertSpec(
    AF_INET6, 3, 51, 1.0, (packed("fe80::100"),), packed("fe80::10"), (packed("fe80::20"),), seal=Seal(KEY, 1)
)
VECTOR4 = bytes.fromhex("3133c80100644402c0000264 010100006800000080000000 1b84bc4e8e43892dc6d98448f8ee2265")
VECTOR6 = bytes.fromhex(
    "3133c8010064a2e9 fe800000000000000000000000000100 010100006800000080000000 c8c56146ebfd66ee10ec4d8186461b78"
)
SEQUENCE = 0x6800000080000000
WHEN = float(SEQUENCE >> 32)  # the time of day of the vectors


# ---- AH ----------------------------------------------------------------------------------------------------------

AH_MULTICAST = [
    bytes.fromhex(text)
    for text in (
        "45c0004000010000ff33d0b50a000002e0000012 700400000a0000020000000109e0fa4816ede25f3c24fa84"
        "2133fe010201d4650a0000640000000000000000",
        "45c0004000020000ff33d0b40a000002e0000012 700400000a00000200000002319c0b9051b5234cb999750f"
        "2133fe010201d4650a0000640000000000000000",
        "45c0004000040000ff33d0b20a000002e0000012 700400000a000002000000047bc2eb3e9d2d86943451ae59"
        "213300010201d2660a0000640000000000000000",
    )
]
AH_UNICAST = bytes.fromhex(
    "45c0004400010000ff33a6610a0000020a000063 700400000a0000020000000108ce9cc717acb408788cf8c1"
    "2134fe020201c9fc0a0000650a0000660000000000000000"
)
AH_SPEC = AdvertSpec(
    AF_INET, 2, 51, 1.0, (packed("10.0.0.100"),), packed("10.0.0.2"), (GROUP4,), auth_type=2, seal=Seal(b"secret12")
)


class AhVictim(Victim):
    """Its Answers are to whole datagrams."""

    def __init__(self, spec: AdvertSpec = AH_SPEC, password: bytes = b"secret12", **changes: object) -> None:
        super().__init__(spec, authentication=Authentication("AH", password), **changes)

    def hear(self, datagram: bytes) -> Answer:
        before, timer = self.counters(), self.router.timer.deadline
        self.world.advance(self.world.now + 0.01)
        actions = self.node.engine.receive_ah(self.router.ifindex, datagram, self.world.now)
        counted = {name: value - before[name] for name, value in self.counters().items() if value != before[name]}
        logs = [action.message for action in actions if isinstance(action, Log)]
        return Answer(counted, logs, self.router.timer.deadline != timer)


def signed(datagram: bytes, key: bytes = b"secret12") -> bytes:
    """This multicast datagram with its right check value: RFC 2402 3.3.3, written once more."""
    fixed = bytearray(datagram)
    fixed[1] = fixed[6] = fixed[7] = fixed[10] = fixed[11] = 0
    fixed[32:44] = bytes(12)
    check = hmac.new(key.ljust(8, b"\0"), bytes(fixed), "md5").digest()[:12]
    return datagram[:32] + check + datagram[44:]


def test_p30_ah_of_keepalived_multicast() -> None:
    victim = AhVictim()
    for datagram in AH_MULTICAST:
        assert signed(datagram) == datagram
        assert set(victim.hear(datagram).counted) <= {"advert_rcvd", "pri_zero_rcvd"}
    assert victim.router.resigned


def test_p30_ah_of_keepalived_unicast() -> None:
    """The TTL is not under the check value there."""
    spec = AH_SPEC._replace(vrid=52, addresses=(packed("10.0.0.101"), packed("10.0.0.102")))
    for datagram in (AH_UNICAST, AH_UNICAST[:8] + b"\x40" + AH_UNICAST[9:]):
        victim = AhVictim(spec, b"abc", unicast_peer=(packed("10.0.0.2"),))
        assert victim.hear(datagram).counted == ACCEPTED


def test_p30_ah_sent() -> None:
    """What keepalived sends, but for DF, checksum and the id, which is another counter."""
    ((destination, datagram),) = sealed(AH_SPEC, datagrams(AH_SPEC, 254), 1)
    assert destination == GROUP4
    assert datagram[:10] + AH_MULTICAST[0][10:12] + datagram[12:] == AH_MULTICAST[0]


def test_p30_ah_missing() -> None:
    victim = AhVictim()
    assert rejected(victim.offer(AH_MULTICAST[0][44:], source=AH_SPEC.source), "ah_missing")
    assert rejected(victim.offer(encode(AH_SPEC._replace(auth_type=0), 200, GROUP4)), "authtype_mismatch")


def test_p30_ah_where_it_is_not_meant() -> None:
    plain = Victim(AH_SPEC)
    plain.node.engine.receive_ah(plain.router.ifindex, AH_MULTICAST[0], plain.world.now)
    assert plain.router.counts()["authtype_mismatch"] == 1
    assert plain.router.counts()["advert_rcvd"] == 0


@pytest.mark.parametrize("at", [3, 5, 8, 15, 19, 31, 32, 43, 46, 52, 59])
def test_p30_ah_one_bit(at: int) -> None:
    """Length, id, TTL, addresses, sequence, check value, message: all are covered."""
    forged = AH_MULTICAST[0][:at] + bytes((AH_MULTICAST[0][at] ^ 1,)) + AH_MULTICAST[0][at + 1 :]
    assert rejected(AhVictim().hear(forged), "ip_ttl_err" if at == 8 else "ah_invalid")


@pytest.mark.parametrize("at", [1, 6, 10])
def test_p30_ah_what_routers_change(at: int) -> None:
    """TOS, fragment field, checksum."""
    other = AH_MULTICAST[0][:at] + bytes((AH_MULTICAST[0][at] ^ 0x40,)) + AH_MULTICAST[0][at + 1 :]
    assert AhVictim().hear(other).counted == ACCEPTED


def test_p30_ah_spi_is_not_the_source() -> None:
    other = AH_MULTICAST[0][:24] + packed("10.0.0.3") + AH_MULTICAST[0][28:]
    assert rejected(AhVictim().hear(other), "ah_invalid")
    assert rejected(AhVictim().hear(signed(other)), "ah_spi_err")


def test_p30_ah_sequence_must_grow() -> None:
    victim = AhVictim()
    first, second, _ = AH_MULTICAST
    assert victim.hear(second).counted == ACCEPTED
    assert rejected(victim.hear(second), "ah_replay")
    assert rejected(victim.hear(first), "ah_replay")
    assert victim.hear(signed(second[:28] + b"\xff\xff\xff\xff" + second[32:])).counted == ACCEPTED
    assert rejected(victim.hear(AH_MULTICAST[2]), "ah_replay")


def test_p30_ah_a_forged_sequence_moves_no_mark() -> None:
    victim = AhVictim()
    first = AH_MULTICAST[0]
    assert rejected(victim.hear(first[:28] + b"\xff\xff\xff\xff" + first[32:]), "ah_invalid")
    assert victim.hear(first).counted == ACCEPTED


@pytest.mark.parametrize("length", [0, 19, 20, 43, 44, 51])
def test_p30_ah_cut_off(length: int) -> None:
    victim = AhVictim()
    assert victim.hear(AH_MULTICAST[0][:length]).counted == {"all packet_len_err": 1}


def test_p30_ah_what_follows_is_not_vrrp() -> None:
    assert rejected(AhVictim().hear(signed(AH_MULTICAST[0][:20] + b"\x06" + AH_MULTICAST[0][21:])), "packet_len_err")


def test_ah_goes_on_from_what_it_hears() -> None:
    """keepalived's counter is one for the group: who takes over sends more than the former master did."""
    victim = AhVictim()
    far = 3_999_999_999
    datagram = AH_MULTICAST[0]
    assert victim.hear(signed(datagram[:28] + far.to_bytes(4, "big") + datagram[32:])).counted == ACCEPTED
    victim.world.advance(victim.world.now + 10)
    ((_, sent),) = victim.node.adverts(victim.router, 100)
    assert int.from_bytes(sent[28:32], "big") > far


def test_ah_sequence_is_a_clock_that_a_crash_does_not_reset() -> None:
    """And another process begins a second ahead: the former one may have sent in this very moment."""
    seal = Seal(b"secret12", base=50_000_000.0)
    last = next_sequence(seal, 0, 1000.0, 0.0)
    for now in (1001.0, 1001.02, 1001.04, 1002.0):
        following = next_sequence(seal, last, now, 0.0)
        assert following > last
        last = following
    assert next_sequence(seal, 0, 1002.01, 0.0) > last
    assert next_sequence(seal, last, 1100.0, 0.0) == int(50_001_100.0 * TICKS)
    assert next_sequence(seal, (1 << 32) - 1, 1.0, 0.0) == (1 << 32) - 1, "the last there is"


# ---- auth_hmac ---------------------------------------------------------------------------------------------------


def keys(**changes: object) -> AuthHmac:
    return replace(AuthHmac(((1, KEY),), 1, "time", 5), **changes)  # type: ignore[arg-type]


class HmacVictim(Victim):
    def __init__(self, spec: AdvertSpec = SPEC6, at: float = WHEN, **changes: object) -> None:
        """Its time of day is `at`."""
        super().__init__(spec, auth_hmac=keys(**changes))
        self.node.engine.offset = at - self.world.now - 0.01

    def step(self, seconds: float) -> None:
        """Set its clock."""
        self.node.engine.offset += seconds


def flipped(data: bytes, at: int) -> bytes:
    return data[:at] + bytes((data[at] ^ 1,)) + data[at + 1 :]


def advert(sequence: int, spec: AdvertSpec = SPEC6, priority: int = 200, key: Seal | None = None) -> bytes:
    spec = spec if key is None else spec._replace(seal=key)
    ((_, datagram),) = sealed(spec, datagrams(spec, priority), sequence)
    return datagram[20:] if spec.family == AF_INET else datagram


def test_p31_vectors() -> None:
    assert advert(SEQUENCE, SPEC4) == VECTOR4
    assert advert(SEQUENCE, SPEC6) == VECTOR6
    assert HmacVictim(SPEC4).offer(VECTOR4).counted == ACCEPTED
    assert HmacVictim().offer(VECTOR6, destination=SPEC6.destinations[0]).counted == {"destination_err": 1}
    assert HmacVictim().offer(advert(SEQUENCE, SPEC6._replace(destinations=(GROUP6,)))).counted == ACCEPTED


V6 = SPEC6._replace(destinations=(GROUP6,))
MESSAGE = 24  # the length of V6's


@pytest.mark.parametrize(
    ("what", "at", "counter"),
    [
        ("priority", 2, "auth_ext_invalid_hmac"),
        ("interval", 5, "auth_ext_invalid_hmac"),
        ("address", 23, "auth_ext_invalid_hmac"),
        ("type", MESSAGE, "auth_ext_malformed"),
        ("key id", MESSAGE + 1, "auth_ext_unknown_key"),
        ("reserved", MESSAGE + 2, "auth_ext_malformed"),
        ("seconds", MESSAGE + 7, "auth_ext_invalid_hmac"),
        ("fraction", MESSAGE + 9, "auth_ext_invalid_hmac"),
        ("counter", MESSAGE + 11, "auth_ext_invalid_hmac"),
        ("hmac", MESSAGE + 12, "auth_ext_invalid_hmac"),
        ("hmac's last byte", MESSAGE + 27, "auth_ext_invalid_hmac"),
    ],
)
def test_p31_one_bit(what: str, at: int, counter: str) -> None:
    victim = HmacVictim()
    assert rejected(victim.offer(flipped(advert(SEQUENCE, V6), at)), counter), what
    assert victim.offer(advert(SEQUENCE, V6)).counted == ACCEPTED, "and the mark has not moved"


def test_p31_checksum_is_not_under_the_hmac() -> None:
    """The kernel writes that of IPv6 later. It is checked for itself: what passed the HMAC is dropped by it."""
    victim = HmacVictim()
    assert rejected(victim.offer(flipped(advert(SEQUENCE, V6), 7)), "checksum_err")
    assert victim.offer(advert(SEQUENCE, V6)).counted == ACCEPTED, "which forestalls nothing"
    other = SPEC4._replace(pseudo_header=True)
    sent, elsewhere = advert(SEQUENCE, SPEC4), advert(SEQUENCE, other)
    assert sent != elsewhere
    assert sent[-16:] == elsewhere[-16:]


@pytest.mark.parametrize(
    "spec",
    [SPEC4, SPEC4._replace(version=2, addresses=(packed("192.0.2.1"),) * 3), V6, SPEC4._replace(pseudo_header=True)],
)
def test_p31_every_version_and_family(spec: AdvertSpec) -> None:
    assert HmacVictim(spec).offer(advert(SEQUENCE, spec)).counted == ACCEPTED


def test_p31_source_vrid_version_and_key_are_bound() -> None:
    other = packed("fe80::11")
    moved = advert(SEQUENCE, V6._replace(source=other))
    wrong = advert(SEQUENCE, V6)[-28:]
    assert rejected(HmacVictim().offer(moved[:-28] + wrong, source=other), "auth_ext_invalid_hmac")
    fifty_two = HmacVictim(V6._replace(vrid=52))
    assert rejected(fifty_two.offer(advert(SEQUENCE, V6._replace(vrid=52))[:-28] + wrong), "auth_ext_invalid_hmac")
    assert rejected(HmacVictim().offer(advert(SEQUENCE, V6, key=Seal(KEY[::-1], 1))), "auth_ext_invalid_hmac")
    assert rejected(HmacVictim().offer(advert(SEQUENCE, V6, key=Seal(KEY, 2))), "auth_ext_unknown_key")


def test_p31_every_listed_key_is_accepted() -> None:
    second = KEY[::-1]
    victim = HmacVictim(keys=((1, KEY), (2, second)))
    assert victim.offer(advert(SEQUENCE, V6)).counted == ACCEPTED
    assert victim.offer(advert(SEQUENCE + 1, V6, key=Seal(second, 2))).counted == ACCEPTED
    assert victim.router.spec.seal == Seal(KEY, 1, 5)


def test_p31_wrong_length() -> None:
    good = advert(SEQUENCE, V6)
    for data in (good[:-1], good + b"\0", good[:-16], good + good[-28:]):
        assert rejected(HmacVictim().offer(data), "packet_len_err")
    for length in range(8):
        assert rejected(HmacVictim().offer(good[:length]), "packet_len_err") or length < 2


def test_p31_without_trailer() -> None:
    bare = encode(V6, 200, GROUP6)
    assert rejected(HmacVictim().offer(bare), "auth_ext_missing")
    assert rejected(HmacVictim().offer(flipped(bare, 7)), "checksum_err")
    permissive = HmacVictim(mode="permissive")
    first, second = permissive.offer(bare), permissive.offer(bare)
    assert first.counted == second.counted == {"advert_rcvd": 1, "auth_ext_missing": 1}
    assert first.reset
    assert any("accepted an advert without HMAC from fe80::10" in line for line in first.logs)
    assert not any("without HMAC" in line for line in second.logs), "once in a while"
    assert rejected(permissive.offer(flipped(advert(SEQUENCE, V6), 2)), "auth_ext_invalid_hmac")
    receive_only = HmacVictim(mode="receive-only")
    told = receive_only.offer(bare)
    assert told.counted == {"advert_rcvd": 1, "auth_ext_missing": 1}
    assert not any("without HMAC" in line for line in told.logs)
    assert receive_only.offer(advert(SEQUENCE, V6)).counted == ACCEPTED
    assert receive_only.router.spec.seal is None


def test_p31_a_router_without_it_finds_the_packet_too_long() -> None:
    assert rejected(Victim(V6).offer(advert(SEQUENCE, V6)), "packet_len_err")


def test_p32_window() -> None:
    for drift, counter in ((-6, "auth_ext_stale"), (6, "auth_ext_stale"), (-5, ""), (5, "")):
        answer = HmacVictim(at=WHEN + drift).offer(advert(SEQUENCE, V6))
        assert (answer.counted == ACCEPTED) if not counter else rejected(answer, counter), drift
    stale = flipped(advert(SEQUENCE, V6), MESSAGE + 20)
    assert rejected(HmacVictim(at=WHEN + 9).offer(stale), "auth_ext_stale"), "before the HMAC is looked at"
    assert HmacVictim(at=WHEN + 300, time_window=300).offer(advert(SEQUENCE, V6)).counted == ACCEPTED
    assert HmacVictim(at=WHEN + 1e6, anti_replay="monotonic").offer(advert(SEQUENCE, V6)).counted == ACCEPTED


def test_p32_a_clock_that_runs_away_is_told() -> None:
    assert not HmacVictim(at=WHEN + 2).offer(advert(SEQUENCE, V6)).logs[1:]
    for at, how in ((WHEN + 4, "4 s behind ours"), (WHEN - 3, "3 s ahead of ours")):
        logs = HmacVictim(at=at).offer(advert(SEQUENCE, V6)).logs
        assert any(f"the clock of fe80::10 is {how}, time_window is 5 s" in line for line in logs)


def test_p32_replay() -> None:
    victim = HmacVictim()
    good = advert(SEQUENCE, V6)
    assert victim.offer(good).counted == ACCEPTED
    assert rejected(victim.offer(good), "auth_ext_replay")
    assert rejected(victim.offer(advert(SEQUENCE - 1, V6)), "auth_ext_replay")
    assert victim.offer(advert(SEQUENCE + 1, V6)).counted == ACCEPTED
    assert HmacVictim().offer(good).counted == ACCEPTED, "the same copy at a second peer"
    assert victim.offer(advert(SEQUENCE, V6._replace(source=packed("fe80::11"))), source=packed("fe80::11")).counted


def test_p32_the_sequence_survives_2106() -> None:
    last = (1 << 64) - 1
    victim = HmacVictim(at=float((1 << 32) - 1))
    assert victim.offer(advert(last, V6)).counted == ACCEPTED
    victim.step(1)
    assert victim.offer(advert(0, V6)).counted == ACCEPTED
    assert rejected(victim.offer(advert(last, V6)), "auth_ext_replay")
    assert next_sequence(Seal(KEY, 1, 5), last, 0.0, float(1 << 32)) == 0


def test_p32_a_clock_that_was_set_back() -> None:
    """keepalived 2.4.3: a sender follows its clock once peers could not believe it, and their marks expire as well."""
    seal = Seal(KEY, 1, 5)
    ahead = next_sequence(seal, 0, 0.0, WHEN + 3600)
    assert next_sequence(seal, ahead, 0.0, WHEN) == SEQUENCE - 0x80000000
    near = next_sequence(seal, 0, 0.0, WHEN + 4)
    assert next_sequence(seal, near, 0.0, WHEN) == near + 1
    victim = HmacVictim(at=WHEN + 3600)
    assert victim.offer(advert(ahead, V6)).counted == ACCEPTED
    victim.step(-3600)
    assert victim.offer(advert(SEQUENCE, V6)).counted == ACCEPTED
    assert rejected(victim.offer(advert(SEQUENCE, V6)), "auth_ext_replay")


def test_p32_monotonic_only_grows() -> None:
    seal = Seal(KEY, 1, 0, base=WHEN)
    last = next_sequence(seal, 0, 10.0, 0.0)
    assert last >> 32 == WHEN + 10
    assert next_sequence(seal, last, 9.0, 0.0) == last + 1
    victim = HmacVictim(anti_replay="monotonic")
    assert victim.offer(advert(last, V6)).counted == ACCEPTED
    victim.step(-1e6)
    assert rejected(victim.offer(advert(last - 1, V6)), "auth_ext_replay")


def test_p32_four_sources_have_a_mark_and_the_silent_one_loses_it() -> None:
    victim = HmacVictim()
    sources = [packed(f"fe80::{n}") for n in range(10, 15)]
    for source in sources[:4]:
        victim.offer(advert(SEQUENCE, V6._replace(source=source)), source=source)
    victim.offer(advert(SEQUENCE + 1, V6._replace(source=sources[0])), source=sources[0])
    victim.offer(advert(SEQUENCE, V6._replace(source=sources[4])), source=sources[4])
    again = [victim.offer(advert(SEQUENCE, V6._replace(source=s)), source=s).counted for s in (sources[0], sources[2])]
    assert again == [{"auth_ext_replay": 1}] * 2
    assert (
        "auth_ext_replay"
        not in victim.offer(advert(SEQUENCE, V6._replace(source=sources[1])), source=sources[1]).counted
    )


def test_x01_a_captured_master_speaks_to_nobody() -> None:
    """With HMAC: within the window it is a replay, later it is stale; and neither touches a timer."""
    world = World()
    a, b = world.node("A"), world.node("B")
    for node, priority in ((a, 200), (b, 100)):
        node.apply(instance(priority=priority, version=3, auth_hmac=keys()))
    world.advance(10)
    assert world.masters() == ["A"]
    captured = world.sent[-1]
    del world.nodes["A"]
    for _ in range(40):
        world.advance(world.now + 0.5)
        b.receive(captured)
    assert world.masters() == ["B"]
    counts = b.router.counts()
    assert counts["auth_ext_replay"] + counts["auth_ext_stale"] == 40
    assert counts["auth_ext_stale"] > 20


# ---- both, from one process to the next --------------------------------------------------------------------------

AUTHENTICATED = {
    "AH": {"version": 2, "authentication": Authentication("AH", b"secret12")},
    "HMAC": {"version": 3, "auth_hmac": keys()},
    "HMAC, monotonic": {"version": 3, "auth_hmac": keys(anti_replay="monotonic")},
}


@pytest.mark.parametrize("kind", AUTHENTICATED)
@pytest.mark.parametrize("what", ["reload", "crash"])
def test_a_successor_is_believed(kind: str, what: str) -> None:
    """Not one advert of it is rejected; and it believes nobody who speaks again as the dead did (X01)."""
    world = World()
    a, b = world.node("A"), world.node("B")
    for node, priority in ((a, 200), (b, 100)):
        node.apply(instance(priority=priority, **AUTHENTICATED[kind]))
    for at in (7.0, 8.01, 9.3, 9.6):
        world.advance(at)
        if what == "reload":
            a.apply(a.router.cfg)
            b.apply(b.router.cfg)
        else:
            a.crash()
    world.advance(20)
    assert world.masters() == ["A"]
    wrong = {k: v for k, v in b.router.counts().items() if k.startswith(("auth_ext", "ah_")) and v}
    assert not wrong
    assert b.router.state is BACKUP
    before = b.router.counts()
    b.receive(world.sent[-2])
    after = b.router.counts()
    assert {k for k, v in after.items() if v != before[k]} == {"ah_replay" if kind == "AH" else "auth_ext_replay"}


def test_time_of_day_is_what_peers_see() -> None:
    """A crash with the clock of the same host; the world's time is EPOCH + now."""
    world = World()
    node = world.node("A")
    node.apply(instance(priority=200, version=3, auth_hmac=keys()))
    world.advance(10)
    node.crash()
    world.advance(12)
    ((_, datagram),) = node.adverts(node.router, 200)
    assert int.from_bytes(datagram[-24:-20], "big") == int(EPOCH + 12)
