"""The cases P01 to P44: what is a valid advert, and which counter names what is not.

Golden packets are captures of keepalived and FRR and vectors of other implementations, byte for byte.
"""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address
from typing import NamedTuple

import pytest
from simulator import Node, World, instance, packed, vip

from vrrpd.model.vrrp import AF_INET, AF_INET6, Authentication, VrrpInstance
from vrrpd.vrrp.actions import Log
from vrrpd.vrrp.packet import Advert, AdvertSpec, PacketError, datagrams, decode, encode
from vrrpd.vrrp.states import BACKUP

GROUP4, GROUP6 = packed("224.0.0.18"), packed("ff02::12")
PEER4, PEER6 = packed("192.0.2.251"), packed("fe80::c8")
V2 = bytes.fromhex("210ac802000192edc0000201c00002020000000000000000")
V2_PASS = bytes.fromhex("210ac8020101246fc0000201c00002027365637265743132")
V2_PASS_RESIGN = bytes.fromhex("210a00020101ec6fc0000201c00002027365637265743132")
V3_MESSAGE = bytes.fromhex("310ac8020064828ac0000201c0000202")
V3_PSEUDO = bytes.fromhex("310ac8020064defbc0000201c0000202")
V3_FAST = bytes.fromhex("310bc801000aa15ac0000203")
V3_FAST_RESIGN = bytes.fromhex("310b0001000a695bc0000203")
V3_IPV6 = bytes.fromhex("310a640200643f5dfe80000000000000000000000000000120010db8000000000000000000000001")
HOLO_V2 = bytes.fromhex("21331e010001b5c50a0001050000000000000000")

TWO = (packed("192.0.2.1"), packed("192.0.2.2"))
SPEC2 = AdvertSpec(AF_INET, 2, 10, 1.0, TWO, PEER4, (GROUP4,))
SPEC3 = SPEC2._replace(version=3)
SPEC6 = AdvertSpec(AF_INET6, 3, 10, 1.0, (packed("fe80::1"), packed("2001:db8::1")), PEER6, (GROUP6,))


def summed(spec: AdvertSpec, message: bytes, destination: bytes | None = None) -> bytes:
    """`message` with the checksum that a sender of this spec would have written."""
    bare = message[:6] + b"\0\0" + message[8:]
    total = int.from_bytes(bare, "big")
    if spec.family == AF_INET6:
        total += int.from_bytes(spec.source + (destination or GROUP6) + len(bare).to_bytes(4, "big"), "big") + 112
    elif spec.version == 3 and spec.pseudo_header:
        total += int.from_bytes(spec.source + (destination or GROUP4), "big") + 112 + len(bare)
    return bare[:6] + (-total % 0xFFFF).to_bytes(2, "big") + bare[8:]


class Answer(NamedTuple):
    """What became of a packet."""

    counted: dict[str, int]  # every counter that moved
    logs: list[str]
    reset: bool  # the Active_Down_Timer was set anew: the advert was accepted


class Victim:
    """A BACKUP of priority 100 with the addresses of the golden packets, listening."""

    def __init__(self, spec: AdvertSpec = SPEC3, **changes: object) -> None:
        addresses = tuple(vip(str(ip_address(address))) for address in spec.addresses)
        cfg = instance(
            family=spec.family, version=spec.version, virtual_router_id=spec.vrid, virtual_ipaddress=addresses
        )
        self.cfg: VrrpInstance = replace(cfg, **changes)  # type: ignore[arg-type]
        self.spec = spec
        self.world = World()
        self.node: Node = self.world.node("A", "192.0.2.5/24", "fe80::a/64")
        self.node.apply(self.cfg)
        self.router = self.node.router
        assert self.router.state is BACKUP

    def counters(self) -> dict[str, int]:
        return {**self.router.counts(), **{f"all {k}": v for k, v in self.node.engine.counters.items()}}

    def offer(
        self,
        data: bytes,
        ttl: int = 255,
        source: bytes | None = None,
        destination: bytes | None = None,
        ifindex: int | None = None,
    ) -> Answer:
        before, timer = self.counters(), self.router.timer.deadline
        self.world.advance(self.world.now + 0.01)
        actions = self.node.engine.receive(
            self.router.ifindex if ifindex is None else ifindex,
            self.spec.family,
            self.spec.source if source is None else source,
            (GROUP6 if self.spec.family == AF_INET6 else GROUP4) if destination is None else destination,
            ttl,
            memoryview(data),
            self.world.now,
        )
        counted = {name: value - before[name] for name, value in self.counters().items() if value != before[name]}
        logs = [action.message for action in actions if isinstance(action, Log)]
        return Answer(counted, logs, self.router.timer.deadline != timer)


