"""Keys of auth_hmac: each step of a rotation may be taken host by host, wherever the last run was aborted."""

from __future__ import annotations

import json
from itertools import product
from typing import Any

import pytest
from ansible.module_utils.vrrpd_keys import NO_KEYS, interoperable
from ansible.module_utils.vrrpd_planning import plan
from ansible.module_utils.vrrpd_rotation import facts, phased

from .test_plan import cluster

KEYS = {number: f"hex:{number}" + "0f" * 31 + "0" for number in (1, 2)}
HOSTS = ["lb1", "lb2"]


def hmac(active: int, *numbers: int, **more: Any) -> dict[str, Any]:
    return {"key": {number: KEYS[number] for number in numbers}, "active_key": active, **more}


def running(wanted: dict[str, Any] | None) -> dict[str, Any] | None:
    """What status says of it."""
    if wanted is None:
        return None
    return {"mode": wanted.get("mode", "enforce"), "active_key": int(wanted["active_key"])}


def step(phase: str, wanted: dict[str, Any], states: dict[str, Any]) -> dict[str, Any]:
    seen = [running(state) for state in states.values()]
    return {host: phased(wanted, phase, seen, running(state)) for host, state in states.items()}


def pairs_agree(states: list[dict[str, Any] | None]) -> bool:
    told = [facts("VI_1", state) for state in states]
    return all(interoperable(one, other) for one, other in product(told, told))


def rotate(wanted: dict[str, Any], start: dict[str, Any], aborted: tuple[str, str] = ("", "")) -> dict[str, Any]:
    """All phases, one host after the other; all that run at one moment understand each other."""
    states = dict(start)
    for phase in ("receive", "switch", ""):
        planned = step(phase, wanted, states)
        for host in HOSTS:
            assert pairs_agree([states[host], planned[host]]), f"{phase} would be a barrier"
            states[host] = planned[host]
            assert pairs_agree(list(states.values())), f"{phase}, after {host}"
            if (phase, host) == aborted:
                return states
    return states


POSITIONS = [(phase, host) for phase in ("receive", "switch", "") for host in HOSTS]
WAYS = {
    "introduction": (None, hmac(1, 1)),
    "another key": (hmac(1, 1), hmac(2, 1, 2)),
    "the old one goes": (hmac(2, 1, 2), hmac(2, 2)),
    "permissive ends": (hmac(1, 1, mode="permissive"), hmac(1, 1)),
    "receive-only ends, with another key": (hmac(1, 1, mode="receive-only"), hmac(2, 1, 2)),
    "nothing": (hmac(1, 1), hmac(1, 1)),
}


@pytest.mark.parametrize("way", WAYS)
def test_no_moment_at_which_two_do_not_understand_each_other(way: str) -> None:
    start, wanted = WAYS[way]
    assert rotate(wanted, dict.fromkeys(HOSTS, start)) == dict.fromkeys(HOSTS, wanted)


@pytest.mark.parametrize("position", POSITIONS)
@pytest.mark.parametrize("way", WAYS)
def test_it_is_resumed_wherever_it_was_aborted(way: str, position: tuple[str, str]) -> None:
    start, wanted = WAYS[way]
    half = rotate(wanted, dict.fromkeys(HOSTS, start), position)
    assert rotate(wanted, half) == dict.fromkeys(HOSTS, wanted)


def test_where_nothing_is_to_be_done_every_phase_is_what_the_inventory_says() -> None:
    for wanted in (hmac(1, 1), hmac(2, 1, 2, mode="enforce"), hmac(1, 1, mode="permissive")):
        states = dict.fromkeys(HOSTS, wanted)
        assert all(step(phase, wanted, states) == states for phase in ("receive", "switch", ""))


def test_what_may_not_be_done_host_by_host_is_a_barrier() -> None:
    assert not pairs_agree([None, hmac(1, 1)])
    assert not pairs_agree([hmac(1, 1), hmac(2, 2)])
    assert not pairs_agree([hmac(1, 1), hmac(2, 1, 2)])
    assert not pairs_agree([hmac(1, 1, mode="receive-only"), hmac(1, 1)])
    assert facts("VI_1", None) == NO_KEYS


def planned_files(
    wanted: dict[str, Any], rotation: dict[str, Any] | None, keywords: Any, specs: Any, defaults: Any
) -> Any:
    vi = {"interface": "eth0", "virtual_router_id": 51, "virtual_ipaddress": ["192.0.2.100/24"], "auth_hmac": wanted}
    nodes = cluster(*HOSTS, vrrpd_instances={"VI_1": vi})
    return plan(nodes, {"vrrp": HOSTS}, keywords, specs, defaults, rotation=rotation)


def lines(made: Any, host: str) -> list[str]:
    (block,) = [block for block in made.hosts[host]["blocks"] if block["keyword"] == "vrrp_instance"]
    (auth,) = [item for item in block["items"] if item["keyword"] == "auth_hmac"]
    return sorted(f"{item['keyword']} {item['words']}" for item in auth["items"])


def test_the_phases_of_the_plan(keywords: Any, specs: Any, defaults: Any) -> None:
    wanted = hmac(2, 1, 2)
    now = {"VI_1": {"mode": "enforce", "active_key": 1, "keys": [1]}}
    both = ["key 1 @@VI_1.auth_hmac.key.1@@", "key 2 @@VI_1.auth_hmac.key.2@@"]
    told = {}
    for phase in ("receive", "switch"):
        rotation = {"phase": phase, "running": {"lb1": now, "lb2": now}}
        made = planned_files(wanted, rotation, keywords, specs, defaults)
        assert made.errors == []
        told[phase] = lines(made, "lb1")
        assert KEYS[1] not in json.dumps(made)
    assert told == {
        "receive": ["active_key 1", *both],
        "switch": ["active_key 2", *both],
    }
    made = planned_files(wanted, None, keywords, specs, defaults)
    assert made.hosts["lb1"]["hmac"]["VI_1"] == {
        "sends": "2 @@VI_1.auth_hmac.key.2@@",
        "accepts": ["1 @@VI_1.auth_hmac.key.1@@", "2 @@VI_1.auth_hmac.key.2@@"],
    }


def test_a_key_in_use_must_stay_in_the_inventory(keywords: Any, specs: Any, defaults: Any) -> None:
    now = {"VI_1": {"mode": "enforce", "active_key": 1, "keys": [1]}}
    rotation = {"phase": "receive", "running": {"lb1": now, "lb2": now}}
    made = planned_files(hmac(2, 2), rotation, keywords, specs, defaults)
    assert made.errors[0] == (
        "lb1: vrrpd_instances.VI_1.auth_hmac.key: lb1 sends with key 1:"
        " keep it there until no node sends with it any more"
    )


def test_hosts_agree_on_their_keys(keywords: Any, specs: Any, defaults: Any) -> None:
    nodes = cluster(*HOSTS)
    for host, active in zip(HOSTS, (1, 2)):
        vi = nodes[host]["vrrpd_instances"]["VI_1"]
        del vi["authentication"]
        vi["auth_hmac"] = hmac(active, 1, 2)
    made = plan(nodes, {"vrrp": HOSTS}, keywords, specs, defaults)
    assert any("auth_hmac: the nodes disagree (values not shown)" in line for line in made.errors)
