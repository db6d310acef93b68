"""The daemons that the benchmarks compare, as nodes run them; the laboratory they run in is tests/netns/lab.py."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "tests/netns"))

from lab import Daemon, Keepalived, Ours  # noqa: E402

PRIORITY = {"a": 150, "b": 100}
SYSTEM_PYTHON = Path("/usr/bin/python3")


class Vrrpd(Ours):
    """With the system's Python and without site-packages, as the launcher on a node starts it; to syslog."""

    def argv(self) -> list[str]:
        python = SYSTEM_PYTHON if SYSTEM_PYTHON.exists() else Path(sys.executable)
        return [str(python), "-S", *(word for word in super().argv()[1:] if word != "-l")]


class Packaged(Keepalived):
    """To syslog, and without details (-D): on the console a line costs it a millisecond, 4000 takeovers cost 8 s."""

    def argv(self) -> list[str]:
        return [word for word in super().argv() if word not in ("-l", "-D")]


KINDS: dict[str, type[Daemon]] = {"vrrpd": Vrrpd, "keepalived": Packaged}


def chosen(parser: argparse.ArgumentParser, wanted: str) -> list[str]:
    """The kinds of --daemons; keepalived only where it is installed."""
    kinds = wanted.split(",")
    if unknown := set(kinds) - set(KINDS):
        parser.error(f"--daemons: {', '.join(sorted(unknown))}: not one of {', '.join(KINDS)}")
    if "keepalived" in kinds and not Keepalived.binary:
        print("keepalived is not installed: this daemon alone is measured", file=sys.stderr)
        kinds.remove("keepalived")
    return kinds
