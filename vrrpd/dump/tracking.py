"""What is tracked, and by whom: scripts, files, processes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from vrrpd.dump import words
from vrrpd.dump.words import Live
from vrrpd.model.values import FILE, INTERFACE, PROCESS, SCRIPT
from vrrpd.vrrp.track import tracks

if TYPE_CHECKING:
    from vrrpd.model.groups import VrrpSyncGroup
    from vrrpd.model.model import Model
    from vrrpd.model.values import Track
    from vrrpd.model.vrrp import VrrpInstance

MANY = 65535  # quorum_max that says nothing
KINDS = (INTERFACE, SCRIPT, FILE, PROCESS)
TITLES = {INTERFACE: "interfaces", SCRIPT: "scripts", FILE: "files", PROCESS: "processes"}
BETWEEN = {INTERFACE: "", SCRIPT: "", FILE: ",", PROCESS: ","}


def tracker(status: dict[str, Any], kind: str, name: str) -> Live:
    """What the helper knows of it."""
    found = (each for each in status.get("trackers", ()) if (each["kind"], each["name"]) == (kind, name))
    return next(found, {})


def own_tracks(cfg: VrrpInstance, kind: str, group: VrrpSyncGroup | None) -> list[Track]:
    """Without what it tracks because its sync group does."""
    given: tuple[Track, ...] = getattr(group, f"track_{kind}") if group is not None else ()
    return [track for track in getattr(cfg, f"track_{kind}") if track not in given]


def tracked(lists: Iterator[tuple[str, list[Track]]]) -> Iterator[str]:
    """`Tracked ... :`, by (kind, what)."""
    for kind, found in lists:
        if found:
            yield f"   Tracked {TITLES[kind]} :"
            yield from words.indented(words.track(track, BETWEEN[kind]) for track in found)


def scripts(model: Model, status: dict[str, Any]) -> Iterator[str]:
    for check in model.vrrp_scripts:
        live = tracker(status, SCRIPT, check.name)
        good = live.get("value")
        who = words.owner(*check.user, model.global_defs)
        yield f" VRRP Script = {check.name}"
        yield f"   Command = {words.command(check.script)}"
        yield f"   Interval = {words.number(check.interval)} sec"
        yield f"   Timeout = {words.number(check.timeout)} sec"
        yield f"   Weight = {words.weight(check.weight)}"
        yield f"   Rise = {check.rise}"
        yield f"   Fall = {check.fall}"
        yield f"   Result = {_result(good, live.get('streak', 0), check.rise, check.fall)}"
        yield "   Insecure = no"
        yield "   Init state = unknown"
        yield f"   Status = {'INIT' if good is None else 'GOOD' if good else 'BAD'}"
        yield from (f"   Script uid:gid = {who}",) if who else ()
        yield "   VRRP instances :"
        yield from _trackers(model, SCRIPT, check.name)
        yield f"   State = {live.get('state', 'idle')}"


def _result(good: int | None, streak: int, rise: int, fall: int) -> int:
    """keepalived counts from 0 to rise + fall - 1, and is content from `rise` on."""
    if good is None:
        return 0
    return rise + fall - 1 - streak if good else streak


def files(model: Model, status: dict[str, Any]) -> Iterator[str]:
    for file in model.track_files:
        yield f" Track file = {file.name}"
        yield f"   File = {file.file}"
        yield f"   Status = {tracker(status, FILE, file.name).get('value') or 0}"
        yield f"   Weight = {words.weight(file.weight)}"
        yield from _trackers(model, FILE, file.name)


def processes(model: Model, status: dict[str, Any]) -> Iterator[str]:
    for process in model.track_processes:
        live = tracker(status, PROCESS, process.name)
        delays = live.get("delays", {})
        yield f" VRRP Track process = {process.name}"
        yield f"   Process = {process.process[0]}"
        if process.process[1:]:
            yield f"   Parameters = {' '.join(process.process[1:])}"
        if process.param_match:
            yield f"   Param match = {process.param_match}"
        yield f"   Min processes = {process.quorum}"
        if process.quorum_max < MANY:
            yield f"   Max processes = {process.quorum_max}"
        yield f"   Current processes = {live.get('running', 0)}"
        yield f"   Have quorum = {words.boolean(live.get('value'))}"
        yield f"   Weight = {words.weight(process.weight)}"
        yield f"   Terminate delay = {process.terminate_delay or process.delay:.6f}s"
        yield f"   Fork delay = {process.fork_delay or process.delay:.6f}s"
        for name, keyword in (("Fork", "fork_delay"), ("Terminate", "terminate_delay")):
            yield f"   {name} delay timer {'' if keyword in delays else 'not '}running"
        yield f"   Full command = {words.boolean(process.full_command or len(process.process) > 1)}"
        yield from _trackers(model, PROCESS, process.name)


def _trackers(model: Model, kind: str, name: str) -> Iterator[str]:
    yield "   Tracking instances :"
    for cfg in model.vrrp_instances:
        for track in tracks(cfg):
            if (track.kind, track.name) == (kind, name):
                yield f"     {cfg.name}, weight {track.weight}{' reverse' if track.reverse else ''}"
