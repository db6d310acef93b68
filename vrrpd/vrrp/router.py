"""A virtual router: the state machine of RFC 9568 6.4 with keepalived's fourth state and options.

In: adverts that passed engine.py's checks, its own timers, faults, configuration, operator's wishes; each
with `now`. Out: actions. Which advert is whose, and what is a valid one, is engine.py's and packet.py's.

Names: configuration, states and events carry keepalived's words, intervals and timers the RFC's. RFC 9568
renamed two of them; everywhere else in the code it is the left column:

    MASTER, master_down_interval, master_adver_int   Active, Active_Down_Interval, Active_Adver_Interval
    BACKUP                                           Backup
    INIT                                             Initialize
    FAULT                                            Initialize, for as long as `faults` is not empty

              start, owner                      no advert heard, or preempt_delay passed
      INIT ------------------> MASTER <------------------------- BACKUP
       |  \\                     |  \\-------- outbid, handover ----->  ^  |
       |   \\---------------------------------- start ---------------/  |
       |                         | a fault                             | a fault
       +-------- a fault ------> FAULT <-------------------------------+      and every state goes to INIT when
                                 | cleared: as a start                        the daemon stops or the instance goes

State changes in `_enter` only. A rejected packet never comes here, so it can touch no timer.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum
from ipaddress import ip_address
from math import inf
from typing import NamedTuple

from vrrpd.model.vrrp import AF_INET, VirtualAddress, VrrpInstance
from vrrpd.vrrp.actions import Action, AddAddresses, DelAddresses, Log, RxLowerPriority, SendAdvert, Transition
from vrrpd.vrrp.announce import Announcer
from vrrpd.vrrp.links import Link, link_faults, source_address
from vrrpd.vrrp.packet import ADDRESS_LENGTH, AUTH_NONE, AUTH_SIMPLE, Advert, AdvertSpec, datagrams
from vrrpd.vrrp.timers import Timer, Timers


class State(Enum):
    """Where a router is; the values are keepalived's numbers in its JSON."""

    INIT = 0
    BACKUP = 1
    MASTER = 2
    FAULT = 3


INIT, BACKUP, MASTER, FAULT = (
    State.INIT,
    State.BACKUP,
    State.MASTER,
    State.FAULT,
)  # a global is cheaper than Enum access

LEGAL: dict[State, frozenset[State]] = {
    INIT: frozenset({BACKUP, MASTER, FAULT}),
    BACKUP: frozenset({MASTER, FAULT, INIT}),
    MASTER: frozenset({BACKUP, FAULT, INIT}),
    FAULT: frozenset({BACKUP, MASTER, INIT}),
}

OWNER = 255
MCAST_GROUP = {4: b"\xe0\x00\x00\x12", 16: b"\xff\x02" + bytes(13) + b"\x12"}  # 224.0.0.18, ff02::12
MAINTENANCE = "maintenance"

COUNTERS = (  # keepalived's names where its JSON has one; in the order of the checks
    "advert_rcvd", "advert_sent", "become_master", "release_master", "pri_zero_rcvd", "pri_zero_sent",
    "packet_len_err", "ip_ttl_err", "version_err", "invalid_type_rcvd", "checksum_err", "destination_err",
    "source_err", "invalid_authtype", "authtype_mismatch", "auth_failure", "advert_interval_err",
    "addr_list_err", "own_advert", "lower_priority_rcvd", "master_changes",
)  # fmt: skip

# What a MASTER has yet to do, by the name of the keyword that asks for it.
REPEAT, REFRESH, LOWER, ANSWER, RESTORE = "garp_master_delay", "refresh", "garp_lower_prio_delay", "answer", "restore"

LOG_GAP = 60.0  # the same complaint of one router is logged once in this time
ANSWER_GAP = 0.02  # lower adverts are answered at once, then at growing gaps up to ANSWER_GAP_MAX
ANSWER_GAP_MAX = 1.0
RESTORE_GAP = 0.1


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


class Memo(NamedTuple):
    """A datagram that passed every check: the same one again needs none."""

    data: bytes
    source: bytes
    destination: bytes
    ttl: int
    advert: Advert


