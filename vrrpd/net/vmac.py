"""Virtual interfaces as rtnetlink requests, what is there already, and the sysctls of an interface.

A macvlan receives what is sent to its own MAC address; an ipvlan shares that of its base. `found` reads every one
there is; requests are carried out by netlink.Requests. Sysctls are files below /proc/sys/net, named as there.
"""

from __future__ import annotations

import errno
import struct
from collections.abc import Iterable
from typing import NamedTuple

from vrrpd.net import netlink
from vrrpd.net.addresses import AF_INET, AF_INET6
from vrrpd.net.netlink import NLM_F_CREATE, NLM_F_EXCL, RTM_DELLINK, RTM_NEWLINK, attribute

Request = tuple[int, int, bytes]

_IFLA_ADDRESS, _IFLA_IFNAME, _IFLA_LINK, _IFLA_MASTER, _IFLA_LINKINFO, _IFLA_GROUP = 1, 3, 5, 10, 18, 27
_IFLA_AF_SPEC, _INET_CONF, _INET6_ADDR_GEN_MODE = 26, 1, 8
_DEVCONF = {  # linux/ip.h IPV4_DEVCONF_*
    "forwarding": 1,
    "rp_filter": 8,
    "arp_announce": 18,
    "arp_ignore": 19,
    "promote_secondaries": 20,
}
_INFO_KIND, _INFO_DATA, _INFO_SLAVE_KIND = 1, 2, 4
_MODE, _IPVLAN_FLAGS = 1, 2
_VRF_TABLE = 1
_IFF_UP = 1

# linux/if_link.h. Not "private", which hands a frame from our own virtual MAC address, such as the advert of a peer
# with the same virtual router, to the macvlan alone; as vepa the interface below sees it too. Towards each other
# and the wire both are the same.
_MACVLAN_MODE_VEPA = 2
_IPVLAN_MODE_L2 = 0
_IPVLAN_FLAG = {"bridge": 0, "private": 1, "vepa": 2}

_LINK = struct.Struct("=BxHiII")  # ifinfomsg: family, hardware type, index, flags, change mask
_U32, _U16 = struct.Struct("=I"), struct.Struct("=H")
_SWEEP = 0x76727270  # "vrrp": the group in which interfaces wait for their common removal


class Found(NamedTuple):
    ifindex: int
    kind: str
    mac: bytes
    base: int
    vrf: int = 0  # the VRF that it is in


def macvlan(name: str, base: int, mac: bytes) -> Request:
    data = attribute(_MODE, _U32.pack(_MACVLAN_MODE_VEPA))
    return _new(name, base, "macvlan", data, attribute(_IFLA_ADDRESS, mac))


def ipvlan(name: str, base: int, mode: str) -> Request:
    data = attribute(_MODE, _U16.pack(_IPVLAN_MODE_L2)) + attribute(_IPVLAN_FLAGS, _U16.pack(_IPVLAN_FLAG[mode]))
    return _new(name, base, "ipvlan", data)


def _new(name: str, base: int, kind: str, data: bytes, more: bytes = b"") -> Request:
    info = attribute(_INFO_KIND, kind.encode() + b"\0") + attribute(_INFO_DATA, data)
    named = attribute(_IFLA_IFNAME, name.encode() + b"\0") + attribute(_IFLA_LINK, _U32.pack(base))
    body = _LINK.pack(0, 0, 0, 0, 0) + named + more + attribute(_IFLA_LINKINFO, info)
    return RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, body


def adjust(ifindex: int) -> Request:
    """For a macvlan that somebody else made, in another mode."""
    data = attribute(_INFO_DATA, attribute(_MODE, _U32.pack(_MACVLAN_MODE_VEPA)))
    info = attribute(_IFLA_LINKINFO, attribute(_INFO_KIND, b"macvlan\0") + data)
    return RTM_NEWLINK, 0, _LINK.pack(0, 0, ifindex, 0, 0) + info


def put_into(vrf: int, ifindex: int) -> Request:
    """Into this VRF, 0 for none. What is made in none need not be told."""
    return RTM_NEWLINK, 0, _LINK.pack(0, 0, ifindex, 0, 0) + attribute(_IFLA_MASTER, _U32.pack(vrf))


def set_up(ifindex: int) -> Request:
    return RTM_NEWLINK, 0, _LINK.pack(0, 0, ifindex, _IFF_UP, _IFF_UP)


