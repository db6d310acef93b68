"""What moves with an instance besides adverts: addresses with every option, routes, rules; Debian's keepalived beside.

The same file runs in two namespaces, in one with ours, in the other with keepalived: what `ip` says of both must be
the same, as MASTER and when they have stopped.
"""

from __future__ import annotations

import difflib
import json
import os
import re
import signal
import sys
import time
from collections.abc import Callable
from typing import Any

import pytest
from test_tracking import another, vrrpctl

from lab import Host, Keepalived, Lab, Ours, config, instance, now

ADDRESSES = (
    "10.0.0.100/24",
    "10.0.1.1/24 brd + label eth0:vip",
    "10.0.2.1/24 brd - scope link",
    "10.0.3.1 peer 10.0.3.2 dev eth1",
    "10.0.4.1/24 noprefixroute dev eth1",
    "10.0.5.1/24 preferred_lft 0",
)
EXCLUDED = (
    "fd01::1/64",
    "fd01::2/128",
    "fd01::3/128 preferred_lft forever",
    "fd01::4/64 home mngtmpaddr noprefixroute",
    "fd01::5/64 -nodad dev eth1",
    "fd01::6 peer fd01::7 dev eth1",
    "fd01::8/64 preferred_lft 0",
)


def second_interface(lab: Lab, names: str) -> None:
    for name in names:
        lab[name].ip(
            "link add eth1 type veth peer name peer1",
            "link set eth1 up",
            "link set peer1 up",
            "addr add 192.0.2.9/24 dev eth1",
        )


def block(keyword: str, lines: tuple[str, ...]) -> str:
    return "\n".join([f"{keyword} {{", *(f"        {line}" for line in lines), "    }"])


def addresses(host: Host) -> list[object]:
    """All that the kernel says of them; the instance's own host addresses left out."""
    seen = [
        {"dev": link["ifname"], **info, "protocol": None}
        for link in json.loads(host.command("ip", "-j", "addr"))
        for info in link["addr_info"]
        if info.get("local") not in (host.address, host.address6, host.link_local)
    ]
    return sorted(seen, key=lambda info: (info["dev"], info.get("local", "")))


def routing(host: Host) -> list[str]:
    """Routes and rules that keepalived's protocol number marks, of every table."""
    routes = [
        f"{family} {re.sub(' +', ' ', line.strip())}"
        for family in ("-4", "-6")
        for line in host.command("ip", "-N", family, "route", "show", "table", "all", "proto", "18").splitlines()
    ]
    rules = [
        f"{family} {line.strip()}"
        for family in ("-4", "-6")
        for line in host.command("ip", "-N", family, "rule", "show").splitlines()
        if "proto 18" in line
    ]
    return [re.sub(r"expires \d+sec", "expires", line) for line in routes + rules]


def both(lab: Lab, text: str, look: Callable[[Host], list[Any]]) -> tuple[list[Any], list[Any]]:
    """What `look` finds as MASTER with ours, then with keepalived."""
    found: list[list[Any]] = []
    for name, kind in (("a", Ours), ("b", Keepalived)):
        host = lab[name]
        before = look(host)
        host.run(kind, text)
        lab.wait_owner("10.0.0.100", name, 10)
        last: list[Any] = []
        while last != (last := look(host)) or last == before:  # keepalived takes a message for each
            time.sleep(0.1)
        found.append(last)
        host.daemon.stop()
        if kind is Ours:  # keepalived 2.2.7 leaves an address with a peer behind
            assert look(host) == before
    return found[0], found[1]


def test_addresses_are_added_as_keepalived_adds_them(lab: Lab) -> None:
    second_interface(lab, "ab")
    text = config(instance(ADDRESSES, block("virtual_ipaddress_excluded", EXCLUDED)))
    ours, theirs = both(lab, text, addresses)
    assert ours == theirs
    assert len(ours) >= len(ADDRESSES + EXCLUDED)


