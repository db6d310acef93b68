"""An advert that was found good is known by its key from then on, for as long as nothing changes."""

from __future__ import annotations

from dataclasses import replace

from simulator import AF_INET, World, instance, packed

from vrrpd.vrrp.packet import AdvertSpec, encode
from vrrpd.vrrp.states import BACKUP

VIP, GROUP = packed("10.0.0.100"), packed("224.0.0.18")
CONFIG = instance(version=3, priority=100)


def advert(source: str, priority: int = 200, vip: bytes = VIP) -> tuple[bytes, bytes, int, bytes]:
    spec = AdvertSpec(AF_INET, 3, 51, 1.0, (vip,), packed(source), (GROUP,))
    return packed(source), GROUP, 255, encode(spec, priority, GROUP)


def test_a_repeated_advert_counts_and_restarts_the_timer_as_the_first() -> None:
    world = World()
    node = world.node("A")
    node.apply(CONFIG)
    engine, router = node.engine, node.router
    assert engine.repeated("a", 1.0) is None
    engine.receive(2, AF_INET, *advert("10.0.0.9"), 1.0, "a")
    first = router.timer.deadline - 1.0
    assert engine.repeated("a", 2.0) == ()
    assert router.timer.deadline - 2.0 == first
    assert router.advert_rcvd == 2
    assert engine.repeated("b", 2.0) is None


def test_only_the_last_good_one_of_a_router_is_known() -> None:
    """However many strangers there are, the table stays as small as the number of routers."""
    world = World()
    node = world.node("A")
    node.apply(CONFIG)
    for number in range(1, 200):
        node.engine.receive(2, AF_INET, *advert(f"10.0.1.{number}"), 1.0, number)
    assert len(node.engine._memos) == 1
    assert node.engine.repeated(198, 1.0) is None
    assert node.engine.repeated(199, 1.0) is not None


def test_what_was_refused_or_lists_other_addresses_is_looked_at_again() -> None:
    world = World()
    node = world.node("A")
    node.apply(CONFIG)
    source, group, _, data = advert("10.0.0.9")
    node.engine.receive(2, AF_INET, source, group, 254, data, 1.0, "forwarded")
    node.engine.receive(2, AF_INET, *advert("10.0.0.9", vip=packed("10.0.0.7")), 1.0, "other")
    assert node.engine.repeated("forwarded", 1.0) is None
    assert node.engine.repeated("other", 1.0) is None


def test_a_reload_forgets() -> None:
    """With a password, an interval or other addresses the same bytes may be wrong now."""
    world = World()
    node = world.node("A")
    node.apply(CONFIG)
    node.engine.receive(2, AF_INET, *advert("10.0.0.9"), 1.0, "a")
    node.apply(replace(CONFIG, priority=90))
    assert node.engine.repeated("a", 1.0) is None
    assert node.router.state is BACKUP
