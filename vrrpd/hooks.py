"""startup_script and shutdown_script: one command at the very beginning, one at the very end.

The guard waits for it, because nothing else runs then that could; a child runs it, so that the guard imports nothing
for it. It has its timeout, is then ended with all that it started, and whatever becomes of it the daemon goes on.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import time
from collections.abc import Callable, Mapping
from typing import Any

from vrrpd import process
from vrrpd.children import fork
from vrrpd.scripts import SPAWN_ERRORS, TERM_GRACE, Owner, spawn, why

BEAT = 0.5  # seconds between two signs of life to the service manager
TIMED_OUT, NOT_STARTED = 124, 127
STDERR = 2

Tell = Callable[[str, str], None]


def run(keyword: str, hook: Mapping[str, Any], tell: Tell, stopped: Callable[[], bool] = lambda: False) -> None:
    """Run it to its end, at most `timeout` seconds, or until `stopped` (asked twice a second)."""
    timeout = float(hook["timeout"])
    argv = tuple(hook["argv"])
    process.notify(f"EXTEND_TIMEOUT_USEC={int((timeout + TERM_GRACE + 5) * 1e6)}\nSTATUS=running {keyword}")
    since = time.monotonic()
    try:
        owner = Owner(hook["user"], hook["group"], hook.get("supplementary", False))
        child = fork((), lambda: _work(argv, owner, timeout))
    except OSError as error:
        tell("error", f"{keyword} {argv[0]}: not run: {error}")
        return
    ending = False
    while not select.select([child.fd], [], [], BEAT)[0]:
        process.notify("WATCHDOG=1")
        if not ending and stopped():
            ending = True
            process.pidfd_kill(child.fd, signal.SIGTERM)
    ended = child.reap()
    took = f"after {time.monotonic() - since:.2f} s"
    if ended == "exit status 0":
        tell("info", f"{keyword} {argv[0]}: {ended} {took}")
    elif ending:
        tell("warning", f"{keyword} {argv[0]}: ended {took}, the daemon is stopping")
    elif ended == f"exit status {TIMED_OUT}":
        tell("error", f"{keyword} {argv[0]}: ended {took}: it did not end within {timeout:g} s")
    else:
        tell("error", f"{keyword} {argv[0]}: {ended} {took}")


def _work(argv: tuple[str, ...], owner: Owner, timeout: float) -> int:
    """In the child: its exit status is the script's."""
    import subprocess

    process.ordinary_priority()
    try:
        child = spawn(argv, owner, STDERR)
    except SPAWN_ERRORS as error:
        os.write(STDERR, f"vrrpd: {why(argv[0], error)}\n".encode(errors="backslashreplace"))
        return NOT_STARTED
    signal.signal(signal.SIGTERM, lambda number, frame: os.killpg(child.pid, signal.SIGTERM))
    try:
        status = child.wait(timeout)
        return status if status >= 0 else 128 - status
    except subprocess.TimeoutExpired:
        os.killpg(child.pid, signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(TERM_GRACE)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)
        child.wait()
        return TIMED_OUT
