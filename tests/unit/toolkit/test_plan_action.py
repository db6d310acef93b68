"""The controller side of vrrpd_plan: what it takes from Ansible, what it shows, what it remembers."""

from __future__ import annotations

import json
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from ansible.errors import AnsibleUndefinedVariable
from ansible.module_utils.vrrpd_planning import Plan


class Variables(dict[str, Any]):
    """A host's variables, of which one names another that is nowhere defined."""

    def __getitem__(self, name: str) -> Any:
        if super().__getitem__(name) == "undefined":
            raise AnsibleUndefinedVariable("'vault_password' is undefined")
        return super().__getitem__(name)


def row(host: str, priority: int, before: int | None) -> dict[str, Any]:
    changed = before is not None and before != priority
    names = {"cluster": "vrrp", "instance": "VI_1", "interface": "eth0", "origin": "derived", "state": "BACKUP"}
    return {**names, "host": host, "priority": priority, "before": before, "changed": changed}


def test_the_whole_cluster_is_read_whatever_the_limit(plan_action: ModuleType) -> None:
    hosts = {name: Variables(vrrpd_priority=100, ansible_host="192.0.2.1", other=1) for name in ("lb1", "lb2", "web1")}
    task_vars = {
        "hostvars": hosts,
        "groups": {"vrrp": ["lb1", "lb2"], "web": ["web1"]},
        "ansible_play_hosts_all": ["lb1"],
    }
    nodes, unreadable = plan_action.inventory(task_vars, {"vrrpd_priority"})
    assert nodes == {name: {"vrrpd_priority": 100, "ansible_host": "192.0.2.1"} for name in ("lb1", "lb2")}
    assert unreadable == []


def test_an_undefined_variable_is_named_with_host_and_variable(plan_action: ModuleType) -> None:
    hosts = {"lb1": Variables(vrrpd_instances="undefined"), "lb2": Variables(vrrpd_typo="secret")}
    task_vars = {"hostvars": hosts, "groups": {"vrrp": ["lb1", "lb2"]}, "ansible_play_hosts_all": ["lb1", "lb2"]}
    nodes, unreadable = plan_action.inventory(task_vars, {"vrrpd_instances"})
    assert unreadable == ["lb1: vrrpd_instances: 'vault_password' is undefined"]
    assert nodes["lb2"] == {"vrrpd_typo": None}  # named, its value not even read


def test_the_table_says_who_changed(plan_action: ModuleType) -> None:
    made = Plan({}, {}, [row("lb1", 200, 200), row("lb2", 150, 190), row("lb3", 180, None)], [], [])
    assert plan_action.shown(made).splitlines() == [
        "  cluster  instance  host  interface  priority  from     state",
        "  vrrp     VI_1      lb1   eth0       200       derived  BACKUP",
        "  vrrp     VI_1      lb2   eth0       150       derived  BACKUP  was 190",
        "  vrrp     VI_1      lb3   eth0       180       derived  BACKUP",
    ]


def test_the_record_is_written_whole_and_read_back(plan_action: ModuleType, tmp_path: Path) -> None:
    path = tmp_path / "state" / "vrrpd" / "inventory.json"
    assert plan_action.read_record(str(path)) == {}
    plan_action.write_record(str(path), {"vrrp": {"hosts": {}}})
    assert plan_action.read_record(str(path)) == {"vrrp": {"hosts": {}}}
    assert [entry.name for entry in path.parent.iterdir()] == ["inventory.json"]


def test_a_record_that_is_no_record_stops_nothing(plan_action: ModuleType, tmp_path: Path) -> None:
    path = tmp_path / "record.json"
    path.write_text(json.dumps(["not", "a", "record"]))
    assert plan_action.read_record(str(path)) == {}


def test_each_inventory_has_a_record_of_its_own(
    plan_action: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    one, two = (
        plan_action.default_record({"ansible_inventory_sources": [source]})
        for source in ("/srv/a/hosts", "/srv/b/hosts")
    )
    assert one == f"{tmp_path}/vrrpd/srv-a-hosts.json"
    assert two != one
