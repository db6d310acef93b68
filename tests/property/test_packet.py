"""The codec under any input: nothing but an Advert or a PacketError comes out, and what we encode we understand."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from simulator import packed

from vrrpd.model.vrrp import AF_INET, AF_INET6
from vrrpd.vrrp.frames import gratuitous_arp, unsolicited_na
from vrrpd.vrrp.packet import Advert, AdvertSpec, PacketError, datagrams, decode, encode
from vrrpd.vrrp.records import COUNTERS

GROUPS = {AF_INET: packed("224.0.0.18"), AF_INET6: packed("ff02::12")}
KINDS = st.sampled_from([(2, AF_INET), (3, AF_INET), (3, AF_INET6)])


def addresses(family: int) -> st.SearchStrategy[bytes]:
    width = 4 if family == AF_INET else 16
    return st.binary(min_size=width, max_size=width)


@st.composite
def specs(draw: st.DrawFn) -> AdvertSpec:
    version, family = draw(KINDS)
    interval = draw(st.integers(1, 255).map(float) if version == 2 else st.integers(1, 4095).map(lambda cs: cs / 100))
    auth_type = draw(st.sampled_from([0, 1])) if version == 2 else 0
    return AdvertSpec(
        family,
        version,
        draw(st.integers(1, 255)),
        interval,
        tuple(draw(st.lists(addresses(family), min_size=0 if version == 2 else 1, max_size=255))),
        draw(addresses(family)),
        (GROUPS[family],),
        auth_type=auth_type,
        auth_data=draw(st.binary(min_size=8, max_size=8)) if auth_type else b"",
        pseudo_header=family == AF_INET6 or draw(st.booleans()),
    )


def offer(data: bytes, version: int, family: int, source: bytes) -> Advert | None:
    """The advert, or None when it was refused with a reason that is a counter."""
    reason = ""
    try:
        return decode(memoryview(data), version, family, source, GROUPS[family])
    except PacketError as error:
        reason = error.reason
    assert reason in COUNTERS
    return None


@given(st.binary(max_size=9000), KINDS, st.data())
def test_any_bytes_are_an_advert_or_a_packet_error(data: bytes, kind: tuple[int, int], more: st.DataObject) -> None:
    """X02. The first byte is right more often than chance has it, so that the checks behind it are reached."""
    version, family = kind
    source = more.draw(addresses(family))
    offer(data, version, family, source)
    offer(bytes((version << 4 | 1,)) + data, version, family, source)


@given(specs(), st.integers(0, 255), st.data())
def test_mutations_of_adverts_are_an_advert_or_a_packet_error(
    spec: AdvertSpec, priority: int, more: st.DataObject
) -> None:
    data = bytearray(encode(spec, priority, spec.destinations[0]))
    for _ in range(more.draw(st.integers(1, 4))):
        data[more.draw(st.integers(0, len(data) - 1))] = more.draw(st.integers(0, 255))
    del data[more.draw(st.integers(0, len(data))) :]
    advert = offer(bytes(data), spec.version, spec.family, spec.source)
    assert advert is None or advert.adver_int > 0 or advert.version == 2


@given(specs(), st.integers(0, 255))
def test_decode_inverts_encode(spec: AdvertSpec, priority: int) -> None:
    advert = decode(encode(spec, priority, spec.destinations[0]), spec.version, spec.family, spec.source,
                    spec.destinations[0])  # fmt: skip
    # The sum of the pseudo header may be 0 by chance: then both conventions are the same bytes.
    pseudo_header = advert.pseudo_header if spec.family == AF_INET else True
    assert advert._replace(pseudo_header=pseudo_header) == Advert(
        spec.version,
        spec.vrid,
        priority,
        spec.advert_int,
        b"".join(spec.addresses),
        spec.auth_type,
        spec.auth_data.ljust(8, b"\0") if spec.version == 2 else b"",
        pseudo_header,
    )
    if spec.family == AF_INET and spec.version == 3 and advert.pseudo_header != spec.pseudo_header:
        other = spec._replace(pseudo_header=not spec.pseudo_header)
        assert encode(other, priority, spec.destinations[0]) == encode(spec, priority, spec.destinations[0])


@given(specs(), st.integers(0, 255))
def test_datagrams_carry_a_true_ipv4_header(spec: AdvertSpec, priority: int) -> None:
    for destination, datagram in datagrams(spec, priority):
        message = encode(spec, priority, destination)
        assert datagram.endswith(message)
        if spec.family == AF_INET:
            assert len(datagram) == int.from_bytes(datagram[2:4], "big") == 20 + len(message)
            assert (datagram[0], datagram[8], datagram[9]) == (0x45, spec.ttl, 112)
            assert datagram[12:20] == spec.source + destination
        else:
            assert datagram == message


@given(st.binary(min_size=6, max_size=6), st.binary(min_size=4, max_size=4), st.binary(min_size=16, max_size=16))
def test_announcements_have_one_size_and_a_true_checksum(mac: bytes, ipv4: bytes, ipv6: bytes) -> None:
    assert len(gratuitous_arp(mac, ipv4)) == 42
    for router in (True, False):
        frame = unsolicited_na(mac, ipv6, router)
        assert len(frame) == 86
        pseudo = frame[22:54] + bytes.fromhex("000000200000003a")
        assert int.from_bytes(pseudo + frame[54:], "big") % 0xFFFF == 0
