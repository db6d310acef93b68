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

sys.path[:0] = [str(Path(__file__).resolve().parents[2])]
with atheris.instrument_imports(include=["vrrpd"]):
    from vrrpd.check_config import exit_status
    from vrrpd.conf import expand
    from vrrpd.model.compiled import decode, encode
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
    loaded = load("fuzz.conf", text=text, lenient=bool(data[:1] and data[0] & 1), node_name="x", max_lines=300)
    status = exit_status(loaded)
    assert status in (0, 4, 5, 6)
    assert (loaded.model is None) == bool(status)
    lines = text.replace("\r\n", "\n").split("\n")
    for diagnostic in loaded.diagnostics:
        diagnostic.render().encode()
        if diagnostic.file == "fuzz.conf" and diagnostic.line:
            assert 1 <= diagnostic.line <= len(lines)
            assert diagnostic.column >= 1
            assert diagnostic.length >= 1
    if loaded.model:
        back = decode(encode(loaded.model))
        assert decode(encode(back)) == back
        for instance in loaded.model.vrrp_instances:
            assert instance.interface
            assert 1 <= instance.virtual_router_id <= 255
            assert 1 <= instance.priority <= 255


if __name__ == "__main__":
    argv = [argument if argument.startswith("-") else os.path.abspath(argument) for argument in sys.argv]
    enclose()
    atheris.Setup(argv, one)
    atheris.Fuzz()
