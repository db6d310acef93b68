"""The table of interfaces and their addresses, kept equal to the kernel's by notifications.

`Links.read` takes what Monitor has and returns what changed; after an overrun it dumps everything and compares.
A change of our own (told by the netlink port that asked for it) updates the table without being reported: the
echo of 255 addresses must not cost 255 inspections. Values only, no policy: who may use an address is VRRP's.

ANYWHERE stands for the machine as a whole: it has the addresses of every interface that is in no VRF, as a VRF has
those of the interfaces in it. What lies on an interface that is down is not usable there.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from vrrpd.net import netlink
from vrrpd.net.addresses import IFA_ADDRESS, IFA_F_DADFAILED, IFA_F_PERMANENT, IFA_F_TENTATIVE, IFA_LOCAL
from vrrpd.net.netlink import RTM_DELADDR, RTM_DELLINK, RTM_NEWADDR, RTM_NEWLINK, Event

ANYWHERE = 2**31 - 1  # in the place of an interface's index: none in particular

IFLA_ADDRESS, IFLA_IFNAME, IFLA_MTU, IFLA_LINK, IFLA_MASTER, IFLA_LINKINFO = 1, 3, 4, 5, 10, 18
_INFO_KIND, _INFO_SLAVE_KIND = _KINDS = 1, 4
_VRF = b"vrf\0"
IFF_UP, IFF_LOOPBACK, IFF_RUNNING, IFF_NOARP = 0x1, 0x8, 0x40, 0x80

_LINK = struct.Struct("=BxHiII")  # ifinfomsg: family, hardware type, index, flags, change mask
_ADDRESS = struct.Struct("=BBBBI")
_U32, _INDEX = struct.Struct("=I"), struct.Struct("=i")
_AF_BRIDGE = 7
_IFA_FLAGS = 8


class Address(NamedTuple):
    address: bytes
    prefixlen: int
    usable: bool  # neither tentative nor a duplicate


class Interface(NamedTuple):
    ifindex: int
    name: str
    up: bool  # administratively up and with carrier
    mac: bytes
    mtu: int
    arp: bool
    lower: int  # the interface that a virtual one lies on
    addresses: tuple[Address, ...]  # in the kernel's order


class _Entry:
    __slots__ = ("addresses", "arp", "duplicates", "ifindex", "lower", "mac", "mortal", "mtu", "name", "up", "vrf")

    def __init__(self, ifindex: int) -> None:
        self.ifindex = ifindex
        self.name = ""
        self.up = False
        self.mac = b""
        self.mtu = 0
        self.arp = True
        self.lower = 0
        self.vrf = 0  # the VRF that it is in, or is
        self.addresses: dict[tuple[bytes, int], bool] = {}
        self.mortal: set[tuple[bytes, int]] = set()  # those that the kernel will drop one day
        self.duplicates: set[tuple[bytes, int]] = set()  # those that another host has, as the kernel found out

    def picture(self) -> Interface:
        addresses = tuple(Address(address, length, usable) for (address, length), usable in self.addresses.items())
        return Interface(self.ifindex, self.name, self.up, self.mac, self.mtu, self.arp, self.lower, addresses)

    def itself(self) -> tuple[object, ...]:
        """All but the addresses."""
        return self.name, self.up, self.mac, self.mtu, self.arp, self.lower, self.vrf


def _anywhere() -> _Entry:
    entry = _Entry(ANYWHERE)
    entry.up, entry.mtu = True, 65535
    return entry


class Changes(NamedTuple):
    """changed: interface indexes to look at again; gone: indexes that no longer exist;
    removed: (ifindex, address, prefix length) taken away by somebody else."""

    changed: list[int]
    gone: list[int]
    removed: list[tuple[int, bytes, int]]
    links: bool  # of an interface itself, not only of its addresses


class Links:
    def __init__(self, own_port: int = -1) -> None:
        self._own_port = own_port
        self._entries: dict[int, _Entry] = {ANYWHERE: _anywhere()}
        self.duplicates: list[tuple[int, bytes, int]] = []  # addresses of other hosts, found out since it was emptied
        self._indexes: dict[str, int] = {}  # by name, the last that was heard; a rename leaves the old one behind

    def __iter__(self) -> Iterator[Interface]:
        return iter([entry.picture() for index, entry in self._entries.items() if index != ANYWHERE])

    def __contains__(self, ifindex: object) -> bool:
        return ifindex in self._entries

    def hardware(self, ifindex: int) -> tuple[str, bytes, bool]:
        """Name, MAC address and whether it speaks ARP: the cheap half of `get`."""
        entry = self._entries.get(ifindex)
        return (entry.name, entry.mac, entry.arp) if entry else (f"number {ifindex}", b"", False)

    def is_up(self, ifindex: int) -> bool:
        entry = self._entries.get(ifindex)
        return entry is not None and entry.up

    def get(self, ifindex: int) -> Interface | None:
        entry = self._entries.get(ifindex)
        if entry is None:
            return None
        if ifindex not in (ANYWHERE, entry.vrf):
            return entry.picture()
        members = (each for each in self._entries.values() if each.vrf == entry.vrf)
        return entry.picture()._replace(addresses=tuple(address for each in members for address in _usable(each)))

    def find(self, name: str) -> int:
        """The index of the interface with this name, or 0."""
        ifindex = self._indexes.get(name, 0)
        entry = self._entries.get(ifindex)
        return ifindex if entry is not None and entry.name == name else 0

    def holds(self, ifindex: int, address: bytes, prefixlen: int) -> bool:
        entry = self._entries.get(ifindex)
        return entry is not None and (address, prefixlen) in entry.addresses

    def mortal(self, ifindex: int, address: bytes, prefixlen: int) -> bool:
        """Has this address a lifetime?"""
        entry = self._entries.get(ifindex)
        return entry is not None and (address, prefixlen) in entry.mortal

    def load(self) -> Changes:
        """Read everything anew; the answer is the difference to what was known."""
        fresh = Links()
        for kind in (netlink.RTM_GETLINK, netlink.RTM_GETADDR):
            for event in netlink.dump(kind):
                fresh._apply(event)
        old, self._entries, self._indexes = self._entries, fresh._entries, fresh._indexes
        gone = [index for index in old if index not in self._entries]
        changed = [
            index
            for index, entry in self._entries.items()
            if index not in old or old[index].itself() != entry.itself() or old[index].addresses != entry.addresses
        ]
        changed = self._with_vrfs(changed, {entry.vrf for entry in old.values()})
        removed = [
            (index, *key)
            for index, entry in self._entries.items()
            if index in old
            for key in old[index].addresses
            if key not in entry.addresses
        ]
        self.duplicates += [
            where for where in fresh.duplicates if where[0] in old and where[1:] not in old[where[0]].duplicates
        ]
        return Changes(changed, gone, removed, bool(changed or gone))

    def read(self, events: Iterable[Event], ours: Iterable[tuple[int, bytes, int]] = ()) -> Changes:
        """Take notifications. `ours`: addresses whose echo, caused by ourselves, is no news."""
        changed: dict[int, None] = {}
        gone: dict[int, None] = {}
        removed: list[tuple[int, bytes, int]] = []
        links = False
        left: set[int] = set()  # VRFs
        for event in events:
            vrf = self._vrf_of(event)
            ifindex, key = self._apply(event)
            if not ifindex:
                continue
            left.add(vrf)
            if event.type == RTM_DELLINK:
                gone[ifindex] = None
                changed.pop(ifindex, None)
                continue
            if key is not None:
                # Removing a primary IPv4 address takes its secondaries along, with our port id on each.
                if event.port == self._own_port and (ifindex, *key) in ours:
                    continue
                if event.type == RTM_DELADDR:
                    removed.append((ifindex, *key))
            if event.type == RTM_NEWLINK:
                links = True
                gone.pop(ifindex, None)
            changed[ifindex] = None
        still = [where for where in removed if not self.holds(*where)]
        there = self._with_vrfs([index for index in changed if index in self._entries], left)
        return Changes(there, list(gone), still, links or bool(gone))

    def _vrf_of(self, event: Event) -> int:
        """The VRF of the interface that a message is about, before it counts."""
        entry = self._entries.get(_INDEX.unpack_from(event.body, 4)[0])
        return entry.vrf if entry else 0

    def _with_vrfs(self, changed: list[int], left: Iterable[int]) -> list[int]:
        """Of an interface that changed the VRF has changed too: where it is, and where it was."""
        vrfs = {self._entries[index].vrf for index in changed}.union(left)
        return [*changed, *(index for index in vrfs if index in self._entries and index not in changed)]

    def _apply(self, event: Event) -> tuple[int, tuple[bytes, int] | None]:
        """Update the table; the interface, and the address for an address event. (0, None): nothing changed."""
        if event.type == RTM_NEWLINK:
            return self._new_link(event.body), None
        if event.type == RTM_DELLINK:
            family, _, ifindex, _, _ = _LINK.unpack_from(event.body)
            if family == _AF_BRIDGE or self._entries.pop(ifindex, None) is None:
                return 0, None  # a port left its bridge: the interface itself stays
            return ifindex, None
        if event.type in (RTM_NEWADDR, RTM_DELADDR):
            return self._address(event.type, event.body)
        return 0, None

    def _new_link(self, body: memoryview) -> int:
        family, _, ifindex, flags, _ = _LINK.unpack_from(body)
        if family == _AF_BRIDGE:
            return 0
        entry = self._entries.get(ifindex) or _Entry(ifindex)
        before = entry.itself()
        entry.vrf = 0
        master, kinds = b"", dict[int, bytes]()
        for kind, data in netlink.attributes(body[16:]):
            if kind == IFLA_IFNAME:
                entry.name = bytes(data).rstrip(b"\0").decode(errors="replace")
            elif kind == IFLA_ADDRESS:
                entry.mac = bytes(data)
            elif kind == IFLA_MTU:
                entry.mtu = _U32.unpack(data)[0]
            elif kind == IFLA_LINK:
                entry.lower = _U32.unpack(data)[0]
            elif kind == IFLA_MASTER:
                master = bytes(data)
            elif kind == IFLA_LINKINFO:
                kinds = {number: bytes(part) for number, part in netlink.attributes(data) if number in _KINDS}
        if kinds.get(_INFO_KIND) == _VRF:
            entry.vrf = ifindex
        elif kinds.get(_INFO_SLAVE_KIND) == _VRF and master:
            entry.vrf = _U32.unpack(master)[0]
        entry.up = flags & (IFF_UP | IFF_RUNNING) == IFF_UP | IFF_RUNNING
        entry.arp = not flags & (IFF_NOARP | IFF_LOOPBACK)
        if ifindex in self._entries and before == entry.itself():
            return 0  # statistics and the like
        self._entries[ifindex] = entry
        self._indexes[entry.name] = ifindex
        return int(ifindex)

    def _address(self, kind: int, body: memoryview) -> tuple[int, tuple[bytes, int] | None]:
        _, prefixlen, flags, _, ifindex = _ADDRESS.unpack_from(body)
        entry = self._entries.get(ifindex)
        local = address = b""
        for attribute, data in netlink.attributes(body[8:]):
            if attribute == IFA_LOCAL:
                local = bytes(data)
            elif attribute == IFA_ADDRESS:
                address = bytes(data)
            elif attribute == _IFA_FLAGS:
                flags = _U32.unpack(data)[0]
        key = (local or address, prefixlen)
        if entry is None or not key[0]:
            return 0, None
        if kind == RTM_DELADDR or flags & IFA_F_PERMANENT:
            entry.mortal.discard(key)
        else:
            entry.mortal.add(key)
        twice = bool(flags & IFA_F_DADFAILED) and kind == RTM_NEWADDR
        news = twice and key not in entry.duplicates
        (entry.duplicates.add if twice else entry.duplicates.discard)(key)
        if news:
            self.duplicates.append((ifindex, *key))
        if kind == RTM_DELADDR:
            return (ifindex, key) if entry.addresses.pop(key, None) is not None else (0, None)
        usable = not flags & (IFA_F_TENTATIVE | IFA_F_DADFAILED)
        if entry.addresses.get(key) is usable:
            return 0, None  # lifetimes
        entry.addresses[key] = usable
        return ifindex, key


def _usable(entry: _Entry) -> list[Address]:
    return [Address(address, length, usable and entry.up) for (address, length), usable in entry.addresses.items()]
