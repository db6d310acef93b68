"""Interfaces as the kernel has them now, who lives on them, what is listened to, and the pace of announcements."""

from __future__ import annotations

import contextlib
import struct
from collections.abc import Container, Iterator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from vrrpd.dump import words
from vrrpd.families import AF_INET, link_local
from vrrpd.net import netlink, routing, vmac
from vrrpd.net.addresses import IFA_ADDRESS, IFA_LOCAL
from vrrpd.net.links import IFF_NOARP, IFF_RUNNING, IFF_UP, IFLA_ADDRESS, IFLA_IFNAME, IFLA_LINK, IFLA_MTU
from vrrpd.vrrp.records import text

if TYPE_CHECKING:
    from vrrpd.model.model import Model
    from vrrpd.model.vrrp import VrrpInstance

IFLA_BROADCAST = 2
# Of an interface's flags what is worth a word: bit, whether it is to be set, the word (netdevice(7)).
FLAGS = (
    (0x2, False, "no broadcast"), (0x8, True, "loopback"), (0x10, True, "point to point"), (IFF_NOARP, True, "no arp"),
    (0x1000, False, "no multicast"),
)  # fmt: skip
TYPES = {1: "ETHERNET", 32: "INFINIBAND", 772: "LOOPBACK"}  # linux/if_arp.h
SYSCTLS = {
    "arp_ignore": "Original arp_ignore", "arp_filter": "Original arp_filter", "rp_filter": "rp_filter",
    "promote_secondaries": "Original promote_secondaries",
}  # fmt: skip
_LINK = struct.Struct("=BxHiII")
_ADDRESS = struct.Struct("=BBBBI")
_U32 = struct.Struct("=I")


class Link(NamedTuple):
    ifindex: int
    name: str
    type: int = 0
    flags: int = 0
    mac: bytes = b""
    broadcast: bytes = b""
    mtu: int = 0
    lower: int = 0
    vrf: str = ""
    addresses: tuple[bytes, ...] = ()  # in the kernel's order
    sysctls: tuple[tuple[str, str], ...] = ()  # as keepalived calls them, and their values

    @property
    def up(self) -> bool:
        return self.flags & (IFF_UP | IFF_RUNNING) == IFF_UP | IFF_RUNNING


Links = Mapping[str, Link]


def links() -> Links:
    """All of this network namespace, by name; none where the kernel does not say."""
    found: dict[int, Link] = {}
    try:
        for event in netlink.dump(netlink.RTM_GETLINK):
            _, kind, index, flags, _ = _LINK.unpack_from(event.body)
            values = {number: bytes(value) for number, value in netlink.attributes(event.body[_LINK.size :])}
            found[index] = Link(
                index,
                values.get(IFLA_IFNAME, b"").rstrip(b"\0").decode(errors="replace"),
                kind,
                flags,
                values.get(IFLA_ADDRESS, b""),
                values.get(IFLA_BROADCAST, b""),
                _number(values.get(IFLA_MTU)),
                _number(values.get(IFLA_LINK)),
            )
        for there in vmac.found().values():
            if there.vrf in found and there.ifindex in found:
                found[there.ifindex] = found[there.ifindex]._replace(vrf=found[there.vrf].name)
        for event in netlink.dump(netlink.RTM_GETADDR):
            _note(found, event.body)
    except OSError:
        return {}
    return {link.name: link._replace(sysctls=tuple(_sysctls(link.name))) for link in found.values()}


def _sysctls(name: str) -> Iterator[tuple[str, str]]:
    for sysctl, said in SYSCTLS.items():
        with contextlib.suppress(OSError), open(f"/proc/sys/net/ipv4/conf/{name}/{sysctl}", encoding="ascii") as file:
            yield said, file.read().strip()


def _number(value: bytes | None) -> int:
    return int(_U32.unpack(value)[0]) if value else 0


def _note(found: dict[int, Link], body: memoryview) -> None:
    *_, index = _ADDRESS.unpack_from(body)
    values = {number: bytes(value) for number, value in netlink.attributes(body[_ADDRESS.size :])}
    link = found.get(index)
    if link is not None:
        address = values.get(IFA_LOCAL) or values.get(IFA_ADDRESS, b"")
        found[index] = link._replace(addresses=(*link.addresses, address))


def _sources(link: Link, ours: Container[bytes]) -> Iterator[str]:
    """What adverts could leave with: the first address that is not `ours`, of IPv6 the first link-local one."""
    four = (text(each) for each in link.addresses if len(each) == 4 and each not in ours)
    six = (text(each) for each in link.addresses if link_local(each) and each not in ours)
    yield f"   IPv4 address = {next(four, '(none)')}"
    yield f"   IPv6 address = {next(six, '(none)')}"


