"""The outage that a client sees when its router stops, fails, is cut off, reloads: this daemon beside keepalived.

bench/failover [--full]: two routers (priorities 150 and 100) and a client in network namespaces
(tests/netns/lab.py); the client pings the virtual address every millisecond (bench/probe.py). The outage is the time
from the last answered ping before a gap to the first one after it. `late` is what the outage has beyond the moment at
which RFC 9568 lets the backup take over (three adverts and the skew time after the last advert of a dead master, the
skew time after a resignation). `two owners` is how long both routers had the address. The daemons take turns within
every run, so that both see the same machine.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import report
from daemons import HERE, KINDS, PRIORITY, chosen  # which makes the laboratory known
from report import Row

from lab import ROOT, AddressEvent, Daemon, Keepalived, Lab, Ours, config, instance, master_down, now, skew

VIP, SECOND = "10.0.0.100", "10.0.0.109"


# ---------------------------------------------------------------------------------------------- what happens
@dataclass(frozen=True)
class Event:
    """Something that happens to a, the master, and what is to be seen then."""

    name: str
    act: Callable[[Pair], object]
    until: str = ""  # "a", "b": it alone has the address; "+b": b has it, whoever else does; "": whatever comes
    allowed: str = ""  # what the RFC costs: "dead": what a silent master costs, "skew": what a resignation costs
    seconds: float = 0.3  # of watching after that,
    intervals: float = 2  # and as many adverts more


@dataclass(frozen=True)
class Scenario:
    """Events in a row. It begins, and ends, with a as the only owner."""

    key: str
    events: tuple[Event, ...]
    before: Callable[[Pair], object] = lambda pair: None
    after: Callable[[Pair], object] = lambda pair: None
    variant: str = "plain"  # of the configuration
    kinds: tuple[str, ...] = tuple(KINDS)


# More lines for the vrrp_instance of a router, given its peer's number.
VARIANTS: dict[str, Callable[[int], tuple[str, ...]]] = {
    "plain": lambda peer: (),
    "lifetime": lambda peer: ("vip_lifetime 5",),
    "path": lambda peer: (f"peer_path 10.9.0.{peer}", f"peer_path_key {'k' * 32}"),
    "vmac": lambda peer: ("use_vmac",),
}


class Pair:
    """Two routers that run one kind of daemon."""

    def __init__(self, kind: str, interval: float, variant: str) -> None:
        self.kind, self.interval, self.variant = kind, interval, variant
        self.version = 2 if interval >= 1 else 3
        self.upgrades = 0
        self.lab = Lab("ab")
        if variant == "path":
            self.second_link()
        for name in "ab":
            # A router that forwarded would pass the pings on to its successor and hide a part of the outage.
            self.lab[name].sysctl(net__ipv4__ip_forward=0)
            self.lab[name].run(KINDS[kind], self.configuration(name))

    @property
    def master(self) -> Daemon:
        return self.lab["a"].daemon

    def configuration(self, name: str, *more: str) -> str:
        state = "MASTER" if name == "a" else "BACKUP"
        vips = (f"{VIP}/24", *more)
        lines = VARIANTS[self.variant](self.lab["b" if name == "a" else "a"].number)
        return config(
            instance(vips, *lines, priority=PRIORITY[name], interval=self.interval, version=self.version, state=state)
        )

    def second_link(self) -> None:
        """eth1 of a and b, from one to the other."""
        there = f"/proc/{os.getpid()}/fd/{self.lab['b'].namespace}"
        self.lab["a"].ip(f"link add eth1 type veth peer name eth1 netns {there}")
        for name in "ab":
            self.lab[name].ip(f"addr add 10.9.0.{self.lab[name].number}/24 dev eth1", "link set eth1 up")

    # -- what the scenarios do to the master
    def start(self) -> None:
        self.master.wait()
        self.master.start()

    def restart(self) -> None:
        self.master.stop()
        self.master.start()

    def fresh(self) -> None:
        """A new daemon: it has not crashed yet, so that no back-off is measured."""
        self.restart()
        self.steady()

    def upgrade(self) -> None:
        """This daemon goes on as another copy of its code, by turns; keepalived knows only the restart."""
        if not isinstance(self.master, Ours):
            return self.restart()
        folder = self.lab.folder / f"release{self.upgrades % 2}"
        if not folder.exists():
            shutil.copytree(ROOT / "vrrpd", folder / "vrrpd", ignore=shutil.ignore_patterns("__pycache__"))
        self.upgrades += 1
        with self.master.connect(60) as control:
            control.sendall(json.dumps({"cmd": "upgrade", "release": str(folder)}).encode() + b"\n")
            answer = json.loads(control.makefile("rb").readline())
        assert answer["ok"], answer

    def path_is_up(self) -> None:
        """Both know that the other one is there."""

        def up() -> bool:
            routers = [self.lab[name].ours for name in "ab"]
            return all(r.answers() and all(peer["up"] for peer in r.status()["peer_path"]) for r in routers)

        self.lab.wait(up, 10, "the second path is up")

    def kill(self) -> None:
        """What is left of it, and its pid files."""
        self.master.signal(signal.SIGCONT)
        self.master.kill()

    def signal_vrrp(self, number: int) -> None:
        self.master.signal(number, [self.master.vrrp_pid()])

    def kill_guard(self) -> None:
        self.master.signal(signal.SIGKILL, [self.master.pid])

    def hang_vrrp(self) -> None:
        self.hung = self.master.vrrp_pid()
        self.master.signal(signal.SIGSTOP, [self.hung])

    def unhang_vrrp(self) -> None:
        self.master.signal(signal.SIGCONT, [self.hung])

    def reload(self, *more: str) -> None:
        self.master.reload(self.configuration("a", *more))

    # -- measuring
    def owners(self) -> set[str]:
        return self.lab.held.owners(VIP)

    def reached(self, until: str) -> bool:
        return until[1:] in self.owners() if until.startswith("+") else self.owners() == set(until)

    def steady(self) -> None:
        """a is the only owner and stays it; the client knows."""
        for host in self.lab.hosts.values():
            if host.daemons and not host.daemon.running():
                host.daemon.kill()
                host.daemon.start()
        limit = 3 * master_down(PRIORITY["b"], self.interval, self.version) + 20
        self.lab.wait(lambda: self.reached("a"), limit, f"{self.kind}: {VIP} at a alone")
        time.sleep(max(0.3, 1.2 * self.interval))
        self.lab.wait(lambda: self.reached("a"), limit, f"{self.kind}: {VIP} at a alone")
        self.lab["c"].ip("neigh flush dev eth0", check=False)  # what the scenario before left there does not count
        self.lab.wait(lambda: self.lab.ping(VIP), 5, f"{self.kind}: the address answers")

    def measure(self, event: Event) -> Row:
        """The event with a probe around it."""
        with Probe(self.lab) as probe:
            time.sleep(0.2 + random.random() * self.interval)  # a random phase between two adverts
            last = next((advert.at for advert in reversed(self.lab.adverts("a"))), now())
            before = self.owners()
            with self.lab.changed:
                self.lab.frames.clear()
                self.lab.events.clear()
            start = now()
            event.act(self)
            if event.until:
                limit = 3 * master_down(PRIORITY["b"], self.interval, self.version) + 8
                self.lab.wait(lambda: self.reached(event.until), limit, f"{self.kind}: {event.name}: {event.until}")
            settled = now() - start
            time.sleep(event.seconds + event.intervals * self.interval)
            end = now()
            outage = probe.outage(start, end - 0.03)
        allowed = self.allowed(event, last, start)
        changes = self.lab.changes(VIP, start)
        adverts = [last, *(advert.at for advert in self.lab.adverts("a") if advert.at <= end)]
        return {
            "outage": outage * 1e3,
            "late": None if allowed is None else (outage - allowed) * 1e3,
            "two_owners": two_owners(changes, before, start, end) * 1e3,
            "two_owners_still": self.owners() == {"a", "b"},
            "settled": settled * 1e3 if event.until else None,
            "takeovers": sum(change.host == "b" and change.added for change in changes),
            "advert_gap": max((b - a for a, b in zip(adverts, adverts[1:], strict=False)), default=0) * 1e3,
            "announcements": len(self.lab.announcements(VIP, since=start)),
        }

    def allowed(self, event: Event, last: float, start: float) -> float | None:
        if event.allowed == "dead":
            return last + master_down(PRIORITY["b"], self.interval, self.version) - start
        return skew(PRIORITY["b"], self.interval, self.version) if event.allowed == "skew" else None


class Probe:
    def __init__(self, lab: Lab) -> None:
        with lab["c"].inside():
            self.process = subprocess.Popen(
                [sys.executable, "-I", "-S", str(HERE / "probe.py"), VIP], stdin=subprocess.PIPE, stdout=subprocess.PIPE
            )
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == b"probing\n", "the probe does not start"

    def __enter__(self) -> Probe:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.communicate()

    def outage(self, start: float, end: float) -> float:
        """Seconds between two answered probes with lost ones between them, the longest; the probe is over."""
        out, _ = self.process.communicate()
        probes = [(sent, answer) for sent, answer in json.loads(out) if start - 0.05 <= sent <= end]
        worst, lost, since = 0.0, False, probes[0][0]
        for sent, answer in [*probes, (probes[-1][0], 1)]:
            if not answer:
                lost = True
                continue
            if lost:
                worst = max(worst, sent - since)
            lost, since = False, sent
        return worst


def two_owners(changes: Iterable[AddressEvent], before: set[str], start: float, end: float) -> float:
    """Seconds in which both routers had the address."""
    owners, since, total = set(before), start, 0.0
    for at, host, added in [*((c.at, c.host, c.added) for c in changes if c.at <= end), (end, "", False)]:
        if owners >= {"a", "b"}:
            total += at - since
        since = at
        (owners.add if added else owners.discard)(host)
    return total


DEAD, SKEW = "dead", "skew"
SCENARIOS = (
    Scenario("stop", (
        Event("planned stop", lambda pair: pair.master.terminate(), "b", SKEW),
        Event("it returns and preempts", Pair.start, "a"),
    )),
    Scenario("restart", (Event("restart", Pair.restart, "a", SKEW),)),
    Scenario("reload", (
        Event("reload, nothing changed", Pair.reload, "a", seconds=0.7, intervals=4),
        Event("reload, one address more", lambda pair: pair.reload(f"{SECOND}/24"), "a", seconds=0.7, intervals=4),
    ), after=Pair.reload),
    Scenario("upgrade", (
        Event("upgrade in place", Pair.upgrade, "a", seconds=0.7, intervals=6),
    )),
    Scenario("kill-vrrp", (
        Event("kill -9 of the vrrp process", lambda pair: pair.signal_vrrp(signal.SIGKILL), seconds=0.6, intervals=6),
    ), before=Pair.fresh),
    Scenario("kill-guard", (Event("kill -9 of the main process", Pair.kill_guard, "b", SKEW),), after=Pair.kill),
    Scenario("kill-all", (
        Event("kill -9 of every process", lambda pair: pair.master.kill(), "+b", seconds=1),
        Event("it starts again", lambda pair: pair.master.start(), "a"),
    )),
    Scenario("lifetime", (
        Event("kill -9 of every process, vip_lifetime 5", lambda pair: pair.master.kill(), "+b", seconds=5.5),
        Event("it starts again, vip_lifetime 5", lambda pair: pair.master.start(), "a"),
    ), variant="lifetime", kinds=("vrrpd",)),
    Scenario("hang-vrrp", (
        Event("the vrrp process hangs", Pair.hang_vrrp, seconds=0.6, intervals=6),
    ), before=Pair.fresh, after=Pair.unhang_vrrp),
    Scenario("hang-all", (
        Event("every process hangs", lambda pair: pair.master.signal(signal.SIGSTOP), "+b", seconds=0.5),
        Event("they go on", lambda pair: pair.master.signal(signal.SIGCONT), "a"),
    )),
    Scenario("link", (
        Event("link down", lambda pair: pair.lab["a"].ip("link set eth0 down"), "b", DEAD),
        Event("link up again", lambda pair: pair.lab["a"].ip("link set eth0 up"), "a"),
    )),
    Scenario("path", (
        Event("link down, with peer_path", lambda pair: pair.lab["a"].ip("link set eth0 down"), "b", DEAD),
        Event("link up again, with peer_path", lambda pair: pair.lab["a"].ip("link set eth0 up"), "a"),
    ), before=Pair.path_is_up, variant="path", kinds=("vrrpd",)),
    Scenario("cut", (
        Event("silent cut", lambda pair: pair.lab.cut("a"), "+b", DEAD),
        Event("the cut heals", lambda pair: pair.lab.heal("a"), "a", seconds=4),
    )),
    Scenario("vmac", (
        Event("planned stop, virtual MAC", lambda pair: pair.master.terminate(), "b", SKEW),
        Event("return and preemption, virtual MAC", Pair.start, "a"),
    ), variant="vmac"),
)  # fmt: skip


PLOTS = {
    "outage": "Outage seen by a client",
    "two_owners": "Both routers have the address (arrow: still so when the measurement ended)",
}


# ---------------------------------------------------------------------------------------------- the bench
def measure_run(pair: Pair, scenario: Scenario, say: Callable[[Event, str], None]) -> list[Row]:
    """One run of one scenario; what fails is a row too, and its pair starts again."""
    rows: list[Row] = []
    for event in scenario.events:
        row: Row = {"scenario": event.name, "key": scenario.key, "daemon": pair.kind, "interval": pair.interval}
        try:
            if not rows:
                scenario.before(pair)
                pair.steady()
            row.update(pair.measure(event))
            say(event, f"{row['outage']:.0f} ms")
        except AssertionError as error:
            row["failed"] = str(error)
            say(event, f"failed: {str(error).splitlines()[0]}")
            pair.kill()
        rows.append(row)
    scenario.after(pair)
    return rows


def bench(kinds: list[str], scenarios: list[Scenario], intervals: list[float], runs: int, rows: list[Row]) -> None:
    """All runs; scenarios that share a configuration share their pairs of routers."""
    scenarios = [scenario for scenario in scenarios if set(scenario.kinds) & set(kinds)]
    steps = sum(len(set(s.kinds) & set(kinds)) * len(s.events) for s in scenarios)
    progress = report.Progress(steps * runs * len(intervals))
    for interval in intervals:
        for variant in dict.fromkeys(scenario.variant for scenario in scenarios):
            group = [scenario for scenario in scenarios if scenario.variant == variant]
            pairs = [Pair(kind, interval, variant) for kind in kinds if any(kind in s.kinds for s in group)]
            try:
                for run in range(runs):
                    for scenario in group:
                        for pair in pairs:
                            if pair.kind not in scenario.kinds:
                                continue

                            def say(event: Event, result: str, pair: Pair = pair) -> None:
                                progress.step(f"{pair.interval:g} s  {event.name}: {pair.kind} {result}")

                            rows += [{**row, "run": run} for row in measure_run(pair, scenario, say)]
            finally:
                for pair in pairs:
                    pair.lab.close()


Cell = Callable[[list[Row]], str]


def outage(rows: list[Row]) -> str:
    failed = sum("failed" in row for row in rows)
    return report.spread(report.values(rows, "outage")) + (f", {failed} failed" if failed else "")


def late(rows: list[Row]) -> str:
    found = [float(round(figure)) for figure in report.values(rows, "late")]
    return report.spread(found, "{:+.0f}") if found else ""


def owners(rows: list[Row]) -> str:
    still = "> " if any(row.get("two_owners_still") for row in rows) else ""
    return still + report.spread(report.values(rows, "two_owners"))


def gap(rows: list[Row]) -> str:
    return report.spread([row["advert_gap"] / row["interval"] / 1e3 for row in rows if "advert_gap" in row], "{:.1f}")


CLIENT: dict[str, Cell] = {"outage ms": outage, "late ms": late, "two owners ms": owners}
WIRE: dict[str, Cell] = {
    "takeovers": lambda rows: report.spread(report.values(rows, "takeovers")),
    "longest time between adverts, intervals": gap,
    "gratuitous ARPs": lambda rows: report.spread(report.values(rows, "announcements")),
}
ON_THE_WIRE = ("reload", "upgrade", "kill-vrrp", "hang-all")  # scenarios after which little or nothing should be seen


def table(rows: list[Row], columns: dict[str, Cell]) -> str:
    daemons = report.distinct(rows, "daemon")
    head = ["median (least..most)", "interval s", *(f"{name}: {column}" for name in daemons for column in columns)]
    lines = []
    for interval in report.distinct(rows, "interval"):
        for scenario in report.distinct(rows, "scenario"):
            line = [scenario, f"{interval:g}"]
            for daemon in daemons:
                mine = [r for r in rows if (r["scenario"], r["interval"], r["daemon"]) == (scenario, interval, daemon)]
                line += [cell(mine) for cell in columns.values()]
            lines.append(line)
    return report.table(head, lines)


def tables(rows: list[Row]) -> str:
    """What a client notices of every scenario, and what the wire shows of some."""
    wire = [row for row in rows if row["key"] in ON_THE_WIRE]
    return "\n\n".join([table(rows, CLIENT), *([table(wire, WIRE)] if wire else [])])


def plot(rows: list[Row], key: str, title: str, path: Path) -> None:
    """Milliseconds of each scenario, a panel for each interval; median as a mark, the range as a line."""
    scenarios, intervals = report.distinct(rows, "scenario"), report.distinct(rows, "interval")
    daemons = report.distinct(rows, "daemon")
    made, panels = report.figure(len(intervals), 3.2 + 3.3 * len(intervals), 0.9 + 0.36 * len(scenarios), sharey=True)
    for panel, interval in zip(panels, intervals, strict=True):
        panel.set_xscale("symlog", linthresh=1, linscale=0.4)
        panel.set_xlim(-0.35, max(12000, *report.values(rows, key)) * 1.6)
        ticks = [0, 1, 10, 100, 1000, 10000]
        panel.set_xticks(ticks, ["0", "1 ms", "10 ms", "0.1 s", "1 s", "10 s"])
        for number, daemon in enumerate(daemons):
            offset = (number - (len(daemons) - 1) / 2) * 0.3
            for y, scenario in enumerate(scenarios):
                found = report.values(rows, key, scenario=scenario, interval=interval, daemon=daemon)
                if found:
                    still = report.values(rows, f"{key}_still", scenario=scenario, interval=interval, daemon=daemon)
                    draw(panel, y + offset, sorted(found), daemon, endless=any(still))
        panel.minorticks_off()
        panel.set_title(f"advert interval {interval:g} s", fontsize=10)
    panels[0].set_yticks(range(len(scenarios)), scenarios)
    panels[0].set_ylim(len(scenarios) - 0.5, -0.5)
    panels[0].figure.legend(
        handles=[
            panels[0].plot([], [], report.MARKERS[d], color=report.COLOURS[d], label=d, linestyle="none")[0]
            for d in daemons
        ],
        loc="outside upper right", ncols=len(daemons), frameon=False,
    )  # fmt: skip
    made.suptitle(title, fontsize=12, x=0.02, ha="left")
    report.save(made, path)


def draw(panel: Any, y: float, found: list[float], daemon: str, *, endless: bool) -> None:
    colour = report.COLOURS[daemon]
    middle = found[len(found) // 2]
    if endless:
        arrow = {"arrowstyle": "->", "color": colour, "alpha": 0.7}
        panel.annotate("", xy=(panel.get_xlim()[1], y), xytext=(middle, y), arrowprops=arrow)
    panel.plot([found[0], found[-1]], [y, y], color=colour, linewidth=1.6, alpha=0.5, solid_capstyle="round")
    panel.plot([middle], [y], report.MARKERS[daemon], color=colour, markersize=5, clip_on=False)


def main() -> None:
    parser = argparse.ArgumentParser(prog="bench/failover", description=(__doc__ or "").split("\n\n")[0])
    names = [scenario.key for scenario in SCENARIOS]
    parser.add_argument("--full", action="store_true", help="intervals 1, 0.1 and 0.01 s, 7 runs: takes an hour")
    parser.add_argument("--advert-int", default="0.1", help="seconds, several with commas; 1 and more is VRRPv2 (0.1)")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--scenarios", default=",".join(names), help=f"some of {','.join(names)}")
    parser.add_argument("--daemons", default=",".join(KINDS), help=f"only some of {','.join(KINDS)}")
    parser.add_argument("--output", type=Path, default=report.FOLDER / "failover", help="without .json and .svg")
    parser.add_argument("--report", type=Path, nargs="+", metavar="JSON", help="table and plot of earlier runs")
    options = parser.parse_args()
    wanted = options.scenarios.split(",")
    if unknown := set(wanted) - set(names):
        parser.error(f"no such scenario: {', '.join(sorted(unknown))}")
    if options.full:
        options.advert_int, options.runs = "1,0.1,0.01", 7
    if options.report:
        machines, rows = report.read(options.report)
    else:
        kinds = chosen(parser, options.daemons)
        machines, rows = [report.machine(report.versions(Keepalived.binary))], []
        intervals = [float(word) for word in options.advert_int.split(",")]
        try:
            bench(kinds, [s for s in SCENARIOS if s.key in wanted], intervals, options.runs, rows)
        except KeyboardInterrupt:
            print("interrupted: this is what there is", file=sys.stderr)
        finally:
            report.write(options.output.with_name(options.output.name + ".json"), machines[0], rows)
    if not rows:
        sys.exit("nothing was measured")
    print(*machines, tables(rows), sep="\n\n")
    for key, title in PLOTS.items():
        plot(rows, key, title, options.output.with_name(f"{options.output.name}-{key.replace('_', '-')}.svg"))
    print(f"\nfigures: {options.output}.json, plots: {options.output}-*.svg")


if __name__ == "__main__":
    main()
