"""vrrpctl as people and scripts meet it: output, exit status, and a way out in every error."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from vrrpd import shown, vrrpctl

ROOT = Path(__file__).resolve().parents[2]

MASTER: dict[str, Any] = {
    "name": "VI_1",
    "interface": "eth0",
    "virtual_router_id": 51,
    "family": "ipv4",
    "version": 2,
    "state": "MASTER",
    "priority": 100,
    "base_priority": 100,
    "preempt": True,
    "advert_int": 1.0,
    "source": "10.0.0.2",
    "virtual_ipaddress": ["192.168.100.100/24"],
    "virtual_ipaddress_excluded": [],
    "unicast_peer": [],
    "master": None,
    "last_transition": {
        "old": "BACKUP",
        "new": "MASTER",
        "reason": "no advert from 10.0.0.1 for 3.61 s",
        "at": 1763832000.0,
        "ago": 190.4,
    },
    "faults": [],
    "counters": {"advert_sent": 190, "checksum_err": 0},
}
FAULT: dict[str, Any] = {
    **MASTER,
    "name": "VI_2",
    "state": "FAULT",
    "virtual_router_id": 52,
    "priority": 80,
    "virtual_ipaddress": [f"10.1.0.{n}/24" for n in range(1, 6)],
    "master": {"address": "10.0.0.1", "priority": 150, "age": 0.41},
    "last_transition": None,
    "faults": ["interface eth1 is down", "maintenance"],
}
STATUS: dict[str, Any] = {
    "version": "0.1.0",
    "release": "checkout",
    "config": {"path": "/etc/vrrpd/vrrpd.conf", "sha256": "ab", "loaded_at": 1763832000.0},
    "maintenance": False,
    "uptime": 7380.0,
    "processes": {"guard": 1, "vrrp": 2, "helper": 3},
    "instances": [MASTER, FAULT],
    "scripts": [],
}
PLAIN = vrrpctl.Terminal(False)


class Daemon:
    """Answers every connection with what it is given, as the daemon's control socket does, and keeps the requests."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.reply: dict[str, Any] | bytes = {}
        self.requests: list[dict[str, Any]] = []
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.bind(str(path))
        self._socket.listen()
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            sock, _ = self._socket.accept()
            with sock, sock.makefile("rb") as file, contextlib.suppress(OSError):
                line = file.readline()
                if line == b"end\n":
                    return
                if not line:  # it was interrupted before it had asked
                    continue
                self.requests.append(json.loads(line))
                sock.sendall(self.reply if isinstance(self.reply, bytes) else json.dumps(self.reply).encode() + b"\n")

    def close(self) -> None:
        with socket.socket(socket.AF_UNIX) as sock:
            sock.connect(str(self.path))
            sock.sendall(b"end\n")
            self._thread.join()
        self._socket.close()


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Daemon]:
    made = Daemon(tmp_path / "control.sock")
    yield made
    made.close()


def vrrpctl_(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "vrrpd.vrrpctl", *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)


# ------------------------------------------------------------------------------------------ status


def test_status_is_a_table_of_what_an_operator_asks_first() -> None:
    lines = vrrpctl.show_status(STATUS, "", PLAIN).splitlines()
    assert lines[0].startswith("vrrpd 0.1.0 (checkout), up 2 h 3 min, /etc/vrrpd/vrrpd.conf loaded 2025-11-2")
    assert " ".join(lines[1].split()) == "instance state since prio interface vrid addresses master reason"
    first = "VI_1 MASTER 3 min 10 s 100 eth0 51 192.168.100.100/24 this node no advert from 10.0.0.1 for 3.61 s"
    assert lines[3].split() == first.split()
    second = "VI_2 FAULT - 80 (100) eth0 52 10.1.0.1/24 10.0.0.1 (150) interface eth1 is down; maintenance"
    assert lines[4].split() == second.split()
    assert [line.strip() for line in lines[5:]] == ["10.1.0.2/24", "10.1.0.3/24", "and 2 more"]


