"""What the benchmarks print and draw: progress, the machine, tables, plots. What is measured is their own matter."""

from __future__ import annotations

import json
import os
import platform
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from tabulate import tabulate

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / ".lab/bench"
Row = dict[str, Any]  # what one measurement found, as it is written to the JSON file
COLOURS = {"vrrpd": "#1565c0", "keepalived": "#d9730d"}
MARKERS = {"vrrpd": "o", "keepalived": "D"}


class Progress:
    """One line for each thing done, with what is left; to stderr, so that the tables alone can be piped."""

    def __init__(self, total: int) -> None:
        self.total, self.done, self.began = total, 0, time.monotonic()

    def step(self, text: str) -> None:
        self.done += 1
        passed = time.monotonic() - self.began
        left = passed / self.done * (self.total - self.done)
        print(f"[{self.done:{len(str(self.total))}}/{self.total}, {clock(left)} left] {text}", file=sys.stderr)


def clock(seconds: float) -> str:
    return f"{int(seconds) // 60}:{int(seconds) % 60:02}"


def machine(versions: Iterable[str]) -> str:
    """The sentence without which no figure means anything."""
    info = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    model = re.search(r"^model name\s*:\s*(.+)$", info, re.MULTILINE)
    day = datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC")
    cpus = len(os.sched_getaffinity(0))
    return (
        f"{day}; {cpus} CPUs ({model[1] if model else platform.machine()}), load {os.getloadavg()[0]:.1f}; "
        f"Linux {platform.release()}, Python {platform.python_version()}; {', '.join(versions)}"
    )


def versions(keepalived: str | None) -> list[str]:
    """What both say of themselves: "vrrpd 0.1.0", "Keepalived v2.2.7 (01/16,2022)" on stderr."""
    said = []
    for argv in ([sys.executable, "-m", "vrrpd"], [keepalived]):
        if argv[0]:
            done = subprocess.run([*argv, "--version"], capture_output=True, text=True, check=False, cwd=ROOT)
            found = re.search(r"(vrrpd|keepalived) v?(\d[\w.]*)", done.stdout + done.stderr, re.IGNORECASE)
            said.append(f"{found[1].lower()} {found[2]}" if found else argv[0])
    return said


def write(path: Path, machine: str, rows: Sequence[Row]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = ",\n".join(json.dumps(row) for row in rows)
    path.write_text(f'{{"machine": {json.dumps(machine)}, "rows": [\n{lines}\n]}}\n', encoding="utf-8")


def read(paths: Sequence[Path]) -> tuple[list[str], list[Row]]:
    """What `write` wrote, several files as one: the machines, and all rows."""
    documents = [json.loads(path.read_text(encoding="utf-8")) for path in paths]
    return [document["machine"] for document in documents], [row for d in documents for row in d["rows"]]


def values(rows: Iterable[Row], key: str, **which: object) -> list[float]:
    """The figures `key` of the rows that match."""
    return [
        row[key]
        for row in rows
        if row.get(key) is not None and all(row.get(name) == value for name, value in which.items())
    ]


def spread(figures: Sequence[float], form: str = "{:.0f}") -> str:
    """Median (least..most); one figure stands alone; nothing is a dash."""
    if not figures:
        return "-"
    middle, least, most = (form.format(f(figures)) for f in (statistics.median, min, max))
    return middle if least == most else f"{middle} ({least}..{most})"


def distinct(rows: Iterable[Row], key: str) -> list[Any]:
    """The values of `key` in the order in which they were measured."""
    return list(dict.fromkeys(row[key] for row in rows))


def table(head: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    return tabulate(list(lines), headers=head, tablefmt="github", disable_numparse=True)


def figure(columns: int, width: float, height: float, **options: Any) -> tuple[Any, list[Any]]:
    """A figure with panels side by side, made without a display; matplotlib costs a second, which only plots pay."""
    import matplotlib

    matplotlib.use("Agg")
    # Text stays text (small files, searchable), and the same data give the same file.
    matplotlib.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "vrrpd", "font.family": "sans-serif"})
    from matplotlib import pyplot

    made, panels = pyplot.subplots(1, columns, figsize=(width, height), layout="constrained", squeeze=False, **options)
    for panel in panels[0]:
        panel.spines[["top", "right"]].set_visible(False)
        panel.grid(visible=True, which="major", color="#e0e0e0", linewidth=0.7)
        panel.set_axisbelow(True)
    return made, list(panels[0])


def save(made: Any, path: Path) -> None:
    metadata = {"Date": None} if path.suffix == ".svg" else None
    made.savefig(path, dpi=110, metadata=metadata, facecolor="white")
