"""What the scenarios' tests ask: the nodes by testinfra, the cluster's state from the daemons and from the kernels.

The inventory is the scenario's own; Molecule names it in the environment. Everything is asked over `podman exec`,
whatever connection Ansible used. Conditions are awaited with a deadline, never slept for.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import pytest
import testinfra
import yaml

ENGINE = os.environ.get("LAB_ENGINE") or "podman"
T = TypeVar("T")


class Node:
    """One container: testinfra's view of it as `host`, and what a VRRP test asks."""

    def __init__(self, prefix: str, name: str, variables: dict[str, Any]) -> None:
        self.name = name
        self.ip4: str = variables["lab_ip4"]
        self.host = testinfra.get_host(f"{ENGINE}://{prefix}-{name}")

    def run(self, command: str) -> str:
        """Standard output of a command that must succeed."""
        result = self.host.run(command)
        assert result.rc == 0, f"{self.name}: {command}: {result.stderr}{result.stdout}"
        return str(result.stdout)

    def status(self) -> dict[str, Any]:
        """The daemon's own account; empty while there is none."""
        result = self.host.run("vrrpctl status --json")
        answer: dict[str, Any] = json.loads(result.stdout) if result.rc == 0 else {}
        return answer

    def states(self) -> dict[str, str]:
        return {instance["name"]: instance["state"] for instance in self.status().get("instances", [])}

    def addresses(self) -> set[str]:
        """Every address of the kernel's interfaces; none when the node is gone."""
        result = self.host.run("ip -j address show")
        links = json.loads(result.stdout) if result.rc == 0 else []
        return {address["local"] for link in links for address in link["addr_info"] if "local" in address}

    def booted(self) -> None:
        """Waits until systemd has started everything, after the container was."""

        def state() -> str:
            return str(self.host.run("systemctl is-system-running").stdout.strip())

        assert await_good(state, lambda seen: seen in ("running", "degraded"), seconds=20) in ("running", "degraded")

    def mac(self) -> str:
        return self.run("cat /sys/class/net/eth0/address").strip()


class Run(NamedTuple):
    """A run of ansible-playbook: its exit status, everything it printed, and the recap per host."""

    status: int
    output: str
    recap: dict[str, dict[str, int]]

    def counts(self, name: str) -> dict[str, int]:
        """One counter (changed, unreachable, ...) of every router."""
        return {host: values[name] for host, values in self.recap.items() if host != "localhost"}


def playbook(
    *arguments: str,
    name: str = "site.yml",
    status: int | None = 0,
    project: Path | None = None,
    until: Callable[[], bool] | None = None,
) -> Run:
    """Run one of the project's playbooks on the scenario, as a user would type it; in another checkout if told.

    `status` is the exit status that it must have, None: any. With `until` it is interrupted when that comes true.
    """
    project = project or Path(os.environ["MOLECULE_PROJECT_DIRECTORY"])
    scenario = os.environ["MOLECULE_SCENARIO_DIRECTORY"]
    command = [str(Path(sys.executable).parent / "ansible-playbook"), "-i", f"{scenario}/inventory", *arguments, name]
    env = {**os.environ, "ANSIBLE_FORCE_COLOR": "0", "ANSIBLE_CONFIG": f"{project}/ansible.cfg"}
    with tempfile.TemporaryFile("w+", encoding="utf-8") as file:
        process = subprocess.Popen(command, cwd=project, env=env, stdout=file, stderr=subprocess.STDOUT)
        while until is not None and process.poll() is None:
            if until():
                process.send_signal(signal.SIGINT)
                until = None
        code = process.wait()
        file.seek(0)
        output = file.read()
    recap = {
        host: {key: int(value) for key, value in re.findall(r"(\w+)=(\d+)", counters)}
        for host, counters in re.findall(r"^(\S+) +: (ok=.*)$", output, re.MULTILINE)
    }
    assert status in (None, code), f"{command} exited with {code}:\n{output}"
    return Run(code, output, recap)


