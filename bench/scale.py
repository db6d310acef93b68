"""What many routers cost, and how they move together: this daemon beside keepalived.

bench/scale [--full]: N virtual routers with one address each, up to 255 on a segment (as many VRIDs as there are), a
the master of all and b the backup, in network namespaces (tests/netns/lab.py). CPU is the scheduler's run time of
every process of the daemon (/proc/PID/task/*/schedstat: steal does not count); the delivery of a frame through veth
and bridge runs in the sender's context and is part of a's figure. Memory is PSS, which shares what processes share.
Both daemons are measured in every run, one after the other, and their ratio is what counts.
"""

from __future__ import annotations

import argparse
import contextlib
import math
import os
import select
import socket
import statistics
import sys
import time
from pathlib import Path

import report
from daemons import KINDS, PRIORITY, chosen  # which makes the laboratory known
from report import Row

from lab import (
    JEQ,
    LD_TYPE,
    RET,
    SKF_IFINDEX,
    Advert,
    Daemon,
    Keepalived,
    Lab,
    attach_filter,
    config,
    in_namespace,
    instance,
    master_down,
    now,
)

PER_SEGMENT = 255
DEAF = [(RET, 0, 0, 0)]


def place(number: int) -> tuple[int, int, str]:
    """(segment, VRID, address) of a router."""
    segment, vrid = divmod(number, PER_SEGMENT)
    return segment, vrid + 1, f"10.{segment}.1.{vrid + 1}"


class Segments(Lab):
    """The laboratory with more bridges: ethN of a and b on brN. It hears no frame unless told to listen."""

    def __init__(self, count: int) -> None:
        super().__init__("ab")
        self.deafen_all()
        lines = []
        for number in range(1, count):
            lines += [f"link add br{number} type bridge mcast_snooping 0 stp_state 0", f"link set br{number} up"]
            for name in "ab":
                there = f"/proc/{os.getpid()}/fd/{self[name].namespace}"
                lines += [
                    f"link add p{name}{number} type veth peer name eth{number} netns {there}",
                    f"link set p{name}{number} master br{number} up",
                ]
        self._in_switch(["ip", "-batch", "-"], "\n".join(lines) + "\n")
        self.links = [f"eth{number}" for number in range(count)]
        for name in "ab":
            host = self[name]
            host.ip(*(f"link set {link} up" for link in self.links))
            host.ip(*(f"addr add 10.{n}.0.{host.number}/16 dev eth{n}" for n in range(1, count)))
        self.others = count + 8  # addresses of a host that are no router's: at most so many

    def deafen_all(self) -> None:
        attach_filter(self._sniffer, DEAF)

    def listen(self) -> None:
        """To what a sends on the first segment: all frames would be more than a Python thread can read."""
        with in_namespace(self.switch):
            index = socket.if_nametoindex("pa")
        attach_filter(self._sniffer, [(LD_TYPE, 0, 0, SKF_IFINDEX), (JEQ, 0, 1, index), (RET, 0, 0, 0xFFFF), *DEAF])

    def routers(self, host: str) -> int:
        """How many addresses of routers a host has."""
        return sum(address.split(".")[2:3] == ["1"] for address in self.held.by_host[host])

    def has(self, host: str, count: int) -> bool:
        """So many addresses of routers. Asked on every event: they are counted only where it may be true."""
        return abs(len(self.held.by_host[host]) - count) <= self.others and self.routers(host) == count

    def packets(self, host: str, column: int) -> int:
        """A counter of /proc/net/dev over all links: 1 is received packets, 9 sent ones."""
        with self[host].inside():
            lines = Path("/proc/thread-self/net/dev").read_text().splitlines()
        return sum(int(line.split(":")[1].split()[column]) for line in lines if line.strip().startswith("eth"))


def cpu(daemon: Daemon) -> float:
    """Seconds that the scheduler gave to all of its processes so far."""
    total = 0
    for pid in daemon.pids():
        with contextlib.suppress(OSError):
            for task in os.listdir(f"/proc/{pid}/task"):
                total += int(Path(f"/proc/{pid}/task/{task}/schedstat").read_text().split()[0])
    return total / 1e9


