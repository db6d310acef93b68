"""The laboratory itself: what the other tests believe of it."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count

import pytest

from lab import clock_offset


@pytest.mark.parametrize("stalls", [(0,), (1,), (2,), (0, 4, 7), (1, 3, 5, 7, 9, 11, 13)], ids=str)
def test_a_pause_between_two_clocks_does_not_move_a_time_stamp(stalls: tuple[int, ...]) -> None:
    """Every reading of a clock takes a microsecond; those in `stalls` come after a pause of 20 ms."""

    def clock(readings: Iterator[int]) -> float:
        nonlocal time
        time += 0.020 if next(readings) in stalls else 0.000001
        return time

    time, reading = 100.0, count()
    offset = clock_offset(lambda: clock(reading) + 5000.0, lambda: clock(reading))
    assert offset == pytest.approx(5000.0, abs=0.00001)