ROUTES = (
    "198.51.100.0/24 via 10.0.0.254 dev eth0",
    "198.51.101.0/24 via 10.0.0.254 dev eth0 src 10.0.0.100",
    "198.51.102.0/24 dev eth1",
    "198.51.103.0/24 dev eth0 scope link table 100 metric 7 tos 16",
    "198.51.104.0/24 via 10.0.0.254 or 10.0.0.253",
    "198.51.105.0/24 table 6909 nexthop via 192.0.2.1 dev eth1 onlink weight 3 nexthop via 192.0.2.2 dev eth1 weight 2",
    "blackhole 198.51.106.0/24",
    "unreachable 198.51.106.0/25 metric 3",
    "prohibit 198.51.107.0/24",
    "throw 198.51.108.0/24",
    "0.0.0.0/0 gw 10.0.0.254 table 100",
    "198.51.109.0/24 dev eth1 mtu lock 1400 advmss 1300 rtt 1s rttvar 2000 window 3000 hoplimit 9 initcwnd 10",
    "198.51.110.0/24 dev eth1 reordering 5 cwnd lock 6 ssthresh 7 rto_min 3000 features ecn quickack 1 congctl cubic",
    "198.51.111.0/24 dev eth1 realms 3/4 fastopen_no_cookie 1",
    "198.51.112.0/24 dev eth1 append",
    "fd02::/64 via fd00::254 dev eth0",
    "fd03::/64 dev eth1 metric 5 mtu 1300 pref high",
    "fd04::/64 dev eth1 table 100 hoplimit 4",
    "blackhole fd05::/64",
    "unreachable fd06::/64 metric 9",
    "fd07::/64 nexthop via fd00::253 dev eth0 weight 2 nexthop via fd00::254 dev eth0",
    "fd08::/64 dev eth1 expires 3000",
)
RULES = (
    "from 192.168.2.0/24 table 100 preference 100",
    "to 192.168.3.0/24 lookup main preference 101",
    "from 192.168.28.0/24 to 192.168.29.0/26 table 9 iif eth1 oif eth0 tos 16 fwmark 24/12 preference 102 realms 30/20",
    "not from 192.168.4.0/24 table 7 preference 103 uidrange 10-20 ipproto udp sport 10-20 dport 30-40",
    "from 192.168.5.0/24 goto 200 preference 104",
    "nop preference 105",
    "from 192.168.6.0/24 blackhole preference 106",
    "type prohibit from 192.168.7.0/24 preference 107",
    "table main suppress_prefixlength 0 suppress_ifgroup 3 preference 108",
    "to fd09::/64 from fd0a::/64 table 6908 preference 109",
    "l3mdev preference 111",
)


def moving(*lines: str, routes: tuple[str, ...] = ROUTES, rules: tuple[str, ...] = RULES, priority: int = 100) -> str:
    blocks = (block("virtual_routes", routes), block("virtual_rules", rules))
    return config(instance(("10.0.0.100/24",), *blocks, *lines, priority=priority))


def count(host: Host) -> int:
    return len(routing(host))


def test_routes_and_rules_are_those_of_keepalived(lab: Lab) -> None:
    second_interface(lab, "ab")
    ours, theirs = both(lab, moving(), routing)
    assert list(difflib.unified_diff(theirs, ours, n=0)) == []
    assert len(ours) > len(ROUTES + RULES), "next hops have lines of their own"


