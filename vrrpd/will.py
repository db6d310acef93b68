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
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any, NamedTuple

from vrrpd.net import addresses, netlink, vmac
from vrrpd.net.links import Links
from vrrpd.net.sockets import AF_INET, Sender
from vrrpd.vrrp import packet

FILE = "will.json"
FOLDER = "guard"  # in the run directory: 0700, root

Log = Callable[[str, str], object]


class Held(NamedTuple):
    """An address and the interface that it lies on."""

    address: bytes
    prefixlen: int
    ifindex: int
    ifname: str


class Record(NamedTuple):
    key: str
    ifindex: int
    ifname: str
    addresses: tuple[Held, ...]
    advert: packet.AdvertSpec
    peers: tuple[bytes, ...] = ()  # of the second path, told when the addresses are gone


def encode(record: Record) -> dict[str, Any]:
    return {
        "key": record.key,
        "ifindex": record.ifindex,
        "ifname": record.ifname,
        "addresses": [
            [socket.inet_ntop(_family(held.address), held.address), held.prefixlen, held.ifindex, held.ifname]
            for held in record.addresses
        ],
        "advert": {name: _plain(value) for name, value in record.advert._asdict().items()},
        "peers": [peer.hex() for peer in record.peers],
    }


def decode(data: object) -> Record:
    """A record from a message or a file; ValueError names what is wrong."""
    if not isinstance(data, dict):
        raise ValueError("record: not an object")
    try:
        advert = packet.AdvertSpec(**{name: _typed(name, value) for name, value in data["advert"].items()})
        held = tuple(
            Held(_packed(_text(address)), _integer(length), _integer(ifindex), _text(ifname))
            for address, length, ifindex, ifname in data["addresses"]
        )
        peers = tuple(bytes.fromhex(_text(peer)) for peer in data["peers"])
        return Record(_text(data["key"]), _integer(data["ifindex"]), _text(data["ifname"]), held, advert, peers)
    except (KeyError, TypeError, ValueError, AttributeError, OSError) as error:
        raise ValueError(f"record: {error!r}") from None


class Will:
    """What would have to be undone now. `save` writes it only when it changed."""

    def __init__(self, folder: str = "") -> None:
        self.records: dict[str, Record] = {}
        self._folder = folder
        self._changed = False

    def update(self, records: Iterable[object], drop: Iterable[object] = ()) -> None:
        for data in records:
            record = decode(data)
            self.records[record.key] = record
            self._changed = True
        for key in drop:
            self._changed = self.records.pop(_text(key), None) is not None or self._changed

    def clear(self) -> None:
        self._changed = self._changed or bool(self.records)
        self.records.clear()

    def save(self) -> None:
        """To a sibling, then renamed; no fsync, because the boot id makes it worthless after a power cut."""
        if not self._folder or not self._changed:
            return
        self._changed = False
        path = os.path.join(self._folder, FILE)
        if not self.records:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)
            return
        write_file(path, {"records": [encode(record) for record in self.records.values()]})


