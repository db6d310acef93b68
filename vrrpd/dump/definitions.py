"""Global definitions, as keepalived's vrrp process and its parent write them; of LVS, BFD, SNMP and D-Bus nothing."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from vrrpd.dump import words
from vrrpd.scheduling import real_time
from vrrpd.vrrp.records import text

if TYPE_CHECKING:
    from vrrpd.model.globals import GlobalDefs


def lines(defs: GlobalDefs, status: dict[str, Any], parent: bool = False) -> Iterator[str]:
    yield from _process(defs)
    yield from _mail(defs)
    yield from _loading(defs, status, parent)
    yield from _pipes(defs, parent)
    yield from _adverts(defs)
    yield from _firewall(defs)
    yield from _scheduling(defs)
    yield from _buffers(defs)


def _process(defs: GlobalDefs) -> Iterator[str]:
    if defs.config_save_dir:
        yield f" Config save dir = {defs.config_save_dir}"
    yield f" Network namespace = {defs.net_namespace or '(default)'}"
    if defs.instance:
        yield f" Instance name = {defs.instance}"
    named = "keepalived" if defs.process_names else ""  # which goes without saying
    if defs.process_name != named:
        yield f" Parent process name = {defs.process_name}"
    if defs.vrrp_process_name:
        yield f" VRRP process name = {defs.vrrp_process_name}"
    yield f" Router ID = {defs.router_id}"


def _mail(defs: GlobalDefs) -> Iterator[str]:
    if defs.smtp_server:
        host, port = defs.smtp_server
        yield f" Smtp server = {host}"
        yield f" Smtp server port = {port}"
        if defs.smtp_helo_name:
            yield f" Smtp HELO name = {defs.smtp_helo_name}"
        yield f" Smtp server connection timeout = {words.number(defs.smtp_connect_timeout)}"
    if defs.notification_email_from:
        yield f" Email notification from = {defs.notification_email_from}"
    if defs.notification_email:
        yield " Email notification to:"
        for address in defs.notification_email:
            yield f"   {address}"
    yield f" Default smtp_alert = {words.switch(defs.smtp_alert)}"
    yield f" Default smtp_alert_vrrp = {words.switch(defs.smtp_alert_vrrp)}"


def _loading(defs: GlobalDefs, status: dict[str, Any], parent: bool) -> Iterator[str]:
    log = defs.reload_check_config
    yield " No test config before reload" if log is None else f" Test config before reload, log to {log or '(none)'}"
    if defs.reload_time_file:
        yield f" Reload time file = {defs.reload_time_file}{' (repeat)' if defs.reload_repeat else ''}"
        at = status.get("reload_at")
        when = at and time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(at))
        yield f" Reload scheduled for {when}" if when else " No reload scheduled"
    if defs.reload_file:
        yield f" Reload_file = {defs.reload_file}"
    if defs.data_use_instance:
        yield " Use instance name in data dumps"
    if parent:
        for name, script, comma, limit in (
            ("Startup", defs.startup_script, ",", defs.startup_script_timeout),
            ("Shutdown", defs.shutdown_script, "", defs.shutdown_script_timeout),
        ):
            if script is not None:
                yield f" {name} script = {words.owned(script, defs)}{comma} timeout {limit}"
    yield f" Dynamic interfaces = {words.boolean(True)}"
    yield f" Allow interface changes = {words.boolean('allow_if_changes' in defs.dynamic_interfaces)}"
    if defs.no_email_faults:
        yield " Send emails for fault transitions = off"
    if not parent:
        yield f" Default interface = {defs.default_interface}"
    yield f" Disable local IGMP = {words.yes(defs.disable_local_igmp)}"


def _pipes(defs: GlobalDefs, parent: bool) -> Iterator[str]:
    for name, fifo, script in (
        ("Global", defs.notify_fifo, defs.notify_fifo_script),
        ("VRRP", defs.vrrp_notify_fifo, defs.vrrp_notify_fifo_script),
    ):
        if fifo is None:
            continue
        who = words.owner(fifo.user, fifo.group, defs)
        yield f" {name} notify fifo = {fifo.path}{f', uid:gid {who}' if who else ''}"
        if script is not None:
            path = () if parent else (fifo.path,)
            yield f" {name} notify fifo script = {words.owned(script, defs, *path)}"
    yield f" FIFO write vrrp states on reload = {words.boolean(defs.fifo_write_vrrp_states_on_reload)}"
    yield f" VRRP notify priority changes = {words.boolean(defs.vrrp_notify_priority_changes)}"


def _adverts(defs: GlobalDefs) -> Iterator[str]:
    everywhere, period = defs.vrrp_garp_extra_if or (False, 0.0)
    yield f" VRRP IPv4 mcast group = {text(defs.vrrp_mcast_group4)}"
    yield f" VRRP IPv6 mcast group = {text(defs.vrrp_mcast_group6)}"
    yield f" Gratuitous ARP delay = {words.number(defs.vrrp_garp_master_delay)}"
    yield f" Gratuitous ARP repeat = {defs.vrrp_garp_master_repeat}"
    yield f" Gratuitous ARP refresh timer = {words.number(defs.vrrp_garp_master_refresh)}"
    yield f" Gratuitous ARP refresh repeat = {defs.vrrp_garp_master_refresh_repeat}"
    yield f" Gratuitous ARP lower priority delay = {words.number(defs.vrrp_garp_lower_prio_delay or 0)}"
    yield f" Gratuitous ARP lower priority repeat = {defs.vrrp_garp_lower_prio_repeat}"
    yield f" Num adverts before down = {defs.vrrp_down_timer_adverts}"
    yield f" Gratuitous ARP for each secondary {'i/f' if everywhere else 'VMAC'} = {period:.0f}s"
    yield f" Send advert after receive lower priority advert = {words.boolean(not defs.vrrp_lower_prio_no_advert)}"
    yield f" Send advert after receive higher priority advert = {words.boolean(defs.vrrp_higher_prio_send_advert)}"
    yield f" Gratuitous ARP interval = {defs.vrrp_garp_interval:.6f}"
    yield f" Gratuitous NA interval = {defs.vrrp_gna_interval:.6f}"
    yield f" VRRP default protocol version = {defs.vrrp_version}"


def _firewall(defs: GlobalDefs) -> Iterator[str]:
    yield f" nftables table name = {defs.nftables or 'vrrpd'}"
    yield f" nftables base chain priority = {defs.nftables_priority}"
    force = "" if defs.nftables_ifindex else "don't "
    yield f" nftables {force}force use ifindex for link local IPv6"
    yield f" nftables with{'' if defs.nftables_counters else 'out'} counters"
    yield f" VRRP check unicast_src = {words.boolean(defs.vrrp_check_unicast_src)}"
    yield f" VRRP skip check advert addresses = {words.boolean(defs.vrrp_skip_check_adv_addr)}"
    yield f" VRRP strict mode = {words.boolean(defs.vrrp_strict)}"


def _scheduling(defs: GlobalDefs) -> Iterator[str]:
    yield f" Max auto priority = {defs.max_auto_priority if defs.max_auto_priority >= 0 else 'Disabled'}"
    yield f" Min auto priority delay = {defs.min_auto_priority_delay} usecs"
    yield f" VRRP process priority = {defs.vrrp_priority or 0}"
    yield f" VRRP don't swap = {words.boolean(True)}"
    yield f" VRRP realtime priority = {real_time(defs)}"
    if defs.vrrp_cpu_affinity:
        yield f" VRRP CPU Affinity = {' '.join(map(str, defs.vrrp_cpu_affinity))}"
    yield f" VRRP realtime limit = {defs.vrrp_rlimit_rttime}"


def _buffers(defs: GlobalDefs) -> Iterator[str]:
    yield f" Script security {'enabled' if defs.enable_script_security else 'disabled'}"
    who = words.owner("", "", defs)
    if who:
        yield f" Default script uid:gid {who}"
    yield f" vrrp_netlink_cmd_rcv_bufs = {defs.vrrp_netlink_cmd_rcv_bufs}"
    yield f" vrrp_netlink_cmd_rcv_bufs_force = {int(defs.vrrp_netlink_cmd_rcv_bufs_force)}"
    yield f" vrrp_netlink_monitor_rcv_bufs = {defs.vrrp_netlink_monitor_rcv_bufs}"
    yield f" vrrp_netlink_monitor_rcv_bufs_force = {int(defs.vrrp_netlink_monitor_rcv_bufs_force)}"
    policy = defs.vrrp_rx_bufs_policy
    if isinstance(policy, int):
        yield f" rx_bufs_size = {policy}"
    elif policy:
        yield f" rx_bufs_policy = {policy}"
    yield f" rx_bufs_multiples = {defs.vrrp_rx_bufs_multiplier}"
    yield f" umask = 0{_umask():o}"
    if defs.vrrp_startup_delay:
        yield f" vrrp_startup_delay = {defs.vrrp_startup_delay:g}"
    if defs.log_unknown_vrids:
        yield " log_unknown_vrids"
    if defs.vmac_prefix:
        yield f" VMAC prefix = {defs.vmac_prefix}"
    if defs.vmac_addr_prefix:
        yield f" VMAC address prefix = {defs.vmac_addr_prefix}"


def _umask() -> int:
    """The one that is in force: a process can only ask by setting it."""
    mask = os.umask(0o077)
    os.umask(mask)
    return mask
