"""What status shows of a router."""

from __future__ import annotations

import json

from simulator import World, instance, packed, vip

from vrrpd.model.vrrp import Authentication, AuthHmac
from vrrpd.vrrp.records import AUTH_COUNTERS, COUNTERS


def test_a_master_and_who_hears_it() -> None:
    world = World()
    a, b = world.node("A"), world.node("B")
    for node, priority in ((a, 200), (b, 100)):
        node.apply(
            instance(
                priority=priority,
                virtual_ipaddress_excluded=(vip("2001:db8::1/64"),),
                authentication=Authentication("PASS", b"secret12"),
            )
        )
    world.advance(5.0)
    shown = a.engine.snapshot(a.router, world.now, wall=1000.0)
    assert {key: shown[key] for key in ("name", "interface", "virtual_router_id", "family", "version")} == {
        "name": "VI_1",
        "interface": "eth0",
        "virtual_router_id": 51,
        "family": "ipv4",
        "version": 2,
    }
    assert (shown["state"], shown["priority"], shown["base_priority"]) == ("MASTER", 200, 200)
    assert shown["source"] == "10.0.0.1"
    assert shown["virtual_ipaddress"] == ["10.0.0.100/24"]
    assert shown["virtual_ipaddress_excluded"] == ["2001:db8::1/64"]
    assert shown["master"] is None
    assert shown["last_transition"] == {
        "old": "BACKUP",
        "new": "MASTER",
        "reason": "no advert heard for 3.22 s",
        "at": 998.219,
        "ago": 1.781,
    }
    assert set(shown["counters"]) == set(COUNTERS)
    assert (shown["counters"]["advert_sent"], shown["counters"]["become_master"]) == (2, 1)

    heard = b.engine.snapshot(b.router, world.now)
    assert heard["state"] == "BACKUP"
    assert heard["master"] == {"address": "10.0.0.1", "priority": 200, "age": 0.78}
    assert heard["last_transition"]["at"] is None
    assert heard["counters"]["advert_rcvd"] == 2
    assert "secret12" not in json.dumps([shown, heard]) + repr(a.router) + repr(a.router.cfg)


def test_authentication_without_its_secrets() -> None:
    world = World()
    node = world.node("A")
    key, password = b"k" * 32, b"secret12"
    node.apply(
        instance(auth_hmac=AuthHmac(((1, key), (7, key[::-1])), 7, "time", 5, "permissive")),
        instance("AH", virtual_router_id=52, authentication=Authentication("AH", password)),
    )
    hmac, ah = (node.engine.snapshot(router, world.now) for router in node.engine.routers.values())
    assert (hmac["auth_type"], ah["auth_type"], ah["auth_hmac"]) == (None, "AH", None)
    assert hmac["auth_hmac"] == {
        "mode": "permissive",
        "active_key": 7,
        "keys": [1, 7],
        "anti_replay": "time",
        "time_window": 5,
    }
    assert set(hmac["counters"]) == {*COUNTERS, *AUTH_COUNTERS["HMAC"]}
    assert set(ah["counters"]) == {*COUNTERS, *AUTH_COUNTERS["AH"]}
    shown = json.dumps([hmac, ah]) + "".join(
        repr((router, router.cfg, router.spec.seal)) for router in node.engine.routers.values()
    )
    assert "kkkk" not in shown
    assert "secret12" not in shown


def test_faults_are_listed() -> None:
    world = World()
    node = world.node("A")
    node.apply(instance(interface="eth9"), instance("VI_2", unicast_peer=(packed("10.0.0.2"),)))
    node.do(node.engine.maintenance(True, 0.0))
    missing, unicast = (node.engine.snapshot(router, 1.0) for router in node.engine.routers.values())
    assert missing["faults"] == ["interface eth9 does not exist", "maintenance"]
    assert missing["source"] is None
    assert unicast["unicast_peer"] == ["10.0.0.2"]
    assert unicast["faults"] == ["maintenance"]
