"""The plan: what it derives, and every finding with its exact words."""

from __future__ import annotations

import copy
import json
from typing import Any, Callable

import pytest
from ansible.module_utils.vrrpd_lines import secrets_of
from ansible.module_utils.vrrpd_planning import Plan, derived_priority, message, new_record, plan

VI_1 = {
    "interface": "eth0",
    "virtual_router_id": 51,
    "authentication": {"auth_type": "PASS", "auth_pass": "s3cret"},
    "virtual_ipaddress": ["192.0.2.100/24"],
}
Planner = Callable[..., Plan]


def cluster(*hosts: str, **variables: Any) -> dict[str, dict[str, Any]]:
    shared = {"vrrpd_instances": {"VI_1": VI_1}, **variables}
    return {
        host: {"ansible_host": f"192.0.2.{11 + index}", **copy.deepcopy(shared)} for index, host in enumerate(hosts)
    }


@pytest.fixture
def planned(keywords: dict[str, Any], specs: dict[str, Any], defaults: dict[str, Any]) -> Planner:
    def run(nodes: dict[str, Any], groups: dict[str, list[str]] | None = None, **more: Any) -> Plan:
        return plan(nodes, groups or {"vrrp": list(nodes)}, keywords, specs, defaults, **more)

    return run


def priorities(made: Plan, instance: str = "VI_1") -> dict[str, int]:
    return {row["host"]: row["priority"] for row in made.table if row["instance"] == instance}


def states(made: Plan, instance: str = "VI_1") -> dict[str, str]:
    return {row["host"]: row["state"] for row in made.table if row["instance"] == instance}


def words(made: Plan, host: str, keyword: str) -> Any:
    """The value of a keyword in the host's first instance."""
    block = next(block for block in made.hosts[host]["blocks"] if block["keyword"] == "vrrp_instance")
    line = next((item for item in block["items"] if item["keyword"] == keyword), None)
    return line and line.get("words", line.get("lines", line["form"]))


def test_keywords_whose_value_may_be_left_out(planned: Planner) -> None:
    nodes = cluster("lb1", "lb2")
    override("lb1", use_vmac=True, vmac_xmit_base=True)(nodes)
    override("lb2", use_vmac="lb.51 02:11:22:33:44:55")(nodes)
    made = planned(nodes)
    assert made.errors == []
    assert words(made, "lb1", "use_vmac") == words(made, "lb1", "vmac_xmit_base") == "flag"
    assert words(made, "lb2", "use_vmac") == "lb.51 02:11:22:33:44:55"
    assert not made.warnings


def test_a_virtual_mac_on_some_nodes_only(planned: Planner) -> None:
    nodes = cluster("lb1", "lb2")
    override("lb1", use_vmac=True)(nodes)
    made = planned(nodes)
    assert made.errors == []
    assert made.warnings == [
        "lb2: vrrpd_instances.VI_1.use_vmac: not on lb2: "
        "there the address has another MAC address; set it once, for the group"
    ]


# --- what is derived -------------------------------------------------------------------------------------------------


def test_priorities_fall_with_the_rank_and_the_first_is_master(planned: Planner) -> None:
    made = planned(cluster("lb1", "lb2", "lb3"))
    assert made.errors == []
    assert priorities(made) == {"lb1": 200, "lb2": 190, "lb3": 180}
    assert states(made) == {"lb1": "MASTER", "lb2": "BACKUP", "lb3": "BACKUP"}


@pytest.mark.parametrize(("rank", "size", "priority"), [(19, 20, 10), (0, 21, 254), (20, 21, 234), (252, 253, 2)])
def test_steps_of_ten_up_to_twenty_hosts(rank: int, size: int, priority: int) -> None:
    assert derived_priority(rank, size) == priority


def test_a_priority_that_was_said_wins_and_moves_the_master(planned: Planner) -> None:
    nodes = cluster("lb1", "lb2", "lb3")
    nodes["lb3"]["vrrpd_priority"] = 220
    made = planned(nodes)
    assert priorities(made) == {"lb1": 200, "lb2": 190, "lb3": 220}
    assert states(made) == {"lb1": "BACKUP", "lb2": "BACKUP", "lb3": "MASTER"}


