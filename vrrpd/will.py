"""The will: typed records of what undoes a MASTER, kept by the guard, executed when the vrrp process cannot.

The vrrp process declares a record before it adds an address and withdraws it after the removal. A record names
the addresses with their interfaces, and the fields of the advert with which the router resigns; the bytes are
made when they are sent. On disk the will carries boot id and network namespace: a file of another life, or one
whose addresses are gone, does nothing. Nobody's pickle is read here, and every field is checked for its type,
because the sender of records is less privileged than their executor.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import time
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from vrrpd.net import addresses, netlink, routing, vmac
from vrrpd.net.links import Links
from vrrpd.net.sockets import AF_INET, Sender
from vrrpd.vrrp import auth, packet

if TYPE_CHECKING:
    from vrrpd.model.diff import Identity

FILE = "will.json"
FOLDER = "guard"  # in the run directory: 0700, root
LONGEST_BODY = 8192  # of a route or a rule, in hexadecimal
MAX_HISTORY = 1000  # lines in the file beyond twice the records

Log = Callable[[str, str], object]


class Held(NamedTuple):
    """An address and the interface that it lies on."""

    address: bytes
    prefixlen: int
    ifindex: int
    ifname: str
    peer: bytes = b""


class Laid(NamedTuple):
    """A route or a rule, and which numbers its interfaces had when it was put there: (offset, name, index)."""

    kind: str
    text: str
    body: bytes
    holes: tuple[tuple[int, str, int], ...] = ()
    mode: int = 0
    no_track: bool = False


class Record(NamedTuple):
    """Key: NAME#EPOCH.NUMBER/PART; a router has several when its addresses do not fit into one message."""

    key: str
    ifindex: int
    ifname: str
    addresses: tuple[Held, ...]
    advert: packet.AdvertSpec
    peers: tuple[bytes, ...] = ()  # of the second path, told when the addresses are gone
    priority: int = 0  # of its adverts; 0: it has resigned, nobody can go on with it
    unicast: bytes | None = None  # source of a unicast router (model/diff.py)
    group: str = ""  # its sync group
    laid: tuple[Laid, ...] = ()

    @property
    def stem(self) -> str:
        return self.key.rpartition("/")[0]

    @property
    def name(self) -> str:
        return self.key.rpartition("#")[0]

    @property
    def epoch(self) -> int:
        """Which vrrp process declared it."""
        number = self.key.rpartition("#")[2].partition(".")[0]
        return int(number) if number.isdigit() else 0

    @property
    def identity(self) -> Identity:
        return self.ifname, self.advert.family, self.advert.vrid, self.unicast


def encode(record: Record) -> dict[str, Any]:
    advert = record.advert._asdict()
    advert["addresses"] = [address.hex() for address in record.advert.addresses]
    advert["destinations"] = [address.hex() for address in record.advert.destinations]
    advert["source"], advert["auth_data"] = record.advert.source.hex(), record.advert.auth_data.hex()
    if record.advert.seal is not None:
        advert["seal"] = (record.advert.seal.key.hex(), *record.advert.seal[1:])
    return {
        "key": record.key,
        "ifindex": record.ifindex,
        "ifname": record.ifname,
        "addresses": [
            [
                _written(held.address),
                held.prefixlen,
                held.ifindex,
                held.ifname,
                *([_written(held.peer)] if held.peer else ()),
            ]
            for held in record.addresses
        ],
        "advert": advert,
        "peers": [peer.hex() for peer in record.peers],
        "priority": record.priority,
        "unicast": None if record.unicast is None else record.unicast.hex(),
        **({"group": record.group} if record.group else {}),
        **({"laid": list(map(encode_laid, record.laid))} if record.laid else {}),
    }


