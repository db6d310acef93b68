"""The disturbances' frame: a settled cluster before each, a watcher during it, a row of the table after it."""

from __future__ import annotations

import contextlib
import json
import os
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import pytest
import tabulate
import watching
from watching import Line, Seen

RUNS = int(os.environ.get("LAB_RUNS") or 1)
# Transitions and announcements of the one before are over: garp_master_delay of the inventory, and some.
QUIET = 1.3


class Row(NamedTuple):
    """One run of one disturbance at one interval, in the order of the table's columns."""

    what: str
    interval: float
    outage: float
    lost: int
    both: float
    moves: int
    garps: int
    gap: float


ROWS: list[Row] = []
NOTES: dict[str, str] = {}


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "watch" in metafunc.fixturenames and RUNS > 1:
        metafunc.parametrize("run", range(1, RUNS + 1), indirect=True)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """All disturbances, then all again: a process that dies several times in a row is started later and later."""
    items.sort(key=lambda item: item.callspec.params.get("run", 1) if hasattr(item, "callspec") else 0)


@pytest.fixture
def run(request: pytest.FixtureRequest) -> int:
    return int(getattr(request, "param", 1))


class Bench:
    """The scenario's two routers, and what its tests wait for."""

    def __init__(self, cluster: Any, until: Callable[..., Any], engine: str) -> None:
        self.cluster, self.until, self.command = cluster, until, engine
        self.master, self.backup = cluster.routers["router1"], cluster.routers["router2"]
        self.addresses = {address for addresses in cluster.virtual.values() for address in addresses}

    def engine(self, *arguments: str) -> str:
        done = subprocess.run([self.command, *arguments], capture_output=True, text=True)
        assert done.returncode == 0, f"{arguments}: {done.stderr}"
        return done.stdout.strip()

    def container(self, node: Any) -> str:
        return f"{self.cluster.prefix}-{node.name}"

    def processes(self, node: Any) -> dict[str, int]:
        found: dict[str, int] = node.status()["processes"]
        return found

    def wait(self, what: str, look: Callable[[], Any], good: Callable[[Any], bool], seconds: float) -> Any:
        seen = self.until(look, good, seconds=seconds)
        assert good(seen), f"waited {seconds:g} s in vain for {what}; last seen: {seen}"
        return seen

    def another(self, name: str, before: int) -> None:
        """The master's daemon answers, and that process of it is not the one it was; the watchdog has time to bark."""

        def pid() -> int:
            return int(self.master.status().get("processes", {}).get(name, before))

        self.wait(f"another {name} process than {before}", pid, lambda now: now not in (before, 0), 40)

    def at_rest(self, node: Any, state: str) -> bool:
        """Every instance is in that state for a while; a backup hears the master."""
        instances = node.status().get("instances", [])
        return bool(instances) and all(
            instance["state"] == state
            and (instance["last_transition"] or {}).get("ago", 0) > QUIET
            and (state == "MASTER" or (instance["master"] or {}).get("priority") == 200)
            for instance in instances
        )

    def settled(self, seconds: float = 40) -> None:
        """router1 owns, router2 follows, and nothing has moved lately."""
        self.wait("router1 to own", lambda: self.at_rest(self.master, "MASTER"), bool, seconds)
        self.wait("router2 to follow", lambda: self.at_rest(self.backup, "BACKUP"), bool, 10)

    def adverts(self, count: int = 2) -> None:
        """The backup has heard so many more of the slow instance's adverts, whoever sends them."""

        def heard() -> int:
            first: int = self.backup.status()["instances"][0]["counters"]["advert_rcvd"]
            return first

        before = heard()
        self.wait(f"{count} adverts", heard, lambda now: now >= before + count, 15)

    def taken_over(self, seconds: float = 15) -> None:
        """The backup owns every address."""
        self.wait("router2 to own", self.backup.states, lambda states: set(states.values()) == {"MASTER"}, seconds)

    def mend(self) -> None:
        """After a failure: the next test gets a fair start."""
        for node in (self.master, self.backup):
            subprocess.run([self.command, "unpause", self.container(node)], capture_output=True)
            node.host.run("systemctl kill --signal=CONT vrrpd; systemctl reset-failed vrrpd; systemctl restart vrrpd")


