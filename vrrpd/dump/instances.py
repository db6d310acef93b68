"""The instances and their sync groups: configuration and state."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from vrrpd.dump import roads, tracking, words
from vrrpd.dump.interfaces import heard_at
from vrrpd.dump.words import Live
from vrrpd.families import AF_INET
from vrrpd.model.values import MACVLAN, PROCESS
from vrrpd.vrrp.records import text

if TYPE_CHECKING:
    from vrrpd.dump.interfaces import Links
    from vrrpd.model.groups import VrrpSyncGroup
    from vrrpd.model.model import Model
    from vrrpd.model.vrrp import VrrpInstance

AUTH_TYPES = {"": "none", "PASS": "SIMPLE_PASSWORD", "AH": "IPSEC_AH"}


def topology(model: Model, status: dict[str, Any], links: Links) -> Iterator[str]:
    groups = {name: group for group in model.vrrp_sync_groups for name in group.group}
    sockets = {(each["interface"], each["family"], each["protocol"]): each for each in status.get("sockets", ())}
    for cfg, live in words.pairs(model, status):
        yield f" VRRP Instance = {cfg.name}"
        yield from _state(cfg, live)
        yield from _places(cfg, live, links)
        yield from _timing(cfg, live)
        yield from _protocol(cfg, live)
        if cfg.kernel_rx_buf_size and model.global_defs.vrrp_rx_bufs_policy is None:
            yield f"   Kernel rx buffer size = {cfg.kernel_rx_buf_size}"
        yield from _belongings(cfg, live, next(filter(None, map(sockets.get, heard_at(cfg))), None))
        kinds = ((kind, tracking.own_tracks(cfg, kind, groups.get(cfg.name))) for kind in tracking.KINDS)
        yield from tracking.tracked(kinds)
        yield f"   Using smtp notification = {words.yes(cfg.smtp_alert)}"
        yield f"   Notify deleted = {'Fault' if cfg.notify_deleted is None else 'Deleted'}"
        yield from words.notifies(cfg, model.global_defs)
        yield f"   Notify priority changes = {words.boolean(cfg.notify_priority_changes)}"


def _state(cfg: VrrpInstance, live: Live) -> Iterator[str]:
    state, master, left = live["state"], live.get("master") or {}, live.get("timer")
    yield f"   VRRP Version = {cfg.version}"
    if live.get("sync_group"):
        yield f"   Sync group = {live['sync_group']}"
    if len(cfg.mcast_group) == 16 and not cfg.unicast_peer:
        yield "   Using Native IPv6"
    yield f"   State = {state}"
    if state == "BACKUP":
        yield f"   Master router = {master.get('address', '0.0.0.0')}"
        yield f"   Master priority = {master.get('priority', 0)}"
        if cfg.version == 3:
            yield f"   Master advert int = {live['master_adver_int']:.2f} sec"
    flags = ["     Using unicast"] if cfg.unicast_peer else []
    if not cfg.unicast_peer and (cfg.unicast_src_ip or cfg.unicast_fault_no_peer):
        flags.append("     Unicast config option specified but using multicast")
    if cfg.unicast_fault_no_peer:
        flags.append("     If unicast go to fault state if no peers")
    yield from ("   Flags:", *flags) if flags else ("   Flags: none",)
    yield f"   Wantstate = {state}"
    yield f"   Number of config faults = {int(cfg.unicast_fault_no_peer and not cfg.unicast_peer)}"
    yield f"   Number of interface and track script faults = {len(live.get('faults') or ())}"
    yield f"   Number of track scripts init = {sum(1 for found in live.get('trackers', ()) if found['value'] is None)}"
    yield f"   Last transition = {words.moment(words.at(live))}"
    yield f"   Read timeout = {'DISABLED' if left is None else words.moment(time.time() + left)}"
    yield f"   Master down timer = {int(live['master_down_interval'] * 1e6)} usecs"


def _places(cfg: VrrpInstance, live: Live, links: Links) -> Iterator[str]:
    vmac = cfg.vmac
    if vmac is not None:
        found = links.get(vmac.name)
        up = words.boolean(found is not None and found.up)
        if vmac.kind == MACVLAN:
            kind, xmit = "vmac", words.boolean(cfg.vmac_xmit_base)
            yield f"   Use VMAC, i/f name {vmac.name}, is_up = {up}, xmit_base = {xmit}"
            if vmac.mac[:3] != b"\0\0\x5e":
                yield f"     MAC = {vmac.mac.hex(':')}"
        else:
            kind = "ipvlan"
            own = f", i/f address = {text(vmac.address)}" if vmac.address else ""
            yield f"   Use IPVLAN, i/f {vmac.name}, is_up = {up}{own}, type {vmac.mode}"
        if cfg.use_vmac_addr:
            yield "   Use VMAC for VIPs on other interfaces"
        base = ", xmit base i/f" if cfg.vmac_xmit_base else ""
        yield f"   Interface = {vmac.name}, {kind} on {cfg.interface}{base}"
    else:
        if cfg.use_vmac_addr:
            yield "   Use VMAC for VIPs on other interfaces"
        if cfg.interface != cfg.vrf:
            yield f"   Interface = {cfg.interface}"
    found = links.get(cfg.interface)
    if vrf := cfg.vrf or (found.vrf if found is not None else ""):
        yield f"   VRF = {vrf}"
    if cfg.dont_track_primary:
        yield "   VRRP interface tracking disabled"
    if cfg.skip_check_adv_addr:
        yield "   Skip checking advert IP addresses"
    if cfg.strict_mode:
        yield "   Enforcing strict VRRP compliance"
    said = cfg.unicast_src_ip or cfg.mcast_src_ip
    yield f"   Using src_ip = {live.get('source') or '(none)'}{' (from configuration)' if said else ''}"
    if not cfg.unicast_peer:
        where = links.get(cfg.vmac.name if cfg.vmac else cfg.interface)
        six = f", ifindex {where.ifindex if where else 0}" if len(cfg.mcast_group) == 16 else ""
        yield f"   Multicast address {text(cfg.mcast_group)}{six}"


def _timing(cfg: VrrpInstance, live: Live) -> Iterator[str]:
    yield f"   Gratuitous ARP delay = {int(cfg.garp_master_delay)}"
    yield f"   Gratuitous ARP repeat = {cfg.garp_master_repeat}"
    yield f"   Gratuitous ARP refresh = {int(cfg.garp_master_refresh)}"
    yield f"   Gratuitous ARP refresh repeat = {cfg.garp_master_refresh_repeat}"
    yield f"   Gratuitous ARP lower priority delay = {int(cfg.garp_lower_prio_delay)}"
    yield f"   Gratuitous ARP lower priority repeat = {cfg.garp_lower_prio_repeat}"
    yield f"   Down timer adverts = {cfg.down_timer_adverts}"
    everywhere, period = cfg.garp_extra_if or (False, 0.0)
    main = cfg.vmac.name if cfg.vmac else cfg.interface
    if period and any(
        (entry.dev or main) != main for entry in (*cfg.virtual_ipaddress, *cfg.virtual_ipaddress_excluded)
    ):
        yield f"   Gratuitous ARP for each secondary {'i/f' if everywhere else 'VMAC'} = {period:.0f}"
        due = (live.get("duties") or {}).get("garp_extra_if")
        if due is not None:
            yield f"   Next gratuitous ARP for such secondary = {words.moment(time.time() + due)}"


def _protocol(cfg: VrrpInstance, live: Live) -> Iterator[str]:
    effects = sum(found.get("effect", 0) for found in live.get("trackers", ()))
    yield f"   Send advert after receive lower priority advert = {words.boolean(not cfg.lower_prio_no_advert)}"
    yield f"   Send advert after receive higher priority advert = {words.boolean(cfg.higher_prio_send_advert)}"
    yield f"   Virtual Router ID = {cfg.virtual_router_id}"
    yield f"   Priority = {cfg.priority}"
    yield f"   Effective priority = {live['priority']}"
    yield f"   Total priority = {cfg.priority + effects}"
    yield f"   Advert interval = {words.interval(cfg, cfg.advert_int)}"
    if cfg.version == 3 and live["state"] == "BACKUP":
        yield f"   Master advert interval = {words.interval(cfg, live['master_adver_int'])}"
    yield f"   Accept = {words.able(cfg.accept)}"
    yield f"   Preempt = {words.able(cfg.preempt)}"
    if cfg.preempt_delay:
        yield f"   Preempt delay = {words.number(cfg.preempt_delay)} secs"
    yield f"   Promote_secondaries = {words.able(cfg.promote_secondaries)}"
    if cfg.version == 2:
        kind = cfg.authentication.auth_type if cfg.authentication else ""
        yield f"   Authentication type = {AUTH_TYPES[kind]}"
        if kind == "PASS":
            yield f"   Password = {words.MASKED}"


def _belongings(cfg: VrrpInstance, live: Live, sockets: Live | None) -> Iterator[str]:
    if cfg.virtual_ipaddress:
        yield f"   Virtual IP ({len(cfg.virtual_ipaddress)}):"
        yield from words.indented(words.addresses(cfg, cfg.virtual_ipaddress, live))
    if cfg.virtual_ipaddress_excluded:
        yield "   Virtual IP Excluded :"
        yield from words.indented(words.addresses(cfg, cfg.virtual_ipaddress_excluded, live))
    if cfg.unicast_peer:
        yield f"   Unicast TTL = {cfg.unicast_ttl}"
        yield f"   Check unicast src : {words.yes(cfg.check_unicast_src)}"
        yield "   Unicast Peer :"
        for peer, bounds in zip(cfg.unicast_peer, cfg.unicast_peer_ttl):
            yield "     {} min_ttl {} max_ttl {}".format(text(peer), *bounds)
        if cfg.family == AF_INET and cfg.version == 3:
            yield f"   Unicast checksum compatibility = {_checksum(cfg, live)}"
    yield "   No sockets allocated" if sockets is None else f"   fd_in {sockets['fd_in']}, fd_out {sockets['fd_out']}"
    if cfg.virtual_routes:
        yield "   Virtual Routes :"
        yield from words.indented(map(roads.route, cfg.virtual_routes))
    if cfg.virtual_rules:
        yield "   Virtual Rules :"
        yield from words.indented(map(roads.rule, cfg.virtual_rules))


def _checksum(cfg: VrrpInstance, live: Live) -> str:
    if cfg.old_unicast_checksum:
        return "never" if cfg.old_unicast_checksum == "never" else "config"
    return "auto" if (live.get("checksum") or {}).get("sent") == "old" else "no"


def groups(model: Model, status: dict[str, Any]) -> Iterator[str]:
    states = {entry["name"]: entry["state"] for entry in status["instances"]}
    for group in model.vrrp_sync_groups:
        yield from _group(group, [states.get(name, "INIT") for name in group.group])
        if group.sync_group_tracking_weight:
            yield "   sync group tracking weight set"
        yield f"   Using smtp notification = {words.yes(group.smtp_alert)}"
        for line in tracking.tracked((kind, list(getattr(group, f"track_{kind}"))) for kind in tracking.KINDS):
            plural = f"Tracked {tracking.TITLES[PROCESS]} :"
            yield line.replace(plural, "Tracked process :") if line.endswith(plural) else line
        yield from words.notifies(group, model.global_defs)


def _group(group: VrrpSyncGroup, states: Sequence[str]) -> Iterator[str]:
    """`states` are those of its members: the worst of them is its own while they differ."""
    state = min(states, key=("FAULT", "INIT", "BACKUP", "MASTER").index)
    yield f" VRRP Sync Group = {group.name}, {state}"
    yield f"   Num member fault {states.count('FAULT')}, num member init {states.count('INIT')}"
    yield "   VRRP member instances :"
    yield from words.indented(group.group)
