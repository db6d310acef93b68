"""All instances and sync groups in tables, and what else is wrong."""

from __future__ import annotations

import time
from collections.abc import Iterable

from vrrpd.log import escape
from vrrpd.shown.words import (
    COLOUR,
    LOUD,
    YELLOW,
    Data,
    Terminal,
    beside,
    duration,
    faults,
    lacking,
    priority,
    result,
)  # fmt: skip


def head(status: Data, terminal: Terminal) -> str:
    config = status.get("config") or {}
    loaded = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(config.get("loaded_at", 0)))
    line = (
        f"vrrpd {status['version']} ({status['release']}), up {duration(status['uptime'])}, "
        f"{config.get('path', '?')} loaded {loaded}"
    )
    lines = terminal.wrapped(escape(line), 0)
    if status.get("maintenance"):
        lines.append(terminal.paint("maintenance is on: this node leaves the address to others", LOUD))
    return "\n".join(lines)


def table(instances: list[Data], terminal: Terminal) -> str:
    """On a narrow terminal without interface and VRID, and with the reasons below."""
    if not instances:
        return "no instance is configured"
    rows = [
        {
            "instance": escape(instance["name"]),
            "state": terminal.state(instance["state"]) + (" (leaving)" if instance.get("leaving") else ""),
            "since": duration(instance["last_transition"]["ago"]) if instance.get("last_transition") else "-",
            "prio": priority(instance),
            "interface": escape(instance["interface"] or "-"),
            "vrid": str(instance["virtual_router_id"]),
            "addresses": _addresses(instance["virtual_ipaddress"]),
            "master": _master(instance),
            "reason": escape(_reason(instance)),
        }
        for instance in instances
    ]
    wide = _tabulated(rows, tuple(rows[0]))
    if not terminal.width or max(len(COLOUR.sub("", line)) for line in wide.splitlines()) <= terminal.width:
        return wide
    narrow = _tabulated(rows, ("instance", "state", "since", "prio", "addresses", "master"))
    margin = max(len(row["instance"]) for row in rows) + 2
    lines = [
        f"{name:<{margin}}{line}"
        for row in rows
        if row["reason"]
        for name, line in beside(row["instance"], terminal.wrapped(row["reason"], margin))
    ]
    return "\n".join((narrow, "", *lines)) if lines else narrow


def _tabulated(rows: list[dict[str, str]], columns: tuple[str, ...]) -> str:
    from tabulate import tabulate  # not for the commands that print no table

    cells = [[row[column] for column in columns] for row in rows]
    return str(tabulate(cells, columns, tablefmt="simple", disable_numparse=True))


def groups(groups: Iterable[Data], terminal: Terminal) -> str:
    """The sync groups, each with what keeps it from being MASTER; nothing without one."""
    rows = [
        {
            "sync group": escape(group["name"]),
            "state": terminal.state(group["state"] or "-") + (" (leaving)" if group["leaving"] else ""),
            "members": "\n".join(map(escape, group["members"])),
            "reason": "\n".join(line for each in group["reasons"] for line in terminal.wrapped(escape(each), 36)),
        }
        for group in groups
    ]
    return "\n" + _tabulated(rows, tuple(rows[0])) if rows else ""


def _addresses(addresses: list[str]) -> str:
    shown = [escape(address) for address in addresses[:3]]
    if len(addresses) > 3:
        shown.append(f"and {len(addresses) - 3} more")
    return "\n".join(shown) or "-"


def _master(instance: Data) -> str:
    if instance["state"] == "MASTER":
        return "this node"
    master = instance.get("master")
    return f"{escape(str(master['address']))} ({master['priority']})" if master else "-"


def _reason(instance: Data) -> str:
    if instance.get("faults") or instance.get("awaited"):
        return "; ".join([*faults(instance), *instance.get("awaited", ())])
    return str((instance.get("last_transition") or {}).get("reason", ""))


def notes(status: Data, terminal: Terminal) -> str:
    """What else is wrong, one line each; nothing on a good day."""
    lines = [
        f"{run['instance']}: {run['keyword']} failed {duration(time.time() - run['at'])} ago: {result(run)}"
        for run in status.get("scripts", ())
        if not _succeeded(run)
    ]
    lines += [
        f"{found['kind']} {found['name']} {found['said']}: {instance['name']} has priority {instance['priority']}"
        for instance in status.get("instances", ())
        for found in instance.get("trackers", ())
        if found["effect"] < 0
    ]
    lines += [f"{lacking(found)}; it is tried again" for found in status.get("missing", ())]
    lines += [
        f"{instance['name']}: {lacking(found)}; it is tried again"
        for instance in status.get("instances", ())
        for found in instance.get("missing", ())
    ]
    lines += [
        f"second path: {peer['peer']} does not answer" for peer in status.get("peer_path") or () if not peer["up"]
    ]
    lines += [
        f"named pipe {pipe['path']}: {pipe['dropped']} lines were dropped, nobody reads it in time"
        for pipe in status.get("fifos") or ()
        if pipe.get("dropped")
    ]
    if (status.get("nftables") or {}).get("error"):
        lines.append(status["nftables"]["error"])
    if status.get("reload_at"):
        when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(status["reload_at"]))
        lines.append(f"a reload is scheduled for {when}")
    mail = status.get("mail") or {}
    if mail.get("queued") and mail.get("last_error"):
        lines.append(f"{mail['queued']} mails wait: {mail['last_error']}")
    lines += [f"{status[key]} {what}" for key, what in LOST.items() if status.get(key)]
    shown = [terminal.paint(line, YELLOW) for each in lines for line in terminal.wrapped(escape(each), 0)]
    return "\n".join(["", *shown]) if shown else ""


LOST = {  # of a status: how often something was lost
    "scripts_dropped": "scripts were not run",
    "transitions_lost": "state changes were not told to scripts and mail",
    "socket_drops": "adverts were dropped by the kernel before they were read",
    "send_errors": "adverts could not be sent",
    "messages_dropped": "messages between the processes were dropped",
}


def _succeeded(run: Data) -> bool:
    return run.get("exit") == 0 and not run.get("error")
