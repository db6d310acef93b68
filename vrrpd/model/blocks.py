"""Every block of keepalived.conf by name: the supported ones from their dataclasses, the rest from known.py."""

from __future__ import annotations

from dataclasses import dataclass

from vrrpd.conf.schema import EACH, Block, kw
from vrrpd.conf.types import Custom, Flag, ListOf, Nested, Seconds

from . import host, interfaces, known
from .globals import GlobalDefs
from .groups import VrrpSyncGroup
from .statics import TrackGroup
from .trackers import TrackFile, TrackProcess, VrrpScript
from .vrrp import Authentication, AuthHmac, VrrpInstance, as_written

TOP = ""


@dataclass(frozen=True)
class _Top:
    """What stands outside every block."""

    global_defs: object = kw(Nested("global_defs"), None, "what holds for all instances")
    vrrp_sync_group: object = kw(Nested("vrrp_sync_group", named=True), None, "instances that change state together")
    vrrp_instance: object = kw(Nested("vrrp_instance", named=True), None, "one virtual router")
    vrrp_script: object = kw(Nested("vrrp_script", named=True), None, "a check that runs at intervals")
    track_file: object = kw(
        Nested("track_file", named=True),
        None,
        "a file whose number counts",
        also={"vrrp_track_file": Nested("track_file", named=True)},
    )
    vrrp_track_process: object = kw(Nested("vrrp_track_process", named=True), None, "processes that must run")
    net_namespace: str = kw(Custom(host.name, "string"), "", "network namespace of `ip netns` that the daemon runs in")
    instance: str = kw(Custom(host.name, "string"), "", "part of the names of run and state folders: several daemons")
    use_pid_dir: bool = kw(Flag(True), False, "accepted: pid files are in the folder /run/vrrpd in any case")
    child_wait_time: float = kw(
        Seconds(0, 86400), 5.0, "for scripts and mail at the stop, after the addresses are gone", unit="s"
    )
    namespace_with_ipsets: bool = kw(Flag(True), False, "accepted: no_accept needs no ipsets in any namespace")
    interface_up_down_delays: object = kw(
        ListOf(interfaces.delay, "interface seconds"),
        None,
        "how long a link must be down, or up, until that counts: IF DOWN [UP], without UP at once",
        unit="s",
    )
    garp_group: object = kw(
        Nested("garp_group"), None, "one pace of announcements for several interfaces", repeated=EACH
    )
    static_ipaddress: object = kw(
        ListOf(as_written, "addresses"), None, "addresses while the daemon runs: IP[/len] ..."
    )
    static_routes: object = kw(ListOf(as_written, "routes"), None, "routes while the daemon runs, as 'ip route add'")
    static_rules: object = kw(ListOf(as_written, "rules"), None, "rules while the daemon runs, as 'ip rule add'")
    track_group: object = kw(Nested("track_group", named=True), None, "instances that need static items")


BLOCKS = {
    block.name: block
    for block in (
        Block(TOP, "the file", _Top, known.TOP),
        Block("global_defs", "what holds for all instances", GlobalDefs, known.GLOBAL_DEFS),
        Block("vrrp_instance", "one virtual router", VrrpInstance, known.VRRP_INSTANCE),
        Block("vrrp_sync_group", "instances that change state together", VrrpSyncGroup, known.VRRP_SYNC_GROUP),
        Block("authentication", "VRRPv2 authentication (RFC 2338)", Authentication, private=True),
        Block("auth_hmac", "authentication by HMAC (draft-cassen-vrrp-auth-hmac)", AuthHmac, private=True),
        Block("vrrp_script", "a check that runs at intervals", VrrpScript),
        Block("track_file", "a file whose number counts", TrackFile),
        Block("vrrp_track_process", "processes that must run", TrackProcess),
        Block("garp_group", "one pace of announcements for several interfaces", interfaces.Group),
        Block("track_group", "instances that need static items", TrackGroup),
        *known.BLOCKS,
    )
}
