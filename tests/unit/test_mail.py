"""The mail queue against a real SMTP server in a process of its own: what arrives, what is tried again, what waits."""

from __future__ import annotations

import email
import email.utils
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from email.message import Message
from pathlib import Path
from typing import Any

import pytest
from blocking_lab import Lab

from vrrpd.helper import mail_settings
from vrrpd.mail import MAX_QUEUED, MailQueue, Settings
from vrrpd.model.globals import GlobalDefs
from vrrpd.notify import Mail

SUBJECT = "[LB1] VRRP Instance VI_1 - Entering MASTER state"
BODY = "=> VRRP Instance is now owning VRRP VIPs <="
AT = 1763832000.25


def mail(number: int = 0, at: float | None = None) -> Mail:
    return Mail("VI_1", "MASTER", SUBJECT + (f" {number}" if number else ""), BODY, time.time() if at is None else at)


class Server:
    """The server process; `events` are read without waiting."""

    def __init__(self, *answers: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("smtp_server.py")), *answers], stdout=subprocess.PIPE
        )
        assert self.process.stdout is not None
        self.port: int = json.loads(self.process.stdout.readline())["port"]
        os.set_blocking(self.process.stdout.fileno(), False)
        self._text = b""

    @property
    def events(self) -> list[dict[str, Any]]:
        assert self.process.stdout is not None
        self._text += self.process.stdout.read() or b""
        return [json.loads(line) for line in self._text.splitlines(keepends=True) if line.endswith(b"\n")]

    @property
    def mails(self) -> list[dict[str, Any]]:
        return [event for event in self.events if event.get("event") == "DATA"]

    def close(self) -> None:
        self.process.kill()
        self.process.communicate()


@pytest.fixture
def lab() -> Iterator[Lab]:
    lab = Lab()
    yield lab
    lab.close()


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    yield server
    server.close()


def queue(lab: Lab, port: int, **changes: Any) -> MailQueue:
    made = MailQueue(lab.loop, lab.timers, lab.log, first_retry=0.1)
    made.settings = Settings(
        ("127.0.0.1", port), ("admin@example.net",), "noreply@example.net", "lb1.example.net", 5.0
    )._replace(**changes)
    return made


def test_subject_body_and_headers_are_keepalived_s(lab: Lab, server: Server) -> None:
    sender = queue(lab, server.port, recipients=("admin@example.net", "Bob B <bob@example.org>"))
    sender.submit(mail(at=AT))
    lab.until(lambda: not sender.busy)
    (arrived,) = server.mails
    headers, _, body = arrived["content"].partition("\r\n\r\n")
    names = [line.split(":")[0] for line in headers.split("\r\n") if not line.startswith(" ")]
    assert names[:5] == ["Date", "From", "Subject", "X-Mailer", "To"]
    message: Message = email.message_from_string(arrived["content"])
    assert message["From"] == "noreply@example.net"
    assert message["Subject"] == SUBJECT
    assert message["X-Mailer"] == "Keepalived"
    assert message["To"] == "admin@example.net, Bob B <bob@example.org>"
    assert email.utils.parsedate_to_datetime(message["Date"]).timestamp() == int(AT)
    assert body == BODY + "\r\n\r\n"
    # and what mail servers of today want
    assert message["Message-ID"].endswith("@example.net>")
    assert message["Auto-Submitted"] == "auto-generated"
    assert message["MIME-Version"] == "1.0"


def test_the_dialogue_is_helo_one_rcpt_per_address_and_quit(lab: Lab, server: Server) -> None:
    sender = queue(lab, server.port, recipients=("admin@example.net", "Bob B <bob@example.org>"))
    sender.submit(mail())
    lab.until(lambda: not sender.busy and server.events[-1]["event"] == "QUIT")
    helo, data, _ = server.events
    assert helo == {"event": "HELO", "name": "lb1.example.net"}
    assert data["sender"] == "noreply@example.net"
    assert data["recipients"] == ["admin@example.net", "bob@example.org"]


