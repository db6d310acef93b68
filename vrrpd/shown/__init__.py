"""A status answer for people: the table of all instances, and all about one of them.

In: the JSON of the daemon, a terminal. Out: text that fits the terminal, the most urgent first: what is wrong and since
when, what is awaited and how long it still takes, then what things are. Text that came from outside (peers, scripts,
configuration) is escaped before it meets a terminal.
"""

from __future__ import annotations

from vrrpd.log import escape
from vrrpd.shown.detail import detail
from vrrpd.shown.overview import groups, head, notes, table
from vrrpd.shown.words import Data, Terminal


class Unknown(Exception):
    """There is no instance or sync group of that name; the text says which there are."""


def show_status(status: Data, name: str, terminal: Terminal) -> str:
    """Of everything, or with a name of one instance or sync group; raises Unknown."""
    instances = status["instances"]
    if not name:
        parts = (
            head(status, terminal),
            table(instances, terminal),
            groups(status.get("sync_groups", ()), terminal),
            notes(status, terminal),
        )
        return "\n".join(filter(None, parts))
    found = find(status, name)
    if "members" in found:
        members = [instance for instance in instances if instance["name"] in found["members"]]
        return "\n".join((table(members, terminal), groups([found], terminal)))
    runs = [run for run in status.get("scripts", ()) if run["instance"] == name]
    checks = {(check["kind"], check["name"]): check for check in status.get("trackers", ())}
    return detail(found, runs, checks, status, terminal)


def find(status: Data, name: str) -> Data:
    """The instance or sync group of that name."""
    everybody: list[Data] = [*status["instances"], *status.get("sync_groups", ())]
    for each in everybody:
        if each["name"] == name:
            return each
    known = ", ".join(each["name"] for each in everybody) or "none"
    what = "instance or sync group" if status.get("sync_groups") else "instance"
    raise Unknown(f"no {what} is called {escape(name)}; there are: {escape(known)}")
