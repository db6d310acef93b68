"""keepalived.json: version 1 is an array of instances, version 2 an object with an array of them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from vrrpd.dump import roads, words
from vrrpd.dump.statistics import numbers
from vrrpd.dump.tracking import MANY, own_tracks, tracker
from vrrpd.dump.words import Live
from vrrpd.model.values import INTERFACE, PROCESS, SCRIPT
from vrrpd.vrrp.states import State

if TYPE_CHECKING:
    from vrrpd.model.groups import VrrpSyncGroup
    from vrrpd.model.model import Model
    from vrrpd.model.trackers import TrackProcess
    from vrrpd.model.vrrp import VrrpInstance


def as_json(model: Model, status: dict[str, Any], version: int = 1) -> str:
    commands = {check.name: words.command(check.script) for check in model.vrrp_scripts}
    groups = {name: group for group in model.vrrp_sync_groups for name in group.group}
    entries = [
        {"data": _data(cfg, live, commands, groups.get(cfg.name)), "stats": numbers(live["counters"])}
        for cfg, live in words.pairs(model, status)
    ]
    found: Any = entries
    if version == 2:
        processes = [_process(each, tracker(status, PROCESS, each.name)) for each in model.track_processes]
        found = {"vrrp": entries, **({"track_process": processes} if processes else {})}
    return json.dumps(found, separators=(",", ":")) + "\n"


def _data(cfg: VrrpInstance, live: Live, commands: dict[str, str], group: VrrpSyncGroup | None) -> dict[str, Any]:
    """What keepalived counts in whole seconds is a whole number: exporters refuse another one."""
    data: dict[str, Any] = {
        "iname": cfg.name,
        "dont_track_primary": int(cfg.dont_track_primary),
        "skip_check_adv_addr": int(cfg.skip_check_adv_addr),
        "strict_mode": int(cfg.strict_mode),
        "vmac_ifname": cfg.vmac.name if cfg.vmac else "",
        "ifp_ifname": cfg.vmac.name if cfg.vmac else "" if cfg.vrf else cfg.interface,
        "master_priority": (live.get("master") or {}).get("priority", 0),
        "last_transition": words.at(live),
        "garp_delay": int(cfg.garp_master_delay),
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
        "adver_int": words.number(cfg.advert_int),
        "master_adver_int": words.number(live["master_adver_int"]),
        "accept": int(cfg.accept),
        "nopreempt": not cfg.preempt,
        "preempt_delay": int(cfg.preempt_delay),
        "state": State[live["state"]].value,
        "wantstate": State[live["state"]].value,
        "version": cfg.version,
        "smtp_alert": cfg.smtp_alert,
        "notify_deleted": cfg.notify_deleted is not None,
    }
    for keyword, name, _ in words.SCRIPTS:
        script = getattr(cfg, keyword)
        if script is not None and script.argv:
            data[name] = words.command(script)
    lists = {
        "vips": words.addresses(cfg, cfg.virtual_ipaddress, live),
        "evips": words.addresses(cfg, cfg.virtual_ipaddress_excluded, live),
        "vroutes": [roads.route(entry) for entry in cfg.virtual_routes],
        "vrules": [roads.rule(entry) for entry in cfg.virtual_rules],
        "track_ifp": [track.name for track in own_tracks(cfg, INTERFACE, group)],
        "track_script": [commands.get(track.name, track.name) for track in own_tracks(cfg, SCRIPT, group)],
        "track_process": [track.name for track in own_tracks(cfg, PROCESS, group)],
    }
    data.update((name, values) for name, values in lists.items() if values)
    data["auth_type"] = 0 if cfg.authentication is None else 2 if cfg.authentication.auth_type == "AH" else 1
    if cfg.authentication:
        data["auth_data"] = words.MASKED
    return data


def _process(process: TrackProcess, live: Live) -> dict[str, Any]:
    weight = process.weight
    delays = live.get("delays", {})
    return {
        "process": process.process[0],
        **({"parameters": " ".join(process.process[1:])} if process.process[1:] else {}),
        "param_match": process.param_match or ("exact" if process.process[1:] else "none"),
        "min_processes": process.quorum,
        **({"max_processes": process.quorum_max} if process.quorum_max < MANY else {}),
        "current_processes": live.get("running", 0),
        "have_quorum": bool(live.get("value")),
        "weight": -weight.value if weight.reverse else weight.value,
        "terminate_delay": words.number(process.terminate_delay or process.delay),
        "fork_delay": words.number(process.fork_delay or process.delay),
        "fork_delay_timer_running": "fork_delay" in delays,
        "terminate_delay_timer_running": "terminate_delay" in delays,
        "full_command": process.full_command,
    }
