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
    """With the system's Python and without site-packages, as the launcher on a node starts it."""

    def argv(self) -> list[str]:
        python = SYSTEM_PYTHON if SYSTEM_PYTHON.exists() else Path(sys.executable)
        return [str(python), "-S", *super().argv()[1:]]


class Quiet(Keepalived):
    """Without the line for each address and ARP that -D brings: 4000 routers would measure the log."""

    def argv(self) -> list[str]:
        return [word for word in super().argv() if word != "-D"]


KINDS: dict[str, type[Daemon]] = {"vrrpd": Vrrpd, "keepalived": Quiet}


def chosen(parser: argparse.ArgumentParser, wanted: str) -> list[str]:
    """The kinds of --daemons; keepalived only where it is installed."""
    kinds = wanted.split(",")
    if unknown := set(kinds) - set(KINDS):
        parser.error(f"--daemons: {', '.join(sorted(unknown))}: not one of {', '.join(KINDS)}")
    if "keepalived" in kinds and not Keepalived.binary:
        print("keepalived is not installed: this daemon alone is measured", file=sys.stderr)
        kinds.remove("keepalived")
    return kinds
