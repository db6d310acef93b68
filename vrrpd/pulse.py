"""Life signs: a page in which a vrrp process promises when it will be back, and the guard's doubts about it.

The promise is the end of each turn's sleep: one store into shared memory, no message. A process that hangs is found
when its promise is broken, whatever it had to do next, so the time without an advert is one interval and the
patience. Doubt is counted in looks, not in seconds: when all of us were stopped, nobody is late.
"""

from __future__ import annotations

import mmap
import os

PAGE = 4096
LOOKS = 4  # in vain, before a process is given up
LOOKS_IDLE = 20  # when it has nothing that anybody misses: a deaf BACKUP
PATIENCE_LEAST = 0.12  # below that a busy machine looks like a dead process
PATIENCE_ADVERTS = 0.75  # with the interval slept through 1.75 adverts: peers wait for 3 and their skew
PATIENCE_ROUTER = 0.0001  # each may have something to do in one turn


def patience(shortest: float, routers: int) -> float:
    return max(PATIENCE_LEAST, PATIENCE_ADVERTS * shortest) + PATIENCE_ROUTER * routers


class Pulse:
    """The page. Its descriptor survives an exec of the guard."""

    def __init__(self, fd: int = -1) -> None:
        self.fd = os.memfd_create("pulse") if fd < 0 else fd
        os.ftruncate(self.fd, PAGE)
        self._page = mmap.mmap(self.fd, PAGE)
        self._slots = memoryview(self._page).cast("d")

    def promise(self, until: float) -> None:
        """I shall be back by then, on the monotonic clock."""
        self._slots[0] = until

    @property
    def promised(self) -> float:
        return self._slots[0]

    def close(self) -> None:
        self._slots.release()
        self._page.close()
        os.close(self.fd)


class Watch:
    """The guard's view of one pulse."""

    def __init__(self, pulse: Pulse, patience: float, now: float) -> None:
        self._pulse = pulse
        self._step = patience / LOOKS
        self._seen = pulse.promised
        self._missed = 0
        self.next_look = now + self._step

    def look(self, now: float, looks: int = LOOKS) -> bool:
        """Is it given up? To be called at `next_look`; a look that comes late itself proves nothing."""
        promised = self._pulse.promised
        late = now - self.next_look > self._step
        if promised != self._seen or now < promised + self._step or late:
            self._seen, self._missed = promised, 0
            self.next_look = max(now, promised) + self._step
            return False
        self._missed += 1
        self.next_look = now + self._step
        return self._missed >= looks
