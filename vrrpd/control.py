"""The control socket: one JSON request per line, one JSON reply line. Transport and rights, not meaning.

In: connections on a UNIX socket. Out: `handle(request, peer, reply)` for each allowed request; the reply may come
later. A client is never trusted: request size, number of clients and every wait are bounded, and a client that
breaks a bound is told which one and closed. File permissions decide who may connect (root and group vrrpd);
SO_PEERCRED decides who may change anything. What the commands do is in helper.py.
"""

from __future__ import annotations

import contextlib
import grp
import json
import os
import socket
import struct
from typing import Any, Callable, NamedTuple

from vrrpd.log import Log
from vrrpd.loop import READ, WRITE, Loop
from vrrpd.timers import Timer, Timers

MAX_REQUEST = 65536
MAX_CLIENTS = 16
KEPT_FOR_ROOT = 2  # of them: readers cannot lock the operator out
BACKLOG = 128  # while one helper follows another, clients wait here
IDLE_TIMEOUT = 10.0  # for a request to come complete
WRITE_TIMEOUT = 5.0  # for a reply to be taken
GROUP = "vrrpd"
READING = frozenset({"status", "scripts", "events"})
CHANGING = frozenset({"reload", "upgrade", "maintenance", "handover"})

_UCRED = struct.Struct("iII")

Request = dict[str, Any]
Reply = Callable[[dict[str, Any]], None]


class Peer(NamedTuple):
    """Who asks, as the kernel says (SO_PEERCRED)."""

    pid: int
    uid: int
    gid: int


Handler = Callable[[Request, Peer, Reply], None]


class Control:
    """Listens at `path`; requests of uids other than `masters` may only read."""

    def __init__(
        self,
        loop: Loop,
        timers: Timers,
        log: Log,
        path: str,
        handle: Handler,
        *,
        listener: socket.socket | None = None,
        group: str = GROUP,
        masters: frozenset[int] | None = None,
        idle_timeout: float = IDLE_TIMEOUT,
        write_timeout: float = WRITE_TIMEOUT,
    ) -> None:
        self.path = path
        self.handle = handle
        self.masters = frozenset({0, os.geteuid()}) if masters is None else masters
        self.idle_timeout = idle_timeout
        self.write_timeout = write_timeout
        self.loop = loop
        self.timers = timers
        self.log = log
        self.clients: set[_Client] = set()
        self._socket = listener or listen(path, group)
        self._inode = os.stat(path).st_ino
        loop.watch(self._socket.fileno(), lambda now: self._accept())

    def _accept(self) -> None:
        try:
            sock, _ = self._socket.accept()
        except OSError:  # the client has gone already, or we lack descriptors for the moment
            return
        sock.setblocking(False)
        peer = Peer(*_UCRED.unpack(sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size)))
        client = _Client(self, sock, peer)
        limit = MAX_CLIENTS if peer.uid in self.masters else MAX_CLIENTS - KEPT_FOR_ROOT
        if len(self.clients) > limit:
            client.refuse(f"{limit} clients are connected, the most that are served at once; try again")

    @property
    def busy(self) -> bool:
        """Somebody waits for an answer, has not read it yet, or has come and is about to ask."""
        return any(client.busy for client in self.clients)

    def leave(self) -> None:
        """Take no more clients: they wait for the process that listens after us."""
        self.loop.forget(self._socket.fileno())

    def close(self) -> None:
        """Stop listening, drop the clients and take the socket file away if it is still ours."""
        self.loop.forget(self._socket.fileno())
        self._socket.close()
        for client in list(self.clients):
            client.close()
        try:
            if os.stat(self.path).st_ino == self._inode:
                os.unlink(self.path)
        except OSError:
            pass


def listen(path: str, group: str = GROUP) -> socket.socket:
    # Bound beside its place and moved there when its permissions are right: a client meets either no socket or
    # a finished one, and what a killed predecessor left is replaced.
    temporary = path + ".new"
    with contextlib.suppress(FileNotFoundError):
        os.unlink(temporary)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    umask = os.umask(0o177)
    try:
        sock.bind(temporary)
    finally:
        os.umask(umask)
    try:
        os.chown(temporary, -1, grp.getgrnam(group).gr_gid)
        os.chmod(temporary, 0o660)
    except (KeyError, PermissionError):
        pass  # no such group here, or we are not root: ours alone
    sock.listen(BACKLOG)
    os.rename(temporary, path)
    return sock


