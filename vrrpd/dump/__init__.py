"""keepalived's dump files: what its signals write and exporters read. Text (data, stats) and JSON, and how they are
written.

In: the model and a status answer; of interfaces also what the kernel says now. Out: the text in keepalived's form,
names and order of its lines (seen with 2.2.7; JSON version 2 from its vrrp_json.c). Left out is what only its other
parts have (LVS, BFD, SNMP, D-Bus); a password is masked. It runs in a child of the helper, which decodes the whole
model for the purpose. The sections: definitions.py (global_defs), items.py (static ones), instances.py, tracking.py,
interfaces.py; routes and rules in words: roads.py.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, NamedTuple

from vrrpd.atomic import write
from vrrpd.dump import threads
from vrrpd.dump.data import as_data, as_parent
from vrrpd.dump.objects import as_json
from vrrpd.dump.statistics import as_stats

if TYPE_CHECKING:
    from vrrpd.model.model import Model

# Not a file but lines of the log: SIGRTMAX, and -d.
LOGGED: dict[str, Callable[[Model, dict[str, Any]], Iterable[str]]] = {
    "threads": threads.lines,
    "configuration": lambda model, status: as_data(model, status).splitlines(),
}

Maker = Callable[["Model", dict[str, Any]], str]


class File(NamedTuple):
    keyword: str  # of global_defs, which gives the path
    name: str  # in the temporary folder
    part: str  # of keepalived: its name goes into that of the file
    content: Maker


# By the kind of dump; DATA is written by each process of keepalived, so there are two of it.
KINDS: dict[str, tuple[File, ...]] = {
    "data": (
        File("state_dump_file", "keepalived.data", "", as_data),
        File("state_dump_file", "keepalived.data", "parent", as_parent),
    ),
    "stats": (File("stats_dump_file", "keepalived.stats", "", lambda model, status: as_stats(status)),),
    "json": (
        File(
            "json_dump_file",
            "keepalived.json",
            "",
            lambda model, status: as_json(model, status, model.global_defs.json_version),
        ),
    ),
}


def path_of(file: File, model: Model, tag: str = "") -> str:
    """Where it goes; `tag`: instance and namespace, which data_use_instance puts into the name."""
    said = str(getattr(model.global_defs, file.keyword))
    path = said or os.path.join(os.environ.get("TMPDIR") or "/tmp", file.name)
    parts = [file.part, tag if model.global_defs.data_use_instance and not said else ""]
    stem, end = os.path.splitext(path)
    return "_".join(filter(None, (stem, *parts))) + end


def make(kind: str, model: Model, status: dict[str, Any], tag: str = "", umask: int | None = None) -> None:
    """Write what belongs to a kind, for us alone unless a umask was said; raises OSError."""
    mask = model.global_defs.umask if umask is None else umask
    for file in KINDS[kind]:
        write(path_of(file, model, tag), file.content(model, status), 0o600 if mask is None else 0o666 & ~mask)
