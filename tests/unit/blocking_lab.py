"""What the tests of the helper's parts share: a loop that runs until something is true, and a log that is a list."""

from __future__ import annotations

from typing import Callable

from vrrpd.log import Log
from vrrpd.loop import Loop
from vrrpd.timers import Timers


class Lab:
    """A real loop with real timers; a condition that never comes true fails the test with what was logged."""

    def __init__(self) -> None:
        self.loop = Loop()
        self.timers = Timers()
        self.lines: list[str] = []
        self.log = Log(lambda severity, message, at: self.lines.append(message), detailed=True)

    def until(self, condition: Callable[[], object], limit: float = 15.0) -> None:
        late: list[bool] = []
        timer = self.timers.later(limit, lambda: late.append(True))

        def turn(now: float) -> float:
            deadline = self.timers.run(now)
            if condition() or late:
                self.loop.running = False
            return min(deadline, now + 0.02)  # what other processes do wakes nobody here

        self.loop.run(turn)
        timer.cancel()
        assert not late, f"did not happen within {limit} s; log: {self.lines}"

    def logged(self, text: str) -> bool:
        return any(text in line for line in self.lines)

    def close(self) -> None:
        self.loop.close()
