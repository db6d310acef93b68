# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The daemon's control socket for the modules: ask, describe, wait.

One JSON request per line, one JSON reply line. What goes wrong becomes a DaemonError whose text says what was tried,
what the service manager knows of the daemon, and its last log lines; a module shows it and nobody reads a traceback.
A wait that fails says what was last seen, not "timeout".
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import time
from typing import Any, Callable

SOCKET = "/run/vrrpd/control.sock"
SERVICE = "vrrpd.service"
MAX_REPLY = 64 << 20  # a status of thousands of routers; the daemon's own limit is on requests

Status = dict[str, Any]


class DaemonError(Exception):
    """The daemon did not answer, or answered no."""


class Failed(DaemonError):
    """What no waiting heals."""


class Refused(DaemonError):
    """The daemon answered, and said no; `reply` is what it said."""

    def __init__(self, text: str, reply: dict[str, Any]) -> None:
        super().__init__(text)
        self.reply = reply


def ask(path: str, request: dict[str, Any], timeout: float = 10.0) -> dict[str, Any]:
    """Send one request, return the reply; `ok` is true in it."""
    command = request.get("cmd")
    try:
        reply = _exchange(path, request, timeout)
    except socket.timeout as error:
        raise DaemonError(f"{path}: no answer to '{command}' within {timeout:g} s") from error
    except (FileNotFoundError, ConnectionRefusedError) as error:
        raise DaemonError(f"{path}: {error.strerror}: the daemon does not run") from error
    except PermissionError as error:
        raise DaemonError(f"{path}: {error.strerror}: become root, or a member of group vrrpd to read") from error
    except OSError as error:
        raise DaemonError(f"{path}: {error.strerror or error}") from error
    except ValueError as error:
        raise DaemonError(f"{path}: the answer to '{command}' is no JSON: {error}") from error
    if not reply.get("ok"):
        raise Refused(f"'{command}' refused: {reply.get('error', 'no reason given')}", reply)
    return reply


def _exchange(path: str, request: dict[str, Any], timeout: float) -> dict[str, Any]:
    deadline = time.monotonic() + timeout
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        sock.settimeout(timeout)
        sock.connect(path)
        sock.sendall(json.dumps(request).encode() + b"\n")
        answer = bytearray()
        while not answer.endswith(b"\n"):
            sock.settimeout(max(0.001, deadline - time.monotonic()))
            part = sock.recv(65536)
            if not part or len(answer) > MAX_REPLY:
                break
            answer += part
    if not answer:
        raise OSError("closed the connection without an answer")
    reply = json.loads(bytes(answer).decode("utf-8", "replace"))
    if not isinstance(reply, dict):
        raise ValueError("not an object")
    return reply


def status(path: str, timeout: float = 10.0) -> Status:
    answer = ask(path, {"cmd": "status"}, timeout)
    found = answer.get("status")
    if not isinstance(found, dict) or not isinstance(found.get("instances"), list):
        raise DaemonError(f"{path}: the status has no instances")
    return found


def service_state() -> str:
    """What systemd and the journal know, for a failure message; never raises."""
    shown = _output(
        ["systemctl", "show", SERVICE, "--property=LoadState,ActiveState,SubState,Result,ExecMainStatus,StatusText"]
    )
    facts = dict(line.split("=", 1) for line in shown.splitlines() if "=" in line)
    if not facts:
        return "the service manager did not answer"
    if facts.get("LoadState") == "not-found":
        return f"{SERVICE} is not installed"
    parts = [f"{SERVICE} is {facts.get('ActiveState', 'unknown')} ({facts.get('SubState', '')})"]
    if facts.get("Result") not in (None, "", "success"):
        parts.append(f"result {facts['Result']}, exit status {facts.get('ExecMainStatus', '?')}")
    if facts.get("StatusText"):
        parts.append(f"status: {facts['StatusText']}")
    lines = _output(["journalctl", "--unit", SERVICE, "--lines=5", "--output=cat", "--no-pager"]).strip()
    if lines:
        parts.append("last log lines:\n" + "\n".join(f"    {line}" for line in lines.splitlines()))
    return "; ".join(parts)


