"""What moves with an instance besides adverts: addresses with every option, routes, rules; Debian's keepalived beside.

The same file runs in two namespaces that do not hear each other: in one with ours, in the other with keepalived. What
`ip` says of both must be the same, as MASTER, after a reload, and when they have stopped.
"""

from __future__ import annotations

import json
import re

import pytest

from lab import Host, Keepalived, Lab, Ours, config, instance

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


@pytest.fixture
def apart(lab: Lab) -> Lab:
    """Two hosts that do not hear each other, with a second interface."""
    lab.cut("a", "b")
    for name in "ab":
        lab[name].ip(
            "link add eth1 type veth peer name peer1",
            "link set eth1 up",
            "link set peer1 up",
            "addr add 192.0.2.9/24 dev eth1",
        )
    return lab


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


def both(lab: Lab, text: str) -> None:
    lab["a"].run(Ours, text)
    lab["b"].run(Keepalived, text)
    for name in "ab":
        lab.wait(lambda name=name: name in lab.held.owners("10.0.0.100"), 10, f"{name} is MASTER")


def test_addresses_are_added_as_keepalived_adds_them(apart: Lab) -> None:
    before = addresses(apart["a"])
    text = config(instance(ADDRESSES, block("virtual_ipaddress_excluded", EXCLUDED)))
    both(apart, text)
    apart.wait(lambda: len(addresses(apart["b"])) == len(before) + len(ADDRESSES + EXCLUDED), 3, "keepalived is done")
    assert addresses(apart["a"]) == addresses(apart["b"])
    apart["a"].daemon.stop()
    assert addresses(apart["a"]) == before, "each is taken off, the one with a peer too"
