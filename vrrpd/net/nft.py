"""nftables in the few nfnetlink messages that a set of addresses needs, packed with struct (linux/netfilter/*.h).

`Requests` writes: a batch is one transaction, all of it or nothing, and packets meet the rules before or after it,
never between. `Monitor` reads who changed which table. No `nft`: a failover cannot wait for a program to start; tests
use it as the oracle. All tables here are of the family inet, which IPv4 and IPv6 pass both.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import struct
from collections.abc import Iterable, Iterator, Sequence

from vrrpd.net.netlink import (
    HEADER,
    NLM_F_ACK,
    NLM_F_CREATE,
    NLM_F_DUMP,
    NLM_F_REQUEST,
    NLMSG_DONE,
    NLMSG_ERROR,
    announced,
    attribute,
    attributes,
    messages,
)

Message = tuple[int, int, bytes]  # type, flags, attributes

NAME_MAX = 255  # linux/netfilter/nf_tables.h NFT_NAME_MAXLEN, without the zero
HOOK_IN, HOOK_OUT = 1, 3  # linux/netfilter.h NF_INET_LOCAL_*

# nft names the types of a key by numbers of its own (src/datatype.c), 6 bits each; the kernel only keeps them.
IPV4_ADDR, IPV6_ADDR, IFINDEX, IFNAME = 7, 8, 20, 41

_NETFILTER, _GROUP_NFTABLES = 12, 7
_SUBSYSTEM, _BATCH_BEGIN, _BATCH_END = 10, 16, 17
_INET = 1  # NFPROTO_INET
_NEWTABLE, _DELTABLE, _NEWCHAIN, _GETCHAIN = 0, 2, 3, 4
_NEWRULE, _NEWSET, _NEWSETELEM, _DELSETELEM = 6, 9, 12, 14
_GEN = struct.Struct("=BBH")  # nfgenmsg: family, version, resource (big endian)
_BE32, _BEI32 = struct.Struct(">I"), struct.Struct(">i")
_ERROR = struct.Struct("=i")
_NESTED = 0x8000
_APPEND = 0x800
_SO_SNDBUFFORCE, _SO_RCVBUFFORCE = 32, 33
_SOL_NETLINK, _NETLINK_CAP_ACK = 270, 10
_SEND_BUFFER, _EVENT_BUFFER = 8 << 20, 1 << 20
_HOST_ORDER = struct.pack("=BBI", 0, 4, 1)  # for nft, which would print the name backwards
_ELEMENTS = 1000  # in one message: the length of a list is a number of 16 bits

_DROP, _ACCEPT = 0, 1
_REGISTERS = (1, 2)  # of 16 bytes each


def _text(value: str) -> bytes:
    return value.encode() + b"\0"


def _u32(kind: int, value: int) -> bytes:
    return attribute(kind, _BE32.pack(value))


def _nested(kind: int, *parts: bytes) -> bytes:
    return attribute(kind | _NESTED, b"".join(parts))


# ---- what a table is made of ---------------------------------------------------------------------------------


def table(name: str) -> Message:
    """Present already is success."""
    return _NEWTABLE, NLM_F_CREATE, attribute(1, _text(name))


def no_table(name: str) -> Message:
    """With everything in it; ENOENT where there is none."""
    return _DELTABLE, 0, attribute(1, _text(name))


def chain(table: str, name: str, hook: int, priority: int) -> Message:
    """A base chain that accepts what no rule drops."""
    where = _nested(4, _u32(1, hook), attribute(2, _BEI32.pack(priority)))
    return (
        _NEWCHAIN,
        NLM_F_CREATE,
        attribute(1, _text(table)) + attribute(3, _text(name)) + where + _u32(5, _ACCEPT) + attribute(7, b"filter\0"),
    )


def key_set(table: str, name: str, types: Sequence[int], length: int, number: int) -> Message:
    """Keys of these types, `length` bytes together; `number`: another one for each set of a batch."""
    kind = 0
    for each in types:
        kind = kind << 6 | each
    names = attribute(1, _text(table)) + attribute(2, _text(name))
    data = names + _u32(3, 0) + _u32(4, kind) + _u32(5, length) + _u32(10, number)
    return _NEWSET, NLM_F_CREATE, data + (attribute(13, _HOST_ORDER) if types == (IFNAME,) else b"")


def elements(table: str, name: str, keys: Sequence[bytes]) -> Iterator[Message]:
    """Add these; present already is success."""
    yield from _elements(_NEWSETELEM, NLM_F_CREATE, table, name, keys)


def no_elements(table: str, name: str, keys: Sequence[bytes]) -> Iterator[Message]:
    """Remove these; ENOENT where one is missing, and then none is removed."""
    yield from _elements(_DELSETELEM, 0, table, name, keys)


def _elements(kind: int, flags: int, table: str, name: str, keys: Sequence[bytes]) -> Iterator[Message]:
    names = attribute(1, _text(table)) + attribute(2, _text(name))
    for start in range(0, len(keys), _ELEMENTS):
        some = (_nested(1, _nested(1, attribute(1, key))) for key in keys[start : start + _ELEMENTS])
        yield kind, flags, names + _nested(3, *some)


def rule(table: str, chain: str, *expressions: bytes) -> Message:
    """Behind those that are there."""
    names = attribute(1, _text(table)) + attribute(2, _text(chain))
    return _NEWRULE, NLM_F_CREATE | _APPEND, names + _nested(4, *expressions)


# ---- expressions of a rule: load into a register (0 or 1), compare, look up, judge ----------------------------


def _expression(name: str, *parts: bytes) -> bytes:
    return _nested(1, attribute(1, _text(name)), _nested(2, *parts))


def meta(key: int, register: int = 0) -> bytes:
    """linux/netfilter/nf_tables.h NFT_META_*."""
    return _expression("meta", _u32(2, key), _u32(1, _REGISTERS[register]))


def payload(base: int, offset: int, length: int, register: int = 0) -> bytes:
    """`base`: 1 network header, 2 transport header."""
    return _expression("payload", _u32(1, _REGISTERS[register]), _u32(2, base), _u32(3, offset), _u32(4, length))


def equals(data: bytes) -> bytes:
    return _expression("cmp", _u32(1, _REGISTERS[0]), _u32(2, 0), _nested(3, attribute(1, data)))


def found_in(name: str) -> bytes:
    return _expression("lookup", attribute(1, _text(name)), _u32(2, _REGISTERS[0]))


def counter() -> bytes:
    return _expression("counter")


def _verdict(code: int) -> bytes:
    return _expression("immediate", _u32(1, 0), _nested(2, _nested(2, _u32(1, code))))


DROP, ACCEPT = _verdict(_DROP), _verdict(_ACCEPT)
# What is loaded of a packet. Each protocol is asked for first, as nft does: what lies behind is another's otherwise.
IPV4, IPV6 = meta(15) + equals(b"\x02"), meta(15) + equals(b"\x0a")
IGMP = IPV4 + payload(1, 9, 1) + equals(b"\x02")
ICMPV6 = meta(16) + equals(b"\x3a")
SOURCE4, DESTINATION4 = payload(1, 12, 4), payload(1, 16, 4)
SOURCE6, DESTINATION6 = payload(1, 8, 16), payload(1, 24, 16)
IIF, OIF, OIFNAME = meta(4, 1), meta(5, 1), meta(7)


def icmpv6(kind: int) -> bytes:
    return ICMPV6 + payload(2, 0, 1) + equals(bytes([kind]))


def ifindex(number: int) -> bytes:
    """As a part of a key."""
    return struct.pack("=I", number)


def ifname(name: str) -> bytes:
    return name.encode().ljust(16, b"\0")


# ---- the sockets ---------------------------------------------------------------------------------------------


def _socket(groups: int = 0) -> socket.socket:
    sock = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, _NETFILTER)
    sock.bind((0, groups))
    sock.setblocking(False)
    return sock


class Requests:
    """Changes tables. nfnetlink works synchronously: when the write returns, the answers are there."""

    def __init__(self) -> None:
        self._sock = _socket()
        self._sock.setsockopt(_SOL_NETLINK, _NETLINK_CAP_ACK, 1)
        with contextlib.suppress(OSError):
            self._sock.setsockopt(socket.SOL_SOCKET, _SO_SNDBUFFORCE, _SEND_BUFFER)
        self.port: int = self._sock.getsockname()[0]
        self._sequence = 0

    def commit(self, batch: Iterable[Message]) -> int:
        """Carry all of it out, or nothing: 0, or the errno of the first that failed.

        It waits for whoever changes rules at this moment, and for the kernel to be done.
        """
        todo = list(batch)
        first = self._sequence + 1
        last = first + len(todo)
        self._sequence = last + 1
        edge = _GEN.pack(0, 0, socket.htons(_SUBSYSTEM))
        body = _GEN.pack(_INET, 0, 0)
        parts = [HEADER.pack(16 + len(edge), _BATCH_BEGIN, NLM_F_REQUEST, first, 0) + edge]
        for sequence, (kind, flags, data) in enumerate(todo, first + 1):
            flags |= NLM_F_REQUEST | (NLM_F_ACK if sequence == last else 0)
            head = HEADER.pack(16 + len(body) + len(data), _SUBSYSTEM << 8 | kind, flags, sequence, 0)
            parts += (head, body, data)
        parts.append(HEADER.pack(16 + len(edge), _BATCH_END, NLM_F_REQUEST, last + 1, 0) + edge)
        result = done = 0
        try:
            self._sock.send(b"".join(parts))
            while True:
                for kind, _, sequence, _, answer in messages(memoryview(self._sock.recv(65536))):
                    if kind == NLMSG_ERROR and first <= sequence <= last + 1:
                        result = result or -_ERROR.unpack_from(answer)[0]
                        done += 1
        except BlockingIOError:
            return result if done else errno.EIO
        except OSError as error:
            return result or error.errno or errno.EIO

    def close(self) -> None:
        self._sock.close()


def delete(name: str, chains: frozenset[str]) -> int:
    """Remove a table, if it is one with these chains (see `whose`); an errno, 0 is success or nothing there."""
    if whose(name, chains) is not True:
        return 0
    requests = Requests()
    try:
        code = requests.commit([no_table(name)])
    finally:
        requests.close()
    return 0 if code == errno.ENOENT else code


def whose(name: str, chains: frozenset[str]) -> bool | None:
    """None: there is no table of this name; true: no chain in it but these; false: it is somebody else's."""
    found = {own for table, own in _chains() if table == name}
    return found <= chains if found else None


