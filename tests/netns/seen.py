"""What two daemons did in a step, written down so that it can be compared: everything that others can notice.

In: adverts and announcements as the laboratory saw them, calls of scripts, lines of the FIFO, lines of `ip`. Out:
`Seen` of one daemon, and the `differences` between two. What is an accident (who of two routers is told of first, the
moment of a check) is left out here; which differences are right is test_side_by_side.py's.
"""

from __future__ import annotations

import itertools
import re
import statistics
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from lab import Advert, Frame, Garp, Na, checksum, pseudo_header

BURST = 0.4  # seconds: announcements further apart are of two blocks


class Run(NamedTuple):
    """Adverts of one router with one priority, one after the other."""

    vrid: int
    priority: int
    times: tuple[float, ...]


class Seen(NamedTuple):
    """What one step has brought about.

    states, notify: lines of the FIFO; calls of scripts, the calls of each script for each instance in their order.
    adverts: (VRID, priority) wherever the priority is another than before; resigned: (VRID, adverts of priority 0).
    pace: their numbers and intervals. wire: every new form of adverts, which is all but their priority and checksum.
    announced: gratuitous ARP and neighbour advertisements, by address, how many in each block; form: what they were.
    The rest is what `ip` shows at the end, and the daemon's exit status.
    """

    notify: tuple[str, ...]
    fifo: tuple[str, ...]
    adverts: tuple[tuple[int, int], ...]
    pace: tuple[Run, ...]
    resigned: tuple[tuple[int, int], ...]
    wire: tuple[str, ...]
    announced: tuple[str, ...]
    form: tuple[str, ...]
    links: tuple[str, ...]
    addresses: tuple[str, ...]
    routes: tuple[str, ...]
    rules: tuple[str, ...]
    ended: int | None


def differences(theirs: Seen, ours: Seen) -> dict[str, str]:
    """Field: what keepalived and what vrrpd did, as far as it is not the same."""
    found = {}
    for what in Seen._fields:
        a, b = getattr(theirs, what), getattr(ours, what)
        if a == b or (what == "pace" and (theirs.adverts != ours.adverts or _same_pace(theirs, ours))):
            continue
        found[what] = _shown(what, a, b)
    return found


def _same_pace(theirs: Seen, ours: Seen) -> bool:
    """Equal intervals; and equal numbers, but for one at each edge and what a busy machine delays, unless a priority
    has changed, because a check and a timer have their own moments."""
    for vrid in {run.vrid for run in (*theirs.pace, *ours.pace)}:
        a, b = (_longest(seen.pace, vrid) for seen in (theirs, ours))
        if min(len(a), len(b)) > 4 and not 0.8 < _interval(a) / _interval(b) < 1.25:
            return False
        if not (theirs.adverts or ours.adverts) and abs(len(a) - len(b)) > 3 + 0.25 * max(len(a), len(b)):
            return False
    return True


def _longest(runs: Sequence[Run], vrid: int) -> tuple[float, ...]:
    return max((run.times for run in runs if run.vrid == vrid), key=len, default=())


def _interval(times: Sequence[float]) -> float:
    return statistics.median(b - a for a, b in zip(times, times[1:]))


def _shown(what: str, theirs: Any, ours: Any) -> str:
    if what == "pace":
        texts = [
            ", ".join(
                f"vrid {run.vrid} priority {run.priority}: {len(run.times)} adverts"
                + (f" every {_interval(run.times):.2f} s" if len(run.times) > 1 else "")
                for run in runs
            )
            for runs in (theirs, ours)
        ]
        return f"keepalived {texts[0]}; vrrpd {texts[1]}"
    if what in ("links", "addresses", "routes", "rules", "form", "announced"):
        theirs, ours = [x for x in theirs if x not in ours], [x for x in ours if x not in theirs]
    return f"keepalived {theirs}; vrrpd {ours}"


ASKED = ("addr show", "route show table all", "rule show")
KINDS = {"link": r"\d+: \S+: <", "address": r"\d+: \S+ +inet6? ", "route": r"never", "rule": r"\d+:\t"}


