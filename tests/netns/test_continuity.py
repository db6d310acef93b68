"""No outage on stop, reload, crash or hang, and never two owners: what the segment sees of a change of processes.

The figures are the benchmark's (bench/failover); here is what must hold on the most loaded machine: who adverts, who
holds the address, what is announced, what is remembered.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lab import Advert, Garp, Lab, Ours, Prober, config, instance, now

VIP, SECOND = "10.0.0.100", "10.0.0.101"


@pytest.fixture(params=[pytest.param(1.0, id="1s", marks=pytest.mark.full), pytest.param(0.1, id="0.1s")])
def interval(request: pytest.FixtureRequest) -> float:
    assert isinstance(request.param, float)
    return request.param


def conf(interval: float, priority: int, vips: tuple[str, ...] = (f"{VIP}/24",), *more: str, name: str = "VI_1") -> str:
    return config(instance(vips, interval=interval, priority=priority, name=name), *more)


def pair(lab: Lab, interval: float) -> Ours:
    """a is MASTER and has told so twice, b is BACKUP."""
    daemon = lab["a"].run(Ours, conf(interval, 200))
    lab["b"].run(Ours, conf(interval, 100))
    lab.wait_owner(VIP, "a", 12)
    assert isinstance(daemon, Ours)
    lab.wait(daemon.answers, 5, "the control socket answers")
    return daemon


@pytest.fixture
def master(lab: Lab, interval: float) -> Iterator[Ours]:
    return pair(lab, interval)


def adverts_after(lab: Lab, since: float, count: int, interval: float) -> list[Advert]:
    lab.wait(lambda: len(lab.adverts("a", since=since)) >= count, (count + 4) * interval + 4, "adverts go on")
    return lab.adverts("a", since=since)


def unnoticed(lab: Lab, since: float, interval: float) -> None:
    """Since then: only a adverts, no address moved, nothing was announced."""
    adverts_after(lab, since, 5, interval)
    assert not lab.adverts("b", since=since)
    assert not lab.changes(VIP, since)
    assert not [frame for frame in announced(lab, since) if frame.address == VIP]
    assert not [frame for frame in lab.adverts("a", since=since) if frame.priority == 0]


def announced(lab: Lab, since: float) -> list[Garp]:
    with lab.changed:
        return [f for f in lab.frames if isinstance(f, Garp) and f.at >= since and f.host == "a"]


def last_transition(daemon: Ours) -> dict[str, Any]:
    found: dict[str, Any] = daemon.instance()["last_transition"]
    return found


def quiet(lab: Lab) -> None:
    """The second block of announcements, five seconds after becoming MASTER, is not what we look for."""
    until = now() + 5.5
    lab.wait(lambda: now() > until, 7, "garp_master_delay is over")


# ------------------------------------------------------------------------------------------------- reload
def test_a_reload_is_another_process_that_nobody_notices(lab: Lab, master: Ours, interval: float) -> None:
    quiet(lab)
    before, vrrp = master.instance(), master.vrrp_pid()
    since = now()
    reply = master.ask("reload")
    assert reply["ok"], reply
    assert reply["changed"] == []
    assert master.vrrp_pid() != vrrp
    unnoticed(lab, since, interval)
    after = master.instance()
    assert after["counters"]["advert_sent"] > before["counters"]["advert_sent"] > 0
    assert abs(after["last_transition"]["at"] - before["last_transition"]["at"]) < 0.1
    assert after["last_transition"]["reason"] == before["last_transition"]["reason"]
    assert master.log().count("-> MASTER") == 1


def test_many_reloads_at_once_are_not_noticed_either(lab: Lab) -> None:
    master = pair(lab, 0.1)
    quiet(lab)
    since = now()
    for _ in range(10):
        assert master.ask("reload")["ok"]
    unnoticed(lab, since, 0.1)


def test_a_backup_that_reloads_stays_one_and_still_takes_over_in_time(lab: Lab) -> None:
    pair(lab, 0.1)
    backup = lab["b"].daemon
    assert isinstance(backup, Ours)
    lab.wait(backup.answers, 3, "it answers")
    before = backup.instance()["counters"]["advert_rcvd"]
    since = now()
    for _ in range(3):
        assert backup.ask("reload")["ok"]
    assert not lab.adverts("b", since=since)
    assert backup.instance()["counters"]["advert_rcvd"] >= before
    lab["a"].daemon.kill()
    lab.wait(lambda: "b" in lab.held.owners(VIP), 2, "it takes over")


def test_an_owner_with_another_vrid_leaves_nothing_at_the_end(lab: Lab) -> None:
    """It finds the address and the route there, but they are of the router that it was: ours, to be taken off."""
    host = lab["a"]
    untracked = "virtual_routes {\n198.51.100.0/24 via 10.0.0.99 dev eth0 no_track\n}"
    text = config(instance((f"{VIP}/24",), untracked, priority=255, state="MASTER"))
    daemon = host.run(Ours, text)
    assert isinstance(daemon, Ours)
    lab.wait_owner(VIP, "a", 5)
    lab.wait(daemon.answers, 5, "it answers")
    since = now()
    daemon.config.write_text(text.replace("virtual_router_id 51", "virtual_router_id 52"))
    assert daemon.ask("reload")["ok"]
    lab.wait(lambda: len(lab.adverts("a", 52, since)) > 3, 5, "the new one adverts")
    assert not lab.changes(VIP, since)
    assert daemon.stop() == 0
    assert VIP not in host.addresses()
    assert "198.51.100.0/24" not in host.command("ip", "route")


def test_what_changed_is_applied_as_a_difference(lab: Lab) -> None:
    master = pair(lab, 0.1)
    quiet(lab)
    since = now()
    master.config.write_text(conf(0.1, 200, (f"{VIP}/24", f"{SECOND}/24")))
    assert master.ask("reload")["changed"] == ["VI_1"]
    lab.wait_owner(SECOND, "a", 2)
    unnoticed(lab, since, 0.1)
    assert {frame.address for frame in announced(lab, since)} == {SECOND}

    since = now()
    master.config.write_text(conf(0.2, 210, name="VI_new"))
    assert master.ask("reload")["changed"] == ["VI_new"]
    lab.wait_owner(SECOND, "", 2)
    unnoticed(lab, since, 0.2)
    assert lab.adverts("a", since=since)[-1].priority == 210
    assert master.instance("VI_new")["counters"]["become_master"] == 1


def test_a_router_that_is_gone_resigns_and_a_new_one_starts(lab: Lab) -> None:
    master = pair(lab, 0.1)
    since = now()
    master.config.write_text(config(instance((f"{SECOND}/24",), interval=0.1, priority=200, vrid=52, name="VI_2")))
    assert master.ask("reload")["ok"]
    lab.wait_owner(VIP, "b", 2)
    lab.wait_owner(SECOND, "a", 3)
    assert [f.priority for f in lab.adverts("a", 51, since)][-1:] == [0]
    lab.wait(lambda: "MASTER -> DELETED" in master.log(), 3, "it says so")


def test_of_two_routers_of_one_name_the_one_that_is_gone_is_told_first(lab: Lab) -> None:
    """Another virtual_router_id is another router; scripts and pipes that go by the name end with the one that runs."""
    master = pair(lab, 0.1)
    for vrid in (61, 62, 63):
        master.config.write_text(config(instance(interval=0.1, priority=200, vrid=vrid)))
        assert master.ask("reload")["ok"]
        lab.wait(lambda: master.log().count("-> DELETED") == vrid - 60, 3, "the former one is gone")  # noqa: B023
        lab.wait(lambda: master.log().count("INIT -> BACKUP") == vrid - 59, 3, "the next one runs")  # noqa: B023
        assert master.log().rindex("-> DELETED") < master.log().rindex("INIT -> BACKUP")


def test_an_address_moves_from_a_router_that_is_gone_to_another(lab: Lab) -> None:
    one = instance(interval=0.1, priority=200)
    two = instance((f"{SECOND}/24",), interval=0.1, priority=200, vrid=52, name="VI_2")
    master = lab["a"].run(Ours, config(one, two))
    assert isinstance(master, Ours)
    lab.wait_owner(VIP, "a", 5)
    lab.wait_owner(SECOND, "a", 5)
    lab.wait(master.answers, 3, "it answers")
    since = now()
    both = instance((f"{SECOND}/24", f"{VIP}/24"), interval=0.1, priority=200, vrid=52, name="VI_2")
    master.config.write_text(config(both))
    assert master.ask("reload")["ok"]
    lab.wait(lambda: any(not f.priority for f in lab.adverts("a", 51, since)), 2, "the old one resigns")
    lab.steady(lambda: lab.held.owners(VIP) == {"a"}, 0.3, "the address stays")
    assert not [event for event in lab.changes(VIP, since) if not event.added]


def test_a_successor_that_dies_before_it_takes_over_changes_nothing(lab: Lab) -> None:
    """Stopped in its preparations, then killed: whoever asked is told, and the old process goes on."""
    master = pair(lab, 1.0)  # the old one may stand still for 1.7 s before it is fenced
    quiet(lab)
    vrrp = master.vrrp_pid()
    since = now()
    master.config.write_text(conf(1.0, 77))
    pids = set(master.pids())
    os.kill(vrrp, signal.SIGSTOP)
    os.kill(master.pid, signal.SIGHUP)

    def candidate() -> int:
        named = [p for p in set(master.pids()) - pids if _name(p) == "vrrpd-vrrp"]
        return named[0] if named else 0

    lab.wait(candidate, 3, "the candidate")
    os.kill(candidate(), signal.SIGKILL)
    os.kill(vrrp, signal.SIGCONT)
    lab.wait(lambda: "the former configuration goes on" in master.log(), 3, "the log says so")
    assert master.vrrp_pid() == vrrp
    assert {f.priority for f in adverts_after(lab, since, 3, 1.0)} == {200}
    assert not lab.changes(VIP, since)
    assert master.ask("reload")["ok"]
    lab.wait(lambda: lab.adverts("a")[-1].priority == 77, 2, "the next reload works")


def _name(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return ""


def test_no_probe_is_lost_while_the_configuration_changes(lab: Lab) -> None:
    master = pair(lab, 0.1)
    prober = Prober(lab, VIP)
    lab.wait(lambda: len(prober.answered) > 10, 3, "it answers")
    since = now()
    for number in range(3):
        master.config.write_text(conf(0.1, 200 + number))
        assert master.ask("reload")["ok"]
    seen = len(prober.answered)
    lab.wait(lambda: len(prober.answered) > seen + 20, 3, "still")
    prober.stop()
    assert prober.longest_gap(since) < 0.2
    assert not lab.changes(VIP, since)


# ------------------------------------------------------------------------------------------- crash and hang
def test_a_crash_of_the_vrrp_process_is_not_noticed(lab: Lab, master: Ours, interval: float) -> None:
    quiet(lab)
    old = master.vrrp_pid()
    since = now()
    os.kill(old, signal.SIGKILL)
    lab.wait(lambda: master.vrrp_pid() != old, 3, "a new process")
    unnoticed(lab, since, interval)
    lab.wait(master.answers, 3, "the helper talks to the new one")
    assert last_transition(master)["reason"] == "adopted from a process that died"
    assert master.log().count("-> MASTER") == 1, "no script and no mail"
    assert "its addresses stay" in master.log()


def test_the_first_act_of_a_successor_is_an_advert(lab: Lab) -> None:
    """Long before the next one is due: it must not wait for anything of its own start."""
    master = pair(lab, 1.0)
    since = now()
    lab.wait(lambda: lab.adverts("a", since=since), 3, "an advert")
    since = now()
    os.kill(master.vrrp_pid(), signal.SIGKILL)
    (first, *_) = adverts_after(lab, since, 1, 1.0)
    assert first.at - since < 0.6
    assert first.priority == 200


def test_a_hang_of_the_vrrp_process_is_not_noticed(lab: Lab, master: Ours, interval: float) -> None:
    """keepalived's keeps the address for ever, beside the new owner's.

    At 0.1 s there are 0.1 s to spare, which a busy machine may not have: then the address is given away in time.
    """
    quiet(lab)
    hung = master.vrrp_pid()
    since = now()
    os.kill(hung, signal.SIGSTOP)
    lab.wait(lambda: master.vrrp_pid() != hung, 4, "a new process")
    lab.wait(lambda: "started again" in master.log(), 3, "the log says what follows")
    assert "no sign of life" in master.log()
    if "its addresses stay" in master.log() or interval == 1.0:
        unnoticed(lab, since, interval)
    else:
        (first, *_) = [f for f in lab.adverts(since=since) if f.host == "b" or not f.priority]
        assert (first.host, first.priority) == ("a", 0)
        lab.wait_owner(VIP, "a", 5)


def test_every_kind_of_router_goes_on_after_a_reload_and_after_a_crash(lab: Lab) -> None:
    """IPv6, unicast, VRRPv2 with a password, addresses that are not advertised, one that is the owner's own."""
    kinds = {
        61: instance(("fe80::61/64", "fd00::61/64"), vrid=61, name="SIX", priority=200),
        62: instance((f"{SECOND}/24",), "unicast_peer {", "10.0.0.3", "}", vrid=62, name="UNICAST", priority=200),
        63: instance(
            ("10.0.0.63/24",), "authentication {", "auth_type PASS", "auth_pass secret", "}",
            vrid=63, name="OLD", priority=200, interval=1, version=2,
        ),
        64: instance(
            ("10.0.0.64/24",), "virtual_ipaddress_excluded {", "10.0.0.65/24", "fd00::65/64", "}",
            vrid=64, name="MORE", priority=200,
        ),
        65: instance(("10.0.0.66/24",), vrid=65, name="OWNER", priority=255, state="MASTER"),
    }  # fmt: skip
    lab["a"].ip("addr add 10.0.0.66/24 dev eth0")
    master = lab["a"].run(Ours, config(*kinds.values()))
    assert isinstance(master, Ours)
    ours = ["fe80::61", "fd00::61", SECOND, "10.0.0.63", "10.0.0.64", "10.0.0.65", "fd00::65"]
    for address in ours:
        lab.wait_owner(address, "a", 10)
    lab.wait(master.answers, 5, "it answers")
    quiet(lab)
    for step in ("reload", "crash"):
        since = now()
        if step == "reload":
            assert master.ask("reload")["ok"]
        else:
            os.kill(master.vrrp_pid(), signal.SIGKILL)
        for vrid in kinds:
            lab.wait(lambda v=vrid, t=since: len(lab.adverts("a", v, t)) > 2, 8, f"{step}: adverts of {vrid}")
        assert not [frame for frame in lab.adverts("a", since=since) if not frame.priority]
        assert not [event for address in (*ours, "10.0.0.66") for event in lab.changes(address, since)]
        assert not [f for address in ours for f in lab.announcements(address, "a", since)]
    lab.wait(master.answers, 5, "it answers")
    assert {each["name"]: each["state"] for each in master.status()["instances"]} == dict.fromkeys(
        ("SIX", "UNICAST", "OLD", "MORE", "OWNER"), "MASTER"
    )
    assert master.stop() == 0
    for address in ours:
        assert not lab.held.owners(address)
    assert "a" in lab.held.owners("10.0.0.66"), "what we did not add we do not remove"