def test_without_notification_email_from_keepalived_at_this_host_writes(lab: Lab, server: Server) -> None:
    sender = queue(lab, server.port, sender="", helo_name="")
    sender.submit(mail())
    lab.until(lambda: not sender.busy)
    user, _, host = server.mails[0]["sender"].partition("@")
    assert user == "keepalived"
    assert host.partition(".")[0] == socket.gethostname().partition(".")[0]
    assert server.events[0]["name"] == host


def test_mails_of_one_moment_share_a_connection_and_keep_their_order(lab: Lab, server: Server) -> None:
    sender = queue(lab, server.port)
    for number in range(1, 6):
        sender.submit(mail(number))
    lab.until(lambda: not sender.busy)
    subjects = [email.message_from_string(arrived["content"])["Subject"] for arrived in server.mails]
    assert subjects == [f"{SUBJECT} {number}" for number in range(1, 6)]
    assert [event["event"] for event in server.events].count("HELO") == 1
    assert sender.sent == 5


def test_a_mail_refused_for_now_is_tried_again_and_overtakes_nothing(lab: Lab) -> None:
    server = Server("451 try later")
    try:
        sender = queue(lab, server.port)
        sender.submit(mail(1))
        lab.until(lambda: not sender.busy)
        assert [email.message_from_string(m["content"])["Subject"] for m in server.mails] == [SUBJECT + " 1"] * 2
        assert lab.logged("mail: 451 try later; 1 to be tried again in 0.1 s")
        assert (sender.sent, sender.dropped) == (1, 0)
    finally:
        server.close()


def test_a_mail_refused_for_good_is_one_line_and_the_next_one_goes(lab: Lab) -> None:
    server = Server("554 spam")
    try:
        sender = queue(lab, server.port)
        sender.submit(mail(1))
        sender.submit(mail(2))
        lab.until(lambda: not sender.busy)
        assert lab.logged(f"VI_1: mail not sent ({SUBJECT} 1): 554 spam")
        assert (sender.sent, sender.dropped) == (1, 1)
    finally:
        server.close()


def test_one_refused_recipient_does_not_cost_the_others_their_mail(lab: Lab, server: Server) -> None:
    sender = queue(lab, server.port, recipients=("refused@example.net", "admin@example.net"))
    sender.submit(mail())
    lab.until(lambda: not sender.busy)
    assert server.mails[0]["recipients"] == ["admin@example.net"]
    assert lab.logged("mail sent, but not to all: refused@example.net: 550 no such mailbox")


def test_a_server_that_is_away_gets_the_mail_when_it_is_back(lab: Lab) -> None:
    with socket.create_server(("127.0.0.1", 0)) as reserved:
        port = reserved.getsockname()[1]
    sender = queue(lab, port)
    sender.submit(mail())
    lab.until(lambda: lab.logged("to be tried again in 0.4 s"))  # the third attempt, so it backs off
    assert lab.logged(
        f"mail: smtp_server 127.0.0.1 port {port}: [Errno 111] Connection refused; 1 to be tried again in 0.1 s"
    )
    server = Server()
    try:
        assert sender.settings is not None
        sender.settings = sender.settings._replace(server=("127.0.0.1", server.port))  # as a reload would
        lab.until(lambda: not sender.busy)
        assert len(server.mails) == 1
    finally:
        server.close()


def test_a_silent_server_holds_up_nobody_else(lab: Lab) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        sender = queue(lab, silent.getsockname()[1], timeout=30.0)
        turns = []
        sender.submit(mail())
        lab.timers.later(0.3, lambda: turns.append(time.monotonic()))
        started = time.monotonic()
        lab.until(lambda: turns)
        assert turns[0] - started < 2
        assert sender.busy
        sender.kill()
        assert lab.logged("mail not sent")


