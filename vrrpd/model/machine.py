"""What the instances need of this machine's interfaces, and do not find: warnings, the interfaces may come later.

In: resolved instances, a picture of the interfaces. Changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from vrrpd.conf.schema import Bound
from vrrpd.conf.source import Problems
from vrrpd.conf.tree import Statement

from .vrrp import VrrpInstance

Interfaces = Mapping[str, Iterable[tuple[bytes, int]]]  # name -> (address, prefix length)


def machine(blocks: list[Bound], found: list[VrrpInstance], interfaces: Interfaces, problems: Problems) -> None:
    """What the instances need of this machine's interfaces, and do not find."""
    ours = {item.address for one in found for item in (*one.virtual_ipaddress, *one.virtual_ipaddress_excluded)}
    by_name = {bound.name: bound for bound in reversed(blocks)}
    for instance in found:
        bound = by_name[instance.name]
        bases = {device.name: device.base for device in instance.devices}
        if instance.interface and instance.interface not in interfaces:
            problems.warning(
                bound.places["vrf" if instance.vrf else "interface"].place(1),
                f"{'vrf' if instance.vrf else 'interface'}: there is no {instance.interface} on this machine",
                _among(instance.interface, interfaces),
            )
        for line, statement in zip(bound.values.get("track_interface", ()), bound.items.get("track_interface", ())):
            if line.name not in interfaces and line.name not in bases:
                message = f"track_interface: there is no {line.name} on this machine"
                problems.warning(statement.place(), message, _among(line.name, interfaces))
        for peer, statement in zip(instance.peer_path, bound.items.get("peer_path", ())):
            if _within(peer, interfaces.get(instance.interface, ()), ours):
                problems.warning(
                    statement.place(),
                    f"peer_path: {statement.words[0]} is in a subnet of {instance.interface}",
                    "the second path is for when that interface fails: give an address on another one",
                )
        for statement, entry in zip(bound.items.get("virtual_routes", ()), instance.virtual_routes):
            for _, name in entry.holes:
                if name not in interfaces and name not in bases:
                    message = f"virtual_routes: there is no {name} on this machine"
                    problems.warning(statement.place(statement.words.index(name)), message, _among(name, interfaces))
        for field in ("virtual_ipaddress", "virtual_ipaddress_excluded"):
            outside: dict[str, list[Statement]] = {}
            for item, statement in zip(getattr(instance, field), bound.items.get(field, ())):
                device = bases.get(item.dev, item.dev) or instance.interface
                if device != instance.interface and device not in interfaces:
                    place = statement.place(statement.words.index("dev") + 1 if "dev" in statement.words else 0)
                    message = f"{field}: there is no {device} on this machine"
                    problems.warning(place, message, _among(device, interfaces))
                if device in interfaces and not _within(item.address, interfaces[device], ours):
                    outside.setdefault(device, []).append(statement)
            for device, statements in outside.items():
                first, more = statements[0], len(statements) - 1
                which = f"{first.words[0]} and {more} more are" if more else f"{first.words[0]} is"
                hint = "hosts of its subnet will not reach it directly"
                if more:
                    hint = "hosts of their subnets will not reach them directly"
                problems.warning(first.place(), f"{field}: {which} in no subnet of {device}", hint)


def _among(name: str, interfaces: Interfaces) -> str:
    import difflib  # only a mistake pays for it

    here = [other for other in interfaces if other != "lo"]
    near = difflib.get_close_matches(name, here, 1)
    if near:
        return f"did you mean {near[0]}?"
    return f"here are {', '.join(here[:12])}{', ...' if len(here) > 12 else ''}" if here else ""


def _within(address: bytes, addresses: Iterable[tuple[bytes, int]], ours: set[bytes]) -> bool:
    bits = len(address) * 8
    value = int.from_bytes(address, "big")
    for other, prefixlen in addresses:
        if len(other) == len(address) and other not in ours and prefixlen < bits:
            shift = bits - prefixlen
            if value >> shift == int.from_bytes(other, "big") >> shift:
                return True
    return False
