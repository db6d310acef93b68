"""vrrpd_info, vrrpd_wait and vrrpd_state against a control socket: what they ask, return and complain about."""

from __future__ import annotations

import hashlib
import json
import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Callable

import pytest
from ansible.module_utils.testing import patch_module_args

from .conftest import load

Run = Callable[..., dict[str, Any]]


class Daemon:
    """The daemon's side of the socket. `script`: the states that one status request after the other sees."""

    def __init__(self, path: Path, config: str = "") -> None:
        self.path = str(path)
        self.script: list[dict[str, Any]] = [{}]
        self.requests: list[dict[str, Any]] = []
        self.replies: dict[str, Any] = {}
        self.then: dict[str, list[dict[str, Any]]] = {}
        self.sha256 = hashlib.sha256(config.encode()).hexdigest()
        self.maintenance = False
        self.release = "1"
        self.vrrp_pids = [2]
        self.sync_group: str | None = None  # of all instances
        self.listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.listener.bind(self.path)
        self.listener.listen(8)
        self.thread = threading.Thread(target=self.serve)
        self.thread.start()

    def serve(self) -> None:
        while True:
            client, _ = self.listener.accept()
            with client:
                line = client.makefile("rb").readline()
                if not line:
                    return
                request = json.loads(line)
                self.requests.append(request)
                client.sendall(self.answer(request) + b"\n")

    def answer(self, request: dict[str, Any]) -> bytes:
        command = request["cmd"]
        if command != "status":
            self.script = self.then.get(command, self.script)
            self.maintenance = request.get("on", self.maintenance)
            return json.dumps(self.replies.get(command, {"ok": True})).encode()
        if "status" in self.replies:
            return bytes(self.replies["status"])
        states = self.script.pop(0) if len(self.script) > 1 else self.script[0]
        return json.dumps({"ok": True, "status": self.status(states)}).encode()

    def status(self, states: dict[str, Any]) -> dict[str, Any]:
        instances = []
        for name, state in states.items():
            master = {"address": "192.0.2.1", "priority": 200, "age": 0.1} if state == "BACKUP" else None
            faults = ["interface eth0 is down"] if state == "FAULT" else []
            faults = ["maintenance"] if state == "FAULT" and self.maintenance else faults
            instances.append(
                {
                    "name": name,
                    "state": "BACKUP" if state == "LOST" else state,
                    "master": master,
                    "faults": faults,
                    "advert_int": 0.01,
                    "priority": 100,
                    "sync_group": self.sync_group,
                }
            )
        return {
            "version": "0.1.0",
            "release": self.release,
            "config": {"sha256": self.sha256},
            "maintenance": self.maintenance,
            "processes": {
                "guard": 1,
                "vrrp": self.vrrp_pids.pop(0) if len(self.vrrp_pids) > 1 else self.vrrp_pids[0],
            },
            "instances": instances,
        }

    def asked(self) -> list[str]:
        return [request["cmd"] for request in self.requests if request["cmd"] != "status"]

    def close(self) -> None:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as last:
            last.connect(self.path)
        self.thread.join()
        self.listener.close()


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Daemon]:
    (tmp_path / "vrrpd.conf").write_text("the text on disk\n")
    served = Daemon(tmp_path / "control.sock", "the text on disk\n")
    yield served
    served.close()


@pytest.fixture
def run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    def call(name: str, check: bool = False, **arguments: Any) -> dict[str, Any]:
        arguments = {"socket": str(tmp_path / "control.sock"), "_ansible_check_mode": check, **arguments}
        if name == "vrrpd_state":
            arguments["config"] = str(tmp_path / "vrrpd.conf")
            arguments["current"] = str(tmp_path / "current")
        with patch_module_args(arguments), pytest.raises(SystemExit):
            load("library", name).main()
        result: dict[str, Any] = json.loads(capsys.readouterr().out)
        return result

    return call


# --- vrrpd_info ------------------------------------------------------------------------------------------------------


def test_info_returns_what_the_daemon_says(daemon: Daemon, run: Run) -> None:
    daemon.script = [{"VI_1": "MASTER", "VI_2": "BACKUP"}]
    result = run("vrrpd_info")
    assert (result["changed"], result["running"], result["release"]) == (False, True, "1")
    assert [instance["state"] for instance in result["instances"]] == ["MASTER", "BACKUP"]
    assert [instance["name"] for instance in run("vrrpd_info", instance="VI_2")["instances"]] == ["VI_2"]


def test_info_names_the_instances_when_asked_for_another(daemon: Daemon, run: Run) -> None:
    daemon.script = [{"VI_1": "MASTER", "VI_2": "BACKUP"}]
    result = run("vrrpd_info", instance="VI_3")
    assert result["msg"] == "no instance 'VI_3' in the running configuration (instances: VI_1, VI_2)"


