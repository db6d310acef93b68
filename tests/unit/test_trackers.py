"""Parts of the helper that find out what instances track, without the daemon: judgement, numbers, quorums, words."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from vrrpd.log import Log
from vrrpd.loop import Loop
from vrrpd.model.globals import GlobalDefs
from vrrpd.model.trackers import TrackFile, TrackProcess, VrrpScript, Weight
from vrrpd.model.vrrp import Script
from vrrpd.scripts import Owner
from vrrpd.timers import Timers
from vrrpd.trackers.files import Files, number, read
from vrrpd.trackers.processes import Processes, Program, Quorum, matches
from vrrpd.trackers.scripts import Judge, Scripts, following


class Clock(Timers):
    """Timers in virtual time."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0

    def later(self, delay: float, call: Callable[[], None]) -> Any:
        timer = super().later(0, call)
        timer.when = self.now + delay
        return timer

    def pass_time(self, seconds: float) -> None:
        self.now += seconds
        self._heap.sort()
        self.run(self.now)


class Station:
    """A loop, timers, and what was found."""

    def __init__(self) -> None:
        self.loop, self.timers = Loop(), Timers()
        self.lines: list[str] = []
        self.found: list[tuple[str, int, str]] = []
        self.log = Log(lambda level, line, at: self.lines.append(line))

    def find(self, kind: str, name: str, value: int, said: str) -> None:
        self.found.append((name, value, said))

    def until(self, condition: Callable[[], object], limit: float = 10.0) -> None:
        end = time.monotonic() + limit

        def turn(now: float) -> float:
            assert now < end, (self.found, self.lines)
            self.loop.running = not condition()
            return min(self.timers.run(now), now + 0.01)

        if not condition():
            self.loop.run(turn)


@pytest.fixture
def station() -> Station:
    return Station()


# ---- vrrp_script -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rise", "fall", "results", "verdicts"),
    [
        (1, 1, "+-+", "+-+"),
        (2, 3, "+--+---", "++++++-"),
        (2, 3, "-+-++", "----+"),  # one failure is enough at the start
        (3, 1, "-++-+++", "------+"),
    ],
)
def test_rise_and_fall_count_in_a_row_and_the_first_result_alone(
    rise: int, fall: int, results: str, verdicts: str
) -> None:
    judge = Judge(rise, fall)
    seen = ""
    for result in results:
        judge.hear(result == "+")
        seen += "+" if judge.good else "-"
    assert seen == verdicts


def test_a_verdict_of_a_former_helper_is_no_first_result() -> None:
    judge = Judge(1, 2, good=True)
    judge.hear(False)
    assert judge.good
    judge.hear(False)
    assert judge.good is False


def test_runs_do_not_drift_and_come_in_no_burst_after_a_stall() -> None:
    assert following(10.0, 10.003, 1.0) == 11.0
    assert following(10.0, 14.2, 1.0) == 15.0
    assert following(10.0, 9.999, 1.0) == 11.0


def check(name: str, command: str, **changes: Any) -> VrrpScript:
    return VrrpScript(name, Script(("/bin/sh", "-c", command)), **{"interval": 0.05, "timeout": 5.0, **changes})


def test_every_way_to_fail_has_its_words(station: Station) -> None:
    scripts = Scripts(station.loop, station.timers, station.log, station.find)
    ways = [
        check("status", "exit 7"),
        check("signal", "kill -KILL $$"),
        check("slow", "sleep 9", timeout=0.1),
        VrrpScript("absent", Script(("/nowhere/check",)), interval=0.05, timeout=5.0),
        check("stranger", "exit 0", user=("nobody-of-this-name", "")),
        check("fine", "exit 0"),
    ]
    scripts.configure(ways, Owner(), {})
    station.until(lambda: len({name for name, *_ in station.found}) == len(ways))
    assert {name: said for name, _, said in station.found} == {
        "status": "failed (exit status 7)",
        "signal": "failed (killed by SIGKILL)",
        "slow": "timed out after 0.1 s",
        "absent": "cannot run: /nowhere/check does not exist",
        "stranger": "cannot run: /bin/sh: user nobody-of-this-name does not exist",
        "fine": "succeeded",
    }
    scripts.configure([check("long", "sleep 9")], Owner(), {})
    station.until(lambda: scripts.status()[0]["last"])
    ended: list[bool] = []
    scripts.stop(lambda: ended.append(True))
    station.until(lambda: ended)
    assert not scripts.busy


