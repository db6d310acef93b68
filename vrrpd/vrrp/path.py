"""The second path (keyword peer_path): "I have let go of these addresses", told to the peers beside the segment.

In: datagrams of a peer and the passing of time. Out: datagrams, and what an authenticated, fresh message says. UDP
is net/datagram.py's, the two processes that speak are second_path.py's, what a BACKUP does on hearing it backup.py's.

    +---------+---------+---------+---------+  type 1, hello: every second; `challenge` is what the receiver is to
    | version | type    | rank    | count   |    echo from now on, `echo` the sender's latest one of the receiver.
    +---------+---------+---------+---------+  type 2, let go: `count` entries, each a virtual router that its sender
    | epoch (8): the sender's boot          |    is no longer MASTER of and holds no address of. `rank` of the sender's
    | sequence (8): strictly increasing     |    live peers come before the receiver: it waits that many STEPs.
    | challenge (16)                        |
    | echo (16)                             |  entry (28): family (4 or 6), VRID, two zero bytes, the source address
    | age (4): of the echo, microseconds    |    of the adverts (16, IPv4 padded behind), and 8 bytes of SHA-256 over
    +---------------------------------------+    the advertised addresses: interfaces have other names elsewhere.
    | entries ...                           |
    | HMAC-SHA256 (32)                      |  The HMAC covers the sender's and the receiver's address, then all of it.
    +---------------------------------------+

Why nothing but the truth, and nothing late, is believed. Forged: the key is missing. Reflected, or meant for another
peer: the addresses are in the HMAC. Replayed: the sequence must increase, and across restarts of either side the
echo must be one of the random challenges that the receiver itself has made within the last seconds. Delayed: the
echo was made by the receiver, and the sender says how long it had it, so `now - made - age` is the longest that the
message can have been under way, whatever the clocks of both say; backup.py bounds it. An attacker who can drop or
delay messages brings the takeover back to the timers of VRRP, no further.

The sequence is the monotonic clock in nanoseconds: the guard, a vrrp process and its successor continue each other's.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from math import inf
from struct import Struct
from typing import TYPE_CHECKING, Callable, NamedTuple

from vrrpd.families import AF_INET, AF_INET6
from vrrpd.vrrp.digest import compare_digest, hmac_sha256, sha256
from vrrpd.vrrp.records import Records, text

if TYPE_CHECKING:
    from vrrpd.vrrp.actions import Action
    from vrrpd.vrrp.packet import AdvertSpec

VERSION = 1
HELLO, LET_GO = 1, 2
HELLO_GAP = 1.0
LIFE = 4.0  # of a challenge, and of a peer that says nothing: three hellos may be lost
STEP = 0.02  # between the takeovers of two backups: an advert of the first must reach the second before
FRESH = 0.25  # nothing older is believed
COPIES = 2  # of what must arrive at once or is worthless

EPOCH, CHALLENGE, MAC = 8, 16, 32
_HEAD = Struct("!BBBB8sQ16s16sI")
_ENTRY = Struct("!BBxx16s8s")
MOST = 40  # entries in one message, which is one Ethernet frame
_NOTHING = bytes(CHALLENGE)

ERRORS = {
    "length": "wrong length",
    "version": "another version of the protocol",
    "mac": "not authentic: is peer_path_key the same on both nodes?",
    "stale": "it echoes no challenge of ours, or an old one",
    "replay": "seen before, or overtaken",
}


class PathError(Exception):
    """Not a message for us to act on; `reason` is a key of ERRORS."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Word(NamedTuple):
    """A virtual router that its former MASTER holds nothing of any more."""

    family: int
    vrid: int
    source: bytes
    identity: bytes


class Told(NamedTuple):
    """A let-go message: true, and `age` seconds old at the most."""

    words: tuple[Word, ...]
    rank: int
    age: float


class Standing(NamedTuple):
    """What it takes to be believed by a peer for the next LIFE seconds; the guard keeps a copy."""

    local: bytes
    remote: bytes
    key: bytes
    epoch: bytes
    challenge: bytes
    at: float


def identity(addresses: Iterable[bytes]) -> bytes:
    """The advertised addresses in eight bytes, in whatever order they are configured."""
    return sha256(b"".join(bytes((len(address),)) + address for address in sorted(addresses)))[:8]


def word(spec: AdvertSpec) -> Word:
    return Word(spec.family, spec.vrid, spec.source, identity(spec.addresses))