def test_they_follow_mastership_and_a_reload_applies_the_difference(lab: Lab) -> None:
    second_interface(lab, "ab")
    lab["b"].run(Ours, moving(priority=100))
    lab.wait_owner("10.0.0.100", "b", 5)
    everything = routing(lab["b"])
    lab["a"].run(Ours, moving(priority=200))
    lab.wait_owner("10.0.0.100", "a", 5)
    lab.wait(lambda: routing(lab["b"]) == [], 2, "b has let go")
    assert routing(lab["a"]) == everything
    untouched = [line for line in everything if "198.51.100." not in line and "192.168.2." not in line]
    changed = (
        ("198.51.100.0/24 via 10.0.0.252 dev eth0", *ROUTES[1:]),
        ("from 192.168.2.0/24 table 101 preference 100", *RULES[1:]),
    )
    lab["a"].daemon.reload(moving(routes=changed[0], rules=changed[1], priority=200))
    lab.wait(lambda: any("10.0.0.252" in line for line in routing(lab["a"])), 5, "the changed route")
    after = routing(lab["a"])
    assert [line for line in after if "198.51.100." not in line and "192.168.2." not in line] == untouched
    assert len(after) == len(everything)
    lab["a"].daemon.stop()
    assert routing(lab["a"]) == []
    lab.wait(lambda: count(lab["b"]) == len(everything), 5, "b has them again")


@pytest.mark.parametrize("whom", ["vrrp", "everything"])
def test_they_survive_a_crash_and_the_will_undoes_them(lab: Lab, whom: str) -> None:
    """A process of ours dies: adopted, untouched. All die: ExecStopPost removes what is left."""
    a = lab["a"]
    second_interface(lab, "a")
    daemon = a.run(Ours, moving())
    assert isinstance(daemon, Ours)
    lab.wait_owner("10.0.0.100", "a", 5)
    lab.wait(daemon.answers, 5, "the control socket answers")
    before = routing(a)
    if whom == "vrrp":
        former = daemon.vrrp_pid()
        os.kill(former, signal.SIGKILL)
        lab.wait(lambda: daemon.vrrp_pid() != former and daemon.answers(), 5, "adopted")
        assert routing(a) == before
        daemon.stop()
    else:
        daemon.kill()
        assert routing(a) == before, "nobody is left to undo anything"
        run_dir = f"{daemon.pidfile}.d"
        a.command(
            sys.executable, "-m", "vrrpd", "--execute-will", "-p", str(daemon.pidfile), "-r", str(daemon.vrrp_pidfile)
        )
        assert not os.path.exists(f"{run_dir}/guard/will.json")
    assert routing(a) == []
    assert "10.0.0.100" not in a.addresses()


def test_what_somebody_removes_is_put_back(lab: Lab) -> None:
    a = lab["a"]
    second_interface(lab, "a")
    kept = "198.51.113.0/24 dev eth1 no_track"
    daemon = a.run(Ours, moving(routes=(*ROUTES, kept)))
    lab.wait_owner("10.0.0.100", "a", 5)
    everything = routing(a)
    since = now()
    a.ip("route del 198.51.113.0/24")
    before = [line for line in everything if "198.51.113." not in line]
    lab.steady(lambda: routing(a) == before, 0.3, "no_track: left alone")
    for line in (
        "route del 198.51.100.0/24",
        "rule del pref 103",
        "route del fd03::/64 dev eth1",
        "rule del pref 105",
        "route del 198.51.105.0/24 table 6909",
        "addr del 10.0.0.100/24 dev eth0",  # takes the route along that leads from it
    ):
        a.ip(line)
        lab.wait(lambda: routing(a) == before, 3, f"put back after {line}")
    assert "somebody removed route 198.51.100.0/24 via 10.0.0.254 dev eth0, put back" in daemon.log()
    assert all(advert.priority for advert in lab.adverts("a", since=since)), "MASTER all the time"
    a.ip("link set eth1 down")
    lab.wait(lambda: routing(a) == [], 3, "FAULT: the routes over it need it")
    a.ip("link set eth1 up")
    lab.wait(lambda: routing(a) == everything, 5, "MASTER again, with all of it")


def test_restore_deleted_no_steps_down_as_keepalived(lab: Lab) -> None:
    a = lab["a"]
    daemon = a.run(Ours, moving("restore_deleted no", routes=ROUTES[:2], rules=RULES[:2]))
    lab.wait_owner("10.0.0.100", "a", 5)
    before = routing(a)
    for line in ("route del 198.51.100.0/24", "rule del pref 101", "addr del 10.0.0.100/24 dev eth0"):
        since = now()
        a.ip(line)
        lab.wait(lambda since=since: any(not x.priority for x in lab.adverts("a", since=since)), 3, "priority 0")
        lab.wait(lambda: routing(a) == before, 3, "and MASTER again")
    assert "somebody removed rule to 192.168.3.0/24 lookup main preference 101" in daemon.log()


