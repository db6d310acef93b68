"""The routes and rules of our routers: what lies in the kernel, whose it is, what is to be done in this turn.

The executor's other half. In: entries to add or to remove, of a router. Out: requests, those of removals to go before
all addresses of the batch, those of additions behind them; then, from the answers, what to say. What lies there is
known by the bytes that put it there, with the numbers that its interfaces had: the same bytes remove that entry and no
other. What the kernel does not take is kept with its reason, for people, and to be tried again. It costs nothing where
no router has routes or rules.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

from vrrpd.lacking import Ledger
from vrrpd.net import routing
from vrrpd.net.links import Links
from vrrpd.net.netlink import Event
from vrrpd.vrrp.estate import Lacking, Laid

if TYPE_CHECKING:
    from vrrpd.model.values import Routing
    from vrrpd.vrrp.router import VirtualRouter

Place = tuple[str, bytes]  # kind, body with the numbers of interfaces in it


class _Job(NamedTuple):
    router: VirtualRouter
    laid: Laid
    adding: bool


class Laying:
    def __init__(self, links: Links) -> None:
        self._links = links
        self._laid: dict[VirtualRouter, dict[Routing, Laid]] = {}
        self._owners: dict[Place, VirtualRouter] = {}
        self._keys: dict[routing.Key, dict[Routing, VirtualRouter]] = {}  # of what is to be put back
        self._former: set[Place] = set()  # laid by the process before us for routers that are no more
        self._jobs: dict[Place, _Job] = {}  # the last word on each counts
        self._sent: list[_Job] = []
        self.lacking: Ledger[Routing] = Ledger()  # what should lie there, and does not
        self._stuck: dict[tuple[VirtualRouter, Routing], str] = {}  # what could not be removed, and why
        self.complaints: list[tuple[str, str]] = []  # level, message

    @property
    def queued(self) -> bool:
        return bool(self._jobs or self.complaints)

    def shared(self, laid: Iterable[Laid]) -> list[Place]:
        """Those of them that a router of this process has too."""
        return [place for place in map(_place, laid) if place in self._owners]

    def of(self, router: VirtualRouter) -> tuple[Laid, ...]:
        """What of this router lies in the kernel, or is about to."""
        return tuple(self._laid.get(router, {}).values())

    def retry(self) -> None:
        """What could not be added is tried again: its reason may have gone."""
        for router, entries in self.lacking.to_try():
            self.add(router, entries)

    def inherit(self, router: VirtualRouter, laid: Iterable[Laid], lacking: Iterable[Lacking] = ()) -> None:
        for here in laid:
            self._note(router, here)
        self.lacking.inherit(router, lacking, {(entry.kind, entry.text): entry for entry in router.routing})

    def succeed(self, laid: Iterable[Laid]) -> None:
        """Of routers that are no more: whoever has it from now on, it is ours."""
        self._former.update(map(_place, laid))

    def disown(self, places: Iterable[Place]) -> None:
        """Another process has them now."""
        for place in places:
            self._owners.pop(place, None)

    def add(self, router: VirtualRouter, entries: Iterable[Routing]) -> None:
        for entry in entries:
            indexes = tuple(self._links.find(name) for _, name in entry.holes)
            former = self._laid.get(router, {}).get(entry)
            down = [name for (_, name), ifindex in zip(entry.holes, indexes) if not self._links.is_up(ifindex)]
            if down:  # once it is up, the daemon asks again
                if former is None:
                    why = "is down" if self._links.find(down[0]) else "does not exist"
                    self._complain(router, entry, f"interface {down[0]} {why}")
                continue
            known = former is not None and former.indexes == indexes
            laid = former if known and former is not None else Laid(entry, indexes)
            self._jobs[_place(laid)] = _Job(router, laid, True)
            self._note(router, laid)

    def remove(self, router: VirtualRouter, entries: Iterable[Routing]) -> None:
        held = self._laid.get(router, {})
        for entry in entries:
            self.lacking.taken(router, entry)
            laid = held.pop(entry, None)
            if laid is None:
                continue
            if not held:
                del self._laid[router]
            key = routing.key(entry.kind, entry.body)
            known = self._keys.get(key, {})
            if known.get(entry) is router:
                del known[entry]
                if not known:
                    del self._keys[key]
            place = _place(laid)
            if self._owners.get(place) is router:
                del self._owners[place]
                if not laid.foreign:
                    self._jobs[place] = _Job(router, laid, False)

    def leftovers(self, router: VirtualRouter, entries: Iterable[Routing]) -> None:
        """Of a process that left nothing else: what is marked as ours, and no router of this one has it."""
        for entry in entries:
            indexes = tuple(self._links.find(name) for _, name in entry.holes)
            laid = Laid(entry, indexes)
            if 0 not in indexes and not entry.no_track and _place(laid) not in self._owners:
                self._jobs[_place(laid)] = _Job(router, laid, False)

    def requests(self) -> tuple[list[routing.Request], list[routing.Request]]:
        """What goes before the addresses, and what behind them. To be followed by `answered`."""
        jobs, self._jobs = self._jobs, {}
        self._sent = [job for job in jobs.values() if not job.adding]
        before = [routing.delete(job.laid.entry.kind, _place(job.laid)[1]) for job in self._sent]
        adding = [job for job in jobs.values() if job.adding]
        self._sent += adding
        return before, [routing.add(job.laid.entry.kind, _place(job.laid)[1], job.laid.entry.mode) for job in adding]

    def adding(self) -> list[VirtualRouter]:
        """Whose record must be with the guard before the requests go."""
        return list(dict.fromkeys(job.router for job in self._jobs.values() if job.adding))

    def answered(self, codes: Sequence[int]) -> None:
        sent, self._sent = self._sent, []
        for job, code in zip(sent, codes):
            entry = job.laid.entry
            if not job.adding:
                self._former.discard(_place(job.laid))
            if not code or code in routing.PRESENT:
                self._stuck.pop((job.router, entry), None)
                self.lacking.taken(job.router, entry)
            if not code:
                continue
            if job.adding and code in routing.PRESENT:
                # It may be anybody's: the protocol does not say that it is ours.
                if entry.no_track and _place(job.laid) not in self._former:
                    self._foreign(job)
            elif job.adding or code not in routing.ABSENT:
                (self._complain if job.adding else self._stick)(job.router, entry, os.strerror(code))

    def _foreign(self, job: _Job) -> None:
        held = self._laid.get(job.router, {})
        if job.laid.entry in held and not job.laid.foreign:
            held[job.laid.entry] = job.laid._replace(foreign=True)

    def lost(self, events: Iterable[Event], own_port: int) -> Iterator[tuple[VirtualRouter, Routing, bool]]:
        """What has been removed of ours, and by somebody: else the kernel did, to whom an interface went down."""
        for event in events:
            if event.port != own_port:
                key = routing.removed(event)
                found = self._keys.get(key, {}) if key is not None else {}
                for entry, router in list(found.items()):
                    yield router, entry, event.port != 0

    def _note(self, router: VirtualRouter, laid: Laid) -> None:
        self._laid.setdefault(router, {})[laid.entry] = laid
        self._owners[_place(laid)] = router
        if not laid.entry.no_track:
            self._keys.setdefault(routing.key(laid.entry.kind, laid.entry.body), {})[laid.entry] = router

    def _complain(self, router: VirtualRouter, entry: Routing, why: str) -> None:
        news = self.lacking.refused(router, entry, entry.kind, entry.text, why)
        if news:
            self.complaints.append(("error", news))

    def _stick(self, router: VirtualRouter, entry: Routing, why: str) -> None:
        if self._stuck.get((router, entry)) != why:
            self._stuck[router, entry] = why
            self.complaints.append(("error", f"{router.name}: cannot remove {entry.kind} {entry.text}: {why}"))


def _place(laid: Laid) -> Place:
    entry = laid.entry
    if not entry.holes:
        return entry.kind, entry.body
    return entry.kind, routing.filled(entry.body, (offset for offset, _ in entry.holes), laid.indexes)
