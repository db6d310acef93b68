"""What a virtual router says: its adverts as bytes, made once for each priority, source and key.

In: the configuration and, later, the source address. Out: datagrams and frames. When to say what is router.py's; how
bytes are laid out is packet.py's and frames.py's, what proves them auth.py's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from zlib import crc32

from vrrpd.vrrp import frames
from vrrpd.vrrp.auth import Auth, Datagrams, authenticates
from vrrpd.vrrp.links import advert_spec
from vrrpd.vrrp.packet import AdvertSpec, datagrams

if TYPE_CHECKING:
    from vrrpd.model.vrrp import VrrpInstance


class Voice:
    """That of one router, which is one: a base class, because the hot path reads from both."""

    __slots__ = ("_datagrams", "_frames", "auth", "spec", "virtual_mac")

    def __init__(self, cfg: VrrpInstance, offset: float) -> None:
        """`offset`: how far the time of day is ahead of the monotonic clock, for those that send it."""
        self._datagrams: dict[int, tuple[tuple[bytes, bytes], ...]] = {}
        self._frames: dict[int, tuple[bytes, ...]] = {}
        self.auth = Auth(cfg, offset) if authenticates(cfg) else None
        self.spec: AdvertSpec = advert_spec(cfg, b"")
        if self.auth is not None:
            self.spec = self.spec._replace(seal=self.auth.sends)
        # What adverts leave from instead of the interface's own MAC address, b"" for nothing.
        self.virtual_mac = cfg.vmac.mac if cfg.vmac is not None and not cfg.vmac_xmit_base else b""

    def datagrams(self, priority: int) -> tuple[tuple[bytes, bytes], ...]:
        """(destination, bytes) of an advert with this priority; made once. Those of a spec with a seal lack it."""
        ready = self._datagrams.get(priority)
        if ready is None:
            ready = self._datagrams[priority] = datagrams(self.spec, priority)
        return ready

    def sealed(self, priority: int, now: float, wall: float) -> Datagrams:
        """The same to be sent now, where the spec has a seal. `wall`: the time of day, epoch seconds."""
        auth = self.auth
        assert auth is not None
        if self.spec.seal is not auth.seal:  # its sequence goes on from a peer's, and so it must for who speaks for us
            self.spec = self.spec._replace(seal=auth.seal)
        return auth.adverts(self.spec, self.datagrams(priority), now, wall)

    def frames(self, priority: int) -> tuple[bytes, ...]:
        """The datagrams as frames from the virtual MAC address."""
        ready = self._frames.get(priority)
        if ready is None:
            ready = self._frames[priority] = self.framed(self.datagrams(priority))
        return ready

    def framed(self, datagrams: Datagrams) -> tuple[bytes, ...]:
        mac, source = self.virtual_mac, self.spec.source
        return tuple(frames.advert(mac, source, to, datagram) for to, datagram in datagrams)

    def checksum(self, priority: int) -> int:
        """Of what we send with this priority: another one is told to the peers at once."""
        return crc32(b"".join(part for datagram in self.datagrams(priority) for part in datagram))

    def speak_anew(self, spec: AdvertSpec) -> None:
        """From now on as `spec` says."""
        self.spec = spec
        self._datagrams.clear()
        self._frames.clear()

    def forget(self, priority: int) -> None:
        """It will not be ours again soon, and each takes memory."""
        self._datagrams.pop(priority, None)
        self._frames.pop(priority, None)
