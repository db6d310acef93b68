"""All about one instance."""

from __future__ import annotations

import time
from collections.abc import Iterator

from vrrpd.log import escape
from vrrpd.shown.words import (
    COLOURS,
    RED,
    YELLOW,
    Data,
    Terminal,
    beside,
    clock,
    duration,
    faults,
    lacking,
    left,
    priority,
    result,
)  # fmt: skip

Row = tuple[str, str, str]  # label, text, colour


def detail(
    instance: Data, runs: list[Data], checks: dict[tuple[str, str], Data], status: Data, terminal: Terminal
) -> str:
    rows = [
        *_situation(instance),
        *_identity(instance, status),
        *_belongings(instance),
        *_trust(instance),
        *(
            (f"track_{found['kind']}", _tracker(found, checks.get((found["kind"], found["name"]), {})), "")
            for found in instance.get("trackers", ())
        ),
        *((run["keyword"], f"{result(run)}, {duration(time.time() - run['at'])} ago", "") for run in runs),
        *((name, str(value), "") for name, value in instance.get("counters", {}).items() if value),
    ]
    shown = [row for row in rows if row[1]]
    width = max(len(label) for label, _, _ in shown) + 2
    lines = []
    former = ""
    for label, text, colour in shown:
        for name, line in beside("" if label == former else label, terminal.wrapped(escape(text), width)):
            lines.append(f"{name:<{width}}{terminal.paint(line, colour)}")
        former = label
    return "\n".join(lines)


def _situation(instance: Data) -> Iterator[Row]:
    """What one asks first."""
    state = instance["state"]
    yield "instance", instance["name"], ""
    yield "state", state + (" (leaving)" if instance.get("leaving") else ""), COLOURS.get(state, "")
    yield from (("fault", fault, RED) for fault in faults(instance))
    yield from (("missing", lacking(found), RED) for found in instance.get("missing", ()))
    yield from (("awaited", what, YELLOW) for what in instance.get("awaited", ()))
    yield from (("next", what, "") for what in coming(instance))
    last = instance.get("last_transition")
    if last:
        when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(last["at"]))
        change = f"{last['old']} -> {last['new']}, {duration(last['ago'])} ago ({when}): {last['reason']}"
        yield "last change", change, ""
    master = instance.get("master")
    if state == "MASTER":
        yield "master", "this node", ""
    elif master:
        heard = f"{master['address']}, priority {master['priority']}, heard {master['age']:.2f} s ago"
        yield "master", heard, ""
    else:
        yield "master", "none is heard", ""
    yield "priority", _sum(instance), ""
    yield "sync group", instance.get("sync_group") or "", ""


def coming(instance: Data) -> Iterator[str]:
    """What comes when nothing else does."""
    timer, delay = instance.get("timer"), instance.get("preempt_delay_left")
    if instance.get("leaving") and timer is not None:
        yield f"the addresses are taken off in {left(timer)}, or when a successor is heard"
    elif instance["state"] == "MASTER" and timer is not None:
        yield f"advert in {left(timer)}"
    elif instance["state"] == "BACKUP" and timer is not None:
        yield f"takes over in {left(timer)} if no advert is heard"
    if delay is not None:
        yield f"takes over from the lesser master in {left(delay)} (preempt_delay)"
    for what, due in sorted((instance.get("duties") or {}).items(), key=lambda duty: duty[1] or 0):
        if due is not None:
            yield f"{DUTIES.get(what, what)} in {left(due)}"


DUTIES = {
    "garp_master_delay": "gratuitous ARP (garp_master_delay)",
    "refresh": "gratuitous ARP (garp_master_refresh)",
    "garp_extra_if": "gratuitous ARP (garp_extra_if)",
    "garp_lower_prio_delay": "gratuitous ARP (garp_lower_prio_delay)",
    "answer": "answer to a lesser master",
    "restore": "addresses that are missing put back",
    "vip_lifetime": "addresses renewed (vip_lifetime)",
}


def _sum(instance: Data) -> str:
    """The effective priority, and how it comes about."""
    effective, base = instance["priority"], instance["base_priority"]
    parts = [
        f"{'-' if found['effect'] < 0 else '+'} {abs(found['effect'])} ({found['kind']} {found['name']})"
        for found in instance.get("trackers", ())
        if found["effect"]
    ]
    if not parts:
        return priority(instance)
    total = base + sum(found["effect"] for found in instance["trackers"])
    bound = "" if total == effective else f" = {total}, bounded to 1..254"
    return f"{effective} = {base} {' '.join(parts)}{bound}"