@pytest.mark.parametrize(("keyword", "value", "written"), [("nopreempt", True, "flag"), ("preempt_delay", 30, "30")])
def test_who_waits_before_taking_over_starts_as_backup(
    planned: Planner, keyword: str, value: object, written: str
) -> None:
    made = planned(cluster("lb1", "lb2", vrrpd_instances={"VI_1": {**VI_1, keyword: value}}))
    assert states(made) == {"lb1": "BACKUP", "lb2": "BACKUP"}
    assert words(made, "lb1", keyword) == written


def test_the_rank_rotates_by_instance_on_request(planned: Planner) -> None:
    two = {"VI_1": VI_1, "VI_2": {**VI_1, "virtual_router_id": 52, "virtual_ipaddress": ["192.0.2.101/24"]}}
    made = planned(cluster("lb1", "lb2", "lb3", vrrpd_instances=two, vrrpd_rotate=True))
    assert priorities(made, "VI_1") == {"lb1": 200, "lb2": 190, "lb3": 180}
    assert priorities(made, "VI_2") == {"lb1": 180, "lb2": 200, "lb3": 190}


def test_an_instance_on_a_subset_of_the_hosts(planned: Planner) -> None:
    two = {"VI_1": VI_1, "VI_2": {**VI_1, "virtual_router_id": 52, "virtual_ipaddress": ["192.0.2.101/24"]}}
    two["VI_2"]["hosts"] = ["lb2", "lb3"]
    made = planned(cluster("lb1", "lb2", "lb3", vrrpd_instances=two))
    assert made.errors == []
    assert priorities(made, "VI_2") == {"lb2": 190, "lb3": 180}
    assert states(made, "VI_2") == {"lb2": "MASTER", "lb3": "BACKUP"}
    assert [block["name"] for block in made.hosts["lb1"]["blocks"]] == ["VI_1"]


def test_a_keyword_is_overridden_per_host(planned: Planner) -> None:
    nodes = cluster("lb1", "lb2")
    nodes["lb2"]["vrrpd_overrides"] = {"VI_1": {"interface": "ens3"}, "global_defs": {"router_id": "second"}}
    made = planned(nodes)
    assert made.errors == []
    assert (words(made, "lb1", "interface"), words(made, "lb2", "interface")) == ("eth0", "ens3")
    assert made.hosts["lb2"]["blocks"][0]["items"] == [{"keyword": "router_id", "form": "value", "words": "second"}]


def test_unicast_peers_are_the_others(planned: Planner) -> None:
    nodes = cluster("lb1", "lb2", "lb3", vrrpd_unicast=True)
    nodes["lb3"]["vrrpd_address"] = "198.51.100.3"
    made = planned(nodes)
    assert words(made, "lb1", "unicast_src_ip") == "192.0.2.11"
    assert words(made, "lb1", "unicast_peer") == ["192.0.2.12", "198.51.100.3"]
    assert words(made, "lb3", "unicast_src_ip") == "198.51.100.3"


def test_unicast_may_do_without_an_interface(planned: Planner) -> None:
    """keepalived.conf(5): where every address says on which it lies; instances are told apart by their source."""
    nodes = cluster("lb1", "lb2", vrrpd_unicast=True)
    for name, variables in nodes.items():
        instance = {key: value for key, value in VI_1.items() if key != "interface"}
        instance = {**instance, "vrf": "blue", "virtual_ipaddress": ["192.0.2.100/24 dev eth1"]}
        other = {**instance, "unicast_src_ip": f"192.0.2.2{name[-1]}", "virtual_ipaddress": ["192.0.2.101/24 dev eth1"]}
        variables["vrrpd_instances"] = {"VI_1": instance, "VI_2": other}
    made = planned(nodes)
    assert not made.errors
    assert words(made, "lb1", "vrf") == "blue"
    for variables in nodes.values():
        variables["vrrpd_instances"]["VI_1"]["virtual_ipaddress"] = ["192.0.2.100/24"]
    assert [finding for finding in planned(nodes).errors if "interface: missing" in str(finding)]


