"""The hand-over between two vrrp processes: both ends of the pair that the guard gives them.

    giver, which goes on until it is told `taken`          heir, prepared and waiting
        head: version, what is not of one router    ->
        part: estates and the receive socket        ->     live for these routers from now on
                                                    <-     got: the next one may come
        all                                         ->     starts what is new; tells the guard `live`
                                                    <-     taken: whom it has no use for, what is not to be touched
        buries those, leaves

One part is what one receive socket serves (with AH two): nothing that arrives is lost or heard twice, and with
thousands of routers the silence of each is the time for 255. A part is given away right after an advert of its routers
where that is to be had, and one at a time: an heir that finds several has no turn for adverts before it is through
with all of them. When the heir dies, or refuses, before `taken`, the giver goes on with everything as if nothing
had been.
"""

from __future__ import annotations

import json
import os
import socket
from collections import deque
from typing import TYPE_CHECKING, Any

from vrrpd import ipc
from vrrpd.net.sockets import Receiver
from vrrpd.vrrp import estate
from vrrpd.vrrp.estate import ESTATE_VERSION, Estate, UnknownEstate

if TYPE_CHECKING:
    from vrrpd.vrrp.router import VirtualRouter
    from vrrpd.vrrp_daemon import Daemon

INFINITY = float("inf")
ROOM = 0.008  # to the next deadline of a part: giving it away takes about half of that
WAIT_INTERVALS = 1.5  # for such a moment

Key = tuple[int, int]  # interface index, family


class Giver:
    """The end of the process that leaves."""

    def __init__(self, daemon: Daemon, sock: socket.socket, now: float) -> None:
        self._daemon = daemon
        self._channel = ipc.Channel(sock)
        self._receivers: list[Receiver] = []
        self._done = False
        self._awaited = False  # the heir is busy with a part
        parts: dict[Key, list[VirtualRouter]] = {}
        longest = 0.0
        for router in daemon.engine.routers.values():
            parts.setdefault((router.ifindex, router.cfg.family), []).append(router)
            longest = max(longest, router.cfg.advert_int)
        self._parts = deque(parts.items())
        self._until = now + WAIT_INTERVALS * longest
        daemon.loop.watch(sock.fileno(), self._answered)
        fd = _memfd({"engine": daemon.engine.head(), "own": daemon.head()})
        self._send({"t": "head", "version": ESTATE_VERSION}, [fd])
        os.close(fd)

    def turn(self, now: float) -> float:
        """Give the next part away, if it is time; when to be asked again."""
        if self._done or self._awaited or self._channel.closed:
            return INFINITY
        if not self._parts:
            self._done = True
            self._send({"t": "all"})
            return INFINITY
        key, routers = self._parts[0]
        first = min(router.timer.deadline for router in routers)
        room = min(ROOM, 0.5 * min(router.cfg.advert_int for router in routers))
        if first - now < room and now < self._until:
            return first
        self._parts.popleft()
        self._awaited = True
        self._give(key, routers)
        return INFINITY

    def _give(self, key: Key, routers: list[VirtualRouter]) -> None:
        daemon = self._daemon
        executor, laying = daemon.executor, daemon.executor.laying
        held = [(executor.holdings(router), laying.of(router), executor.lacking(router)) for router in routers]
        given = zip(daemon.engine.give(routers), held)
        estates = [left._replace(held=here, laid=laid, lacking=lacking) for left, (here, laid, lacking) in given]
        message: ipc.Message = {"t": "part", "ifindex": key[0], "family": key[1], "receivers": []}
        fds = [_memfd(estate.encode(estates))]
        for receiver in [one for known, one in daemon.receivers.items() if known[:2] == key]:
            del daemon.receivers[receiver.key]
            daemon.loop.forget(receiver.fileno())
            self._receivers.append(receiver)
            message["receivers"].append((receiver.protocol, *receiver.listening()))
            fds.append(receiver.fileno())
        self._send(message, fds)
        os.close(fds[0])

    def _send(self, message: ipc.Message, fds: list[int] | None = None) -> None:
        if not self._channel.send(message, fds or ()):
            self._channel.closed = True  # noticed at the next turn of the loop, as the heir's death is

    def _answered(self, now: float) -> None:
        for message, fds in self._channel.receive():
            ipc.close_all(fds)
            if message.get("t") == "got":
                self._awaited = False
            elif message.get("t") == "taken" and self._done:
                self._daemon.leave_to_heir(
                    set(map(str, message.get("left") or ())),
                    [(int(index), bytes.fromhex(address), int(length)) for index, address, length in message["keep"]],
                    [(str(kind), bytes.fromhex(body)) for kind, body in message["keep_routing"]],
                    now,
                )
                return
        if self._channel.closed:
            self.abandon(now)

    def abandon(self, now: float) -> None:
        """There is no heir after all, or no time for one: it hears the end of file."""
        self._daemon.loop.forget(self._channel.fileno())
        self._channel.close()
        self._daemon.resume(self._receivers, now)


