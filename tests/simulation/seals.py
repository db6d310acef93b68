"""Adverts with a seal (AH, auth_hmac): how hosts send them, the stranger on the wire, and what may be believed.

A `Wire` is a datagram on the way; the world knows of each who made it and when. `Seals` is what an omniscient judge
keeps: which sequences each host has sent, and which each process has accepted. The stranger records all that is
sealed, and sends it again, also with a bit turned. What must hold:

    a host never sends a sequence again, nor a lower one, unless its clock was set back before its process began
    a rightful advert is accepted: made by a host, not late, with a key that the operator's order makes known
    what is forged is never believed; what was heard before not either, by a process or its heirs

After a crash a process does not know what was heard before: with anti_replay time it believes what is younger than the
window, with AH and anti_replay monotonic anything, once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from random import Random
from typing import TYPE_CHECKING, NamedTuple

from simulator import EPOCH

from vrrpd.model.vrrp import AF_INET, Authentication, AuthHmac, VrrpInstance
from vrrpd.vrrp import auth
from vrrpd.vrrp.packet import AH_LENGTH, AUTH_AH, TRAILER_LENGTH, AdvertSpec, datagrams

if TYPE_CHECKING:
    from world import Host

    from vrrpd.vrrp.router import VirtualRouter

AH, TIME, MONOTONIC = "AH", "time", "monotonic"
KEYS = {1: b"the first of the keys, 32 bytes.", 2: b"the second of the keys, 32 bytes"}
WINDOW = 6  # time_window
SECOND = 1 << 32  # of a sequence of auth_hmac


class Wire(NamedTuple):
    """A datagram: what the kernel tells of it, and what only the world knows."""

    family: int
    source: bytes
    destination: bytes
    ttl: int
    message: bytes
    ah: bytes = b""  # all of it, when the message is behind AH
    sealed: bool = False
    sender: int = -1
    sent: float = 0.0
    rightful: bool = True  # as far as its sender knew
    forged: bool = False
    again: bool = False  # the stranger's

    @property
    def number(self) -> int:
        return self.message[1] - 51

    @property
    def sequence(self) -> int:
        if self.ah:
            return int.from_bytes(self.ah[28:32], "big")
        return int.from_bytes(self.message[-TRAILER_LENGTH + 4 : -TRAILER_LENGTH + 12], "big")


def wires(spec: AdvertSpec, made: Sequence[tuple[bytes, bytes]]) -> list[Wire]:
    """Of datagrams as they leave."""
    behind = 20 if spec.family == AF_INET else 0
    ah = spec.auth_type == AUTH_AH
    return [
        Wire(
            spec.family,
            spec.source,
            destination,
            spec.ttl,
            data[behind + (AH_LENGTH if ah else 0) :],
            data if ah else b"",
            spec.seal is not None,
        )
        for destination, data in made
    ]


def last_word(spec: AdvertSpec, priority: int, now: float, wall: float) -> list[Wire]:
    """What the guard says for a process that died (will.Voice)."""
    bare = datagrams(spec, priority)
    if spec.seal is not None:
        bare = auth.sealed(spec, bare, auth.next_sequence(spec.seal, 0, now, wall))
    return wires(spec, bare)


# ---- configuration -----------------------------------------------------------------------------------------------


def configured(cfg: VrrpInstance, seal: str) -> VrrpInstance:
    if seal == AH:
        return replace(cfg, authentication=Authentication("AH", b"secret"))
    if seal:
        return replace(cfg, auth_hmac=AuthHmac(((1, KEYS[1]),), 1, seal, WINDOW if seal == TIME else 0))
    return cfg


def rotation(hmac: AuthHmac | None, seal: str) -> list[AuthHmac]:
    """Step by step to another key, or to the first one."""
    if hmac is None:
        first = AuthHmac(((1, KEYS[1]),), 1, seal, WINDOW if seal == TIME else 0, "receive-only")
        return [first, replace(first, mode="permissive"), replace(first, mode="enforce")]
    old, new = hmac.active_key, 3 - hmac.active_key
    both = replace(hmac, keys=((old, KEYS[old]), (new, KEYS[new])))
    return [both, replace(both, active_key=new), replace(both, active_key=new, keys=((new, KEYS[new]),))]


# ---- the judge ---------------------------------------------------------------------------------------------------


class Seals:
    """Of one world. Answers are complaints, "" when all is well."""

    def __init__(self, delay: float) -> None:
        self._delay = delay
        self._sent: dict[tuple[int, int], int] = {}  # (host, router): the highest
        self._instant: dict[tuple[int, int], tuple[int, float]] = {}  # and when
        self._accepted: dict[tuple[int, int, bytes], int] = {}  # (host, router, source): likewise

    def forget(self, host: Host) -> None:
        """A process that knows nothing of its predecessor's peers."""
        for key in [key for key in self._accepted if key[0] == host.number]:
            del self._accepted[key]

    def sends(self, host: Host, wire: Wire) -> tuple[Wire, str]:
        """`wire` as it is to be judged later, and a complaint."""
        if not host.world.history.routers[wire.number].seal:
            return wire, ""
        wire = wire._replace(sender=host.number, sent=host.world.now, rightful=not host.bygone)
        if not wire.sealed:
            return wire, ""
        key, sequence = (host.number, wire.number), wire.sequence
        last = self._sent.get(key, 0)
        if sequence <= last and not self._same(wire):
            if host.setbacks or (wire.ah and last / auth.TICKS > host.wall() - auth.AH_EPOCH + 0.5):
                return wire._replace(rightful=False), ""
            return wire, f"{host.name} sends sequence {sequence} for VI_{wire.number}, {last} before"
        self._sent[key] = sequence
        self._instant[key] = sequence, host.world.now
        return wire, ""

    def _same(self, wire: Wire) -> bool:
        """One advert to several unicast peers, or a new daemon's behind the will of the one before: no time passes here
        between them.
        """
        return self._instant.get((wire.sender, wire.number)) == (wire.sequence, wire.sent)

    def may_refuse(self, host: Host, router: VirtualRouter, wire: Wire) -> bool:
        """An advert that was not accepted."""
        if not wire.rightful:
            return True
        if host.engine is not None and host.engine.stopping:  # no reload reaches it any more: it has the former keys
            return True
        if not wire.sealed and router.auth is None:
            return False
        late = host.world.now - wire.sent > self._delay + 1e-9
        heard = self._accepted.get((host.number, wire.number, wire.source), 0)
        if late or not wire.sealed:
            return late
        return wire.sequence <= heard or self._stale(host, router, wire, WINDOW - 1)

    def believes(self, host: Host, router: VirtualRouter, wire: Wire) -> str:
        """One that was."""
        if wire.forged:
            return f"{host.name} believes of VI_{wire.number} what was forged"
        if not wire.sealed:
            enforced = router.auth is not None and router.auth.mode == auth.ENFORCE
            return f"{host.name} believes of VI_{wire.number} what is not sealed" if enforced else ""
        key, window = (host.number, wire.number, wire.source), router.auth.window if router.auth is not None else 0
        mark = self._accepted.get(key, 0)
        expired = window and abs(host.wall() - mark / SECOND) > window - 1
        self._accepted[key] = wire.sequence
        if wire.sequence <= mark and not expired:
            return f"{host.name} believes of VI_{wire.number} what it has heard before"
        if self._stale(host, router, wire, WINDOW + 1):
            return f"{host.name} believes of VI_{wire.number} what is older than the window"
        return ""

    def _stale(self, host: Host, router: VirtualRouter, wire: Wire, window: int) -> bool:
        timed = router.auth is not None and router.auth.window and not wire.ah
        return bool(timed) and abs(host.wall() - wire.sequence / SECOND) > window


def forge(wire: Wire, dice: Random) -> Wire:
    """One bit turned, of what is sealed. (The checksum of IPv6 is the kernel's to look at.)"""
    data = wire.ah or wire.message
    index = dice.randrange(20 if wire.ah else 0, len(data))
    while wire.family != AF_INET and index in (6, 7):
        index = dice.randrange(len(data))
    data = data[:index] + bytes((data[index] ^ 1 << dice.randrange(8),)) + data[index + 1 :]
    if wire.ah:
        return wire._replace(ah=data, message=data[20 + AH_LENGTH :], forged=True)
    return wire._replace(message=data, forged=True)


def time_of_day(host: Host) -> float:
    return EPOCH + host.clock() - host.offset + host.error