def decode(data: object) -> Record:
    """A record from a message or a file; ValueError names what is wrong."""
    if not isinstance(data, dict):
        raise ValueError("record: not an object")
    try:
        advert = packet.AdvertSpec(**{name: _typed(name, value) for name, value in data["advert"].items()})
        held = tuple(
            Held(
                _packed(_text(address)),
                _integer(length),
                _integer(ifindex),
                _text(ifname),
                *(_packed(_text(each)) for each in peer[:1]),
            )
            for address, length, ifindex, ifname, *peer in data["addresses"]
        )
        where = _integer(data["ifindex"]), _text(data["ifname"])
        peers = tuple(bytes.fromhex(_text(peer)) for peer in data["peers"])
        unicast = data.get("unicast")
        source = None if unicast is None else bytes.fromhex(_text(unicast))
        priority, group = _integer(data.get("priority", 0)), _text(data.get("group", ""))
        laid = tuple(map(decode_laid, data.get("laid", ())))
        return Record(_text(data["key"]), *where, held, advert, peers, priority, source, group, laid)
    except (KeyError, TypeError, ValueError, AttributeError, OSError) as error:
        raise ValueError(f"record: {error!r}") from None


def in_one_piece(some: Sequence[Record], of: Iterable[Record]) -> list[Record]:
    """`some` without the sync groups of which others are left out: those are gone on with as a whole, or not at all."""
    kept = {record.key for record in some}
    torn = {record.group for record in of if record.group and record.key not in kept}
    return [record for record in some if record.group not in torn]


def encode_laid(here: Laid) -> list[Any]:
    return [*here[:2], here.body.hex(), *here[3:]]


def decode_laid(data: Any) -> Laid:
    """Only what netlink can take: a body of sane length, with its interfaces inside of it."""
    kind, text, body, holes, mode, no_track = data
    packed = bytes.fromhex(_text(body, LONGEST_BODY))
    at = tuple((_integer(offset), _text(name), _integer(ifindex)) for offset, name, ifindex in holes)
    if kind not in _LEAST or len(packed) < _LEAST[kind] or any(offset > len(packed) - 4 for offset, *_ in at):
        raise ValueError(f"neither a route nor a rule: {text!r:.40}")
    return Laid(kind, _text(text), packed, at, _integer(mode), bool(no_track))


_LEAST = {routing.ROUTE: 12, routing.RULE: 12, routing.ADDRESS: 8}  # bytes of the fixed part


class Will:
    """What would have to be undone now, in memory and, as far as `save` was called, on disk.

    On disk: one JSON value a line. First where it counts, then every change in its order: a record that was
    declared, or the key of one that was withdrawn. Written anew when most of it is history. With 4000 routers
    a takeover is a hundred messages, and to write all of the will after each was six seconds of CPU.
    """

    def __init__(self, folder: str = "") -> None:
        self.records: dict[str, Record] = {}
        self._folder = folder
        self._changes: list[str] = []  # lines that are not in the file yet
        self._lines = 0  # in the file; 0: it is to be written anew

    def update(self, records: Iterable[object], drop: Iterable[object] = ()) -> None:
        for data in records:
            record = decode(data)
            self.records[record.key] = record
            self._changes.append(json.dumps(data))
        for key in drop:
            self._drop(_text(key))

    def forget(self, records: Iterable[Record]) -> None:
        for record in list(records):
            self._drop(record.key)

    def _drop(self, key: str) -> None:
        if self.records.pop(key, None) is not None:
            self._changes.append(json.dumps(key))

    def of(self, epoch: int) -> list[Record]:
        return [record for record in self.records.values() if record.epoch == epoch]

    def clear(self) -> None:
        self.forget(self.records.values())

    def save(self) -> None:
        """No fsync, because the boot id makes it worthless after a power cut."""
        changes, self._changes = self._changes, []
        if not self._folder or not changes:
            return
        path = os.path.join(self._folder, FILE)
        lines, self._lines = self._lines, 0
        if not self.records:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)
        elif lines and lines + len(changes) <= 2 * len(self.records) + MAX_HISTORY and _append(path, changes):
            self._lines = lines + len(changes)
        else:
            values = [_life(), *map(encode, self.records.values())]
            _replace(path, "".join(f"{json.dumps(value)}\n" for value in values))
            self._lines = len(values)


def _append(path: str, lines: Iterable[str]) -> bool:
    """False when they are not, or not all, in the file."""
    data = "".join(f"{line}\n" for line in lines).encode("ascii")
    try:
        fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        return False
    try:
        return os.write(fd, data) == len(data)
    except OSError:
        return False
    finally:
        os.close(fd)