def _identity(instance: Data, status: Data) -> Iterator[Row]:
    delay = instance.get("preempt_delay")
    preempt = f"yes, {delay:g} s after a lesser master is heard" if delay else "yes"
    table = (status.get("nftables") or {}).get("table")
    dropped = f"no: packets to the addresses are dropped{f' (nftables table {table})' if table else ''}"
    yield "vrf" if "vrf" in instance else "interface", instance["interface"], ""
    yield "virtual_router_id", str(instance["virtual_router_id"]), ""
    yield "version", f"{instance['version']} ({instance['family']})", ""
    yield "advert_int", f"{instance['advert_int']:g} s{_other_interval(instance)}", ""
    yield "preempt", preempt if instance["preempt"] else "no", ""
    yield "accept", "" if instance.get("accept", True) else dropped, ""
    yield "source", str(instance.get("source") or "-"), ""
    yield "use_vmac", _vmac(instance.get("vmac") or {}), ""


def _other_interval(instance: Data) -> str:
    """In VRRPv3 a backup counts with its master's."""
    heard = instance.get("master_adver_int", instance["advert_int"])
    return "" if heard == instance["advert_int"] else f", the master's is {heard:g} s"


def _vmac(vmac: Data) -> str:
    """The virtual interface, its MAC address, and where adverts leave from; nothing without one."""
    if not vmac:
        return ""
    adverts = "" if vmac.get("adverts") else ", adverts from the interface itself"
    return " ".join(filter(None, (vmac["interface"], vmac.get("mac")))) + adverts


def _belongings(instance: Data) -> Iterator[Row]:
    """One line each; they are there while it is MASTER."""
    for name in ("virtual_ipaddress", "virtual_ipaddress_excluded", "virtual_routes", "virtual_rules", "unicast_peer"):
        entries = instance.get(name) or (["-"] if name == "virtual_ipaddress" else [])
        yield from ((name, entry, "") for entry in entries)


def _trust(instance: Data) -> Iterator[Row]:
    """Authentication without its secrets, and checksums."""
    yield "auth_type", AUTH_TYPES.get(instance.get("auth_type") or "", ""), ""
    auth = instance.get("auth_hmac")
    if auth:
        sends = "sends none" if auth["mode"] == "receive-only" else f"sends with key {auth['active_key']}"
        yield "auth_hmac", f"{auth['mode']}, {sends}, accepts {', '.join(map(str, auth['keys']))}", ""
    checksum = instance.get("checksum")
    if checksum and (checksum["sent"] != "v3" or checksum["heard"] not in (None, "v3")):
        heard = f", {checksum['heard']} is heard" if checksum["heard"] else ""
        yield "checksum", f"{checksum['sent']} is sent{heard}", ""


AUTH_TYPES = {"PASS": "PASS, a password in clear", "AH": "AH, HMAC-MD5 over each advert"}


def _tracker(found: Data, check: Data) -> str:
    """One thing that an instance tracks: how it is, since when, what that does, how the last look went, the next."""
    if found["value"] is None:
        state = "no result yet"
    else:
        state = f"{found['said']} since {clock(found['since'])}" if found.get("since") else found["said"]
    weight = f"weight {found['weight']}{' reverse' if found['reverse'] else ''}"
    effect = f"{found['effect']:+d}" if found["effect"] else "adds nothing"
    does = "FAULT" if found["fault"] else effect if found["weight"] else "in order"
    return "; ".join(filter(None, (f"{found['name']} {state}", f"{weight}: {does}", *_look(found, check))))


def _look(found: Data, check: Data) -> Iterator[str]:
    """What the helper knows of it."""
    last, streak = check.get("last") or {}, check.get("streak")
    if streak:
        what = f"of {check['fall']} failures" if found["value"] else f"of {check['rise']} successes"
        yield f"{streak} {what} in a row"
    if last.get("duration") is not None:
        yield f"last run {last['result']}, {last['duration']:.3f} s"
    elif check.get("state", "idle") != "idle":
        yield f"{check['state']} since {clock(last['at'])}" if last else check["state"]
    if check.get("next") is not None:
        yield f"next run in {left(check['next'])}"
    for keyword, still in (check.get("delays") or {}).items():
        yield f"{check['running']} run, which counts in {left(still)} ({keyword})"