@pytest.fixture(scope="session")
def bench(cluster: Any, until: Callable[..., Any], engine: str) -> Bench:
    return Bench(cluster, until, engine)


@pytest.fixture(scope="session")
def description(bench: Bench) -> str:
    """What the watcher has to know: no container is started anew while it watches."""

    def process(node: Any) -> int:
        return int(bench.engine("inspect", "--format={{.State.Pid}}", bench.container(node)))

    routers = {node.name: [process(node), node.mac()] for node in (bench.master, bench.backup)}
    client = process(bench.cluster.client)
    return json.dumps({"client": client, "routers": routers, "addresses": sorted(bench.addresses)})


@pytest.fixture
def watch(bench: Bench, description: str, run: int) -> Callable[..., contextlib.AbstractContextManager[Seen]]:
    """`with watch("what happens") as seen:` the block disturbs and waits; afterwards `seen` has the lines."""

    @contextlib.contextmanager
    def watched(what: str, settled: bool = True) -> Iterator[Seen]:
        if settled:
            bench.settled()
        seen = Seen()
        command = [sys.executable, watching.__file__, description]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdin is not None
            assert process.stdout is not None
            try:
                assert process.stdout.readline() == "watching\n"
                yield seen
            except BaseException:
                bench.mend()
                raise
            finally:
                process.stdin.close()
                told = process.stdout.read()
        seen.learn(json.loads(told), bench.cluster.variables["vrrpd_instances"])
        NOTES["the watcher"] = seen.scheduling
        ROWS.extend(row(what, line) for line in seen)

    return watched


def row(what: str, line: Line) -> Row:
    garps = line.announced("router1") + line.announced("router2")
    return Row(what, line.interval, line.outage, line.lost, line.both, len(line.owners) - 1, garps, line.gap)


@pytest.fixture(scope="session", autouse=True)
def machine(bench: Bench) -> None:
    """What the machine permits: figures mean little without it."""
    for name, pid in bench.processes(bench.master).items():
        policy = bench.master.run(f"python3 -c 'import os; print(os.sched_getscheduler({pid}) & 7)'").strip()
        NOTES[f"the {name} process"] = {"0": "no real-time priority", "2": "SCHED_RR"}.get(policy, f"policy {policy}")
    NOTES["processors"] = str(os.cpu_count())
    NOTES["load at the start"] = f"{os.getloadavg()[0]:.1f}"


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """The figures, for whoever reads the log."""
    if not ROWS:
        return
    headers = (
        "disturbance of the owner",
        "interval s",
        "outage ms",
        "lost",
        "both hold ms",
        "moves",
        "GARPs",
        "gap / interval",
    )
    lines = []
    for what, interval in dict.fromkeys((row.what, row.interval) for row in ROWS):
        runs = [row for row in ROWS if (row.what, row.interval) == (what, interval)]
        lines.append((what, interval, *(spread([float(row[column]) for row in runs]) for column in range(2, 8))))
    count = f"median (least..most) of {RUNS} runs" if RUNS > 1 else "one run"
    terminalreporter.section(f"figures, {count}, a probe every {watching.PERIOD * 1000:g} ms")
    terminalreporter.write_line(tabulate.tabulate(lines, headers=headers, tablefmt="github", disable_numparse=True))
    NOTES["load at the end"] = f"{os.getloadavg()[0]:.1f}"
    terminalreporter.write_line("; ".join(f"{what}: {fact}" for what, fact in NOTES.items()))


def spread(values: list[float]) -> str:
    least, middle, most = (
        f"{value:.3g}" if value < 100 else f"{value:.0f}"
        for value in (min(values), statistics.median(values), max(values))
    )
    return middle if least == most else f"{middle} ({least}..{most})"
