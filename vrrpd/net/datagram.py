"""UDP of the second path: one socket for each address of ours that a peer is reached from.

A socket is bound to that address and PORT, so that nothing sent to another interface's address is heard; who may
speak, and whether it is true, is vrrp/path.py's. Never blocks.
"""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator

PORT = 11200  # UDP; not assigned by IANA. 112 is VRRP's protocol number
_SO_PRIORITY, _SO_RCVBUFFORCE, _CONTROL_PRIORITY = 12, 33, 7
_RECEIVE_BUFFER = 1 << 20
_TRAFFIC_CLASS = 0xC0
_IPV6_TCLASS = 67
_LONGEST = 2048


def _family(address: bytes) -> int:
    return int(socket.AF_INET if len(address) == 4 else socket.AF_INET6)


def source_for(remote: bytes) -> bytes:
    """The address that the kernel would send from; empty when it knows no way. Sends nothing."""
    family = _family(remote)
    with socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock, contextlib.suppress(OSError):
        sock.connect((socket.inet_ntop(family, remote), PORT))
        return socket.inet_pton(family, sock.getsockname()[0])
    return b""


class Datagrams:
    """`port` 0 is for who only speaks. OSError: the address is not (or not yet) ours, or the port is another's."""

    def __init__(self, local: bytes, port: int = PORT) -> None:
        self.local = local
        self.listens = port != 0
        self._family = _family(local)
        self._sock = socket.socket(self._family, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
        try:
            self._sock.setblocking(False)
            self._sock.setsockopt(socket.SOL_SOCKET, _SO_PRIORITY, _CONTROL_PRIORITY)
            with contextlib.suppress(OSError):  # what a master of thousands says at once is 200 datagrams
                self._sock.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _RECEIVE_BUFFER)
            # A vrrp process and its successor have it side by side for a moment; only the same user may join.
            self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            if self._family == socket.AF_INET:
                self._sock.setsockopt(socket.IPPROTO_IP, socket.IP_TOS, _TRAFFIC_CLASS)
            else:
                self._sock.setsockopt(socket.IPPROTO_IPV6, _IPV6_TCLASS, _TRAFFIC_CLASS)
            self._sock.bind((socket.inet_ntop(self._family, local), port))
        except BaseException:
            self._sock.close()
            raise

    def fileno(self) -> int:
        return self._sock.fileno()

    def read(self, limit: int) -> Iterator[tuple[bytes, bytes]]:
        """Up to `limit` of (source address, data) that are here now."""
        for _ in range(limit):
            try:
                data, where = self._sock.recvfrom(_LONGEST)
            except BlockingIOError:
                return
            except OSError:  # an ICMP error of an earlier datagram
                continue
            yield socket.inet_pton(self._family, where[0].partition("%")[0]), data

    def send(self, remote: bytes, data: bytes) -> bool:
        """Now or not at all."""
        try:
            self._sock.sendto(data, (socket.inet_ntop(self._family, remote), PORT))
        except OSError:
            return False
        return True

    def close(self) -> None:
        self._sock.close()
