"""What lies in a router's kernel, and what should."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

import pytest

# By instance: addresses with the interface that bears them, routes, rules. The statics are everywhere.
WANTED = {
    "FRONT_4": {"198.18.53.100 on eth0", "203.0.113.0/24", "lookup 100"},
    "FRONT_6": {"fe80::53 on eth0", "fd00:53::100 on eth0"},
    "BACK_4": {"198.18.53.101 on eth0", "198.18.53.111 on lan.52", "203.0.114.0/24", "lookup 101"},
    "BACK_6": {"fe80::54 on back6", "fd00:53::101 on back6"},
    "SIDE_4": {"198.18.53.102 on eth0", "198.18.53.112 on lan.53", "203.0.115.0/24", "lookup 102"},
}
STATICS = {"198.18.54. on eth0", "203.0.116.0/24", "lookup 103"}
OURS = ("198.18.53.1", "198.18.54.", "fd00:53::10", "fe80::53", "fe80::54")


def found(node: Any) -> set[str]:
    """Addresses, routes and rules of ours; of the static address what all nodes have in common."""
    addresses = {
        (address["local"], link["ifname"])
        for link in json.loads(node.run("ip -j address show"))
        for address in link["addr_info"]
        if address.get("local", "").startswith(OURS) and address["local"] != node.ip4
    }
    routing = node.run("ip -o route show table all proto keepalived; ip rule show")
    return {
        *(
            "198.18.54. on " + name if local.startswith("198.18.54.") else f"{local} on {name}"
            for local, name in addresses
        ),
        *re.findall(r"203[.]0[.]11[0-9][.]0/24|lookup 10[0-9]", routing),
    }


@pytest.fixture(scope="session")
def laid() -> Callable[[Any], set[str]]:
    """`laid(node)`: what lies in its kernel."""
    return found


@pytest.fixture(scope="session")
def wanted() -> Callable[..., set[str]]:
    """`wanted(*instances)`: what lies in the kernel of a node that owns these."""

    def of(*instances: str) -> set[str]:
        return STATICS.union(*(WANTED[name] for name in instances))

    return of
