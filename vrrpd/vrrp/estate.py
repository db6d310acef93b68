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
from typing import Any, Callable, NamedTuple

from vrrpd.model.diff import Identity
from vrrpd.model.values import Routing, VirtualAddress
from vrrpd.vrrp.auth import Standing

ESTATE_VERSION = 3


class UnknownEstate(ValueError):
    """What was handed over is not what this release understands."""


class Holding(NamedTuple):
    """An address in the kernel, where it lies, and whether it was there before us."""

    address: bytes
    prefixlen: int
    ifindex: int
    ifname: str
    foreign: bool = False
    peer: bytes = b""  # the other end, where it has one


class Laid(NamedTuple):
    """A route or a rule in the kernel, the numbers that its interfaces have there, and whether it was there before."""

    entry: Routing
    indexes: tuple[int, ...] = ()
    foreign: bool = False


class Lacking(NamedTuple):
    """An address, a route or a rule that the kernel does not take, why, and since when."""

    kind: str
    text: str
    why: str
    since: float


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
    faults: Mapping[str, str] = {}  # a sentence, who says so
    timer: float = inf
    delay_timer: float = inf
    heard: tuple[bytes, int, float] | None = None
    outbids: bool = False
    resigned: bool = False
    yielding_until: float = 0.0
    rival: tuple[float, float] | None = None  # another owner: heard since, heard last
    pending: Mapping[str, float] = {}  # duties.py: what, when
    paces: tuple[float, float, float, float] = (0.0, 0.0, 0.0, 0.0)  # duties.py: answers, restorations, rivals
    announcing: tuple[bytes, ...] = ()  # announce.py: frames that wait for their turn
    announce_at: float = 0.0
    pseudo_header: bool | None = None
    old_sum: bool = False  # packet.py
    last_transition: tuple[str, str, str, str, float] | None = None
    counters: Mapping[str, int] = {}
    said: Mapping[str, tuple[float, int]] = {}  # records.py
    held: tuple[Holding, ...] = ()
    auth: Standing | None = None

    advert: int = -1  # a checksum of what it sends; -1: not known
    advert_int: float = 0.0
    interval: float = 0.0  # its master's, learned or configured
    down_interval: float = 0.0
    preempt: bool = True
    preempt_delay: float = 0.0
    refresh: float = 0.0
    lifetime: float = 0.0
    addresses: tuple[VirtualAddress, ...] | None = None  # None: what it holds
    priority: int = 0  # its effective one, where the verdicts that it follows from are not known
    group: str = ""  # the state of its sync group that scripts and mail know
    routing: tuple[Routing, ...] = ()
    laid: tuple[Laid, ...] = ()  # of it, and where
    outbid_at: float = -inf  # when a better MASTER made it BACKUP
    lacking: tuple[Lacking, ...] = ()  # of it, or of what is to be there

    @property
    def identity(self) -> Identity:
        return self.interface, self.family, self.vrid, self.source

    @property
    def holder(self) -> bool:
        """Peers are kept quiet by its adverts."""
        return self.state == "MASTER" and not self.leaving


def adopted(
    identity: Identity,
    name: str,
    held: Sequence[Holding],
    now: float,
    due: float,
    priority: int = 0,
    auth: Standing | None = None,
    laid: Sequence[Laid] = (),
) -> Estate:
    """Of a MASTER whose process died: an advert is due since `due`, its neighbours know it, all else is forgotten."""
    interface, family, vrid, source = identity
    transition = ("INIT", "MASTER", "MASTER", "adopted from a process that died", now)
    return Estate(
        interface, family, vrid, source, (), name, "MASTER",
        timer=due, last_transition=transition, held=tuple(held), auth=auth, priority=priority, group="MASTER",
        routing=tuple(here.entry for here in laid), laid=tuple(laid),
    )  # fmt: skip


Shape = dict[str, list[str]]


def shape() -> Shape:
    """The fields of what is handed over, as they say of themselves."""
    return {part.__name__: _declared(part) for part in (Estate, *_LISTS)}


def understands(version: int, theirs: Shape) -> bool:
    """Can estates of that shape be taken over here? What came later stays as it is by default."""
    if version != ESTATE_VERSION or theirs.keys() != shape().keys():
        return False
    for part in (Estate, *_LISTS):
        ours, known = _declared(part), theirs[part.__name__]
        later = [field for field in ours if field not in known]
        if not set(known) <= set(ours) or not {field.partition(":")[0] for field in later} <= set(part._field_defaults):
            return False
        if part is not Estate and ours != known + later:
            return False
    return True


