"""no_accept in the kernel: who can reach the address, what the table looks like, and that it is never left behind.

nft is the oracle of the table, a client that pings and connects that of its effect, keepalived that of its meaning.
"""

from __future__ import annotations

import json
import select
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from test_upgrade import release, upgrade
from test_vmac import FAMILIES, MAC, NAME, SIX, Family, senders, vmac

from lab import PATIENCE, ROOT, Daemon, Host, Keepalived, Lab, Ours, Prober, config, instance, now, receive_buffers
from vrrpd import firewall

VIP, VIP6, LOCAL = "10.0.0.100", "fd00::100", "fe80::100"
VIPS = {4: (f"{VIP}/24",), 6: (f"{LOCAL}/64", f"{VIP6}/64")}
TABLE = ("inet", "vrrpd")


def ruleset(host: Host) -> list[dict[str, Any]]:
    """What `nft -j list ruleset` shows, without handles, which are another one each time."""
    listed = json.loads(host.command("nft", "-j", "list", "ruleset"))["nftables"]
    for entry in listed:
        for what in entry.values():
            what.pop("handle", None)
    return [entry for entry in listed if "metainfo" not in entry]


def tables(host: Host) -> set[tuple[str, str]]:
    return {(entry["table"]["family"], entry["table"]["name"]) for entry in ruleset(host) if "table" in entry}


def rules(host: Host, match: str) -> list[dict[str, Any]]:
    """Those of our input chain whose first comparison is of this field."""
    protocol, field = match.split()
    payload = {"payload": {"protocol": protocol, "field": field}}
    found = (entry["rule"] for entry in ruleset(host) if "rule" in entry and entry["rule"]["chain"] == firewall.IN)
    return [rule for rule in found if rule["expr"][0].get("match", {}).get("left") == payload]


def dropped(host: Host) -> set[str]:
    """The addresses in the sets of ours."""
    found: set[str] = set()
    for entry in ruleset(host):
        if "set" in entry and entry["set"]["name"].startswith("vips"):
            for key in entry["set"].get("elem", ()):
                found.add(key["concat"][0] if isinstance(key, dict) else key)
    return found


def connects(lab: Lab, address: str, port: int = 7777) -> bool:
    """Does the client get a TCP connection?"""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with lab["c"].inside():
        sock = socket.socket(family, socket.SOCK_STREAM)
    with sock:
        sock.settimeout(0.3)
        scope = 0
        if address.startswith("fe80"):
            with lab["c"].inside():
                scope = socket.if_nametoindex("eth0")
        try:
            sock.connect((address, port, 0, scope) if ":" in address else (address, port))
        except OSError:
            return False
    return True


@contextmanager
def listening(host: Host, port: int = 7777) -> Iterator[None]:
    """A service on every address of the host."""
    with host.inside():
        sock = socket.create_server(("::", port), family=socket.AF_INET6, dualstack_ipv6=True, backlog=64)
    with sock:
        yield


def execute_will(host: Host) -> None:
    """What the unit's ExecStopPost does."""
    with host.inside():
        argv = [sys.executable, "-m", "vrrpd", "--execute-will", "-p", str(host.daemon.pidfile)]
        subprocess.run(argv, cwd=ROOT, check=True, capture_output=True)


def pair(lab: Lab, family: int, *lines: str, a: type[Daemon] = Ours, b: type[Daemon] = Ours) -> None:
    lab["b"].run(b, config(instance(VIPS[family], *lines)))
    lab["a"].run(a, config(instance(VIPS[family], *lines, priority=200)))
    lab.wait_owner(VIP if family == 4 else VIP6, "a", 10)


