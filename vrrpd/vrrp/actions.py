"""What the engine asks of the world, as data.

An engine call returns a sequence of these; the executor (vrrp_daemon.py) carries them out in this order
within one turn: adverts, then one netlink batch, then gratuitous ARP / neighbour advertisements, then
notices. That is keepalived's order when gaining MASTER (advert first, so that the old owner lets go of
the address before we announce it). With a virtual MAC address the advert follows its router's addresses: it is what
turns the switches to us, and from then on we must answer. A new effect is one class here and one row in the executor.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Union

if TYPE_CHECKING:
    from collections.abc import Mapping

    from vrrpd.model.values import Routing
    from vrrpd.model.vrrp import VirtualAddress
    from vrrpd.vrrp.estate import Holding, Lacking, Laid
    from vrrpd.vrrp.groups import SyncGroup
    from vrrpd.vrrp.router import VirtualRouter
    from vrrpd.vrrp.states import State


class SendAdvert(NamedTuple):
    """Send `router.datagrams(priority)` now. Priority 0 resigns (RFC 9568 5.2.4).

    `yielding`: not from the virtual MAC address, which a switch must not find at our port any more.
    """

    router: VirtualRouter
    priority: int
    yielding: bool = False


class Inherit(NamedTuple):
    """These are the router's already: a predecessor put them where they lie (estate.py)."""

    router: VirtualRouter
    held: tuple[Holding, ...]
    laid: tuple[Laid, ...] = ()
    lacking: tuple[Lacking, ...] = ()


class AddAddresses(NamedTuple):
    """Put these addresses on the router's interface; present already is success."""

    router: VirtualRouter
    addresses: tuple[VirtualAddress, ...]


class DelAddresses(NamedTuple):
    """Take these addresses off; absent already is success. What we did not add we do not remove."""

    router: VirtualRouter
    addresses: tuple[VirtualAddress, ...]


class AddRouting(NamedTuple):
    """Give these routes and rules to the kernel, behind all addresses of the batch; present already is success."""

    router: VirtualRouter
    entries: tuple[Routing, ...]


class DelRouting(NamedTuple):
    """Take these routes and rules away, before all addresses of the batch; absent already is success."""

    router: VirtualRouter
    entries: tuple[Routing, ...]


class RenewAddresses(NamedTuple):
    """Give these addresses, which are ours, the configured vip_lifetime from now on (0: for ever)."""

    router: VirtualRouter
    addresses: tuple[VirtualAddress, ...]


class Announce(NamedTuple):
    """One gratuitous ARP (IPv4) or unsolicited NA (IPv6) per address and round, rounds outermost."""

    router: VirtualRouter
    addresses: tuple[VirtualAddress, ...]
    rounds: int


class Transition(NamedTuple):
    """The router changed state; logged, counted, notified and exported from this one place.

    `event` is keepalived's word for scripts and mail: MASTER, BACKUP, FAULT, STOP or DELETED.
    `priority` is the effective one, 0..255. `reason` is a sentence without a full stop.
    """

    router: VirtualRouter
    old: State
    new: State
    event: str
    priority: int
    reason: str


class GroupTransition(NamedTuple):
    """All members of the sync group are in another state now; told once, behind the Transition of the last one.

    `event` is keepalived's word for scripts and mail: MASTER, BACKUP, FAULT or STOP. `reason` is the last member's.
    """

    group: SyncGroup
    old: State
    new: State
    event: str
    reason: str


class LetGo(NamedTuple):
    """Tell the peers of the second path that the router, MASTER until now, holds none of its addresses any more.

    Said after the batch that took them off, and not when one of them is still there.
    """

    router: VirtualRouter


class RxLowerPriority(NamedTuple):
    """A MASTER heard a lower advert (notify_master_rx_lower_pri)."""

    router: VirtualRouter
    source: bytes
    priority: int


class PriorityChange(NamedTuple):
    """What the router tracks has changed its effective priority (1..254); `reason` says what it was.

    keepalived tells scripts and FIFOs of it as MASTER_PRIORITY or BACKUP_PRIORITY (notify_priority_changes).
    """

    router: VirtualRouter
    former: int
    priority: int
    reason: str


class OtherAdvert(NamedTuple):
    """What the router adverts is made in another way from now on: so is what its successor would say, or its will."""

    router: VirtualRouter


class Refit(NamedTuple):
    """A virtual interface is missing or not as configured: have them all looked at; they are heard of as links."""


class Unsteady(NamedTuple):
    """Of which interfaces a delay runs (steady.py): name -> how it is taken, until when. For who adopts us."""

    links: Mapping[str, tuple[bool, float]]


class Log(NamedTuple):
    """A line for the operator, already rate-limited. level: error, warning, info or debug."""

    level: str
    message: str


Action = Union[
    SendAdvert,
    Inherit,
    AddAddresses,
    DelAddresses,
    AddRouting,
    DelRouting,
    RenewAddresses,
    LetGo,
    Announce,
    Transition,
    GroupTransition,
    RxLowerPriority,
    PriorityChange,
    OtherAdvert,
    Refit,
    Unsteady,
    Log,
]
