"""VRF in a kernel that has it: interfaces in one, `vrf` without an interface, virtual interfaces on them, routes.

All of it in one pair of daemons, an instance for each: here a start takes seconds (TCG), and they do not disturb each
other. "blue" is the VRF, table 10.
"""

from __future__ import annotations

import json
import signal

import pytest

from lab import Daemon, Host, Keepalived, Lab, Ours, config, instance, now, refused

pytestmark = [pytest.mark.vm, pytest.mark.full]
LONG = 60.0
INTERVAL = 0.5


def unicast(source: str, peer: str) -> tuple[str, str]:
    return f"unicast_src_ip {source}", f"unicast_peer {{\n{peer}\n}}"


def without_interface(text: str) -> str:
    return text.replace("    interface eth0\n", "    vrf blue\n")


def blue(host: Host) -> None:
    """eth0 goes into the VRF; Linux takes its IPv6 addresses off."""
    host.ip("link add blue type vrf table 10", "link set blue up", "link set eth0 master blue")
    six = (f"addr replace {address}/64 dev eth0 nodad" for address in (host.link_local, host.address6))
    host.ip(*six)


def instances(own: Host, peer: Host, priority: int, ours: bool) -> list[str]:
    def one(vrid: int, vip: str, *lines: str) -> str:
        return instance((vip,), *lines, name=f"VI_{vrid}", vrid=vrid, priority=priority, interval=INTERVAL)

    route = "virtual_routes {\n198.51.100.0/24 via 10.0.0.99 dev eth0 vrf blue\n}"
    found = [
        one(51, "10.0.0.151/24", route),
        one(53, "10.0.0.153/24", *unicast(own.address, peer.address)),
        one(56, "10.0.0.156/24", "use_vmac"),
        instance(("fe80::52/64", "fd00::52/64"), name="VI_52", vrid=52, priority=priority, interval=INTERVAL),
        instance(
            ("fe80::57/64", "fd00::57/64"), "use_vmac", name="VI_57", vrid=57, priority=priority, interval=INTERVAL
        ),
    ]
    if ours:  # keepalived 2.2.7 refuses them
        found.append(without_interface(one(54, "10.0.0.154/24 dev eth0", *unicast(own.address, peer.address))))
        six = instance(("fd00::55/64 dev eth0",), *unicast(own.address6, peer.address6),
                       name="VI_55", vrid=55, priority=priority, interval=INTERVAL)  # fmt: skip
        found.append(without_interface(six))
    return found


VIPS = ("10.0.0.151", "10.0.0.153", "10.0.0.156", "fd00::52", "fd00::57")
OURS_ONLY = ("10.0.0.154", "fd00::55")


def routes(host: Host) -> list[str]:
    return [route["dst"] for route in json.loads(host.command("ip", "-j", "route", "show", "table", "10"))]


def vrf_of(host: Host, name: str) -> str:
    return str(json.loads(host.command("ip", "-j", "link", "show", name))[0].get("master", ""))


def owned(lab: Lab, vips: tuple[str, ...], owner: str) -> None:
    for vip in vips:
        lab.wait_owner(vip, owner, LONG)


def errors(daemon: Ours) -> dict[str, int]:
    status = daemon.status()
    found = {
        f"{each['name']} {name}": count
        for each in status["instances"]
        for name, count in refused(each["counters"]).items()
    }
    return {**found, **({"send_errors": status["send_errors"]} if status["send_errors"] else {})}


@pytest.mark.parametrize("peer", [Ours, Keepalived], ids=["ours", "keepalived"])
def test_failover_and_return_in_a_vrf(peer: type[Daemon]) -> None:
    with Lab("ab") as lab:
        a, b = lab["a"], lab["b"]
        for host in (a, b):
            blue(host)
        mine = peer is Ours
        vips = VIPS + OURS_ONLY * mine
        b.run(peer, config(*instances(b, a, 100, mine)))
        a.run(Ours, config(*instances(a, b, 200, mine)))
        owned(lab, vips, "a")
        for vip in vips:
            lab.wait(lambda vip=vip: lab.ping(vip, 3), LONG, f"{vip} answers")  # type: ignore[misc]
        lab.wait(lambda: "198.51.100.0/24" in routes(a), LONG, "the route is in the table of the VRF")
        assert lab.neighbour("10.0.0.156") == "00:00:5e:00:01:38"
        assert [vrf_of(host, "vrrp.56") for host in (a, b)] == ["blue", "blue"]
        a.daemon.terminate()
        owned(lab, vips, "b")
        assert "198.51.100.0/24" not in routes(a)
        assert a.daemon.wait(LONG) == 0
        a.daemon.start()
        owned(lab, vips, "a")
        assert not errors(a.ours)
        assert b.daemon.running()


def test_an_instance_follows_its_vrf_and_is_handed_over() -> None:
    with Lab("a") as lab:
        a, vip = lab["a"], "10.0.0.154"

        def configuration(priority: int) -> str:
            lines = unicast(a.address, "10.0.0.98")
            one = instance((f"{vip}/24 dev eth0",), *lines, priority=priority, interval=INTERVAL)
            return config(without_interface(one))

        def fault(sentence: str) -> None:
            lab.wait_owner(vip, "", LONG)
            lab.wait(lambda: a.ours.instance()["faults"] == [sentence], LONG, sentence, poll=1)

        a.run(Ours, configuration(100))
        lab.wait(a.ours.answers, LONG, "it listens", poll=1)
        fault("VRF blue does not exist")
        a.ip("link add blue type vrf table 10", "link set blue up")
        fault("no interface in VRF blue that is up has the unicast_src_ip")
        a.ip("link set eth0 master blue")
        lab.wait_owner(vip, "a", LONG)
        a.ip("link set eth0 nomaster")
        fault("no interface in VRF blue that is up has the unicast_src_ip")
        a.ip("link set eth0 master blue")
        lab.wait_owner(vip, "a", LONG)
        a.ip("link set blue down")
        fault("VRF blue is down")
        a.ip("link set blue up")
        lab.wait_owner(vip, "a", LONG)

        status = a.ours.instance()
        assert (status["interface"], status["vrf"]) == ("blue", "blue")
        since, vrrp = now(), a.ours.processes()["vrrp"]
        a.daemon.reload(configuration(101))
        lab.wait(lambda: a.ours.instance()["priority"] == 101, LONG, "the new configuration runs", poll=1)
        lab.wait(lambda: a.ours.succeeded(vrrp), LONG, "the heir", poll=1)
        vrrp = a.ours.processes()["vrrp"]
        a.daemon.signal(signal.SIGKILL, [vrrp])
        lab.wait(lambda: a.ours.succeeded(vrrp), LONG, "the successor", poll=1)
        lab.wait(lambda: "adopted" in str(a.ours.instance()["last_transition"]), LONG, "adopted", poll=1)
        assert not lab.changes(vip, since)
        a.ip("link del blue")
        fault("VRF blue does not exist")
        assert a.daemon.stop(LONG) == 0
