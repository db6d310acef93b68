"""Wait for descriptors and one deadline: epoll, and a timerfd because epoll's own timeout is rounded up to 1 ms.

A turn: everything that is readable is handled with one `now`, then `turn(now)` runs what is due and returns the
next deadline. Inputs go before timers, always: a process that was stopped or starved finds the adverts of its
peers in the queue and handles them before a timer of its own fires (a late process never deposes a live master).
Input that comes in a stream is taken once in BREATH: a wake-up costs 40-130 us whatever it finds. A lone message is
never kept waiting, nor is a deadline.

Nothing here knows VRRP.
"""

from __future__ import annotations

import ctypes
import os
import select
import struct
import sys
import time
from collections.abc import Callable
from typing import Any

READ, WRITE = select.EPOLLIN, select.EPOLLOUT
INFINITY = float("inf")
BREATH = 0.001  # a thirtieth of the shortest Active_Down_Timer there is (adverts of 10 ms)
LATE = 0.002  # a turn that starts this much after its deadline polls once more before timers fire

Handler = Callable[[float], None]

_TFD_TIMER_ABSTIME = 1
_TFD_FLAGS = os.O_NONBLOCK | os.O_CLOEXEC
_ITIMERSPEC = struct.Struct("@qqqq")  # interval, then value; each seconds and nanoseconds (64-bit time_t)


class Timer:
    """A timerfd on the monotonic clock."""

    def __init__(self) -> None:
        self._libc: Any = None
        if sys.version_info >= (3, 13):
            self.fd: int = os.timerfd_create(time.CLOCK_MONOTONIC, flags=_TFD_FLAGS)
        else:
            self._libc = ctypes.CDLL(None, use_errno=True)
            self.fd = self._libc.timerfd_create(time.CLOCK_MONOTONIC, _TFD_FLAGS)
            if self.fd < 0:
                raise OSError(ctypes.get_errno(), "timerfd_create")

    def set(self, deadline: float) -> None:
        """Fire at `deadline`; never when it is infinite. Setting also takes back a firing not yet seen."""
        if deadline == INFINITY:
            sec = nsec = 0
        else:  # one nanosecond up: never before the deadline, and zero would disarm
            sec, nsec = divmod(max(int(deadline * 1e9), 0) + 1, 1_000_000_000)
        if sys.version_info >= (3, 13):
            os.timerfd_settime_ns(self.fd, flags=_TFD_TIMER_ABSTIME, initial=sec * 1_000_000_000 + nsec)
        else:
            self._libc.timerfd_settime(self.fd, _TFD_TIMER_ABSTIME, _ITIMERSPEC.pack(0, 0, sec, nsec), None)

    def close(self) -> None:
        os.close(self.fd)


class Loop:
    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._timer = Timer()
        self._handlers: dict[int, tuple[Handler, Handler]] = {}
        self._epoll.register(self._timer.fd, READ)
        self._input = 0.0  # when there was some last
        self._stream = False  # and the time before that was less than two breaths earlier
        self.running = False
        self.late: Handler = lambda delay: None  # told of a turn that begins so much after it was due

    def watch(self, fd: int, readable: Handler, writable: Handler | None = None) -> None:
        """Call `readable(now)` when there is input, hang-up included; `writable` only while `want_write` asks."""
        self._handlers[fd] = (readable, writable or readable)
        self._epoll.register(fd, READ)

    def want_write(self, fd: int, wanted: bool) -> None:
        self.want(fd, READ | WRITE if wanted else READ)

    def want(self, fd: int, events: int) -> None:
        """What to be called for, exactly: not READ for a peer that has ended its side, which stays readable."""
        self._epoll.modify(fd, events)

    def forget(self, fd: int) -> None:
        """To be called before the descriptor is closed."""
        if self._handlers.pop(fd, None):
            self._epoll.unregister(fd)

    def run(self, turn: Callable[[float], float]) -> None:
        """Until `running` is false. `turn(now)` returns when it wants to run next: a time past means at once."""
        self.running = True
        armed = None
        now = time.monotonic()
        deadline = turn(now)
        while self.running:
            self._breathe(now, deadline)
            if deadline != armed:
                self._timer.set(deadline)
                armed = deadline
            now = self._handle(-1)
            if now - deadline > LATE:
                # Woken long ago and only running now: what has arrived meanwhile comes first.
                self.late(now - deadline)
                now = self._handle(0)
            if now >= deadline:
                armed = None
            deadline = turn(now)

    def _breathe(self, now: float, deadline: float) -> None:
        """In a stream let some more of it gather, but not past the deadline."""
        if self._stream:
            pause = min(now + BREATH, deadline) - time.monotonic()
            if pause > 0:
                time.sleep(pause)

    def _handle(self, timeout: float) -> float:
        events = self._epoll.poll(timeout)
        now = time.monotonic()
        found = False
        for fd, event in events:
            handler = self._handlers.get(fd)
            if handler is None:  # the timer, or forgotten earlier in this turn
                continue
            found = True
            if event & ~WRITE:
                handler[0](now)
            if event & WRITE and fd in self._handlers:
                handler[1](now)
        self._stream = found and now - self._input < 2 * BREATH
        if found:
            self._input = now
        return now

    def close(self) -> None:
        self._epoll.close()
        self._timer.close()
