"""The second path as a protocol: two ends in virtual time, and everything that somebody between them could do."""

from __future__ import annotations

import hashlib
import hmac
import random
from collections.abc import Callable

import pytest

from vrrpd.model.vrrp import AF_INET, AF_INET6
from vrrpd.vrrp import path
from vrrpd.vrrp.digest import hmac_sha256
from vrrpd.vrrp.path import Paths, Peer, Told, Word

A, B, C = bytes([10, 9, 0, 1]), bytes([10, 9, 0, 2]), bytes([10, 9, 0, 3])
KEY = b"0123456789abcdef"
BOOT_A, BOOT_B = b"boot of a", b"boot of b"
WORD = Word(AF_INET, 51, bytes([10, 0, 0, 1]), path.identity([bytes([10, 0, 0, 100])]))
WORD6 = Word(AF_INET6, 52, b"\xfe\x80" + bytes(13) + b"\x01", path.identity([bytes(16)]))


def chance(seed: int) -> Callable[[int], bytes]:
    return random.Random(seed).randbytes


class End:
    """One node with one peer, and what the other end has sent to it."""

    def __init__(self, local: bytes, remote: bytes, key: bytes = KEY, seed: int = 1, boot: bytes = b"") -> None:
        self.peer = Peer(remote, key, (boot or local).ljust(8, b"\0")[:8], chance(seed))
        self.peer.local = local

    def say(self, now: float, *words: Word, rank: int = 0) -> list[bytes]:
        return path.let_go(self.peer.standing, words, rank, self.peer.sequence(now, 100), now)

    def hear(self, data: bytes, now: float) -> Told | None:
        return self.peer.receive(data, now)

    def refuses(self, data: bytes, now: float, reason: str) -> None:
        with pytest.raises(path.PathError) as refusal:
            self.hear(data, now)
        assert refusal.value.reason == reason


def greet(one: End, other: End, since: float, until: float) -> None:
    """Hellos in both directions, every second, one millisecond on the way."""
    at = since
    while at <= until:
        for delay, sender, receiver in ((0, one, other), (0.005, other, one)):
            receiver.hear(sender.peer.hello(at + delay), at + delay + 0.001)
        at += path.HELLO_GAP


@pytest.fixture
def ends() -> tuple[End, End]:
    """a and b, who have known each other for three seconds."""
    a, b = End(A, B, seed=1), End(B, A, seed=2)
    greet(a, b, 0.0, 3.0)
    return a, b


@pytest.mark.parametrize("key", [b"", KEY, b"k" * 64, b"k" * 65])
def test_the_hmac_is_that_of_rfc_2104(key: bytes) -> None:
    assert hmac_sha256(key, b"what do ya want for nothing?") == hmac.digest(
        key, b"what do ya want for nothing?", hashlib.sha256
    )


def test_two_ends_know_each_other_after_two_hellos() -> None:
    a, b = End(A, B, seed=1), End(B, A, seed=2)
    greet(a, b, 0.0, 0.0)
    assert not (a.peer.alive(0.5) and b.peer.alive(0.5))
    greet(a, b, 1.0, 1.0)
    assert a.peer.alive(1.5)
    assert b.peer.alive(1.5)
    assert not a.peer.alive(1.0 + path.LIFE + 0.1), "silence for LIFE"


@pytest.mark.parametrize("words", [(WORD,), (WORD, WORD6), (WORD, WORD6) * 100])
def test_what_is_said_arrives_with_its_age(ends: tuple[End, End], words: tuple[Word, ...]) -> None:
    a, b = ends
    heard: list[Word] = []
    for data in a.say(3.5, *words, rank=1)[:: path.COPIES]:
        assert len(data) < 1400, "one frame"
        told = b.hear(data, 3.52)
        assert told is not None
        assert told.rank == 1
        assert 0.02 <= told.age < 0.023, "under way for 20 ms, and the challenge for 1 ms before"
        heard += told.words
    assert tuple(heard) == words


