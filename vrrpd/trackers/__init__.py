"""What instances track, found out: scripts run at intervals, files are watched, processes are counted.

In: definitions (model/trackers.py) out of each configuration. Out: verdicts, told to the vrrp process and repeated to
each that comes later; what follows from them is the instances' (vrrp/track.py). Part of the helper, which may die at
any time: the next one begins with the verdicts that the vrrp process has, so that nothing flaps.

What is defined as before goes on as it was after a reload. What is defined anew begins anew, and its last verdict
stands until there is another.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Callable

from vrrpd.model.values import FILE, PROCESS, SCRIPT
from vrrpd.scripts import owner
from vrrpd.trackers.files import Files
from vrrpd.trackers.processes import Processes
from vrrpd.trackers.scripts import Scripts
from vrrpd.vrrp.track import Key, Verdict

if TYPE_CHECKING:
    from vrrpd.journal import Journal
    from vrrpd.log import Log
    from vrrpd.loop import Loop
    from vrrpd.model.compiled import Extract
    from vrrpd.timers import Timers

PART = 100  # verdicts in one message
AGAIN = 0.1  # when the way to the vrrp process is full
BLOCK = {SCRIPT: "vrrp_script", FILE: "track_file", PROCESS: "vrrp_track_process"}

Verdicts = Sequence[tuple[str, str, int, str, float]]


class Trackers:
    """All of them. `tell` sends verdicts to the vrrp process, and answers whether they are on their way."""

    def __init__(self, loop: Loop, timers: Timers, log: Log, tell: Callable[[Verdicts], bool]) -> None:
        self._timers, self._log, self._tell = timers, log, tell
        self._verdicts: dict[Key, Verdict] = {}
        self._scripts = Scripts(loop, timers, log, self.found)
        self._files = Files(loop, timers, log, self.found)
        self._processes = Processes(loop, timers, log, self.found)

    def seed(self, verdicts: Iterable[Sequence[Any]]) -> None:
        """What the vrrp process knows from a helper before us."""
        for kind, name, value, said, since in verdicts:
            self._verdicts[str(kind), str(name)] = Verdict(int(value), str(said), float(since))

    def resume(self, journal: Journal) -> None:
        """What checks a helper before us has left running is ended."""
        self._scripts.resume(journal)

    def configure(self, model: Extract) -> None:
        defs = model.global_defs
        here = {(SCRIPT, each.name) for each in model.vrrp_scripts}
        here |= {(FILE, each.name) for each in model.track_files}
        here |= {(PROCESS, each.name) for each in model.track_processes}
        self._verdicts = {key: verdict for key, verdict in self._verdicts.items() if key in here}
        self._files.configure(model.track_files, [name for kind, name in self._verdicts if kind == FILE])
        self._processes.configure(model.track_processes, self._verdicts, defs.process_monitor_rcv_bufs)
        self._scripts.configure(model.vrrp_scripts, owner(defs), self._verdicts)

    def stop(self, idle: Callable[[], None]) -> None:
        """Nothing is looked at any more; scripts that run are ended, and decide nothing. `idle`: the last has ended."""
        self._files.stop()
        self._processes.stop()
        self._scripts.stop(idle)

    @property
    def busy(self) -> bool:
        return self._scripts.busy

    def kill(self) -> None:
        """What still runs, at once."""
        self._scripts.kill()

    def found(self, kind: str, name: str, value: int, said: str) -> None:
        """The state of something is this now. Told when it is news."""
        former = self._verdicts.get((kind, name))
        if former is not None and (former.value, former.said) == (value, said):
            return
        changed = former is None or former.value != value
        since = time.monotonic() if former is None or changed else former.since
        verdict = self._verdicts[kind, name] = Verdict(value, said, since)
        if changed:
            bad = value == 0 and kind != FILE
            self._log.write("warning" if bad else "info", f"{BLOCK[kind]} {name}: {said}")
        if not self._tell([(kind, name, *verdict)]):
            self._timers.later(AGAIN, self.tell_all)

    def tell_all(self) -> None:
        """To a vrrp process that knows nothing yet."""
        verdicts = [(*key, *verdict) for key, verdict in self._verdicts.items()]
        parts = [verdicts[start : start + PART] for start in range(0, len(verdicts), PART)]
        if not all(map(self._tell, parts)):
            self._timers.later(AGAIN, self.tell_all)

    def status(self) -> list[dict[str, Any]]:
        """For vrrpctl: each with its verdict, since when (epoch seconds), and how it is found out."""
        now, wall = time.monotonic(), time.time()
        shown = []
        for each in (*self._scripts.status(), *self._files.status(), *self._processes.status()):
            verdict = self._verdicts.get((each["kind"], each["name"]))
            shown.append(
                {
                    **each,
                    "value": None if verdict is None else verdict.value,
                    "said": "" if verdict is None else verdict.said,
                    "since": None if verdict is None else round(wall - (now - verdict.since), 3),
                }
            )
        return shown