def pss(daemon: Daemon) -> int:
    """KiB of all of its processes; a page that n processes share counts a n-th for each."""
    total = 0
    for pid in daemon.pids():
        with contextlib.suppress(OSError):
            for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
                if line.startswith("Pss:"):
                    total += int(line.split()[1])
    return total


class Scale:
    """One daemon, one number of routers, one interval: what it costs, then what happens to it in turn."""

    def __init__(self, kind: str, routers: int, interval: float, window: float) -> None:
        self.kind, self.n, self.interval, self.window = kind, routers, interval, window
        self.version = 2 if interval >= 1 else 3
        self.row: Row = {"daemon": kind, "routers": routers, "interval": interval}
        self.lab = Segments(math.ceil(routers / PER_SEGMENT))

    def configuration(self, name: str) -> str:
        state = "MASTER" if name == "a" else "BACKUP"
        return config(*(
            instance(
                (address,), name=f"VI_{number}", vrid=vrid, interface=f"eth{segment}", priority=PRIORITY[name],
                interval=self.interval, version=self.version, state=state,
            )
            for number in range(self.n) for segment, vrid, address in [place(number)]
        ))  # fmt: skip

    def down(self, name: str) -> float:
        return master_down(PRIORITY[name], self.interval, self.version)

    def owned(self, a: int, b: int) -> None:
        self.lab.wait(
            lambda: self.lab.has("a", a) and self.lab.has("b", b), 60, f"{self.kind}: {a} addresses at a, {b} at b"
        )  # fmt: skip

    def forget(self) -> float:
        with self.lab.changed:
            self.lab.events.clear()
            self.lab.frames.clear()
        return now()

    def changes(self, host: str, added: bool, since: float) -> list[float]:
        """Seconds after `since` at which addresses came to a host or left it."""
        with self.lab.changed:
            return [
                event.at - since for event in self.lab.events
                if (event.host, event.added) == (host, added) and event.address.split(".")[2:3] == ["1"]
            ]  # fmt: skip

    # -- the steps
    def start(self) -> None:
        """Beyond the RFC's time of listening; then the backup, which must find all in good hands."""
        began = self.forget()
        self.lab["a"].run(KINDS[self.kind], self.configuration("a"))
        self.owned(self.n, 0)
        self.row["start"] = max(self.changes("a", True, began)) - self.down("a")
        self.row["start_cpu"] = cpu(self.lab["a"].daemon)
        began = self.forget()
        self.lab["b"].run(KINDS[self.kind], self.configuration("b"))
        time.sleep(self.down("b") + 1.5 + self.n / 800)
        self.row["start_takeovers"] = len(self.changes("b", True, began))
        self.owned(self.n, 0)

    def steady(self) -> None:
        began = self.forget()
        daemons = [self.lab[name].daemon for name in "ab"]
        used, packets = [cpu(daemon) for daemon in daemons], [self.lab.packets("a", 9), self.lab.packets("b", 1)]
        time.sleep(self.window)
        passed = now() - began
        for name, daemon, cpu0, packets0, column in zip("ab", daemons, used, packets, (9, 1), strict=True):
            spent, moved = cpu(daemon) - cpu0, self.lab.packets(name, column) - packets0
            self.row[f"cpu_{name}"] = spent / passed
            self.row[f"us_{name}"] = spent / moved * 1e6 if moved else None
            self.row[f"pss_{name}"] = pss(daemon)
        self.row["flaps"] = len(self.changes("a", False, began)) + len(self.changes("b", True, began))

    def reload(self) -> None:
        """Nothing has changed: no advert should be late and nobody take over."""
        self.lab.listen()
        began = self.forget()
        time.sleep(2.2 * self.interval + 0.2)
        asked = now()
        self.lab["a"].daemon.reload()
        time.sleep(3 + 4 * self.interval + self.n / 500)
        self.lab.deafen_all()
        self.row["reload_takeovers"] = len(self.changes("b", True, began))
        self.row["reload_gap"] = self.longest_gap(asked) / self.interval
        self.owned(self.n, 0)

    def longest_gap(self, since: float) -> float:
        """Seconds between two adverts of one router of a, the later one after `since`: the longest of all routers."""
        with self.lab.changed:
            adverts = [frame for frame in self.lab.frames if isinstance(frame, Advert) and frame.host == "a"]
        before: dict[int, float] = {}
        longest = 0.0
        for advert in adverts:
            if advert.at >= since and advert.vrid in before:
                longest = max(longest, advert.at - before[advert.vrid])
            before[advert.vrid] = advert.at
        return longest

    def stop(self) -> None:
        """All are handed over; then they come back."""
        began = self.forget()
        daemon = self.lab["a"].daemon
        process = os.pidfd_open(daemon.pid)
        daemon.terminate()
        select.select([process], [], [], 60)  # Popen.wait() looks every 50 ms
        ended = now() - began
        os.close(process)
        daemon.wait()
        self.owned(0, self.n)
        came, left = self.changes("b", True, began), self.changes("a", False, began)
        self.row.update(stop_spread=max(came) - min(came), stop_exit=ended, stop_exit_after=ended - max(left))
        daemon.start()
        self.owned(self.n, 0)
        time.sleep(1 + 4 * self.interval)

    def link_loss(self) -> None:
        began = self.forget()
        self.lab["a"].ip(*(f"link set {link} down" for link in self.lab.links))
        self.lab.wait(lambda: self.lab.has("b", self.n), 60, f"{self.kind}: all addresses at b")
        came = self.changes("b", True, began)
        self.row["loss_spread"] = max(came) - min(came)

    def run(self) -> Row:
        try:
            for step in (self.start, self.steady, self.reload, self.stop, self.link_loss):
                step()
        except AssertionError as error:
            self.row["failed"] = str(error).splitlines()[0]
        finally:
            self.row["overruns"] = self.lab.overruns
            self.lab.close()
        return self.row