ACCEPTED = {"advert_rcvd": 1}


def rejected(answer: Answer, counter: str) -> bool:
    return answer.counted == {counter: 1} and not answer.reset


# ---- encode and decode -------------------------------------------------------------------------------------------


def test_p01_v2_golden() -> None:
    assert encode(SPEC2, 200, GROUP4) == V2
    assert decode(V2, 2, AF_INET, PEER4, GROUP4) == Advert(2, 10, 200, 1.0, b"".join(TWO), 0, bytes(8))
    secret = SPEC2._replace(auth_type=1, auth_data=b"secret12")
    assert encode(secret, 200, GROUP4) == V2_PASS
    assert encode(secret, 0, GROUP4) == V2_PASS_RESIGN
    assert decode(V2_PASS, 2, AF_INET, PEER4, GROUP4).auth_data == b"secret12"
    holo = AdvertSpec(AF_INET, 2, 51, 1.0, (packed("10.0.1.5"),), packed("192.168.100.2"), (GROUP4,))
    assert encode(holo, 30, GROUP4) == HOLO_V2


def test_p01_ipv4_header() -> None:
    """keepalived's: TOS 0xc0, TTL 255, DF clear; the kernel fills id and checksum."""
    ((destination, datagram),) = datagrams(SPEC2, 200)
    assert destination == GROUP4
    assert datagram.hex() == "45c0002c00000000ff700000c00002fbe0000012" + V2.hex()


def test_p02_v3_ipv4_golden() -> None:
    assert encode(SPEC3, 200, GROUP4) == V3_PSEUDO
    assert encode(SPEC3._replace(pseudo_header=False), 200, GROUP4) == V3_MESSAGE
    assert encode(SPEC3, 0, GROUP4)[6:8].hex() == "a6fc"
    assert encode(SPEC3._replace(pseudo_header=False), 0, GROUP4)[6:8].hex() == "4a8b"
    assert encode(SPEC3, 200, packed("192.0.2.10"))[6:8].hex() == "fd03"
    fast = SPEC3._replace(vrid=11, advert_int=0.1, addresses=(packed("192.0.2.3"),))
    assert encode(fast, 200, GROUP4) == V3_FAST
    assert encode(fast, 0, GROUP4) == V3_FAST_RESIGN
    for message, pseudo_header in ((V3_PSEUDO, True), (V3_MESSAGE, False)):
        expected = Advert(3, 10, 200, 1.0, b"".join(TWO), pseudo_header=pseudo_header)
        assert decode(message, 3, AF_INET, PEER4, GROUP4) == expected


def test_p03_v3_ipv6_golden() -> None:
    assert encode(SPEC6, 100, GROUP6) == V3_IPV6
    assert datagrams(SPEC6, 100) == ((GROUP6, V3_IPV6),)
    decoded = decode(V3_IPV6, 3, AF_INET6, PEER6, GROUP6)
    assert decoded == Advert(3, 10, 100, 1.0, b"".join(SPEC6.addresses), pseudo_header=True)


