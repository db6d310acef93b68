"""What each part of the daemon waits for, for the log: keepalived's dump of its threads (SIGRTMAX).

We have processes and timers instead: which processes there are, when each timer of an instance is due, which checks
run, and what is queued.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from vrrpd.shown.detail import coming
from vrrpd.shown.words import left

if TYPE_CHECKING:
    from vrrpd.dump.words import Live
    from vrrpd.model.model import Model


def lines(model: Model, status: dict[str, Any]) -> Iterator[str]:
    yield "processes: " + ", ".join(f"{name} {pid}" for name, pid in status.get("processes", {}).items())
    for live in status["instances"]:
        waits = "; ".join([*coming(live), *live.get("awaited", ())]) or "nothing"
        yield f"instance {live['name']} {live['state']}: {waits}"
    for check in status.get("trackers", ()):
        yield f"{check['kind']} {check['name']}: {_awaits(check)}"
    queues = {
        "scripts": status.get("scripts_queued", 0),
        "mails": (status.get("mail") or {}).get("queued", 0),
    }
    yield "queued: " + ", ".join(f"{count} {what}" for what, count in queues.items())
    for pipe in status.get("fifos", ()):
        reader = f"read by process {pipe['reader']}" if pipe["reader"] else "without a reader of ours"
        yield f"named pipe {pipe['path']}: {reader}, {pipe['dropped']} lines dropped"


def _awaits(check: Live) -> str:
    found = [f"{keyword} ends in {left(still)}" for keyword, still in (check.get("delays") or {}).items()]
    if "next" in check:
        found.append(f"{check['state']}, next run in {left(check['next'])}")
    elif not found:
        found.append("the kernel's word" if check.get("events", True) else "the next look")
    return "; ".join(found)
