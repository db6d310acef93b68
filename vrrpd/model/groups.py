"""vrrp_sync_group: which instances change state together, as written and resolved.

In: bound blocks and the instances of the file, in any order. Out: groups of at least one member, each instance in one
of them, and findings at the word that causes them. What a group does is vrrp/groups.py's.
"""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from vrrpd.conf.schema import FIRST, Bound, kw
from vrrpd.conf.source import Problems
from vrrpd.conf.types import Boolean, Flag, WordList

from .globals import GlobalDefs
from .scripts import Script, script_type
from .trackers import OWNER, Definitions, lines
from .values import FILE, INTERFACE, PROCESS, SCRIPT, Track
from .vrrp import VrrpInstance

KINDS = (INTERFACE, SCRIPT, FILE, PROCESS)
WEIGHT_HINT = "track it in the group, or say 'sync_group_tracking_weight' there"


@dataclass(frozen=True)
class VrrpSyncGroup:
    """Instances of which all are MASTER or none; `group` are names of instances that exist."""

    name: str
    group: tuple[str, ...] = kw(WordList(), (), "the instances, by name, defined before or after the group")
    track_interface: tuple[Track, ...] = kw(
        lines(INTERFACE), (), "each member tracks these, whatever interface it lives on itself"
    )
    track_script: tuple[Track, ...] = kw(lines(SCRIPT), (), "each member tracks these scripts")
    track_file: tuple[Track, ...] = kw(lines(FILE), (), "each member tracks these files")
    track_process: tuple[Track, ...] = kw(lines(PROCESS), (), "each member tracks these processes")
    sync_group_tracking_weight: bool = kw(
        Flag(True),
        False,
        "members keep weights of their own; without it what a member tracks with a weight is dropped, or FAULT",
        also={"global_tracking": Flag(True)},
    )
    notify_master: Script | None = kw(script_type(), None, "run when all members have become MASTER", repeated=FIRST)
    notify_backup: Script | None = kw(script_type(), None, "run when all members have become BACKUP", repeated=FIRST)
    notify_fault: Script | None = kw(script_type(), None, "run when all members have entered FAULT", repeated=FIRST)
    notify_stop: Script | None = kw(script_type(), None, "run when all members have stopped", repeated=FIRST)
    notify: Script | None = kw(
        script_type(), None, "run on every transition of the group with GROUP NAME STATE 0", repeated=FIRST
    )
    notify_priority_changes: bool = kw(
        Boolean(), False, "changes of the effective priority of a member are written to the named pipes too"
    )
    smtp_alert: bool = kw(Boolean(), False, "mail about transitions of the group", inherits="smtp_alert_vrrp")


def groups(
    blocks: Sequence[Bound],
    found: Sequence[VrrpInstance],
    defs: GlobalDefs,
    trackers: Definitions,
    problems: Problems,
) -> list[VrrpSyncGroup]:
    """All groups, resolved. keepalived skips the name, or the group, that is at fault; so do we with --lenient."""
    known = {instance.name: instance for instance in found}
    taken: dict[str, str] = {}  # instance -> its group
    names: dict[str, Bound] = {}
    resolved = []
    for bound in blocks:
        if bound.name in names:
            line = names[bound.name].statement.line.number
            message = f"vrrp_sync_group {bound.name} is already defined in line {line}"
            problems.survivable(bound.statement.place(1), message, "this block would be skipped")
            continue
        names[bound.name] = bound
        tracked = {f"track_{kind}": trackers.tracks(bound, kind) for kind in KINDS}
        members = _members(bound, known, taken, problems)
        if "global_tracking" in {statement.words[0] for statement in bound.places.values()}:
            place = bound.places["sync_group_tracking_weight"].place()
            problems.warning(place, "global_tracking is an old name", "say 'sync_group_tracking_weight'")
        if not members:
            if not bound.values.get("group") and ("group" in bound.values or "group" not in bound.tried):
                message = f"vrrp_sync_group {bound.name} has no members"
                problems.survivable(bound.statement.place(1), message, "list them: group { VI_1 VI_2 }")
            continue
        if len(bound.values["group"]) == 1:
            message = f"vrrp_sync_group {bound.name} has one member, which has nobody to change state with"
            problems.survivable(bound.statement.place(1), message, "name the others, or remove the group")
        owners = [name for name in members if known[name].priority == OWNER]
        if owners and len(owners) < len(members):
            other = next(name for name in members if name not in owners)
            message = f"vrrp_sync_group {bound.name}: {owners[0]} is an address owner (priority 255) and {other} is not"
            problems.warning(
                bound.statement.place(1), message, "the owner follows where the other one has a better router"
            )
        alert = bound.values.get("smtp_alert", defs.smtp_alert_vrrp)
        resolved.append(
            VrrpSyncGroup(
                **{
                    **bound.values,
                    **tracked,
                    "name": bound.name,
                    "group": tuple(members),
                    "smtp_alert": bool(alert),
                }
            )
        )
    return resolved