def test_info_without_a_daemon_fails_in_words(run: Run, tmp_path: Path) -> None:
    result = run("vrrpd_info")
    assert result["failed"] is True
    assert result["msg"].startswith(f"{tmp_path}/control.sock: No such file or directory: the daemon does not run; ")


def test_info_may_find_no_daemon(run: Run) -> None:
    result = run("vrrpd_info", required=False)
    assert (result.get("failed", False), result["running"]) == (False, False)
    assert "the daemon does not run" in result["error"]


@pytest.mark.parametrize(
    ("reply", "text"),
    [
        (b"{", "the answer to 'status' is no JSON"),
        (b"[]", "the answer to 'status' is no JSON: not an object"),
        (b'{"ok": true, "status": {}}', "the status has no instances"),
        (b'{"ok": false, "error": "too many clients"}', "'status' refused: too many clients"),
    ],
)
def test_a_daemon_that_talks_nonsense_gives_an_error(daemon: Daemon, run: Run, reply: bytes, text: str) -> None:
    daemon.replies["status"] = reply
    result = run("vrrpd_info")
    assert result["failed"] is True
    assert text in result["msg"]


# --- vrrpd_wait ------------------------------------------------------------------------------------------------------


def test_wait_returns_when_the_condition_holds(daemon: Daemon, run: Run) -> None:
    daemon.script = [{"VI_1": "LOST"}, {"VI_1": "LOST"}, {"VI_1": "MASTER"}]
    result = run("vrrpd_wait", **{"for": "master"})
    assert result["instances"][0]["state"] == "MASTER"
    assert result["changed"] is False


def test_wait_for_rest_begins_again_when_a_state_changes(daemon: Daemon, run: Run) -> None:
    daemon.script = [{"VI_1": "BACKUP"}, {"VI_1": "MASTER"}, {"VI_1": "BACKUP"}, {"VI_1": "MASTER"}]
    result = run("vrrpd_wait", stable_for=0.25)
    assert result["elapsed"] >= 0.5
    assert result["instances"][0]["state"] == "MASTER"


def test_a_wait_in_vain_tells_what_was_last_seen(daemon: Daemon, run: Run) -> None:
    daemon.script = [{"VI_1": "FAULT", "VI_2": "BACKUP", "VI_3": "LOST"}]
    result = run("vrrpd_wait", timeout=0)
    assert result["failed"] is True
    assert result["msg"].startswith(
        "after 0 s not settled: VI_1, VI_3; last seen: VI_1 FAULT (interface eth0 is down);"
        " VI_2 BACKUP, hears 192.0.2.1 (priority 200); VI_3 BACKUP, hears no master; "
    )


def test_wait_until_it_stopped(run: Run) -> None:
    assert run("vrrpd_wait", **{"for": "stopped"})["changed"] is False


def test_wait_for_a_stop_that_does_not_come(daemon: Daemon, run: Run) -> None:
    daemon.script = [{"VI_1": "MASTER"}]
    result = run("vrrpd_wait", timeout=0, **{"for": "stopped"})
    assert result["msg"].startswith("after 0 s the daemon still answers; last seen: VI_1 MASTER; ")


def test_wait_in_check_mode_waits_for_nothing(run: Run) -> None:
    assert run("vrrpd_wait", check=True)["elapsed"] == 0.0


# --- vrrpd_state -----------------------------------------------------------------------------------------------------


def test_reloaded_does_nothing_when_the_file_runs(daemon: Daemon, run: Run) -> None:
    daemon.script = [{"VI_1": "MASTER"}]
    result = run("vrrpd_state", state="reloaded")
    assert (result["changed"], result["after"], daemon.asked()) == (False, {"VI_1": "MASTER"}, [])


def test_reloaded_loads_a_new_file_and_waits(daemon: Daemon, run: Run) -> None:
    daemon.sha256 = "old"
    daemon.script = [{"VI_1": "MASTER"}]

    def loaded(request: dict[str, Any], plain: Callable[[dict[str, Any]], bytes] = daemon.answer) -> bytes:
        if request["cmd"] == "reload":
            daemon.sha256 = hashlib.sha256(b"the text on disk\n").hexdigest()
        return plain(request)

    daemon.answer = loaded  # type: ignore[method-assign]
    daemon.then = {"reload": [{"VI_1": "INIT"}, {"VI_1": "BACKUP"}]}
    result = run("vrrpd_state", state="reloaded")
    assert (result["changed"], result["before"], result["after"]) == (True, {"VI_1": "MASTER"}, {"VI_1": "BACKUP"})
    assert result["diff"] == {"before": "VI_1 MASTER\n", "after": "VI_1 BACKUP\n"}