class Cluster:
    """The scenario's routers, its client, and the addresses that move."""

    def __init__(self, scenario: Path) -> None:
        inventory = yaml.safe_load((scenario / "inventory/hosts.yml").read_text(encoding="utf-8"))["all"]
        prefix = self.prefix = inventory["vars"]["lab_prefix"]
        group = inventory["children"]["vrrp"]
        self.variables: dict[str, Any] = group["vars"]
        self.routers = {name: Node(prefix, name, values) for name, values in group["hosts"].items()}
        ((name, values),) = inventory["children"]["clients"]["hosts"].items()
        self.client = Node(prefix, name, values)
        self.virtual = {
            name: [address.split("/")[0] for address in instance["virtual_ipaddress"]]
            for name, instance in self.variables["vrrpd_instances"].items()
        }

    def except_for(self, *names: str) -> list[Node]:
        return [node for name, node in self.routers.items() if name not in names]

    def owners_by_state(self, instance: str, among: list[Node]) -> list[str]:
        return [node.name for node in among if node.states().get(instance) == "MASTER"]

    def owners_by_address(self, instance: str, among: list[Node]) -> list[str]:
        """Who holds all of the instance's addresses; who holds only some of them is named with a question mark."""
        wanted = set(self.virtual[instance])
        held = {node.name: wanted & node.addresses() for node in among}
        return [name if having == wanted else f"{name}?" for name, having in held.items() if having]

    def one_owner(self, instance: str, among: list[Node]) -> Node:
        """The owner, when state and kernel agree on exactly one of these nodes; awaited for a few seconds."""

        def look() -> Node | str:
            by_state = self.owners_by_state(instance, among)
            by_address = self.owners_by_address(instance, among)
            if len(by_state) == 1 and by_state == by_address:
                return self.routers[by_state[0]]
            return f"{instance}: MASTER {by_state}, addresses held by {by_address}"

        found = await_good(look, lambda seen: isinstance(seen, Node), seconds=8)
        assert isinstance(found, Node), found
        return found

    def neighbour(self, address: str) -> str:
        """The hardware address that the client has for it, after the client has used it."""
        self.client.run(f"ping -c 1 -W 2 {address}{'%eth0' if address.startswith('fe80') else ''}")
        table = json.loads(self.client.run(f"ip -j neighbour show {address}"))
        return str(table[0].get("lladdr", "none")) if table else "none"

    def measured(self) -> list[dict[str, Any]]:
        """What lab/measure saw, per address."""
        return [json.loads(self.client.run(f"cat /run/measure-{number}.json")) for number in (1, 2)]


def await_good(look: Callable[[], T], good: Callable[[T], bool], seconds: float) -> T:
    """The first good value, or the last one when time is over."""
    deadline = time.monotonic() + seconds
    while True:
        seen = look()
        if good(seen) or time.monotonic() > deadline:
            return seen
        time.sleep(0.2)


@pytest.fixture(scope="session")
def cluster() -> Cluster:
    return Cluster(Path(os.environ["MOLECULE_SCENARIO_DIRECTORY"]))


@pytest.fixture(scope="session")
def engine() -> str:
    """The command that runs the containers."""
    return ENGINE


@pytest.fixture(scope="session")
def until() -> Callable[..., Any]:
    """`until(look, good, seconds)`: the first good value, or the last one when time is over."""
    return await_good


@pytest.fixture(scope="session")
def site() -> Callable[..., Run]:
    """Runs site.yml, or another playbook, with these arguments; `status` is the exit status that it must have."""
    return playbook


@pytest.fixture(scope="session")
def record() -> dict[str, Any]:
    """What molecule/shared/fault.yml wrote down."""
    made: dict[str, Any] = json.loads((Path(os.environ["MOLECULE_EPHEMERAL_DIRECTORY"]) / "fault.json").read_text())
    return made


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Without ./run-tests --full what takes long is left out."""
    if os.environ.get("LAB_FULL") == "1":
        return
    long = [item for item in items if item.get_closest_marker("full")]
    config.hook.pytest_deselected(items=long)
    items[:] = [item for item in items if item not in long]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Any:
    """A failed test shows every router's last journal lines: the containers are gone when anybody could look."""
    report = yield
    cluster = getattr(item, "funcargs", {}).get("cluster")
    if report.when == "call" and report.failed and isinstance(cluster, Cluster):
        for node in cluster.routers.values():
            journal = node.host.run(
                "journalctl -u vrrpd -n 25 --no-pager -o short-precise -t vrrpd -t systemd; vrrpctl status"
            )
            report.sections.append((f"{node.name}: journal and status", journal.stdout + journal.stderr))
    return report