STATIC = (
    ("static_ipaddress", ("10.0.0.50/24 dev eth0", "192.0.2.50/24 dev eth1 track_group G", "fd00::50/64 dev eth0")),
    ("static_routes", ("198.51.100.0/24 via 10.0.0.254 dev eth0 src 10.0.0.50", "fd02::/64 dev eth1 track_group G")),
    ("static_rules", ("from 192.168.2.0/24 table 100 iif eth1 preference 100",)),
)
GROUP = "track_group G {\n    group {\n        VI_1\n    }\n}\n"


def with_statics(*blocks: tuple[str, tuple[str, ...]]) -> str:
    return config(GROUP, *(block(*each) for each in blocks), instance())


def test_adverts_leave_with_the_machines_own_address(lab: Lab) -> None:
    """The kernel lists an address of a narrow scope first; where nothing else is there it will do."""
    daemon = lab["a"].run(Ours, with_statics(("static_ipaddress", ("10.0.0.50/32 dev eth0 scope link",))))
    assert isinstance(daemon, Ours)
    lab.wait_owner("10.0.0.100", "a", 5)
    assert daemon.instance()["source"] == "10.0.0.2"
    lab["a"].ip("addr del 10.0.0.2/24 dev eth0")
    lab.wait(lambda: any(x.source == "10.0.0.50" for x in lab.adverts("a")), 5, "the static one takes its place")


def everything(host: Host) -> list[object]:
    mine = [info for info in addresses(host) if "10.0.0.100" not in str(info)]
    return [*mine, *routing(host)]


def test_static_items_outlive_every_process_but_the_daemon(lab: Lab) -> None:
    """Set at the start, kept over reload and crash, put back, undone at the end: what was there before us stays."""
    a = lab["a"]
    second_interface(lab, "a")
    a.ip("addr add 10.0.0.50/24 dev eth0")
    before = everything(a)
    daemon = a.run(Ours, with_statics(*STATIC))
    assert isinstance(daemon, Ours)
    lab.wait_owner("10.0.0.100", "a", 5)
    whole = everything(a)
    assert len(whole) == len(before) + 5
    for line in ("addr del 192.0.2.50/24 dev eth1", "route del 198.51.100.0/24", "rule del pref 100"):
        a.ip(line)
        lab.wait(lambda: everything(a) == whole, 6, f"put back after {line}")
    daemon.reload(with_statics(STATIC[0]))
    lab.wait(lambda: len(everything(a)) == len(before) + 2, 5, "the routes and rules are no longer wanted")
    daemon.reload(with_statics(*STATIC))
    lab.wait(lambda: everything(a) == whole, 5, "and they are again")
    # A process that dies while reloading leaves the former configuration in force, which has none of them.
    lab.wait(lambda: daemon.log().count("reloaded ") == 2 and daemon.answers(), 5, "the reload is over")
    former = daemon.vrrp_pid()
    os.kill(former, signal.SIGKILL)
    lab.wait(lambda: daemon.vrrp_pid() != former and daemon.answers(), 5, "adopted")
    assert everything(a) == whole
    daemon.kill()
    assert everything(a) == whole, "nobody is left to undo anything"
    files = ("-p", str(daemon.pidfile), "-r", str(daemon.vrrp_pidfile))
    a.command(sys.executable, "-m", "vrrpd", "--execute-will", *files)
    assert everything(a) == before
    daemon = a.run(Ours, with_statics(*STATIC))
    lab.wait(lambda: everything(a) == whole, 5, "set anew")
    daemon.stop()
    assert everything(a) == before


