"""The outage that a client sees when its router stops, fails, is cut off, reloads: this daemon beside keepalived.

bench/failover [--runs N] [--advert-int S]: two routers (priorities 150 and 100) and a client in network namespaces
(tests/netns/lab.py); the client pings the virtual address every millisecond (bench/probe.py). The outage is the time
from the last answered ping before a gap to the first one after it. `excess` is what the outage has beyond the moment
at which RFC 9568 lets the backup take over (three adverts and the skew time after the last advert of a dead master,
the skew time after a resignation, nothing for the rest). The daemons take turns, so that both see the same machine.
"""

from __future__ import annotations

import argparse
import json
import random
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from tabulate import tabulate

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "tests/netns"))

from lab import Daemon, Keepalived, Lab, Ours, config, instance, master_down, now, skew  # noqa: E402

VIP = "10.0.0.100"
PRIORITY = {"a": 150, "b": 100}


class Row(NamedTuple):
    scenario: str
    daemon: str
    outage: float
    excess: float


class Probe:
    def __init__(self, lab: Lab) -> None:
        with lab["c"].inside():
            self.process = subprocess.Popen(
                [sys.executable, "-I", "-S", str(HERE / "probe.py"), VIP], stdin=subprocess.PIPE, stdout=subprocess.PIPE
            )

    def longest_gap(self, start: float, end: float) -> float:
        """Seconds without an answer within this window, the longest; the probe is over."""
        out, _ = self.process.communicate()
        probes = [(sent, answer) for sent, answer in json.loads(out) if start - 0.05 <= sent <= end]
        good = [sent for sent, answer in probes if answer]
        edges = [probes[0][0], *good, probes[-1][0]]
        worst = max(b - a for a, b in zip(edges, edges[1:], strict=False))
        return worst if worst > 0.0025 else 0.0  # neighbouring probes are a millisecond apart


class Bench:
    """One pair of daemons of one kind."""

    def __init__(self, kind: type[Daemon], interval: float) -> None:
        self.kind, self.interval = kind, interval
        self.version = 2 if interval >= 1 else 3
        self.lab = Lab("ab")
        for name in "ab":
            # A router that forwarded would pass the pings on to its successor and hide a part of the outage.
            self.lab[name].sysctl(net__ipv4__ip_forward=0)
            self.lab[name].run(kind, self.configuration(name))

    def configuration(self, name: str, *more: str) -> str:
        state = "MASTER" if name == "a" else "BACKUP"
        return config(
            instance(
                (f"{VIP}/24", *more), priority=PRIORITY[name], interval=self.interval, version=self.version, state=state
            )
        )

    def owned_by(self, owner: str) -> Callable[[], bool]:
        return lambda: self.lab.held.owners(VIP) == set(owner)

    def scenarios(self) -> list[tuple[str, Callable[[], object], str, float | None]]:
        """(what happens, how, who has the address then, seconds the RFC allows: None for what a dead master costs)."""
        a, lab = self.lab["a"], self.lab
        least = skew(PRIORITY["b"], self.interval, self.version)
        same, more = self.configuration("a"), self.configuration("a", "10.0.0.109/24")
        return [
            ("planned stop of the master", lambda: a.daemon.terminate(), "b", least),
            ("it returns and preempts", self.start, "a", 0),
            ("its link goes down", lambda: a.ip("link set eth0 down"), "b", None),
            ("the link comes back", lambda: a.ip("link set eth0 up"), "a", 0),
            ("silent loss of its packets", lambda: lab.cut("a"), "ab", None),
            ("the partition heals", lambda: lab.heal("a"), "a", 0),
            ("SIGKILL of its vrrp process", self.kill_worker, "a", 0),
            ("reload, nothing changed", lambda: a.daemon.reload(same), "a", 0),
            ("reload, one address more", lambda: a.daemon.reload(more), "a", 0),
        ]

    def start(self) -> None:
        daemon = self.lab["a"].daemon
        assert daemon.process is not None
        daemon.process.wait(10)
        daemon.start()

    def kill_worker(self) -> None:
        daemon = self.lab["a"].daemon
        daemon.signal(signal.SIGKILL, [daemon.vrrp_pid()])

    def steady(self, owner: str) -> None:
        limit = 3 * master_down(PRIORITY["b"], self.interval, self.version) + 5
        self.lab.wait(self.owned_by(owner), limit, f"{self.kind.name}: {VIP} at {owner}")

    def measure(self, run: int) -> list[Row]:
        rows = []
        for what, action, owner, allowed in self.scenarios():
            before = "".join(sorted(self.lab.held.owners(VIP)))
            if before == "a":  # a wrong entry left by the scenario before must not count in this one
                self.lab["c"].ip("neigh flush dev eth0", check=False)
                self.lab.wait(lambda: self.lab.ping(VIP), 5, "the address answers")
            probe = Probe(self.lab)
            time.sleep(0.2 + random.random() * self.interval)  # a random phase between two adverts
            last = next((f.at for f in reversed(self.lab.adverts("a"))), now())
            start = now()
            action()
            self.steady(owner)
            time.sleep(0.3 + 2 * self.interval)
            outage = probe.longest_gap(start, now() - 0.03)
            if allowed is None:
                allowed = last + master_down(PRIORITY["b"], self.interval, self.version) - start
            rows.append(Row(what, self.kind.name, outage * 1e3, max(outage - allowed, -allowed) * 1e3))
            if what.startswith("SIGKILL"):
                self.steady("a")
        self.lab["a"].daemon.reload(self.configuration("a"))
        return rows


def main() -> None:
    parser = argparse.ArgumentParser(description="Outage seen by a client: this daemon beside keepalived.")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--advert-int", type=float, default=0.1, help="seconds; 1 and more is VRRPv2 (default 0.1)")
    args = parser.parse_args()
    benches = [Bench(kind, args.advert_int) for kind in (Ours, Keepalived)]
    rows: list[Row] = []
    try:
        for run in range(args.runs):
            for bench in benches:
                bench.steady("a")
                rows += bench.measure(run)
            print(f"run {run + 1} of {args.runs}", file=sys.stderr)
    finally:
        for bench in benches:
            bench.lab.close()
    print(table(rows))


def table(rows: list[Row]) -> str:
    lines = []
    for scenario in dict.fromkeys(row.scenario for row in rows):
        line = [scenario]
        for daemon in dict.fromkeys(row.daemon for row in rows):
            mine = [row for row in rows if (row.scenario, row.daemon) == (scenario, daemon)]
            outages = [row.outage for row in mine]
            line += [f"{statistics.median(outages):.0f} ({min(outages):.0f}..{max(outages):.0f})"]
            line += [f"{round(statistics.median(row.excess for row in mine)):+d}"]
        lines.append(line)
    names = list(dict.fromkeys(row.daemon for row in rows))
    head = ["ms, median (min..max)", *(f"{name}: {what}" for name in names for what in ("outage", "excess"))]
    return tabulate(lines, headers=head, tablefmt="github", disable_numparse=True)


if __name__ == "__main__":
    main()
