"""reload_time_file: a reload at a time that stands in a file, so that several hosts do it together.

In: the path, looked at once a second. Out: a call when the time has come. Formats are keepalived.conf(5)'s, to the
letter: HH:MM:SS, YY-MM-DD HH:MM:SS or YYYY-MM-DD HH:MM:SS in the first line, with Z for UTC. Nothing is remembered:
a helper that comes after another one reads the file again.
"""

from __future__ import annotations

import contextlib
import os
import re
import time
from typing import Callable

from vrrpd.log import Log
from vrrpd.timers import Timer, Timers

LOOK = 1.0
LONGEST = 64  # bytes of the file that are read
_FORM = re.compile(r"(?:((?:\d\d)?\d\d)-(\d\d)-(\d\d) )?(\d\d):(\d\d):(\d\d)(Z?)")


def due(line: str, now: float) -> float | None:
    """When, in seconds since the epoch; None where it has passed. ValueError: it is no time."""
    import calendar  # with what it brings half a megabyte, for those alone who have a reload_time_file

    match = _FORM.fullmatch(line)
    if match is None:
        raise ValueError(f"'{line}' is neither HH:MM:SS nor [YY]YY-MM-DD HH:MM:SS, with or without a Z behind it")
    year, month, day, hour, minute, second, utc = match.groups()
    clock = (int(hour), int(minute), int(second))
    if clock > (23, 59, 59) or int(minute) > 59 or int(second) > 59:
        raise ValueError(f"'{line}' is no time of a day")
    if year:
        date = (int(year) if len(year) == 4 else 2000 + int(year), int(month), int(day))
        if not 1 <= date[1] <= 12 or not 1 <= date[2] <= calendar.monthrange(*date[:2])[1]:
            raise ValueError(f"'{line}' is no date")
        when = _seconds((*date, *clock), bool(utc))
        return when if when > now else None
    today = time.gmtime(now) if utc else time.localtime(now)
    when = _seconds((*today[:3], *clock), bool(utc))
    return when if when > now else _seconds((today[0], today[1], today[2] + 1, *clock), bool(utc))


def _seconds(moment: tuple[int, ...], utc: bool) -> float:
    """mktime(3) makes a date of the 32nd; whether it is summer then, it finds out."""
    import calendar

    return float(calendar.timegm((*moment, 0, 0, 0)) if utc else time.mktime((*moment, 0, 0, -1)))  # type: ignore[arg-type]


class ReloadTime:
    """`at`: when the next reload is due, None for never."""

    def __init__(self, timers: Timers, log: Log, reload: Callable[[], None]) -> None:
        self._timers, self._log, self._reload = timers, log, reload
        self._path = ""
        self._repeat = False
        self._seen: tuple[int, ...] | None = None
        self._timer: Timer | None = None
        self.at: float | None = None

    def configure(self, path: str, repeat: bool) -> None:
        self._repeat = repeat
        if path == self._path:
            return
        self._path, self._seen, self.at = path, None, None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if path:
            self._look()

    def _look(self) -> None:
        now = time.time()
        seen = self._identity()
        if seen != self._seen:
            self._seen = seen
            self._read(now)
        elif self.at is not None and now >= self.at:
            self._fire(now)
        wait = LOOK if self.at is None else min(LOOK, max(0.0, self.at - time.time()))
        self._timer = self._timers.later(wait, self._look)

    def _identity(self) -> tuple[int, ...] | None:
        try:
            found = os.stat(self._path)
        except OSError:
            return None
        return found.st_ino, found.st_size, found.st_mtime_ns

    def _read(self, now: float) -> None:
        former, self.at = self.at, None
        try:
            with open(self._path, encoding="ascii", errors="replace") as file:
                line = file.read(LONGEST).partition("\n")[0]
            self.at = due(line, now)
        except FileNotFoundError:
            if former is not None:
                self._log.info(f"the reload of {_clock(former)} is cancelled: {self._path} is gone")
            return
        except (OSError, ValueError) as error:
            self._log.error(f"reload_time_file {self._path}: {error}; no reload is scheduled")
            return
        if self.at is None:
            self._log.warning(f"reload_time_file {self._path}: {line} has passed; no reload is scheduled")
        elif self.at != former:
            self._log.info(f"a reload is scheduled for {_clock(self.at)} ({self._path})")

    def _fire(self, now: float) -> None:
        self.at = None
        if self._repeat:
            self._read(now)
        else:
            with contextlib.suppress(OSError):
                os.unlink(self._path)
            self._seen = None
        self._reload()


def _clock(at: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(at))