def for_members(
    groups: Sequence[VrrpSyncGroup], blocks: Sequence[Bound], found: Sequence[VrrpInstance], problems: Problems
) -> list[VrrpInstance]:
    """The instances with what their groups say for them; `blocks` are those of the instances."""
    mine = {name: group for group in groups for name in group.group}
    bounds = {bound.name: bound for bound in reversed(blocks)}
    return [_for_member(mine[one.name], bounds[one.name], one, problems) if one.name in mine else one for one in found]


def _for_member(group: VrrpSyncGroup, bound: Bound, instance: VrrpInstance, problems: Problems) -> VrrpInstance:
    changes: dict[str, object] = {f"track_{kind}": _tracks(kind, group, bound, instance, problems) for kind in KINDS}
    told = instance.notify_priority_changes or group.notify_priority_changes
    return dataclasses.replace(instance, notify_priority_changes=told, **changes)  # type: ignore[arg-type]


def _tracks(
    kind: str, group: VrrpSyncGroup, bound: Bound, instance: VrrpInstance, problems: Problems
) -> tuple[Track, ...]:
    """keepalived: members weigh alike, so that a weight of one alone is left out, and an interface's is 0 (FAULT);
    what both track has the group's weight, unless the instance gives it none.
    """
    field = f"track_{kind}"
    places = dict(zip((line.name for line in bound.values.get(field, ())), bound.items.get(field, ())))
    own: dict[str, Track] = {}
    for track in getattr(instance, field):
        if track.weight == 0 or group.sync_group_tracking_weight:
            own[track.name] = track
            continue
        message = f"{field}: {track.name} has a weight in {instance.name} alone, of sync group {group.name}"
        problems.survivable(places[track.name].place(), message, WEIGHT_HINT)
        if kind == INTERFACE:
            own[track.name] = track._replace(weight=0)
    for track in getattr(group, field):
        if track.name in own:
            fault = own[track.name].weight == 0
            counts = "that it means FAULT here counts" if fault else "the weight there counts"
            message = f"{field}: sync group {group.name} tracks {track.name} too: {counts}"
            problems.warning(places[track.name].place(), message, "remove one of the two")
            if not fault:
                own[track.name] = track
        elif not (kind == INTERFACE and track.name == instance.interface):  # which it tracks in any case
            if not (track.weight and instance.priority == OWNER):
                own[track.name] = track
    return tuple(own.values())


def _members(bound: Bound, known: Collection[str], taken: dict[str, str], problems: Problems) -> list[str]:
    members: list[str] = []
    for name, statement in zip(bound.values.get("group", ()), bound.items.get("group", ())):
        place = statement.place(statement.words.index(name))
        if name not in known:
            near = difflib.get_close_matches(name, known, 1, 0.6)
            hint = f"did you mean '{near[0]}'?" if near else f"there are {', '.join(sorted(known)) or 'none'}"
            problems.survivable(place, f"group: there is no vrrp_instance {name}", hint)
        elif name in members:
            problems.survivable(place, f"group: {name} is given twice")
        elif name in taken:
            message = f"group: {name} is in vrrp_sync_group {taken[name]} already"
            problems.survivable(place, message, "an instance is in one group at most")
        else:
            members.append(name)
            taken[name] = bound.name
    return members
