"""vrrp_instance: one virtual router, as written (the keyword table) and resolved (after defaults and inheritance)."""

from __future__ import annotations

import os
import re
import stat
from dataclasses import dataclass
from typing import Any

from vrrpd.conf.schema import EACH, FIRST, kw
from vrrpd.conf.tree import Statement
from vrrpd.conf.types import (
    INTEGER,
    Address,
    Boolean,
    Choice,
    Custom,
    Flag,
    Integer,
    InterfaceName,
    Invalid,
    ListOf,
    Nested,
    Seconds,
    boolean,
    host,
    integer,
)
from vrrpd.families import AF_INET, AF_INET6, link_local

from .addresses import address_line
from .globals import LONGEST, REFRESH, UNSIGNED, Group, lifetime
from .scripts import Script, optional_command, script_type
from .trackers import lines
from .values import FILE, INTERFACE, PROCESS, SCRIPT, Device, Routing, Track, VirtualAddress
from .vmac import extra_if, use_ipvlan, use_vmac

__all__ = [
    "AF_INET",
    "AF_INET6",
    "AuthHmac",
    "Authentication",
    "Script",
    "UnicastPeer",
    "VirtualAddress",
    "VrrpInstance",
]

HMAC_KEY_HINT = "make one, the same on every node: echo hex:$(openssl rand -hex 32)"


def virtual_address(statement: Statement) -> VirtualAddress:
    return address_line(statement.words)[0]


def as_written(statement: Statement) -> Any:
    """A route or a rule: compiled by instance.py, which knows the names and what else there is to say."""
    return statement


@dataclass(frozen=True)
class UnicastPeer:
    """One line of unicast_peer. A TTL bound turns the check of the source address on."""

    address: bytes
    min_ttl: int = 0
    max_ttl: int = 255


def unicast_peer(statement: Statement) -> UnicastPeer:
    words = statement.words
    bounds = {"min_ttl": 0, "max_ttl": 255}
    packed = host(words[0], 0)
    for index in range(1, len(words), 2):
        if words[index] not in bounds:
            hint = "one peer in a line" if re.match(r"[0-9a-fA-F:.]+\Z", words[index]) else ""
            raise Invalid(f"'{words[index]}' is neither min_ttl nor max_ttl", index, hint, UnicastPeer(packed))
        if index + 1 == len(words):
            raise Invalid(f"'{words[index]}' needs a value", index)
        value = integer(words[index + 1], index=index + 1)
        if not 0 <= value <= 255:
            raise Invalid(f"{value} is outside 0..255", index + 1)
        bounds[words[index]] = value
    if bounds["min_ttl"] > bounds["max_ttl"]:
        raise Invalid(
            "min_ttl is above max_ttl: nothing that it sends would be heard", 1, fallback=UnicastPeer(packed, **bounds)
        )
    return UnicastPeer(packed, **bounds)


def peer_path(statement: Statement) -> bytes:
    """One line of peer_path: an address that needs no interface to be meant."""
    packed = host(statement.words[0], 0)
    if packed[0] >> 4 == 14 if len(packed) == 4 else packed[0] == 0xFF:
        raise Invalid(f"{statement.words[0]} is a multicast group", 0)
    if link_local(packed):
        raise Invalid(f"{statement.words[0]} is a link-local address", 0, "use one that is routed, or IPv4")
    if statement.words[1:]:
        raise Invalid(f"'{statement.words[1]}' behind the address of a peer", 1, "one address a line")
    return packed


def path_key(statement: Statement) -> bytes:
    """Long enough that nobody finds it by trying, whatever he has recorded."""
    value = statement.words[1].encode("utf-8", "surrogateescape")
    if not 16 <= len(value) <= 64:
        raise Invalid(f"the key has {len(value)} bytes, 16 to 64 are needed", hint="make one: openssl rand -hex 32")
    return value


