"""The guard's children: how they are forked, watched and waited for, and the one that reads the configuration.

The loader is a process of its own because a file of any size and any content must neither delay nor hurt the
guard. It leaves its findings as JSON and the compiled model as a pickle, each in a memfd; the guard reads the
first and passes the second on, sealed.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import signal
import sys
import time
from collections.abc import Callable, Collection
from typing import Any, NamedTuple

from vrrpd import ipc, process

EXIT_CANNOT_RUN = 4

LOAD_TIMEOUT = 60.0
BACKOFF = (0.0, 0.0, 0.5, 1.0, 2.0, 5.0, 10.0)  # before a restart, by the number of deaths within BACKOFF_WINDOW
BACKOFF_WINDOW = 60.0
_SEALS = fcntl.F_SEAL_WRITE | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_SEAL


class Child:
    """A forked process: its pid, and a descriptor that cannot mean another one."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.fd = process.pidfd_open(pid)

    def reap(self) -> str:
        """How it ended; to be called when the descriptor is readable."""
        _, status = os.waitpid(self.pid, 0)
        os.close(self.fd)
        if os.WIFSIGNALED(status):
            return f"killed by {signal.Signals(os.WTERMSIG(status)).name}"
        return f"exit status {os.WEXITSTATUS(status)}"


def fork(keep: Collection[int], work: Callable[[], int]) -> Child:
    """Run `work` in a forked child, which ends with its result.

    Of the guard's descriptors only the standard streams and `keep` stay open in it. They are closed under the feet
    of objects that the child has inherited too; those stay referenced by the frames above, and os._exit runs no
    finalizers, so that none of them closes a number that has a new owner.
    """
    pid = os.fork()
    if pid:
        return Child(pid)
    code = 70  # EX_SOFTWARE
    try:
        process.default_signals()
        for fd in map(int, os.listdir("/proc/self/fd")):
            if fd > 2 and fd not in keep:
                with contextlib.suppress(OSError):
                    os.close(fd)
        code = work()
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        with contextlib.suppress(Exception):
            sys.stderr.flush()
        os._exit(code)


class Backoff:
    """How long to wait before the next start of something that keeps dying."""

    def __init__(self) -> None:
        self._deaths: list[float] = []

    def after_death(self, now: float) -> float:
        self._deaths = [at for at in self._deaths if now - at < BACKOFF_WINDOW] + [now]
        return BACKOFF[min(len(self._deaths), len(BACKOFF)) - 1]


class Loaded(NamedTuple):
    """What the loader child found. `model` is a memfd, or -1 when there are errors."""

    exit_code: int
    diagnostics: list[dict[str, Any]]
    text: str  # the diagnostics as people read them
    model: int
    shortest: float  # advert interval
    longest: float


def _load(config: str, config_id: str | None, lenient: bool, result: int, model: int) -> int:
    """Read and check the configuration; leave a JSON object in `result` and the pickled model in `model`."""
    import pickle

    from vrrpd.check_config import exit_status
    from vrrpd.model.load import load

    loaded = load(config, config_id=config_id, lenient=lenient)
    text = "".join(diagnostic.render() for diagnostic in loaded.diagnostics)
    intervals = [1.0]
    if loaded.model is not None:
        intervals = [instance.advert_int for instance in loaded.model.vrrp_instances] or intervals
        with os.fdopen(model, "wb", closefd=False) as file:
            pickle.dump(loaded.model, file, protocol=4)
    answer = {
        "exit_code": 0 if loaded.model is not None else exit_status(loaded),
        "diagnostics": [diagnostic.as_dict() for diagnostic in loaded.diagnostics],
        "text": text,
        "shortest": min(intervals),
        "longest": max(intervals),
    }
    with os.fdopen(result, "w", closefd=False) as file:
        json.dump(answer, file)
    return 0


class Loader:
    """A loader child under way."""

    def __init__(self, config: str, config_id: str | None, lenient: bool) -> None:
        self._result = os.memfd_create("diagnostics")
        self._model = os.memfd_create("model", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        self.deadline = time.monotonic() + LOAD_TIMEOUT
        keep = {self._result, self._model}
        self.child = fork(keep, lambda: _load(config, config_id, lenient, self._result, self._model))

    def kill(self) -> None:
        process.pidfd_kill(self.child.fd, signal.SIGKILL)

    def finish(self) -> Loaded:
        """The outcome, once the child has ended."""
        ended = self.child.reap()
        data = ipc.read_all(self._result)
        # The vrrp process gets this descriptor, and a root process unpickles what is in it.
        fcntl.fcntl(self._model, fcntl.F_ADD_SEALS, _SEALS)
        try:
            answer = json.loads(data)
        except ValueError:
            text = f"the configuration could not be read: the loader ended with {ended}"
            answer = {"exit_code": EXIT_CANNOT_RUN, "diagnostics": [], "text": text, "shortest": 1.0, "longest": 1.0}
        model = self._model
        if answer["exit_code"]:
            os.close(model)
            model = -1
        return Loaded(model=model, **answer)