def _replace(path: str, text: str) -> None:
    """In one piece or not at all: to a sibling, then renamed."""
    fd = os.open(path + ".new", os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    with os.fdopen(fd, "w", encoding="ascii") as file:
        file.write(text)
    os.rename(path + ".new", path)


def write_file(path: str, data: dict[str, Any]) -> None:
    """Data that counts for this boot and this network namespace only, in one piece or not at all."""
    _replace(path, json.dumps({**_life(), **data}))


def read_file(path: str) -> dict[str, Any]:
    """What write_file left in this boot and this network namespace, else nothing."""
    data: dict[str, Any] = _read_lines(path)[0]
    return data


def _read_lines(path: str) -> list[Any]:
    """The values of a file of ours, of this boot and this network namespace; else one empty object.

    A line that is not whole, because whoever wrote it was killed, is left out.
    """
    try:
        with open(path, encoding="ascii") as file:
            status = os.fstat(file.fileno())
            lines = file.read().splitlines()
    except (FileNotFoundError, ValueError):
        return [{}]
    values = []
    for line in lines:
        with contextlib.suppress(ValueError):
            values.append(json.loads(line))
    if status.st_uid != os.geteuid() or status.st_mode & 0o077 or not values or not isinstance(values[0], dict):
        return [{}]
    return values if {key: values[0].get(key) for key in _life()} == _life() else [{}]


def left_behind(folder: str) -> list[Record]:
    """The records of a will file of this boot and this network namespace; the file is removed."""
    path = os.path.join(folder, FILE)
    _, *changes = _read_lines(path)
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)
    records: dict[str, Record] = {}
    for change in changes:
        with contextlib.suppress(ValueError):
            if isinstance(change, str):
                records.pop(change, None)
            else:
                record = decode(change)
                records[record.key] = record
    return list(records.values())


def execute(
    records: Sequence[Record], log: Log, only_present: bool = False, virtual: Collection[str] = ()
) -> list[Record]:
    """Resign for every router first, then take its addresses off. Errors are told, and never stop the rest.

    `only_present`: leave alone what no longer holds any of its addresses (a file found later, not a death seen).
    `virtual`: our interfaces with a virtual MAC address. Resignations leave from the real one: a successor may be
    there already, and its port must keep the other.
    The answer: the records of which nothing is left.
    """
    if not records:
        return []
    links = Links()
    links.load()
    due = []
    for record in records:
        here = [held for held in record.addresses if links.holds(held.ifindex, held.address, held.prefixlen)]
        interface = links.get(record.ifindex)
        # Renamed is still the same interface; an index that was given to another device is not ours to touch.
        if interface is None or (only_present and interface.name != record.ifname):
            continue
        if here or not only_present:
            due.append((record, here))
        elif record.laid:
            log("warning", f"{record.name}: removed {', '.join(map(_said, record.laid))}")
    _resign([record for record, _ in due], log)
    wanted = [held for _, here in due for held in here]
    _silence(wanted, links, virtual)
    stuck = remove(wanted, log, [here for record in records for here in record.laid], links)
    for record, here in due:
        removed = ", ".join([*map(_show, here), *map(_said, record.laid)]) or "no address"
        log("warning", f"{record.name}: resigned and removed {removed}")
    return [record for record in records if stuck.isdisjoint(record.addresses)]


def remove(wanted: Sequence[Held], log: Log, laid: Sequence[Laid] = (), links: Links | None = None) -> set[Held]:
    """Take these off, whoever holds them; the answer: which addresses could not be removed.

    Routes and rules go first, in the reverse order; where an interface has given its number away, they are left.
    """
    if not wanted and not laid:
        return set()
    leaving = [here for here in reversed(laid) if links is None or _still_there(here, links)]
    off = [addresses.delete(held.ifindex, held.address, held.prefixlen, held.peer) for held in wanted]
    requests = netlink.Requests()
    try:
        codes = requests.run([*map(_undo, leaving), *off])
    finally:
        requests.close()
    for here, code in zip(leaving, codes):
        if code and code not in routing.ABSENT:
            log("error", f"cannot remove {_said(here)}: {os.strerror(code)}")
    results = codes[len(leaving) :]
    stuck = {held: code for held, code in zip(wanted, results) if code and code not in addresses.ABSENT}
    for held, code in stuck.items():
        log("error", f"cannot remove {_show(held)}: {os.strerror(code)}")
    return set(stuck)


def _resign(records: Iterable[Record], log: Log) -> None:
    voice = Voice((record._replace(priority=0) for record in records), log)
    voice.speak()
    voice.close()