class Heir:
    """The end of the process that comes."""

    def __init__(self, daemon: Daemon, sock: socket.socket) -> None:
        self._daemon = daemon
        self._channel = ipc.Channel(sock)
        self._left: list[Estate] = []
        daemon.loop.watch(sock.fileno(), self._received)

    def _received(self, now: float) -> None:
        try:
            for message, fds in self._channel.receive():
                self._handle(message, fds, now)
        except UnknownEstate as error:
            self._refuse(str(error))
            return
        if self._channel.closed:
            self._daemon.loop.forget(self._channel.fileno())
            self._daemon.executor.silent = False
            if not self._daemon.begun:
                self._refuse("the former process did not hand over")

    def _handle(self, message: ipc.Message, fds: list[int], now: float) -> None:
        kind = message.get("t")
        if kind == "head":
            if message.get("version") != ESTATE_VERSION:
                estate.decode({"version": message.get("version")})
            head = json.loads(ipc.read_all(fds.pop(0)))
            self._daemon.engine.follow(head["engine"], now)
            self._daemon.follow(head["own"])
        elif kind == "part":
            estates = estate.decode(json.loads(ipc.read_all(fds.pop(0))))
            ifindex, family = int(message["ifindex"]), int(message["family"])
            for protocol, groups, ids in message["receivers"]:
                sock = socket.socket(fileno=fds.pop(0))
                sock.setblocking(False)
                self._daemon.inherit(Receiver(ifindex, family, sock, map(bytes.fromhex, groups), ids, int(protocol)))
            self._left += self._daemon.take(estates, now)
            self._channel.send({"t": "got"})
        elif kind == "all":
            self._daemon.executor.silent = bool(self._left)  # until the former process has told what it buries
            self._daemon.begin(self._left, now)
            self._daemon.announce_live([[*left.identity[:3], _hex(left.source)] for left in self._left])
            places = self._daemon.executor.places
            keep = [
                (here.ifindex, here.address.hex(), here.prefixlen)
                for left in self._left
                for here in left.held
                if (here.ifindex, here.address, here.prefixlen) in places
            ]
            ways = self._daemon.executor.laying.shared(here for left in self._left for here in left.laid)
            taken = {"t": "taken", "left": [left.name for left in self._left], "keep": keep}
            self._channel.send({**taken, "keep_routing": [(kind, body.hex()) for kind, body in ways]})
        ipc.close_all(fds)

    def _refuse(self, why: str) -> None:
        self._daemon.guard.send({"t": "declined", "error": why})
        self._daemon.loop.running = False


def _memfd(data: object) -> int:
    fd = os.memfd_create("estate")
    with os.fdopen(fd, "w", encoding="ascii", closefd=False) as file:
        json.dump(data, file)
    return fd


def _hex(data: Any) -> str | None:
    return None if data is None else data.hex()