NO_MEMO = Memo(b"", b"", b"", 0, Advert(0, 0, 0, 0.0, b""))


def text(address: bytes) -> str:
    """A packed address for people."""
    return str(ip_address(address))


def duration(seconds: float) -> str:
    """A time for people."""
    return f"{seconds:.2f} s" if seconds >= 1 else f"{seconds:.3f} s"


class VirtualRouter:
    """One vrrp_instance at work. The engine owns it; the executor reads name, cfg, spec, link and datagrams."""

    __slots__ = (
        "_announcer", "_datagrams", "_log_after", "_steady", "_timers",
        "addresses", "advert_rcvd", "advert_sent", "advertised", "answer_at", "answer_gap", "cfg", "counters",
        "delay_timer", "faults", "heard", "last_transition", "later", "later_timer", "leaving", "link",
        "master_adver_int", "master_down_interval", "memo", "name", "outbids", "peer_pseudo_header", "priority",
        "resigned", "restore_at", "siblings", "skew_time", "spec", "state", "timer", "transitions", "yielding_until",
    )  # fmt: skip

    def __init__(self, cfg: VrrpInstance, timers: Timers, announcer: Announcer) -> None:
        self._timers = timers
        self._announcer = announcer
        self._datagrams: dict[int, tuple[tuple[bytes, bytes], ...]] = {}
        self._steady: tuple[Action, ...] = ()  # what a MASTER does at each Adver_Timer, made once
        self._log_after: dict[str, tuple[float, int]] = {}
        self.state = INIT
        self.faults: set[str] = set()
        self.link: Link | None = None
        self.timer = Timer(self._on_timer)  # Adver_Timer as MASTER, Active_Down_Timer as BACKUP
        self.delay_timer = Timer(self._on_preempt_delay)
        self.later_timer = Timer(self._on_later)
        self.later: dict[str, float] = {}
        self.leaving = ""  # a planned leave under way: the event it ends with
        self.heard: Heard | None = None
        self.outbids = False  # BACKUP: the last advert was a lower one that we do not accept
        self.resigned = False  # BACKUP: the timer runs for Skew_Time after priority 0
        self.yielding_until = 0.0  # BACKUP after a handover: no preemption before
        self.answer_at = 0.0
        self.answer_gap = ANSWER_GAP
        self.restore_at = 0.0
        self.peer_pseudo_header: bool | None = None  # v3 IPv4: which checksum the peer makes
        self.memo = NO_MEMO
        self.siblings: tuple[VirtualRouter, ...] = ()  # others with our VRID on our interface (unicast)
        self.last_transition: LastTransition | None = None
        self.transitions = 0
        self.advert_rcvd = 0
        self.advert_sent = 0
        self.counters = dict.fromkeys(COUNTERS, 0)
        self._configure(cfg, b"")

    def __repr__(self) -> str:
        return f"<VirtualRouter {self.name} {self.state.name} {self.priority}>"

    # ---- configuration and addresses -------------------------------------------------------------------------

    def _configure(self, cfg: VrrpInstance, source: bytes, learned: bool = False) -> None:
        self.cfg = cfg
        self.name = cfg.name
        self.priority = cfg.priority
        self.addresses = cfg.virtual_ipaddress + cfg.virtual_ipaddress_excluded
        self.advertised = sorted(entry.address for entry in cfg.virtual_ipaddress)
        self.spec = make_spec(cfg, source)
        self._spec_changed()
        if not learned or cfg.version == 2:
            self.master_adver_int = cfg.advert_int
        self._recompute()

    def _spec_changed(self) -> None:
        self._datagrams.clear()
        self._steady = (SendAdvert(self, self.priority),)
        self.memo = NO_MEMO

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
        """(destination, bytes) of an advert with this priority; made once."""
        ready = self._datagrams.get(priority)
        if ready is None:
            ready = self._datagrams[priority] = datagrams(self.spec, priority)
        return ready

    def owns(self, address: VirtualAddress) -> bool:
        """Is it for us to announce and keep this address now?"""
        return self.state is MASTER and not self.leaving and address in self.addresses

    def set_link(self, link: Link | None, virtual: frozenset[bytes], now: float) -> Sequence[Action]:
        """The current picture of our interface, and the virtual addresses that are nobody's primary one."""
        former, self.link = self.link, link
        source = source_address(self.cfg, link, virtual) if link else None
        if source and source != self.spec.source:
            # The next advert has the new source, checksum and tie-break follow (RFC 9568 5.1.1.1).
            self.spec = self.spec._replace(source=source)
            self._spec_changed()
        faults = link_faults(self.cfg, link, source)
        if MAINTENANCE in self.faults:
            faults.add(MAINTENANCE)
        actions = self._set_faults(faults, now)
        if former and link and former.mac != link.mac and self.state is MASTER:
            return [*actions, *self._announce(self.addresses, self.cfg.garp_master_repeat, now)]
        return actions

    def reconfigure(self, cfg: VrrpInstance, now: float) -> list[Action]:
        """A reload changed something, but not what we are: apply the difference, go on (no priority 0)."""
        old, old_spec, old_down = self.cfg, self.spec, self.master_down_interval
        old_priority, old_addresses = self.priority, self.addresses
        self._configure(cfg, old_spec.source, self.state is BACKUP and self.master_adver_int != old.advert_int)
        if self.state is BACKUP:
            if self.timer.deadline != inf and not self.resigned:  # keepalived shifts the running timer
                self._timers.set(self.timer, max(now, self.timer.deadline + self.master_down_interval - old_down))
            return []
        if self.state is not MASTER:
            return []
        actions: list[Action] = []
        gone = tuple(entry for entry in old_addresses if entry not in self.addresses)
        new = tuple(entry for entry in self.addresses if entry not in old_addresses)
        if self.leaving:
            return [DelAddresses(self, gone)] if gone else []
        if self.spec != old_spec or self.priority != old_priority:
            actions += self._advertise(now)
            self._timers.set(self.timer, now + cfg.advert_int)
        if gone:
            actions.append(DelAddresses(self, gone))
        if new:
            actions.append(AddAddresses(self, new))
            actions += self._announce(new, cfg.garp_master_repeat, now)
            if cfg.garp_master_delay > 0:
                self._do_later(REPEAT, now + cfg.garp_master_delay)
        if cfg.garp_master_refresh != old.garp_master_refresh:
            self.later.pop(REFRESH, None)
            if cfg.garp_master_refresh > 0:
                self._do_later(REFRESH, now + cfg.garp_master_refresh)
        return actions

    # ---- start, faults, leaving ------------------------------------------------------------------------------

    def start(self, now: float, reason: str = "start") -> Sequence[Action]:
        """From INIT, or from FAULT when its last cause is gone. RFC 9568 6.4.1."""
        if self.faults:
            return [self._enter(FAULT, self._fault_text(), now)]
        # keepalived: an owner is MASTER at once only when `state MASTER` says so too.
        if self.priority == OWNER and self.cfg.state == "MASTER":
            return self._become_master("address owner (priority 255)", now)
        return self._become_backup(reason, now)

    def _set_faults(self, faults: set[str], now: float) -> Sequence[Action]:
        if faults == self.faults:
            return ()
        cleared = ", ".join(sorted(self.faults - faults))
        self.faults = faults
        if self.state is FAULT:
            return () if faults else self.start(now, f"cleared: {cleared}")
        if not faults or self.state is INIT:
            return ()
        if self.leaving:
            return self._finish_leaving(now, self._fault_text())
        if self.state is MASTER and faults == {MAINTENANCE}:
            return self._leave("FAULT", now)
        return self._fault(now)

    def _fault(self, now: float) -> list[Action]:
        actions: list[Action] = []
        if self.state is MASTER:
            if self.link is not None and self.link.up:
                actions += self._resign()
            actions.append(DelAddresses(self, self.addresses))
        actions.append(self._enter(FAULT, self._fault_text(), now))
        return actions

    def _fault_text(self) -> str:
        return ", ".join(sorted(self.faults))

    def maintenance(self, on: bool, now: float) -> Sequence[Action]:
        """An operator's fault: left for it in the planned way, kept until switched off."""
        if on == (MAINTENANCE in self.faults):
            return ()
        return self._set_faults(self.faults ^ {MAINTENANCE}, now)

    def handover(self, now: float) -> Sequence[Action]:
        """Give MASTER away in the planned way; normal rules apply again once another owner was heard."""
        if self.state is not MASTER or self.leaving:
            return ()
        self.yielding_until = now + 2 * self.master_down_interval
        return self._leave("BACKUP", now)

    def stop(self, now: float) -> Sequence[Action]:
        """The daemon ends in the planned way; done when the state is INIT."""
        if self.state is INIT:
            return ()
        if self.state is not MASTER:
            return [self._enter(INIT, "the daemon stops", now, "STOP")]
        if self.leaving:  # priority 0 is out already
            self.leaving = "STOP"
            return ()
        return self._leave("STOP", now)

    def delete(self, now: float) -> Sequence[Action]:
        """Gone from the configuration."""
        if self.state is INIT:
            return ()
        actions: list[Action] = []
        if self.state is MASTER:
            if not self.leaving:
                actions += self._resign()
            actions.append(DelAddresses(self, self.addresses))
        actions.append(self._enter(INIT, "removed from the configuration", now, "DELETED"))
        return actions

    def _resign(self) -> list[Action]:
        self.counters["pri_zero_sent"] += 1
        self.advert_sent += 1
        return [SendAdvert(self, 0)]

    def _leave(self, event: str, now: float) -> Sequence[Action]:
        """Priority 0 now; the addresses answer until the successor speaks, so that nobody notices.

        Whoever succeeds us does so within its Skew_Time, which is nearly one interval at priority 1; half an interval
        is for what is slow.
        """
        self.leaving = event
        self.later.clear()
        self._timers.clear(self.later_timer)
        longest_skew = self.cfg.advert_int if self.cfg.version == 3 else 1.0
        self._timers.set(self.timer, now + longest_skew + self.cfg.advert_int / 2)
        return self._resign()

    def _finish_leaving(self, now: float, why: str, heard: Heard | None = None) -> Sequence[Action]:
        event, self.leaving = self.leaving, ""
        taken_off = DelAddresses(self, self.addresses)
        if event == "STOP":
            return [taken_off, self._enter(INIT, f"the daemon stops, {why}", now, "STOP")]
        if self.faults:
            return [taken_off, self._enter(FAULT, self._fault_text(), now)]
        what = "handover" if event == "BACKUP" else MAINTENANCE
        return [taken_off, *self._become_backup(f"{what}, {why}", now, heard)]

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

    def _tolerates(self, advert: Advert, source: bytes, now: float) -> bool:
        """BACKUP, lower priority heard: do we leave it in place? (Preempt_Mode, preempt_delay, a handover)"""
        if now < self.yielding_until:
            self.yielding_until = 0.0
            return True
        if not self.cfg.preempt and self.priority != OWNER:
            return True
        if self.cfg.preempt_delay > 0:
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
        if self.hushed("interval", now):
            return ()
        return self.line(
            "warning" if advert.adver_int > 10 * self.cfg.advert_int else "info",
            "interval",
            f"{text(source)} adverts every {advert.adver_int:g} s, ours is {self.cfg.advert_int:g} s: "
            f"takeover now after {duration(self.master_down_interval)}",
        )

    def _new_master(self, advert: Advert, source: bytes, now: float) -> Sequence[Action]:
        if self.heard is not None:
            self.counters["master_changes"] += 1
        if self.hushed("master", now, gap=1.0):
            return ()
        return self.line("info", "master", f"master is {text(source)}, priority {advert.priority}")

    def _heard_as_master(self, advert: Advert, source: bytes, now: float) -> Sequence[Action]:
        """RFC 9568 6.4.3."""
        if source == self.spec.source:
            self.counters["own_advert"] += 1
            if self.hushed("own_advert", now):
                return ()
            return self.line(
                "warning",
                "own_advert",
                f"heard an advert with our own address {text(source)}: it was looped back, or another host has it too",
            )
        if self.leaving:
            if advert.priority == 0:
                return ()
            self.yielding_until = 0.0
            return self._finish_leaving(now, f"{text(source)} took over", Heard(source, advert.priority, now))
        if advert.priority == 0:
            self.counters["pri_zero_rcvd"] += 1
            if now < self.answer_at:  # a flood of them does not make one of ours
                return ()
            self.answer_at = now + ANSWER_GAP
            self._timers.set(self.timer, now + self.cfg.advert_int)
            return self._advertise(now)
        if advert.priority > self.priority or (advert.priority == self.priority and source > self.spec.source):
            return self._outbid(advert, source, now)
        return self._lower_heard(advert, source, now)

    def _outbid(self, advert: Advert, source: bytes, now: float) -> Sequence[Action]:
        if advert.priority > self.priority:
            reason = f"heard priority {advert.priority} from {text(source)}, ours is {self.priority}"
        else:
            reason = (
                f"heard equal priority {advert.priority} from {text(source)}, "
                f"a higher address than ours, {text(self.spec.source)}"
            )
        # keepalived only with higher_prio_send_advert. Always here: after a healed partition the winner may
        # never have heard of us, while the neighbours' caches point at us; our last advert makes it announce.
        actions = [*self._advertise(now), DelAddresses(self, self.addresses)]
        if advert.priority == self.priority == OWNER and not self.hushed("owner", now):
            actions += self.line("error", "owner", f"{text(source)} claims priority 255 as we do")
        actions += self._become_backup(reason, now, Heard(source, advert.priority, now), advert.adver_int)
        return actions

    def _lower_heard(self, advert: Advert, source: bytes, now: float) -> Sequence[Action]:
        """Two masters, and we are the better one: say so to the other, and tell the segment where we are.

        RFC 9568 6.4.3 answers at once, keepalived in v2 too, with garp_lower_prio_*. The first one is answered
        at once, more in a row at growing gaps, and the last one always: no storm, and never a stale cache.
        """
        self.counters["lower_priority_rcvd"] += 1
        if now < self.answer_at:
            if ANSWER not in self.later:
                self._do_later(ANSWER, self.answer_at)
            return ()
        if now - self.answer_at > ANSWER_GAP_MAX:
            self.answer_gap = ANSWER_GAP
        actions: list[Action] = [RxLowerPriority(self, source, advert.priority), *self._answer(now)]
        if not self.hushed("lower", now):
            how = "lower" if advert.priority < self.priority else "equal"
            level = "error" if advert.priority == OWNER else "info"  # an owner is the only one (erratum 8298)
            actions += self.line(
                level, "lower", f"heard {how} priority {advert.priority} from {text(source)}, answered"
            )
        return actions

    def _answer(self, now: float) -> list[Action]:
        self.answer_at = now + self.answer_gap
        self.answer_gap = min(2 * self.answer_gap, ANSWER_GAP_MAX)
        again = now + self.cfg.garp_lower_prio_delay
        if again > now and LOWER not in self.later and self.later.get(REPEAT, now) <= now + ANSWER_GAP_MAX:
            self._do_later(LOWER, again)  # unless the second block of becoming MASTER is still to come
        return [
            *(() if self.cfg.lower_prio_no_advert else self._advertise(now)),
            *self._announce(self.addresses, self.cfg.garp_lower_prio_repeat, now),
        ]

    # ---- timers ----------------------------------------------------------------------------------------------

    def _on_timer(self, now: float, due: float) -> Sequence[Action]:
        if self.state is MASTER:
            if self.leaving:
                return self._finish_leaving(now, "nobody took over")
            following = due + self.cfg.advert_int  # from the deadline: no drift; after a stall: no burst
            self._timers.set(self.timer, following if following > now else now + self.cfg.advert_int)
            self.advert_sent += 1
            return self._steady
        if self.state is BACKUP:
            return self._master_down(now, due)
        return ()

    def _master_down(self, now: float, due: float) -> Sequence[Action]:
        if now - due > self.master_adver_int:
            # We slept: the silence may be ours. A live master is heard within one interval; only then take over.
            self._timers.set(self.timer, now + self.master_adver_int + self.skew_time)
            if self.hushed("stall", now):
                return ()
            return self.line("warning", "stall", f"woke up {duration(now - due)} late, listening once more")
        if now < self.yielding_until:
            self._timers.set(self.timer, self.yielding_until)
            return ()
        heard = self.heard
        if heard is None:
            reason = f"no advert heard for {duration(self.master_down_interval)}"
        elif self.outbids:
            reason = f"preempting {text(heard.source)}, its priority {heard.priority} is below ours, {self.priority}"
        elif heard.priority == 0:
            reason = f"{text(heard.source)} resigned"
        else:
            reason = f"no advert from {text(heard.source)} for {duration(now - heard.at)}"
        return self._become_master(reason, now)

    def _on_preempt_delay(self, now: float, due: float) -> Sequence[Action]:
        heard = self.heard
        if self.state is not BACKUP or heard is None or heard.priority >= self.priority:
            return ()
        return self._become_master(
            f"preempting {text(heard.source)}, its priority {heard.priority} is below ours, {self.priority}, "
            f"preempt_delay {self.cfg.preempt_delay:g} s is over",
            now,
        )

    def _do_later(self, what: str, when: float) -> None:
        self.later[what] = when
        self._timers.set(self.later_timer, min(self.later.values()))

    def _on_later(self, now: float, due: float) -> Sequence[Action]:
        """The announcements of a MASTER that have come due; several at once are one."""
        ripe = {what for what, when in self.later.items() if when <= now}
        for what in ripe:
            del self.later[what]
        cfg = self.cfg
        actions: list[Action] = []
        rounds = 0
        if RESTORE in ripe:
            actions.append(AddAddresses(self, self.addresses))
            rounds = cfg.garp_master_repeat
        if ANSWER in ripe:
            actions += self._answer(now)
        if REPEAT in ripe:
            rounds = max(rounds, cfg.garp_master_repeat)
        if LOWER in ripe:
            rounds = max(rounds, cfg.garp_lower_prio_repeat)
        if REFRESH in ripe:
            rounds = max(rounds, cfg.garp_master_refresh_repeat)
            self.later[REFRESH] = now + cfg.garp_master_refresh
        actions += self._announce(self.addresses, rounds, now)
        if self.later:
            self._timers.set(self.later_timer, min(self.later.values()))
        return actions

    # ---- entering and leaving states -------------------------------------------------------------------------

    def _become_master(self, reason: str, now: float) -> list[Action]:
        """keepalived's order: the advert first, so that the old owner lets go before we announce."""
        cfg = self.cfg
        entered = self._enter(MASTER, reason, now)
        self.master_adver_int = cfg.advert_int  # what was learned from the former master is its own
        self._recompute()
        self.counters["become_master"] += 1
        self._timers.set(self.timer, now + cfg.advert_int)
        actions = self._advertise(now)
        if self.addresses:
            actions.append(AddAddresses(self, self.addresses))
            actions += self._announce(self.addresses, cfg.garp_master_repeat, now)
            if cfg.garp_master_delay > 0:
                self._do_later(REPEAT, now + cfg.garp_master_delay)
            if cfg.garp_master_refresh > 0:
                self._do_later(REFRESH, now + cfg.garp_master_refresh)
        actions.append(entered)
        return actions

    def _become_backup(
        self, reason: str, now: float, heard: Heard | None = None, adver_int: float = 0.0
    ) -> list[Action]:
        entered = self._enter(BACKUP, reason, now)
        self.heard = heard
        if adver_int and self.cfg.version == 3:
            self.master_adver_int = adver_int
        self._recompute()
        self._timers.set(self.timer, now + self.master_down_interval)
        return [entered]

    def _enter(self, new: State, reason: str, now: float, event: str = "") -> Transition:
        """The one place where the state changes: leave the old one, be in the new one, tell."""
        old = self.state
        assert new in LEGAL[old], f"{self.name}: {old.name} -> {new.name}"
        if old is MASTER:
            self.counters["release_master"] += 1
        for timer in (self.timer, self.delay_timer, self.later_timer):
            self._timers.clear(timer)
        self.later.clear()
        self.leaving = ""
        self.heard = None
        self.outbids = self.resigned = False
        self.answer_at, self.answer_gap = 0.0, ANSWER_GAP
        self.master_adver_int = self.cfg.advert_int
        self.state = new
        self.transitions += 1
        event = event or new.name
        self.last_transition = LastTransition(old, new, event, reason, now)
        return Transition(self, old, new, event, self.priority, reason)

    # ---- small effects ---------------------------------------------------------------------------------------

    def _advertise(self, now: float) -> list[Action]:
        self.advert_sent += 1
        return [self._steady[0]]

    def _announce(self, addresses: Sequence[VirtualAddress], rounds: int, now: float) -> list[Action]:
        return self._announcer.announce(self, addresses, rounds, now)

    def restore(self, address: VirtualAddress, now: float) -> Sequence[Action]:
        """Somebody took one of our addresses off: put it back and announce it; in a fight, ten times a second."""
        if not self.owns(address) or address.no_track:
            return ()
        if now < self.restore_at:
            self._do_later(RESTORE, self.restore_at)
            return ()
        self.restore_at = now + RESTORE_GAP
        actions: list[Action] = [AddAddresses(self, (address,))]
        actions += self._announce((address,), self.cfg.garp_master_repeat, now)
        if not self.hushed("restore", now):
            actions += self.line("warning", "restore", f"somebody removed {text(address.address)}, put back")
        return actions

    def reject(self, reason: str, source: bytes, now: float) -> Sequence[Action]:
        """A packet for our VRID that is not a valid advert: counted, logged once in a while, nothing else."""
        self.counters[reason] += 1
        if self.hushed(reason, now):
            return ()
        return self.line("warning", reason, f"ignored a packet from {text(source)}: {REASONS[reason]}")

    def hushed(self, cause: str, now: float, gap: float = LOG_GAP) -> bool:
        """Was this said within `gap` seconds? Then it is only counted. Asked before a line is formatted."""
        after, missed = self._log_after.get(cause, (0.0, 0))
        if now < after:
            self._log_after[cause] = (after, missed + 1)
            return True
        self._log_after[cause] = (now + gap, missed)
        return False

    def line(self, level: str, cause: str, message: str) -> list[Action]:
        """The line that `hushed` let pass."""
        after, missed = self._log_after[cause]
        self._log_after[cause] = (after, 0)
        more = f" ({missed} more since the last such line)" if missed else ""
        return [Log(level, f"{self.name}: {message}{more}")]

    def counts(self) -> dict[str, int]:
        """All counters, the two hot ones included."""
        return {**self.counters, "advert_rcvd": self.advert_rcvd, "advert_sent": self.advert_sent}


