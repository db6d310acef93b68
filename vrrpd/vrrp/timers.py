"""One heap of deadlines for every router, lazily kept.

Owns the order of deadlines; the engine fires what is due. Moving a deadline later, which every accepted
advert does, is one assignment: the heap entry stays where it is and is repositioned when it surfaces.
Moving it earlier is one push; the entry left behind no longer carries the timer's `armed` key and is
dropped when it surfaces. So `next_deadline` may be too early, never too late, and a spurious wake-up is
a no-op.
"""

from __future__ import annotations

from heapq import heappop, heappush, heapreplace
from itertools import count
from math import inf
from typing import TYPE_CHECKING, Callable

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from vrrpd.vrrp.actions import Action


class Timer:
    """A deadline and what to do then: `fire(now, due)`, where `due` is the deadline that was met."""

    __slots__ = ("armed", "deadline", "fire")

    def __init__(self, fire: Callable[[float, float], Sequence[Action]]) -> None:
        self.fire = fire
        self.deadline = inf  # when it is due; inf when idle
        self.armed = inf  # key of its live heap entry; inf when it has none


class Timers:
    """Every timer of one engine."""

    __slots__ = ("_heap", "_tie")

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Timer]] = []
        self._tie = count()  # equal deadlines fire in the order they were armed, and timers are never compared

    @property
    def next_deadline(self) -> float:
        """When to call `due` next; inf when there is nothing to wait for."""
        return self._heap[0][0] if self._heap else inf

    def set(self, timer: Timer, deadline: float) -> None:
        """Arm or re-arm."""
        timer.deadline = deadline
        if deadline < timer.armed:
            timer.armed = deadline
            heappush(self._heap, (deadline, next(self._tie), timer))

    def clear(self, timer: Timer) -> None:
        """Disarm; its heap entry goes when it surfaces."""
        timer.deadline = inf

    def due(self, now: float) -> Iterator[tuple[Timer, float]]:
        """Every (timer, deadline) with deadline <= now, earliest first, disarmed; may be re-armed while iterating."""
        heap = self._heap
        while heap and heap[0][0] <= now:
            at, _, timer = heap[0]
            if at != timer.armed:
                heappop(heap)
            elif timer.deadline == at:
                heappop(heap)
                timer.armed = timer.deadline = inf
                yield timer, at
            elif timer.deadline == inf:
                heappop(heap)
                timer.armed = inf
            else:
                timer.armed = timer.deadline
                heapreplace(heap, (timer.deadline, next(self._tie), timer))
