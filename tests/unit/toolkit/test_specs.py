"""Defaults and argument specs name the same variables, with the same values; the example inventory is sound."""

from __future__ import annotations

from typing import Any

import yaml
from ansible.module_utils.vrrpd_planning import plan

from .conftest import ROOT


def test_defaults_and_specs_are_the_same(defaults: dict[str, Any], specs: dict[str, Any]) -> None:
    assert set(defaults) == set(specs)
    # null stands for "not said": then the spec has no default.
    assert {name: value for name, value in defaults.items() if value is not None} == {
        name: spec["default"] for name, spec in specs.items() if "default" in spec
    }


def test_every_variable_is_typed_and_described(specs: dict[str, Any]) -> None:
    assert [name for name, spec in specs.items() if not spec.get("type") or not spec.get("description")] == []


def test_the_example_inventory_plans_without_a_finding(
    keywords: dict[str, Any], specs: dict[str, Any], defaults: dict[str, Any]
) -> None:
    folder = ROOT / "inventory/example"
    group: dict[str, Any] = {}
    for path in sorted((folder / "group_vars/vrrp").iterdir()):
        group.update(yaml.safe_load(path.read_text(encoding="utf-8")))
    # As the vault would: the only template of the example.
    group["vrrpd_instances"]["VI_1"]["authentication"]["auth_pass"] = group.pop("vault_vrrpd_password")
    nodes = {}
    for name, variables in yaml.safe_load((folder / "hosts.yml").read_text(encoding="utf-8"))["vrrp"]["hosts"].items():
        own = folder / "host_vars" / f"{name}.yml"
        nodes[name] = {
            **group,
            **variables,
            **(yaml.safe_load(own.read_text(encoding="utf-8")) if own.exists() else {}),
        }
    made = plan(nodes, {"vrrp": list(nodes)}, keywords, specs, defaults)
    assert (made.errors, made.warnings) == ([], [])
    assert [(row["host"], row["interface"], row["priority"]) for row in made.table] == [
        ("lb1", "eth0", 200),
        ("lb2", "ens3", 190),
        ("lb3", "eth0", 180),
    ]
