"""Calls at points of the monotonic clock, for the loop of the process that may block (helper.py).

loop.py waits for descriptors and one deadline; this is the heap behind that deadline. The vrrp process does
without: there the engine knows what is due.
"""

from __future__ import annotations

import heapq
import time
from typing import Callable

INFINITY = float("inf")


class Timer:
    """A call that is due at `when`; `cancel` may be called at any time."""

    __slots__ = ("call", "serial", "when")

    def __init__(self, when: float, serial: int, call: Callable[[], None]) -> None:
        self.when = when
        self.serial = serial
        self.call: Callable[[], None] | None = call

    def cancel(self) -> None:
        self.call = None

    def __lt__(self, other: Timer) -> bool:
        return (self.when, self.serial) < (other.when, other.serial)


class Timers:
    def __init__(self) -> None:
        self._heap: list[Timer] = []
        self._serial = 0

    def later(self, delay: float, call: Callable[[], None]) -> Timer:
        """Call once, `delay` seconds from now."""
        self._serial += 1
        timer = Timer(time.monotonic() + delay, self._serial, call)
        heapq.heappush(self._heap, timer)
        return timer

    def run(self, now: float) -> float:
        """Make every call that is due; returns when the next one is (what loop.Loop.run asks of its turn)."""
        heap = self._heap
        while heap and (heap[0].call is None or heap[0].when <= now):
            call = heapq.heappop(heap).call
            if call is not None:
                call()
        return heap[0].when if heap else INFINITY
