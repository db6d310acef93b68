"""A sync group: virtual routers of which all are MASTER, or none (keepalived.conf(5), vrrp_sync_group).

Nothing of it is kept here that its members know. The group is asked when a member would be MASTER, and is told when
one has ceased to be, or has found a fault; it answers with what the others do. Members live on any interfaces and in
either family.

    a member wants MASTER           it waits, without a timer of its own, until each of the others is MASTER or waits
                                    likewise: then all that wait are MASTER in one turn
    a member yields to a better     the others leave in the planned way: priority 0, and they answer until whoever
    master, or finds one            comes speaks. They do not take back what nobody comes for
    a member has a fault            it is a fault of the others: priority 0 from each, FAULT for all. The last one that
                                    is cleared starts all again
    a lesser master is heard        the others announce too: its segment may be the wrong one for all of them
    handover, stop                  each member answers for as long as the slowest successor may need

Who waits hears everything meanwhile, and wants MASTER no more once it has a master. A process that slept has heard
nothing: that is seen at a timer for whoever waits, and they listen once more. During a hand-over between processes
the members are here and there; nobody becomes MASTER then, the heir does what is due when it has all of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from math import inf
from typing import TYPE_CHECKING, Any

from vrrpd.vrrp import backup
from vrrpd.vrrp.actions import Action, GroupTransition
from vrrpd.vrrp.records import text
from vrrpd.vrrp.router import VirtualRouter
from vrrpd.vrrp.states import BACKUP, FAULT, GROUP, INIT, MAINTENANCE, MASTER, State
from vrrpd.vrrp.timers import Timer, Timers
from vrrpd.vrrp.track import OWNER

if TYPE_CHECKING:
    from vrrpd.model.groups import VrrpSyncGroup

SKEW = 1 / 256  # the shortest


class SyncGroup:
    """One vrrp_sync_group at work. The engine makes it, its members have it as `group`."""

    def __init__(self, cfg: VrrpSyncGroup, timers: Timers) -> None:
        self.name = cfg.name
        self.members: tuple[VirtualRouter, ...] = ()
        self.told = INIT  # the state that scripts and mail know
        self._size = len(cfg.group)
        self._timers = timers
        self.waiting = Timer(self._look)  # for whoever wants MASTER; a successor has its deadline

    def __repr__(self) -> str:
        return f"<SyncGroup {self.name} {' '.join(map(repr, self.members))}>"

    def consist_of(self, members: Iterable[VirtualRouter]) -> None:
        """These of its members are this process's; not all of them during a hand-over."""
        self.members = tuple(members)
        for router in self.members:
            router.group = self

    @property
    def waits(self) -> bool:
        """A member does, for the others."""
        return self.waiting.deadline != inf

    def others(self, router: VirtualRouter) -> Iterator[VirtualRouter]:
        return (member for member in self.members if member is not router)

    # ---- MASTER ----------------------------------------------------------------------------------------------

    def allows_master(self, router: VirtualRouter) -> bool:
        """Does everybody else want it too, or have it?"""
        return len(self.members) == self._size and all(
            (member.state is MASTER and not member.leaving) or member.waits for member in self.others(router)
        )

    def wants(self, router: VirtualRouter, now: float) -> Sequence[Action]:
        """`router`, a BACKUP, would be MASTER by now. Alone it waits: the last one that comes takes all along."""
        if self.allows_master(router):
            return self._take_over((router, *self.others(router)), now)
        self._timers.clear(router.timer)
        self._timers.clear(router.delay_timer)
        if self.waiting.deadline == inf:
            self._look_later(now)
        return ()

    def owners(self) -> bool:
        """keepalived: `state MASTER` counts when all members are owners (255)."""
        return len(self.members) == self._size and all(
            member.cfg.priority == OWNER
            and member.cfg.state == "MASTER"
            and (member.tracking is None or not member.tracking.awaited())
            for member in self.members
        )

    def _take_over(self, routers: Iterable[VirtualRouter], now: float) -> list[Action]:
        return [
            action
            for router in routers
            if router.state is BACKUP
            for action in router.become_master(backup.why_master(router, now), now)
        ]

    def _look_later(self, now: float) -> None:
        """keepalived: one interval and the shortest skew for whoever wants MASTER."""
        waiting = [router.master_adver_int for router in self.members if router.waits]
        if waiting:
            self._timers.set(self.waiting, now + min(waiting) * (1 + SKEW))

    def _look(self, now: float, due: float) -> Sequence[Action]:
        for router in self.members:
            if router.waits and now - due > router.master_adver_int:
                self._timers.set(router.timer, now + router.master_adver_int + router.skew_time)
        self._look_later(now)
        return ()

    # ---- BACKUP ----------------------------------------------------------------------------------------------

    def follow(self, router: VirtualRouter, now: float) -> list[Action]:
        """`router` has another master than this host: the others let go too."""
        return [
            action
            for member in self.others(router)
            if member.state is MASTER and not member.leaving
            for action in member.leave_with_group(now)
        ]

    def may_stay(self, router: VirtualRouter, now: float) -> bool:
        """Nobody came for `router`, which is leaving: may it be MASTER again? Not while another one gives way."""
        return not any(
            member.follows or (member.state is BACKUP and now < member.yielding_until) for member in self.others(router)
        )

    def stayed(self, router: VirtualRouter, now: float) -> list[Action]:
        """It is: so is whoever waits."""
        return self._take_over(self.others(router), now) if self.allows_master(router) else []

    @property
    def linger(self) -> float:
        """How long a member that leaves answers: a successor that is in the group waits for its slowest member."""
        return max(member.linger for member in self.members)

    @property
    def master_down_interval(self) -> float:
        return max(member.master_down_interval for member in self.members)

    def gives_way_until(self, router: VirtualRouter, now: float) -> float:
        """Whoever outbid `router` a moment ago has resigned: until when it is not to want MASTER.

        That one was outbid too, by us, with another member, and its group has left as ours has: the members rank the
        hosts differently. Both would come back at the same moment, again and again (keepalived's do). So who had the
        better of the first member, which is the same on all hosts, comes before the others.
        """
        first = min(self.members, key=lambda member: (member.cfg.virtual_router_id, member.cfg.family))
        return now + self.master_down_interval + self.linger if router is first else 0.0

    # ---- FAULT -----------------------------------------------------------------------------------------------

    def find(self, router: VirtualRouter, now: float) -> list[Action]:
        """The faults of `router` are others than before."""
        return self._judge(self.others(router), now)

    def _judge(self, routers: Iterable[VirtualRouter], now: float) -> list[Action]:
        """Of all others that have a fault the first is enough to be told of: all of hundreds would be a long story.

        Who is cleared by it may find that it waits for a script, which is another fault: then once more.
        """
        actions: list[Action] = []
        judged, known = tuple(routers), None
        while known != (faulty := [(m, _own_faults(m)) for m in islice(filter(_own_faults, self.members), 2)]):
            known = faulty
            for router in judged:
                faults = next(([f"{m.name}: {fault}" for fault in own] for m, own in faulty if m is not router), [])
                actions += router.find(GROUP, [f"sync group {self.name}: {fault}" for fault in faults], now)
        return actions

    # ---- the others' segments --------------------------------------------------------------------------------

    def announce(self, router: VirtualRouter, now: float) -> list[Action]:
        """`router` has answered a lesser master; it may have been one of all, and there may be hundreds."""
        return [
            action
            for member in self.others(router)
            if member.state is MASTER and not member.leaving
            for action in member.duties.rival_heard(now)
        ]

    # ---- from one process, or one configuration, to the next -------------------------------------------------

    def settle(self, now: float) -> list[Action]:
        """All members are here: what a hand-over, an adoption or another configuration has left undone."""
        actions = self._judge(self.members, now)
        for member in self.members:
            if member.state is BACKUP and member.follows:
                actions += self.follow(member, now)
        if self.waiting.deadline <= now:  # nobody has looked yet whether who waits has slept meanwhile
            self._look(now, self.waiting.deadline)
        waiting = next((member for member in self.members if member.waits), None)
        if waiting is not None:
            actions += self.wants(waiting, now)
        return [*actions, *self.tell("start")]

    # ---- what is told ----------------------------------------------------------------------------------------

    @property
    def state(self) -> State | None:
        """That of all members; None while they are on their way, or cannot be of one mind."""
        states = {member.state for member in self.members}
        return states.pop() if len(states) == 1 and len(self.members) == self._size else None

    def tell(self, reason: str, event: str = "") -> list[Action]:
        """Once for each transition, when the last member is there."""
        state = self.state
        if state is None or state is self.told:
            return []
        former, self.told = self.told, state
        return [GroupTransition(self, former, state, event or state.name, reason)]

    def holders_back(self, router: VirtualRouter) -> list[str]:
        """Whom `router` waits for, as sentences; none when it does not."""
        if not router.waits:
            return []
        return [
            f"waits for {member.name} in sync group {self.name}, which {_what_it_does(member)}"
            for member in self.others(router)
            if member.state is not MASTER and not member.waits
        ]

    def snapshot(self) -> dict[str, Any]:
        """For status: plain data."""
        state = self.state
        faults = {f"{m.name}: {fault}" for m in self.members for fault, by in m.faults.items() if by != GROUP}
        waits = [f"{member.name} {sentence}" for member in self.members for sentence in self.holders_back(member)]
        states = ", ".join(f"{member.name} is {member.state.name}" for member in self.members)
        return {
            "name": self.name,
            "state": None if state is None else state.name,
            "leaving": any(member.leaving for member in self.members),
            "members": [member.name for member in self.members],
            "reasons": sorted(faults) or waits or ([states] if state is None else []),
        }


def _own_faults(router: VirtualRouter) -> list[str]:
    """But for what its group has found; and an operator's maintenance is every router's own, and no fault."""
    return [fault for fault, source in router.faults.items() if source not in (GROUP, MAINTENANCE)]


def _what_it_does(router: VirtualRouter) -> str:
    if router.state is FAULT:
        return "is in FAULT"
    if router.state is INIT:
        return "has not started"
    if router.follows and router.heard is not None:
        return f"has a master, {text(router.heard.source)} with priority {router.heard.priority}"
    return "still listens"
