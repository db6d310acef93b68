"""On a converged cluster every way to call site.yml finds nothing to do."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest


@pytest.mark.parametrize("arguments", [(), ("--check", "--diff"), ("--limit", "router2"), ("--tags", "deploy")])
def test_nothing_changes(cluster: Any, site: Callable[..., Any], arguments: tuple[str, ...]) -> None:
    run = site(*arguments)
    hosts = ["router2"] if "--limit" in arguments else list(cluster.routers)
    assert {host: run.counts("changed")[host] for host in hosts} == dict.fromkeys(hosts, 0), run.output


def test_a_run_that_ended_after_the_deploy_is_completed_by_the_next(cluster: Any, site: Callable[..., Any]) -> None:
    changed = ("-e", '{"vrrpd_global_defs": {"router_id": "completed", "script_user": "labuser"}}')
    site("--tags", "deploy", *changed)
    routers = cluster.routers.values()
    assert not any(running_is_on_disk(node) for node in routers)
    before = [node.status()["processes"] for node in routers]

    run = site(*changed)
    assert all(run.counts("changed").values()), run.output
    assert all(running_is_on_disk(node) for node in routers)
    # A changed file is a reload, never a restart, and it moves no address.
    assert [node.status()["processes"]["guard"] for node in routers] == [each["guard"] for each in before]
    assert cluster.one_owner("VI_1", cluster.except_for()).name == "router1"

    assert all(site().counts("changed").values())  # back to the inventory's own


def running_is_on_disk(node: Any) -> bool:
    on_disk = node.run("sha256sum /etc/vrrpd/vrrpd.conf").split()[0]
    return bool(node.status()["config"]["sha256"] == on_disk)