def test_an_instance_is_in_fault_while_its_static_items_are_missing(lab: Lab) -> None:
    a = lab["a"]
    second_interface(lab, "a")
    daemon = a.run(Ours, with_statics(*STATIC))
    assert isinstance(daemon, Ours)
    lab.wait_owner("10.0.0.100", "a", 5)
    a.ip("link del eth1")
    lab.wait(lambda: daemon.instance()["state"] == "FAULT", 5, "FAULT")
    assert "static 192.0.2.50/24 dev eth1: there is no interface eth1" in daemon.instance()["faults"]
    second_interface(lab, "a")
    lab.wait_owner("10.0.0.100", "a", 8)


def test_what_the_kernel_does_not_take_is_in_the_status_and_tried_again(lab: Lab) -> None:
    """In words, with its reason and since when, through a reload and crashes; not when it has come."""
    a = lab["a"]
    routes = ("198.51.100.0/24 via 10.9.0.1 dev eth0", "198.51.101.0/24 nexthop dev eth9", "198.51.102.0/24 dev eth0")
    statics = ("static_routes", ("198.51.103.0/24 via 10.9.0.1", "198.51.104.0/24 dev eth9"))
    text = config(block(*statics), instance(("10.0.0.100/24",), block("virtual_routes", routes)))
    daemon = a.run(Ours, text)
    assert isinstance(daemon, Ours)
    lab.wait_owner("10.0.0.100", "a", 5)

    def missing() -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
        return daemon.instance()["missing"], daemon.status()["missing"]

    def reasons() -> list[tuple[str, str]]:
        return [(found["what"], found["why"]) for part in missing() for found in part]

    expected = [
        ("route 198.51.100.0/24 via 10.9.0.1 dev eth0", "Network is unreachable"),
        ("route 198.51.101.0/24 nexthop dev eth9", "interface eth9 does not exist"),
        ("static route 198.51.103.0/24 via 10.9.0.1", "Network is unreachable"),
        ("static route 198.51.104.0/24 dev eth9", "there is no interface eth9"),
    ]
    lab.wait(lambda: sorted(reasons()) == sorted(expected), 3, "all four are told")
    before = missing()
    shown = vrrpctl(daemon, "status")
    for what, why in expected:
        assert re.search(f"{re.escape(what)} is missing since ..:..:..: {why}; it is tried again", shown)
    assert "missing  " in vrrpctl(daemon, "status", "VI_1")
    daemon.reload(text.replace("priority 100", "priority 101"))
    lab.wait(lambda: daemon.instance()["priority"] == 101, 5, "reloaded")
    assert missing() == before, "the same since then"
    another(lab, daemon, "helper")
    lab.wait(lambda: missing() == before, 2, "the next helper knows too")
    another(lab, daemon, "vrrp")
    lab.wait(lambda: reasons() == [(found["what"], found["why"]) for part in before for found in part], 3, "adopted")
    logged = daemon.log().count("cannot add route 198.51.100.0/24")
    lab.steady(lambda: daemon.log().count("cannot add route 198.51.100.0/24") == logged, 2.2, "each cause once")
    a.ip("addr add 10.9.0.9/24 dev eth0")
    lab.wait(lambda: len(reasons()) == 2, 1.0, "the gateway can be reached, and both routes are there")
    a.ip("link add eth9 type veth peer name peer9", "link set eth9 up", "link set peer9 up")
    lab.wait(lambda: reasons() == [], 5, "and so is the interface")
    assert len(routing(a)) == 5
    daemon.stop()
    assert routing(a) == []


