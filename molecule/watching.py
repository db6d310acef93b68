"""Watches a cluster of containers from outside, with one clock: who answers, who holds an address, what is announced.

Owns the observing process, and what its observations mean (`Seen`). It sits in the network namespaces of the
containers, not in the containers: one that is paused or killed is still watched. What is to happen meanwhile, and
what is right, are the tests'.

watching.py DESCRIPTION (JSON: {"client": pid, "routers": {name: [pid, mac]}, "addresses": [...]}) says "watching" when
every address answers, and tells what it saw, as one JSON object, when its standard input ends.

Whoever holds an address answers from its kernel; of replies and adverts the kernel's time stamp counts. So a busy
machine that lets this process wait makes no outage out of it.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import json
import math
import os
import select
import socket
import struct
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

PERIOD = 0.005  # between two probes of one address
LATE = 0.05  # what was sent so shortly before the end proves nothing by its silence

CLONE_NEWNET = 0x40000000
SO_RCVBUFFORCE, SO_TIMESTAMPNS, SOL_RAW, ICMP_FILTER = 33, 35, 255, 1
ETH_P_ALL, ETH_P_IP, ETH_P_ARP = 3, 0x0800, 0x0806
ICMP, VRRP = 1, 112
NETLINK_ROUTE, RTMGRP_IPV4_IFADDR = 0, 0x10
RTM_NEWADDR, RTM_DELADDR, RTM_GETADDR, IFA_LOCAL = 20, 21, 22, 2
NLM_F_REQUEST, NLM_F_DUMP = 1, 0x300


# -------------------------------------------------------------------------------------------- what was seen
class Span(NamedTuple):
    start: float
    end: float

    @property
    def ms(self) -> float:
        return (self.end - self.start) * 1000


@dataclass(frozen=True)
class Line:
    """One address, from the start of the watching to its end. Times are seconds of the machine's monotonic clock."""

    name: str
    address: str
    interval: float
    probes: list[tuple[float, str | None]]  # when it was sent, who answered
    held: list[tuple[float, str, bool]]  # when, which router, got it (or lost it)
    adverts: list[tuple[float, str, int]]  # when, by which router, with which priority
    garps: list[tuple[float, str]]

    @property
    def lost(self) -> int:
        return sum(who is None for _, who in self.probes)

    @property
    def outages(self) -> list[Span]:
        """From the last answered probe before a silence to the first one after it (or to the end)."""
        spans, last, silent = [], None, False
        for sent, who in self.probes:
            if who is None:
                silent = True
                continue
            if silent and last is not None:
                spans.append(Span(last, sent))
            last, silent = sent, False
        if silent and last is not None:
            spans.append(Span(last, self.probes[-1][0]))
        return spans

    @property
    def outage(self) -> float:
        """The longest, in milliseconds."""
        return max((span.ms for span in self.outages), default=0.0)

    @property
    def both(self) -> float:
        """For how long, in one piece, more than one router held the address; milliseconds."""
        spans, holders, since = [], set[str](), 0.0
        for at, router, got in self.held:
            before = len(holders)
            (holders.add if got else holders.discard)(router)
            if before < 2 <= len(holders):
                since = at
            elif len(holders) < 2 <= before:
                spans.append(Span(since, at))
        if len(holders) > 1:
            spans.append(Span(since, self.probes[-1][0]))
        return max((span.ms for span in spans), default=0.0)

    @property
    def owners(self) -> list[str]:
        """Who held the address at the start, then who got it, in order. A router that put back its own is no other."""
        order: list[str] = []
        for _, router, got in self.held:
            if got and order[-1:] != [router]:
                order.append(router)
        return order

    @property
    def gap(self) -> float:
        """The longest time between two adverts, whoever sent them, in intervals."""
        times = [at for at, _, _ in self.adverts]
        return (
            max((after - before for before, after in zip(times, times[1:], strict=False)), default=0.0) / self.interval
        )

    def announced(self, router: str, since: float = 0.0, until: float = math.inf) -> int:
        """Gratuitous ARPs of that router."""
        return sum(who == router and since <= at < until for at, who in self.garps)


