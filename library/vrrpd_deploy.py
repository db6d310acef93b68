#!/usr/bin/python
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
---
module: vrrpd_deploy
short_description: Put the vrrpd daemon and its configuration on a node
version_added: "0.1.0"
author: vrrpd contributors (@vrrpd)
description:
  - Brings release, configuration, unit, launchers, user, sysctls and firewall of the daemon to the wanted state in one
    call, and says what has to happen for the daemon to run it.
  - Nothing is activated here; C(vrrpd_state) does that, in the order that site.yml chooses.
  - The configuration is checked by the daemon's own checker before anything is replaced, also in check mode and on a
    node that has never seen the daemon.
  - Compares wanted, on disk and running, so a run that was aborted is completed by the next one.
options:
  state:
    description:
      - V(present) deploys.
      - V(absent) stops the daemon and removes everything that V(present) brought, and restores the sysctls.
    type: str
    choices: [present, absent]
    default: present
  config:
    description:
      - The text of the configuration, with a placeholder like C(@@VI_1.authentication.auth_pass@@) for each secret.
      - Required with O(state=present).
    type: str
  secrets:
    description:
      - The value of each placeholder in O(config), as a dictionary.
      - Without it the values are taken from the host's C(vrrpd_instances), C(vrrpd_blocks) and C(vrrpd_overrides).
      - Travels encoded, so that masking it never garbles what the module reports.
    type: raw
  wires:
    description: Per instance, what all nodes must agree on. A change of it makes RV(kind) V(barrier).
    type: dict
    default: {}
  hmac:
    description: >-
      Per instance, the key that adverts are sent with and those that are accepted. Where what runs and what is wanted
      would not understand each other, RV(kind) is V(barrier).
    type: dict
    default: {}
  cluster:
    description: Name of the cluster, for the record on the node.
    type: str
    default: ''
  members:
    description: The hosts of the cluster. A recorded host that is not among them is reported in RV(left).
    type: list
    elements: str
    default: []
  retired:
    description: Hosts that left for good and are not reported any more.
    type: list
    elements: str
    default: []
  partial:
    description: >-
      Not all hosts of the cluster take part in this run, so what would make RV(kind) V(barrier) is refused before
      anything is written.
    type: bool
    default: false
  named:
    description: Hosts that left and that the plan has named already, so that no warning repeats it.
    type: list
    elements: str
    default: []
  sysctls:
    description: Kernel settings, live and persistent. The former values are recorded and restored later.
    type: dict
    default: {}
  devices:
    description: >-
      Names of the virtual interfaces that O(config) makes (C(use_vmac), C(use_ipvlan)). Where systemd-networkd or
      NetworkManager is installed it is told not to manage them.
    type: list
    elements: str
    default: []
  firewall:
    description: >-
      Open IP protocol 112 in the firewall that is active, and what else O(config) needs: protocol 51 for
      C(auth_type AH), UDP port 11200 for C(peer_path).
    type: bool
    default: false
  python:
    description: The interpreter that runs the daemon, 3.9 or newer.
    type: path
    default: /usr/bin/python3
  releases_kept:
    description: How many releases stay. A running one always does.
    type: int
    default: 3
  root:
    description: Take this folder for the root of the file system and write files only (images, tests).
    type: path
    default: /
  version:
    description: Name of the release. The action plugin sets it.
    type: str
  checksum:
    description: SHA-256 of the archive's content. The action plugin sets it.
    type: str
  archive:
    description: Where the archive lies on the node. The action plugin uploads it when it is missing.
    type: path
attributes:
  action:
    support: full
  async:
    support: none
  bypass_host_loop:
    support: none
  check_mode:
    support: full
  diff_mode:
    details: Secrets are masked; a changed one is marked as changed.
    support: full
  platform:
    platforms: posix
    support: full
notes:
  - The node needs Python 3.9 or newer and systemd, nothing else.
extends_documentation_fragment:
  - action_common_attributes
  - action_common_attributes.flow
"""

EXAMPLES = r"""
- name: Deploy the daemon
  vrrpd_deploy:
    config: "{{ lookup('ansible.builtin.template', 'vrrpd.conf.j2') }}"
    sysctls:
      net.ipv4.ip_forward: 1

- name: Remove the daemon and everything it brought
  vrrpd_deploy:
    state: absent