def test_status_of_one_instance_tells_all_and_no_zeros() -> None:
    text = vrrpctl.show_status(STATUS, "VI_2", PLAIN)
    fields = dict(line.split(maxsplit=1) for line in text.splitlines() if len(line.split()) > 1)
    assert fields["state"] == "FAULT"
    assert fields["master"] == "10.0.0.1, priority 150, heard 0.41 s ago"
    assert fields["advert_sent"] == "190"
    assert "checksum_err" not in fields
    assert "unicast_peer" not in fields
    assert "virtual_routes" not in fields


def test_status_of_one_instance_has_its_routes_and_rules() -> None:
    routes = ["198.51.100.0/24 via 10.1.0.9", "203.0.113.0/24 dev eth1"]
    one = {**STATUS["instances"][1], "virtual_routes": routes, "virtual_rules": ["from 10.1.0.1 lookup 200"]}
    lines = vrrpctl.show_status({**STATUS, "instances": [one]}, one["name"], PLAIN).splitlines()
    at = next(number for number, line in enumerate(lines) if line.startswith("virtual_routes"))
    assert [" ".join(line.split()) for line in lines[at : at + 3]] == [
        f"virtual_routes {routes[0]}",
        routes[1],
        "virtual_rules from 10.1.0.1 lookup 200",
    ]


NARROW = vrrpctl.Terminal(False, 80)


def test_the_table_fits_a_terminal_and_the_reasons_stand_below() -> None:
    text = vrrpctl.show_status(STATUS, "", NARROW)
    lines = text.splitlines()
    assert max(map(len, lines)) <= 80
    header = next(line for line in lines if line.startswith("instance "))
    assert header.split() == ["instance", "state", "since", "prio", "addresses", "master"]
    assert lines[-2:] == ["VI_1  no advert from 10.0.0.1 for 3.61 s", "VI_2  interface eth1 is down; maintenance"]
    wide = vrrpctl.Terminal(True, 200)
    assert "interface" in vrrpctl.show_status(STATUS, "", wide)  # colours take no room


BUSY: dict[str, Any] = {
    **MASTER,
    "state": "BACKUP",
    "priority": 97,
    "preempt_delay": 50.0,
    "preempt_delay_left": 43.2,
    "timer": 2.6,
    "duties": {"garp_master_delay": 4.25},
    "auth_type": "AH",
    "accept": False,
    "checksum": {"sent": "v3", "heard": "as v2"},
    "master": {"address": "10.0.0.1", "priority": 90, "age": 0.41},
    "trackers": [
        {"kind": "script", "name": "check", "weight": 5, "reverse": False, "value": 1, "said": "succeeded",
         "since": None, "effect": 5, "fault": ""},
        {"kind": "process", "name": "web", "weight": -8, "reverse": False, "value": 0, "said": "is not running",
         "since": None, "effect": -8, "fault": ""},
    ],
}  # fmt: skip
CHECKS = [
    {"kind": "script", "name": "check", "rise": 1, "fall": 3, "streak": 2, "state": "idle", "next": 0.42,
     "last": {"at": 0.0, "duration": 0.012, "result": "exit status 1"}},
    {"kind": "process", "name": "web", "running": 1, "delays": {"fork_delay": 1.25}},
]  # fmt: skip


def test_everything_that_runs_says_how_long_it_still_does() -> None:
    status = {**STATUS, "instances": [BUSY], "trackers": CHECKS, "nftables": {"table": "inet vrrpd", "error": ""}}
    lines = [" ".join(line.split()) for line in vrrpctl.show_status(status, "VI_1", PLAIN).splitlines()]
    assert lines[1:5] == [
        "state BACKUP",
        "next takes over in 2.6 s if no advert is heard",
        "takes over from the lesser master in 43 s (preempt_delay)",
        "gratuitous ARP (garp_master_delay) in 4.2 s",
    ]
    for line in (
        "priority 97 = 100 + 5 (script check) - 8 (process web)",
        "preempt yes, 50 s after a lesser master is heard",
        "accept no: packets to the addresses are dropped (nftables table inet vrrpd)",
        "auth_type AH, HMAC-MD5 over each advert",
        "checksum v3 is sent, as v2 is heard",
        "track_script check succeeded; weight 5: +5; 2 of 3 failures in a row; last run exit status 1, 0.012 s; "
        "next run in 0.4 s",
        "track_process web is not running; weight -8: -8; 1 run, which counts in 1.2 s (fork_delay)",
    ):
        assert line in lines


