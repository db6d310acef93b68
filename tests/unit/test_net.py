"""net/ without a kernel: whatever bytes come, reading them neither raises nor runs on."""

from __future__ import annotations

import struct

from hypothesis import given
from hypothesis import strategies as st

from vrrpd.net import addresses, netlink
from vrrpd.net.links import Links
from vrrpd.net.netlink import RTM_DELADDR, RTM_DELLINK, RTM_NEWADDR, RTM_NEWLINK, Event


@given(st.binary(max_size=300))
def test_any_bytes_are_some_messages(data: bytes) -> None:
    total = 0
    for _, _, _, _, body in netlink.messages(memoryview(data)):
        total += 16 + len(body)
    assert total <= len(data)


@given(st.binary(max_size=300))
def test_any_bytes_are_some_attributes(data: bytes) -> None:
    assert sum(4 + len(value) for _, value in netlink.attributes(memoryview(data))) <= len(data)


@given(st.lists(st.tuples(st.integers(0, 60), st.binary(max_size=40))))
def test_attributes_come_back_as_they_were_packed(pairs: list[tuple[int, bytes]]) -> None:
    data = b"".join(netlink.attribute(kind, value) for kind, value in pairs)
    assert [(kind, bytes(value)) for kind, value in netlink.attributes(memoryview(data))] == pairs


def link(ifindex: int, name: str, flags: int = 0x41) -> Event:
    body = struct.pack("=BxHiII", 0, 1, ifindex, flags, 0) + netlink.attribute(3, name.encode() + b"\0")
    return Event(RTM_NEWLINK, 0, memoryview(body))


def gone(ifindex: int, family: int = 0) -> Event:
    return Event(RTM_DELLINK, 0, memoryview(struct.pack("=BxHiII", family, 1, ifindex, 0, 0)))


def address(ifindex: int, data: bytes, add: bool = True, port: int = 0) -> Event:
    request = addresses.add(ifindex, data, 24) if add else addresses.delete(ifindex, data, 24)
    return Event(RTM_NEWADDR if add else RTM_DELADDR, port, memoryview(request[2]))


ONE, TWO = bytes([10, 0, 0, 1]), bytes([10, 0, 0, 2])


def test_the_same_picture_twice_is_no_change() -> None:
    links = Links()
    assert links.read([link(2, "eth0"), address(2, ONE)]).changed == [2]
    assert links.read([link(2, "eth0"), address(2, ONE)]) == ([], [], [], False)


def test_an_address_that_went_and_came_in_one_turn_was_not_removed() -> None:
    links = Links()
    links.read([link(2, "eth0"), address(2, ONE)])
    assert links.read([address(2, ONE, add=False), address(2, ONE)]) == ([2], [], [], False)


def test_an_interface_made_anew_in_one_turn_is_gone_and_changed() -> None:
    links = Links()
    links.read([link(2, "eth0"), address(2, ONE)])
    assert links.read([gone(2), link(3, "eth0"), address(3, TWO)]) == ([3], [2], [], True)


def test_a_port_that_leaves_its_bridge_is_still_there() -> None:
    links = Links()
    links.read([link(2, "eth0")])
    assert links.read([gone(2, family=7)]) == ([], [], [], False)
    assert 2 in links


def test_only_the_echo_of_our_own_address_is_no_news() -> None:
    """Removing a primary address takes its secondaries along, and every one of them carries our port."""
    links = Links(own_port=77)
    links.read([link(2, "eth0")])
    ours = {(2, ONE, 24)}
    assert links.read([address(2, ONE, port=77)], ours) == ([], [], [], False)
    assert links.read([address(2, TWO, port=77)], ours).changed == [2]
    assert links.read([address(2, ONE, add=False, port=77)], ours) == ([], [], [], False)
    assert links.read([address(2, TWO, add=False, port=77)], ours).removed == [(2, TWO, 24)]


def test_an_address_of_an_unknown_interface_is_ignored() -> None:
    assert Links().read([address(9, ONE)]) == ([], [], [], False)
