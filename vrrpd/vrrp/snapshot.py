"""A virtual router as plain data, for status. Changes nothing; how it is shown is shown/'s and dump/'s."""

from __future__ import annotations

from collections.abc import Sequence
from math import inf
from typing import TYPE_CHECKING, Any

from vrrpd.families import AF_INET
from vrrpd.vrrp.records import text
from vrrpd.vrrp.states import MASTER, Heard
from vrrpd.vrrp.track import OWNER

if TYPE_CHECKING:
    from vrrpd.model.values import VirtualAddress
    from vrrpd.vrrp.router import VirtualRouter


def snapshot(router: VirtualRouter, awaited: Sequence[str], now: float, wall: float | None = None) -> dict[str, Any]:
    """One router as plain data, no secrets. With `wall` (epoch seconds of `now`) times get a date.

    `awaited`: what has to come before it starts, or before something counts, as sentences.
    """
    cfg, last, heard, tracking = router.cfg, router.last_transition, router.heard, router.tracking

    def date(at: float) -> float | None:
        return None if wall is None else round(wall - (now - at), 3)

    return {
        "name": router.name,
        "interface": cfg.interface,
        **({"vrf": cfg.vrf} if cfg.vrf else {}),
        "virtual_router_id": cfg.virtual_router_id,
        "family": "ipv4" if cfg.family == AF_INET else "ipv6",
        "version": cfg.version,
        "state": router.state.name,
        "leaving": bool(router.leaving),
        "priority": router.priority,
        "base_priority": cfg.priority,
        "preempt": cfg.preempt,
        "preempt_delay": cfg.preempt_delay,
        "accept": cfg.accept,
        "strict_mode": cfg.strict_mode,
        "advert_int": cfg.advert_int,
        "master_adver_int": router.master_adver_int,
        "master_down_interval": router.master_down_interval,
        "vmac": cfg.vmac
        and {
            "interface": cfg.vmac.name,
            "mac": cfg.vmac.mac.hex(":"),
            "adverts": bool(router.virtual_mac),
        },
        "source": text(router.spec.source) if any(router.spec.source) else None,
        "virtual_ipaddress": [_slash(entry) for entry in cfg.virtual_ipaddress],
        "virtual_ipaddress_excluded": [_slash(entry) for entry in cfg.virtual_ipaddress_excluded],
        **{
            name: [entry.text for entry in entries]
            for name, entries in (("virtual_routes", cfg.virtual_routes), ("virtual_rules", cfg.virtual_rules))
            if entries
        },
        "unicast_peer": [text(peer) for peer in cfg.unicast_peer],
        "auth_type": cfg.authentication and cfg.authentication.auth_type,
        "auth_hmac": cfg.auth_hmac
        and {
            "mode": cfg.auth_hmac.mode,
            "active_key": cfg.auth_hmac.active_key,
            "keys": [number for number, _ in cfg.auth_hmac.keys],
            "anti_replay": cfg.auth_hmac.anti_replay,
            "time_window": cfg.auth_hmac.time_window,
        },
        "master": _heard(heard, now) if heard and router.state is not MASTER else None,
        "last_transition": None
        if last is None
        else {
            "old": last.old.name,
            "new": last.new.name,
            "reason": last.reason,
            "at": date(last.at),
            "ago": round(now - last.at, 3),
        },
        "faults": sorted(router.faults),
        "sync_group": None if router.group is None else router.group.name,
        "awaited": awaited,
        "timer": _left(router.timer.deadline, now),
        "preempt_delay_left": _left(router.delay_timer.deadline, now),
        "duties": {what: _left(due, now) for what, due in router.duties.pending.items()},
        "checksum": _checksum(router),
        "trackers": [] if tracking is None else tracking.snapshot(cfg.priority == OWNER, date),
        "counters": router.counts(),
    }


def _left(deadline: float, now: float) -> float | None:
    """Seconds; None where nothing is awaited."""
    return None if deadline == inf else round(max(0.0, deadline - now), 3)


def _checksum(router: VirtualRouter) -> dict[str, Any] | None:
    """VRRPv3 over IPv4 alone has several: which is sent, and which the master sends (None: none was heard)."""
    if router.cfg.version != 3 or router.cfg.family != AF_INET:
        return None
    heard = router.peer_pseudo_header
    return {
        "sent": "old" if router.spec.old_sum else "as v2" if router.cfg.v3_checksum_as_v2 else "v3",
        "heard": None if heard is None else "v3" if heard else "as v2",
    }


def _slash(entry: VirtualAddress) -> str:
    return f"{text(entry.address)}/{entry.prefixlen}"


def _heard(heard: Heard, now: float) -> dict[str, Any]:
    return {"address": text(heard.source), "priority": heard.priority, "age": round(now - heard.at, 3)}