class Seen:
    """What came of one watching: its lines by name, and under which scheduling the watcher itself ran."""

    def __init__(self) -> None:
        self.lines: dict[str, Line] = {}
        self.scheduling = ""

    def __iter__(self) -> Iterator[Line]:
        return iter(self.lines.values())

    def __getitem__(self, name: str) -> Line:
        return self.lines[name]

    @property
    def noticed(self) -> list[str]:
        """What a client or a peer could have noticed: moves of an address, and probes without an answer."""
        moves = [f"{line.name}: {' -> '.join(line.owners)}" for line in self if len(line.owners) != 1]
        return moves + [f"{line.name}: silent for {span.ms:.0f} ms" for line in self for span in line.outages]

    def learn(self, told: dict[str, Any], instances: dict[str, Any]) -> None:
        """`told` is what the watching process printed, `instances` the inventory's."""
        self.scheduling = told["scheduling"]
        for name, instance in instances.items():
            address = instance["virtual_ipaddress"][0].split("/")[0]
            vrid = instance["virtual_router_id"]
            self.lines[name] = Line(
                name,
                address,
                instance["advert_int"],
                [(sent, who) for where, sent, who in told["probes"] if where == address],
                [(at, router, got) for at, router, where, got in told["held"] if where == address],
                [(at, router, priority) for at, router, number, priority in told["adverts"] if number == vrid],
                [(at, router) for at, router, where in told["garps"] if where == address],
            )


# ---------------------------------------------------------------------------------------------- the watching
@contextlib.contextmanager
def network_of(pid: int) -> Iterator[None]:
    """Inside the network namespace of that process: sockets made here stay there."""
    libc = ctypes.CDLL(None, use_errno=True)
    with open("/proc/self/ns/net") as here, open(f"/proc/{pid}/ns/net") as there:
        if libc.setns(there.fileno(), CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), "setns")
        try:
            yield
        finally:
            libc.setns(here.fileno(), CLONE_NEWNET)


def checksum(data: bytes) -> int:
    """RFC 1071, for an even number of bytes."""
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    total = (total & 0xFFFF) + (total >> 16)
    return ~(total + (total >> 16)) & 0xFFFF


def be_first() -> str:
    """Real-time priority, or the best that this machine permits; says which."""
    with contextlib.suppress(OSError):
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(40))
        return "SCHED_FIFO 40"
    with contextlib.suppress(OSError):
        return f"nice {os.nice(-15)}"
    return "no better than others"


