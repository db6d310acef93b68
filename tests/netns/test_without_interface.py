"""Unicast without `interface`: an instance is the address it sends from, whichever interface adverts come in by."""

from __future__ import annotations

import json
import signal

import pytest
from test_process import command, will_file
from test_upgrade import release, upgrade

from lab import Host, Keepalived, Lab, Ours, config, instance, now, refused

VIP, VIP6 = "10.0.0.100", "fd00::100"
FAULT = "no interface outside of VRFs that is up has the unicast_src_ip"


def roaming(source: str, peer: str, *lines: str, priority: int = 100, vip: str = f"{VIP}/24 dev eth0") -> str:
    text = instance((vip,), f"unicast_src_ip {source}", f"unicast_peer {{\n{peer}\n}}", *lines, priority=priority)
    return text.replace("    interface eth0\n", "")


def pair(lab: Lab) -> tuple[Host, Host]:
    """a (priority 200) is master, b backup."""
    a, b = lab["a"], lab["b"]
    b.run(Ours, config(roaming(b.address, a.address)))
    a.run(Ours, config(roaming(a.address, b.address, priority=200)))
    lab.wait_owner(VIP, "a", 8)
    lab.wait(lambda: b.ours.instance()["state"] == "BACKUP", 5, "b is backup")
    return a, b


def test_failover_and_return(lab: Lab) -> None:
    a, b = pair(lab)
    lab.wait(lambda: lab.announcements(VIP, "a"), 3, "the address is announced where it lies")
    assert {(each.source, each.destination) for each in lab.adverts("a")} == {(a.address, b.address)}
    assert (a.ours.instance()["interface"], a.ours.instance()["source"]) == ("", a.address)
    a.daemon.stop()
    lab.wait_owner(VIP, "b", 5)
    a.daemon.start()
    lab.wait_owner(VIP, "a", 8)
    assert not b.ours.status()["send_errors"]


def test_ipv6(lab: Lab) -> None:
    a, b = lab["a"], lab["b"]
    vip = f"{VIP6}/64 dev eth0"
    b.run(Ours, config(roaming(b.address6, a.address6, vip=vip)))
    a.run(Ours, config(roaming(a.address6, b.address6, vip=vip, priority=200)))
    lab.wait_owner(VIP6, "a", 8)
    lab.wait(lambda: b.ours.instance()["master"], 5, "b hears a")
    assert b.ours.instance()["master"]["address"] == a.address6
    a.daemon.kill()
    lab.wait_owner(VIP6, "ab", 5)


def test_what_is_behind_ah_is_heard_too(lab: Lab) -> None:
    """Another socket, of protocol 51."""
    a, b = lab["a"], lab["b"]
    lines = ("authentication {\nauth_type AH\nauth_pass secret12\n}",)

    def configuration(own: Host, peer: Host, priority: int) -> str:
        text = roaming(own.address, peer.address, *lines, priority=priority)
        return config(text.replace("version 3", "version 2").replace("advert_int 0.1", "advert_int 1"))

    b.run(Ours, configuration(b, a, 100))
    a.run(Ours, configuration(a, b, 200))
    lab.wait_owner(VIP, "a", 12)
    lab.wait(lambda: b.ours.instance()["master"], 5, "b hears a")
    assert not refused(b.ours.counters())


def there_and_back(lab: Lab) -> None:
    """`a`, the owner, stops and comes again."""
    a = lab["a"]
    a.daemon.stop()
    lab.wait_owner(VIP, "b", 5)
    a.daemon.start()
    lab.wait_owner(VIP, "a", 8)


def test_keepalived_is_the_peer(lab: Lab) -> None:
    """With `interface`: 2.2.7 refuses to go without one, whatever its manual page says (its issue 2270)."""
    a, b = lab["a"], lab["b"]
    lines = (f"unicast_src_ip {b.address}", f"unicast_peer {{\n{a.address}\n}}")
    b.run(Keepalived, config(instance((f"{VIP}/24",), *lines)))
    a.run(Ours, config(roaming(a.address, b.address, priority=200)))
    lab.wait_owner(VIP, "a", 8)
    there_and_back(lab)


def test_the_source_lies_on_the_loopback_interface_and_the_way_back_is_another_one(lab: Lab) -> None:
    """keepalived #1569: what the instance is called by is on no interface of the network."""
    a, b = lab["a"], lab["b"]
    for host, own, other in ((a, "192.0.2.2", "192.0.2.3"), (b, "192.0.2.3", "192.0.2.2")):
        gateway = b if host is a else a
        host.ip(
            f"addr add {own}/32 dev lo",
            "link add link eth0 name back type macvlan mode bridge",
            "link set back up",
            f"addr add 10.1.0.{host.number}/24 dev back",
            # a sends by eth0, b by the other one.
            f"route add {other} via {gateway.address if host is a else f'10.1.0.{gateway.number}'}",
        )
        host.sysctl(net__ipv4__conf__back__rp_filter=0, net__ipv4__conf__eth0__rp_filter=0)
    b.run(Ours, config(roaming("192.0.2.3", "192.0.2.2")))
    a.run(Ours, config(roaming("192.0.2.2", "192.0.2.3", priority=200)))
    lab.wait_owner(VIP, "a", 8)
    lab.wait(lambda: b.ours.instance()["master"], 5, "b hears a")
    since = now()
    there_and_back(lab)
    assert a.ours.counters()["advert_rcvd"], "a has heard b"
    back = json.loads(b.command("ip", "-j", "link", "show", "back"))[0]["address"]
    assert {advert.frame[6:12].hex(":") for advert in lab.adverts("b", since=since)} == {back}