def test_a_duplicate_that_is_asked_for_is_told_once(lab: Lab) -> None:
    """-nodad: the kernel asks whether somebody has it, and does not use it when somebody has."""
    a, c = lab["a"], lab["c"]
    a.sysctl(net__ipv6__conf__eth0__accept_dad=1)
    c.ip("addr add fd01::5/64 dev eth0 nodad")
    excluded = block("virtual_ipaddress_excluded", ("fd01::5/64 -nodad", "fd01::6/64 -nodad"))
    daemon = a.run(Ours, config(instance(("10.0.0.100/24",), excluded)))
    lab.wait(lambda: a.addresses().get("fd01::6") == {"permanent"} or "another host" in daemon.log(), 5, "asked")
    lab.wait(lambda: "another host" in daemon.log(), 5, "told")
    told = (
        "VI_1: another host on eth0 has fd01::5/64: duplicate address detection failed, and nobody is answered for it"
    )
    assert told in daemon.log()
    a.ip("link set eth0 promisc on", "link set eth0 promisc off")
    daemon.reload(config(instance(("10.0.0.100/24",), excluded, priority=101)))
    lab.wait(lambda: "reloaded" in daemon.log() and lab.adverts("a")[-1].priority == 101, 5, "reloaded")
    assert daemon.log().count("another host") == 1
    assert "dadfailed" in a.addresses()["fd01::5"]


def test_an_address_that_the_kernel_does_not_take_is_tried_again(lab: Lab) -> None:
    """A MASTER without its address says so in the status; it is announced when it has come."""
    a = lab["a"]
    a.sysctl(net__ipv6__conf__eth0__disable_ipv6=1)
    excluded = block("virtual_ipaddress_excluded", ("fd01::1/64", "10.8.0.1/24 dev eth9 no_track"))
    text = config(instance(("10.0.0.100/24",), excluded, "garp_master_delay 0"))
    daemon = a.run(Ours, text)
    assert isinstance(daemon, Ours)
    lab.wait_owner("10.0.0.100", "a", 5)
    refused = [
        ("address fd01::1/64", "Permission denied"),
        ("address 10.8.0.1/24 dev eth9", "there is no interface eth9"),
    ]

    def missing() -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = daemon.instance()["missing"]
        return sorted(found, key=lambda each: str(each["what"]), reverse=True)

    assert [(found["what"], found["why"]) for found in missing()] == refused
    before = missing()
    daemon.reload(text.replace("priority 100", "priority 101"))
    lab.wait(lambda: daemon.instance()["priority"] == 101, 5, "reloaded")
    assert missing() == before, "the same since then"
    another(lab, daemon, "vrrp")
    lab.wait(lambda: [(found["what"], found["why"]) for found in missing()] == refused, 3, "adopted")
    since = now()
    a.sysctl(net__ipv6__conf__eth0__disable_ipv6=0)
    a.ip("link add eth9 type veth peer name peer9", "link set eth9 up", "link set peer9 up")
    lab.wait(lambda: missing() == [], 5, "both have come")
    lab.wait(lambda: len(lab.announcements("fd01::1", since=since)) == 5, 3, "and are announced")
    assert "fd01::1" in a.addresses()
    assert daemon.log().count("cannot add address fd01::1/64") == 2, "once by each process"
    daemon.stop()
    assert "fd01::1" not in a.addresses()


def test_promote_secondaries_is_set_while_the_daemon_runs(lab: Lab) -> None:
    a = lab["a"]
    path = "net.ipv4.conf.eth0.promote_secondaries"

    def value() -> str:
        return a.command("sysctl", "-n", path).strip()

    a.sysctl(net__ipv4__conf__eth0__promote_secondaries=0)
    vips = ("10.1.0.1/24", "10.1.0.2/24")
    daemon = a.run(Ours, config(instance(vips, "promote_secondaries")))
    lab.wait_owner("10.1.0.2", "a", 5)
    assert value() == "1"
    daemon.kill()
    files = ("-p", str(daemon.pidfile), "-r", str(daemon.vrrp_pidfile))
    a.command(sys.executable, "-m", "vrrpd", "--execute-will", *files)
    assert value() == "0"
    daemon = a.run(Ours, config(instance(vips, "promote_secondaries")))
    lab.wait_owner("10.1.0.2", "a", 5)
    daemon.reload(config(instance(vips)))
    lab.wait(lambda: value() == "0", 5, "a configuration without")