"""

RETURN = r"""
action:
  description: >-
    What the daemon needs in order to run what is on disk now, V(none), V(start), V(reload), V(upgrade) or V(restart).
  returned: success
  type: str
  sample: upgrade
kind:
  description: >-
    V(none), V(rolling) when the hosts may follow one by one, V(barrier) when the wire changes and all hosts have to
    change at the same moment. The configuration then lies beside the present one (C(.aside)), for C(vrrpd_state).
  returned: success
  type: str
  sample: rolling
owner:
  description: Whether the node owned an address at that moment.
  returned: success
  type: bool
release:
  description: The release on disk.
  returned: success
  type: str
previous_release:
  description: The release that C(current) pointed to before, or an empty string. With RV(action=upgrade) it still does.
  returned: success
  type: str
running:
  description: What runs, or an empty dictionary. C(release), C(config_sha256) and C(states) by instance.
  returned: success
  type: dict
left:
  description: Hosts of the recorded cluster that are no longer members and were not retired.
  returned: success
  type: list
  elements: str
diagnostics:
  description: What the daemon's checker found, as text.
  returned: when something had to be checked
  type: list
  elements: str
"""

import base64
import contextlib
import grp
import hashlib
import json
import os
import pwd
import shutil
import tempfile
from collections.abc import Collection, Iterable
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.vrrpd_control import SOCKET, DaemonError, status, told
from ansible.module_utils.vrrpd_host import (
    HostError,
    Wanted,
    below,
    close_firewall,
    firewall,
    firewall_open,
    live,
    load_json,
    mode_of,
    must,
    open_firewall,
    openings,
    read,
    remove,
    rivals,
    run,
    set_live,
    sleeping_rivals,
    sysctl_text,
    write,
)
from ansible.module_utils.vrrpd_keys import NO_KEYS, UNSIGNED, interoperable
from ansible.module_utils.vrrpd_mask import MASK, diagnostic_lines, digest, filled, masked, masked_after
from ansible.module_utils.vrrpd_network import NETWORK_MANAGER_CONF, for_neighbours, knows_links, neighbours_files
from ansible.module_utils.vrrpd_release import ArchiveError, content, point, prune, unpack

USER = "vrrpd"
OPT = "/opt/vrrpd"
CONFIG = "/etc/vrrpd/vrrpd.conf"
ASIDE = f"{CONFIG}.aside"
RECORD = "/var/lib/vrrpd/deploy.json"
FORMER_SYSCTLS = "/var/lib/vrrpd/sysctl.json"
UNIT = "/etc/systemd/system/vrrpd.service"
WANTED_BY = "/etc/systemd/system/multi-user.target.wants/vrrpd.service"
SYSCTL_D = "/etc/sysctl.d/60-vrrpd.conf"
PROGRAMS = ("vrrpd", "vrrpctl")
# What systemd looks up when it needs it; every other setting of a service belongs to processes when they start.
AT_ONCE = {
    *("Description", "After", "Before", "Wants", "WantedBy", "StartLimitIntervalSec", "StartLimitBurst"),
    *("ExecReload", "ExecStop", "ExecStopPost", "KillMode", "KillSignal", "SendSIGKILL", "WatchdogSignal", "OOMPolicy"),
    *("TimeoutStartSec", "TimeoutStopSec", "TimeoutAbortSec", "Restart", "RestartSec", "RestartPreventExitStatus"),
    *("RestartForceExitStatus", "SuccessExitStatus", "RuntimeDirectoryPreserve"),
}
REMEMBERED = 5  # configurations whose wire facts the record keeps

# $(readlink) once: the release of a process never changes under it.
LAUNCHER = """#!/bin/sh
# Managed by Ansible (vrrpd).
exec {python} -I -S "$(readlink -f {opt}/current)" {program} "$@"
"""


def needs_restart(before: str, after: str) -> list[str]:
    """The settings that differ between two texts of the unit and that a running service does not get."""

    def settings(text: str) -> dict[str, list[str]]:
        found: dict[str, list[str]] = {}
        for line in text.splitlines():
            name, equals, value = line.partition("=")
            if equals and not line.startswith(("#", ";")):
                found.setdefault(name.strip(), []).append(value.strip())
        return found

    old, new = settings(before), settings(after)
    return sorted(name for name in {*old, *new} - AT_ONCE if old.get(name) != new.get(name))


class Deploy:
    """One node from what it is to what is wanted. Looks first, then (not in check mode) acts."""

    def __init__(self, module: AnsibleModule) -> None:
        self.module = module
        self.wants: dict[str, Any] = module.params
        self.check: bool = module.check_mode
        self.real = os.path.realpath(self.wants["root"]) == "/"
        self.root = "/" if self.real else self.wants["root"]
        self.diffs: list[dict[str, str]] = []
        self.changed = False
        self.record: dict[str, Any] = load_json(self.at(RECORD))
        self.hung = False  # active for systemd, silent for us
        self.later: list[str] = []  # settings of the unit that only a restart brings into effect

    def at(self, path: str) -> str:
        """A path of the node, below `root`."""
        return below(self.root, path)

    def note(self, name: str, before: str, after: str) -> None:
        """Something changes; before and after may be shown."""
        self.changed = True
        self.diffs.append({"before": before, "after": after, "before_header": name, "after_header": name})

    # --- present ---

    def present(self) -> dict[str, Any]:
        if self.real:
            if os.geteuid() != 0:
                raise HostError("only root can deploy a daemon: set ansible_become: true for this host")
            found = rivals()
            if found:
                raise HostError("; ".join(found))
            if not os.path.isdir("/run/systemd/system"):
                raise HostError("systemd does not run this node: vrrpd is deployed as a systemd service")
            for line in sleeping_rivals():
                self.module.warn(line)
        target = self.at(f"{OPT}/releases/{self.wants['version']}")
        missing = not os.path.exists(os.path.join(target, "__main__.py"))
        if missing and not self.wants["archive"]:
            return {"changed": False, "need_archive": True}
        running = self._running()
        text, secrets = self._text()
        sha = hashlib.sha256(text.encode()).hexdigest()
        with tempfile.TemporaryDirectory(dir=self.module.tmpdir) as folder:
            code = target
            if missing:
                code = self._new_release(target, os.path.join(folder, "release"))
            diagnostics: list[str] = []
            converged = running.get("config_sha256") == sha and running.get("release") == self.wants["version"]
            if not converged or read(self.at(CONFIG)) != text:
                diagnostics = self._checked(code, folder, text)
            unit = read(os.path.join(code, "vrrpd", "vrrpd.service"))
            if unit is None:
                raise HostError(f"release {self.wants['version']} has no vrrpd/vrrpd.service")
        if self.wants["partial"] and self._action(running, sha)[1] == "barrier":
            raise HostError(
                "this run changes what the nodes of a cluster must agree on (router id, version, interval,"
                " authentication or transport), which is safe on all of them at once only, and not all of them take"
                " part: run without --limit. Nothing was replaced."
            )
        self._user()
        reload_units, restart = self._files(unit)
        if restart and running:
            self.record["restart_pid"] = running["pid"]
        action, kind = self._action(running, sha)
        self._config(text, secrets, aside=kind == "barrier")
        self._sysctls()
        self._neighbours(text)
        self._firewall(text)
        self._enable(reload_units)
        previous = self._switch(target, later=action == "upgrade")
        if self.later and running and action != "restart":
            self.module.warn(
                f"vrrpd.service: {', '.join(self.later)} changed, which the running daemon gets with its next restart"
                " (systemctl restart vrrpd hands the addresses over first); everything else counts from now on"
            )
        left = self._write_record(sha, secrets, running)
        if not self.check:
            prune(
                self.at(f"{OPT}/releases"),
                self.wants["releases_kept"],
                [self.wants["version"], running.get("release", ""), previous],
            )
        return {
            "changed": self.changed,
            "diff": self.diffs,
            "action": action,
            "kind": kind,
            "owner": "MASTER" in running.get("states", {}).values(),
            "release": self.wants["version"],
            "previous_release": previous,
            "running": running,
            "left": left,
            "diagnostics": diagnostics,
        }

    def _running(self) -> dict[str, Any]:
        """What the daemon says of itself; {} when it does not run."""
        if not self.real:
            return {}
        try:
            found = status(SOCKET)
        except DaemonError as error:
            # One that systemd is just starting has no socket yet, and answers later.
            if os.path.exists(SOCKET) and run(["systemctl", "is-active", "--quiet", "vrrpd"])[0] == 0:
                self.hung = True
                self.module.warn(f"the daemon is active and does not answer, so it will be restarted: {error}")
            return {}
        for instance in found["instances"]:
            if instance["state"] == "FAULT" and list(instance.get("faults", [])) != ["maintenance"]:
                self.module.warn(told(instance))
        return {
            "version": found.get("version", ""),
            "release": found.get("release", ""),
            "config_sha256": found.get("config", {}).get("sha256", ""),
            "pid": found.get("processes", {}).get("guard", 0),
            "states": {instance["name"]: instance["state"] for instance in found["instances"]},
        }

    def _text(self) -> tuple[str, dict[str, str]]:
        encoded = self.wants["secrets"] or ""
        secrets: dict[str, str] = json.loads(base64.b64decode(encoded)) if encoded else {}
        return filled(self.wants["config"], secrets), secrets

    def _new_release(self, target: str, aside: str) -> str:
        """Unpack to its place, or aside in check mode; return where the code lies."""
        data = content(self.wants["archive"], self.wants["checksum"])
        where = aside if self.check else target
        unpack(data, where, self.wants["python"])
        self.note(f"{OPT}/releases/", "", f"{self.wants['version']}\n")
        return where

    def _checked(self, code: str, folder: str, text: str) -> list[str]:
        """The checker's diagnostics; errors stop everything."""
        path = os.path.join(folder, "vrrpd.conf")
        write(path, text, 0o600)
        exit_status, output = run([self.wants["python"], "-B", "-I", "-S", code, "vrrpd", "-t", "--json", "-f", path])
        try:
            report = json.loads(output)
            lines = diagnostic_lines(report["diagnostics"], self.wants["config"], {path: CONFIG})
        except (ValueError, KeyError, TypeError):
            hidden = masked(output.replace(path, CONFIG))
            for secret in self._text()[1].values():
                hidden = hidden.replace(secret, MASK)
            raise HostError(f"the checker failed with exit status {exit_status}: {hidden.strip()[-600:]}") from None
        if exit_status:
            raise HostError(
                f"the configuration is not valid, nothing was replaced (vrrpd -t: {exit_status}):\n" + "\n".join(lines)
            )
        for line in lines:
            self.module.warn("; ".join(part.strip() for part in line.splitlines()))
        return lines

    def _user(self) -> None:
        if not self.real:
            return
        try:
            grp.getgrnam(USER)
        except KeyError:
            self.note("group", "", f"{USER}\n")
            if not self.check:
                must(["groupadd", "--system", USER])
        try:
            pwd.getpwnam(USER)
        except KeyError:
            self.note("user", "", f"{USER}\n")
            if not self.check:
                options = ["--system", "--gid", USER, "--no-create-home", "--home-dir", "/nonexistent"]
                must(["useradd", *options, "--shell", "/usr/sbin/nologin", "--comment", "VRRP daemon", USER])

    def _gid(self, group: str) -> int:
        if not group or not self.real:
            return -1
        return grp.getgrnam(group).gr_gid

    def _put(self, wanted: Wanted, before_shown: str | None = None, after_shown: str | None = None) -> bool:
        """Bring one file to its wanted text and mode; true when its text changed."""
        path = self.at(wanted.path)
        before = read(path)
        same_text = before == wanted.text
        if same_text and mode_of(path) == wanted.mode:
            return False
        if same_text:
            self.note(f"{wanted.path} (mode)", f"{mode_of(path) or 0:04o}\n", f"{wanted.mode:04o}\n")
        else:
            old = before or "" if before_shown is None else before_shown
            self.note(wanted.path, old, wanted.text if after_shown is None else after_shown)
        if not self.check:
            write(
                path, wanted.text, wanted.mode, 0 if self.real else -1, self._gid(wanted.group) if wanted.group else -1
            )
        return not same_text

    def _files(self, unit: str) -> tuple[bool, bool]:
        """Launchers and unit; whether systemd has to read its units again, and whether a running daemon is outdated."""
        launchers = [
            self._put(Wanted(f"/usr/local/sbin/{program}", self._launcher(program), 0o755)) for program in PROGRAMS
        ]
        before = read(self.at(UNIT))
        changed = self._put(Wanted(UNIT, unit, 0o644))
        if changed and before is not None:
            self.later = needs_restart(before, unit)
        # Another interpreter is for another process. A new unit is no reason to start one: a warning says what waits.
        return changed, launchers[0]

    def _launcher(self, program: str) -> str:
        return LAUNCHER.format(python=self.wants["python"], opt=OPT, program=program)

    def _switch(self, target: str, later: bool) -> str:
        """Point `current` at the release, in one rename; returns the former one.

        Under a daemon that is going to be upgraded it is left to vrrpd_state, host by host: a rollout that stops half
        way must not have the rest of the hosts boot the release that has just failed.
        """
        link = self.at(f"{OPT}/current")
        wanted = f"releases/{self.wants['version']}"
        try:
            before = os.readlink(link)
        except OSError:
            before = ""
        if before != wanted and not later:
            self.note(f"{OPT}/current", f"{before}\n" if before else "", f"{wanted}\n")
            if not self.check:
                point(link, self.wants["version"])
        return os.path.basename(before)

    def _config(self, text: str, secrets: dict[str, str], aside: bool) -> None:
        """What all nodes have to change at once lies aside until all are known to be here (vrrpd_state).

        A run that stops before that leaves nothing that a restart or a reboot would load on this node alone.
        """
        before = read(self.at(CONFIG)) or ""
        shown_after = masked_after(self.wants["config"], secrets, before)
        if aside and before != text:
            self.note(CONFIG, masked(before), shown_after)
            if not self.check:
                write(self.at(ASIDE), text, 0o640, 0 if self.real else -1, self._gid(USER))
            return
        if not self.check and os.path.lexists(self.at(ASIDE)):
            remove(self.at(ASIDE))
        self._put(Wanted(CONFIG, text, 0o640, USER), masked(before), shown_after)

    def _sysctls(self) -> None:
        wanted = {
            str(name): str(int(value) if isinstance(value, bool) else value)
            for name, value in self.wants["sysctls"].items()
        }
        former: dict[str, Any] = load_json(self.at(FORMER_SYSCTLS))
        recorded = dict(former)
        settings: list[tuple[str, str, str]] = []
        if self.real:
            for name, value in wanted.items():
                now = live(name)
                if now is None:
                    raise HostError(f"sysctl {name}: this kernel has none of that name")
                former.setdefault(name, now)
                if now != value:
                    settings.append((name, now, value))
            for name in [name for name in former if name not in wanted]:
                value, now = str(former.pop(name)), live(name)
                if now is not None and now != value:
                    settings.append((name, now, value))
        for name, now, value in settings:
            self.note(f"{name} (live)", f"{now}\n", f"{value}\n")
        # Recorded before the first one is set: an interrupted run does not forget what was there.
        if former != recorded and not self.check:
            write(self.at(FORMER_SYSCTLS), json.dumps({**recorded, **former}, indent=1) + "\n", 0o644)
        if wanted:
            self._put(Wanted(SYSCTL_D, sysctl_text(wanted), 0o644))
        elif os.path.exists(self.at(SYSCTL_D)):
            self.note(SYSCTL_D, read(self.at(SYSCTL_D)) or "", "")
            if not self.check:
                remove(self.at(SYSCTL_D))
        if not self.check:
            for name, _, value in settings:
                set_live(name, value)
            if former != recorded:
                write(self.at(FORMER_SYSCTLS), json.dumps(former, indent=1) + "\n", 0o644)

    def _neighbours(self, text: str) -> None:
        """Files for the network managers that are installed; how each gets to know of them differs."""
        wanted = for_neighbours(self.root, text, self.wants["devices"])
        for line in wanted.warnings:
            self.module.warn(line)
        changed = [path for path, content in wanted.files.items() if self._put(Wanted(path, content, 0o644))]
        if not self.real or knows_links(self.root):
            changed += self._forget(set(neighbours_files(self.root)) - set(wanted.files))
        unread = [path for path in changed if "/systemd/" in path]
        if unread and self._active("systemd-networkd"):
            self.module.warn(
                f"systemd-networkd runs and reads {', '.join(unread)} with its next start: until then it takes our"
                " addresses, routes and rules off whenever it configures an interface anew (vrrpd puts them back)."
                " systemctl restart systemd-networkd leaves addresses where they are, unless they come from DHCP"
            )
        self._tell_network_manager(changed)

    def _forget(self, paths: Iterable[str]) -> list[str]:
        """Remove these drop-ins, and the folders that only they needed."""
        gone = sorted(paths)
        for path in gone:
            self.note(path, read(self.at(path)) or "", "")
            if not self.check:
                remove(self.at(path))
                if path.endswith(".conf") and "/systemd/" in path:  # no package brings these folders
                    with contextlib.suppress(OSError):
                        os.rmdir(os.path.dirname(self.at(path)))
        return gone

    def _tell_network_manager(self, changed: Collection[str]) -> None:
        """It reads its settings again and touches no interface that it manages."""
        if NETWORK_MANAGER_CONF in changed and not self.check and self._active("NetworkManager"):
            run(["nmcli", "general", "reload", "conf"])

    def _active(self, service: str) -> bool:
        return self.real and run(["systemctl", "is-active", "--quiet", service])[0] == 0

    def _firewall(self, text: str) -> None:
        if not self.real:
            return
        if self.wants["firewall"]:
            kind, wanted = firewall(), openings(text)
            if not firewall_open(kind, wanted):
                self.note(f"firewall ({kind})", "", "".join(f"accept {each.what}\n" for each in wanted))
                if not self.check:
                    open_firewall(kind, wanted)
            self.record["firewall"] = kind
        elif self.record.get("firewall"):
            self._close_firewall()
            self.record.pop("firewall")

    def _close_firewall(self) -> None:
        if close_firewall(self.check):
            self.note("firewall", "accept IP protocol 112 (VRRP)\n", "")

    def _enable(self, reload_units: bool) -> None:
        if not self.real:
            return
        enabled = os.path.lexists(WANTED_BY)
        if not enabled:
            self.note("vrrpd.service at boot", "disabled\n", "enabled\n")
        if self.check:
            return
        if reload_units:
            must(["systemctl", "daemon-reload"])
        if not enabled:
            must(["systemctl", "enable", "vrrpd.service"])

    def _action(self, running: dict[str, Any], sha: str) -> tuple[str, str]:
        """What it takes to run what is wanted, and whether the hosts may follow one by one."""
        if not self.real:
            return "none", "none"
        if not running:
            return "restart" if self.hung else "start", "rolling"
        if self.record.get("restart_pid") == running["pid"]:
            action = "restart"
        elif running["release"] != self.wants["version"]:
            action = "upgrade"
        elif running["config_sha256"] != sha:
            action = "reload"
        else:
            return "none", "none"
        if running["config_sha256"] == sha:
            return action, "rolling"
        before = self.record.get("wires", {}).get(running["config_sha256"])
        now = self._digests()
        if before is None:  # not a configuration of ours: it may differ in anything
            return action, "barrier"
        moved = [name for name in now if name in before and before[name] != now[name]]
        sent, sends = self.record.get("hmac", {}).get(running["config_sha256"], {}), self._keys()
        deaf = [name for name in now if name in before and not interoperable(sent.get(name, NO_KEYS), sends[name])]
        return action, "barrier" if moved or deaf else "rolling"

    def _digests(self) -> dict[str, str]:
        secrets = self._text()[1]
        return {name: digest(filled(wire, secrets)) for name, wire in self.wants["wires"].items()}

    def _keys(self) -> dict[str, dict[str, Any]]:
        """Per instance, with the digest of each key."""
        secrets = self._text()[1]

        def told(key: str) -> str:
            return digest(filled(key, secrets)) if key else UNSIGNED

        wanted = {name: self.wants["hmac"].get(name, NO_KEYS) for name in self.wants["wires"]}
        return {
            name: {"sends": told(each["sends"]), "accepts": [told(key) for key in each["accepts"]]}
            for name, each in wanted.items()
        }

    def _write_record(self, sha: str, secrets: dict[str, str], running: dict[str, Any]) -> list[str]:
        former = load_json(self.at(RECORD))
        record = self.record
        if record.get("restart_pid") not in (None, running.get("pid")):
            record.pop("restart_pid")
        wires = dict(record.get("wires", {}))
        wires.pop(sha, None)
        kept = {key: wires[key] for key in list(wires)[-REMEMBERED:]}
        if running.get("config_sha256") in wires:
            kept[running["config_sha256"]] = wires[running["config_sha256"]]
        record["wires"] = {**kept, sha: self._digests()}
        keys = {name: each for name, each in self._keys().items() if each != NO_KEYS}
        former_keys = record.pop("hmac", {})
        known = {one: former_keys[one] for one in record["wires"] if one in former_keys and one != sha}
        if known or keys:
            record["hmac"] = {**known, **({sha: keys} if keys else {})}
        members, retired = self.wants["members"], self.wants["retired"]
        if record.get("cluster") not in (None, self.wants["cluster"]):
            record.update(members=[], left=[])
        known = [*record.get("left", []), *record.get("members", [])]
        left = [name for name in dict.fromkeys(known) if name not in members and name not in retired]
        for name in left:
            if name not in self.wants["named"]:
                self.module.warn(
                    f"{name} was a host of this cluster and is not any more: while its daemon runs it is a rival"
                )
        record.update(cluster=self.wants["cluster"], members=members, left=left)
        if record != former and not self.check:
            write(self.at(RECORD), json.dumps(record, indent=1) + "\n", 0o600)
        return left

    # --- absent ---

    def absent(self) -> dict[str, Any]:
        if self.real:
            self._stop()
            if self.record.get("firewall"):
                self._close_firewall()
            self._restore_sysctls()
        self._tell_network_manager(self._forget(neighbours_files(self.root)))
        for path in (SYSCTL_D, WANTED_BY, UNIT, *(f"/usr/local/sbin/{program}" for program in PROGRAMS)):
            if os.path.lexists(self.at(path)):
                self.note(path, "present\n", "")
                if not self.check:
                    remove(self.at(path))
        for path in (OPT, "/etc/vrrpd", "/var/lib/vrrpd", "/run/vrrpd"):
            if os.path.isdir(self.at(path)):
                self.note(path, "present\n", "")
                if not self.check:
                    shutil.rmtree(self.at(path))
        if self.real:
            self._remove_user()
            if self.changed and not self.check:
                run(["systemctl", "daemon-reload"])
                run(["systemctl", "reset-failed", "vrrpd.service"])
        return {"changed": self.changed, "diff": self.diffs}

    def _stop(self) -> None:
        if not os.path.exists(UNIT):
            return
        if run(["systemctl", "is-active", "--quiet", "vrrpd"])[0] == 0:
            self.note("vrrpd.service", "running\n", "stopped\n")
        if not self.check:
            must(["systemctl", "disable", "--now", "vrrpd.service"])

    def _restore_sysctls(self) -> None:
        for name, value in load_json(self.at(FORMER_SYSCTLS)).items():
            now = live(name)
            if now is not None and now != value:
                self.note(f"{name} (live)", f"{now}\n", f"{value}\n")
                if not self.check:
                    set_live(name, value)

    def _remove_user(self) -> None:
        for kind, lookup, command in (("user", pwd.getpwnam, "userdel"), ("group", grp.getgrnam, "groupdel")):
            try:
                lookup(USER)
            except KeyError:
                continue
            self.note(kind, f"{USER}\n", "")
            if not self.check:
                # useradd's default may have made the group go with the user
                must([command, USER]) if kind == "user" else run([command, USER])


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
            "config": {"type": "str"},
            "secrets": {"type": "raw", "no_log": True},
            "wires": {"type": "dict", "default": {}},
            "hmac": {"type": "dict", "default": {}},
            "cluster": {"type": "str", "default": ""},
            "members": {"type": "list", "elements": "str", "default": []},
            "retired": {"type": "list", "elements": "str", "default": []},
            "partial": {"type": "bool", "default": False},
            "named": {"type": "list", "elements": "str", "default": []},
            "sysctls": {"type": "dict", "default": {}},
            "devices": {"type": "list", "elements": "str", "default": []},
            "firewall": {"type": "bool", "default": False},
            "python": {"type": "path", "default": "/usr/bin/python3"},
            "releases_kept": {"type": "int", "default": 3},
            "root": {"type": "path", "default": "/"},
            "version": {"type": "str"},
            "checksum": {"type": "str"},
            "archive": {"type": "path"},
        },
        required_if=[("state", "present", ("config", "version", "checksum"))],
        supports_check_mode=True,
    )
    deploy = Deploy(module)
    try:
        result = deploy.present() if module.params["state"] == "present" else deploy.absent()
    except (HostError, ArchiveError) as error:
        module.fail_json(msg=str(error), changed=deploy.changed and not module.check_mode)
    except OSError as error:
        module.fail_json(msg=f"{error.filename or 'the node'}: {error.strerror or error}", changed=deploy.changed)
    module.exit_json(**result)


if __name__ == "__main__":
    main()
