"""What happens in one history, as plain data: the hosts, their configurations, the network, and every event with its
time. A history is drawn from a seed, or read from a file that was kept; any event may be left out and it is a history
still, so that a failing one can be made small.

Times are seconds of the true clock. `interval` is the unit that they were drawn in, the longest advert_int at the
start. Events are (at, kind, arguments...):

    cut DURATION SENDERS RECEIVERS      nothing of these hosts reaches those; both ways when asked for twice
    noise DURATION LOSS DELAY TWICE     of every datagram: lost with this probability, later by up to this (and so out
                                        of order), sent twice with this probability
    link HOST DURATION                  its interface is down
    stop HOST BACK                      planned stop; started again after BACK seconds, 0 for never
    crash HOST BACK REACTION            the vrrp process dies; the guard executes the will, and starts another
    adopt HOST REACTION                 the vrrp process dies; the guard's next one adopts what it had
    kill HOST BACK LIFETIME             everything dies and nobody executes the will; addresses end after LIFETIME
    power HOST BACK                     the host is off, its addresses with it
    hang HOST DURATION ADOPT            the vrrp process does not run; the guard fences it when that takes too long
    freeze HOST DURATION                nothing of ours runs, the kernel answers
    suspend HOST DURATION               the whole machine does not run, its clock does
    maintenance HOST DURATION           out of service
    handover HOST ROUTER                MASTER given away
    reload HOST ROUTER WHAT VALUE       priority, preempt or preempt_delay of one host; nothing: the same once more
    interval ROUTER VALUE LATER         advert_int of a router, host after host, each LATER after the one before
    vips ROUTER COUNT LATER             as many addresses from now on, host after host
    weigh HOST ROUTER NUMBER            what the router tracks adds this to its priority from now on; -300: FAULT
    peers ROUTER MANY LATER             unicast_peer names so many hosts that are not there, host after host
    clock HOST STEP                     its time of day is set forward or back
    rotate ROUTER LATER                 auth_hmac gets another key, or its first, in three steps, host after host
    ways ROUTER COUNT EXCLUDED LATER    as many routes and rules, and excluded addresses, host after host
    lost HOST ROUTER                    somebody takes an address off
    taken HOST ROUTER WHICH             somebody takes one of its routes or rules away
    junk HOST ROUTER                    datagrams that no router may act on
    judge HOST ROUTER GOOD              the script that the router tracks says so from now on
    missing HOST ROUTER DURATION        a static item that it needs cannot be had
    sick HOST ROUTER DURATION           one router of a host has a fault
    split DURATION ROUTER SENDERS RECEIVERS    nothing of these hosts about one router reaches those
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, replace
from random import Random
from typing import Any

OPERATOR = ("stop", "maintenance", "handover", "reload", "vips", "junk")
# The more often, the likelier they meet.
FAULTS = (
    *("cut", "cut", "cut", "noise", "noise", "link", "link", "power", "lost"),
    *("crash", "adopt", "adopt", "adopt", "kill", "hang", "hang", "freeze", "suspend", "suspend"),
)

Event = tuple[Any, ...]


@dataclass(frozen=True)
class Router:
    """One virtual router on every host; lists have one element for each host."""

    version: int
    ipv6: bool
    unicast: bool
    password: bool
    vips: int
    interval: list[float]
    priority: list[int]
    preempt: list[bool]
    preempt_delay: list[float]
    master: list[bool]  # state MASTER
    ignoring: list[bool] = field(default_factory=list)  # owner_ignore_adverts; nothing: nowhere
    expired: list[int] = field(default_factory=list)  # timer_expired_backup
    absent: list[int] = field(default_factory=list)  # unicast_peer: how many that are not there
    excluded: int = 0  # virtual_ipaddress_excluded
    ways: int = 0  # virtual_routes and virtual_rules, in turn
    restore: bool = True  # restore_deleted
    seal: str = ""  # AH, or auth_hmac with this anti_replay (seals.py)
    introduced: bool = False  # auth_hmac comes later, with the first `rotate`


@dataclass(frozen=True)
class History:
    seed: int
    interval: float
    delay: float  # longest on the network when nothing is wrong with it
    boot: list[float]
    drift: list[float]  # a host's clock runs this much too fast
    routers: list[Router]
    events: list[Event]
    delays: list[list[float]] = field(default_factory=list)  # interface_up_down_delays of each host: down, up
    hold: list[float] = field(default_factory=list)  # vrrp_startup_delay of each host; nothing: none
    path: bool = False  # all know each other over a second path (peer_path), which somebody attacks
    errors: list[float] = field(default_factory=list)  # of each host's time of day
    group: bool = False  # the routers of a host are a vrrp_sync_group
    scripts: list[float] = field(default_factory=list)  # every router tracks one; after so long its first result
    statics: bool = False  # every router needs a static item
    weights: bool = False  # every router tracks a file, whose number is added to its priority

    @property
    def calm(self) -> bool:
        """Without a fault: only what an operator does."""
        return all(event[1] in OPERATOR for event in self.events)

    def to_json(self) -> str:
        """One line for each router and event, to be read and to be compared."""
        data = asdict(self)
        lines = [
            f'  "{name}": [\n' + ",\n".join("    " + json.dumps(item) for item in value) + "\n  ]"
            if name in ("routers", "events") and value
            else f'  "{name}": {json.dumps(value)}'
            for name, value in data.items()
        ]
        return "{\n" + ",\n".join(lines) + "\n}\n"

    @classmethod
    def from_json(cls, text: str) -> History:
        data = json.loads(text)
        data["routers"] = [Router(**router) for router in data["routers"]]
        data["events"] = [tuple(event) for event in data["events"]]
        return cls(**data)


def draw(seed: int) -> History:
    """The history of this seed."""
    dice = Random(seed)
    count = dice.choice((2, 2, 3, 3, 4))
    version2 = dice.random() < 0.4
    interval = dice.choice((1.0, 1.0, 2.0)) if version2 else dice.choice((0.01, 0.1, 0.1, 1.0))
    routers = [
        _router(dice, count, version2 and dice.random() < 0.8, interval) for _ in range(dice.choice((1, 1, 2, 3)))
    ]
    calm = dice.random() < 0.2
    number = dice.randrange(4) if calm else 1 + dice.randrange(7)
    span = interval * dice.choice((6, 12, 20))
    start = interval * (5 if dice.random() < 0.7 else 0)
    kinds = OPERATOR if calm else FAULTS + OPERATOR + ("interval",)
    # Several things at nearly the same time are where the surprises are.
    moments = [start + dice.random() * span for _ in range(1 + number // 2)]
    events = []
    for _ in range(number):
        at = max(0.0, dice.choice(moments) + dice.choice((0.0, dice.random(), dice.random() * 0.05)) * interval)
        events += _event(dice, dice.choice(kinds), at, count, routers, interval)
    if calm:
        events = _apart(events, interval)
    group = len(routers) > 1 and Random(seed + 3).random() < 0.5
    if group:
        routers, events = _grouped(Random(seed + 4), routers, events, calm, count, interval, span)
    later = Random(f"{seed} hosts")
    delays = [[later.choice((0.0, 1.0, 5.0)) * interval, later.choice((0.0, 1.0)) * interval] for _ in range(count)]
    hold = [later.choice((0.0, 0.0, 0.0, 2.0, 5.0)) * interval for _ in range(count)]
    delay = min(min(router.interval) for router in routers) * dice.choice((0.003, 0.02, 0.05))
    boot = [0.0 if dice.random() < 0.3 else dice.random() * 4 * interval for _ in range(count)]
    drift = [dice.uniform(-0.01, 0.01) for _ in range(count)]
    routers = [_options(Random(f"{seed} {number}"), router) for number, router in enumerate(routers)]
    weights = not group and not calm and Random(f"{seed} weights").random() < 0.3
    if weights:
        events += _weights(Random(f"{seed} numbers"), len(routers), count, interval, span)
    if group and Random(f"{seed} contrary").random() < 0.5:
        routers, boot, drift = _contrary(Random(f"{seed} ranks"), routers, boot, drift)
    if not calm:
        events += _belongings(Random(f"{seed} belongings"), routers, count, interval, span)
    scripts: list[float] = []
    statics = not calm and Random(f"{seed} statics").random() < 0.1
    if Random(f"{seed} scripts").random() < 0.12:
        scripts, more = _scripts(Random(f"{seed} results"), len(routers), count, interval, span)
        events += more if not calm else []
    if statics:
        events += _statics(Random(f"{seed} items"), len(routers), count, interval, span)
    errors: list[float] = []
    if any(router.seal for router in routers):
        errors, more = _authentic(Random(f"{seed} seals"), routers, count, interval, span)
        events += more if not calm else []
    path = dice.random() < 0.3
    for _ in range(4 if path and not calm else 0):  # what it is for
        at = 5 * interval + dice.random() * span
        events += _event(dice, dice.choice(("link", "link", "crash")), at, count, routers, interval)
    return History(
        seed=seed,
        interval=interval,
        delay=delay,
        boot=boot,
        drift=drift,
        routers=routers,
        events=sorted(events, key=lambda event: event[0]),
        delays=delays,
        hold=hold,
        errors=errors,
        scripts=scripts,
        statics=statics,
        path=path,
        group=group,
        weights=weights,
    )


def _scripts(dice: Random, routers: int, hosts: int, unit: float, span: float) -> tuple[list[float], list[Event]]:
    """In the end all is well, or as it was."""
    events: list[Event] = []
    for _ in range(1 + dice.randrange(3)):
        at, host, router = 3 * unit + dice.random() * span, dice.randrange(hosts), dice.randrange(routers)
        events.append((round(at, 6), "judge", host, router, 0))
        events.append((round(at + (0.2 + 4 * dice.random()) * unit, 6), "judge", host, router, 1))
    return [dice.choice((0.0, 0.3, 2.0)) * unit for _ in range(hosts)], events


def _statics(dice: Random, routers: int, hosts: int, unit: float, span: float) -> list[Event]:
    return [
        (
            round(3 * unit + dice.random() * span, 6),
            "missing",
            dice.randrange(hosts),
            dice.randrange(routers),
            round(unit * (0.2 + 4 * dice.random()), 6),
        )
        for _ in range(1 + dice.randrange(3))
    ]


def _authentic(
    dice: Random, routers: list[Router], hosts: int, unit: float, span: float
) -> tuple[list[float], list[Event]]:
    """Clocks that differ by less than the window, are set and set right again; keys that come and go."""
    errors = [dice.choice((0.0, 0.0, dice.uniform(-1.5, 1.5))) for _ in range(hosts)]
    events: list[Event] = []
    for number, router in enumerate(routers):
        for _ in range(dice.choice((0, 1, 1)) if router.seal in ("time", "monotonic") else 0):
            at, later = 5 * unit + dice.random() * span, unit * dice.choice((0.0, 0.1, 0.7))
            events.append((round(at, 6), "rotate", number, round(later, 6)))
    if unit > 0.5 and not any(router.seal == "AH" for router in routers):  # else it is over before a clock is right
        for _ in range(dice.randrange(3)):
            at, host, step = 5 * unit + dice.random() * span, dice.randrange(hosts), dice.choice((-20, -2, 0.5, 2, 20))
            events.append((round(at, 6), "clock", host, step))
            events.append((round(at + dice.random() * span, 6), "clock", host, -step))
    return errors, events


def _belongings(dice: Random, routers: list[Router], hosts: int, unit: float, span: float) -> list[Event]:
    events: list[Event] = []
    for number, router in enumerate(routers):
        if router.unicast and dice.random() < 0.5:
            at, later = round(5 * unit + dice.random() * span, 6), round(unit * dice.choice((0.0, 0.1, 0.7)), 6)
            events.append((at, "peers", number, dice.randrange(3), later))
        for _ in range(dice.choice((0, 0, 1, 2)) if router.ways else 0):
            at, host = round(5 * unit + dice.random() * span, 6), dice.randrange(hosts)
            if dice.random() < 0.75:
                events.append((at, "taken", host, number, dice.randrange(4)))
            else:
                later = round(unit * dice.choice((0.0, 0.1, 0.7)), 6)
                events.append((at, "ways", number, dice.choice((0, 2, 3, 4)), dice.randrange(3), later))
    return events


def _weights(dice: Random, routers: int, hosts: int, unit: float, span: float) -> list[Event]:
    """A weight stays until there is another; what is a fault (-254 and less) is over in the end."""
    events: list[Event] = []
    for _ in range(2 + dice.randrange(5)):
        at = round(dice.random() * (span + 5 * unit), 6)
        host, router = dice.randrange(hosts), dice.randrange(routers)
        number = dice.choice((-300, -120, -60, -1, 0, 1, 20, 60, 200))
        events.append((at, "weigh", host, router, number))
        if number == -300:
            over = round(span + 5 * unit + dice.random() * unit, 6)
            events.append((over, "weigh", host, router, dice.choice((0, 20, -20))))
    return events


def _grouped(
    dice: Random, routers: list[Router], events: list[Event], calm: bool, hosts: int, unit: float, span: float
) -> tuple[list[Router], list[Event]]:
    """The members rank the hosts alike, as whoever configures a group should; and they have faults of their own."""
    routers = [replace(router, priority=routers[0].priority) for router in routers]
    for number in range(1, len(routers)):
        if routers[number].version == 3:
            factor = dice.choice((1, 1, 0.5, 0.2))
            quicker = [max(0.01, round(each * factor, 2)) for each in routers[number].interval]
            routers[number] = replace(routers[number], interval=quicker)
    events = [
        (*event[:4], "nothing", 0) if event[1] == "reload" and event[4] == "priority" else event for event in events
    ]
    for _ in range(0 if calm else 1 + dice.randrange(4)):
        at = round(5 * unit + dice.random() * span, 6)
        router, length = (
            dice.randrange(len(routers)),
            round(unit * dice.choice((0.5, 2, 4, 6)) * (0.5 + dice.random()), 6),
        )
        one, other = dice.sample(range(hosts), 2)
        if dice.random() < 0.5:
            events.append((at, "sick", one, router, length))
            continue
        events.append((at, "split", length, router, [one], [other]))
        if dice.random() < 0.5:
            events.append((at, "split", length, router, [other], [one]))
    return routers, events


def _contrary(
    dice: Random, routers: list[Router], boot: list[float], drift: list[float]
) -> tuple[list[Router], list[float], list[float]]:
    """Each member has another host for the best one; as alike else as can be: they are in one another's way then."""
    ranks = [dice.choice((150, 150, 200)) - 50 * host for host in range(len(boot))]
    ranks = [max(rank, 1) for rank in ranks]
    preempt = [dice.random() < 0.8] * len(boot)
    routers = [
        replace(
            router,
            priority=[*ranks[number % len(boot) :], *ranks[: number % len(boot)]],
            interval=routers[0].interval if router.version == routers[0].version else router.interval,
            preempt=preempt if dice.random() < 0.8 else router.preempt,
        )
        for number, router in enumerate(routers)
    ]
    alike = dice.random() < 0.6
    return routers, [0.0 for _ in boot] if alike else boot, [0.0 for _ in drift] if alike else drift