def test_the_peers_of_the_second_path_are_the_others_the_best_first(planned: Planner) -> None:
    keyed = {"VI_1": {**VI_1, "peer_path_key": "0123456789abcdef"}}
    nodes = cluster("lb1", "lb2", "lb3", vrrpd_instances=keyed)
    for number, node in enumerate(nodes.values(), 1):
        node["vrrpd_path_address"] = f"10.9.0.{number}"
    nodes["lb3"]["vrrpd_priority"] = 220
    nodes["lb2"]["vrrpd_overrides"] = {"VI_1": {"peer_path": ["10.9.9.1"]}}
    made = planned(nodes)
    assert made.errors == []
    assert words(made, "lb1", "peer_path") == ["10.9.0.3", "10.9.0.2"]
    assert words(made, "lb2", "peer_path") == ["10.9.9.1"], "said wins"
    assert words(made, "lb3", "peer_path") == ["10.9.0.1", "10.9.0.2"]
    assert words(made, "lb1", "peer_path_key") == "@@VI_1.peer_path_key@@"
    assert secrets_of(keyed, {}, {})["@@VI_1.peer_path_key@@"] == "0123456789abcdef"
    assert words(planned(cluster("lb1", "lb2")), "lb1", "peer_path") is None, "not unless asked"


def test_several_clusters_are_planned_apart(planned: Planner) -> None:
    other = {"VI_1": {**VI_1, "virtual_router_id": 51, "virtual_ipaddress": ["203.0.113.1/24"]}}
    nodes = {**cluster("a1", "a2", vrrpd_cluster="a"), **cluster("b1", "b2", vrrpd_cluster="b", vrrpd_instances=other)}
    nodes["b1"]["ansible_host"], nodes["b2"]["ansible_host"] = "203.0.113.11", "203.0.113.12"
    made = planned(nodes, {"a": ["a1", "a2"], "b": ["b1", "b2"], "vrrp": list(nodes)})
    assert made.errors == []
    assert made.warnings == []
    assert made.hosts["b2"]["members"] == ["b1", "b2"]
    assert priorities(made) == {"a1": 200, "a2": 190, "b1": 200, "b2": 190}


def test_no_secret_leaves_the_plan(planned: Planner) -> None:
    made = planned(cluster("lb1", "lb2"))
    assert "s3cret" not in json.dumps(made)
    assert "@@VI_1.authentication.auth_pass@@" in json.dumps(made.hosts["lb1"])
    assert secrets_of({"VI_1": VI_1}, {}, {}) == {"@@VI_1.authentication.auth_pass@@": "s3cret"}
    override = {"VI_1": {"authentication": {"auth_pass": "other"}}}
    assert secrets_of({"VI_1": VI_1}, override, {}) == {"@@VI_1.authentication.auth_pass@@": "other"}


def test_what_the_wire_shows_changes_the_wire_and_nothing_else_does(planned: Planner) -> None:
    def wire(**keywords: Any) -> str:
        made = planned(cluster("lb1", "lb2", vrrpd_instances={"VI_1": {**VI_1, **keywords}}))
        assert made.errors == []
        return str(made.hosts["lb1"]["wires"]["VI_1"])

    assert wire(notify_master="/bin/true", preempt_delay=5, interface="eth1") == wire()
    assert wire(virtual_ipaddress=["192.0.2.101/24"]) == wire()  # accepted and counted by vrrpd
    assert wire(virtual_router_id=52) != wire()
    assert wire(advert_int=2) != wire()
    assert wire(authentication=None) != wire()
    assert wire(mcast_dst_ip="224.0.0.50") != wire()
    assert wire(version=3, authentication=None) != wire(authentication=None)


