"""rtnetlink in the few messages that a failover needs, packed with struct (rtnetlink(7), netlink(7)).

`Requests` writes: a batch of messages in one system call, the errors given back by position.
`Monitor` reads: the kernel's notifications, or a whole dump. No pyroute2: its import alone costs 24 MB and
0.3 s, one address through it 0.5 ms against 0.01 ms here; tests use it as the oracle.
"""

from __future__ import annotations

import errno
import socket
import struct
from collections.abc import Iterator, Sequence
from typing import NamedTuple

RTM_NEWLINK, RTM_DELLINK, RTM_GETLINK = 16, 17, 18
RTM_NEWADDR, RTM_DELADDR, RTM_GETADDR = 20, 21, 22
NLMSG_ERROR, NLMSG_DONE = 2, 3
NLM_F_REQUEST, NLM_F_ACK, NLM_F_DUMP_INTR, NLM_F_DUMP = 0x1, 0x4, 0x10, 0x300
NLM_F_REPLACE, NLM_F_EXCL, NLM_F_CREATE = 0x100, 0x200, 0x400
RTMGRP_LINK, RTMGRP_IPV4_IFADDR, RTMGRP_IPV6_IFADDR = 0x1, 0x10, 0x100

_SOL_NETLINK, _NETLINK_CAP_ACK = 270, 10
_SO_RCVBUFFORCE = 33
_LARGEST_BUFFER = 1 << 30  # the kernel doubles it
EVENT_BUFFER = 4 << 20  # 255 addresses at once are some 200 kB of notifications; an overrun costs a dump

BATCH = 64  # messages per write: should all of them fail, the errors fit into the default receive buffer

HEADER = struct.Struct("=IHHII")  # length, type, flags, sequence, port id
ATTRIBUTE = struct.Struct("=HH")
_ERROR = struct.Struct("=i")


class Event(NamedTuple):
    type: int
    port: int  # who asked the kernel for the change; 0: the kernel itself
    body: memoryview  # after the header


def attribute(kind: int, data: bytes) -> bytes:
    length = ATTRIBUTE.size + len(data)
    return ATTRIBUTE.pack(length, kind) + data + bytes(-length % 4)


def attributes(data: memoryview) -> Iterator[tuple[int, memoryview]]:
    """The attributes of a message body behind its fixed part; stops at anything malformed."""
    offset, end = 0, len(data)
    while offset + 4 <= end:
        length, kind = ATTRIBUTE.unpack_from(data, offset)
        if length < 4 or offset + length > end:
            return
        yield kind & 0x3FFF, data[offset + 4 : offset + length]
        offset += (length + 3) & ~3


def messages(data: memoryview) -> Iterator[tuple[int, int, int, int, memoryview]]:
    """(type, flags, sequence, port id, body) of each message of a datagram."""
    offset, end = 0, len(data)
    while offset + 16 <= end:
        length, kind, flags, sequence, port = HEADER.unpack_from(data, offset)
        if length < 16 or offset + length > end:
            return
        yield kind, flags, sequence, port, data[offset + 16 : offset + length]
        offset += (length + 3) & ~3


def _route_socket(groups: int = 0) -> socket.socket:
    sock = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE)
    sock.bind((0, groups))
    return sock


def receive_buffer(sock: socket.socket, size: int) -> None:
    """Beyond net.core.rmem_max where that is permitted, else up to it."""
    size = min(size, _LARGEST_BUFFER)
    try:
        sock.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, size)
    except OSError:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, size)