def _router(dice: Random, count: int, version2: bool, interval: float) -> Router:
    ipv6 = not version2 and dice.random() < 0.4
    mixed = not version2 and dice.random() < 0.15
    pool = dice.choice(
        ([100], [200, 190, 180, 170], [101, 100, 100, 99], [255, 200, 100, 1], [254, 1], [255, 255, 100])
    )
    preempt = dice.choice((True, True, False, None))
    delayed = dice.random() < 0.25
    priority = [dice.choice(pool) for _ in range(count)]
    return Router(
        version=2 if version2 else 3,
        ipv6=ipv6,
        unicast=dice.random() < 0.25,
        password=version2 and dice.random() < 0.3,
        vips=dice.choice((1, 1, 2, 3)),
        interval=[max(0.01, interval * dice.choice((0.5, 1, 1))) if mixed else interval for _ in range(count)],
        priority=priority,
        preempt=[preempt if preempt is not None else dice.random() < 0.5 for _ in range(count)],
        preempt_delay=[
            round(dice.random() * 6 * interval, 3) if delayed and dice.random() < 0.6 else 0.0 for _ in priority
        ],
        master=[dice.random() < 0.5 for _ in range(count)],
    )


def _options(dice: Random, router: Router) -> Router:
    """What came later, from dice of its own: the histories are what they were."""
    router = replace(
        router,
        ignoring=[dice.random() < 0.4 for _ in router.priority],
        expired=[dice.choice((0, 0, 100, 254)) for _ in router.priority],
        excluded=dice.choice((0, 0, 1, 2)),
        ways=dice.choice((0, 0, 0, 2, 4)),
        restore=dice.random() < 0.8,
    )
    seal = ""
    if dice.random() < 0.1 and not router.password:
        seal = dice.choice(("time", "time", "monotonic", *(("AH", "AH") if router.version == 2 else ())))
    absent = [dice.choice((0, 0, 1, 2)) for _ in router.priority] if router.unicast else []
    return replace(router, absent=absent, seal=seal, introduced=seal in ("time", "monotonic") and dice.random() < 0.4)


