"""Who speaks for the routers of a vrrp process that died, from the fork of its successor until that one lives.

In: what the will knows of its MASTERs. Out: their adverts, the first before the successor does anything else (before
it gives up its privileges, reads the model, asks the kernel anything), and at the end the estates that it adopts.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

from vrrpd import will
from vrrpd.model.values import Routing
from vrrpd.net.links import Links
from vrrpd.pulse import Pulse
from vrrpd.vrrp.auth import Standing, standing_of
from vrrpd.vrrp.estate import Estate, Holding, Laid, adopted

# Intervals without an advert after which a peer's timer may have run out: its third one, and its skew, at the worst
# begins with the last advert, an interval before the one that is due.
SILENCE = 2.0


GUARD_SPOKE = 1.0  # for them, right before the fork: succession.py
TAKING_OVER = 0.0003  # per router, for a successor to be responsible for it


class Bridge:
    """Costs nothing where nobody has died."""

    def __init__(self, records: Sequence[will.Record], due: float, pulse: Pulse) -> None:
        self._records, self._due, self._pulse = records, due, pulse
        self._voice: will.Voice | None = None
        self._next = 0.0
        if records:
            self._voice = will.Voice(records, lambda level, message: None, GUARD_SPOKE)
            self._first = self._due
            self._shortest = min(record.advert.advert_int for record in records)

    def speak(self) -> None:
        now = time.monotonic()
        if self._voice is not None and now >= self._next:
            if not self._next:
                self._first = now
            self._next = now + self._shortest / 2
            self._voice.speak()
            self._pulse.promise(now + self._shortest)

    def leave(self, routers: int) -> None:
        """The successor's own first turn comes next, and may be a long one."""
        if self._voice is not None:
            self._pulse.promise(max(self._pulse.promised, time.monotonic() + TAKING_OVER * routers))

    def close(self) -> None:
        if self._voice is not None:
            self._voice.close()

    def estates(self, links: Links) -> list[Estate]:
        """What the dead one held, as far as it is still there."""
        now = time.monotonic()
        held: dict[str, list[Holding]] = {}
        laid: dict[str, list[Laid]] = {}
        first: dict[str, will.Record] = {}
        for record in self._records:
            first.setdefault(record.stem, record)
            laid.setdefault(record.stem, []).extend(map(_inherited, record.laid))
            held.setdefault(record.stem, []).extend(
                Holding(*here[:4], peer=here.peer)
                for here in record.addresses
                if links.holds(here.ifindex, here.address, here.prefixlen)
            )
        return [
            adopted(
                record.identity,
                record.name,
                held[stem],
                now,
                self._due_of(record, now),
                record.priority,
                self._standing(record),
                laid[stem],
            )._replace(old_sum=record.advert.old_sum)
            for stem, record in first.items()
        ]

    def _due_of(self, record: will.Record, now: float) -> float:
        """We have spoken for it since, unless we came too late: its peers may have been MASTER while nobody listened
        here, so it wakes as a router that slept since then, and announces."""
        return self._due if self._first - self._due > SILENCE * record.advert.advert_int else now

    def _standing(self, record: will.Record) -> Standing | None:
        if record.advert.seal is None or self._voice is None:
            return None
        return standing_of(record.advert.seal, self._voice.sequences.get(record.advert, 0))


def _inherited(here: will.Laid) -> Laid:
    holes = tuple((offset, name) for offset, name, _ in here.holes)
    entry = Routing(here.kind, here.text, here.body, holes, here.mode, here.no_track)
    return Laid(entry, tuple(ifindex for *_, ifindex in here.holes))
