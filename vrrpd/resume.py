"""The upgrade in place: try the code of another release, become it, and go on with everything the old code had.

The guard keeps its pid, its children, their channels, the locks of the pid files, the control socket and the will;
only the code changes, by execve(2). In: a folder with a release. Out: either the new code runs as the guard, or
nothing has changed and the answer says why. Three walls stand before a broken release:

    the trial    a child of the new code imports all of itself, reads the message and loads the configuration
    the return   new code that cannot take over after all becomes the former code again, with the same message
    the vrrp process  goes on with the old code until its successor has taken over (guard.py)

The state that is handed over is guard.py's matter (`Guard.bequeath`, `Guard.inherit`); here is how it travels.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import zlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn

from vrrpd import ipc
from vrrpd.children import Loaded, Loader, load_into
from vrrpd.vrrp import estate

if TYPE_CHECKING:
    from vrrpd.guard import Setting

# Of the state, and of what guard, vrrp process and helper say to each other: for a moment they are of two releases.
VERSION = 2

EXIT_USAGE = 2
PATIENCE_USEC = 30_000_000  # of the service manager's watchdog, from before the exec until the new code has taken over
OUTPUT_SHOWN = 20  # lines of a trial that failed
# What the daemon will need: a release that lacks or breaks one of them fails its trial, not its life.
MODULES = ("vrrpd.guard", "vrrpd.helper", "vrrpd.vrrp_daemon", "vrrpd.executor", "vrrpd.will", "vrrpd.vrrpctl")

State = dict[str, Any]


class Refused(Exception):
    """The upgrade does not happen; `restart`: the two releases can follow each other by a restart only."""

    def __init__(self, reason: str, restart: bool = False, output: str = "") -> None:
        super().__init__(reason)
        self.restart = restart
        self.output = output  # what the new code has printed


class UnknownVersion(ValueError):
    """Of the state."""


# ---------------------------------------------------------------------------------------------------- which code
def own_code() -> str:
    """The folder that holds this package."""
    return os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def release_of(code: str) -> str:
    """The name of a release folder; "checkout" for any other place."""
    return os.path.basename(code) if os.path.basename(os.path.dirname(code)) == "releases" else "checkout"


def name_of(code: str) -> str:
    """A folder as people call it."""
    return code if release_of(code) == "checkout" else f"release {release_of(code)}"


def target(wanted: str | None) -> str:
    """The folder to upgrade to: the wanted one, or `current` where we are installed, or where we came from."""
    code = own_code()
    if wanted:
        code = wanted
    elif release_of(code) != "checkout":
        code = os.path.join(os.path.dirname(os.path.dirname(code)), "current")
    code = os.path.realpath(code)
    if not os.path.isfile(os.path.join(code, "vrrpd", "__init__.py")):
        raise Refused(f"{code} holds no release of vrrpd")
    return code


def door(code: str) -> list[str]:
    """The command that runs the `vrrpd` of a folder, whatever the environment says."""
    installed = os.path.exists(os.path.join(code, "__main__.py"))
    return [sys.executable, "-I", "-S", *([code, "vrrpd"] if installed else [os.path.join(code, "vrrpd")])]


# ------------------------------------------------------------------------------------------------------ the trial
class Report(NamedTuple):
    """What a release said of itself in its trial, and the configuration as it understands it."""

    loaded: Loaded
    code: str


class Trial(Loader):
    """A loader child that runs the code of another release, and leaves more than the configuration."""

    def __init__(self, code: str, setting: Setting, rehearsal: State) -> None:
        self.code = code
        self._state = memory("rehearsal", json.dumps(rehearsal).encode())
        self._output = os.memfd_create("output")
        words = ["-f", setting.config, "--lenient"] if setting.lenient else ["-f", setting.config]
        if setting.config_id is not None:
            words += ["-i", setting.config_id]
        self._words = words
        try:
            super().__init__(setting.config, setting.config_id, setting.lenient)
        finally:
            os.close(self._state)

    def descriptors(self) -> set[int]:
        return {*super().descriptors(), self._state, self._output}

    def work(self) -> int:
        fds = (self._result, self._model, self._state)
        for fd in fds:
            os.set_inheritable(fd, True)
        os.dup2(self._output, 1)
        os.dup2(self._output, 2)
        argv = [*door(self.code), *self._words, "--preflight", ",".join(map(str, fds))]
        os.execv(argv[0], argv)

    def report(self) -> Report:
        """The outcome, once the child has ended; Refused says why this release does not come into question."""
        output = ipc.read_all(self._output).decode(errors="replace").strip().splitlines()
        ended, answer = self.outcome()
        where = name_of(self.code)
        if answer is None:
            os.close(self._model)
            last = output[-1] if output else "it said nothing"
            if ended == f"exit status {EXIT_USAGE}" and "--preflight" in last:
                raise Refused(f"{where} knows no upgrade in place: only a restart leads to it", restart=True)
            raise Refused(f"{where} does not run ({ended}): {last}", output="\n".join(output[-OUTPUT_SHOWN:]))
        versions = answer.pop("speaks", {})
        ours = estate_format(estate.ESTATE_VERSION, estate.shape())
        for what, version in (("resume", VERSION), ("estate", ours)):
            if version not in versions.get(what, ()):
                os.close(self._model)
                known = ", ".join(map(str, versions.get(what, ()))) or "none"
                raise Refused(
                    f"{where} does not understand what the running one hands over"
                    f" ({what} version {version}; it knows {known}): only a restart leads to it",
                    restart=True,
                )
        return Report(self.loaded(answer), self.code)


def estate_format(version: int, shape: estate.Shape) -> str:
    """Between two checkouts of one version the fields may differ, whatever the number says."""
    return f"{version}.{zlib.crc32(json.dumps(shape).encode()):08x}"


def preflight(setting: Setting, fds: Sequence[int]) -> int:
    """In the trial: prove that this code is whole, understands the message, and loads the configuration."""
    result, model, state = fds
    for name in MODULES:
        importlib.import_module(name)
    from vrrpd.guard import Guard

    known, formats = [VERSION], [estate_format(estate.ESTATE_VERSION, estate.shape())]
    try:
        theirs = decode(ipc.read_all(state))
        Guard.understand(theirs)
        if estate.understands(theirs["estate"]["version"], theirs["estate"]["shape"]):
            formats.append(estate_format(**theirs["estate"]))
    except Exception as error:  # it is for the other one to refuse, which knows both versions
        print(f"cannot read the state: {error!r}", file=sys.stderr)
        known = [] if not isinstance(error, UnknownVersion) else known
    speaks = {"resume": known, "estate": formats}
    return load_into(result, model, setting.config, setting.config_id, setting.lenient, speaks=speaks)


# ------------------------------------------------------------------------------------------------------- the exec
def memory(name: str, data: bytes) -> int:
    """A memfd with this content."""
    fd = os.memfd_create(name)
    with open(fd, "wb", closefd=False) as file:
        file.write(data)
    return fd


def decode(data: bytes) -> State:
    state = json.loads(data)
    if not isinstance(state, dict) or state.get("version") != VERSION:
        raise UnknownVersion("a state of another version")
    return state


def become(code: str, state: State) -> NoReturn:
    """Execute other code in this process. Returns only by an OSError, with nothing changed.

    The caller has blocked the signals that the new code will handle: what comes meanwhile is neither lost nor deadly.
    """
    fds = [fd for fd in descriptors(state) if fd >= 0]
    message = memory("state", json.dumps(state).encode())
    for fd in (message, *fds):
        os.set_inheritable(fd, True)
    argv = [*door(code), *words(sys.argv[1:]), "--resume", str(message)]
    sys.stderr.flush()
    try:
        os.execv(argv[0], argv)
    finally:
        os.close(message)
        for fd in fds:
            os.set_inheritable(fd, False)


def words(arguments: Sequence[str]) -> list[str]:
    """The command line as it was given at the start: what ps shows goes on to be true."""
    return list(arguments[:-2] if list(arguments[-2:-1]) == ["--resume"] else arguments)


def descriptors(state: Any) -> list[int]:
    """Every descriptor in a state: the numbers under a key that is `fd` or ends in `_fd`."""
    if isinstance(state, list):
        return [fd for part in state for fd in descriptors(part)]
    if not isinstance(state, dict):
        return []
    found = []
    for key, value in state.items():
        if key == "fd" or key.endswith("_fd"):
            found.append(int(value))
        else:
            found += descriptors(value)
    return found


def main(message: int) -> int:
    """The life of the new code, from the exec on; returns the exit status of the daemon."""
    from vrrpd.guard import Guard

    data = ipc.read_all(message)
    try:
        guard = Guard.inherit(decode(data))
    except Exception as error:
        _go_back(json.loads(data), error)
    return guard.resume()


def _go_back(state: State, error: Exception) -> NoReturn:
    """The former code has run until a moment ago: it takes up again what this one cannot take over."""
    if "refused" in state:
        raise error
    refused = f"{name_of(own_code())} cannot take over ({error!r}), the former one goes on"
    print(f"vrrpd: {refused}", file=sys.stderr, flush=True)
    become(state["former"]["code"], {**state, "refused": refused})