def password(statement: Statement) -> bytes:
    """At most 8 bytes go into an advert (RFC 2338 5.3.10); what is longer never compares as meant."""
    value = statement.words[1].encode("utf-8", "surrogateescape")
    if len(value) > 8:
        raise Invalid(
            f"the password has {len(value)} bytes, VRRPv2 carries at most 8",
            hint="keepalived uses the first 8: shorten it on every node",
            fallback=value[:8],
        )
    return value


def old_checksum(statement: Statement) -> str:
    """Alone: always; `never`: do not even look."""
    if len(statement.words) > 1 and statement.words[1] != "never":
        raise Invalid(f"'{statement.words[1]}' is not never")
    return statement.words[1] if len(statement.words) > 1 else "old"


def timer_expired_backup(statement: Statement) -> int:
    """The highest priority of the others; 254 is the one that takes over first."""
    value = integer(statement.words[1]) if len(statement.words) > 1 else 254
    if not 1 <= value <= 254:
        raise Invalid(f"{value} is outside 1..254")
    return value


def hmac_key(statement: Statement) -> tuple[int, bytes]:
    """`key ID VALUE`. What is wrong with the value is said without it."""
    word, value = statement.words[1:3]
    if not INTEGER.match(word):  # the key, perhaps
        raise Invalid("its first word is not a number", hint="key ID VALUE, ID in 1..255")
    number = integer(word)
    if not 1 <= number <= 255:
        raise Invalid(f"{number} is outside 1..255")
    if value.startswith("file:"):
        value = _key_file(value[5:])
    if value.startswith("hex:"):
        try:
            key = bytes.fromhex(value[4:])
        except ValueError:
            raise Invalid("what follows hex: is not pairs of hexadecimal digits", 2, HMAC_KEY_HINT) from None
    else:
        key = value.encode("utf-8", "surrogateescape")
    if not 32 <= len(key) <= 64:
        raise Invalid(f"{number} has {len(key)} bytes, 32 to 64 are needed", 2, HMAC_KEY_HINT)
    return number, key