def lines(model: Model, status: dict[str, Any], links: Links) -> Iterator[str]:
    delays = {entry.name: entry for entry in model.interface_delays}
    paces = _paces(model)
    devices = {device.name: device for cfg in model.vrrp_instances for device in cfg.devices}
    names = {link.ifindex: link.name for link in links.values()}
    ours = {
        *(entry.address for cfg in model.vrrp_instances for entry in cfg.virtual_ipaddress),
        *(entry.address for cfg in model.vrrp_instances for entry in cfg.virtual_ipaddress_excluded),
        *(routing.address(static.entry.body)[0] for static in model.statics if static.entry.kind == routing.ADDRESS),
    }
    for name, link in links.items():
        yield f" Name = {name}"
        yield f"   index = {link.ifindex}"
        yield from _sources(link, ours)
        if link.type != 772:
            yield f"   MAC = {link.mac.hex(':')}"
            yield f"   MAC broadcast = {link.broadcast.hex(':')}"
        yield f"   State = {_state(link)}{_flags(link)}"
        yield f"   Seen up = {int(link.up)}"
        delay = delays.get(name)
        yield f"   Delayed state change running = {words.boolean(name in status.get('delayed', ()))}"
        yield f"   Up debounce timer = {int((delay.up if delay else 0) * 1e6)}us"
        yield f"   Down debounce timer = {int((delay.down if delay else 0) * 1e6)}us"
        device = devices.get(name)
        if device is not None:
            lower = links.get(names.get(link.lower, ""))
            state = f", state = {_state(lower)}" if lower else ""
            kind = "VMAC type private" if device.mac else f"IPVLAN type {device.mode}"
            yield f"   {kind}, underlying interface = {device.base}{state}"
            yield "   I/f created by keepalived"
        yield f"   MTU = {link.mtu}"
        yield f"   HW Type = {TYPES.get(link.type) or f'UNKNOWN ({link.type})'}"
        yield "   NIC netlink status update"
        if link.vrf:
            yield f"   VRF slave of {link.vrf}"
        if name in paces:
            garp, gna = paces[name]
            yield f"   Gratuitous ARP interval {garp * 1000:.0f}ms"
            yield f"   Gratuitous NA interval {gna * 1000:.0f}ms"
        yield from (f"   {label} {value}" for label, value in link.sysctls)
        yield from _followers(model, name)


def _state(link: Link) -> str:
    return f"{'' if link.flags & IFF_UP else 'not '}UP, {'' if link.flags & IFF_RUNNING else 'not '}RUNNING"


def _flags(link: Link) -> str:
    return "".join(f", {word}" for bit, wanted, word in FLAGS if bool(link.flags & bit) is wanted)


def _followers(model: Model, name: str) -> Iterator[str]:
    """Who lives on it, then who tracks it."""
    found = [
        f"{cfg.name}, weight {255 if cfg.dont_track_primary else 0}"
        for cfg in model.vrrp_instances
        if name in (cfg.interface, cfg.vmac and cfg.vmac.name)
    ]
    found += [
        f"{cfg.name}, weight {track.weight}{' reverse' if track.reverse else ''}"
        for cfg in model.vrrp_instances
        for track in cfg.track_interface
        if track.name == name
    ]
    if found:
        yield "   Tracking VRRP instances :"
        yield from words.indented(found)


# --------------------------------------------------------------------------------------------------- announcements
def _paces(model: Model) -> dict[str, tuple[float, float]]:
    """garp_interval and gna_interval of each interface that has any."""
    defs = model.global_defs
    found: dict[str, tuple[float, float]] = {}
    for group in model.garp_groups:
        found.update((name, (group.garp_interval, group.gna_interval)) for name in group.interfaces)
    if defs.vrrp_garp_interval or defs.vrrp_gna_interval:
        for cfg in model.vrrp_instances:
            found.setdefault(cfg.interface, (defs.vrrp_garp_interval, defs.vrrp_gna_interval))
    return found


def garp_delays(model: Model, status: dict[str, Any]) -> Iterator[str]:
    paces = _paces(model)
    members = [group.interfaces for group in model.garp_groups]
    grouped = {name for names in members for name in names}
    members += [(name,) for name in paces if name not in grouped]
    ready = {(where, what): at for where, what, at in status.get("announcing", ())}
    shared = 0
    for names in members:
        garp, gna = paces[names[0]]
        shared += len(names) > 1
        yield f"------< GARP delay group {shared if len(names) > 1 else 0} >------"
        for what, interval in (("GARP", garp), ("GNA", gna)):
            yield f" {what} interval = {words.number(interval):g}"
            yield f" {what} next time {words.moment(ready.get((names[0], what), 0.0), year=False)}"
        yield " Interfaces"
        yield from (f"  {name}" for name in names)


# --------------------------------------------------------------------------------------------------------- sockets
def sockpool(model: Model, status: dict[str, Any]) -> Iterator[str]:
    """We have one socket for all instances of an interface, keepalived one more for each unicast source."""
    living: dict[tuple[str, str, str], list[VrrpInstance]] = {}
    for cfg in model.vrrp_instances:
        for key in heard_at(cfg):
            living.setdefault(key, []).append(cfg)
    for each in status.get("sockets", ()):
        here = living.get((each["interface"], each["family"], each["protocol"]), [])
        sources = {cfg.unicast_src_ip for cfg in here if cfg.unicast_peer}
        yield f" fd_in {each['fd_in']} fd_out = {each['fd_out']}"
        yield f"   Interface = {each['interface'] or '(none)'}"
        yield f"   Family = {'IPv4' if each['family'] == 'ipv4' else 'IPv6'}"
        yield f"   Protocol = {each['protocol']}"
        yield f"   Type = {'Unicast' if here and all(cfg.unicast_peer for cfg in here) else 'Multicast'}"
        yield from (f"   Address = {text(source)}" for source in sources if source)
        yield f"   Rx buf size = {each['buffer']}"
        yield "   VRRP instances"
        yield from words.indented(f"{cfg.name} vrid {cfg.virtual_router_id}" for cfg in here)


def heard_at(cfg: VrrpInstance) -> Iterator[tuple[str, str, str]]:
    """Interface, family and protocol of the sockets that hear its adverts."""
    family = "ipv4" if cfg.family == AF_INET else "ipv6"
    yield cfg.interface, family, "VRRP"
    if cfg.authentication is not None and cfg.authentication.auth_type == "AH":
        yield cfg.interface, family, "AH"
