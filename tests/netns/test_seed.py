"""The two files that the project starts from run unchanged: two nodes of ours, and each beside Debian's keepalived.

Both have priority 100 and differ in `state` alone, so nothing but the protocol decides: who is there first keeps the
address, and when both own it (a healed partition) the higher address wins (RFC 3768 6.4.3). Every scenario runs
through start, planned stop, SIGKILL and partition with both files, both daemons and both orders of addresses.
"""

from __future__ import annotations

import hashlib
from concurrent.futures import Future
from typing import Any, NamedTuple

import pytest
from conftest import side_by_side

from lab import ROOT, Daemon, Garp, Keepalived, Lab, Ours, now

SEED = ROOT / "tests/seed"
ORIGIN = ROOT.parent / "shared/seed"
VIP = "192.168.100.100"
SKEW, DOWN = 156 / 256, 3 + 156 / 256
SLACK = 0.4


class Scenario(NamedTuple):
    """What runs at a (10.0.0.2) and at b (10.0.0.3, the higher address), and with which of the files."""

    first: type[Daemon]
    first_file: str
    second: type[Daemon]
    second_file: str

    def __str__(self) -> str:
        return f"{self.first.name}_{self.first_file}-{self.second.name}_{self.second_file}"


SCENARIOS = [
    Scenario(Ours, "master", Ours, "backup"),
    Scenario(Ours, "master", Keepalived, "backup"),
    Scenario(Ours, "backup", Keepalived, "master"),
    Scenario(Keepalived, "master", Ours, "backup"),
    Scenario(Keepalived, "backup", Ours, "master"),
    # Proves the scenario itself.
    pytest.param(Scenario(Keepalived, "master", Keepalived, "backup"), marks=pytest.mark.full),
]


@pytest.mark.parametrize(
    ("name", "sha256"),
    [
        ("master.conf", "df1b30ca180c3ea1b9ef744540833d9ac276a6a1e24e30283daafd3b099d17c0"),
        ("backup.conf", "d21a7e64710ff77156676b083ed3b049cc182ac69cdaa840cc75b90ed7faea3b"),
    ],
)
def test_the_copies_are_the_origin(name: str, sha256: str) -> None:
    assert hashlib.sha256((SEED / name).read_bytes()).hexdigest() == sha256
    if ORIGIN.exists():
        assert (SEED / name).read_bytes() == (ORIGIN / name).read_bytes()


class Run:
    """Faults in words; empty is good. In the laboratory the routers have addresses in 192.168.100.0/24 too."""

    def __init__(self, scenario: Scenario) -> None:
        self.faults: list[str] = []
        self.status: dict[str, dict[str, Any]] = {}
        with Lab("ab") as self.lab:
            for name in "abc":
                host = self.lab[name]
                host.ip(f"addr add 192.168.100.{host.number}/24 dev eth0")
            try:
                self.play(scenario)
            except AssertionError as fault:
                self.faults.append(str(fault))

    def start(self, name: str, kind: type[Daemon], file: str) -> None:
        self.lab[name].run(kind, (SEED / f"{file}.conf").read_text())

    def expect(self, took: float, low: float, high: float, what: str) -> None:
        if not low - 0.005 <= took <= high + SLACK:
            self.faults.append(f"{what}: {took:.3f} s, not {low:.3f}..{high:.3f}")

    def play(self, scenario: Scenario) -> None:
        lab, a, b = self.lab, self.lab["a"], self.lab["b"]
        # Alone: three adverts and the skew time, whatever `state` says.
        since = now()
        self.start("a", scenario.first, scenario.first_file)
        self.expect(lab.wait_owner(VIP, "a", 8) - since, DOWN, DOWN + 4, "master when alone")  # starting takes a while
        lab.wait(lambda: lab.announcements(VIP, "a"), 1, "gratuitous ARP")
        garp = next(f for f in lab.announcements(VIP, "a") if isinstance(f, Garp))
        if garp.mac != a.mac or not lab.ping(VIP) or lab.neighbour(VIP) != a.mac:
            self.faults.append(f"the client has {lab.neighbour(VIP)} for the address, a is {a.mac}")
        # The second one has the higher address and perhaps `state MASTER`: equal priority does not preempt.
        self.start("b", scenario.second, scenario.second_file)
        lab.steady(lambda: lab.held.owners(VIP) == {"a"}, DOWN + 1.2, "an equal priority does not preempt")
        # Planned stop: the skew time.
        since = now()
        a.daemon.terminate()
        lab.wait_owner(VIP, "b", 5)
        resigned = next(f for f in lab.adverts("a", 51, since) if f.priority == 0)
        self.expect(lab.adverts("b", 51, resigned.at)[0].at - resigned.at, SKEW, SKEW, "takeover after a stop")
        a.daemon.wait(10)
        # Back again, it stays backup; then the owner crashes.
        a.daemon.start()
        heard = lab.adverts("b", 51)[-1].at
        lab.wait(lambda: len(lab.adverts("b", 51, heard)) > 4, 8, "b goes on adverting")
        if lab.held.owners(VIP) != {"b"}:
            self.faults.append("the returning node took the address although priorities are equal")
        b.daemon.kill()
        last = lab.adverts("b", 51)[-1].at
        lab.wait_owner(VIP, "ab", 6)  # nothing in the dead node's kernel removes it
        self.expect(lab.adverts("a", 51, last)[0].at - last, DOWN, DOWN, "takeover after SIGKILL")
        # Partition: both are master; healed, the higher address wins.
        b.daemon.start()
        lab.wait_owner(VIP, "a", 8)
        lab.cut("a")
        lab.wait_owner(VIP, "ab", 8)
        lab.heal("a")
        lab.wait_owner(VIP, "b", 4)
        for host in (a, b):
            if isinstance(host.daemon, Ours):
                self.status[host.name] = host.ours.status()
        lab.wait(lambda: lab.ping(VIP), 15, "the client reaches the address")


@pytest.fixture(scope="module")
def runs(request: pytest.FixtureRequest) -> dict[Scenario, Future[Run]]:
    return side_by_side(request, "scenario", Run)


@pytest.mark.parametrize("scenario", SCENARIOS, ids=str)
def test_the_seed_runs_unchanged(runs: dict[Scenario, Future[Run]], scenario: Scenario) -> None:
    run = runs[scenario].result()
    assert not run.faults, "\n".join(run.faults)
    for host, status in run.status.items():
        (instance,) = status["instances"]
        assert instance["name"] == "VI_1"
        assert instance["state"] == ("MASTER" if host == "b" else "BACKUP")
        assert instance["virtual_ipaddress"] == ["192.168.100.100/24"]
