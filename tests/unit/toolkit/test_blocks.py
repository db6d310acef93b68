"""vrrpd_blocks: every block under its own name, overrides, sync groups, what is tracked, weights that move nothing."""

from __future__ import annotations

import copy
from types import ModuleType
from typing import Any, Callable

import pytest
from ansible.module_utils.vrrpd_lines import merged, secrets_of
from ansible.module_utils.vrrpd_mask import SECRETS, filled, masked
from ansible.module_utils.vrrpd_planning import Plan, plan, together

VI_1 = {"interface": "eth0", "virtual_router_id": 51, "virtual_ipaddress": ["192.0.2.100/24"]}
VI_2 = {"interface": "eth1", "virtual_router_id": 52, "virtual_ipaddress": ["198.51.100.100/24"]}
CHECK = {"script": "/bin/check", "interval": 2}
Planner = Callable[..., Plan]


@pytest.fixture(scope="module")
def table(keywords: dict[str, Any]) -> dict[str, Any]:
    """The daemon's table, as if it supported everything."""
    found = copy.deepcopy(keywords)
    for block in found["blocks"].values():
        for row in block["keywords"].values():
            row["status"] = "supported"
    return found


@pytest.fixture
def planned(table: dict[str, Any], specs: dict[str, Any], defaults: dict[str, Any]) -> Planner:
    def run(instances: dict[str, Any] | None = None, hosts: tuple[str, ...] = ("lb1", "lb2"), **variables: Any) -> Plan:
        shared = {"vrrpd_instances": instances or {"VI_1": VI_1, "VI_2": VI_2}, **variables}
        own = {name: shared.pop(name) for name in hosts if name in shared}
        nodes = {
            name: {"ansible_host": f"192.0.2.{11 + rank}", **copy.deepcopy(shared), **own.get(name, {})}
            for rank, name in enumerate(hosts)
        }
        return plan(nodes, {"vrrp": list(nodes)}, table, specs, defaults)

    return run


def text(made: Plan, plan_action: ModuleType, host: str = "lb1") -> str:
    """Everything before the instances."""
    return str(plan_action.text_of(made.hosts[host]["blocks"])).partition("\nvrrp_instance")[0].partition("\n\n")[2]


def test_every_form_of_a_block(planned: Planner, plan_action: ModuleType) -> None:
    made = planned(
        vrrpd_blocks={
            "net_namespace": "blue",
            "use_pid_dir": True,
            "static_routes": ["203.0.113.0/24 via 192.0.2.254 dev eth0"],
            "vrrp_script": {"chk": {**CHECK, "weight": "-20 reverse"}, "alive": {"script": "/bin/true"}},
            "garp_group": [{"interface": "eth0", "garp_interval": 0.1}, {"interfaces": ["eth1", "eth2"]}],
            "vrrp_sync_group": {
                "G1": {
                    "group": ["VI_1", "VI_2"],
                    "sync_group_tracking_weight": True,
                    "track_script": {"chk": None, "alive": "weight 0"},
                }
            },
            "virtual_server_group": {"web": ["192.0.2.100 80"]},
        },
    )
    assert made.errors == []
    # The order of the lines is the table's.
    assert sorted(map(sorted, map(str.splitlines, text(made, plan_action).strip().split("\n\n")))) == sorted(
        sorted(block.splitlines())
        for block in [
            "net_namespace blue",
            "use_pid_dir",
            "static_routes {\n    203.0.113.0/24 via 192.0.2.254 dev eth0\n}",
            "vrrp_script chk {\n    script /bin/check\n    interval 2\n    weight -20 reverse\n}",
            "vrrp_script alive {\n    script /bin/true\n}",
            "garp_group {\n    garp_interval 0.1\n    interface eth0\n}",
            "garp_group {\n    interfaces {\n        eth1\n        eth2\n    }\n}",
            "vrrp_sync_group G1 {\n    group {\n        VI_1\n        VI_2\n    }\n"
            "    sync_group_tracking_weight\n    track_script {\n        chk\n        alive weight 0\n    }\n}",
            "virtual_server_group web {\n    192.0.2.100 80\n}",
        ]
    )


