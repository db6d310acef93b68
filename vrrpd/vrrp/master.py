"""A virtual router as MASTER (RFC 9568 6.4.3): its adverts, those of others, and whether it has slept.

In: adverts that passed checks.py, Adver_Timer; each with `now`. Out: actions. What it owes its segment besides
adverts is duties.py's, what yielding does router.py's.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from vrrpd.vrrp.actions import Action, RxLowerPriority, SendAdvert
from vrrpd.vrrp.records import duration, text
from vrrpd.vrrp.states import Heard
from vrrpd.vrrp.track import OWNER

if TYPE_CHECKING:
    from vrrpd.vrrp.packet import Advert
    from vrrpd.vrrp.router import VirtualRouter

PATIENCE = 3.2  # intervals that an owner gives another one to yield: keepalived's two adverts and 1.2 of them


def adver_timer(router: VirtualRouter, now: float, due: float) -> Sequence[Action]:
    """Its Adver_Timer fires."""
    following = due + router.cfg.advert_int  # from the deadline: no drift; after a stall: no burst
    router.timers.set(router.timer, following if following > now else now + router.cfg.advert_int)
    if overslept(router, now, due, router.cfg.advert_int):
        if deposed(router, now, due, router.cfg.advert_int):
            return step_down(router, now, due)
        return [*router.advertise(), *router.duties.wake(now)]
    return router.advertise()


def heard(router: VirtualRouter, advert: Advert, source: bytes, now: float) -> Sequence[Action]:
    """RFC 9568 6.4.3."""
    if source == router.spec.source:
        router.counters["own_advert"] += 1
        if router.records.hushed("own_advert", now):
            return ()
        return router.records.line(
            "warning",
            "own_advert",
            f"heard an advert with our own address {text(source)}: it was looped back, or another host has it too",
        )
    if router.leaving:
        if advert.priority == 0:
            return ()
        router.yielding_until = 0.0
        successor = Heard(source, advert.priority, now)
        return router.finish_leaving(now, f"{text(source)} took over", successor, advert.adver_int)
    if deposed(router, now, router.timer.deadline, router.cfg.advert_int):  # what was read first says who it is
        followed = Heard(source, advert.priority, now) if advert.priority else None
        return step_down(router, now, router.timer.deadline, followed, advert.adver_int)
    if advert.priority == 0:
        router.counters["pri_zero_rcvd"] += 1
        announced = router.duties.rival_heard(now)
        if not router.duties.may_answer(now):
            return announced
        router.timers.set(router.timer, now + router.cfg.advert_int)
        return [*router.advertise(), *announced]
    if router.priority == OWNER and (advert.priority == OWNER or router.cfg.owner_ignore_adverts):
        return heard_as_owner(router, advert, source, now)
    if advert.priority > router.priority or (advert.priority == router.priority and source > router.spec.source):
        return outbid(router, advert, source, now)
    return lower_heard(router, advert, source, now)


def heard_as_owner(router: VirtualRouter, advert: Advert, source: bytes, now: float) -> Sequence[Action]:
    """MASTER and owner. Of two owners one gives in, whatever the other one is (RFC 9568 erratum 8298).

    The lower address does at once. The higher one when the other is still there after PATIENCE: it may be deaf to
    us. owner_ignore_adverts takes two more of these: whoever can yield has done so by then, and an address with
    two owners for good would be worse than one that is ignored no longer.
    """
    ignoring, higher = router.cfg.owner_ignore_adverts, source > router.spec.source
    if advert.priority == OWNER:
        interval = max(router.cfg.advert_int, advert.adver_int)
        since, last = router.rival or (now, now)
        if now - last > 3 * interval:
            since = now  # it was gone meanwhile
        router.rival = since, now
        if now - since >= PATIENCE * interval * (2 * ignoring + (not higher)):
            return outbid(router, advert, source, now)
    if not ignoring:
        return lower_heard(router, advert, source, now)
    router.counters["ignored"] += 1
    announced = router.duties.answer(now) or ()  # the other one may have misled the neighbours
    if router.records.hushed("ignored", now):
        return announced
    level = "error" if advert.priority == OWNER else "info"
    message = f"ignored priority {advert.priority} from {text(source)} (owner_ignore_adverts)"
    return [*announced, *router.records.line(level, "ignored", message)]


def outbid(router: VirtualRouter, advert: Advert, source: bytes, now: float) -> Sequence[Action]:
    last_priority = router.priority
    if advert.priority > router.priority:
        reason = f"heard priority {advert.priority} from {text(source)}, ours is {router.priority}"
    elif router.priority == OWNER and (source < router.spec.source or router.cfg.owner_ignore_adverts):
        since = router.rival[0] if router.rival else now
        reason = f"another owner, {text(source)}, has not yielded for {duration(now - since)}"
        last_priority -= 1  # or the other one might yield to this
    else:
        reason = (
            f"heard equal priority {advert.priority} from {text(source)}, "
            f"a higher address than ours, {text(router.spec.source)}"
        )
    # keepalived only with higher_prio_send_advert. Always here: after a healed partition the winner may
    # never have heard of us, while the neighbours' caches point at us; our last advert makes it announce.
    # Not in strict mode, whose winner would not announce for it.
    actions: list[Action] = router.take_off()
    if not router.cfg.strict_mode:
        router.advert_sent += 1
        actions.insert(0, SendAdvert(router, last_priority, True))
    if advert.priority == router.priority == OWNER and not router.records.hushed("owner", now):
        actions += router.records.line("error", "owner", f"{text(source)} claims priority 255 as we do")
    actions += router.become_backup(reason, now, Heard(source, advert.priority, now), advert.adver_int)
    router.outbid_at = now
    return actions


def lower_heard(router: VirtualRouter, advert: Advert, source: bytes, now: float) -> Sequence[Action]:
    """Two masters, and we are the better one."""
    router.counters["lower_priority_rcvd"] += 1
    answer = router.duties.answer(now)
    if answer is None:
        return ()
    actions: list[Action] = [RxLowerPriority(router, source, advert.priority), *answer]
    if router.group is not None:
        actions += router.group.announce(router, now)
    if not router.records.hushed("lower", now):
        how = "lower" if advert.priority < router.priority else "equal"
        level = "error" if advert.priority == OWNER else "info"  # an owner is the only one (erratum 8298)
        answered = "" if router.cfg.lower_prio_no_advert else ", answered"
        actions += router.records.line(
            level, "lower", f"heard {how} priority {advert.priority} from {text(source)}{answered}"
        )
    return actions


def overslept(router: VirtualRouter, now: float, due: float, interval: float) -> bool:
    """So late that another may have been MASTER meanwhile, and may be gone again: its announcements stand."""
    return now - due > (router.cfg.down_timer_adverts - 1) * interval


def deposed(router: VirtualRouter, now: float, due: float, interval: float) -> bool:
    """timer_expired_backup: so late that one of that priority has taken over, if there is one.

    It waits for down_timer_adverts intervals and its skew time from our last advert, an interval before `due`.
    """
    highest = router.cfg.timer_expired_backup
    skew_time = (256 - highest) * (interval if router.cfg.version == 3 else 1.0) / 256
    return highest > 0 and now - due > (router.cfg.down_timer_adverts - 1) * interval + skew_time


def step_down(
    router: VirtualRouter, now: float, due: float, heard: Heard | None = None, adver_int: float = 0.0
) -> Sequence[Action]:
    """Priority 0 all the same: a new master answers it and announces again, else one comes sooner."""
    reason = f"woke up {duration(now - due)} late: another has taken over by now (timer_expired_backup)"
    return [*router.resign(), *router.let_go(), *router.become_backup(reason, now, heard, adver_int)]
