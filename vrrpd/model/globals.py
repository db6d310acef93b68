"""global_defs: what holds for all instances, under keepalived's names."""

from __future__ import annotations

import re
from dataclasses import dataclass

from vrrpd.conf.schema import kw
from vrrpd.conf.tree import Statement
from vrrpd.conf.types import (
    INTEGER,
    MISSING,
    Address,
    Boolean,
    Custom,
    Flag,
    Integer,
    InterfaceName,
    Invalid,
    Seconds,
    String,
    WordList,
    Words,
    integer,
)
from vrrpd.families import AF_INET, AF_INET6

from . import host
from .host import Fifo
from .scripts import Script, script_type, split_owner
from .vmac import extra_if

LONGEST = 4294.967295  # keepalived counts microseconds in 32 bits
NO_PAUSE = "leave it out: there is none without it"
REFRESH = 2.0**32 - 1  # but whole seconds here
UNSIGNED = 2**32 - 1
SHORTEST_LIFETIME, LONGEST_LIFETIME = 2, 86400


def smtp_server(statement: Statement) -> tuple[str, int]:
    """HOST [PORT]. The name is resolved when mail is sent, never here."""
    host = statement.words[1]
    port = integer(statement.words[2], index=2) if len(statement.words) > 2 else 25
    if not 1 <= port <= 65535:
        raise Invalid(f"port {port} is outside 1..65535", 2)
    return host, port


class Group(Address):
    """A multicast group; one of IPv6 that no router forwards, ffX2::/16. `kept`: with --lenient also another one."""

    def __init__(self, family: int = 0, kept: bool = False) -> None:
        super().__init__(family, True)
        self._kept = kept

    def convert(self, statement: Statement) -> bytes:
        group = super().convert(statement)
        if len(group) == 16 and group[1] & 0x0F != 2:  # RFC 4291 2.7
            kept = group if self._kept else MISSING
            raise Invalid(f"{statement.words[1]} is not link-local", hint="take one of ff02::/16", fallback=kept)
        return group


def lifetime(statement: Statement) -> int:
    """Whole seconds, as the kernel counts them; one that ends within a stall of a busy machine would do harm."""
    value = integer(statement.words[1])
    if value and not SHORTEST_LIFETIME <= value <= LONGEST_LIFETIME:
        raise Invalid(f"{value} is outside {SHORTEST_LIFETIME}..{LONGEST_LIFETIME}", hint="0 means for ever")
    return value


def owner(statement: Statement) -> tuple[str, str]:
    return split_owner(statement.words[1:])


def table_name(statement: Statement) -> str:
    """Of nftables. What nft can only be told in quotes is refused: nobody could look at it."""
    name = "".join(statement.words[1:2])
    if name and not re.fullmatch(r"[A-Za-z][A-Za-z0-9_./-]{0,254}", name):
        raise Invalid(f"'{name}' cannot be the name of a table", hint="a letter, then letters, digits and _ . / -")
    return name


def rx_bufs_policy(statement: Statement) -> str | int:
    """MTU and ADVERT are multiplied, a number of bytes is not."""
    word = statement.words[1]
    if word in ("MTU", "ADVERT"):
        return word
    value = integer(word) if INTEGER.match(word) else -1
    if not 0 <= value <= UNSIGNED:
        raise Invalid(f"'{word}' is neither MTU nor ADVERT nor a number of bytes, 0..{UNSIGNED}")
    return value


def dynamic_interfaces(statement: Statement) -> tuple[str, ...]:
    if statement.words[1:2] not in ([], ["allow_if_changes"]):
        raise Invalid(f"'{statement.words[1]}' is not allow_if_changes")
    return tuple(statement.words[1:2])


