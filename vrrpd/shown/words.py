"""The terminal, and words that the table and the details have both."""

from __future__ import annotations

import re
import textwrap
import time
from collections.abc import Iterable, Iterator
from typing import Any

Data = dict[str, Any]

COLOURS = {"MASTER": "32;1", "BACKUP": "36", "FAULT": "31;1", "INIT": "33"}
COLOUR = re.compile(r"\x1b\[[0-9;]*m")
RED, YELLOW, LOUD = "31", "33", "33;1"
LEAST = 20  # columns that a text gets at least


class Terminal:
    """Colours only where a person looks; `width` in columns, 0 for as wide as it gets."""

    def __init__(self, colour: bool, width: int = 0) -> None:
        self._colour = colour
        self.width = width

    def paint(self, text: str, code: str) -> str:
        return f"\x1b[{code}m{text}\x1b[0m" if self._colour and code else text

    def state(self, state: str) -> str:
        return self.paint(state, COLOURS.get(state, ""))

    def wrapped(self, text: str, used: int) -> list[str]:
        """`text` behind `used` columns, in lines; a word that is too long stays whole, to be copied."""
        if not self.width or used + len(text) <= self.width:
            return [text]
        width = max(LEAST, self.width - used)
        wrap = textwrap.TextWrapper(width, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False)
        return wrap.wrap(text) or [text]


def duration(seconds: float) -> str:
    """Two units are enough: 4 s, 3 min 10 s, 2 h 5 min, 12 d 3 h."""
    whole = max(0, int(seconds))
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    if whole < 86400:
        return f"{whole // 3600} h {whole % 3600 // 60} min"
    return f"{whole // 86400} d {whole % 86400 // 3600} h"


def left(seconds: float) -> str:
    """What is still to be waited for."""
    return duration(seconds) if seconds >= 10 else f"{seconds:.1f} s"


def clock(at: float) -> str:
    """The time of day, with the date where that was another one."""
    there, today = time.localtime(at), time.localtime()
    return time.strftime("%H:%M:%S" if there[:3] == today[:3] else "%Y-%m-%d %H:%M:%S", there)


def priority(instance: Data) -> str:
    effective, base = instance["priority"], instance["base_priority"]
    return str(effective) if effective == base else f"{effective} ({base})"


def faults(instance: Data) -> list[str]:
    """What keeps it in FAULT; of what it tracks also since when."""
    since = {found["fault"]: found["since"] for found in instance.get("trackers", ()) if found.get("since")}
    return [f"{fault} since {clock(since[fault])}" if fault in since else fault for fault in instance["faults"]]


def lacking(found: Data) -> str:
    """A route, a rule or an address that the kernel does not take."""
    return f"{found['what']} is missing since {clock(found['since'])}: {found['why']}"


def result(run: Data) -> str:
    """How a notify script ended."""
    what = f"killed by {run['signal']}" if "signal" in run else f"exit status {run['exit']}" if "exit" in run else ""
    took = f"after {run['duration']:.2f} s" if what else ""
    return " ".join(filter(None, (what, took, f"({run['error']})" if what and run.get("error") else run.get("error"))))


def beside(label: str, lines: Iterable[str]) -> Iterator[tuple[str, str]]:
    """The label beside the first line alone."""
    for line in lines:
        yield label, line
        label = ""
