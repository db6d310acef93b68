"""A virtual router: the state machine of RFC 9568 6.4 with keepalived's fourth state and options.

In: adverts that passed checks.py, its own timers, faults, configuration, operator's wishes; each with `now`. Out:
actions. Whose advert it is says engine.py; what a MASTER owes its segment besides adverts is duties.py's.

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
from enum import Enum
from math import inf
from typing import TYPE_CHECKING, NamedTuple
from zlib import crc32

from vrrpd.model.diff import identity
from vrrpd.model.values import Routing, VirtualAddress
from vrrpd.vrrp import frames
from vrrpd.vrrp.actions import (
    Action,
    AddAddresses,
    AddRouting,
    DelAddresses,
    DelRouting,
    Inherit,
    LetGo,
    Log,
    PriorityChange,
    RxLowerPriority,
    SendAdvert,
    Transition,
)  # fmt: skip
from vrrpd.vrrp.announce import Announcer
from vrrpd.vrrp.auth import Auth, Datagrams, authenticates
from vrrpd.vrrp.duties import Duties
from vrrpd.vrrp.estate import Estate, Holding
from vrrpd.vrrp.links import Link, advert_spec, device_faults, link_faults, source_address
from vrrpd.vrrp.packet import Advert, datagrams
from vrrpd.vrrp.path import FRESH
from vrrpd.vrrp.records import ALL_COUNTERS, AUTH_COUNTERS, COUNTERS, Records, duration, text
from vrrpd.vrrp.timers import Timer, Timers
from vrrpd.vrrp.track import OWNER, Tracking, Verdicts, tracks

if TYPE_CHECKING:
    from vrrpd.model.vrrp import VrrpInstance
    from vrrpd.vrrp.checks import Memo
    from vrrpd.vrrp.groups import SyncGroup


class State(Enum):
    """Where a router is; the values are keepalived's numbers in its JSON."""

    INIT = 0
    BACKUP = 1
    MASTER = 2
    FAULT = 3


# A global is cheaper than the access to a member on the hot path (0.1-0.3 us on 3.9 to 3.11).
INIT, BACKUP, MASTER, FAULT = State.INIT, State.BACKUP, State.MASTER, State.FAULT

LEGAL: dict[State, frozenset[State]] = {
    INIT: frozenset({BACKUP, MASTER, FAULT}),
    BACKUP: frozenset({MASTER, FAULT, INIT}),
    MASTER: frozenset({BACKUP, FAULT, INIT}),
    FAULT: frozenset({BACKUP, MASTER, INIT}),
}

PATIENCE = 3.2  # intervals that an owner gives another one to yield: keepalived's two adverts and 1.2 of them
# Who finds a fault; of the last also the sentence.
LINK, TRACK, GROUP, MAINTENANCE = "link", "track", "group", "maintenance"
WITH_GROUP = "GROUP"  # the event of a planned leave that its sync group began


class LastTransition(NamedTuple):
    """For status."""

    old: State
    new: State
    event: str
    reason: str
    at: float


class Heard(NamedTuple):
    """The advert we last listened to."""

    source: bytes
    priority: int
    at: float


