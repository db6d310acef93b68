"""Gratuitous ARP and unsolicited neighbour advertisements in their turn: garp_interval, gna_interval, garp_group.

Without an interval a block is one Announce action at once. With one, its frames queue per interface and
family in their order and leave one by one, that far apart, whichever router they belong to; the interfaces of
a garp_group have one queue. The frames themselves are the executor's.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Union

from vrrpd.vrrp.actions import Action, Announce
from vrrpd.vrrp.timers import Timer, Timers

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from vrrpd.model.values import GarpGroup
    from vrrpd.model.vrrp import VirtualAddress
    from vrrpd.vrrp.router import VirtualRouter


Key = tuple[Union[int, str], int]  # interface index, or the first interface of a garp_group; length of an address


class _Lane:
    """The frames waiting on one interface, or group of them, for one family, and when the next may leave."""

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

    __slots__ = ("_bases", "_groups", "_lanes", "_timers")

    def __init__(self, timers: Timers) -> None:
        self._timers = timers
        self._lanes: dict[Key, _Lane] = {}
        self._groups: dict[str, GarpGroup] = {}  # by interface
        self._bases: Mapping[str, str] = {}

    def configure(self, groups: Iterable[GarpGroup], bases: Mapping[str, str]) -> None:
        """`bases`: virtual interface -> the one below, out of which its frames leave."""
        self._groups = {name: group for group in groups for name in group.interfaces}
        self._bases = bases

    def _pace(self, router: VirtualRouter, entry: VirtualAddress) -> tuple[Key, float]:
        """In whose queue its announcement is, and the pause behind it; 0 for none."""
        cfg, width = router.cfg, len(entry.address)
        name = entry.dev or cfg.interface
        group = self._groups.get(self._bases.get(name, name))
        if group is not None:
            return (group.interfaces[0], width), group.garp_interval if width == 4 else group.gna_interval
        return (router.ifindex, width), cfg.garp_interval if width == 4 else cfg.gna_interval

    def announce(
        self, router: VirtualRouter, addresses: Sequence[VirtualAddress], rounds: int, now: float
    ) -> list[Action]:
        """Announce `addresses`, all of them `rounds` times over; what may not leave yet follows by timer."""
        link = router.link
        if link is not None and not link.arp:  # it has nobody to tell, the interfaces of others may
            addresses = [entry for entry in addresses if entry.dev]
        if link is None or not addresses or rounds < 1:
            return []
        cfg = router.cfg
        if cfg.garp_interval <= 0 and cfg.gna_interval <= 0 and not self._groups:
            return [Announce(router, tuple(addresses), rounds)]
        actions: list[Action] = []
        at_once: list[VirtualAddress] = []
        blocks: dict[tuple[Key, float], list[VirtualAddress]] = {}
        for address in addresses:
            key, gap = self._pace(router, address)
            (blocks.setdefault((key, gap), []) if gap > 0 else at_once).append(address)
        for (key, gap), block in blocks.items():
            actions += self._queue(key, router, block, rounds, gap, now)
        if at_once:
            actions.insert(0, Announce(router, tuple(at_once), rounds))
        return actions

    def paces(self) -> list[tuple[int | str, int, float]]:
        """Where there is a pause between announcements: interface, length of an address, when the next may leave."""
        return [(where, width, lane.ready) for (where, width), lane in self._lanes.items()]

    def give(self, router: VirtualRouter) -> tuple[tuple[bytes, ...], float]:
        """The frames of this router that wait for their turn, and when the next may leave; they are gone here."""
        waiting: list[bytes] = []
        ready = 0.0
        for (where, _), lane in self._lanes.items():
            if where == router.ifindex or isinstance(where, str):
                waiting += [entry.address for owner, entry, _ in lane.queue if owner is router]
                lane.queue = deque(frame for frame in lane.queue if frame[0] is not router)
                ready = max(ready, lane.ready)
        return tuple(waiting), ready

    def take(self, router: VirtualRouter, waiting: Sequence[bytes], ready: float) -> None:
        """What another process had still to announce for this router."""
        if not ready:
            return
        known = {entry.address: entry for entry in router.addresses}
        paces = {self._pace(router, entry) for entry in router.addresses}
        for key in {key for key, gap in paces if gap > 0}:
            lane = self._lane(key)
            lane.ready = max(lane.ready, ready)
        for entry in (known[at] for at in waiting if at in known):
            key, gap = self._pace(router, entry)
            if gap > 0:
                lane = self._lane(key)
                lane.queue.append((router, entry, gap))
                self._timers.set(lane.timer, lane.ready)

    def _lane(self, key: Key) -> _Lane:
        lane = self._lanes.get(key)
        if lane is None:
            lane = self._lanes[key] = _Lane(self._timers)
        return lane

    def _queue(
        self,
        key: Key,
        router: VirtualRouter,
        block: list[VirtualAddress],
        rounds: int,
        gap: float,
        now: float,
    ) -> list[Action]:
        lane = self._lane(key)
        waiting = sum(1 for owner, _, _ in lane.queue if owner is router)
        if waiting < rounds * len(block):  # a second block behind an unfinished one would only grow the queue
            lane.queue.extend((router, address, gap) for _ in range(rounds) for address in block)
        return lane.drain(now, now)
