"""A virtual router as BACKUP (RFC 9568 6.4.2): whom it follows, and when it would be MASTER.

In: adverts that passed checks.py, its timers, the second path's word; each with `now`. Out: actions. What becoming
MASTER does is router.py's; a member of a sync group only says that it wants to (groups.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from math import inf
from typing import TYPE_CHECKING

from vrrpd.vrrp.actions import Action
from vrrpd.vrrp.path import FRESH
from vrrpd.vrrp.records import duration, text
from vrrpd.vrrp.states import BACKUP, Heard
from vrrpd.vrrp.track import OWNER

if TYPE_CHECKING:
    from vrrpd.vrrp.packet import Advert
    from vrrpd.vrrp.router import VirtualRouter


def heard(router: VirtualRouter, advert: Advert, source: bytes, now: float) -> Sequence[Action]:
    """A valid advert for us arrived."""
    if advert.priority == 0:
        return resigned(router, source, now)
    if advert.priority < router.priority and not tolerates(router, advert, source, now):
        return ()  # the timer keeps running: we take over when it ends
    actions: Sequence[Action] = ()
    former = router.heard
    another = former is None or former.source != source
    if another:
        actions = new_master(router, advert, source, now)
    if router.group is not None and (another or not router.follows):  # it may have resigned, and come back
        actions = [*actions, *router.group.follow(router, now)]
    if advert.adver_int != router.master_adver_int and router.cfg.version == 3:
        actions = [*actions, *learn(router, advert, source, now)]
    if router.delay_timer.deadline != inf and advert.priority >= router.priority:
        router.timers.clear(router.delay_timer)
    router.outbids = router.resigned = False
    router.heard = Heard(source, advert.priority, now)
    router.timers.set(router.timer, now + router.master_down_interval)
    return actions


def resigned(router: VirtualRouter, source: bytes, now: float) -> Sequence[Action]:
    router.counters["pri_zero_rcvd"] += 1
    router.timers.clear(router.delay_timer)
    if router.resigned:  # said again, or forged, it does not extend what is running
        return ()
    router.resigned, router.outbids = True, False
    router.heard = Heard(source, 0, now)
    router.timers.set(router.timer, now + router.skew_time)
    if router.group is not None and now - router.outbid_at < router.master_adver_int:
        router.yielding_until = max(router.yielding_until, router.group.gives_way_until(router, now))
    return ()


def let_go(router: VirtualRouter, source: bytes, wait: float, age: float, now: float) -> Sequence[Action]:
    """The second path: `source` holds nothing any more. As its priority 0, but the order of succession is given.

    Believed of the master that we follow, and only while it cannot have won MASTER back: whoever let go listens
    for one interval at least (down_timer_adverts 1). A takeover that is due earlier stays so.
    """
    heard = router.heard
    if router.state is not BACKUP or heard is None or heard.source != source:
        return ()
    if age > min(FRESH, router.master_adver_int):
        return ()
    router.timers.clear(router.delay_timer)
    router.resigned, router.outbids = True, False
    router.heard = Heard(source, 0, now)
    router.timers.set(router.timer, min(router.timer.deadline, now + wait))
    if router.records.hushed("let_go", now, gap=1.0):
        return ()
    return router.records.line("info", "let_go", f"{text(source)} has let go, it says over the second path")


def tolerates(router: VirtualRouter, advert: Advert, source: bytes, now: float) -> bool:
    """BACKUP, lower priority heard: do we leave it in place? (Preempt_Mode, preempt_delay, a handover)"""
    if now < router.yielding_until:
        router.yielding_until = 0.0
        return True
    if not router.cfg.preempt and router.priority != OWNER:
        return True
    if router.cfg.preempt_delay > 0:
        if router.waits and router.outbids:  # it is over: our sync group is not there yet
            router.heard = Heard(source, advert.priority, now)
            return False
        if router.delay_timer.deadline == inf:  # the first lower advert arms it, later ones do not
            router.timers.set(router.delay_timer, now + router.cfg.preempt_delay)
        return True
    router.outbids = True
    router.heard = Heard(source, advert.priority, now)
    return False


def learn(router: VirtualRouter, advert: Advert, source: bytes, now: float) -> Sequence[Action]:
    """RFC 9568 6.4.2: a v3 backup counts in its master's interval."""
    router.master_adver_int = advert.adver_int
    router.recompute()
    if advert.adver_int == router.cfg.advert_int:
        return ()
    if router.records.hushed("interval", now):
        return ()
    return router.records.line(
        "warning" if advert.adver_int > 10 * router.cfg.advert_int else "info",
        "interval",
        f"{text(source)} adverts every {advert.adver_int:g} s, ours is {router.cfg.advert_int:g} s: "
        f"takeover now after {duration(router.master_down_interval)}",
    )


