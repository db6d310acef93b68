"""What must hold in every history, whatever happens in it. A breach raises `Violation`.

An owner of an address is a host whose kernel has it. D is the longest delay of the healthy network, I the longest
advert_int that the router's hosts have at that moment or had before, all of it stretched by the drift of the clocks.

1. Settled: once the network is whole, every process runs and nothing has been asked of anybody for 3 I + skew, each
   address has exactly one owner, if there is a host that may be; and one at least from then on. After a handover
   the former owner keeps back for two of its down intervals, so that this counts from their end.
   When all of them preempt without delay, it is in the end the one with the highest priority.

2. Two owners, for each pair: of two that run, one yields I + D after the last of these: they both got it; a datagram
   from the better one to the other was lost, late, or refused since their configurations did not agree; one of them
   was started, stalled, cut off or configured anew. That bound is both directions of a healed partition: whether the
   better or the lesser one speaks first, the better one's next advert ends it.
   - Two with priority 255: what owner_ignore_adverts adds, PATIENCE for each step that keeps them (router.py).
   - A lame duck (it has resigned and still answers): any advert of the other one ends it, so that the same bound
     holds; and without one it ends skew + 1.5 I after it resigned, at priority 1 nearly 2.5 I (in v2 the skew is
     at most one second).
   - Killed without a will, or stalled: no bound but its own end: the will (crash: reaction of the guard), the fence
     (2.5 adverts), the lifetime of its addresses, its next start, its next turn.
   - A host that was fenced, killed or has lost its interface counts as stalled until it is in order again.

3. No needless takeover: nobody takes over who was delivered a valid advert less than three intervals ago (its
   sender's in v3, its own in v2), unless that was followed by priority 0, or it outbids the sender and preempts.
   Nobody who slept for longer than its down interval (or preempt_delay) and one more takes over before it has
   listened for one.
   Nobody who is MASTER yields but to an advert that outranks it, or by wish of the operator, or for a fault.

   Nor has what comes over the second path that effect, unless it is what it says: said by who had let go, said once,
   and not long ago (FRESH of path.py, or an interval); and no two backups are told to go at the same moment.

4. A MASTER that runs is never silent for longer than its interval; whatever others send it.

   One that adopts what a dead process had adverts at once, and nothing of it is dropped.

5. A state and what lies in the kernel belong together: MASTER has all of its addresses, excluded ones, routes and
   rules, anybody else none of them. (An owner's addresses, priority 255, may be on the interface for other reasons and
   are left alone; of what has no_track, nobody asks whether it is there.) What somebody takes away is back within
   RESTORE_GAP, unless restore_deleted is off: then the router has resigned in the same turn.

6. Without a fault there is no gap: from priority 0 to the successor's first advert the address is answered, if there
   is a successor (and nobody has just yielded, in the last 2 D); a reload does not move it at all.

7. The segment hears the owner last: a client that hears every announcement ends up with the owner, unless one of two
   owners left and its last word to the other one was lost, or the owner died before it could answer. In a row of
   lesser masters up to a second later: they are answered at growing gaps.

8. A sync group is MASTER with all of its routers or with none: a host that follows a master with one of them, or has
   a fault in one, has resigned from all in the same turn, and answers for the others for as long as a lame duck may.
   One that is new, or was not adopted with the others, may join them later. When the members do not rank the hosts
   alike, two that become MASTER at the same moment may both yield, once: who comes second waits for a down interval
   and as long as a lame duck more.

9. What scripts and FIFOs are told of a router and of a group is a path through its states: each tells the one before,
   no state twice in a row, nothing is left out. A reload and an adoption tell nothing of what goes on; whoever is not
   adopted after a crash begins at INIT again, and nobody has been told of its end. So with the priority, which is the
   configured one and the weights from the turn in which the process is told of them.

10. What a process knew that follows from nothing else goes on in the next one, also after its death: how it took an
    interface, until a delay would have ended; the effective priority, until what is tracked has been looked at again.

11. Who has a fault (its own, a static item that is missing, a script that fails) is in FAULT from the turn in which the
    process is told, also one that begins or adopts; and a reload moves nobody, but who has slept too long.

12. A rightful advert is believed, nothing else is, and no sequence is sent twice (seals.py).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from simulator import text

from vrrpd.model.values import Routing
from vrrpd.model.vrrp import VrrpInstance
from vrrpd.vrrp.actions import PriorityChange, Transition
from vrrpd.vrrp.duties import ANSWER, LOWER, RESTORE_GAP
from vrrpd.vrrp.master import PATIENCE
from vrrpd.vrrp.path import FRESH, HELLO_GAP
from vrrpd.vrrp.router import VirtualRouter
from vrrpd.vrrp.states import BACKUP, FAULT, INIT, MASTER, State
from vrrpd.vrrp.track import FATAL

if TYPE_CHECKING:
    from seals import Wire
    from world import Host, World

DRIFT = 0.025  # of two clocks against each other, and some
HAIR = 1e-6


class Violation(AssertionError):
    """Something happened that must not."""


class Rules:
    """Of one world."""

    def __init__(self, world: World) -> None:
        self.world = world
        hosts, routers = range(len(world.hosts)), world.history.routers
        self.hosts = world.hosts
        self.delay = world.history.delay
        self.intervals = [max(router.interval) for router in routers]  # the longest there were
        self.calm = world.history.calm
        # The members of a group do not rank the hosts alike: there is no best one.
        self.contrary = world.history.group and len({tuple(router.priority) for router in routers}) > 1
        self._unheard = [[-1e9] * len(hosts) for _ in hosts]  # [sender][receiver]: when it last missed something
        self._excused = [-1e9] * len(hosts)  # when it was last not itself
        self._pairs: dict[tuple[bytes, int, int], float] = {}  # two owners of an address, since when
        self._owners: dict[bytes, set[int]] = {}
        self._of: dict[bytes, int] = {}  # address -> router
        self._sent: dict[tuple[int, int], float] = {}  # (host, router): its last advert
        self._masters: set[tuple[int, int]] = set()  # (host, router), until its addresses are dealt with
        self._since: dict[tuple[int, int], float] = {}  # (host, router): when it became MASTER
        self._left: dict[tuple[int, int], float] = {}  # (host, router): when it resigned
        self._successors: dict[tuple[int, int], set[int]] = {}  # and who could follow it then
        self._heard: dict[tuple[int, int], tuple[float, int, float]] = {}  # when, priority, interval; 0: resigned
        self._accepted: dict[tuple[int, int], int] = {}
        self._ranks: dict[tuple[bytes, int, float], dict[int, int]] = {}  # of one message: rank -> host
        self._slept: dict[int, tuple[float, float]] = {}  # host: since when it runs again, and for how long it did not
        self._taken: dict[tuple[int, bytes | Routing], float] = {}  # what somebody took away from a host, and when
        self._weighed: dict[tuple[int, str], int] = {}  # (host, router): the priority that they heard last
        self._told: dict[tuple[int, str], State] = {}  # (host, router or group): what scripts heard last
        self._links: dict[int, tuple[dict[str, tuple[bool, float]], bool]] = {}  # how a dead process took them
        self._calls_back = 0.0  # until when somebody who handed over keeps back
        self._last_word_lost = False  # one of two owners left, and the other one was not told
        self._preference = True  # nobody said anything against the highest priority

    def fail(self, message: str) -> None:
        raise Violation(f"at {self.world.now:.6f}: {message}")

    # ---- what is excused -------------------------------------------------------------------------------------

    def unheard(self, sender: int, receiver: int) -> None:
        self._check_pairs(sender, receiver)
        self._unheard[sender][receiver] = self.world.now

    def disturbed(self, host: Host) -> None:
        """From now on it is not what it was; whatever it had to do before must be done."""
        self._check_pairs(host.number, None)
        self._check_silence(host)
        self._excused[host.number] = self.world.now

    def restarted(self, host: Host) -> None:
        self.disturbed(host)
        for table in (self._told, self._weighed):
            for key in [key for key in table if key[0] == host.number]:
                del table[key]
        for number in range(len(self.intervals)):
            self._forget(host, number)

    def dies(self, host: Host) -> None:
        """Its next process is to adopt what it has, and knows nothing of the announcements that it owed."""
        routers = host.engine.routers.values() if host.engine else ()
        if any({ANSWER, LOWER} & set(router.duties.pending) for router in routers):
            self._last_word_lost = True

    def ends(self, host: Host, guard: bool) -> None:
        """Its process; what a guard that is left knows of it must survive."""
        self._links.pop(host.number, None)
        if host.engine is not None and not guard:
            self._links[host.number] = host.engine.head()["links"], host.link.up

    def begun(self, host: Host) -> None:
        """Another process: a link counts as what it counted as, for as long as it would have."""
        self.told_all(host)
        self.in_fault(host, judged=False)
        links, up = self._links.pop(host.number, ({}, False))
        assert host.engine is not None
        for name, (taken, until) in links.items():
            now_taken, now_until = host.engine.head()["links"].get(name, (None, 0.0))
            same = now_taken == taken and (host.link.up == taken or now_until == until)
            if until > host.clock() and host.link.up == up and not same:
                self.fail(f"{host.name} has forgotten that {name} is taken for {'up' if taken else 'down'}")

    def adopted(self, host: Host, numbers: Sequence[int]) -> None:
        names = [*(f"VI_{number}" for number in numbers), *(group.name for group in host.groups if numbers)]
        kept = {key: self._told[key] for key in ((host.number, name) for name in names) if key in self._told}
        self.restarted(host)
        self._told.update(kept)
        self._masters.update((host.number, number) for number in numbers)

    def goes_on(self, host: Host, numbers: Sequence[int], priorities: dict[int, int]) -> None:
        """An adoption: its first act is an advert of each, with the priority that it had."""
        for number in numbers:
            router = host.router(number)
            weighs = router is not None and self.world.history.weights and router.cfg.priority != 255
            if router and weighs and priorities[number] not in (255, router.priority):
                self.fail(f"{host.name} adopts VI_{number} of priority {priorities[number]} at {router.priority}")
            quiet = self._sent.get((host.number, number)) != self.world.now
            if router and router.cfg.timer_expired_backup and router.state is BACKUP:
                continue  # it is asked to step down after so long
            if router and not router.faults and not router.leaving and (router.state is not MASTER or quiet):
                self.fail(f"{host.name} adopts VI_{number}, and is {router.state.name} and silent")

    def resumed(self, host: Host) -> None:
        self._check_pairs(host.number, None)
        self._excused[host.number] = self.world.now
        for number in range(len(self.intervals)):
            self._sent.pop((host.number, number), None)

    def slept(self, host: Host, duration: float) -> None:
        self._slept[host.number] = self.world.now, duration

    def configured(self, host: Host, old: VrrpInstance, new: VrrpInstance) -> None:
        number = int(new.name[3:])
        self.intervals[number] = max(self.intervals[number], new.advert_int)
        if old.priority != new.priority:
            self._weighed.pop((host.number, new.name), None)
        if (old.priority, old.advert_int) != (new.priority, new.advert_int):
            self.disturbed(host)
            self._slept.pop(host.number, None)

    def handed_over(self, host: Host) -> None:
        self._preference = False
        longest = max(3 * i * (1 + DRIFT) + skew for i, skew in self._downs())
        self._calls_back = max(self._calls_back, self.world.now + 2 * longest)

    def _forget(self, host: Host, number: int) -> None:
        self._masters.discard((host.number, number))
        for table in (self._sent, self._left, self._heard):
            table.pop((host.number, number), None)

    # ---- bounds ----------------------------------------------------------------------------------------------

    @property
    def longest_interval(self) -> float:
        return max(max(self.intervals), 1.0 if any(r.version == 2 for r in self.world.history.routers) else 0.0)

    def longest_skew(self, number: int) -> float:
        return self.intervals[number] if self.world.history.routers[number].version == 3 else 1.0

    def _downs(self) -> Iterator[tuple[float, float]]:
        """Interval and longest skew of each router."""
        for number, interval in enumerate(self.intervals):
            yield interval, self.longest_skew(number)

    def longest_down(self) -> float:
        return max((3 * i + skew) * (1 + DRIFT) + 2 * self.delay for i, skew in self._downs())

    def settling(self) -> float:
        """From the moment when all is whole until it must have settled."""
        patience = max(
            self._patience(low, high, number) * interval
            for number, interval in enumerate(self.intervals)
            for low in self.hosts
            for high in self.hosts
        )
        ducks = self.longest_down() + 2.5 * self.longest_interval if self.world.history.group else 0.0
        if self.contrary:  # both may yield: then all of it once more, and whoever comes second waits as long as a duck
            ducks += self.longest_down() + 2.5 * self.longest_interval
        # Two that ignore each other may yield at the same moment, when one of them has heard the other for longer. Both
        # come back, and have heard each other for the same time then.
        rounds = 2 if self._ignore_each_other() else 1
        return ducks + max(
            rounds * (self.longest_down() + patience * (1 + DRIFT)),
            self._calls_back - self.world.now + self.longest_interval,
        )

    # ---- two owners ------------------------------------------------------------------------------------------

    def holds(self, host: Host, address: bytes, router: int) -> None:
        owners = self._owners.setdefault(address, set())
        self._of[address] = router
        for other in owners:
            self._pairs[address, min(other, host.number), max(other, host.number)] = self.world.now
        owners.add(host.number)

    def drops(self, host: Host, address: bytes, router: int) -> None:
        owners = self._owners[address]
        for other in owners - {host.number}:
            pair = address, min(other, host.number), max(other, host.number)
            self._check_pair(pair, self._pairs.pop(pair))
            said = self._left.get((host.number, router), self.world.now)
            cut_off = host.mute or self.hosts[other].mute or not host.link.up
            if cut_off or self._unheard[host.number][other] >= said:
                self._last_word_lost = True
        if any(other.suspended and address in other.kernel for other in self.hosts if other is not host):
            self._last_word_lost = True  # it has the address too, and sleeps
        owners.discard(host.number)
        if not owners and self.calm:
            self._gap(host, address, router)

    def _gap(self, host: Host, address: bytes, router: int) -> None:
        if self.contrary:
            return  # two that take over at the same moment both yield
        if any(address not in {entry.address for entry in h.config[router].virtual_ipaddress} for h in self.hosts):
            return  # it is going out of the configuration, or coming
        for other in self._successors.pop((host.number, router), ()):
            if self._gives_way(self.hosts[other]):
                continue
            name = self.hosts[other].name
            self.fail(f"{host.name} drops {text(address)}, and {name} which could have it does not")

    def _gives_way(self, host: Host) -> bool:
        """It was outbid just before, so that it takes the priority 0 for that of one who yields to it as well."""
        routers = host.engine.routers.values() if host.engine is not None else ()
        return self.world.history.group and any(host.clock() < router.yielding_until for router in routers)

    def _may_succeed(self, host: Host, number: int) -> bool:
        numbers = range(len(self.intervals)) if self.world.history.group else (number,)
        routers = [host.router(each) for each in numbers]
        return all(router is not None and router.state is BACKUP and not router.yielding_until for router in routers)

    def _has_just_yielded(self, host: Host, number: int) -> bool:
        """Its last advert as MASTER may be under way still, and is taken for the first one of a successor."""
        router = host.router(number)
        last = router.last_transition if router else None
        return last is not None and last.old is MASTER and host.clock() - last.at < 2 * self.delay

    def _check_pairs(self, one: int, other: int | None) -> None:
        for pair, since in self._pairs.items():
            if one in pair[1:] and (other is None or other in pair[1:]):
                self._check_pair(pair, since)

    def _check_pair(self, pair: tuple[bytes, int, int], since: float) -> None:
        limit = self._limit(pair, since)
        if self.world.now > limit + HAIR:
            a, b = (self.hosts[number].name for number in pair[1:])
            self.fail(
                f"{a} and {b} both own {text(pair[0])} since {since:.6f}, {self.world.now - limit:.6f} s too long"
            )

    def _limit(self, pair: tuple[bytes, int, int], since: float) -> float:
        number = self._of[pair[0]]
        a, b = (self.hosts[index] for index in pair[1:])
        if a.mute or b.mute or not (a.link.up and b.link.up):
            return float("inf")  # until it is in order again; that is this history's own doing
        for host in (a, b):
            if (host.number, number) not in self._masters:
                return float("inf")  # rule 5: an owner's own
        if all((host.number, number) in self._left for host in (a, b)):
            return max(self._duck(host, number) for host in (a, b))
        winner, loser = (a, b) if self._rank(a, number) > self._rank(b, number) else (b, a)
        since = max(since, self._unheard[winner.number][loser.number], self._left.get((loser.number, number), since))
        since = max(since, self._excused[winner.number], self._excused[loser.number])
        patience = self._patience(a, b, number)
        if patience:
            since = max(since, self._unheard[loser.number][winner.number])
        return since + (1 + patience) * self.intervals[number] * (1 + DRIFT) + self.delay

    def _patience(self, low: Host, high: Host, number: int) -> float:
        """In intervals: of two owners, how long the one who yields ignores the other (router.py); told at adverts."""
        one, other = low.config[number], high.config[number]
        if one.priority != 255 or other.priority != 255 or not one.owner_ignore_adverts:
            return 0.0
        return PATIENCE * (2 if other.owner_ignore_adverts else 1) + 1

    def _ignore_each_other(self) -> bool:
        """Are there two owners that are told so?"""
        return any(
            sum(host.config[number].priority == 255 and host.config[number].owner_ignore_adverts for host in self.hosts)
            > 1
            for number in range(len(self.intervals))
        )

    def _rank(self, host: Host, number: int) -> tuple[bool, int, int]:
        return (host.number, number) not in self._left, host.priority(number), host.number

    def _duck(self, host: Host, number: int) -> float:
        """Until when one that has resigned may answer."""
        left = self._left.get((host.number, number), self.world.now)
        numbers = range(len(self.intervals)) if self.world.history.group else (number,)
        longest = max(self.longest_skew(each) + 1.5 * self.intervals[each] for each in numbers)
        return max(left, self._excused[host.number]) + longest * (1 + DRIFT)

    # ---- adverts ---------------------------------------------------------------------------------------------

    def sends(self, host: Host, number: int, priority: int) -> None:
        key = host.number, number
        if priority == 0:
            self._check_pairs(host.number, None)
            self._left[key] = self.world.now
            may = {h.number for h in self.hosts if self._may_succeed(h, number)}
            # The last word of another MASTER, who is outbid or was just now, is taken for a successor's.
            others = any(h is not host and (h.number, number) in self._masters for h in self.hosts)
            misheard = others or any(self._has_just_yielded(h, number) for h in self.hosts)
            self._successors[key] = set() if misheard else may
            self._sent.pop(key, None)
            return
        if key in self._left:  # it stays: nobody has come
            self.disturbed(host)
            del self._left[key]
        self._not_silent(host, number)
        self._sent[key] = self.world.now

    def _not_silent(self, host: Host, number: int) -> None:
        last = self._sent.get((host.number, number))
        if last is None:
            return
        silent = self.world.now - max(last, self._excused[host.number])
        if silent > self.intervals[number] * (1 + DRIFT):
            self.fail(f"{host.name} is MASTER of VI_{number} and was silent for {silent:.6f} s")

    def _check_silence(self, host: Host) -> None:
        for number in range(len(self.intervals)):
            router = host.router(number)
            if not host.mute and router and router.state is MASTER and not router.leaving:
                self._not_silent(host, number)

    def hears(self, host: Host, number: int, wire: Wire) -> None:
        router = host.router(number)
        self._accepted[host.number, number] = router.advert_rcvd if router else 0
        self._wire = wire

    def heard(self, host: Host, sender: int, number: int, router: VirtualRouter | None) -> None:
        """`router`: who was asked; it may be another process's by now, or nobody's."""
        wire, seals = self._wire, self.world.seals
        if router is None:
            return
        if router.advert_rcvd == self._accepted[host.number, number]:
            if wire.forged or wire.again:
                return
            other = router.cfg.version == 2 and router.cfg.advert_int != wire.message[5]
            if not other and not seals.may_refuse(host, router, wire):
                self.fail(f"{host.name} refuses a valid advert from {self.hosts[sender].name}")
            self.unheard(sender, host.number)
            if (sender, number) not in self._masters:  # it has yielded since
                self._last_word_lost = True
            return
        if router.auth is not None:
            complaint = seals.believes(host, router, wire)
            if complaint:
                self.fail(complaint)
            if wire.again:
                self.unheard(sender, host.number)  # it is old
        message = wire.message
        own = host.config[number].advert_int
        learned = ((message[4] & 15) << 8 | message[5]) / 100 if router.cfg.version == 3 else own
        self._heard[host.number, number] = (self.world.now, message[2], learned)

    def believes(self, host: Host, number: int, sender: bytes, rank: int, sent: float, honest: bool) -> None:
        """It acts on a message of the second path, of which the world knows more than it can."""
        router = host.router(number)
        assert router is not None
        age = self.world.now - sent
        if not honest:
            self.fail(f"{host.name} believes of VI_{number} what was forged or said again")
        apart = HELLO_GAP + self._slept.get(host.number, (0.0, 0.0))[1]  # since when the clocks may have drifted
        if age > min(FRESH, max(self.intervals[number], router.master_adver_int)) + DRIFT * apart + self.delay:
            self.fail(f"{host.name} believes of VI_{number} what is {age:.6f} s old")
        ranks = self._ranks.setdefault((sender, number, sent), {})
        if ranks.setdefault(rank, host.number) != host.number:
            self.fail(f"{host.name} and {self.hosts[ranks[rank]].name} are to succeed at the same time")
        self._heard[host.number, number] = (self.world.now, 0, 0.0)  # as priority 0

    # ---- transitions -----------------------------------------------------------------------------------------

    def moved(self, host: Host, transition: Transition, cause: Wire | None) -> None:
        router = transition.router
        number = int(router.name[3:])
        if transition.new is MASTER:
            self._masters.add((host.number, number))
            self._since[host.number, number] = self.world.now
            self._takes_over(host, router, number, transition)
        else:
            for candidates in self._successors.values():
                candidates.discard(host.number)  # it begins anew, and knows of no resignation
        if transition.old is MASTER:
            self._masters.discard((host.number, number))
            self._sent.pop((host.number, number), None)
            self._left.pop((host.number, number), None)
            if transition.new is BACKUP and transition.reason.startswith("heard"):
                self._yields(host, router, number, cause)
        if transition.new is BACKUP and cause is None:
            self._heard.pop((host.number, number), None)
        if router.state is transition.new:
            self.belongs(host, router)

    def _takes_over(self, host: Host, router: VirtualRouter, number: int, transition: Transition) -> None:
        key = host.number, number
        at, priority, interval = self._heard.get(key, (-1e9, 0, 0.0))
        if router.cfg.version == 2:
            interval = min(interval, router.cfg.advert_int)
        silence = self.world.now - at
        preempts = priority < router.priority and (router.cfg.preempt or router.priority == 255)
        if transition.old is BACKUP and priority and silence < 3 * interval * (1 - DRIFT) and not preempts:
            self.fail(
                f"{host.name} takes over VI_{number} at priority {router.priority}, "
                f"{silence:.6f} s after an advert of priority {priority}"
            )
        woke, slept = self._slept.get(host.number, (-1e9, 0.0))
        listened, interval = (
            self.world.now - woke,
            min(router.cfg.advert_int, *self.world.history.routers[number].interval),
        )
        # What was armed before it slept and comes due as it wakes is not late.
        armed = max(3 * self.intervals[number] + self.longest_skew(number), router.cfg.preempt_delay)
        long = slept > armed + self.intervals[number]
        if transition.old is BACKUP and long and at < woke and listened < interval * (1 - DRIFT):
            self.fail(f"{host.name} takes over VI_{number} {listened:.6f} s after it slept for {slept:.6f} s")
        self._heard.pop(key, None)
        self._sent[key] = self.world.now
        self._left.pop(key, None)

    def _yields(self, host: Host, router: VirtualRouter, number: int, cause: Wire | None) -> None:
        if cause is None:
            self.fail(f"{host.name} yields VI_{number} to nobody")
            return
        priority = cause[4][2]
        if priority == router.priority == 255 and host.config[number].priority == 255:
            beside = self.world.now - self._since.get((host.number, number), self.world.now)
            if beside < PATIENCE * router.cfg.advert_int * (1 - DRIFT) and cause[1] < router.spec.source:
                self.fail(f"{host.name} yields VI_{number} to another owner after {beside:.6f} s")
        elif (priority, cause[1]) <= (router.priority, router.spec.source):
            self.fail(f"{host.name} yields VI_{number} to priority {priority} from {text(cause[1])}")
        self._heard[host.number, number] = (self.world.now, priority, 0.0)

    def together(self, host: Host) -> None:
        """Rule 8, after each turn."""
        if host.engine is None or host.engine.stopping:
            return
        routers = host.engine.routers.values()
        masters = [router for router in routers if router.state is MASTER and not router.leaving]
        others = [router for router in routers if router.state is FAULT or router.follows]
        if masters and others:
            self.fail(f"{host.name} is MASTER of {masters[0].name}, and {others[0].state.name} of {others[0].name}")

    def belongs(self, host: Host, router: VirtualRouter) -> None:
        """Rule 5, after each turn that changed something of the router in the kernel."""
        number = int(router.name[3:])
        if host.router(number) is not router:
            return  # another process has it, or has it no more
        has: set[bytes | Routing] = {address for address, owner in host.kernel.items() if owner == number}
        has.update(way for way, owner in host.ways.items() if owner == number)
        wants: set[bytes | Routing] = set()
        if router.state is MASTER:
            wants.update(entry.address for entry in router.addresses)
            wants.update(router.routing)
        elif router.priority == 255:
            has -= {entry.address for entry in router.addresses}
        missing = {what for what in wants - has if not self._may_be_missing(host, router, what)}
        if has - wants or missing:
            names = sorted(what.text if isinstance(what, Routing) else text(what) for what in (has - wants) | missing)
            verb = "has too much" if has - wants else "lacks"
            self.fail(f"{host.name} is {router.state.name} of VI_{number} and {verb}: {', '.join(names)}")

    def _may_be_missing(self, host: Host, router: VirtualRouter, what: bytes | Routing) -> bool:
        """It leaves, and does not take on more; or somebody has just taken it away; or nobody cares (no_track)."""
        if router.leaving or (isinstance(what, Routing) and what.no_track):
            return True
        since = max(self._taken.get((host.number, what), -1e9), self._excused[host.number])
        return (host.number, what) in self._taken and self.world.now - since <= RESTORE_GAP * (1 + DRIFT) + HAIR

    def weighed(self, host: Host) -> None:
        """It knows what the helper does: its priority is the configured one and its weight. (A fatal one adds none.)"""
        if host.engine is None or host.catching_up or not self.world.history.weights:
            return
        for number, router in enumerate(host.engine.routers.values()):
            if host.weights[number] > FATAL and router.priority != host.priority(number):
                self.fail(f"{host.name} has priority {router.priority} for VI_{number}, not {host.priority(number)}")

    def reweighed(self, host: Host, change: PriorityChange) -> None:
        """Told once for each change, each from the one before."""
        key = host.number, change.router.name
        if change.former == change.priority or self._weighed.get(key, change.former) != change.former:
            self.fail(
                f"{host.name} tells of {key[1]} {change.former} -> {change.priority}, {self._weighed.get(key)} before"
            )
        self._weighed[key] = change.priority

    def reloaded(self, host: Host, states: dict[str, State]) -> None:
        """A reload moves nobody, but who should have stepped down by now (timer_expired_backup) or has to with it."""
        self.told_all(host)
        self.in_fault(host)
        assert host.engine is not None
        steps_down = any(cfg.timer_expired_backup for cfg in host.config)
        for name, router in host.engine.routers.items():
            if host.catching_up or states[name] is INIT or (states[name] is MASTER and steps_down):
                continue
            if router.state is not states[name]:
                self.fail(f"{host.name} is {router.state.name} of {name} after a reload, {states[name].name} before")

    def in_fault(self, host: Host, judged: bool = True) -> None:
        """Rule 11: who has a fault is in FAULT, or has not begun. `judged`: it knows what the helper does."""
        if host.engine is None or host.catching_up:
            return
        for number, router in enumerate(host.engine.routers.values()):
            failing = judged and host.judged[number] and not host.results[number]
            faulty = host.sick[number] or host.missing[number] or failing
            if faulty and router.state not in (FAULT, INIT):
                self.fail(f"{host.name} is {router.state.name} of {router.name}, and has a fault")

    def taken(self, host: Host, what: bytes | Routing) -> None:
        self._taken[host.number, what] = self.world.now

    def told(self, host: Host, name: str, old: State, new: State) -> None:
        """Scripts and FIFOs hear of each state once, each from the one before (rule 9)."""
        before = self._told.get((host.number, name), INIT)
        if old is not before or new is old:
            self.fail(f"{host.name} tells that {name} is {new.name}, {old.name} before; it told {before.name}")
        self._told[host.number, name] = new

    def told_all(self, host: Host) -> None:
        """Nothing was kept back, and nothing lost on the way from one process to the next."""
        if host.engine is None:
            return
        for name, router in host.engine.routers.items():
            if self._told.get((host.number, name), INIT) is not router.state:
                self.fail(f"{host.name} has not told that {name} is {router.state.name}")
        for name, group in host.engine.groups.items():
            state = group.state
            if state is not None and self._told.get((host.number, name), INIT) is not state:
                self.fail(f"{host.name} has not told that {name} is {state.name}")

    # ---- at the end ------------------------------------------------------------------------------------------

    def _able(self, number: int) -> list[Host]:
        able = []
        for host in self.hosts:
            router = host.router(number)
            if router and not host.mute and router.state not in (INIT, FAULT) and host.link.up:
                able.append(host)
        return able

    def settled(self) -> None:
        """From here on everybody has an owner; and nobody two, but for a moment in which one takes over."""
        self._everybody_has_one()
        self.calm = True

    def _everybody_has_one(self) -> None:
        for host in self.hosts:
            self._check_pairs(host.number, None)
            self._check_silence(host)
            for each in host.engine.routers.values() if host.engine and not host.mute else ():
                self.belongs(host, each)
        for number in range(len(self.intervals)):
            for host in self.hosts:
                router = host.router(number)
                if router and router.state is FAULT and host.link.up and not host.in_maintenance:
                    self.fail(f"{host.name} is in FAULT: {', '.join(router.faults)}")
            able = self._able(number)
            if not able:
                continue
            for entry in able[0].config[number].virtual_ipaddress:
                owners = self._owners.get(entry.address, set())
                if not owners:
                    self.fail(f"nobody owns {text(entry.address)}")

    def finished(self) -> None:
        self._everybody_has_one()
        for host in self.hosts if self.world.history.group else ():
            states = {router.state for router in host.engine.routers.values()} if host.engine else set()
            if MASTER in states and len(states) > 1:
                self.fail(f"{host.name} is in the end MASTER of one member and not of another")
        for address, owners in self._owners.items():
            number = self._of[address]
            if len(owners) > 1 and not self._recent(address):
                self.fail(f"{', '.join(self.hosts[owner].name for owner in owners)} own {text(address)} in the end")
            able = self._able(number)
            if len(owners) == 1 and able:
                (owner,) = owners
                self._right_one(number, self.hosts[owner], able)

    @property
    def misled(self) -> str:
        """Whom the segment takes for an owner who is not, in words; "" when it knows better."""
        for address, owners in self._owners.items():
            if len(owners) != 1 or self._last_word_lost or not self._able(self._of[address]):
                continue
            (owner,) = owners
            if self.world.cache.get(address) != owner:
                heard = self.hosts[self.world.cache[address]].name
                return f"{text(address)} is {self.hosts[owner].name}'s, and the segment last heard of {heard}"
        return ""

    def _recent(self, address: bytes) -> bool:
        limit = self.world.now - self.delay
        return any(since >= limit for pair, since in self._pairs.items() if pair[0] == address)

    def _right_one(self, number: int, owner: Host, able: list[Host]) -> None:
        configs = [c for h in able for c in (h.config if self.world.history.group else h.config[number : number + 1])]
        if self.contrary or not self._preference or any(not cfg.preempt or cfg.preempt_delay for cfg in configs):
            return
        highest = max(host.priority(number) for host in able)
        if owner.priority(number) < highest:
            self.fail(f"{owner.name} has VI_{number} in the end, whose priority is not the highest")