class VirtualRouter:
    """One vrrp_instance at work. The engine owns it; the executor reads name, cfg, spec, link and datagrams."""

    __slots__ = (
        "_announcer", "_datagrams", "_frames", "_steady", "_timers",
        "addresses", "advert_rcvd", "advert_sent", "advertised", "auth", "cfg", "counters", "delay_timer", "duties",
        "faults", "group", "heard", "last_transition", "leaving", "link", "master_adver_int", "master_down_interval",
        "memo", "name", "outbids", "peer_pseudo_header", "priority", "records", "resigned", "rival", "siblings",
        "skew_time", "spec", "state", "timer", "tracking", "virtual_mac", "yielding_until",
    )  # fmt: skip

    def __init__(
        self, cfg: VrrpInstance, timers: Timers, announcer: Announcer, verdicts: Verdicts, offset: float = 0.0
    ) -> None:
        """`offset`: how far the time of day is ahead of the monotonic clock, for those that send it."""
        self._timers = timers
        self._announcer = announcer
        self._datagrams: dict[int, tuple[tuple[bytes, bytes], ...]] = {}
        self._frames: dict[int, tuple[bytes, ...]] = {}
        self._steady: tuple[Action, ...] = ()  # what a MASTER does at each Adver_Timer, made once
        self.records = Records(cfg.name)
        self.counters = self.records.counters
        self.state = INIT
        self.faults: dict[str, str] = {}  # a sentence for people -> who says so
        self.link: Link | None = None
        self.timer = Timer(self._on_timer)  # Adver_Timer as MASTER, Active_Down_Timer as BACKUP
        self.delay_timer = Timer(self._on_preempt_delay)
        self.duties = Duties(self, timers, announcer)
        self.leaving = ""  # a planned leave under way: the event it ends with
        self.group: SyncGroup | None = None  # the engine's
        self.heard: Heard | None = None
        self.outbids = False  # BACKUP: the last advert was a lower one that we do not accept
        self.resigned = False  # BACKUP: the timer runs for Skew_Time after priority 0
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
        self.auth = Auth(cfg, offset) if authenticates(cfg) else None
        self._configure(cfg)

    def __repr__(self) -> str:
        return f"<VirtualRouter {self.name} {self.state.name} {self.priority}>"

    # ---- configuration and addresses -------------------------------------------------------------------------

    def _configure(self, cfg: VrrpInstance) -> None:
        self.cfg = cfg
        self.name = cfg.name
        self.priority = cfg.priority
        self.addresses = cfg.virtual_ipaddress + cfg.virtual_ipaddress_excluded
        self.advertised = sorted(entry.address for entry in cfg.virtual_ipaddress)
        # What adverts leave from instead of the interface's own MAC address, b"" for nothing.
        self.virtual_mac = cfg.vmac.mac if cfg.vmac is not None and not cfg.vmac_xmit_base else b""
        self.spec = advert_spec(cfg, b"")
        if self.auth is not None:
            self.spec = self.spec._replace(seal=self.auth.sends)
        self._spec_changed()
        self.master_adver_int = cfg.advert_int
        self._recompute()

    def _spec_changed(self) -> None:
        self._datagrams.clear()
        self._frames.clear()
        self._steady = (SendAdvert(self, self.priority),)
        self.memo = None

    def follow_sum(self, old: bool) -> None:
        """old_unicast_checksum, found out: what a peer sends it understands."""
        self.spec = self.spec._replace(old_sum=old)
        self._spec_changed()

    def _recompute(self) -> None:
        # RFC 9568 6.1; RFC 3768 6.1: in v2 the skew does not scale with the interval.
        scale = self.master_adver_int if self.cfg.version == 3 else 1.0
        self.skew_time = (256 - self.priority) * scale / 256
        self.master_down_interval = self.cfg.down_timer_adverts * self.master_adver_int + self.skew_time

    @property
    def ifindex(self) -> int:
        """Where it lives now, 0 when its interface does not exist."""
        return self.link.ifindex if self.link else 0

    def datagrams(self, priority: int) -> tuple[tuple[bytes, bytes], ...]:
        """(destination, bytes) of an advert with this priority; made once. Those of a spec with a seal lack it."""
        ready = self._datagrams.get(priority)
        if ready is None:
            ready = self._datagrams[priority] = datagrams(self.spec, priority)
        return ready

    def sealed(self, priority: int, now: float, wall: float) -> Datagrams:
        """The same to be sent now, where the spec has a seal. `wall`: the time of day, epoch seconds."""
        auth = self.auth
        assert auth is not None
        if self.spec.seal is not auth.seal:  # its sequence goes on from a peer's, and so it must for who speaks for us
            self.spec = self.spec._replace(seal=auth.seal)
        return auth.adverts(self.spec, self.datagrams(priority), now, wall)

    def frames(self, priority: int) -> tuple[bytes, ...]:
        """The datagrams as frames from the virtual MAC address."""
        ready = self._frames.get(priority)
        if ready is None:
            ready = self._frames[priority] = self.framed(self.datagrams(priority))
        return ready

    def framed(self, datagrams: Datagrams) -> tuple[bytes, ...]:
        mac, source = self.virtual_mac, self.spec.source
        return tuple(frames.advert(mac, source, to, datagram) for to, datagram in datagrams)

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
            self.spec = self.spec._replace(source=source)
            self._spec_changed()
        faults = link_faults(self.cfg, link, source)
        if self.cfg.vmac is not None and link is not None and link.up:
            down_is_fine = self.cfg.dont_track_primary
            faults |= device_faults(self.cfg.vmac, link, device, refused, down_is_fine)
        actions = self.find(LINK, faults, now)
        if former and link and former.mac != link.mac and self.state is MASTER:
            return [*actions, *self.duties.announce_all(now)]
        return actions

    # ---- from one process to the next --------------------------------------------------------------------------

    def give(self) -> Estate:
        """Stop, and leave everything to a successor. Nothing is forgotten: see `resume`."""
        cfg, last = self.cfg, self.last_transition
        pending, paces = self.duties.give()
        announcing, announce_at = self._announcer.give(self)
        estate = Estate(
            *identity(cfg), cfg.unicast_peer, cfg.name,
            self.state.name, self.leaving, self.faults,
            self.timer.deadline, self.delay_timer.deadline,
            self.heard, self.outbids, self.resigned, self.yielding_until, self.rival,
            pending, paces, announcing, announce_at, self.peer_pseudo_header, self.spec.old_sum,
            None if last is None else (last.old.name, last.new.name, *last[2:]),
            {name: count for name, count in self.counts().items() if count}, self.records.give(), (),
            None if self.auth is None else self.auth.give(),
            self._checksum(), cfg.advert_int, self.master_adver_int, self.master_down_interval,
            cfg.preempt, cfg.preempt_delay, cfg.garp_master_refresh, cfg.vip_lifetime, self.addresses,
            self.tracking.inherited if self.tracking is not None else 0,
            "" if self.group is None else self.group.told.name, self.routing,
        )  # fmt: skip
        self._timers.clear(self.timer)
        self._timers.clear(self.delay_timer)
        self.memo = None
        return estate

    def _checksum(self) -> int:
        """Of what we send: another one is told to the peers at once."""
        return crc32(b"".join(part for datagram in self.datagrams(self.priority) for part in datagram))

    def resume(self, estate: Estate) -> None:
        """Nobody took it after all: the timers go on."""
        for timer, deadline in ((self.timer, estate.timer), (self.delay_timer, estate.delay_timer)):
            if deadline != inf:
                self._timers.set(timer, deadline)
        self.duties.take(estate.pending, estate.paces)
        self._announcer.take(self, estate.announcing, estate.announce_at)

    def take(self, estate: Estate, now: float) -> list[Action]:
        """From INIT: be what another process was, then apply what our configuration and our link differ in."""
        if self.tracking is not None and 0 < estate.priority < OWNER:  # an owner's was no effective one
            self.tracking.inherited = estate.priority
            self.judge(now)
        faults, self.faults = self.faults, dict(estate.faults)
        self.state, self.leaving = State[estate.state], estate.leaving
        self.heard = Heard(*estate.heard) if estate.heard else None
        self.outbids, self.resigned, self.yielding_until = estate.outbids, estate.resigned, estate.yielding_until
        self.rival = estate.rival
        self.peer_pseudo_header = estate.pseudo_header
        if estate.old_sum and self.cfg.unicast_peer and not self.cfg.old_unicast_checksum:
            self.follow_sum(True)
        if estate.last_transition is not None:
            old, new, event, reason, at = estate.last_transition
            self.last_transition = LastTransition(State[old], State[new], event, reason, at)
        counters = dict(estate.counters)
        self.advert_rcvd, self.advert_sent = counters.pop("advert_rcvd", 0), counters.pop("advert_sent", 0)
        self.counters.update((key, value) for key, value in counters.items() if key in ALL_COUNTERS)
        self.records.take(estate.said)
        if self.auth is not None and estate.auth is not None:
            self.auth.take(estate.auth)
            self.spec = self.spec._replace(seal=self.auth.sends)
        # Whoever has heard a master goes on counting in that one's interval (RFC 9568 6.4.2), not in its own new one.
        if self.state is BACKUP and self.cfg.version == 3 and estate.heard is not None:
            self.master_adver_int = estate.interval
            self._recompute()
        self.resume(estate)
        if self.group is not None and estate.group:
            self.group.told = State[estate.group]
        elif self.waits:  # for a sync group that it is in no longer
            self._timers.set(self.timer, now + self.master_adver_int + self.skew_time)
        actions: list[Action] = [Inherit(self, estate.held, estate.laid)] if estate.held or estate.laid else []
        return [*actions, *self._differ(estate, now), *self._set_faults(faults, now)]

    def _differ(self, estate: Estate, now: float) -> list[Action]:
        """A reload changed something, but not what we are: apply the difference, go on (no priority 0)."""
        cfg = self.cfg
        if self.state is BACKUP:
            if not self._follow_after_all() and not self.resigned:
                self._shift(estate.down_interval, self.master_down_interval, now)
            if (cfg.preempt, cfg.preempt_delay) != (estate.preempt, estate.preempt_delay):
                self._timers.clear(self.delay_timer)
            return []
        if self.state is not MASTER:
            return []
        actions: list[Action] = []
        former = self._recognized(estate.held) if estate.addresses is None else estate.addresses
        gone = tuple(entry for entry in former if entry not in self.addresses)
        new = tuple(entry for entry in self.addresses if entry not in former)
        ways = self.routing
        lost = tuple(entry for entry in reversed(estate.routing) if entry not in ways)
        if lost:  # before the addresses that they may lead from
            actions.append(DelRouting(self, lost))
        if self.leaving:
            return [*actions, DelAddresses(self, gone)] if gone else actions
        due, interval = self.timer.deadline, estate.advert_int or cfg.advert_int
        if self._deposed(now, due, interval):
            return [*actions, *([DelAddresses(self, gone)] if gone else []), *self._step_down(now, due)]
        if self._checksum() != estate.advert or cfg.advert_int != estate.advert_int:
            actions += self.advertise()
            if self._overslept(now, due, interval):
                actions += self.duties.wake(now)
            self._timers.set(self.timer, now + cfg.advert_int)
        if gone:
            actions.append(DelAddresses(self, gone))
        if new:
            actions.append(AddAddresses(self, new))
            actions += self.duties.begin(new, now)
        if ways:  # those from an address that is gone the kernel has taken along
            again = gone or new
            fresh = tuple(entry for entry in ways if entry not in estate.routing or (again and not entry.no_track))
            actions += [AddRouting(self, fresh)] if fresh else []
        if cfg.vip_lifetime != estate.lifetime:
            actions += self.duties.renew(now)
        if cfg.garp_master_refresh != estate.refresh:
            self.duties.set_refresh(now)
        self.duties.set_extra(now)
        return actions

    def _follow_after_all(self) -> bool:
        """BACKUP: what we heard and did not accept is our master's from now on, as we are configured or weigh now."""
        cfg, heard, keeps = self.cfg, self.heard, not self.cfg.preempt and self.priority != OWNER
        delays = cfg.preempt_delay and not self.waits  # for whoever waits for its sync group the delay is over
        if not self.outbids or heard is None or not (heard.priority >= self.priority or keeps or delays):
            return False
        self.outbids = False
        self._timers.set(self.timer, heard.at + self.master_down_interval)
        return True

    def _shift(self, former: float, new: float, now: float) -> None:
        """BACKUP: the running timer, as keepalived does. One that is overdue stays so: how late is yet to be judged."""
        if former != new and self.timer.deadline > now:
            self._timers.set(self.timer, max(now, self.timer.deadline + new - former))

    def _recognized(self, held: Sequence[Holding]) -> tuple[VirtualAddress, ...]:
        """What lies in the kernel, as our configuration says it."""
        known = {(entry.address, entry.prefixlen): entry for entry in self.addresses}
        return tuple(
            known.get(
                (here.address, here.prefixlen), VirtualAddress(here.address, here.prefixlen, peer=here.peer or None)
            )
            for here in held
        )

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
        return self._become_backup(reason, now)

    def find(self, source: str, faults: Iterable[str], now: float) -> Sequence[Action]:
        """All that `source` (LINK, ...) has against this router from now on, as sentences; none: it is content."""
        others = {fault: by for fault, by in self.faults.items() if by != source}
        former = self.faults
        actions = self._set_faults({**others, **dict.fromkeys(faults, source)}, now)
        if self.group is not None and source != GROUP and self.faults != former:
            return [*actions, *self.group.find(self, now)]
        return actions

    def judge(self, now: float, reason: str = "") -> Sequence[Action]:
        """What it tracks says something new, `reason`: priority and faults follow, and a start that waited for it."""
        tracking = self.tracking
        assert tracking is not None
        actions = [] if self.cfg.priority == OWNER else self._weigh(tracking.priority(self.cfg.priority), now, reason)
        faults, awaited = tracking.faults(), tracking.awaited()
        if self.state is FAULT:
            faults.update(awaited)
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
        self._datagrams.pop(former, None)
        self._frames.pop(former, None)
        self._steady = (SendAdvert(self, priority),)
        skew_time = self.skew_time
        self._recompute()
        if self.state is INIT:
            return []
        if self.state is BACKUP and not self._follow_after_all():
            self._shift(skew_time, self.skew_time, now)
        return [PriorityChange(self, former, priority, reason)]

    def _set_faults(self, faults: dict[str, str], now: float) -> Sequence[Action]:
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
            return () if faults.keys() == {MAINTENANCE} else self._finish_leaving(now, self._fault_text())
        if self.state is MASTER and faults.keys() == {MAINTENANCE}:
            return self._leave("FAULT", now)
        return self._fault(now)

    def _fault(self, now: float) -> list[Action]:
        actions: list[Action] = []
        if self.state is MASTER:
            if self.link is not None and self.link.up:
                actions += self._resign()
            actions += self._let_go()
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

    def delete(self, now: float) -> Sequence[Action]:
        """Gone from the configuration."""
        self._hold_no_start()
        if self.state is INIT:
            return ()
        actions: list[Action] = []
        if self.state is MASTER:
            if not self.leaving:
                actions += self._resign()
            actions += self._let_go()
        return actions + self._enter(INIT, "removed from the configuration", now, "DELETED")

    def _hold_no_start(self) -> None:
        if self.tracking is not None:
            self.tracking.held = False

    def _let_go(self) -> list[Action]:
        """The addresses at once, and then the word to the peers beside the segment."""
        return [*self._take_off(), LetGo(self)] if self.cfg.peer_path else self._take_off()

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

    def _take_off(self) -> list[Action]:
        """The same in the reverse order."""
        gone = DelAddresses(self, self.addresses)
        return [DelRouting(self, self.routing[::-1]), gone] if self.routing else [gone]

    def _resign(self) -> list[Action]:
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
        self._timers.set(self.timer, now + (self.group or self).linger)
        return [*self._resign(), *last]

    def _finish_leaving(
        self, now: float, why: str, heard: Heard | None = None, adver_int: float = 0.0
    ) -> Sequence[Action]:
        event, self.leaving = self.leaving, ""
        taken_off = self._take_off()
        may_stay = self.group is None or self.group.may_stay(self)
        if heard is None and event != "STOP" and not self.faults and may_stay:
            return self._stay(event, why, now)
        if event == "STOP":
            return [*taken_off, *self._enter(INIT, f"the daemon stops, {why}", now, "STOP")]
        if self.faults:
            return [*taken_off, *self._enter(FAULT, self._fault_text(), now)]
        what = "handover" if event == "BACKUP" else MAINTENANCE
        if event == WITH_GROUP and self.group is not None:
            what = f"with its sync group {self.group.name}"
        return [*taken_off, *self._become_backup(f"{what}, {why}", now, heard, adver_int)]

    def _stay(self, event: str, why: str, now: float) -> Sequence[Action]:
        """Nothing makes us go, and nobody came: an address without an owner would help nobody."""
        self.yielding_until = 0.0
        self._timers.set(self.timer, now + self.cfg.advert_int)
        what = {"BACKUP": "handover", WITH_GROUP: "its sync group left"}.get(event, "maintenance is over")
        line = Log("warning", f"{self.name}: {what}, but {why}: still MASTER")
        # A reload meanwhile has added none.
        with_us = () if self.group is None else self.group.stayed(self, now)
        return [*self.advertise(), *self.put_on(), *self.duties.begin(self.addresses, now), line, *with_us]

    def lost(self, what: str, now: float) -> Sequence[Action]:
        """Somebody took `what` of ours away, and restore_deleted is off: resign, and stand again after Skew_Time."""
        actions = [*self._resign(), *self._let_go(), *self._become_backup(f"somebody removed {what}", now)]
        self._timers.set(self.timer, now + self.skew_time)
        return actions

    # ---- adverts ---------------------------------------------------------------------------------------------

    def on_advert(self, advert: Advert, source: bytes, now: float) -> Sequence[Action]:
        """A valid advert for us arrived. INIT and FAULT do not listen."""
        if self.state is BACKUP:  # RFC 9568 6.4.2
            if advert.priority == 0:
                return self._master_resigned(source, now)
            if advert.priority < self.priority and not self._tolerates(advert, source, now):
                return ()  # the timer keeps running: we take over when it ends
            actions: Sequence[Action] = ()
            heard = self.heard
            if heard is None or heard.source != source:
                actions = self._new_master(advert, source, now)
                if self.group is not None:
                    actions = [*actions, *self.group.follow(self, now)]
            if advert.adver_int != self.master_adver_int and self.cfg.version == 3:
                actions = [*actions, *self._learn(advert, source, now)]
            if self.delay_timer.deadline != inf and advert.priority >= self.priority:
                self._timers.clear(self.delay_timer)
            self.outbids = self.resigned = False
            self.heard = Heard(source, advert.priority, now)
            self._timers.set(self.timer, now + self.master_down_interval)
            return actions
        if self.state is MASTER:
            return self._heard_as_master(advert, source, now)
        return ()

    def _master_resigned(self, source: bytes, now: float) -> Sequence[Action]:
        self.counters["pri_zero_rcvd"] += 1
        self._timers.clear(self.delay_timer)
        if self.resigned:  # said again, or forged, it does not extend what is running
            return ()
        self.resigned, self.outbids = True, False
        self.heard = Heard(source, 0, now)
        self._timers.set(self.timer, now + self.skew_time)
        return ()

    def on_let_go(self, source: bytes, wait: float, age: float, now: float) -> Sequence[Action]:
        """The second path: `source` holds nothing any more. As its priority 0, but the order of succession is given.

        Believed of the master that we follow, and only while it cannot have won MASTER back: whoever let go listens
        for one interval at least (down_timer_adverts 1). A takeover that is due earlier stays so.
        """
        heard = self.heard
        if self.state is not BACKUP or heard is None or heard.source != source:
            return ()
        if age > min(FRESH, self.master_adver_int):
            return ()
        self._timers.clear(self.delay_timer)
        self.resigned, self.outbids = True, False
        self.heard = Heard(source, 0, now)
        self._timers.set(self.timer, min(self.timer.deadline, now + wait))
        if self.records.hushed("let_go", now, gap=1.0):
            return ()
        return self.records.line("info", "let_go", f"{text(source)} has let go, it says over the second path")

    def _tolerates(self, advert: Advert, source: bytes, now: float) -> bool:
        """BACKUP, lower priority heard: do we leave it in place? (Preempt_Mode, preempt_delay, a handover)"""
        if now < self.yielding_until:
            self.yielding_until = 0.0
            return True
        if not self.cfg.preempt and self.priority != OWNER:
            return True
        if self.cfg.preempt_delay > 0:
            if self.waits and self.outbids:  # it is over: our sync group is not there yet
                self.heard = Heard(source, advert.priority, now)
                return False
            if self.delay_timer.deadline == inf:  # the first lower advert arms it, later ones do not
                self._timers.set(self.delay_timer, now + self.cfg.preempt_delay)
            return True
        self.outbids = True
        self.heard = Heard(source, advert.priority, now)
        return False

    def _learn(self, advert: Advert, source: bytes, now: float) -> Sequence[Action]:
        """RFC 9568 6.4.2: a v3 backup counts in its master's interval."""
        self.master_adver_int = advert.adver_int
        self._recompute()
        if advert.adver_int == self.cfg.advert_int:
            return ()
        if self.records.hushed("interval", now):
            return ()
        return self.records.line(
            "warning" if advert.adver_int > 10 * self.cfg.advert_int else "info",
            "interval",
            f"{text(source)} adverts every {advert.adver_int:g} s, ours is {self.cfg.advert_int:g} s: "
            f"takeover now after {duration(self.master_down_interval)}",
        )

    def _new_master(self, advert: Advert, source: bytes, now: float) -> Sequence[Action]:
        self.yielding_until = 0.0
        if self.heard is not None:
            self.counters["master_changes"] += 1
        if self.records.hushed("master", now, gap=1.0):
            return ()
        return self.records.line("info", "master", f"master is {text(source)}, priority {advert.priority}")

    def _heard_as_master(self, advert: Advert, source: bytes, now: float) -> Sequence[Action]:
        """RFC 9568 6.4.3."""
        if source == self.spec.source:
            self.counters["own_advert"] += 1
            if self.records.hushed("own_advert", now):
                return ()
            return self.records.line(
                "warning",
                "own_advert",
                f"heard an advert with our own address {text(source)}: it was looped back, or another host has it too",
            )
        if self.leaving:
            if advert.priority == 0:
                return ()
            self.yielding_until = 0.0
            successor = Heard(source, advert.priority, now)
            return self._finish_leaving(now, f"{text(source)} took over", successor, advert.adver_int)
        if self._deposed(now, self.timer.deadline, self.cfg.advert_int):  # what was read first says who it is
            followed = Heard(source, advert.priority, now) if advert.priority else None
            return self._step_down(now, self.timer.deadline, followed, advert.adver_int)
        if advert.priority == 0:
            self.counters["pri_zero_rcvd"] += 1
            announced = self.duties.rival_heard(now)
            if not self.duties.may_answer(now):
                return announced
            self._timers.set(self.timer, now + self.cfg.advert_int)
            return [*self.advertise(), *announced]
        if self.priority == OWNER and (advert.priority == OWNER or self.cfg.owner_ignore_adverts):
            return self._heard_as_owner(advert, source, now)
        if advert.priority > self.priority or (advert.priority == self.priority and source > self.spec.source):
            return self._outbid(advert, source, now)
        return self._lower_heard(advert, source, now)

    def _heard_as_owner(self, advert: Advert, source: bytes, now: float) -> Sequence[Action]:
        """MASTER and owner. Of two owners one gives in, whatever the other one is (RFC 9568 erratum 8298).

        The lower address does at once. The higher one when the other is still there after PATIENCE: it may be deaf to
        us. owner_ignore_adverts takes two more of these: whoever can yield has done so by then, and an address with
        two owners for good would be worse than one that is ignored no longer.
        """
        ignoring, higher = self.cfg.owner_ignore_adverts, source > self.spec.source
        if advert.priority == OWNER:
            interval = max(self.cfg.advert_int, advert.adver_int)
            since, last = self.rival or (now, now)
            if now - last > 3 * interval:
                since = now  # it was gone meanwhile
            self.rival = since, now
            if now - since >= PATIENCE * interval * (2 * ignoring + (not higher)):
                return self._outbid(advert, source, now)
        if not ignoring:
            return self._lower_heard(advert, source, now)
        self.counters["ignored"] += 1
        announced = self.duties.answer(now) or ()  # the other one may have misled the neighbours
        if self.records.hushed("ignored", now):
            return announced
        level = "error" if advert.priority == OWNER else "info"
        message = f"ignored priority {advert.priority} from {text(source)} (owner_ignore_adverts)"
        return [*announced, *self.records.line(level, "ignored", message)]

    def _outbid(self, advert: Advert, source: bytes, now: float) -> Sequence[Action]:
        last_priority = self.priority
        if advert.priority > self.priority:
            reason = f"heard priority {advert.priority} from {text(source)}, ours is {self.priority}"
        elif self.priority == OWNER and (source < self.spec.source or self.cfg.owner_ignore_adverts):
            since = self.rival[0] if self.rival else now
            reason = f"another owner, {text(source)}, has not yielded for {duration(now - since)}"
            last_priority -= 1  # or the other one might yield to this
        else:
            reason = (
                f"heard equal priority {advert.priority} from {text(source)}, "
                f"a higher address than ours, {text(self.spec.source)}"
            )
        # keepalived only with higher_prio_send_advert. Always here: after a healed partition the winner may
        # never have heard of us, while the neighbours' caches point at us; our last advert makes it announce.
        # Not in strict mode, whose winner would not announce for it.
        actions: list[Action] = self._take_off()
        if not self.cfg.strict_mode:
            self.advert_sent += 1
            actions.insert(0, SendAdvert(self, last_priority, True))
        if advert.priority == self.priority == OWNER and not self.records.hushed("owner", now):
            actions += self.records.line("error", "owner", f"{text(source)} claims priority 255 as we do")
        actions += self._become_backup(reason, now, Heard(source, advert.priority, now), advert.adver_int)
        return actions

    def _lower_heard(self, advert: Advert, source: bytes, now: float) -> Sequence[Action]:
        """Two masters, and we are the better one."""
        self.counters["lower_priority_rcvd"] += 1
        answer = self.duties.answer(now)
        if answer is None:
            return ()
        actions: list[Action] = [RxLowerPriority(self, source, advert.priority), *answer]
        if self.group is not None:
            actions += self.group.announce(self, now)
        if not self.records.hushed("lower", now):
            how = "lower" if advert.priority < self.priority else "equal"
            level = "error" if advert.priority == OWNER else "info"  # an owner is the only one (erratum 8298)
            answered = "" if self.cfg.lower_prio_no_advert else ", answered"
            actions += self.records.line(
                level, "lower", f"heard {how} priority {advert.priority} from {text(source)}{answered}"
            )
        return actions

    # ---- timers ----------------------------------------------------------------------------------------------

    def _on_timer(self, now: float, due: float) -> Sequence[Action]:
        if self.state is MASTER:
            if self.leaving:
                return self._finish_leaving(now, "nobody took over")
            following = due + self.cfg.advert_int  # from the deadline: no drift; after a stall: no burst
            self._timers.set(self.timer, following if following > now else now + self.cfg.advert_int)
            if self._overslept(now, due, self.cfg.advert_int):
                if self._deposed(now, due, self.cfg.advert_int):
                    return self._step_down(now, due)
                return [*self.advertise(), *self.duties.wake(now)]
            return self.advertise()
        if self.state is BACKUP:
            return self._master_down(now, due)
        return ()

    def _overslept(self, now: float, due: float, interval: float) -> bool:
        """So late that another may have been MASTER meanwhile, and may be gone again: its announcements stand."""
        return now - due > (self.cfg.down_timer_adverts - 1) * interval

    def _deposed(self, now: float, due: float, interval: float) -> bool:
        """timer_expired_backup: so late that one of that priority has taken over, if there is one.

        It waits for down_timer_adverts intervals and its skew time from our last advert, an interval before `due`.
        """
        highest = self.cfg.timer_expired_backup
        skew_time = (256 - highest) * (interval if self.cfg.version == 3 else 1.0) / 256
        return highest > 0 and now - due > (self.cfg.down_timer_adverts - 1) * interval + skew_time

    def _step_down(
        self, now: float, due: float, heard: Heard | None = None, adver_int: float = 0.0
    ) -> Sequence[Action]:
        """Priority 0 all the same: a new master answers it and announces again, else one comes sooner."""
        reason = f"woke up {duration(now - due)} late: another has taken over by now (timer_expired_backup)"
        return [*self._resign(), *self._let_go(), *self._become_backup(reason, now, heard, adver_int)]

    def _master_down(self, now: float, due: float) -> Sequence[Action]:
        if now - due > self.master_adver_int:
            # We slept: the silence may be ours. A live master is heard within one interval; only then take over.
            self._timers.set(self.timer, now + self.master_adver_int + self.skew_time)
            if self.records.hushed("stall", now):
                return ()
            return self.records.line("warning", "stall", f"woke up {duration(now - due)} late, listening once more")
        if now < self.yielding_until:
            self._timers.set(self.timer, self.yielding_until)
            return ()
        if self.group is not None:
            return self.group.wants(self, now)
        return self.become_master(self.why_master(now), now)

    @property
    def waits(self) -> bool:
        """BACKUP, and would be MASTER by now but for its sync group: its timer has run out."""
        return self.state is BACKUP and self.timer.deadline == inf

    @property
    def follows(self) -> bool:
        """BACKUP, and has a master."""
        heard = self.heard
        return self.state is BACKUP and heard is not None and heard.priority > 0 and not (self.outbids or self.waits)

    def why_master(self, now: float) -> str:
        """BACKUP whose timer has run out: a sentence."""
        heard = self.heard
        if heard is None:
            return f"no advert heard for {duration(self.master_down_interval)}"
        if self.outbids:
            return f"preempting {text(heard.source)}, its priority {heard.priority} is below ours, {self.priority}"
        if heard.priority == 0:
            return f"{text(heard.source)} resigned"
        return f"no advert from {text(heard.source)} for {duration(now - heard.at)}"

    def _on_preempt_delay(self, now: float, due: float) -> Sequence[Action]:
        heard = self.heard
        if self.state is not BACKUP or heard is None or heard.priority >= self.priority:
            return ()
        if now - due > self.master_adver_int:
            # We slept, and who is MASTER by now is not known. It is heard within one interval; only then take over.
            self._timers.set(self.delay_timer, now + self.master_adver_int)
            return ()
        if self.group is not None:
            self.outbids = True
            return self.group.wants(self, now)
        return self.become_master(
            f"preempting {text(heard.source)}, its priority {heard.priority} is below ours, {self.priority}, "
            f"preempt_delay {self.cfg.preempt_delay:g} s is over",
            now,
        )

    # ---- entering and leaving states -------------------------------------------------------------------------

    def become_master(self, reason: str, now: float) -> list[Action]:
        """keepalived's order: the advert first, so that the old owner lets go before we announce.

        With a virtual MAC address both may have it for a moment, and it must be here by the time that the advert, or
        with vmac_xmit_base the announcement, turns the switches to us.
        """
        cfg = self.cfg
        entered = self._enter(MASTER, reason, now)
        self.counters["become_master"] += 1
        self._timers.set(self.timer, now + cfg.advert_int)
        advert = self.advertise()
        actions = self.put_on()
        virtual = cfg.vmac is not None and cfg.vmac.mac
        actions = [*actions, *advert] if virtual else [*advert, *actions]
        if self.addresses:
            actions += self.duties.begin(self.addresses, now)
        return actions + entered

    def _become_backup(
        self, reason: str, now: float, heard: Heard | None = None, adver_int: float = 0.0
    ) -> list[Action]:
        was_master = self.state is MASTER
        entered = self._enter(BACKUP, reason, now)
        self.heard = heard
        if adver_int and self.cfg.version == 3:
            self.master_adver_int = adver_int
            self._recompute()
        self._timers.set(self.timer, now + self.master_down_interval)
        if was_master and self.group is not None:
            return entered + self.group.follow(self, now)
        return entered

    def _enter(self, new: State, reason: str, now: float, event: str = "") -> list[Action]:
        """The one place where the state changes: leave the old one, be in the new one, tell."""
        old = self.state
        assert new in LEGAL[old], f"{self.name}: {old.name} -> {new.name}"
        if old is MASTER:
            self.counters["release_master"] += 1
        self._timers.clear(self.timer)
        self._timers.clear(self.delay_timer)
        self.duties.end()
        self.leaving = ""
        self.heard = None
        self.outbids = self.resigned = False
        self.rival = None
        self.master_adver_int = self.cfg.advert_int  # what was learned from the former master is its own
        self._recompute()
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
