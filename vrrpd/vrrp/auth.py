"""Adverts that are authentic and new: the HMAC trailer of keepalived 2.4.2 and later, and AH (RFC 2402) for VRRPv2.

In: an advert without its seal and the clocks; what a peer sent. Out: the datagrams to send now; a PacketError whose
reason is the counter. It owns the sequence of one router and what each peer has reached. `sealed` needs no router:
whoever speaks for a process that died makes its last adverts with it (will.py).

auth_hmac (draft-cassen-vrrp-auth-hmac), behind a message of either version and family:

    +--------+--------+-----------------+   type 1: HMAC-SHA256, its first 16 bytes. The sequence is the time of day
    |  type  | key id |        0        |   in 1/65536 s and a counter of 16 bits below, as one number of 64 bits; it is
    +--------+--------+-----------------+   compared as RFC 1982 does, so that it survives the year 2106.
    |              seconds              |
    +-----------------+-----------------+   The HMAC covers 20 bytes [4 or 6, version, VRID, 0, source address, padded
    | 1/65536 seconds |     counter     |   behind], the message with its checksum taken as 0, and the trailer with 16
    +-----------------+-----------------+   zero bytes in the place of the HMAC: not the destination, so that one HMAC
    |             HMAC (16)             |   serves all unicast peers.
    +-----------------------------------+

AH (IP protocol 51), between the IPv4 header and the message:

    +--------+--------+-----------------+   next header 112, length 4 (words less 2), SPI: the source address.
    |  next  | length |        0        |   The check value is HMAC-MD5 under the 8 bytes of auth_pass, its first 12
    +--------+--------+-----------------+   bytes, over all of the datagram with what routers change taken as 0: TOS,
    |                SPI                |   fragment field, checksum, and the TTL with unicast (keepalived).
    +-----------------------------------+
    |             sequence              |   keepalived has one counter in all of a group: it sends one more than it has
    +-----------------------------------+   sent or heard, and drops what is not more. So we continue from what we
    |          check value (12)         |   hear, and what we send never falls behind a clock that no crash resets.
    +-----------------------------------+

A replay is found by source: each source's sequence must grow. Its mark moves when all of the advert is right.
"""

from __future__ import annotations

from collections.abc import Sequence
from struct import Struct
from typing import TYPE_CHECKING, NamedTuple

from vrrpd.families import AF_INET, AF_INET6
from vrrpd.vrrp.digest import compare_digest, hmac_md5, hmac_sha256
from vrrpd.vrrp.packet import (
    ADDRESS_LENGTH,
    AH_LENGTH,
    AUTH_LENGTH,
    HEADER_LENGTH,
    IPPROTO_VRRP,
    TRAILER_LENGTH,
    AdvertSpec,
    Buffer,
    PacketError,
    Seal,
)

if TYPE_CHECKING:
    from vrrpd.model.vrrp import VrrpInstance

Datagrams = tuple[tuple[bytes, bytes], ...]  # destination, bytes

HMAC_SHA256 = 1  # the type of the trailer
HMAC_LENGTH = 16
SOURCES = 4  # whose sequences are kept, as keepalived does; with more unicast peers one for each
ENFORCE, PERMISSIVE, RECEIVE_ONLY = "enforce", "permissive", "receive-only"

_HEAD = Struct("!BBHQ")
_PSEUDO = Struct("!BBBx16s")
_AH = Struct("!BBH4sI12s")
_NO_HMAC, _NO_CHECK = bytes(HMAC_LENGTH), bytes(12)
_MASK, _HALF = (1 << 64) - 1, 1 << 63

# AH counts in quarters of a second since 2024: the 32 bits last until 2058, and a MASTER that also answers now and
# then is never ahead of its clock for long.
TICKS = 4
AH_EPOCH = 1704067200.0
AH_MOST = (1 << 32) - 1


def _later(one: int, other: int) -> bool:
    """RFC 1982 over 64 bits."""
    return 0 < (one - other) & _MASK < _HALF


def _signed(seconds: int) -> int:
    """The difference of two 32-bit times."""
    return (seconds + (1 << 31) & 0xFFFFFFFF) - (1 << 31)


def next_sequence(seal: Seal, last: int, now: float, wall: float, lead: float = 0.0) -> int:
    """The clock, and more than `last` in any case; 0: nothing was sent. `wall`: the time of day at `now`.

    `lead`: so many seconds ahead, because somebody else may have spoken within this tick. That is for the long ones of
    AH only: who comes after us with the mere clock must be believed as well.

    keepalived 2.4.3: a clock that was set back by more than the window is followed, or no peer would listen.
    """
    if not seal.key_id:
        clock = int((seal.base + now + lead) * TICKS)
        if not last:  # somebody before us may have sent within this very tick, and some more than there were ticks
            clock += TICKS
        return min(max(clock, last + 1), AH_MOST)
    clock = int((wall if seal.window else seal.base + now) * 65536) << 16 & _MASK
    if not last or _later(clock, last):
        return clock
    if seal.window and _signed((last >> 32) - (clock >> 32)) > seal.window:
        return clock
    return last + 1 & _MASK


