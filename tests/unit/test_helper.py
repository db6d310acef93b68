"""The whole helper process over its real sockets: a forked process, a guard and a vrrp process played by the test."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from vrrpd import helper, ipc
from vrrpd.fifo import Kept
from vrrpd.model.compiled import encode
from vrrpd.model.globals import GlobalDefs
from vrrpd.model.groups import VrrpSyncGroup
from vrrpd.model.load import Model
from vrrpd.model.vrrp import Script, VrrpInstance
from vrrpd.pulse import Pulse

INSTANCE = VrrpInstance("VI_1", "eth0", 51)


class Helper:
    """A helper process. The test holds the other ends of its sockets, as guard and vrrp process do."""

    def __init__(self, folder: Path, pipes: tuple[Kept, ...] = ()) -> None:
        self.folder = folder
        self.pipes = pipes
        self.setting = helper.Setting(str(folder), str(folder / "state"), to_stderr=True, detailed=True)
        self.log = folder / "stderr"
        self.log.touch()
        self.vrrp, theirs = self._pair()
        self.guard, guards = self._pair()
        self.pid = os.fork()
        if not self.pid:
            self._child(theirs, guards)
        theirs.close()
        guards.close()

    @staticmethod
    def _pair() -> tuple[ipc.Channel, socket.socket]:
        ours, theirs = ipc.pair()
        ours.settimeout(15)
        return ipc.Channel(ours), theirs

    def _child(self, vrrp: socket.socket, guard: socket.socket) -> None:
        code = 70
        try:
            os.dup2(os.open(self.log, os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o600), 2)
            kept = {0, 1, 2, vrrp.fileno(), guard.fileno(), *(pipe.fd for pipe in self.pipes)}
            for fd in map(int, os.listdir("/proc/self/fd")):
                if fd not in kept:
                    with contextlib.suppress(OSError):
                        os.close(fd)
            code = helper.run(vrrp, guard, self.setting, Pulse(), pipes=self.pipes)
        except BaseException as error:
            os.write(2, f"raised {error!r}\n".encode())
        finally:
            os._exit(code)

    # ------------------------------------------------------------ as the guard and the vrrp process
    def load(self, *instances: VrrpInstance, groups: tuple[VrrpSyncGroup, ...] = (), **global_defs: Any) -> None:
        defs = replace(GlobalDefs(), router_id="LB1", **global_defs)
        model = Model(defs, instances, "/etc/test.conf", "ab" * 32, groups)
        fd = os.memfd_create("model")
        os.write(fd, encode(model))
        self.guard.send({"t": "model"}, [fd])
        os.close(fd)
        self.until(lambda: self.ask("status", vrrp={})["status"]["config"].get("path"))

    def transition(self, event: str, name: str = "VI_1", seq: int = 1, **changes: Any) -> None:
        message = {"t": "transition", "instance": name, "old": "BACKUP", "new": event, "event": event, "priority": 100}
        self.vrrp.send({**message, "reason": "a test", "seq": seq, "at": time.time(), **changes})

    def receive(self, channel: ipc.Channel) -> dict[str, Any]:
        """The next message of the helper."""
        data = channel.sock.recv(65536)
        message: dict[str, Any] = json.loads(data)
        return message

    def answer(self, channel: ipc.Channel, *parts: dict[str, Any]) -> dict[str, Any]:
        """Take one request and answer it in parts."""
        request = self.receive(channel)
        for index, data in enumerate(parts):
            channel.send({"t": "reply", "id": request["id"], "more": index + 1 < len(parts), "data": data})
        return request

    # ------------------------------------------------------------ as a client
    def connect(self) -> socket.socket:
        sock = socket.socket(socket.AF_UNIX)
        sock.settimeout(15)
        path = str(self.folder / helper.SOCKET)
        self.until(lambda: os.path.exists(path))
        sock.connect(path)
        return sock

    def ask(self, cmd: str, vrrp: dict[str, Any] | None = None, **arguments: Any) -> dict[str, Any]:
        with self.connect() as sock:
            sock.sendall(json.dumps({"cmd": cmd, **arguments}).encode() + b"\n")
            if vrrp is not None:
                self.answer(self.vrrp, vrrp)
            parsed: dict[str, Any] = json.loads(sock.makefile("rb").readline())
        return parsed

    def lines(self) -> list[str]:
        return self.log.read_text().splitlines()

    def logged(self, text: str) -> bool:
        return any(text in line for line in self.lines())

    def until(self, condition: Callable[[], object], limit: float = 15.0) -> None:
        end = time.monotonic() + limit
        while not condition():
            assert time.monotonic() < end, f"did not happen; log: {self.lines()}"
            time.sleep(0.01)

    # ------------------------------------------------------------ its end
    def exit(self, limit: float = 15.0) -> int:
        ended: list[int] = []

        def gone() -> bool:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                ended.append(status)
            return bool(pid)

        self.until(gone, limit)
        self.pid = 0
        return os.WEXITSTATUS(ended[0]) if os.WIFEXITED(ended[0]) else -os.WTERMSIG(ended[0])

    def close(self) -> None:
        if self.pid:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
        self.vrrp.close()
        self.guard.close()


@pytest.fixture
def process(tmp_path: Path) -> Iterator[Helper]:
    made = Helper(tmp_path)
    yield made
    made.close()


def sh(text: str) -> Script:
    return Script(("/bin/sh", "-c", text, "script"))


# ------------------------------------------------------------------------------------------ transitions


def test_a_transition_is_one_line_with_reason_and_priority(process: Helper) -> None:
    process.load(INSTANCE)
    process.transition("MASTER", reason="no advert from 10.0.0.1 for 3.61 s", at=1763832000.123)
    process.until(lambda: process.logged("VI_1"))
    (line,) = [line for line in process.lines() if "VI_1" in line]
    assert line.endswith(":00.123 VI_1: BACKUP -> MASTER (no advert from 10.0.0.1 for 3.61 s), priority 100")


def test_text_of_a_peer_cannot_forge_a_line(process: Helper) -> None:
    process.load(INSTANCE)
    process.transition("MASTER", reason="x\n2026-01-01 VI_2: BACKUP -> MASTER (forged)")
    process.until(lambda: process.logged("forged"))
    assert process.logged("x\\n2026-01-01")


def test_scripts_run_in_the_order_of_the_transitions(process: Helper, tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    trace.touch()
    process.load(
        replace(
            INSTANCE,
            notify_master=sh(f"sleep 0.2; echo master $# >>{trace}"),
            notify_backup=sh(f"echo backup $# >>{trace}"),
            notify=sh(f'echo "any $*" >>{trace}'),
        )
    )
    process.transition("MASTER", seq=1)
    process.transition("BACKUP", seq=2)
    process.until(lambda: trace.read_text().count("\n") == 4)
    assert trace.read_text().splitlines() == [
        "master 0",
        "any INSTANCE VI_1 MASTER 100",
        "backup 0",
        "any INSTANCE VI_1 BACKUP 100",
    ]


def test_members_and_group_are_told_in_their_order(process: Helper, tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    trace.touch()
    group = VrrpSyncGroup("G1", ("VI_1",), notify_fault=sh(f"echo fault >>{trace}"), notify=sh(f'echo "$*" >>{trace}'))
    process.load(groups=(group,))
    process.transition("FAULT", seq=1)
    process.transition("FAULT", "G1", 2, t="group_transition", priority=0)
    process.until(lambda: trace.read_text().count("\n") == 2)
    assert trace.read_text().splitlines() == ["fault", "GROUP G1 FAULT 0"]
    lines = [line.partition(" ")[2] for line in process.lines() if "FAULT" in line]
    assert [line[line.index(" ") + 1 :] for line in lines] == [
        "VI_1: BACKUP -> FAULT (a test), priority 100",
        "sync group G1: BACKUP -> FAULT (a test)",
    ]


def test_the_scripts_of_a_removed_instance_still_run(process: Helper, tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    process.load(replace(INSTANCE, notify=sh(f'echo "$3" >{trace}')))
    process.load()  # the model without it comes before its last word
    process.transition("DELETED")
    process.until(lambda: trace.exists() and trace.read_text())
    assert trace.read_text() == "FAULT\n"


def test_a_lower_advert_runs_its_script(process: Helper, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    process.load(replace(INSTANCE, notify_master_rx_lower_pri=sh(f"touch {mark}")))
    process.vrrp.send({"t": "rx_lower_pri", "instance": "VI_1", "source": "10.0.0.2", "priority": 90, "at": 1.0})
    process.until(mark.exists)


def test_lost_transitions_are_counted(process: Helper) -> None:
    process.load(INSTANCE)
    process.transition("MASTER", seq=1)
    process.transition("BACKUP", seq=5)
    process.until(lambda: process.logged("3 state changes were not told to scripts and mail"))
    assert process.ask("status", vrrp={})["status"]["transitions_lost"] == 3


# ------------------------------------------------------------------------------------------ status and requests


def test_status_is_put_together_from_its_parts(process: Helper) -> None:
    process.load(INSTANCE)
    with process.connect() as sock:
        sock.sendall(b'{"cmd":"status"}\n')
        request = process.answer(
            process.vrrp,
            {"head": {"release": "r1", "processes": {"guard": 1, "vrrp": 2}}},
            {"instances": [{"name": "A"}]},
            {"instances": [{"name": "B"}]},
        )
        reply = json.loads(sock.makefile("rb").readline())
    assert request["cmd"] == "status"
    status = reply["status"]
    assert reply["ok"]
    assert [instance["name"] for instance in status["instances"]] == ["A", "B"]
    assert status["release"] == "r1"
    assert status["processes"] == {"guard": 1, "vrrp": 2, "helper": process.pid}
    assert status["config"]["path"] == "/etc/test.conf"
    assert status["maintenance"] is False


def test_a_silent_vrrp_process_is_an_honest_error(process: Helper) -> None:
    process.load(INSTANCE)
    reply = process.ask("status")
    said = re.fullmatch(r"the vrrp process does not answer since (\d+\.\d) s", reply["error"])
    assert said is not None
    assert float(said[1]) >= 2.0
    assert "instances" not in reply["status"]
    # its answer, too late, is not taken for the next one
    late = process.receive(process.vrrp)
    with process.connect() as sock:
        sock.sendall(b'{"cmd":"status"}\n')
        request = process.receive(process.vrrp)
        process.vrrp.send({"t": "reply", "id": late["id"], "more": False, "data": {"instances": [{"name": "OLD"}]}})
        process.vrrp.send({"t": "reply", "id": request["id"], "more": False, "data": {"instances": []}})
        assert json.loads(sock.makefile("rb").readline())["status"]["instances"] == []


def test_a_dead_vrrp_process_is_said_at_once_and_its_successor_answers(process: Helper) -> None:
    process.load(INSTANCE)
    process.vrrp.close()
    process.until(lambda: "is not running; it is being restarted" in process.ask("status")["error"])
    process.vrrp, theirs = process._pair()
    process.guard.send({"t": "vrrp"}, [theirs.fileno()])
    theirs.close()
    process.until(lambda: not process.guard.congested)
    with process.connect() as sock:
        sock.sendall(b'{"cmd":"status"}\n')
        process.answer(process.vrrp, {"instances": []})
        assert json.loads(sock.makefile("rb").readline())["ok"]


def test_what_has_happened_is_remembered_and_passed_on(process: Helper) -> None:
    process.load()
    at = time.time()
    process.transition("MASTER", at=at)
    process.transition("MASTER", "G1", seq=2, t="group_transition", priority=0, at=at)
    process.transition("DELETED", seq=3, old="MASTER", new="FAULT", at=at)
    process.until(lambda: len(process.ask("events")["events"]) == 3)
    events = process.ask("events")["events"]
    assert events == [
        {"at": at, "instance": "VI_1", "old": "BACKUP", "new": "MASTER", "reason": "a test", "priority": 100},
        {"at": at, "sync_group": "G1", "old": "BACKUP", "new": "MASTER", "reason": "a test"},
        {"at": at, "instance": "VI_1", "old": "MASTER", "new": "DELETED", "reason": "a test", "priority": 100},
    ]
    process.guard.send({"t": "retire"})
    assert process.receive(process.guard) == {"t": "events", "events": events}
    assert process.exit() == 0


def test_reload_is_answered_by_the_guard(process: Helper) -> None:
    process.load(INSTANCE)
    data = {"ok": False, "error": "not loaded", "diagnostics": [{"line": 4}], "changed": []}
    with process.connect() as sock:
        sock.sendall(b'{"cmd":"reload"}\n')
        request = process.answer(process.guard, data)
        assert json.loads(sock.makefile("rb").readline()) == data
    assert request["cmd"] == "reload"


def test_handover_goes_to_the_vrrp_process(process: Helper) -> None:
    process.load(INSTANCE)
    with process.connect() as sock:
        sock.sendall(b'{"cmd":"handover","instance":"VI_1"}\n')
        request = process.answer(process.vrrp, {"ok": False, "error": "VI_1 is BACKUP, not MASTER"})
        assert json.loads(sock.makefile("rb").readline()) == {"ok": False, "error": "VI_1 is BACKUP, not MASTER"}
    assert (request["cmd"], request["instance"]) == ("handover", "VI_1")
    assert process.ask("handover")["error"] == 'handover needs "instance", the name of one'
    assert "did not fit" in process.ask("handover", instance="x" * 65490)["error"]


def test_results_of_scripts_are_shown(process: Helper) -> None:
    process.load(replace(INSTANCE, notify_master=sh("echo because; exit 3")))
    process.transition("MASTER")
    process.until(lambda: process.logged("exit status 3"))
    (run,) = process.ask("scripts")["scripts"]
    assert (run["instance"], run["keyword"], run["exit"], run["output"]) == ("VI_1", "notify_master", 3, ["because"])
    assert process.ask("status", vrrp={})["status"]["scripts"] == [run]


# ------------------------------------------------------------------------------------------ maintenance


def test_maintenance_is_recorded_and_told(process: Helper) -> None:
    process.load(INSTANCE)
    mark = Path(process.setting.state_dir) / "maintenance"
    assert process.ask("maintenance", vrrp={"ok": True}, on=True) == {"ok": True, "maintenance": True}
    assert mark.exists()
    assert process.ask("maintenance", vrrp={"ok": True}, on=False) == {"ok": True, "maintenance": False}
    assert not mark.exists()
    assert "true or false" in process.ask("maintenance", on="yes")["error"]


def test_maintenance_of_an_earlier_life_is_shown(tmp_path: Path) -> None:
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "maintenance").touch()
    process = Helper(tmp_path)
    try:
        process.until(lambda: process.logged("maintenance is on"))
        assert process.ask("status", vrrp={})["status"]["maintenance"] is True
    finally:
        process.close()


def test_maintenance_that_cannot_be_recorded_changes_nothing(process: Helper) -> None:
    process.load(INSTANCE)
    Path(process.setting.state_dir).write_text("a file in its place")
    assert "nothing is changed" in process.ask("maintenance", on=True)["error"]


def test_maintenance_without_an_answer_says_what_holds(process: Helper) -> None:
    process.load(INSTANCE)
    assert process.ask("maintenance", on=True)["error"].startswith(
        "maintenance on is recorded, but the vrrp process does not answer"
    )


# ------------------------------------------------------------------------------------------ the end


def test_the_end_waits_for_the_scripts_of_the_stop(process: Helper, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    process.load(replace(INSTANCE, notify_stop=sh(f"sleep 0.3; touch {mark}")))
    process.transition("STOP")
    process.vrrp.close()  # the vrrp process has gone before its last words were read
    process.guard.send({"t": "finish", "grace": 5.0})
    assert process.exit() == 0
    assert mark.exists()
    assert not os.path.exists(tmp_path / helper.SOCKET)


def test_the_end_is_immediate_when_nothing_is_to_do(process: Helper) -> None:
    process.load(INSTANCE)
    process.vrrp.close()
    started = time.monotonic()
    process.guard.send({"t": "finish", "grace": 5.0})
    assert process.exit() == 0
    assert time.monotonic() - started < 2


def test_the_end_does_not_wait_longer_than_its_grace_and_leaves_no_process(process: Helper, tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    process.load(replace(INSTANCE, notify_stop=sh(f"trap '' TERM; echo $$ >{pid_file}; while :; do sleep 0.1; done")))
    process.transition("STOP")
    process.until(lambda: pid_file.exists() and pid_file.read_text())
    process.vrrp.close()
    started = time.monotonic()
    process.guard.send({"t": "finish", "grace": 1.0})
    assert process.exit() == 0
    assert time.monotonic() - started < 4
    child = int(pid_file.read_text())
    process.until(lambda: not os.path.exists(f"/proc/{child}/exe") or not _alive(child))


def _alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def test_signals_of_the_terminal_do_not_end_it(process: Helper, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    process.load(replace(INSTANCE, notify_stop=sh(f"touch {mark}")))
    for sig in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        os.kill(process.pid, sig)
    process.transition("STOP")
    process.until(mark.exists)


def test_it_leaves_after_the_guard_died_and_the_vrrp_process_left(process: Helper, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    process.load(replace(INSTANCE, notify_stop=sh(f"touch {mark}")))
    process.guard.close()
    process.until(lambda: process.logged("the guard has died"))
    process.transition("STOP")
    process.vrrp.close()
    assert process.exit() == 0
    assert mark.exists()


def test_what_is_no_message_is_ignored(process: Helper) -> None:
    process.load(INSTANCE)
    process.vrrp.sock.send(b"not json")
    process.vrrp.send({"t": "unheard of"})
    process.vrrp.send({"t": ["transition"]})
    process.vrrp.send({"t": "rx_lower_pri", "instance": ["VI_1"]})
    process.vrrp.send({"t": "reply", "id": [1], "data": {}})
    process.vrrp.send({"t": "log", "level": {}, "message": 7})
    process.transition("EXPLODE")
    process.transition("MASTER", priority="100; rm -rf /")
    process.transition("MASTER", at=1e300)
    process.guard.send({"t": "unheard of"})
    assert process.ask("scripts") == {"ok": True, "scripts": []}
    process.until(lambda: sum("no transition" in line for line in process.lines()) == 3)


# ------------------------------------------------------------------------------------------ mail


@pytest.fixture
def inbox() -> Iterator[Any]:
    from test_mail import Server

    server = Server()
    yield server
    server.close()


def test_a_state_change_is_mailed_once(process: Helper, inbox: Any) -> None:
    process.load(
        replace(INSTANCE, smtp_alert=True),
        smtp_server=("127.0.0.1", inbox.port),
        notification_email=("admin@example.net",),
        notification_email_from="noreply@example.net",
    )
    for seq, event in enumerate(("MASTER", "MASTER", "BACKUP"), 1):
        process.transition(event, seq=seq)
    process.vrrp.close()
    process.guard.send({"t": "finish", "grace": 5.0})
    assert process.exit() == 0
    subjects = [line for mail in inbox.mails for line in mail["content"].splitlines() if line.startswith("Subject")]
    assert subjects == [
        "Subject: [LB1] VRRP Instance VI_1 - Entering MASTER state",
        "Subject: [LB1] VRRP Instance VI_1 - Entering BACKUP state",
    ]


def test_mail_without_a_server_is_not_missed(process: Helper) -> None:
    process.load(replace(INSTANCE, smtp_alert=True))
    process.transition("MASTER")
    process.until(lambda: process.logged("BACKUP -> MASTER"))
    assert process.ask("status", vrrp={})["status"]["mail"] == {"queued": 0, "sent": 0, "dropped": 0, "last_error": ""}
