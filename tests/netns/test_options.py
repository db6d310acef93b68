"""Options of the election and of interfaces, in the kernel and beside keepalived where the two have to agree."""

from __future__ import annotations

import os
import signal
import sys
import time

import pytest

from lab import Advert, Keepalived, Lab, Ours, config, instance, ip_packet, now, vrrp3

VIP, VIP2 = "10.0.0.100", "10.0.0.101"


def awaited(lab: Lab) -> list[str]:
    return list(lab["a"].ours.instance()["awaited"])


def test_f33_vrrp_startup_delay_is_seen_and_outlives_a_reload(lab: Lab) -> None:
    """Adverts of a lesser master are ignored meanwhile; a reload does not begin it anew."""
    a = lab["a"]
    lab["b"].run(Keepalived, config(instance((f"{VIP}/24",), priority=100)))
    lab.wait_owner(VIP, "b", 5)
    text = config(instance((f"{VIP}/24",), priority=200), globals=("vrrp_startup_delay 2",))
    started = now()
    a.run(Ours, text)
    lab.wait(lambda: a.ours.answers() and awaited(lab), 3, "it says what it awaits")
    assert "start delay" in awaited(lab)[0]
    assert a.ours.instance()["state"] == "INIT"
    a.daemon.reload(text.replace("priority 200", "priority 210"))
    lab.wait_owner(VIP, "a", 6)
    first = lab.adverts("a", since=started)[0]
    assert first.priority == 210
    assert 2.3 <= first.at - started <= 3.2  # and the down interval of 0.1 s adverts
    assert awaited(lab) == []


@pytest.mark.parametrize("lines", [(), ("use_vmac",)], ids=["plain", "use_vmac"])
def test_interface_up_down_delays(lab: Lab, lines: tuple[str, ...]) -> None:
    """A flap that is shorter goes unnoticed, one that is longer is FAULT, and back after the delay for up.

    A virtual interface goes with the one below, and so does what is said of that one.
    """
    delays = "interface_up_down_delays {\neth0 0.15 1\n}\n"
    a = lab["a"]
    a.run(Ours, delays + config(instance((f"{VIP}/24",), *lines, priority=200)))
    lab["b"].run(Keepalived, config(instance((f"{VIP}/24",), priority=100)))
    lab.wait_owner(VIP, "a", 5)
    lab.wait(lambda: "BACKUP" in lab["b"].daemon.log(), 5, "b is backup")
    since = now()
    lab.unplug("a")
    time.sleep(0.05)
    lab.plug("a")
    lab.steady(lambda: lab.held.owners(VIP) == {"a"}, 0.6, "nothing happens")
    assert a.ours.instance()["state"] == "MASTER"
    assert not lab.adverts("b", since=since)
    lab.unplug("a")
    lab.wait_owner(VIP, "b", 3)
    assert a.ours.instance()["state"] == "FAULT"
    up = now()
    lab.plug("a")
    lab.wait(lambda: any("counts in" in what for what in awaited(lab)), 1, "it says what it awaits")
    lab.wait_owner(VIP, "a", 4)
    assert lab.adverts("a", since=up)[0].at - up >= 1.0


def test_a_link_delay_that_runs_survives_a_crash(lab: Lab) -> None:
    """The guard tells the next process how the dead one took the link: the flap goes unnoticed all the same."""
    a = lab["a"]
    a.run(Ours, "interface_up_down_delays {\neth0 1.5\n}\n" + config(instance((f"{VIP}/24",), interval=1)))
    lab.wait_owner(VIP, "a", 6)
    former = a.ours.vrrp_pid()
    lab.unplug("a")
    lab.wait(lambda: any("counts in" in what for what in awaited(lab)), 1, "the delay runs")
    os.kill(former, signal.SIGKILL)
    lab.wait(lambda: a.ours.vrrp_pid() not in (0, former), 2, "there is another process")
    lab.wait(lambda: any("counts in" in what for what in awaited(lab)), 1, "and its delay runs")
    lab.plug("a")
    lab.steady(lambda: lab.held.owners(VIP) == {"a"} and a.ours.instance()["state"] == "MASTER", 1.6, "nothing happens")


def test_dont_track_primary(lab: Lab) -> None:
    a = lab["a"]
    a.run(Ours, config(instance((f"{VIP}/24",), "dont_track_primary", priority=200)))
    lab.wait_owner(VIP, "a", 5)
    lab.unplug("a")
    lab.steady(lambda: a.ours.instance()["state"] == "MASTER", 0.6, "it stays")
    since = now()
    lab.plug("a")
    lab.wait(lambda: len(lab.adverts("a", since=since)) > 2, 2, "it adverts again")