class Voice:
    """Adverts of records, once for a router whatever the number of its records.

    `lead`: another one may have spoken a moment ago (auth.next_sequence).
    """

    def __init__(self, records: Iterable[Record], log: Log, lead: float = 0.0) -> None:
        self._lead = lead
        self._senders: dict[tuple[int, int], Sender] = {}
        self._ready: list[tuple[Sender, packet.AdvertSpec, auth.Datagrams]] = []
        self.sequences: dict[packet.AdvertSpec, int] = {}  # the last of those with a seal
        for where, advert, priority in dict.fromkeys((r.ifindex, r.advert, r.priority) for r in records):
            try:
                sender = self._senders.get((where, advert.family))
                if sender is None:
                    sender = self._senders[where, advert.family] = Sender(where, advert.family)
            except OSError as error:
                log("error", f"cannot advertise on interface {where}: {error.strerror}")
                continue
            self._ready.append((sender, advert, packet.datagrams(advert, priority)))

    def speak(self) -> None:
        for sender, advert, datagrams in self._ready:
            if advert.seal is not None:
                last = self.sequences.get(advert, 0)
                sequence = auth.next_sequence(advert.seal, last, time.monotonic(), time.time(), self._lead)
                self.sequences[advert] = sequence
                datagrams = auth.sealed(advert, datagrams, sequence)
            for destination, datagram in datagrams:
                sender.send(destination, datagram, advert.source, advert.ttl)

    def close(self) -> None:
        for sender in self._senders.values():
            sender.close()


def _silence(held: Iterable[Held], links: Links, virtual: Collection[str]) -> None:
    """No IPv6 on these any more: its last words would turn the switches to us (executor.py)."""
    for ifindex in {each.ifindex for each in held if len(each.address) == 16}:
        name = links.hardware(ifindex)[0]
        if name in virtual:
            with contextlib.suppress(OSError):
                vmac.set_ipv6(name, False)


def _show(held: Held) -> str:
    return f"{_written(held.address)}/{held.prefixlen} on {held.ifname}"


def _said(here: Laid) -> str:
    return f"{here.kind} {here.text}"


def _still_there(here: Laid, links: Links) -> bool:
    return all(links.hardware(ifindex)[0] == name for _, name, ifindex in here.holes)


def _undo(here: Laid) -> routing.Request:
    offsets, indexes = [hole[0] for hole in here.holes], [hole[2] for hole in here.holes]
    return routing.delete(here.kind, routing.filled(here.body, offsets, indexes))


def _written(address: bytes) -> str:
    return socket.inet_ntop(_family(address), address)


def _life() -> dict[str, object]:
    with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
        boot_id = file.read().strip()
    return {"boot_id": boot_id, "netns": os.stat("/proc/self/ns/net").st_ino}


def _family(address: bytes) -> int:
    return AF_INET if len(address) == 4 else int(socket.AF_INET6)


def _packed(text: str) -> bytes:
    return socket.inet_pton(socket.AF_INET6 if ":" in text else socket.AF_INET, text)


def _text(value: object, most: int = 256) -> str:
    if not isinstance(value, str) or len(value) > most:
        raise ValueError(f"not a short text: {value!r:.40}")
    return value


def _integer(value: object) -> int:
    if not isinstance(value, int) or not 0 <= value < 1 << 31:
        raise ValueError(f"not a number: {value!r:.40}")
    return value


# How a field of AdvertSpec comes back from JSON; all others are numbers.
_BYTES = frozenset({"source", "auth_data"})
_BYTES_TUPLES = frozenset({"addresses", "destinations"})


def _typed(name: str, value: Any) -> Any:
    if name == "seal":
        return None if value is None else _seal(*value)
    if name in _BYTES:
        return bytes.fromhex(_text(value))
    if name in _BYTES_TUPLES:
        return tuple(bytes.fromhex(_text(part)) for part in value)
    if not isinstance(value, (int, float)):
        raise ValueError(f"{name}: not a number: {value!r:.40}")
    return value


def _seal(key: object, key_id: object, window: object, base: object) -> packet.Seal:
    if not isinstance(base, (int, float)):
        raise ValueError(f"base: not a number: {base!r:.40}")
    return packet.Seal(bytes.fromhex(_text(key)), _integer(key_id), _integer(window), base)