def test_what_is_missing_after_a_crash_is_added(lab: Lab) -> None:
    master = pair(lab, 0.1)
    since = now()
    os.kill(master.vrrp_pid(), signal.SIGSTOP)
    lab["a"].ip(f"addr del {VIP}/24 dev eth0")
    os.kill(master.vrrp_pid(), signal.SIGKILL)
    lab.wait_owner(VIP, "a", 2)
    assert not lab.adverts("b", since=since)


def test_one_that_has_resigned_is_not_adopted(lab: Lab) -> None:
    """It was told to give the address away: its successor must not take it back."""
    master = pair(lab, 1.0)
    since = now()
    assert master.ask("handover", instance="VI_1")["ok"]
    os.kill(master.vrrp_pid(), signal.SIGKILL)
    lab.wait_owner(VIP, "b", 4)
    assert {f.priority for f in lab.adverts("a", since=since)} <= {0}


def test_after_a_stall_of_everything_sockets_are_read_before_timers_fire(lab: Lab) -> None:
    """A paused machine: the other one is MASTER meanwhile; at most two blocks of announcements, no storm."""
    master = pair(lab, 0.1)
    quiet(lab)
    pids = master.pids()
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    lab.wait(lambda: "b" in lab.held.owners(VIP), 3, "b takes over")
    until = now() + 1
    lab.wait(lambda: now() > until, 3, "adverts of b wait at a")
    since = now()
    for pid in pids:
        os.kill(pid, signal.SIGCONT)
    lab.wait_owner(VIP, "a", 5)
    lab.steady(lambda: lab.held.owners(VIP) == {"a"}, 0.5, "a stays")
    assert len(announced(lab, since)) <= 10
    assert "killed" not in master.log()
