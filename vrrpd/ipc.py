"""Messages between the daemon's processes: one JSON object per SOCK_SEQPACKET datagram, descriptors beside it.

A `Channel` never blocks, so that the vrrp process may use it inside a turn: what the kernel does not take now
waits in a bounded queue, and what the queue does not take is dropped and counted. The reader gets whole
messages; a datagram that is not a JSON object is a defect of the sender and is dropped and counted too.
A compiled model travels as a memfd that the receiver of the message reads itself.
"""

from __future__ import annotations

import array
import json
import os
import select
import socket
import time
from collections import deque
from collections.abc import Iterator, Sequence
from typing import Any

MAX_MESSAGE = 65536  # design.md 5; long lists travel in slices
MAX_FDS = 4
MAX_QUEUE = 1024  # messages waiting for a peer that does not read
_encode = json.JSONEncoder(separators=(",", ":")).encode  # json.dumps would make the encoder anew each time
_SEND_FLAGS = socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL
_FD_SPACE = socket.CMSG_SPACE(MAX_FDS * 4)

Message = dict[str, Any]
Received = tuple[Message, list[int]]


def pair() -> tuple[socket.socket, socket.socket]:
    """Two connected ends; SOCK_SEQPACKET keeps message boundaries and reports the peer's death as end of file."""
    return socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)


class Channel:
    """One end of a pair. `closed` turns true when the peer has gone."""

    def __init__(self, sock: socket.socket, limit: int = MAX_QUEUE, waiting: Sequence[str] = ()) -> None:
        self.sock = sock
        self.limit = limit
        self.closed = False
        self.dropped = 0  # messages that the queue did not take
        self.malformed = 0
        self._queue: deque[bytes] = deque(text.encode() for text in waiting)

    def fileno(self) -> int:
        return self.sock.fileno()

    @property
    def congested(self) -> bool:
        """Messages are waiting; call `flush` when the socket is writable again."""
        return bool(self._queue)

    @property
    def waiting(self) -> list[str]:
        """What is queued, for another `Channel` on the same socket."""
        return [data.decode() for data in self._queue]

    def send(self, message: Message, fds: Sequence[int] = ()) -> bool:
        """Send or queue; False when it was dropped. Descriptors go at once or not at all."""
        data = _encode(message).encode()
        if len(data) > MAX_MESSAGE or self.closed:
            self.dropped += 1
            return False
        if fds:
            return self._send_fds(data, fds)
        if not self._queue and self._send(data):
            return True
        if self.closed or len(self._queue) >= self.limit:
            self.dropped += 1
            return False
        self._queue.append(data)
        return True

    def flush(self) -> None:
        """Send what waits, as far as the kernel takes it."""
        while self._queue and self._send(self._queue[0]):
            self._queue.popleft()

    def drain(self, timeout: float) -> None:
        """Before the end: wait until what is queued is sent, but not for ever."""
        until = time.monotonic() + timeout
        while self._queue and (left := until - time.monotonic()) > 0:
            select.select([], [self.sock], [], left)
            self.flush()

    def _send(self, data: bytes) -> bool:
        try:
            self.sock.send(data, _SEND_FLAGS)
        except BlockingIOError:
            return False
        except (BrokenPipeError, ConnectionError):
            self.closed = True
            self._queue.clear()
            return False
        except OSError:  # ENOBUFS: as good as full
            return False
        return True

    def _send_fds(self, data: bytes, fds: Sequence[int]) -> bool:
        # Order matters (a model must not overtake a stop), so the queue goes first.
        self.flush()
        ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))]
        try:
            if not self._queue:
                self.sock.sendmsg([data], ancillary, _SEND_FLAGS)
                return True
        except BlockingIOError:
            pass
        except (BrokenPipeError, ConnectionError):
            self.closed = True
        self.dropped += 1
        return False

    def receive(self, limit: int = 64) -> Iterator[Received]:
        """Up to `limit` messages that are here now, each with its descriptors (close-on-exec, the caller's)."""
        for _ in range(limit):
            try:
                data, ancillary, flags, _ = self.sock.recvmsg(
                    MAX_MESSAGE, _FD_SPACE, socket.MSG_DONTWAIT | socket.MSG_CMSG_CLOEXEC
                )
            except BlockingIOError:
                return
            except ConnectionError:
                data, ancillary, flags = b"", [], 0
            fds = _descriptors(ancillary)
            if not data:
                self.closed = True
                return
            message = None if flags & socket.MSG_TRUNC else _parse(data)
            if message is None:
                self.malformed += 1
                close_all(fds)
                continue
            yield message, fds

    def close(self) -> None:
        self.closed = True
        self.sock.close()


def _parse(data: bytes) -> Message | None:
    try:
        message = json.loads(data)
    except ValueError:
        return None
    return message if isinstance(message, dict) else None


def _descriptors(ancillary: list[tuple[int, int, bytes]]) -> list[int]:
    fds = array.array("i")
    for level, kind, data in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            fds.frombytes(data[: len(data) - len(data) % fds.itemsize])
    return list(fds)


def close_all(fds: Sequence[int]) -> None:
    for fd in fds:
        os.close(fd)


def read_all(fd: int) -> bytes:
    """The whole content of a memfd; the descriptor is closed. The offset is shared with others, hence pread."""
    try:
        data = bytearray()
        while chunk := os.pread(fd, 1 << 20, len(data)):
            data += chunk
        return bytes(data)
    finally:
        os.close(fd)
