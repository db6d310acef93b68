"""keepalived.stats, and the same counters for JSON."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from vrrpd.dump.words import Live

NAMES = (
    "advert_rcvd", "advert_sent", "become_master", "release_master", "packet_len_err", "advert_interval_err",
    "ip_ttl_err", "invalid_type_rcvd", "addr_list_err", "invalid_authtype", "authtype_mismatch", "auth_failure",
    "pri_zero_rcvd", "pri_zero_sent",
)  # fmt: skip
AH = ("ah_invalid", "ah_spi_err", "ah_replay")  # keepalived counts them all as auth_failure


def as_stats(status: dict[str, Any]) -> str:
    return "".join(f"{line}\n" for live in status["instances"] for line in _stats(live))


def _stats(live: Live) -> Iterator[str]:
    count = live["counters"].get
    yield f"VRRP Instance: {live['name']}"
    yield "  Advertisements:"
    yield f"    Received: {count('advert_rcvd', 0)}"
    yield f"    Sent: {count('advert_sent', 0)}"
    yield f"  Became master: {count('become_master', 0)}"
    yield f"  Released master: {count('release_master', 0)}"
    yield "  Packet Errors:"
    yield f"    Length: {count('packet_len_err', 0)}"
    yield f"    TTL: {count('ip_ttl_err', 0)}"
    yield f"    Invalid Type: {count('invalid_type_rcvd', 0)}"
    yield f"    Advertisement Interval: {count('advert_interval_err', 0)}"
    yield f"    Address List: {count('addr_list_err', 0)}"
    yield "  Authentication Errors:"
    yield f"    Invalid Type: {count('invalid_authtype', 0)}"
    yield f"    Type Mismatch: {count('authtype_mismatch', 0)}"
    yield f"    Failure: {_failures(live['counters'])}"
    yield "  Priority Zero:"
    yield f"    Received: {count('pri_zero_rcvd', 0)}"
    yield f"    Sent: {count('pri_zero_sent', 0)}"


def numbers(counters: dict[str, int]) -> dict[str, int]:
    """For JSON; auth_ext_*, as keepalived has them since 2.4, of an instance with auth_hmac."""
    stats = {name: counters.get(name, 0) for name in NAMES}
    stats["auth_failure"] = _failures(counters)
    return {**stats, **{name: count for name, count in counters.items() if name.startswith("auth_ext_")}}


def _failures(counters: dict[str, int]) -> int:
    return sum(counters.get(name, 0) for name in ("auth_failure", *AH))