def _declared(part: Any) -> list[str]:
    return [f"{name}: {getattr(kind, '__forward_arg__', kind)}" for name, kind in part.__annotations__.items()]


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
    """What is as it always is goes without saying: a third of the text, and of the time that a part takes."""
    data = {name: value for name, value in zip(_FIELDS, estate) if value != _DEFAULTS.get(name, _NOTHING)}
    for name, encoded in _ENCODERS.items():
        if name in data:
            data[name] = encoded(data[name])
    return data


def _decode(data: dict[str, Any]) -> Estate:
    return Estate(**{name: _DECODERS[name](value) if name in _DECODERS else value for name, value in data.items()})


def _encode_holding(here: Holding) -> tuple[object, ...]:
    return (here.address.hex(), *here[1:5], here.peer.hex()) if here.peer else (here.address.hex(), *here[1:5])


def _decode_holding(data: list[Any]) -> Holding:
    address, *rest = data
    return Holding(bytes.fromhex(address), *rest[:4], *map(bytes.fromhex, rest[4:5]))


def _encode_routing(entry: Routing) -> tuple[object, ...]:
    return (*entry[:2], entry.body.hex(), *entry[3:])


def _decode_routing(data: list[Any]) -> Routing:
    kind, text, body, holes, *rest = data
    return Routing(kind, text, bytes.fromhex(body), tuple((offset, name) for offset, name in holes), *rest)


def _encode_address(entry: VirtualAddress) -> list[object]:
    """What stands at its default at the end goes without saying."""
    broadcast, peer = (None if other is None else other.hex() for other in (entry.broadcast, entry.peer))
    values: list[object] = list(entry)
    values[_ADDRESS], values[_BROADCAST], values[_PEER] = entry.address.hex(), broadcast, peer
    while len(values) > 2 and values[-1] == _PLAIN[len(values) - 3]:
        values.pop()
    return values


def _decode_address(data: list[Any]) -> VirtualAddress:
    for index in (_ADDRESS, _BROADCAST, _PEER):
        if index < len(data) and data[index] is not None:
            data[index] = bytes.fromhex(data[index])
    return VirtualAddress(*data)


_PLAIN = tuple(VirtualAddress._field_defaults.values())
_ADDRESS, _BROADCAST, _PEER = map(VirtualAddress._fields.index, ("address", "broadcast", "peer"))
_LISTS = (Holding, VirtualAddress)  # they travel as lists, so that new fields come last
_FIELDS, _DEFAULTS, _NOTHING = Estate._fields, Estate._field_defaults, object()

# The fields that JSON does not bring back as they were.
_ENCODERS: dict[str, Callable[[Any], Any]] = {
    "source": lambda source: None if source is None else source.hex(),
    "peers": lambda peers: [peer.hex() for peer in peers],
    "announcing": lambda waiting: [address.hex() for address in waiting],
    "heard": lambda heard: (heard[0].hex(), *heard[1:]),
    "held": lambda held: [_encode_holding(here) for here in held],
    "addresses": lambda entries: [_encode_address(entry) for entry in entries],
    "auth": lambda auth: (*auth[:3], [(source.hex(), mark) for source, mark in auth.marks]),
    "routing": lambda entries: [_encode_routing(entry) for entry in entries],
    "laid": lambda laid: [(_encode_routing(here.entry), *here[1:]) for here in laid],
}
_DECODERS: dict[str, Callable[[Any], Any]] = {
    "source": lambda text: None if text is None else bytes.fromhex(text),
    "peers": lambda texts: tuple(map(bytes.fromhex, texts)),
    "announcing": lambda texts: tuple(map(bytes.fromhex, texts)),
    "heard": lambda heard: (bytes.fromhex(heard[0]), *heard[1:]),
    "held": lambda held: tuple(map(_decode_holding, held)),
    "addresses": lambda entries: tuple(map(_decode_address, entries)),
    "auth": lambda auth: Standing(
        auth[0], auth[1], auth[2], tuple((bytes.fromhex(source), mark) for source, mark in auth[3])
    ),
    "routing": lambda entries: tuple(map(_decode_routing, entries)),
    "lacking": lambda entries: tuple(Lacking(*entry) for entry in entries),
    "laid": lambda laid: tuple(Laid(_decode_routing(entry), tuple(at), foreign) for entry, at, foreign in laid),
    "paces": tuple,
    "rival": tuple,
    "last_transition": tuple,
}
