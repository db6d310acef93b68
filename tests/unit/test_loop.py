"""The loop: inputs before timers, deadlines kept to the microsecond, a stall noticed."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator

import pytest

from vrrpd.loop import BREATH, INFINITY, Loop, Timer


@pytest.fixture
def loop() -> Iterator[Loop]:
    made = Loop()
    yield made
    made.close()


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    ends = os.pipe()
    yield ends
    for fd in ends:
        os.close(fd)


def test_a_timer_never_fires_early() -> None:
    timer = Timer()
    deadline = time.monotonic() + 0.02
    timer.set(deadline)
    with pytest.raises(BlockingIOError):
        os.read(timer.fd, 8)
    loop = Loop()
    seen: list[float] = []

    def turn(now: float) -> float:
        seen.append(now)
        if now >= deadline:
            loop.running = False
        return deadline

    loop.run(turn)
    loop.close()
    timer.close()
    assert len(seen) == 2, "woken once, at or after the deadline"


def test_input_that_waits_is_handled_before_the_deadline_that_passed(loop: Loop, pipe: tuple[int, int]) -> None:
    order: list[str] = []
    loop.watch(pipe[0], lambda now: order.append(os.read(pipe[0], 1).decode()))
    os.write(pipe[1], b"i")

    def turn(now: float) -> float:
        if order:
            order.append("timer")
            loop.running = False
        return now - 1

    loop.run(turn)
    assert order == ["i", "timer"]


def test_an_infinite_deadline_waits_for_input_alone(loop: Loop, pipe: tuple[int, int]) -> None:
    def readable(now: float) -> None:
        os.read(pipe[0], 1)
        loop.running = False

    loop.watch(pipe[0], readable)
    os.write(pipe[1], b"x")
    turns: list[float] = []

    def turn(now: float) -> float:
        turns.append(now)
        return INFINITY

    loop.run(turn)
    assert len(turns) == 2


def test_what_was_forgotten_in_this_turn_is_not_called(loop: Loop, pipe: tuple[int, int]) -> None:
    other = os.dup(pipe[0])
    called: list[int] = []

    def handler(fd: int) -> None:
        called.append(fd)
        for each in (pipe[0], other):
            loop.forget(each)
        loop.running = False

    for fd in (pipe[0], other):
        loop.watch(fd, lambda now, fd=fd: handler(fd))
    os.write(pipe[1], b"x")
    loop.run(lambda now: INFINITY)
    os.close(other)
    assert len(called) == 1


def test_a_stream_is_taken_in_breaths_and_a_lone_message_at_once(loop: Loop, pipe: tuple[int, int]) -> None:
    """A writer that is never far behind: far fewer wake-ups than messages, yet none is lost, and no deadline waits."""
    got: list[bytes] = []
    turns = 0
    late: list[float] = []
    due = time.monotonic() + 0.05

    def read(now: float) -> None:
        nonlocal turns
        turns += 1
        got.append(os.read(pipe[0], 4096))

    def turn(now: float) -> float:
        nonlocal due
        if now >= due:
            late.append(now - due)
            due = now + 0.0101
        loop.running = sum(map(len, got)) < 2000
        return due

    loop.watch(pipe[0], read)
    writer = os.fork()
    if not writer:
        for _ in range(2000):
            os.write(pipe[1], b"x")
            time.sleep(0.0001)
        os._exit(0)
    loop.run(turn)
    os.waitpid(writer, 0)
    assert sum(map(len, got)) == 2000
    assert turns < 1000
    assert late
    assert min(late) < BREATH
