"""What keepalived knows and we do not support yet, with the answer that each keyword gets at its place.

ERROR where an instance would not do what its file says: a check that never fails it, traffic that should flow or be
dropped, another address on the wire. WARNING where it is sound without. Names, and where they may stand, are those
of keepalived.conf(5) and of keepalived 2.4.3, the newest, so that a word is called unknown only when it is.
"""

from __future__ import annotations

from typing import Any

from vrrpd.conf.schema import Block, Keyword, known
from vrrpd.conf.types import Boolean, Flag, Nested, Type, Words

ERROR, WARNING = "error", "warning"
VALUE, LIST, FLAG, BOOL = Words(), Words("list"), Flag(True), Boolean()
NAMED = {"virtual_server", "real_server", "bfd_instance", "track_group"} | {  # blocks: a name follows the keyword
    "vrrp_script",
    "track_file",
    "vrrp_track_process",
}


def _rows(*rows: tuple[str, Type[Any] | type[Nested], str, str]) -> list[Keyword]:
    """(verdict, form, reason, names): one Keyword a name. `Nested` as a form: a block of the keyword's own name."""
    return [
        known(name, Nested(name, name in NAMED) if isinstance(form, type) else form, verdict, reason)
        for verdict, form, reason, names in rows
        for name in names.split()
    ]


BALANCING = "virtual servers are left out, the VRRP instances are not affected"
LINKBEAT = "the kernel says whether a link is up; a driver that knows it only when asked is not polled for it"
HOST = "it concerns this machine, not the instances: set it with the system's own means"
TRACKING = "a failure would not be noticed, and the address would stay"
FIREWALL = "there are no ipsets: the addresses of no_accept are in nftables, in every namespace"

TOP = _rows(
    (WARNING, Nested, BALANCING, "virtual_server SSL"),
    (WARNING, Words("list", named=True), BALANCING, "virtual_server_group"),
    (WARNING, Nested, "nothing runs this check; what tracks it says so at its place", "bfd_instance"),
    (WARNING, VALUE, BALANCING, "net_namespace_ipvs"),
    (WARNING, LIST, LINKBEAT, "linkbeat_interfaces"),
    (WARNING, FLAG, LINKBEAT, "linkbeat_use_polling"),
)

GLOBAL_DEFS = _rows(
    (WARNING, BOOL, BALANCING, "smtp_alert_checker checker_log_all_failures"),
    (WARNING, FLAG, BALANCING, "no_checker_emails rs_init_notifies lvs_flush"),
    (
        WARNING,
        VALUE,
        BALANCING,
        "lvs_flush_on_stop lvs_flush_onstop lvs_timeouts lvs_sync_daemon lvs_notify_fifo lvs_notify_fifo_script",
    ),
    (WARNING, VALUE, BALANCING, "nftables_ipvs nftables_ipvs_priority nftables_ipvs_start_fwmark"),
    (WARNING, VALUE, BALANCING, "lvs_netlink_cmd_rcv_bufs lvs_netlink_monitor_rcv_bufs"),
    (WARNING, BOOL, BALANCING, "lvs_netlink_cmd_rcv_bufs_force lvs_netlink_monitor_rcv_bufs_force"),
    (
        WARNING,
        VALUE,
        BALANCING,
        "checker_process_name lvs_process_name checker_priority checker_rt_priority checker_rlimit_rttime",
    ),
    (WARNING, VALUE, BALANCING, "checker_cpu_affinity bfd_process_name bfd_priority bfd_rt_priority"),
    (
        WARNING,
        VALUE,
        BALANCING,
        "bfd_rlimit_rttime bfd_rlimit_rtime checker_rlimit_rtime bfd_cpu_affinity snmp_rs_stats_update_interval",
    ),
    (WARNING, VALUE, BALANCING, "snmp_vs_stats_update_interval"),
    (WARNING, FLAG, BALANCING, "checker_no_swap bfd_no_swap"),
    (WARNING, FLAG, "there is no D-Bus interface: use vrrpctl", "enable_dbus"),
    (WARNING, VALUE, "there is no D-Bus interface: use vrrpctl", "dbus_service_name dbus_no_interface_name"),
    (WARNING, VALUE, "there is no SNMP agent: use vrrpctl status --json", "snmp_socket"),
    (WARNING, FLAG, "there is no SNMP agent: use vrrpctl status --json", "enable_snmp_vrrp enable_snmp_checker"),
    (WARNING, FLAG, "there is no SNMP agent: use vrrpctl status --json", "enable_snmp_rfc enable_snmp_rfcv2"),
    (WARNING, FLAG, "there is no SNMP agent: use vrrpctl status --json", "enable_snmp_rfcv3 enable_traps"),
    (WARNING, FLAG, "there is no SNMP agent: use vrrpctl status --json", "enable_snmp_keepalived"),
)