def test_a_sum_of_weights_says_that_it_is_bounded() -> None:
    heavy = {**BUSY["trackers"][1], "effect": -120, "weight": -120}
    text = vrrpctl.show_status({**STATUS, "instances": [{**BUSY, "priority": 1, "trackers": [heavy]}]}, "VI_1", PLAIN)
    assert "1 = 100 - 120 (process web) = -20, bounded to 1..254" in text


def test_what_the_kernel_does_not_take_is_named() -> None:
    lacking = {"what": "static route 10.9.0.0/16", "why": "there is no interface eth9", "since": time.time()}
    status = {**STATUS, "missing": [lacking], "instances": [{**MASTER, "missing": [lacking]}], "socket_drops": 3}
    lines = vrrpctl.show_status(status, "", PLAIN).splitlines()
    assert lines[-1] == "3 adverts were dropped by the kernel before they were read"
    for line in lines[-3:-1]:
        assert "static route 10.9.0.0/16 is missing since " in line
        assert line.endswith(": there is no interface eth9; it is tried again")
    assert "missing" in vrrpctl.show_status(status, "VI_1", PLAIN)


GROUP = {
    "name": "G1",
    "state": "FAULT",
    "leaving": False,
    "members": ["VI_1", "VI_2"],
    "reasons": ["VI_2: interface eth1 is down"],
}


def test_a_sync_group_names_the_member_that_holds_it_back() -> None:
    status = {**STATUS, "instances": [{**MASTER, "sync_group": "G1"}, FAULT], "sync_groups": [GROUP]}
    text = vrrpctl.show_status(status, "", PLAIN)
    (line,) = [line for line in text.splitlines() if line.startswith("G1")]
    assert line.split() == ["G1", "FAULT", "VI_1", "VI_2:", "interface", "eth1", "is", "down"]
    assert "G1" in vrrpctl.show_status(status, "VI_1", PLAIN)
    assert "VI_2" in vrrpctl.show_status(status, "G1", PLAIN)
    with pytest.raises(shown.Unknown, match=r"no instance or sync group is called VI_9; there are: VI_1, VI_2, G1"):
        vrrpctl.show_status(status, "VI_9", PLAIN)


def test_who_waits_says_for_whom() -> None:
    waits = "waits for VI_2 in sync group G1, which is in FAULT"
    backup = {**MASTER, "state": "BACKUP", "sync_group": "G1", "awaited": [waits]}
    assert waits in vrrpctl.show_status({**STATUS, "instances": [backup]}, "", PLAIN)


def test_a_handover_says_that_the_group_went(daemon: Daemon) -> None:
    daemon.reply = {"ok": True, "sync_group": "G1", "members": ["VI_1", "VI_2"]}
    done = vrrpctl_("--socket", daemon.path, "handover", "VI_1")
    assert (done.returncode, done.stdout) == (0, "sync group G1 (VI_1, VI_2): handed over; see: vrrpctl status\n")


def test_an_unknown_instance_names_the_known_ones() -> None:
    with pytest.raises(shown.Unknown, match="no instance is called VI_9; there are: VI_1, VI_2"):
        vrrpctl.show_status(STATUS, "VI_9", PLAIN)


def test_what_does_not_answer_by_intention_and_what_answers_against_it() -> None:
    silent = {**STATUS, "instances": [{**MASTER, "accept": False}]}
    assert "no: packets to the addresses are dropped" in vrrpctl.show_status(silent, MASTER["name"], PLAIN)
    assert "accept" not in vrrpctl.show_status(STATUS, MASTER["name"], PLAIN)
    refused = {**STATUS, "nftables": {"table": "inet vrrpd", "error": "no nftables table inet vrrpd: not permitted"}}
    assert vrrpctl.show_status(refused, "", PLAIN).splitlines()[-1] == "no nftables table inet vrrpd: not permitted"