@dataclass(frozen=True)
class GlobalDefs:
    """Resolved: `router_id` is the host's name unless given, the vrrp_garp_lower_prio pair follows vrrp_garp_master."""

    router_id: str = kw(String(), "", "the name of this machine in mails (default: its host name)")
    notification_email: tuple[str, ...] = kw(WordList(), (), "who gets mail about transitions")
    notification_email_from: str = kw(String(), "", "sender of mails (default: keepalived@<host name>)")
    smtp_server: tuple[str, int] | None = kw(
        Custom(smtp_server, "host port", 1, 2), None, "mail server, HOST [PORT], port 25 by default"
    )
    smtp_helo_name: str = kw(String(), "", "name in HELO (default: the host name)")
    smtp_connect_timeout: float = kw(
        Seconds(0.000001, LONGEST, 1.0), 30.0, "limit for the whole mail dialogue", unit="s"
    )
    smtp_alert: bool | None = kw(Boolean(), None, "mail about every transition, VRRP and checkers")
    smtp_alert_vrrp: bool | None = kw(Boolean(), None, "mail about VRRP transitions; wins over smtp_alert")
    no_email_faults: bool = kw(Flag(True), False, "no mail when an instance enters FAULT")
    script_user: str = kw(
        Custom(owner, "user group", 1, 2),
        "",
        "USER [GROUP] that runs scripts (default: keepalived_script if that user exists, else root)",
    )
    script_group: str = ""  # the second word of script_user
    enable_script_security: bool = kw(Flag(True), False, "do not run scripts as root that others may write")
    notify_fifo: Fifo | None = kw(
        Custom(host.fifo, "path user group", 1, 3), None, "named pipe that gets a line for every transition"
    )
    notify_fifo_script: Script | None = kw(
        script_type(), None, "reads notify_fifo, whose path is its last argument; started again when it ends"
    )
    vrrp_notify_fifo: Fifo | None = kw(
        Custom(host.fifo, "path user group", 1, 3), None, "another one; the same lines as long as there is only VRRP"
    )
    vrrp_notify_fifo_script: Script | None = kw(script_type(), None, "reads vrrp_notify_fifo")
    fifo_write_vrrp_states_on_reload: bool = kw(
        Flag(True), False, "a reload writes the state of every instance to the named pipes"
    )
    vrrp_notify_priority_changes: bool = kw(
        Boolean(), False, "changes of the effective priority are written to the named pipes too"
    )
    startup_script: Script | None = kw(script_type(), None, "run once, before anything else, when the daemon starts")
    startup_script_timeout: int = kw(Integer(1, 1000), 10, "for startup_script; then it is killed", unit="s")
    shutdown_script: Script | None = kw(script_type(), None, "run once, after everything else, when the daemon stops")
    shutdown_script_timeout: int = kw(Integer(1, 1000), 10, "for shutdown_script; then it is killed", unit="s")
    use_symlink_paths: bool = kw(
        Boolean(),
        False,
        "accepted: scripts are executed by the path that is written in any case, links in it are judged",
    )
    set_supplementary_groups: bool = kw(Flag(True), False, "scripts have all groups of their user, else one")
    process_names: bool = kw(
        Flag(True),
        False,
        "process_name keepalived, vrrp_process_name keepalived_vrrp; else vrrpd and vrrpd-vrrp",
    )
    process_name: str = kw(Custom(host.process_name, "string"), "", "what the main process is called in ps")
    vrrp_process_name: str = kw(Custom(host.process_name, "string"), "", "what the vrrp process is called in ps")
    vrrp_priority: int | None = kw(
        Integer(-20, 19), None, "nice value of the vrrp process, which then does not run in real time"
    )
    vrrp_rt_priority: int | None = kw(
        Integer(1, 99), None, "priority in real time (SCHED_RR) of the vrrp process (default: 1, without vrrp_priority)"
    )
    vrrp_cpu_affinity: tuple[int, ...] = kw(
        Custom(host.processors, "integers", 1, 1000), (), "processors that the vrrp process may run on"
    )
    vrrp_no_swap: bool = kw(Flag(True), False, "accepted: the memory of the vrrp process is locked in any case")
    vrrp_rlimit_rttime: int = kw(
        Integer(2, UNSIGNED),
        0,
        "how long the vrrp process may run in real time without a wait, then it goes on beside others (default: ever)",
        unit="us",
        also={"vrrp_rlimit_rtime": Integer(2, UNSIGNED)},
    )
    max_auto_priority: int = kw(
        Custom(host.auto_priority, "integer", 0, 1),
        0,
        "up to which real-time priority one that is late rises, 0: never",
    )
    min_auto_priority_delay: int = kw(
        Integer(1, 10_000_000), 1_000_000, "what is late, for max_auto_priority", unit="us"
    )
    umask: int | None = kw(
        Custom(host.umask, "mode", 1, 1000), None, "for files that the daemon makes: a number, or names: IWGRP|IWOTH"
    )
    tmp_config_directory: str = kw(
        Custom(host.path, "path"),
        "",
        "accepted: the file is read once, by one process, and its text is not kept",
    )
    config_save_dir: str = kw(
        Custom(host.path, "path"), "", "a folder that gets a copy of every configuration that was loaded"
    )
    reload_check_config: str | None = kw(
        Custom(host.log_file, "path", 0, 1),
        None,
        "a reload is always checked first; what was found goes to this file too",
    )
    reload_time_file: str = kw(
        Custom(host.path, "path"), "", "a file whose first line says when to reload: [[YY]YY-MM-DD ]HH:MM:SS[Z]"
    )
    reload_repeat: bool = kw(
        Flag(True),
        False,
        "reload_time_file is not removed after the reload: a time without a date is that of every day",
    )
    reload_file: str = kw(
        Custom(host.reload_file, "path", 0, 1),
        "",
        f"exists while a reload reads the configuration (named by the keyword alone: {host.RELOAD_FILE})",
    )
    # Said outside of global_defs.
    net_namespace: str = ""
    instance: str = ""
    child_wait_time: float = 5.0
    json_version: int = kw(Integer(1, 2), 1, "form of the JSON file: 1 an array of instances, 2 an object")
    json_dump_file: str = kw(
        Custom(host.path, "path"),
        "",
        "what SIGRTMIN+2 writes (default: /tmp/keepalived.json)",
        also={"json_dump_file_location": Custom(host.path, "path")},
    )
    state_dump_file: str = kw(
        Custom(host.path, "path"),
        "",
        "what SIGUSR1 writes (default: /tmp/keepalived.data)",
        also={"state_dump_file_location": Custom(host.path, "path")},
    )
    stats_dump_file: str = kw(
        Custom(host.path, "path"),
        "",
        "what SIGUSR2 writes (default: /tmp/keepalived.stats)",
        also={"stats_dump_file_location": Custom(host.path, "path")},
    )
    data_use_instance: bool = kw(
        Boolean(), False, "instance and net_namespace are part of the default names of these files"
    )
    dynamic_interfaces: tuple[str, ...] = kw(
        Custom(dynamic_interfaces, "choice", 0, 1), (), "accepted: an interface may always come and go here"
    )
    include_check: tuple[str, ...] = kw(
        Words("value", "words"),
        (),
        "which includes that find nothing are errors; conf/expand.py obeys it while reading",
    )
    random_seed: int = kw(Integer(0, 2**32 - 1), 0, "makes ${_RANDOM} repeatable from here on")
    vrrp_version: int = kw(Integer(2, 3), 2, "VRRP version of IPv4 instances")
    vrrp_mcast_group4: bytes = kw(Address(AF_INET, True), b"\xe0\x00\x00\x12", "IPv4 group of adverts")
    vrrp_mcast_group6: bytes = kw(
        Group(AF_INET6, kept=True), bytes.fromhex("ff02" + "00" * 13 + "12"), "IPv6 group of adverts"
    )
    vrrp_garp_master_delay: float = kw(
        Seconds(0, LONGEST), 5.0, "second block of gratuitous ARP after becoming MASTER, 0 for none", unit="s"
    )
    vrrp_garp_master_repeat: int = kw(Integer(1, UNSIGNED, fallback=1), 5, "gratuitous ARP messages per block")
    vrrp_garp_master_refresh: float = kw(
        Seconds(0, REFRESH), 0.0, "repeat gratuitous ARP while MASTER, 0 for never", unit="s"
    )
    vrrp_garp_master_refresh_repeat: int = kw(Integer(1, UNSIGNED, fallback=1), 1, "messages per refresh")
    vrrp_garp_lower_prio_delay: float | None = kw(
        Seconds(0, LONGEST), None, "second block after a lower advert (default: vrrp_garp_master_delay)", unit="s"
    )
    vrrp_garp_lower_prio_repeat: int | None = kw(
        Integer(0, 2**31 - 1), None, "messages after a lower advert, 0 for none (default: vrrp_garp_master_repeat)"
    )
    vrrp_garp_interval: float = kw(
        Seconds(0.000001, LONGEST, none=NO_PAUSE), 0.0, "pause between gratuitous ARPs", unit="s"
    )
    vrrp_gna_interval: float = kw(
        Seconds(0.000001, LONGEST, none=NO_PAUSE), 0.0, "pause between neighbour adverts", unit="s"
    )
    vrrp_garp_extra_if: tuple[bool, float] | None = kw(
        Custom(extra_if, "all seconds", 1, 2),
        None,
        "repeat announcements on virtual interfaces, 'all': on every one: [all] SECONDS, 0 for never",
        also={"vrrp_vmac_garp_intvl": Custom(extra_if, "all seconds", 1, 2)},
    )
    vmac_prefix: str = kw(InterfaceName(), "", "first part of the names of virtual interfaces (default: vrrp)")
    vmac_addr_prefix: str = kw(InterfaceName(), "", "the same for use_vmac_addr (default: vmac_prefix)")
    vrrp_startup_delay: float = kw(
        Seconds(0.001, LONGEST), 0.0, "instances start so long after the daemon, and hear nothing before", unit="s"
    )
    vrrp_delay_after_boot: float = kw(
        Seconds(0.001, LONGEST), 0.0, "and so long after the machine; the later of the two counts", unit="s"
    )
    log_unknown_vrids: bool = kw(Flag(True), False, "name in the log what comes for other virtual routers")
    vrrp_min_garp: bool = kw(Boolean(), False, "one gratuitous ARP instead of two blocks of five")
    vrrp_down_timer_adverts: int = kw(Integer(1, 100), 3, "missed adverts before a takeover")
    vrrp_strict: bool = kw(Boolean(), False, "strict_mode in every instance that does not say otherwise")
    vrrp_owner_ignore_adverts: bool = kw(Boolean(), False, "an owner that is MASTER ignores adverts")
    vrrp_lower_prio_no_advert: bool = kw(Boolean(), False, "do not answer a lower advert with one of ours")
    vrrp_higher_prio_send_advert: bool = kw(
        Boolean(), False, "accepted: a last advert before yielding is sent in any case"
    )
    v3_checksum_as_v2: bool = kw(Boolean(), False, "VRRPv3 over IPv4: checksum without the pseudo-header")
    vrrp_check_unicast_src: bool = kw(Flag(True), False, "unicast adverts must come from a unicast_peer")
    vrrp_skip_check_adv_addr: bool = kw(
        Boolean(), False, "check the addresses of an advert only when the sender changes"
    )
    nftables: str = kw(
        Custom(table_name, "name", 0, 1), "", "the nftables table (family inet) of no_accept (default: vrrpd)"
    )
    nftables_priority: int = kw(Integer(-(2**31), 2**31 - 1), -1, "of its chains, among those of other tables")
    nftables_counters: bool = kw(Flag(True), False, "its rules count what they drop: nft list table inet vrrpd")
    nftables_ifindex: bool = kw(
        Flag(True), False, "accepted: link-local addresses are told apart by interface index in any case"
    )
    vrrp_iptables: tuple[str, ...] | None = kw(
        Words(), None, "accepted: no_accept is done in nftables, no rule is made by iptables"
    )
    vrrp_ipsets: tuple[str, ...] | None = kw(Words(), None, "accepted: the addresses are in sets of the nftables table")
    disable_local_igmp: bool = kw(
        Flag(True), False, "no IGMP reports for the groups 224.0.0.0/24 from this machine while the daemon runs"
    )
    vrrp_rx_bufs_policy: str | int | None = kw(
        Custom(rx_bufs_policy, "bytes"),
        None,
        "receive buffer of an instance: MTU or ADVERT, multiplied, or bytes; 1 MB for all of an interface at least",
    )
    vrrp_rx_bufs_multiplier: int = kw(Integer(1, UNSIGNED), 3, "of MTU and ADVERT")
    vrrp_netlink_cmd_rcv_bufs: int = kw(Integer(0, UNSIGNED), 0, "buffer for answers of the kernel (default: its own)")
    vrrp_netlink_cmd_rcv_bufs_force: bool = kw(Boolean(), False, "accepted: beyond the system's limit in any case")
    vrrp_netlink_monitor_rcv_bufs: int = kw(
        Integer(0, UNSIGNED), 0, "buffer for notifications of the kernel, 4 MB in any case"
    )
    vrrp_netlink_monitor_rcv_bufs_force: bool = kw(Boolean(), False, "accepted: beyond the system's limit in any case")
    process_monitor_rcv_bufs: int = kw(
        Integer(0, UNSIGNED), 0, "buffer for what the kernel tells of processes, 1 MB in any case"
    )
    process_monitor_rcv_bufs_force: bool = kw(Boolean(), False, "accepted: beyond the system's limit in any case")
    iproute_usr_dir: str = kw(String(), "", "where iproute2 names tables and the like (default: /usr/share/iproute2)")
    iproute_etc_dir: str = kw(String(), "", "what was changed there by hand (default: /etc/iproute2)")
    default_interface: str = kw(
        InterfaceName(),
        "eth0",
        "where an address without 'dev' lies that is static, or of an instance without interface",
    )
    restore_deleted: bool = kw(
        Boolean(),
        True,
        "put back what somebody removes of ours; 'no': resign and stand again, as keepalived does",
        ours=True,
    )
    vip_lifetime: int = kw(
        Custom(lifetime, "integer"),
        0,
        "the kernel drops an address that nobody renews for so long (2..86400), 0 for never",
        unit="s",
        ours=True,
    )