class Requests:
    """The socket that changes things. rtnetlink works synchronously: when the write returns, the answers are there."""

    def __init__(self) -> None:
        self._sock = _route_socket()
        self._sock.setsockopt(_SOL_NETLINK, _NETLINK_CAP_ACK, 1)  # acknowledge with the header only
        self._sock.settimeout(1.0)  # never reached: see above
        self.port: int = self._sock.getsockname()[0]
        self._sequence = 0

    def buffer(self, size: int) -> None:
        receive_buffer(self._sock, size)

    def run(self, requests: Sequence[tuple[int, int, bytes]]) -> list[int]:
        """Carry out (type, flags, body) requests in order; an errno for each, 0 is success."""
        results: list[int] = []
        for start in range(0, len(requests), BATCH):
            results += self._batch(requests[start : start + BATCH])
        return results

    def _batch(self, requests: Sequence[tuple[int, int, bytes]]) -> list[int]:
        """Only the last one is acknowledged: the kernel carries them out in order, and tells of what fails unasked
        (netlink(7)). An acknowledgement for each cost as much as the addresses themselves.
        """
        first = self._sequence + 1
        last = self._sequence = self._sequence + len(requests)
        data = b"".join(
            HEADER.pack(16 + len(body), kind, flags | NLM_F_REQUEST, first + i, 0) + body
            for i, (kind, flags, body) in enumerate(requests[:-1])
        )
        kind, flags, body = requests[-1]
        data += HEADER.pack(16 + len(body), kind, flags | NLM_F_REQUEST | NLM_F_ACK, last, 0) + body
        results = [0] * len(requests)
        try:
            self._sock.send(data)
            while True:
                for kind, _, sequence, _, answer in messages(memoryview(self._sock.recv(65536))):
                    # Answers to a batch that was given up are older than `first`.
                    if kind == NLMSG_ERROR and 0 <= sequence - first < len(requests):
                        results[sequence - first] = -_ERROR.unpack_from(answer)[0]
                        if sequence == last:
                            return results
        except OSError as error:  # ENOBUFS: answers lost, the outcome of what did not fail is unknown
            code = errno.ETIMEDOUT if isinstance(error, socket.timeout) else error.errno or errno.EIO
            return [result or code for result in results]

    def close(self) -> None:
        self._sock.close()


class Overrun(Exception):
    """Notifications were lost: what we believe about the kernel must be read anew."""


def announced(sock: socket.socket, limit: int) -> Iterator[Event]:
    """What waits in a socket that listens to groups, at most `limit` datagrams. Raises Overrun after ENOBUFS."""
    for _ in range(limit):
        try:
            data = sock.recv(65536)
        except BlockingIOError:
            return
        except OSError as error:
            if error.errno == errno.ENOBUFS:
                raise Overrun from None
            raise
        for kind, _, _, port, body in messages(memoryview(data)):
            yield Event(kind, port, body)


class Monitor:
    """The socket that hears of changes to links and addresses (or of other `groups`), whoever makes them."""

    def __init__(self, groups: int = RTMGRP_LINK | RTMGRP_IPV4_IFADDR | RTMGRP_IPV6_IFADDR) -> None:
        self._sock = _route_socket(groups)
        self.buffer(EVENT_BUFFER)
        self._sock.setblocking(False)

    def buffer(self, size: int) -> None:
        receive_buffer(self._sock, max(size, EVENT_BUFFER))

    def fileno(self) -> int:
        return self._sock.fileno()

    def events(self, limit: int = 256) -> Iterator[Event]:
        """What has been announced so far, at most `limit` datagrams. Raises Overrun after ENOBUFS."""
        return announced(self._sock, limit)

    def discard(self) -> None:
        """Forget what waits: to be followed by a dump, which is newer than all of it."""
        while self._skip():
            pass

    def _skip(self) -> bool:
        try:
            self._sock.recv(1)
        except BlockingIOError:
            return False
        except OSError as error:
            if error.errno != errno.ENOBUFS:
                raise
        return True

    def close(self) -> None:
        self._sock.close()


def dump(kind: int, family: int = 0) -> list[Event]:
    """Everything the kernel has of RTM_GETLINK or RTM_GETADDR, on a socket of its own."""
    sock = _route_socket()
    try:
        for attempt in range(5):
            found, complete = _dump(sock, kind, family, attempt + 1)
            if complete:  # NLM_F_DUMP_INTR: the table changed under the dump, some entries may be missing
                break
        return found
    finally:
        sock.close()


def _dump(sock: socket.socket, kind: int, family: int, sequence: int) -> tuple[list[Event], bool]:
    body = struct.pack("=Bxxxiii", family, 0, 0, 0) if kind == RTM_GETLINK else struct.pack("=Bxxxi", family, 0)
    sock.send(HEADER.pack(16 + len(body), kind, NLM_F_REQUEST | NLM_F_DUMP, sequence, 0) + body)
    found: list[Event] = []
    complete = True
    while True:
        for answer, flags, seq, port, data in messages(memoryview(sock.recv(1 << 17))):
            if seq != sequence:
                continue
            complete = complete and not flags & NLM_F_DUMP_INTR
            if answer == NLMSG_DONE:
                return found, complete
            if answer == NLMSG_ERROR:
                raise OSError(-_ERROR.unpack_from(data)[0], "netlink dump")
            found.append(Event(answer, port, data))