def _event(dice: Random, kind: str, at: float, hosts: int, routers: list[Router], unit: float) -> list[Event]:
    at = round(at, 6)
    host, router = dice.randrange(hosts), dice.randrange(len(routers))
    length = round(unit * dice.choice((0.3, 1, 2, 3, 4, 6)) * (0.5 + dice.random()), 6)
    back = 0.0 if dice.random() < 0.25 else round(max(length, 2.6 * unit), 6)
    reaction = round(unit * dice.choice((0.001, 0.02, 0.1)), 6)
    later = round(unit * dice.choice((0.0, 0.1, 0.7)), 6)
    if kind == "cut":
        side = [number for number in range(hosts) if dice.random() < 0.5] or [host]
        other = [number for number in range(hosts) if number not in side] or [host]
        shape = dice.random()
        if shape < 0.3:
            return [(at, kind, length, side, other)]
        healed = length if shape < 0.7 else round(length * (0.5 + dice.random()), 6)
        return [(at, kind, length, side, other), (at, kind, healed, other, side)]
    if kind == "noise":
        loss, twice = dice.choice((0.0, 0.1, 0.4, 0.8)), dice.choice((0.0, 0.3))
        return [(at, kind, length, loss, round(unit * dice.choice((0.0, 0.2, 2.0)), 6), twice)]
    if kind == "suspend":
        return [(at, kind, host, round(2 * length, 6))]
    if kind in ("link", "freeze", "maintenance"):
        return [(at, kind, host, length)]
    if kind in ("stop", "power"):
        return [(at, kind, host, back)]
    if kind == "crash":
        return [(at, kind, host, round(length / 3, 6), reaction)]
    if kind == "adopt":
        return [(at, kind, host, reaction)]
    if kind == "kill":
        return [(at, kind, host, back, round(unit * (2 + 4 * dice.random()), 6))]
    if kind == "hang":
        return [(at, kind, host, length, dice.random() < 0.5)]
    if kind == "handover":
        return [(at, kind, host, router)]
    if kind == "reload":
        what = dice.choice(("priority", "priority", "preempt", "preempt_delay", "nothing"))
        values: dict[str, Any] = {
            "priority": dice.choice((1, 99, 100, 101, 200, 254)),
            "preempt": dice.random() < 0.5,
            "preempt_delay": dice.choice((0.0, round(unit * 2 * dice.random(), 3))),
        }
        return [(at, kind, host, router, what, values.get(what, 0))]
    if kind == "interval":
        factor = dice.choice((1, 2, 3)) if routers[router].version == 2 else dice.choice((0.5, 1, 2))
        value = 1.0 * factor if routers[router].version == 2 else max(0.01, round(unit * factor, 2))
        return [(at, kind, router, value, later)]
    if kind == "vips":
        return [(at, kind, router, dice.choice((1, 2, 3)), later)]
    return [(at, kind, host, router)]


def _apart(events: list[Event], unit: float) -> list[Event]:
    """An operator does one thing, looks whether it worked, and does the next."""
    spaced: list[Event] = []
    at = 6 * unit
    for event in sorted(events, key=lambda event: event[0]):
        spaced.append((round(at + event[0] % unit, 6), *event[1:]))
        at += 12 * unit
    return spaced


def without(history: History, number: int) -> History:
    """The same without one of its events."""
    return replace(history, events=history.events[:number] + history.events[number + 1 :])