def test_a_script_that_is_as_before_keeps_its_schedule_and_a_changed_one_begins_anew(station: Station) -> None:
    scripts = Scripts(station.loop, station.timers, station.log, station.find)
    same, changed = check("same", "exit 0", interval=30.0), check("changed", "exit 0", interval=30.0)
    scripts.configure([same, changed], Owner(), {})
    station.until(lambda: len(station.found) == 2)
    scripts.configure([same, check("changed", "exit 3", interval=30.0, fall=9)], Owner(), {})
    station.until(lambda: len(station.found) == 3)
    assert station.found[2] == ("changed", 0, "failed (exit status 3)")
    assert {each["name"]: each["runs"] for each in scripts.status()} == {"same": 1, "changed": 1}
    reweighted = check("changed", "exit 3", interval=30.0, fall=9, weight=Weight(-5))
    scripts.configure([same, reweighted], Owner(), {})
    assert {each["name"]: each["runs"] for each in scripts.status()} == {"same": 1, "changed": 1}
    scripts.configure([], Owner(), {})
    assert not scripts.status()


# ---- track_file --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (b"5\n", 5), (b" -3", -3), (b"+4", 4), (b"12abc", 12), (b"0x10", 16), (b"010", 8), (b"0", 0), (b"08", 0),
        (b"", None), (b"abc", None), (b"-", None), (b"9" * 40, 2**31 - 1), (b"-" + b"9" * 40, 1 - 2**31),
    ],
)  # fmt: skip
def test_a_number_is_read_as_keepalived_reads_it(text: bytes, value: int | None) -> None:
    assert number(text) == value


def test_what_cannot_be_read_counts_as_0(tmp_path: Path) -> None:
    assert read(str(tmp_path / "absent")) == (0, "does not exist: 0")
    assert read(str(tmp_path)) == (0, "cannot be read (Is a directory): 0")
    os.mkfifo(tmp_path / "fifo")
    assert read(str(tmp_path / "fifo")) == (0, "holds no number: 0")


def test_a_file_in_a_folder_that_comes_later_and_one_behind_a_link(station: Station, tmp_path: Path) -> None:
    files = Files(station.loop, station.timers, station.log, station.find)
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "f").write_text("1")
    (tmp_path / "link").symlink_to(tmp_path / "real" / "f")
    late = tmp_path / "late" / "f"
    files.configure([TrackFile("late", str(late)), TrackFile("link", str(tmp_path / "link"))], ())
    station.until(lambda: ("link", 1, "holds 1") in station.found)
    (tmp_path / "real" / "f").write_text("2")
    station.until(lambda: ("link", 2, "holds 2") in station.found, 0.5)
    late.parent.mkdir()
    late.write_text("3")
    station.until(lambda: ("late", 3, "holds 3") in station.found)
    files.stop()


def test_init_file_makes_it_and_overwrites_only_when_told(station: Station, tmp_path: Path) -> None:
    files = Files(station.loop, station.timers, station.log, station.find)
    new, kept, replaced, known = (tmp_path / name for name in ("new", "kept", "replaced", "known"))
    for path in (kept, replaced, known):
        path.write_text("9")
    files.configure(
        [
            TrackFile("new", str(new), init_file=(4, False)),
            TrackFile("kept", str(kept), init_file=(4, False)),
            TrackFile("replaced", str(replaced), init_file=(4, True)),
            TrackFile("known", str(known), init_file=(4, True)),
        ],
        ["known"],
    )
    assert [path.read_text().strip() for path in (new, kept, replaced, known)] == ["4", "9", "4", "9"]
    assert new.stat().st_mode & 0o777 == 0o600
    files.stop()


