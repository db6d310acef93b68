"""The kernel's proc connector (linux/cn_proc.h): which processes begin, become another program, and end.

Only root in the initial namespaces of users, processes and network is told anything; elsewhere the kernel refuses, or
simply says nothing.

    nlmsghdr 16 | cn_msg 20: index, value, seq, ack, length, flags | what 4, cpu 4, time 8 | numbers of processes 4 each
"""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Iterator
from typing import NamedTuple

_NETLINK_CONNECTOR, _CN_IDX_PROC, _LISTEN = 11, 1, 1
_SO_RCVBUFFORCE = 33
_BUFFER = 1 << 20  # some thousands of events
_MOST = 4096  # messages in one call
_AT_EVENT, _AT_PIDS = 36, 52
_WHAT, _PIDS = struct.Struct("=I"), struct.Struct("=4I")

ACK, FORK, EXEC, COMM, EXIT = 0, 0x1, 0x2, 0x200, 0x80000000


class ProcessEvent(NamedTuple):
    """`pid` of a whole process, not of a thread; `parent` of a fork. ACK: the kernel has agreed."""

    what: int
    pid: int = 0
    parent: int = 0


class Overrun(Exception):
    """Events were lost: look at /proc again."""


class ProcessEvents:
    """Raises OSError where the kernel refuses."""

    def __init__(self) -> None:
        self._sock = socket.socket(socket.AF_NETLINK, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK, _NETLINK_CONNECTOR)
        try:
            self.buffer(0)
            self._sock.bind((0, _CN_IDX_PROC))
            message = struct.pack("=IIIIHH", _CN_IDX_PROC, 1, 0, 0, 4, 0) + _WHAT.pack(_LISTEN)
            self._sock.send(struct.pack("=IHHII", 16 + len(message), 3, 0, 0, os.getpid()) + message)
        except OSError:
            self._sock.close()
            raise

    def fileno(self) -> int:
        return self._sock.fileno()

    def buffer(self, size: int) -> None:
        """So many bytes, or what is enough for most."""
        self._sock.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, max(size, _BUFFER))

    def read(self) -> Iterator[ProcessEvent]:
        """What is there now. Raises Overrun; does not block."""
        for _ in range(_MOST):
            try:
                data, sender = self._sock.recvfrom(1024)
            except BlockingIOError:
                return
            except OSError:  # ENOBUFS
                raise Overrun from None
            if sender[0] != 0 or len(data) < _AT_PIDS + _PIDS.size:
                continue  # not from the kernel
            (what,) = _WHAT.unpack_from(data, _AT_EVENT)
            first, second, third, fourth = _PIDS.unpack_from(data, _AT_PIDS)
            if what == FORK:
                if third == fourth:
                    yield ProcessEvent(FORK, third, second)
            elif what == ACK:
                if first:
                    raise OSError(first, os.strerror(first))
                yield ProcessEvent(ACK)
            elif what in (EXEC, COMM, EXIT) and first == second:
                yield ProcessEvent(what, first)

    def close(self) -> None:
        self._sock.close()