def delete(indexes: Iterable[int]) -> list[Request]:
    """Requests that remove these interfaces. One by one each costs 16-20 ms, as a group all together do."""
    indexes = list(indexes)
    if len(indexes) < 2:
        return [(RTM_DELLINK, 0, _LINK.pack(0, 0, index, 0, 0)) for index in indexes]
    group = attribute(_IFLA_GROUP, _U32.pack(_SWEEP))
    gather = [(RTM_NEWLINK, 0, _LINK.pack(0, 0, index, 0, 0) + group) for index in indexes]
    return [*gather, (RTM_DELLINK, 0, _LINK.pack(0, 0, 0, 0, 0) + group)]


def found() -> dict[str, Found]:
    """Every interface by name; `kind` is "" for one that is not virtual."""
    names: dict[str, Found] = {}
    for event in netlink.dump(netlink.RTM_GETLINK):
        _, _, ifindex, _, _ = _LINK.unpack_from(event.body)
        name, kind, mac, base, master, info = "", "", b"", 0, 0, dict[int, memoryview]()
        for number, data in netlink.attributes(event.body[16:]):
            if number == _IFLA_IFNAME:
                name = bytes(data).rstrip(b"\0").decode(errors="replace")
            elif number == _IFLA_ADDRESS:
                mac = bytes(data)
            elif number == _IFLA_LINK:
                base = _U32.unpack(data)[0]
            elif number == _IFLA_LINKINFO:
                info = dict(netlink.attributes(data))
                kind = _text(info.get(_INFO_KIND, memoryview(b"")))
            elif number == _IFLA_MASTER:
                master = _U32.unpack(data)[0]
        in_vrf = _text(info.get(_INFO_SLAVE_KIND, memoryview(b""))) == "vrf"
        names[name] = Found(ifindex, kind, mac, base, master if in_vrf else 0)
    return names


def vrf_tables() -> dict[str, int]:
    """Every VRF interface, and the routing table that it stands for."""
    tables: dict[str, int] = {}
    for event in netlink.dump(netlink.RTM_GETLINK):
        found = dict(netlink.attributes(event.body[16:]))
        info = dict(netlink.attributes(found[_IFLA_LINKINFO])) if _IFLA_LINKINFO in found else {}
        if _INFO_DATA in info and _text(info.get(_INFO_KIND, memoryview(b""))) == "vrf":
            data = dict(netlink.attributes(info[_INFO_DATA]))
            if _VRF_TABLE in data:
                tables[_text(found[_IFLA_IFNAME])] = _U32.unpack(data[_VRF_TABLE])[0]
    return tables


def _text(data: memoryview) -> str:
    return bytes(data).rstrip(b"\0").decode(errors="replace")


def sysctl(path: str) -> str:
    """The value of ipv4/conf/eth0/arp_ignore and its like; OSError where there is none."""
    with open(f"/proc/sys/net/{path}", encoding="ascii") as file:
        return file.read().strip()


def set_sysctl(path: str, value: str) -> None:
    """Through netlink where /proc/sys is read-only, as in most containers; OSError where neither way works."""
    try:
        with open(f"/proc/sys/net/{path}", "w", encoding="ascii") as file:
            file.write(value)
    except OSError as error:
        if error.errno not in (errno.EROFS, errno.EACCES, errno.EPERM) or not _by_netlink(path, int(value)):
            raise


def _by_netlink(path: str, value: int) -> bool:
    if path.count("/") != 3:
        return False  # not of an interface
    _, _, ifname, name = path.split("/")
    if path.startswith("ipv4/") and name in _DEVCONF:
        family, setting = AF_INET, attribute(_INET_CONF, attribute(_DEVCONF[name], _U32.pack(value)))
    elif path.startswith("ipv6/") and name == "addr_gen_mode":
        family, setting = AF_INET6, attribute(_INET6_ADDR_GEN_MODE, bytes([value]))
    else:
        return False
    there = found().get(ifname)
    if there is None:
        return False
    requests = netlink.Requests()
    try:
        body = _LINK.pack(0, 0, there.ifindex, 0, 0) + attribute(_IFLA_AF_SPEC, attribute(family, setting))
        return requests.run([(RTM_NEWLINK, 0, body)]) == [0]
    finally:
        requests.close()


def set_ipv6(ifname: str, on: bool) -> None:
    """An interface without IPv6 is silent: no listener report, no router solicitation leaves with its MAC address."""
    set_sysctl(f"ipv6/conf/{ifname}/disable_ipv6", "0" if on else "1")
