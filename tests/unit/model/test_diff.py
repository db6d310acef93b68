"""model/diff.py: who is who over a reload."""

from __future__ import annotations

from dataclasses import replace

from vrrpd.model.diff import diff
from vrrpd.model.vrrp import VrrpInstance

PEER, OTHER = bytes([192, 0, 2, 12]), bytes([192, 0, 2, 13])
VI_1 = VrrpInstance("VI_1", "eth0", 51)
VI_2 = VrrpInstance("VI_2", "eth0", 52)


def test_equal_is_unchanged() -> None:
    assert diff([VI_1, VI_2], [VI_2, VI_1]).unchanged == ((VI_2, VI_2), (VI_1, VI_1))


def test_a_name_is_no_identity() -> None:
    renamed = replace(VI_1, name="web")
    assert diff([VI_1], [renamed]) == ((), (), ((VI_1, renamed),), ())


def test_a_name_that_moves_to_another_vrid_is_another_router() -> None:
    moved = replace(VI_1, virtual_router_id=61)
    assert diff([VI_1], [moved]) == ((VI_1,), (moved,), (), ())


def test_two_unicast_routers_with_one_vrid_keep_their_peers() -> None:
    first = replace(VI_1, unicast_peer=(PEER,))
    second = replace(VI_1, name="VI_2", unicast_peer=(OTHER,))
    swapped = replace(second, name="VI_1"), replace(first, name="VI_2")
    assert diff([first, second], swapped).changed == ((second, swapped[0]), (first, swapped[1]))


def test_multicast_and_unicast_are_two_routers() -> None:
    unicast = replace(VI_1, unicast_peer=(PEER,))
    assert diff([VI_1], [unicast]) == ((VI_1,), (unicast,), (), ())
