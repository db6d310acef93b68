"""What a VRF and the whole machine have, from notifications made here (net/links.py)."""

from __future__ import annotations

import struct

from vrrpd.net.links import ANYWHERE, Address, Links
from vrrpd.net.netlink import RTM_DELLINK, RTM_NEWADDR, RTM_NEWLINK, Event, attribute

UP = 0x41  # IFF_UP | IFF_RUNNING
BLUE, ETH0, ETH1 = 10, 2, 3
FIRST, SECOND, OWN = b"\x0a\0\0\1", b"\x0a\0\0\2", b"\x0a\0\0\3"


def link(ifindex: int, name: str, flags: int = UP, master: int = 0, kind: str = "", slave_kind: str = "") -> Event:
    body = struct.pack("=BxHiII", 0, 1, ifindex, flags, 0) + attribute(3, name.encode() + b"\0")
    if master:
        body += attribute(10, struct.pack("=I", master))
    info = b"".join(attribute(number, text.encode() + b"\0") for number, text in ((1, kind), (4, slave_kind)) if text)
    return Event(RTM_NEWLINK, 0, memoryview(body + (attribute(18, info) if info else b"")))


def address(ifindex: int, packed: bytes) -> Event:
    body = struct.pack("=BBBBI", 2, 24, 0x80, 0, ifindex) + attribute(1, packed) + attribute(2, packed)
    return Event(RTM_NEWADDR, 0, memoryview(body))


def table() -> Links:
    """blue, with an address of its own, eth0 in it, eth1 outside."""
    links = Links()
    links.read([link(BLUE, "blue", kind="vrf"), link(ETH0, "eth0", master=BLUE, slave_kind="vrf"), link(ETH1, "eth1")])
    links.read([address(ETH0, FIRST), address(ETH1, SECOND), address(BLUE, OWN)])
    return links


def addresses(links: Links, ifindex: int) -> set[tuple[bytes, bool]]:
    found = links.get(ifindex)
    assert found is not None
    return {(entry.address, entry.usable) for entry in found.addresses}


def test_a_vrf_has_the_addresses_of_what_is_in_it_and_the_machine_all_others() -> None:
    links = table()
    assert addresses(links, BLUE) == {(OWN, True), (FIRST, True)}
    assert addresses(links, ANYWHERE) == {(SECOND, True)}
    assert addresses(links, ETH0) == {(FIRST, True)}
    assert [interface.name for interface in links] == ["blue", "eth0", "eth1"]
    assert ANYWHERE in links
    assert links.find("") == 0


def test_what_is_down_is_not_usable_there() -> None:
    links = table()
    links.read([link(ETH0, "eth0", flags=0, master=BLUE, slave_kind="vrf"), link(ETH1, "eth1", flags=0)])
    assert addresses(links, BLUE) == {(OWN, True), (FIRST, False)}
    assert addresses(links, ANYWHERE) == {(SECOND, False)}
    picture = links.get(ETH1)
    assert picture is not None
    assert picture.addresses == (Address(SECOND, 24, True),)


def test_with_an_interface_its_vrf_changes_also_the_one_that_it_leaves() -> None:
    links = table()
    assert set(links.read([address(ETH0, b"\x0a\0\0\4")]).changed) == {ETH0, BLUE}
    assert set(links.read([link(ETH0, "eth0")]).changed) == {ETH0, BLUE}
    assert addresses(links, BLUE) == {(OWN, True)}
    assert set(links.read([link(ETH0, "eth0", master=BLUE, slave_kind="vrf")]).changed) == {ETH0, BLUE}
    gone = links.read([Event(RTM_DELLINK, 0, link(ETH0, "eth0").body)])
    assert (gone.changed, gone.gone) == ([BLUE], [ETH0])
    assert set(links.read([Event(RTM_DELLINK, 0, link(BLUE, "blue").body)]).gone) == {BLUE}


def test_a_bridge_is_none() -> None:
    links = Links()
    links.read([link(BLUE, "br0", kind="bridge"), link(ETH0, "eth0", master=BLUE, slave_kind="bridge")])
    links.read([address(ETH0, FIRST)])
    assert addresses(links, BLUE) == set()
    assert addresses(links, ANYWHERE) == {(FIRST, True)}