# ---------------------------------------------------------------------------------------------- the table
TEXT = """
table inet site {
    set vips { type ipv4_addr; elements = { 10.0.0.1, 10.0.0.2 }; }
    set vips6 { type ipv6_addr; elements = { fd00::1 }; }
    set vips6_link_local { type ipv6_addr . iface_index; elements = { fe80::1 . "lo" }; }
    set vmacs { type ifname; elements = { "vrrp.51" }; }
    chain vrrpd_in {
        type filter hook input priority -10; policy accept;
        ip daddr @vips counter drop
        icmpv6 type nd-neighbor-solicit counter accept
        icmpv6 type nd-neighbor-advert counter accept
        ip6 daddr @vips6 counter drop
        ip6 daddr . iif @vips6_link_local counter drop
    }
    chain vrrpd_out {
        type filter hook output priority -10; policy accept;
        ip protocol igmp oifname @vmacs counter drop
        ip saddr @vips counter drop
        icmpv6 type nd-neighbor-solicit counter accept
        icmpv6 type nd-neighbor-advert counter accept
        ip6 saddr @vips6 counter drop
        ip6 saddr . oif @vips6_link_local counter drop
    }
}
"""
PLACES = [
    (1, bytes([10, 0, 0, 1]), 24),
    (1, bytes([10, 0, 0, 2]), 32),
    (1, socket.inet_pton(socket.AF_INET6, "fd00::1"), 64),
    (1, socket.inet_pton(socket.AF_INET6, "fe80::1"), 64),
]


@contextmanager
def table(host: Host, shape: firewall.Shape) -> Iterator[firewall.Firewall]:
    said: list[tuple[str, str]] = []
    with host.inside():
        made = firewall.Firewall(shape, lambda *line: said.append(line))
        made.build()
        yield made
    made.retire()
    assert said == []


PLAIN = firewall.Shape("vrrpd", -1, False, True, ())


def test_nft_reads_what_we_pack_as_what_it_would_make_itself(lab: Lab) -> None:
    a, b = lab["a"], lab["b"]
    with table(a, firewall.Shape("site", -10, True, True, ("vrrp.51",))) as ours:
        ours.shield(PLACES)
        ours.build()  # in the place of the first
    b.command("sh", "-c", f"nft -f - <<'END'\n{TEXT}\nEND")
    assert ruleset(a) == ruleset(b)


def test_an_address_that_two_have_is_dropped_until_the_last_has_gone(lab: Lab) -> None:
    a = lab["a"]
    with table(a, PLAIN) as ours:
        other = (2, bytes([10, 0, 0, 1]), 24)
        ours.shield([*PLACES, other])
        ours.unshield([PLACES[0], PLACES[3]])
        assert dropped(a) == {"10.0.0.1", "10.0.0.2", "fd00::1"}
        ours.unshield([PLACES[0]])  # said again
        ours.forget(2)
        assert dropped(a) == {"10.0.0.2", "fd00::1"}
        a.command("nft", "flush", "set", *TABLE, "vips")
        ours.unshield([PLACES[1], PLACES[2]])  # one of them is missing, the other goes all the same
        assert dropped(a) == set()


def test_thousands_of_addresses(lab: Lab) -> None:
    a = lab["a"]
    places = [(1, bytes([10, 1, number >> 8, number & 255]), 32) for number in range(4000)]
    with table(a, PLAIN) as ours:
        ours.shield(places)
        assert len(dropped(a)) == 4000
        ours.build()
        ours.unshield(places[1:])
    assert dropped(a) == {"10.1.0.0"}


def test_a_table_of_somebody_else_is_not_touched(lab: Lab) -> None:
    a = lab["a"]
    a.command("nft", "add", "table", *TABLE)
    a.command("nft", "add", "chain", *TABLE, "theirs")
    before = ruleset(a)
    pair(lab, 4, "no_accept")
    assert "somebody else" in a.ours.status()["nftables"]["error"]
    assert lab.ping(VIP)  # served all the same
    a.daemon.stop()
    assert ruleset(a) == before


# ---------------------------------------------------------------------------------------------- who is reached
@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.parametrize("kind", [Ours, Keepalived])
def test_a12_the_address_is_resolved_and_a_gateway_but_answers_nothing(
    lab: Lab, kind: type[Daemon], family: int
) -> None:
    """RFC 9568 6.4.3 (655), Accept_Mode false. The same file under keepalived gives the same."""
    vip = VIP if family == 4 else VIP6
    beyond = "10.9.0.1" if family == 4 else "fd09::1"
    length = 32 if family == 4 else 128
    a, b, c = lab["a"], lab["b"], lab["c"]
    a.sysctl(net__ipv4__ip_forward=1, net__ipv6__conf__all__forwarding=1)
    b.ip(f"addr add {beyond}/{length} dev lo")
    a.ip(f"route add {beyond} via {b.address if family == 4 else b.address6}")
    pair(lab, family, "no_accept", a=kind, b=kind)
    c.ip(f"route add {beyond} via {vip}")
    with listening(a):
        lab.wait(lambda: lab.ping(beyond), 5, "the master forwards")
        assert lab.neighbour(vip) == a.mac
        for address in (vip, *([LOCAL] if family == 6 else ())):
            if address != LOCAL:
                assert not lab.ping(address), address
            assert not connects(lab, address), address
        own = a.address if family == 4 else a.address6
        assert lab.ping(own)
        assert connects(lab, own)
    assert tables(b) <= {TABLE, ("ip", "keepalived"), ("ip6", "keepalived")}
    assert not dropped(b)
    a.daemon.stop()
    lab.wait_owner(vip, "b", 5)
    assert not lab.ping(vip)
    assert tables(a) == set()