def test_the_copy_of_a_message_is_a_message(ends: tuple[End, End]) -> None:
    a, b = ends
    first, second = a.say(3.5, WORD)
    assert first != second
    assert b.hear(second, 3.51)
    b.refuses(first, 3.51, "replay")


def test_a_forged_message_is_refused(ends: tuple[End, End]) -> None:
    a, b = ends
    data = a.say(3.5, WORD)[0]
    for index in range(len(data)):
        changed = bytearray(data)
        changed[index] ^= 1
        with pytest.raises(path.PathError):
            b.hear(bytes(changed), 3.51)
    assert b.hear(data, 3.51), "and the true one still counts"


@pytest.mark.parametrize("length", [0, 1, 55, 87, 88])
def test_a_truncated_message_is_refused(ends: tuple[End, End], length: int) -> None:
    a, b = ends
    b.refuses(a.say(3.5, WORD)[0][:length], 3.51, "length")


def test_without_the_key_nothing_is_believed(ends: tuple[End, End]) -> None:
    _, b = ends
    liar = End(A, B, key=b"another key altogether", seed=1)
    liar.peer._challenge, liar.peer._at = ends[0].peer._challenge, 3.0
    b.refuses(liar.say(3.5, WORD)[0], 3.51, "mac")
    b.refuses(liar.peer.hello(3.5), 3.51, "mac")


def test_a_message_is_for_one_receiver_only(ends: tuple[End, End]) -> None:
    """Three nodes share the key: what a says to b is nothing to c, and nothing to a itself."""
    a, b = ends
    c = End(C, A, seed=3)
    greet(End(A, C, seed=4), c, 0.0, 3.0)
    data = a.say(3.5, WORD)[0]
    c.refuses(data, 3.51, "mac")
    a.refuses(data, 3.51, "mac")
    assert b.hear(data, 3.51)


def test_a_replayed_message_is_refused(ends: tuple[End, End]) -> None:
    a, b = ends
    data = a.say(3.5, WORD)[0]
    assert b.hear(data, 3.51)
    b.refuses(data, 3.52, "replay")
    greet(a, b, 4.0, 5.0)
    b.refuses(data, 5.5, "replay")
    greet(a, b, 6.0, 12.0)
    b.refuses(data, 12.5, "stale")


def test_an_overtaken_message_is_refused(ends: tuple[End, End]) -> None:
    a, b = ends
    early, late = a.say(3.5, WORD)[0], a.say(3.6, WORD)[0]
    assert b.hear(late, 3.61)
    b.refuses(early, 3.62, "replay")


def test_a_delayed_message_says_how_old_it_is(ends: tuple[End, End]) -> None:
    """The receiver's clock alone counts: the sender's is an hour ahead here."""
    a, b = End(A, B, seed=1), End(B, A, seed=2)
    hour = 3600.0
    for at in (0.0, 1.0, 2.0, 3.0):
        b.hear(a.peer.hello(at + hour), at + 0.001)
        a.hear(b.peer.hello(at + 0.002), at + hour + 0.003)
    told = b.hear(a.say(3.5 + hour, WORD)[0], 4.9)
    assert told
    assert 1.4 <= told.age < 1.41


def test_a_message_recorded_before_the_receiver_was_restarted_is_refused(ends: tuple[End, End]) -> None:
    a, _ = ends
    data = a.say(3.5, WORD)[0]
    restarted = End(B, A, seed=5)
    restarted.refuses(data, 4.0, "stale")
    greet(a, restarted, 4.0, 6.0)
    restarted.refuses(data, 6.5, "stale")


def test_a_message_recorded_before_the_sender_was_booted_is_refused(ends: tuple[End, End]) -> None:
    """Its sequence starts anew and lower; what its former life has said is refused from the first word of the new."""
    a, b = ends
    kept = a.say(3.5, WORD)[0]
    again = End(A, B, seed=6, boot=b"the next")
    again.hear(b.peer.hello(3.6), 0.1)
    assert b.hear(again.peer.hello(0.1), 3.61) is None
    b.refuses(kept, 3.7, "stale")
    again.hear(b.peer.hello(3.8), 0.3)
    assert b.hear(again.say(0.4, WORD)[0], 3.9)


