"""Raw IP sockets of protocol 112: one receiver and one sender per (interface, family), and Ethernet frames.

A second receiver, of protocol 51, hears the adverts that are behind AH (RFC 2402).

A receiver is bound to its device, joined to the groups in use and filtered in the kernel down to the virtual
router ids it is told; whatever else is wrong with a packet is the caller's to judge and count. A sender has
multicast loopback off, so that no advert of ours comes back, and receives nothing. IPv4 datagrams are sent with
their header (IP_HDRINCL); for IPv6 the kernel fills in hop limit, source and checksum. Knows no VRRP beyond the
protocol number and the place of the id in the message.

Where the interface is ANYWHERE neither is bound to one: what the kernel routes by is destination and source.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import functools
import os
import socket
import struct
from collections.abc import Collection, Iterable, Iterator
from typing import NamedTuple

from vrrpd.net.links import ANYWHERE
from vrrpd.net.mmsg import Inbox
from vrrpd.net.netlink import receive_buffer

AF_INET, AF_INET6 = 2, 10
PROTOCOL = 112  # RFC 9568 5.1.1.4
AH, AH_LENGTH = 51, 24
TRAFFIC_CLASS = 0xC0  # internetwork control, as keepalived and FRR send it
HOP_LIMIT = 255

_SO_PRIORITY, _SO_ATTACH_FILTER = 12, 26
_SO_MEMINFO, _SO_BINDTOIFINDEX = 55, 62
_IP_MULTICAST_ALL, _IPV6_MULTICAST_ALL = 49, 29
_IP_PKTINFO = 8
_IPV6_CHECKSUM, _IPV6_TCLASS, _IPV6_RECVHOPLIMIT, _IPV6_HOPLIMIT = 7, 67, 51, 52
_IPV6_RECVPKTINFO, _IPV6_PKTINFO = 49, 50
_SK_MEMINFO_DROPS = 8
_CONTROL_PRIORITY = 7  # TC_PRIO_CONTROL: the band that bulk traffic does not delay

_CHECKSUM_OFFSET = 6
RECEIVE_BUFFER = 1 << 20
# Longer than any advert: 255 addresses and the longest header. What is cut has no length that an advert can have.
_MAX_DATAGRAM = {AF_INET: 1152, AF_INET6: 4128}
_SOCKADDR6 = 32  # sockaddr_in6, and what aligns the control data behind it
_CONTROL6 = socket.CMSG_SPACE(20) + socket.CMSG_SPACE(4)  # in6_pktinfo, hop limit
_CMSG = struct.Struct("@Nii")
_INT = struct.Struct("=i")
_PKTINFO4, _PKTINFO6 = struct.Struct("=i4s4x"), struct.Struct("=16sI")
_MREQN = struct.Struct("=4s4si")
_MREQ6 = struct.Struct("=16sI")

Instruction = tuple[int, int, int, int]
_ACCEPT: Instruction = (0x06, 0, 0, 0xFFFFFFFF)
_DROP: Instruction = (0x06, 0, 0, 0)


class Datagram(NamedTuple):
    source: bytes
    destination: bytes
    ttl: int  # -1: unknown
    data: bytes  # without the IP header


def id_filter(family: int, ids: Collection[int], before: int = 0) -> list[Instruction]:
    """Classic BPF that drops what is for other virtual routers and accepts everything else, broken or not.

    `before`: bytes between the IP header and the message.

    A bitmap of 256 bits: word number id / 32 by a short chain of compares, then the bit. On AF_INET raw sockets
    offset 0 is the IP header, on AF_INET6 it is the message.
    """
    words: dict[int, int] = {}
    for number in ids:
        words[number >> 5] = words.get(number >> 5, 0) | 1 << (number & 31)
    program: list[Instruction] = [
        (0xB1, 0, 0, 0) if family == AF_INET else (0x01, 0, 0, 0),  # ldx 4*([0]&0xf)  |  ldx #0
        (0x80, 0, 0, 0),  # ld len
        (0x1C, 0, 0, 0),  # sub x
        (0x35, 1, 0, before + 2),  # jge: the id is there
        _ACCEPT,  # truncated: the caller counts it
        (0x50, 0, 0, before + 1),  # ldb [x + before + 1]
        (0x02, 0, 0, 0),  # st M[0]
        (0x74, 0, 0, 5),  # rsh #5
    ]
    for index, (word, bits) in enumerate(sorted(words.items())):
        left = (len(words) - index - 1) * 3
        program += [
            (0x15, 0, 2, word),  # jeq #word
            (0x00, 0, 0, bits),  # ld #bits
            (0x05, 0, 0, left + 1),  # ja: past the rest and the drop
        ]
    program += [
        _DROP,
        (0x07, 0, 0, 0),  # tax: X = bits
        (0x60, 0, 0, 0),  # ld M[0]
        (0x54, 0, 0, 31),  # and #31
        (0x02, 0, 0, 1),  # st M[1]
        (0x87, 0, 0, 0),  # txa
        (0x61, 0, 0, 1),  # ldx M[1]
        (0x7C, 0, 0, 0),  # rsh x
        (0x54, 0, 0, 1),  # and #1
        (0x15, 0, 1, 1),  # jeq #1
        _ACCEPT,
        _DROP,
    ]
    return program


def attach_filter(sock: socket.socket, program: Iterable[Instruction]) -> None:
    code = b"".join(struct.pack("=HBBI", *instruction) for instruction in program)
    buffer = ctypes.create_string_buffer(code, len(code))
    sock.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, struct.pack("HL", len(code) // 8, ctypes.addressof(buffer)))


def _raw(family: int, ifindex: int, protocol: int = PROTOCOL) -> socket.socket:
    """A raw socket on one interface that has received nothing yet."""
    if ifindex <= 0:  # to the kernel it would mean every interface
        raise OSError(errno.ENODEV, os.strerror(errno.ENODEV))
    sock = socket.socket(family, socket.SOCK_RAW | socket.SOCK_CLOEXEC, protocol)
    try:
        sock.setblocking(False)
        attach_filter(sock, [_DROP])  # it hears every interface until it is bound
        if ifindex == ANYWHERE:
            return sock
        try:
            sock.setsockopt(socket.SOL_SOCKET, _SO_BINDTOIFINDEX, ifindex)
        except OSError as error:
            if error.errno != errno.ENOPROTOOPT:  # Linux before 5.0
                raise
            name = socket.if_indextoname(ifindex).encode() + b"\0"
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, name)
        with contextlib.suppress(BlockingIOError):
            while True:
                sock.recv(1)
    except BaseException:
        sock.close()
        raise
    return sock


@functools.cache
def _inbox(family: int) -> Inbox:
    """Scratch memory, one for all receivers: what is read is copied out before anybody reads again."""
    if family == AF_INET:
        return Inbox(_MAX_DATAGRAM[family])
    return Inbox(_MAX_DATAGRAM[family], _SOCKADDR6, _CONTROL6)


class Receiver:
    """What it reads are packets: everything that tells one datagram from another in one bytes object, which is the
    same for the same advert again. `split` has its parts.

    Over IPv4 that is the IP header from the TTL on, with the version and length of the header in the place of its
    checksum (it covers the id, which is another one each time), and the message. Over IPv6 the source
    address, the control data and the message. Of protocol 51 it is the whole datagram, all of which counts.

    `sock`, `groups` and `ids`: one that another process has opened, and what it listens to.
    """

    def __init__(
        self,
        ifindex: int,
        family: int,
        sock: socket.socket | None = None,
        groups: Iterable[bytes] = (),
        ids: Iterable[int] = (),
        protocol: int = PROTOCOL,
    ) -> None:
        self.ifindex, self.family, self.protocol = ifindex, family, protocol
        self._sock = sock or _raw(family, ifindex, protocol)
        self._groups = set(groups)
        self._ids = frozenset(ids)
        self._buffer = 0
        self.buffer(RECEIVE_BUFFER)
        if family == AF_INET:
            self._sock.setsockopt(socket.IPPROTO_IP, _IP_MULTICAST_ALL, 0)
        else:
            self._sock.setsockopt(socket.IPPROTO_IPV6, _IPV6_RECVHOPLIMIT, 1)
            self._sock.setsockopt(socket.IPPROTO_IPV6, _IPV6_RECVPKTINFO, 1)
            with contextlib.suppress(OSError):  # since Linux 4.20; bound to the device it matters little
                self._sock.setsockopt(socket.IPPROTO_IPV6, _IPV6_MULTICAST_ALL, 0)

    @property
    def key(self) -> tuple[int, int, int]:
        """Interface index, family, protocol."""
        return self.ifindex, self.family, self.protocol

    def fileno(self) -> int:
        return self._sock.fileno()

    def buffer(self, size: int) -> None:
        """What the kernel keeps of datagrams that nobody has read yet, in bytes; it never becomes smaller."""
        if size > self._buffer:
            receive_buffer(self._sock, size)
            self._buffer = size

    @property
    def size(self) -> int:
        """Of that buffer, as it was asked for."""
        return self._buffer

    def listening(self) -> tuple[list[str], list[int]]:
        """Its groups as hexadecimal text and its ids, for who goes on with it."""
        return [group.hex() for group in self._groups], sorted(self._ids)

    def listen(self, groups: Iterable[bytes], ids: Iterable[int]) -> None:
        """Be in exactly these multicast groups and hear exactly these virtual router ids."""
        wanted = set(groups)
        for group in wanted - self._groups:
            self._membership(group, join=True)
        for group in self._groups - wanted:
            with contextlib.suppress(OSError):
                self._membership(group, join=False)
        self._groups = wanted
        if (new := frozenset(ids)) != self._ids:
            attach_filter(self._sock, id_filter(self.family, new, AH_LENGTH if self.protocol == AH else 0))
            self._ids = new

    def _membership(self, group: bytes, join: bool) -> None:
        if self.family == AF_INET:
            option = socket.IP_ADD_MEMBERSHIP if join else socket.IP_DROP_MEMBERSHIP
            self._sock.setsockopt(socket.IPPROTO_IP, option, _MREQN.pack(group, bytes(4), self.ifindex))
        else:
            option = socket.IPV6_JOIN_GROUP if join else socket.IPV6_LEAVE_GROUP
            self._sock.setsockopt(socket.IPPROTO_IPV6, option, _MREQ6.pack(group, self.ifindex))

    def read(self, limit: int) -> Iterator[bytes]:
        """Up to `limit` packets. A network that went down is no error: link events tell of it."""
        inbox, fd = _inbox(self.family), self._sock.fileno()
        buffer, view, stride = inbox.buffer, inbox.view, inbox.stride
        for _ in range(0, limit, inbox.SLOTS):
            try:
                lengths = inbox.fill(fd)
            except OSError:
                continue
            start = 0
            for length in lengths:
                if self.protocol == AH:
                    yield bytes(view[start : start + length])
                elif self.family == AF_INET:
                    buffer[start + 10], buffer[start + 11] = buffer[start], 0
                    yield bytes(view[start + 8 : start + length])
                else:
                    yield bytes(view[start + 8 : start + inbox.data + length])
                start += stride
            if len(lengths) < inbox.SLOTS:
                return

    def split(self, packet: bytes) -> Datagram:
        """The parts of what `read` has read."""
        if self.family == AF_INET:  # the kernel has checked the header, and cut off Ethernet padding
            return Datagram(packet[4:8], packet[8:12], packet[0], packet[(packet[2] & 15) * 4 - 8 :])
        ttl, destination, at = -1, b"", _SOCKADDR6 - 8
        while at + _CMSG.size <= _SOCKADDR6 - 8 + _CONTROL6:
            length, level, kind = _CMSG.unpack_from(packet, at)
            value = packet[at + socket.CMSG_LEN(0) : at + length]
            if level == socket.IPPROTO_IPV6 and kind == _IPV6_HOPLIMIT:
                ttl = _INT.unpack(value)[0]
            elif level == socket.IPPROTO_IPV6 and kind == _IPV6_PKTINFO:
                destination = value[:16]
            at += socket.CMSG_SPACE(max(length - socket.CMSG_LEN(0), 0))
        return Datagram(packet[:16], destination, ttl, packet[_SOCKADDR6 - 8 + _CONTROL6 :])

    def dropped(self) -> int:
        """Datagrams that the kernel could not queue (what SO_RXQ_OVFL would tell with each packet)."""
        try:
            data = self._sock.getsockopt(socket.SOL_SOCKET, _SO_MEMINFO, 64)
        except OSError:
            return 0
        return int(struct.unpack_from("=I", data, _SK_MEMINFO_DROPS * 4)[0]) if len(data) >= 36 else 0

    def close(self) -> None:
        self._sock.close()


class Sender:
    def __init__(self, ifindex: int, family: int) -> None:
        self.ifindex, self.family = ifindex, family
        self._sock = _raw(family, ifindex)  # its filter drops everything, for good
        self.errors = 0
        self.last_error = 0
        self._sock.setsockopt(socket.SOL_SOCKET, _SO_PRIORITY, _CONTROL_PRIORITY)
        if family == AF_INET:
            self._sock.setsockopt(socket.IPPROTO_IP, socket.IP_HDRINCL, 1)
            self._sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_LOOP, 0)
            if ifindex != ANYWHERE:
                where = _MREQN.pack(bytes(4), bytes(4), ifindex)
                self._sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, where)
        else:
            for option, value in (
                (socket.IPV6_MULTICAST_LOOP, 0),
                (socket.IPV6_MULTICAST_IF, 0 if ifindex == ANYWHERE else ifindex),
                (socket.IPV6_MULTICAST_HOPS, HOP_LIMIT),
                (socket.IPV6_UNICAST_HOPS, HOP_LIMIT),
                (_IPV6_TCLASS, TRAFFIC_CLASS),
                (_IPV6_CHECKSUM, _CHECKSUM_OFFSET),
            ):
                self._sock.setsockopt(socket.IPPROTO_IPV6, option, value)
        self._where: dict[bytes, tuple[str, int] | tuple[str, int, int, int]] = {}

    def fileno(self) -> int:
        return self._sock.fileno()

    def send(self, destination: bytes, datagram: bytes, source: bytes = b"", ttl: int = HOP_LIMIT) -> bool:
        """Send now or not at all. For IPv6 `source` and `ttl` go beside the datagram; IPv4 carries them inside."""
        where = self._where.get(destination)
        if where is None:
            text = socket.inet_ntop(self.family, destination)
            where = (text, 0) if self.family == AF_INET else (text, 0, 0, self._scope(destination))
            self._where[destination] = where
        try:
            if not source or (self.family == AF_INET and self.ifindex != ANYWHERE):
                self._sock.sendto(datagram, where)
            elif self.family == AF_INET:  # the header has it too, but that is not what the route is looked up with
                ancillary = [(socket.IPPROTO_IP, _IP_PKTINFO, _PKTINFO4.pack(0, source))]
                self._sock.sendmsg([datagram], ancillary, 0, where)
            else:
                leaves = 0 if self.ifindex == ANYWHERE else self.ifindex
                ancillary = [(socket.IPPROTO_IPV6, _IPV6_PKTINFO, _PKTINFO6.pack(source, leaves))]
                if ttl != HOP_LIMIT:
                    ancillary.append((socket.IPPROTO_IPV6, _IPV6_HOPLIMIT, _INT.pack(ttl)))
                self._sock.sendmsg([datagram], ancillary, 0, where)
        except OSError as error:  # the link may have gone this moment; its event says what to do about it
            self.errors += 1
            self.last_error = error.errno or 0
            return False
        return True

    def _scope(self, destination: bytes) -> int:
        local = destination[0] == 0xFF or (destination[0] == 0xFE and destination[1] & 0xC0 == 0x80)
        return self.ifindex if local else 0

    def close(self) -> None:
        self._sock.close()


class Frames:
    """Whole Ethernet frames, out of any interface.

    One socket for all of them, although the kernel looks the interface up for each frame (1 us): to close a packet
    socket takes it 16 ms, and a process that had one on each of 16 interfaces took a quarter of a second to end.
    """

    def __init__(self) -> None:
        self._sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_CLOEXEC, 0)  # 0: receives nothing
        self.errors = 0
        self._sock.setblocking(False)
        self._sock.setsockopt(socket.SOL_SOCKET, _SO_PRIORITY, _CONTROL_PRIORITY)  # adverts are among them

    def send(self, interface: str, frame: bytes) -> bool:
        try:
            self._sock.sendto(frame, (interface, 0))
        except OSError:
            self.errors += 1
            return False
        return True

    def close(self) -> None:
        self._sock.close()