# ---- vrrp_track_process ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("definition", "name", "argv", "expected"),
    [
        ({"process": ("nginx",)}, "nginx", "", True),
        ({"process": ("ssh",)}, "sshd", "", False),
        ({"process": ("a-name-of-more-than-15",)}, "a-name-of-more-", "", True),
        ({"process": ("/bin/x",), "full_command": True}, "x", "/bin/x -v", True),
        ({"process": ("/bin/x", "-v")}, "x", "/bin/x -v", True),
        ({"process": ("/bin/x", "-v")}, "x", "/bin/x -v -w", False),
        ({"process": ("/bin/x", "-v"), "param_match": "partial"}, "x", "/bin/x -v -w", True),
        ({"process": ("/bin/x", "-v"), "param_match": "partial"}, "x", "/bin/x -vv", False),
        ({"process": ("/bin/x", "-v"), "param_match": "initial"}, "x", "/bin/x -vv", True),
        ({"process": ("/bin/x", "-v"), "param_match": "initial"}, "x", "/bin/x", False),
        ({"process": ("/bin/x",), "param_match": "initial"}, "x", "/bin/x -v", False),
        ({"process": ("/bin/x",), "param_match": "partial"}, "x", "/bin/x", True),
        ({"process": ("/bin/x",), "param_match": "exact"}, "x", "/bin/x", True),
        ({"process": ("/bin/x",), "param_match": "exact"}, "x", "/bin/x -v", False),
        ({"process": ("/bin/x", "-v"), "param_match": "exact"}, "x", "/bin/x -v", True),
        ({"process": ("/bin/x", "-v"), "param_match": "exact"}, "x", "/bin/x -vv", False),
        ({"process": ("kworker",), "full_command": True}, "kworker", "", False),
    ],
)
def test_a_process_matches(definition: dict[str, Any], name: str, argv: str, expected: bool) -> None:
    program = Program(name.encode(), tuple(word.encode() for word in argv.split()))
    assert matches(TrackProcess("p", **definition), program) is expected


def quorum(clock: Clock, told: list[tuple[int, str]], **changes: Any) -> Quorum:
    definition = TrackProcess("p", ("x",), **changes)
    return Quorum(definition, clock, lambda kind, name, value, said: told.append((value, said)), None)


def test_quorum_and_quorum_max() -> None:
    told: list[tuple[int, str]] = []
    one = quorum(Clock(), told, quorum=2, quorum_max=3)
    for count in (0, 1, 2, 3, 4, 3):
        one.set(count)
    assert told == [
        (0, "is not running"),
        (1, "is running"),
        (0, "is running 4 times, 3 at most are wanted"),
        (1, "is running"),
    ]


def test_delays_hide_a_restart() -> None:
    clock, told = Clock(), list[tuple[int, str]]()
    one = quorum(clock, told, fork_delay=1.0, terminate_delay=2.0)
    one.set(1)
    assert told == [(1, "is running")], "the first word waits for nothing"
    one.set(0)
    clock.pass_time(1.9)
    one.set(1)
    clock.pass_time(5)
    assert len(told) == 1
    one.set(0)
    clock.pass_time(2.1)
    one.set(1)
    clock.pass_time(0.9)
    assert told[1:] == [(0, "is not running")]
    clock.pass_time(0.2)
    assert told[2:] == [(1, "is running")]


@pytest.mark.netns
def test_the_kernel_tells_of_a_process(station: Station) -> None:
    """As root in the first namespaces, like the namespace tests."""
    processes = Processes(station.loop, station.timers, station.log, station.find)
    words = (sys.executable, "-c", "import time; time.sleep(60)", "tracked")
    defs = GlobalDefs(process_monitor_rcv_bufs=5000000)
    processes.configure([TrackProcess("p", words)], {}, defs.process_monitor_rcv_bufs)
    assert processes._events
    with socket.socket(fileno=os.dup(processes._events.fileno())) as events:
        assert events.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) == 2 * 5000000  # as the kernel counts
    assert station.found == [("p", 0, "is not running")]
    station.until(lambda: processes.status()[0]["events"])
    child = subprocess.Popen(words)
    station.until(lambda: station.found[-1] == ("p", 1, "is running"), 0.9)  # sooner than a look at /proc
    child.kill()
    station.until(lambda: station.found[-1] == ("p", 0, "is not running"), 0.9)
    child.wait()
    assert not station.lines
    processes.stop()
