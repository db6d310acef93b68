"""Channels between processes: whole messages, never blocking, losses counted."""

from __future__ import annotations

import os
import select
import threading
from collections.abc import Iterator

import pytest

from vrrpd import ipc


@pytest.fixture
def ends() -> Iterator[tuple[ipc.Channel, ipc.Channel]]:
    a, b = (ipc.Channel(sock, limit=3) for sock in ipc.pair())
    yield a, b
    a.close()
    b.close()


def fill(channel: ipc.Channel) -> int:
    """Send until a message has to wait; how many went out."""
    count = 0
    while not channel.congested:
        assert channel.send({"n": count})
        count += 1
    return count - 1


def test_messages_arrive_whole_and_in_order_past_a_full_socket(ends: tuple[ipc.Channel, ipc.Channel]) -> None:
    a, b = ends
    fill(a)
    assert a.send({"last": True})
    got = []
    while True:
        here = [message for message, _ in b.receive()]
        a.flush()
        got += here
        if not here and not a.congested:
            break
    assert got[:-1] == [{"n": i} for i in range(len(got) - 1)]
    assert got[-1] == {"last": True}


def test_what_the_queue_does_not_take_is_dropped_and_counted(ends: tuple[ipc.Channel, ipc.Channel]) -> None:
    a, _ = ends
    fill(a)
    results = [a.send({}) for _ in range(5)]
    assert results == [True, True, False, False, False]
    assert a.dropped == 3


def test_a_message_beyond_the_limit_is_dropped(ends: tuple[ipc.Channel, ipc.Channel]) -> None:
    a, b = ends
    assert not a.send({"x": "y" * ipc.MAX_MESSAGE})
    assert list(b.receive()) == []


def test_descriptors_travel_beside_a_message(ends: tuple[ipc.Channel, ipc.Channel]) -> None:
    a, b = ends
    memory = os.memfd_create("t")
    os.write(memory, b"model")
    assert a.send({"t": "model"}, [memory])
    ((message, fds),) = b.receive()
    assert message == {"t": "model"}
    assert not os.get_inheritable(fds[0])
    assert [ipc.read_all(fd) for fd in fds] == [b"model"]
    assert os.lseek(memory, 0, os.SEEK_CUR) == 5, "the shared offset is left alone"
    os.close(memory)


@pytest.mark.parametrize("data", [b"[1]", b"{", b"\xff", b"1"])
def test_what_is_no_object_is_counted_and_skipped(ends: tuple[ipc.Channel, ipc.Channel], data: bytes) -> None:
    a, b = ends
    a.sock.send(data)
    a.send({"good": 1})
    assert [message for message, _ in b.receive()] == [{"good": 1}]
    assert b.malformed == 1


def test_the_death_of_the_peer_is_seen_by_reader_and_writer(ends: tuple[ipc.Channel, ipc.Channel]) -> None:
    a, b = ends
    a.send({"last": "words"})
    a.close()
    assert [message for message, _ in b.receive()] == [{"last": "words"}]
    assert b.closed
    assert not b.send({})


def test_last_words_are_sent_before_the_end() -> None:
    """The queue is longer than the socket's buffer; the reader is slow, but it reads."""
    ours, theirs = ipc.pair()
    channel, reader = ipc.Channel(ours, limit=4096), ipc.Channel(theirs)
    for number in range(2000):
        assert channel.send({"number": number, "padding": "x" * 500})
    assert channel.congested
    seen: list[int] = []

    def read() -> None:
        while len(seen) < 2000:
            select.select([theirs], [], [])
            seen.extend(message["number"] for message, _ in reader.receive())

    thread = threading.Thread(target=read)
    thread.start()
    channel.drain(10.0)
    assert not channel.congested
    channel.close()
    thread.join()
    theirs.close()
    assert seen == list(range(2000))


def test_nobody_waits_for_ever_for_a_reader_that_does_not_read() -> None:
    ours, theirs = ipc.pair()
    channel = ipc.Channel(ours, limit=4096)
    for _ in range(2000):
        channel.send({"padding": "x" * 500})
    channel.drain(0.01)
    assert channel.congested
    channel.close()
    theirs.close()