def test_a_host_overrides_a_block(planned: Planner, plan_action: ModuleType) -> None:
    blocks = {
        "vrrp_script": {"chk": CHECK, "other": {"script": "/bin/true"}},
        "static_routes": ["default via 192.0.2.1"],
    }
    changes = {"vrrp_script": {"chk": {"interval": 5}, "other": None}, "static_routes": None}
    made = planned(vrrpd_blocks=blocks, lb2={"vrrpd_overrides": changes})
    assert made.errors == []
    assert "static_routes" in text(made, plan_action, "lb1")
    assert text(made, plan_action, "lb2") == ("vrrp_script chk {\n    script /bin/check\n    interval 5\n}\n")


def test_dictionaries_are_merged_and_null_takes_away() -> None:
    below = {"a": {"x": 1, "y": [2]}, "b": 3}
    assert merged(below, {"a": {"y": [4], "z": 5}, "b": None}) == {"a": {"x": 1, "y": [4], "z": 5}}
    assert below == {"a": {"x": 1, "y": [2]}, "b": 3}


def test_a_host_overrides_a_part_of_an_instance_s_block(planned: Planner, plan_action: ModuleType) -> None:
    """As in vrrpd_blocks: what the host does not say stays, its secrets too."""
    hmac = {"key": {1: "hex:" + "0f" * 32, 2: "hex:" + "1e" * 32}, "active_key": 1, "time_window": 10}
    more = {"VI_1": {**VI_1, "auth_hmac": hmac, "track_interface": {"eth1": None, "eth2": None}}, "VI_2": VI_2}
    change = {"VI_1": {"auth_hmac": {"time_window": 20, "key": {2: None}}, "track_interface": {"eth2": "weight 5"}}}
    made = planned(more, lb2={"vrrpd_overrides": change})
    found = str(plan_action.text_of(made.hosts["lb2"]["blocks"])).split()
    assert "time_window 20" in " ".join(found)
    assert "eth1 eth2 weight 5 }" in " ".join(found)
    assert [word for word in found if word.startswith("@@")] == ["@@VI_1.auth_hmac.key.1@@"]
    assert list(secrets_of(more, change, {})) == ["@@VI_1.auth_hmac.key.1@@"]


def test_the_members_of_a_group_take_their_turn_together(planned: Planner) -> None:
    more = {f"VI_{number}": {**VI_1, "virtual_router_id": number} for number in (1, 2, 3, 4)}
    for number, keywords in enumerate(more.values(), 1):
        keywords["virtual_ipaddress"] = [f"192.0.2.10{number}/24"]
    groups = {"vrrp_sync_group": {"A": {"group": ["VI_1", "VI_3"]}, "B": {"group": ["VI_2 VI_4"]}}}
    made = planned(more, vrrpd_blocks=groups, vrrpd_rotate=True)
    assert made.errors == []
    best = {row["instance"]: row["host"] for row in made.table if row["priority"] == 200}
    assert best == {"VI_1": "lb1", "VI_2": "lb2", "VI_3": "lb1", "VI_4": "lb2"}


def test_a_member_that_other_hosts_carry_is_none_here(planned: Planner, plan_action: ModuleType) -> None:
    instances = {"VI_1": VI_1, "VI_2": {**VI_2, "hosts": ["lb2", "lb3"]}}
    groups = {"vrrp_sync_group": {"G": {"group": ["VI_1", "VI_2"]}, "H": {"group": ["VI_2"]}}}
    made = planned(instances, ("lb1", "lb2", "lb3"), vrrpd_blocks=groups, lb2={"vrrpd_priority": 250})
    assert "vrrp_sync_group" not in text(made, plan_action, "lb1"), "one member is no group"
    assert "        VI_1\n        VI_2\n" in text(made, plan_action, "lb2")


TRACK = "vrrpd_instances.VI_1"
GROUP = "vrrpd_blocks.vrrp_sync_group.G"
FAULT = "leave the weight out (a failure is FAULT then)"


def scripts(**more: Any) -> dict[str, Any]:
    return {"vrrp_script": {"chk": {**CHECK, **more}}}


