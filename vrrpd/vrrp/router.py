"""A virtual router: the state machine of RFC 9568 6.4 with keepalived's fourth state and options.

In: links, faults, what it tracks, configuration, operator's wishes; each with `now`. Out: actions. What it does with
adverts and at its timers is backup.py's and master.py's, what it says voice.py's, what a MASTER owes its segment
besides adverts duties.py's, becoming another process's router heritage.py's. Whose advert it is says engine.py.

Names: configuration, states and events carry keepalived's words, intervals and timers the RFC's. RFC 9568
renamed some of them; everywhere else in the code it is the left column:

    MASTER, master_down_interval, master_adver_int   Active, Active_Down_Interval, Active_Adver_Interval
    BACKUP                                           Backup
    INIT                                             Initialize
    FAULT                                            Initialize, for as long as `faults` is not empty

    from     to      because
    INIT     INIT    start, but what it tracks has not been found good or bad yet
    INIT     BACKUP  start
    INIT     MASTER  start of an address owner
    INIT     FAULT   start with a fault
    BACKUP   MASTER  no advert heard, or preempt_delay is over
    MASTER   BACKUP  outbid, handed over, with its sync group, or it slept for too long (timer_expired_backup)
    BACKUP   FAULT   a fault
    MASTER   FAULT   a fault
    FAULT    BACKUP  the last fault is cleared: as a start
    FAULT    MASTER  the same of an address owner
    any      INIT    the daemon stops, or the instance is removed

A member of a sync group asks it before it is MASTER, and tells it of faults and masters (groups.py).

State changes in `_enter` only. A rejected packet never comes here, so it can touch no timer.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial
from math import inf
from typing import TYPE_CHECKING, Any

from vrrpd.model.values import Routing, VirtualAddress
from vrrpd.vrrp import backup, master
from vrrpd.vrrp.actions import (
    Action,
    AddAddresses,
    AddRouting,
    DelAddresses,
    DelRouting,
    LetGo,
    Log,
    PriorityChange,
    SendAdvert,
    Transition,
)  # fmt: skip
from vrrpd.vrrp.announce import Announcer
from vrrpd.vrrp.duties import Duties
from vrrpd.vrrp.links import Link, device_faults, link_faults, source_address
from vrrpd.vrrp.packet import Advert
from vrrpd.vrrp.records import AUTH_COUNTERS, COUNTERS, Records
from vrrpd.vrrp.states import (
    BACKUP,
    FAULT,
    GROUP,
    INIT,
    LEGAL,
    LINK,
    MAINTENANCE,
    MASTER,
    TRACK,
    WITH_GROUP,
    Heard,
    LastTransition,
    State,
)  # fmt: skip
from vrrpd.vrrp.timers import Timer, Timers
from vrrpd.vrrp.track import OWNER, Tracking, Verdicts, tracks
from vrrpd.vrrp.voice import Voice

if TYPE_CHECKING:
    from vrrpd.model.vrrp import VrrpInstance
    from vrrpd.vrrp.checks import Memo
    from vrrpd.vrrp.groups import SyncGroup


class VirtualRouter(Voice):
    """One vrrp_instance at work. The engine owns it; the executor reads name, cfg, spec, link and datagrams."""

    __slots__ = (
        "_steady", "addresses", "advert_rcvd", "advert_sent", "advertised", "announcer", "cfg", "counters",
        "delay_timer", "duties", "faults", "group", "heard", "last_transition", "leaving", "link", "master_adver_int",
        "master_down_interval", "memo", "name", "outbid_at", "outbids", "peer_pseudo_header", "priority", "records",
        "resigned", "rival", "siblings", "skew_time", "state", "timer", "timers", "tracking", "yielding_until",
    )  # fmt: skip

    def __init__(
        self, cfg: VrrpInstance, timers: Timers, announcer: Announcer, verdicts: Verdicts, offset: float = 0.0
    ) -> None:
        """`offset`: how far the time of day is ahead of the monotonic clock, for those that send it."""
        super().__init__(cfg, offset)
        self.timers = timers
        self.announcer = announcer
        self._steady = (SendAdvert(self, cfg.priority),)  # what a MASTER does at each Adver_Timer, made once
        self.records = Records(cfg.name)
        self.counters = self.records.counters
        self.state = INIT
        self.faults: dict[str, str] = {}  # a sentence for people -> who says so
        self.link: Link | None = None
        self.timer = Timer(self._on_timer)  # Adver_Timer as MASTER, Active_Down_Timer as BACKUP
        self.delay_timer = Timer(partial(backup.preempt_delay_over, self))
        self.duties = Duties(self, timers, announcer)
        self.leaving = ""  # a planned leave under way: the event it ends with
        self.group: SyncGroup | None = None  # the engine's
        self.heard: Heard | None = None
        self.outbids = False  # BACKUP: the last advert was a lower one that we do not accept
        self.resigned = False  # BACKUP: the timer runs for Skew_Time after priority 0
        self.outbid_at = -inf  # BACKUP: when a better MASTER made it so
        self.yielding_until = 0.0  # BACKUP after a handover: no preemption before
        self.rival: tuple[float, float] | None = None  # MASTER: another owner is heard (since, last)
        self.peer_pseudo_header: bool | None = None  # v3 IPv4: which checksum the peer makes
        self.memo: Memo | None = None  # the engine's
        self.siblings: tuple[VirtualRouter, ...] = ()  # others with our VRID on our interface (unicast)
        self.last_transition: LastTransition | None = None
        self.advert_rcvd = 0
        self.advert_sent = 0
        tracked = tracks(cfg)
        self.tracking = Tracking(tracked, verdicts) if tracked else None
        self.cfg = cfg
        self.name = cfg.name
        self.priority = cfg.priority
        self.addresses = cfg.virtual_ipaddress + cfg.virtual_ipaddress_excluded
        self.advertised = sorted(entry.address for entry in cfg.virtual_ipaddress)
        self.master_adver_int = cfg.advert_int
        self.recompute()

    def __repr__(self) -> str:
        return f"<VirtualRouter {self.name} {self.state.name} {self.priority}>"

    # ---- configuration and addresses -------------------------------------------------------------------------

    def change_voice(self, **changes: Any) -> None:
        """Other fields of our adverts' AdvertSpec: of what was heard nothing need be true any more."""
        self.speak_anew(self.spec._replace(**changes))
        self.memo = None

    def recompute(self) -> None:
        # RFC 9568 6.1; RFC 3768 6.1: in v2 the skew does not scale with the interval.
        scale = self.master_adver_int if self.cfg.version == 3 else 1.0
        self.skew_time = (256 - self.priority) * scale / 256
        self.master_down_interval = self.cfg.down_timer_adverts * self.master_adver_int + self.skew_time

    @property
    def ifindex(self) -> int:
        """Where it lives now, 0 when its interface does not exist."""
        return self.link.ifindex if self.link else 0

    @property
    def routing(self) -> tuple[Routing, ...]:
        """Routes, then rules: the order in which they are given to the kernel."""
        return self.cfg.virtual_routes + self.cfg.virtual_rules

    def owns(self, address: VirtualAddress) -> bool:
        """Is it for us to announce and keep this address now?"""
        return self.state is MASTER and not self.leaving and address in self.addresses

    def keeps(self, entry: Routing) -> bool:
        """The same of a route or a rule."""
        return self.state is MASTER and not self.leaving and entry in self.routing

    def set_link(
        self,
        link: Link | None,
        virtual: frozenset[bytes],
        now: float,
        device: Link | None = None,
        refused: str = "",
    ) -> Sequence[Action]:
        """The current picture of our interface, and the virtual addresses that are nobody's primary one.

        `device` is that of our virtual interface; `refused` says why it could not be made.
        """
        former, self.link = self.link, link
        source = source_address(self.cfg, link, virtual) if link else None
        if source and source != self.spec.source:
            # The next advert has the new source, checksum and tie-break follow (RFC 9568 5.1.1.1).
            self.change_voice(source=source)
        faults = link_faults(self.cfg, link, source)
        if self.cfg.vmac is not None and link is not None and link.up:
            down_is_fine = self.cfg.dont_track_primary
            faults |= device_faults(self.cfg.vmac, link, device, refused, down_is_fine)
        actions = self.find(LINK, faults, now)
        if former and link and former.mac != link.mac and self.state is MASTER:
            return [*actions, *self.duties.announce_all(now)]
        return actions

    # ---- start, faults, leaving ------------------------------------------------------------------------------

    def start(self, now: float, reason: str = "start") -> Sequence[Action]:
        """From INIT, or from FAULT when its last cause is gone. RFC 9568 6.4.1."""
        if self.faults:
            return self._enter(FAULT, self._fault_text(), now)
        if self.tracking is not None and (awaited := self.tracking.awaited()):
            if self.state is FAULT:
                self.faults = dict.fromkeys(awaited, TRACK)
                return () if self.group is None else self.group.find(self, now)
            else:
                self.tracking.held = True
            return ()
        # keepalived: an owner is MASTER at once only when `state MASTER` says so too.
        if self.priority == OWNER and self.cfg.state == "MASTER" and (self.group is None or self.group.owners()):
            return self.become_master("address owner (priority 255)", now)
        return self.become_backup(reason, now)

    def find(self, source: str, faults: Iterable[str], now: float) -> Sequence[Action]:
        """All that `source` (LINK, ...) has against this router from now on, as sentences; none: it is content."""
        others = {fault: by for fault, by in self.faults.items() if by != source}
        former = self.faults
        actions = self.set_faults({**others, **dict.fromkeys(faults, source)}, now)
        if self.group is not None and source != GROUP and self.faults != former:
            return [*actions, *self.group.find(self, now)]
        return actions

    def judge(self, now: float, reason: str = "") -> Sequence[Action]:
        """What it tracks says something new, `reason`: priority and faults follow, and a start that waited for it."""
        tracking = self.tracking
        assert tracking is not None
        faults, awaited = tracking.faults(), tracking.awaited()
        if self.state is FAULT:
            faults.update(awaited)
        actions: list[Action] = []
        if faults and self.state is not FAULT:  # told with the priority that it had, as keepalived does
            actions += self.find(TRACK, faults, now)
        if self.cfg.priority != OWNER:
            actions += self._weigh(tracking.priority(self.cfg.priority), now, reason)
        actions += self.find(TRACK, faults, now)
        if tracking.held and not awaited:
            tracking.held = False
            actions += self.start(now)
        return actions

    def _weigh(self, priority: int, now: float, reason: str) -> list[Action]:
        """Another effective priority: in the next advert of a MASTER; the running timer of a BACKUP is shifted."""
        former = self.priority
        if priority == former:
            return []
        self.priority = priority
        self.forget(former)
        self._steady = (SendAdvert(self, priority),)
        skew_time = self.skew_time
        self.recompute()
        if self.state is INIT:
            return []
        if self.state is BACKUP and not backup.follow_after_all(self):
            backup.shift(self, skew_time, self.skew_time, now)
        return [PriorityChange(self, former, priority, reason)]

    def set_faults(self, faults: dict[str, str], now: float) -> Sequence[Action]:
        if faults == self.faults:
            return ()
        cleared = ", ".join(sorted(self.faults.keys() - faults.keys()))
        self.faults = faults
        if self.state is FAULT:
            return () if faults else self.start(now, f"cleared: {cleared}")
        if not faults or self.state is INIT:
            return ()
        if self.leaving:
            # An operator's wish does not hurry one who is leaving already: its successor is not there yet.
            return () if faults.keys() == {MAINTENANCE} else self.finish_leaving(now, self._fault_text())
        if self.state is MASTER and faults.keys() == {MAINTENANCE}:
            return self._leave("FAULT", now)
        return self._fault(now)

    def _fault(self, now: float) -> list[Action]:
        actions: list[Action] = []
        if self.state is MASTER:
            if self.link is not None and self.link.up:
                actions += self.resign()
            actions += self.let_go()
        return actions + self._enter(FAULT, self._fault_text(), now)

    def _fault_text(self) -> str:
        return ", ".join(sorted(self.faults))

    def maintenance(self, on: bool, now: float) -> Sequence[Action]:
        """An operator's fault: left for it in the planned way, kept until switched off."""
        if on == (MAINTENANCE in self.faults):
            return ()
        return self.find(MAINTENANCE, (MAINTENANCE,) if on else (), now)

    def handover(self, now: float) -> Sequence[Action]:
        """Give MASTER away in the planned way; normal rules apply again once another owner was heard."""
        if self.state is not MASTER or self.leaving:
            return ()
        self.yielding_until = now + 2 * (self.group or self).master_down_interval
        return self._leave("BACKUP", now)

    def stop(self, now: float) -> Sequence[Action]:
        """The daemon ends in the planned way; done when the state is INIT."""
        self._hold_no_start()
        if self.state is INIT:
            return ()
        if self.state is not MASTER:
            return self._enter(INIT, "the daemon stops", now, "STOP")
        if self.leaving:  # priority 0 is out already
            self.leaving = "STOP"
            return ()
        return self._leave("STOP", now)

    def depart(self, now: float) -> Sequence[Action]:
        """The daemon ends and leaves everything as it is; only those at home are told."""
        self._hold_no_start()
        return () if self.state is INIT else self._enter(INIT, "the daemon stops, what is there stays", now, "STOP")

    def delete(self, now: float) -> Sequence[Action]:
        """Gone from the configuration."""
        self._hold_no_start()
        if self.state is INIT:
            return ()
        actions: list[Action] = []
        if self.state is MASTER:
            if not self.leaving:
                actions += self.resign()
            actions += self.let_go()
        return actions + self._enter(INIT, "removed from the configuration", now, "DELETED")

    def _hold_no_start(self) -> None:
        if self.tracking is not None:
            self.tracking.held = False

    def let_go(self) -> list[Action]:
        """The addresses at once, and then the word to the peers beside the segment."""
        return [*self.take_off(), LetGo(self)] if self.cfg.peer_path else self.take_off()

    def put_on(self) -> list[Action]:
        """All that is ours while we are MASTER; what is there already stays as it is."""
        actions: list[Action] = [AddAddresses(self, self.addresses)] if self.addresses else []
        return [*actions, AddRouting(self, self.routing)] if self.routing else actions

    def put_back(self) -> list[Action]:
        """The same of what nobody else may remove."""
        tracked = tuple(address for address in self.addresses if not address.no_track)
        actions: list[Action] = [AddAddresses(self, tracked)] if tracked else []
        return [*actions, *self.put_back_routing()] if self.routing else actions

    def put_back_routing(self) -> list[Action]:
        tracked = tuple(entry for entry in self.routing if not entry.no_track)
        return [AddRouting(self, tracked)] if tracked else []

    def take_off(self) -> list[Action]:
        """The same in the reverse order."""
        gone = DelAddresses(self, self.addresses)
        return [DelRouting(self, self.routing[::-1]), gone] if self.routing else [gone]

    def resign(self) -> list[Action]:
        self.counters["pri_zero_sent"] += 1
        self.advert_sent += 1
        return [SendAdvert(self, 0)]

    def leave_with_group(self, now: float) -> Sequence[Action]:
        """MASTER: another member of the sync group has found a better master."""
        return self._leave(WITH_GROUP, now)

    @property
    def linger(self) -> float:
        """How long the addresses answer when we leave and nobody comes.

        Whoever succeeds us does so within its Skew_Time, which is nearly one interval at priority 1; half an interval
        is for what is slow.
        """
        return (self.cfg.advert_int if self.cfg.version == 3 else 1.0) + self.cfg.advert_int / 2

    def _leave(self, event: str, now: float) -> Sequence[Action]:
        """Priority 0 now; the addresses answer until the successor speaks, so that nobody notices."""
        self.leaving = event
        last = self.duties.renew(now) if self.cfg.vip_lifetime else []  # it must not end before the successor speaks
        self.duties.end()
        self.timers.set(self.timer, now + (self.group or self).linger)
        return [*self.resign(), *last]

    def finish_leaving(
        self, now: float, why: str, heard: Heard | None = None, adver_int: float = 0.0
    ) -> Sequence[Action]:
        event, self.leaving = self.leaving, ""
        taken_off = self.take_off()
        may_stay = self.group is None or self.group.may_stay(self, now)
        if heard is None and event != "STOP" and not self.faults and may_stay:
            return self._stay(event, why, now)
        if event == "STOP":
            return [*taken_off, *self._enter(INIT, f"the daemon stops, {why}", now, "STOP")]
        if self.faults:
            return [*taken_off, *self._enter(FAULT, self._fault_text(), now)]
        what = "handover" if event == "BACKUP" else MAINTENANCE
        if event == WITH_GROUP and self.group is not None:
            what = f"with its sync group {self.group.name}"
        return [*taken_off, *self.become_backup(f"{what}, {why}", now, heard, adver_int)]

    def _stay(self, event: str, why: str, now: float) -> Sequence[Action]:
        """Nothing makes us go, and nobody came: an address without an owner would help nobody."""
        self.yielding_until = 0.0
        self.timers.set(self.timer, now + self.cfg.advert_int)
        what = {"BACKUP": "handover", WITH_GROUP: "its sync group left"}.get(event, "maintenance is over")
        line = Log("warning", f"{self.name}: {what}, but {why}: still MASTER")
        # A reload meanwhile has added none.
        with_us = () if self.group is None else self.group.stayed(self, now)
        return [*self.advertise(), *self.put_on(), *self.duties.begin(self.addresses, now), line, *with_us]

    def lost(self, what: str, now: float) -> Sequence[Action]:
        """Somebody took `what` of ours away, and restore_deleted is off: resign, and stand again after Skew_Time."""
        actions = [*self.resign(), *self.let_go(), *self.become_backup(f"somebody removed {what}", now)]
        self.timers.set(self.timer, now + self.skew_time)
        return actions

    # ---- adverts ---------------------------------------------------------------------------------------------

    def on_advert(self, advert: Advert, source: bytes, now: float) -> Sequence[Action]:
        """A valid advert for us arrived. INIT and FAULT do not listen."""
        if self.state is BACKUP:
            return backup.heard(self, advert, source, now)
        if self.state is MASTER:
            return master.heard(self, advert, source, now)
        return ()

    # ---- timers ----------------------------------------------------------------------------------------------

    def _on_timer(self, now: float, due: float) -> Sequence[Action]:
        if self.state is MASTER:
            if self.leaving:
                return self.finish_leaving(now, "nobody took over")
            return master.adver_timer(self, now, due)
        if self.state is BACKUP:
            return backup.master_down(self, now, due)
        return ()

    @property
    def waits(self) -> bool:
        """BACKUP, and would be MASTER by now but for its sync group: its timer has run out."""
        return self.state is BACKUP and self.timer.deadline == inf

    @property
    def follows(self) -> bool:
        """BACKUP, and has a master."""
        heard = self.heard
        return self.state is BACKUP and heard is not None and heard.priority > 0 and not (self.outbids or self.waits)

    # ---- entering and leaving states -------------------------------------------------------------------------

    def become_master(self, reason: str, now: float) -> list[Action]:
        """keepalived's order: the advert first, so that the old owner lets go before we announce.

        With a virtual MAC address both may have it for a moment, and it must be here by the time that the advert, or
        with vmac_xmit_base the announcement, turns the switches to us.
        """
        cfg = self.cfg
        entered = self._enter(MASTER, reason, now)
        self.counters["become_master"] += 1
        self.timers.set(self.timer, now + cfg.advert_int)
        advert = self.advertise()
        actions = self.put_on()
        virtual = cfg.vmac is not None and cfg.vmac.mac
        actions = [*actions, *advert] if virtual else [*advert, *actions]
        if self.addresses:
            actions += self.duties.begin(self.addresses, now)
        return actions + entered

    def become_backup(
        self, reason: str, now: float, heard: Heard | None = None, adver_int: float = 0.0
    ) -> list[Action]:
        was_master = self.state is MASTER
        entered = self._enter(BACKUP, reason, now)
        self.heard = heard
        if adver_int and self.cfg.version == 3:
            self.master_adver_int = adver_int
            self.recompute()
        self.timers.set(self.timer, now + self.master_down_interval)
        if was_master and self.group is not None:
            return entered + self.group.follow(self, now)
        return entered

    def _enter(self, new: State, reason: str, now: float, event: str = "") -> list[Action]:
        """The one place where the state changes: leave the old one, be in the new one, tell."""
        old = self.state
        assert new in LEGAL[old], f"{self.name}: {old.name} -> {new.name}"
        if old is MASTER:
            self.counters["release_master"] += 1
        self.timers.clear(self.timer)
        self.timers.clear(self.delay_timer)
        self.duties.end()
        self.leaving = ""
        self.heard = None
        self.outbids = self.resigned = False
        self.rival = None
        self.master_adver_int = self.cfg.advert_int  # what was learned from the former master is its own
        self.recompute()
        self.state = new
        event = event or new.name
        self.last_transition = LastTransition(old, new, event, reason, now)
        entered: list[Action] = [Transition(self, old, new, event, self.priority, reason)]
        return entered if self.group is None else entered + self.group.tell(reason, event)

    def advertise(self) -> Sequence[Action]:
        """An advert now, made once for each priority and source."""
        self.advert_sent += 1
        return self._steady

    def counts(self) -> dict[str, int]:
        """All counters, the two hot ones included."""
        return {
            **dict.fromkeys(COUNTERS, 0),
            **(dict.fromkeys(AUTH_COUNTERS[self.auth.kind], 0) if self.auth is not None else {}),
            **self.counters,
            "advert_rcvd": self.advert_rcvd,
            "advert_sent": self.advert_sent,
        }

    def clear_counts(self) -> None:
        """The statistics begin anew."""
        self.counters.clear()
        self.advert_rcvd = self.advert_sent = 0
