"""What one router counts and what it says about packets: the counters, and lines that no flood can multiply.

A cause is logged once in LOG_GAP seconds; the next line says how many it stands for. Nothing is formatted before
that is decided: `hushed` first, then `line`. Where lines go is the daemon's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from vrrpd.vrrp.actions import Action, Log

COUNTERS = (  # keepalived's names where its JSON has one; the errors in the order of the checks
    "advert_rcvd", "advert_sent", "become_master", "release_master", "pri_zero_rcvd", "pri_zero_sent",
    "packet_len_err", "ip_ttl_err", "version_err", "invalid_type_rcvd", "checksum_err", "destination_err",
    "source_err", "invalid_authtype", "authtype_mismatch", "auth_failure", "advert_interval_err",
    "addr_list_err", "own_advert", "ignored", "lower_priority_rcvd", "master_changes",
)  # fmt: skip
AUTH_COUNTERS = {  # shown only of a router that has the one or the other
    "HMAC": (
        "auth_ext_missing", "auth_ext_malformed", "auth_ext_unknown_key", "auth_ext_invalid_hmac", "auth_ext_stale",
        "auth_ext_replay",
    ),
    "AH": ("ah_missing", "ah_invalid", "ah_spi_err", "ah_replay"),
}  # fmt: skip
ALL_COUNTERS = frozenset((*COUNTERS, *AUTH_COUNTERS["HMAC"], *AUTH_COUNTERS["AH"]))

REASONS = {
    "packet_len_err": "wrong length",
    "ip_ttl_err": "its TTL is not 255, so it was forwarded",
    "version_err": "another VRRP version",
    "invalid_type_rcvd": "not an advertisement",
    "checksum_err": "wrong checksum",
    "destination_err": "multicast where unicast is configured, the reverse, or another group",
    "source_err": "unexpected source address",
    "invalid_authtype": "unknown authentication type",
    "authtype_mismatch": "another authentication type",
    "auth_failure": "wrong password",
    "auth_ext_missing": "no HMAC, and auth_hmac is in mode enforce",
    "auth_ext_malformed": "an HMAC of another kind",
    "auth_ext_unknown_key": "no key with its id here",
    "auth_ext_invalid_hmac": "wrong HMAC: another key under the same id, or forged",
    "auth_ext_stale": "its time differs from ours by more than time_window: are both clocks synchronized?",
    "auth_ext_replay": "heard before, or overtaken",
    "ah_missing": "no AH header, and auth_type is AH",
    "ah_invalid": "wrong AH check value: another auth_pass, or forged",
    "ah_spi_err": "the SPI of its AH header is not its source address",
    "ah_replay": "its AH sequence was heard before, or overtaken",
    "advert_interval_err": "its advert_int is 0, or in VRRPv2 not ours",
    "addr_list_err": "no virtual address in it, or in strict mode a first one that is not link-local",
}

LOG_GAP = 60.0


def text(address: bytes) -> str:
    """A packed address for people. (ipaddress would be 0.3 MB in each process for this alone.)"""
    if len(address) == 4:
        return ".".join(map(str, address))
    groups = [f"{address[at] << 8 | address[at + 1]:x}" for at in range(0, 16, 2)]
    at, longest = 0, 1  # RFC 5952 4.2: the first of the longest runs of zeros, not a single one
    for start in range(8):
        length = next((n for n, group in enumerate(groups[start:]) if group != "0"), 8 - start)
        if length > longest:
            at, longest = start, length
    if longest == 1:
        return ":".join(groups)
    return f"{':'.join(groups[:at])}::{':'.join(groups[at + longest :])}"


def duration(seconds: float) -> str:
    """A time for people."""
    return f"{seconds:.2f} s" if seconds >= 1 else f"{seconds:.3f} s"


class Counters(dict[str, int]):
    """What has never happened takes no room: 0.4 kB less a router."""

    __slots__ = ()

    def __missing__(self, cause: str) -> int:
        return 0


class Records:
    """The counters and the voice of one router."""

    __slots__ = ("_said", "counters", "name")

    def __init__(self, name: str) -> None:
        self.name = name
        self.counters = Counters()
        self._said: dict[str, tuple[float, int]] = {}  # cause -> (silent until, left out since)

    def hushed(self, cause: str, now: float, gap: float = LOG_GAP) -> bool:
        """Was this said within `gap` seconds? Then it is only counted. Asked before a line is formatted."""
        until, missed = self._said.get(cause, (0.0, 0))
        if now < until:
            self._said[cause] = (until, missed + 1)
            return True
        self._said[cause] = (now + gap, missed)
        return False

    def line(self, level: str, cause: str, message: str) -> list[Action]:
        """The line that `hushed` let pass."""
        until, missed = self._said[cause]
        self._said[cause] = (until, 0)
        more = f" ({missed} more since the last such line)" if missed else ""
        return [Log(level, f"{self.name}: {message}{more}")]

    def give(self) -> dict[str, tuple[float, int]]:
        return dict(self._said)

    def take(self, said: Mapping[str, Sequence[float]]) -> None:
        """What another process has said already need not be said again."""
        self._said = {cause: (until, int(missed)) for cause, (until, missed) in said.items()}

    def reject(self, reason: str, source: bytes, now: float) -> Sequence[Action]:
        """A packet for our VRID that is not a valid advert: counted, told once in a while, nothing else."""
        self.counters[reason] += 1
        if self.hushed(reason, now):
            return ()
        return self.line("warning", reason, f"ignored a packet from {text(source)}: {REASONS[reason]}")