def test_beside_keepalived_the_addresses_belong_to_the_wire(planned: Planner) -> None:
    more = {"VI_1": {**VI_1, "virtual_ipaddress": ["192.0.2.101/24"]}}
    one = planned(cluster("lb1", "lb2", vrrpd_keepalived_peers=True))
    two = planned(cluster("lb1", "lb2", vrrpd_keepalived_peers=True, vrrpd_instances=more))
    assert one.hosts["lb1"]["wires"] != two.hosts["lb1"]["wires"]


def test_the_record_tells_who_changed_and_who_left(planned: Planner) -> None:
    first = planned(cluster("lb1", "lb2", "lb3"))
    record = new_record(first, None)
    second = planned(cluster("lb1", "lb3"), record=record)
    assert [(row["host"], row["before"], row["changed"]) for row in second.table] == [
        ("lb1", 200, False),
        ("lb3", 180, True),
    ]
    assert second.warnings == [
        "lb2: no longer in group 'vrrp': a possible rival while its daemon runs (last priorities: VI_1 190):"
        " run playbooks/remove.yml on it with the inventory that still names it, then say vrrpd_retired: [lb2]"
    ]
    # Named again until it is retired, then forgotten.
    third = planned(cluster("lb1", "lb3"), record=new_record(second, record))
    assert third.warnings == second.warnings
    fourth = planned(cluster("lb1", "lb3", vrrpd_retired=["lb2"]), record=new_record(third, record))
    assert fourth.warnings == []
    assert new_record(fourth, new_record(third, record))["vrrp"]["left"] == {}


# --- findings, one by one --------------------------------------------------------------------------------------------

Change = Callable[[dict[str, Any]], None]


def instance(**keywords: Any) -> Change:
    """Every host's VI_1 with these keywords."""

    def change(nodes: dict[str, Any]) -> None:
        for variables in nodes.values():
            variables["vrrpd_instances"]["VI_1"].update(keywords)

    return change


def host(name: str, **variables: Any) -> Change:
    return lambda nodes: nodes[name].update(variables)


def override(name: str, **keywords: Any) -> Change:
    return host(name, vrrpd_overrides={"VI_1": keywords})


def both(*changes: Change) -> Change:
    def change(nodes: dict[str, Any]) -> None:
        for one in changes:
            one(nodes)

    return change


def everywhere(**variables: Any) -> Change:
    def change(nodes: dict[str, Any]) -> None:
        for node in nodes.values():
            node.update(copy.deepcopy(variables))

    return change