@FAMILIES
def test_the_same_on_a_virtual_interface(lab: Lab, family: Family) -> None:
    lab["a"].run(Ours, config(vmac(family, "no_accept")))
    lab.wait_owner(family.vip, "a", 10)
    with listening(lab["a"]):
        assert lab["a"].address != family.vip
        for address in (family.vip, *([LOCAL] if family == SIX else ())):
            assert not connects(lab, address), address
        assert not lab.ping(family.vip)
    assert lab.neighbour(family.vip) == family.mac
    assert dropped(lab["a"]) == {vip.partition("/")[0] for vip in family.vips}


@pytest.mark.parametrize("kind", [Ours, Keepalived])
def test_an_owner_accepts(lab: Lab, kind: type[Daemon]) -> None:
    lab["a"].run(kind, config(instance(VIPS[4], "no_accept", priority=255)))
    lab.wait_owner(VIP, "a", 10)
    assert lab.ping(VIP)
    assert tables(lab["a"]) == set()


# ---------------------------------------------------------------------------------------------- order and life
class Sequence:
    """In which order an element of the table and an address change, as the kernel told it (see lab.Order)."""

    def __init__(self, host: Host) -> None:
        self.epoll = select.epoll()
        with host.inside():
            self.sockets = {}
            for what, protocol, groups in (("address", 0, 0x10), ("element", 12, 1 << 6)):
                sock = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, protocol)
                sock.bind((0, groups))
                self.sockets[sock.fileno()] = what, sock
                self.epoll.register(sock.fileno(), select.EPOLLIN | select.EPOLLONESHOT)

    def seen(self) -> list[str]:
        order: list[str] = []
        end = now() + PATIENCE
        while len(order) < 2 and (left := end - now()) > 0:
            order += [self.sockets[fd][0] for fd, _ in self.epoll.poll(left)]
        for _, sock in self.sockets.values():
            sock.close()
        self.epoll.close()
        return order


def test_dropped_before_the_address_is_there_and_until_it_has_gone(lab: Lab) -> None:
    lab["b"].run(Ours, config(instance(VIPS[4], "no_accept")))
    lab["a"].run(Ours, config(instance(VIPS[4], "no_accept", priority=200)))
    lab.wait_owner(VIP, "a", 10)
    lab.wait(lab["b"].ours.answers, 5, "b runs")
    gaining, leaving = Sequence(lab["b"]), Sequence(lab["a"])
    assert lab["a"].ours.ask("handover", instance="VI_1")["ok"]
    assert gaining.seen() == ["element", "address"]
    assert leaving.seen() == ["address", "element"]


def test_a_reload_turns_it_on_and_off_and_nobody_misses_an_advert(lab: Lab) -> None:
    pair(lab, 4)
    a = lab["a"]
    assert tables(a) == set()
    assert lab.ping(VIP)
    since = now()
    for lines, answers in (
        (("no_accept",), False),
        ((), True),
        (("no_accept",), False),
        (("accept",), True),
    ):
        a.daemon.reload(config(instance(VIPS[4], *lines, priority=200)))
        lab.wait(lambda: lab.ping(VIP) is answers, 5, f"{lines}: {'' if answers else 'no '}answer")  # noqa: B023
        lab.wait(lambda: (TABLE in tables(a)) is not answers, 5, f"{lines}: the table")  # noqa: B023
    a.daemon.reload(config(instance(VIPS[4], "no_accept", priority=200), globals=("nftables site",)))
    lab.wait(lambda: tables(a) == {("inet", "site")} and dropped(a) == {VIP}, 5, "a table of another name")
    a.daemon.reload(config(instance(VIPS[4], "no_accept", priority=200), globals=("nftables_priority 5",)))
    lab.wait(lambda: tables(a) == {TABLE}, 5, "the name is the former")
    chains = [entry["chain"] for entry in ruleset(a) if "chain" in entry]
    assert {chain["prio"] for chain in chains} == {5}
    assert not lab.ping(VIP)
    assert lab.held.owners(VIP) == {"a"}
    assert not lab.changes(VIP, since)
    assert not lab.adverts("b", since=since)
    times = [advert.at for advert in lab.adverts("a", since=since)]
    assert max(after - before for before, after in zip(times, times[1:])) < 0.25