@pytest.mark.parametrize("spec", [SPEC2, SPEC3, SPEC6], ids=["v2", "v3", "v3-ipv6"])
@pytest.mark.parametrize("length", range(8))
def test_p04_truncated_header(spec: AdvertSpec, length: int) -> None:
    message = encode(spec, 200, spec.destinations[0])[:length]
    with pytest.raises(PacketError, match="packet_len_err"):
        decode(message, spec.version, spec.family, spec.source, spec.destinations[0])
    victim = Victim(spec)
    # Too short to carry a VRID, it is nobody's.
    assert rejected(victim.offer(message), "packet_len_err" if length > 1 else "all packet_len_err")


@pytest.mark.parametrize("spec", [SPEC2, SPEC3, SPEC6], ids=["v2", "v3", "v3-ipv6"])
def test_p05_fewer_addresses_than_counted(spec: AdvertSpec) -> None:
    message = encode(spec._replace(addresses=spec.addresses[:1]), 200, spec.destinations[0])
    assert rejected(Victim(spec).offer(summed(spec, message[:3] + b"\x02" + message[4:])), "packet_len_err")


@pytest.mark.parametrize("spec", [SPEC2, SPEC3, SPEC6], ids=["v2", "v3", "v3-ipv6"])
def test_p06_trailing_bytes(spec: AdvertSpec) -> None:
    message = encode(spec, 200, spec.destinations[0])
    assert rejected(Victim(spec).offer(summed(spec, message + bytes(8))), "packet_len_err")
    assert rejected(Victim(spec).offer(summed(spec, message + bytes(1000 - len(message)))), "packet_len_err")


@pytest.mark.parametrize("first", [0x01, 0x41, 0x51])
def test_p10_unknown_version(first: int) -> None:
    for spec in (SPEC2, SPEC3):
        message = encode(spec, 200, GROUP4)
        assert rejected(Victim(spec).offer(summed(spec, bytes((first,)) + message[1:])), "version_err")


def test_p11_the_other_version() -> None:
    assert rejected(Victim(SPEC3).offer(V2), "version_err")
    assert rejected(Victim(SPEC2).offer(V3_PSEUDO), "version_err")
    assert rejected(Victim(SPEC6).offer(V2), "version_err")


@pytest.mark.parametrize("kind", [0, 2, 7])
def test_p12_another_type(kind: int) -> None:
    for spec in (SPEC2, SPEC3, SPEC6):
        message = encode(spec, 200, spec.destinations[0])
        first = bytes((spec.version << 4 | kind,))
        assert rejected(Victim(spec).offer(summed(spec, first + message[1:])), "invalid_type_rcvd")