VI = "vrrpd_instances.VI_1"
OVER = "vrrpd_overrides.VI_1"
FINDINGS: dict[str, tuple[Change, list[str]]] = {
    "two equal priorities": (
        host("lb3", vrrpd_priority=190),
        [
            "lb3: vrrpd_priority: priority 190 of VI_1 is lb2's too: set vrrpd_priority of one of them to a free value,"
            " e.g. 189"
        ],
    ),
    "one priority for all": (
        instance(priority=100),
        [
            f"lb2: {VI}.priority: priority 100 of VI_1 is lb1's too: set vrrpd_priority of one of them to a free"
            " value, e.g. 99",
            f"lb3: {VI}.priority: priority 100 of VI_1 is lb1's too: set vrrpd_priority of one of them to a free"
            " value, e.g. 99",
        ],
    ),
    "priority out of range": (
        host("lb2", vrrpd_priority=256),
        ["lb2: vrrpd_priority: 256 is not a whole number in 1..255: set one, or leave it out"],
    ),
    "two owners": (
        both(host("lb1", vrrpd_priority=255), host("lb3", vrrpd_priority=255)),
        [f"lb3: {VI}: priority 255 says 'I own the address', and lb1 says it too: leave it to one host"],
    ),
    "router id differs": (
        override("lb3", virtual_router_id=52),
        [
            f"lb3: {OVER}.virtual_router_id: the nodes disagree (51 on lb1/lb2, 52 on lb3): set it once, in the group's"
            " vrrpd_instances"
        ],
    ),
    "interval differs": (
        override("lb1", advert_int=2),
        [
            f"lb1: {OVER}.advert_int: the nodes disagree (2 on lb1, 1 on lb2/lb3): set it once, in the group's"
            " vrrpd_instances"
        ],
    ),
    "version differs": (
        both(instance(authentication=None), override("lb2", version=3)),
        [
            f"lb2: {OVER}.version: the nodes disagree (2 on lb1/lb3, 3 on lb2): set it once, in the group's"
            " vrrpd_instances"
        ],
    ),
    "multicast group differs": (
        host("lb2", vrrpd_overrides={"global_defs": {"vrrp_mcast_group4": "224.0.0.50"}}),
        [
            f"lb2: {VI}.mcast_dst_ip: the nodes disagree (the usual group on lb1/lb3, 224.0.0.50 on lb2): set it once,"
            " in the group's vrrpd_instances"
        ],
    ),
    "password differs, and is not shown": (
        override("lb2", authentication={"auth_type": "PASS", "auth_pass": "hunter2"}),
        [
            f"lb2: {OVER}.authentication: the nodes disagree (values not shown): set it once, in the group's"
            " vrrpd_instances"
        ],
    ),
    "addresses differ": (
        override("lb3", virtual_ipaddress=["192.0.2.101/24"]),
        [
            f"lb3: {OVER}.virtual_ipaddress: the nodes disagree (192.0.2.100/24 on lb1/lb2, 192.0.2.101/24 on lb3): set"
            " it once, in the group's vrrpd_instances"
        ],
    ),
    "password of nine characters": (
        instance(authentication={"auth_type": "PASS", "auth_pass": "ninechars"}),
        [
            f"{name}: {VI}.authentication.auth_pass: has 9 characters, VRRPv2 carries 1 to 8: set a shorter one"
            for name in ("lb1", "lb2", "lb3")
        ],
    ),
    "password that the file cannot hold": (
        instance(authentication={"auth_type": "PASS", "auth_pass": "a b#"}),
        [
            f"{name}: {VI}.authentication.auth_pass: has characters that the file cannot hold: use printable ASCII"
            " without blanks and without ! \" # $ ' \\ { }"
            for name in ("lb1", "lb2", "lb3")
        ],
    ),
    "authentication under version 3": (
        instance(version=3),
        [
            f"{name}: {VI}.authentication: version 3 has no authentication:"
            " use auth_hmac, or remove it, or set version: 2"
            for name in ("lb1", "lb2", "lb3")
        ],
    ),
    "fractions of a second under version 2": (
        instance(advert_int=0.1),
        [
            f"{name}: {VI}.advert_int: 0.1 s: VRRPv2 knows whole seconds, set version: 3 or advert_int: 1"
            for name in ("lb1", "lb2", "lb3")
        ],
    ),
    "unknown keyword of an instance": (
        override("lb2", prioritty=100),
        [f"lb2: {OVER}.prioritty: unknown keyword, did you mean 'priority'?"],
    ),
    "unknown keyword of a nested block": (
        override("lb2", authentication={"auth_type": "PASS", "auth_pass": "s3cret", "auth_pas": "x"}),
        [
            f"lb2: {OVER}.authentication: the nodes disagree (values not shown): set it once, in the group's"
            " vrrpd_instances",
            f"lb2: {OVER}.authentication.auth_pas: unknown keyword, did you mean 'auth_pass'?",
        ],
    ),
    "unknown keyword of global_defs": (
        host("lb1", vrrpd_global_defs={"notification_emial": ["a@b"]}),
        ["lb1: vrrpd_global_defs.notification_emial: unknown keyword, did you mean 'notification_email'?"],
    ),
    "variable that nothing reads": (
        host("lb1", vrrpd_instance={"VI_1": {}}),
        ["lb1: vrrpd_instance: nothing reads this variable, did you mean 'vrrpd_instances'?"],
    ),
    "variable of the wrong kind": (
        host("lb1", vrrpd_unicast="perhaps", vrrpd_rp_filter=3),
        [
            "lb1: vrrpd_rp_filter: 3 is none of -1, 0, 1, 2",
            "lb1: vrrpd_unicast: 'perhaps' is neither true nor false",
        ],
    ),
    "instances that are no dictionary": (
        host("lb1", vrrpd_instances=["s3cret"]),
        [
            "lb1: vrrpd_instances: is a list: write a dictionary",
            "lb1: vrrpd_instances: no instance for this host: describe one (name -> interface, virtual_router_id,"
            " virtual_ipaddress)",
        ],
    ),
    "override of no instance": (
        host("lb2", vrrpd_overrides={"VI_2": {"interface": "eth1"}}),
        ["lb2: vrrpd_overrides.VI_2: no such instance, did you mean 'VI_1'?; instances: VI_1"],
    ),
    "subset with a stranger": (
        instance(hosts=["lb1", "lb2", "lb4"]),
        [f"{name}: {VI}.hosts: 'lb4' is not in group 'vrrp', did you mean 'lb3'?" for name in ("lb1", "lb2", "lb3")]
        + [
            "lb3: vrrpd_instances: no instance for this host: describe one (name -> interface, virtual_router_id,"
            " virtual_ipaddress)"
        ],
    ),
    "one router id twice on an interface": (
        everywhere(vrrpd_instances={"VI_1": VI_1, "VI_2": {**VI_1, "virtual_ipaddress": ["192.0.2.101/24"]}}),
        [
            f"{name}: vrrpd_instances.VI_2.virtual_router_id: 51 is VI_1's on eth0 too: every instance of a segment"
            " needs its own"
            for name in ("lb1", "lb2", "lb3")
        ],
    ),
    "router id out of range": (
        instance(virtual_router_id=300),
        [f"{name}: {VI}.virtual_router_id: 300 is outside 1..255" for name in ("lb1", "lb2", "lb3")],
    ),
    "families mixed": (
        instance(virtual_ipaddress=["192.0.2.100/24", "2001:db8::100/64"]),
        [
            f"{name}: {VI}.virtual_ipaddress: IPv4 and IPv6 mixed in one instance: make two instances (they may share"
            " the virtual_router_id)"
            for name in ("lb1", "lb2", "lb3")
        ],
    ),
    "network address": (
        instance(virtual_ipaddress=["192.0.2.0/24"]),
        [
            f"{name}: {VI}.virtual_ipaddress: 192.0.2.0/24 is the network or broadcast address of 192.0.2.0/24: choose"
            " a host address"
            for name in ("lb1", "lb2", "lb3")
        ],
    ),
    "no address at all": (
        instance(virtual_ipaddress=["eth0"]),
        [
            f"{name}: {VI}.virtual_ipaddress: 'eth0' does not begin with an address: write ADDRESS/LENGTH"
            for name in ("lb1", "lb2", "lb3")
        ],
    ),
    "a host's own address": (
        instance(virtual_ipaddress=["192.0.2.12/24"]),
        [
            f"lb2: {VI}.virtual_ipaddress: 192.0.2.12 is the host's own address: choose a free one, or set"
            " vrrpd_priority: 255 for its owner"
        ],
    ),
    "no interface": (
        override("lb2", interface=None),
        [f"lb2: {VI}.interface: missing: set the interface that carries the address, e.g. interface: eth0"],
    ),
    "unicast without an address": (
        everywhere(vrrpd_unicast=True, ansible_host="lb.example.net"),
        [
            f"{name}: vrrpd_address: no IPv4 address known for unicast (VI_1): set vrrpd_address to the host's own"
            for name in ("lb1", "lb2", "lb3")
        ],
    ),
    "a second path without an address": (
        instance(peer_path_key="0123456789abcdef"),
        [
            f"{name}: vrrpd_path_address: missing: VI_1 has a peer_path_key, set the host's address on another"
            " interface than eth0"
            for name in ("lb1", "lb2", "lb3")
        ],
    ),
    "a second path without a key": (
        override("lb2", peer_path=["10.9.0.1"]),
        [f"lb2: {VI}.peer_path_key: missing: set the same 16 to 64 characters on every host, from a vault"],
    ),
    "a short key": (
        override("lb2", peer_path=["10.9.0.1"], peer_path_key="hunter2"),
        [f"lb2: {OVER}.peer_path_key: has 7 characters, 16 to 64 are needed: openssl rand -hex 32"],
    ),
    "unicast on some hosts": (
        host("lb1", vrrpd_unicast=True),
        ["lb1: vrrpd_unicast: true here but not on lb2, lb3: set it once, for the group"],
    ),
}