VRRP_INSTANCE = _rows(
    (ERROR, LIST, TRACKING, "track_bfd"),
    (WARNING, VALUE, BALANCING, "lvs_sync_daemon_interface"),
    (WARNING, FLAG, "the addresses decide the family", "native_ipv6"),
    (WARNING, FLAG, LINKBEAT, "linkbeat_use_polling"),
    (WARNING, VALUE, "it has no effect in keepalived either", "debug"),
)

VRRP_SYNC_GROUP = _rows(
    (ERROR, VALUE, "keepalived's manual page has it, its program knows it in an instance only", "notify_deleted"),
    (ERROR, LIST, TRACKING, "track_bfd"),
)

CHECKERS = "TCP_CHECK HTTP_GET SSL_GET SMTP_CHECK DNS_CHECK MISC_CHECK UDP_CHECK PING_CHECK BFD_CHECK FILE_CHECK"
TIMING = "connect_timeout retry delay_before_retry warmup delay_loop"
CONNECTION = f"connect_ip connect_port bindto bind_if bind_port fwmark log_all_failures alpha {TIMING}"


def _block(name: str, doc: str, values: str, lists: str = "", blocks: str = "") -> Block:
    """A block of which the names are known and nothing more."""
    rows = ((WARNING, VALUE, "", values), (WARNING, LIST, "", lists), (WARNING, Nested, "", blocks))
    return Block(name, doc, None, _rows(*rows))


BLOCKS = [
    _block(
        "bfd_instance",
        "a BFD session (RFC 5880)",
        "neighbor_ip neighbour_ip source_ip min_rx min_tx idle_tx multiplier passive ttl hoplimit max_hops multihop "
        "weight vrrp checker",
    ),
    _block("SSL", "certificates of SSL_GET", "password ca certificate key"),
    _block(
        "virtual_server",
        "an IPVS service",
        "lvs_sched lb_algo lvs_method lb_kind protocol persistence_timeout persistence_granularity persistence_engine "
        "flag-1 flag-2 flag-3 sh-port sh-fallback mh-port mh-fallback ops hashed ha_suspend ip_family virtualhost "
        f"snmp_name smtp_alert weight alpha omega quorum hysteresis quorum_up quorum_down inhibit_on_failure {TIMING} "
        "sorry_server sorry_server_inhibit sorry_server_lvs_method nat_mask",
        blocks="real_server",
    ),
    _block(
        "real_server",
        "a server behind it",
        "weight lvs_method uthreshold lthreshold inhibit_on_failure notify_up notify_down alpha smtp_alert virtualhost "
        f"snmp_name {TIMING}",
        blocks=CHECKERS,
    ),
    _block("TCP_CHECK", "a connection", CONNECTION),
    _block(
        "HTTP_GET",
        "an HTTP request",
        f"http_protocol fast_recovery virtualhost nb_get_retry {CONNECTION}",
        blocks="url",
    ),
    _block(
        "SSL_GET",
        "an HTTPS request",
        f"http_protocol fast_recovery virtualhost nb_get_retry enable_sni sni_name tls_compliant {CONNECTION}",
        blocks="url",
    ),
    _block(
        "url",
        "a page and what it must be",
        "path digest status_code virtualhost regex regex_no_match regex_options regex_stack regex_min_offset "
        "regex_max_offset tls_compliant",
    ),
    _block("SMTP_CHECK", "a mail dialogue", f"helo_name {CONNECTION}", blocks="host"),
    _block("host", "a deprecated form of connection", CONNECTION),
    _block("DNS_CHECK", "a query", f"type name {CONNECTION}"),
    _block("MISC_CHECK", "a program", f"misc_path misc_timeout misc_dynamic user alpha log_all_failures {TIMING}"),
    _block("UDP_CHECK", "a datagram", f"payload require_reply min_reply_length max_reply_length {CONNECTION}"),
    _block("PING_CHECK", "an echo request", CONNECTION),
    _block("BFD_CHECK", "a BFD session", "name"),
    _block("FILE_CHECK", "a file", "track_file weight dynamic"),
]