def test_connect_timeout_is_that_of_the_configuration(lab: Lab) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        sender = queue(lab, silent.getsockname()[1], timeout=0.3)
        sender.submit(mail())
        lab.until(lambda: lab.logged("timed out"))
        sender.kill()


def test_an_unknown_server_name_is_an_error_of_sending_not_of_queueing(lab: Lab) -> None:
    sender = queue(lab, 25, server=("mx.invalid", 25))
    started = time.monotonic()
    sender.submit(mail())
    assert time.monotonic() - started < 0.5
    lab.until(lambda: lab.logged("smtp_server mx.invalid port 25:"), 60)
    sender.kill()


def test_the_end_tries_once_and_gives_up(lab: Lab) -> None:
    with socket.create_server(("127.0.0.1", 0)) as reserved:
        port = reserved.getsockname()[1]
    sender = queue(lab, port)
    sender.submit(mail())
    lab.until(lambda: lab.logged("to be tried again"))
    sender.finish()
    lab.until(lambda: not sender.busy)
    assert lab.logged(f"VI_1: mail not sent ({SUBJECT}): smtp_server 127.0.0.1 port {port}: [Errno 111]")


def test_a_mail_that_no_header_can_hold_is_dropped_alone(lab: Lab, server: Server) -> None:
    sender = queue(lab, server.port)
    sender.submit(mail()._replace(subject="one\r\nBcc: everybody@example.net"))
    sender.submit(mail())
    lab.until(lambda: not sender.busy)
    assert (sender.sent, sender.dropped) == (1, 1)
    assert "Bcc" not in server.mails[0]["content"]


def test_without_a_server_nothing_is_queued(lab: Lab) -> None:
    sender = MailQueue(lab.loop, lab.timers, lab.log)
    sender.submit(mail())
    assert not sender.busy


def test_the_queue_is_bounded_and_the_oldest_go(lab: Lab) -> None:
    sender = queue(lab, 1)
    for number in range(MAX_QUEUED + 3):
        sender.submit(mail(number))
    assert (sender.queued, sender.dropped) == (MAX_QUEUED, 3)
    assert lab.logged("mail: 500 are waiting already; 2 of the oldest dropped since the start")


def test_the_words_of_the_file_are_the_settings(lab: Lab, server: Server) -> None:
    defs = GlobalDefs(
        smtp_server=("127.0.0.1", server.port),
        notification_email=("admin@example.net",),
        notification_email_from="noreply@example.net",
        smtp_helo_name="lb7.example.net",
        smtp_connect_timeout=0.5,
    )
    sender = queue(lab, 1)
    sender.settings = mail_settings(defs)
    sender.submit(mail())
    lab.until(lambda: not sender.busy)
    assert server.events[0] == {"event": "HELO", "name": "lb7.example.net"}
    with socket.create_server(("127.0.0.1", 0)) as silent:
        sender.settings = mail_settings(replace(defs, smtp_server=silent.getsockname()))
        since = time.monotonic()
        sender.submit(mail())
        lab.until(lambda: lab.logged("timed out"))
        assert time.monotonic() - since >= 0.5
        sender.kill()


def test_a_storm_is_limited_in_rate(lab: Lab, server: Server) -> None:
    sender = queue(lab, server.port)
    for number in range(80):
        sender.submit(mail(number))
    lab.until(lambda: sender.sent == 60)
    assert sender.queued == 20
    sender.finish()  # the end does not wait
    lab.until(lambda: not sender.busy)
    assert sender.sent == 80


def test_the_child_holds_no_descriptor_of_the_daemon(lab: Lab) -> None:
    # the vrrp process learns of the helper's death by the end of their socket, mail under way or not
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with socket.create_server(("127.0.0.1", 0)) as silent, theirs:
        sender = queue(lab, silent.getsockname()[1])
        sender.submit(mail())
        lab.until(lambda: sender._pid)
        connection, _ = silent.accept()  # so it is past its start
        ours.close()
        assert theirs.recv(1) == b""
        connection.close()
        sender.kill()
