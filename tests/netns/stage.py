"""Two daemons under the same events: a `Stage` for each, a `Pair` to which each step happens at once.

Owns: the stage, one daemon in a laboratory of its own, where the client plays the other routers of the segment
(`Speaker`), and when a step is over. Leaves to others: what was seen (seen.py), which files and events there are
(plays_*.py), which differences are right (test_side_by_side.py).
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import os
import re
import struct
import subprocess
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from seen import ASKED, KINDS, Seen, blocks_of, by_script, form_of, in_order, last_priorities, plain, runs_of, shape_of

from lab import Advert, Daemon, Frame, Keepalived, Lab, Ours, checksum, ip_packet, vrrp2, vrrp3

QUIET = 1.5  # nothing new for so long: the step is over. Longer than an interval of the script check
PATIENCE = 6.0
OVER = 30.0  # for a start, a reload, a stop: the limit for what never comes


# ---------------------------------------------------------------------------------------------- the other router
class Speaker(NamedTuple):
    """Another router: what its adverts say. Its address is better than ours in a tie."""

    vrid: int = 51
    version: int = 3
    source: str = "10.0.0.9"
    destination: str = ""
    addresses: tuple[str, ...] = ("10.0.0.100",)
    interval: float = 0.2
    ttl: int = 255
    password: str = ""
    ah: str = ""  # its password
    spoilt: bool = False  # a checksum that is wrong

    def frame(self, priority: int, sequence: int = 1) -> bytes:
        if self.version == 2:
            seconds, password = int(self.interval), self.password.encode()
            message = vrrp2(self.vrid, priority, self.addresses, interval=seconds, password=password)
            if self.ah:  # RFC 2338 5.3.6: type 2, and the eight bytes at the end are nothing
                head = message[:4] + b"\x02" + message[5:6] + b"\0\0"
                message = head[:6] + struct.pack("!H", checksum(head + message[8:])) + message[8:]
        else:
            hundredths = round(self.interval * 100)
            message = vrrp3(
                self.vrid, priority, self.addresses, self.source, interval_cs=hundredths, destination=self.destination
            )
        if self.spoilt:
            message = message[:6] + bytes([message[6] ^ 0xFF]) + message[7:]
        protocol = 112
        if self.ah:
            message, protocol = self._sealed(message, sequence), 51
        packet = ip_packet(self.source, message, destination=self.destination, ttl=self.ttl, protocol=protocol)
        if self.destination == "10.0.0.2":  # the laboratory's host a
            packet = bytes.fromhex("020000000002") + packet[6:]
        return packet

    def _sealed(self, message: bytes, sequence: int) -> bytes:
        """RFC 2402 with HMAC-MD5-96 over the packet, what changes on the way being zero."""
        head = struct.pack("!BBHII", 112, 4, 0, 0x0A000009, sequence)
        whole = ip_packet(self.source, head + bytes(12) + message, ttl=self.ttl, protocol=51)[14:]
        blank = whole[:1] + b"\0" + whole[2:6] + b"\0\0" + b"\0" + whole[9:10] + b"\0\0" + whole[12:]
        return head + hmac.new(self.ah.encode(), blank, hashlib.md5).digest()[:12] + message


# ---------------------------------------------------------------------------------------------- one daemon
class Stage:
    """One daemon, its laboratory, and what has been seen of it up to now."""

    def __init__(
        self, lab: Lab, kind: type[Daemon], config: str, speaker: Speaker, options: tuple[str, ...] = ()
    ) -> None:
        self.lab, self.host, self.kind = lab, lab["a"], kind
        self.folder = self.host.folder
        self.speaker = speaker
        self.text = config
        self._options = options
        self._sequence = 0
        self._speaking = threading.Event()
        self._thread: threading.Thread | None = None
        self.calls = self.folder / "calls"
        for name in ("calls", "ok"):
            (self.folder / name).touch()
        (self.folder / "number").write_text("0\n")
        os.mkfifo(self.folder / "fifo", 0o600)
        self._pipe = os.open(self.folder / "fifo", os.O_RDWR | os.O_NONBLOCK)
        told = self.folder / "told"
        told.write_text(f'#!/bin/sh\necho "$@" >> {self.calls}\n')
        told.chmod(0o755)
        self._lines = ""
        self._called: list[str] = []
        self._told = self._reloads = 0
        self._last: dict[int, int] = {}  # VRID: the last priority
        self._frames: list[Frame] = []
        self._next = 0  # of the laboratory's frames
        self._forms: dict[int, str] = {}  # VRID: the last form
        self.settled = 0.0  # when what the step does was done
        # A segment of its own, with nobody else on it, and a neighbour that is known.
        self.host.ip(
            "link add eth1 address 02:00:00:00:01:02 type veth peer name far address 02:00:00:00:01:63",
            "addr add 10.1.0.2/24 dev eth1",
            "link set far up",
            "link set eth1 up",
            "neigh add 10.0.0.9 lladdr 02:00:00:00:00:63 dev eth0",
        )

    def close(self) -> None:
        self.hush()
        os.close(self._pipe)

    @property
    def daemon(self) -> Daemon:
        return self.host.daemon

    # ---- what can be done to it
    def _config(self) -> str:
        return self.text.replace("FOLDER", str(self.folder))

    def start(self) -> None:
        if self.host.daemons:
            self.daemon.config.write_text(self._config())
            self.daemon.start()
        else:
            self.host.run(self.kind, self._config(), options=self._options)

    def started(self) -> bool:
        if isinstance(self.daemon, Ours):
            return self.daemon.answers()
        return "Startup complete" in self.daemon.log()

    def edit(self, *changes: tuple[str, str]) -> None:
        """Other words in the file, and a reload."""
        for old, new in changes:
            assert old in self.text, f"{old!r} is not in\n{self.text}"
            self.text = self.text.replace(old, new)
        self._reloads = self._reloaded()
        self.daemon.reload(self._config())

    def _reloaded(self) -> int:
        ends = r"Reload complete" if self.kind is Keepalived else r"(?m)^\S+ \S+ reload"
        return len(re.findall(ends, self.daemon.log()))

    def reloaded(self) -> bool:
        return self._reloaded() > self._reloads

    def hear(self, priority: int, **changes: Any) -> None:
        self._sequence += 1
        self.lab.inject(self.speaker._replace(**changes).frame(priority, self._sequence))

    def speak(self, priority: int, **changes: Any) -> None:
        """From now on, every interval."""
        self.hush()
        self._speaking.set()
        speaker = self.speaker._replace(**changes)

        def work() -> None:
            while self._speaking.is_set():
                self.hear(priority, **changes)
                time.sleep(speaker.interval)

        self._thread = threading.Thread(target=work)
        self._thread.start()

    def hush(self) -> None:
        self._speaking.clear()
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    # ---- what was seen
    def _notified(self) -> list[str]:
        return self.calls.read_text().splitlines()

    def begin(self) -> None:
        """What comes from now on belongs to the next step; what came meanwhile is lost, but for the last priorities."""
        self._look()
        self._last.update(last_priorities(self._frames))
        self._frames = []
        self._told, self._lines = len(self._notified()), ""

    def _look(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while data := os.read(self._pipe, 65536):
                self._lines += data.decode()
        with self.lab.changed:
            new = self.lab.frames[self._next :]
            self._next += len(new)
        self._frames += [frame for frame in new if frame.host.startswith("a")]

    def signature(self) -> tuple[object, ...]:
        """Is another one when something has happened; adverts that go on as before are nothing."""
        self._look()
        announced = sum(not isinstance(frame, Advert) for frame in self._frames)
        with self.lab.changed:
            events = len(self.lab.events)
        priorities = {**self._last, **last_priorities(self._frames)}
        return self.calls.stat().st_size, len(self._lines), announced, events, tuple(sorted(priorities.items()))

    def freeze(self) -> None:
        """The step is over: what comes from now on is not of it."""
        self._look()
        self._called = self._notified()[self._told :]

    def seen(self) -> Seen:
        """What the step has brought about, once it is over."""
        adverts = [frame for frame in self._frames if isinstance(frame, Advert)]
        runs = list(runs_of(adverts))
        changes, last = [], dict(self._last)
        for run in runs:
            if last.get(run.vrid) != run.priority:
                changes.append((run.vrid, run.priority))
            last[run.vrid] = run.priority
        resigned = [(vrid, sum(a.vrid == vrid and not a.priority for a in adverts)) for vrid in sorted(last)]
        forms: list[tuple[int, str]] = []
        for advert in adverts:
            form = form_of(advert)
            if self._forms.get(advert.vrid) != form:
                forms.append((advert.vrid, form))
            self._forms[advert.vrid] = form
        links, addresses, routes, rules = self._kernel()
        return Seen(
            by_script(self._called),
            in_order(self._lines.splitlines()),
            tuple(changes),
            tuple(runs_of([advert for advert in adverts if advert.at > self.settled])),
            tuple((vrid, count) for vrid, count in resigned if count),
            tuple(form for _, form in sorted(forms, key=lambda item: item[0])),
            tuple(blocks_of([frame for frame in self._frames if not isinstance(frame, Advert)])),
            tuple(sorted({shape_of(frame) for frame in self._frames if not isinstance(frame, Advert)})),
            links,
            addresses,
            routes,
            rules,
            self.daemon.process.poll() if self.daemon.process else None,
        )

    def _kernel(self) -> tuple[tuple[str, ...], ...]:
        """Links, addresses, routes, rules, as lines of `ip`."""
        shown: dict[str, list[str]] = {what: [] for what in KINDS}
        for family, asked in (("-4", ("link show", *ASKED)), ("-6", ASKED)):
            with self.host.inside():
                done = subprocess.run(
                    ["ip", "-o", "-d", family, "-batch", "-"],
                    input="\n".join(asked),
                    capture_output=True,
                    text=True,
                    check=False,
                )
            assert done.returncode == 0, done.stderr  # `ip -batch` ends at the first error
            for line in done.stdout.splitlines():
                what = next((what for what, form in KINDS.items() if re.match(form, line)), "route")
                shown[what].append(plain(what, line))
        return tuple(tuple(sorted(lines)) for lines in shown.values())


# ---------------------------------------------------------------------------------------------- both
class Act(NamedTuple):
    """What happens to a stage, and how one sees that it is over."""

    do: Callable[[Stage], object]
    done: Callable[[Stage], bool] = lambda stage: True
    heavy: bool = False  # takes so much of the machine that only a few may do it at once


HEAVY = threading.BoundedSemaphore(3)


class Pair:
    """keepalived and vrrpd; everything happens to both."""

    def __init__(self, theirs: Stage, ours: Stage) -> None:
        self.both = (theirs, ours)

    def step(self, acts: Sequence[Act], seconds: float = 0, quiet: float = QUIET) -> tuple[Seen, Seen]:
        """Do something, wait until nothing more happens to either, or `seconds`, and write down what has."""
        for stage in self.both:
            stage.begin()
        for act in acts:
            with HEAVY if act.heavy else contextlib.nullcontext():
                self._do(act)
        settled = at = time.monotonic()
        last: object = None
        for stage in self.both:
            stage.settled = settled
        while True:
            time.sleep(0.05)
            now = time.monotonic()
            signature = [stage.signature() for stage in self.both]
            if signature != last:
                last, at = signature, now
            elif now - at > quiet and not seconds:
                break
            if now - settled > (seconds or PATIENCE):
                break
        for stage in self.both:
            stage.freeze()
        theirs, ours = (stage.seen() for stage in self.both)
        return theirs, ours

    def _do(self, act: Act) -> None:
        for stage in self.both:
            act.do(stage)
        until = time.monotonic() + OVER
        while not all(act.done(stage) for stage in self.both):
            assert time.monotonic() < until, "\n".join(stage.daemon.log()[-2000:] for stage in self.both)
            time.sleep(0.02)