def sealed(spec: AdvertSpec, bare: Datagrams, sequence: int) -> Datagrams:
    """What to send, of what packet.datagrams made of this spec."""
    seal = spec.seal
    assert seal is not None
    if not seal.key_id:
        return tuple((destination, _with_ah(seal, datagram, sequence)) for destination, datagram in bare)
    if not bare:
        return ()
    head = _HEAD.pack(HMAC_SHA256, seal.key_id, 0, sequence)
    first = bare[0][1]
    message = first[20:] if spec.family == AF_INET else first
    trailer = head + _hmac(seal.key, spec.family, spec.version, spec.vrid, spec.source, message, head)
    if spec.family == AF_INET:
        return tuple((destination, datagram + trailer) for destination, datagram in bare)
    # The kernel makes the checksum of what leaves by a socket, but not of a frame.
    more = TRAILER_LENGTH + int.from_bytes(trailer, "big")
    return tuple((destination, _summed(datagram, more) + trailer) for destination, datagram in bare)


def _summed(message: bytes, more: int) -> bytes:
    return message[:6] + ((int.from_bytes(message[6:8], "big") - more) % 0xFFFF).to_bytes(2, "big") + message[8:]


def _hmac(key: bytes, family: int, version: int, vrid: int, source: bytes, message: Buffer, head: Buffer) -> bytes:
    pseudo = _PSEUDO.pack(6 if family == AF_INET6 else 4, version, vrid, source)
    data = b"".join((pseudo, message[:6], b"\0\0", message[8:], head, _NO_HMAC))
    return hmac_sha256(key, data)[:HMAC_LENGTH]


def _with_ah(seal: Seal, bare: bytes, sequence: int) -> bytes:
    """The id is under the check value: one that the kernel would not change, so never 0."""
    header = bare[:4] + (sequence & 0xFFFF or 1).to_bytes(2, "big") + bare[6:20]
    message = bare[20 + AH_LENGTH :]
    fields = IPPROTO_VRRP, AH_LENGTH // 4 - 2, 0, bare[12:16], sequence
    check = _check_value(seal.key, header, fields, message)
    return header + _AH.pack(*fields, check) + message


def _check_value(key: bytes, header: bytes, fields: tuple[int, int, int, bytes, int], message: Buffer) -> bytes:
    ttl = header[8:9] if 0xE0 <= header[16] < 0xF0 else b"\0"
    fixed = b"".join((header[:1], b"\0", header[2:6], b"\0\0", ttl, header[9:10], b"\0\0", header[12:]))
    return hmac_md5(key, fixed + _AH.pack(*fields, _NO_CHECK) + bytes(message))[:12]


def has_trailer(data: Buffer, version: int, family: int) -> bool:
    """Is this message followed by exactly that? The header says how long it is."""
    if len(data) < HEADER_LENGTH or data[0] >> 4 != version:
        return False
    length = HEADER_LENGTH + data[3] * ADDRESS_LENGTH[family] + (AUTH_LENGTH if version == 2 else 0)
    return len(data) == length + TRAILER_LENGTH


class Standing(NamedTuple):
    """What another process of this router goes on with (estate.py)."""

    kind: str  # "AH" or "HMAC": the sequence of one says nothing to the other
    base: float
    last: int = 0
    marks: tuple[tuple[bytes, int], ...] = ()  # source, what it has reached; who has spoken last is last


