"""Gratuitous ARP and unsolicited neighbour advertisements in their turn: garp_interval and gna_interval.

Without an interval a block is one Announce action at once. With one, its frames queue per interface and
family in their order and leave one by one, that far apart, whichever router they belong to. The frames
themselves are the executor's.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from vrrpd.vrrp.actions import Action, Announce
from vrrpd.vrrp.timers import Timer, Timers

if TYPE_CHECKING:
    from collections.abc import Sequence

    from vrrpd.model.vrrp import VirtualAddress
    from vrrpd.vrrp.router import VirtualRouter


class _Lane:
    """The frames waiting on one interface for one family, and when the next may leave."""

    __slots__ = ("_timers", "queue", "ready", "timer")

    def __init__(self, timers: Timers) -> None:
        self._timers = timers
        self.queue: deque[tuple[VirtualRouter, VirtualAddress, float]] = deque()
        self.ready = 0.0
        self.timer = Timer(self.drain)

    def drain(self, now: float, due: float) -> list[Action]:
        """Whatever may leave now; re-armed for the rest."""
        actions: list[Action] = []
        while self.queue and self.ready <= now:
            router, address, gap = self.queue.popleft()
            if router.owns(address):
                actions.append(Announce(router, (address,), 1))
                # A late wake-up does not stretch the block, but a stall or an idle lane never leads to a burst.
                self.ready = (self.ready if now - self.ready < gap else now) + gap
        if self.queue:
            self._timers.set(self.timer, self.ready)
        return actions


class Announcer:
    """All lanes of one engine."""

    __slots__ = ("_lanes", "_timers")

    def __init__(self, timers: Timers) -> None:
        self._timers = timers
        self._lanes: dict[tuple[int, int], _Lane] = {}

    def announce(
        self, router: VirtualRouter, addresses: Sequence[VirtualAddress], rounds: int, now: float
    ) -> list[Action]:
        """Announce `addresses`, all of them `rounds` times over; what may not leave yet follows by timer."""
        link = router.link
        if link is None or not link.arp or not addresses or rounds < 1:
            return []  # a NOARP interface has nobody to tell
        cfg = router.cfg
        if cfg.garp_interval <= 0 and cfg.gna_interval <= 0:
            return [Announce(router, tuple(addresses), rounds)]
        actions: list[Action] = []
        at_once: list[VirtualAddress] = []
        for width, gap in ((4, cfg.garp_interval), (16, cfg.gna_interval)):
            block = [address for address in addresses if len(address.address) == width]
            if gap <= 0:
                at_once += block
            elif block:
                actions += self._queue(link.ifindex, width, router, block, rounds, gap, now)
        if at_once:
            actions.insert(0, Announce(router, tuple(at_once), rounds))
        return actions

    def give(self, router: VirtualRouter) -> tuple[tuple[bytes, ...], float]:
        """The frames of this router that wait for their turn, and when the next may leave; they are gone here."""
        waiting: list[bytes] = []
        ready = 0.0
        for (ifindex, _), lane in self._lanes.items():
            if ifindex == router.ifindex:
                waiting += [entry.address for owner, entry, _ in lane.queue if owner is router]
                lane.queue = deque(frame for frame in lane.queue if frame[0] is not router)
                ready = max(ready, lane.ready)
        return tuple(waiting), ready

    def take(self, router: VirtualRouter, waiting: Sequence[bytes], ready: float) -> None:
        """What another process had still to announce for this router."""
        known = {entry.address: entry for entry in router.addresses}
        for width, gap in ((4, router.cfg.garp_interval), (16, router.cfg.gna_interval)):
            if ready and gap:
                lane = self._lane(router.ifindex, width)
                lane.ready = max(lane.ready, ready)
                lane.queue.extend((router, known[at], gap) for at in waiting if len(at) == width and at in known)
                if lane.queue:
                    self._timers.set(lane.timer, lane.ready)

    def _lane(self, ifindex: int, width: int) -> _Lane:
        lane = self._lanes.get((ifindex, width))
        if lane is None:
            lane = self._lanes[ifindex, width] = _Lane(self._timers)
        return lane

    def _queue(
        self,
        ifindex: int,
        width: int,
        router: VirtualRouter,
        block: list[VirtualAddress],
        rounds: int,
        gap: float,
        now: float,
    ) -> list[Action]:
        lane = self._lane(ifindex, width)
        waiting = sum(1 for owner, _, _ in lane.queue if owner is router)
        if waiting < rounds * len(block):  # a second block behind an unfinished one would only grow the queue
            lane.queue.extend((router, address, gap) for _ in range(rounds) for address in block)
        return lane.drain(now, now)
