"""use_ipvlan, and 802.1q interfaces, in a kernel that has them: two hosts, one pair of daemons."""

from __future__ import annotations

import json
import signal

import pytest

from lab import Daemon, Host, Keepalived, Lab, Ours, config, instance, now

pytestmark = [pytest.mark.vm, pytest.mark.full]
LONG = 60.0
INTERVAL = 0.5
FOUR, SIX, TAGGED = "10.0.0.151", "fd00::52", "10.5.0.153"


def configuration(host: Host, priority: int, ours: bool = True) -> str:
    def one(vrid: int, vips: tuple[str, ...], *lines: str, interface: str = "eth0") -> str:
        return instance(vips, *lines, name=f"VI_{vrid}", vrid=vrid, priority=priority, interval=INTERVAL,
                        interface=interface)  # fmt: skip

    # keepalived 2.2.7 sends from the link-local address of the ipvlan, and makes none.
    six = [one(52, ("fe80::52/64", f"{SIX}/64"), "use_ipvlan ipv.52")] * ours
    return config(
        *six,
        one(51, (f"{FOUR}/24",), f"use_ipvlan ipv.51 10.0.0.5{host.number}"),
        one(53, (f"{TAGGED}/24",), interface="eth0.5"),
        one(54, ("10.5.0.154/24",), "use_vmac", interface="eth0.5"),
    )


def tagged(host: Host) -> None:
    host.ip("link add link eth0 name eth0.5 type vlan id 5", "link set eth0.5 up",
            f"addr add 10.5.0.{host.number}/24 dev eth0.5")  # fmt: skip


def on(host: Host, name: str) -> set[str]:
    found = json.loads(host.command("ip", "-j", "addr", "show", "dev", name, check=False) or "[]")
    return {info["local"] for link in found for info in link.get("addr_info", ())}


@pytest.mark.parametrize("peer", [Ours, Keepalived], ids=["ours", "keepalived"])
def test_failover_and_return(peer: type[Daemon]) -> None:
    """An ipvlan bears what adverts come from, the interface below the addresses."""
    with Lab("ab") as lab:
        a, b = lab["a"], lab["b"]
        mine = peer is Ours
        vips = (FOUR, TAGGED, "10.5.0.154", *[SIX] * mine)
        for host in lab.hosts.values():
            tagged(host)
            # Strict, as of many distributions; under it a keepalived hears nothing on its ipvlan.
            host.sysctl(net__ipv4__conf__all__rp_filter=int(mine or host is not b))
        b.run(peer, configuration(b, 100, mine))
        a.run(Ours, configuration(a, 200, mine))
        for vip in vips:
            lab.wait_owner(vip, "a", LONG)
            lab.wait(lambda vip=vip: lab.ping(vip, 3), LONG, f"{vip} answers")  # type: ignore[misc]
        assert on(a, "ipv.51") == {"10.0.0.52"}
        assert FOUR in on(a, "eth0")
        assert TAGGED in on(a, "eth0.5")
        assert {advert.source for advert in lab.adverts("a", vrid=51)} == {"10.0.0.52"}
        # Who has just heard of b believes nobody else for a second (neigh/locktime): until the second block.
        lab.wait(lambda: lab.neighbour(FOUR) == a.mac, LONG, "the client knows a")
        assert lab.neighbour("10.5.0.154") == "00:00:5e:00:01:36"
        a.daemon.terminate()
        for vip in vips:
            lab.wait_owner(vip, "b", LONG)
            lab.wait(lambda vip=vip: lab.ping(vip, 3), LONG, f"{vip} answers")  # type: ignore[misc]
        assert FOUR in on(b, "eth0")
        lab.wait(lambda: lab.neighbour(FOUR) == b.mac, LONG, "the client knows b")
        assert a.daemon.wait(LONG) == 0
        assert not on(a, "ipv.51")
        a.daemon.start()
        for vip in vips:
            lab.wait_owner(vip, "a", LONG)
        since, vrrp = now(), a.ours.processes()["vrrp"]
        a.daemon.signal(signal.SIGKILL, [vrrp])
        lab.wait(lambda: a.ours.succeeded(vrrp), LONG, "there is a successor", poll=1)
        lab.wait(lambda: "adopted" in str(a.ours.instance("VI_51")["last_transition"]), LONG, "adopted", poll=1)
        for vip in vips:
            assert not lab.changes(vip, since)
        a.daemon.kill()
        for vip in vips:
            lab.wait(lambda vip=vip: "b" in lab.held.owners(vip), LONG, f"{vip} is on b")  # type: ignore[misc]
