"""The guard's doubts about a silent process, in its own time."""

from __future__ import annotations

import pytest

from vrrpd.pulse import LOOKS, LOOKS_IDLE, Pulse, Watch, patience

PATIENCE = 0.2
STEP = PATIENCE / LOOKS


def looks_until_given_up(watch: Watch, now: float, looks: int = LOOKS) -> float:
    """The guard looks when it is time; returns when it gives up."""
    for _ in range(100):
        now = max(now, watch.next_look)
        if watch.look(now, looks):
            return now
    raise AssertionError("never")


def test_a_broken_promise_is_found_after_the_patience_whenever_it_was_made() -> None:
    pulse = Pulse()
    pulse.promise(10.0)
    watch = Watch(pulse, PATIENCE, now=9.95)
    assert looks_until_given_up(watch, 9.95) == pytest.approx(10.0 + PATIENCE, abs=1e-6)


def test_a_backup_without_addresses_gets_more_of_it() -> None:
    pulse = Pulse()
    pulse.promise(10.0)
    watch = Watch(pulse, PATIENCE, now=9.95)
    assert looks_until_given_up(watch, 9.95, LOOKS_IDLE) == pytest.approx(10.0 + PATIENCE * LOOKS_IDLE / LOOKS)


def test_one_that_keeps_its_promises_is_never_given_up() -> None:
    pulse = Pulse()
    watch = Watch(pulse, PATIENCE, now=0.0)
    now = 0.0
    while now < 20:
        pulse.promise(now + 0.1)
        now = max(now + 0.09, watch.next_look)
        assert not watch.look(now)


def test_nobody_is_late_when_everybody_was() -> None:
    """All were stopped for an hour: the promise is old, but so are the guard's own looks."""
    pulse = Pulse()
    pulse.promise(10.0)
    watch = Watch(pulse, PATIENCE, now=9.9)
    now = 3610.0
    for _ in range(LOOKS):
        assert not watch.look(now)
        now = max(now + 0.001, watch.next_look)
    pulse.promise(now + 0.1)
    assert not watch.look(now)


def test_a_guard_that_is_starved_itself_does_not_accuse_others() -> None:
    pulse = Pulse()
    pulse.promise(10.0)
    watch = Watch(pulse, PATIENCE, now=10.0)
    now = 10.0
    for _ in range(20):
        now = watch.next_look + 2 * STEP
        assert not watch.look(now)


def test_the_page_is_shared_through_its_descriptor() -> None:
    pulse = Pulse()
    pulse.promise(12.5)
    again = Pulse(pulse.fd)
    assert again.promised == 12.5
    again.promise(13.0)
    assert pulse.promised == 13.0
    pulse.close()


@pytest.mark.parametrize(("interval", "skew"), [(1.0, 0.0), (0.1, 0.0)])
def test_the_patience_leaves_time_to_adopt_before_the_peers_give_up(interval: float, skew: float) -> None:
    """The last advert, one interval, the patience: well before three intervals, for as many as 255 routers."""
    assert interval + patience(interval, 255) < 2.7 * interval + skew
