"""reload_time_file: the formats of keepalived.conf(5), and what becomes of the file."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from blocking_lab import Lab

from vrrpd.schedule import ReloadTime, due

NOON = 1795863600.0  # 2026-11-28 11:00:00 UTC


@pytest.fixture(autouse=True)
def berlin(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "Europe/Berlin")  # one hour ahead in November
    time.tzset()


@pytest.mark.parametrize(
    ("line", "seconds"),
    [
        ("12:00:05", 5),  # local
        ("11:00:05Z", 5),
        ("12:00:00", 86400),  # now is too late: tomorrow
        ("11:59:59", 86399),
        ("2026-11-28 12:01:00", 60),
        ("26-11-28 12:01:00", 60),
        ("2026-11-28 11:01:00Z", 60),
        ("2026-11-30 11:00:00Z", 2 * 86400),
        ("2026-11-28 11:00:00Z", None),
        ("2020-01-01 00:00:00", None),
    ],
)
def test_when_a_reload_is_due(line: str, seconds: float | None) -> None:
    assert due(line, NOON) == (None if seconds is None else NOON + seconds)


@pytest.mark.parametrize(
    "line",
    ["", "now", "1:00:00", "24:00:00", "12:60:00", " 12:00:00", "12:00:00 ", "2026-13-01 00:00:00",
     "2026-02-30 00:00:00", "2026-11-28  12:00:00", "12:00:00z", "2026-11-28"],
)  # fmt: skip
def test_what_is_no_time_is_refused(line: str) -> None:
    with pytest.raises(ValueError, match="is"):
        due(line, NOON)


class Schedule:
    """A file that says `soon`, and what was done about it."""

    def __init__(self, folder: Path, repeat: bool = False) -> None:
        self.lab = Lab()
        self.path = folder / "time"
        self.reloads = 0
        self.file = ReloadTime(self.lab.timers, self.lab.log, self._reload)
        self.repeat = repeat

    def _reload(self) -> None:
        self.reloads += 1

    def start(self) -> None:
        self.file.configure(str(self.path), self.repeat)

    def say(self, seconds: float) -> None:
        self.path.write_text(time.strftime("%Y-%m-%d %H:%M:%SZ\n", time.gmtime(time.time() + seconds)))


def test_the_file_is_gone_when_the_time_has_come(tmp_path: Path) -> None:
    schedule = Schedule(tmp_path)
    schedule.say(2)
    schedule.start()
    assert schedule.lab.logged("a reload is scheduled for")
    assert schedule.file.at is not None
    schedule.lab.until(lambda: schedule.reloads == 1)
    assert not schedule.path.exists()


def test_with_reload_repeat_the_file_stays(tmp_path: Path) -> None:
    schedule = Schedule(tmp_path, repeat=True)
    schedule.path.write_text(time.strftime("%H:%M:%SZ", time.gmtime(time.time() + 2)))
    schedule.start()
    schedule.lab.until(lambda: schedule.reloads == 1)
    assert schedule.path.exists()
    assert schedule.file.at is not None
    assert 86390 < schedule.file.at - time.time() <= 86400  # tomorrow again


def test_a_file_that_comes_later_changes_or_goes_is_noticed(tmp_path: Path) -> None:
    schedule = Schedule(tmp_path)
    schedule.start()
    assert schedule.file.at is None
    schedule.say(1000)
    schedule.lab.until(lambda: schedule.file.at is not None)
    first = schedule.file.at
    schedule.say(2000)
    os.utime(schedule.path, ns=(1, 1))
    schedule.lab.until(lambda: schedule.file.at != first)
    schedule.path.unlink()
    schedule.lab.until(lambda: schedule.file.at is None)
    assert schedule.lab.logged("is cancelled")
    assert not schedule.reloads


def test_what_cannot_be_read_is_said_once(tmp_path: Path) -> None:
    schedule = Schedule(tmp_path)
    schedule.path.write_text("tomorrow\n")
    schedule.start()
    schedule.file._look()
    assert sum("tomorrow" in line for line in schedule.lab.lines) == 1