def test_a_peer_of_the_second_path_that_does_not_answer_is_named() -> None:
    peers = [{"peer": "10.9.0.3", "up": True}, {"peer": "10.9.0.4", "up": False}]
    lines = vrrpctl.show_status({**STATUS, "peer_path": peers}, "", PLAIN).splitlines()
    assert lines[-1] == "second path: 10.9.0.4 does not answer"
    assert not any("10.9.0.3" in line for line in lines)


def test_maintenance_cannot_be_overlooked() -> None:
    text = vrrpctl.show_status({**STATUS, "maintenance": True}, "", PLAIN)
    assert text.splitlines()[1] == "maintenance is on: this node leaves the address to others"


def test_failed_scripts_and_waiting_mail_are_noted_below() -> None:
    at = time.time() - 65
    runs = [
        {"instance": "VI_1", "keyword": "notify", "argv": ["/bin/true"], "at": at, "duration": 0.1, "exit": 0},
        {"instance": "VI_1", "keyword": "notify_master", "argv": ["x"], "at": at, "duration": 0.1, "exit": 3},
        {"instance": "VI_1", "keyword": "notify_stop", "argv": ["x"], "at": at, "duration": 0, "error": "x is missing"},
    ]
    mail = {"queued": 2, "sent": 0, "dropped": 0, "last_error": "connection refused"}
    lines = vrrpctl.show_status({**STATUS, "scripts": runs, "mail": mail}, "", PLAIN).splitlines()
    assert lines[-4:] == [
        "",
        "VI_1: notify_master failed 1 min 5 s ago: exit status 3 after 0.10 s",
        "VI_1: notify_stop failed 1 min 5 s ago: x is missing",
        "2 mails wait: connection refused",
    ]


def test_text_of_a_peer_cannot_steer_the_terminal() -> None:
    evil = {**MASTER, "last_transition": {**MASTER["last_transition"], "reason": "\x1b]0;owned\x07\x1b[2J"}}
    for name in ("", "VI_1"):
        text = vrrpctl.show_status({**STATUS, "instances": [evil]}, name, PLAIN)
        assert "\x1b" not in text
        assert "\\x1b]0;owned" in text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(-1, "0 s"), (59.9, "59 s"), (60, "1 min 0 s"), (3600, "1 h 0 min"), (90061, "1 d 1 h")],
)
def test_durations_have_two_units(seconds: float, text: str) -> None:
    assert vrrpctl.duration(seconds) == text


def test_colours_are_for_terminals_only(daemon: Daemon) -> None:
    daemon.reply = {"ok": True, "status": STATUS}
    assert "\x1b" not in vrrpctl_("status", "--socket", daemon.path).stdout
    ours, theirs = pty.openpty()
    env = {name: value for name, value in os.environ.items() if name != "NO_COLOR"}
    subprocess.run(
        [sys.executable, "-m", "vrrpd.vrrpctl", "status", "--socket", str(daemon.path)],
        cwd=ROOT,
        stdout=theirs,
        env=env,
        timeout=60,
        check=True,
    )
    os.close(theirs)
    shown = os.read(ours, 65536).decode()
    os.close(ours)
    assert "\x1b[32;1mMASTER\x1b[0m" in shown
    assert "\x1b[31;1mFAULT\x1b[0m" in shown


def test_status_as_json_is_the_daemons_object(daemon: Daemon) -> None:
    daemon.reply = {"ok": True, "status": STATUS}
    assert json.loads(vrrpctl_("status", "--json", "--socket", daemon.path).stdout) == STATUS
    assert json.loads(vrrpctl_("--json", "--socket", daemon.path, "status", "VI_2").stdout) == FAULT
    assert daemon.requests == [{"cmd": "status"}, {"cmd": "status"}]


# ------------------------------------------------------------------------------------------ exit status


def test_a_refusal_is_exit_1_with_the_daemons_sentence(daemon: Daemon) -> None:
    daemon.reply = {"ok": False, "error": "the vrrp process does not answer since 2.0 s"}
    done = vrrpctl_("status", "--socket", daemon.path)
    assert (done.returncode, done.stderr) == (1, "vrrpctl: the vrrp process does not answer since 2.0 s\n")
    done = vrrpctl_("status", "--json", "--socket", daemon.path)
    assert (done.returncode, json.loads(done.stdout)) == (1, daemon.reply)


