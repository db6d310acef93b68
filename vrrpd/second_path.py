"""Who speaks on the second path: the vrrp process while it lives, the guard with the last word after it.

`SecondPath` joins vrrp/path.py to sockets, to the engine (what a message means for a BACKUP) and to the executor
(which routers have let go). `LastWords` is the guard's: of each peer what it takes to be believed, told by the vrrp
process whenever that changes, once a second.

The keys: the vrrp process has them from the model. The guard is told them over its private socket pair and keeps
them in memory only: a will on disk names the peers of a router, never a key, and needs none, because what it would
have to echo is worthless after seconds. So the will that `ExecStopPost=` finds resigns with priority 0 alone.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Callable

from vrrpd import ipc, will
from vrrpd.loop import INFINITY, Loop
from vrrpd.net.datagram import PORT, Datagrams, source_for
from vrrpd.vrrp import path
from vrrpd.vrrp.actions import Action
from vrrpd.vrrp.digest import sha256
from vrrpd.vrrp.engine import Engine
from vrrpd.vrrp.records import text

if TYPE_CHECKING:
    from vrrpd.model.vrrp import VrrpInstance
    from vrrpd.vrrp.router import VirtualRouter

READ_LIMIT = 64


def boot_epoch() -> bytes:
    """Differs between two boots of a host; the sequence starts anew with it."""
    with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
        return sha256(file.read().encode())[: path.EPOCH]


class SecondPath:
    """Of the vrrp process. Costs nothing where no instance has a peer_path."""

    def __init__(
        self,
        loop: Loop,
        engine: Engine,
        guard: ipc.Channel,
        run: Callable[[Sequence[Action]], None],
        former: Mapping[bytes, path.Standing],
    ) -> None:
        self._loop, self._engine, self._guard, self._run = loop, engine, guard, run
        self._paths = path.Paths(boot_epoch(), os.urandom, former)
        self._sockets: dict[bytes, Datagrams] = {}  # by the address of ours
        self._leaving = False

    def configure(self, instances: Iterable[VrrpInstance], now: float) -> None:
        """Listen to and for these instances' peers."""
        keys = {remote: one.peer_path_key for one in instances for remote in one.peer_path}
        if not keys and not self._paths.peers:
            return
        self._leaving = False
        self._paths.configure(keys, now)
        self._tell_guard()
        self.look(now)

    def leave(self) -> None:
        """A successor is about to listen: from here on only speak, for what is still to be buried."""
        self._leaving = True
        self._paths.next_deadline = INFINITY
        for local in list(self._sockets):
            self._close(local)
            with contextlib.suppress(OSError):
                self._sockets[local] = Datagrams(local, port=0)

    def look(self, now: float) -> None:
        """After a load and whenever an interface has changed: from which address is each peer reached?"""
        if self._leaving:
            return
        for peer in self._paths.peers.values():
            local = source_for(peer.remote)
            if local and local != peer.local:  # no way at all: the one that was may come back
                peer.local = local
                self._paths.next_deadline = min(self._paths.next_deadline, now)
        wanted = {peer.local: peer for peer in self._paths.peers.values() if peer.local}
        for local, sock in list(self._sockets.items()):
            if local not in wanted or not sock.listens:
                self._close(local)
        for local, peer in wanted.items():
            if local not in self._sockets:
                self._open(local, peer, now)

    def _open(self, local: bytes, peer: path.Peer, now: float) -> None:
        """Where that fails it is tried again with the next change of an interface."""
        try:
            sock = self._sockets[local] = Datagrams(local)
        except OSError as error:
            if not peer.records.hushed("open", now):
                why = f"cannot use UDP port {PORT} of {text(local)}: {error.strerror}"
                self._run(peer.records.line("error", "open", why))
            return
        self._loop.watch(sock.fileno(), lambda now: self._read(sock, now))

    def _close(self, local: bytes) -> None:
        sock = self._sockets.pop(local)
        self._loop.forget(sock.fileno())
        sock.close()

    def turn(self, now: float) -> float:
        """Hellos that are due; when it wants to run next."""
        if now >= self._paths.next_deadline:
            hellos, lines = self._paths.tick(now)
            for peer, data in hellos:
                self._send(peer, data)
            self._run(lines)
        return self._paths.next_deadline

    def _send(self, peer: path.Peer, data: bytes) -> None:
        sock = self._sockets.get(peer.local)
        if sock is not None:
            sock.send(peer.remote, data)

    def _read(self, sock: Datagrams, now: float) -> None:
        for source, data in sock.read(READ_LIMIT):
            peer = self._paths.peers.get(source)
            if peer is None or peer.local != sock.local:
                continue  # a stranger's
            before = peer.standing
            told, lines = self._paths.receive(peer, data, now)
            if told is not None:
                lines = [*lines, *self._engine.let_go(peer.remote, told, now)]
            self._run(lines)
            if peer.standing != before:
                self._tell_guard(peer)

    def let_go(self, routers: Sequence[VirtualRouter], now: float) -> None:
        """These routers were MASTER and hold nothing any more."""
        who = [(router.cfg.peer_path, path.word(router.spec)) for router in routers]
        for peer, data in self._paths.let_go(who, now):
            self._send(peer, data)

    def _tell_guard(self, peer: path.Peer | None = None) -> None:
        """What changed of one peer, or of all after a load."""
        peers = self._paths.peers.values() if peer is None else [peer]
        standings = [_encode(one.standing) for one in peers]
        self._guard.send({"t": "path", "all": peer is None, "peers": standings})

    def status(self) -> list[dict[str, Any]]:
        """Each peer, no secrets."""
        return [
            {
                "peer": text(peer.remote),
                "local": text(peer.local) if peer.local else None,
                "up": peer.up,
                "counters": dict(peer.counters),
            }
            for peer in self._paths.peers.values()
        ]