def _key_file(path: str) -> str:
    """Never one that others may read: a secret that is none."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise Invalid(f"cannot read {path}: {error.strerror}", 2) from None
    with os.fdopen(fd, "rb") as file:
        found = os.fstat(fd)
        if not stat.S_ISREG(found.st_mode):
            raise Invalid(f"{path} is not a file", 2)
        if found.st_mode & 0o077:
            mode = f"{stat.S_IMODE(found.st_mode):04o}"
            raise Invalid(f"{path} (mode {mode}) may be read by others", 2, f"mend it with: chmod 0600 {path}")
        return file.read(256).rstrip(b"\r\n").decode("utf-8", "surrogateescape")


def skip_check(statement: Statement) -> bool:
    """keepalived sets it even with `no` (vrrp_parser.c), against its man page: so do we."""
    for word in statement.words[1:2]:
        boolean(word)
    return True


@dataclass(frozen=True)
class Authentication:
    """VRRPv2 authentication (RFC 2338 5.3.6): the password, at most 8 bytes, unpadded."""

    auth_type: str = kw(Choice("PASS", "AH"), "", "PASS: a password in clear; AH: HMAC-MD5 over IPv4 (RFC 2402)")
    auth_pass: bytes = kw(Custom(password, "password"), b"", "the same on all nodes, at most 8 bytes", secret=True)


@dataclass(frozen=True)
class AuthHmac:
    """HMAC-SHA256 behind each advert (draft-cassen-vrrp-auth-hmac, keepalived 2.4.2 and later)."""

    keys: tuple[tuple[int, bytes], ...] = kw(
        Custom(hmac_key, "integer password", 2, 2, public=1),
        (),
        "ID VALUE: all that are accepted; hex:DIGITS, file:PATH (mode 0600) or the key itself, 32 to 64 bytes",
        name="key",
        repeated=EACH,
        secret=True,
    )
    active_key: int = kw(Integer(1, 255), 0, "the key that adverts are sent with")
    anti_replay: str = kw(
        Choice("time", "monotonic"), "time", "time: clocks must agree; monotonic: each sender's sequence must grow"
    )
    time_window: int = kw(
        Integer(1, 300), 0, "how far clocks may differ, by default 3 * advert_int, 5 at least", unit="s"
    )
    mode: str = kw(
        Choice("enforce", "permissive", "receive-only"),
        "enforce",
        "permissive: accepts adverts without HMAC too; receive-only: and sends none with it",
    )


@dataclass(frozen=True)
class VrrpInstance:
    """One virtual router, resolved: no value is inherited any more. Times in seconds."""

    name: str
    interface: str = kw(
        InterfaceName(), "", "where adverts are sent and addresses are added; unicast may do without, see `vrf`"
    )
    vrf: str = kw(InterfaceName(), "", "instead of `interface`, for unicast: the VRF that unicast_src_ip is in")
    virtual_router_id: int = kw(Integer(1, 255), 0, "1..255, unique per interface and address family")
    family: int = AF_INET
    version: int = kw(Integer(2, 3), 2, "VRRP version; IPv6 is always 3", inherits="vrrp_version")
    state: str = kw(
        Choice("MASTER", "BACKUP", fallback="BACKUP"), "BACKUP", "start state of an address owner; decides no election"
    )
    priority: int = kw(Integer(1, 255, fallback=100), 100, "the highest wins; 255 is the owner of the addresses")
    advert_int: float = kw(Seconds(0.01, 255), 1.0, "time between adverts; whole seconds in VRRPv2", unit="s")
    virtual_ipaddress: tuple[VirtualAddress, ...] = kw(
        ListOf(virtual_address, "addresses"), (), "addresses of the virtual router, one family, advertised"
    )
    virtual_ipaddress_excluded: tuple[VirtualAddress, ...] = kw(
        ListOf(virtual_address, "addresses"), (), "further addresses, any family, not advertised"
    )
    virtual_routes: tuple[Routing, ...] = kw(
        ListOf(as_written, "routes"), (), "routes while MASTER, as for 'ip route add'; no_track: nobody puts it back"
    )
    virtual_rules: tuple[Routing, ...] = kw(
        ListOf(as_written, "rules"), (), "rules while MASTER, as for 'ip rule add'; each needs a preference"
    )
    no_virtual_ipaddress: bool = kw(Flag(True), False, "no address is meant: only scripts act")
    authentication: Authentication | None = kw(Nested("authentication"), None, "VRRPv2 only (RFC 2338)")
    auth_hmac: AuthHmac | None = kw(Nested("auth_hmac"), None, "any version and family; keepalived 2.4.2 and later")
    mcast_group: bytes = kw(Group(), b"\xe0\x00\x00\x12", "group of adverts", name="mcast_dst_ip")
    mcast_src_ip: bytes | None = kw(Address(multicast=False), None, "source of multicast adverts")
    unicast_src_ip: bytes | None = kw(Address(multicast=False), None, "source of unicast adverts")
    unicast_peer: tuple[bytes, ...] = kw(ListOf(unicast_peer, "peers"), (), "send adverts to these instead of a group")
    unicast_peer_ttl: tuple[tuple[int, int], ...] = ()  # (least, most) for each peer
    unicast_fault_no_peer: bool = kw(
        Flag(True), False, "without a unicast_peer the instance stays in FAULT instead of using a group"
    )
    track_src_ip: bool = kw(
        Flag(True), False, "FAULT while the interface has not got the unicast_src_ip or mcast_src_ip"
    )
    unicast_ttl: int = kw(Integer(0, 255), 255, "TTL or hop limit of unicast adverts")
    check_unicast_src: bool = kw(
        Flag(True), False, "unicast adverts must come from a peer", inherits="vrrp_check_unicast_src"
    )
    dont_track_primary: bool = kw(Flag(True), False, "the instance's own interface may be down")
    preempt: bool = kw(
        Flag(False),
        True,
        "a lower master keeps its role",
        name="nopreempt",
        also={"preempt": Flag(True)},
        said={"preempt": "a lower master is taken over from, which is the default"},
    )
    preempt_delay: float = kw(Seconds(0, 1000), 0.0, "wait before taking over from a lower master", unit="s")
    strict_mode: bool = kw(
        Boolean(), False, "what the RFCs do not have is refused; who is not the owner drops", inherits="vrrp_strict"
    )
    timer_expired_backup: int = kw(
        Custom(timer_expired_backup, "integer", 0, 1),
        0,
        "a MASTER that slept until one of this priority (1..254, by default 254) took over becomes BACKUP",
        also={"thread_timer_expired": Custom(timer_expired_backup, "integer", 0, 1)},
    )
    owner_ignore_adverts: bool = kw(
        Boolean(),
        False,
        "an owner that is MASTER ignores adverts, also another owner's for a while",
        inherits="vrrp_owner_ignore_adverts",
    )
    down_timer_adverts: int = kw(
        Integer(1, 100), 3, "missed adverts before a takeover", inherits="vrrp_down_timer_adverts"
    )
    garp_master_delay: float = kw(
        Seconds(0, LONGEST), 5.0, "second block of gratuitous ARP", unit="s", inherits="vrrp_garp_master_delay"
    )
    garp_master_repeat: int = kw(
        Integer(1, UNSIGNED, fallback=1), 5, "messages per block", inherits="vrrp_garp_master_repeat"
    )
    garp_master_refresh: float = kw(
        Seconds(0, REFRESH), 0.0, "repeat while MASTER, 0 for never", unit="s", inherits="vrrp_garp_master_refresh"
    )
    garp_master_refresh_repeat: int = kw(
        Integer(1, UNSIGNED, fallback=1), 1, "messages per refresh", inherits="vrrp_garp_master_refresh_repeat"
    )
    garp_lower_prio_delay: float = kw(
        Seconds(0, LONGEST), 5.0, "second block after a lower advert", unit="s", inherits="vrrp_garp_lower_prio_delay"
    )
    garp_lower_prio_repeat: int = kw(
        Integer(0, 2**31 - 1), 5, "messages after a lower advert", inherits="vrrp_garp_lower_prio_repeat"
    )
    garp_interval: float = 0.0  # vrrp_garp_interval: keepalived has no keyword of the instance for it
    gna_interval: float = 0.0
    lower_prio_no_advert: bool = kw(
        Boolean(), False, "do not answer a lower advert with one of ours", inherits="vrrp_lower_prio_no_advert"
    )
    higher_prio_send_advert: bool = kw(
        Boolean(),
        False,
        "accepted: a last advert before yielding is sent in any case",
        inherits="vrrp_higher_prio_send_advert",
    )
    old_unicast_checksum: str = kw(
        Custom(old_checksum, "choice", 0, 1),
        "",
        "VRRPv3 over IPv4, unicast: checksums of keepalived before 1.3.7; default: as the peer's, never: not even then",
    )
    v3_checksum_as_v2: bool = kw(
        Boolean(), False, "VRRPv3 over IPv4: checksum without the pseudo-header", inherits="v3_checksum_as_v2"
    )
    skip_check_adv_addr: bool = kw(
        Custom(skip_check, "boolean", 0, 1),
        False,
        "do not compare addresses again",
        inherits="vrrp_skip_check_adv_addr",
    )
    promote_secondaries: bool = kw(
        Flag(True), False, "other addresses of a subnet stay when its first one is removed, while the daemon runs"
    )
    restore_deleted: bool = kw(
        Boolean(),
        True,
        "put back what somebody removes of ours; 'no': resign and stand again, as keepalived does",
        inherits="restore_deleted",
        ours=True,
    )
    vip_lifetime: int = kw(
        Custom(lifetime, "integer"),
        0,
        "the kernel drops an address that nobody renews for so long (2..86400), 0 for never",
        unit="s",
        inherits="vip_lifetime",
        ours=True,
    )
    vmac: Device | None = kw(
        Custom(use_vmac, "interface mac", 0, 5),
        None,
        "a virtual interface with the virtual MAC address bears the addresses: [NAME] [MAC]",
        name="use_vmac",
        also={"use_ipvlan": Custom(use_ipvlan, "interface address mode", 0, 4)},
        said={
            "use_ipvlan": "adverts are sent from an ipvlan, the addresses lie on the interface: [NAME] [ADDRESS] [MODE]"
        },
    )
    vmac_xmit_base: bool = kw(Flag(True), False, "adverts leave from the interface itself, with its own MAC address")
    use_vmac_addr: bool = kw(
        Flag(True), False, "addresses with 'dev', or of the other family, get a virtual interface too"
    )
    devices: tuple[Device, ...] = ()  # all virtual interfaces, that of use_vmac first
    garp_extra_if: tuple[bool, float] | None = kw(
        Custom(extra_if, "all seconds", 1, 2),
        None,
        "repeat announcements on virtual interfaces, 'all': on every one: [all] SECONDS",
        inherits="vrrp_garp_extra_if",
        also={"vmac_garp_intvl": Custom(extra_if, "all seconds", 1, 2)},
    )
    peer_path: tuple[bytes, ...] = kw(
        ListOf(peer_path, "peers", alone=True),
        (),
        "peers by an address on another interface, the best first: who is told at once when addresses are let go",
        ours=True,
    )
    peer_path_key: bytes = kw(
        Custom(path_key, "password"), b"", "16 to 64 bytes, the same on both nodes of a path", secret=True, ours=True
    )
    track_interface: tuple[Track, ...] = kw(
        lines(INTERFACE), (), "FAULT while one of these is down, or with `weight W [reverse]` another priority"
    )
    track_script: tuple[Track, ...] = kw(lines(SCRIPT), (), "FAULT while a vrrp_script fails, or another priority")
    track_file: tuple[Track, ...] = kw(lines(FILE), (), "numbers of files that are added to the priority")
    track_process: tuple[Track, ...] = kw(lines(PROCESS), (), "FAULT without the processes, or another priority")
    accept: bool = kw(
        Flag(True),
        True,
        "packets to the addresses are accepted; no_accept: only ARP and neighbour discovery (not an owner)",
        also={"no_accept": Flag(False)},
    )
    kernel_rx_buf_size: int = kw(
        Integer(0, UNSIGNED), 0, "receive buffer (default: vrrp_rx_bufs_policy), 1 MB at least"
    )
    rx_buf_mtus: int = 0  # the same as a multiple of the interface's MTU
    notify_master: Script | None = kw(script_type(), None, "run on becoming MASTER", repeated=FIRST)
    notify_backup: Script | None = kw(script_type(), None, "run on becoming BACKUP", repeated=FIRST)
    notify_fault: Script | None = kw(script_type(), None, "run on entering FAULT", repeated=FIRST)
    notify_stop: Script | None = kw(script_type(), None, "run when the daemon stops", repeated=FIRST)
    notify_deleted: Script | None = kw(
        Custom(optional_command, "script", 0, 4),
        None,
        "run when a reload removes the instance, which is then DELETED and not FAULT to notify and mail",
        repeated=FIRST,
    )
    notify_master_rx_lower_pri: Script | None = kw(
        script_type(), None, "run when a MASTER hears a lower advert", repeated=FIRST
    )
    notify: Script | None = kw(
        script_type(), None, "run on every transition with INSTANCE NAME STATE PRIORITY", repeated=FIRST
    )
    smtp_alert: bool = kw(Boolean(), False, "mail about transitions", inherits="smtp_alert_vrrp")
    notify_priority_changes: bool = kw(
        Boolean(),
        False,
        "changes of the effective priority are written to the named pipes too",
        inherits="vrrp_notify_priority_changes",
    )
