"""What the protocol needs to know of an interface, and what follows from it: our source and advert, or why none.

In: the full current picture of one interface as net/ sees it, and a configuration. Out: the address we send from,
what the advert says, and the sentences that keep a router in FAULT. Sockets and netlink belong to net/.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from vrrpd.families import AF_INET, link_local
from vrrpd.vrrp.packet import ADDRESS_LENGTH, AUTH_AH, AUTH_NONE, AUTH_SIMPLE, AdvertSpec

if TYPE_CHECKING:
    from collections.abc import Container

    from vrrpd.model.values import Device
    from vrrpd.model.vrrp import VrrpInstance


MCAST_GROUP = {4: b"\xe0\x00\x00\x12", 16: b"\xff\x02" + bytes(13) + b"\x12"}  # 224.0.0.18, ff02::12


class InterfaceAddress(NamedTuple):
    """An address on an interface; not usable while tentative or after failed duplicate detection."""

    address: bytes
    prefixlen: int
    usable: bool = True


class Link(NamedTuple):
    """One interface. `addresses` in kernel order, both families, our virtual ones included.

    A VRF has the addresses of all interfaces in it too, and the whole machine is an interface called "": they are what
    a router without an interface of its own lives on. An address on an interface that is down is not usable there.
    """

    ifindex: int
    name: str
    up: bool
    mac: bytes
    mtu: int = 1500
    arp: bool = True
    lower: int = 0
    addresses: tuple[InterfaceAddress, ...] = ()


def roams(cfg: VrrpInstance) -> bool:
    """Has it no interface of its own? Then it is its unicast_src_ip, wherever that lies, that it hears and sends by."""
    return bool(cfg.vrf) or not cfg.interface


def configured_source(cfg: VrrpInstance) -> bytes | None:
    return cfg.unicast_src_ip if cfg.unicast_peer else cfg.mcast_src_ip


def source_address(cfg: VrrpInstance, link: Link, virtual: Container[bytes]) -> bytes | None:
    """What adverts of `cfg` are sent from, None when the interface has nothing suitable.

    IPv4: the primary address (RFC 9568 1.2), the first that is not a virtual one of ours; an owner's virtual
    address may be its only one. IPv6: a usable link-local (RFC 9568 5.1.2.1). A configured source wins;
    over IPv6, or with track_src_ip, the interface must have it; else over IPv4 we write the header, and nobody asks.
    Who has no interface hears nothing when nobody has it.
    """
    configured = configured_source(cfg)
    if cfg.vmac is not None and cfg.vmac.address:
        return cfg.vmac.address  # it lies on the ipvlan, whose MAC address is that of this interface
    if roams(cfg):
        there = [entry for entry in link.addresses if entry.address == configured]
        return configured if any(entry.usable or cfg.dont_track_primary for entry in there) else None
    if configured and cfg.family == AF_INET and not cfg.track_src_ip:
        return configured
    width = ADDRESS_LENGTH[cfg.family]
    own = [entry.address for entry in link.addresses if len(entry.address) == width and entry.usable]
    if configured:
        return configured if configured in own else None
    if cfg.family != AF_INET:
        own = [address for address in own if link_local(address)]
    for address in own:
        if address not in virtual:
            return address
    return own[0] if own and cfg.priority == 255 else None


def link_faults(cfg: VrrpInstance, link: Link | None, source: bytes | None) -> set[str]:
    """Why this interface cannot carry the router, as sentences; empty when it can."""
    if cfg.unicast_fault_no_peer:
        return {"there is no unicast_peer"}
    if roams(cfg):
        return _roaming_faults(cfg, link, source)
    if link is None:
        return {f"interface {cfg.interface} does not exist"}
    if not link.up and not cfg.dont_track_primary:
        return {f"interface {cfg.interface} is down"}
    if source is not None:
        return set()
    if configured_source(cfg):
        keyword = "unicast_src_ip" if cfg.unicast_peer else "mcast_src_ip"
        return {f"interface {cfg.interface} does not have {keyword}, or it is not usable yet"}
    if cfg.family == AF_INET:
        return {f"interface {cfg.interface} has no IPv4 address"}
    return {f"interface {cfg.interface} has no usable IPv6 link-local address"}


def _roaming_faults(cfg: VrrpInstance, link: Link | None, source: bytes | None) -> set[str]:
    if cfg.vrf and link is None:
        return {f"VRF {cfg.vrf} does not exist"}
    if link is not None and not link.up and not cfg.dont_track_primary:
        return {f"VRF {cfg.vrf} is down"}
    where = f"in VRF {cfg.vrf}" if cfg.vrf else "outside of VRFs"
    return set() if source else {f"no interface {where} that is up has the unicast_src_ip"}


def device_faults(device: Device, base: Link, link: Link | None, refused: str, down_is_fine: bool = False) -> set[str]:
    """Why the virtual interface cannot bear the addresses. `base` is up."""
    if link is None:
        return {refused or f"interface {device.name} does not exist"}
    if is_other(device, base, link):
        return {refused or f"interface {device.name} is not the one that was made"}
    return set() if link.up or down_is_fine else {f"interface {device.name} is down"}


def is_other(device: Device, base: Link, link: Link) -> bool:
    """Made by somebody else, or on an interface that has another name by now.

    A macvlan on top of a macvlan lies on what that one lies on: so says Linux.
    """
    lies = link.lower == base.ifindex or (link.lower == base.lower and base.lower != 0)
    return not lies or (bool(device.mac) and link.mac != device.mac)


def advert_spec(cfg: VrrpInstance, source: bytes) -> AdvertSpec:
    """The advert that this configuration asks for; a seal on it is the router's (auth.py)."""
    width = ADDRESS_LENGTH[cfg.family]
    group = cfg.mcast_group if len(cfg.mcast_group) == width else MCAST_GROUP[width]
    auth = cfg.authentication if cfg.version == 2 else None
    simple = auth is not None and auth.auth_type == "PASS"
    return AdvertSpec(
        family=cfg.family,
        version=cfg.version,
        vrid=cfg.virtual_router_id,
        advert_int=cfg.advert_int,
        addresses=tuple(entry.address for entry in cfg.virtual_ipaddress),
        source=source or bytes(width),
        destinations=cfg.unicast_peer or (group,),
        ttl=cfg.unicast_ttl if cfg.unicast_peer else 255,
        auth_type=AUTH_NONE if auth is None else AUTH_SIMPLE if simple else AUTH_AH,
        auth_data=auth.auth_pass.ljust(8, b"\0")[:8] if auth is not None and simple else b"",
        pseudo_header=cfg.family != AF_INET or not cfg.v3_checksum_as_v2,
        old_sum=cfg.old_unicast_checksum == "old" and cfg.version == 3 and width == 4 and bool(cfg.unicast_peer),
    )
