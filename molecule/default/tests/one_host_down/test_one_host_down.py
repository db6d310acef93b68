"""While the first router is dead: state is not configuration, and who is absent blocks only what needs everybody."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

UNREACHABLE = 4
SURVIVORS = {"router2", "router3"}


def test_after_a_failover_a_converge_changes_nothing(site: Callable[..., Any]) -> None:
    run = site(status=UNREACHABLE)
    assert run.counts("unreachable") == {"router1": 1, "router2": 0, "router3": 0}
    assert not any(run.counts("changed").values()), run.output


def test_a_change_reaches_the_others_and_names_the_absent(cluster: Any, site: Callable[..., Any]) -> None:
    run = site("-e", '{"vrrpd_global_defs": {"router_id": "while-down"}}', status=UNREACHABLE)
    assert {host for host, changed in run.counts("changed").items() if changed} == SURVIVORS, run.output
    assert "router1" in run.output.split("unreachable and left as they are", 1)[1].splitlines()[0]
    assert cluster.one_owner("VI_1", cluster.except_for("router1")).name == "router2"


def test_a_change_that_needs_all_nodes_is_refused(cluster: Any, site: Callable[..., Any]) -> None:
    def configurations() -> dict[str, tuple[str, str]]:
        nodes = {name: cluster.routers[name] for name in SURVIVORS}
        return {
            name: (node.status()["config"]["sha256"], node.run("sha256sum /etc/vrrpd/vrrpd.conf"))
            for name, node in nodes.items()
        }

    before = configurations()
    run = site("-e", '{"vrrpd_overrides": {"VI_1": {"advert_int": 2}}}', status=UNREACHABLE)
    assert "router1 took no part" in run.output
    assert configurations() == before, "neither what runs nor what a reboot would load"