@pytest.mark.parametrize("arguments", [(), ("explode",), ("maintenance",), ("maintenance", "perhaps"), ("handover",)])
def test_wrong_usage_is_exit_2(arguments: tuple[str, ...]) -> None:
    done = vrrpctl_(*arguments)
    assert done.returncode == 2
    assert "usage: vrrpctl" in done.stderr


def test_a_daemon_that_does_not_run_is_exit_3_and_how_to_start_it(tmp_path: Path) -> None:
    path = tmp_path / "none.sock"
    done = vrrpctl_("status", "--socket", path)
    assert done.returncode == 3
    assert (
        done.stderr == f"vrrpctl: vrrpd is not running: {path} does not exist; start it with: systemctl start vrrpd\n"
    )
    done = vrrpctl_("status", "--json", "--socket", path)
    assert (done.returncode, json.loads(done.stdout)["ok"]) == (3, False)


def test_a_dead_daemons_socket_is_exit_3(tmp_path: Path) -> None:
    path = tmp_path / "dead.sock"
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(path))
    done = vrrpctl_("status", "--socket", path)
    assert done.returncode == 3
    assert "nobody listens" in done.stderr


def test_a_user_outside_the_group_is_told_how_to_get_in(daemon: Daemon, tmp_path: Path) -> None:
    assert os.geteuid() == 0, "another account asks: needs root"
    daemon.path.chmod(0o600)
    copy = tmp_path / "vrrpd"  # where another account can read it
    copy.mkdir()
    (copy / "shown").mkdir()
    for name in (
        "__init__.py",
        "vrrpctl.py",
        "log.py",
        *(f"shown/{path.name}" for path in (ROOT / "vrrpd/shown").glob("*.py")),
    ):
        (copy / name).write_bytes((ROOT / "vrrpd" / name).read_bytes())
    for path in (tmp_path, *list(tmp_path.parents)[:2]):
        path.chmod(0o755)
    done = subprocess.run(
        ["/usr/bin/python3", "-m", "vrrpd.vrrpctl", "status", "--socket", str(daemon.path)],
        cwd=tmp_path,
        user="nobody",
        env={"PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 3
    assert "nobody may not use" in done.stderr
    assert "usermod -aG vrrpd nobody" in done.stderr


def test_something_else_at_the_socket_is_exit_3(daemon: Daemon) -> None:
    daemon.reply = b"220 mx.example.net ESMTP\n"
    done = vrrpctl_("status", "--socket", daemon.path)
    assert done.returncode == 3
    assert "is not vrrpd" in done.stderr


# ------------------------------------------------------------------------------------------ changes

DIAGNOSTIC = {
    "severity": "error",
    "file": "/etc/vrrpd/vrrpd.conf",
    "line": 4,
    "column": 5,
    "length": 9,
    "message": "unknown keyword 'prioritty'",
    "hint": "did you mean 'priority'?",
    "source_line": "    prioritty 100",
    "via": [],
}


def test_reload_refused_prints_every_diagnostic_and_is_exit_5(daemon: Daemon) -> None:
    error = "/etc/vrrpd/vrrpd.conf was not loaded, everything goes on as before"
    second = {**DIAGNOSTIC, "line": 7, "message": "second"}
    daemon.reply = {"ok": False, "error": error, "diagnostics": [DIAGNOSTIC, second], "changed": []}
    done = vrrpctl_("reload", "--socket", daemon.path)
    assert done.returncode == 5
    assert done.stderr.splitlines()[:4] == [
        "/etc/vrrpd/vrrpd.conf:4:5: error: unknown keyword 'prioritty'",
        "        prioritty 100",
        "        ^^^^^^^^^",
        "    hint: did you mean 'priority'?",
    ]
    assert "vrrpd.conf:7:5: error: second" in done.stderr
    assert done.stderr.endswith(f"vrrpctl: reload: {error}\n")


def test_reload_done_tells_what_changed(daemon: Daemon) -> None:
    daemon.reply = {"ok": True, "diagnostics": [], "changed": ["VI_1"]}
    done = vrrpctl_("reload", "--socket", daemon.path)
    assert (done.returncode, done.stdout, done.stderr) == (0, "reloaded; changed: VI_1\n", "")
    daemon.reply = {"ok": True, "diagnostics": [], "changed": []}
    assert vrrpctl_("reload", "--socket", daemon.path).stdout == "reloaded; no instance changed\n"


def test_reload_refused_for_another_reason_is_exit_1(daemon: Daemon) -> None:
    daemon.reply = {"ok": False, "error": "the daemon is stopping"}
    done = vrrpctl_("reload", "--socket", daemon.path)
    assert (done.returncode, done.stderr) == (1, "vrrpctl: reload: the daemon is stopping\n")


def test_maintenance_and_handover_ask_for_what_was_said(daemon: Daemon) -> None:
    daemon.reply = {"ok": True}
    for arguments in (("maintenance", "on"), ("maintenance", "off"), ("handover", "VI_1")):
        assert vrrpctl_(*arguments, "--socket", daemon.path).returncode == 0
    assert daemon.requests == [
        {"cmd": "maintenance", "on": True},
        {"cmd": "maintenance", "on": False},
        {"cmd": "handover", "instance": "VI_1"},
    ]


def test_scripts_are_listed_with_their_end(daemon: Daemon) -> None:
    run = {
        "instance": "VI_1",
        "keyword": "notify_master",
        "argv": ["/usr/sbin/service", "iscsitarget", "restart"],
        "at": time.time() - 5,
        "duration": 60.0,
        "signal": "SIGTERM",
        "error": "it did not end within 60 s",
    }
    daemon.reply = {"ok": True, "scripts": [run]}
    out = vrrpctl_("scripts", "--socket", daemon.path).stdout
    assert "/usr/sbin/service iscsitarget restart" in out
    assert "killed by SIGTERM after 60.00 s (it did not end within 60 s)" in out


EVENTS = [
    {"at": 1763832000.25, "instance": "VI_1", "old": "BACKUP", "new": "MASTER", "reason": "no advert", "priority": 100},
    {"at": 1763832000.5, "sync_group": "G1", "old": "BACKUP", "new": "MASTER", "reason": "no advert"},
    {"at": 1763832001.0, "instance": "VI_2", "old": "MASTER", "new": "FAULT", "reason": "\x1b[2J", "priority": 90},
]


def test_what_has_happened_is_told_with_its_reasons(daemon: Daemon) -> None:
    daemon.reply = {"ok": True, "events": EVENTS}
    lines = vrrpctl_("events", "--socket", daemon.path).stdout.splitlines()
    assert [line.split(" ", 2)[2] for line in lines] == [
        "VI_1: BACKUP -> MASTER, priority 100: no advert",
        "sync group G1: BACKUP -> MASTER: no advert",
        "VI_2: MASTER -> FAULT, priority 90: \\x1b[2J",
    ]
    assert vrrpctl_("events", "G1", "--socket", daemon.path).stdout.splitlines() == lines[1:2]
    assert json.loads(vrrpctl_("events", "--json", "--socket", daemon.path).stdout) == EVENTS
    assert "no change of state" in vrrpctl_("events", "VI_9", "--socket", daemon.path).stdout


def test_watch_asks_until_it_is_interrupted(daemon: Daemon) -> None:
    daemon.reply = {"ok": True, "status": STATUS}
    command = [sys.executable, "-m", "vrrpd.vrrpctl", "watch", "-n", "0.1", "VI_1", "--socket", str(daemon.path)]
    former = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job would ignore it
    try:
        process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    finally:
        signal.signal(signal.SIGINT, former)
    with process:
        assert process.stdout is not None
        states = 0
        while states < 2:
            states += process.stdout.readline().startswith("state ")
        daemon.reply = {"ok": False, "error": "the vrrp process does not answer"}
        while not process.stdout.readline().startswith("vrrpctl: the vrrp process does not answer"):
            assert process.poll() is None
        process.send_signal(signal.SIGINT)
        assert process.wait(10) == 0
