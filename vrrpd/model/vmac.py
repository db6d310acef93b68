"""Virtual interfaces: use_vmac, use_ipvlan and their companions, from words to the devices that the daemon makes.

In: the words of a keyword, then all resolved instances together, because a device's name must be unique. Out: for
each instance the `Device`s that it needs, and at each address the name of the one that it lies on. Names are
keepalived's: vrrp.VRID, where that is taken vrrp6.VRID for IPv6, else a number after the prefix. Making them
is vmacs.py's.
"""

from __future__ import annotations

import dataclasses
import itertools
import re
from typing import TYPE_CHECKING

from vrrpd.conf.source import Place, Problems
from vrrpd.conf.tree import Statement
from vrrpd.conf.types import Invalid, address, integer, interface_name

from .values import IPVLAN, MACVLAN, Device

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from vrrpd.conf.schema import Bound

    from .globals import GlobalDefs
    from .values import VirtualAddress
    from .vrrp import VrrpInstance

IPVLAN_MODES = ("bridge", "private", "vepa")
DAY = 86400.0

_MAC = re.compile(r"[0-9A-Fa-f]{1,2}(?::[0-9A-Fa-f]{1,2}){4,5}\Z")
# RFC 9568 7.3: 00-00-5E-00-01-{VRID} for IPv4, 00-00-5E-00-02-{VRID} for IPv6
_VIRTUAL = {4: b"\x00\x00\x5e\x00\x01", 16: b"\x00\x00\x5e\x00\x02"}


def use_vmac(statement: Statement) -> Device:
    """`use_vmac [[name] IF] [MAC of 5 or 6 octets]`, in either order."""
    name, mac = "", b""
    words = statement.words
    index = 1
    while index < len(words):
        word = words[index]
        if _MAC.match(word):
            if mac:
                raise Invalid(f"a second MAC address, {word}", index)
            mac = _mac(word, index)
        elif word == "netlink_notify_msg":  # keepalived 2.3: for tools that watch it; the kernel tells them anyway
            pass
        elif word == "group" and index + 1 < len(words):
            raise Invalid("'group' is not supported yet", index)
        else:
            if word == "name" and index + 1 < len(words):
                index += 1
            if name:
                raise Invalid(f"a second name, '{words[index]}'", index, "one interface name and one MAC address")
            name = interface_name(words[index], index)
        index += 1
    return Device(name, mac=mac)


def _mac(word: str, index: int) -> bytes:
    mac = bytes(int(octet, 16) for octet in word.split(":"))
    if mac[0] & 1:
        raise Invalid(f"{word} is a multicast address", index)
    if mac[:5] in _VIRTUAL.values():
        raise Invalid(f"{word} is one of RFC 9568's own", index, "leave it out, or take one of your own", Device(""))
    return mac


def use_ipvlan(statement: Statement) -> Device:
    """`use_ipvlan [[name] IF] [ADDRESS] [bridge|private|vepa]`, in any order."""
    name, mode, source = "", "", b""
    words = statement.words
    index = 1
    while index < len(words):
        word = words[index]
        if word in IPVLAN_MODES:
            mode = word
        elif re.match(r"[0-9.]+(/[0-9]+)?\Z", word) or ":" in word:
            source = address(word.partition("/")[0], index)
        else:
            if word == "name" and index + 1 < len(words):
                index += 1
            name = interface_name(words[index], index)
        index += 1
    return Device(name, kind=IPVLAN, mode=mode or "bridge", address=source)


def extra_if(statement: Statement) -> tuple[bool, float]:
    """`[all] SECONDS`: whether every interface with an address is meant, and how often."""
    words = statement.words[1:]
    everywhere = words[0] == "all"
    if everywhere and len(words) < 2:
        raise Invalid("'all' needs a number of seconds after it")
    index = 2 if everywhere else 1
    value = integer(statement.words[index], index=index)
    if not 0 <= value <= DAY:
        raise Invalid(f"{value} is outside 0..{DAY:.0f}", index)
    return everywhere, float(value)


def assign(
    found: Sequence[VrrpInstance], bounds: Mapping[str, Bound], defs: GlobalDefs, problems: Problems
) -> list[VrrpInstance]:
    """Names, MAC addresses and places; what two instances cannot share is an error at the second."""
    names = _Names(found, bounds, problems)
    stem = defs.vmac_prefix or "vrrp"
    resolved = []
    for instance in found:
        if instance.vmac is not None:
            instance = dataclasses.replace(instance, vmac=names.main(instance, stem))
        resolved.append(instance)
    return [names.placed(instance, defs.vmac_addr_prefix or stem) for instance in resolved]