REASONS = {
    "packet_len_err": "wrong length",
    "ip_ttl_err": "its TTL is not 255, so it was forwarded",
    "version_err": "another VRRP version",
    "invalid_type_rcvd": "not an advertisement",
    "checksum_err": "wrong checksum",
    "destination_err": "multicast where unicast is configured, or the reverse",
    "source_err": "unexpected source address",
    "invalid_authtype": "unknown authentication type",
    "authtype_mismatch": "another authentication type",
    "auth_failure": "wrong password",
    "advert_interval_err": "its advert_int is 0, or in VRRPv2 not ours",
    "addr_list_err": "no virtual address in it",
}


def make_spec(cfg: VrrpInstance, source: bytes) -> AdvertSpec:
    """The advert that this configuration asks for."""
    width = ADDRESS_LENGTH[cfg.family]
    group = cfg.mcast_group if len(cfg.mcast_group) == width else MCAST_GROUP[width]
    password = cfg.authentication if cfg.version == 2 else None
    return AdvertSpec(
        family=cfg.family,
        version=cfg.version,
        vrid=cfg.virtual_router_id,
        advert_int=cfg.advert_int,
        addresses=tuple(entry.address for entry in cfg.virtual_ipaddress),
        source=source or bytes(width),
        destinations=cfg.unicast_peer or (group,),
        ttl=cfg.unicast_ttl if cfg.unicast_peer else 255,
        auth_type=AUTH_SIMPLE if password else AUTH_NONE,
        auth_data=password.auth_pass.ljust(8, b"\0")[:8] if password else b"",
        pseudo_header=cfg.family != AF_INET or not cfg.v3_checksum_as_v2,
    )