# ---------------------------------------------------------------------------------------------- the bench
def bench(kinds: list[str], counts: list[int], intervals: list[float], runs: int, window: float) -> list[Row]:
    progress = report.Progress(len(kinds) * len(counts) * len(intervals) * runs)
    rows: list[Row] = []
    try:
        for interval in intervals:
            for routers in counts:
                for run in range(runs):
                    for kind in kinds:
                        row = {**Scale(kind, routers, interval, window).run(), "run": run}
                        rows.append(row)
                        said = row.get("failed") or f"CPU {row['cpu_a']:.4f} + {row['cpu_b']:.4f}"
                        progress.step(f"{routers} routers at {interval:g} s: {kind} {said}")
    except KeyboardInterrupt:
        print("interrupted: this is what there is", file=sys.stderr)
    return rows


COLUMNS = (  # head, key, form, factor
    ("CPU master", "cpu_a", "{:.4f}", 1),
    ("CPU backup", "cpu_b", "{:.4f}", 1),
    ("us/advert sent", "us_a", "{:.1f}", 1),
    ("received", "us_b", "{:.1f}", 1),
    ("PSS master MB", "pss_a", "{:.1f}", 1 / 1024),
    ("start s", "start", "{:.2f}", 1),
    ("reload: gap, intervals", "reload_gap", "{:.2f}", 1),
    ("takeovers", "reload_takeovers", "{:.0f}", 1),
    ("stop: spread s", "stop_spread", "{:.2f}", 1),
    ("exit s", "stop_exit", "{:.2f}", 1),
    ("of it after the last address, ms", "stop_exit_after", "{:.0f}", 1000),
    ("link loss: spread s", "loss_spread", "{:.2f}", 1),
)


def table(rows: list[Row]) -> str:
    lines = []
    for interval in report.distinct(rows, "interval"):
        for routers in report.distinct(rows, "routers"):
            for daemon in report.distinct(rows, "daemon"):
                which = {"interval": interval, "routers": routers, "daemon": daemon}
                cells = (
                    report.spread([figure * factor for figure in report.values(rows, key, **which)], form)
                    for _, key, form, factor in COLUMNS
                )
                failed = sum("failed" in row and all(row[k] == v for k, v in which.items()) for row in rows)
                lines.append([f"{interval:g}", str(routers), daemon + (f", {failed} failed" if failed else ""), *cells])
    return report.table(["interval s", "routers", "daemon", *(column[0] for column in COLUMNS)], lines)


