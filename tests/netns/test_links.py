"""What the kernel and the network do to a router: links, addresses, one-way paths, a process that is stopped.

protocol.md I01, I03-I08, M11, T07, T08, X04.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Callable

import pytest

from lab import Keepalived, Lab, Ours, config, instance, master_down, now, skew

VIP, VIP6 = "10.0.0.100", "fd00::100"
SIX = ("fe80::100/64", f"{VIP6}/64")
PEERS = pytest.mark.parametrize("peer", [Ours, Keepalived], ids=["ours", "keepalived"])


def pair(lab: Lab, peer: type = Ours, *lines: str) -> None:
    """a (priority 200, ours) is master, b (priority 100) is backup."""
    lab["a"].run(Ours, config(instance((f"{VIP}/24",), *lines, priority=200)))
    lab["b"].run(peer, config(instance((f"{VIP}/24",), *lines, priority=100)))
    lab.wait_owner(VIP, "a", 5)
    lab.wait(lambda: "BACKUP" in lab["b"].daemon.log(), 5, "b is backup")


def more_adverts(lab: Lab, host: str, since: float, number: int) -> Callable[[], bool]:
    return lambda: len(lab.adverts(host, since=since)) > number


def state(lab: Lab, host: str = "a") -> str:
    return str(lab[host].ours.instance()["state"])


@PEERS
@pytest.mark.parametrize("how", ["carrier", "set down"])
def test_i01_i03_link_down_is_fault_and_up_is_a_new_start(lab: Lab, peer: type, how: str) -> None:
    pair(lab, peer)
    a = lab["a"]
    last = lab.adverts("a")[-1].at
    lab.unplug("a") if how == "carrier" else a.ip("link set eth0 down")
    lab.wait_owner(VIP, "b", 3)
    taken = lab.adverts("b", since=last)[0].at
    assert taken - lab.adverts("a")[-1].at <= master_down(100, 0.1) + 0.3
    assert state(lab) == "FAULT"
    assert any("eth0" in fault for fault in a.ours.instance()["faults"])
    since = now()
    lab.plug("a") if how == "carrier" else a.ip("link set eth0 up")
    lab.wait_owner(VIP, "a", 3)
    # A full master down interval from the return of the link, no less: it preempts, it does not assume.
    assert lab.adverts("a", since=since)[0].at - since >= master_down(200, 0.1) - 0.01
    assert state(lab) == "MASTER"


def test_i04_a_new_primary_address_is_the_source_of_the_next_advert(lab: Lab) -> None:
    """The pseudo-header and the tie-break follow it (RFC 9568 5.1.1.1)."""
    a = lab["a"]
    a.sysctl(net__ipv4__conf__all__promote_secondaries=1)
    pair(lab)
    since = now()
    a.ip("addr add 10.0.0.222/24 dev eth0", f"addr del {a.address}/24 dev eth0")
    lab.wait(lambda: lab.adverts("a")[-1].source == "10.0.0.222", 2, "adverts come from the new address")
    lab.steady(lambda: lab.held.owners(VIP) == {"a"}, 0.5, "b hears a")
    assert a.ours.instance()["source"] == "10.0.0.222"
    assert not lab.adverts("b", since=since)


def test_i04_a_master_whose_addresses_go_with_their_primary_starts_again(lab: Lab) -> None:
    """Without promote_secondaries Linux removes every address of a subnet with its first one, the virtual ones too."""
    pair(lab)
    a = lab["a"]
    a.ip("addr add 10.0.0.222/24 dev eth0", f"addr del {a.address}/24 dev eth0")
    lab.wait_owner(VIP, "b", 3)
    assert a.ours.instance()["faults"] == ["interface eth0 has no IPv4 address"]
    a.ip("addr add 10.0.0.222/24 dev eth0")
    lab.wait_owner(VIP, "a", 3)
    assert lab.adverts("a")[-1].source == "10.0.0.222"


def test_i05_without_an_address_of_its_own_a_router_is_in_fault(lab: Lab) -> None:
    pair(lab)
    a = lab["a"]
    a.ip("addr flush dev eth0 scope global")
    lab.wait(lambda: state(lab) == "FAULT", 3, "a is in fault")
    lab.wait_owner(VIP, "b", 3)
    since = now()
    a.ip(*a.own_addresses(), check=False)
    lab.wait_owner(VIP, "a", 3)
    assert lab.adverts("a", since=since)[0].at - since >= master_down(200, 0.1) - 0.01


def test_i05_without_a_link_local_address_ipv6_is_in_fault(lab: Lab) -> None:
    a = lab["a"]
    a.run(Ours, config(instance(SIX, priority=200)))
    lab["b"].run(Ours, config(instance(SIX, priority=100)))
    lab.wait_owner(VIP6, "a", 5)
    a.ip(f"addr del {a.link_local}/64 dev eth0")
    lab.wait_owner(VIP6, "b", 3)
    assert state(lab) == "FAULT"
    a.ip(f"addr add {a.link_local}/64 dev eth0 nodad")
    lab.wait_owner(VIP6, "a", 3)


def test_i06_no_advert_from_a_tentative_link_local_address(lab: Lab) -> None:
    """It becomes usable when duplicate address detection is over, about a second later."""
    a = lab["a"]
    a.sysctl(net__ipv6__conf__eth0__accept_dad=1, net__ipv6__conf__all__accept_dad=1)
    a.ip(f"addr del {a.link_local}/64 dev eth0")
    a.ip(f"addr add {a.link_local}/64 dev eth0")
    since = now()
    a.run(Ours, config(instance(SIX)))
    lab.wait(lambda: a.ours.answers(), 5, "it runs")
    assert "tentative" in a.addresses()[a.link_local], "the test came too late"
    lab.wait_owner(VIP6, "a", 5)
    assert "tentative" not in a.addresses()[a.link_local]
    assert {f.source for f in lab.adverts("a", since=since)} == {a.link_local}


def test_i07_an_interface_deleted_and_made_again(lab: Lab) -> None:
    pair(lab)
    a = lab["a"]
    lab.new_link("a")
    lab.wait_owner(VIP, "b", 3)
    lab.wait(lambda: state(lab) == "FAULT", 2, "a is in fault")
    assert a.daemon.running()
    a.ip("link set eth0 up", *a.own_addresses())
    lab.wait_owner(VIP, "a", 3)
    lab.wait(lambda: lab.ping(VIP), 3, "the client reaches it")
    # It hears on the new interface as well: a higher router is obeyed.
    lab["b"].daemon.reload(config(instance(priority=250)))
    lab.wait_owner(VIP, "b", 3)


def test_i08_flapping_link(lab: Lab) -> None:
    pair(lab)
    a = lab["a"]
    for _ in range(25):
        a.ip("link set eth0 down", "link set eth0 up")
    lab.wait_owner(VIP, "a", 5)
    lab.steady(lambda: lab.held.owners(VIP) == {"a"}, 0.5, "it stays")
    assert [line for line in a.ip("route show 10.0.0.0/24").splitlines() if "eth0" in line] == [
        f"10.0.0.0/24 dev eth0 proto kernel scope link src {a.address} "
    ]
    assert a.daemon.running()


@PEERS
def test_m11_a_one_way_link_does_not_flap(lab: Lab, peer: type) -> None:
    """b no longer hears a, but a hears b: both own the address, neither moves, and healing leaves one."""
    pair(lab, peer)
    lab.deafen("b")
    lab.wait_owner(VIP, "ab", 3)
    since = now()
    lab.steady(lambda: not lab.changes(VIP, since), 1, "nobody flaps")
    lab.undeafen("b")
    lab.wait_owner(VIP, "a", 3)


@PEERS
def test_m11_a_deaf_master_stays_and_the_backup_follows(lab: Lab, peer: type) -> None:
    pair(lab, peer)
    since = now()
    lab.deafen("a")
    lab.steady(lambda: not lab.changes(VIP, since), 1, "nothing changes")


def test_t07_a_backup_that_was_stopped_reads_what_waits_before_it_decides(lab: Lab) -> None:
    """Its timer ran out while it could not run; the adverts in its socket say that the master lives."""
    pair(lab)
    b = lab["b"].daemon
    since = now()
    pids = b.pids()
    for _ in range(3):
        b.signal(signal.SIGSTOP, pids)
        heard = lab.adverts("a")[-1].at
        lab.wait(more_adverts(lab, "a", heard, 6), 3, "adverts wait in the socket")
        b.signal(signal.SIGCONT, pids)
        resumed = now()
        lab.steady(lambda: lab.held.owners(VIP) == {"a"}, 0.5, "b stays backup")
        assert now() - resumed >= 0.5
    assert not lab.adverts("b", since=since)


def test_t08_a_master_that_was_stopped_yields_or_preempts_but_never_storms(lab: Lab) -> None:
    """keepalived answers every queued advert with an advert and five gratuitous ARPs: 340 in 0.3 s."""
    pair(lab)
    a = lab["a"].daemon
    pids = a.pids()
    a.signal(signal.SIGSTOP, pids)
    lab.wait_owner(VIP, "ab", 3)
    heard = lab.adverts("b")[-1].at
    lab.wait(lambda: len(lab.adverts("b", since=heard)) > 8, 3, "adverts of b wait in the socket of a")
    since = now()
    a.signal(signal.SIGCONT, pids)
    lab.wait_owner(VIP, "a", 3)
    lab.steady(lambda: lab.held.owners(VIP) == {"a"}, 0.5, "it stays")
    assert len(lab.announcements(VIP, since=since)) <= 20
    assert lab.neighbour(VIP) in ("", lab["a"].mac)


@PEERS
def test_x04_the_guard_resigns_for_a_dead_worker(lab: Lab, peer: type) -> None:
    """SIGKILL of the vrrp process: either it is back before anybody notices, or priority 0 and no address left."""
    pair(lab, peer)
    a = lab["a"].daemon
    killed = a.vrrp_pid()
    since = now()
    a.signal(signal.SIGKILL, [killed])
    lab.wait(
        lambda: a.vrrp_pidfile.exists() and a.vrrp_pidfile.read_text().strip() not in ("", str(killed)), 5, "a new one"
    )
    lab.wait_owner(VIP, "a", 5)
    lab.steady(lambda: lab.held.owners(VIP) == {"a"}, 0.5, "it stays")
    # At no time did the dead router hold on to the address beside b.
    gone = [e for e in lab.changes(VIP, since) if e.host == "a" and not e.added]
    taken = [e for e in lab.changes(VIP, since) if e.host == "b" and e.added]
    if taken:
        resigned = next(f for f in lab.adverts("a", since=since) if f.priority == 0)
        assert gone
        assert gone[0].at < taken[0].at
        assert taken[0].at - resigned.at <= skew(100, 0.1) + 0.3


def test_x04_the_whole_daemon_ends_in_the_planned_way_when_the_guard_dies(lab: Lab) -> None:
    pair(lab)
    a = lab["a"].daemon
    since = now()
    workers = a.pids()[1:]
    a.signal(signal.SIGKILL, [a.pid])
    lab.wait_owner(VIP, "b", 3)
    assert [f.priority for f in lab.adverts("a", since=since)][-1:] == [0]

    def ended() -> bool:
        return not any(alive(pid) for pid in workers)

    lab.wait(ended, 10, "no process of it is left")


def alive(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as stat:
            return stat.read().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_a_stop_keeps_answering_until_the_successor_has_spoken(lab: Lab) -> None:
    """keepalived lets go at once and leaves the skew time as an outage."""
    pair(lab)
    stopped = time.monotonic()
    assert lab["a"].daemon.stop() == 0
    lab.wait_owner(VIP, "b", 1)
    resigned = next(f for f in lab.adverts("a", since=stopped) if f.priority == 0)
    taken = next(f for f in lab.adverts("b", since=stopped) if f.priority)
    gone = next(e for e in lab.changes(VIP, stopped) if e.host == "a" and not e.added)
    assert skew(100, 0.1) - 0.005 <= taken.at - resigned.at <= skew(100, 0.1) + 0.3
    assert gone.at >= taken.at


def test_a_stop_without_a_successor_does_not_wait_for_ever(lab: Lab) -> None:
    lab["a"].run(Ours, config(instance(priority=200)))
    lab.wait_owner(VIP, "a", 5)
    since = now()
    assert lab["a"].daemon.stop(5) == 0
    lab.wait_owner(VIP, "", 1)
    assert now() - since < 2
