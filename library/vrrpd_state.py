#!/usr/bin/python
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
---
module: vrrpd_state
short_description: Make the vrrpd daemon act, and wait for the outcome
version_added: "0.1.0"
author: vrrpd contributors (@vrrpd)
description:
  - Reloads, upgrades, restarts, releases addresses, and enters or leaves maintenance; each waits until the daemon has
    arrived.
  - A failure tells the daemon's last state and its last log lines.
options:
  state:
    description:
      - V(reloaded) means that the configuration on disk runs. Nothing happens when it runs already, unless O(force).
        A stopped daemon is started.
      - V(upgraded) means that the release which O(current) leads to runs, with the configuration on disk. The daemon
        goes on as the new code, without an outage. When that is refused, or the node does not settle, O(current) is put
        back and the former release goes on; the task fails. Where the two releases cannot follow each other in place,
        it is a restart.
      - V(restarted) always restarts, or starts. An owner hands its addresses over first.
      - V(released) means that the node owns no address. Another node has to take over.
      - V(maintenance) means that the node owns nothing and will own nothing, also after a reboot.
      - V(active) means that the daemon runs and is not in maintenance.
    type: str
    choices: [reloaded, upgraded, restarted, released, maintenance, active]
    required: true
  instance:
    description: For O(state=released), only this instance.
    type: str
  force:
    description: With O(state=reloaded), reload though the main file has not changed (its includes may have).
    type: bool
    default: false
  wait:
    description: Wait until every instance is owner, or backup of an owner that it hears.
    type: bool
    default: true
  timeout:
    description: Seconds to wait.
    type: int
    default: 60
  socket:
    description: The daemon's control socket.
    type: path
    default: /run/vrrpd/control.sock
  config:
    description: The configuration on disk that O(state=reloaded) compares with.
    type: path
    default: /etc/vrrpd/vrrpd.conf
  aside:
    description: >-
      Put in place first what C(vrrpd_deploy) has left aside (O(config) with C(.aside)), because all nodes of the
      cluster have to change at once.
    type: bool
    default: false
  release:
    description: For O(state=upgraded), the release that O(current) is to lead to. Without it, the one that it leads to.
    type: str
  current:
    description: The link that leads to the release that O(state=upgraded) means.
    type: path
    default: /opt/vrrpd/current
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
  platform:
    platforms: posix
    support: full
extends_documentation_fragment:
  - action_common_attributes
"""

EXAMPLES = r"""
- name: Run the configuration that is on disk
  vrrpd_state:
    state: reloaded

- name: Hand one address over to the next host
  vrrpd_state:
    state: released
    instance: VI_1

- name: Keep this host out until further notice
  vrrpd_state:
    state: maintenance
"""

RETURN = r"""
before:
  description: State by instance before. Empty when the daemon did not run.
  returned: success
  type: dict
  sample:
    VI_1: MASTER
after:
  description: State by instance afterwards.
  returned: success
  type: dict
  sample:
    VI_1: BACKUP
elapsed:
  description: Seconds that it took.
  returned: success
  type: float
