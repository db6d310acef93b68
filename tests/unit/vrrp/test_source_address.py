"""The address that adverts come from, and the sentences when there is none."""

from __future__ import annotations

import pytest
from simulator import instance, interface_address, packed

from vrrpd.model.vrrp import AF_INET6
from vrrpd.vrrp.links import Link, link_faults, source_address

VIRTUAL = frozenset({packed("10.0.0.100"), packed("10.0.0.101"), packed("fe80::100")})


def link(*addresses: str, up: bool = True, tentative: tuple[str, ...] = ()) -> Link:
    listed = [interface_address(value, value not in tentative) for value in addresses]
    return Link(2, "eth0", up, bytes(6), addresses=tuple(listed))


@pytest.mark.parametrize(
    ("changes", "addresses", "expected"),
    [
        ({}, ["10.0.0.1/24", "10.0.0.9/24"], "10.0.0.1"),
        ({}, ["10.0.0.100/24", "10.0.0.9/24"], "10.0.0.9"),  # a virtual one is never the source
        ({}, ["10.0.0.101/32", "10.0.0.9/24"], "10.0.0.9"),  # nor is another router's
        ({}, ["10.0.0.100/24"], None),
        ({}, ["fe80::1/64"], None),
        ({}, [], None),
        ({"priority": 255}, ["10.0.0.100/24"], "10.0.0.100"),  # the owner's own address
        ({"priority": 255}, ["10.0.0.100/24", "10.0.0.9/24"], "10.0.0.9"),
        ({"mcast_src_ip": packed("192.0.2.7")}, ["10.0.0.1/24"], "192.0.2.7"),
        ({"mcast_src_ip": packed("192.0.2.7")}, [], "192.0.2.7"),
        ({"unicast_src_ip": packed("192.0.2.7")}, ["10.0.0.1/24"], "10.0.0.1"),  # no peers: it is multicast
        ({"unicast_src_ip": packed("192.0.2.7"), "unicast_peer": (packed("192.0.2.8"),)}, ["10.0.0.1/24"], "192.0.2.7"),
        ({"family": AF_INET6}, ["10.0.0.1/24", "2001:db8::1/64", "fe80::1/64"], "fe80::1"),
        ({"family": AF_INET6}, ["fe80::100/64", "fe80::1/64"], "fe80::1"),
        ({"family": AF_INET6}, ["2001:db8::1/64"], None),
        ({"family": AF_INET6, "mcast_src_ip": packed("fe80::7")}, ["fe80::1/64", "fe80::7/64"], "fe80::7"),
        ({"family": AF_INET6, "mcast_src_ip": packed("fe80::7")}, ["fe80::1/64"], None),
        (
            {"family": AF_INET6, "unicast_src_ip": packed("2001:db8::1"), "unicast_peer": (packed("2001:db8::2"),)},
            ["fe80::1/64", "2001:db8::1/64"],
            "2001:db8::1",
        ),
    ],
)
def test_source_address(changes: dict[str, object], addresses: list[str], expected: str | None) -> None:
    found = source_address(instance(**changes), link(*addresses), VIRTUAL)
    assert found == (packed(expected) if expected else None)


def test_a_tentative_address_is_no_source() -> None:
    cfg = instance(family=AF_INET6)
    assert source_address(cfg, link("fe80::1/64", tentative=("fe80::1/64",)), VIRTUAL) is None


def test_faults_are_sentences() -> None:
    ipv4, ipv6 = instance(), instance(family=AF_INET6)
    unicast = instance(
        family=AF_INET6, unicast_src_ip=packed("2001:db8::1"), unicast_peer=(packed("2001:db8::2"),)
    )  # fmt: skip
    assert link_faults(ipv4, None, None) == {"interface eth0 does not exist"}
    assert link_faults(ipv4, link(up=False), None) == {"interface eth0 is down"}
    assert link_faults(ipv4, link(), None) == {"interface eth0 has no IPv4 address"}
    assert link_faults(ipv6, link(), None) == {"interface eth0 has no usable IPv6 link-local address"}
    assert link_faults(unicast, link(), None) == {
        "interface eth0 does not have unicast_src_ip, or it is not usable yet"
    }
    assert link_faults(ipv4, link("10.0.0.1/24"), packed("10.0.0.1")) == set()