def tracking(*tracks: str, **keywords: Any) -> dict[str, Any]:
    return {"VI_1": {**VI_1, "track_script": list(tracks), **keywords}}


FINDINGS: dict[str, tuple[dict[str, Any], list[str]]] = {
    "unknown block": (
        {"vrrpd_blocks": {"vrrp_scripts": {"chk": CHECK}}},
        ["vrrpd_blocks.vrrp_scripts: unknown keyword, did you mean 'vrrp_script'?"],
    ),
    "unknown keyword of a block": (
        {"vrrpd_blocks": {"vrrp_script": {"chk": {**CHECK, "intervall": 3}}}},
        ["vrrpd_blocks.vrrp_script.chk.intervall: unknown keyword, did you mean 'interval'?"],
    ),
    "no name": (
        {"vrrpd_blocks": {"vrrp_script": ["chk"]}},
        ["vrrpd_blocks.vrrp_script: is a list: write name: ..."],
    ),
    "no keywords": (
        {"vrrpd_blocks": {"vrrp_script": {"chk": "/bin/true"}}},
        ["vrrpd_blocks.vrrp_script.chk: is a string: write keyword: value"],
    ),
    "instances in the wrong variable": (
        {"vrrpd_blocks": {"vrrp_instance": {"VI_3": VI_1}}},
        ["vrrpd_blocks.vrrp_instance: has a variable of its own: vrrpd_instances"],
    ),
    "a group with a stranger": (
        {"vrrpd_blocks": {"vrrp_sync_group": {"G": {"group": ["VI_1", "VI2"]}}}},
        [f"{GROUP}.group: 'VI2' is no instance, did you mean 'VI_2'?; instances: VI_1, VI_2"],
    ),
    "an instance in two groups": (
        {"vrrpd_blocks": {"vrrp_sync_group": {"F": {"group": ["VI_1"]}, "G": {"group": ["VI_1"]}}}},
        [f"{GROUP}.group: 'VI_1' is in F too: an instance has one group"],
    ),
    "a group that is pulled apart": (
        {
            "instances": {"VI_1": {**VI_1, "priority": 250}, "VI_2": VI_2},
            "vrrpd_blocks": {"vrrp_sync_group": {"G": {"group": ["VI_1", "VI_2"]}}},
            "lb1": {"vrrpd_overrides": {"VI_1": {"priority": 10}}},
        },
        [
            f"{GROUP}.group: VI_1 prefers lb2, VI_2 prefers lb1: a group moves as one, give its members the same order"
            " of hosts"
        ],
    ),
    "tracking what is not there": (
        {"instances": tracking("chck"), "vrrpd_blocks": scripts()},
        [f"{TRACK}.track_script: no vrrp_script 'chck' in vrrpd_blocks, did you mean 'chk'?; there is chk"],
    ),
    "a weight that moves nothing": (
        {"instances": tracking("chk"), "vrrpd_blocks": scripts(weight=-5)},
        [
            f"{TRACK}: weight -5 of chk can never move VI_1 from lb1 to lb2: with everything failed lb1 has priority"
            f" 195, and lb2 has 190: make it greater than the distance of 10, or {FAULT}"
        ],
    ),
    "a weight just as great as the distance": (
        {"instances": tracking("chk weight 10"), "vrrpd_blocks": scripts()},
        [
            f"{TRACK}: weight +10 of chk can never move VI_1 from lb1 to lb2: with everything failed lb1 has priority"
            f" 200, and lb2 has 200: make it greater than the distance of 10, or {FAULT}"
        ],
    ),
    "a weight within a group": (
        {
            "instances": {**tracking("chk"), "VI_2": VI_2},
            "vrrpd_blocks": {**scripts(weight=-50), "vrrp_sync_group": {"G": {"group": ["VI_1", "VI_2"]}}},
        },
        [
            f"{TRACK}: weight -50 of chk counts for nothing in sync group G: leave it out (a failure is FAULT then), or"
            f" set sync_group_tracking_weight: true in {GROUP}"
        ],
    ),
    "a weight beside nopreempt": (
        {"instances": tracking("chk", nopreempt=True), "vrrpd_blocks": scripts(weight=-50)},
        [
            f"{TRACK}: weight -50 of chk moves nothing: nopreempt on lb2, nobody takes over from a lower priority:"
            f" {FAULT}"
        ],
    ),
    "a weight of an owner": (
        {"instances": tracking("chk"), "vrrpd_blocks": scripts(weight=-50), "lb1": {"vrrpd_priority": 255}},
        [f"{TRACK}: weight -50 of chk moves nothing: the priority of an owner (255) never changes: {FAULT}"],
    ),
}