def test_a_rule_for_the_source_decides_where_adverts_leave(lab: Lab) -> None:
    """Policy routing: they are looked up with their source, as keepalived's bound socket does."""
    a, b = lab["a"], lab["b"]
    a.ip(
        "addr add 192.0.2.2/32 dev lo",
        "link add link eth0 name way address 02:00:00:00:00:77 type macvlan mode bridge",
        "link set way up",
        f"route add {b.address}/32 dev way table 77",
        "rule add from 192.0.2.2 table 77 pref 100",
    )
    a.run(Ours, config(roaming("192.0.2.2", b.address, priority=200)))
    lab.wait_owner(VIP, "a", 8)
    lab.wait(lambda: lab.adverts("a"), 5, "an advert")
    assert {advert.frame[6:12].hex(":") for advert in lab.adverts("a")} == {"02:00:00:00:00:77"}


def test_it_is_in_fault_while_nothing_that_is_up_has_its_address(lab: Lab) -> None:
    """Deaf, it would take every address for its own."""
    a, b = pair(lab)
    b.ip(f"addr del {b.address}/24 dev eth0")
    lab.wait(lambda: b.ours.instance()["faults"] == [FAULT], 5, "b is in FAULT")
    b.ip("link add d0 type veth peer name d1", f"addr add {b.address}/32 dev d0")
    a.daemon.stop()
    lab.steady(lambda: not lab.held.owners(VIP), 0.6, "b is still in FAULT")
    b.ip("link set d1 up", "link set d0 up")
    lab.wait_owner(VIP, "b", 5)
    b.ip("link set d0 down")
    lab.wait_owner(VIP, "", 5)
    lab.wait(lambda: b.ours.instance()["faults"] == [FAULT], 5, "b is in FAULT")


def test_two_with_one_id_are_kept_apart_by_their_addresses(lab: Lab) -> None:
    """And from one with an interface, whose socket hears what is for them, as theirs do what is for it."""
    a, b = lab["a"], lab["b"]
    for host, other in ((a, b), (b, a)):
        host.ip(f"addr add 10.0.0.1{host.number}/24 dev eth0")
        high = host is a
        plain = instance(("10.0.0.102/24",), name="VI_3", priority=200 if high else 100)
        first = roaming(host.address, other.address, priority=200 if high else 100, vip=f"{VIP}/24 dev eth0")
        second = roaming(f"10.0.0.1{host.number}", f"10.0.0.1{other.number}", priority=100 if high else 200,
                         vip="10.0.0.101/24 dev eth0").replace("VI_1", "VI_2")  # fmt: skip
        host.run(Ours, config(first, second, plain, globals=("log_unknown_vrids",)))
    lab.wait_owner(VIP, "a", 8)
    lab.wait_owner("10.0.0.101", "b", 8)
    lab.wait_owner("10.0.0.102", "a", 8)
    for host in (a, b):
        status = host.ours.status()
        assert {each["state"] for each in status["instances"]} == {"MASTER", "BACKUP"}
        assert not any(refused(each["counters"]) for each in status["instances"])
        assert "which no instance has there" not in host.daemon.log()


@pytest.mark.parametrize("how", ["reload", "crash"])
def test_it_is_handed_over(lab: Lab, how: str) -> None:
    a, b = pair(lab)
    since, vrrp = now(), a.ours.processes()["vrrp"]
    if how == "reload":
        a.daemon.reload(config(roaming(a.address, b.address, priority=201)))
        lab.wait(lambda: a.ours.instance()["priority"] == 201, 8, "the new configuration runs")
    else:
        a.daemon.signal(signal.SIGKILL, [vrrp])
        lab.wait(lambda: a.ours.succeeded(vrrp), 8, "there is a successor")
    lab.steady(lambda: lab.held.owners(VIP) == {"a"}, 0.6, "a keeps the address")
    assert not [change for change in lab.changes(VIP, since) if change.host == "b"]
    if how == "crash":
        lab.wait(lambda: "adopted" in str(a.ours.instance()["last_transition"]), 5, "it is adopted")


def test_it_is_handed_over_by_an_upgrade(lab: Lab) -> None:
    a, _ = pair(lab)
    since = now()
    answer = upgrade(a.ours, release(lab, "2.0"))
    assert answer["ok"], answer
    lab.steady(lambda: lab.held.owners(VIP) == {"a"}, 0.6, "a keeps the address")
    assert not [change for change in lab.changes(VIP, since) if change.host == "b"]


def test_the_will_is_executed(lab: Lab) -> None:
    """After a SIGKILL of everything: it resigns from where the adverts came, and b has the address at once."""
    a, b = pair(lab)
    lab.wait(will_file(a.ours).exists, 5, "the will is written")
    a.daemon.kill()
    since = now()
    assert command(a, "--execute-will", "-p", str(a.ours.pidfile)).returncode == 0
    lab.wait_owner(VIP, "b", 5)
    assert [advert.priority for advert in lab.adverts("a", since=since)] == [0]
    assert lab.adverts("a", since=since)[0].destination == b.address