class _Client:
    """One connection: reads a line, waits for its answer, writes it, and so on."""

    def __init__(self, control: Control, sock: socket.socket, peer: Peer) -> None:
        self._control = control
        self._sock = sock
        self._peer = peer
        self._input = bytearray()
        self._output = b""
        self._new = True  # nothing was asked yet
        self._busy = False  # a request is being answered
        self._ended = False  # the client will send nothing more
        self._closing = False  # close when the output is written
        self._timer: Timer | None = None
        control.clients.add(self)
        control.loop.watch(sock.fileno(), lambda now: self._read(), lambda now: self._write())
        self._wait(control.idle_timeout)

    @property
    def busy(self) -> bool:
        return self._busy or self._new or bool(self._output)

    def close(self) -> None:
        if self in self._control.clients:
            self._control.clients.remove(self)
            self._stop_waiting()
            self._control.loop.forget(self._sock.fileno())
            self._sock.close()

    def refuse(self, error: str) -> None:
        """Say why, and close."""
        self._closing = True
        self._answer({"ok": False, "error": error})

    def _wait(self, seconds: float) -> None:
        self._stop_waiting()
        self._timer = self._control.timers.later(seconds, self.close)

    def _stop_waiting(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _interest(self) -> None:
        # Once the client has ended its side, its socket stays readable for ever.
        mask = (0 if self._ended or self._closing else READ) | (WRITE if self._output else 0)
        self._control.loop.want(self._sock.fileno(), mask)

    def _read(self) -> None:
        if self._ended or self._closing:
            self.close()  # a hang-up: nobody is left to read the answer
            return
        try:
            data = self._sock.recv(65536)
        except BlockingIOError:
            return
        except OSError:
            self.close()
            return
        if data:
            self._input += data
        else:
            self._ended = True
            self._interest()
        self._next()

    def _next(self) -> None:
        """Take up the next whole request."""
        if self._busy or self._output or self._closing:
            if len(self._input) > MAX_REQUEST:
                self.close()  # it goes on sending without reading
            return
        line, newline, rest = bytes(self._input).partition(b"\n")
        if len(line) > MAX_REQUEST:
            self.refuse(f"a request has at most {MAX_REQUEST} bytes")
            return
        if not newline and not (self._ended and line):  # the last line may lack its end
            if self._ended:
                self.close()
            return
        self._input[:] = rest
        self._stop_waiting()
        self._request(line)

    def _request(self, line: bytes) -> None:
        try:
            request = json.loads(line)
        except (ValueError, RecursionError) as error:
            self.refuse(f"the request is not JSON: {error}")
            return
        command = request.get("cmd") if isinstance(request, dict) else None
        if not isinstance(command, str):
            self.refuse('a request is a JSON object with "cmd", like {"cmd":"status"}')
            return
        if command not in READING and command not in CHANGING:
            known = ", ".join(sorted(READING | CHANGING))
            self._answer({"ok": False, "error": f"unknown command {command[:64]!r}; known: {known}"})
            return
        if command in CHANGING and self._peer.uid not in self._control.masters:
            readable = ", ".join(sorted(READING))
            refusal = f"{command} is for root; uid {self._peer.uid} may only read: {readable}"
            self._control.log.warning(f"control: {refusal} (pid {self._peer.pid})")
            self._answer({"ok": False, "error": refusal})
            return
        if command in CHANGING:
            self._control.log.info(f"control: {command} asked by uid {self._peer.uid}, pid {self._peer.pid}")
        self._busy = True
        self._control.handle(request, self._peer, self._reply)

    def _reply(self, answer: dict[str, Any]) -> None:
        if self._busy and self in self._control.clients:  # it may have gone meanwhile
            self._busy = False
            self._answer(answer)

    def _answer(self, answer: dict[str, Any]) -> None:
        self._new = False
        self._output = json.dumps(answer, separators=(",", ":")).encode() + b"\n"
        self._wait(self._control.write_timeout)
        self._write()

    def _write(self) -> None:
        if self._output:
            try:
                sent = self._sock.send(self._output, socket.MSG_NOSIGNAL)
            except BlockingIOError:
                sent = 0
            except OSError:
                self.close()
                return
            self._output = self._output[sent:]
        if self._output:
            self._interest()
        elif self._closing:
            self.close()
        else:
            self._interest()
            self._wait(self._control.idle_timeout)
            self._control.timers.later(0, self._resume)

    def _resume(self) -> None:
        if self in self._control.clients:
            self._next()
