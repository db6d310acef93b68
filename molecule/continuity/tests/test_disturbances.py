"""What can happen to the daemon of a living host, and what a client notices of it: next to nothing.

Each disturbance hits the owner of a slow (1 s) and a fast (0.1 s) address at once. What is asserted holds on a busy
machine too: the order of events, and bounds that leave it time. The exact figures are in the table at the end.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest

# What a busy machine may take to start a process, or to let one run; only where a time is bounded at all.
BUSY = 1000.0
# The unit's: nothing that is stopped can be noticed sooner.
WATCHDOG = 3_000.0
EXTRA = "198.18.54.102"


def pid_of(bench: Any, name: str) -> int:
    return int(bench.processes(bench.master)[name])


def passed_on_and_back(seen: Any) -> None:
    """A planned departure: the successor takes over in its time, and nobody waits for it."""
    for line in seen:
        assert line.owners == ["router1", "router2", "router1"], line.owners
        assert line.lost <= 1, line.outages


# ------------------------------------------------------------------------------------ what an operator does
def test_stop_and_start(bench: Any, watch: Callable[..., Any]) -> None:
    with watch("systemctl stop") as seen:
        bench.master.run("systemctl stop vrrpd")
        assert not bench.master.addresses() & bench.addresses
        bench.taken_over()
    for line in seen:
        assert line.owners == ["router1", "router2"], line.owners
        assert line.lost <= 1, line.outages
        priorities = [priority for _, who, priority in line.adverts if who == "router1"]
        assert priorities[-1] == 0, "it said that it leaves"

    with watch("systemctl start: preempts", settled=False) as seen:
        bench.master.run("systemctl start vrrpd")
        bench.settled()
    for line in seen:
        assert line.owners == ["router2", "router1"], line.owners
        assert line.lost <= 1, line.outages


def test_reload(bench: Any, watch: Callable[..., Any]) -> None:
    with watch("systemctl reload, nothing changed") as seen:
        bench.master.run("systemctl reload vrrpd")
        bench.adverts()
    assert not seen.noticed
    assert not any(line.garps for line in seen)


def test_reload_with_a_change(bench: Any, watch: Callable[..., Any]) -> None:
    known = bench.cluster.virtual["slow"][0]
    with watch("systemctl reload, an address more and less") as seen:
        bench.master.run(f"sed -i 's#{known}/24#&\\n{EXTRA}/24#' /etc/vrrpd/vrrpd.conf && systemctl reload vrrpd")
        assert EXTRA in bench.master.addresses()
        bench.master.run(f"sed -i '/{EXTRA}/d' /etc/vrrpd/vrrpd.conf && systemctl reload vrrpd")
        assert EXTRA not in bench.master.addresses()
        bench.adverts()
    assert not seen.noticed


def test_reload_refused(bench: Any, watch: Callable[..., Any]) -> None:
    with watch("systemctl reload, refused") as seen:
        bench.master.run(
            "cp -p /etc/vrrpd/vrrpd.conf /root/good && sed -i 's/advert_int/advert_imt/' /etc/vrrpd/vrrpd.conf"
        )
        try:
            assert bench.master.host.run("systemctl reload vrrpd").rc != 0
        finally:
            bench.master.run("cp -p /root/good /etc/vrrpd/vrrpd.conf")
        bench.adverts()
    assert not seen.noticed
    assert "advert_imt" in bench.master.run("journalctl -u vrrpd -p err --since=-1min --no-pager")


# ------------------------------------------------------------------------------------------- what is killed
def test_kill_of_the_vrrp_process(bench: Any, watch: Callable[..., Any]) -> None:
    """Its successor adopts what it finds: peers and clients do not notice."""
    before = pid_of(bench, "vrrp")
    with watch("KILL of the vrrp process") as seen:
        bench.master.run(f"kill -KILL {before}")
        bench.another("vrrp", before)
        bench.adverts()
    assert not seen.noticed


def test_kill_of_the_helper(bench: Any, watch: Callable[..., Any]) -> None:
    before = pid_of(bench, "helper")
    with watch("KILL of the helper") as seen:
        bench.master.run(f"kill -KILL {before}")
        bench.another("helper", before)
        bench.adverts()
    assert not seen.noticed


@pytest.mark.parametrize("signal", ["KILL", "STOP"])
def test_the_guard(bench: Any, watch: Callable[..., Any], signal: str) -> None:
    """Its workers leave in the planned way and systemd starts anew; one that is stopped ends by the unit's watchdog."""
    before = pid_of(bench, "guard")
    with watch(f"{signal} of the guard") as seen:
        bench.master.run(f"systemctl kill --kill-who=main --signal={signal} vrrpd")
        bench.another("guard", before)
        bench.settled()
    passed_on_and_back(seen)