def write_file(path: str, data: dict[str, Any]) -> None:
    """Data that counts for this boot and this network namespace only, in one piece or not at all."""
    fd = os.open(path + ".new", os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    with os.fdopen(fd, "w", encoding="ascii") as file:
        json.dump({**_life(), **data}, file)
    os.rename(path + ".new", path)


def read_file(path: str) -> dict[str, Any]:
    """What write_file left in this boot and this network namespace, else nothing."""
    try:
        with open(path, encoding="ascii") as file:
            status = os.fstat(file.fileno())
            data = json.load(file)
    except (FileNotFoundError, ValueError):
        return {}
    if status.st_uid != os.geteuid() or status.st_mode & 0o077 or not isinstance(data, dict):
        return {}
    return data if {key: data.get(key) for key in _life()} == _life() else {}


def left_behind(folder: str) -> list[Record]:
    """The records of a will file of this boot and this network namespace; the file is removed."""
    path = os.path.join(folder, FILE)
    data = read_file(path)
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)
    records = []
    for entry in data.get("records", ()):
        with contextlib.suppress(ValueError):
            records.append(decode(entry))
    return records


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
        if interface is None or (only_present and (interface.name != record.ifname or not here)):
            continue
        due.append((record, here))
    _resign([record for record, _ in due], log)
    wanted = [held for _, here in due for held in here]
    _silence(wanted, links, virtual)
    stuck: set[Held] = set()
    if wanted:
        requests = netlink.Requests()
        try:
            results = requests.run([addresses.delete(held.ifindex, held.address, held.prefixlen) for held in wanted])
        finally:
            requests.close()
        for held, code in zip(wanted, results):
            if code and code not in addresses.ABSENT:
                log("error", f"cannot remove {_show(held)}: {os.strerror(code)}")
                stuck.add(held)
    for record, here in due:
        removed = ", ".join(map(_show, here)) or "no address"
        log("warning", f"{record.key.rpartition('#')[0]}: resigned and removed {removed}")
    return [record for record in records if stuck.isdisjoint(record.addresses)]


def _resign(records: Iterable[Record], log: Log) -> None:
    """Priority 0, once for a router whatever the number of its records."""
    senders: dict[tuple[int, int], Sender] = {}
    for where, advert in dict.fromkeys((record.ifindex, record.advert) for record in records):
        try:
            sender = senders.get((where, advert.family))
            if sender is None:
                sender = senders[where, advert.family] = Sender(where, advert.family)
        except OSError as error:
            log("error", f"cannot resign on interface {where}: {error.strerror}")
            continue
        for destination, datagram in packet.datagrams(advert, 0):
            sender.send(destination, datagram, advert.source, advert.ttl)
    for sender in senders.values():
        sender.close()


def _silence(held: Iterable[Held], links: Links, virtual: Collection[str]) -> None:
    """No IPv6 on these any more: its last words would turn the switches to us (executor.py)."""
    for ifindex in {each.ifindex for each in held if len(each.address) == 16}:
        name = links.hardware(ifindex)[0]
        if name in virtual:
            with contextlib.suppress(OSError):
                vmac.set_ipv6(name, False)


def _show(held: Held) -> str:
    return f"{socket.inet_ntop(_family(held.address), held.address)}/{held.prefixlen} on {held.ifname}"


def _life() -> dict[str, object]:
    with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
        boot_id = file.read().strip()
    return {"boot_id": boot_id, "netns": os.stat("/proc/self/ns/net").st_ino}


def _family(address: bytes) -> int:
    return AF_INET if len(address) == 4 else int(socket.AF_INET6)


def _packed(text: str) -> bytes:
    return socket.inet_pton(socket.AF_INET6 if ":" in text else socket.AF_INET, text)


def _text(value: object) -> str:
    if not isinstance(value, str) or len(value) > 256:
        raise ValueError(f"not a short text: {value!r:.40}")
    return value


def _integer(value: object) -> int:
    if not isinstance(value, int) or not 0 <= value < 1 << 31:
        raise ValueError(f"not a number: {value!r:.40}")
    return value


def _plain(value: object) -> object:
    if isinstance(value, bytes):
        return value.hex()
    return [_plain(part) for part in value] if isinstance(value, tuple) else value


# How a field of AdvertSpec comes back from JSON; all others are numbers.
_BYTES = frozenset({"source", "auth_data"})
_BYTES_TUPLES = frozenset({"addresses", "destinations"})


def _typed(name: str, value: Any) -> Any:
    if name in _BYTES:
        return bytes.fromhex(_text(value))
    if name in _BYTES_TUPLES:
        return tuple(bytes.fromhex(_text(part)) for part in value)
    if not isinstance(value, (int, float)):
        raise ValueError(f"{name}: not a number: {value!r:.40}")
    return value