def ratios(rows: list[Row]) -> str:
    """This daemon's CPU divided by keepalived's of the same run."""
    lines = []
    for interval in report.distinct(rows, "interval"):
        for routers in report.distinct(rows, "routers"):
            line = [f"{interval:g}", str(routers)]
            for key in ("cpu_a", "cpu_b"):
                by_run = {
                    (row["run"], row["daemon"]): row[key] for row in rows
                    if (row["interval"], row["routers"]) == (interval, routers) and row.get(key)
                }  # fmt: skip
                both = [run for run, daemon in by_run if daemon == "vrrpd" and (run, "keepalived") in by_run]
                line.append(report.spread([by_run[r, "vrrpd"] / by_run[r, "keepalived"] for r in both], "{:.2f}"))
            lines.append(line)
    return report.table(["interval s", "routers", "CPU master, vrrpd : keepalived", "CPU backup"], lines)


def plot(rows: list[Row], path: Path) -> None:
    """CPU against the number of routers, a line for each daemon and interval."""
    made, panels = report.figure(2, 10, 4.4, sharey=True)
    intervals = report.distinct(rows, "interval")
    for panel, key, title in zip(panels, ("cpu_a", "cpu_b"), ("master", "backup"), strict=True):
        for daemon in report.distinct(rows, "daemon"):
            for style, interval in zip(("-", "--", ":"), sorted(intervals), strict=False):
                found = {
                    routers: report.values(rows, key, interval=interval, routers=routers, daemon=daemon)
                    for routers in report.distinct(rows, "routers")
                }
                points = {routers: figures for routers, figures in sorted(found.items()) if figures}
                panel.plot(
                    list(points), [statistics.median(figures) * 100 for figures in points.values()],
                    style, marker=report.MARKERS[daemon], markersize=5, color=report.COLOURS[daemon],
                    label=f"{daemon}, {interval:g} s",
                )  # fmt: skip
                panel.vlines(
                    list(points), [min(f) * 100 for f in points.values()], [max(f) * 100 for f in points.values()],
                    color=report.COLOURS[daemon], alpha=0.4,
                )  # fmt: skip
        panel.set_xscale("log")
        panel.set_yscale("log")
        panel.set_title(title, fontsize=10)
        panel.set_xlabel("virtual routers")
        counts = sorted(report.distinct(rows, "routers"))
        panel.set_xticks(counts, [str(count) for count in counts])
        panel.set_yticks([0.01, 0.1, 1, 10, 100], ["0.01", "0.1", "1", "10", "100"])
        panel.minorticks_off()
    panels[0].set_ylabel("CPU, % of a core")
    panels[0].legend(frameon=False, fontsize=9)
    made.suptitle("CPU of the daemon against the number of routers", fontsize=12, x=0.02, ha="left")
    report.save(made, path)


def main() -> None:
    parser = argparse.ArgumentParser(prog="bench/scale", description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--full", action="store_true", help="10 to 4000 routers, 1 and 0.1 s, 3 runs: most of an hour")
    parser.add_argument("--routers", default="10,255,1000", help="several with commas (10,255,1000)")
    parser.add_argument("--advert-int", default="0.1", help="seconds, several with commas; 1 and more is VRRPv2 (0.1)")
    parser.add_argument("--runs", type=int, default=1)
    parser.add_argument("--window", type=float, default=5, help="seconds over which CPU is measured (5)")
    parser.add_argument("--daemons", default=",".join(KINDS), help=f"only some of {','.join(KINDS)}")
    parser.add_argument("--output", type=Path, default=report.FOLDER / "scale", help="without .json and .svg")
    parser.add_argument("--report", type=Path, nargs="+", metavar="JSON", help="table and plot of earlier runs")
    options = parser.parse_args()
    if options.full:
        options.routers, options.advert_int, options.runs, options.window = "10,100,255,1000,4000", "1,0.1", 3, 20
    if options.report:
        machines, rows = report.read(options.report)
    else:
        kinds = chosen(parser, options.daemons)
        machines = [report.machine(report.versions(Keepalived.binary))]
        counts = [int(word) for word in options.routers.split(",")]
        rows = bench(kinds, counts, [float(w) for w in options.advert_int.split(",")], options.runs, options.window)
        report.write(options.output.with_name(options.output.name + ".json"), machines[0], rows)
    if not rows:
        sys.exit("nothing was measured")
    print(*machines, table(rows), ratios(rows), sep="\n\n")
    plot(rows, options.output.with_name(options.output.name + "-cpu.svg"))
    print(f"\nfigures: {options.output}.json, plot: {options.output}-cpu.svg")


if __name__ == "__main__":
    main()
