"""How keepalived writes single values: numbers, times, addresses, commands."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from vrrpd import scripts
from vrrpd.model import addresses as grammar
from vrrpd.model.values import FOREVER
from vrrpd.vrrp.records import text

if TYPE_CHECKING:
    from vrrpd.model.globals import GlobalDefs
    from vrrpd.model.model import Model
    from vrrpd.model.scripts import Script
    from vrrpd.model.trackers import Weight
    from vrrpd.model.values import Track, VirtualAddress
    from vrrpd.model.vrrp import VrrpInstance

Live = dict[str, Any]  # an instance, or another part, of a status answer

MASKED = "********"
SCOPES = {number: word for word, number in grammar.SCOPES.items()}
FLAGS = {bit: word for word, bit in grammar.FLAGS.items() if word != "home"}
HOME = grammar.FLAGS["home"]
SCRIPTS = (  # in the order of the files: keyword, name in JSON, name in the text
    ("notify_backup", "script_backup", "Backup state transition script"),
    ("notify_master", "script_master", "Master state transition script"),
    ("notify_fault", "script_fault", "Fault state transition script"),
    ("notify_stop", "script_stop", "Stop state transition script"),
    ("notify_deleted", "script_deleted", "Deleted state transition script"),
    ("notify", "script", "Generic state transition script"),
    ("notify_master_rx_lower_pri", "script_master_rx_lower_pri", "Master rx lower pri state transition script"),
)


def pairs(model: Model, status: dict[str, Any]) -> Iterator[tuple[VrrpInstance, Live]]:
    """Configuration and state of each instance that has both: between the two a reload may have come."""
    live = {entry["name"]: entry for entry in status["instances"]}
    return ((cfg, live[cfg.name]) for cfg in model.vrrp_instances if cfg.name in live)


# ------------------------------------------------------------------------------------------------------- addresses
def addresses(cfg: VrrpInstance, entries: Sequence[VirtualAddress], live: Live) -> list[str]:
    """Those of an instance, and whether they are set."""
    end = ""
    if live["state"] == "MASTER":
        end = " set" if cfg.accept else " set nftable_set"
    return [f"{address(entry, *_place(cfg, entry))}{end}" for entry in entries]


def _place(cfg: VrrpInstance, entry: VirtualAddress) -> tuple[str, str]:
    device = entry.dev or cfg.interface
    return device, next((each.base for each in cfg.devices if each.name == device), "")


def address(entry: VirtualAddress, device: str, base: str = "", group: str = "") -> str:
    """`base`: what a virtual interface lies on."""
    six = len(entry.address) == 16
    whole = 128 if six else 32
    plain = entry.peer is not None or entry.prefixlen == whole
    words = [text(entry.address) if plain else f"{text(entry.address)}/{entry.prefixlen}"]
    if entry.broadcast is not None:
        words.append(f"brd {text(entry.broadcast)}")
    words += [f"dev {device}@{base}" if base else f"dev {device}", f"scope {SCOPES.get(entry.scope, entry.scope)}"]
    if entry.label:
        words.append(f"label {entry.label}")
    if entry.peer is not None:
        words.append(f"peer {text(entry.peer)}/{entry.prefixlen}")
    if entry.flags & HOME:
        words.append("home")
    if six and entry.dad:
        words.append("-nodad")
    words += [name for bit, name in FLAGS.items() if entry.flags & bit]
    if entry.no_track:
        words.append("no_track")
    if group:
        words.append(f"track_group {group}")
    if six:
        words.append(_preferred(entry, whole))
    return " ".join(words)


def _preferred(entry: VirtualAddress, whole: int) -> str:
    """RFC 3484 source selection does without a /128, unless something else is said."""
    preferred = entry.preferred
    if preferred is None:
        preferred = 0 if entry.prefixlen == whole else FOREVER
    return "deprecated" if not preferred else f"preferred_lft {'forever' if preferred == FOREVER else preferred}"


# -------------------------------------------------------------------------------------------------------- commands
def command(script: Script, *more: str) -> str:
    return " ".join(f"'{word}'" for word in (*script.argv, *more))


def owner(user: str, group: str, defs: GlobalDefs) -> str:
    """`uid:gid U:G` of a script or a pipe; "" where the user does not exist."""
    try:
        who = scripts.account(*scripts.owner(defs).of(user, group))
    except LookupError:
        return ""
    return f"{who.uid}:{who.gid}"


def owned(script: Script, defs: GlobalDefs, *more: str) -> str:
    """A command, `more` arguments of ours, and whose it is."""
    who = owner(script.user, script.group, defs)
    return f"{command(script, *more)}, uid:gid {who}" if who else command(script, *more)


def notifies(cfg: Any, defs: GlobalDefs) -> Iterator[str]:
    """The notify scripts of an instance or a sync group."""
    for keyword, _, name in SCRIPTS:
        script = getattr(cfg, keyword, None)
        if script is not None and script.argv:
            yield f"   {name} = {owned(script, defs)}"


# --------------------------------------------------------------------------------------------------------- numbers
def at(live: Live) -> float:
    """Of the last transition, seconds of the wall clock."""
    return float((live.get("last_transition") or {}).get("at") or 0.0)


def moment(at: float, year: bool = True) -> str:
    """Seconds of the wall clock, and what people read."""
    whole, micro = divmod(round(at * 1e6), 1_000_000)
    there = time.strftime(f"%a %b %e %H:%M:%S.{micro:06d}{' %Y' if year else ''}", time.localtime(whole))
    return f"{whole}.{micro:06d} ({there})"


def interval(cfg: VrrpInstance, seconds: float) -> str:
    return f"{int(seconds)} sec" if cfg.version == 2 else f"{round(seconds * 1000)} milli-sec"


def number(value: float) -> float | int:
    """5 and not 5.0."""
    return int(value) if value == int(value) else value


def weight(value: Weight) -> str:
    return f"{value.value}{' reverse' if value.reverse else ''}"


def track(line: Track, between: str = "") -> str:
    return f"{line.name}{between} weight {line.weight}{' reverse' if line.reverse else ''}"


def indented(lines: Iterable[str]) -> Iterator[str]:
    return (f"     {line}" for line in lines)


def boolean(value: object) -> str:
    return "true" if value else "false"


def yes(value: object) -> str:
    return "yes" if value else "no"


def able(value: object) -> str:
    return "enabled" if value else "disabled"


def switch(value: bool | None) -> str:
    return "unset" if value is None else "on" if value else "off"
