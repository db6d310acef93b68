"""What a file says of interfaces outside the instances: interface_up_down_delays and garp_group.

In: their statements. Out: values for the engine, and findings at the word that causes them. What a change of a link
means is vrrp/steady.py's, the pace of announcements announce.py's.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from vrrpd.conf.schema import kw
from vrrpd.conf.source import Problems
from vrrpd.conf.tree import Statement
from vrrpd.conf.types import MISSING, InterfaceName, Invalid, ListOf, Seconds, interface_name, seconds

from .values import GarpGroup, InterfaceDelay

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from vrrpd.conf.schema import Bound

    from .vrrp import VrrpInstance

LONGEST_DELAY = 255.0
LONGEST_GAP = 2147.483647  # keepalived counts microseconds in 31 bits here


def delay(statement: Statement) -> InterfaceDelay:
    """`IF DOWN [UP]`. Without UP it is 0, as keepalived has it; its man page says: as long as DOWN."""
    words = statement.words
    name = interface_name(words[0], 0)
    if len(words) < 2:
        raise Invalid(f"'{name}' needs a number of seconds", 0)
    if len(words) > 3:
        raise Invalid(f"'{words[3]}' behind the delays", 3, "one interface a line: NAME DOWN [UP]")
    try:
        down, *up = (seconds(word, 0, LONGEST_DELAY, index=index) for index, word in enumerate(words[1:], 1))
    except Invalid as invalid:
        invalid.fallback = MISSING  # a number is no line
        raise
    return InterfaceDelay(name, down, *up)


class Interfaces(ListOf[str]):
    """`interfaces { IF IF ... }`, on as many lines as one likes."""

    def __init__(self) -> None:
        super().__init__(lambda statement: statement.words[0], "interfaces")

    def items(self, statement: Statement) -> Sequence[str]:
        return tuple(interface_name(word, index) for index, word in enumerate(statement.words))


@dataclass(frozen=True)
class Group:
    """garp_group as written."""

    garp_interval: float = kw(Seconds(0, LONGEST_GAP), 0.0, "pause between gratuitous ARPs", unit="s")
    gna_interval: float = kw(Seconds(0, LONGEST_GAP), 0.0, "pause between neighbour adverts", unit="s")
    interface: str = kw(InterfaceName(), "", "the interface that the pauses are for")
    interfaces: tuple[str, ...] = kw(Interfaces(), (), "interfaces that share the pauses: those of one switch")


def delays(top: Bound, found: Iterable[VrrpInstance], problems: Problems) -> tuple[InterfaceDelay, ...]:
    """The last line of an interface counts. One that is too long is told: the engine makes it shorter when it acts."""
    kept: dict[str, InterfaceDelay] = {}
    bounds = longest(found)
    for entry, statement in zip(top.values.get("interface_up_down_delays", ()), _places(top)):
        kept[entry.name] = entry
        bound, who = bounds.get(entry.name, (LONGEST_DELAY, ""))
        if entry.down > bound and who:
            message = f"interface_up_down_delays: {entry.down:g} s down is more than {bound:g} s"
            hint = f"{who} must have noticed before it takes over, (down_timer_adverts - 1) x advert_int: taken as that"
            problems.warning(statement.place(1), message, hint)
    return tuple(entry for entry in kept.values() if entry.down or entry.up)


def _places(top: Bound) -> Sequence[Statement]:
    return top.items.get("interface_up_down_delays", ())


def longest(found: Iterable[VrrpInstance]) -> Mapping[str, tuple[float, str]]:
    """For each interface the longest delay after which nobody on it has taken over yet, and who would be the first."""
    bounds: dict[str, tuple[float, str]] = {}
    for instance in found:
        bound = (instance.down_timer_adverts - 1) * instance.advert_int, instance.name
        bounds[instance.interface] = min(bound, bounds.get(instance.interface, bound))
    return bounds


def garp_groups(blocks: Iterable[Bound], problems: Problems) -> tuple[GarpGroup, ...]:
    """An interface belongs to the first group that names it."""
    taken: set[str] = set()
    groups = []
    for bound in blocks:
        values, members = bound.values, []
        named = [(values["interface"], bound.places["interface"].place(1))] if "interface" in values else []
        named += [
            (name, statement.place())
            for name, statement in zip(values.get("interfaces", ()), bound.items.get("interfaces", ()))
        ]
        for name, place in named:
            if name in taken:
                problems.survivable(place, f"garp_group: {name} is in a garp_group already")
            else:
                taken.add(name)
                members.append(name)
        garp, gna = values.get("garp_interval", 0.0), values.get("gna_interval", 0.0)
        if not {"garp_interval", "gna_interval"} & bound.tried:
            message = "garp_group without garp_interval and gna_interval"
            problems.survivable(bound.statement.place(), message, "it would be left out")
        elif not named and not {"interface", "interfaces"} & bound.tried:
            problems.warning(bound.statement.place(), "garp_group without interfaces: it does nothing")
        elif "interfaces" in bound.tried and not named:
            problems.survivable(bound.statement.place(), "garp_group: no interface in 'interfaces'")
        if members and {"garp_interval", "gna_interval"} & values.keys():
            groups.append(GarpGroup(tuple(members), garp, gna))
    return tuple(groups)
