"""no_accept, and silence on virtual interfaces: one nftables table of ours, whichever firewall the machine has.

    vips, vips6, vips6_link_local   addresses of MASTERs with no_accept, while they have them
    vmacs                           virtual interfaces with a virtual MAC address
    vrrpd_in, vrrpd_out             drop what is for or from the first (but for neighbour discovery; ARP does not come
                                    here), and IGMP out of the second, which would turn the switches to a backup

`Firewall` is the vrrp process's: the table is made in one transaction when it begins, an address is one element,
added before the address and removed after it. A death leaves all of it as it is; the successor makes it anew with
what it holds. Who else flushes the rules is noticed. `Tables` is the guard's: the names, in a file before there can be
such a table, so that whoever is left removes it. Rules are bytes of net/nft.py; who is MASTER is the core's.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

from vrrpd import will
from vrrpd.net import nft
from vrrpd.net.netlink import Overrun

if TYPE_CHECKING:
    from vrrpd.model.model import Model

TABLE = "vrrpd"
IN, OUT = "vrrpd_in", "vrrpd_out"
CHAINS = frozenset({IN, OUT})
FILE = "firewall.json"  # beside the will
AGAIN = 0.1  # seconds between two repairs, should somebody keep flushing
QUIET = 60.0  # and between two lines about it

VIPS, VIPS6, LINK_LOCAL, VMACS = "vips", "vips6", "vips6_link_local", "vmacs"
SETS: tuple[tuple[str, tuple[int, ...], int], ...] = (
    (VIPS, (nft.IPV4_ADDR,), 4),
    (VIPS6, (nft.IPV6_ADDR,), 16),
    (LINK_LOCAL, (nft.IPV6_ADDR, nft.IFINDEX), 20),
    (VMACS, (nft.IFNAME,), 16),
)
DISCOVERY = (135, 136)  # neighbour solicitation and advertisement: the address must resolve

INFINITY = float("inf")

Place = tuple[int, bytes, int]  # interface index, address, prefix length
Element = tuple[str, bytes]  # set, key
Log = Callable[[str, str], object]


class Shape(NamedTuple):
    """What a configuration makes of the table."""

    name: str
    priority: int
    counters: bool
    shields: bool  # there are instances with no_accept
    silent: tuple[str, ...]  # virtual interfaces


def shape(model: Model) -> Shape | None:
    """None where there is nothing to drop."""
    defs = model.global_defs
    shields = not all(instance.accept for instance in model.vrrp_instances)
    devices = () if defs.disable_local_igmp else (each for one in model.vrrp_instances for each in one.devices)
    silent = tuple(dict.fromkeys(device.name for device in devices if device.mac))
    if not shields and not silent:
        return None
    return Shape(defs.nftables or TABLE, defs.nftables_priority, defs.nftables_counters, shields, silent)


def batch(shape: Shape, elements: Iterable[Element]) -> Iterator[nft.Message]:
    """The whole table in the place of the one that may be there."""
    name = shape.name
    yield from (nft.table(name), nft.no_table(name), nft.table(name))
    yield from (nft.chain(name, chain, hook, shape.priority) for chain, hook in ((IN, 1), (OUT, 3)))
    for number, (kept, types, length) in enumerate(SETS, 1):
        yield nft.key_set(name, kept, types, length, number)
    yield from _changed(nft.elements, name, elements)
    yield from nft.elements(name, VMACS, [nft.ifname(device) for device in shape.silent])
    counter = nft.counter() if shape.counters else b""
    for chain, condition, verdict in _rules(shape):
        yield nft.rule(name, chain, condition, counter, verdict)


def _rules(shape: Shape) -> Iterator[tuple[str, bytes, bytes]]:
    """(chain, condition, verdict) in their order."""
    if shape.silent:
        yield OUT, nft.IGMP + nft.OIFNAME + nft.found_in(VMACS), nft.DROP
    if not shape.shields:
        return
    for chain, four, six, interface in (
        (IN, nft.DESTINATION4, nft.DESTINATION6, nft.IIF),
        (OUT, nft.SOURCE4, nft.SOURCE6, nft.OIF),
    ):
        yield chain, nft.IPV4 + four + nft.found_in(VIPS), nft.DROP
        for kind in DISCOVERY:
            yield chain, nft.icmpv6(kind), nft.ACCEPT
        yield chain, nft.IPV6 + six + nft.found_in(VIPS6), nft.DROP
        yield chain, nft.IPV6 + six + interface + nft.found_in(LINK_LOCAL), nft.DROP


def _changed(
    change: Callable[[str, str, Sequence[bytes]], Iterator[nft.Message]], name: str, elements: Iterable[Element]
) -> Iterator[nft.Message]:
    keys: dict[str, list[bytes]] = {}
    for kept, key in elements:
        keys.setdefault(kept, []).append(key)
    for kept, some in keys.items():
        yield from change(name, kept, some)


def _element(place: Place) -> Element:
    """A link-local address is one on its interface only, every other wherever its packets come in."""
    interface, address, _ = place
    if len(address) == 4:
        return VIPS, address
    if address[0] == 0xFE and address[1] & 0xC0 == 0x80:
        return LINK_LOCAL, address + nft.ifindex(interface)
    return VIPS6, address


class Firewall:
    """The vrrp process's end. Where the kernel refuses, the addresses are served all the same, and `error` says so."""

    def __init__(self, shape: Shape, log: Log) -> None:
        self.shape = shape
        self.error = ""
        self.repaired = 0  # times that somebody else had changed it
        self._log = log
        self._shielded: dict[Element, list[Place]] = {}
        self._requests: nft.Requests | None = None
        self.monitor: nft.Monitor | None = None  # to be read while the table is ours alone
        self._at = -INFINITY  # of the last repair
        self._due = INFINITY  # of the next one
        try:
            self._requests = nft.Requests()
        except OSError as error:
            self._fail(error.strerror or str(error))

    # ---- the table -------------------------------------------------------------------------------------------

    def build(self) -> None:
        """All of it anew, with what is shielded, in one transaction."""
        name = self.shape.name
        if self._requests is None:
            return
        try:
            if nft.whose(name, CHAINS) is False:
                self._fail("there is one of somebody else, give ours another name with 'nftables NAME'")
                return
        except OSError as error:
            self._fail(error.strerror or str(error))
            return
        code = self._requests.commit(batch(self.shape, self._shielded))
        if code:
            self._fail(os.strerror(code))
        elif self.error:
            self.error = ""
            self._log("info", f"nftables table inet {name} is there now")

    def _fail(self, why: str) -> None:
        error = f"no nftables table inet {self.shape.name}: {why}"
        if error != self.error:
            self.error = error
            if self.shape.shields:
                self._log("error", f"{error}; packets to addresses with no_accept are accepted")
            else:
                self._log("warning", f"{error}; IGMP from virtual interfaces is not held back")

    # ---- addresses -------------------------------------------------------------------------------------------

    def shield(self, places: Iterable[Place]) -> None:
        """Before they are added, or when they are found there."""
        new = []
        for place in places:
            element = _element(place)
            holders = self._shielded.setdefault(element, [])
            if not holders:
                new.append(element)
            if place not in holders:
                holders.append(place)
        if new:
            self._commit(_changed(nft.elements, self.shape.name, new))

    def unshield(self, places: Iterable[Place]) -> None:
        """After they were removed."""
        gone = []
        for place in places:
            element = _element(place)
            holders = self._shielded.get(element, [])
            if place in holders:
                holders.remove(place)
                if not holders:
                    del self._shielded[element]
                    gone.append(element)
        if gone:
            # Added first, for where one is missing none would be removed.
            name = self.shape.name
            self._commit([*_changed(nft.elements, name, gone), *_changed(nft.no_elements, name, gone)])

    def forget(self, ifindex: int) -> None:
        """The interface is gone, and what was on it."""
        self.unshield([place for held in self._shielded.values() for place in held if place[0] == ifindex])

    def _commit(self, messages: Iterable[nft.Message]) -> None:
        if self._requests is not None and (self.error or self._requests.commit(messages)):
            self.build()  # it is not there, or not as we left it

    # ---- others ----------------------------------------------------------------------------------------------

    def watch(self) -> None:
        """Hear of changes from now on."""
        if self.monitor is None and self._requests is not None:
            with contextlib.suppress(OSError):
                self.monitor = nft.Monitor()

    def read(self, now: float) -> None:
        """Somebody has changed rules. Were they ours?"""
        if self.monitor is None or self._requests is None:
            return
        name, own = self.shape.name.encode() + b"\0", self._requests.port
        try:
            if not any(table == name and port != own for port, table in self.monitor.changes()):
                return
        except Overrun:
            pass  # not known, and to be made anew costs less than to find out
        self._due = max(now, self._at + AGAIN)

    def turn(self, now: float) -> float:
        """Repair what is due; when to be asked again."""
        if now >= self._due:
            if now - self._at > QUIET:
                self._log("warning", f"somebody changed nftables table inet {self.shape.name}, made anew")
            self._due, self._at = INFINITY, now
            self.repaired += 1
            self.build()
        return self._due

    def leave(self) -> None:
        """Another process makes the changes from now on, or may do so at any moment: hear nothing of them."""
        if self.monitor is not None:
            self.monitor.close()
        self.monitor, self._due = None, INFINITY

    def retire(self) -> None:
        """Another process has the table: change nothing any more."""
        self.leave()
        if self._requests is not None:
            self._requests.close()
        self._requests = None

    def status(self) -> dict[str, object]:
        return {
            "table": f"inet {self.shape.name}",
            "addresses": len(self._shielded),
            "repaired": self.repaired,
            "error": self.error,
        }


class Tables:
    """The guard's end: which tables there may be, and their removal."""

    def __init__(self, folder: str, log: Log) -> None:
        self._path = os.path.join(folder, FILE)
        self._log = log
        self._names: dict[str, None] = {}

    def load(self) -> None:
        """What a predecessor of this boot and this network namespace left."""
        names = will.read_file(self._path).get("tables")
        self._names = dict.fromkeys(name for name in names or () if isinstance(name, str))

    def expect(self, name: str) -> None:
        """A process that makes this table, if any, is about to start."""
        if name and name not in self._names:
            self._names[name] = None
            self._save()

    def keep(self, name: str) -> None:
        """Remove all others."""
        former = [other for other in self._names if other != name]
        for other in former:
            try:
                code = nft.delete(other, CHAINS)
            except OSError as error:
                code = error.errno or 0
            if code:
                self._log("error", f"cannot remove nftables table inet {other}: {os.strerror(code)}")
            del self._names[other]
        if former:
            self._save()

    def undo(self) -> None:
        """Remove what is there."""
        self.keep("")

    def _save(self) -> None:
        if self._names:
            will.write_file(self._path, {"tables": list(self._names)})
        else:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self._path)