def _chains() -> Iterator[tuple[str, str]]:
    """(table, chain) of all there are; OSError where the kernel has no nftables."""
    sock = _socket()
    sock.settimeout(1.0)
    try:
        head = HEADER.pack(20, _SUBSYSTEM << 8 | _GETCHAIN, NLM_F_REQUEST | NLM_F_DUMP, 1, 0)
        sock.send(head + _GEN.pack(_INET, 0, 0))
        while True:
            for kind, _, _, _, body in messages(memoryview(sock.recv(1 << 17))):
                if kind == NLMSG_DONE:
                    return
                if kind == NLMSG_ERROR:
                    code = -_ERROR.unpack_from(body)[0]
                    raise OSError(code, os.strerror(code))
                found = {number: bytes(data) for number, data in attributes(body[4:])}
                table, chain = (found.get(number, b"").rstrip(b"\0") for number in (1, 3))
                yield table.decode(errors="replace"), chain.decode(errors="replace")
    finally:
        sock.close()


class Monitor:
    """Hears of changes to tables, whoever makes them."""

    def __init__(self) -> None:
        self._sock = _socket(1 << (_GROUP_NFTABLES - 1))
        with contextlib.suppress(OSError):
            self._sock.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _EVENT_BUFFER)

    def fileno(self) -> int:
        return self._sock.fileno()

    def changes(self, limit: int = 64) -> Iterator[tuple[int, memoryview]]:
        """(port of who did it, name of the table) so far, at most `limit` datagrams. Raises Overrun after ENOBUFS."""
        for kind, port, body in announced(self._sock, limit):
            if kind >> 8 == _SUBSYSTEM and len(body) > 4 and body[0] == _INET:
                for number, value in attributes(body[4:]):
                    if number == 1:  # of every object the first attribute is its table
                        yield port, value
                    break

    def close(self) -> None:
        self._sock.close()
