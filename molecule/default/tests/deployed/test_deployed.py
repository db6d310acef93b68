"""A fresh converge: what is on the nodes, that it runs, and that the cluster has its owners."""

from __future__ import annotations

import json
from typing import Any

import pytest


@pytest.fixture(params=["router1", "router2", "router3"])
def node(request: pytest.FixtureRequest, cluster: Any) -> Any:
    return cluster.routers[request.param]


def test_the_service_runs_and_starts_at_boot(node: Any) -> None:
    service = node.host.service("vrrpd")
    assert service.is_running
    assert service.is_enabled


def test_the_configuration_is_readable_by_root_and_our_group_only(node: Any) -> None:
    file = node.host.file("/etc/vrrpd/vrrpd.conf")
    assert (file.user, file.group, oct(file.mode)) == ("root", "vrrpd", "0o640")
    assert file.content_string.startswith("# Managed by Ansible")


def test_the_checker_accepts_what_was_deployed(node: Any) -> None:
    assert node.host.run("vrrpd -t").rc == 0


def test_what_runs_is_what_is_on_disk(node: Any) -> None:
    status = node.status()
    on_disk = node.run("sha256sum /etc/vrrpd/vrrpd.conf").split()[0]
    assert status["config"]["sha256"] == on_disk
    assert f"/{status['release']}" in node.run("readlink -f /opt/vrrpd/current")


def test_forwarding_is_on_live_and_after_a_boot(node: Any) -> None:
    assert node.host.sysctl("net.ipv4.ip_forward") == 1
    assert "net.ipv4.ip_forward" in node.host.file("/etc/sysctl.d/60-vrrpd.conf").content_string


def test_the_protocol_runs_as_our_user(node: Any) -> None:
    processes = node.status()["processes"]
    users = {name: node.run(f"stat -c %U /proc/{pid}").strip() for name, pid in processes.items()}
    assert users == {"guard": "root", "vrrp": "vrrpd", "helper": "root"}


def test_derived_priorities_follow_the_inventory(cluster: Any) -> None:
    priorities = [node.status()["instances"][0]["priority"] for node in cluster.routers.values()]
    assert priorities == [200, 190, 180]


@pytest.mark.parametrize("instance", ["VI_1", "VI_6"])
def test_the_first_router_owns_and_the_client_reaches_it(cluster: Any, instance: str) -> None:
    owner = cluster.one_owner(instance, cluster.except_for())
    assert owner.name == "router1"
    for address in cluster.virtual[instance]:
        assert cluster.neighbour(address) == owner.mac()


def test_the_journal_has_no_error(node: Any) -> None:
    assert node.run("journalctl -u vrrpd -p err -q --no-pager") == ""


def test_a_script_ran_as_root_and_restarted_a_service(cluster: Any) -> None:
    assert cluster.routers["router1"].host.service("lab-target").is_running


def test_a_script_ran_as_its_own_user(cluster: Any) -> None:
    lines = cluster.routers["router2"].host.file("/var/lib/lab/root").content_string.splitlines()
    assert set(lines) == {"root "}


def test_a_script_ran_as_script_user_with_keepalived_s_arguments_and_could_use_sudo(cluster: Any) -> None:
    router = cluster.routers["router1"]
    lines = router.host.file("/var/lib/lab/script_user-sudo").content_string.splitlines()
    assert lines[-1] == "labuser INSTANCE VI_1 MASTER 200"
    assert router.host.service("lab-other").is_running


def test_every_script_ended_well_and_the_daemon_knows(node: Any) -> None:
    scripts = json.loads(node.run("vrrpctl --json scripts"))
    assert {run["exit"] for run in scripts} == {0}, scripts