class LastWords:
    """Of the guard."""

    def __init__(self) -> None:
        self.standings: dict[bytes, path.Standing] = {}  # by the peer's address; for the next vrrp process, too

    def encode(self) -> ipc.Message:
        """For the code that this guard becomes."""
        return {"all": True, "peers": [_encode(standing) for standing in self.standings.values()]}

    def update(self, message: ipc.Message) -> None:
        """From the vrrp process. ValueError: it is malformed."""
        try:
            found = [_decode(entry) for entry in message["peers"]]
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"path: {error!r}") from None
        if message.get("all"):
            self.standings.clear()
        self.standings.update((standing.remote, standing) for standing in found)

    def say(self, records: Iterable[will.Record], now: float) -> None:
        """These records are executed: their addresses are gone. At once, and without a word if it cannot be."""
        said: dict[tuple[tuple[bytes, ...], path.Word], None] = {}
        for record in records:
            if record.peers:
                said[record.peers, path.word(record.advert)] = None
        sequence = int(now * 1e9)  # the process that spoke before is dead
        for (standing, rank), words in path.addressed(self.standings, said, now).items():
            with contextlib.suppress(OSError):
                sock = Datagrams(standing.local, port=0)
                for data in path.let_go(standing, words, rank, sequence, now):
                    sock.send(standing.remote, data)
                    sequence += 1
                sock.close()


def _encode(standing: path.Standing) -> dict[str, Any]:
    return {name: value.hex() if isinstance(value, bytes) else value for name, value in standing._asdict().items()} | {
        "at": standing.at if standing.at > -INFINITY else None
    }


def _decode(data: dict[str, Any]) -> path.Standing:
    at = data["at"]
    if at is not None and not isinstance(at, (int, float)):
        raise ValueError(f"at: not a number: {at!r:.40}")
    local, remote, key, epoch, challenge = (bytes.fromhex(data[name]) for name in path.Standing._fields[:5])
    return path.Standing(local, remote, key, epoch, challenge, -INFINITY if at is None else at)