def test_what_lies_aside_is_put_in_place_when_asked_for(daemon: Daemon, run: Run, tmp_path: Path) -> None:
    daemon.script = [{"VI_1": "MASTER"}]
    aside = tmp_path / "vrrpd.conf.aside"
    aside.write_text("the text on disk\n")
    (tmp_path / "vrrpd.conf").write_text("the former one\n")
    assert run("vrrpd_state", check=True, state="reloaded", aside=True)["changed"] is True
    assert aside.exists()
    assert run("vrrpd_state", state="reloaded", aside=True)["changed"] is False, "that is what runs already"
    assert not aside.exists()
    assert (tmp_path / "vrrpd.conf").read_text() == "the text on disk\n"


def test_reloaded_in_check_mode_only_tells(daemon: Daemon, run: Run) -> None:
    daemon.sha256 = "old"
    assert run("vrrpd_state", check=True, state="reloaded")["changed"] is True
    assert daemon.asked() == []


def test_a_refused_reload_shows_the_diagnostics(daemon: Daemon, run: Run) -> None:
    daemon.sha256 = "old"
    diagnostic = {"file": "/etc/vrrpd/vrrpd.conf", "line": 4, "message": "unknown keyword 'prioritty'"}
    daemon.replies["reload"] = {"ok": False, "error": "1 error", "diagnostics": [diagnostic]}
    result = run("vrrpd_state", state="reloaded")
    assert result["msg"] == (
        "'reload' refused: 1 error; the daemon goes on as before\n/etc/vrrpd/vrrpd.conf:4: unknown keyword 'prioritty'"
    )


def test_one_that_was_faulty_before_may_stay_so(daemon: Daemon, run: Run) -> None:
    daemon.script = [{"VI_1": "FAULT", "VI_2": "MASTER"}]
    assert run("vrrpd_state", state="reloaded")["changed"] is False


def test_released_hands_over_what_it_owns_and_nothing_else(daemon: Daemon, run: Run) -> None:
    daemon.script = [{"VI_1": "MASTER", "VI_2": "BACKUP"}]
    daemon.then = {"handover": [{"VI_1": "MASTER", "VI_2": "BACKUP"}, {"VI_1": "BACKUP", "VI_2": "BACKUP"}]}
    result = run("vrrpd_state", state="released")
    assert (result["changed"], result["after"]) == (True, {"VI_1": "BACKUP", "VI_2": "BACKUP"})
    assert [request.get("instance") for request in daemon.requests if request["cmd"] == "handover"] == ["VI_1"]


def test_released_asks_once_for_a_sync_group(daemon: Daemon, run: Run) -> None:
    daemon.sync_group = "G1"
    daemon.script = [{"VI_1": "MASTER", "VI_2": "MASTER"}]
    daemon.then = {"handover": [{"VI_1": "BACKUP", "VI_2": "BACKUP"}]}
    assert run("vrrpd_state", state="released")["changed"]
    assert [request.get("instance") for request in daemon.requests if request["cmd"] == "handover"] == ["VI_1"]


def test_released_on_a_backup_changes_nothing(daemon: Daemon, run: Run) -> None:
    daemon.script = [{"VI_1": "BACKUP"}]
    assert (run("vrrpd_state", state="released")["changed"], daemon.asked()) == (False, [])


def test_maintenance_is_entered_once_and_left_once(daemon: Daemon, run: Run) -> None:
    daemon.script = [{"VI_1": "MASTER"}]
    daemon.then = {"maintenance": [{"VI_1": "FAULT"}]}
    assert run("vrrpd_state", state="maintenance")["after"] == {"VI_1": "FAULT"}
    assert run("vrrpd_state", state="maintenance")["changed"] is False
    daemon.then = {"maintenance": [{"VI_1": "LOST"}, {"VI_1": "BACKUP"}]}
    assert run("vrrpd_state", state="active")["after"] == {"VI_1": "BACKUP"}
    assert run("vrrpd_state", state="active")["changed"] is False
    assert daemon.asked() == ["maintenance", "maintenance"]


def test_maintenance_without_a_daemon_fails_in_words(run: Run) -> None:
    assert "the daemon does not run" in run("vrrpd_state", state="maintenance")["msg"]


def test_upgraded_asks_once_and_waits_for_the_new_release(daemon: Daemon, run: Run, releases: Path) -> None:
    upgradable(daemon)
    result = run("vrrpd_state", state="upgraded")
    assert (result["changed"], result["after"], daemon.asked()) == (True, {"VI_1": "MASTER"}, ["upgrade"])
    assert run("vrrpd_state", state="upgraded")["changed"] is False
    assert os.readlink(releases / "current") == "releases/2"


