"""The control socket with real clients: bounds, rights, and that no client can harm the daemon or the others."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import stat
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from blocking_lab import Lab

from vrrpd import control
from vrrpd.control import Control, Peer

Handler = Callable[[dict[str, Any], Peer, control.Reply], None]


def echo(request: dict[str, Any], peer: Peer, reply: control.Reply) -> None:
    reply({"ok": True, "got": request, "uid": peer.uid, "pid": peer.pid})


class Server:
    def __init__(self, lab: Lab, path: str) -> None:
        self.lab = lab
        self.path = path
        self.started: list[Control] = []
        self._clients: list[socket.socket] = []

    def start(self, handle: Handler = echo, **options: Any) -> Control:
        made = Control(self.lab.loop, self.lab.timers, self.lab.log, self.path, handle, **options)
        self.started.append(made)
        return made

    def connect(self) -> socket.socket:
        sock = socket.socket(socket.AF_UNIX)
        sock.connect(self.path)
        sock.setblocking(False)
        self._clients.append(sock)
        return sock

    def answer(self, sock: socket.socket) -> dict[str, Any]:
        """The next line of the daemon; {} when it has closed instead."""
        data = bytearray()

        def complete() -> bool:
            with contextlib.suppress(BlockingIOError):
                chunk = sock.recv(1 if not data else 65536)
                data.extend(chunk or b"{}\n")
            return data.endswith(b"\n")

        self.lab.until(complete)
        parsed: dict[str, Any] = json.loads(data)
        return parsed

    def ask(self, request: bytes, sock: socket.socket | None = None) -> dict[str, Any]:
        sock = sock or self.connect()
        with contextlib.suppress(BlockingIOError, BrokenPipeError, ConnectionResetError):
            sock.send(request)
        return self.answer(sock)

    def close(self) -> None:
        for made in self.started:
            made.close()
        for sock in self._clients:
            sock.close()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    lab = Lab()
    server = Server(lab, str(tmp_path / "control.sock"))
    yield server
    server.close()
    lab.close()


def test_a_request_is_handed_over_with_who_asks(server: Server) -> None:
    server.start()
    answer = server.ask(b'{"cmd":"handover","instance":"VI_1"}\n')
    assert answer["got"] == {"cmd": "handover", "instance": "VI_1"}
    assert (answer["uid"], answer["pid"]) == (os.geteuid(), os.getpid())


def test_a_connection_serves_one_request_after_the_other(server: Server) -> None:
    server.start()
    sock = server.connect()
    assert server.ask(b'{"cmd":"status","n":1}\n', sock)["got"]["n"] == 1
    assert server.ask(b'{"cmd":"status","n":2}\n', sock)["got"]["n"] == 2


def test_requests_sent_together_are_answered_in_order(server: Server) -> None:
    server.start()
    sock = server.connect()
    sock.send(b'{"cmd":"status","n":1}\n{"cmd":"status","n":2}\n')
    received = bytearray()

    def both() -> bool:
        with contextlib.suppress(BlockingIOError):
            received.extend(sock.recv(65536))
        return received.count(b"\n") == 2

    server.lab.until(both)
    assert [json.loads(line)["got"]["n"] for line in received.splitlines()] == [1, 2]


def test_the_last_line_may_lack_its_end(server: Server) -> None:
    server.start()
    sock = server.connect()
    sock.send(b'{"cmd":"status"}')
    sock.shutdown(socket.SHUT_WR)
    assert server.answer(sock)["ok"]


@pytest.mark.parametrize(
    ("request_", "error"),
    [
        (b"hello\n", "the request is not JSON: "),
        (b"\xff\xfe\n", "the request is not JSON: "),
        (b"[" * 60000 + b"\n", "the request is not JSON: "),
        (b"[1]\n", 'a request is a JSON object with "cmd"'),
        (b'{"cmd":7}\n', 'a request is a JSON object with "cmd"'),
        (b"x" * (control.MAX_REQUEST + 1), "a request has at most 65536 bytes"),
    ],
)
def test_what_is_no_request_is_answered_and_closed(server: Server, request_: bytes, error: str) -> None:
    server.start()
    sock = server.connect()
    sent = 0

    def push() -> bool:
        nonlocal sent
        with contextlib.suppress(BlockingIOError):
            sent += sock.send(request_[sent:])
        return sent == len(request_)

    server.lab.until(push)
    answer = server.answer(sock)
    assert answer["ok"] is False
    assert answer["error"].startswith(error)
    with contextlib.suppress(ConnectionResetError):
        assert server.answer(sock) == {}
    assert server.ask(b'{"cmd":"status"}\n')["ok"], "the next client is served"


def test_an_unknown_command_names_the_known_ones(server: Server) -> None:
    server.start()
    assert server.ask(b'{"cmd":"explode"}\n')["error"] == (
        "unknown command 'explode'; known: events, handover, maintenance, reload, scripts, status, upgrade"
    )


def test_the_largest_request_is_still_served(server: Server) -> None:
    server.start()
    frame = len(b'{"cmd":"status","pad":""}')
    request = b'{"cmd":"status","pad":"' + b"x" * (control.MAX_REQUEST - frame) + b'"}\n'
    assert server.ask(request)["ok"]


def test_one_client_too_many_is_told_so(server: Server) -> None:
    made = server.start()
    for _ in range(control.MAX_CLIENTS):
        server.connect()
    server.lab.until(lambda: len(made.clients) == control.MAX_CLIENTS)
    late = server.connect()
    assert server.answer(late)["error"] == "16 clients are connected, the most that are served at once; try again"
    assert len(made.clients) == control.MAX_CLIENTS


def test_readers_cannot_lock_out_root(server: Server) -> None:
    made = server.start(masters=frozenset())  # so that we count as readers
    for _ in range(control.MAX_CLIENTS - control.KEPT_FOR_ROOT):
        server.connect()
    server.lab.until(lambda: len(made.clients) == control.MAX_CLIENTS - control.KEPT_FOR_ROOT)
    assert "14 clients are connected" in server.answer(server.connect())["error"]
    made.masters = frozenset({os.geteuid()})
    assert server.ask(b'{"cmd":"reload"}\n')["ok"]


def test_a_client_that_says_nothing_is_closed(server: Server) -> None:
    made = server.start(idle_timeout=0.2)
    sock = server.connect()
    sock.send(b'{"cmd":')
    assert server.answer(sock) == {}
    assert not made.clients


def test_a_client_that_does_not_read_is_closed(server: Server) -> None:
    made = server.start(lambda request, peer, reply: reply({"pad": "x" * 4_000_000}), write_timeout=0.2)
    sock = server.connect()
    sock.send(b'{"cmd":"status"}\n')
    server.lab.until(lambda: made.clients)
    server.lab.until(lambda: not made.clients)


def test_a_large_answer_arrives_whole(server: Server) -> None:
    server.start(lambda request, peer, reply: reply({"pad": "x" * 4_000_000}))
    assert len(server.ask(b'{"cmd":"status"}\n')["pad"]) == 4_000_000


def test_a_half_closed_client_that_waits_costs_no_turns(server: Server) -> None:
    waiting: list[control.Reply] = []
    server.start(lambda request, peer, reply: waiting.append(reply))
    sock = server.connect()
    sock.send(b'{"cmd":"status"}\n')
    sock.shutdown(socket.SHUT_WR)
    server.lab.until(lambda: waiting)
    turns = []
    elapsed = []
    server.lab.timers.later(0.5, lambda: elapsed.append(True))
    server.lab.until(lambda: turns.append(1) or elapsed)
    assert len(turns) < 60  # one per look of the lab; a loop that spins makes thousands
    waiting[0]({"ok": True})
    assert server.answer(sock) == {"ok": True}


def test_an_answer_to_a_client_that_has_gone_is_no_harm(server: Server) -> None:
    waiting: list[control.Reply] = []
    made = server.start(lambda request, peer, reply: waiting.append(reply))
    sock = server.connect()
    sock.send(b'{"cmd":"status"}\n')
    server.lab.until(lambda: waiting)
    sock.close()
    server.lab.until(lambda: not made.clients)
    waiting[0]({"ok": True})


def test_changes_are_for_root_and_the_refusal_is_logged(server: Server) -> None:
    asked: list[str] = []

    def handle(request: dict[str, Any], peer: Peer, reply: control.Reply) -> None:
        asked.append(request["cmd"])
        reply({"ok": True})

    server.start(handle, masters=frozenset())
    for command in sorted(control.CHANGING):
        answer = server.ask(json.dumps({"cmd": command}).encode() + b"\n")
        assert answer["error"] == f"{command} is for root; uid {os.geteuid()} may only read: events, scripts, status"
        assert server.lab.logged(f"control: {command} is for root")
    for command in sorted(control.READING):
        assert server.ask(json.dumps({"cmd": command}).encode() + b"\n")["ok"]
    assert asked == sorted(control.READING)


def test_the_kernel_says_who_asks(server: Server, tmp_path: Path) -> None:
    assert os.geteuid() == 0, "another account asks: needs root"
    server.start()
    os.chmod(server.path, 0o666)
    for path in (tmp_path, *list(tmp_path.parents)[:2]):
        path.chmod(0o755)
    program = (
        "import socket,sys;s=socket.socket(socket.AF_UNIX);s.connect(sys.argv[1]);"
        's.send(b\'{"cmd":"reload","uid":0}\\n\');print(s.recv(4096).decode())'
    )
    with subprocess.Popen(
        ["/usr/bin/python3", "-I", "-c", program, server.path], user="nobody", stdout=subprocess.PIPE, cwd="/"
    ) as child:
        server.lab.until(lambda: child.poll() is not None)
        assert child.stdout is not None
        assert "reload is for root; uid 65534" in json.loads(child.stdout.read())["error"]


def test_the_socket_is_for_root_and_the_group(server: Server) -> None:
    import grp

    server.start(group="daemon")
    found = os.stat(server.path)
    assert stat.S_IMODE(found.st_mode) == 0o660
    assert found.st_gid == grp.getgrnam("daemon").gr_gid


def test_without_the_group_the_socket_is_ours_alone(server: Server) -> None:
    server.start(group="no-such-group")
    assert stat.S_IMODE(os.stat(server.path).st_mode) == 0o600


def test_what_a_killed_predecessor_left_is_replaced(server: Server) -> None:
    for path in (server.path, server.path + ".new"):
        with socket.socket(socket.AF_UNIX) as left:
            left.bind(path)
    server.start()
    assert server.ask(b'{"cmd":"status"}\n')["ok"]


def test_closing_takes_away_its_own_socket_only(server: Server) -> None:
    first = server.start()
    second = server.start()  # a successor has taken the place already
    first.close()
    assert os.path.exists(server.path)
    second.close()
    assert not os.path.exists(server.path)