@pytest.mark.parametrize("spec", [SPEC2, SPEC3, SPEC3._replace(pseudo_header=False), SPEC6])
def test_p13_wrong_checksum(spec: AdvertSpec) -> None:
    message = encode(spec, 200, spec.destinations[0])
    victim = Victim(spec._replace(pseudo_header=True))
    assert rejected(victim.offer(message[:6] + b"\0\0" + message[8:]), "checksum_err")
    for position in range(len(message) * 8):
        if position // 8 in (0, 1, 3):  # version, type, VRID and count are judged before the sum
            continue
        changed = bytearray(message)
        changed[position // 8] ^= 0x80 >> position % 8
        assert rejected(victim.offer(bytes(changed)), "checksum_err")


def test_p14_v3_ipv4_sum_of_the_message_alone() -> None:
    """Both readings of RFC 5798 5.2.8 are accepted; which one the peer has is remembered and told once."""
    victim = Victim(SPEC3)
    first, second = victim.offer(V3_MESSAGE), victim.offer(V3_MESSAGE)
    assert (first.counted, first.reset) == (second.counted, second.reset) == (ACCEPTED, True)
    assert victim.router.peer_pseudo_header is False
    assert [line for line in first.logs if "without pseudo header" in line]
    assert not second.logs
    assert victim.router.spec.pseudo_header, "what we send does not follow the peer"


def test_p15_v3_ipv4_sum_with_pseudo_header() -> None:
    victim = Victim(SPEC3, v3_checksum_as_v2=True)
    answer = victim.offer(V3_PSEUDO)
    assert (answer.counted, answer.reset) == (ACCEPTED, True)
    assert [line for line in answer.logs if "with a pseudo header" in line]
    assert not victim.router.spec.pseudo_header


def test_p16_v3_unicast_sum_is_over_the_real_destination() -> None:
    here = packed("192.0.2.5")
    right, old = encode(SPEC3, 200, here), encode(SPEC3, 200, GROUP4)
    victim = Victim(SPEC3, unicast_peer=(PEER4,))
    assert victim.offer(right, destination=here).counted == ACCEPTED
    victim = Victim(SPEC3, unicast_peer=(PEER4,), old_unicast_checksum="never")
    assert rejected(victim.offer(old, destination=here), "checksum_err")


@pytest.mark.parametrize("keyword", ["", "old"])
def test_p16_the_sum_over_the_group_in_unicast_is_that_of_old_keepalived(keyword: str) -> None:
    """Before 1.3.7; understood, and not where no pseudo-header belongs or none was ever summed so."""
    here = packed("192.0.2.5")
    old = encode(SPEC3._replace(old_sum=True), 200, here)
    assert old == encode(SPEC3, 200, GROUP4)
    victim = Victim(SPEC3, unicast_peer=(PEER4,), old_unicast_checksum=keyword)
    assert victim.offer(old, destination=here).counted == ACCEPTED
    wrong = old[:7] + bytes((old[7] ^ 1,)) + old[8:]
    assert rejected(victim.offer(wrong, destination=here), "checksum_err")
    assert rejected(Victim(SPEC3).offer(old, destination=here), "checksum_err")


def test_p17_v3_ipv6_wrong_checksum_is_counted() -> None:
    """The kernel drops these with IPV6_CHECKSUM; verified here as well."""
    assert rejected(Victim(SPEC6).offer(V3_IPV6[:7] + bytes((V3_IPV6[7] ^ 1,)) + V3_IPV6[8:]), "checksum_err")


@pytest.mark.parametrize("ttl", [254, 64, 1, 0])
def test_p18_multicast_ttl(ttl: int) -> None:
    assert rejected(Victim(SPEC3).offer(V3_PSEUDO, ttl=ttl), "ip_ttl_err")
    assert rejected(Victim(SPEC2).offer(V2, ttl=ttl), "ip_ttl_err")


@pytest.mark.parametrize("hop_limit", [254, -1])
def test_p19_ipv6_hop_limit_wrong_or_missing(hop_limit: int) -> None:
    assert rejected(Victim(SPEC6).offer(V3_IPV6, ttl=hop_limit), "ip_ttl_err")


def test_p20_unicast_ttl() -> None:
    here = packed("192.0.2.5")
    message = encode(SPEC3, 200, here)
    assert Victim(SPEC3, unicast_peer=(PEER4,)).offer(message, ttl=60, destination=here).counted == ACCEPTED
    strict = Victim(SPEC3, unicast_peer=(PEER4,), unicast_peer_ttl=((255, 255),))
    assert rejected(strict.offer(message, ttl=60, destination=here), "ip_ttl_err")
    assert strict.offer(message, ttl=255, destination=here).counted == ACCEPTED


@pytest.mark.parametrize("vrid", [0, 9, 11, 255])
def test_p21_unknown_vrid(vrid: int) -> None:
    message = summed(SPEC3, V3_PSEUDO[:1] + bytes((vrid,)) + V3_PSEUDO[2:])
    assert rejected(Victim(SPEC3).offer(message), "all vrid_err")


def test_p22_v3_count_0() -> None:
    for spec in (SPEC3, SPEC6):
        empty = encode(spec._replace(addresses=()), 200, spec.destinations[0])
        assert rejected(Victim(spec).offer(empty), "addr_list_err")


def test_p23_255_ipv6_addresses() -> None:
    many = SPEC6._replace(addresses=tuple(packed(f"2001:db8::{n:x}") for n in range(255)))
    message = encode(many, 200, GROUP6)
    assert len(message) == 4088
    assert len(decode(message, 3, AF_INET6, PEER6, GROUP6).addresses) == 4080
    assert Victim(SPEC6).offer(message).counted == {"advert_rcvd": 1, "addr_list_err": 1}


def test_p24_v3_interval_0() -> None:
    for spec, message in ((SPEC3, V3_PSEUDO), (SPEC6, V3_IPV6)):
        victim = Victim(spec)
        assert rejected(victim.offer(summed(spec, message[:4] + b"\0\0" + message[6:])), "advert_interval_err")
        assert victim.router.master_down_interval > 3


def test_p25_reserved_bits_are_ignored() -> None:
    message = summed(SPEC3, V3_PSEUDO[:4] + b"\xf0" + V3_PSEUDO[5:])
    assert message[6:8].hex() == "eefa"
    victim = Victim(SPEC3)
    assert victim.offer(message).counted == ACCEPTED
    assert victim.router.master_adver_int == 1.0


def test_p26_v2_interval_differs() -> None:
    assert rejected(Victim(SPEC2).offer(encode(SPEC2._replace(advert_int=2), 200, GROUP4)), "advert_interval_err")


def test_p27_v3_interval_differs() -> None:
    victim = Victim(SPEC3)
    slow = encode(SPEC3._replace(advert_int=2), 200, GROUP4)
    first, second = victim.offer(slow), victim.offer(slow)
    assert first.counted == second.counted == ACCEPTED
    assert [line for line in first.logs if "every 2 s, ours is 1 s" in line]
    assert not second.logs


def test_p28_authentication_types() -> None:
    plain, secret = Victim(SPEC2), Victim(SPEC2, authentication=Authentication("PASS", b"secret12"))
    assert rejected(plain.offer(V2_PASS), "authtype_mismatch")
    assert rejected(secret.offer(V2), "authtype_mismatch")
    assert rejected(secret.offer(encode(SPEC2._replace(auth_type=2), 200, GROUP4)), "authtype_mismatch")
    assert rejected(secret.offer(encode(SPEC2._replace(auth_type=3), 200, GROUP4)), "invalid_authtype")


def test_p29_password() -> None:
    victim = Victim(SPEC2, authentication=Authentication("PASS", b"secret12"))
    assert victim.offer(V2_PASS).counted == ACCEPTED
    for password in (b"secret13", b"secret1", b"", b"Secret12"):
        spec = SPEC2._replace(auth_type=1, auth_data=password.ljust(8, b"\0"))
        assert rejected(victim.offer(encode(spec, 200, GROUP4)), "auth_failure")
    short = Victim(SPEC2, authentication=Authentication("PASS", b"abc"))
    assert short.offer(encode(SPEC2._replace(auth_type=1, auth_data=b"abc"), 200, GROUP4)).counted == ACCEPTED


def test_p29_data_without_authentication_means_nothing() -> None:
    """RFC 3768 5.3.10: the receiver ignores the field."""
    assert Victim(SPEC2).offer(encode(SPEC2._replace(auth_data=b"anything"), 200, GROUP4)).counted == ACCEPTED


@pytest.mark.parametrize("priority", [100, 255])
def test_p33_v2_other_addresses(priority: int) -> None:
    """RFC 3768 lets drop these, keepalived did before 2.3.3, and both were MASTER. Accepted and counted."""
    victim = Victim(SPEC2)
    message = encode(SPEC2._replace(addresses=TWO[:1]), priority, GROUP4)
    first, second = victim.offer(message), victim.offer(message)
    assert first.counted == second.counted == {"advert_rcvd": 1, "addr_list_err": 1}
    assert first.reset
    assert second.reset
    assert [line for line in first.logs if "192.0.2.251 has other virtual addresses: 192.0.2.1" in line]
    assert not second.logs


def test_p34_v3_other_addresses() -> None:
    for spec in (SPEC3, SPEC6):
        answer = Victim(spec).offer(encode(spec._replace(addresses=spec.addresses[:1]), 200, spec.destinations[0]))
        assert answer.counted == {"advert_rcvd": 1, "addr_list_err": 1}
        assert answer.reset


def test_p34_skip_check_adv_addr() -> None:
    message = encode(SPEC3._replace(addresses=TWO[:1]), 200, GROUP4)
    victim = Victim(SPEC3, skip_check_adv_addr=True)
    assert victim.offer(message).counted == {**ACCEPTED, "addr_list_err": 1}
    assert victim.offer(message).counted == ACCEPTED  # of the same master


def test_p35_same_addresses_in_another_order() -> None:
    for spec in (SPEC2, SPEC3, SPEC6):
        message = encode(spec._replace(addresses=spec.addresses[::-1]), 200, spec.destinations[0])
        assert Victim(spec).offer(message).counted == ACCEPTED


def test_p36_ipv6_first_address_global() -> None:
    """FRR sends these; RFC 9568 erratum 8300 as a drop would make two masters."""
    spec = SPEC6._replace(addresses=(packed("2001:db8::1"),))
    assert Victim(spec).offer(encode(spec, 200, GROUP6)).counted == ACCEPTED


def test_p37_ipv6_source_is_link_local() -> None:
    spec = SPEC6._replace(source=packed("2001:db8::c8"))
    answer = Victim(SPEC6).offer(encode(spec, 200, GROUP6), source=spec.source)
    assert rejected(answer, "source_err")
    assert answer.logs == ["VI_1: ignored a packet from 2001:db8::c8: unexpected source address"]


def test_p38_multicast_and_unicast_do_not_mix() -> None:
    here = packed("192.0.2.5")
    assert rejected(Victim(SPEC3, unicast_peer=(PEER4,)).offer(V3_PSEUDO), "destination_err")
    assert rejected(Victim(SPEC3).offer(encode(SPEC3, 200, here), destination=here), "destination_err")


def test_p39_unicast_source() -> None:
    here, stranger = packed("192.0.2.5"), packed("192.0.2.99")
    message = encode(SPEC3._replace(source=stranger), 200, here)
    strict = Victim(SPEC3, unicast_peer=(PEER4,), check_unicast_src=True)
    assert rejected(strict.offer(message, source=stranger, destination=here), "source_err")
    assert strict.offer(encode(SPEC3, 200, here), destination=here).counted == ACCEPTED
    lax = Victim(SPEC3, unicast_peer=(PEER4,))
    assert lax.offer(message, source=stranger, destination=here).counted == ACCEPTED


def test_p40_own_adverts_looped_back() -> None:
    victim = Victim(SPEC3._replace(source=packed("192.0.2.5")))
    victim.world.advance(4)
    state, timer = victim.router.state, victim.router.timer.deadline
    looped = victim.router.datagrams(100)[0][1][20:]
    assert victim.offer(looped).counted == {"advert_rcvd": 1, "own_advert": 1}
    assert (victim.router.state, victim.router.timer.deadline) == (state, timer)


def test_p41_another_interface() -> None:
    victim = Victim(SPEC3)
    victim.node.link("eth1", "192.0.2.5/24")
    assert rejected(victim.offer(V3_PSEUDO, ifindex=victim.node.links["eth1"].ifindex), "all vrid_err")


FAULTS_IN_ORDER = {
    # Each makes one thing wrong; a packet with several of them is counted under the first.
    "ip_ttl_err": {"ttl": 64},
    "version_err": {"first": 0x41},
    "invalid_type_rcvd": {"first": 0x22},
    "packet_len_err": {"extra": b"\0\0"},
    "checksum_err": {"bad_sum": True},
    "destination_err": {"destination": packed("192.0.2.5")},
    "invalid_authtype": {"auth_type": 9},
    "authtype_mismatch": {"auth_type": 0},
    "auth_failure": {"auth_data": b"wrong"},
    "advert_interval_err": {"advert_int": 7.0},
}


@pytest.mark.parametrize("later", FAULTS_IN_ORDER)
@pytest.mark.parametrize("earlier", FAULTS_IN_ORDER)
def test_p42_the_first_fault_names_the_counter(earlier: str, later: str) -> None:
    order = list(FAULTS_IN_ORDER)
    earlier, later = sorted((earlier, later), key=order.index)
    wrong = {**FAULTS_IN_ORDER[later], **FAULTS_IN_ORDER[earlier]}
    assert counted_for(wrong) == {earlier: 1}


def counted_for(wrong: dict[str, object]) -> dict[str, int]:
    fields = {key: value for key, value in wrong.items() if key in AdvertSpec._fields}
    spec = SPEC2._replace(auth_type=1, auth_data=b"secret12")._replace(**fields)  # type: ignore[arg-type]
    message = encode(spec, 200, GROUP4) + bytes(wrong.get("extra", b""))  # type: ignore[call-overload]
    if "first" in wrong:
        message = bytes((int(str(wrong["first"])),)) + message[1:]
    message = summed(spec, message)
    if "bad_sum" in wrong:
        message = message[:6] + bytes((message[6] ^ 1,)) + message[7:]
    victim = Victim(SPEC2, authentication=Authentication("PASS", b"secret12"))
    destination = wrong.get("destination")
    assert destination is None or isinstance(destination, bytes)
    return victim.offer(message, ttl=int(str(wrong.get("ttl", 255))), destination=destination).counted


def test_p42_ipv6_source_comes_after_the_checksum() -> None:
    spec = SPEC6._replace(source=packed("2001:db8::c8"))
    message = encode(spec, 200, GROUP6)
    broken = message[:6] + bytes((message[6] ^ 1,)) + message[7:]
    assert rejected(Victim(SPEC6).offer(broken, source=spec.source), "checksum_err")


@pytest.mark.parametrize(
    "changes",
    [
        {"vrid": 0},
        {"vrid": 256},
        {"priority": -1},
        {"priority": 256},
        {"version": 3, "advert_int": 0.0},
        {"version": 3, "advert_int": 40.96},
        {"version": 2, "advert_int": 0.4},
        {"version": 2, "advert_int": 256.0},
        {"addresses": TWO * 128},
    ],
    ids=str,
)
def test_p43_what_the_wire_cannot_carry_is_refused(changes: dict[str, object]) -> None:
    """The reader says it with a place in the file; the codec does not truncate in silence either."""
    priority = int(str(changes.pop("priority", 100)))
    with pytest.raises(ValueError, match=r"outside|do not fit"):
        encode(SPEC3._replace(**changes), priority, GROUP4)  # type: ignore[arg-type]


def test_p44_longest_interval() -> None:
    message = encode(SPEC3._replace(advert_int=40.95), 100, GROUP4)
    assert message[4:6].hex() == "0fff"
    assert decode(message, 3, AF_INET, PEER4, GROUP4).adver_int == 40.95


def test_the_same_datagram_again_is_not_parsed_again_and_never_trusted_for_another_sender() -> None:
    victim = Victim(SPEC3)
    assert victim.offer(V3_PSEUDO).counted == ACCEPTED
    assert victim.offer(V3_PSEUDO).counted == ACCEPTED
    assert rejected(victim.offer(V3_PSEUDO, ttl=254), "ip_ttl_err")
    assert rejected(victim.offer(V3_PSEUDO, source=packed("192.0.2.250")), "checksum_err")
    victim.node.apply(replace(victim.cfg, version=2))
    victim.router = victim.node.router
    assert rejected(victim.offer(V3_PSEUDO), "version_err")