def test_upgraded_to_a_release_leads_there_first(daemon: Daemon, run: Run, releases: Path) -> None:
    """Deploying leaves `current` to it: until then, a reboot runs what ran before."""
    upgradable(daemon)
    (releases / "current").unlink()
    (releases / "current").symlink_to("releases/1")
    assert run("vrrpd_state", check=True, state="upgraded", release="2")["changed"] is True
    assert os.readlink(releases / "current") == "releases/1"
    assert run("vrrpd_state", state="upgraded", release="2")["changed"] is True
    assert (os.readlink(releases / "current"), daemon.asked()) == ("releases/2", ["upgrade"])


def test_upgraded_in_check_mode_only_tells(daemon: Daemon, run: Run, releases: Path) -> None:
    upgradable(daemon)
    assert (run("vrrpd_state", check=True, state="upgraded")["changed"], daemon.asked()) == (True, [])


def test_a_release_that_is_refused_is_rolled_back_without_touching_the_daemon(
    daemon: Daemon, run: Run, releases: Path
) -> None:
    upgradable(daemon)
    daemon.replies["upgrade"] = {"ok": False, "error": "release 2 does not run", "output": "File x\nSyntaxError: y"}
    result = run("vrrpd_state", state="upgraded")
    assert result["msg"].splitlines() == [
        "'upgrade' refused: release 2 does not run; the daemon goes on as before",
        "File x",
        "SyntaxError: y",
        f"rolled back: {releases}/current leads to release 1, which runs as before",
    ]
    assert (os.readlink(releases / "current"), daemon.asked()) == ("releases/1", ["upgrade"])


def test_a_release_that_does_not_answer_is_rolled_back_by_another_upgrade(
    daemon: Daemon, run: Run, releases: Path
) -> None:
    upgradable(daemon)
    daemon.replies["upgrade"] = "silence"
    assert "rolled back" not in run("vrrpd_state", state="upgraded")["msg"], "it is not, when that fails too"
    assert (os.readlink(releases / "current"), daemon.asked()) == ("releases/1", ["upgrade", "upgrade"])


def test_a_release_under_which_the_node_does_not_settle_is_rolled_back(
    daemon: Daemon, run: Run, releases: Path
) -> None:
    upgradable(daemon)
    daemon.then = {"upgrade": [{"VI_1": "LOST"}]}
    result = run("vrrpd_state", state="upgraded", timeout=1)
    assert "not settled: VI_1" in result["msg"]
    assert f"rolled back: {releases}/current leads to release 1" in result["msg"]
    assert (os.readlink(releases / "current"), daemon.asked()) == ("releases/1", ["upgrade", "upgrade"])


def test_a_release_whose_first_process_dies_is_rolled_back_though_the_next_one_lives(
    daemon: Daemon, run: Run, releases: Path
) -> None:
    upgradable(daemon)
    daemon.vrrp_pids = [1, 2, 3, 4]
    result = run("vrrpd_state", state="upgraded")
    assert "the vrrp process of release 2 has died" in result["msg"]
    assert os.readlink(releases / "current") == "releases/1"


@pytest.mark.parametrize(
    "answer", [{"error": "only a restart leads to it", "restart": True}, {"error": "unknown command"}]
)
def test_a_release_that_cannot_follow_in_place_follows_by_a_restart(
    daemon: Daemon, run: Run, releases: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: dict[str, Any]
) -> None:
    asked = tmp_path / "asked"
    (tmp_path / "systemctl").write_text(f'#!/bin/sh\necho "$@" >> {asked}\n')
    (tmp_path / "systemctl").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    upgradable(daemon)
    daemon.replies["upgrade"] = {"ok": False, **answer}
    result = run("vrrpd_state", state="upgraded", wait=False)
    assert result["changed"] is True
    assert asked.read_text() == "restart vrrpd.service\n"
    assert os.readlink(releases / "current") == "releases/2"


def upgradable(daemon: Daemon) -> None:
    """Release 1 runs and `current` leads to 2, until it is asked."""
    daemon.script = [{"VI_1": "MASTER"}]

    def asked(request: dict[str, Any], plain: Callable[[dict[str, Any]], bytes] = daemon.answer) -> bytes:
        if request["cmd"] == "upgrade" and "upgrade" not in daemon.replies:
            daemon.release = "1" if daemon.release == "2" else "2"
        return plain(request)

    daemon.answer = asked  # type: ignore[method-assign]


@pytest.fixture
def releases(tmp_path: Path) -> Path:
    for name in ("1", "2"):
        (tmp_path / "releases" / name).mkdir(parents=True)
    (tmp_path / "current").symlink_to("releases/2")
    return tmp_path


def test_restarted_in_check_mode_on_a_node_without_a_daemon(run: Run) -> None:
    result = run("vrrpd_state", check=True, state="restarted")
    assert (result["changed"], result["before"], result["diff"]["before"]) == (True, {}, "not running\n")