@pytest.mark.parametrize("name", FINDINGS)
def test_finding(name: str, planned: Planner) -> None:
    """The first host's, without its name."""
    inventory, expected = FINDINGS[name]
    made = planned(**inventory)
    assert [line[len("lb1: ") :] for line in made.errors if line.startswith("lb1: ")] == expected


@pytest.mark.parametrize(
    "inventory",
    [
        {"instances": tracking("chk"), "vrrpd_blocks": scripts()},  # FAULT
        {"instances": tracking("chk"), "vrrpd_blocks": scripts(weight=-11)},
        {"instances": tracking("chk weight 11"), "vrrpd_blocks": scripts()},
        {"instances": tracking("chk weight -6", track_interface=["eth1 weight 5"]), "vrrpd_blocks": scripts()},
        {
            "instances": {"VI_1": {**VI_1, "track_file": ["load"]}},  # nobody knows the number in it
            "vrrpd_blocks": {"track_file": {"load": {"file": "/run/load"}}},
        },
    ],
)
def test_what_can_change_the_winner_is_no_finding(inventory: dict[str, Any], planned: Planner) -> None:
    assert planned(**inventory).errors == []


def test_a_key_with_an_id_is_a_secret() -> None:
    keys = {"key": {1: "hex:00ff", 2: "ascii:hush"}, "active_key": 2}
    for written in (keys, {**keys, "key": ["1 hex:00ff", "2 ascii:hush"]}):
        found = secrets_of({"VI_1": {**VI_1, "auth_hmac": written}}, {}, {})
        assert found == {"@@VI_1.auth_hmac.key.1@@": "hex:00ff", "@@VI_1.auth_hmac.key.2@@": "ascii:hush"}
    line = "        key 2 @@VI_1.auth_hmac.key.2@@\n"
    assert filled(line, found) == "        key 2 ascii:hush\n"
    assert masked(filled(line, found)) == "        key 2 ********\n"


def test_the_daemon_and_the_toolkit_know_the_same_secrets(keywords: dict[str, Any]) -> None:
    rows = {
        (name, row.get("secret")) for block in keywords["blocks"].values() for name, row in block["keywords"].items()
    }
    assert {name for name, secret in rows if secret} <= set(SECRETS)


def test_what_the_daemon_refuses_is_a_finding_at_its_variable(
    plan_action: ModuleType, keywords: dict[str, Any], specs: dict[str, Any], defaults: dict[str, Any]
) -> None:
    secret = {"auth_type": "PASS", "auth_pass": "hush"}
    instances = {"VI_1": {**VI_1, "notify_master": "/bin/sh -c 'exit 0", "authentication": secret}, "VI_2": VI_2}
    nodes: dict[str, Any] = {name: {"vrrpd_instances": instances, "vrrpd_blocks": {}} for name in ("lb1", "lb2")}
    nodes["lb2"]["vrrpd_overrides"] = {"VI_2": {"virtual_ipaddress": ["198.51.100.100/24 dev"]}}
    made = plan(nodes, {"vrrp": list(nodes)}, keywords, specs, defaults)
    assert made.errors == []
    assert together(plan_action.judged(made, nodes)) == [
        "lb1, lb2: vrrpd_instances.VI_1.notify_master: the quote ' is not closed",
        "lb2: vrrpd_overrides.VI_2.virtual_ipaddress: 'dev' needs a value",
    ]


