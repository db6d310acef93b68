"""The examples of the documentation: every one of them plans, on top of the cluster that the page begins with."""

from __future__ import annotations

import copy
import re
from types import ModuleType
from typing import Any

import jinja2
import pytest
import yaml
from ansible.module_utils.vrrpd_lines import merged
from ansible.module_utils.vrrpd_planning import plan

from .conftest import ROOT

PAGE = "docs/inventory.md"
VARIABLES = {
    "vault_vrrpd_password": "s3cret",
    "vault_vi1_key1": "hex:" + "1d" * 32,
    "vault_vi1_key2": "hex:" + "2e" * 32,
}


def fences(page: str) -> list[Any]:
    """What stands in the YAML fences of a page, with templates filled in as Ansible would."""
    text = (ROOT / page).read_text(encoding="utf-8")
    found = re.findall(r"^ *```yaml\n(.*?)^ *```", text, re.MULTILINE | re.DOTALL)
    filled = [jinja2.Template(each).render(**VARIABLES, inventory_hostname="lb1") for each in found]
    return [yaml.safe_load(each) for each in filled]


FIRST, *FRAGMENTS = fences(PAGE)


def findings(fragment: dict[str, Any], plan_action: ModuleType, *plan_arguments: Any) -> list[str]:
    cluster = FIRST["vrrp"]
    shared = {name: value for name, value in cluster["vars"].items() if name.startswith("vrrpd_")}
    own = {name: value for name, value in fragment.items() if name == "vrrpd_overrides"}
    rest = {name: value for name, value in fragment.items() if name not in own}
    nodes = {host: copy.deepcopy({**merged(shared, rest), **more}) for host, more in cluster["hosts"].items()}
    nodes["lb1"].update(own)
    made = plan(nodes, {"vrrp": list(nodes)}, *plan_arguments)
    return made.errors or plan_action.judged(made, nodes)


@pytest.mark.parametrize("number", range(len(FRAGMENTS)))
def test_an_example_plans(
    number: int, plan_action: ModuleType, keywords: dict[str, Any], specs: dict[str, Any], defaults: dict[str, Any]
) -> None:
    fragment = FRAGMENTS[number]
    assert all(name in specs for name in fragment), "an example holds variables of the role"
    assert findings(fragment, plan_action, keywords, specs, defaults) == []


def test_the_first_one_plans(
    plan_action: ModuleType, keywords: dict[str, Any], specs: dict[str, Any], defaults: dict[str, Any]
) -> None:
    assert findings({}, plan_action, keywords, specs, defaults) == []


def test_every_block_that_is_supported_has_an_example(keywords: dict[str, Any]) -> None:
    """Those of the top level, and those of an instance."""
    shown = {
        *(name for each in FRAGMENTS for name in each.get("vrrpd_blocks", {})),
        *(
            name
            for each in (FIRST["vrrp"]["vars"], *FRAGMENTS)
            for name in each.get("vrrpd_instances", {}).get("VI_1", {})
        ),
    }
    rows = {**keywords["blocks"]["top"]["keywords"], **keywords["blocks"]["vrrp_instance"]["keywords"]}
    wanted = {name for name, row in rows.items() if row["status"] == "supported" and row["form"] in ("block", "list")}
    # With a variable of its own, derived, an old name, without effect.
    wanted -= {"vrrp_instance", "global_defs", "unicast_peer", "peer_path", "vrrp_track_file", "linkbeat_interfaces"}
    assert wanted - shown == set()
