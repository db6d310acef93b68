"""Histories that failed once, and whether the rules would see what they are there for.

A history is kept as small as it gets (run.py --keep). The second half breaks the engine in one place at a time and
demands that the runner finds it: rules that nothing can break are no rules.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import inf
from pathlib import Path
from typing import Any

import pytest
from history import History, draw
from run import violation

from vrrpd.model.vrrp import VrrpInstance
from vrrpd.vrrp import backup, engine, estate, heritage, master, path
from vrrpd.vrrp.actions import Action, DelAddresses, DelRouting, Transition
from vrrpd.vrrp.auth import Auth
from vrrpd.vrrp.duties import Duties
from vrrpd.vrrp.groups import SyncGroup
from vrrpd.vrrp.packet import Advert
from vrrpd.vrrp.path import Peer, Told
from vrrpd.vrrp.router import VirtualRouter
from vrrpd.vrrp.states import BACKUP, MASTER, Heard, State
from vrrpd.vrrp.timers import Timers
from vrrpd.vrrp.track import Tracking, effect

SEEDS = sorted(Path(__file__).parent.glob("seeds/*.json"))
WITHIN = 1000  # histories


@pytest.mark.parametrize("path", SEEDS, ids=lambda path: path.stem)
def test_a_history_that_failed_once(path: Path) -> None:
    message, _ = violation(History.from_json(path.read_text(encoding="utf-8")))
    assert not message


def test_a_history_is_the_same_each_time_and_on_paper() -> None:
    for seed in range(20):
        history = draw(seed)
        assert History.from_json(history.to_json()) == history
        assert violation(history, trace=True) == violation(draw(seed), trace=True)


def test_the_first_hundred_histories() -> None:
    """Here too, so that whoever changes the engine hears of it from the unit tests."""
    found = {seed: violation(draw(seed))[0] for seed in range(1, 101)}
    assert {seed: message for seed, message in found.items() if message} == {}


# ---- bugs --------------------------------------------------------------------------------------------------------

Patch = Callable[[pytest.MonkeyPatch], None]
HEARD_AS_MASTER = master.heard
ON_ADVERT = VirtualRouter.on_advert


def tie_break_reversed(patch: pytest.MonkeyPatch) -> None:
    def heard(self: VirtualRouter, advert: Advert, source: bytes, now: float) -> Sequence[Action]:
        if not self.leaving and advert.priority == self.priority:
            lower = source < self.spec.source
            wrong = master.outbid if lower else master.lower_heard
            return wrong(self, advert, source, now)
        return HEARD_AS_MASTER(self, advert, source, now)

    patch.setattr(master, "heard", heard)


def equal_priority_is_never_resolved(patch: pytest.MonkeyPatch) -> None:
    def heard(self: VirtualRouter, advert: Advert, source: bytes, now: float) -> Sequence[Action]:
        if not self.leaving and advert.priority == self.priority:
            return master.lower_heard(self, advert, source, now)
        return HEARD_AS_MASTER(self, advert, source, now)

    patch.setattr(master, "heard", heard)


def priority_0_is_ignored(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(backup, "resigned", lambda self, source, now: ())


def a_lower_advert_resets_the_timer(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(backup, "tolerates", lambda self, advert, source, now: True)


def an_advert_does_not_reset_the_timer(patch: pytest.MonkeyPatch) -> None:
    def heard(self: VirtualRouter, advert: Advert, source: bytes, now: float) -> Sequence[Action]:
        before = self.timer.deadline
        actions = ON_ADVERT(self, advert, source, now)
        if self.state is BACKUP and advert.priority and before < inf:
            self.timers.set(self.timer, before)
        return actions

    patch.setattr(VirtualRouter, "on_advert", heard)


def yielding_is_silent(patch: pytest.MonkeyPatch) -> None:
    outbid = master.outbid
    patch.setattr(master, "outbid", lambda self, advert, source, now: outbid(self, advert, source, now)[1:])


def a_late_process_takes_over_at_once(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(backup, "master_down", lambda self, now, due: self.become_master("late", now))


def nopreempt_preempts(patch: pytest.MonkeyPatch) -> None:
    def tolerates(self: VirtualRouter, advert: Advert, source: bytes, now: float) -> bool:
        self.outbids = True
        self.heard = Heard(source, advert.priority, now)
        return False

    patch.setattr(backup, "tolerates", tolerates)


def leaving_takes_the_addresses_along(patch: pytest.MonkeyPatch) -> None:
    leave = VirtualRouter._leave

    def at_once(self: VirtualRouter, event: str, now: float) -> Sequence[Action]:
        return [*leave(self, event, now), DelAddresses(self, self.addresses)]

    patch.setattr(VirtualRouter, "_leave", at_once)


def a_lame_duck_stays(patch: pytest.MonkeyPatch) -> None:
    def heard(self: VirtualRouter, advert: Advert, source: bytes, now: float) -> Sequence[Action]:
        return () if self.leaving else HEARD_AS_MASTER(self, advert, source, now)

    patch.setattr(master, "heard", heard)


def junk_restarts_the_advert_timer(patch: pytest.MonkeyPatch) -> None:
    receive = engine.Engine.receive

    def spoiled(self: engine.Engine, *args: Any) -> Sequence[Action]:
        actions = receive(self, *args)
        for each in self.routers.values():
            if each.state is MASTER and not each.leaving:
                each.timers.set(each.timer, args[-1] + each.cfg.advert_int)
        return actions

    patch.setattr(engine.Engine, "receive", spoiled)


def the_learned_interval_is_forgotten(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(backup, "learn", lambda self, advert, source, now: ())


def an_earlier_deadline_is_lost(patch: pytest.MonkeyPatch) -> None:
    def lazy(self: Timers, timer: Any, deadline: float) -> None:
        timer.deadline = deadline
        if timer.armed == inf:
            SET(self, timer, deadline)

    SET = Timers.set
    patch.setattr(Timers, "set", lazy)


def lesser_masters_get_no_answer(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Duties, "answer", lambda self, now: None)


def a_reload_starts_anew(patch: pytest.MonkeyPatch) -> None:
    """Nobody is the heir of anybody."""
    patch.setattr(engine.Engine, "take", lambda self, estates, now: ([], list(estates)))


def a_hand_over_forgets_the_timer(patch: pytest.MonkeyPatch) -> None:
    give = heritage.give
    patch.setattr(heritage, "give", lambda self: give(self)._replace(timer=float("inf")))


def a_lost_address_stays_lost(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Duties, "restore", lambda self, address, now: ())


def a_fault_leaves_the_addresses(patch: pytest.MonkeyPatch) -> None:
    fault = VirtualRouter._fault
    patch.setattr(VirtualRouter, "_fault", lambda self, now: fault(self, now)[-1:])


def what_is_late_is_believed(patch: pytest.MonkeyPatch) -> None:
    receive = Peer.receive

    def fresh(self: Peer, data: bytes, now: float) -> Told | None:
        told = receive(self, data, now)
        return told and told._replace(age=0.0)

    patch.setattr(Peer, "receive", fresh)


def everybody_is_to_succeed_at_once(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(path, "ranks", lambda standings, peers, now: [(standings[peer], 0) for peer in peers])


def what_is_forged_is_believed(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(path, "compare_digest", lambda one, other: True)


def a_reload_applies_no_difference(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(heritage, "differ", lambda self, estate, now: [])


def adopted_as_backup(*about: Any, **more: Any) -> Any:
    return estate.adopted(*about, **{**more, "priority": 0})._replace(state="BACKUP", timer=about[-1] + 9)


def an_adoption_is_a_start(patch: pytest.MonkeyPatch) -> None:
    patch.setattr("world.adopted", adopted_as_backup)


def a_master_adverts_its_former_priority(patch: pytest.MonkeyPatch) -> None:
    weigh = VirtualRouter._weigh

    def weighed(self: VirtualRouter, priority: int, now: float, reason: str) -> list[Action]:
        steady = self._steady
        actions = weigh(self, priority, now, reason)
        self._steady = steady
        return actions

    patch.setattr(VirtualRouter, "_weigh", weighed)


def owners_that_ignore_each_other_never_yield(patch: pytest.MonkeyPatch) -> None:
    patch.setattr("vrrpd.vrrp.master.PATIENCE", inf)


def who_slept_steps_down_too_early(patch: pytest.MonkeyPatch) -> None:
    """And silently: nobody has taken over, nobody is told."""
    patch.setattr(master, "deposed", lambda self, now, due, interval: self.cfg.timer_expired_backup > 0)
    patch.setattr(VirtualRouter, "resign", lambda self: [])


def a_member_does_not_ask_its_group(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(SyncGroup, "allows_master", lambda self, router: True)


def the_group_does_not_follow(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(SyncGroup, "follow", lambda self, router, now: [])


def a_fault_is_nobody_elses(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(SyncGroup, "find", lambda self, router, now: [])


def who_waits_does_not_go_with_the_last(patch: pytest.MonkeyPatch) -> None:
    take_over = SyncGroup._take_over
    patch.setattr(SyncGroup, "_take_over", lambda self, routers, now: take_over(self, [*routers][:1], now))


def a_member_does_not_wait_for_the_slower_successors(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(SyncGroup, "linger", property(lambda self: min(member.linger for member in self.members)))


def who_is_left_alone_stays(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(SyncGroup, "may_stay", lambda self, router, now: True)


def nobody_gives_way(patch: pytest.MonkeyPatch) -> None:
    """Hosts whose members rank them differently: both come back at the same moment, and both yield."""
    patch.setattr(SyncGroup, "gives_way_until", lambda self, router, now: 0.0)


def an_adoption_forgets_a_link_delay(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(engine.Engine, "recall", lambda self, links, now: None)


def routes_stay_when_the_addresses_go(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(VirtualRouter, "take_off", lambda self: [DelAddresses(self, self.addresses)])


def a_reload_leaves_routes_behind(patch: pytest.MonkeyPatch) -> None:
    differ = heritage.differ

    def careless(self: VirtualRouter, estate: estate.Estate, now: float) -> list[Action]:
        return [action for action in differ(self, estate, now) if not isinstance(action, DelRouting)]

    patch.setattr(heritage, "differ", careless)


def a_route_that_somebody_takes_stays_away(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Duties, "restore_routing", lambda self, entry, now: ())


def restore_deleted_no_is_not_obeyed(patch: pytest.MonkeyPatch) -> None:
    """Priority 0, and then it stays all the same."""
    patch.setattr(VirtualRouter, "lost", lambda self, what, now: self.resign())


def an_adoption_forgets_the_priority(patch: pytest.MonkeyPatch) -> None:
    adopted = estate.adopted
    patch.setattr("world.adopted", lambda *about, **more: adopted(*about, **{**more, "priority": 0}))


def a_hand_over_forgets_what_the_group_told(patch: pytest.MonkeyPatch) -> None:
    give = heritage.give
    patch.setattr(heritage, "give", lambda self: give(self)._replace(group="INIT" if self.group else ""))


def a_reload_tells_everything_again(patch: pytest.MonkeyPatch) -> None:
    take = heritage.take

    def talkative(self: VirtualRouter, estate: estate.Estate, now: float) -> list[Action]:
        return [*take(self, estate, now), Transition(self, State.INIT, self.state, self.state.name, 100, "reload")]

    patch.setattr(heritage, "take", talkative)


def a_replay_is_believed(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Auth, "accept", lambda self, source, sequence, wall: None)


def a_replay_behind_ah_is_believed(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Auth, "accept_ah", lambda self, source, sequence, now: None)


def a_seal_is_not_looked_at(patch: pytest.MonkeyPatch) -> None:
    patch.setattr("vrrpd.vrrp.auth.compare_digest", lambda one, other: True)


def a_hand_over_forgets_the_marks(patch: pytest.MonkeyPatch) -> None:
    take = Auth.take
    patch.setattr(Auth, "take", lambda self, standing: take(self, standing._replace(marks=())))


def a_hand_over_begins_the_sequence_anew(patch: pytest.MonkeyPatch) -> None:
    take = Auth.take
    patch.setattr(Auth, "take", lambda self, standing: take(self, standing._replace(last=0, base=standing.base - 60)))


def only_the_active_key_is_known(patch: pytest.MonkeyPatch) -> None:
    init = Auth.__init__

    def forgetful(self: Auth, cfg: VrrpInstance, offset: float) -> None:
        init(self, cfg, offset)
        if cfg.auth_hmac is not None:
            self._keys = {self.seal.key_id: self.seal.key}

    patch.setattr(Auth, "__init__", forgetful)


def receive_only_asks_for_a_seal(patch: pytest.MonkeyPatch) -> None:
    patch.setattr("vrrpd.vrrp.checks.ENFORCE", "receive-only")


def a_clock_that_is_set_counts_at_once(patch: pytest.MonkeyPatch) -> None:
    """A window of a second instead of the configured one."""
    init = Auth.__init__

    def strict(self: Auth, cfg: VrrpInstance, offset: float) -> None:
        init(self, cfg, offset)
        self.window = min(self.window, 1)

    patch.setattr(Auth, "__init__", strict)


def who_waits_to_start_forgets_what_it_heard(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(heritage, "remember", lambda self, estate: None)


def a_script_that_fails_is_no_fault(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Tracking, "faults", lambda self: set())


def a_hand_over_forgets_the_verdicts(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(engine.Engine, "verdicts", lambda self: [])


def a_static_item_is_nobodys(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(engine.Engine, "missing", lambda self, causes, now: ())


def a_process_forgets_which_static_items_are_missing(patch: pytest.MonkeyPatch) -> None:
    """Told before it has a configuration, it does not look at it then."""
    follow = engine.Engine._follow_statics
    patch.setattr(
        engine.Engine, "_follow_statics", lambda self, now: follow(self, now) if self._begun or self.stopping else ()
    )


def a_weight_is_added_twice(patch: pytest.MonkeyPatch) -> None:
    """Counted up and down instead of being added up anew."""
    patch.setattr(Tracking, "priority", lambda self, base: max(1, min(254, base + 2 * sum_of(self))))


def sum_of(tracking: Tracking) -> int:
    return sum(effect(track, tracking._verdicts.get((track.kind, track.name))) for track in tracking.tracks)


BUGS: list[Patch] = [
    a_weight_is_added_twice,
    a_script_that_fails_is_no_fault,
    a_hand_over_forgets_the_verdicts,
    a_static_item_is_nobodys,
    a_process_forgets_which_static_items_are_missing,
    a_replay_is_believed,
    a_replay_behind_ah_is_believed,
    a_seal_is_not_looked_at,
    a_hand_over_forgets_the_marks,
    a_hand_over_begins_the_sequence_anew,
    only_the_active_key_is_known,
    receive_only_asks_for_a_seal,
    a_clock_that_is_set_counts_at_once,
    who_waits_to_start_forgets_what_it_heard,
    routes_stay_when_the_addresses_go,
    a_reload_leaves_routes_behind,
    a_route_that_somebody_takes_stays_away,
    restore_deleted_no_is_not_obeyed,
    an_adoption_forgets_the_priority,
    a_hand_over_forgets_what_the_group_told,
    a_reload_tells_everything_again,
    an_adoption_forgets_a_link_delay,
    nobody_gives_way,
    a_master_adverts_its_former_priority,
    a_member_does_not_ask_its_group,
    the_group_does_not_follow,
    a_fault_is_nobody_elses,
    who_waits_does_not_go_with_the_last,
    a_member_does_not_wait_for_the_slower_successors,
    who_is_left_alone_stays,
    owners_that_ignore_each_other_never_yield,
    who_slept_steps_down_too_early,
    a_reload_applies_no_difference,
    an_adoption_is_a_start,
    tie_break_reversed,
    equal_priority_is_never_resolved,
    priority_0_is_ignored,
    a_lower_advert_resets_the_timer,
    an_advert_does_not_reset_the_timer,
    yielding_is_silent,
    a_late_process_takes_over_at_once,
    nopreempt_preempts,
    leaving_takes_the_addresses_along,
    a_lame_duck_stays,
    junk_restarts_the_advert_timer,
    the_learned_interval_is_forgotten,
    an_earlier_deadline_is_lost,
    lesser_masters_get_no_answer,
    a_reload_starts_anew,
    a_hand_over_forgets_the_timer,
    a_lost_address_stays_lost,
    a_fault_leaves_the_addresses,
    everybody_is_to_succeed_at_once,
    what_is_late_is_believed,
    what_is_forged_is_believed,
]


@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: str(bug.__name__))
def test_a_bug_is_found(bug: Patch, monkeypatch: pytest.MonkeyPatch) -> None:
    bug(monkeypatch)
    for seed in range(1, WITHIN + 1):
        message, _ = violation(draw(seed))
        if message:
            print(f"{bug.__name__}: history {seed}, {message}")
            assert "Error in " not in message, "a bug that does not even run is found by no rule"
            return
    pytest.fail(f"not found in {WITHIN} histories")