def _sealed(key: bytes, sender: bytes, receiver: bytes, data: bytes) -> bytes:
    ends = b"".join(bytes((len(address),)) + address for address in (sender, receiver))
    return hmac_sha256(key, ends + data)


def let_go(standing: Standing, words: Sequence[Word], rank: int, sequence: int, now: float) -> list[bytes]:
    """The messages that say so to one peer, each as often as it takes; empty when it would not believe them."""
    had = now - standing.at
    if not 0 <= had < LIFE:
        return []
    out = []
    for start in range(0, len(words), MOST):
        some = words[start : start + MOST]
        for _ in range(COPIES):
            head = _HEAD.pack(
                VERSION, LET_GO, rank, len(some), standing.epoch, sequence, _NOTHING, standing.challenge, int(had * 1e6)
            )
            data = head + b"".join(
                _ENTRY.pack(4 if entry.family == AF_INET else 6, entry.vrid, entry.source, entry.identity)
                for entry in some
            )
            out.append(data + _sealed(standing.key, standing.local, standing.remote, data))
            sequence += 1
    return out


def ranks(standings: Mapping[bytes, Standing], peers: Sequence[bytes], now: float) -> list[tuple[Standing, int]]:
    """Whom to tell: who has said something lately. No two have the same rank, or both could take over at once."""
    found = [standings[remote] for remote in peers if remote in standings]
    return [(standing, rank) for rank, standing in enumerate(s for s in found if now - s.at < LIFE)]


def addressed(
    standings: Mapping[bytes, Standing], who: Iterable[tuple[Sequence[bytes], Word]], now: float
) -> dict[tuple[Standing, int], list[Word]]:
    """(peers in their order, word) of each router: what is to be said to whom, with which rank."""
    out: dict[tuple[Standing, int], list[Word]] = {}
    for peers, entry in who:
        for key in ranks(standings, peers, now):
            out.setdefault(key, []).append(entry)
    return out


class Peer:
    """The other end of one path."""

    def __init__(self, remote: bytes, key: bytes, epoch: bytes, entropy: Callable[[int], bytes]) -> None:
        self.remote, self.key = remote, key
        self.local = b""  # unknown until there is a way to it
        self.up = False
        self.records = Records(f"peer_path {text(remote)}")
        self.counters = dict.fromkeys(("hello_sent", "hello_rcvd", "let_go_sent", "let_go_rcvd", *ERRORS), 0)
        self._epoch, self._entropy = epoch, entropy
        self._sequence = 0
        self._made: dict[bytes, float] = {}  # our challenges that may still be echoed, and since when
        # Theirs: what we echo, since when, and whether an echo of ours has shown it to be fresh.
        self._challenge, self._at, self._proven = _NOTHING, -inf, False
        self._their_epoch, self._their_sequence = b"", 0

    @property
    def standing(self) -> Standing:
        return Standing(self.local, self.remote, self.key, self._epoch, self._challenge, self._at)

    def follow(self, standing: Standing, now: float) -> None:
        """Go on where a former process of this host was: what it has heard lately is still true."""
        if standing.key == self.key and now - standing.at < LIFE:
            self.local, self._challenge, self._at, self._proven = standing.local, standing.challenge, standing.at, True

    def sequence(self, now: float, count: int = 1) -> int:
        """The first of `count` numbers that are larger than all before."""
        first = max(self._sequence + 1, int(now * 1e9))
        self._sequence = first + count - 1
        return first

    def alive(self, now: float) -> bool:
        return self._proven and now - self._at < LIFE

    def hello(self, now: float) -> bytes:
        """A new challenge, and the echo of theirs."""
        self._made = {made: at for made, at in self._made.items() if now - at < LIFE}
        challenge = self._entropy(CHALLENGE)
        self._made[challenge] = now
        echo, age = (self._challenge, int((now - self._at) * 1e6)) if now - self._at < LIFE else (_NOTHING, 0)
        head = (VERSION, HELLO, 0, 0, self._epoch, self.sequence(now), challenge, echo, age)
        data = _HEAD.pack(*head)
        self.counters["hello_sent"] += 1
        return data + _sealed(self.key, self.local, self.remote, data)

    def receive(self, data: bytes, now: float) -> Told | None:
        """What a datagram from `remote` says that a backup must know. PathError: nothing that counts."""
        if len(data) < _HEAD.size + MAC:
            raise PathError("length")
        version, kind, rank, count, epoch, sequence, challenge, echo, age = _HEAD.unpack_from(data)
        if version != VERSION or kind not in (HELLO, LET_GO):
            raise PathError("version")
        if len(data) != _HEAD.size + count * _ENTRY.size + MAC:
            raise PathError("length")
        if not compare_digest(_sealed(self.key, self.remote, self.local, data[:-MAC]), data[-MAC:]):
            raise PathError("mac")
        made = self._made.get(echo, -inf)
        if now - made >= LIFE:
            if kind != HELLO:
                raise PathError("stale")
            # Authentic, but perhaps an old one again: it is echoed for want of a better one, and counts for nothing.
            if not self.alive(now):
                self._challenge, self._at, self._proven = challenge, now, False
            return None
        self._in_order(epoch, sequence)
        if kind == HELLO:
            self._challenge, self._at, self._proven = challenge, now, True
            self.counters["hello_rcvd"] += 1
            return None
        self.counters["let_go_rcvd"] += 1
        return Told(_words(data, count), rank, max(0.0, now - made - age / 1e6))

    def _in_order(self, epoch: bytes, sequence: int) -> None:
        if epoch != self._their_epoch:
            if self._their_epoch:  # it has booted: what its former life was asked for counts no more
                self._made.clear()
            self._their_epoch, self._their_sequence = epoch, 0
        if sequence <= self._their_sequence:
            raise PathError("replay")
        self._their_sequence = sequence