def test_two_unicast_instances_with_one_vrid(lab: Lab) -> None:
    """Each has peers of its own; what one hears the other does not. One pair is with keepalived."""
    a, b, c = lab["a"], lab["b"], lab["c"]

    def one(me: str, vip: str, other: str, name: str, priority: int) -> str:
        lines = f"unicast_src_ip {me}", f"unicast_peer {{\n{other}\n}}", "check_unicast_src"
        return instance((f"{vip}/24",), *lines, name=name, vrid=51, priority=priority)

    a.run(Ours, config(one(a.address, VIP, b.address, "VI_1", 200), one(a.address, VIP2, c.address, "VI_2", 100)))
    b.run(Keepalived, config(one(b.address, VIP, a.address, "VI_1", 100)))
    c.run(Ours, config(one(c.address, VIP2, a.address, "VI_2", 200)))
    lab.wait_owner(VIP, "a", 5)
    lab.wait_owner(VIP2, "c", 5)
    lab.steady(lambda: lab.held.owners(VIP) == {"a"} and lab.held.owners(VIP2) == {"c"}, 0.6, "each its owner")
    b.daemon.stop()
    c.daemon.stop()
    lab.wait_owner(VIP2, "a", 5)
    assert lab.held.owners(VIP) == {"a"}
    b.daemon.start()
    lab.wait(lambda: b.daemon.log().count("BACKUP") > 1, 5, "b is backup again")
    a.daemon.stop()
    lab.wait_owner(VIP, "b", 3)


def test_strict_mode_beside_keepalived(lab: Lab) -> None:
    """Who speaks when is the same on both: election, takeover, return; no answer to a lower advert."""
    a, b = lab["a"], lab["b"]
    a.run(Ours, config(instance((f"{VIP}/24",), priority=200), globals=("vrrp_strict",)))
    b.run(Keepalived, config(instance((f"{VIP}/24",), "strict_mode", priority=100)))
    lab.wait_owner(VIP, "a", 5)
    a.daemon.stop()
    lab.wait_owner(VIP, "b", 3)
    a.daemon.start()
    lab.wait_owner(VIP, "a", 5)
    since = now()
    lab.inject(*[ip_packet(lab["c"].address, vrrp3(51, 50, (VIP,), source=lab["c"].address))] * 5)
    time.sleep(0.35)
    assert len(lab.adverts("a", since=since)) <= 4
    assert a.ours.instance()["state"] == "MASTER"
    assert a.ours.counters()["lower_priority_rcvd"] == 5


def test_log_unknown_vrids(lab: Lab) -> None:
    """The filter in the kernel lets them through when somebody wants to know."""
    a, c = lab["a"], lab["c"]
    a.run(Ours, config(instance((f"{VIP}/24",), priority=200), globals=("log_unknown_vrids",)))
    lab.wait_owner(VIP, "a", 5)
    message = vrrp3(77, 100, ("10.0.0.177",), source=c.address)
    lab.inject(*[ip_packet(c.address, message)] * 3)
    lab.wait(lambda: "virtual_router_id 77" in a.daemon.log(), 3, "it is named")
    assert a.daemon.log().count("virtual_router_id 77") == 1


@pytest.mark.parametrize("how", ["adopted", "its will"])
def test_an_old_checksum_that_was_found_out_is_that_of_whoever_goes_on(lab: Lab, how: str) -> None:
    """A MASTER hears a keepalived before 1.3.7, which drops what is not summed over the group, and has to be heard."""
    a, c = lab["a"], lab["c"]
    daemon = a.run(Ours, config(instance((f"{VIP}/24",), f"unicast_peer {{\n {c.address}\n }}", priority=200)))
    assert isinstance(daemon, Ours)
    lab.wait_owner(VIP, "a", 5)

    def old(advert: Advert) -> bool:
        return advert.message == vrrp3(51, advert.priority, (VIP,), a.address)

    lab.wait(lambda: lab.adverts("a"), 5, "adverts")
    assert not old(lab.adverts("a")[-1])
    lab.inject(ip_packet(c.address, vrrp3(51, 50, (VIP,), c.address), destination=a.address))
    lab.wait(lambda: old(lab.adverts("a")[-1]), 3, "it follows")
    since = now()
    if how == "adopted":
        former = daemon.vrrp_pid()
        os.kill(former, signal.SIGKILL)
        lab.wait(lambda: daemon.vrrp_pid() != former and daemon.answers(), 5, "adopted")
        lab.wait(lambda: len(lab.adverts("a", since=since)) > 2, 3, "adverts go on")
    else:
        daemon.kill()
        files = ("-p", str(daemon.pidfile), "-r", str(daemon.vrrp_pidfile))
        a.command(sys.executable, "-m", "vrrpd", "--execute-will", *files)
        lab.wait(lambda: not lab.adverts("a")[-1].priority, 3, "it resigns")
    assert all(map(old, lab.adverts("a", since=since)))