def new_master(router: VirtualRouter, advert: Advert, source: bytes, now: float) -> Sequence[Action]:
    router.yielding_until = 0.0
    if router.heard is not None:
        router.counters["master_changes"] += 1
    if router.records.hushed("master", now, gap=1.0):
        return ()
    return router.records.line("info", "master", f"master is {text(source)}, priority {advert.priority}")


def master_down(router: VirtualRouter, now: float, due: float) -> Sequence[Action]:
    if now - due > router.master_adver_int:
        # We slept: the silence may be ours. A live master is heard within one interval; only then take over.
        router.timers.set(router.timer, now + router.master_adver_int + router.skew_time)
        if router.records.hushed("stall", now):
            return ()
        return router.records.line("warning", "stall", f"woke up {duration(now - due)} late, listening once more")
    if now < router.yielding_until:
        router.timers.set(router.timer, router.yielding_until)
        return ()
    if router.group is not None:
        return router.group.wants(router, now)
    return router.become_master(why_master(router, now), now)


def why_master(router: VirtualRouter, now: float) -> str:
    """BACKUP whose timer has run out: a sentence."""
    heard = router.heard
    if heard is None:
        return f"no advert heard for {duration(router.master_down_interval)}"
    if router.outbids:
        return f"preempting {text(heard.source)}, its priority {heard.priority} is below ours, {router.priority}"
    if heard.priority == 0:
        return f"{text(heard.source)} resigned"
    return f"no advert from {text(heard.source)} for {duration(now - heard.at)}"


def preempt_delay_over(router: VirtualRouter, now: float, due: float) -> Sequence[Action]:
    heard = router.heard
    if router.state is not BACKUP or heard is None or heard.priority >= router.priority:
        return ()
    if now - due > router.master_adver_int:
        # We slept, and who is MASTER by now is not known. It is heard within one interval; only then take over.
        router.timers.set(router.delay_timer, now + router.master_adver_int)
        return ()
    if router.group is not None:
        router.outbids = True
        return router.group.wants(router, now)
    return router.become_master(
        f"preempting {text(heard.source)}, its priority {heard.priority} is below ours, {router.priority}, "
        f"preempt_delay {router.cfg.preempt_delay:g} s is over",
        now,
    )


def follow_after_all(router: VirtualRouter) -> bool:
    """BACKUP: what we heard and did not accept is our master's from now on, as we are configured or weigh now."""
    cfg, heard, keeps = router.cfg, router.heard, not router.cfg.preempt and router.priority != OWNER
    delays = cfg.preempt_delay and not router.waits  # for whoever waits for its sync group the delay is over
    if not router.outbids or heard is None or not (heard.priority >= router.priority or keeps or delays):
        return False
    router.outbids = False
    router.timers.set(router.timer, heard.at + router.master_down_interval)
    return True


def shift(router: VirtualRouter, former: float, new: float, now: float) -> None:
    """BACKUP: the running timer, as keepalived does. One that is overdue stays so: how late is yet to be judged."""
    if former != new and router.timer.deadline > now:
        router.timers.set(router.timer, max(now, router.timer.deadline + new - former))