class Auth:
    """The sequence of one router and its peers', and its keys; there is none without auth_hmac and without AH."""

    __slots__ = ("_keys", "_last", "_marks", "_sources", "mode", "seal", "window")

    def __init__(self, cfg: VrrpInstance, offset: float) -> None:
        """`offset`: how far the time of day is ahead of the monotonic clock now."""
        self._last = 0
        self._marks: dict[bytes, int] = {}
        self._sources = max(SOURCES, len(cfg.unicast_peer))
        hmac = cfg.auth_hmac
        if hmac is None:
            assert cfg.authentication is not None
            key = cfg.authentication.auth_pass.ljust(8, b"\0")[:8]
            self._keys = {0: key}
            self.mode, self.window = ENFORCE, 0
            self.seal = Seal(key, base=offset - AH_EPOCH)
        else:
            self._keys = dict(hmac.keys)
            self.mode, self.window = hmac.mode, hmac.time_window if hmac.anti_replay == "time" else 0
            self.seal = Seal(self._keys[hmac.active_key], hmac.active_key, self.window, 0.0 if self.window else offset)

    @property
    def sends(self) -> Seal | None:
        """For the spec of this router's adverts."""
        return None if self.mode == RECEIVE_ONLY else self.seal

    @property
    def kind(self) -> str:
        return _kind_of(self.seal)

    def give(self) -> Standing:
        return Standing(self.kind, self.seal.base, self._last, tuple(self._marks.items()))

    def take(self, standing: Standing) -> None:
        """Go on where another process was."""
        if standing.kind != self.kind:
            return
        self._last, self._marks = standing.last, dict(standing.marks)
        if not self.window and standing.base:  # 0: it followed the time of day, and so do we from here on
            self.seal = self.seal._replace(base=standing.base)

    def adverts(self, spec: AdvertSpec, bare: Datagrams, now: float, wall: float) -> Datagrams:
        """What to send now: never the same twice."""
        assert spec.seal is not None
        self._last = next_sequence(spec.seal, self._last, now, wall)
        return sealed(spec, bare, self._last)

    # ---- what a peer sent ------------------------------------------------------------------------------------

    def verify(self, cfg: VrrpInstance, source: bytes, data: Buffer, wall: float) -> tuple[int, int]:
        """A message with a trailer: seconds that its sender's clock is behind ours, and its sequence, which is still
        to be accepted; PacketError: not to be believed.

        Old ones are dropped before the HMAC is made: captures cost an attacker less than it would cost us.
        """
        end = len(data) - TRAILER_LENGTH
        kind, key_id, reserved, sequence = _HEAD.unpack_from(data, end)
        if kind != HMAC_SHA256 or reserved:
            raise PacketError("auth_ext_malformed")
        skew = _signed(int(wall) - (sequence >> 32))
        if self.window and abs(skew) > self.window:
            raise PacketError("auth_ext_stale")
        key = self._keys.get(key_id)
        if key is None:
            raise PacketError("auth_ext_unknown_key")
        head = data[end : end + _HEAD.size]
        made = _hmac(key, cfg.family, cfg.version, cfg.virtual_router_id, source, data[:end], head)
        if not compare_digest(made, bytes(data[end + _HEAD.size :])):
            raise PacketError("auth_ext_invalid_hmac")
        return (skew if self.window else 0), sequence

    def accept(self, source: bytes, sequence: int, wall: float) -> None:
        """When everything else is right, the checksum too: else a copy with another one would forestall the advert."""
        mark = self._marks.pop(source, None)
        # A mark beyond the window only forbids what the window forbids, and would lock out who has set his clock.
        expired = mark is not None and self.window and abs(_signed(int(wall) - (mark >> 32))) > self.window
        if mark is not None and not expired and not _later(sequence, mark):
            self._mark(source, mark)
            raise PacketError("auth_ext_replay")
        self._mark(source, sequence)

    def verify_ah(self, datagram: Buffer) -> int:
        """A whole IPv4 datagram of protocol 51, complete with AH: its sequence; PacketError: not to be believed."""
        size = (datagram[0] & 15) * 4
        source, header = bytes(datagram[12:16]), bytes(datagram[:size])
        following, length, reserved, spi, sequence, check = _AH.unpack_from(datagram, size)
        if following != IPPROTO_VRRP or length != AH_LENGTH // 4 - 2:
            raise PacketError("packet_len_err")
        fields = following, length, reserved, spi, sequence
        made = _check_value(self._keys[0], header, fields, datagram[size + AH_LENGTH :])
        if not compare_digest(made, check):
            raise PacketError("ah_invalid")
        if spi != source:
            raise PacketError("ah_spi_err")
        return int(sequence)

    def accept_ah(self, source: bytes, sequence: int, now: float) -> None:
        mark = self._marks.pop(source, 0)
        if sequence <= mark:
            self._mark(source, mark)
            raise PacketError("ah_replay")
        self._mark(source, sequence)
        if sequence > self._last:
            self._last = sequence
        ahead = (sequence + 1) / TICKS - (self.seal.base + now)
        if ahead > 0:  # a clock elsewhere is ahead of ours: ours goes on from there, whoever speaks for us
            self.seal = self.seal._replace(base=self.seal.base + ahead)

    def _mark(self, source: bytes, sequence: int) -> None:
        """Only who has the key gets here, so no flood drives the marks of others out."""
        self._marks[source] = sequence
        if len(self._marks) > self._sources:
            del self._marks[next(iter(self._marks))]


def _kind_of(seal: Seal) -> str:
    return "HMAC" if seal.key_id else "AH"


def authenticates(cfg: VrrpInstance) -> bool:
    """Does it need an Auth?"""
    return cfg.auth_hmac is not None or (cfg.authentication is not None and cfg.authentication.auth_type == "AH")


def standing_of(seal: Seal, last: int) -> Standing:
    """After a crash: what the will knows, and the last that was sent since."""
    return Standing(_kind_of(seal), seal.base, last)


__all__: Sequence[str] = ("Auth", "Standing", "authenticates", "next_sequence", "sealed", "standing_of")
