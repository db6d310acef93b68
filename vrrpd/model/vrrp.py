"""What a vrrp_instance means, after every default is filled in. Skeleton: the keyword table comes with the reader."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Optional

AF_INET, AF_INET6 = 2, 10


@dataclass(frozen=True)
class VirtualAddress:
    """One line of virtual_ipaddress. `address` is packed, 4 or 16 bytes."""

    address: bytes
    prefixlen: int
    dev: str = ""  # "" means the instance's interface
    broadcast: Optional[bytes] = None
    scope: int = 0  # RT_SCOPE_UNIVERSE
    label: str = ""


@dataclass(frozen=True)
class Script:
    """A command of the configuration, already split; `user` "" means script_user or its default."""

    argv: tuple[str, ...]
    user: str = ""
    group: str = ""


@dataclass(frozen=True)
class Authentication:
    """VRRPv2 simple text authentication (RFC 2338 10.2): the password, at most 8 bytes, unpadded."""

    auth_type: str
    auth_pass: bytes = field(repr=False, default=b"")


@dataclass(frozen=True)
class VrrpInstance:
    """One virtual router, resolved: no value is inherited any more. Times in seconds."""

    name: str
    interface: str
    virtual_router_id: int
    family: int = AF_INET
    version: int = 2
    state: str = "BACKUP"
    priority: int = 100
    advert_int: float = 1.0
    virtual_ipaddress: tuple[VirtualAddress, ...] = ()
    virtual_ipaddress_excluded: tuple[VirtualAddress, ...] = ()
    authentication: Optional[Authentication] = None
    mcast_group: bytes = b"\xe0\x00\x00\x12"
    mcast_src_ip: Optional[bytes] = None
    unicast_src_ip: Optional[bytes] = None
    unicast_peer: tuple[bytes, ...] = ()
    unicast_ttl: int = 255
    check_unicast_src: bool = False
    preempt: bool = True
    preempt_delay: float = 0.0
    down_timer_adverts: int = 3
    garp_master_delay: float = 5.0
    garp_master_repeat: int = 5
    garp_master_refresh: float = 0.0
    garp_master_refresh_repeat: int = 1
    garp_lower_prio_delay: float = 5.0
    garp_lower_prio_repeat: int = 5
    garp_interval: float = 0.0
    gna_interval: float = 0.0
    lower_prio_no_advert: bool = False
    higher_prio_send_advert: bool = False
    v3_checksum_as_v2: bool = False
    skip_check_adv_addr: bool = False
    notify_master: Optional[Script] = None
    notify_backup: Optional[Script] = None
    notify_fault: Optional[Script] = None
    notify_stop: Optional[Script] = None
    notify_deleted: Optional[Script] = None
    notify_master_rx_lower_pri: Optional[Script] = None
    notify: Optional[Script] = None
    smtp_alert: bool = False