class Watcher:
    def __init__(self, description: dict[str, Any]) -> None:
        self.addresses: list[str] = description["addresses"]
        self.who = {bytes.fromhex(mac.replace(":", "")): name for name, (_, mac) in description["routers"].items()}
        self.ident = os.getpid() & 0xFFFF
        self.probes: list[tuple[str, float, str | None]] = []
        self.answered: set[str] = set()
        self.held: list[tuple[float, str, str, bool]] = []
        self.holders: set[tuple[str, str]] = set()
        self.adverts: list[tuple[float, str, int, int]] = []
        self.garps: list[tuple[float, str, str]] = []
        with network_of(description["client"]):
            self.sender = socket.socket(socket.AF_INET, socket.SOCK_RAW, ICMP)
            self.sender.setsockopt(SOL_RAW, ICMP_FILTER, b"\xff\xff\xff\xff")  # replies are read from the wire
            self.sender.setblocking(False)
            self.wire = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(ETH_P_ALL))
            self.wire.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 16 << 20)
            self.wire.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
            self.wire.setblocking(False)
        self.kernels: dict[int, tuple[socket.socket, str]] = {}
        for name, (pid, _) in description["routers"].items():
            with network_of(pid):
                netlink = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_ROUTE)
                netlink.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 1 << 20)
                netlink.bind((0, RTMGRP_IPV4_IFADDR))
                netlink.setblocking(False)
                ask = struct.pack("=IHHIIB7x", 24, RTM_GETADDR, NLM_F_REQUEST | NLM_F_DUMP, 1, 0, socket.AF_INET)
                netlink.send(ask)
                self.kernels[netlink.fileno()] = (netlink, name)

    def run(self) -> None:
        """Probe and read until standard input ends."""
        poll = select.poll()
        for fd in (self.wire.fileno(), *self.kernels, 0):
            poll.register(fd, select.POLLIN | select.POLLHUP)
        due, told = time.monotonic(), False
        while True:
            now = time.monotonic()
            if now >= due:
                for address in self.addresses:
                    self.probe(address)
                due = max(due + PERIOD, now)  # after a stall of our own no burst follows
            for fd, _ in poll.poll(max(0.0, (due - time.monotonic()) * 1000)):
                if fd == 0:
                    return
                if fd in self.kernels:
                    self.read_kernel(*self.kernels[fd])
                else:
                    self.read_wire()
            if not told and self.answered == set(self.addresses):
                told = True
                print("watching", flush=True)

    def probe(self, address: str) -> None:
        number = len(self.probes)
        body = struct.pack("!HHI", self.ident, number & 0xFFFF, number)
        self.probes.append((address, time.monotonic(), None))
        with contextlib.suppress(OSError):  # no neighbour: as good as no answer
            self.sender.sendto(struct.pack("!BBH", 8, 0, checksum(b"\x08\x00" + body)) + body, (address, 0))

    def read_wire(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while True:
                data, ancillary, _, (_, protocol, direction, _, mac) = self.wire.recvmsg(2048, 64)
                who = self.who.get(mac)
                if who is None or direction == socket.PACKET_OUTGOING:
                    continue
                at = time.monotonic()
                for _, kind, stamp in ancillary:
                    if kind == SO_TIMESTAMPNS:
                        seconds, nanoseconds = struct.unpack("qq", stamp)
                        at -= time.time() - (seconds + nanoseconds / 1e9)
                if protocol == ETH_P_ARP and len(data) >= 28 and data[14:18] == data[24:28]:
                    address = socket.inet_ntoa(data[14:18])
                    if address in self.addresses:
                        self.garps.append((at, who, address))
                elif protocol == ETH_P_IP:
                    self.read_packet(at, who, data[9], data[(data[0] & 15) * 4 :])

    def read_packet(self, at: float, who: str, protocol: int, message: bytes) -> None:
        if protocol == VRRP:
            self.adverts.append((at, who, message[1], message[2]))
        elif protocol == ICMP and len(message) >= 12 and message[0] == 0:
            ident, _, number = struct.unpack_from("!HHI", message, 4)
            if ident == self.ident and number < len(self.probes):
                address, sent, _ = self.probes[number]
                self.probes[number] = (address, sent, who)
                self.answered.add(address)

    def read_kernel(self, netlink: socket.socket, router: str) -> None:
        at = time.monotonic()
        with contextlib.suppress(BlockingIOError):
            while True:
                data = netlink.recv(1 << 16)
                while len(data) >= 16:
                    length, kind = struct.unpack_from("=IH", data)
                    if kind in (RTM_NEWADDR, RTM_DELADDR):
                        self.note(at, router, local_address(data[24:length]), kind == RTM_NEWADDR)
                    data = data[(length + 3) & ~3 :]

    def note(self, at: float, router: str, address: str, got: bool) -> None:
        if address not in self.addresses or got == ((router, address) in self.holders):
            return  # not ours, or a change of something else of the address
        (self.holders.add if got else self.holders.discard)((router, address))
        self.held.append((at, router, address, got))


def local_address(attributes: bytes) -> str:
    while len(attributes) >= 4:
        length, kind = struct.unpack_from("=HH", attributes)
        if kind == IFA_LOCAL:
            return socket.inet_ntoa(attributes[4:8])
        attributes = attributes[(length + 3) & ~3 :]
    return ""


def main() -> None:
    scheduling = be_first()
    watcher = Watcher(json.loads(sys.argv[1]))
    gc.freeze()
    gc.disable()
    watcher.run()
    ended = time.monotonic()
    watcher.read_wire()
    told = {
        "scheduling": scheduling,
        "probes": [probe for probe in watcher.probes if probe[2] or probe[1] < ended - LATE],
        "held": watcher.held,
        "adverts": watcher.adverts,
        "garps": watcher.garps,
    }
    print(json.dumps(told), flush=True)


if __name__ == "__main__":
    main()