@pytest.mark.parametrize("name", FINDINGS)
def test_finding(name: str, planned: Planner) -> None:
    change, expected = FINDINGS[name]
    nodes = cluster("lb1", "lb2", "lb3")
    change(nodes)
    made = planned(nodes)
    assert made.errors == expected
    assert not any(secret in message(made.errors) for secret in ("s3cret", "hunter2", "ninechars", "a b#"))


def test_a_keyword_that_is_not_supported_gets_the_daemon_s_verdict(
    planned: Planner, keywords: dict[str, Any], specs: dict[str, Any], defaults: dict[str, Any]
) -> None:
    table = copy.deepcopy(keywords)
    for keyword, verdict in (("frobnicate", "error"), ("decorate", "warning")):
        row = {"form": "value", "type": "words", "doc": "it would not", "status": "unsupported", "verdict": verdict}
        table["blocks"]["vrrp_instance"]["keywords"][keyword] = row
    nodes = cluster("lb1", "lb2")
    override("lb1", frobnicate=1, decorate=2)(nodes)
    made = plan(nodes, {"vrrp": list(nodes)}, table, specs, defaults)
    assert made.errors == [f"lb1: {OVER}.frobnicate: vrrpd does not support it yet: it would not"]
    assert made.warnings == [f"lb1: {OVER}.decorate: left out, vrrpd does not support it yet: it would not"]
    assert words(made, "lb1", "decorate") is None


