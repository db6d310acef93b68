"""keepalived's dump files: what its signals write and exporters read. Text (data, stats) and JSON, and how they are
written.

In: the model and a status answer. Out: the text in keepalived's form, names and order of its lines (seen with 2.2.7;
JSON version 2 from its vrrp_json.c). Left out is what only its own processes have (file descriptors, checkers,
buffers); a password is masked. It runs in a child of the helper, which decodes the whole model for the purpose.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from vrrpd.model.values import FILE, PROCESS, SCRIPT
from vrrpd.vrrp.records import text
from vrrpd.vrrp.track import tracks

if TYPE_CHECKING:
    from vrrpd.model.globals import GlobalDefs
    from vrrpd.model.groups import VrrpSyncGroup
    from vrrpd.model.model import Model
    from vrrpd.model.scripts import Script
    from vrrpd.model.trackers import TrackProcess, Weight
    from vrrpd.model.values import VirtualAddress
    from vrrpd.model.vrrp import VrrpInstance

Live = dict[str, Any]  # an instance of a status answer

STATES = {"INIT": 0, "BACKUP": 1, "MASTER": 2, "FAULT": 3}
MASKED = "********"
SCOPES = {0: "global", 200: "site", 253: "link", 254: "host", 255: "nowhere"}
# ifaddr(7), linux/if_addr.h
FLAGS = {0x10: "home", 0x100: "mngtmpaddr", 0x200: "noprefixroute", 0x400: "autojoin"}
FOREVER = 0xFFFFFFFF
MANY = 65535  # quorum_max that says nothing
STATS = (
    "advert_rcvd", "advert_sent", "become_master", "release_master", "packet_len_err", "advert_interval_err",
    "ip_ttl_err", "invalid_type_rcvd", "addr_list_err", "invalid_authtype", "authtype_mismatch", "auth_failure",
    "pri_zero_rcvd", "pri_zero_sent",
)  # fmt: skip
AUTH_TYPES = {"": "none", "PASS": "SIMPLE_PASSWORD", "AH": "IPSEC_AH"}
AH = ("ah_invalid", "ah_spi_err", "ah_replay")  # keepalived counts them all as auth_failure
SCRIPTS = (  # in the order of the files: keyword, name in JSON, name in the text
    ("notify_backup", "script_backup", "Backup state transition script"),
    ("notify_master", "script_master", "Master state transition script"),
    ("notify_fault", "script_fault", "Fault state transition script"),
    ("notify_stop", "script_stop", "Stop state transition script"),
    ("notify_deleted", "script_deleted", "Deleted state transition script"),
    ("notify", "script", "Generic state transition script"),
    ("notify_master_rx_lower_pri", "script_master_rx_lower_pri", "Master rx lower pri state transition script"),
)


# ----------------------------------------------------------------------------------------------------------- files
def write(path: str, content: str, mode: int = 0o600) -> None:
    """Atomically, and without following what somebody may have put there: the folder may be /tmp."""
    folder, name = os.path.split(path)
    temporary = os.path.join(folder, f".{name}.{os.getpid()}")
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(fd, "w", encoding="utf-8", errors="surrogateescape") as file:
            file.write(content)
            os.fchmod(file.fileno(), mode)
        os.rename(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise


# ------------------------------------------------------------------------------------------------------------ JSON
def as_json(model: Model, status: dict[str, Any], version: int = 1) -> str:
    """Version 1 is an array of instances, version 2 an object with an array of them."""
    commands = {check.name: _command(check.script) for check in model.vrrp_scripts}
    entries = [
        {"data": _json_data(cfg, live, commands), "stats": _json_stats(live["counters"])}
        for cfg, live in _pairs(model, status)
    ]
    found: Any = entries
    if version == 2:
        processes = [
            _json_process(process, _tracker(status, PROCESS, process.name)) for process in model.track_processes
        ]
        found = {"vrrp": entries, **({"track_process": processes} if processes else {})}
    return json.dumps(found, separators=(",", ":")) + "\n"


def _json_data(cfg: VrrpInstance, live: Live, commands: dict[str, str]) -> dict[str, Any]:
    data: dict[str, Any] = {
        "iname": cfg.name,
        "dont_track_primary": int(getattr(cfg, "dont_track_primary", False)),
        "skip_check_adv_addr": int(cfg.skip_check_adv_addr),
        "strict_mode": int(getattr(cfg, "strict_mode", False) or False),
        "vmac_ifname": cfg.vmac.name if cfg.vmac else "",
        "ifp_ifname": cfg.vmac.name if cfg.vmac else cfg.interface,
        "master_priority": (live.get("master") or {}).get("priority", 0),
        "last_transition": _at(live),
        "garp_delay": _number(cfg.garp_master_delay),
        "garp_refresh": int(cfg.garp_master_refresh),
        "garp_rep": cfg.garp_master_repeat,
        "garp_refresh_rep": cfg.garp_master_refresh_repeat,
        "garp_lower_prio_delay": int(cfg.garp_lower_prio_delay),
        "garp_lower_prio_rep": cfg.garp_lower_prio_repeat,
        "lower_prio_no_advert": int(cfg.lower_prio_no_advert),
        "higher_prio_send_advert": int(cfg.higher_prio_send_advert),
        "vrid": cfg.virtual_router_id,
        "base_priority": cfg.priority,
        "effective_priority": live["priority"],
        "vipset": live["state"] == "MASTER",
        "promote_secondaries": cfg.promote_secondaries,
        "adver_int": _number(cfg.advert_int),
        "master_adver_int": _number(live["master_adver_int"]),
        "accept": int(cfg.accept),
        "nopreempt": not cfg.preempt,
        "preempt_delay": int(cfg.preempt_delay),
        "state": STATES.get(live["state"], 0),
        "wantstate": STATES.get(live["state"], 0),
        "version": cfg.version,
        "smtp_alert": cfg.smtp_alert,
        "notify_deleted": cfg.notify_deleted is not None,
    }
    for keyword, name, _ in SCRIPTS:
        script = getattr(cfg, keyword)
        if script is not None and script.argv:
            data[name] = _command(script)
    lists = {
        "vips": _addresses(cfg, cfg.virtual_ipaddress, live),
        "evips": _addresses(cfg, cfg.virtual_ipaddress_excluded, live),
        "track_ifp": [track.name for track in cfg.track_interface],
        "track_script": [commands.get(track.name, track.name) for track in cfg.track_script],
        "track_process": [track.name for track in cfg.track_process],
    }
    data.update((name, values) for name, values in lists.items() if values)
    data["auth_type"] = 0 if cfg.authentication is None else 2 if cfg.authentication.auth_type == "AH" else 1
    if cfg.authentication:
        data["auth_data"] = MASKED
    return data


def _json_stats(counters: dict[str, int]) -> dict[str, int]:
    """auth_ext_*, as keepalived has them since 2.4, of an instance with auth_hmac."""
    stats = {name: counters.get(name, 0) for name in STATS}
    stats["auth_failure"] = _failures(counters)
    return {**stats, **{name: count for name, count in counters.items() if name.startswith("auth_ext_")}}


def _failures(counters: dict[str, int]) -> int:
    return sum(counters.get(name, 0) for name in ("auth_failure", *AH))


def _json_process(process: TrackProcess, live: Live) -> dict[str, Any]:
    weight = process.weight
    return {
        "process": process.process[0],
        **({"parameters": " ".join(process.process[1:])} if process.process[1:] else {}),
        "param_match": process.param_match or ("exact" if process.process[1:] else "none"),
        "min_processes": process.quorum,
        **({"max_processes": process.quorum_max} if process.quorum_max < MANY else {}),
        "current_processes": live.get("running", 0),
        "have_quorum": bool(live.get("value")),
        "weight": -weight.value if weight.reverse else weight.value,
        "terminate_delay": _number(process.terminate_delay or process.delay),
        "fork_delay": _number(process.fork_delay or process.delay),
        "fork_delay_timer_running": False,
        "terminate_delay_timer_running": False,
        "full_command": process.full_command,
    }


# ----------------------------------------------------------------------------------------------------------- stats
def as_stats(status: dict[str, Any]) -> str:
    return "".join(f"{line}\n" for live in status["instances"] for line in _stats(live))


def _stats(live: Live) -> Iterator[str]:
    count = live["counters"].get
    yield f"VRRP Instance: {live['name']}"
    yield "  Advertisements:"
    yield f"    Received: {count('advert_rcvd', 0)}"
    yield f"    Sent: {count('advert_sent', 0)}"
    yield f"  Became master: {count('become_master', 0)}"
    yield f"  Released master: {count('release_master', 0)}"
    yield "  Packet Errors:"
    yield f"    Length: {count('packet_len_err', 0)}"
    yield f"    TTL: {count('ip_ttl_err', 0)}"
    yield f"    Invalid Type: {count('invalid_type_rcvd', 0)}"
    yield f"    Advertisement Interval: {count('advert_interval_err', 0)}"
    yield f"    Address List: {count('addr_list_err', 0)}"
    yield "  Authentication Errors:"
    yield f"    Invalid Type: {count('invalid_authtype', 0)}"
    yield f"    Type Mismatch: {count('authtype_mismatch', 0)}"
    yield f"    Failure: {_failures(live['counters'])}"
    yield "  Priority Zero:"
    yield f"    Received: {count('pri_zero_rcvd', 0)}"
    yield f"    Sent: {count('pri_zero_sent', 0)}"


# ------------------------------------------------------------------------------------------------------------ data
def as_data(model: Model, status: dict[str, Any]) -> str:
    lines = ["------< Global definitions >------", *_global(model.global_defs)]
    lines += ["------< VRRP Topology >------"]
    for cfg, live in _pairs(model, status):
        lines += _instance(cfg, live)
    if model.vrrp_sync_groups:
        lines += ["------< VRRP Sync groups >------"]
    states = {entry["name"]: entry["state"] for entry in status["instances"]}
    for group in model.vrrp_sync_groups:
        lines += _group(group, [states.get(name, "INIT") for name in group.group])
    for title, section in (
        ("VRRP Scripts", _scripts(model, status)),
        ("VRRP Track files", _files(model, status)),
        ("VRRP Track processes", _processes(model, status)),
    ):
        found = list(section)
        lines += [f"------< {title} >------", *found] if found else []
    return "".join(f"{line}\n" for line in lines)


def _global(defs: GlobalDefs) -> Iterator[str]:
    yield f" Router ID = {defs.router_id}"
    if defs.smtp_server:
        host, port = defs.smtp_server
        yield f" Smtp server = {host}"
        yield f" Smtp server port = {port}"
        if defs.smtp_helo_name:
            yield f" Smtp HELO name = {defs.smtp_helo_name}"
        yield f" Smtp server connection timeout = {_number(defs.smtp_connect_timeout)}"
    if defs.notification_email_from:
        yield f" Email notification from = {defs.notification_email_from}"
    if defs.notification_email:
        yield " Email notification to:"
        for address in defs.notification_email:
            yield f"   {address}"
    yield f" Default smtp_alert = {_switch(defs.smtp_alert)}"
    yield f" Default smtp_alert_vrrp = {_switch(defs.smtp_alert_vrrp)}"
    yield f" Dynamic interfaces = {_boolean(True)}"
    for name, fifo, script in (
        ("Global", defs.notify_fifo, defs.notify_fifo_script),
        ("VRRP", defs.vrrp_notify_fifo, defs.vrrp_notify_fifo_script),
    ):
        if fifo is not None:
            yield f" {name} notify fifo = {fifo.path}"
        if fifo is not None and script is not None:
            yield f" {name} notify fifo script = {_command(script)} '{fifo.path}'"
    yield f" FIFO write vrrp states on reload = {_boolean(defs.fifo_write_vrrp_states_on_reload)}"
    yield f" VRRP notify priority changes = {_boolean(defs.vrrp_notify_priority_changes)}"
    yield f" VRRP IPv4 mcast group = {text(defs.vrrp_mcast_group4)}"
    yield f" VRRP IPv6 mcast group = {text(defs.vrrp_mcast_group6)}"
    yield f" Gratuitous ARP delay = {_number(defs.vrrp_garp_master_delay)}"
    yield f" Gratuitous ARP repeat = {defs.vrrp_garp_master_repeat}"
    yield f" Gratuitous ARP refresh timer = {_number(defs.vrrp_garp_master_refresh)}"
    yield f" Gratuitous ARP refresh repeat = {defs.vrrp_garp_master_refresh_repeat}"
    yield f" Gratuitous ARP lower priority delay = {_number(defs.vrrp_garp_lower_prio_delay or 0)}"
    yield f" Gratuitous ARP lower priority repeat = {defs.vrrp_garp_lower_prio_repeat}"
    yield f" Num adverts before down = {defs.vrrp_down_timer_adverts}"
    yield f" Send advert after receive lower priority advert = {_boolean(not defs.vrrp_lower_prio_no_advert)}"
    yield f" Send advert after receive higher priority advert = {_boolean(defs.vrrp_higher_prio_send_advert)}"
    yield f" Gratuitous ARP interval = {defs.vrrp_garp_interval:.6f}"
    yield f" Gratuitous NA interval = {defs.vrrp_gna_interval:.6f}"
    yield f" VRRP default protocol version = {defs.vrrp_version}"
    yield f" VRRP check unicast_src = {_boolean(defs.vrrp_check_unicast_src)}"
    yield f" VRRP skip check advert addresses = {_boolean(defs.vrrp_skip_check_adv_addr)}"
    yield f" Script security {'enabled' if defs.enable_script_security else 'disabled'}"


def _instance(cfg: VrrpInstance, live: Live) -> Iterator[str]:
    state, master, faults = live["state"], live.get("master") or {}, live.get("faults") or ()
    yield f" VRRP Instance = {cfg.name}"
    yield f"   VRRP Version = {cfg.version}"
    if len(cfg.mcast_group) == 16 and not cfg.unicast_peer:
        yield "   Using Native IPv6"
    if live.get("sync_group"):
        yield f"   Sync group = {live['sync_group']}"
    yield f"   State = {state}"
    if state == "BACKUP":
        yield f"   Master router = {master.get('address', '0.0.0.0')}"
        yield f"   Master priority = {master.get('priority', 0)}"
        if cfg.version == 3:
            yield f"   Master advert int = {live['master_adver_int']:.2f} sec"
    yield from ("   Flags:", "     Using unicast") if cfg.unicast_peer else ("   Flags: none",)
    yield f"   Wantstate = {state}"
    yield "   Number of config faults = 0"
    yield f"   Number of interface and track script faults = {len(faults)}"
    yield "   Number of track scripts init = 0"
    yield f"   Last transition = {_moment(_at(live))}"
    yield f"   Master down timer = {int(live['master_down_interval'] * 1e6)} usecs"
    if cfg.vmac is not None:
        xmit = _boolean(cfg.vmac_xmit_base)
        yield f"   Use VMAC, i/f name {cfg.vmac.name}, is_up = {_boolean(not faults)}, xmit_base = {xmit}"
        yield f"   Interface = {cfg.vmac.name}, vmac on {cfg.interface}"
    else:
        yield f"   Interface = {cfg.interface}"
    if getattr(cfg, "dont_track_primary", False):
        yield "   VRRP interface tracking disabled"
    if cfg.skip_check_adv_addr:
        yield "   Skip checking advert IP addresses"
    said = cfg.unicast_src_ip or cfg.mcast_src_ip
    yield f"   Using src_ip = {live.get('source') or '(none)'}{' (from configuration)' if said else ''}"
    if not cfg.unicast_peer:
        yield f"   Multicast address {text(cfg.mcast_group)}"
    yield f"   Gratuitous ARP delay = {_number(cfg.garp_master_delay)}"
    yield f"   Gratuitous ARP repeat = {cfg.garp_master_repeat}"
    yield f"   Gratuitous ARP refresh = {_number(cfg.garp_master_refresh)}"
    yield f"   Gratuitous ARP refresh repeat = {cfg.garp_master_refresh_repeat}"
    yield f"   Gratuitous ARP lower priority delay = {_number(cfg.garp_lower_prio_delay)}"
    yield f"   Gratuitous ARP lower priority repeat = {cfg.garp_lower_prio_repeat}"
    yield f"   Down timer adverts = {cfg.down_timer_adverts}"
    yield f"   Send advert after receive lower priority advert = {_boolean(not cfg.lower_prio_no_advert)}"
    yield f"   Send advert after receive higher priority advert = {_boolean(cfg.higher_prio_send_advert)}"
    yield f"   Virtual Router ID = {cfg.virtual_router_id}"
    yield f"   Priority = {cfg.priority}"
    yield f"   Effective priority = {live['priority']}"
    yield f"   Total priority = {live['priority']}"
    yield f"   Advert interval = {_interval(cfg, cfg.advert_int)}"
    if cfg.version == 3 and state == "BACKUP":
        yield f"   Master advert interval = {_interval(cfg, live['master_adver_int'])}"
    yield f"   Accept = {_able(cfg.accept)}"
    yield f"   Preempt = {_able(cfg.preempt)}"
    if cfg.preempt_delay:
        yield f"   Preempt delay = {_number(cfg.preempt_delay)} secs"
    yield f"   Promote_secondaries = {_able(cfg.promote_secondaries)}"
    if cfg.version == 2:
        kind = cfg.authentication.auth_type if cfg.authentication else ""
        yield f"   Authentication type = {AUTH_TYPES[kind]}"
        if cfg.authentication:
            yield f"   Password = {MASKED}"
    if cfg.virtual_ipaddress:
        yield f"   Virtual IP ({len(cfg.virtual_ipaddress)}):"
        yield from _indented(_addresses(cfg, cfg.virtual_ipaddress, live))
    if cfg.virtual_ipaddress_excluded:
        yield "   Virtual IP Excluded :"
        yield from _indented(_addresses(cfg, cfg.virtual_ipaddress_excluded, live))
    if cfg.unicast_peer:
        yield f"   Unicast TTL = {cfg.unicast_ttl}"
        yield f"   Check unicast src : {_yes(cfg.check_unicast_src)}"
        yield "   Unicast Peer :"
        for peer, bounds in zip(cfg.unicast_peer, cfg.unicast_peer_ttl):
            yield "     {} min_ttl {} max_ttl {}".format(text(peer), *bounds)
        yield "   Unicast checksum compatibility = no"
    for title, between, lines in (
        ("interfaces", "", cfg.track_interface),
        ("scripts", "", cfg.track_script),
        ("files", ",", cfg.track_file),
        ("processes", ",", cfg.track_process),
    ):
        if lines:
            yield f"   Tracked {title} :"
            yield from _indented(f"{t.name}{between} weight {t.weight}{' reverse' if t.reverse else ''}" for t in lines)
    yield f"   Using smtp notification = {_yes(cfg.smtp_alert)}"
    yield f"   Notify deleted = {'Fault' if cfg.notify_deleted is None else 'Deleted'}"
    for keyword, _, name in SCRIPTS:
        script = getattr(cfg, keyword)
        if script is not None and script.argv:
            yield f"   {name} = {_command(script)}"
    yield f"   Notify priority changes = {_boolean(cfg.notify_priority_changes)}"


def _group(group: VrrpSyncGroup, states: Sequence[str]) -> Iterator[str]:
    """`states` are those of its members: the worst of them is its own while they differ."""
    state = min(states, key=("FAULT", "INIT", "BACKUP", "MASTER").index)
    yield f" VRRP Sync Group = {group.name}, {state}"
    yield f"   Num member fault {states.count('FAULT')}, num member init {states.count('INIT')}"
    yield "   VRRP member instances :"
    yield from _indented(group.group)
    yield f"   Using smtp notification = {_yes(group.smtp_alert)}"
    for keyword, _, name in SCRIPTS:
        script = getattr(group, keyword, None)
        if script is not None and script.argv:
            yield f"   {name} = {_command(script)}"


def _scripts(model: Model, status: dict[str, Any]) -> Iterator[str]:
    for check in model.vrrp_scripts:
        live = _tracker(status, SCRIPT, check.name)
        yield f" VRRP Script = {check.name}"
        yield f"   Command = {_command(check.script)}"
        yield f"   Interval = {_number(check.interval)} sec"
        yield f"   Timeout = {_number(check.timeout)} sec"
        yield f"   Weight = {_weight(check.weight)}"
        yield f"   Rise = {check.rise}"
        yield f"   Fall = {check.fall}"
        yield f"   Status = {'INIT' if live.get('value') is None else 'GOOD' if live['value'] else 'BAD'}"
        yield from _trackers(model, SCRIPT, check.name)
        yield "   State = idle"


def _files(model: Model, status: dict[str, Any]) -> Iterator[str]:
    for file in model.track_files:
        yield f" Track file = {file.name}"
        yield f"   File = {file.file}"
        yield f"   Status = {_tracker(status, FILE, file.name).get('value') or 0}"
        yield f"   Weight = {_weight(file.weight)}"
        yield from _trackers(model, FILE, file.name)


def _processes(model: Model, status: dict[str, Any]) -> Iterator[str]:
    for process in model.track_processes:
        live = _tracker(status, PROCESS, process.name)
        yield f" VRRP Track process = {process.name}"
        yield f"   Process = {process.process[0]}"
        if process.process[1:]:
            yield f"   Parameters = {' '.join(process.process[1:])}"
        yield f"   Min processes = {process.quorum}"
        if process.quorum_max < MANY:
            yield f"   Max processes = {process.quorum_max}"
        yield f"   Current processes = {live.get('running', 0)}"
        yield f"   Have quorum = {_boolean(live.get('value'))}"
        yield f"   Weight = {_weight(process.weight)}"
        yield f"   Terminate delay = {process.terminate_delay or process.delay:.6f}s"
        yield f"   Fork delay = {process.fork_delay or process.delay:.6f}s"
        yield f"   Full command = {_boolean(process.full_command)}"
        yield from _trackers(model, PROCESS, process.name)


def _tracker(status: dict[str, Any], kind: str, name: str) -> Live:
    """What the helper knows of it."""
    found = (each for each in status.get("trackers", ()) if (each["kind"], each["name"]) == (kind, name))
    return next(found, {})


def _trackers(model: Model, kind: str, name: str) -> Iterator[str]:
    """Who tracks it."""
    yield "   Tracking instances :"
    for cfg in model.vrrp_instances:
        for track in tracks(cfg):
            if (track.kind, track.name) == (kind, name):
                yield f"     {cfg.name}, weight {track.weight}{' reverse' if track.reverse else ''}"


def _weight(weight: Weight) -> str:
    return f"{weight.value}{' reverse' if weight.reverse else ''}"


# ----------------------------------------------------------------------------------------------------------- words
def _pairs(model: Model, status: dict[str, Any]) -> Iterator[tuple[VrrpInstance, Live]]:
    """Configuration and state of each instance that has both: between the two a reload may have come."""
    live = {entry["name"]: entry for entry in status["instances"]}
    return ((cfg, live[cfg.name]) for cfg in model.vrrp_instances if cfg.name in live)


def _addresses(cfg: VrrpInstance, addresses: Sequence[VirtualAddress], live: Live) -> list[str]:
    end = " set" if live["state"] == "MASTER" else ""
    return [_address(cfg, entry) + end for entry in addresses]


def _address(cfg: VrrpInstance, entry: VirtualAddress) -> str:
    six = len(entry.address) == 16
    whole = 128 if six else 32
    length = "" if entry.prefixlen == whole else f"/{entry.prefixlen}"
    words = [f"{text(entry.address)}{length}" if entry.peer is None else text(entry.address)]
    if entry.peer is not None:
        words.append(f"peer {text(entry.peer)}{length}")
    if entry.broadcast is not None:
        words.append(f"brd {text(entry.broadcast)}")
    device = entry.dev or (cfg.vmac.name if cfg.vmac else cfg.interface)
    base = next((f"@{device_.base}" for device_ in cfg.devices if device_.name == device), "")
    words += [f"dev {device}{base}", f"scope {SCOPES.get(entry.scope, entry.scope)}"]
    if entry.label:
        words.append(f"label {entry.label}")
    if entry.flags & 0x10:
        words.append("home")
    if six and entry.dad:
        words.append("-nodad")
    words += [name for bit, name in FLAGS.items() if bit != 0x10 and entry.flags & bit]
    if entry.no_track:
        words.append("no_track")
    if six and entry.preferred is not None:
        words.append(f"preferred_lft {'forever' if entry.preferred == FOREVER else entry.preferred}")
    elif six and entry.prefixlen != whole:
        words.append("preferred_lft forever")
    return " ".join(words)


def _command(script: Script) -> str:
    return " ".join(f"'{word}'" for word in script.argv)


def _at(live: Live) -> float:
    """Of the last transition, seconds of the wall clock."""
    return float((live.get("last_transition") or {}).get("at") or 0.0)


def _moment(at: float) -> str:
    whole = time.localtime(int(at))
    clock = time.strftime("%a %b %e %H:%M:%S", whole)
    return f"{at:.6f} ({clock}.{round(at % 1 * 1e6):06d} {whole.tm_year})"


def _interval(cfg: VrrpInstance, seconds: float) -> str:
    return f"{int(seconds)} sec" if cfg.version == 2 else f"{round(seconds * 1000)} milli-sec"


def _number(value: float) -> float | int:
    """5 and not 5.0."""
    return int(value) if value == int(value) else value


def _indented(lines: Iterable[str]) -> Iterator[str]:
    return (f"     {line}" for line in lines)


def _boolean(value: object) -> str:
    return "true" if value else "false"


def _yes(value: object) -> str:
    return "yes" if value else "no"


def _able(value: object) -> str:
    return "enabled" if value else "disabled"


def _switch(value: bool | None) -> str:
    return "unset" if value is None else "on" if value else "off"


# ------------------------------------------------------------------------------------------------------ all of them
FILES: dict[str, tuple[str, str, Callable[[Model, dict[str, Any]], str]]] = {
    # kind: keyword that gives the path, name in the temporary folder, maker
    "data": ("state_dump_file", "keepalived.data", as_data),
    "stats": ("stats_dump_file", "keepalived.stats", lambda model, status: as_stats(status)),
    "json": (
        "json_dump_file",
        "keepalived.json",
        lambda model, status: as_json(model, status, model.global_defs.json_version),
    ),
}


def path_of(kind: str, model: Model, tag: str = "") -> str:
    """Where a dump goes; `tag`: instance and namespace, which data_use_instance puts into the name."""
    keyword, name, _ = FILES[kind]
    said = getattr(model.global_defs, keyword)
    if said:
        return str(said)
    if tag and model.global_defs.data_use_instance:
        stem, _, end = name.rpartition(".")
        name = f"{stem}_{tag}.{end}"
    return os.path.join(os.environ.get("TMPDIR") or "/tmp", name)


def make(kind: str, model: Model, status: dict[str, Any], tag: str = "", umask: int | None = None) -> str:
    """Write one file, for us alone unless a umask was said; returns its path, raises OSError."""
    path = path_of(kind, model, tag)
    mask = model.global_defs.umask if umask is None else umask
    write(path, FILES[kind][2](model, status), 0o600 if mask is None else 0o666 & ~mask)
    return path
