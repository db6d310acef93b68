"""The vrrp process among all others: vrrp_rt_priority, vrrp_priority, vrrp_cpu_affinity, vrrp_rlimit_rttime,
max_auto_priority.

In real time it comes before all ordinary work. Two bounds make that safe and sufficient, both only on request. A turn
that takes longer than vrrp_rlimit_rttime without waiting goes on behind whatever else runs in real time, and beside
ordinary work; the kernel says so with SIGXCPU (setrlimit(2) RLIMIT_RTTIME). And whenever a turn
begins later than min_auto_priority_delay after it was due, the priority goes up by one, to max_auto_priority at most.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from vrrpd import process

if TYPE_CHECKING:
    from types import FrameType

    from vrrpd.model.globals import GlobalDefs

PAUSE = 0.001  # s: with a wait the kernel counts from nothing again
QUIET = 60.0  # s between two lines about the same

Tell = Callable[[str, str], None]


def real_time(defs: GlobalDefs) -> int:
    """The priority in real time, 0 for none: vrrp_priority alone asks for ordinary scheduling."""
    ordinary = defs.vrrp_priority is not None and defs.vrrp_rt_priority is None
    return 0 if ordinary else defs.vrrp_rt_priority or 1


class Scheduling:
    """`priority` in real time, 0 for none. `hogging` and `rested` belong to SIGXCPU, `late` to the loop."""

    def __init__(self, defs: GlobalDefs, tell: Tell) -> None:
        self._tell = tell
        self._nice, self._processors = defs.vrrp_priority, defs.vrrp_cpu_affinity
        self.priority = real_time(defs)
        self._limit = defs.vrrp_rlimit_rttime  # us
        self._most, self._late_after = defs.max_auto_priority, defs.min_auto_priority_delay / 1e6
        self._told = float("-inf")

    def settle(self) -> Iterator[tuple[str, bool]]:
        """Do it; what was asked for, and whether it was granted."""
        if self.priority:
            yield "real-time scheduling", self._real_time()
        else:
            yield f"nice value {self._nice}", process.schedule_ordinary(self._nice or 0)
        if self._processors:
            yield f"vrrp_cpu_affinity {' '.join(map(str, self._processors))}", process.bind_to(self._processors)

    def _real_time(self) -> bool:
        if self._limit:
            signal.signal(signal.SIGXCPU, self.hogging)
            process.limit_realtime(self._limit)
        return process.schedule_realtime(self.priority)

    def hogging(self, number: int, frame: FrameType | None) -> None:
        """In the middle of a turn: others may run."""
        process.go_first()

    def rested(self, now: float) -> None:
        """That turn is over."""
        if not self.priority:
            return
        if now - self._told > QUIET:
            self._told = now
            limit = f"{self._limit} us (vrrp_rlimit_rttime)"
            self._tell("warning", f"the vrrp process ran longer than {limit} without a wait, the rest not in real time")
        self._real_time()
        time.sleep(PAUSE)

    def late(self, delay: float) -> None:
        """A turn begins `delay` seconds after it was due."""
        if delay < self._late_after or self.priority >= self._most:
            return
        self.priority += 1
        granted = "" if self._real_time() else ", not permitted here"
        message = f"{delay:.3f} s late: real-time priority {self.priority} (max_auto_priority {self._most}){granted}"
        self._tell("warning", message)
