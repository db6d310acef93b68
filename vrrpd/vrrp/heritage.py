"""A router's half of the hand-over: what it was becomes an estate, and the heir of one goes on.

In: a router, or an estate of another process (estate.py) and a router of ours that is the same. Out: an estate;
actions for what our configuration and our link differ in. Which of them belong together is engine.py's, the way
between processes handover.py's.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import inf
from typing import TYPE_CHECKING

from vrrpd.model.diff import identity
from vrrpd.model.values import VirtualAddress
from vrrpd.vrrp import backup, master
from vrrpd.vrrp.actions import Action, AddAddresses, AddRouting, DelAddresses, DelRouting, Inherit
from vrrpd.vrrp.estate import Estate, Holding
from vrrpd.vrrp.records import ALL_COUNTERS
from vrrpd.vrrp.states import BACKUP, MASTER, Heard, LastTransition, State
from vrrpd.vrrp.track import OWNER

if TYPE_CHECKING:
    from vrrpd.vrrp.router import VirtualRouter


def give(router: VirtualRouter) -> Estate:
    """Stop, and leave everything to a successor. Nothing is forgotten: see `resume`."""
    cfg, last = router.cfg, router.last_transition
    pending, paces = router.duties.give()
    announcing, announce_at = router.announcer.give(router)
    estate = Estate(
        *identity(cfg), cfg.unicast_peer, cfg.name,
        router.state.name, router.leaving, router.faults,
        router.timer.deadline, router.delay_timer.deadline,
        router.heard, router.outbids, router.resigned, router.yielding_until, router.rival,
        pending, paces, announcing, announce_at, router.peer_pseudo_header, router.spec.old_sum,
        None if last is None else (last.old.name, last.new.name, *last[2:]),
        {name: count for name, count in router.counts().items() if count}, router.records.give(), (),
        None if router.auth is None else router.auth.give(),
        router.checksum(router.priority), cfg.advert_int, router.master_adver_int, router.master_down_interval,
        cfg.preempt, cfg.preempt_delay, cfg.garp_master_refresh, cfg.vip_lifetime, router.addresses,
        router.tracking.inherited if router.tracking is not None else 0,
        "" if router.group is None else router.group.told.name, router.routing,
        outbid_at=router.outbid_at,
    )  # fmt: skip
    router.timers.clear(router.timer)
    router.timers.clear(router.delay_timer)
    router.memo = None
    return estate


def resume(router: VirtualRouter, estate: Estate) -> None:
    """Nobody took it after all: the timers go on."""
    for timer, deadline in ((router.timer, estate.timer), (router.delay_timer, estate.delay_timer)):
        if deadline != inf:
            router.timers.set(timer, deadline)
    router.duties.take(estate.pending, estate.paces)
    router.announcer.take(router, estate.announcing, estate.announce_at)


def take(router: VirtualRouter, estate: Estate, now: float) -> list[Action]:
    """From INIT: be what another process was, then apply what our configuration and our link differ in."""
    if router.tracking is not None and 0 < estate.priority < OWNER:  # an owner's was no effective one
        router.tracking.inherited = estate.priority
        router.judge(now)
    faults, router.faults = router.faults, dict(estate.faults)
    router.state, router.leaving = State[estate.state], estate.leaving
    router.heard = Heard(*estate.heard) if estate.heard else None
    router.outbids, router.resigned, router.yielding_until = estate.outbids, estate.resigned, estate.yielding_until
    router.rival, router.outbid_at = estate.rival, estate.outbid_at
    router.peer_pseudo_header = estate.pseudo_header
    if estate.old_sum and router.cfg.unicast_peer and not router.cfg.old_unicast_checksum:
        router.change_voice(old_sum=True)
    if estate.last_transition is not None:
        old, new, event, reason, at = estate.last_transition
        router.last_transition = LastTransition(State[old], State[new], event, reason, at)
    remember(router, estate)
    # Whoever has heard a master goes on counting in that one's interval (RFC 9568 6.4.2), not in its own new one.
    if router.state is BACKUP and router.cfg.version == 3 and estate.heard is not None:
        router.master_adver_int = estate.interval
        router.recompute()
    resume(router, estate)
    if router.group is not None and estate.group:
        router.group.told = State[estate.group]
    elif router.waits:  # for a sync group that it is in no longer
        router.timers.set(router.timer, now + router.master_adver_int + router.skew_time)
    actions: list[Action] = []
    if estate.held or estate.laid or estate.lacking:
        actions.append(Inherit(router, estate.held, estate.laid, estate.lacking))
    return [*actions, *differ(router, estate, now), *router.set_faults(faults, now)]


def remember(router: VirtualRouter, estate: Estate) -> None:
    """What it has counted, said and heard, whatever state it was in."""
    counters = dict(estate.counters)
    router.advert_rcvd, router.advert_sent = counters.pop("advert_rcvd", 0), counters.pop("advert_sent", 0)
    router.counters.update((key, value) for key, value in counters.items() if key in ALL_COUNTERS)
    router.records.take(estate.said)
    if router.auth is not None and estate.auth is not None:
        router.auth.take(estate.auth)
        router.spec = router.spec._replace(seal=router.auth.sends)


def differ(router: VirtualRouter, estate: Estate, now: float) -> list[Action]:
    """A reload changed something, but not what we are: apply the difference, go on (no priority 0)."""
    cfg = router.cfg
    if router.state is BACKUP:
        if not backup.follow_after_all(router) and not router.resigned:
            backup.shift(router, estate.down_interval, router.master_down_interval, now)
        if (cfg.preempt, cfg.preempt_delay) != (estate.preempt, estate.preempt_delay):
            router.timers.clear(router.delay_timer)
        return []
    if router.state is not MASTER:
        return []
    actions: list[Action] = []
    former = recognized(router, estate.held) if estate.addresses is None else estate.addresses
    gone = tuple(entry for entry in former if entry not in router.addresses)
    new = tuple(entry for entry in router.addresses if entry not in former)
    ways = router.routing
    lost = tuple(entry for entry in reversed(estate.routing) if entry not in ways)
    if lost:  # before the addresses that they may lead from
        actions.append(DelRouting(router, lost))
    if router.leaving:
        return [*actions, DelAddresses(router, gone)] if gone else actions
    due, interval = router.timer.deadline, estate.advert_int or cfg.advert_int
    if master.deposed(router, now, due, interval):
        return [*actions, *([DelAddresses(router, gone)] if gone else []), *master.step_down(router, now, due)]
    if router.checksum(router.priority) != estate.advert or cfg.advert_int != estate.advert_int:
        actions += router.advertise()
        if master.overslept(router, now, due, interval):
            actions += router.duties.wake(now)
        router.timers.set(router.timer, now + cfg.advert_int)
    if gone:
        actions.append(DelAddresses(router, gone))
    if new:
        actions.append(AddAddresses(router, new))
        actions += router.duties.begin(new, now)
    if ways:  # those from an address that is gone the kernel has taken along
        again = gone or new
        fresh = tuple(entry for entry in ways if entry not in estate.routing or (again and not entry.no_track))
        actions += [AddRouting(router, fresh)] if fresh else []
    if cfg.vip_lifetime != estate.lifetime:
        actions += router.duties.renew(now)
    if cfg.garp_master_refresh != estate.refresh:
        router.duties.set_refresh(now)
    router.duties.set_extra(now)
    return actions


def recognized(router: VirtualRouter, held: Sequence[Holding]) -> tuple[VirtualAddress, ...]:
    """What lies in the kernel, as our configuration says it."""
    known = {(entry.address, entry.prefixlen): entry for entry in router.addresses}
    return tuple(
        known.get((here.address, here.prefixlen), VirtualAddress(here.address, here.prefixlen, peer=here.peer or None))
        for here in held
    )