class _Names:
    """Hands out the names, and keeps each MAC address of an interface to one device."""

    def __init__(self, found: Sequence[VrrpInstance], bounds: Mapping[str, Bound], problems: Problems) -> None:
        self._bounds, self._problems = bounds, problems
        # Interfaces that the file speaks of are no names for new ones.
        self._taken = {instance.interface for instance in found}
        self._given: dict[str, str] = {}
        self._macs: dict[tuple[str, bytes], str] = {}
        for instance in found:
            if instance.vmac is not None and instance.vmac.name:
                self._reserve(instance, instance.vmac.name)

    def _place(self, instance: VrrpInstance, index: int = 0) -> Place:
        bound = self._bounds[instance.name]
        statement = bound.places.get("vmac", bound.statement)
        return statement.place(min(index, len(statement.words) - 1))

    def _reserve(self, instance: VrrpInstance, name: str) -> None:
        other = self._given.get(name)
        if name in self._taken:
            self._problems.error(
                self._place(instance, 1), f"{name} is an interface of this file, no name for a new one"
            )
        elif other is not None:
            self._problems.error(self._place(instance, 1), f"{name} is already the virtual interface of {other}")
        else:
            self._given[name] = instance.name

    def _free(self, instance: VrrpInstance, stem: str, family6: bool) -> str:
        vrid = instance.virtual_router_id
        numbers = itertools.chain(("", "6") if family6 else ("",), itertools.count(1))
        names = (f"{stem}{number}.{vrid}" for number in numbers)
        name = next(name for name in names if name not in self._taken and name not in self._given)
        if len(name) > 15:  # linux/if.h IFNAMSIZ
            message = f"the virtual interface would be called {name}, names have at most 15 characters"
            self._problems.error(self._place(instance), message, "shorten vmac_prefix, or give it a name here")
        self._given[name] = instance.name
        return name

    def main(self, instance: VrrpInstance, stem: str) -> Device:
        """The device of use_vmac or use_ipvlan."""
        device = instance.vmac
        assert device is not None
        width = 4 if instance.family == 2 else 16
        name = device.name or self._free(instance, stem, width == 16)
        device = device._replace(name=name, base=instance.interface)
        if device.kind == IPVLAN:
            if device.address and len(device.address) != width:
                self._problems.error(self._place(instance), "use_ipvlan: the address is not of the instance's family")
            if not device.address and width == 4:
                self._problems.error(self._place(instance), "use_ipvlan: IPv4 needs an address to send adverts from")
            return device
        return self._unshared(instance, device._replace(mac=_complete(device.mac, width, instance)))

    def _unshared(self, instance: VrrpInstance, device: Device) -> Device:
        other = self._macs.setdefault((device.base, device.mac), instance.name)
        if other != instance.name:
            message = f"{device.mac.hex(':')} on {device.base} is already the virtual MAC address of {other}"
            self._problems.error(self._place(instance), message, "give another one after use_vmac")
        return device

    def _further(self, instance: VrrpInstance, key: tuple[str, int]) -> bool:
        """May it have a device for the addresses of this interface and family? keepalived goes without."""
        mac = _complete(b"", key[1], instance)
        other = self._macs.setdefault((key[0], mac), instance.name)
        if other == instance.name:
            return True
        bound = self._bounds[instance.name]
        place = bound.places["use_vmac_addr"].place() if "use_vmac_addr" in bound.places else self._place(instance)
        message = f"{mac.hex(':')} on {key[0]} is already the virtual MAC address of {other}"
        self._problems.warning(place, message, f"addresses of {instance.name} do without one there")
        return False

    def placed(self, instance: VrrpInstance, stem: str) -> VrrpInstance:
        """The instance with all its devices, its addresses on them."""
        devices: dict[tuple[str, int], Device] = {}
        width = 4 if instance.family == 2 else 16

        def lies(item: VirtualAddress) -> VirtualAddress:
            at_home = item.dev in ("", instance.interface)
            foreign = not at_home or len(item.address) != width
            own = item.use_vmac or (instance.use_vmac_addr and foreign)
            key = (item.dev or instance.interface, len(item.address))
            if own and (foreign or instance.vmac is None) and (key in devices or self._further(instance, key)):
                if key not in devices:
                    name = self._free(instance, stem, key[1] == 16)
                    devices[key] = Device(name, key[0], mac=_complete(b"", key[1], instance))
                return item._replace(dev=devices[key].name)
            # An ipvlan is for adverts: keepalived 2.2.7 leaves addresses on the interface below, whose MAC it shares.
            if instance.vmac is not None and instance.vmac.kind == MACVLAN and at_home:
                return item._replace(dev=instance.vmac.name)
            return item

        advertised = tuple(map(lies, instance.virtual_ipaddress))
        excluded = tuple(map(lies, instance.virtual_ipaddress_excluded))
        own = (instance.vmac,) if instance.vmac is not None else ()
        if not own and not devices:
            return instance
        return dataclasses.replace(
            instance,
            devices=(*own, *devices.values()),
            virtual_ipaddress=advertised,
            virtual_ipaddress_excluded=excluded,
        )


def _complete(mac: bytes, width: int, instance: VrrpInstance) -> bytes:
    """The RFC's address without one, the VRID as the last octet of five."""
    mac = mac or _VIRTUAL[width]
    return mac if len(mac) == 6 else mac + bytes([instance.virtual_router_id])
