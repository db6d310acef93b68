"""Addresses for people: as ipaddress writes them."""

from __future__ import annotations

from ipaddress import ip_address
from random import Random

from vrrpd.vrrp.records import text


def test_addresses_are_written_as_ipaddress_does() -> None:
    dice = Random(5952)
    known = ["0.0.0.0", "10.0.0.100", "::", "::1", "1::", "fe80::1", "1:0:2::3", "1::2:0:0:3", "2001:db8:0:1:1:1:1:1"]
    several = [ip_address(address).packed for address in known]
    several += [bytes(dice.choice((0, 0, 0, 1, 255)) for _ in range(size)) for size in (4, 16) for _ in range(2000)]
    for address in several:
        if address[:10] != bytes(10) or address[10:12] != b"\xff\xff":  # mapped ones differ between Pythons
            assert text(address) == str(ip_address(address))
