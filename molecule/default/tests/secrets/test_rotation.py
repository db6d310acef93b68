"""playbooks/rotate_keys.yml on real nodes: a first key, then another one; the address stays, and no key is shown."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

KEYS = {1: "hex:" + "1d" * 32, 2: "hex:" + "2e" * 32}


def rotate(cluster: Any, site: Callable[..., Any], active: int, numbers: tuple[int, ...], name: str) -> Any:
    instances = cluster.variables["vrrpd_instances"]
    hmac = {"key": {str(number): KEYS[number] for number in numbers}, "active_key": active}
    changed = {**instances, "VI_6": {**instances["VI_6"], "auth_hmac": hmac}}
    path = Path(os.environ["MOLECULE_EPHEMERAL_DIRECTORY"]) / "keys.json"
    path.write_text(json.dumps({"vrrpd_instances": changed}))
    return site("-v", "-e", f"@{path}", name=name)


def seen(cluster: Any) -> dict[str, dict[str, Any]]:
    return {
        node.name: next(one for one in node.status()["instances"] if one["name"] == "VI_6")
        for node in cluster.routers.values()
    }


def test_keys_are_introduced_and_rotated_without_an_outage(cluster: Any, site: Callable[..., Any]) -> None:
    before = seen(cluster)
    output = ""
    for active, numbers in ((1, (1,)), (2, (1, 2))):
        output += rotate(cluster, site, active, numbers, "playbooks/rotate_keys.yml").output
        for found in seen(cluster).values():
            assert found["auth_hmac"]["mode"] == "enforce"
            assert (found["auth_hmac"]["active_key"], found["auth_hmac"]["keys"]) == (active, list(numbers))
    after = seen(cluster)
    for name, found in after.items():
        assert found["state"] == before[name]["state"]
        assert found["counters"]["become_master"] == before[name]["counters"]["become_master"]
    # Nothing is left to do: neither for this playbook nor for site.yml.
    again = rotate(cluster, site, 2, (1, 2), "site.yml")
    assert not any(again.counts("changed").values())
    for key in KEYS.values():
        assert key not in output + again.output
    site()  # the inventory's own, without keys: on all nodes at once
    assert all(found["auth_hmac"] is None for found in seen(cluster).values())
