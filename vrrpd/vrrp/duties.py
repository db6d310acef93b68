"""What a MASTER owes its segment besides adverts: announcements in time, answers to lesser masters, lost addresses.

keepalived's garp_master_delay, garp_master_refresh, garp_extra_if and garp_lower_prio_*, our vip_lifetime; at most
one timer. In: the moments when the router becomes MASTER, hears a lower advert, loses an address. Out: actions. When
to be MASTER is router.py's, the pace of single frames announce.py's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import inf
from typing import TYPE_CHECKING

from vrrpd.vrrp.actions import Action, AddAddresses, RenewAddresses
from vrrpd.vrrp.records import text
from vrrpd.vrrp.timers import Timer, Timers

if TYPE_CHECKING:
    from vrrpd.model.values import Routing
    from vrrpd.model.vrrp import VirtualAddress
    from vrrpd.vrrp.announce import Announcer
    from vrrpd.vrrp.router import VirtualRouter

# What is still to be done, by the keyword that asks for it or by the deed.
REPEAT, REFRESH, LOWER, ANSWER, RESTORE = "garp_master_delay", "refresh", "garp_lower_prio_delay", "answer", "restore"
EXTRA, RENEW = "garp_extra_if", "vip_lifetime"

ANSWER_GAP, ANSWER_GAP_MAX = 0.02, 1.0
RESTORE_GAP = 0.1
RENEWALS = 3  # within one lifetime: one may fail, or come a third late, and nothing is lost


class Duties:
    """Those of one router; idle unless it is MASTER."""

    __slots__ = (
        "_announcer",
        "_answer_at",
        "_answer_gap",
        "_restore_at",
        "_rival_at",
        "_router",
        "_timers",
        "pending",
        "timer",
    )

    def __init__(self, router: VirtualRouter, timers: Timers, announcer: Announcer) -> None:
        self._router = router
        self._timers = timers
        self._announcer = announcer
        self.timer = Timer(self._fire)
        self.pending: dict[str, float] = {}
        self._answer_at = 0.0
        self._answer_gap = ANSWER_GAP
        self._restore_at = 0.0
        self._rival_at = 0.0

    def begin(self, addresses: Sequence[VirtualAddress], now: float) -> list[Action]:
        """These addresses are ours from now on: announce them, and all of ours again after garp_master_delay."""
        cfg = self._router.cfg
        if cfg.garp_master_delay > 0:
            self._later(REPEAT, now + cfg.garp_master_delay)
        if REFRESH not in self.pending:
            self.set_refresh(now)
        if EXTRA not in self.pending:
            self.set_extra(now)
        if RENEW not in self.pending:
            self._renew_later(now)
        return self._announce(addresses, cfg.garp_master_repeat, now)

    def end(self) -> None:
        """No longer MASTER, or leaving: nothing is owed, and whatever was queued is not announced any more."""
        self.pending.clear()
        self._timers.clear(self.timer)
        self._answer_at, self._answer_gap = 0.0, ANSWER_GAP

    def give(self) -> tuple[dict[str, float], tuple[float, float, float, float]]:
        """What is still to be done, and the paces; nothing of it is done here any more."""
        self._timers.clear(self.timer)
        return dict(self.pending), (self._answer_at, self._answer_gap, self._restore_at, self._rival_at)

    def take(self, pending: Mapping[str, float], paces: tuple[float, float, float, float]) -> None:
        """Go on where another process stopped."""
        for what, when in pending.items():
            self._later(what, when)
        self._answer_at, self._answer_gap, self._restore_at, self._rival_at = paces
        self._answer_gap = max(self._answer_gap, ANSWER_GAP)

    def announce_all(self, now: float) -> list[Action]:
        """Something about us changed that the neighbours must know."""
        return self._announce(self._router.addresses, self._router.cfg.garp_master_repeat, now)

    def wake(self, now: float) -> Sequence[Action]:
        """We slept, and our last word may be out of date; unless a lesser master has just been answered."""
        if now < self._answer_at:
            return ()
        self.pending.pop(REPEAT, None)
        return self.announce_all(now)

    def set_refresh(self, now: float) -> None:
        """garp_master_refresh as it is configured now."""
        self.pending.pop(REFRESH, None)
        if self._router.cfg.garp_master_refresh > 0:
            self._later(REFRESH, now + self._router.cfg.garp_master_refresh)

    def set_extra(self, now: float) -> None:
        """garp_extra_if as it is configured now; what is due anyway stays so."""
        due = self.pending.pop(EXTRA, inf)
        period = self._router.cfg.garp_extra_if
        if period and self._elsewhere():
            self._later(EXTRA, min(due, now + period[1]))

    def _elsewhere(self) -> Sequence[VirtualAddress]:
        """What no advert reminds the switches of: addresses whose MAC address is not that of our adverts."""
        cfg = self._router.cfg
        everywhere, period = cfg.garp_extra_if or (False, 0.0)
        if not period:
            return ()
        if everywhere:
            return self._router.addresses
        devices = {device.name for device in cfg.devices if device != cfg.vmac or cfg.vmac_xmit_base}
        return tuple(address for address in self._router.addresses if address.dev in devices)

    def renew(self, now: float) -> list[Action]:
        """vip_lifetime as it is configured now, for what is there already; from now on in time."""
        self.pending.pop(RENEW, None)
        self._renew_later(now)
        router = self._router
        return [RenewAddresses(router, router.addresses)] if router.addresses else []

    def _renew_later(self, now: float) -> None:
        """At the next multiple of the period, which is the same for all routers: one batch for all of them."""
        if self._router.cfg.vip_lifetime:
            period = self._router.cfg.vip_lifetime / RENEWALS
            self._later(RENEW, (now // period + 1) * period)

    def may_answer(self, now: float) -> bool:
        """To priority 0 with an advert: not when one has just left, a flood must not make one of ours."""
        if now < self._answer_at:
            return False
        self._answer_at = now + ANSWER_GAP
        return True

    def rival_heard(self, now: float) -> list[Action]:
        """Another was MASTER beside us, after a healed partition perhaps, and resigns, or was answered by a member of
        our sync group (keepalived): the neighbours' caches may point at it.

        In a flood once a second, and the last one always.
        """
        if now < self._rival_at:
            if LOWER not in self.pending:
                self._later(LOWER, self._rival_at)
            return []
        self._rival_at = now + ANSWER_GAP_MAX
        return self._announce(self._router.addresses, self._router.cfg.garp_lower_prio_repeat, now)

    def answer(self, now: float) -> list[Action] | None:
        """To a lower advert: tell it, and the segment; None when that will be done a little later.

        RFC 9568 6.4.3 answers at once, keepalived in v2 too. The first one is answered at once, more in a row at
        growing gaps, and the last one always: no storm, and never a cache that points at the other.
        """
        if now < self._answer_at:
            if ANSWER not in self.pending:
                self._later(ANSWER, self._answer_at)
            return None
        if now - self._answer_at > ANSWER_GAP_MAX:
            self._answer_gap = ANSWER_GAP
        return self._answer(now)

    def _answer(self, now: float) -> list[Action]:
        cfg = self._router.cfg
        first = self._answer_gap == ANSWER_GAP
        self._answer_at = now + self._answer_gap
        self._answer_gap = min(2 * self._answer_gap, ANSWER_GAP_MAX)
        again = now + cfg.garp_lower_prio_delay
        if not first:
            self.pending.pop(LOWER, None)  # this is the second set: the other one has spoken again, now is its time
        elif again > now and LOWER not in self.pending and self.pending.get(REPEAT, now) <= now + ANSWER_GAP_MAX:
            self._later(LOWER, again)  # unless the second block of becoming MASTER is still to come
        silent = cfg.lower_prio_no_advert or (cfg.owner_ignore_adverts and cfg.priority == 255)
        advert = () if silent else self._router.advertise()
        return [*advert, *self._announce(self._router.addresses, cfg.garp_lower_prio_repeat, now)]

    def restore(self, address: VirtualAddress, now: float) -> Sequence[Action]:
        """Somebody took one of our addresses off: put it back and announce it; in a fight, ten times a second."""
        router = self._router
        if not router.owns(address) or address.no_track:
            return ()
        shown = text(address.address)
        if not router.cfg.restore_deleted:
            return router.lost(shown, now)
        if now < self._restore_at:
            self._later(RESTORE, self._restore_at)
            return ()
        actions: list[Action] = [AddAddresses(router, (address,))]
        if router.routing:  # what leads from it has gone with it
            actions += router.put_back_routing()
        return [*actions, *self._announce((address,), router.cfg.garp_master_repeat, now), *self._restored(shown, now)]

    def restore_routing(self, entry: Routing, now: float) -> Sequence[Action]:
        """The same for a route or a rule, which nobody is to be told of."""
        router = self._router
        if not router.keeps(entry) or entry.no_track:
            return ()
        shown = f"{entry.kind} {entry.text}"
        if not router.cfg.restore_deleted:
            return router.lost(shown, now)
        if now < self._restore_at:
            self._later(RESTORE, self._restore_at)
            return ()
        return [*router.put_back_routing(), *self._restored(shown, now)]

    def _restored(self, what: str, now: float) -> Sequence[Action]:
        self._restore_at = now + RESTORE_GAP
        if self._router.records.hushed("restore", now):
            return ()
        return self._router.records.line("warning", "restore", f"somebody removed {what}, put back")

    def _later(self, what: str, when: float) -> None:
        self.pending[what] = when
        self._timers.set(self.timer, min(self.pending.values()))

    def _fire(self, now: float, due: float) -> Sequence[Action]:
        """Whatever has come due; several announcements at once are one."""
        ripe = {what for what, when in self.pending.items() if when <= now}
        for what in ripe:
            del self.pending[what]
        cfg, addresses = self._router.cfg, self._router.addresses
        actions: list[Action] = []
        if RESTORE in ripe:
            actions += self._router.put_back()
        if ANSWER in ripe:
            actions += self._answer(now)
        rounds = {
            RESTORE: cfg.garp_master_repeat,
            REPEAT: cfg.garp_master_repeat,
            LOWER: cfg.garp_lower_prio_repeat,
            REFRESH: cfg.garp_master_refresh_repeat,
        }
        actions += self._announce(addresses, max((rounds.get(what, 0) for what in ripe), default=0), now)
        if EXTRA in ripe:
            elsewhere = self._elsewhere()
            actions += self._announce(elsewhere, 1, now) if elsewhere and not actions else []
            self.set_extra(now)
        if RENEW in ripe:
            actions += self.renew(now)
        if REFRESH in ripe:
            self.pending[REFRESH] = now + cfg.garp_master_refresh
        if self.pending:
            self._timers.set(self.timer, min(self.pending.values()))
        return actions

    def _announce(self, addresses: Sequence[VirtualAddress], rounds: int, now: float) -> list[Action]:
        return self._announcer.announce(self._router, addresses, rounds, now)
