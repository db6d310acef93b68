#!/usr/bin/env python3
"""Fuzz target: any text as a configuration, with and without --lenient.

A model or diagnostics, never an exception; every diagnostic can be shown and points into the text; a model survives
its journey to the other processes. Time and memory are bounded by run.py. What a text includes is looked for in a
folder of its own, with files that include each other and themselves: a fuzzer that writes `include` finds those, and
nothing of this machine.
"""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

import atheris

sys.path[:0] = [str(Path(__file__).resolve().parents[2]), str(Path(__file__).resolve().parents[1])]
with atheris.instrument_imports(include=["vrrpd"]):
    from reading import judge

    from vrrpd.conf import expand
    from vrrpd.model.load import load

INCLUDED = {
    "a": "vrrp_instance A {\ninterface eth0\nvirtual_router_id 7\nvirtual_ipaddress {\n192.0.2.7\n}\n}\n",
    "b": "priority 50\ninclude b\n",
    "c": "include a\n$X=\\\n1\\\n2\n",
    "d": "}\ninclude c\nvrrp_instance D {\n",
}
OUTSIDE = re.compile(r"^[\"']?/|\.\.|~|[{,]\s*/")


def enclose() -> None:
    """Includes stay in the folder."""
    folder = Path(__file__).resolve().parents[2] / ".lab/fuzz/included"
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in INCLUDED.items():
        (folder / name).write_text(text, encoding="utf-8")
    os.chdir(folder)
    matches = expand.Reader._matches

    def enclosed(self: expand.Reader, argument: str, *rest: object) -> list[str]:
        return [] if OUTSIDE.search(argument) else matches(self, argument, *rest)  # type: ignore[arg-type]

    expand.Reader._matches = enclosed  # type: ignore[method-assign,assignment]


def one(data: bytes) -> None:
    text = data[1:].decode("utf-8", "surrogateescape")
    lenient = bool(data[:1] and data[0] & 1)
    judge(load("fuzz.conf", text=text, lenient=lenient, node_name="x", max_lines=300), "fuzz.conf", text)


if __name__ == "__main__":
    argv = [argument if argument.startswith("-") else os.path.abspath(argument) for argument in sys.argv]
    enclose()
    atheris.Setup(argv, one)
    atheris.Fuzz()
