"""The cluster that an ordinary user made over ssh: pipelining on as off, Python 3.9 as 3.11, take-over and removal."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from typing import Any

PIPELINING = ("-e", "ansible_pipelining=true")


def test_each_node_runs_its_own_python(cluster: Any) -> None:
    def python(name: str) -> str:
        node = cluster.routers[name]
        return str(node.run(f"readlink /proc/{node.status()['processes']['vrrp']}/exe").strip())

    assert [python("router1"), python("router2")] == ["/usr/bin/python3.11", "/usr/bin/python3.9"]


def test_the_peers_were_derived_from_the_addresses_that_ssh_uses(cluster: Any) -> None:
    assert cluster.routers["router1"].status()["instances"][0]["unicast_peer"] == ["198.19.53.12"]


def test_with_pipelining_nothing_changes(site: Callable[..., Any]) -> None:
    run = site(*PIPELINING, "--check", "--diff")
    assert not any(run.counts("changed").values()), run.output
    run = site(*PIPELINING)
    assert not any(run.counts("changed").values()), run.output


def test_a_change_works_with_pipelining(cluster: Any, site: Callable[..., Any]) -> None:
    run = site(*PIPELINING, "-e", '{"vrrpd_global_defs": {"router_id": "pipelined"}}')
    assert all(run.counts("changed").values()), run.output
    assert cluster.one_owner("VI_1", cluster.except_for()).name == "router1"


def test_nothing_of_ansible_stays_in_the_user_s_home(cluster: Any) -> None:
    for node in cluster.routers.values():
        assert node.run("find /home/ops/.ansible/tmp -mindepth 1 2>/dev/null || true") == ""


def test_the_node_with_the_oldest_python_takes_over(cluster: Any, engine: str) -> None:
    container = f"{cluster.prefix}-router1"
    subprocess.run([engine, "kill", "--signal", "KILL", container], check=True)
    try:
        owner = cluster.one_owner("VI_1", cluster.except_for("router1"))
        assert cluster.neighbour("198.19.53.100") == owner.mac()
    finally:
        subprocess.run([engine, "start", container], check=True)


def test_remove_leaves_no_daemon(cluster: Any, site: Callable[..., Any]) -> None:
    # Started anew with its container, the ssh server of router1 needs a moment, and the lab does not enable it.
    cluster.routers["router1"].booted()
    cluster.routers["router1"].run("systemctl start ssh")
    run = site(name="playbooks/remove.yml")
    assert all(run.counts("changed").values()), run.output
    for node in cluster.routers.values():
        assert node.host.run("command -v vrrpd").rc != 0
        assert not node.host.file("/etc/vrrpd").exists
