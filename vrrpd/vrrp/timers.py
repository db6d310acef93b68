"""One heap of deadlines for every router, lazily kept.

Owns the order of deadlines; the engine fires what is due. Moving a deadline later, which every accepted
advert does, is one assignment: the timer stays where it is and is put to its new place when the old one
comes. Moving it earlier adds it to another place; the one left behind no longer is the timer's `armed` and is
passed over when it comes. So `next_deadline` may be too early, never too late, and a spurious wake-up is
a no-op.

Timers with the same deadline share one heap entry. What was armed in one turn has the same deadline: 4000
routers that took over together are one entry, and so are the backups whose adverts were read together (measured
at 4000: firing and arming again costs 2.3 us a timer, with an entry for each it was 4.2).
"""

from __future__ import annotations

from heapq import heappop, heappush
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
        self.armed = inf  # where Timers has it; inf when nowhere


class Timers:
    """Every timer of one engine."""

    __slots__ = ("_at", "_heap")

    def __init__(self) -> None:
        self._heap: list[float] = []  # the keys of _at
        self._at: dict[float, list[Timer]] = {}  # in the order they were armed

    @property
    def next_deadline(self) -> float:
        """When to call `due` next; inf when there is nothing to wait for."""
        return self._heap[0] if self._heap else inf

    def set(self, timer: Timer, deadline: float) -> None:
        """Arm or re-arm."""
        timer.deadline = deadline
        if deadline < timer.armed:
            timer.armed = deadline
            there = self._at.get(deadline)
            if there is None:
                self._at[deadline] = [timer]
                heappush(self._heap, deadline)
            else:
                there.append(timer)

    def clear(self, timer: Timer) -> None:
        """Disarm; it is dropped when its time comes."""
        timer.deadline = inf

    def due(self, now: float) -> Iterator[tuple[Timer, float]]:
        """Every (timer, deadline) with deadline <= now, earliest first, disarmed; may be re-armed while iterating."""
        heap = self._heap
        while heap and heap[0] <= now:
            at = heappop(heap)
            for timer in self._at.pop(at):
                if timer.armed != at:  # set to an earlier time since
                    continue
                timer.armed = inf
                deadline = timer.deadline
                if deadline == at:
                    timer.deadline = inf
                    yield timer, at
                elif deadline != inf:
                    self.set(timer, deadline)
