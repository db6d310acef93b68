"""vip_lifetime: the kernel takes an address back that nobody renews, when everything of ours is dead at once."""

from __future__ import annotations

import json
import os
import signal

import pytest

from lab import Host, Lab, Ours, config, instance, now

FOREVER = 0xFFFFFFFF
VIP, VIP6 = "10.0.0.100", "fd00::100"
FOUR = instance((f"{VIP}/24",), priority=200)
SIX = instance(("fe80::100/64", f"{VIP6}/64", "fd00::101/128"), name="VI_6", vrid=6, priority=200)
SHORT = ("vip_lifetime 2",)


def lifetimes(host: Host, name: str = "eth0") -> dict[str, int]:
    """{address: seconds left} of the kernel."""
    (link,) = json.loads(host.command("ip", "-j", "addr", "show", "dev", name))
    return {info["local"]: info["valid_life_time"] for info in link["addr_info"]}


def test_an_address_outlives_everything_of_ours_by_its_lifetime_at_most(lab: Lab) -> None:
    daemon = lab["a"].run(Ours, config(FOUR, SIX, globals=SHORT))
    for address in (VIP, VIP6, "fe80::100", "fd00::101"):
        lab.wait_owner(address, "a", 5)
    since = now()
    lab.steady(lambda: {"a"} == lab.held.owners(VIP) == lab.held.owners(VIP6), 3.5, "renewed: longer than a lifetime")
    assert not [event for event in lab.changes(VIP, since) if not event.added]
    assert not lab.announcements(VIP, since=since), "a renewal is no news for the segment"
    killed = now()
    daemon.kill()
    for address in (VIP, VIP6, "fe80::100", "fd00::101"):
        lab.wait_owner(address, "", 4)
    # Renewed at most a third of the lifetime before, and not yet gone the moment that the process is.
    gone = max(event.at for event in lab.changes(VIP, killed) if not event.added)
    assert 1.0 < gone - killed < 2 + 1 + 2, "lifetime + 1 s, and what a busy machine adds"


def test_addresses_are_for_ever_unless_asked(lab: Lab) -> None:
    lab["a"].run(Ours, config(FOUR, SIX))
    lab.wait_owner(VIP, "a", 5)
    lab.wait_owner("fd00::101", "a", 5)
    assert set(lifetimes(lab["a"]).values()) == {FOREVER}


def test_a_reload_switches_it_on_and_off_without_touching_the_address(lab: Lab) -> None:
    daemon = lab["a"].run(Ours, config(FOUR, SIX))
    lab.wait_owner(VIP, "a", 5)
    lab.wait_owner(VIP6, "a", 5)
    since = now()
    daemon.reload(config(FOUR, SIX, globals=("vip_lifetime 60",)))
    ours = {VIP, VIP6, "fe80::100", "fd00::101"}
    lab.wait(lambda: all(lifetimes(lab["a"])[address] <= 60 for address in ours), 3, "they will end")
    assert {lifetimes(lab["a"])[own] for own in ("10.0.0.2", "fd00::2")} == {FOREVER}, "not ours"
    daemon.reload(config(FOUR, SIX))
    lab.wait(lambda: {lifetimes(lab["a"])[address] for address in ours} == {FOREVER}, 3, "for ever again")
    assert not [event for event in lab.changes(VIP, since) if not event.added]


def test_a_successor_renews_what_it_goes_on_with(lab: Lab) -> None:
    """After a crash, and after a reload: longer than a lifetime, and nobody notices."""
    daemon = lab["a"].run(Ours, config(FOUR, globals=SHORT))
    assert isinstance(daemon, Ours)
    lab.wait_owner(VIP, "a", 5)
    lab.wait(daemon.answers, 5, "the control socket answers")
    since = now()
    for disturb in (lambda: os.kill(daemon.vrrp_pid(), signal.SIGKILL), lambda: daemon.ask("reload")):
        before = daemon.vrrp_pid()
        disturb()
        lab.wait(lambda before=before: daemon.vrrp_pid() != before, 5, "another process")
        lab.steady(lambda: lab.held.owners(VIP) == {"a"}, 2.5, "renewed")
    assert not [event for event in lab.changes(VIP, since) if not event.added]


def test_an_owners_own_address_is_left_as_it_is(lab: Lab) -> None:
    """The machine had it before us: its lifetime is the machine's."""
    a = lab["a"]
    a.ip(f"addr add {VIP}/24 dev eth0")
    a.run(Ours, config(instance(priority=255, state="MASTER"), globals=SHORT))
    lab.wait(lambda: lab.adverts("a"), 5, "MASTER")
    lab.steady(lambda: lifetimes(a)[VIP] == FOREVER, 1.5, "untouched by a renewal")


@pytest.mark.parametrize(("lifetime", "expected"), [((), FOREVER), (("vip_lifetime 60",), 60)])
def test_whoever_finds_an_address_of_a_predecessor_makes_it_its_own(
    lab: Lab, lifetime: tuple[str, ...], expected: int
) -> None:
    """An owner's successor is MASTER at once, with the address still there and running out."""
    a = lab["a"]
    a.ip(f"addr add {VIP}/24 dev eth0 valid_lft 30 preferred_lft 30")
    a.run(Ours, config(FOUR, globals=lifetime))
    lab.wait(lambda: lab.adverts("a"), 5, "MASTER")
    lab.wait(lambda: lifetimes(a).get(VIP, 0) > 30, 3, "not the lifetime that it found")
    assert lifetimes(a)[VIP] in range(expected - 5, expected + 1)
    os.kill(a.daemon.pid, signal.SIGTERM)
    lab.wait_owner(VIP, "", 5)
