"""The heap with lazy deadlines against a list that is searched every time."""

from __future__ import annotations

from math import inf
from random import Random

import pytest

from vrrpd.vrrp.timers import Timer, Timers


def nothing(now: float, due: float) -> tuple[()]:
    return ()


def test_due_in_the_order_of_the_deadlines_and_disarmed() -> None:
    timers, a, b = Timers(), Timer(nothing), Timer(nothing)
    timers.set(a, 2.0)
    timers.set(b, 1.0)
    assert timers.next_deadline == 1.0
    assert list(timers.due(0.5)) == []
    assert list(timers.due(3.0)) == [(b, 1.0), (a, 2.0)]
    assert timers.next_deadline == inf
    assert list(timers.due(9.0)) == []


def test_equal_deadlines_in_the_order_of_arming() -> None:
    timers = Timers()
    several = [Timer(nothing) for _ in range(5)]
    for timer in several:
        timers.set(timer, 1.0)
    assert [timer for timer, _ in timers.due(1.0)] == several


def test_later_is_one_assignment_and_still_exact() -> None:
    timers, timer, other = Timers(), Timer(nothing), Timer(nothing)
    timers.set(timer, 1.0)
    timers.set(other, 1.5)
    timers.set(timer, 2.0)
    assert timers.next_deadline == 1.0, "too early is allowed"
    assert list(timers.due(1.0)) == []
    assert list(timers.due(2.0)) == [(other, 1.5), (timer, 2.0)]


def test_earlier_overtakes() -> None:
    timers, timer = Timers(), Timer(nothing)
    timers.set(timer, 5.0)
    timers.set(timer, 1.0)
    assert list(timers.due(1.0)) == [(timer, 1.0)]
    assert list(timers.due(9.0)) == []


def test_cleared_does_not_fire_and_can_be_armed_again() -> None:
    timers, timer = Timers(), Timer(nothing)
    timers.set(timer, 1.0)
    timers.clear(timer)
    assert list(timers.due(9.0)) == []
    timers.set(timer, 10.0)
    assert list(timers.due(10.0)) == [(timer, 10.0)]


@pytest.mark.parametrize("seed", range(20))
def test_random_schedules_agree_with_a_naive_list(seed: int) -> None:
    """Timers are re-armed, cleared, and re-armed by what fires, in any order."""
    dice = Random(seed)
    timers, several = Timers(), [Timer(nothing) for _ in range(8)]
    naive: dict[Timer, float] = {}
    now = 0.0
    for _ in range(300):
        timer = dice.choice(several)
        if dice.random() < 0.8:
            naive[timer] = now + dice.randrange(20)
            timers.set(timer, naive[timer])
        else:
            naive.pop(timer, None)
            timers.clear(timer)
        assert timers.next_deadline <= min(naive.values(), default=inf)
        if dice.random() < 0.3:
            now += dice.randrange(10)
            fired = []
            for timer, due in timers.due(now):
                assert naive.pop(timer) == due <= now
                fired.append(due)
                if dice.random() < 0.3:
                    naive[timer] = now + dice.randrange(1, 9)
                    timers.set(timer, naive[timer])
            assert fired == sorted(fired)
            assert all(deadline > now for deadline in naive.values())


def test_the_heap_does_not_grow_with_what_is_heard() -> None:
    timers, timer = Timers(), Timer(nothing)
    for n in range(10_000):
        timers.set(timer, n / 10 + 3.6)  # an advert
        if n % 7 == 0:
            timers.set(timer, n / 10 + 0.6)  # priority 0
        list(timers.due(n / 10))
    assert len(timers._heap) < 50