def test_a_reload_opens_one_address_and_not_the_other(lab: Lab) -> None:
    a = lab["a"]

    def both(*lines: str, globals: tuple[str, ...] = ()) -> str:
        second = instance(("10.0.0.101/24",), "no_accept", name="VI_2", vrid=52)
        return config(instance(VIPS[4], *lines), second, globals=globals)

    a.run(Ours, both("no_accept"))
    lab.wait(lambda: dropped(a) == {VIP, "10.0.0.101"}, 10, "both are dropped")
    a.daemon.reload(both())
    lab.wait(lambda: dropped(a) == {"10.0.0.101"}, 5, "one is open")
    assert lab.ping(VIP)
    assert not lab.ping("10.0.0.101")
    a.daemon.reload(both("no_accept", globals=("nftables_priority 5", "nftables_counters")))
    lab.wait(lambda: {entry["chain"]["prio"] for entry in ruleset(a) if "chain" in entry} == {5}, 5, "another priority")
    lab.wait(lambda: dropped(a) == {VIP, "10.0.0.101"}, 5, "both are dropped")
    assert not lab.ping(VIP)
    (count,) = (rule["expr"][1]["counter"]["packets"] for rule in rules(a, "ip daddr"))
    assert count >= 1
    a.daemon.reload(config(instance(VIPS[4])))  # the other instance has gone, with its address
    lab.wait(lambda: tables(a) == set(), 5, "no table")
    assert lab.ping(VIP)


def test_flushed_by_somebody_it_is_there_again(lab: Lab) -> None:
    pair(lab, 4, "no_accept")
    a = lab["a"]
    a.command("nft", "flush", "ruleset")
    lab.wait(lambda: dropped(a) == {VIP}, 5, "made anew")
    a.command("nft", "flush", "set", *TABLE, "vips")
    lab.wait(lambda: dropped(a) == {VIP}, 5, "the element is back")
    a.command("nft", "flush", "chain", *TABLE, "vrrpd_in")
    lab.wait(lambda: not lab.ping(VIP), 5, "the rules are back")
    lab.wait(lambda: a.ours.status()["nftables"]["repaired"] == 3, 5, "counted")
    assert a.daemon.log().count("somebody changed nftables table") == 1
    a.command("nft", "add", "table", "inet", "others")
    a.command("nft", "delete", "table", "inet", "others")
    assert a.ours.status()["nftables"]["repaired"] == 3


def test_the_death_of_the_vrrp_process_opens_nothing(lab: Lab) -> None:
    pair(lab, 4, "no_accept")
    a = lab["a"]
    lab.wait(a.ours.answers, 5, "it runs")
    prober, since = Prober(lab, VIP), now()
    a.daemon.signal(9, [a.daemon.vrrp_pid()])
    lab.wait(lambda: "its addresses stay" in a.daemon.log(), 5, "adopted")
    lab.wait(lambda: len(lab.adverts("a", since=since)) > 5, 5, "adverts go on")
    prober.stop()
    assert not prober.answered
    assert dropped(a) == {VIP}
    assert not lab.changes(VIP, since)


def test_killed_all_at_once_the_table_is_removed_by_the_next_who_looks(lab: Lab) -> None:
    pair(lab, 4, "no_accept")
    a = lab["a"]
    lab.wait(Path(f"{a.daemon.pidfile}.d/guard/will.json").exists, 5, "the will is on disk")
    a.daemon.kill()
    assert tables(a) == {TABLE}
    execute_will(a)
    assert tables(a) == set()
    assert VIP not in a.addresses()


def test_killed_all_at_once_and_started_without_no_accept(lab: Lab) -> None:
    pair(lab, 4, "no_accept")
    a = lab["a"]
    a.daemon.kill()
    a.daemon.config.write_text(config(instance(VIPS[4], priority=200)))
    a.daemon.start()
    lab.wait(lambda: tables(a) == set(), 5, "the table has gone")
    lab.wait(lambda: lab.ping(VIP), 5, "it answers")