"""

import hashlib
import os
import subprocess
import time
from typing import Any, Callable

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.vrrpd_control import (
    SERVICE,
    SOCKET,
    DaemonError,
    Failed,
    Refused,
    Status,
    ask,
    chosen,
    code_release,
    explained,
    resting,
    settled,
    status,
    wait,
    wanting,
)
from ansible.module_utils.vrrpd_release import point


class Act:
    """One wish, from what the daemon says now to what it says afterwards."""

    def __init__(self, module: AnsibleModule) -> None:
        self.module = module
        self.wants: dict[str, Any] = module.params
        self.socket: str = self.wants["socket"]
        self.found: Status | None = None
        self.changed = False
        self.former = ""  # the release to return to, should the new one not settle
        self.stable_for = 0.0

    def run(self) -> dict[str, Any]:
        start = time.monotonic()
        aside = f"{self.wants['config']}.aside"
        if self.wants["aside"] and not self.module.check_mode and os.path.exists(aside):
            os.replace(aside, self.wants["config"])
        try:
            self.found = status(self.socket)
        except DaemonError:
            if self.wants["state"] in ("released", "maintenance"):
                raise
        before = states(self.found)
        accept = getattr(self, f"_{self.wants['state']}")()
        after = before
        if self.wants["wait"] and not self.module.check_mode:
            try:
                after = states(wait(self.socket, accept, self.wants["timeout"], self.stable_for))
            except DaemonError as error:
                if self.former:
                    raise self._rolled_back(error) from error
                raise
        return self._result(before, after, start)

    def _result(self, before: dict[str, str], after: dict[str, str], start: float) -> dict[str, Any]:
        elapsed = round(time.monotonic() - start, 3)
        result: dict[str, Any] = {"changed": self.changed, "before": before, "after": after, "elapsed": elapsed}
        if self.changed:
            result["diff"] = {"before": lines(before), "after": lines(after)}
        return result

    # Each of these acts if need be and returns the objection that waiting has to overcome.

    def _reloaded(self) -> Callable[[Status], str | None]:
        if self.found is None:
            return self._start()
        sha = self._on_disk()
        stale = self.found.get("config", {}).get("sha256") != sha
        if stale or self.wants["force"]:
            self.changed = True
            if not self.module.check_mode:
                self._reload()
        return self._arrived(self.found, sha)

    def _upgraded(self) -> Callable[[Status], str | None]:
        leads = code_release(self.wants["current"])
        release = self.wants["release"] or leads
        self.changed = release != leads
        if self.changed and not self.module.check_mode:
            point(self.wants["current"], release)
        if self.found is None:
            return self._start()
        sha = self._on_disk()
        if self.found.get("release") == release:
            return self._reloaded()
        self.changed = True
        if self.module.check_mode:
            return self._arrived(self.found, sha)
        former = str(self.found.get("release"))
        try:
            ask(self.socket, {"cmd": "upgrade"}, self.wants["timeout"])
        except Refused as error:
            if error.reply.get("restart") or "unknown command" in str(error):
                self.module.warn(f"{error}: restarted, which hands the addresses over first")
                self._systemctl("restart")
                return self._arrived(self.found, sha, self.found.get("processes", {}).get("guard"))
            self.former = former
            raise self._rolled_back(with_diagnostics(error), changed=False) from error
        except DaemonError as error:  # no answer in time: it may have got far
            self.former = former
            raise self._rolled_back(error) from error
        self.former, self.stable_for = former, resting(self.found)
        return self._proven(release, self._arrived(self.found, sha))

    def _proven(self, release: str, arrived: Callable[[Status], str | None]) -> Callable[[Status], str | None]:
        """The new release runs, and the process that it began with goes on running."""
        first: list[int] = []

        def accept(found: Status) -> str | None:
            if found.get("release") != release:
                return f"release {found.get('release')} runs, not {release}"
            first.append(found.get("processes", {}).get("vrrp", 0))
            if first[0] != first[-1]:
                raise Failed(f"the vrrp process of release {release} has died")
            return arrived(found)

        return accept

    def _rolled_back(self, error: DaemonError, changed: bool = True) -> DaemonError:
        """`current` leads to the former release again, which goes on; the error, with what came of that."""
        link, reply = self.wants["current"], getattr(error, "reply", {})
        if not os.path.isdir(os.path.join(os.path.dirname(link), "releases", self.former)):
            return Refused(f"{error}\nrelease {self.former} is not installed any more: {link} stays as it is", reply)
        point(link, self.former)
        if changed:
            try:
                ask(self.socket, {"cmd": "upgrade"}, self.wants["timeout"])
            except DaemonError as second:
                return Refused(f"{error}\nand back to release {self.former}: {second}", reply)
        return Refused(f"{error}\nrolled back: {link} leads to release {self.former}, which runs as before", reply)

    def _restarted(self) -> Callable[[Status], str | None]:
        if self.found is None:
            return self._start()
        self.changed = True
        if not self.module.check_mode:
            self._systemctl("restart")
        return self._arrived(self.found, self._on_disk(), self.found.get("processes", {}).get("guard"))

    def _released(self) -> Callable[[Status], str | None]:
        assert self.found is not None
        name = self.wants["instance"]
        owned: dict[str, str] = {}  # one of each sync group: the others go with it
        for instance in chosen(self.found, name):
            if instance["state"] == "MASTER":
                owned.setdefault(instance.get("sync_group") or instance["name"], instance["name"])
        self.changed = bool(owned)
        if not self.module.check_mode:
            for instance in owned.values():
                ask(self.socket, {"cmd": "handover", "instance": instance}, self.wants["timeout"])
        return wanting("released", name)

    def _maintenance(self) -> Callable[[Status], str | None]:
        assert self.found is not None
        self._maintain(True)
        return wanting("released", None)

    def _active(self) -> Callable[[Status], str | None]:
        if self.found is None:
            return self._start()
        self._maintain(False)
        return self._arrived(self.found, None)

    def _maintain(self, on: bool) -> None:
        assert self.found is not None
        if bool(self.found.get("maintenance")) is on:
            return
        self.changed = True
        if not self.module.check_mode:
            ask(self.socket, {"cmd": "maintenance", "on": on}, self.wants["timeout"])

    def _start(self) -> Callable[[Status], str | None]:
        self.changed = True
        if not self.module.check_mode:
            self._systemctl("start" if self.wants["state"] != "restarted" else "restart")
        if self.wants["state"] == "active" and not self.module.check_mode:
            self.found = wait(self.socket, lambda found: None, self.wants["timeout"])
            self._maintain(False)
        return self._arrived(None, None)

    def _reload(self) -> None:
        try:
            ask(self.socket, {"cmd": "reload"}, self.wants["timeout"])
        except Refused as error:
            raise with_diagnostics(error) from error

    def _systemctl(self, verb: str) -> None:
        command = ["systemctl", verb, SERVICE]
        # The unit is Type=notify: the command returns when the daemon is ready, or has failed.
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
        if done.returncode:
            raise DaemonError(f"{' '.join(command)}: {done.stdout.decode('utf-8', 'replace').strip()}")

    def _on_disk(self) -> str | None:
        try:
            with open(self.wants["config"], "rb") as file:
                return hashlib.sha256(file.read()).hexdigest()
        except OSError as error:
            if self.module.check_mode:
                return None
            raise DaemonError(f"{self.wants['config']}: {error.strerror}") from error

    def _arrived(
        self, before: Status | None, sha: str | None, old_guard: int | None = None
    ) -> Callable[[Status], str | None]:
        """Runs what is wanted, and every instance is settled; one that was faulty before may stay so."""
        sick = {
            instance["name"] for instance in (before or {"instances": []})["instances"] if instance["state"] == "FAULT"
        }

        def accept(found: Status) -> str | None:
            if old_guard is not None and found.get("processes", {}).get("guard") == old_guard:
                return "the old daemon still runs"
            if sha is not None and found.get("config", {}).get("sha256") != sha:
                return "the configuration on disk does not run yet"
            restless: list[str] = [
                str(instance["name"])
                for instance in found["instances"]
                if not settled(instance) and not (instance["state"] == "FAULT" and instance["name"] in sick)
            ]
            return f"not settled: {', '.join(restless)}" if restless else None

        return accept


def with_diagnostics(error: Refused) -> Refused:
    """A refusal with all that the daemon has found."""
    diagnostics = error.reply.get("diagnostics") or []
    found = [f"{entry.get('file')}:{entry.get('line')}: {entry.get('message')}" for entry in diagnostics]
    found += str(error.reply.get("output") or "").splitlines()
    return Refused("\n".join([f"{error}; the daemon goes on as before", *found]), error.reply)


def states(found: Status | None) -> dict[str, str]:
    return {instance["name"]: instance["state"] for instance in (found or {"instances": []})["instances"]}


def lines(found: dict[str, str]) -> str:
    return "".join(f"{name} {state}\n" for name, state in found.items()) or "not running\n"


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "state": {
                "type": "str",
                "choices": ["reloaded", "upgraded", "restarted", "released", "maintenance", "active"],
                "required": True,
            },
            "instance": {"type": "str"},
            "force": {"type": "bool", "default": False},
            "wait": {"type": "bool", "default": True},
            "timeout": {"type": "int", "default": 60},
            "socket": {"type": "path", "default": SOCKET},
            "config": {"type": "path", "default": "/etc/vrrpd/vrrpd.conf"},
            "aside": {"type": "bool", "default": False},
            "release": {"type": "str"},
            "current": {"type": "path", "default": "/opt/vrrpd/current"},
        },
        supports_check_mode=True,
    )
    act = Act(module)
    try:
        result = act.run()
    except DaemonError as error:
        module.fail_json(msg=explained(error), changed=act.changed and not module.check_mode)
    module.exit_json(**result)


if __name__ == "__main__":
    main()
