"""Sends notification mail: a bounded queue, and a short-lived child process for what is due.

In: `notify.Mail` texts. Out: SMTP as keepalived speaks it (HELO, one recipient per RCPT; headers Date, From, Subject,
X-Mailer, To) plus what mail servers of today expect (Message-ID, MIME, Auto-Submitted). Unlike keepalived's, a mail
that is refused for now is tried again. The child does all that may block or cost memory (name resolution, smtplib,
email); it is forked, so it needs no path to the code, and can be killed. When to mail is decided by notify.py.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import time
from collections import deque
from typing import TYPE_CHECKING, Any, Callable, NamedTuple

from vrrpd import process
from vrrpd.log import Log
from vrrpd.loop import Loop
from vrrpd.notify import Mail
from vrrpd.timers import Timer, Timers

if TYPE_CHECKING:
    from email.message import EmailMessage

MAX_QUEUED = 500
MAX_BATCH = 50  # mails over one connection
MAX_AGE = 24 * 3600.0
FIRST_RETRY, LAST_RETRY = 5.0, 600.0
BURST = 60  # mails; then one per RATE seconds
RATE = 2.0
SMTP_PORT = 25


class Settings(NamedTuple):
    """How to send, from global_defs. Names are resolved when mail is sent, never earlier."""

    server: tuple[str, int]
    recipients: tuple[str, ...]
    sender: str = ""  # "" is keepalived@<host name>
    helo_name: str = ""  # "" is the host name
    timeout: float = 30.0  # of each step


class Outcome(NamedTuple):
    """What became of one mail: sent, to be tried again, or refused for good."""

    number: int  # in its batch
    sent: bool
    again: bool
    error: str


class MailQueue:
    """Owns the queue and the child. `on_idle` is called whenever nothing is left to send."""

    def __init__(self, loop: Loop, timers: Timers, log: Log, *, first_retry: float = FIRST_RETRY) -> None:
        self.settings: Settings | None = None
        self.sent = 0
        self.dropped = 0
        self.last_error = ""
        self.on_idle: Callable[[], None] = lambda: None
        self._loop = loop
        self._timers = timers
        self._log = log
        self._queue: deque[Mail] = deque()
        self._first_retry = first_retry
        self._retry = first_retry
        self._allowance = float(BURST)
        self._allowance_at = time.monotonic()
        self._timer: Timer | None = None
        self._ending = False
        # of the running child
        self._pid = 0
        self._pipe = -1
        self._batch: list[Mail] = []
        self._answer = b""
        self._killer: Timer | None = None

    @property
    def busy(self) -> bool:
        return bool(self._queue or self._pid)

    @property
    def queued(self) -> int:
        return len(self._queue) + len(self._batch)

    def submit(self, mail: Mail) -> None:
        if self.settings is None:
            return
        if len(self._queue) >= MAX_QUEUED:
            self._queue.popleft()
            self.dropped += 1
            if self.dropped & (self.dropped - 1) == 0:  # 1, 2, 4, 8 ... or this log line would be the next flood
                self._log.error(
                    f"mail: {MAX_QUEUED} are waiting already; {self.dropped} of the oldest dropped since the start"
                )
        self._queue.append(mail)
        if self._timer is None:
            self._timer = self._timers.later(0, self._start)

    def finish(self) -> None:
        """Try once more what waits, at once; what fails now is not tried again."""
        self._ending = True
        self._allowance = float(MAX_QUEUED)
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._timers.later(0, self._start)

    @property
    def sending(self) -> bool:
        return bool(self._pid)

    def unsent(self) -> list[Mail]:
        """What another queue has to go on with. What is being sent may then be sent twice: better than never."""
        if self._pid:
            os.kill(self._pid, signal.SIGKILL)
        return [*self._batch, *self._queue]

    def kill(self) -> None:
        """Give up what is not sent."""
        if self._pid:
            os.kill(self._pid, signal.SIGKILL)
            self._collect()
        for mail in self._queue:
            self._drop(mail, "the daemon has ended")
        self._queue.clear()

    def _start(self) -> None:
        self._timer = None
        if self._pid or not self._queue or self.settings is None:
            self._tell_idle()
            return
        now = time.monotonic()
        self._allowance = min(max(self._allowance, BURST), self._allowance + (now - self._allowance_at) / RATE)
        self._allowance_at = now
        count = min(len(self._queue), MAX_BATCH, int(self._allowance))
        if not count:
            self._timer = self._timers.later(RATE, self._start)
            return
        self._allowance -= count
        self._batch = [self._queue.popleft() for _ in range(count)]
        self._answer = b""
        read, write = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self._pid = os.fork()
        if not self._pid:
            _child(self.settings, self._batch, write)
        os.close(write)
        self._pipe = read
        self._loop.watch(read, lambda now: self._read())
        # each step has its own timeout; this one is for a resolver or server that keeps us just alive
        limit = 60 + 4 * self.settings.timeout + count * 10
        self._killer = self._timers.later(limit, lambda: os.kill(self._pid, signal.SIGKILL))

    def _read(self) -> None:
        try:
            data = os.read(self._pipe, 65536)
        except BlockingIOError:
            return
        if data:
            self._answer += data
        else:
            self._collect()

    def _collect(self) -> None:
        """The child has closed its pipe: it has ended, or is about to."""
        self._loop.forget(self._pipe)
        os.close(self._pipe)
        _, status = os.waitpid(self._pid, 0)
        self._pid, self._pipe = 0, -1
        if self._killer is not None:
            self._killer.cancel()
        died = f"the sending process ended with status {status}"
        outcomes = {index: Outcome(index, False, True, died) for index in range(len(self._batch))}
        for line in self._answer.splitlines():
            outcome = Outcome(*json.loads(line))
            outcomes[outcome.number] = outcome
        again = self._settle(outcomes)
        self._batch = []
        self._queue.extendleft(reversed(again))
        if again:
            self._timer = self._timers.later(self._retry, self._start)
            self._retry = min(self._retry * 2, LAST_RETRY)
        else:
            self._retry = self._first_retry
            self._timer = self._timers.later(0, self._start)

    def _settle(self, outcomes: dict[int, Outcome]) -> list[Mail]:
        """Count and log a batch; returns what is to be tried again, in order."""
        again = []
        why = ""
        for index, mail in enumerate(self._batch):
            outcome = outcomes[index]
            if outcome.sent:
                self.sent += 1
                self._log.debug(f"{mail.instance}: mail sent: {mail.subject}")
                if outcome.error:
                    self._log.warning(f"{mail.instance}: mail sent, but not to all: {outcome.error}")
            elif outcome.again and not self._ending and time.time() - mail.at < MAX_AGE:
                again.append(mail)
                why = outcome.error
            else:
                self._drop(mail, outcome.error)
        self.last_error = why
        if again:
            self._log.warning(f"mail: {why}; {len(again)} to be tried again in {self._retry:g} s")
        return again

    def _drop(self, mail: Mail, why: str) -> None:
        self.dropped += 1
        self.last_error = why
        self._log.error(f"{mail.instance}: mail not sent ({mail.subject}): {why}")

    def _tell_idle(self) -> None:
        if not self.busy:
            self.on_idle()


def _child(settings: Settings, batch: list[Mail], pipe: int) -> None:
    """In the forked child: send, report on the pipe, and never return."""
    status = 1
    try:
        process.default_signals()
        os.setsid()  # a terminal's interrupt is not for us
        for fd in map(int, os.listdir("/proc/self/fd")):  # the daemon's sockets: their peers wait for an end of file
            if fd > 2 and fd != pipe:
                with contextlib.suppress(OSError):  # the listing itself
                    os.close(fd)
        os.set_blocking(pipe, True)

        def report(outcome: Outcome) -> None:
            os.write(pipe, json.dumps(outcome).encode() + b"\n")

        send(settings, batch, report)
        status = 0
    finally:
        os._exit(status)


def send(settings: Settings, batch: list[Mail], report: Callable[[Outcome], None]) -> None:
    """Send over one connection, reporting each mail; blocks. What is not reported was not reached."""
    import smtplib  # 6 MB and 30 ms that only this child pays

    host_name = _host_name()
    sender = settings.sender or f"keepalived@{host_name}"
    index = 0
    try:
        client = smtplib.SMTP(timeout=settings.timeout, local_hostname=settings.helo_name or host_name)
        _expect(smtplib, client.connect(*settings.server))
        # HELO and never EHLO, as keepalived: old relays refuse what they do not know
        _expect(smtplib, client.helo())
        for index, mail in enumerate(batch):
            report(_send_one(smtplib, client, settings, sender, index, mail))
    except (OSError, smtplib.SMTPException) as error:
        # the connection as a whole: every mail from here on shares its fate
        host, port = settings.server
        for rest in range(index, len(batch)):
            report(Outcome(rest, False, True, f"smtp_server {host} port {port}: {_smtp_text(error)}"))
        return
    with contextlib.suppress(OSError, smtplib.SMTPException):  # all was accepted before
        client.quit()


def _send_one(smtplib: Any, client: Any, settings: Settings, sender: str, index: int, mail: Mail) -> Outcome:
    from email.utils import parseaddr

    try:
        data = compose(mail, sender, settings.recipients).as_bytes()
        # "Bob B <b@example.net>": the envelope takes what is inside <>
        envelope = [parseaddr(address)[1] for address in settings.recipients]
        refused = client.sendmail(parseaddr(sender)[1], envelope, data)
    except smtplib.SMTPServerDisconnected:
        raise
    except smtplib.SMTPRecipientsRefused as error:
        codes = [code for code, _ in error.recipients.values()]
        return Outcome(index, False, any(code < 500 for code in codes), _refusals(error.recipients))
    except smtplib.SMTPResponseException as error:
        return Outcome(index, False, error.smtp_code < 500, _smtp_text(error))
    except ValueError as error:  # an address or subject that no header can hold
        return Outcome(index, False, False, str(error))
    return Outcome(index, True, False, _refusals(refused))


def compose(mail: Mail, sender: str, recipients: tuple[str, ...]) -> EmailMessage:
    """keepalived's headers in keepalived's order, then ours."""
    from email.message import EmailMessage
    from email.policy import SMTP
    from email.utils import formatdate, make_msgid

    message = EmailMessage(SMTP)
    message["Date"] = formatdate(mail.at, localtime=True)
    message["From"] = sender
    message["Subject"] = mail.subject
    message["X-Mailer"] = "Keepalived"
    message["To"] = ", ".join(recipients)
    message["Message-ID"] = make_msgid(domain=sender.rpartition("@")[2].strip(" >") or "localhost")
    message["Auto-Submitted"] = "auto-generated"  # RFC 3834: no out-of-office answers
    message.set_content(mail.body + "\n\n")  # keepalived ends with an empty line
    return message


def _host_name() -> str:
    name = socket.getfqdn()
    return name if "." in name and not name.startswith("localhost") else socket.gethostname()


def _expect(smtplib: Any, reply: tuple[int, bytes]) -> None:
    code, text = reply
    if not 200 <= code < 300:
        raise smtplib.SMTPResponseException(code, text)


def _smtp_text(error: Exception) -> str:
    code = getattr(error, "smtp_code", 0)
    if code:
        text: Any = getattr(error, "smtp_error", b"")
        return f"{code} {text.decode('utf-8', 'replace') if isinstance(text, bytes) else text}"
    return str(error) or type(error).__name__


def _refusals(recipients: dict[str, tuple[int, bytes]]) -> str:
    return ", ".join(f"{who}: {code} {text.decode('utf-8', 'replace')}" for who, (code, text) in recipients.items())