def test_kill_of_everything(bench: Any, watch: Callable[..., Any]) -> None:
    before = pid_of(bench, "guard")
    with watch("KILL of everything") as seen:
        bench.master.run("systemctl kill --signal=KILL vrrpd")
        bench.another("guard", before)
        bench.settled()
    for line in seen:
        assert line.owners == ["router1", "router2", "router1"], line.owners
        assert line.both <= line.interval * 1000 + 50 + BUSY
        assert line.outage <= 4 * line.interval * 1000 + BUSY


# ------------------------------------------------------------------------------------------ what only stops
def test_stop_of_the_vrrp_process(bench: Any, watch: Callable[..., Any]) -> None:
    """Adopted when the peers' timers leave the time, else fenced: two owners are none, or only for a moment."""
    before = pid_of(bench, "vrrp")
    with watch("STOP of the vrrp process") as seen:
        bench.master.run(f"kill -STOP {before}")
        bench.another("vrrp", before)
        bench.settled()
    for line in seen:
        assert line.owners in (["router1"], ["router1", "router2", "router1"]), line.owners
        assert line.both <= 50 + BUSY
        assert line.outage <= line.interval * 1000 + BUSY


def test_stop_of_the_helper(bench: Any, watch: Callable[..., Any]) -> None:
    helper = pid_of(bench, "helper")
    with watch("STOP of the helper") as seen:
        bench.master.run(f"kill -STOP {helper}")
        bench.adverts()
        bench.master.run(f"kill -CONT {helper}")
        bench.wait("an answer", bench.master.status, bool, 15)
    assert not seen.noticed


def test_stop_of_everything(bench: Any, watch: Callable[..., Any]) -> None:
    before = pid_of(bench, "guard")
    with watch("STOP of everything") as seen:
        bench.master.run("systemctl kill --signal=STOP vrrpd")
        bench.taken_over()
        bench.another("guard", before)
        bench.settled()
    for line in seen:
        assert line.owners == ["router1", "router2", "router1"], line.owners
        assert line.both <= WATCHDOG + BUSY
    assert not bench.master.run("ps -eo stat=,comm= | grep '^T.*vrrpd' || true"), "nothing stopped is left behind"


def test_pause_of_the_owner(bench: Any, watch: Callable[..., Any]) -> None:
    """The whole host stands still, and comes back not knowing it: it announces itself a few times, and owns alone.

    Its systemd stood still too, and may think of the watchdog first: then the daemon is started anew, here as below.
    """
    with watch("container pause: the owner") as seen:
        bench.engine("pause", bench.container(bench.master))
        bench.taken_over()
        resumed = time.monotonic()
        bench.engine("unpause", bench.container(bench.master))
        bench.settled()
    for line in seen:
        assert line.owners[:2] == ["router1", "router2"], line.owners
        # A second block of them, a second later here, is what garp_lower_prio_delay asks for.
        first = min(at for at, who in line.garps if who == "router1" and at >= resumed)
        assert line.announced("router1", first, first + 0.5) <= 10
        assert {who for at, who, _ in line.adverts[-2:]} == {"router1"}


def test_pause_of_the_backup(bench: Any, watch: Callable[..., Any]) -> None:
    """Longer than its down interval: on resume it reads what waits for it first, and deposes nobody."""

    def sent() -> int:
        return int(bench.master.status()["instances"][0]["counters"]["advert_sent"])

    with watch("container pause: the backup") as seen:
        before = sent()
        bench.engine("pause", bench.container(bench.backup))
        bench.wait("adverts", sent, lambda now: now >= before + 5, 20)
        bench.engine("unpause", bench.container(bench.backup))
        bench.settled()
    assert not seen.noticed
    assert not any(line.garps for line in seen)
