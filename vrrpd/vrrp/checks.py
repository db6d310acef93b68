"""May this router act on that packet? What the bytes decide is packet.py's; here its configuration has a say.

Order of the checks (RFC 9568 7.1, RFC 3768 7.1, RFC 2338 7.1); the first that fails names the counter: VRID known
here (engine.py), TTL, AH or the trailer of auth_hmac where there is one (auth.py); header complete, version, type,
length, checksum, v3 interval 0, v3 count 0; a trailer missing; multicast or unicast as configured, source; v2
authentication type, password, interval. A differing address list and the other v3 IPv4 checksum are accepted,
counted and told once in a while; so are adverts without HMAC in mode permissive, and a clock that runs away.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import TYPE_CHECKING, NamedTuple

from vrrpd.families import AF_INET, AF_INET6, link_local
from vrrpd.vrrp.actions import Action, OtherAdvert
from vrrpd.vrrp.auth import ENFORCE, PERMISSIVE, Auth, has_trailer
from vrrpd.vrrp.digest import compare_digest
from vrrpd.vrrp.packet import ADDRESS_LENGTH, AUTH_AH, AUTH_SIMPLE, Advert, Buffer, PacketError, decode
from vrrpd.vrrp.records import text

NEVER = "never"  # old_unicast_checksum

if TYPE_CHECKING:
    from vrrpd.vrrp.router import VirtualRouter


class Memo(NamedTuple):
    """A datagram that passed every check, under the key that the same one again will have."""

    key: Hashable
    router: VirtualRouter
    source: bytes
    advert: Advert


def validate(
    router: VirtualRouter,
    source: bytes,
    destination: bytes,
    ttl: int,
    data: Buffer,
    now: float,
    offset: float = 0.0,
    ah: Buffer | None = None,
) -> Advert:
    """The advert, when this router may act on it; else PacketError.

    `offset`: how far the time of day is ahead of `now`; `ah`: all of the datagram when `data` was behind AH.
    """
    cfg, spec, auth = router.cfg, router.spec, router.auth
    skew, sequence = None, 0
    multicast = destination[:1] == b"\xff" if cfg.family == AF_INET6 else b"\xe0" <= destination[:1] < b"\xf0"
    # RFC 9568 5.1.1.3, 7.1: it was not forwarded. Unicast peers may be further away (keepalived).
    if ttl != 255 and (multicast or not cfg.unicast_peer):
        raise PacketError("ip_ttl_err")
    if not multicast and source in cfg.unicast_peer and cfg.unicast_peer_ttl:
        least, most = cfg.unicast_peer_ttl[cfg.unicast_peer.index(source)]
        if not least <= ttl <= most:  # keepalived's min_ttl and max_ttl of a peer
            raise PacketError("ip_ttl_err")
    if ah is not None:
        if auth is None or spec.auth_type != AUTH_AH:
            raise PacketError("authtype_mismatch")
        sequence = auth.verify_ah(ah)
    elif auth is not None and cfg.auth_hmac is not None and has_trailer(data, cfg.version, cfg.family):
        skew, sequence = auth.verify(cfg, source, data, now + offset)
    old_sums = cfg.family == AF_INET and bool(cfg.unicast_peer) and cfg.old_unicast_checksum != NEVER
    advert = decode(data, cfg.version, cfg.family, source, destination, skew, old_sums and not multicast)
    if auth is not None and skew is None and cfg.auth_hmac is not None and auth.mode == ENFORCE:
        raise PacketError("auth_ext_missing")
    if cfg.strict_mode and cfg.family == AF_INET6 and not link_local(advert.addresses[:16]):  # RFC 9568 5.2.9
        raise PacketError("addr_list_err")
    if multicast is bool(cfg.unicast_peer) or (multicast and destination != spec.destinations[0]):
        raise PacketError("destination_err")
    if multicast:
        if len(source) == 16 and not link_local(source):  # RFC 9568 5.1.2.1
            raise PacketError("source_err")
    elif cfg.check_unicast_src and source not in cfg.unicast_peer:
        raise PacketError("source_err")
    if cfg.version == 2:
        if advert.auth_type > AUTH_AH:
            raise PacketError("invalid_authtype")
        if advert.auth_type != spec.auth_type:
            raise PacketError("authtype_mismatch")
        if advert.auth_type == AUTH_AH and ah is None:
            raise PacketError("ah_missing")
        # Without authentication the field means nothing (RFC 3768 5.3.10).
        if spec.auth_type == AUTH_SIMPLE and not compare_digest(advert.auth_data, spec.auth_data):
            raise PacketError("auth_failure")
        if advert.adver_int != round(spec.advert_int):  # RFC 3768 7.1: MUST discard; v3 learns it instead
            raise PacketError("advert_interval_err")
    if auth is not None and ah is not None:
        auth.accept_ah(source, sequence, now)
    elif auth is not None and skew is not None:
        auth.accept(source, sequence, now + offset)
    return advert


def addressee(router: VirtualRouter, source: bytes, destination: bytes) -> VirtualRouter:
    """Several routers share VRID and interface: unicast ones with different peers, and one multicast at most."""

    def fit(candidate: VirtualRouter) -> tuple[bool, bool]:
        peers = candidate.cfg.unicast_peer
        return source in peers, destination == (candidate.spec.source if peers else candidate.spec.destinations[0])

    return max(router.siblings, key=fit)


def lists_our_addresses(router: VirtualRouter, advert: Advert, known: bool) -> bool:
    """In any order; a router that resigns need not say what it resigns from. `known`: it was our master before."""
    if (router.cfg.skip_check_adv_addr and known) or not advert.priority:
        return True
    return _addresses(router, advert) == router.advertised


def _addresses(router: VirtualRouter, advert: Advert) -> list[bytes]:
    width = ADDRESS_LENGTH[router.cfg.family]
    return sorted(advert.addresses[i : i + width] for i in range(0, len(advert.addresses), width))


def other_addresses(router: VirtualRouter, advert: Advert, source: bytes, now: float) -> Sequence[Action]:
    """RFC 9568 7.1 lets it pass; RFC 3768 and keepalived before 2.3.3 dropped it, and then both were MASTER."""
    records = router.records
    records.counters["addr_list_err"] += 1
    if records.hushed("addr_list_err", now):
        return ()
    listed = ", ".join(map(text, _addresses(router, advert))) or "none"
    return records.line("warning", "addr_list_err", f"{text(source)} has other virtual addresses: {listed}")


def other_checksum(router: VirtualRouter, advert: Advert, source: bytes, now: float) -> Sequence[Action]:
    """The peer reads RFC 5798 5.2.8 the other way: understood, but does it understand us?"""
    router.peer_pseudo_header = advert.pseudo_header
    if advert.old_sum is not router.spec.old_sum and advert.pseudo_header and not router.cfg.old_unicast_checksum:
        router.change_voice(old_sum=advert.old_sum)
        whose = "keepalived before 1.3.7" if advert.old_sum else "everybody else"
        if router.records.hushed("old_sum", now, gap=1.0):
            return (OtherAdvert(router),)
        what = f"{text(source)} makes its checksums like {whose}, and so do we from now on"
        return (OtherAdvert(router), *router.records.line("info", "old_sum", what))
    if advert.pseudo_header is router.spec.pseudo_header or router.records.hushed("checksum", now):
        return ()
    how = "with a pseudo header (keepalived)" if advert.pseudo_header else "without pseudo header (RFC 9568)"
    return router.records.line(
        "warning", "checksum", f"{text(source)} makes its checksums {how}, we do not: v3_checksum_as_v2 changes ours"
    )


def told_by_trailer(router: VirtualRouter, auth: Auth, advert: Advert, source: bytes, now: float) -> Sequence[Action]:
    """What an operator should know of an advert that was accepted: that it is anybody's, or soon will not be."""
    records = router.records
    if advert.skew is None:
        records.counters["auth_ext_missing"] += 1
        if auth.mode != PERMISSIVE or records.hushed("auth_ext_missing", now):
            return ()
        what = f"accepted an advert without HMAC from {text(source)}, anybody could have sent it: mode is permissive"
        return records.line("warning", "auth_ext_missing", what)
    if 2 * abs(advert.skew) <= auth.window or records.hushed("skew", now):
        return ()
    how = "behind" if advert.skew > 0 else "ahead of"
    what = f"the clock of {text(source)} is {abs(advert.skew)} s {how} ours, time_window is {auth.window} s"
    return records.line("warning", "skew", f"{what}: synchronize both")