def _output(command: list[str]) -> str:
    try:
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.decode("utf-8", "replace")


def explained(error: DaemonError) -> str:
    """The error with the daemon's last state, unless the daemon itself has just spoken."""
    return str(error) if isinstance(error, Refused) else f"{error}; {service_state()}"


# --- what the status says --------------------------------------------------------------------------------------------


def chosen(found: Status, name: str | None) -> list[dict[str, Any]]:
    """All instances, or the named one; an unknown name is an error that lists the known ones."""
    instances: list[dict[str, Any]] = found["instances"]
    if name is None:
        return instances
    picked = [instance for instance in instances if instance.get("name") == name]
    if not picked:
        known = ", ".join(str(instance.get("name")) for instance in instances) or "none"
        raise DaemonError(f"no instance '{name}' in the running configuration (instances: {known})")
    return picked


def told(instance: dict[str, Any]) -> str:
    """One instance in words: VI_1 BACKUP, hears 10.0.0.1 (priority 200)."""
    words = f"{instance.get('name')} {instance.get('state')}"
    if instance.get("faults"):
        return f"{words} ({', '.join(instance['faults'])})"
    if instance.get("state") == "BACKUP":
        master = instance.get("master")
        heard = f"hears {master['address']} (priority {master['priority']})" if master else "hears no master"
        return f"{words}, {heard}"
    return words


def settled(instance: dict[str, Any]) -> bool:
    """Owner, or backup of an owner that it hears; one in maintenance rests by intention."""
    if instance.get("state") == "MASTER":
        return True
    if instance.get("state") == "BACKUP":
        return instance.get("master") is not None
    return list(instance.get("faults", [])) == ["maintenance"]


CONDITIONS: dict[str, Callable[[dict[str, Any]], bool]] = {
    "settled": settled,
    "master": lambda instance: instance.get("state") == "MASTER",
    "backup": lambda instance: instance.get("state") == "BACKUP",
    "fault": lambda instance: instance.get("state") == "FAULT",
    "released": lambda instance: instance.get("state") != "MASTER",
}


def resting(found: Status) -> float:
    """How long a state must hold to count: every instance could have changed its mind (three adverts and skew)."""
    return max([4.0 * float(instance.get("advert_int", 1)) for instance in found["instances"]] or [0.0])


def wait(
    path: str,
    accept: Callable[[Status], str | None],
    timeout: float,
    stable_for: float = 0.0,
    pause: float = 0.1,
) -> Status:
    """Poll until `accept` has nothing to object to (None) for `stable_for` seconds; its last objection is the error."""
    deadline = time.monotonic() + timeout
    since: float | None = None
    before: list[Any] = []
    last: DaemonError | None = None
    while True:
        try:
            found = status(path, timeout=max(1.0, min(10.0, deadline - time.monotonic())))
            objection = accept(found)
        except Failed:
            raise
        except DaemonError as error:
            objection, last = str(error), error
        else:
            last = None
        now = time.monotonic()
        states = [] if last else [(instance.get("name"), instance.get("state")) for instance in found["instances"]]
        if objection is not None or states != before:
            since = None
        before = states
        if objection is None:
            since = now if since is None else since
            if now - since >= stable_for:
                return found
        if now >= deadline:
            if last is not None:
                raise DaemonError(f"after {timeout:g} s: {last}") from last
            seen = "; ".join(told(instance) for instance in found["instances"]) or "no instances"
            raise DaemonError(f"after {timeout:g} s {objection or 'the states keep changing'}; last seen: {seen}")
        time.sleep(pause)


def wanting(condition: str, name: str | None) -> Callable[[Status], str | None]:
    """The objection for CONDITIONS[condition] on one instance or all."""
    test = CONDITIONS[condition]

    def accept(found: Status) -> str | None:
        missing = [str(instance.get("name")) for instance in chosen(found, name) if not test(instance)]
        return f"not {condition}: {', '.join(missing)}" if missing else None

    return accept


def code_release(link: str) -> str:
    """The release that an upgrade or a restart would run: the folder that /opt/vrrpd/current points to."""
    try:
        return os.path.basename(os.readlink(link))
    except OSError:
        return ""
