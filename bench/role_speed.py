"""How long a run takes that has nothing to do: site.yml beside a plain keepalived role, on the same containers.

bench/role_speed [--runs N]: makes three containers, converges them with each, runs each N times more and prints the
medians of wall time and CPU time (of the controller with its children, and of the nodes, from their cgroups). Fails
unless every measured run reports changed=0, site.yml makes one module call per node, and its times are at most half
of the plain role's. Containers and network are removed at the end, whatever happens.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import re
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import yaml
from tabulate import tabulate

ROOT = Path(__file__).resolve().parents[1]
INVENTORY = ROOT / "bench/inventory"
ENGINE = os.environ.get("LAB_ENGINE") or "podman"
LIMIT = 0.5  # of the plain role's times


class Run(NamedTuple):
    """One run of a playbook. `calls` are (module calls, all round trips) per node, nothing when not counted."""

    wall: float
    controller: float
    nodes: float
    changed: int
    calls: dict[str, tuple[int, int]]


class Contender(NamedTuple):
    name: str
    playbook: Path
    roles: Path


OURS = Contender("site.yml", ROOT / "site.yml", ROOT / "roles")
PLAIN = Contender(
    "plain keepalived role", ROOT / "bench/plain_keepalived/site.yml", ROOT / "bench/plain_keepalived/roles"
)


class Lab:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        group = yaml.safe_load((INVENTORY / "hosts.yml").read_text(encoding="utf-8"))["all"]
        self.containers = {f"{group['vars']['lab_prefix']}-{host}": host for host in group["children"]["vrrp"]["hosts"]}
        # Counts by standing in for the engine: one `exec` is one round trip, and a module call is one of Python.
        self.counter = folder / "engine"
        self.calls = folder / "calls"
        self.counter.write_text(f'#!/bin/sh\necho "$*" >>"{self.calls}"\nexec {ENGINE} "$@"\n', encoding="ascii")
        self.counter.chmod(0o755)

    def play(self, playbook: Path, environment: dict[str, str] | None = None, *, check: bool = True) -> str:
        command = [str(ROOT / ".venv/bin/ansible-playbook"), "-i", str(INVENTORY), str(playbook)]
        done = subprocess.run(
            command, cwd=ROOT, env={**os.environ, "ANSIBLE_NOCOLOR": "1", **(environment or {})},
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        if done.returncode and check:
            raise SystemExit(f"{playbook} failed:\n{done.stdout}\n{done.stderr}")
        return done.stdout

    def node_seconds(self) -> float:
        """CPU time of all nodes so far."""
        total = 0.0
        for container in self.containers:
            stat = subprocess.run(
                [ENGINE, "exec", container, "cat", "/sys/fs/cgroup/cpu.stat"],
                capture_output=True,
                text=True,
                check=True,
            ).stdout
            total += int(dict(line.split() for line in stat.splitlines())["usage_usec"]) / 1e6
        return total

    def measure(self, contender: Contender, *, count: bool = False) -> Run:
        self.calls.write_text("", encoding="ascii")
        environment = {"ANSIBLE_ROLES_PATH": str(contender.roles)}
        if count:
            environment["LAB_ENGINE"] = str(self.counter)
        nodes, children, start = self.node_seconds(), _children_seconds(), time.monotonic()
        out = self.play(contender.playbook, environment)
        wall, controller = time.monotonic() - start, _children_seconds() - children
        nodes = self.node_seconds() - nodes
        changed = sum(int(n) for n in re.findall(r"changed=(\d+)", out))
        return Run(wall, controller, nodes, changed, self.counted())

    def counted(self) -> dict[str, tuple[int, int]]:
        lines = self.calls.read_text(encoding="utf-8", errors="replace").splitlines()
        found = {}
        for container, host in self.containers.items():
            mine = [line for line in lines if line.startswith("exec ") and f" {container} " in line]
            found[host] = sum("python3 && sleep" in line for line in mine), len(mine)
        return found


def _children_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


@contextlib.contextmanager
def containers() -> Iterator[Lab]:
    with tempfile.TemporaryDirectory(prefix="vrrpd-bench-") as folder:
        lab = Lab(Path(folder))
        lab.play(ROOT / "lab/destroy.yml")
        try:
            lab.play(ROOT / "lab/create.yml")
            yield lab
        finally:
            lab.play(ROOT / "lab/destroy.yml", check=False)


def main() -> int:
    parser = argparse.ArgumentParser(description="Time of a converged run: site.yml beside a plain keepalived role.")
    parser.add_argument("--runs", type=int, default=5, help="measured runs of each (default 5)")
    runs = parser.parse_args().runs
    results: dict[str, list[Run]] = {}
    counts: dict[str, dict[str, tuple[int, int]]] = {}
    with containers() as lab:
        for contender in (OURS, PLAIN):
            print(f"{contender.name}: converging, then {runs} runs with nothing to do", flush=True)
            lab.play(contender.playbook, {"ANSIBLE_ROLES_PATH": str(contender.roles)})
            counts[contender.name] = lab.measure(contender, count=True).calls
            results[contender.name] = [lab.measure(contender) for _ in range(runs)]
            if contender is OURS:  # two daemons of one virtual router do not belong on one node
                lab.play(ROOT / "playbooks/remove.yml")
    return report(results, counts)


def report(results: dict[str, list[Run]], counts: dict[str, dict[str, tuple[int, int]]]) -> int:
    medians = {
        name: {
            "wall s": statistics.median(run.wall for run in runs),
            "CPU controller s": statistics.median(run.controller for run in runs),
            "CPU nodes s": statistics.median(run.nodes for run in runs),
            "CPU all s": statistics.median(run.controller + run.nodes for run in runs),
        }
        for name, runs in results.items()
    }
    changed = {name: max(run.changed for run in runs) for name, runs in results.items()}
    rows = [
        {"a converged run": name, **columns, "calls/node": calls, "round trips/node": trips, "changed": changed[name]}
        for name, columns in medians.items()
        for calls, trips in [max(counts[name].values())]
    ]
    print("\n" + tabulate(rows, headers="keys", floatfmt=".2f", tablefmt="github"))
    ours, plain = medians[OURS.name], medians[PLAIN.name]
    ratios = {what: ours[what] / plain[what] for what in ("wall s", "CPU all s")}
    print("\n" + ", ".join(f"{what}: {ratio:.2f} of the plain role" for what, ratio in ratios.items()))
    faults = [
        f"{what}: {ratio:.2f} of the plain role, more than {LIMIT}" for what, ratio in ratios.items() if ratio > LIMIT
    ]
    faults += [f"{name} reported changed={n} in a run with nothing to do" for name, n in changed.items() if n]
    faults += [
        f"site.yml made {n} module calls on {host}, not 1" for host, (n, _) in counts[OURS.name].items() if n != 1
    ]
    for fault in faults:
        print(f"role_speed: {fault}", file=sys.stderr)
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
