"""What one router leaves to its successor in another process: its estate, as plain data.

A reload, an upgrade and a crash have one mechanism: another process goes on where this one stopped. After the first
two the estate is complete; after a crash it is `adopted` from what the will knew: who was MASTER and holds what. It is
self-contained: the successor finds the difference to its own configuration from the estate alone, so that its code may
be another release's. Who is meant is told by what a router is on the wire (model.diff), not by its name. Times are of
the monotonic clock, which all processes of a machine share.

The encoded form is JSON with a version. Another version is refused: a hand-over that guesses is worse than none.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import inf
from typing import Any, NamedTuple

from vrrpd.model.diff import Identity
from vrrpd.model.vrrp import VirtualAddress

ESTATE_VERSION = 1


class UnknownEstate(ValueError):
    """What was handed over is not what this release understands."""


class Holding(NamedTuple):
    """An address in the kernel, where it lies, and whether it was there before us."""

    address: bytes
    prefixlen: int
    ifindex: int
    ifname: str
    foreign: bool = False


class Estate(NamedTuple):
    """Of one router. The first block says who it is, the second what it is, the third what it ran with."""

    interface: str
    family: int
    vrid: int
    source: bytes | None  # of a unicast router, b"" when not configured
    peers: tuple[bytes, ...]
    name: str

    state: str
    leaving: str = ""
    faults: tuple[str, ...] = ()
    timer: float = inf
    delay_timer: float = inf
    heard: tuple[bytes, int, float] | None = None
    outbids: bool = False
    resigned: bool = False
    yielding_until: float = 0.0
    pending: Mapping[str, float] = {}  # duties.py: what, when
    paces: tuple[float, float, float, float] = (0.0, 0.0, 0.0, 0.0)  # duties.py: answers, restorations, rivals
    announcing: tuple[bytes, ...] = ()  # announce.py: frames that wait for their turn
    announce_at: float = 0.0
    pseudo_header: bool | None = None
    last_transition: tuple[str, str, str, str, float] | None = None
    counters: Mapping[str, int] = {}
    said: Mapping[str, tuple[float, int]] = {}  # records.py
    held: tuple[Holding, ...] = ()

    advert: int = -1  # a checksum of what it sends; -1: not known
    advert_int: float = 0.0
    interval: float = 0.0  # its master's, learned or configured
    down_interval: float = 0.0
    preempt: bool = True
    preempt_delay: float = 0.0
    refresh: float = 0.0
    lifetime: float = 0.0
    addresses: tuple[VirtualAddress, ...] | None = None  # None: what it holds

    @property
    def identity(self) -> Identity:
        return self.interface, self.family, self.vrid, self.source

    @property
    def holder(self) -> bool:
        """Peers are kept quiet by its adverts."""
        return self.state == "MASTER" and not self.leaving


def adopted(identity: Identity, name: str, held: Sequence[Holding], now: float, due: float) -> Estate:
    """Of a MASTER whose process died: an advert is due since `due`, its neighbours know it, all else is forgotten."""
    interface, family, vrid, source = identity
    transition = ("INIT", "MASTER", "MASTER", "adopted from a process that died", now)
    return Estate(
        interface, family, vrid, source, (), name, "MASTER", timer=due, last_transition=transition, held=tuple(held)
    )


def encode(estates: Sequence[Estate]) -> dict[str, Any]:
    return {"version": ESTATE_VERSION, "routers": [_encode(estate) for estate in estates]}


def decode(data: object) -> list[Estate]:
    """Raises UnknownEstate; nothing of it is acted upon before all of it was read."""
    if not isinstance(data, dict) or data.get("version") != ESTATE_VERSION:
        version = data.get("version") if isinstance(data, dict) else None
        raise UnknownEstate(f"hand-over message of version {version!r}, this release understands {ESTATE_VERSION}")
    try:
        return [_decode(entry) for entry in data["routers"]]
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UnknownEstate(f"malformed hand-over message: {error!r}") from None


def _encode(estate: Estate) -> dict[str, Any]:
    data = estate._asdict()
    data["source"] = None if estate.source is None else estate.source.hex()
    data["peers"] = [peer.hex() for peer in estate.peers]
    data["announcing"] = [address.hex() for address in estate.announcing]
    if estate.heard:
        data["heard"] = (estate.heard[0].hex(), *estate.heard[1:])
    data["held"] = [(held.address.hex(), *held[1:]) for held in estate.held]
    if estate.addresses is not None:
        data["addresses"] = [_encode_address(entry) for entry in estate.addresses]
    return data


def _decode(data: dict[str, Any]) -> Estate:
    data = dict(data)
    if data["source"] is not None:
        data["source"] = bytes.fromhex(data["source"])
    data["peers"] = tuple(map(bytes.fromhex, data["peers"]))
    data["announcing"] = tuple(map(bytes.fromhex, data["announcing"]))
    if data["heard"]:
        source, priority, at = data["heard"]
        data["heard"] = bytes.fromhex(source), int(priority), float(at)
    data["held"] = tuple(Holding(bytes.fromhex(address), *rest) for address, *rest in data["held"])
    if data["addresses"] is not None:
        data["addresses"] = tuple(map(_decode_address, data["addresses"]))
    for name in ("faults", "paces", "last_transition"):
        if data[name] is not None:
            data[name] = tuple(data[name])
    return Estate(**data)


def _encode_address(entry: VirtualAddress) -> list[object]:
    broadcast = None if entry.broadcast is None else entry.broadcast.hex()
    address = entry.address.hex()
    return [address, entry.prefixlen, entry.dev, broadcast, entry.scope, entry.label, entry.dad, entry.no_track]


def _decode_address(data: list[Any]) -> VirtualAddress:
    address, prefixlen, dev, broadcast, *rest = data
    return VirtualAddress(
        bytes.fromhex(address), prefixlen, dev, None if broadcast is None else bytes.fromhex(broadcast), *rest
    )