def last_priorities(frames: Iterable[Frame]) -> dict[int, int]:
    return {frame.vrid: frame.priority for frame in frames if isinstance(frame, Advert)}


def runs_of(adverts: Sequence[Advert]) -> Iterator[Run]:
    """By VRID, because the order between two is an accident."""
    for vrid, told in itertools.groupby(sorted(adverts, key=lambda a: a.vrid), lambda a: a.vrid):
        for priority, same in itertools.groupby(told, lambda a: a.priority):
            yield Run(vrid, priority, tuple(advert.at for advert in same))


def form_of(advert: Advert) -> str:
    """An advert without its priority and checksum; of the latter, what was summed."""
    message, six = advert.message, ":" in advert.source
    sums = "bad"
    if checksum(message) == 0:
        sums = "message"
    elif checksum(pseudo_header(advert.source, advert.destination, len(message)) + message) == 0:
        sums = "message and pseudo-header"
    size = 8 + len(advert.addresses) * (16 if six else 4)
    return (
        f"vrid {advert.vrid} version {advert.version}, {advert.source} {advert.frame[6:12].hex(':')} to "
        f"{advert.destination} {advert.frame[:6].hex(':')}, protocol {advert.frame[20 if six else 23]}, "
        f"ttl {advert.ttl}, tos {advert.tos:#x}, {message[4:6].hex()}, {' '.join(advert.addresses)}, "
        f"{message[size:].hex()}, sum of {sums}"
    )


def blocks_of(frames: Sequence[Frame]) -> Iterator[str]:
    for address, said in itertools.groupby(sorted(frames, key=lambda f: _address(f)), lambda f: _address(f)):
        sizes, before = [0], None
        for frame in said:
            if before is not None and frame.at - before > BURST:
                sizes.append(0)
            sizes[-1] += 1
            before = frame.at
        yield f"{address}: {' + '.join(map(str, sizes))}"


def _address(frame: Frame) -> str:
    assert isinstance(frame, (Garp, Na))
    return frame.address


def shape_of(frame: Frame) -> str:
    if isinstance(frame, Garp):
        kind = {1: "request", 2: "reply"}[frame.frame[21]]
        return f"ARP {kind} {frame.frame[6:12].hex(':')} to {frame.frame[:6].hex(':')}, of {frame.mac}"
    assert isinstance(frame, Na)
    head = f"NA {frame.frame[6:12].hex(':')} to {frame.destination} {frame.frame[:6].hex(':')}"
    return f"{head}, flags {frame.flags:#x}, options {frame.frame[78:].hex()}, hops {frame.frame[21]}"


def by_script(calls: Sequence[str]) -> tuple[str, ...]:
    """Scripts run side by side: only the calls of one script for one instance have an order."""
    return tuple(sorted(calls, key=lambda call: " ".join(call.split()[:3])))


def in_order(fifo: Sequence[str]) -> tuple[str, ...]:
    """As it was told of each instance; which of several is told of first is an accident, unless they are a group."""
    if not any(line.startswith("GROUP") for line in fifo):
        return tuple(sorted(fifo, key=lambda line: line.split()[1]))
    told: list[str] = []
    for _, alike in itertools.groupby(fifo, lambda line: (line.split()[0], line.split()[2])):
        told += sorted(alike)
    return tuple(told)


def plain(what: str, line: str) -> str:
    """Not who made it, each says so itself, keepalived as protocol 18; and no numbers that are an accident."""
    line = line.replace("\\", " ").replace(" proto keepalived", "").replace(" proto 18", "")
    if what == "link":
        name = line.split()[1].rstrip(":")
        flags = line[line.index("<") : line.index(">") + 1]
        mac = re.search(r"link/\S+ (\S+)", line)
        kind = re.search(r"macvlan|ipvlan|veth", line)
        return f"{name} {flags} {mac[1] if mac else ''} {kind[0] if kind else ''}"
    line = re.sub(r"^unicast ", "", line.replace(" proto unspec", "").replace(" proto boot", ""))
    line = re.sub(r"_lft \d{2,}sec", "_lft N", re.sub(r" expires \d+sec", " expires", line))
    return " ".join(re.sub(r"^\d+: ", "", line).split() if what == "address" else line.split())