def test_a_group_of_one_is_a_finding_unless_it_is_meant(planned: Planner) -> None:
    assert planned(cluster("lb1")).errors == [
        "lb1: vrrpd_cluster: group 'vrrp' has one host, so nothing survives its loss: add a second host, or say"
        " vrrpd_allow_single: true"
    ]
    assert planned(cluster("lb1", vrrpd_allow_single=True)).errors == []


def test_two_clusters_with_one_router_id_in_one_network(planned: Planner) -> None:
    other = {"web": {**VI_1, "virtual_ipaddress": ["192.0.2.101/24"]}}
    nodes = {**cluster("a1", "a2", vrrpd_cluster="a"), **cluster("b1", "b2", vrrpd_cluster="b", vrrpd_instances=other)}
    made = planned(nodes, {"a": ["a1", "a2"], "b": ["b1", "b2"]})
    assert made.errors == [
        "b1: vrrpd_instances.web.virtual_router_id: 51 is used by VI_1 of group 'a' too, in the same network:"
        " choose another"
    ]


def test_a_host_outside_its_cluster(planned: Planner) -> None:
    nodes = cluster("lb1", "lb2")
    nodes["lb9"] = {"vrrpd_cluster": "edge"}
    made = planned(nodes, {"vrrp": ["lb1", "lb2", "lb9"], "all": ["lb1", "lb2", "lb9"]})
    assert made.errors == [
        "lb9: vrrpd_cluster: the host is not in a group 'edge': put it there, or name its group (groups: vrrp)"
    ]


def test_all_findings_come_at_once(planned: Planner) -> None:
    nodes = cluster("lb1", "lb2", "lb3")
    host("lb1", vrrpd_typo=1)(nodes)
    host("lb3", vrrpd_priority=190)(nodes)
    override("lb2", virtual_router_id=52)(nodes)
    made = planned(nodes)
    assert message(made.errors).splitlines() == [
        "the inventory has 3 findings, no node was touched:",
        "  - lb1: vrrpd_typo: nothing reads this variable",
        f"  - lb2: {OVER}.virtual_router_id: the nodes disagree (51 on lb1/lb3, 52 on lb2): set it once, in the group's"
        " vrrpd_instances",
        "  - lb3: vrrpd_priority: priority 190 of VI_1 is lb2's too: set vrrpd_priority of one of them to a free"
        " value, e.g. 189",
    ]
