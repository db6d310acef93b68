"""What a router tracks besides the interface that it lives on: from verdicts to priority and faults.

In: verdicts, by what they are about: `interface` is the engine's own, `script`, `file` and `process` come from the
helper (trackers.py). Out: the effective priority, the sentences that keep a router in FAULT, and what is still awaited.
All of it follows from the verdicts alone; nothing is counted up or down here.

keepalived.conf(5) track_script and the like:

    weight W > 0    W is added while it is good            weight W < 0    |W| is taken off while it is not
    weight 0        FAULT while it is not good             reverse         the other sign; of weight 0: FAULT while good
    a file          its number times the weight is added, at most 253; -254 and less: FAULT. Of weight 0: 0 is good

The sum is bounded to 1..254. An address owner (255) knows no weights.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from vrrpd.model.values import FILE, INTERFACE, Track

if TYPE_CHECKING:
    from vrrpd.model.vrrp import VrrpInstance

OWNER, HIGHEST, LOWEST = 255, 254, 1
MOST, FATAL = 253, -254  # what the number of a file may add, and what is FAULT

Key = tuple[str, str]  # kind, name


class Verdict(NamedTuple):
    """The last word about one tracked thing."""

    value: int  # of a file its number; of all else 1 for good, 0 for not
    said: str = ""  # how it is: "failed (exit status 1)"
    since: float = 0.0

    @property
    def good(self) -> bool:
        return self.value != 0


Verdicts = Mapping[Key, Verdict]


def tracks(cfg: VrrpInstance) -> tuple[Track, ...]:
    """All that an instance tracks."""
    return cfg.track_interface + implied(cfg) + cfg.track_script + cfg.track_file + cfg.track_process


def implied(cfg: VrrpInstance) -> tuple[Track, ...]:
    """The other interfaces that its addresses, routes and rules need: FAULT while one is down or does not exist, as in
    keepalived, so that another router can have them. Not what says no_track, nor a route that has several ways.
    """
    bases = {device.name: device.base for device in cfg.devices}
    needed = [item.dev for item in (*cfg.virtual_ipaddress, *cfg.virtual_ipaddress_excluded) if not item.no_track]
    for entry in (*cfg.virtual_routes, *cfg.virtual_rules):
        words = [] if entry.no_track else entry.text.split()
        if not {"nexthop", "or"} & set(words):
            needed += [name for word, name in zip(words, words[1:]) if word in ("dev", "iif", "oif")]
    names = dict.fromkeys(bases.get(name, name) for name in needed)
    said = {track.name for track in cfg.track_interface if not track.weight}
    return tuple(Track(INTERFACE, name) for name in names if name not in ("", cfg.interface) and name not in said)


def effect(track: Track, verdict: Verdict | None) -> int:
    """What it adds to the priority now; nothing where it is a fault."""
    if verdict is None:
        return 0
    weight = -track.weight if track.reverse else track.weight
    if track.kind == FILE:
        added = verdict.value * weight
        return min(MOST, added) if added > FATAL else 0
    return weight if verdict.good == (track.weight > 0) else 0


def fault(track: Track, verdict: Verdict | None) -> str:
    """Why it keeps its routers in FAULT, as a sentence; "" when it does not."""
    if verdict is None:
        return ""
    if track.weight == 0:
        # A number in a file says what is wrong, 0 is the good one; of everything else 0 is the bad one.
        if (verdict.good == (track.kind != FILE)) is not track.reverse:
            return ""
        return f"{subject(track)} {verdict.said}{' (weight 0 reverse)' if track.reverse else ''}"
    if track.kind == FILE and verdict.value * (-track.weight if track.reverse else track.weight) <= FATAL:
        return f"{subject(track)} {verdict.said}, weight {track.weight}{' reverse' if track.reverse else ''}"
    return ""


def subject(track: Track) -> str:
    return f"{'tracked ' if track.kind in (INTERFACE, FILE) else ''}{track.kind} {track.name}"


class Tracking:
    """That of one router; there is none where nothing is tracked."""

    __slots__ = ("_verdicts", "held", "inherited", "tracks")

    def __init__(self, tracks: Sequence[Track], verdicts: Verdicts) -> None:
        self._verdicts = verdicts  # the engine's, of everything that is tracked
        self.tracks = tracks
        self.held = False  # a start waits for what is awaited
        self.inherited = 0  # the priority of a process that died: it counts for as long as a verdict is missing

    def priority(self, base: int) -> int:
        """The effective one, 1..254; base is less than 255."""
        verdicts = [self._verdicts.get((track.kind, track.name)) for track in self.tracks]
        if self.inherited:
            if None in verdicts:
                return self.inherited
            self.inherited = 0
        return max(LOWEST, min(HIGHEST, base + sum(map(effect, self.tracks, verdicts))))

    def faults(self) -> set[str]:
        found = (fault(track, self._verdicts.get((track.kind, track.name))) for track in self.tracks)
        return {sentence for sentence in found if sentence}

    def awaited(self) -> list[str]:
        """Without which nobody knows whether it is to be FAULT, as sentences."""
        return [
            f"waiting for the first result of {subject(track)}"
            for track in self.tracks
            if track.weight == 0 and (track.kind, track.name) not in self._verdicts
        ]

    def snapshot(self, owner: bool, date: Callable[[float], float | None]) -> list[dict[str, Any]]:
        """For status: each with what it does at the moment."""
        shown = []
        for track in self.tracks:
            verdict = self._verdicts.get((track.kind, track.name))
            because = fault(track, verdict)
            shown.append(
                {
                    "kind": track.kind,
                    "name": track.name,
                    "weight": track.weight,
                    "reverse": track.reverse,
                    "value": None if verdict is None else verdict.value,
                    "said": "" if verdict is None else verdict.said,
                    "since": None if verdict is None else date(verdict.since),
                    "effect": 0 if owner else effect(track, verdict),
                    "fault": because,
                }
            )
        return shown