def test_an_upgrade_keeps_the_table(lab: Lab) -> None:
    pair(lab, 4, "no_accept")
    a = lab["a"]
    prober = Prober(lab, VIP)
    assert upgrade(a.ours, release(lab, "2.0"))["ok"]
    prober.stop()
    assert not prober.answered
    assert dropped(a) == {VIP}
    assert a.daemon.stop() == 0
    assert tables(a) == set()


def test_a_hand_over_that_fails_leaves_the_table_to_the_former_process(lab: Lab) -> None:
    """It dies when it has made the table its own already: who goes on makes it anew, and hears of flushes again."""
    pair(lab, 4, "no_accept")
    a = lab["a"]
    dies = (r"^( *)self\._daemon\.announce_live\(", r"\1raise SystemExit(3)\n\g<0>")
    assert not upgrade(a.ours, release(lab, "2.0", {"handover.py": dies}))["ok"]
    lab.wait(lambda: dropped(a) == {VIP}, 5, "it is there")
    a.command("nft", "flush", "ruleset")
    lab.wait(lambda: dropped(a) == {VIP}, 5, "made anew")
    assert not lab.ping(VIP)


# ---------------------------------------------------------------------------------------------- IGMP
def joins(host: Host, interface: str, group: str = "239.1.2.3") -> socket.socket:
    with host.inside():
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        index = socket.if_nametoindex(interface)
        sock.setsockopt(
            socket.IPPROTO_IP,
            socket.IP_ADD_MEMBERSHIP,
            socket.inet_aton(group) + bytes(4) + index.to_bytes(4, "little"),
        )
    return sock


def test_no_igmp_from_the_virtual_mac_address(lab: Lab) -> None:
    """A backup's report would turn the switches to it: whoever joins a group on its virtual interface says nothing."""
    pair(lab, 4, "use_vmac")
    b = lab["b"]
    lab.wait(lambda: TABLE in tables(b), 5, "the table is there")
    with senders(lab, "b") as seen, joins(b, "eth0"), joins(b, NAME):
        lab.wait(lambda: any(frame[23] == 2 for frame in seen.of(b.mac)), 5, "eth0 reports")
        assert not seen.of(MAC)
    b.daemon.stop()
    assert tables(b) == set()


def test_disable_local_igmp(lab: Lab) -> None:
    a = lab["a"]
    path = "/proc/sys/net/ipv4/igmp_link_local_mcast_reports"

    def reports() -> str:
        with a.inside():
            return Path(path).read_text().strip()

    silent = config(instance(VIPS[4], "use_vmac"), globals=("disable_local_igmp",))
    a.run(Ours, silent)
    lab.wait_owner(VIP, "a", 10)
    assert reports() == "0"
    assert tables(a) == set()  # as keepalived: there is nothing to hold back any more
    a.daemon.reload(config(instance(VIPS[4], "use_vmac")))
    lab.wait(lambda: reports() == "1", 5, "put back by a reload")
    a.daemon.reload(silent)
    lab.wait(lambda: reports() == "0", 5, "and set again")
    a.daemon.kill()
    execute_will(a)
    assert reports() == "1"
    a.daemon.start()
    lab.wait(lambda: reports() == "0", 5, "set at a start")
    a.daemon.stop()
    assert reports() == "1"


# ---------------------------------------------------------------------------------------------- buffers
def test_receive_buffers(lab: Lab) -> None:
    a = lab["a"]

    def buffers() -> set[int]:
        """Of its raw sockets, as the kernel counts them: twice what was asked for."""
        found = receive_buffers(a.daemon.vrrp_pid())
        return {size for family, kind, size in found if (family, kind) == (socket.AF_INET, socket.SOCK_RAW)}

    a.run(Ours, config(instance(VIPS[4])))
    lab.wait_owner(VIP, "a", 10)
    assert 2 << 20 in buffers()
    a.daemon.reload(
        config(
            instance(VIPS[4], "kernel_rx_buf_size 3000000"),
            instance(("10.0.0.101/24",), name="VI_2", vrid=52),
            globals=("vrrp_rx_bufs_policy MTU", "vrrp_rx_bufs_multiplier 100"),
        )
    )
    lab.wait(lambda: 2 * (3000000 + 150000) in buffers(), 5, "the wishes of both together")