def test_an_old_hello_does_not_replace_a_proven_challenge(ends: tuple[End, End]) -> None:
    """Or somebody could make a echo what b has forgotten, and be the reason that b does not believe it."""
    a, b = ends
    old = b.peer.hello(3.2)
    greet(a, b, 4.0, 9.0)
    challenge = a.peer.standing.challenge
    assert a.hear(old, 9.1) is None
    assert a.peer.standing.challenge == challenge
    stranger = End(B, A, seed=9).peer.hello(9.2)  # authentic, and echoes nothing
    a.hear(stranger, 9.3)
    assert a.peer.standing.challenge == challenge


def test_who_has_heard_nothing_lately_says_nothing(ends: tuple[End, End]) -> None:
    a, _ = ends
    assert a.say(3.0 + path.LIFE + 0.1, WORD) == []


def test_the_guard_goes_on_where_the_dead_process_was(ends: tuple[End, End]) -> None:
    a, b = ends
    standing = a.peer.standing
    assert b.hear(a.peer.hello(3.4), 3.41) is None
    (first, *_) = path.let_go(standing, [WORD], 0, int(3.5e9), 3.5)
    assert b.hear(first, 3.501) == Told((WORD,), 0, pytest.approx(0.002, abs=0.001))


def test_ranks_count_the_peers_that_are_alive() -> None:
    """b is listed first and answers; c comes after it. With b silent for LIFE c goes first."""
    paths = Paths(BOOT_A[:8], chance(1))
    paths.configure({B: KEY, C: KEY}, 0.0)
    others = {B: End(B, A, seed=2), C: End(C, A, seed=3)}
    for peer in paths.peers.values():
        peer.local = A

    def greet_all(at: float, who: tuple[bytes, ...]) -> None:
        hellos, _ = paths.tick(at)
        for peer, data in hellos:
            if peer.remote in who:
                others[peer.remote].hear(data, at)
                paths.receive(peer, others[peer.remote].peer.hello(at), at)

    for at in (0.0, 1.0, 2.0):
        greet_all(at, (B, C))

    def told(at: float) -> dict[bytes, int]:
        return {peer.remote: data[2] for peer, data in paths.let_go([((B, C), WORD)], at)}

    assert told(2.5) == {B: 0, C: 1}
    for at in (3.0, 4.0, 5.0, 6.0, 7.0):
        greet_all(at, (C,))
    assert told(7.5) == {C: 0}


def test_a_peer_that_comes_and_goes_is_told_once() -> None:
    paths = Paths(BOOT_A[:8], chance(1))
    paths.configure({B: KEY}, 0.0)
    (peer,) = paths.peers.values()
    peer.local = A
    other = End(B, A, seed=2)
    lines = []
    for second in range(20):
        hellos, some = paths.tick(float(second))
        lines += some
        for _, data in hellos if second < 8 else ():
            other.hear(data, second + 0.001)
            lines += paths.receive(peer, other.peer.hello(second + 0.002), second + 0.003)[1]
    assert [line.message for line in lines] == [
        "peer_path 10.9.0.2: the second path is up",
        "peer_path 10.9.0.2: no answer for 4 s: the second path is down",
    ]


def test_junk_is_counted_and_told_once() -> None:
    paths = Paths(BOOT_A[:8], chance(1))
    paths.configure({B: KEY}, 0.0)
    (peer,) = paths.peers.values()
    peer.local = A
    said = [line for n in range(1000) for line in paths.receive(peer, bytes([1, 1, 0, 0]) + bytes(84), n / 1000)[1]]
    assert len(said) == 1
    assert peer.counters["mac"] == 1000


def test_random_bytes_are_never_a_message(ends: tuple[End, End]) -> None:
    _, b = ends
    dice = random.Random(7)
    for _ in range(2000):
        with pytest.raises(path.PathError):
            b.hear(dice.randbytes(dice.randrange(300)), 3.5)