def _words(data: bytes, count: int) -> tuple[Word, ...]:
    found = []
    for index in range(count):
        family, vrid, source, digest = _ENTRY.unpack_from(data, _HEAD.size + index * _ENTRY.size)
        width = 4 if family == 4 else 16
        found.append(Word(AF_INET if family == 4 else AF_INET6, vrid, source[:width], digest))
    return tuple(found)


class Paths:
    """All peers of one node, by their address."""

    def __init__(
        self, epoch: bytes, entropy: Callable[[int], bytes], former: Mapping[bytes, Standing] | None = None
    ) -> None:
        self.peers: dict[bytes, Peer] = {}
        self._former = dict(former or {})
        self.next_deadline = inf
        self._epoch, self._entropy = epoch, entropy

    def configure(self, keys: Mapping[bytes, bytes], now: float) -> None:
        """Have exactly these peers: {address: key}; one whose key has changed is another one."""
        former = self.peers
        self.peers = {}
        for remote, key in keys.items():
            known = former.get(remote)
            if known is None or known.key != key:
                known = Peer(remote, key, self._epoch, self._entropy)
                if remote in self._former:
                    known.follow(self._former.pop(remote), now)
            self.peers[remote] = known
        self.next_deadline = min(self.next_deadline, now) if self.peers else inf

    def tick(self, now: float) -> tuple[list[tuple[Peer, bytes]], list[Action]]:
        """Hellos, when they are due; lines about peers that came or went."""
        if now < self.next_deadline:
            return [], []
        self.next_deadline = now + HELLO_GAP
        lines: list[Action] = []
        for peer in self.peers.values():
            lines += self._changed(peer, now)
        return [(peer, peer.hello(now)) for peer in self.peers.values() if peer.local], lines

    def receive(self, peer: Peer, data: bytes, now: float) -> tuple[Told | None, Sequence[Action]]:
        """One datagram of a peer; a line where there is something to say about it."""
        try:
            told = peer.receive(data, now)
        except PathError as error:
            peer.counters[error.reason] += 1
            if peer.records.hushed(error.reason, now):
                return None, ()
            return None, peer.records.line("warning", error.reason, f"ignored a message: {ERRORS[error.reason]}")
        return told, self._changed(peer, now)

    def _changed(self, peer: Peer, now: float) -> Sequence[Action]:
        alive = peer.alive(now)
        if alive is peer.up:
            return ()
        peer.up = alive
        if peer.records.hushed("up" if alive else "down", now, gap=10.0):
            return ()
        if alive:
            return peer.records.line("info", "up", "the second path is up")
        return peer.records.line("warning", "down", f"no answer for {LIFE:g} s: the second path is down")

    def let_go(self, who: Iterable[tuple[Sequence[bytes], Word]], now: float) -> list[tuple[Peer, bytes]]:
        """(peers in their order, word) of each router that holds nothing any more: what to send to whom."""
        standings = {remote: peer.standing for remote, peer in self.peers.items() if peer.local}
        out = []
        for (standing, rank), words in addressed(standings, who, now).items():
            peer = self.peers[standing.remote]
            peer.counters["let_go_sent"] += len(words)
            count = COPIES * (len(words) // MOST + 1)
            out += [(peer, data) for data in let_go(standing, words, rank, peer.sequence(now, count), now)]
        return out
