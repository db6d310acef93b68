"""static_ipaddress, static_routes, static_rules and track_group: what stays on the machine whoever is MASTER.

In: the bound lines of the top level. Out: compiled entries, each with the instances that are to be in FAULT while it
cannot be had. Setting and keeping them is statics.py's of the daemon.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from vrrpd.conf.schema import Bound, kw
from vrrpd.conf.source import Problems
from vrrpd.conf.tree import Statement
from vrrpd.conf.types import Invalid, WordList
from vrrpd.net import addresses
from vrrpd.net.routing import ADDRESS

from .addresses import address_line
from .routing import Compiler, as_text
from .values import Routing, Static, VirtualAddress

KEYWORDS = ("static_ipaddress", "static_routes", "static_rules")
_INDEX_OFFSET = 4  # linux/if_addr.h ifaddrmsg: ifa_index


@dataclass(frozen=True)
class TrackGroup:
    """Instances that need static items: `track_group NAME { group { VI_1 ... } }`."""

    group: tuple[str, ...] = kw(WordList(), (), "instances that are in FAULT while a static item is missing")


def resolve(
    top: Bound, default_interface: str, compiler: Compiler, instances: Collection[str], problems: Problems
) -> tuple[Static, ...]:
    """All static items of a file, in the order in which they are set."""
    groups = _groups(top, instances, problems)
    found: list[Static] = []
    for keyword in KEYWORDS:
        statements: list[Statement] = top.values.get(keyword, [])
        if keyword == "static_ipaddress":
            lines = _addresses(statements, default_interface, problems)
        else:
            lines = [
                (parsed.entry, parsed.track_group, line) for parsed, line in compiler.compiled(keyword, statements)
            ]
        for entry, group, statement in lines:
            if group and group not in groups:
                place = statement.place(statement.words.index("track_group") + 1)
                hint = f"one of {', '.join(sorted(groups))}" if groups else "track_group NAME { group { VI_1 } }"
                problems.survivable(place, f"{keyword}: there is no track_group '{group}'", hint)
            static = Static(entry, groups.get(group, ()), group)
            if any(static.entry[:3] == other.entry[:3] for other in found):
                problems.warning(statement.place(), f"{keyword}: {entry.text} is given twice")
                continue
            found.append(static)
    return tuple(found)


def _groups(top: Bound, instances: Collection[str], problems: Problems) -> Mapping[str, tuple[str, ...]]:
    groups: dict[str, tuple[str, ...]] = {}
    for bound in top.values.get("track_group", []):
        if bound.name in groups:
            problems.survivable(bound.statement.place(1), f"track_group {bound.name} is already defined")
            continue
        kept = []
        for name, statement in zip(bound.values.get("group", ()), bound.items.get("group", ())):
            if name in instances:
                kept.append(name)
            else:
                place = statement.place(statement.words.index(name))
                problems.survivable(place, f"track_group {bound.name}: there is no vrrp_instance '{name}'")
        groups[bound.name] = tuple(kept)
    return groups


def _addresses(
    statements: list[Statement], default_interface: str, problems: Problems
) -> list[tuple[Routing, str, Statement]]:
    found = []
    for statement in statements:
        try:
            address, group = address_line(statement.words, static=True)
        except Invalid as invalid:
            problems.survivable(statement.place(invalid.index), f"static_ipaddress: {invalid.message}", invalid.hint)
            continue
        found.append((_compiled(statement, address, default_interface), group, statement))
    return found


def _compiled(statement: Statement, address: VirtualAddress, default_interface: str) -> Routing:
    _, _, body = addresses.add(
        0, address.address, address.prefixlen, address.broadcast, address.scope, address.label, address.dad,
        peer=address.peer, flags=address.flags, preferred=address.preferred,
    )  # fmt: skip
    dev = address.dev or default_interface
    text = as_text(statement.words) + ("" if address.dev else f" dev {dev}")
    return Routing(ADDRESS, text, body, ((_INDEX_OFFSET, dev),), no_track=address.no_track)