def test_the_plan_names_the_virtual_interfaces(
    plan_action: ModuleType, keywords: dict[str, Any], specs: dict[str, Any], defaults: dict[str, Any]
) -> None:
    """Whatever their names come from: the network managers of a node are told them."""
    instances = {"VI_1": {**VI_1, "use_vmac": "gate"}, "VI_2": {**VI_2, "use_vmac": True}}
    nodes = {
        name: {"vrrpd_instances": instances, "vrrpd_global_defs": {"vmac_prefix": "lan"}} for name in ("lb1", "lb2")
    }
    made = plan(nodes, {"vrrp": list(nodes)}, keywords, specs, defaults)
    assert (made.errors, plan_action.judged(made, nodes)) == ([], [])
    assert made.hosts["lb1"]["devices"] == ["gate", "lan.52"]


DEPTHS: dict[str, tuple[dict[str, Any], str]] = {
    # lb2's own variables, on top of the group's: what is said of lb2
    "a variable": (
        {"vrrpd_instance": {}},
        "vrrpd_instance: nothing reads this variable, did you mean 'vrrpd_instances'?",
    ),
    "an instance": ({"VI_9": {"priority": 5}}, "vrrpd_overrides.VI_9: no such instance, did you mean"),
    "its keyword": (
        {"VI_1": {"prioritty": 5}},
        "vrrpd_overrides.VI_1.prioritty: unknown keyword, did you mean 'priority'?",
    ),
    "its value": ({"VI_1": {"garp_master_delay": -1}}, "vrrpd_overrides.VI_1.garp_master_delay: -1 is outside 0.."),
    "a list of it": (
        {"VI_1": {"virtual_ipaddress": ["here"]}},
        "vrrpd_overrides.VI_1.virtual_ipaddress: 'here' does not",
    ),
    "a block of it": (
        {"VI_1": {"auth_hmac": {"key": ["1 hex:" + "0f" * 32], "active_key": 1, "mod": "enforce"}}},
        "vrrpd_overrides.VI_1.auth_hmac.mod: unknown keyword, did you mean 'mode'?",
    ),
    "a value of a block of it": (
        {"VI_1": {"auth_hmac": {"key": ["1 hex:" + "0f" * 32], "active_key": 1, "mode": "loose"}}},
        "vrrpd_overrides.VI_1.auth_hmac.mode: 'loose' is none of",
    ),
    "global_defs": ({"global_defs": {"router": "x"}}, "vrrpd_overrides.global_defs.router: unknown keyword"),
    "a value of global_defs": (
        {"global_defs": {"vrrp_garp_master_refresh": "often"}},
        "vrrpd_overrides.global_defs.vrrp_garp_master_refresh: 'often' is not a number of seconds",
    ),
    "a block": ({"vrrp_scripts": {"chk": None}}, "vrrpd_overrides.vrrp_scripts: no such instance"),
    "a keyword of a block": (
        {"vrrp_script": {"chk": {"intervall": 5}}},
        "vrrpd_overrides.vrrp_script.chk.intervall: unknown keyword, did you mean 'interval'?",
    ),
    "a value of a block": (
        {"vrrp_script": {"chk": {"interval": 0}}},
        "vrrpd_overrides.vrrp_script.chk.interval: 0 is outside",
    ),
    "a list of a block": (
        {"vrrp_sync_group": {"G": {"group": ["VI_1", "VI_3"]}}},
        "vrrpd_overrides.vrrp_sync_group.G.group: 'VI_3' is no instance",
    ),
}


@pytest.mark.parametrize("name", DEPTHS)
def test_a_mistake_of_one_host_is_named_with_host_and_variable(
    name: str, plan_action: ModuleType, keywords: dict[str, Any], specs: dict[str, Any], defaults: dict[str, Any]
) -> None:
    """At any depth, by whoever finds it: the plan or the daemon's own reader, on the controller."""
    mistake, said = DEPTHS[name]
    shared = {"vrrpd_instances": {"VI_1": VI_1, "VI_2": VI_2}, "vrrpd_blocks": scripts()}
    nodes: dict[str, Any] = {host: copy.deepcopy(shared) for host in ("lb1", "lb2")}
    nodes["lb2"].update(mistake if name == "a variable" else {"vrrpd_overrides": mistake})
    made = plan(nodes, {"vrrp": list(nodes)}, keywords, specs, defaults)
    found = made.errors or plan_action.judged(made, nodes)
    assert any(line.startswith(f"lb2: {said}") for line in found), found
