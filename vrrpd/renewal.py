"""A new configuration or a new release for the daemon that runs: one reload or upgrade at a time, and what waits.

In: requests, by a signal or by an operator (with a number to answer to). Out: a loader child or a trial of the other
code, then a hand-over between vrrp processes (succession.py) or an exec of the guard (resume.py), and one answer to
everybody who asked: done, or why not, with every diagnostic. Whatever goes wrong, everything goes on as before.
It is the guard's, which knows who is there and keeps what an exec must carry along (`Owner`).
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from vrrpd import process, resume
from vrrpd.children import Loaded, Loader, plain, plainly
from vrrpd.loop import INFINITY, Loop

if TYPE_CHECKING:
    from vrrpd.guard import Setting
    from vrrpd.succession import Succession

STATS_CLEAR = signal.SIGRTMAX - 1
DUMPS = {
    signal.SIGUSR1: "data",
    signal.SIGUSR2: "stats",
    signal.SIGRTMIN + 2: "json",
    STATS_CLEAR: "stats",
    signal.SIGRTMAX: "threads",
}
HANDLED = (signal.SIGHUP, signal.SIGTERM, signal.SIGINT, *DUMPS)


class Owner(Protocol):
    setting: Setting
    loop: Loop
    vrrp: Succession
    stopping: bool

    def tell(self, level: str, message: str) -> None: ...

    def answer(self, number: int, data: dict[str, Any]) -> bool:
        """To a request of the helper; False when it does not fit into a message."""

    def bequeath(self, loaded: Loaded) -> resume.State:
        """Everything that another code needs in order to be this guard with that configuration."""

    def pending_signals(self) -> list[int]: ...

    def handle_signals(self, numbers: Iterable[int], now: float) -> None: ...

    def reloaded(self) -> None:
        """The new configuration runs."""

    def retire_helper(self) -> None:
        """It is of the former code."""


class Renewal:
    """What is under way, and whoever asked for it."""

    def __init__(self, owner: Owner) -> None:
        self._owner = owner
        self._loader: Loader | None = None
        self._trial: resume.Trial | None = None
        self._applying = False  # the hand-over has begun
        self._asked: list[int] = []  # of the loader or the trial; 0: a signal
        self._again: list[int] | None = None  # reloads asked for meanwhile: one more for all of them
        self._upgrades: list[tuple[int, str | None]] = []
        self._watchdog = process.watchdog_interval()

    @property
    def _busy(self) -> bool:
        return self._loader is not None or self._trial is not None or self._applying

    @property
    def deadline(self) -> float:
        """When `turn` is wanted."""
        return min((child.deadline for child in (self._loader, self._trial) if child is not None), default=INFINITY)

    def turn(self, now: float) -> None:
        """End a child that takes too long."""
        for child in (self._loader, self._trial):
            if child is not None and now >= child.deadline:
                child.kill()

    def clients_gone(self) -> None:
        """The helper has died, and with it whoever waits for an answer."""
        self._asked = [number for number in self._asked if number == 0]

    # ------------------------------------------------------------------- reload
    def reload(self, number: int) -> None:
        """Asked by a signal (0) or by a request of the helper. One at a time; what comes meanwhile joins the next."""
        owner = self._owner
        if owner.stopping:
            self._answer([number], {"ok": False, "error": "the daemon is stopping"})
        elif self._busy:
            self._again = [*(self._again or ()), number]
        else:
            try:
                setting, former = owner.setting, owner.vrrp.loaded.model
                self._loader = Loader(setting.config, setting.config_id, setting.lenient, former)
            except OSError as error:
                owner.tell("error", f"cannot start a process to read the configuration: {error}")
                self._answer([number], {"ok": False, "error": f"cannot start a process: {error}"})
                return
            self._asked = [number]
            owner.loop.watch(self._loader.child.fd, self._loader_ended)

    def _next(self) -> None:
        again, self._again = self._again, None
        if again:
            self.reload(again[0])
            self._asked += again[1:]
        elif self._upgrades:
            self.upgrade(*self._upgrades.pop(0))

    def _loader_ended(self, now: float) -> None:
        owner = self._owner
        loader, self._loader = self._loader, None
        assert loader is not None
        owner.loop.forget(loader.child.fd)
        loaded = loader.finish()
        asked, self._asked = self._asked, []
        if loaded.exit_code:
            error = f"{owner.setting.config} was not loaded, everything goes on as before"
            owner.tell("error", error)
            for line in loaded.text.splitlines():
                owner.tell("error", line)
            process.notify(f"STATUS=running, last reload failed: {loaded.first_error}")
            self._answer(asked, {"ok": False, "error": error, "diagnostics": loaded.diagnostics, "changed": []})
            self._next()
            return
        for line in loaded.text.splitlines():
            owner.tell("warning", line)
        self._applying = True
        owner.vrrp.hand_over(loaded, lambda error: self._reloaded(asked, loaded, error))

    def _reloaded(self, asked: list[int], loaded: Loaded, error: str) -> None:
        """The hand-over is over."""
        self._applying = False
        config = self._owner.setting.config
        if error:
            self._owner.tell("error", f"{config} was not loaded: {error}")
            process.notify(f"STATUS=running, last reload failed: {error}")
            self._answer(asked, {"ok": False, "error": error, "diagnostics": loaded.diagnostics, "changed": []})
        else:
            what = f"changed: {', '.join(loaded.changed)}" if loaded.changed else "no instance changed"
            self._owner.tell("info", f"reloaded {config}, {what}")
            process.notify(f"STATUS=running, reloaded at {time.strftime('%H:%M:%S')}, {what}")
            self._answer(asked, {"ok": True, "diagnostics": loaded.diagnostics, "changed": loaded.changed})
            self._owner.reloaded()
        self._next()

    # ------------------------------------------------------------------ upgrade
    def upgrade(self, number: int, wanted: str | None) -> None:
        """Try the code of another release; `wanted` is its folder, else the one that `current` leads to."""
        owner = self._owner
        if owner.stopping:
            self._answer([number], {"ok": False, "error": "the daemon is stopping"})
            return
        if self._busy:
            self._upgrades.append((number, wanted))
            return
        try:
            self._trial = resume.Trial(resume.target(wanted), owner.setting, owner.bequeath(owner.vrrp.loaded))
        except (OSError, resume.Refused) as error:
            self._refuse([number], f"not upgraded: {error}")
            return
        self._asked = [number]
        owner.loop.watch(self._trial.child.fd, self._trial_ended)

    def _trial_ended(self, now: float) -> None:
        trial, self._trial = self._trial, None
        asked, self._asked = self._asked, []
        assert trial is not None
        self._owner.loop.forget(trial.child.fd)
        try:
            report = trial.report()
        except resume.Refused as error:
            self._refuse(asked, f"not upgraded: {error}", restart=error.restart, output=error.output)
            return
        loaded = report.loaded
        if loaded.exit_code:
            where, config = resume.name_of(trial.code), self._owner.setting.config
            why = f"not upgraded: {where} does not load {config}: {loaded.first_error}"
            self._refuse(asked, why, diagnostics=loaded.diagnostics)
            return
        for line in loaded.text.splitlines():
            self._owner.tell("warning", line)
        self._owner.tell("info", f"going on as {resume.name_of(trial.code)}")
        self._become(trial.code, "not upgraded", {}, loaded, asked)

    def _become(self, code: str, otherwise: str, more: resume.State, loaded: Loaded, asked: list[int]) -> None:
        """Go on as that code. All that is ours goes with it; what may come meanwhile waits."""
        owner = self._owner
        owner.vrrp.settle(time.monotonic())
        # A machine that is busy may take longer to start Python than the unit's WatchdogSec= allows.
        process.notify(f"WATCHDOG_USEC={resume.PATIENCE_USEC}\nWATCHDOG=1" if self._watchdog < INFINITY else "")
        process.block_signals(HANDLED)
        signals = owner.pending_signals()
        try:
            resume.become(code, {**owner.bequeath(loaded), **more, "asked": asked, "signals": signals})
        except OSError as error:
            self.admit_signals()
            os.close(loaded.model)
            self._refuse(asked, f"{otherwise}; {code}: {error.strerror}")
            owner.handle_signals(signals, time.monotonic())

    def admit_signals(self) -> None:
        """The exec is over, one way or the other; so is the service manager's patience with it."""
        process.admit_signals(HANDLED)
        if self._watchdog < INFINITY:
            process.notify(f"WATCHDOG_USEC={int(2e6 * self._watchdog)}\nWATCHDOG=1")

    # ------------------------------------------------------------ in the other code, after the exec
    def bequeath(self) -> resume.State:
        return {"again": self._again, "upgrades": self._upgrades}

    def go_on(self, state: resume.State) -> None:
        """Go on where the former code stopped: have a vrrp process of this one follow its."""
        self._again = state["again"]
        self._upgrades = [(number, wanted) for number, wanted in state["upgrades"]]
        self.admit_signals()
        if "refused" in state:
            os.close(state["loaded"]["model_fd"])
            self._refuse(state["asked"], f"not upgraded: {state['refused']}")
        else:
            self._applying = True
            self._owner.vrrp.hand_over(plainly(state["loaded"]), lambda error: self._upgraded(state, error))

    def _upgraded(self, state: resume.State, error: str) -> None:
        """A vrrp process of this code has taken over; where it cannot, the former code is the whole daemon again."""
        self._applying = False
        owner = self._owner
        if error:
            self._go_back(state, error)
            return
        names = [resume.name_of(state["former"]["code"]), resume.name_of(resume.own_code())]
        owner.tell("info", f"upgraded from {names[0]} to {names[1]}")
        process.notify(f"MAINPID={os.getpid()}\nSTATUS=running, upgraded at {time.strftime('%H:%M:%S')} to {names[1]}")
        diagnostics = owner.vrrp.loaded.diagnostics
        answer = {"ok": True, "from": names[0], "to": names[1], "diagnostics": diagnostics, "changed": []}
        owner.retire_helper()
        self._answer(state["asked"], answer)
        self._next()

    def _go_back(self, state: resume.State, error: str) -> None:
        if self._owner.stopping:
            self._refuse(state["asked"], f"not upgraded: {error}")
            return
        former, running = state["former"]["code"], self._owner.vrrp.loaded
        refused = f"{resume.name_of(resume.own_code())} cannot take over ({error})"
        more = {"former": {"code": former, "loaded": plain(running)}, "refused": refused}
        again = running._replace(model=os.dup(running.model))
        self._become(former, f"not upgraded: {refused}", more, again, state["asked"])

    # ------------------------------------------------------------------ answers
    def _refuse(self, asked: Sequence[int], error: str, **more: Any) -> None:
        """Nothing has changed; the log gets the reason, the client all of it."""
        self._owner.tell("error", error)
        process.notify(f"STATUS=running, {error}")
        self._answer(asked, {"ok": False, "error": error, "diagnostics": [], **more})
        self._next()

    def _answer(self, asked: Sequence[int], data: dict[str, Any]) -> None:
        for number in asked:
            if number and not self._owner.answer(number, data):  # more diagnostics than a message holds
                data = {**data, "diagnostics": data.get("diagnostics", [])[:20]}
                self._owner.answer(number, data)
