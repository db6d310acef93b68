"""The same file and the same events for Debian's keepalived and for vrrpd: what each of them does, compared.

plays_*.py have the files and the events, seen.py is what others can notice of them. KNOWN says where the two may
differ, and why; any other difference fails, and so does an entry that no longer applies. The report at the end of the
run names for each play its steps, and of those that differ the reason.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future
from fnmatch import fnmatchcase
from typing import NamedTuple

import plays_host
import plays_protocol
import pytest
from conftest import side_by_side
from seen import differences
from stage import Act, Pair, Stage

from lab import Keepalived, Lab, Ours

PLAYS = {**plays_protocol.PLAYS, **plays_host.PLAYS}
Found = dict[str, dict[str, str]]  # step: what is different: how


class Known(NamedTuple):
    """Why the fields `what` of the steps `where` ("play: step", or a pattern of it) differ. With a ?: they may."""

    why: str
    what: str
    where: tuple[str, ...]


KNOWN = (
    Known(
        "one priority 0 says it; keepalived sends it on leaving MASTER and again on entering FAULT",
        "resigned",
        (
            "trouble: script fails", "losses: weight beyond all", "reload 3: tracker that fails added",
            "group: script fails", "trackers: weight beyond", "weights: it goes down", "weights: not zero",
            "statics: interface down", "vmac, base: virtual interface down",
        ),
    ),
    Known(
        "what somebody took off is put back, an address announced, without an election (restore_deleted)",
        "notify fifo adverts resigned announced form?",
        (
            "losses: *address deleted by somebody", "losses: rule deleted by somebody",
            "ipv6: address deleted by somebody", "forms: a labelled address deleted", "forms: a route deleted",
        ),
    ),
    Known("keepalived's election puts back what nobody tracks", "addresses routes", ("forms: a route deleted",)),
    Known(
        "keepalived does not watch a route that names no interface", "routes", ("losses: route deleted by somebody",)
    ),
    Known(
        "keepalived 2.2 drops adverts with another address list; accepted and counted (RFC 9568 7.1)",
        "notify fifo",
        ("election: other addresses, *", "election: the same addresses"),
    ),
    Known(
        "the same, and who is MASTER therefore", "addresses routes rules pace?", ("election: other addresses, higher",)
    ),
    Known("the same, and what a MASTER owes", "announced form", ("election: other addresses, lower",)),
    Known(
        "so it does with skip_check_adv_addr, unless it has accepted the sender's last advert",
        "fifo announced form",
        ("loose: lower advert",),
    ),
    Known(
        "another group makes a new instance in keepalived; here a MASTER stays one",
        "notify fifo adverts resigned announced form",
        ("loose: default group",),
    ),
    Known(
        "of two owners the lower address yields and stays 255; keepalived's yields to either and is 254 from then on",
        "notify fifo adverts?",
        ("owners: lower address", "owners: higher address", "owners: stop"),
    ),
    Known(
        "whoever resigns beside a MASTER has been one: the neighbours are told again",
        "announced form",
        ("election: priority 0 as MASTER",),
    ),
    Known(
        "lesser adverts in a row are answered at growing gaps up to a second, the last one always; keepalived: each",
        "fifo? notify? pace? announced?",
        (
            "reload 2: priority above theirs, as BACKUP", "group, weighed: weight is back", "nopreempt: lower ones *",
            "preempt_delay: start *", "preempt_delay: lower one is heard", "preempt_delay: then lower ones",
            "owner: start beside another", "sparse: lower adverts", "late: start beside a lower one",
        ),
    ),
    Known("the same, and strict mode announces nothing for it", "fifo? pace?", ("strict: lower adverts",)),
    Known(
        "the same, and what is left of it in the next step",
        "fifo? notify? announced? form? pace?",
        (
            "reload 2: stop", "group, weighed: silence", "nopreempt: stop", "preempt_delay: higher adverts",
            "preempt_delay: it falls silent", "owner: it falls silent", "sparse: higher advert", "late: stop again",
        ),
    ),
    Known(
        "keepalived's advert timer starts anew after any packet for its VRID: junk slows a MASTER down",
        "pace?",
        ("junk: *", "unicast: *", "PASS: *", "AH: *", "election: *", "owner: higher is not possible"),
    ),
    Known(
        "keepalived 2.2 announces what a reload adds once; from 2.3.2 on, and here, again after garp_master_delay",
        "announced",
        (
            "reload 1: one address more", "reload 1: another prefix", "reload 1: an excluded address more",
            "ipv6: one address more", "vmac*: one address more", "forms: another scope",
        ),
    ),
    Known(
        "a number that is FAULT adds nothing, which is told behind FAULT; in keepalived the priority stays what it was",
        "fifo",
        ("losses: weight beyond all", "trackers: weight beyond"),
    ),
    Known(
        "after a reload keepalived judges its checks anew and tells of that, as BACKUP_PRIORITY also of a MASTER",
        "fifo",
        (
            "reload 3: weight", "reload 3: another path of the script", "group, weighed: another weight",
            "weights: interface without a weight", "weights: file without a weight",
        ),
    ),
    Known("a group that a reload makes is told of", "notify fifo", ("group: a group again",)),
    Known(
        "at the start keepalived tells a group before its members, otherwise after them",
        "fifo",
        ("group, weighed: start", "kept, group: start*"),
    ),
    Known(
        "keepalived 2.2 does not follow the address that track_src_ip is about",
        "notify fifo adverts resigned? wire? announced? form? addresses? routes?",
        ("unicast source: source *", "no source: source *"),
    ),
    Known("keepalived tells FAULT twice, for two findings about one address", "notify fifo", ("no source: start",)),
    Known(
        "a virtual MAC address is announced with ARP replies, which nobody answers",
        "form",
        ("vmac: *", "vmac, base: *", "kept, vmac: start*"),
    ),
    Known(
        "whoever yields says so, and from the real MAC address: no switch turns back to it",
        "wire",
        ("vmac: higher adverts", "vmac: priority 0", "vmac, ipv6: taken over", "vmac, ipv6: and back"),
    ),
    Known(
        "adverts leave through the interface below, also when the virtual one is down",
        "adverts resigned?",
        ("vmac: virtual interface *",),
    ),
    Known(
        "use_vmac comes and goes without an election: a MASTER stays one",
        "notify fifo adverts resigned",
        ("vmac*: without it", "vmac*: with it"),
    ),
    Known(
        "adverts are frames of the interface below: the virtual one needs no address of its own",
        "addresses routes",
        ("vmac, ipv6: start", "vmac, ipv6: lower advert", "vmac, ipv6: taken over", "vmac, ipv6: and back"),
    ),
    Known(
        "an owner is MASTER as soon as its interface is up (RFC 9568 6.4.1)",
        "notify fifo pace?",
        ("owner: interface up",),
    ),
    Known("with an interval keepalived drops half of the announcements", "announced", ("garp, paced: *",)),
    Known(
        "keepalived takes the change of a label for somebody's removal of the address",
        "notify fifo adverts resigned announced",
        ("forms: another label",),
    ),
    Known(
        "after a start delay keepalived's timer starts anew at each lesser advert: it never takes over",
        "notify? adverts? wire? form? addresses? routes? resigned?",
        ("late: start beside a lower one",),
    ),
    Known("the same", "notify? adverts? resigned?", ("late: stop again",)),
    Known(
        "keepalived leaves an address with a peer where it is",
        "addresses routes",
        ("forms: interface down", "forms: stop"),
    ),
    Known(
        "keepalived -D writes two lines for every announcement before it sends the next advert",
        "pace? announced? form?",
        ("forms: *", "many: *"),
    ),
    Known("a refresh of the start may be in the next step", "announced? form?", ("garp, refresh: *",)),
)  # fmt: skip


def known(play: str, step: str, what: str) -> Iterator[Known]:
    for entry in KNOWN:
        if what in entry.what.replace("?", "").split() and any(
            fnmatchcase(f"{play}: {step}", pattern) for pattern in entry.where
        ):
            yield entry


ONCE: list[str] = []  # differences that were not there the second time: for the report


def perform(name: str) -> Found:
    """What differs. On a busy machine something may be late: what is not known must be found a second time."""
    found = play_once(name)
    if any(not any(known(name, step, what)) for step, different in found.items() for what in different):
        again = play_once(name)
        ONCE.extend(
            f"{name}: {step}: {what}, seen once: {how}"
            for step, different in found.items()
            for what, how in different.items()
            if what not in again[step] and not any(known(name, step, what))
        )
        found = {
            step: {what: how for what, how in different.items() if what in again[step] or any(known(name, step, what))}
            for step, different in found.items()
        }
    return found


def play_once(name: str) -> Found:
    play = PLAYS[name]
    with Lab("a") as theirs, Lab("a") as ours:
        stages = [
            Stage(lab, kind, play.config, play.speaker, play.options)
            for lab, kind in ((theirs, Keepalived), (ours, Ours))
        ]
        try:
            for stage in stages:
                stage.host.ip(*play.setup)
            pair = Pair(*stages)
            found = {}
            for step, what in play.steps.items():
                parts = (what,) if isinstance(what, Act) else what
                acts = [part for part in parts if isinstance(part, Act)]
                seen = pair.step(acts, sum(part for part in parts if isinstance(part, float)))
                found[step] = differences(*seen)
            return found
        finally:
            for stage in stages:
                stage.close()


REPORT: dict[str, Found] = {}  # for the end of the test run


@pytest.fixture(scope="module")
def performed(request: pytest.FixtureRequest) -> dict[str, Future[Found]]:
    """All plays of this run at the same time."""
    done = side_by_side(request, "play", perform)
    REPORT.update({name: future.result() for name, future in done.items() if not future.exception()})
    return done


STEPS = [
    pytest.param(name, step, marks=[pytest.mark.full] if play.full else [])
    for name, play in PLAYS.items()
    for step in play.steps
]


@pytest.mark.parametrize(("play", "step"), STEPS)
def test_step(performed: dict[str, Future[Found]], play: str, step: str) -> None:
    unexpected = {what: how for what, how in performed[play].result()[step].items() if not any(known(play, step, what))}
    assert not unexpected, "\n".join(f"{what}: {how}" for what, how in unexpected.items())


def test_every_entry_names_a_step() -> None:
    steps = [f"{name}: {step}" for name, play in PLAYS.items() for step in play.steps]
    patterns = [pattern for entry in KNOWN for pattern in entry.where]
    assert [pattern for pattern in patterns if not any(fnmatchcase(step, pattern) for step in steps)] == []


def test_every_entry_still_applies(performed: dict[str, Future[Found]]) -> None:
    """Of the plays of this run."""
    found = {
        (f"{play}: {step}", what)
        for play, future in performed.items()
        for step, different in future.result().items()
        for what in different
    }
    played = {f"{play}: {step}" for play in performed for step in PLAYS[play].steps}
    stale = [
        f"{pattern}, {what}"
        for entry in KNOWN
        for pattern in entry.where
        for what in entry.what.split()
        if not what.endswith("?") and any(fnmatchcase(step, pattern) for step in played)
        if not any(fnmatchcase(step, pattern) and what == other for step, other in found)
    ]
    assert not stale, "no difference any more: " + "; ".join(stale)


def report() -> Iterator[str]:
    """Lines for people."""
    total = same = 0
    for play, steps in REPORT.items():
        different = {step: found for step, found in steps.items() if found}
        total, same = total + len(steps), same + len(steps) - len(different)
        yield f"{play:16} {len(steps):3} steps, {len(steps) - len(different):3} the same, {len(different):2} different"
        for step, found in different.items():
            reasons: dict[str, list[str]] = {}
            for what in found:
                why = next((entry.why for entry in known(play, step, what)), "NOT EXPECTED")
                reasons.setdefault(why, []).append(what)
            for why, fields in reasons.items():
                yield f"    {step}: {', '.join(fields)}: {why}"
    yield f"{len(REPORT)} plays, {total} steps, {same} the same, {total - same} different"
