"""The guard's children: how they are forked, watched and waited for, and the one that reads the configuration.

The loader is a process of its own because a file of any size and any content must neither delay nor hurt the
guard. It leaves its findings as JSON and the compiled model, each in a memfd; the guard reads the
first and passes the second on, sealed.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from vrrpd import firewall, ipc, process, vmacs

if TYPE_CHECKING:
    from vrrpd.model.vrrp import VrrpInstance

EXIT_CANNOT_RUN = 4

LOAD_TIMEOUT = 60.0
BACKOFF = (0.0, 0.0, 0.5, 1.0, 2.0, 5.0, 10.0)  # before a restart, by the number of deaths within BACKOFF_WINDOW
BACKOFF_WINDOW = 60.0
_SEALS = fcntl.F_SEAL_WRITE | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_SEAL


class Child:
    """A forked process: its pid, and a descriptor that cannot mean another one."""

    def __init__(self, pid: int, fd: int = -1) -> None:
        self.pid = pid
        self.fd = process.pidfd_open(pid) if fd < 0 else fd

    def reap(self) -> str:
        """How it ended; to be called when the descriptor is readable."""
        _, status = os.waitpid(self.pid, 0)
        os.close(self.fd)
        if os.WIFSIGNALED(status):
            return f"killed by {signal.Signals(os.WTERMSIG(status)).name}"
        return f"exit status {os.WEXITSTATUS(status)}"


def fork(keep: Collection[int], work: Callable[[], int], urgent: bool = False) -> Child:
    """Run `work` in a forked child, which ends with its result; `urgent`: in real time, if that is permitted.

    Of the guard's descriptors only the standard streams and `keep` stay open in it. They are closed under the feet
    of objects that the child has inherited too; those stay referenced by the frames above, and os._exit runs no
    finalizers, so that none of them closes a number that has a new owner.
    """
    pid = os.fork()
    if pid:
        return Child(pid)
    code = 70  # EX_SOFTWARE
    try:
        if urgent:
            process.schedule_realtime()
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


def process_facts(child: Child | None, channel: ipc.Channel | None) -> dict[str, Any] | None:
    """A child and the way to it, for the same process after an exec."""
    if child is None or channel is None:
        return None
    return {"pid": child.pid, "fd": child.fd, "channel_fd": channel.fileno(), "waiting": channel.waiting}


def process_from(facts: dict[str, Any] | None) -> tuple[Child | None, ipc.Channel | None]:
    if facts is None:
        return None, None
    sock = socket.socket(fileno=facts["channel_fd"])
    return Child(facts["pid"], facts["fd"]), ipc.Channel(sock, waiting=facts["waiting"])


class Backoff:
    """How long to wait before the next start of something that keeps dying."""

    def __init__(self, deaths: Sequence[float] = ()) -> None:
        self.deaths = list(deaths)

    def after_death(self, now: float) -> float:
        self.deaths = [at for at in self.deaths if now - at < BACKOFF_WINDOW] + [now]
        return BACKOFF[min(len(self.deaths), len(BACKOFF)) - 1]


class Loaded(NamedTuple):
    """What the loader child found. `model` is a memfd, or -1 when there are errors."""

    exit_code: int
    diagnostics: list[dict[str, Any]]
    text: str  # the diagnostics as people read them
    model: int
    shortest: float  # advert interval
    longest: float
    routers: int
    changed: list[str]  # instances that are new, gone or others than in the former configuration
    devices: Sequence[Sequence[str]] = ()  # virtual interfaces, as vmacs.py encodes them
    table: str = ""  # of nftables
    disable_local_igmp: bool = False
    host: Mapping[str, Any] = {}  # what the guard itself must know of global_defs, see reloading.py
    promote: Sequence[str] = ()  # interfaces whose secondary addresses are to outlive the first
    statics: Sequence[Sequence[Any]] = ()  # addresses, routes and rules, as statics.py reads them

    @property
    def first_error(self) -> str:
        for diagnostic in self.diagnostics:
            if diagnostic.get("severity") == "error":
                return f"{diagnostic.get('file')}:{diagnostic.get('line')}: {diagnostic.get('message')}"
        return (self.text.splitlines() or ["unknown"])[0]


def plain(loaded: Loaded) -> dict[str, Any]:
    """For an exec (resume.py)."""
    facts = loaded._asdict()
    return {"model_fd": facts.pop("model"), **facts}


def plainly(facts: dict[str, Any]) -> Loaded:
    """The way back; what this code does not know is left out."""
    known = {name: value for name, value in facts.items() if name in Loaded._fields}
    return Loaded(model=facts["model_fd"], **known)


def load_into(
    result: int, model: int, config: str, config_id: str | None, lenient: bool, former: int = -1, **more: Any
) -> int:
    """Read and check the configuration; leave a JSON object in `result` and the compiled model in `model`."""
    from vrrpd import reloading
    from vrrpd.check_config import exit_status, present
    from vrrpd.model.compiled import encode, extracted
    from vrrpd.model.load import load

    mtus = {link.name: link.mtu for link in present() or ()}
    running = extracted(ipc.read_all(os.dup(former))).global_defs if former >= 0 else None
    with reloading.announced(running):
        loaded = load(config, config_id=config_id, lenient=lenient, mtus=mtus)
    if running is not None:
        loaded = reloading.compare(loaded, running, config, lenient)
    text = "".join(diagnostic.render() for diagnostic in loaded.diagnostics)
    intervals = [1.0]
    devices: list[list[str]] = []
    table = None
    statics: list[list[Any]] = []
    promote: list[str] = []
    if loaded.model is not None:
        table = firewall.shape(loaded.model)
        intervals = [instance.advert_int for instance in loaded.model.vrrp_instances] or intervals
        devices = [vmacs.encode(device) for each in loaded.model.vrrp_instances for device in each.devices]
        promote = _promoted(loaded.model.vrrp_instances)
        statics = [[*each.entry[:2], each.entry.body.hex(), *each.entry[3:]] for each in loaded.model.statics]
        compiled = encode(loaded.model)
        with os.fdopen(model, "wb", closefd=False) as file:
            file.write(compiled)
    answer = {
        "exit_code": 0 if loaded.model is not None else exit_status(loaded),
        "diagnostics": [diagnostic.as_dict() for diagnostic in loaded.diagnostics],
        "text": text,
        "shortest": min(intervals),
        "longest": max(intervals),
        "routers": len(loaded.model.vrrp_instances) if loaded.model is not None else 0,
        "changed": _changed(former, compiled) if loaded.model is not None else [],
        "devices": devices,
        "table": table.name if table is not None else "",
        "disable_local_igmp": loaded.model is not None and loaded.model.global_defs.disable_local_igmp,
        "host": reloading.host_facts(loaded.model.global_defs) if loaded.model is not None else {},
        "statics": statics,
        "promote": promote,
        **more,
    }
    with os.fdopen(result, "w", closefd=False) as file:
        json.dump(answer, file)
    if not more:  # a trial of another release is no reload
        reloading.leave_traces(loaded, running, text)
    return 0


def _promoted(instances: Iterable[VrrpInstance]) -> list[str]:
    """Where the IPv4 addresses of instances with promote_secondaries lie; a virtual interface has it anyway."""
    return sorted(
        {
            entry.dev or instance.interface
            for instance in instances
            if instance.promote_secondaries
            for entry in (*instance.virtual_ipaddress, *instance.virtual_ipaddress_excluded)
            if len(entry.address) == 4 and entry.dev not in {device.name for device in instance.devices}
        }
    )


def _changed(former: int, compiled: bytes) -> list[str]:
    """Names, for people; none where nothing is known of the former model."""
    from vrrpd.model.compiled import decode
    from vrrpd.model.diff import diff

    if former < 0:
        return []
    difference = diff(decode(ipc.read_all(former)).vrrp_instances, decode(compiled).vrrp_instances)
    names = [instance.name for instance in (*difference.removed, *difference.added)]
    return sorted({*names, *(new.name for _, new in difference.changed)})


class Loader:
    """A loader child under way. `former`: the memfd of the model that runs, or -1."""

    def __init__(self, config: str, config_id: str | None, lenient: bool, former: int = -1) -> None:
        self.config, self.config_id, self.lenient, self.former = config, config_id, lenient, former
        self._result = os.memfd_create("diagnostics")
        self._model = os.memfd_create("model", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        self.deadline = time.monotonic() + LOAD_TIMEOUT
        self.child = fork(self.descriptors(), self.work)

    def descriptors(self) -> set[int]:
        """What stays open in the child."""
        return {self._result, self._model, self.former}

    def work(self) -> int:
        """In the child."""
        process.ordinary_priority()
        return load_into(self._result, self._model, self.config, self.config_id, self.lenient, self.former)

    def kill(self) -> None:
        process.pidfd_kill(self.child.fd, signal.SIGKILL)

    def outcome(self) -> tuple[str, dict[str, Any] | None]:
        """How the child has ended, and what it left, if anything. The model can change no more."""
        ended = self.child.reap()
        # The vrrp process gets this descriptor, and a root process trusts what is in it.
        fcntl.fcntl(self._model, fcntl.F_ADD_SEALS, _SEALS)
        try:
            answer = json.loads(ipc.read_all(self._result))
        except ValueError:
            return ended, None
        return ended, answer if isinstance(answer, dict) else None

    def loaded(self, answer: dict[str, Any]) -> Loaded:
        if answer["exit_code"]:
            os.close(self._model)
            return Loaded(model=-1, **answer)
        return Loaded(model=self._model, **answer)

    def finish(self) -> Loaded:
        """The outcome, once the child has ended."""
        ended, answer = self.outcome()
        if answer is None:
            text = f"the configuration could not be read: the loader ended with {ended}"
            answer = {"exit_code": EXIT_CANNOT_RUN, "diagnostics": [], "text": text}
            answer.update(shortest=1.0, longest=1.0, routers=0, changed=[])
        return self.loaded(answer)
